"""Kernels as text: loops, passes, names for what is shared, lines that stay short whatever the tree."""

from __future__ import annotations

from graphc.core import scalar as s
from graphc.core.tensor_types import float32, int64
from graphc.ir.kernel import ADD, LAST, Access, Kernel, Made, Statement
from graphc.ir.kernel_text import LONGEST, kernel_text


def x(n: int) -> s.Scalar:
    return s.leaf(n, float32)


def test_rows_in_passes() -> None:
    load, largest, power, total = Access(0, (10, 1), 0), Made(0), Made(1), Made(2)
    kernel = Kernel(
        (32, 10),
        1,
        (load, largest, power, total),
        (
            Statement(x(0), 0, True, "maximum", float("-inf")),
            Statement(s.exp(x(0) - x(1)), 1, True, kept=True),
            Statement(x(2), 1, True, "add", 0.0, store=Access(2, (1, 0), 0)),
            Statement(x(2) / x(3), 2, True, store=Access(1, (10, 1), 0)),
        ),
        (float32, float32, float32),
    )
    assert kernel_text(kernel, ["scores", "softmax", "sums"]) == "\n".join(
        [
            "for i0 < 32:",
            "    over i1 < 10:",
            "        v0 = fold maximum of scores[10*i0 + i1]",
            "    over i1 < 10:",
            "        v1 = exp(scores[10*i0 + i1] - v0)  # kept",
            "        v2 = fold add of v1",
            "    sums[i0] = v2",
            "    over i1 < 10:",
            "        softmax[10*i0 + i1] = v1 / v2",
        ]
    )


def test_indices_that_are_computed_or_guarded_get_a_line() -> None:
    index, inside = s.leaf(0, int64), s.index(0) < 3
    table = Access(1, (0,), 0, ((index, 4),), inside)
    sources = (Access(0, (1,), 0), table)
    kernel = Kernel(
        (5,),
        1,
        sources,
        (Statement(s.select(inside, -x(1), 0.0), store=Access(2, (1,), 2)),),
        (int64, float32, float32),
    )
    assert kernel_text(kernel).splitlines() == [
        "for i0 < 5:",
        "    x1 = b1[4*b0[i0]] if i0 < 3",
        "    b2[i0 + 2] = where(i0 < 3, -x1, 0.0)",
    ]


def test_a_scatter_adds() -> None:
    index, place = s.leaf(0, int64), Access(2, (0, 1), 0, ((s.leaf(0, int64), 8),))
    sources = (Access(0, (1, 0), 0), Access(1, (8, 1), 0))
    for how, sign in ((ADD, "+="), (LAST, "=")):
        statement = Statement(x(1) * 2, 0, True, store=place, scatter=how, places=6)
        kernel = Kernel((3, 8), 0, sources, (statement,), (index.dtype, float32, float32))
        assert kernel_text(kernel).splitlines()[2] == f"        b2[i1 + 8*b0[i0]] {sign} b1[8*i0 + i1] * 2.0"


def test_checks_and_positions() -> None:
    index = s.leaf(0, int64)
    check = Kernel((7,), 0, (Access(0, (1,), 0),), (Statement(index < 0, 0, True, "or", False, fails=True),), (int64,))
    assert kernel_text(check) == "once:\n    over i0 < 7:\n        fail if b0[i0] < 0"
    first = Statement(x(0), 0, True, "maximum", 0, store=Access(1, (0,), 0), position=s.index(0))
    largest = Kernel((7,), 0, (Access(0, (1,), 0),), (first,), (float32, int64))
    assert kernel_text(largest).splitlines()[2:] == ["        v0 = position i0 of maximum of b0[i0]", "    b1[0] = v0"]


def test_what_is_shared_is_written_once_so_that_text_stays_short() -> None:
    tree = x(0)
    for _ in range(60):  # written out in full it would have 2^60 leaves
        tree = s.sqrt(tree) * tree + 1.5
    kernel = Kernel((3,), 1, (Access(0, (1,), 0),), (Statement(tree, store=Access(1, (1,), 0)),), (float32, float32))
    lines = kernel_text(kernel).splitlines()
    assert len(lines) <= 62
    assert max(map(len, lines)) <= LONGEST + 40


def test_brackets_keep_the_order_of_operations() -> None:
    a, b, c = x(0), x(1), x(2)
    sources = tuple(Access(n, (1,), 0) for n in range(3))

    def text(tree: s.Scalar) -> str:
        kernel = Kernel((3,), 1, sources, (Statement(tree, store=Access(3, (1,), 0)),), (float32,) * 4)
        return kernel_text(kernel, "abco").splitlines()[1].strip().removeprefix("o[i0] = ").replace("[i0]", "")

    assert text(a - (b - c)) == "a - (b - c)"
    assert text(a - b - c) == "a - b - c"
    assert text((a + b) * c) == "(a + b) * c"
    assert text(a + b * c) == "a + b * c"
    assert text(a / (b * c)) == "a / (b * c)"
    assert text(-(a + b) * c) == "-(a + b) * c"
