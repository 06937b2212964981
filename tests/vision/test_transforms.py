"""Transforms without torchvision: tensors need no Pillow, seeds repeat, modules fit `nn.Sequential`, devices keep tensors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from test_layers import ROOT

import graphc as gc
from graphc import nn
from graphc.vision import io, transforms, utils
from graphc.vision.transforms import functional as F
from graphc.vision.transforms.tensor_images import smooth_weights

X = np.random.default_rng(0).random((3, 10, 12), np.float32)


def test_tensors_need_no_pillow_and_pictures_say_what_helps(tmp_path):
    code = """
import sys
sys.modules["PIL"] = None
import graphc as gc
from graphc.vision import datasets, transforms as t, utils
x = gc.rand(3, 10, 12)
chain = t.Compose([t.Resize(8), t.RandomCrop(6, padding=1), t.RandomHorizontalFlip(), t.ColorJitter(0.2, 0.2, 0.2, 0.1),
                   t.RandomRotation(10), t.Normalize((0.5,), (0.5,))])
print(tuple(chain(x).shape), tuple(utils.make_grid(x[None].expand(5, 3, 10, 12), 3).shape))
print(tuple(t.ToTensor()(x.permute(1, 2, 0).numpy()).shape))
for call in (lambda: t.ToPILImage()(x), lambda: utils.save_image(x, "x.png"), lambda: datasets.FakeData()[0]):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["(3, 6, 6) (3, 26, 44)", "(3, 10, 12)"]
    assert sum("hint: pip install pillow (images that are not tensors are Pillow's" in line for line in lines) == 3


def test_a_seed_gives_the_same_crops_again():
    random = transforms.Compose(
        [transforms.RandomResizedCrop(5), transforms.RandomVerticalFlip(), transforms.RandomErasing(1.0)]
    )
    results = []
    for seed in (1, 1, 2):
        gc.manual_seed(seed)
        results.append(random(gc.from_numpy(X.copy())).tolist())
    assert results[0] == results[1] != results[2]


def test_transforms_are_modules():
    chain = nn.Sequential(transforms.CenterCrop(4), transforms.Normalize([0.0] * 3, [2.0] * 3), nn.Flatten(0))
    assert np.allclose(chain(gc.from_numpy(X.copy())).numpy(), X[:, 3:7, 4:8].reshape(-1) / 2)


def test_gradients_go_through():
    x = gc.from_numpy(X.astype(np.float64)).requires_grad_()
    out = F.normalize(F.resize(F.hflip(F.pad(x, 1, padding_mode="edge")), [6, 7]), [0.1], [0.5])
    out.square().sum().backward()
    assert x.grad is not None and tuple(x.grad.shape) == X.shape and bool((x.grad != 0).all())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "count"), [(10, 4), (4, 10), (7, 7), (1, 5), (9, 1)])
def test_weights_of_a_resized_line_are_shares(mode, size, count):
    weights = smooth_weights(size, count, mode)
    assert weights.shape == (count, size) and np.allclose(weights.sum(1), 1)
    line = np.full(size, 3.0)
    assert np.allclose(weights @ line, 3)
    assert np.allclose(weights, weights[::-1, ::-1])  # left is as right
    if size == count:
        assert np.allclose(weights, np.eye(size))


def test_turning_by_right_angles_only_moves_elements():
    square = gc.from_numpy(X[:, :, :10].copy())
    assert np.array_equal(F.rotate(square, 90).numpy(), np.rot90(square.numpy(), 1, (1, 2)))
    assert np.array_equal(F.rotate(square, 180.0).numpy(), square.numpy()[:, ::-1, ::-1])
    whole = F.rotate(gc.from_numpy(X.copy()), 90, expand=True)
    assert np.array_equal(whole.numpy(), np.rot90(X, 1, (1, 2)))
    assert np.array_equal(F.rotate(square, 45, fill=[0.5]).numpy()[:, 0, 0], np.full(3, 0.5, np.float32))


def test_erased_places_hold_the_value():
    out = F.erase(gc.from_numpy(X.copy()), 1, 2, 3, 4, gc.tensor(7.0)).numpy()
    assert (out[:, 1:4, 2:6] == 7).all() and np.array_equal(out[:, 4:], X[:, 4:])
    with pytest.raises(TypeError, match="img should be Tensor Image"):
        F.erase(X, 1, 2, 3, 4, 0)
    with pytest.raises(ValueError, match="either a single value or 3"):
        transforms.RandomErasing(1.0, value=(1, 2))(gc.from_numpy(X.copy()))


def test_images_to_files_and_back(tmp_path):
    pytest.importorskip("PIL.Image")
    pixels = gc.from_numpy((X * 255).astype(np.uint8))
    io.write_png(pixels, tmp_path / "x.png")
    assert io.read_image(tmp_path / "x.png").tolist() == pixels.tolist()
    assert tuple(io.read_image(str(tmp_path / "x.png"), io.ImageReadMode.GRAY).shape) == (1, 10, 12)
    assert tuple(io.read_image(str(tmp_path / "x.png"), "rgb_alpha").shape) == (4, 10, 12)
    io.write_jpeg(pixels[:1], tmp_path / "x.jpg", quality=95)
    assert tuple(io.read_image(tmp_path / "x.jpg").shape) == (1, 10, 12)
    utils.save_image(gc.from_numpy(X.copy()), tmp_path / "y.png")
    assert io.read_image(tmp_path / "y.png").tolist() == (X * 255 + 0.5).astype(np.uint8).tolist()
    (tmp_path / "z.png").write_bytes(b"no image")
    with pytest.raises(RuntimeError, match=r"read_image: .*z\.png: cannot identify"):
        io.read_image(tmp_path / "z.png")
    with pytest.raises(RuntimeError, match=r"read_image: .*none\.png"):
        io.read_image(tmp_path / "none.png")
    with pytest.raises(TypeError, match=r"write_png: need a u8\[C, H, W\]"):
        io.write_png(gc.from_numpy(X.copy()), tmp_path / "w.png")
    with pytest.raises(ValueError, match="need 1 or 3 channels, got 2"):
        io.write_jpeg(pixels[:2], tmp_path / "w.jpg")


def test_a_grid_of_images():
    images = gc.from_numpy(np.stack([X, X + 1, X + 2]))
    grid = utils.make_grid(images, nrow=2, padding=1, pad_value=9.0).numpy()
    assert grid.shape == (3, 23, 27)
    assert np.array_equal(grid[:, 1:11, 14:26], X + 1) and (grid[:, 12:, 14:] == 9).all()
    with pytest.raises(TypeError, match="tensor or list of tensors expected"):
        utils.make_grid([X])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: F.resize(x, [3, 3], F.InterpolationMode.LANCZOS),
            ValueError,
            "'lanczos' is unsupported with Tensor input",
        ),
        (
            lambda x: F.rotate(x, 3, F.InterpolationMode.BICUBIC),
            ValueError,
            "'bicubic' is unsupported with Tensor input",
        ),
        (lambda x: F.resize(x, 3, 17), TypeError, "InterpolationMode or a corresponding Pillow integer"),
        (lambda x: F.pad(x, 1, fill="red"), TypeError, "Got inappropriate fill arg"),
        (
            lambda x: F.rotate(x, 3, fill=[1, 2]),
            ValueError,
            "does not|cannot broadcast to match the number of channels",
        ),
        (lambda x: F.resize(x, None), ValueError, "max_size must be an integer when size is None"),
        (lambda x: F.resize(x, 5, max_size=4), ValueError, "must be strictly greater than the requested size"),
        (lambda x: F.get_dimensions(x[0, 0]), TypeError, "not a torch image: it has 1 dimensions"),
        (
            lambda x: transforms.transforms.RandomTransforms([])(x),
            NotImplementedError,
            "does not say which",
        ),
        (lambda x: transforms.RandomOrder(3), TypeError, "transforms should be a sequence"),
        (lambda x: transforms.RandomChoice([], 3), TypeError, "p should be a sequence"),
    ],
)
def test_refused_with_a_clear_text(call, error, text):
    with pytest.raises(error, match=text):
        call(gc.from_numpy(X.copy()))


def test_wrong_orders_of_ranges_warn():
    with pytest.warns(UserWarning, match=r"should be of kind \(min, max\)"):
        transforms.RandomResizedCrop(3, scale=(1.0, 0.5))


def test_what_torchvision_has_and_this_has_not_is_named():
    for call, text in (
        (
            lambda: gc.vision.models.resnet18,
            r"graphc does not have torchvision\.models\.resnet18; it has no ready models",
        ),
        (lambda: gc.vision.ops, r"graphc does not have torchvision\.ops; it has nothing for detection"),
        (lambda: transforms.RandomPerspective, r"graphc does not have torchvision\.transforms\.RandomPerspective"),
        (lambda: gc.vision.datasets.STL10, r"graphc does not have torchvision\.datasets\.STL10"),
    ):
        with pytest.raises(AttributeError, match=text):
            call()
