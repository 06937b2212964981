"""The machine that code is made for, and the way from LLVM IR to native code: compile to an object, load an object.

An object is position-independent and needs nothing but `memcpy`, `memmove` and `memset`, so it may be kept on disk and
loaded by another process on a machine with the same features. LLVM itself is loaded only where it is needed: for compiling
in this process, and where the system is not the one that graphc can ask and load objects on by itself (Linux on x86-64).

Example: `code = load_object(compile_module(text))`, then `code.address("task")` is the address of a function.
"""

from __future__ import annotations

import itertools
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphc.backends.llvm import elf
from graphc.core.lazy import lazy_import

llvm: Any = lazy_import("llvmlite.binding")


@dataclass(frozen=True)
class Machine:
    """What a target can do. `cpu` is LLVM's name, empty for the processor we run on; `features` is LLVM's string
    (`+avx2,-avx512f`), or, of the processor we run on, whatever else tells it from others.
    """

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
    described = _linux_processor()
    if described:
        flags = dict.fromkeys(described["flags"].split(), True)
        has = {**flags, "sse4.1": "sse4_1" in flags}
        return x86_machine("x86_64-unknown-linux-gnu", "", has, "\n".join(f"{k}: {v}" for k, v in described.items()))
    _initialize()
    triple, has = llvm.get_process_triple(), llvm.get_host_cpu_features()
    name = f"{llvm.get_host_cpu_name()} {has.flatten()}"
    if triple.startswith("x86_64"):
        return x86_machine(triple, "", has, name)
    arm = triple.startswith(("aarch64", "arm64"))
    return Machine(triple, "", name, 16, fma=arm, rounding=arm, half=arm, scale=False)


def _linux_processor() -> dict[str, str]:
    """What Linux says of an x86-64 processor (of the first; there are no others here): model and features; else nothing."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 1 << 32:
        return {}
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read(1 << 14).partition("\n\n")[0]  # not the others: there may be hundreds
    except OSError:
        return {}
    found = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in first.splitlines())}
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags")
    return {key: found[key] for key in wanted} if all(key in found for key in wanted) else {}


@cache
def level(name: str) -> Machine:
    """One of the x86-64 levels `X86_LEVELS`; it runs here if this machine has all of its features."""
    return x86_machine(machine().triple, name, X86_LEVELS[name])


@cache
def target_machine(target: Machine | None = None, effort: int = 2) -> Any:
    """LLVM's target machine: the host's, or another's. `effort`: how long it may look for good code; 0 is not at all."""
    _initialize()
    target = target or machine()
    cpu, features = target.cpu, target.features
    if not cpu:
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    found = llvm.Target.from_triple(target.triple)
    return found.create_target_machine(cpu=cpu, features=features, opt=effort, reloc="pic", codemodel="small")


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
    """Object code of a module, made in this process; raises RuntimeError with LLVM's words where the text is wrong."""
    emitter = target_machine(target)
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.verify()
        if tidy:
            _tidy(module, emitter)
        return bytes(emitter.emit_object(module))


def assembly(text: str, target: Machine | None = None) -> str:
    """The assembler text of a module, for reading."""
    emitter = target_machine(target)
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.verify()
        _tidy(module, emitter)
        return str(emitter.emit_assembly(module))


class Code:
    """A loaded object: where its functions and tables stand. It stays loaded: others may know the addresses."""

    def __init__(self, find: Callable[[str], int]):
        self._find = find

    def address(self, name: str) -> int:
        """Where the function or table `name` stands; raises RuntimeError if the object has none of that name."""
        return self._find(name)


def load_object(data: bytes) -> Code:
    """Native code from an object; its names are its own, so that two objects may use the same ones.

    Raises RuntimeError for bytes that are no object of this machine.
    """
    return Code(_found_in(elf.load(data)) if _loads_elf() and elf.is_object(data) else _linked(data))


@cache
def _loads_elf() -> bool:
    """Whether objects of this system can be loaded without LLVM."""
    return bool(_linux_processor())


def _found_in(names: Mapping[str, int]) -> Callable[[str], int]:
    def find(name: str) -> int:
        if name not in names:
            raise RuntimeError(f"the object has nothing called {name}")
        return names[name]

    return find


# --- loading by LLVM, on other systems -------------------------------------------------------------------------------

_kept: list[Any] = []
_numbers = itertools.count()
_lock = threading.Lock()


@cache
def _engine() -> Any:
    _initialize()
    # JITLink places an object's code and constants side by side, within reach of each other; it does not know Windows
    use_jit_link = "windows" not in machine().triple
    return llvm.create_lljit_compiler(target_machine(), use_jit_link=use_jit_link, suppress_errors=True)


def _linked(data: bytes) -> Callable[[str], int]:
    with _lock:
        engine, library = _engine(), f"object{next(_numbers)}"
        builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
        _kept.append(builder.link(engine, library))

    def find(name: str) -> int:
        found = engine.lookup(library, name)
        _kept.append(found)
        return int(found[name])

    return find
