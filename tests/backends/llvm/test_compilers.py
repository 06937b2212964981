"""Helper processes that compile: wrong texts, helpers that die, forks, exits, and where none can be started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graphc.backends.llvm import compilers, helper, host, native_code
from graphc.backends.llvm.compilers import Compilers

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="texts are compiled in this process here")


def text_of(n):
    return f"define i64 @f(i64 %x) {{\n  %y = add i64 %x, {n}\n  ret i64 %y\n}}\n"


def result_of(data, x):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(host.load_object(data).address("f"))(x)


@pytest.fixture
def made():
    found = Compilers()
    yield found
    found.close()


def only_helper(made):
    (found,) = made._helpers
    return found


def test_helpers_compile_what_this_process_would(made):
    assert made.submit(text_of(5)).result() == host.compile_module(text_of(5))
    objects = [made.submit(text_of(n)) for n in range(20)]
    assert [result_of(data.result(), 100) for data in objects] == list(range(100, 120))
    assert 1 <= len(made._helpers) <= compilers.available_cpus()


@pytest.mark.parametrize("wrong", ["define nonsense", "define i64 @f() {\n  ret i64 %x\n}\n"])
def test_a_wrong_text_is_refused_in_llvms_words_and_the_helper_goes_on(made, wrong):
    with pytest.raises(RuntimeError) as ours:
        host.compile_module(wrong)
    with pytest.raises(RuntimeError) as theirs:
        made.submit(wrong).result()
    assert str(theirs.value) == str(ours.value)
    assert result_of(made.submit(text_of(1)).result(), 1) == 2


def one_thread(monkeypatch):
    monkeypatch.setattr(compilers, "available_cpus", lambda: 1)


def test_another_helper_takes_over_from_one_that_was_killed(monkeypatch):
    one_thread(monkeypatch)
    made = Compilers()
    made.submit(text_of(1)).result()
    first = only_helper(made).process
    os.kill(first, signal.SIGKILL)
    assert result_of(made.submit(text_of(2)).result(), 1) == 3
    assert only_helper(made).process != first
    made.close()
    assert not Path(f"/proc/{first}").exists()


def test_ctrl_c_is_the_parents_business(monkeypatch):
    one_thread(monkeypatch)
    made = Compilers()
    made.submit(text_of(1)).result()
    first = only_helper(made).process
    os.kill(first, signal.SIGINT)
    assert result_of(made.submit(text_of(2)).result(), 1) == 3
    assert only_helper(made).process == first
    made.close()


def test_a_helper_that_ends_twice_is_told(made, monkeypatch, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.exit(7)\n")
    monkeypatch.setattr(compilers, "_PROGRAM", program)
    with pytest.raises(RuntimeError, match="the compiler ended with code 7 twice"):
        made.submit(text_of(1)).result()
    program.write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(RuntimeError, match="the compiler ended with signal 9 twice"):
        made.submit(text_of(1)).result()


def test_where_no_helper_can_be_started_the_text_is_compiled_here(made, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert result_of(made.submit(text_of(1)).result(), 1) == 2
    monkeypatch.undo()
    compilers._library.cache_clear()
    monkeypatch.setattr(compilers, "KNOWN", ())
    assert result_of(made.submit(text_of(2)).result(), 1) == 3
    assert not made._helpers
    compilers._library.cache_clear()


def test_no_helper_without_a_python_to_start(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    compilers._library.cache_clear()
    with pytest.raises(OSError, match="no Python to start, or no file for it to run"):
        compilers._Helper()
    compilers._library.cache_clear()


def in_new_process(code, **environment):
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path, **environment}
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


CALL = """
import ctypes, os
from graphc.backends.llvm import compilers, native_code
def text(number):
    return f"define i64 @f(i64 %x) {{\\n  %y = add i64 %x, {number}\\n  ret i64 %y\\n}}\\n"
def call(number):
    (found,) = native_code.addresses([(text(number), "f")])
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(found)(100)
"""

FORKED = CALL + """
before = call(1)
native_code.begin(text(2))  # under way while the child is born
child = os.fork()
if not child:
    os._exit(call(2) - 100 + call(3) - 100)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(before, code, call(2))
"""  # fmt: skip


def test_a_child_after_fork_compiles_for_itself(tmp_path):
    assert in_new_process(FORKED, GRAPHC_CACHE=str(tmp_path)) == ["101", "5", "102"]


LATE = CALL + """
import atexit
from graphc.backends.llvm.compilers import compilers
compilers()
atexit.register(lambda: print(call(4)))
"""  # fmt: skip


def test_what_is_wanted_while_the_interpreter_leaves_is_compiled_here(tmp_path):
    assert in_new_process(LATE, GRAPHC_CACHE=str(tmp_path)) == ["104"]


DAEMON = CALL + """
out = os.dup(1)
for stream in (0, 1, 2):
    os.close(stream)
os.write(out, str(call(5)).encode())
"""  # fmt: skip


def test_a_process_that_has_closed_its_standard_streams(tmp_path):
    assert in_new_process(DAEMON, GRAPHC_CACHE=str(tmp_path)) == ["105"]


LEFT = CALL + """
call(1)
print(*[helper.process for helper in compilers.compilers()._helpers])
"""  # fmt: skip


def test_helpers_leave_with_the_process(tmp_path):
    (pid,) = in_new_process(LEFT, GRAPHC_CACHE=str(tmp_path))
    assert not Path(f"/proc/{pid}").exists()


def test_a_helper_that_cannot_begin_says_why():
    done = subprocess.run([sys.executable, "-I", "-S", helper.__file__, "/nowhere.so"], capture_output=True, text=True)
    assert done.returncode == 1 and "/nowhere.so" in done.stderr


IDLE = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location("helper", {helper.__file__!r})
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)
helper.PATIENCE = 0.0
helper.serve(None)
print("left")
"""


def test_a_helper_leaves_when_nobody_asks():
    read, write = os.pipe()  # nothing is written, and it stays open
    done = subprocess.run([sys.executable, "-c", IDLE], stdin=read, capture_output=True, text=True, check=True)
    os.close(read)
    os.close(write)
    assert done.stdout == "left\n"


QUIET = """
import sys
import graphc as gc
f = gc.compile(lambda x: (x * 2 + 1) @ x.T, backend="llvm")
print(f(gc.ones(40, 40)).sum().item(), "llvmlite" in sys.modules)
"""


@pytest.mark.skipif(not host._loads_elf(), reason="objects are loaded by LLVM here")
def test_llvm_is_not_loaded_where_helpers_compile_and_where_the_cache_is_full(tmp_path):
    for _ in range(2):
        assert in_new_process(QUIET, GRAPHC_CACHE=str(tmp_path)) == ["192000.0", "False"]


def test_a_text_is_compiled_once_whoever_wants_it(monkeypatch):
    asked, text = [], text_of(987_654)
    monkeypatch.setattr(native_code.cache, "get", lambda text: None)
    monkeypatch.setattr(native_code.cache, "put", lambda text, data, label: asked.append(text))
    native_code.begin(text)
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: native_code.addresses([(text, "f")] * 2)[0], range(8)))
    assert len(found) == 1 and asked == [text]


def test_a_wrong_text_is_tried_again(monkeypatch):
    monkeypatch.setattr(native_code.cache, "get", lambda text: None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="expected"):
            native_code.addresses([("define nonsense", "f")])
    assert "define nonsense" not in native_code._begun
