"""The machine that code is made for, and the way from LLVM IR to native code: compile to an object, load an object.

An object is position-independent and needs nothing but `memcpy`, `memmove` and `memset`, so it may be kept on disk and
loaded by another process on a machine with the same features.

Example: `code = load_object(compile_module(text))`, then `code.address("task")` is the address of a function.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphc.core.lazy import lazy_import

llvm: Any = lazy_import("llvmlite.binding")


@dataclass(frozen=True)
class Machine:
    """What a target can do. `features` is LLVM's string (`+avx2,-avx512f`), empty for the CPU's own."""

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    fma: bool
    rounding: bool  # floor, ceil, rint, trunc as instructions
    half: bool  # float16 <-> float32 as instructions
    scale: bool  # x * 2^n as an instruction

    def lanes(self, itemsize: int) -> int:
        """How many elements of a size one vector register holds."""
        return self.vector_bytes // itemsize


def x86_machine(triple: str, cpu: str, has: dict[str, bool], features: str = "") -> Machine:
    """An x86-64 machine from LLVM's feature names."""

    def got(name: str) -> bool:
        return has.get(name, False)

    width = 64 if got("avx512f") and got("avx512dq") and got("avx512bw") and got("avx512vl") else 0
    width = width or (32 if got("avx2") else 16)
    return Machine(triple, cpu, features, width, got("fma"), got("sse4.1"), got("f16c"), width == 64)


#: The x86-64 levels that tests and portable objects name.
X86_LEVELS: dict[str, dict[str, bool]] = {
    "x86-64": {},
    "x86-64-v3": dict.fromkeys(("sse4.1", "avx2", "fma", "f16c"), True),
    "x86-64-v4": dict.fromkeys(("sse4.1", "avx2", "fma", "f16c", "avx512f", "avx512dq", "avx512bw", "avx512vl"), True),
}


def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def machine() -> Machine:
    """The machine we run on."""
    _initialize()
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    has = llvm.get_host_cpu_features()
    if triple.startswith("x86_64"):
        return x86_machine(triple, cpu, has, has.flatten())
    arm = triple.startswith(("aarch64", "arm64"))
    return Machine(triple, cpu, has.flatten(), 16, fma=arm, rounding=arm, half=arm, scale=False)


@cache
def level(name: str) -> Machine:
    """One of the x86-64 levels `X86_LEVELS`; it runs here if this machine has all of its features."""
    _initialize()
    return x86_machine(llvm.get_process_triple(), name, X86_LEVELS[name])


@cache
def target_machine(target: Machine | None = None) -> Any:
    """LLVM's target machine: the host's, or another's."""
    _initialize()
    target = target or machine()
    found = llvm.Target.from_triple(target.triple)
    return found.create_target_machine(cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small")


def _tidy(module: Any, target: Any) -> None:
    """The passes that pay on IR whose vectors are already explicit; the code generator does the rest."""
    passes = llvm.create_new_function_pass_manager()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=2))
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


def compile_module(text: str, target: Machine | None = None, tidy: bool = False) -> bytes:
    """Object code of a module; raises RuntimeError with LLVM's words where the text is wrong."""
    _initialize()
    emitter = target_machine(target)
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.verify()
        if tidy:
            _tidy(module, emitter)
        return bytes(emitter.emit_object(module))


def assembly(text: str, target: Machine | None = None) -> str:
    """The assembler text of a module, for reading."""
    _initialize()
    emitter = target_machine(target)
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.verify()
        _tidy(module, emitter)
        return str(emitter.emit_assembly(module))


class Code:
    """A loaded object. It stays loaded: others may know its addresses."""

    def __init__(self, engine: Any, library: str, tracker: Any):
        self._engine, self._library, self._kept = engine, library, [tracker]

    def address(self, name: str) -> int:
        """Where the function or table `name` stands; raises RuntimeError if the object has none of that name."""
        found = self._engine.lookup(self._library, name)
        self._kept.append(found)
        return int(found[name])


_loaded: list[Code] = []
_numbers = itertools.count()
_lock = threading.Lock()


@cache
def _engine() -> Any:
    _initialize()
    # JITLink places an object's code and constants side by side, within reach of each other; it does not know Windows
    use_jit_link = "windows" not in machine().triple
    return llvm.create_lljit_compiler(target_machine(), use_jit_link=use_jit_link, suppress_errors=True)


def load_object(data: bytes) -> Code:
    """Native code from an object; its names are its own, so that two objects may use the same ones.

    Raises RuntimeError for bytes that are no object of this machine.
    """
    with _lock:
        engine, library = _engine(), f"object{next(_numbers)}"
        builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
        _loaded.append(Code(engine, library, builder.link(engine, library)))
        return _loaded[-1]
