"""Views, numbers and algebra together: what no single one of the three passes reaches in one run."""

from __future__ import annotations

from pass_checks import check_pass
from program_samples import n

from graphc.core.tensor_types import float64
from graphc.passes.tidy import tidy
from graphc.primitives import elementwise, views

X = ((n, 3), float64)


def test_a_number_behind_a_view_becomes_an_operand_that_algebra_drops() -> None:
    """reshape(expand(2 / 2)) * x  =>  x: a known value, then views, then algebra."""

    def before(b, x):
        one = b(elementwise.divide, b.full(2.0), b.full(2.0))
        return b(elementwise.multiply, b(views.reshape, b(views.expand, one, shape=(1, 3)), shape=(3,)), x)

    check_pass(tidy, before, lambda b, x: x, X)


def test_two_flips_around_what_algebra_drops() -> None:
    """flip(flip(x) * 1)  =>  x: algebra, then views."""

    def before(b, x):
        flipped = b(elementwise.multiply, b(views.flip, x, axes=(1,)), b.full(1.0))
        return b(views.flip, flipped, axes=(1,))

    check_pass(tidy, before, lambda b, x: x, X)
