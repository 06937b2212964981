"""Task functions in LLVM IR, and tables of base pointers, for the tests of the native run."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np

from graphc.backends.llvm.host import Code, compile_module, load_object
from graphc.backends.llvm.runner import STATE_WORDS


def _loop(name: str, before: str, body: str) -> str:
    """A task that does `body` for each %i in [begin, end); %base is the array in slot args[0]."""
    return f"""
define i64 @{name}(ptr %table, ptr %args, i64 %begin, i64 %end) {{
entry:
  %slot = load i64, ptr %args
  %base.at = getelementptr ptr, ptr %table, i64 %slot
  %base = load ptr, ptr %base.at
  %word.at = getelementptr i64, ptr %args, i64 1
  {before}
  br label %next
next:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %again ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %one, label %done
one:
  %at = getelementptr i64, ptr %base, i64 %i
  {body}
  br label %again
again:
  %i.next = add i64 %i, 1
  br label %next
done:
  ret i64 0
}}
"""


_ADD = "%old = load i64, ptr %at\n  %new = add i64 %old, %word\n  store i64 %new, ptr %at"
_OTHER = """%other.slot = load i64, ptr %word.at
  %other.at = getelementptr ptr, ptr %table, i64 %other.slot
  %other = load ptr, ptr %other.at"""

#: With a the array in slot args[0], word = args[1], other the array in slot args[1], limit = args[2], for each i:
#: add_word: a[i] += word; square: a[i] *= a[i]; accumulate: a[i] += other[i]; copy_add: a[i] = other[i] + third[i];
#: below: the byte other[0] = a[0] < limit. Others, word = args[0]: burn: word rounds of work for each i; meet: part 0 waits
#: up to word rounds for part 1, slot 1 gets [0] = whether it came; fail_at: fails at i = word; nothing: nothing.
_TEXT = "".join(
    [
        _loop("add_word", "%word = load i64, ptr %word.at", _ADD),
        _loop("square", "", "%old = load i64, ptr %at\n  %new = mul i64 %old, %old\n  store i64 %new, ptr %at"),
        _loop(
            "accumulate",
            _OTHER,
            "%from = getelementptr i64, ptr %other, i64 %i\n  %word = load i64, ptr %from\n  " + _ADD,
        ),
        _loop(
            "copy_add",
            _OTHER + "\n  %third.at = getelementptr i64, ptr %args, i64 2\n  %third.slot = load i64, ptr %third.at"
            "\n  %third.base = getelementptr ptr, ptr %table, i64 %third.slot\n  %third = load ptr, ptr %third.base",
            "%x.at = getelementptr i64, ptr %other, i64 %i\n  %y.at = getelementptr i64, ptr %third, i64 %i"
            "\n  %x = load i64, ptr %x.at\n  %y = load i64, ptr %y.at\n  %z = add i64 %x, %y\n  store i64 %z, ptr %at",
        ),
        _loop(
            "below",
            _OTHER + "\n  %limit.at = getelementptr i64, ptr %args, i64 2\n  %limit = load i64, ptr %limit.at",
            "%value = load i64, ptr %at\n  %less = icmp slt i64 %value, %limit\n  %byte = zext i1 %less to i8"
            "\n  store i8 %byte, ptr %other",
        ),
        """
define i64 @burn(ptr %table, ptr %args, i64 %begin, i64 %end) {
entry:
  %word = load i64, ptr %args
  %n = sub i64 %end, %begin
  %rounds = mul i64 %n, %word
  %sink = alloca i64
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp slt i64 %i, %rounds
  br i1 %more, label %one, label %done
one:
  store volatile i64 %i, ptr %sink
  %i.next = add i64 %i, 1
  br label %next
done:
  ret i64 0
}
define i64 @meet(ptr %table, ptr %args, i64 %begin, i64 %end) {
entry:
  %limit = load i64, ptr %args
  %base.at = getelementptr ptr, ptr %table, i64 1
  %base = load ptr, ptr %base.at
  %flag = getelementptr i64, ptr %base, i64 1
  %first = icmp eq i64 %begin, 0
  br i1 %first, label %look, label %come
come:
  store atomic i64 1, ptr %flag seq_cst, align 8
  ret i64 0
look:
  %i = phi i64 [ 0, %entry ], [ %i.next, %wait ]
  %met = load atomic i64, ptr %flag seq_cst, align 8
  %alone = icmp eq i64 %met, 0
  %patient = icmp slt i64 %i, %limit
  %again = and i1 %alone, %patient
  br i1 %again, label %wait, label %done
wait:
  %i.next = add i64 %i, 1
  br label %look
done:
  store i64 %met, ptr %base
  ret i64 0
}
define i64 @fail_at(ptr %table, ptr %args, i64 %begin, i64 %end) {
  %state = load ptr, ptr %table
  %index = load i64, ptr %args
  %from = icmp sge i64 %index, %begin
  %below = icmp slt i64 %index, %end
  %hit = and i1 %from, %below
  br i1 %hit, label %wrong, label %fine
fine:
  ret i64 0
wrong:
  %swap = cmpxchg ptr %state, i64 0, i64 7 seq_cst seq_cst
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %note, label %noted
note:
  %detail = getelementptr i64, ptr %state, i64 1
  store i64 %index, ptr %detail
  br label %noted
noted:
  ret i64 1
}
define i64 @nothing(ptr %table, ptr %args, i64 %begin, i64 %end) {
  ret i64 0
}
""",
    ]
)


_lock = threading.Lock()


@cache
def _code() -> Code:
    return load_object(compile_module(_TEXT))


def task(name: str) -> int:
    """The address of a task function."""
    with _lock:
        return _code().address(name)


class Table:
    """A table of base pointers: the run state in slot 0, then these arrays."""

    def __init__(self, *arrays: np.ndarray):
        self.state = np.zeros(STATE_WORDS, np.int64)
        self.arrays = arrays
        self.words = np.array([self.state.ctypes.data, *(a.ctypes.data for a in arrays)], np.int64)
        self.address = self.words.ctypes.data
