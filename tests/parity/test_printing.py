"""Tensors print as PyTorch prints them, but for the names `graphc.` and the bare names of backward functions."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
from side_by_side import pair

import graphc as gc

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

RNG = np.random.default_rng(7)
DEFAULT = {"profile": "default"}


def same(text: str) -> str:
    """The text without names of backward functions, and without the line breaks that our longer names may cost."""
    text = re.sub(r"grad_fn=<\w+>", "grad_fn=<>", text.replace("torch.", "graphc."))
    return re.sub(r",\n +(?=dtype|grad_fn)", ", ", text)


def check(array: object, **options: object) -> None:
    ours, theirs = pair(torch, array)
    gc.set_printoptions(**options or DEFAULT)
    torch.set_printoptions(**options or DEFAULT)
    try:
        assert same(repr(ours)) == same(repr(theirs))
        assert str(ours) == repr(ours)
    finally:
        gc.set_printoptions(**DEFAULT)
        torch.set_printoptions(**DEFAULT)


FLOATS = {
    "0-d": 3.14159265,
    "0-d whole": 3.0,
    "0-d zero": 0.0,
    "0-d negative zero": -0.0,
    "0-d nan": np.nan,
    "0-d inf": -np.inf,
    "0-d tiny": 1.5e-7,
    "0-d huge": 1.5e12,
    "0-d huge whole": 123456789.0,
    "short row": [0.1257, -0.1321, 0.6404],
    "whole": [1.0, -20.0, 300.0],
    "whole, wide range": [1.0, 5000.0],
    "whole, over 1e8": [2e8, 3e8],
    "wide range": [0.5, 501.0],
    "just not too wide": [0.5, 500.0],
    "tiny": [1e-5, 2.5e-5],
    "at the limit of tiny": [1e-4, 2e-4],
    "huge": [1.5e8, 2e8],
    "zeros": [0.0, 0.0],
    "zeros and one": [0.0, 1.5],
    "only nan and zero": [0.0, np.nan],
    "only nan": [np.nan, np.nan],
    "nan and inf among numbers": [np.nan, 1.5, -np.inf, np.inf],
    "nan among whole": [np.nan, 1.0, np.inf, 100.0],
    "nan in scientific": [np.nan, 1e-7, np.inf, 100.0],
    "many on several lines": RNG.normal(size=23),
    "matrix": RNG.normal(size=(4, 5)),
    "wide matrix": RNG.normal(size=(3, 17)),
    "cube": RNG.normal(size=(2, 3, 4)),
    "four dimensions": RNG.normal(size=(2, 2, 2, 3)),
    "column": RNG.normal(size=(5, 1)),
    "exactly the threshold": RNG.normal(size=1000),
    "over the threshold": RNG.normal(size=1001),
    "long and short axes": RNG.normal(size=(400, 5)),
    "short and long axes": RNG.normal(size=(5, 400)),
    "both long": RNG.normal(size=(100, 100)),
    "three axes summarised": RNG.normal(size=(12, 11, 10)),
    "axis of seven": RNG.normal(size=(7, 200)),
    "axis of six": RNG.normal(size=(6, 200)),
    "summary hides the largest": np.where(np.arange(2000) == 1000, 1e9, 0.5),
    "empty": np.zeros(0),
    "empty matrix": np.zeros((0, 3)),
    "empty cube": np.zeros((2, 0, 3)),
    "transposed": RNG.normal(size=(3, 4)).T,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", FLOATS)
def test_floats(name, dtype):
    if dtype is np.float16:
        with np.errstate(over="ignore"):
            check(np.asarray(FLOATS[name]).astype(dtype))
    else:
        check(np.asarray(FLOATS[name]).astype(dtype))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize(
    "shape",
    [(), (0,), (3,), (40,), (0, 2), (4, 5), (3, 30), (1001,), (2, 3, 2), (300, 4)],
    ids=lambda shape: str(shape),
)
def test_integers_and_bools(shape, dtype):
    low = 0 if dtype in (np.uint8, np.bool_) else -100
    check(RNG.integers(low, 2 if dtype is np.bool_ else 101, shape).astype(dtype))


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 0},
        {"precision": 8, "linewidth": 40},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
        {"profile": "full"},
        {"threshold": 10, "edgeitems": 1},
        {"threshold": 10, "edgeitems": 2, "linewidth": 30},
        {"profile": "short", "precision": 6},
        {"linewidth": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["0-d", "whole", "wide range", "many on several lines", "cube", "both long", "zeros"])
def test_print_options(name, options):
    check(np.asarray(FLOATS[name], np.float64), **options)


def test_an_option_stays_until_it_is_changed_but_sci_mode():
    results = []
    for module in (gc, torch):
        try:
            module.set_printoptions(precision=2, sci_mode=True)
            first = str(module.tensor([1.23456, 2.0]))
            module.set_printoptions(edgeitems=2)
            results.append((first, str(module.tensor([1.23456, 2.0]))))
        finally:
            module.set_printoptions(**DEFAULT)
    assert results[0] == results[1] == ("tensor([1.23e+00, 2.00e+00])", "tensor([1.23, 2.00])")


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="no profile 'tiny'"):
        gc.set_printoptions(profile="tiny")


def test_leaves_and_results():
    def texts(module):
        x = module.tensor([1.0, 2.5], requires_grad=True)
        y = module.ones(0, requires_grad=True)
        wide = module.arange(40.0, requires_grad=True).reshape(2, 20)
        almost = module.tensor([[0.5] * 8] * 2, requires_grad=True)
        double = module.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], dtype=module.float64, requires_grad=True)
        return [
            repr(t)
            for t in (x, y, x.detach(), x.exp(), x.sum(), almost, almost.tanh(), double, double.tanh(), wide.sin())
        ]

    assert [same(text) for text in texts(gc)] == [same(text) for text in texts(torch)]


def test_parameters():
    def texts(module):
        values = module.tensor([[0.25, -1.5], [2.0, 0.125]])
        return [repr(module.nn.Parameter(values)), repr(module.nn.Parameter(values, requires_grad=False))]

    assert texts(gc) == texts(torch)
    assert texts(gc)[0].startswith("Parameter containing:\ntensor([[")


def test_the_default_dtype_goes_without_saying():
    def texts(module):
        before = module.get_default_dtype()
        module.set_default_dtype(module.float64)
        try:
            return [repr(module.tensor([0.5])), repr(module.tensor([0.5], dtype=module.float32))]
        finally:
            module.set_default_dtype(before)

    assert [same(text) for text in texts(gc)] == [same(text) for text in texts(torch)]


def test_a_formatted_scalar_takes_a_format_and_a_vector_none():
    for module in (gc, torch):
        assert f"{module.tensor(2.0):.3f}" == "2.000"
        assert f"{module.tensor([2.0, 0.5])}" == "tensor([2.0000, 0.5000])"
        with pytest.raises(TypeError):
            f"{module.tensor([2.0]):.3f}"
