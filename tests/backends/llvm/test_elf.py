"""Loading objects without LLVM: each kind of relocation, protection of code, and what cannot be loaded."""

from __future__ import annotations

import ctypes
import struct

import pytest

from graphc.backends.llvm import elf, host
from graphc.backends.llvm.host import compile_module, load_object

pytestmark = pytest.mark.skipif(not host._loads_elf(), reason="objects are loaded by LLVM here")

#: Calls and data of every kind: constants, a table of functions, a word that is written, functions of the C library.
TEXT = """
@numbers = internal constant [4 x i64] [i64 3, i64 5, i64 7, i64 11]
@functions = global [2 x ptr] [ptr @first, ptr @second]
@count = global i64 40
@zeros = internal global [100 x i64] zeroinitializer
declare float @expf(float)
declare i64 @strlen(ptr)
@text = private constant [6 x i8] c"seven\\00"
define i64 @first(i64 %i) noinline {
  %place = getelementptr i64, ptr @numbers, i64 %i
  %found = load i64, ptr %place
  ret i64 %found
}
define i64 @second(i64 %i) noinline {
  %n = call i64 @strlen(ptr @text)
  %sum = add i64 %n, %i
  ret i64 %sum
}
define i64 @both(i64 %which, i64 %i) {
  %place = getelementptr ptr, ptr @functions, i64 %which
  %function = load ptr, ptr %place
  %found = call i64 %function(i64 %i)
  ret i64 %found
}
define i64 @counted() {
  %before = load i64, ptr @count
  %after = add i64 %before, 1
  store i64 %after, ptr @count
  %place = getelementptr i64, ptr @zeros, i64 99
  %last = load i64, ptr %place
  %sum = add i64 %after, %last
  ret i64 %sum
}
define float @power(float %x) {
  %y = call float @expf(float %x)
  %z = fmul float %y, 0.3125
  ret float %z
}
"""


def call(code, name, *operands, kind=ctypes.c_int64):
    return ctypes.CFUNCTYPE(kind, *[kind] * len(operands))(code.address(name))(*operands)


@pytest.fixture(params=["by graphc", "by LLVM"])
def loaded(request, monkeypatch):
    monkeypatch.setattr(host, "_loads_elf", lambda: request.param == "by graphc")
    return load_object(compile_module(TEXT))


def test_every_kind_of_reference_is_resolved(loaded):
    assert [call(loaded, "first", i) for i in range(4)] == [3, 5, 7, 11]
    assert [call(loaded, "both", which, 2) for which in (0, 1)] == [7, 7]
    assert [call(loaded, "counted") for _ in range(3)] == [41, 42, 43]
    assert call(loaded, "power", 0.0, kind=ctypes.c_float) == 0.3125


def test_what_an_object_does_not_have_is_named(loaded):
    with pytest.raises(RuntimeError, match="third"):
        loaded.address("third")


def test_two_objects_do_not_share_what_they_write():
    first, second = (load_object(compile_module(TEXT)) for _ in range(2))
    assert [call(code, "counted") for code in (first, first, second)] == [41, 42, 41]


def test_code_cannot_be_written_and_data_cannot_be_run():
    code = load_object(compile_module(TEXT))

    def rights(name):
        with open("/proc/self/maps") as file:
            for line in file:
                span, found = line.split()[:2]
                start, end = (int(x, 16) for x in span.split("-"))
                if start <= code.address(name) < end:
                    return found
        raise AssertionError(name)

    assert (rights("first"), rights("count")) == ("r-xp", "rw-p")


def test_a_missing_function_is_named():
    text = "declare i64 @graphc_nowhere()\ndefine i64 @f() {\n %x = call i64 @graphc_nowhere()\n ret i64 %x\n}\n"
    with pytest.raises(RuntimeError, match="wants graphc_nowhere, which nobody here has"):
        load_object(compile_module(text))


def test_an_unknown_relocation_is_refused():
    data = bytearray(compile_module(TEXT))
    image = elf._Image(bytes(data), list(elf._sections(bytes(data))), [])
    section = next(
        s for s in image.sections if s.kind == elf._ADDENDS and elf._is_mapped(image, image.sections[s.info])
    )
    struct.pack_into("<I", data, section.offset + 8, 99)  # the kind of the first one
    with pytest.raises(RuntimeError, match="relocation of kind 99"):
        elf.load(bytes(data))


def test_other_files_are_not_objects():
    assert elf.is_object(compile_module(TEXT))
    assert not elf.is_object(b"") and not elf.is_object(b"\x7fELF\x02\x01" + b"\0" * 50)
