"""Steps that Python does within a run: operands as arrays, and a node's results with the user's line in its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.ir.blame import blame
from graphc.ir.program import Node
from graphc.planning.steps import Strided


def elements(array: Any, x: Strided) -> Any:
    """The elements of `x` in the flat array of its value."""
    if not array.size:
        return np.empty(x.shape, array.dtype)
    return np.lib.stride_tricks.as_strided(array[x.offset :], x.shape, [n * array.itemsize for n in x.strides])


def evaluated(node: Node, operands: Sequence[Any]) -> Sequence[Any]:
    """The node's outputs by its NumPy meaning."""
    token = quiet_set(quiet)
    try:
        found = node.op.eval(*operands, **node.attrs)
    except Exception as error:
        raise blame(error, node) from error.__cause__
    finally:
        quiet_reset(token)
    results: Sequence[Any] = (found,) if node.op.n_outputs == 1 else found
    return results
