"""IEEE results without NumPy's floating-point warnings, for graphc's own computations only.

`np.errstate` does this at 1.4 us an entry, more than a small op takes; its two steps done apart cost 0.4. Where NumPy
does not offer them the steps fall back to `np.errstate` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

quiet: Any
quiet_set: Callable[[Any], Any]
quiet_reset: Callable[[Any], None]

try:
    from numpy._core.umath import _extobj_contextvar, _make_extobj
except ImportError:  # another NumPy: the public form, slower

    def _enter(_: Any) -> Any:
        state = np.errstate(all="ignore")
        state.__enter__()
        return state

    def _leave(state: Any) -> None:
        state.__exit__(None, None, None)

    quiet, quiet_set, quiet_reset = None, _enter, _leave
else:
    quiet = _make_extobj(all="ignore")
    quiet_set, quiet_reset = _extobj_contextvar.set, _extobj_contextvar.reset
