"""Runs one piece of code on graphc and on PyTorch and compares everything a user can see of the results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tolerances import assert_close, is_float

import graphc as gc

Code = Callable[..., Any]


def pair(torch: Any, array: Any, requires_grad: bool = False) -> tuple[Any, Any]:
    """The same array as a graphc and as a PyTorch tensor, each with memory (and strides) of its own."""
    array = np.asarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        theirs = torch.tensor(array.astype(np.float32)).to(torch.bfloat16)
        ours = gc.tensor(array)
    else:
        ours, theirs = gc.tensor(array), torch.tensor(np.ascontiguousarray(array).reshape(array.shape))
    if requires_grad:
        ours.requires_grad_()
        theirs.requires_grad_()
    return ours, theirs


def flat(x: Any) -> list[Any]:
    """The tensors in nested tuples and lists."""
    if isinstance(x, tuple | list):
        return [leaf for item in x for leaf in flat(item)]
    return [x]


def differentiable(x: Any) -> list[Any]:
    """The tensors among results that are on the tape."""
    return [leaf for leaf in flat(x) if getattr(leaf, "requires_grad", False)]


def compare(ours: Any, theirs: Any, n: int = 1, scale: float | None = None) -> None:
    """Asserts that two results have the same structure, shapes, dtypes and elements."""
    mine, its = flat(ours), flat(theirs)
    assert isinstance(ours, tuple | list) == isinstance(theirs, tuple | list)
    assert len(mine) == len(its), f"{len(mine)} results, PyTorch gives {len(its)}"
    for a, b in zip(mine, its, strict=True):
        if not hasattr(b, "detach"):
            assert a == b
            continue
        assert tuple(a.shape) == tuple(b.shape), f"shape {tuple(a.shape)}, PyTorch gives {tuple(b.shape)}"
        assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1], f"{a.dtype}, PyTorch gives {b.dtype}"
        assert a.requires_grad == b.requires_grad
        assert_close(a, b, n=n, scale=scale)


def agree(torch: Any, code: Code, *arrays: Any, grad: bool = True, n: int = 1, scale: float | None = None) -> None:
    """Runs `code(module, *tensors)` on both, compares results and the gradients of a weighted sum of them."""
    made = [pair(torch, a, grad and is_float(np.asarray(a).dtype)) for a in arrays]
    ours, theirs = code(gc, *(a for a, _ in made)), code(torch, *(b for _, b in made))
    compare(ours, theirs, n, scale)
    mine, its = differentiable(ours), differentiable(theirs)
    if not its:
        return
    for results in (mine, its):
        total: Any = 0.0
        for k, x in enumerate(results):
            weights = np.linspace(0.5, 1.5, x.numel()).reshape(tuple(x.shape)) + k
            weight = (gc if results is mine else torch).tensor(weights.tolist(), dtype=x.dtype).reshape(tuple(x.shape))
            total = total + (x * weight).sum()
        total.backward()
    for a, b in made:
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            compare(a.grad, b.grad, max(n, 4), scale)


def refuse(torch: Any, code: Code, *arrays: Any, match: str | None = None) -> None:
    """Asserts that PyTorch refuses `code`, and graphc with an error that PyTorch's `except` clauses catch too."""
    made = [pair(torch, a) for a in arrays]
    with pytest.raises(Exception) as theirs:  # noqa: PT011  whatever PyTorch raises is the reference
        code(torch, *(b for _, b in made))
    expected = RuntimeError if theirs.type is NotImplementedError else theirs.type
    with pytest.raises(expected, match=match):
        code(gc, *(a for a, _ in made))
