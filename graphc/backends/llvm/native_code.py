"""Native functions for LLVM texts: each text is compiled once per machine, kept on disk, loaded once per process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from graphc.backends.llvm import cache, host
from graphc.backends.llvm.pool import available_cpus

_addresses: dict[tuple[str, str], int] = {}
_loaded: list[host.Code] = []  # code goes when nobody holds it
_lock = threading.Lock()


def addresses(wanted: Sequence[tuple[str, str]]) -> list[int]:
    """The address of function `symbol` of each (text, symbol); what is not there yet is compiled side by side.

    Raises RuntimeError with LLVM's words where a text is wrong.
    """
    missing = list(dict.fromkeys(key for key in wanted if key not in _addresses))
    if missing:
        with _lock:
            missing = [key for key in missing if key not in _addresses]
            for (text, symbol), data in zip(missing, _objects([text for text, _ in missing]), strict=True):
                _loaded.append(host.load_object(data))
                _addresses[text, symbol] = _loaded[-1].address(symbol)
    return [_addresses[key] for key in wanted]


def _objects(texts: Sequence[str]) -> list[bytes]:
    """Object code, from the disk where it is there."""
    found = [cache.get(text) for text in texts]
    new = [n for n, data in enumerate(found) if data is None]
    if len(new) > 1 and available_cpus() > 1:
        host.target_machine()  # set up once, before there are several threads
        with ThreadPoolExecutor(available_cpus()) as workers:
            made = list(workers.map(host.compile_module, [texts[n] for n in new]))
    else:
        made = [host.compile_module(texts[n]) for n in new]
    for n, data in zip(new, made, strict=True):
        found[n] = data
        cache.put(texts[n], data)
    return [data for data in found if data is not None]
