"""Native functions for LLVM texts: each text is compiled once per machine, kept on disk, loaded once per process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from graphc.backends.llvm import cache, host
from graphc.backends.llvm.compilers import compilers

#: Texts that somebody wants and nobody has loaded: the object, or the future of one that is being made.
_begun: dict[str, Any] = {}
_codes: dict[str, host.Code] = {}
_lock = threading.RLock()


def begin(text: str) -> bool:
    """Sees to it that a text is compiled, if it is not on the disk, while the caller goes on; whether that was so."""
    if text in _codes or text in _begun:
        return False
    with _lock:
        if text in _codes or text in _begun:
            return False
        data = cache.get(text)
        _begun[text] = compilers().submit(text) if data is None else data
        return data is None


def code(text: str, label: str = "") -> host.Code:
    """The loaded code of a text; `label` says in a few words what it is.

    Raises RuntimeError with LLVM's words where the text is wrong.
    """
    found = _codes.get(text)
    if found is not None:
        return found
    with _lock:
        if text not in _codes:
            begin(text)
            data = _begun.pop(text)
            if not isinstance(data, bytes):
                data = data.result()
                cache.put(text, data, label)
            _codes[text] = host.load_object(data)
        return _codes[text]


def addresses(wanted: Sequence[tuple[str, str]]) -> list[int]:
    """The address of function `symbol` of each (text, symbol); RuntimeError as `code` raises it."""
    for text, _ in wanted:
        begin(text)
    return [code(text).address(symbol) for text, symbol in wanted]


def _after_fork() -> None:
    """In a child: what was being compiled is the parent's."""
    for text in [text for text, data in _begun.items() if not isinstance(data, bytes)]:
        del _begun[text]
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)
