"""PyTorch's own samples of its operators (`op_db`): what graphc makes of each, beside what PyTorch does.

    python tests/parity/opinfo.py [--backend llvm] [--samples N] [--verbose] [--log FILE] [NAME ...]

prints what becomes of each operator: `holds` if results, dtypes, shapes and gradients are PyTorch's for all samples. Samples
are in float64 where the operator has it. With a log, a command that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal import common_methods_invocations as invocations

import graphc as gc

#: Dtypes in which an operator is tried, the first that it has.
DTYPES = (torch.float64, torch.float32, torch.int64, torch.bool)
#: How far elements may differ, absolutely and relatively, by the coarsest dtype that is involved.
ROOM = {torch.float64: 1e-8, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}


@dataclass
class Outcome:
    """What became of an operator: samples tried, those whose gradients were compared, and what is wrong first."""

    samples: int = 0
    gradients: int = 0
    wrong: str = ""


class Difference(Exception):
    """The libraries do not agree."""


def entries() -> dict[str, Any]:
    """The operators by name and variant; one that is there twice has a number."""
    found: dict[str, Any] = {}
    times: Counter[str] = Counter()
    for op in invocations.op_db:
        name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        times[name] += 1
        found[name if times[name] == 1 else f"{name}.{times[name]}"] = op
    return found


def ours(op: Any) -> Callable[..., Any] | None:
    """graphc's operator: the same lambda over graphc instead of PyTorch, or the same path of names."""
    f = op.op
    if (
        isinstance(f, types.FunctionType)
        and f.__module__.startswith("torch.testing.")
        and "torch" in f.__code__.co_names
    ):
        return types.FunctionType(f.__code__, {**f.__globals__, "torch": gc}, f.__name__, f.__defaults__, f.__closure__)
    found = attribute(gc, op.name)
    if not callable(found) and "." not in op.name:
        found = getattr(gc.Tensor, op.name, None)
        if isinstance(found, property):
            return lambda x: getattr(x, op.name)
    return found if callable(found) else None


def attribute(library: Any, path: str) -> Any:
    """What a path of names leads to, None where it ends."""
    for part in path.split("."):
        library = getattr(library, part, None)
        if library is None:
            return None
    return library


def dtype_of(op: Any) -> Any:
    """The dtype in which an operator is tried."""
    known = op.supported_dtypes("cpu")
    return next((d for d in DTYPES if d in known), None)


def told(x: Any) -> Any:
    """An argument of PyTorch's as graphc's: tensors share nothing, and lie in memory as theirs do."""
    match x:
        case torch.Tensor():
            wide = x.detach().float() if x.dtype is torch.bfloat16 else x.detach()
            made = gc.from_numpy(wide.numpy(force=True).copy(order="K")).to(getattr(gc, name_of(x.dtype)))
            return made.requires_grad_(x.requires_grad)
        case torch.dtype() | torch.layout() | torch.memory_format():
            return getattr(gc, name_of(x))
        case torch.device():
            return gc.device(str(x))
        case torch.Size():
            return gc.Size(x)
        case torch.nn.Module():
            return getattr(gc.nn, type(x).__name__)()
        case tuple() | list() | dict():
            return mapped(told, x)
    if (callable(x) and getattr(x, "__module__", "").startswith("torch")) or isinstance(x, types.BuiltinFunctionType):
        return getattr(gc.nn.functional, x.__name__)
    return x


def fresh(x: Any) -> Any:
    """An argument of PyTorch's again, sharing nothing."""
    if isinstance(x, torch.Tensor):
        return x.detach().clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad)
    return mapped(fresh, x) if isinstance(x, tuple | list | dict) else x


def mapped(f: Callable[[Any], Any], x: Any) -> Any:
    """A container of the same kind with f of each element."""
    if isinstance(x, dict):
        return {key: f(value) for key, value in x.items()}
    made = [f(y) for y in x]
    return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)


def leaves(x: Any) -> Iterator[Any]:
    """The tensors and numbers of a result, in order."""
    if isinstance(x, tuple | list | dict):
        for y in x.values() if isinstance(x, dict) else x:
            yield from leaves(y)
    else:
        yield x


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor of either library."""
    return isinstance(x, torch.Tensor | gc.Tensor)


def name_of(x: Any) -> str:
    """float64 of torch.float64 and graphc.float64."""
    return str(x).rpartition(".")[2]


def compare(found: Any, want: Any, room: float | None, what: str) -> None:
    """Raises Difference where results differ in number, dtype, shape or, if there is a `room`, by more than that."""
    mine, its = list(leaves(found)), list(leaves(want))
    if len(mine) != len(its):
        raise Difference(f"{what}: {len(mine)} parts instead of {len(its)}")
    for a, b in zip(mine, its, strict=True):
        if is_tensor(a) != is_tensor(b):
            raise Difference(f"{what}: {type(a).__name__} instead of {type(b).__name__}")
        if not is_tensor(b):
            if room is not None and not is_same(a, b):
                raise Difference(f"{what}: {a!r} instead of {b!r}")
            continue
        for quality in (lambda x: name_of(x.dtype), lambda x: tuple(x.shape)):
            if quality(a) != quality(b):
                raise Difference(f"{what}: {quality(a)} instead of {quality(b)}")
        if room is not None:
            x, y = as_array(a), as_array(b)
            if not np.allclose(x, y, rtol=room, atol=room if y.dtype.kind == "f" else 0, equal_nan=True):
                with np.errstate(all="ignore"):
                    most = np.nanmax(np.abs(x.astype(np.float64) - y.astype(np.float64)))
                raise Difference(f"{what}: elements differ by up to {most:.3g}")


def is_same(a: Any, b: Any) -> bool:
    """Whether two numbers, dtypes or the like are the same."""
    if isinstance(b, float):
        return isinstance(a, float) and (math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (a != a and b != b))
    return name_of(a) == name_of(b) if isinstance(b, torch.dtype) else bool(a == b)


def as_array(x: Any) -> Any:
    """A tensor's elements as NumPy's."""
    x = x.detach().float() if name_of(x.dtype) == "bfloat16" else x.detach()
    return x.numpy(force=True) if isinstance(x, torch.Tensor) else x.cpu().numpy()


def with_gradients(op: Callable[..., Any], args: Any, kwargs: Any, library: Any, only: Any = lambda x: x) -> Any:
    """Results and, of the part of them that `only` picks, the gradients of all arguments that want one."""
    wanting = [x for x in leaves([*args, kwargs]) if is_tensor(x) and x.requires_grad]
    out = only(op(*args, **kwargs))
    given = [y for y in leaves(out) if is_tensor(y) and y.requires_grad]
    if not given or not wanting:
        return out, [None] * len(wanting)
    rng = np.random.default_rng(0)
    weights = [library.from_numpy(np.asarray(rng.normal(size=tuple(y.shape)))).to(y.dtype) for y in given]
    return out, list(library.autograd.grad(given, wanting, weights, allow_unused=True))


def is_random(op: Any, sample: Any) -> bool:
    """Whether PyTorch's own results differ from one run to the next."""
    if isinstance(op.op, types.FunctionType) and "wrapper_set_seed" in op.op.__code__.co_names:
        return True
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            out = op.op(*fresh([sample.input, *sample.args]), **fresh(sample.kwargs))
        made.append([as_array(x) for x in leaves(out) if isinstance(x, torch.Tensor)])
    return not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(*made, strict=True))


def examine(op: Any, samples: int | None = None, backend: str | None = None, verbose: bool = False) -> Outcome:
    """Tries an operator on its first samples (None: on all), in eager mode or compiled for a backend."""
    outcome, mine, dtype = Outcome(), ours(op), dtype_of(op)
    if mine is None or dtype is None:
        outcome.wrong = "is not there" if mine is None else "takes complex numbers only"
        return outcome
    grads = op.supports_autograd and dtype.is_floating_point
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of its samples too: which call has them depends on what ran before
        for sample in islice(op.sample_inputs("cpu", dtype, requires_grad=grads), samples):
            try:
                outcome.gradients += one(op, mine, sample, grads, backend)
            except Exception as error:  # whatever goes wrong is an outcome
                if verbose:
                    traceback.print_exc()
                first = next(iter(str(error).splitlines()), "")
                outcome.wrong = outcome.wrong or (
                    first if isinstance(error, Difference) else f"{type(error).__name__}: {first}"
                )
            outcome.samples += 1
    return outcome


def one(op: Any, mine: Callable[..., Any], sample: Any, grads: bool, backend: str | None) -> bool:
    """Compares results and gradients of a sample; whether there were any of the latter."""
    given = [sample.input, *sample.args], dict(sample.kwargs)
    args, kwargs = told(given)
    coarsest = max(
        (ROOM.get(x.dtype, ROOM[torch.float64]) for x in leaves(given) if isinstance(x, torch.Tensor)),
        default=ROOM[torch.float64],
    )
    room = None if is_random(op, sample) else coarsest
    only = sample.output_process_fn_grad  # the part of the results that is the same however they are computed
    want, want_grads = with_gradients(op.op, *fresh(given), torch, only)
    if backend is None:
        found, found_grads = with_gradients(mine, args, kwargs, gc, only)
    else:
        found, found_grads = gc.compile(lambda a, k: with_gradients(mine, a, k, gc, only), backend=backend)(
            args, kwargs
        )
    compare(found, want, room, "result")
    if not grads:
        return False
    for n, (a, b) in enumerate(zip(found_grads, want_grads, strict=True)):
        if a is not None and b is not None:
            compare(a, b, room, f"gradient {n}")
        elif (found := b if a is None else a) is not None and found.any():  # none is as good as zeros
            raise Difference(
                f"gradient {n}: {'none' if a is None else 'one'} where PyTorch has {'one' if a is None else 'none'}"
            )
    return any(x is not None for x in want_grads)


def logged(log: Path | None) -> dict[str, str]:
    """Lines of a log by the operator they tell of."""
    lines = log.read_text().splitlines() if log and log.exists() else []
    return {line.partition(": ")[0]: line for line in lines}


def main() -> None:
    """Prints what becomes of each operator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--backend")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--log", type=Path, help="a file of finished operators, which are not tried again")
    options = parser.parse_args()
    found, lines = entries(), logged(options.log)
    names = options.names or list(found)
    for name in names:
        if name in lines:
            continue
        outcome = examine(found[name], options.samples, options.backend, options.verbose)
        made = f"({outcome.samples} samples, {outcome.gradients} with gradients)"
        lines[name] = f"{name}: {outcome.wrong or 'holds'} {made}"
        print(lines[name], flush=True)
        if options.log:
            with options.log.open("a") as file:
                file.write(lines[name] + "\n")
    held = sum(lines[name].startswith(f"{name}: holds (") for name in names)
    print(f"{held} of {len(names)} hold")


if __name__ == "__main__":
    main()
