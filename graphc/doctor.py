"""What this machine offers graphc: every backend and device, its versions and limits, and whether it works.

Each is asked to run a small program, whose results are compared with eager code. Where one does not work, one sentence says
what helps.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphc import version
from graphc.backends import find_backend
from graphc.core.errors import GraphcError
from graphc.core.lazy import lazy_import
from graphc.functions.creation import from_numpy
from graphc.functions.softmaxes import softmax
from graphc.graphs import Graph, placeholder

blas = lazy_import("graphc.backends.llvm.blas")
disk = lazy_import("graphc.backends.llvm.cache")
executable = lazy_import("graphc.backends.devices.executable")
host = lazy_import("graphc.backends.llvm.host")
nvidia = lazy_import("graphc.backends.nvidia.devices")
opencl = lazy_import("graphc.backends.opencl.devices")
pool = lazy_import("graphc.backends.llvm.pool")
regions = lazy_import("graphc.planning.regions")

#: Where OpenCL loaders look for drivers, unless OCL_ICD_VENDORS names another folder.
VENDORS = "/etc/OpenCL/vendors"
#: Where pip puts Intel's runtime for processors (intel-opencl-rt), with an `.icd` file that names another machine's path, and
#: what that needs of a package that it does not ask for.
_INTEL, _INTEL_NEEDS = Path(sys.prefix, "lib", "libintelocl.so"), ("libimf.", "libsvml.", "libirng.", "libintlc.")


class Finding(NamedTuple):
    """A backend or one of its devices: what it is, whether it works, and what helps where it does not."""

    name: str
    lines: tuple[str, ...]
    works: bool
    help: str = ""

    def __str__(self) -> str:
        last = "works" if self.works else f"does not work: {self.help}"
        return "\n".join([self.name, *(f"  {line}" for line in (*self.lines, last))])


def examine() -> Iterator[Finding]:
    """Every backend and device, one after another."""
    yield _examined("numpy", (f"numpy {np.__version__}",), lambda: run_on("numpy"))
    yield _examined("llvm", _about_processor, lambda: run_on("llvm"))
    yield from _opencl()
    yield from _cuda()


def about() -> str:
    """The line that says what graphc this is, and where."""
    return f"graphc {version.release}, Python {platform.python_version()}, {platform.platform()}"


def _examined(name: str, about: tuple[str, ...] | Callable[[], tuple[str, ...]], check: Callable[[], None]) -> Finding:
    lines: tuple[str, ...] = ()
    try:
        lines = about() if callable(about) else about
        check()
    except Exception as error:  # whatever a driver may raise is what was asked for
        return Finding(name, lines, False, _advice(error))
    return Finding(name, lines, True)


# --- the small program -------------------------------------------------------------------------------------------------


def _program() -> tuple[Any, list[Any], Any]:
    """A product, a row of exponentials, and a sum; its operands; what eager code makes of them."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((40, 30), (30, 50))]
    graph = Graph()
    with graph.as_default():
        x, w = (placeholder(a.shape) for a in arrays)
        out = softmax(x @ w, 1).sum(0)
    program = graph.program([out._data])
    eager = softmax(from_numpy(arrays[0]) @ from_numpy(arrays[1]), 1).sum(0)
    return program, arrays, eager.numpy()


def run_on(backend: str) -> None:
    """Runs the program; AssertionError where the result is another."""
    program, arrays, want = _program()
    _compare(find_backend(backend).compile(program)(arrays)[0], want)


def _run_on_device(device: Any) -> None:
    program, arrays, want = _program()
    _compare(executable.DeviceExecutable(regions.plan_regions(program), lambda: device)(arrays)[0], want)


def _run_on_number(number: int) -> None:
    _run_on_device(opencl.device(number))


def _compare(got: Any, want: Any) -> None:
    worst = float(np.abs(got - want).max())
    if not worst < 1e-4:
        raise AssertionError(f"a small program gives other numbers than eager code: {worst:.3g} apart")


# --- backends ----------------------------------------------------------------------------------------------------------


def _about_processor() -> tuple[str, ...]:
    machine, library = host.machine(), blas.library()
    cache = disk.opened().folder
    return (
        f"llvmlite {importlib.metadata.version('llvmlite')}, {machine.triple}, vectors of {8 * machine.vector_bytes} bits",
        f"{pool.pool().threads} threads, large products by {library.name if library else 'kernels of our own'}",
        f"compiled objects are kept in {cache}" if cache else "compiled objects are not kept on disk",
    )


def _opencl() -> Iterator[Finding]:
    try:
        found = opencl.devices()
    except (GraphcError, ImportError) as error:
        yield Finding("opencl", _dead_drivers(), False, _advice(error))
        return
    for number, device in enumerate(found):
        lines = (
            f"{device.platform.name} {device.platform.version}, driver {device.driver_version}, "
            f"pyopencl {importlib.metadata.version('pyopencl')}",
            f"{device.max_compute_units} units, groups of {device.max_work_group_size}, "
            f"{device.global_mem_size >> 20:,} MiB, {device.local_mem_size >> 10:,} KiB local, "
            f"float64 {_yes('cl_khr_fp64' in device.extensions)}, float16 {_yes('cl_khr_fp16' in device.extensions)}",
        )
        yield _examined(
            f"opencl:{number}  {device.name.strip()}",
            lines,
            partial(_run_on_number, number),
        )
    for line in _dead_drivers():
        yield Finding("opencl", (), False, line)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _dead_drivers() -> tuple[str, ...]:
    """Of each driver that is here and is not found or does not load, a sentence."""
    place = os.environ.get("OCL_ICD_VENDORS", VENDORS)
    paths = [place] if os.path.isfile(place) else sorted(glob.glob(os.path.join(place, "*.icd")))
    named = {path: Path(path).read_text(errors="replace").strip() for path in paths}
    found = [f"{path} names {library}, {problem}" for path, library in named.items() if (problem := _problem(library))]
    if _INTEL.exists() and str(_INTEL) not in named.values():
        found.append(
            f"{_INTEL} was installed by pip, but no .icd file in {place} names it: put its path into an .icd file of yours "
            "and set OCL_ICD_VENDORS to its folder"
        )
    return tuple(found)


def _problem(library: str) -> str:
    """Why a driver cannot be loaded; nothing if it can."""
    if os.path.isabs(library) and not os.path.exists(library):
        return "which is not there: put the right path into a file of yours and set OCL_ICD_VENDORS to its folder"
    try:
        ctypes.CDLL(library)
    except OSError as error:
        hint = ": pip install intel-cmplr-lib-rt" if any(name in str(error) for name in _INTEL_NEEDS) else ""
        return f"which does not load ({error}){hint}"
    return ""


def _cuda() -> Iterator[Finding]:
    try:
        first = nvidia.device()
        count = nvidia.count()
    except (GraphcError, ImportError) as error:
        yield Finding("cuda", (), False, _advice(error))
        return
    for number in range(count):
        device = first if number == 0 else nvidia.device(number)
        lines = (f"CuPy {importlib.metadata.version('cupy-cuda12x')}, {device.architecture}",)
        yield _examined(f"cuda:{number}  {device.name}", lines, partial(_run_on_device, device))


def _advice(error: Exception) -> str:
    """One sentence that helps, and the error's first line."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if "unknown target CPU" in str(error):
        return f"{said}; this PoCL is older than the processor: Debian's is newer (apt install pocl-opencl-icd)"
    if isinstance(error, ImportError):
        return f"{said}; reinstall graphc: pip install --force-reinstall graphc"
    return said


def main() -> int:
    """Prints the report; 1 where `numpy` or `llvm` does not work, which every machine should have."""
    print(about())
    bad = False
    for finding in examine():
        print(f"\n{finding}", flush=True)
        bad = bad or (finding.name in ("numpy", "llvm") and not finding.works)
    return int(bad)
