"""NVRTC compiles every kernel that ops and workloads become, for cards that are not here."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from conformance.cases import OPS, VALUE_DEPENDENT, cotangents, forward_and_gradients, tensors_of, wanted_inputs

import graphc as gc
from graphc.backends.c_like.heads import CUDA
from graphc.backends.c_like.scalars import print_trees
from graphc.backends.c_like.tiles import Target
from graphc.backends.c_like.writing import Source
from graphc.backends.devices.translation import Translation
from graphc.backends.nvidia.nvrtc import OPTIONS, cuda, machine_code
from graphc.core import scalar as s
from graphc.core.errors import BackendError
from graphc.core.op import Op
from graphc.core.tensor_types import float32

pytestmark = pytest.mark.nvrtc

ARCHITECTURES = ("sm_80", "sm_90")
#: Items of a group on a card.
TARGET = Target(items=256, local=48 << 10, units=108, vector=0, wide_atomics=True)
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
#: A workload of each kind.
WORKLOADS = [
    "mlp_mnist", "mlp_seed_sgd", "cnn_lenet", "lstm_char", "gru_char", "gpt_char", "ew_gelu_chain", "layernorm_rows",
]  # fmt: skip


def check(fn: Any, *args: Any, **options: Any) -> None:
    """Compiles what `fn` becomes for these operands; nothing runs."""
    build, arrays = gc.compile(fn, backend="null", **options).arrays_for(*args)
    plan = build.built.executable([a.shape for a in arrays]).translation.plan
    text = Translation(plan, TARGET).source.text(CUDA)
    for architecture in ARCHITECTURES:
        code = machine_code(text, architecture)
        assert all(name.encode() in code for name in re.findall(r"KERNEL\(\d+\) (\w+)\(", text))


@pytest.mark.parametrize("optimize", [True, False], ids=["optimised", "as written"])
@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in OPS if op.name not in VALUE_DEPENDENT])
def test_ops_and_their_gradients(op: Op, optimize: bool) -> None:
    samples = list(op.samples())

    def program(operands: Any, seeds: Any) -> Any:
        columns = zip(samples, operands, seeds, strict=True)
        return [forward_and_gradients(op, sample, xs, g, gc.autograd.grad) for sample, xs, g in columns]

    operands = [tensors_of(sample.inputs, wanted_inputs(op, sample)) for sample in samples]
    check(program, operands, [tensors_of(cotangents(op, sample), ()) for sample in samples], optimize=optimize)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workloads(workload: str, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    cases, workloads = importlib.import_module("cases"), importlib.import_module("torch_workloads")
    step, args = workloads.build(gc, cases.CASES[workload])
    check(step, *args)


def instructions(*trees: s.Scalar) -> set[str]:
    """Those that trees over float32 become."""
    source = Source()
    with source.function("KERNEL(1) run(GLOBAL f32 *x)") as f:
        for n, y in enumerate(print_trees(f, trees, lambda x: f.let("f32", f"x[{x.value}]"), lambda axis: "")):
            f.do(f"x[{n}] = {y}")
    program = cuda.nvrtc.createProgram(source.text(CUDA), "kernel.cu", (), ())
    cuda.nvrtc.compileProgram(program, (*OPTIONS, "--gpu-architecture=compute_90"))
    text: str = bytes(cuda.nvrtc.getPTX(program)).decode()
    cuda.nvrtc.destroyProgram(program)
    return set(re.findall(r"^\s+(?:@!?%p\d+ )?([a-z]\w*(?:\.\w+)+)\s", text, re.MULTILINE))


def test_float32_is_computed_as_numpy_does() -> None:
    """Not in doubles, which functions without an overload for floats would mean, and rounded after each operation."""
    x, y, z = (s.leaf(i, float32) for i in range(3))
    found = instructions(x * y + z)
    assert {"mul.rn.f32", "add.rn.f32"} <= found and not any(name.startswith("fma") for name in found)
    found = instructions(
        *(s.node(op, x) for op in ("abs", "sqrt", "floor", "ceil", "rint", "trunc")), x / y, s.fma(x, y, z)
    )
    assert {"sqrt.rn.f32", "div.rn.f32", "fma.rn.f32"} <= found
    assert not any("f64" in name or "ftz" in name for name in found)
    assert not any("f64" in name for name in instructions(s.node("rem", x, y)))


def test_wrong_text_is_shown_with_the_compilers_words() -> None:
    with pytest.raises(BackendError, match=r'(?s)NVRTC .* sm_90: .*identifier "y" is undefined.*return y;'):
        machine_code("int f() { return y; }", "sm_90")


def test_cupy_has_what_the_backend_asks_of_it() -> None:
    """What stands for it in test_backend.py stands for this."""
    for name in ("copy_from_host_async", "copy_to_host_async", "__add__", "ptr"):
        assert hasattr(cuda.MemoryPointer, name), name
    for name in ("load", "get_function"):
        assert hasattr(cuda.Module, name), name
    assert callable(cuda.alloc) and callable(cuda.runtime.getDeviceProperties)
    assert hasattr(cuda.Device, "compute_capability")
