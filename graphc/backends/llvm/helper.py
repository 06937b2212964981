"""The program of a helper process: LLVM behind a pipe. It imports nothing of graphc, and llvmlite's library only.

    python -I -S helper.py PATH_OF_LIBLLVMLITE

reads requests from its standard input until that is closed, or until nothing was asked for `PATIENCE` seconds. A request is
a length (8 bytes, little endian) and that many bytes of LLVM IR for this machine. The answer is a byte (0: compiled,
1: refused), a length, and the object or LLVM's words.

llvmlite's Python side would take longer to import than most kernels take to compile, so its C functions are called as
`llvmlite/binding` calls them. Who starts a helper makes sure that it is a version whose functions are those here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys

#: Seconds after which a helper leaves that nobody asks.
PATIENCE = 5.0

_pointer, _text = ctypes.c_void_p, ctypes.c_char_p
_message = ctypes.POINTER(ctypes.c_char_p)

#: Name after `LLVMPY_`: result and arguments.
_FUNCTIONS = {
    "InitializeNativeTarget": (None,),
    "InitializeNativeAsmPrinter": (None,),
    "GetProcessTriple": (None, _message),
    "GetHostCPUName": (None, _message),
    "GetHostCPUFeatures": (ctypes.c_int, _message),
    "GetTargetFromTriple": (_pointer, _text, _message),
    "CreateTargetMachine": (
        *(_pointer, _pointer, _text, _text, _text, ctypes.c_int, _text, _text),
        *(ctypes.c_int, ctypes.c_int, _text),
    ),
    "ContextCreate": (_pointer,),
    "ContextDispose": (None, _pointer),
    "ParseAssembly": (_pointer, _pointer, _text, _message),
    "VerifyModule": (ctypes.c_bool, _pointer, _message),
    "DisposeModule": (None, _pointer),
    "TargetMachineEmitToMemory": (_pointer, _pointer, _pointer, ctypes.c_int, _message),
    "GetBufferStart": (_pointer, _pointer),
    "GetBufferSize": (ctypes.c_size_t, _pointer),
    "DisposeMemoryBuffer": (None, _pointer),
    "DisposeString": (None, _pointer),
}


class _RefusedError(Exception):
    """LLVM's words about a wrong text."""


class _Llvm:
    """LLVM for the processor we run on."""

    def __init__(self, path: str):
        self._library = ctypes.CDLL(path)
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(self._library, f"LLVMPY_{name}")
            function.restype, function.argtypes = result, arguments
        self._call("InitializeNativeTarget")
        self._call("InitializeNativeAsmPrinter")
        triple, cpu, features = (
            self._said(name) for name in ("GetProcessTriple", "GetHostCPUName", "GetHostCPUFeatures")
        )
        target = self._call("GetTargetFromTriple", triple, ctypes.byref(ctypes.c_char_p()))
        # optimisation level, relocation and code model as in host.py; neither printed nor for LLVM's own loader; any ABI
        self._target = self._call("CreateTargetMachine", target, triple, cpu, features, 2, b"pic", b"small", 0, 0, b"")

    def _call(self, name: str, *arguments: object) -> object:
        return getattr(self._library, f"LLVMPY_{name}")(*arguments)

    def _said(self, name: str, *arguments: object) -> bytes:
        """What a function writes into its last argument, a string it allocates; empty if it writes nothing."""
        text = ctypes.c_char_p()
        self._call(name, *arguments, ctypes.byref(text))
        return self._taken(text)

    def _taken(self, text: ctypes.c_char_p) -> bytes:
        found = text.value or b""
        if text:
            self._call("DisposeString", text)
        return found

    def compiled(self, text: bytes) -> bytes:
        """The object of a text; `_RefusedError` where it is wrong."""
        context = self._call("ContextCreate")
        try:
            words = ctypes.c_char_p()
            module = self._call("ParseAssembly", context, text, ctypes.byref(words))
            if not module:
                raise _RefusedError(b"LLVM IR parsing error\n" + self._taken(words))
            try:
                return self._emitted(module)
            finally:
                self._call("DisposeModule", module)
        finally:
            self._call("ContextDispose", context)

    def _emitted(self, module: object) -> bytes:
        words = ctypes.c_char_p()
        if self._call("VerifyModule", module, ctypes.byref(words)):
            raise _RefusedError(self._taken(words))
        self._taken(words)
        words = ctypes.c_char_p()
        buffer = self._call("TargetMachineEmitToMemory", self._target, module, 1, ctypes.byref(words))
        if not buffer:
            raise _RefusedError(self._taken(words))
        try:
            start, size = self._call("GetBufferStart", buffer), self._call("GetBufferSize", buffer)
            return ctypes.string_at(start, size)  # type: ignore[arg-type]
        finally:
            self._call("DisposeMemoryBuffer", buffer)


def _read(size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = os.read(0, size - len(found))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def _answer(status: int, content: bytes) -> None:
    view = memoryview(bytes([status]) + len(content).to_bytes(8, "little") + content)
    while view:
        view = view[os.write(1, view) :]


def serve(llvm: _Llvm) -> None:
    """Answers requests until there are no more."""
    while select.select([0], [], [], PATIENCE)[0]:
        text = _read(int.from_bytes(_read(8), "little"))
        try:
            _answer(0, llvm.compiled(text))
        except _RefusedError as refused:
            _answer(1, refused.args[0])


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(_Llvm(sys.argv[1]))
    os._exit(0)  # nothing to clean up that the system does not
