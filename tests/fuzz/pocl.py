"""PoCL for programs that run once: what takes longest is that it compiles, links and keeps each kernel by itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

#: Links one object file and nothing else, in a sixth of the time: the libraries that PoCL names are in the process anyway.
_LINKER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -o) shift; made="$1" ;;
    -*) ;;
    /*) object="$1" ;;
  esac
  shift
done
exec {linker} -shared -o "$made" "$object"
"""


@contextmanager
def quick_to_compile() -> Iterator[None]:
    """Within, PoCL compiles in processes started from here with less ado. Others take no notice."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="graphc-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        linker = Path(folder, "ld")
        linker.write_text(_LINKER.format(linker=shutil.which("ld")))
        linker.chmod(0o755)
        settings = {
            "COMPILER_PATH": folder,
            "POCL_CACHE_DIR": folder,
            "POCL_KERNEL_CACHE": "0",
            "PYOPENCL_NO_CACHE": "1",
        }
        with patch.dict(os.environ, settings):
            yield
