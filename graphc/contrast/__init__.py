"""One training step define-by-run and define-and-run, side by side: `contrast` runs both ways and reports, as plain data,
as text and as one page of HTML.

`graphc.contrast` is this folder, and can be called: `graphc.contrast(step, x, y)` is `graphc.contrast.contrast(step, x, y)`.
"""

from __future__ import annotations

import sys
from types import ModuleType

from graphc.contrast.report import Contrast, contrast, contrast_call


class _Folder(ModuleType):
    __call__ = staticmethod(contrast)


sys.modules[__name__].__class__ = _Folder

__all__ = ["Contrast", "contrast", "contrast_call"]
