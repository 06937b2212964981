"""The page: what `Contrast` collected as one HTML file that needs nothing else, no network and no other file.

The files it is made of lie beside this one in `page_files/`; each JavaScript file is one part of the page.
"""

from __future__ import annotations

import base64
import hashlib
import html as html_text
import json
import math
import re
from pathlib import Path
from typing import Any

from graphc.contrast.levels import Data, levels

FILES = Path(__file__).with_name("page_files")
#: In the order in which they run: each uses only what stands before it while it loads.
SCRIPTS = (
    *("dom", "numbers", "relations", "selection", "charts"),
    *(
        "summary",
        "timelines",
        "source",
        "viewer",
        "walking",
        "stages",
        "table",
        "kernels",
        "memory",
        "losses",
        "programs",
    ),
    *("search", "main"),
)


def html(data: Data) -> str:
    """The page of `Contrast.data` as the text of one HTML file."""
    style = (FILES / "page.css").read_text(encoding="utf-8")
    script = "\n".join((FILES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "title": html_text.escape(str(data["title"])),
        "policy": f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "data": embedded({**data, "drawings": drawings(data)}),
        "script": script,
    }
    template = (FILES / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def drawings(data: Data) -> Data:
    """For each stage its levels of detail, drawn."""
    titles = {line["id"]: line["text"].strip() for line in data["lines"]}
    titles |= {kernel["id"]: kernel["title"] for kernel in data["kernels"]}
    return {stage["id"]: levels(stage, titles) for stage in data["stages"]}


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&`; NaN and infinities are strings."""
    try:
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    """The same with "NaN", "Infinity" and "-Infinity" for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _digest(text: str) -> str:
    """By which the page's policy knows its own style and script, and lets no other run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
