"""Resizing beside PyTorch: values, gradients, layers, kinds of errors; compiled and with unknown sizes beside eager code."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from nn_cases import f32, f64
from side_by_side import agree, refuse
from tolerances import assert_close

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SHAPES = {1: (2, 3, 7), 2: (2, 3, 5, 4), 3: (1, 2, 3, 4, 5)}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("spatial", SHAPES)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
def test_nearest_and_area(spatial: int, mode: str) -> None:
    shape = SHAPES[spatial]
    for size in (1, 3, 6, 8, 10, 14, tuple(range(3, 3 + spatial)), shape[2:]):
        agree(torch, lambda m, x: m.nn.functional.interpolate(x, size, mode=mode), f64(*shape), n=64)  # noqa: B023
    for factor in (2, 0.5, 1.7, 2.2, 1.1, 3, (1.5,) * spatial):
        for again in (None, True):

            def code(m: Any, x: Any, factor: Any = factor, again: Any = again) -> Any:
                return m.nn.functional.interpolate(x, scale_factor=factor, mode=mode, recompute_scale_factor=again)

            # where such a factor gives the input's size or twice that, PyTorch's gradient is that of other places
            grad = mode != "nearest" or spatial == 2 or factor not in (1.1, 2.2)
            agree(torch, code, f32(*shape), n=64, grad=grad)


@pytest.mark.parametrize("spatial", SHAPES)
@pytest.mark.parametrize("corners", [None, True])
def test_linear(spatial: int, corners: bool | None) -> None:
    shape, mode = SHAPES[spatial], LINEAR[spatial]
    for size in (1, 3, 8, 14, tuple(range(3, 3 + spatial)), shape[2:]):
        agree(torch, lambda m, x: m.nn.functional.interpolate(x, size, None, mode, corners), f64(*shape), n=64)  # noqa: B023
        agree(torch, lambda m, x: m.nn.functional.interpolate(x, size, None, mode, corners), f32(*shape), n=64)  # noqa: B023
    for factor in (2, 0.5, 1.7, (1.5,) * spatial):
        for again in (None, True):

            def code(m: Any, x: Any, factor: Any = factor, again: Any = again) -> Any:
                return m.nn.functional.interpolate(x, None, factor, mode, corners, again)

            agree(torch, code, f64(*shape), n=64)


@pytest.mark.parametrize("corners", [False, True])
def test_bicubic(corners: bool) -> None:
    for size in (1, 3, 9, (5, 4), (7, 2)):
        code = lambda m, x: m.nn.functional.interpolate(x, size, mode="bicubic", align_corners=corners)  # noqa: E731, B023
        agree(torch, code, f64(2, 3, 5, 4), n=64, scale=4.0)
    agree(
        torch,
        lambda m, x: m.nn.functional.interpolate(x, None, 1.6, "bicubic", corners),
        f64(2, 3, 5, 4),
        n=64,
        scale=4.0,
    )


def test_other_dtypes() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = f32(1, 2, 4, 5).astype(dtype)
        agree(torch, lambda m, x: m.nn.functional.interpolate(x, (6, 7)), x)
        agree(torch, lambda m, x: m.nn.functional.interpolate(x, (6, 7), mode="bilinear"), x, n=4)
    agree(torch, lambda m, x: m.nn.functional.interpolate(x, (6, 7)), np.arange(20, dtype=np.uint8).reshape(1, 1, 4, 5))


def test_old_names() -> None:
    agree(torch, lambda m, x: m.nn.functional.upsample(x, scale_factor=2, mode="bilinear"), f64(1, 2, 3, 4), n=4)
    agree(torch, lambda m, x: m.nn.functional.upsample_nearest(x, 5), f64(1, 2, 3, 4))
    agree(torch, lambda m, x: m.nn.functional.upsample_bilinear(x, (5, 3)), f64(1, 2, 3, 4), n=4)
    for m in (gc, torch):
        with pytest.warns(UserWarning, match=r"upsample_nearest. is deprecated"):
            m.nn.functional.upsample_nearest(m.zeros(1, 2, 3, 4), 5)


@pytest.mark.parametrize(
    "text",
    ["Upsample(5)", "Upsample(scale_factor=2, mode='bilinear')", "Upsample((3, 6), mode='bilinear', align_corners=True)",
     "Upsample(scale_factor=(2, 1.5), mode='nearest')", "UpsamplingNearest2d(scale_factor=3)", "UpsamplingBilinear2d((4, 7))"],
)  # fmt: skip
def test_layers(text: str) -> None:
    ours, theirs = eval("nn." + text, {"nn": nn}), eval("nn." + text, {"nn": torch.nn})
    assert repr(ours) == repr(theirs)
    assert {k for k in vars(theirs) if not k.startswith("_")} <= set(vars(ours))
    agree(torch, lambda m, x: (ours if m is gc else theirs)(x), f64(1, 2, 3, 4), n=4)


X = np.ones((1, 2, 3, 4))
REFUSED: dict[str, Any] = {
    "neither": lambda f, x: f(x),
    "both": lambda f, x: f(x, 3, 2.0),
    "corners of nearest": lambda f, x: f(x, 3, align_corners=True),
    "size too long": lambda f, x: f(x, (3, 3, 3)),
    "factor too long": lambda f, x: f(x, scale_factor=(3, 3, 3)),
    "float size": lambda f, x: f(x, (3.0, 3.0)),
    "recomputed size": lambda f, x: f(x, 3, recompute_scale_factor=True),
    "no output": lambda f, x: f(x, 0),
    "no input": lambda f, x: f(x[..., :0], 2),
    "mode": lambda f, x: f(x, 3, mode="cubic"),
    "linear of planes": lambda f, x: f(x, 3, mode="linear"),
    "bilinear of volumes": lambda f, x: f(x[None], 3, mode="bilinear"),
    "too few dimensions": lambda f, x: f(x[0, 0], 3),
    "antialias": lambda f, x: f(x, 3, antialias=True),
    "bilinear integers": lambda f, x: f(x.long(), 3, mode="bilinear"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    refuse(torch, lambda m, x: REFUSED[case](m.nn.functional.interpolate, x), X)


CODE: dict[str, Any] = {
    "nearest": lambda x: nn.functional.interpolate(x, (7, 5)),
    "exact": lambda x: nn.functional.interpolate(x, (7, 5), mode="nearest-exact"),
    "doubled": lambda x: nn.functional.interpolate(x, scale_factor=2),
    "halved": lambda x: nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear"),
    "bilinear": lambda x: nn.functional.interpolate(x, (7, 5), mode="bilinear"),
    "corners": lambda x: nn.functional.interpolate(x, (7, 5), mode="bilinear", align_corners=True),
    "cubic": lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bicubic"),
    "area": lambda x: nn.functional.interpolate(x, (2, 5), mode="area"),
    "like another": lambda x: nn.functional.interpolate(x[:, :, :2, :2], x.shape[2:], mode="bilinear"),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_graphs_give_the_same(name: str) -> None:
    def step(x: Any) -> Any:
        y = CODE[name](x)
        return y, gc.autograd.grad(y.sin().sum(), x)[0]

    graph = gc.Graph()
    with graph.as_default():
        place = gc.placeholder((None,) * 4, dtype=gc.float64)
        y = CODE[name](place)
        fetches = [y, *gc.gradients(y.sin().sum(), [place])]
    compiled = gc.compile(step)
    with gc.Session(graph) as session:
        for shape in ((2, 3, 5, 4), (1, 2, 4, 7)):
            x = gc.tensor(f64(*shape), requires_grad=True)
            found = session.run(fetches, {place: f64(*shape)})
            for a, b, want in zip(compiled(x), found, step(x), strict=True):
                assert_close(a, want, n=64)
                assert_close(b, want, n=64)


@pytest.mark.parametrize("name", [name for name in CODE if "like" not in name])
def test_twice_differentiable(name: str) -> None:
    x = gc.tensor(f64(1, 2, 3, 4), requires_grad=True)
    assert gc.gradcheck.gradcheck(CODE[name], (x,)) and gc.gradcheck.gradgradcheck(CODE[name], (x,))


def test_an_unknown_size_cannot_be_scaled_by_anything() -> None:
    with gc.Graph().as_default(), pytest.raises(RuntimeError, match=r"1\.3 times the unknown size"):
        nn.functional.interpolate(gc.placeholder((1, 2, None), dtype=gc.float32), scale_factor=1.3)
