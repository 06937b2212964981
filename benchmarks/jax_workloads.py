"""The workloads in JAX: jitted, state donated; `build(case)` gives a step that is over when it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case, Cnn, Gpt, Mlp, Optimizer, Product, Recurrent, Rows, first_numbers


def build(case: Case) -> Callable[[], Any]:
    """`step()` does one whole step and returns the loss, or the matrix."""
    inputs = [jnp.asarray(x.astype(np.int32) if x.dtype == np.int64 else x) for x in case.inputs()]
    if isinstance(case, Rows | Product):
        function = jax.jit(FUNCTIONS[case.function])
        return lambda: function(*inputs).block_until_ready()
    # linear weights as JAX has them, inputs first
    parameters = [jnp.asarray(_inputs_first(case, n, p)) for n, p in enumerate(first_numbers(case))]
    loss, optimizer = LOSSES[type(case)](case), _optimizer(case.optimizer)

    def step(parameters: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(parameters, x, y)
        parameters, state = optimizer(parameters, gradients, state)
        return parameters, state, value

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [parameters, _first_state(case.optimizer, parameters)]

    def run() -> Any:
        parameters, state, value = compiled(*held, *inputs)
        held[:] = parameters, state
        jax.block_until_ready((parameters, value))
        return value

    return run


def _inputs_first(case: Case, number: int, array: Any) -> Any:
    tables = {Recurrent: 1, Gpt: 2}.get(type(case), 0)
    return array.T.copy() if array.ndim == 2 and number >= tables else array


# --- optimizers ------------------------------------------------------------------------------------------------------


def _first_state(wanted: Optimizer, parameters: Any) -> Any:
    zeros = [jnp.zeros_like(p) for p in parameters]
    if wanted.name == "SGD":
        return zeros if wanted.momentum else ()
    return jnp.float32(0), zeros, [jnp.zeros_like(p) for p in parameters]


def _optimizer(wanted: Optimizer) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    lr = wanted.lr

    def sgd(parameters: Any, gradients: Any, state: Any) -> tuple[Any, Any]:
        if wanted.momentum:
            state = gradients = [wanted.momentum * m + g for m, g in zip(state, gradients, strict=True)]
        return [p - lr * g for p, g in zip(parameters, gradients, strict=True)], state

    def adam(parameters: Any, gradients: Any, state: Any) -> tuple[Any, Any]:
        steps, first, second = state
        steps = steps + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
        c1, c2 = 1 - 0.9**steps, 1 - 0.999**steps
        kept = 1 - lr * wanted.weight_decay
        moments = zip(parameters, first, second, strict=True)
        parameters = [p * kept - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8) for p, m, v in moments]
        return parameters, (steps, first, second)

    return sgd if wanted.name == "SGD" else adam


# --- losses ----------------------------------------------------------------------------------------------------------


def _cross_entropy(logits: Any, y: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


def _mlp(case: Mlp) -> Callable[..., Any]:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        last = len(parameters) - 2
        for n in range(0, len(parameters), 2):
            x = x @ parameters[n] + parameters[n + 1]
            x = jax.nn.relu(x) if n < last else x
        return _cross_entropy(x, y) if case.classes else jnp.mean((x - y) ** 2)

    return loss


def _cnn(case: Cnn) -> Callable[..., Any]:
    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        x = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME") + bias[None, :, None, None]
        return jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def loss(p: Any, x: Any, y: Any) -> Any:
        x = convolve(convolve(x, p[0], p[1]), p[2], p[3]).reshape(case.batch, -1)
        return _cross_entropy(jax.nn.relu(x @ p[4] + p[5]) @ p[6] + p[7], y)

    return loss


def _lstm_cell(carry: Any, x: Any, weight: Any, bias: Any) -> Any:
    h, c = carry
    i, f, g, o = jnp.split(x + (h @ weight + bias), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _gru_cell(carry: Any, x: Any, weight: Any, bias: Any) -> Any:
    (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, -1), jnp.split(carry[0] @ weight + bias, 3, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    h = (1 - z) * jnp.tanh(xn + r * hn) + z * carry[0]
    return (h, carry[1]), h


def _recurrent(case: Recurrent) -> Callable[..., Any]:
    cell = {"LSTM": _lstm_cell, "GRU": _gru_cell}[case.cell]

    def loss(p: Any, ids: Any, y: Any) -> Any:
        xs, zeros = p[0][ids], jnp.zeros((case.batch, case.hidden))
        for n in range(1, 1 + 4 * case.layers, 4):
            of_input, of_hidden, input_bias, bias = p[n : n + 4]
            xs = xs @ of_input + input_bias
            xs = jax.lax.scan(lambda carry, x, w=of_hidden, b=bias: cell(carry, x, w, b), (zeros, zeros), xs)[1]
        return _cross_entropy((xs @ p[-2] + p[-1]).reshape(-1, case.vocabulary), y)

    return loss


def _normed(x: Any, weight: Any = 1.0, bias: Any = 0.0) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def _gpt(case: Gpt) -> Callable[..., Any]:
    batch, context, heads, size = case.batch, case.context, case.heads, case.width // case.heads
    mask, scale = jnp.tril(jnp.ones((context, context), bool)), np.float32(size**-0.5)

    def attention(x: Any) -> Any:
        q, k, v = (a.reshape(batch, context, heads, size).transpose(0, 2, 1, 3) for a in jnp.split(x, 3, -1))
        weights = jax.nn.softmax(jnp.where(mask, q @ k.swapaxes(-1, -2) * scale, -jnp.inf))
        return (weights @ v).transpose(0, 2, 1, 3).reshape(batch, context, case.width)

    def loss(p: Any, ids: Any, y: Any) -> Any:
        x = p[0][ids] + p[1]
        for n in range(2, 2 + 12 * case.layers, 12):
            w1, b1, w2, b2, qkv, qkv_bias, project, project_bias, up, up_bias, down, down_bias = p[n : n + 12]
            x = x + attention(_normed(x, w1, b1) @ qkv + qkv_bias) @ project + project_bias
            h = jax.nn.gelu(_normed(x, w2, b2) @ up + up_bias, approximate=False)
            x = x + h @ down + down_bias
        return _cross_entropy((_normed(x, p[-3], p[-2]) @ p[-1]).reshape(-1, case.vocabulary), y)

    return loss


LOSSES: dict[type, Callable[[Any], Callable[..., Any]]] = {Mlp: _mlp, Cnn: _cnn, Recurrent: _recurrent, Gpt: _gpt}


def _gelu_silu(x: Any) -> Any:
    return 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x))) + jax.nn.sigmoid(x) * x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gelu_silu": _gelu_silu,
    "softmax": lambda x: jax.nn.softmax(x * 0.125, -1),
    "layer_norm": lambda x: _normed(x) * 1.5 + 0.5,
    "product": jnp.matmul,
}
