"""Functions of either library whose gradients are differentiated again: their tape and their values say different things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def straight(lib: Any) -> Function:
    """Rounds; the gradient goes through as it is."""

    class Straight(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return lib.round(x)

        @staticmethod
        def backward(ctx, g):
            return g

    return Straight.apply


def saved_exponential(lib: Any) -> Function:
    """exp, whose gradient reads its own result."""

    class Exponential(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = lib.exp(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    return Exponential.apply


def _scaled(lib: Any, x: Any, w: Any) -> Any:
    with lib.no_grad():
        scale = (x * w).sin()
    return scale * (x * w).sin() * x


def _frozen(lib: Any, x: Any, w: Any) -> Any:
    with lib.no_grad():
        h = (x * w).tanh()
    h = h * x
    with lib.no_grad():
        h = h.exp() * w + h.detach()
    return h * x


def _hooked(lib: Any, x: Any, w: Any) -> Any:
    y = x * w
    y.register_hook(lambda g: 3 * g)
    return y * y.exp()


def _gradient_within(lib: Any, x: Any, w: Any) -> Any:
    (g,) = lib.autograd.grad((x * w).sin().sum(), x, create_graph=True)
    return g * x


def _closed_gradient_within(lib: Any, x: Any, w: Any) -> Any:
    (g,) = lib.autograd.grad((x * w).sin().sum(), x, retain_graph=True)
    return g * x * w


#: Functions of the library and of two vectors of three elements.
CASES: dict[str, Function] = {
    "nothing is cut": lambda lib, x, w: (x * w).tanh() * x.sum(),
    "detach": lambda lib, x, w: x * w * (x * w).detach().exp(),
    "detach of an operand that is there twice": lambda lib, x, w: x * x.detach() + x * x * w,
    "detach of all": lambda lib, x, w: (x * w).detach() * x,
    "no_grad": _scaled,
    "no_grad between": _frozen,
    "straight through": lambda lib, x, w: straight(lib)(x * 3) * x**2 * w,
    "a custom function that saves its result": lambda lib, x, w: saved_exponential(lib)(x) * w**3,
    "a hook": _hooked,
    "a gradient within": _gradient_within,
    "a gradient within that is not on the tape": _closed_gradient_within,
    "an argument that is not used": lambda lib, x, w: x**3,
    "linear": lambda lib, x, w: x * 2 + w,
    "a view written to": lambda lib, x, w: _written(lib, x, w),
    "softmax of a product": lambda lib, x, w: lib.softmax(lib.outer(x, w), -1).square().sum(-1),
}  # fmt: skip


def _written(lib: Any, x: Any, w: Any) -> Any:
    y = lib.zeros_like(x)
    y[1:] = x[1:] * w[1:].detach()
    return y.exp() * w


def derivatives(lib: Any, f: Function, arrays: Any, orders: int = 3) -> list[Any]:
    """The gradients of the sum of f, then of the sum of their squares, and so on; zeros where there is none."""
    xs = [lib.tensor(a, requires_grad=True) for a in arrays]
    total, found = f(*xs).sum(), []
    for _ in range(orders):
        if not total.requires_grad:
            break
        grads = lib.autograd.grad(total, xs, create_graph=True, allow_unused=True)
        found += [lib.zeros_like(x) if g is None else g.detach() for x, g in zip(xs, grads, strict=True)]
        total = sum(((g**2).sum() for g in grads if g is not None), lib.zeros(()))
    return [x.numpy() for x in found]
