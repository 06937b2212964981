"""Some of the workloads in tinygrad, jitted: `build(case)` gives a step that is over when it returns. DEV names the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cases import Case, Mlp, Optimizer, Product, Rows, first_numbers
from tinygrad import Context, Device, Tensor, TinyJit
from tinygrad.nn import optim

#: The kinds of case that are written here.
KINDS = (Mlp, Product, Rows)


def build(case: Case) -> Callable[[], Any]:
    """`step()` does one whole step and returns the loss, or the matrix."""
    inputs = [Tensor(x).realize() for x in case.inputs()]
    step = TinyJit(_training(case) if isinstance(case, Mlp) else _function(case))

    def run() -> Any:
        out = step(*inputs)
        Device[Device.DEFAULT].synchronize()
        return out

    return run


def _function(case: Any) -> Callable[..., Any]:
    return lambda *args: FUNCTIONS[case.function](*args).realize()


def _training(case: Mlp) -> Callable[..., Any]:
    parameters = [Tensor(p).realize() for p in first_numbers(case)]
    optimizer = _optimizer(case.optimizer, parameters)

    @Context(TRAINING=1)
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        for number in range(0, len(parameters), 2):
            x = (x.relu() if number else x).linear(parameters[number].T, parameters[number + 1])
        loss = x.sparse_categorical_crossentropy(y) if case.classes else (x - y).square().mean()
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    return step


def _optimizer(wanted: Optimizer, parameters: list[Any]) -> Any:
    if wanted.name == "SGD":
        return optim.SGD(parameters, lr=wanted.lr, momentum=wanted.momentum, weight_decay=wanted.weight_decay)
    return optim.AdamW(parameters, lr=wanted.lr, weight_decay=wanted.weight_decay)


def _gelu_silu(x: Any) -> Any:
    return 0.5 * x * (1 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh()) + x.sigmoid() * x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gelu_silu": _gelu_silu,
    "softmax": lambda x: (x * 0.125).softmax(-1),
    "layer_norm": lambda x: x.layernorm(-1) * 1.5 + 0.5,
    "product": lambda a, b: a @ b,
}
