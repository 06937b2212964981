"""How tensors print, without PyTorch at hand (tests/parity/test_printing.py compares with it)."""

from __future__ import annotations

import math

import pytest
from where import prints_no_device

import graphc as gc
from graphc import nn


@prints_no_device
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: gc.tensor([[0.12573, -0.132], [1.5, 2.0]]),
            "tensor([[ 0.1257, -0.1320],\n        [ 1.5000,  2.0000]])",
        ),
        (lambda: gc.tensor([1.0, -20.0]), "tensor([  1., -20.])"),
        (lambda: gc.tensor([1e-5, 2.0]), "tensor([1.0000e-05, 2.0000e+00])"),
        (lambda: gc.tensor([math.nan, 1.0, -math.inf]), "tensor([nan, 1., -inf])"),
        (lambda: gc.tensor([True, False]), "tensor([ True, False])"),
        (lambda: gc.tensor(3), "tensor(3)"),
        (lambda: gc.tensor([1.5], dtype=gc.float64), "tensor([1.5000], dtype=graphc.float64)"),
        (lambda: gc.zeros(0, 3), "tensor([], size=(0, 3))"),
        (lambda: gc.zeros(0, dtype=gc.int64), "tensor([], dtype=graphc.int64)"),
        (lambda: gc.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
        (lambda: gc.ones(2, requires_grad=True) + 1, "tensor([2., 2.], grad_fn=<AddBackward>)"),
        (lambda: nn.Parameter(gc.ones(2)), "Parameter containing:\ntensor([1., 1.], requires_grad=True)"),
        (lambda: gc.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    ],
)
def test_text(make, text):
    assert repr(make()) == text


def test_a_symbolic_tensor_shows_its_type():
    with gc.Graph().as_default():
        x = gc.placeholder((None, 3), name="x")
        assert repr(x * 2) == "Tensor(f32[x_0, 3], symbolic)"


@prints_no_device
def test_options_are_set_and_reset():
    try:
        gc.set_printoptions(precision=2, linewidth=30)
        assert repr(gc.full((5,), 0.126)) == "tensor([0.13, 0.13, 0.13,\n        0.13, 0.13])"
    finally:
        gc.set_printoptions(profile="default")
    assert repr(gc.tensor(0.126)) == "tensor(0.1260)"


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="set_printoptions: there is no profile 'tiny'"):
        gc.set_printoptions(profile="tiny")
