"""Processes that compile, beside the one whose programs they compile for: as many at once as there are CPUs.

Here LLVM would take some seventy megabytes for good, and compile one text at a time (llvmlite holds a lock). Helpers start
when a text is not on the disk, and leave by themselves when nobody has asked for some seconds. Where none can be started
(another system, an embedded interpreter, a version of llvmlite that helpers do not know), the text is compiled here.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from graphc.backends.llvm import host
from graphc.backends.llvm.cpus import available_cpus
from graphc.core.lazy import lazy_import

futures: Any = lazy_import("concurrent.futures")

_PROGRAM = Path(__file__).with_name("helper.py")

#: The versions of llvmlite whose C functions helpers call.
KNOWN = ("0.47.", "0.48.", "0.49.", "0.50.")


class _LeftError(Exception):
    """A helper ended without an answer."""


@functools.cache
def _library() -> Path:
    """LLVM as llvmlite brings it; OSError where helpers cannot run it."""
    if not hasattr(os, "posix_spawn") or not sys.executable or getattr(sys, "frozen", False) or not _PROGRAM.is_file():
        raise OSError("no Python to start, or no file for it to run")
    llvm = importlib.util.find_spec("llvmlite")
    if llvm is None or llvm.origin is None:
        raise OSError("llvmlite is not installed")
    folder = Path(llvm.origin).parent
    version = re.search(r"version_version = '([^']+)'", (folder / "_version.py").read_text())
    if version is None or not version[1].startswith(KNOWN):
        raise OSError("a version of llvmlite that helpers do not know")
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return folder / "binding" / f"libllvmlite.{suffix}"


class _Helper:
    """A process that compiles (helper.py), asked by one thread. OSError where none can be started."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(_PROGRAM), str(_library())]
        theirs, self._requests = os.pipe()
        self._answers, back = os.pipe()
        try:
            places = [(os.POSIX_SPAWN_DUP2, theirs, 0), (os.POSIX_SPAWN_DUP2, back, 1)]
            # Ctrl-C goes to every process of a terminal's group; this one decides what becomes of it.
            mask = {signal.SIGINT}
            self.process = os.posix_spawn(sys.executable, command, os.environ, file_actions=places, setsigmask=mask)
        except BaseException:
            self.forget()
            raise
        finally:
            os.close(theirs)
            os.close(back)

    def compiled(self, text: str) -> bytes:
        """The object of a text; RuntimeError with LLVM's words where it is wrong, `_LeftError` if the process is gone."""
        content = text.encode()
        try:
            view = memoryview(len(content).to_bytes(8, "little") + content)
            while view:
                view = view[os.write(self._requests, view) :]
            status, size = self._read(1)[0], int.from_bytes(self._read(8), "little")
            found = self._read(size)
        except BrokenPipeError as error:
            raise _LeftError from error
        if status:
            raise RuntimeError(found.decode(errors="replace"))
        return found

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            part = os.read(self._answers, size - len(found))
            if not part:
                raise _LeftError
            found += part
        return bytes(found)

    def forget(self) -> None:
        """Closes our ends of the pipes: the process leaves when it sees that."""
        os.close(self._requests)
        os.close(self._answers)

    def wait(self) -> str:
        """How the process ended, after `forget`."""
        with contextlib.suppress(ChildProcessError):  # somebody else has waited for it
            status = os.waitpid(self.process, 0)[1]
            return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {os.WEXITSTATUS(status)}"
        return "nobody knows what"


class Compilers:
    """Threads that hand texts to helpers, one helper each."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._helpers: set[_Helper] = set()
        self._threads = futures.ThreadPoolExecutor(available_cpus(), thread_name_prefix="graphc-compile")

    def submit(self, text: str) -> Any:
        """A future of the text's object; its exception is a RuntimeError with LLVM's words."""
        try:
            return self._threads.submit(self._compile, text)
        except RuntimeError:  # no more threads: the interpreter is leaving, or the system refuses
            made = futures.Future()
            try:
                made.set_result(host.compile_module(text))
            except RuntimeError as error:
                made.set_exception(error)
            return made

    def _compile(self, text: str) -> bytes:
        for _ in range(2):
            try:
                helper = self._helper()
            except OSError:
                return host.compile_module(text)
            try:
                return helper.compiled(text)
            except _LeftError:  # it had waited long enough, or somebody has ended it
                end = self._part_with(helper)
        raise RuntimeError(f"the compiler ended with {end} twice")

    def _helper(self) -> _Helper:
        found: _Helper | None = getattr(self._own, "helper", None)
        if found is None:
            found = self._own.helper = _Helper()
            self._helpers.add(found)
        return found

    def _part_with(self, helper: _Helper) -> str:
        self._own.helper = None
        self._helpers.discard(helper)
        helper.forget()
        return helper.wait()

    def forget(self) -> None:
        """In a child after fork: closes the pipes, which belong to the parent."""
        for helper in self._helpers:
            helper.forget()

    def close(self) -> None:
        """Ends the helpers, after what they are at."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for helper in list(self._helpers):
            helper.forget()
            helper.wait()
        self._helpers.clear()


_made: Compilers | None = None


def compilers() -> Compilers:
    """Those of this process, made at the first call."""
    global _made
    if _made is None:
        _made = Compilers()
        atexit.register(_made.close)
    return _made


def _forget() -> None:
    global _made
    if _made is not None:
        atexit.unregister(_made.close)
        _made.forget()
        _made = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
