"""The workloads in NumPy by hand, gradients included: `build(case)` gives a step.

Each loss is a function of parameters and data that returns the loss and the list of gradients, in the parameters' order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Array, Case, Cnn, Gpt, Mlp, Optimizer, Product, Recurrent, Rows, first_numbers

Gradients = list[Array]


def build(case: Case) -> Callable[[], Any]:
    """`step()` does one whole step and returns the loss, or the matrix."""
    inputs = case.inputs()
    if isinstance(case, Rows | Product):
        return lambda: FUNCTIONS[case.function](*inputs)
    parameters, loss = first_numbers(case), LOSSES[type(case)]
    update = _optimizer(case.optimizer, parameters)

    def step() -> Any:
        value, gradients = loss(case, parameters, *inputs)
        update(gradients)
        return value

    return step


def _optimizer(wanted: Optimizer, parameters: list[Array]) -> Callable[[Gradients], None]:
    """Updates the parameters in place."""
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    lr, kept, steps = wanted.lr, 1 - wanted.lr * wanted.weight_decay, 0

    def sgd(gradients: Gradients) -> None:
        for p, g, m in zip(parameters, gradients, first, strict=True):
            if wanted.momentum:
                m *= wanted.momentum
                m += g
                g = m
            p -= lr * g

    def adam(gradients: Gradients) -> None:
        nonlocal steps
        steps += 1
        rate, root = lr / (1 - 0.9**steps), math.sqrt(1 - 0.999**steps)
        for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
            m *= 0.9
            m += 0.1 * g
            v *= 0.999
            v += 0.001 * np.square(g)
            if wanted.weight_decay:
                p *= kept
            p -= rate * m / (np.sqrt(v) / root + 1e-8)

    return sgd if wanted.name == "SGD" else adam


# --- layers: forward values and the way back -------------------------------------------------------------------------


def _cross_entropy(logits: Array, y: Array) -> tuple[float, Array]:
    """The mean loss over rows, and the gradient of the logits."""
    rows = np.arange(len(y))
    shifted = logits - logits.max(1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(1, keepdims=True)
    loss = float((np.log(sums[:, 0]) - shifted[rows, y]).mean())
    g = powers / sums
    g[rows, y] -= 1
    g /= len(y)
    return loss, g


def _linear_back(x: Array, weight: Array, g: Array) -> tuple[Array, Array, Array]:
    """Gradients of `x @ weight.T + bias`: of x, weight and bias; leading axes are rows."""
    flat, rows = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
    return (flat @ weight).reshape(x.shape), flat.T @ rows, flat.sum(0)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _mlp(case: Mlp, p: list[Array], x: Array, y: Array) -> tuple[float, Gradients]:
    values = [x]
    for n in range(0, len(p), 2):
        x = x @ p[n].T + p[n + 1]
        if n < len(p) - 2:
            np.maximum(x, 0, out=x)
        values.append(x)
    if case.classes:
        loss, g = _cross_entropy(x, y)
    else:
        difference = x - y
        loss, g = float(np.square(difference).mean()), difference * np.float32(2 / difference.size)
    gradients: Gradients = []
    for n in range(len(p) - 2, -1, -2):
        below = values[n // 2]
        gradients[:0] = [g.T @ below, g.sum(0)]
        if n:
            g = (g @ p[n]) * (below > 0)
    return loss, gradients


# --- convolutions ----------------------------------------------------------------------------------------------------


def _columns(x: Array) -> Array:
    """The 3 x 3 neighbourhoods of an image: f32[N, C, H, W] -> f32[N, H, W, C * 9]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    n, c, h, w = x.shape
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def _columns_back(g: Array, shape: tuple[int, ...]) -> Array:
    n, c, h, w = shape
    padded = np.zeros((n, c, h + 2, w + 2), g.dtype)
    parts = g.reshape(n, h, w, c, 3, 3).transpose(4, 5, 0, 3, 1, 2)
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + h, j : j + w] += parts[i, j]
    return padded[:, :, 1:-1, 1:-1]


def _pool(x: Array) -> tuple[Array, Array]:
    """2 x 2 maxima (odd sides lose their last row or column), and where each first stood."""
    n, c, h, w = x.shape
    blocks = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
    blocks = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
    places = blocks.argmax(-1)
    return np.take_along_axis(blocks, places[..., None], -1)[..., 0], places


def _pool_back(g: Array, places: Array, shape: tuple[int, ...]) -> Array:
    n, c, h, w = g.shape
    blocks = np.zeros((n, c, h, w, 4), g.dtype)
    np.put_along_axis(blocks, places[..., None], g[..., None], -1)
    whole = np.zeros(shape, g.dtype)
    inner = blocks.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * h, 2 * w)
    whole[:, :, : 2 * h, : 2 * w] = inner
    return whole


def _cnn(case: Cnn, p: list[Array], x: Array, y: Array) -> tuple[float, Gradients]:
    kept = []
    for n in (0, 2):
        columns, weight = _columns(x), p[n].reshape(len(p[n]), -1)
        raw = (columns @ weight.T + p[n + 1]).transpose(0, 3, 1, 2)
        kept.append((x.shape, columns, raw.shape))
        x, places = _pool(np.maximum(raw, 0))
        kept.append((places, x > 0))
    flat = x.reshape(case.batch, -1)
    hidden = np.maximum(flat @ p[4].T + p[5], 0)
    loss, g = _cross_entropy(hidden @ p[6].T + p[7], y)
    g, *head = _linear_back(hidden, p[6], g)
    g, *middle = _linear_back(flat, p[4], g * (hidden > 0))
    gradients, g = [*middle, *head], g.reshape(x.shape)
    for n in (2, 0):
        (below, columns, shape), (places, positive) = kept[n], kept[n + 1]
        g = _pool_back(g * positive, places, shape).transpose(0, 2, 3, 1)
        weight = p[n].reshape(len(p[n]), -1)
        if n:
            of_columns, of_weight, of_bias = _linear_back(columns, weight, g)
            g = _columns_back(of_columns, below)
        else:
            rows = g.reshape(-1, g.shape[-1])
            of_weight, of_bias = rows.T @ columns.reshape(len(rows), -1), rows.sum(0)
        gradients[:0] = [of_weight.reshape(p[n].shape), of_bias]
    return loss, gradients


# --- recurrences -----------------------------------------------------------------------------------------------------


def _lstm(xs: Array, weight: Array, bias: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Hidden states of each step, and the way back: their cotangents to those of `xs`, `weight` and `bias`."""
    steps, batch, hidden = xs.shape[0], xs.shape[1], weight.shape[1]
    hs, cs = (np.zeros((steps + 1, batch, hidden), xs.dtype) for _ in range(2))
    gates, tanhs = np.empty_like(xs), np.empty((steps, batch, hidden), xs.dtype)
    for t in range(steps):
        z = xs[t] + (hs[t] @ weight.T + bias)
        i, f, g, o = np.split(z, 4, -1)
        gates[t] = np.concatenate([_sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)], -1)
        i, f, g, o = np.split(gates[t], 4, -1)
        cs[t + 1] = f * cs[t] + i * g
        tanhs[t] = np.tanh(cs[t + 1])
        hs[t + 1] = o * tanhs[t]

    def back(g_hs: Array) -> tuple[Array, Array, Array]:
        g_z, g_h, g_c = np.empty_like(xs), np.zeros_like(hs[0]), np.zeros_like(cs[0])
        for t in range(steps - 1, -1, -1):
            i, f, g, o = np.split(gates[t], 4, -1)
            g_h = g_h + g_hs[t]
            g_c = g_c + g_h * o * (1 - tanhs[t] ** 2)
            of_i, of_f, of_g, of_o = g_c * g, g_c * cs[t], g_c * i, g_h * tanhs[t]
            parts = [of_i * i * (1 - i), of_f * f * (1 - f), of_g * (1 - g * g), of_o * o * (1 - o)]
            g_z[t] = np.concatenate(parts, -1)
            g_c = g_c * f
            g_h = g_z[t] @ weight
        rows = g_z.reshape(-1, g_z.shape[-1])
        return g_z, rows.T @ hs[:-1].reshape(-1, hidden), rows.sum(0)

    return hs[1:], back


def _gru(xs: Array, weight: Array, bias: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """As `_lstm`."""
    steps, batch, hidden = xs.shape[0], xs.shape[1], weight.shape[1]
    hs = np.zeros((steps + 1, batch, hidden), xs.dtype)
    gates, news = np.empty_like(xs), np.empty((steps, batch, hidden), xs.dtype)
    for t in range(steps):
        (xr, xz, xn), (hr, hz, hn) = np.split(xs[t], 3, -1), np.split(hs[t] @ weight.T + bias, 3, -1)
        r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
        n = np.tanh(xn + r * hn)
        gates[t], news[t] = np.concatenate([r, z, n], -1), hn
        hs[t + 1] = (1 - z) * n + z * hs[t]

    def back(g_hs: Array) -> tuple[Array, Array, Array]:
        g_x, g_w, g_h = np.empty_like(xs), np.empty_like(xs), np.zeros_like(hs[0])
        for t in range(steps - 1, -1, -1):
            r, z, n = np.split(gates[t], 3, -1)
            g_h = g_h + g_hs[t]
            of_n = g_h * (1 - z) * (1 - n * n)
            of_r, of_z = of_n * news[t] * r * (1 - r), g_h * (hs[t] - n) * z * (1 - z)
            g_x[t] = np.concatenate([of_r, of_z, of_n], -1)
            g_w[t] = np.concatenate([of_r, of_z, of_n * r], -1)
            g_h = g_h * z + g_w[t] @ weight
        rows = g_w.reshape(-1, g_w.shape[-1])
        return g_x, rows.T @ hs[:-1].reshape(-1, hidden), rows.sum(0)

    return hs[1:], back


def _recurrent(case: Recurrent, p: list[Array], ids: Array, y: Array) -> tuple[float, Gradients]:
    scan = {"LSTM": _lstm, "GRU": _gru}[case.cell]
    xs, kept = p[0][ids], []
    for n in range(1, 1 + 4 * case.layers, 4):
        of_input, of_hidden, input_bias, bias = p[n : n + 4]
        hs, back = scan(xs @ of_input.T + input_bias, of_hidden, bias)
        kept.append((n, xs, back))
        xs = hs
    loss, g = _cross_entropy((xs @ p[-2].T + p[-1]).reshape(-1, case.vocabulary), y)
    g, *gradients = _linear_back(xs, p[-2], g)
    for n, below, back in reversed(kept):
        g_z, of_hidden, of_bias = back(g.reshape(below.shape[0], case.batch, -1))
        g, of_input, of_input_bias = _linear_back(below, p[n], g_z)
        gradients[:0] = [of_input, of_hidden, of_input_bias, of_bias]
    table = np.zeros_like(p[0])
    np.add.at(table, ids, g)
    return loss, [table, *gradients]


# --- the transformer -------------------------------------------------------------------------------------------------


def _erf(x: Array) -> Array:
    """Within 2e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26); NumPy has none."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.copysign(1 - series * np.exp(-x * x), x)


def _norm(x: Array, weight: Array, bias: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Layer norm of the last axis, and the way back: to cotangents of x, weight and bias."""
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-5))
    unit = centred * scale

    def back(g: Array) -> tuple[Array, Array, Array]:
        of_unit, axes = g * weight, tuple(range(g.ndim - 1))
        along = unit * (of_unit * unit).mean(-1, keepdims=True)
        return scale * (of_unit - of_unit.mean(-1, keepdims=True) - along), (g * unit).sum(axes), g.sum(axes)

    return unit * weight + bias, back


def _attention(case: Gpt, qkv: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Causal attention of all heads, and the way back."""
    size = case.width // case.heads
    shape = (case.batch, case.context, 3, case.heads, size)
    q, k, v = qkv.reshape(shape).transpose(2, 0, 3, 1, 4)
    scale = np.float32(size**-0.5)
    scores = q @ k.swapaxes(-1, -2) * scale
    scores += np.triu(np.full((case.context, case.context), -np.inf, np.float32), 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)

    def joined(x: Array) -> Array:
        return x.transpose(0, 2, 1, 3).reshape(case.batch, case.context, case.width)

    def back(g: Array) -> Array:
        g = g.reshape(case.batch, case.context, case.heads, size).transpose(0, 2, 1, 3)
        of_weights = g @ v.swapaxes(-1, -2)
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdims=True)) * scale
        parts = of_scores @ k, of_scores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g
        return np.concatenate([joined(part) for part in parts], -1)

    return joined(weights @ v), back


def _block(case: Gpt, p: list[Array], x: Array) -> tuple[Array, Callable[[Array], tuple[Array, Gradients]]]:
    """One block with its 12 parameters, and the way back."""
    w1, b1, w2, b2, qkv, qkv_bias, project, project_bias, up, up_bias, down, down_bias = p
    first, first_back = _norm(x, w1, b1)
    mixed, mixed_back = _attention(case, first @ qkv.T + qkv_bias)
    x = x + mixed @ project.T + project_bias
    second, second_back = _norm(x, w2, b2)
    raw = second @ up.T + up_bias
    normal = 0.5 * (1 + _erf(raw * np.float32(0.5**0.5)))
    hidden = raw * normal

    def back(g: Array) -> tuple[Array, Gradients]:
        of_hidden, of_down, of_down_bias = _linear_back(hidden, down, g)
        density = np.exp(-0.5 * raw * raw) * np.float32((2 * math.pi) ** -0.5)
        of_second, of_up, of_up_bias = _linear_back(second, up, of_hidden * (normal + raw * density))
        more, of_w2, of_b2 = second_back(of_second)
        g = g + more
        of_mixed, of_project, of_project_bias = _linear_back(mixed, project, g)
        of_first, of_qkv, of_qkv_bias = _linear_back(first, qkv, mixed_back(of_mixed))
        more, of_w1, of_b1 = first_back(of_first)
        attention = [of_qkv, of_qkv_bias, of_project, of_project_bias]
        return g + more, [of_w1, of_b1, of_w2, of_b2, *attention, of_up, of_up_bias, of_down, of_down_bias]

    return x + hidden @ down.T + down_bias, back


def _gpt(case: Gpt, p: list[Array], ids: Array, y: Array) -> tuple[float, Gradients]:
    x, ways = p[0][ids] + p[1], []
    for n in range(2, 2 + 12 * case.layers, 12):
        x, back = _block(case, p[n : n + 12], x)
        ways.append(back)
    normed, norm_back = _norm(x, p[-3], p[-2])
    loss, g = _cross_entropy((normed @ p[-1].T).reshape(-1, case.vocabulary), y)
    of_normed, of_head, _ = _linear_back(normed, p[-1], g)
    g, *of_norm = norm_back(of_normed)
    gradients = [*of_norm, of_head]
    for back in reversed(ways):
        g, of_block = back(g)
        gradients[:0] = of_block
    table = np.zeros_like(p[0])
    np.add.at(table, ids, g)
    return loss, [table, g.sum(0), *gradients]


LOSSES: dict[type, Callable[..., tuple[float, Gradients]]] = {
    Mlp: _mlp,
    Cnn: _cnn,
    Recurrent: _recurrent,
    Gpt: _gpt,
}


# --- functions of a matrix -------------------------------------------------------------------------------------------


def _gelu_silu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x))) + _sigmoid(x) * x


def _softmax(x: Array) -> Array:
    x = x * np.float32(0.125)
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x


def _layer_norm(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scale = 1.5 / np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-5))
    return centred * scale + np.float32(0.5)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "gelu_silu": _gelu_silu,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "product": np.matmul,
}
