"""Numbers that an integer dtype cannot hold: refused where a tensor is filled, wrapped in arithmetic, as PyTorch does."""

from __future__ import annotations

import pytest

import graphc as gc


@pytest.mark.parametrize(
    ("value", "dtype"), [(300, "uint8"), (-300, "uint8"), (2**40, "int32"), (float("inf"), "int64")]
)
def test_full_refuses_numbers_its_dtype_cannot_hold(value, dtype):
    with pytest.raises(RuntimeError, match="without overflow"):
        gc.full((2,), value, dtype=getattr(gc, dtype))


@pytest.mark.parametrize("number", [300, -1, 1000])
def test_a_number_beyond_the_dtype_wraps_in_every_mode(number):
    x = gc.ones(2, dtype=gc.uint8)
    expected = [(1 + number) % 256] * 2
    assert (x + number).tolist() == expected
    assert gc.compile(lambda x: x + number)(x).tolist() == expected
    assert gc.compile(lambda: gc.ones(2, dtype=gc.uint8) + number)().tolist() == expected
