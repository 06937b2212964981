"""The table of tolerances accepts what it should and nothing more."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tolerances import EPS, EPS_PER_OP, EXCEPTIONS, assert_close, tolerance


def test_integers_and_bools_are_compared_exactly():
    assert_close(np.array([1, 2]), [1, 2])
    assert_close(np.array([True]), [True])
    with pytest.raises(AssertionError, match=r"1 of 2 elements differ by more than 0; worst at \(1,\): got 3, "):
        assert_close(np.array([1, 3]), np.array([1, 2]))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32", "float64"])
def test_floats_are_compared_within_32_eps_of_the_largest(name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    want = np.array([1.0, -4.0, 0.0], np.float64)
    step = 4 * EPS_PER_OP * EPS[name]
    assert tolerance(want.astype(dtype)) == step
    assert_close((want + 0.5 * step).astype(dtype), want.astype(dtype))
    with pytest.raises(AssertionError, match="elements differ"):
        assert_close((want + 2 * step).astype(dtype), want.astype(dtype))


def test_eps_agrees_with_numpy():
    for name, eps in EPS.items():
        assert eps == float(ml_dtypes.finfo(getattr(ml_dtypes, name, name)).eps)


def test_reduced_terms_widen_by_the_square_root_and_scale_replaces_the_largest():
    assert tolerance(np.float32(1), n=100) == pytest.approx(10 * tolerance(np.float32(1)))
    assert tolerance(np.float32(0), scale=2.0) == 2 * EPS_PER_OP * EPS["float32"]
    assert_close(np.float32(3e-6), np.float32(0), scale=1.0)


def test_nan_and_infinity_must_agree_in_place_and_sign():
    nan, inf = np.nan, np.inf
    assert_close(np.array([nan, inf, 1.0]), np.array([nan, inf, 1.0]))
    for wrong in ([1.0, inf, nan], [nan, -inf, 1.0], [nan, 1e300, 1.0]):
        with pytest.raises(AssertionError, match="elements differ"):
            assert_close(np.array(wrong), np.array([nan, inf, 1.0]))


def test_the_coarser_of_two_dtypes_counts_and_dtypes_must_agree_unless_told():
    with pytest.raises(AssertionError, match="dtype float32, expected float64"):
        assert_close(np.float32([0.1]), np.array([0.1]))
    assert_close(np.float32([0.1]), np.array([0.1]), check_dtype=False)


def test_shapes_must_agree_and_empty_arrays_are_equal():
    with pytest.raises(AssertionError, match=r"sum shape \(2,\), expected \(2, 1\)"):
        assert_close(np.zeros(2), np.zeros((2, 1)), what="sum")
    assert_close(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))


def test_every_exception_gives_a_reason():
    assert all(factor > 1 and reason for factor, reason in EXCEPTIONS.values())
