"""How tensors show themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.core.tape import LEAF
from graphc.core.tensor_types import bool_, defaults, float32, int64


def format_tensor(tensor: Any) -> str:
    """PyTorch's `tensor([...], dtype=..., requires_grad=True)`, or the type of a symbolic tensor."""
    data = tensor._data
    if not isinstance(data, np.ndarray):
        return f"Tensor({data.type}, symbolic)"
    body = np.array2string(data, separator=", ", precision=4, suppress_small=True, prefix="tensor(")
    notes = [body]
    if tensor.dtype not in (defaults.float_dtype, float32, int64, bool_):
        notes.append(f"dtype={tensor.dtype}")
    if tensor._edge is LEAF:
        notes.append("requires_grad=True")
    elif tensor._edge is not None:
        notes.append(f"grad_fn={tensor.grad_fn}")
    return f"tensor({', '.join(notes)})"
