"""Errors of eager code leave all state as it was and point at the user's line."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import GradientError

HERE = Path(__file__).name


def innermost_user_line(raised):
    """The line number, within this file, of the innermost frame that lies in it."""
    return [f.lineno + 1 for f in raised.traceback if Path(f.path).name == HERE][-1]


def test_backward_twice_adds_nothing():
    w = gc.ones(3, requires_grad=True)
    loss = (w * w).sum()
    loss.backward()
    before = w.grad.tolist()
    with pytest.raises(GradientError, match="Trying to backward through the graph a second time") as raised:
        loss.backward()
    assert isinstance(raised.value, RuntimeError) and w.grad.tolist() == before
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert w.grad.tolist() == [6, 6, 6]


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.add_(1),
        lambda y: y.zero_(),
        lambda y: y.__setitem__(0, 5.0),
        lambda y: y.view(-1)[:1].mul_(2),
        lambda y: y.detach().mul_(2),
        lambda y: y.detach().fill_(2),
    ],
)
def test_an_in_place_change_of_a_saved_tensor_is_noticed(change):
    w = gc.ones(3, requires_grad=True)
    other = gc.ones(3, requires_grad=True)
    y = w.exp()
    loss = (y * other).sum() + other.sum()
    change(y)
    with pytest.raises(
        GradientError,
        match=r"modified by an inplace operation: .* saved a f32\[3\] that is now at version 1; expected version 0",
    ):
        loss.backward()
    assert w.grad is None and other.grad is None and w.tolist() == [1, 1, 1]


def test_a_change_of_what_backward_does_not_read_is_allowed():
    w = gc.ones(3, requires_grad=True)
    y = w * 2
    z = y + 1
    y.zero_()
    z.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


def test_a_parameter_changed_between_forward_and_backward():
    layer = nn.Linear(2, 2)
    opt = optim.SGD(layer.parameters(), lr=0.1)
    x = gc.ones(1, 2, requires_grad=True)
    loss = layer(x).sum()
    layer.weight.grad = gc.ones(2, 2)
    opt.step()
    with pytest.raises(GradientError, match="modified by an inplace operation"):
        loss.backward()
    assert layer.bias.grad is None and x.grad is None and layer.weight.grad.tolist() == [[1, 1], [1, 1]]


def test_writes_into_leaves_are_refused():
    w = gc.ones(3, requires_grad=True)
    for write in (lambda: w.add_(1), lambda: w.__setitem__(0, 2.0), lambda: w[0].mul_(2), lambda: w.view(-1).zero_()):
        with pytest.raises(
            GradientError, match="leaf Variable that requires grad is being used in an in-place operation"
        ):
            write()
    assert w.tolist() == [1, 1, 1] and w.requires_grad and w.is_leaf


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda x: x.add_(gc.ones(5)), RuntimeError, "5"),
        (lambda x: x.add_(gc.ones(4, 2, 3)), RuntimeError, "output with shape"),
        (lambda x: x.long().add_(1.5), RuntimeError, "can't be cast"),
        (lambda x: x.__setitem__(7, 1.0), IndexError, "out of (bounds|range)"),
        (lambda x: x.__setitem__((0, slice(None)), gc.ones(5)), RuntimeError, "5"),
        (lambda x: x.copy_(gc.ones(7)), RuntimeError, "7"),
        (lambda x: x.index_add_(0, gc.tensor([9]), gc.ones(1, 3)), (IndexError, RuntimeError), "range|bound"),
        (lambda x: x.masked_fill_(gc.ones(5) > 0, 1.0), RuntimeError, "5"),
        (lambda x: x.clamp_(gc.ones(9), gc.ones(9)), RuntimeError, "9"),
    ],
)
def test_a_refused_write_changes_nothing(wrong, error, text):
    x = gc.ones(2, 3)
    version = x._version.count if x._version is not None else 0
    with pytest.raises(error, match=text):
        wrong(x)
    assert x.tolist() == [[1, 1, 1]] * 2
    assert (x._version.count if x._version is not None else 0) == version


def test_the_innermost_user_frame_is_the_line_at_fault():
    a, b = gc.ones(2, 3), gc.ones(4)
    with pytest.raises(RuntimeError) as raised:
        a + b  # the line
    assert Path(__file__).read_text().splitlines()[innermost_user_line(raised) - 1].endswith("# the line")
    text = str(raised.value)
    assert text.startswith("add: ") and "f32[2, 3]" in text and "f32[4]" in text and "need" in text


def test_a_wrong_grad_is_refused():
    w = gc.ones(3, requires_grad=True)
    for grad, text in (
        (gc.ones(2), "different size"),
        (gc.ones(3, dtype=gc.float64), "different type"),
        ([1, 1, 1], "expected to be a Tensor"),
    ):
        with pytest.raises((RuntimeError, TypeError), match=text):
            w.grad = grad
    assert w.grad is None
    with pytest.raises(RuntimeError, match="Mismatch in shape: grad_output"):
        (w * 2).backward(gc.ones(2))
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (w * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        gc.ones(()).backward()
    assert w.grad is None


def test_custom_functions_that_are_wrong():
    class Wrong(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x, kind):
            ctx.kind = kind
            return x * 1

        @staticmethod
        def backward(ctx, g):
            if ctx.kind == "count":
                return g
            if ctx.kind == "shape":
                return g.new_zeros(7), None
            raise ZeroDivisionError("in backward")

    w = gc.ones(3, requires_grad=True)
    for kind, error, text in (
        ("count", RuntimeError, r"WrongBackward returned an incorrect number of gradients \(expected 2, got 1\)"),
        ("shape", RuntimeError, "WrongBackward returned an invalid gradient at index 0"),
        ("raise", ZeroDivisionError, "in backward"),
    ):
        with pytest.raises(error, match=text):
            Wrong.apply(w, kind).sum().backward()
        assert w.grad is None


def test_results_of_failed_optimizer_calls():
    w = gc.ones(2, requires_grad=True)
    opt = optim.Adam([w], lr=0.1)
    with pytest.raises(ZeroDivisionError):
        opt.step(lambda: 1 / 0)
    assert w.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"doesn't match the size|different number"):
        opt.load_state_dict({"state": {}, "param_groups": []})
    np.testing.assert_array_equal(w.detach().numpy(), [1, 1])


def search_twice(x):
    with gc.check_nans(), gc.check_nans():  # PYTHON
        pass


@pytest.mark.parametrize("fails", [lambda x: copy.deepcopy(x * 2), search_twice])  # PYTHON
def test_python_s_own_modules_are_no_users(fails):
    with pytest.raises(RuntimeError) as raised:
        fails(gc.ones(2, requires_grad=True))
    number = int(re.search(r"at \S*test_eager_errors\.py:(\d+)$", str(raised.value)).group(1))
    assert Path(__file__).read_text().splitlines()[number - 1].endswith("# PYTHON")
