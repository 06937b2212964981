"""The few environment flags. Each is read once, at import; tests set the attributes."""

from __future__ import annotations

import os


class Config:
    """Process-wide switches, all of them also plain attributes of `graphc.config`."""

    def __init__(self) -> None:
        environ = os.environ
        #: `GRAPHC_VERIFY=1`: re-infer every type after every pass and name the pass that broke a program.
        self.verify: bool = environ.get("GRAPHC_VERIFY", "0") not in ("", "0")
        #: `GRAPHC_DUMP=dir`: write each program after each pass there, as text and DOT.
        self.dump: str = environ.get("GRAPHC_DUMP", "")
        #: `GRAPHC_BACKEND=name`: the backend of `compile` and `Session` where none is named.
        self.backend: str = environ.get("GRAPHC_BACKEND", "") or "llvm"
        #: `GRAPHC_DEVICE=opencl:0`: the device on which tensors are made where none is named.
        self.device: str = environ.get("GRAPHC_DEVICE", "") or "cpu"
        #: Whether OpenCL answers where a program asks for CUDA: the user named an OpenCL device for everything.
        self.stands_for_cuda: bool = self.device.startswith("opencl")
        #: `GRAPHC_EAGER=numpy|compiled`: eager code runs all compositions op by op, or each as a compiled call from its first
        #: call on; "auto" decides by their cost (core/one_call.py).
        self.eager: str = environ.get("GRAPHC_EAGER", "") or "auto"
        #: `GRAPHC_THREADS=n`: threads of the native run, the caller counted; 0 is one for each CPU we may use.
        self.threads: int = int(environ.get("GRAPHC_THREADS", "") or 0)
        #: `GRAPHC_POOL=futex|portable|serial`: how workers wait, or none at all; empty is the best this system has.
        self.pool: str = environ.get("GRAPHC_POOL", "")
        #: `GRAPHC_CACHE=dir`: where compiled objects are kept; empty is the user's cache folder, "off" is nowhere.
        self.cache: str = environ.get("GRAPHC_CACHE", "")
        #: Bytes that compiled objects may take on disk; those unused longest are dropped first.
        self.cache_bytes: int = 1 << 28
        #: `GRAPHC_TUNE=1`: which tiles make a sum of products fastest on a device is tried out when it is first met.
        self.tune: bool = environ.get("GRAPHC_TUNE", "0") not in ("", "0")
        #: `GRAPHC_DETERMINISTIC=1`: what scatters add up on graphics cards is added in order, so that runs repeat to the bit.
        self.deterministic: bool = environ.get("GRAPHC_DETERMINISTIC", "0") not in ("", "0")
        #: Constants up to this many bytes are folded and compared by value.
        self.largest_fold: int = 1 << 16
        #: Builds a compiled function or session keeps before it drops the one unused longest.
        self.largest_cache: int = 64
        #: Builds that `recompiles` tells of: the latest ones.
        self.largest_history: int = 1000


config = Config()
