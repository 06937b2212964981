"""`detect_anomaly`, `set_detect_anomaly` and `check_nans`: faults of eager code are told where they are made."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import BackendError, GradientError, NonFiniteError

HERE = "tests/test_anomaly_mode.py"


def line_of(text):
    """`file:LINE` of the line of this file that ends with a comment."""
    with open(__file__, encoding="utf-8") as file:
        return f"{HERE}:{next(n for n, line in enumerate(file, 1) if line.rstrip().endswith('# ' + text))}"


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()  # the root


def test_a_nan_of_a_gradient_rule_is_told_with_the_forward_line():
    model = nn.Sequential(nn.Identity(), Root())
    x = gc.tensor([0.0, 4.0], requires_grad=True)
    with pytest.warns(UserWarning, match=r"Anomaly Detection has been enabled\. This mode will increase the runtime"):
        search = gc.autograd.detect_anomaly()
    with search:
        loss = (model(x) * 0).sum()
        with pytest.raises(
            GradientError, match=r"Function 'SqrtBackward' returned nan values in its 0th output\."
        ) as caught:
            loss.backward()
    assert caught.value.line == f"{line_of('the root')} in module Sequential.1 (backward)"
    assert str(caught.value).endswith(f"at {caught.value.line}")


def test_it_is_on_between_two_calls_and_within_a_with():
    x = gc.tensor([0.0], requires_grad=True)

    def nan():
        (x.sqrt() * 0).sum().backward()

    nan()
    gc.autograd.set_detect_anomaly(True)
    try:
        with pytest.raises(GradientError, match="returned nan"):
            nan()
        with gc.autograd.set_detect_anomaly(False):
            nan()
        with pytest.raises(GradientError, match="returned nan"):
            nan()
        with gc.autograd.set_detect_anomaly(True, check_nan=False):
            nan()
    finally:
        gc.autograd.set_detect_anomaly(False)
    nan()


def test_infinities_of_gradients_are_no_anomaly_but_for_check_nans():
    x = gc.tensor([0.0, 4.0], requires_grad=True)
    with gc.autograd.set_detect_anomaly(True):
        x.sqrt().sum().backward()
    assert np.isinf(x.grad.numpy()[0])
    with gc.check_nans():
        loss = x.sqrt().sum()  # a root again
        with pytest.raises(
            NonFiniteError, match="the gradient of sqrt: made infinity from finite operands, in 1 of 2"
        ) as caught:
            loss.backward()
    assert caught.value.line == f"{line_of('a root again')} (backward)"
    assert "  g: f32[2] all 1\n" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "op", "ranges"),
    [
        (lambda x: x.log(), "log: made NaN and infinity", ["a: f32[3] in [-1, 2]"]),
        (lambda x: gc.log(x), "log: made NaN and infinity", ["a: f32[3] in [-1, 2]"]),
        (lambda x: x / (x - x), "divide: made NaN and infinity", ["a: f32[3] in [-1, 2]", "b: f32[3] all 0"]),
        (lambda x: 1 / x, "divide: made infinity", ["a: f32[3] in [-1, 2]"]),
        (lambda x: (x * 1e38) ** 2, "power: made infinity", ["a: f32[3] in [-1e+38, 2e+38]"]),
        (lambda x: gc.full((3, 3), 1e30) @ gc.full((3, 3), 1e30), "matmul: made infinity", ["a: f32[3, 3] all 1e+30"]),
    ],
)
def test_functions_methods_and_operators(call, op, ranges):
    x = gc.tensor([-1.0, 0.0, 2.0])
    call(x)
    with gc.check_nans(), pytest.raises(NonFiniteError, match=re.escape(op)) as caught:
        call(x)
    for text in ranges:
        assert text in str(caught.value)
    line = call.__code__.co_firstlineno
    assert caught.value.line == f"{HERE}:{line}"


@pytest.mark.parametrize(
    ("call", "op"),
    [
        (lambda x: x.log_(), "log_"),
        (lambda x: x[0].div_(gc.zeros(2)), "div_"),
        (lambda x: x.__itruediv__(gc.zeros(2)), "div_"),
        (lambda x: x.addcdiv_(gc.ones(2), gc.zeros(2)), "addcdiv_"),
    ],
)
def test_writes_in_place(call, op):
    with gc.check_nans(), pytest.raises(NonFiniteError, match=f"^{op}: made (NaN|infinity) from finite operands"):
        call(gc.zeros(2, 2))
    call(gc.zeros(2, 2))


def test_an_infinity_that_is_asked_for_is_no_fault():
    x, mask, inf = gc.ones(2), gc.tensor([True, False]), float("inf")
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    with gc.check_nans():
        for y in (
            x.masked_fill(mask, -inf), x.clone().masked_fill_(mask, -inf), gc.where(mask, x, -inf), gc.full_like(x, -inf),
            nn.functional.pad(x, (1, 0), value=-inf), x.clone().copy_(gc.tensor([-inf, 1.0])), x - inf,
        ):  # fmt: skip
            assert y.min().item() == -inf
        words = gc.ones(1, 2, 4)
        attention(words, words, words, key_padding_mask=mask[None])
        with pytest.raises(NonFiniteError, match="log: made infinity"):
            gc.log(x * 0)


def test_what_comes_from_outside_may_be_anything_and_compiled_code_looks_for_itself():
    run = gc.compile(lambda x: x.log())
    with gc.check_nans():
        x = gc.tensor([float("inf"), float("nan"), 1.0])
        assert np.isnan((x + 1).exp().numpy()[1])
        assert gc.full((2,), float("inf")).isinf().all()
        with pytest.raises(NonFiniteError, match="made NaN from finite operands"):
            run(gc.tensor([-1.0]))
    assert np.isnan(run(gc.tensor([-1.0])).item())


def test_one_search_at_a_time_and_nothing_is_left_behind():
    before = gc.Tensor.__truediv__, gc.log, gc.Tensor.log
    with gc.check_nans():
        with (
            pytest.raises(BackendError, match="a profiler is running: it sees what another one would"),
            gc.check_nans(),
        ):
            pass
        assert gc.Tensor.__truediv__ is not before[0]
    assert (gc.Tensor.__truediv__, gc.log, gc.Tensor.log) == before
