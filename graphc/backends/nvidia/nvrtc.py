"""CUDA C text to machine code, by NVRTC. A device is not needed for that, nor are CUDA's headers: texts include none."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import BackendError
from graphc.core.lazy import lazy_import

cuda: Any = lazy_import("cupy.cuda")

#: Products are not contracted with sums, small numbers stay what they are, quotients and roots are rounded to nearest: what
#: NumPy does. CuPy's own way to compile (`RawModule`) flushes small numbers to zero.
OPTIONS = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")


def missing(error: Exception) -> BackendError:
    """What a user is told where CuPy, or a library it loads, is not there."""
    return BackendError(f'the cuda backend needs CuPy and NVRTC: pip install "graphc[cuda]"\n  {error}')


def machine_code(text: str, architecture: str) -> bytes:
    """A cubin for an architecture such as `sm_90`; BackendError shows the compiler's words."""
    try:
        nvrtc = cuda.nvrtc
        program = nvrtc.createProgram(text, "kernels.cu", (), ())
    except (ImportError, RuntimeError) as error:  # no CuPy; CuPy without NVRTC
        raise missing(error) from None
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"--gpu-architecture={architecture}"))
        code: bytes = nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        words = nvrtc.getProgramLog(program)
        raise BackendError(f"NVRTC cannot build a kernel for {architecture}: {error}\n{words}\n{text}") from error
    finally:
        nvrtc.destroyProgram(program)
    return code
