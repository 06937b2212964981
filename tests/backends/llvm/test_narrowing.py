"""Guards before printing: 32 bits where they do, 64 where they must, and no selection that a guarded load makes already."""

from __future__ import annotations

from graphc.backends.llvm.narrowing import narrowed
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import float32, int64
from graphc.ir.kernel import Access, Kernel, Statement


def kernel(extent: int, guard: Scalar, tree: Scalar) -> Kernel:
    load, store = Access(0, (1,), 0, (), guard), Access(1, (1,), 0)
    return Kernel((extent,), 1, (load,), (Statement(tree, store=store),), (float32, float32))


def compared(k: Kernel) -> set[str]:
    """The dtypes of what guards compare."""
    (load,) = k.sources
    assert isinstance(load, Access) and load.guard is not None
    return {x.args[0].dtype.name for x in s.postorder(load.guard) if x.op in ("lt", "le", "eq")}


def test_comparisons_of_counters_are_made_in_32_bits_where_they_fit() -> None:
    guard = (s.index(0) * 3 - 5 >= 0) & (s.quot(s.index(0), s.const(2, int64)) < 40)
    assert compared(narrowed(kernel(100, guard, s.leaf(0, float32)))) == {"int32"}
    large = s.index(0) * (1 << 31) - 5 >= 0
    assert compared(narrowed(kernel(100, large, s.leaf(0, float32)))) == {"int64"}
    assert compared(narrowed(kernel(1 << 33, s.index(0) >= 7, s.leaf(0, float32)))) == {"int64"}


def test_a_number_read_from_memory_stays_as_wide_as_it_is() -> None:
    guard = s.eq(s.leaf(0, int64), s.index(0))
    load = Access(0, (1,), 0)
    one = Kernel((9,), 1, (load, Access(1, (1,), 0, (), guard)), (Statement(s.leaf(1, float32)),), (int64, float32))
    found = narrowed(one).sources[1]
    assert isinstance(found, Access) and found.guard == guard


def test_a_selection_of_zero_under_the_loads_own_guard_goes() -> None:
    inside, other, x = s.index(0) >= 3, s.index(0) < 7, s.leaf(0, float32)
    zero = s.const(0, float32)
    assert narrowed(kernel(9, inside, s.select(inside, x, zero))).statements[0].tree == x
    assert narrowed(kernel(9, inside & other, s.select(inside, x, zero))).statements[0].tree == x
    for guard, tree in (
        (inside, s.select(inside & other, x, zero)),
        (inside, s.select(inside, x, s.const(-0.0, float32))),
        (inside, s.select(inside, x, s.const(1, float32))),
        (inside, s.select(inside, x + x, zero)),
    ):
        assert narrowed(kernel(9, guard, tree)).statements[0].tree.op == "select"
