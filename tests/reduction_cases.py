"""How the tests of reductions compare one call with PyTorch's: results, dtypes, gradients, and the errors."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tolerances import as_array, assert_close

import graphc as gc
from graphc.functions.creation import from_array

torch = pytest.importorskip("torch")

NAN, INF = float("nan"), float("inf")


def both(array: Any, grad: bool = False) -> tuple[Any, Any]:
    """The same array as a tensor of graphc's and of PyTorch's."""
    array = np.asarray(array)
    mine = from_array(array.copy())
    if array.dtype == ml_dtypes.bfloat16:
        theirs = torch.tensor(array.astype(np.float32)).to(torch.bfloat16)
    else:
        theirs = torch.tensor(array)
    if grad and array.dtype.name.startswith(("float", "bfloat")):
        mine.requires_grad_(True)
        theirs.requires_grad_(True)
    return mine, theirs


def flat(result: Any) -> list[Any]:
    """The tensors or plain values of a result."""
    return [part for r in result for part in flat(r)] if isinstance(result, tuple | list) else [result]


def compare(call: Any, *arrays: Any, grad: bool = True, n: int = 1, scale: float | None = None, what: str = "") -> None:
    """Asserts that `call(module, *tensors)` gives the same in both, and the same gradients if `grad`."""
    pairs = [both(a, grad) for a in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = (flat(call(m, *(p[i] for p in pairs))) for i, m in enumerate((gc, torch)))
        assert len(mine) == len(theirs), what
        for i, (x, y) in enumerate(zip(mine, theirs, strict=True)):
            if not hasattr(y, "dtype"):
                assert x == y, f"{what} part {i}: {x} and {y}"
                continue
            assert_close(x, y, n=n, scale=scale, what=f"{what} part {i}")
        if not grad:
            return
        roots = [i for i, y in enumerate(theirs) if hasattr(y, "requires_grad") and y.requires_grad]
        assert roots == [i for i, x in enumerate(mine) if hasattr(x, "requires_grad") and x.requires_grad], what
        rng = np.random.default_rng(5)
        for i in roots:
            seed = both(rng.uniform(0.5, 1.5, tuple(theirs[i].shape)).astype(as_array(mine[i]).dtype))
            mine[i].backward(seed[0], retain_graph=True)
            theirs[i].backward(seed[1], retain_graph=True)
        for i, (x, y) in enumerate(pairs):
            if y.grad is not None:
                assert_close(x.grad, y.grad, n=4 * n, scale=scale, what=f"{what} gradient {i}")


def refused_alike(call: Any, *arrays: Any, match: str | None = None) -> None:
    """Asserts that both refuse, ours with a subclass of the class PyTorch raises, the message matching `match`."""
    pairs = [both(a) for a in arrays]
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch, *(p[1] for p in pairs))
    wanted = RuntimeError if theirs.type is NotImplementedError else theirs.type
    with pytest.raises(wanted, match=match):
        call(gc, *(p[0] for p in pairs))


def arrays(kind: str = "float") -> list[Any]:
    """Arrays of many shapes and dtypes; `kind`: float, int, bool or odd (NaN, infinities, ties)."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(3, 4, 5))
    if kind == "float":
        full = [base.astype(np.float32), base[0], base[0, :, 0].astype(np.float32), np.array(1.5, np.float32)]
        views = [base.T, base[:, ::2, ::-1].astype(np.float32)]
        return [*full, *views, base[0].astype(np.float16), base[0].astype(ml_dtypes.bfloat16)]
    if kind == "int":
        whole = rng.integers(0, 5, (3, 4))
        return [whole.astype(t) for t in (np.uint8, np.int8, np.int16, np.int32, np.int64)] + [np.array(3)]
    if kind == "bool":
        return [rng.integers(0, 2, (3, 4)).astype(bool), np.array(True), np.zeros((0, 3), bool), np.ones((2, 2), bool)]
    odd = np.array([[1, 2, NAN, 2], [3, 3, 0, -3], [INF, 1, -INF, INF], [-INF, -INF, -INF, -INF], [0, 2, 2, -0.0]])
    return [odd, odd.astype(np.float32).T]


def dims_of(array: Any) -> list[int]:
    """The dimensions to try for an array: all, counted from the front or from the back."""
    ndim = np.asarray(array).ndim
    return [d - ndim if d % 2 else d for d in range(ndim)] if ndim else [0, -1]
