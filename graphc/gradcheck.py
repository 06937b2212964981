"""Checks gradients against finite differences in float64 (central differences, as `torch.autograd.gradcheck`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.autodiff import pull_to, seeds_for
from graphc.core.arrays import host, memory_of, moved
from graphc.core.context import SLOTS, set_grad
from graphc.core.errors import ArgumentError, GradientError
from graphc.core.tape import LEAF, TensorBase, edge_of
from graphc.core.tensor_types import FLOAT


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **_: Any,
) -> bool:
    """Whether the gradients of `func` with respect to its float inputs that want one equal finite differences.

    inputs: tensors (float64 is wanted for the tolerances given) and other arguments. Raises GradientError naming the first
    Jacobian that differs, unless `raise_exception` is False.
    """
    args = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    wanted = [
        i for i, a in enumerate(args) if isinstance(a, TensorBase) and a._edge is not None and a.dtype.category == FLOAT
    ]
    if not wanted:
        raise ArgumentError("gradcheck expects at least one input tensor to require gradient")
    n_outputs = len(_outputs(func, args))
    for k in range(n_outputs):
        for i in wanted:
            numeric = _numeric(func, args, i, k, eps)
            analytic = _analytic(func, args, i, k)
            if not np.allclose(analytic, numeric, rtol=rtol, atol=atol, equal_nan=True):
                if not raise_exception:
                    return False
                raise GradientError(
                    f"Jacobian mismatch for output {k} with respect to input {i},\nnumerical:{numeric}\nanalytical:{analytic}"
                )
    return True


def _outputs(func: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    out = func(*args)
    parts = list(out) if isinstance(out, tuple | list) else [out]
    return [p for p in parts if isinstance(p, TensorBase) and p.dtype.category == FLOAT]


def _numbers(tensor: Any) -> Any:
    return host(tensor._data).astype(np.float64).ravel()


def _beside(tensor: Any, array: Any) -> Any:
    """An array as a tensor on another's device."""
    return SLOTS.new_tensor(moved(array, memory_of(tensor._data)))


def _numeric(func: Callable[..., Any], args: tuple[Any, ...], i: int, k: int, eps: float) -> Any:
    """The Jacobian by central differences, [elements of input i, elements of output k]."""
    array = host(args[i]._data)
    rows = []
    with set_grad(False):
        for at in np.ndindex(*array.shape):
            values = []
            for sign in (1, -1):
                shifted = array.copy()
                shifted[at] += sign * eps
                changed = list(args)
                changed[i] = _beside(args[i], shifted)
                values.append(_numbers(_outputs(func, changed)[k]))
            rows.append((values[0] - values[1]) / (2 * eps))
    return np.array(rows).reshape(array.size, -1)


def _analytic(func: Callable[..., Any], args: tuple[Any, ...], i: int, k: int) -> Any:
    """The Jacobian by the sweep, one output element at a time."""
    out = _outputs(func, args)[k]
    columns = []
    size = args[i]._data.size
    for at in np.ndindex(*out._data.shape):
        seed = np.zeros(out._data.shape, out._data.dtype)
        seed[at] = 1
        if out._edge is None:
            columns.append(np.zeros(size))
            continue
        roots = seeds_for([out], [_beside(out, seed)])
        (g,) = pull_to(roots, [args[i]], retain_graph=True, create_graph=False)
        columns.append(np.zeros(size) if g is None else _numbers(g))
    return np.array(columns).reshape(-1, size).T


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """Whether second derivatives equal finite differences of first ones; arguments as for `gradcheck`."""
    args = (inputs,) if isinstance(inputs, TensorBase) else tuple(inputs)
    rng = np.random.default_rng(0)
    seeds = [_beside(o, rng.standard_normal(o._data.shape).astype(o._data.dtype)) for o in _outputs(func, args)]

    def first(*moved: Any) -> Any:
        leaves = [
            m if isinstance(m, TensorBase) and m._edge is not None else _wanting(m, a)
            for m, a in zip(moved, args, strict=True)
        ]
        xs = [x for x in leaves if isinstance(x, TensorBase) and x._edge is not None]
        with set_grad(True):
            outs = [(o, s) for o, s in zip(_outputs(func, leaves), seeds, strict=True) if o._edge is not None]
            found = pull_to([(edge_of(o), s) for o, s in outs], xs, retain_graph=True, create_graph=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first, args, **options)


def _wanting(x: Any, like: Any) -> Any:
    if isinstance(like, TensorBase) and like._edge is not None:
        x._edge = LEAF
    return x
