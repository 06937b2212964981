"""How far the llvm backend's functions are from the true values: every float32, and random float64 numbers.

    python benchmarks/ulps.py [--only NAME...] [--step N] [--by ours] [--float64 COUNT] [--write FILE]

An error of 0.5 ulp is the least that rounding leaves. float32 is compared with NumPy's float64 functions over all 2^32
patterns, or every N-th; the error function, or all with `--by ours`, with our own float64 functions, which are faster.
Those are compared with mpmath at random numbers. A wrong infinity, NaN or sign of zero counts as infinitely wrong.
`--write` puts the table into a file.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from backends.llvm.tree_runner import compiled, module_text, run

from graphc.backends.llvm.host import compile_module, machine
from graphc.core import scalar as s
from graphc.core.lazy import lazy_import
from graphc.core.op import find_op
from graphc.core.tensor_types import DType, float32, float64, int64
from graphc.primitives import elementwise  # noqa: F401 declares the ops

mp: Any = lazy_import("mpmath")

Array = np.ndarray[Any, Any]
CHUNK = 1 << 15
LANES = 32

UNARY = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
         "tanh", "asinh", "acosh", "atanh", "erf", "erfc")  # fmt: skip
OURS = {"erf", "erfc"}  # NumPy has none of its own that is fast


FUNCTIONS: dict[str, Callable[[s.Scalar], s.Scalar]] = {
    **{name: lambda x, name=name: s.node(name, x) for name in UNARY},
    "sqrt": s.sqrt,
    "sigmoid": find_op("sigmoid").kind.scalar,
    "rsqrt": find_op("rsqrt").kind.scalar,
    "pow 2.5": lambda x: s.pow(x, 2.5),
    "pow -7": lambda x: s.pow(x, -7.0),
    "pow 0.3125": lambda x: s.pow(x, 0.3125),
    "1.5 pow": lambda x: s.pow(s.const(1.5, x.dtype), x),
}
NUMPY: dict[str, Callable[[Array], Array]] = {
    **{name: s.PRIMITIVES[name].numpy for name in UNARY if name not in OURS},
    "sqrt": np.sqrt,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "pow 2.5": lambda x: np.power(x, 2.5),
    "pow -7": lambda x: np.power(x, -7.0),
    "pow 0.3125": lambda x: np.power(x, 0.3125),
    "1.5 pow": lambda x: np.power(1.5, x),
}


class Worst(NamedTuple):
    """The largest error in ulp, where it was found, and what came out."""

    error: float
    x: float


def error_tree(got: s.Scalar, want: s.Scalar) -> s.Scalar:
    """The error of a float32 in units of the last place of the correctly rounded result; infinities count as 2^128."""
    near = s.cast(want, float32)
    exponent = s.cast(s.bits(abs(near)) >> 23, int64)
    ulp = s.from_bits((s.minimum(s.maximum(exponent, 1), 254) + (1023 - 150)) << 52)
    limit = 2.0**128
    low, high = s.const(-limit, float64), s.const(limit, float64)
    clipped = [s.select(high < v, high, s.select(v < low, low, v)) for v in (s.cast(got, float64), want)]
    error = abs(clipped[0] - clipped[1]) / ulp
    both = s.ne(got, got) & s.ne(near, near)
    zeros = s.eq(got, 0.0) & s.eq(near, 0.0)
    error = s.select(zeros & s.ne(s.bits(got), s.bits(near)), float("inf"), error)
    error = s.select(s.ne(error, error), float("inf"), error)
    return s.cast(s.select(both, 0.0, error), float32)


class Measured:
    """The error of one float32 function over arrays of inputs."""

    def __init__(self, name: str, ours: bool = False):
        x = s.leaf(0, float32)
        self._reference = None if ours else NUMPY.get(name)
        want = s.leaf(1, float64) if self._reference else FUNCTIONS[name](s.cast(x, float64))
        self._dtypes: list[DType] = [float32, float64] if self._reference else [float32]
        code = compiled([error_tree(FUNCTIONS[name](x), want)], self._dtypes, LANES, machine())
        self._code, places = code, [ctypes.c_void_p] * (len(self._dtypes) + 1)
        self._run = ctypes.CFUNCTYPE(None, *places, ctypes.c_int64)(code.address("run"))
        self._errors = np.empty(CHUNK, np.float32)

    def worst(self, x: Array) -> Worst:
        """The largest error over a chunk of `CHUNK` numbers."""
        assert x.size == CHUNK
        arrays = [x]
        if self._reference:
            with np.errstate(all="ignore"):
                arrays.append(self._reference(x.astype(np.float64)))
        self._run(*(a.ctypes.data for a in (*arrays, self._errors)), CHUNK)
        place = int(np.argmax(self._errors))
        return Worst(float(self._errors[place]), float(x[place]))


def every_float32(name: str, step: int = 1, ours: bool = False) -> Worst:
    """The largest error over every `step`-th float32."""
    measured, worst = Measured(name, ours), Worst(0.0, 0.0)
    for start in range(0, 1 << 32, CHUNK * step):
        patterns = np.arange(start, start + CHUNK * step, step, dtype=np.uint64).astype(np.uint32)
        worst = max(worst, measured.worst(patterns.view(np.float32)), key=lambda w: w.error)
    return worst


# -- float64 beside mpmath ------------------------------------------------------------------------------------------


def random_float64(name: str, count: int, seed: int = 0) -> Array:
    """Numbers of all sizes, of ordinary size, and of any bits; of the function's domain where that is narrow."""
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random(count) < 0.5, 1.0, -1.0)
    x = np.concatenate([
        np.exp2(rng.uniform(-40, 11, count)) * signs, rng.uniform(-1, 1, count), rng.uniform(-6, 6, count),
        rng.uniform(-750, 750, count // 4), rng.integers(0, 0x7FF0 << 48, count // 2).view(np.float64) * 1.0,
    ])  # fmt: skip
    if name in ("log", "log2", "log10") or name.startswith("pow"):
        return np.abs(x)
    return 1 + np.abs(x) if name == "acosh" else x


def true_value(name: str, x: float) -> Any:
    """A function by mpmath, in 220 bits; None outside of its domain."""
    mp.mp.prec = 220
    if name in OURS and abs(x) > 30:
        return mp.mpf(int(name == "erf")) if x > 0 else mp.mpf(-1 if name == "erf" else 2)
    special: dict[str, Callable[[Any], Any]] = {
        "exp2": lambda v: mp.mpf(2) ** v, "log2": lambda v: mp.log(v, 2), "rsqrt": lambda v: 1 / mp.sqrt(v),
        "sigmoid": lambda v: 1 / (1 + mp.exp(-v)), "pow 2.5": lambda v: v ** mp.mpf(2.5),
        "pow -7": lambda v: v ** mp.mpf(-7), "pow 0.3125": lambda v: v ** mp.mpf(0.3125),
        "1.5 pow": lambda v: mp.mpf(1.5) ** v,
    }  # fmt: skip
    try:
        out = (special.get(name) or getattr(mp, name))(mp.mpf(x))
    except (ValueError, ZeroDivisionError):
        return None
    return out if isinstance(out, mp.mpf) else None


def float64_error(got: float, true: Any) -> float:
    """The error in ulp of a float64."""
    near = float(true)
    if not np.isfinite(near) or not np.isfinite(got):
        return 0.0 if got == near else float("inf")
    return float(abs(mp.mpf(got) - true) / mp.mpf(float(np.spacing(abs(near)))))


def random_errors(name: str, count: int) -> Worst:
    """The largest error over random float64 numbers."""
    x = random_float64(name, count)
    (got,) = run([FUNCTIONS[name](s.leaf(0, float64))], [x], [float64], 16)
    worst = Worst(0.0, 0.0)
    for a, b in zip(x.tolist(), got.tolist(), strict=True):
        true = true_value(name, a)
        error = (0.0 if b != b else float("inf")) if true is None else float64_error(b, true)
        worst = max(worst, Worst(error, a), key=lambda w: w.error)
    return worst


# -- time -----------------------------------------------------------------------------------------------------------


def nanoseconds(name: str, dtype: DType, lanes: int) -> float:
    """The time of one element in an array that stays in the first-level cache."""
    low, high = (1.1, 3.0) if name == "acosh" else (0.1, 0.9)
    x = np.random.default_rng(0).uniform(low, high, 4096).astype(dtype.np)
    y = np.empty_like(x)
    code = compiled([FUNCTIONS[name](s.leaf(0, dtype))], [dtype], lanes, machine())
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address("run"))
    best, (a, b) = float("inf"), (x.ctypes.data, y.ctypes.data)
    for _ in range(60):
        start = time.perf_counter()
        for _ in range(8):
            call(a, b, 4096)
        best = min(best, time.perf_counter() - start)
    return best / 8 / 4096 * 1e9


def compile_milliseconds(name: str) -> float:
    """The time from a tree to an object."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        compile_module(module_text([FUNCTIONS[name](s.leaf(0, float32))], [float32], 32, machine()))
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def row(name: str, step: int, count: int, ours: bool) -> str:
    """One line of the table."""
    single, double = every_float32(name, step, ours), random_errors(name, count)
    times = [nanoseconds(name, float32, 16), nanoseconds(name, float32, 32), nanoseconds(name, float64, 16)]
    shown = " | ".join(f"{t:.2f}" for t in times)
    return (f"| {name} | {single.error:.3f} | {single.x!r} | {double.error:.3f} | {double.x!r} | {shown} "
            f"| {compile_milliseconds(name):.1f} |")  # fmt: skip


HEAD = """| function | float32 ulp | at | float64 ulp | at | ns, f32, 16 lanes | 32 lanes | ns, f64, 16 lanes | compile ms |
|---|---|---|---|---|---|---|---|---|"""


def main(arguments: Sequence[str]) -> None:
    """Prints, and perhaps writes, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(FUNCTIONS), choices=list(FUNCTIONS))
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--by", choices=["numpy", "ours"], default="numpy")
    parser.add_argument("--float64", type=int, default=2000)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args(arguments)
    lines = [HEAD]
    print(HEAD)
    for name in chosen.only:
        lines.append(row(name, chosen.step, chosen.float64, chosen.by == "ours"))
        print(lines[-1], flush=True)
        if chosen.write:
            chosen.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
