"""`graphc.vision` against torchvision: the same images in, the same images out, and random ones from the same draws.

Skipped where torchvision is not installed or does not fit the installed PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from celeba_files import write_celeba

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

try:
    import torchvision
except (ImportError, RuntimeError) as error:
    pytest.skip(f"torchvision: {error}", allow_module_level=True)
from torchvision import transforms as theirs_t  # noqa: E402
from torchvision.transforms import functional as theirs  # noqa: E402

import graphc as gc  # noqa: E402
from graphc.vision import transforms as ours_t  # noqa: E402
from graphc.vision.transforms import functional as ours  # noqa: E402

Image = pytest.importorskip("PIL.Image")

FLOATS = np.random.default_rng(0).random((3, 13, 17), np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (3, 13, 17), np.uint8)
GRAY = np.random.default_rng(2).integers(0, 256, (1, 12, 9), np.uint8)
BATCH = np.random.default_rng(3).random((2, 3, 8, 10), np.float32)
TENSORS = [FLOATS, BYTES, GRAY, BATCH, FLOATS.astype(np.float64)]
PICTURES = [
    Image.fromarray(BYTES.transpose(1, 2, 0).copy()),
    Image.fromarray(GRAY[0]),
    Image.fromarray(BYTES.transpose(1, 2, 0).copy()).convert("RGBA"),
]


def array_of(x: Any) -> Any:
    return x.numpy() if hasattr(x, "numpy") else np.asarray(x)


def same(mine: Any, other: Any, level: int = 0) -> None:
    """Equal: floats to rounding, bytes up to `level`, pictures in mode too."""
    if isinstance(other, tuple):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            same(a, b, level)
        return
    assert isinstance(mine, Image.Image) == isinstance(other, Image.Image)
    if isinstance(other, Image.Image):
        assert mine.mode == other.mode
    a, b = array_of(mine), array_of(other)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if a.dtype.kind == "f":
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=3e-6)
    else:
        assert np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0) <= level


def raised(call: Any) -> Exception:
    """What the call raises, and it must."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def both(name: str, *args: Any, images: Any = None, level: int = 0, modes: Any = None, **kwargs: Any) -> None:
    """The function of that name on tensors, then on pictures."""
    for array in TENSORS if images is None else images:
        mine = getattr(ours, name)(gc.from_numpy(array.copy()), *args, **kwargs)
        same(mine, getattr(theirs, name)(torch.from_numpy(array.copy()), *args, **kwargs), level)
    for picture in PICTURES if modes is None else [p for p in PICTURES if p.mode in modes]:
        same(getattr(ours, name)(picture, *args, **kwargs), getattr(theirs, name)(picture, *args, **kwargs), level)


@pytest.mark.parametrize("size", [7, [5], [20, 6], [30, 40], (13, 17)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "nearest-exact"])
def test_resize(size: Any, mode: str) -> None:
    for array in TENSORS:
        mine = ours.resize(gc.from_numpy(array.copy()), size, ours.InterpolationMode(mode))
        same(mine, theirs.resize(torch.from_numpy(array.copy()), size, theirs.InterpolationMode(mode)), level=1)
        mine = ours.resize(gc.from_numpy(array.copy()), size, ours.InterpolationMode(mode), antialias=False)
        other = theirs.resize(torch.from_numpy(array.copy()), size, theirs.InterpolationMode(mode), antialias=False)
        same(mine, other, level=1)
    for picture in PICTURES:
        same(
            ours.resize(picture, size, ours.InterpolationMode(mode)),
            theirs.resize(picture, size, theirs.InterpolationMode(mode)),
        )


def test_resize_by_the_longer_edge() -> None:
    both("resize", 10, max_size=11, level=1)
    both("resize", [10], 2, 12, level=1)


@pytest.mark.parametrize("place", [(2, 3, 5, 6), (-2, -3, 9, 8), (10, 12, 6, 8), (0, 0, 13, 17)])
def test_crop(place: Any) -> None:
    both("crop", *place)
    both("resized_crop", 1, 2, 6, 6, [8, 5], level=1)


@pytest.mark.parametrize("size", [6, (5, 8), (20, 4), (3, 30), [16, 20]])
def test_center_crop(size: Any) -> None:
    both("center_crop", size)


def test_flips_and_many_crops() -> None:
    both("hflip")
    both("vflip")
    both("five_crop", (5, 4))
    both("ten_crop", 6, vertical_flip=True)
    both("center_crop", 4)


@pytest.mark.parametrize("padding", [2, (1, 3), [1, 2, 3, 0], [2]])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad(padding: Any, mode: str) -> None:
    both("pad", padding, 7 if mode == "constant" else 0, mode)


@pytest.mark.parametrize("angle", [0, 30.0, 90, -143.5])
@pytest.mark.parametrize("kwargs", [{}, {"expand": True}, {"center": (3, 4)}, {"fill": 1}])
def test_rotate(angle: float, kwargs: Any) -> None:
    odd = [np.random.default_rng(0).random((3, 11, 8), np.float32), GRAY]
    for array in odd:
        for mode in ("nearest", "bilinear"):
            mine = ours.rotate(gc.from_numpy(array.copy()), angle, ours.InterpolationMode(mode), **kwargs)
            other = theirs.rotate(torch.from_numpy(array.copy()), angle, theirs.InterpolationMode(mode), **kwargs)
            a, b = array_of(mine), array_of(other)
            assert a.shape == b.shape
            # places on the border of two elements fall to either
            assert (np.abs(a.astype(float) - b) > 1e-4 + (a.dtype == np.uint8)).mean() < 0.02
    both("rotate", angle, images=[], **kwargs)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_colours(factor: float) -> None:
    rgb = {"modes": ("RGB", "L")}
    both("adjust_brightness", factor, level=1, **rgb)
    both("adjust_contrast", factor, level=1, **rgb)
    both("adjust_saturation", factor, level=1, **rgb)
    both("adjust_gamma", factor, 1.1, level=1, **rgb)
    both("adjust_hue", factor / 4, level=1, **rgb)
    both("adjust_hue", -factor / 4, level=1, **rgb)
    both("rgb_to_grayscale", 3, level=1, **rgb)
    both("rgb_to_grayscale", level=1, **rgb)
    both("to_grayscale", 3, images=[])


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_sharpness(factor: float) -> None:
    both("adjust_sharpness", factor, level=1, modes=("RGB", "L"))
    both("adjust_sharpness", factor, images=[FLOATS[:, :2]], modes=())


def test_tones() -> None:
    flat = np.full((3, 5, 5), 7, np.uint8)
    rgb = {"modes": ("RGB", "L")}
    both("invert", **rgb)
    both("autocontrast", images=[*TENSORS, flat], level=1, **rgb)
    for bits in (1, 4, 8):
        both("posterize", bits, images=[BYTES, GRAY], **rgb)
    for threshold in (0, 100, 255):
        both("solarize", threshold, images=[BYTES, GRAY], **rgb)
    both("solarize", 0.4, images=[FLOATS, BATCH], modes=())
    both("equalize", images=[BYTES, GRAY, flat, np.stack([BYTES, BYTES // 3])], **rgb)


AFFINE: list[tuple[Any, ...]] = [
    (0.0, (0, 0), 1.0, (0.0, 0.0)), (30, [2, -1], 1.3, 10.0), (-70.0, (1, 3), 0.7, [5.0, -20.0]),
    (0.0, [3, 0], 1.0, [0.0, 0.0]), (0.0, [0, 0], 1.0, [20.0, 0.0]),
]  # fmt: skip


@pytest.mark.parametrize("given", AFFINE)
@pytest.mark.parametrize("kwargs", [{}, {"center": [3, 4]}, {"fill": [1.0]}, {"fill": [1.0], "center": [0, 0]}])
def test_affine(given: Any, kwargs: Any) -> None:
    for array in (np.random.default_rng(0).random((3, 11, 8), np.float32), GRAY):
        for mode in ("nearest", "bilinear"):
            mine = ours.affine(gc.from_numpy(array.copy()), *given, ours.InterpolationMode(mode), **kwargs)
            other = theirs.affine(torch.from_numpy(array.copy()), *given, theirs.InterpolationMode(mode), **kwargs)
            a, b = array_of(mine), array_of(other)
            # places on the border of two elements fall to either
            assert (np.abs(a.astype(float) - b) > 1e-4 + (a.dtype == np.uint8)).mean() < 0.02
    both("affine", *given, images=[], **kwargs)


@pytest.mark.parametrize(("kernel", "sigma"), [(3, None), ([5, 3], [0.6, 2.0]), (5, 1.5)])
def test_gaussian_blur(kernel: Any, sigma: Any) -> None:
    both("gaussian_blur", kernel, sigma, level=1)


def test_to_tensor_and_back() -> None:
    for picture in (*PICTURES, PICTURES[0].convert("1"), PICTURES[0].convert("I"), PICTURES[0].convert("F")):
        same(ours.to_tensor(picture), theirs.to_tensor(picture))
        if picture.mode != "1":
            same(ours.pil_to_tensor(picture), theirs.pil_to_tensor(picture))
    for array in (BYTES.transpose(1, 2, 0), GRAY[0], FLOATS.transpose(1, 2, 0)):
        same(ours.to_tensor(array.copy()), theirs.to_tensor(array.copy()))
    for array in (FLOATS, BYTES, GRAY, BYTES[:2], FLOATS[0], GRAY.astype(np.int32), GRAY.astype(np.int16)):
        same(ours.to_pil_image(gc.from_numpy(array.copy())), theirs.to_pil_image(torch.from_numpy(array.copy())))
    same(ours.to_pil_image(gc.from_numpy(FLOATS[:1].copy()), "F"), theirs.to_pil_image(torch.tensor(FLOATS[:1]), "F"))
    for mode in ("RGB", "YCbCr", "HSV"):
        same(ours.to_pil_image(BYTES.transpose(1, 2, 0), mode), theirs.to_pil_image(BYTES.transpose(1, 2, 0), mode))


def test_normalize_and_dtypes() -> None:
    for mean, std in (((0.5,), (0.2,)), ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])):
        mine = ours.normalize(gc.from_numpy(FLOATS.copy()), mean, std)
        same(mine, theirs.normalize(torch.from_numpy(FLOATS.copy()), mean, std))
    x, y = gc.from_numpy(FLOATS.copy()), torch.from_numpy(FLOATS.copy())
    ours.normalize(x, (0.5,), (0.5,), inplace=True)
    theirs.normalize(y, (0.5,), (0.5,), inplace=True)
    same(x, y)
    for array in TENSORS:
        for name in ("float32", "float64", "uint8", "int16", "int32"):
            if array.dtype == np.float32 and name == "int32":
                continue
            mine = ours.convert_image_dtype(gc.from_numpy(array.copy()), getattr(gc, name))
            same(mine, theirs.convert_image_dtype(torch.from_numpy(array.copy()), getattr(torch, name)))


REFUSED = [
    lambda f, t, x: f.normalize(x.to(t.uint8), (0.5,), (0.5,)), lambda f, t, x: f.normalize(x, (0.5,), (0.0,)),
    lambda f, t, x: f.normalize(x[0], (0.5,), (0.5,)), lambda f, t, x: f.normalize([1.0], (0.5,), (0.5,)),
    lambda f, t, x: f.to_tensor([[1.0]]), lambda f, t, x: f.to_tensor(np.zeros((2, 2, 2, 2))),
    lambda f, t, x: f.to_pil_image(x[None]), lambda f, t, x: f.to_pil_image(3), lambda f, t, x: f.pil_to_tensor(x),
    lambda f, t, x: f.resize(x, [1, 2, 3]), lambda f, t, x: f.resize(x, [4, 4], max_size=5),
    lambda f, t, x: f.resize(x, 4, "bilinear"), lambda f, t, x: f.pad(x, (1, 2, 3)), lambda f, t, x: f.pad(x, 1, 0, "no"),
    lambda f, t, x: f.pad(x, "1"), lambda f, t, x: f.hflip(3), lambda f, t, x: f.adjust_brightness(x, -1),
    lambda f, t, x: f.adjust_hue(x, 0.7), lambda f, t, x: f.adjust_gamma(x, -1), lambda f, t, x: f.five_crop(x, 50),
    lambda f, t, x: f.rgb_to_grayscale(x[:2]), lambda f, t, x: f.gaussian_blur(x, 4), lambda f, t, x: f.gaussian_blur(x, 3, -1),
    lambda f, t, x: f.rotate(x, "a"), lambda f, t, x: f.rotate(x, 3, center=5),
    lambda f, t, x: f.convert_image_dtype(x, t.int32), lambda f, t, x: f.convert_image_dtype(3),
    lambda f, t, x: f.to_grayscale(x), lambda f, t, x: f.posterize(x, 3), lambda f, t, x: f.posterize(x, 9),
    lambda f, t, x: f.equalize(x), lambda f, t, x: f.solarize(x, 3), lambda f, t, x: f.adjust_sharpness(x, -1),
    lambda f, t, x: f.invert(x[:2]), lambda f, t, x: f.autocontrast(x[0]), lambda f, t, x: f.affine(x, "a", (0, 0), 1.0, 0.0),
    lambda f, t, x: f.affine(x, 0, (0, 0, 0), 1.0, 0.0), lambda f, t, x: f.affine(x, 0, 3, 1.0, 0.0),
    lambda f, t, x: f.affine(x, 0, (0, 0), 0.0, 0.0), lambda f, t, x: f.affine(x, 0, (0, 0), 1.0, (1, 2, 3)),
    lambda f, t, x: f.affine(x, 0, (0, 0), 1.0, "a"), lambda f, t, x: f.affine(x, 0, (0, 0), 1.0, 0.0, center=3),
]  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_refused_alike(call: Any) -> None:
    other = raised(lambda: call(theirs, torch, torch.from_numpy(FLOATS.copy())))
    assert isinstance(raised(lambda: call(ours, gc, gc.from_numpy(FLOATS.copy()))), type(other))


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision draws from graphc's generator, so that one seed means one crop in both."""

    def drawn(name: str) -> Any:
        def draw(*args: Any, dtype: Any = None, **kwargs: Any) -> Any:
            return torch.from_numpy(getattr(gc, name)(*args, **kwargs).numpy())

        return draw

    def uniform(self: Any, low: Any = 0, high: Any = 1) -> Any:
        return self.copy_(torch.from_numpy(gc.empty(*self.shape).uniform_(float(low), float(high)).numpy()))

    for name in ("rand", "randint", "randperm"):
        monkeypatch.setattr(torch, name, drawn(name))
    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    monkeypatch.setattr(
        torch.Tensor, "normal_", lambda self: self.copy_(torch.from_numpy(gc.randn(*self.shape).numpy()))
    )


MAKERS = [
    lambda t: t.Compose([t.RandomCrop(8, padding=2), t.RandomHorizontalFlip(), t.RandomVerticalFlip(0.3)]),
    lambda t: t.RandomCrop((20, 5), pad_if_needed=True, padding_mode="edge"),
    lambda t: t.RandomResizedCrop(6), lambda t: t.RandomResizedCrop((5, 7), scale=(0.9, 1.0), ratio=(5.0, 6.0)),
    lambda t: t.ColorJitter(0.4, 0.3, 0.2, 0.1), lambda t: t.ColorJitter(brightness=(0.5, 0.6)),
    lambda t: t.RandomGrayscale(0.5), lambda t: t.GaussianBlur(3), lambda t: t.GaussianBlur((5, 3), 0.7),
    lambda t: t.RandomApply([t.RandomHorizontalFlip(), t.CenterCrop(5)], 0.5),
    lambda t: t.RandomRotation(0), lambda t: t.RandomRotation((90, 90), expand=True),
    lambda t: t.Grayscale(3), lambda t: t.Pad((1, 2), 3), lambda t: t.FiveCrop(4), lambda t: t.TenCrop((3, 4)),
    lambda t: t.RandomAffine(0), lambda t: t.RandomAffine(0, (0.1, 0.3)), lambda t: t.RandomInvert(),
    lambda t: t.RandomSolarize(0.5, p=0.8), lambda t: t.RandomAdjustSharpness(2, p=0.7), lambda t: t.RandomAutocontrast(),
    lambda t: t.Resize((6, 5)), lambda t: t.Lambda(lambda x: x), lambda t: t.CenterCrop((7,)),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("seed", range(4))
def test_random_transforms_draw_as_torchvision_does(make: Any, seed: int, same_draws: None) -> None:
    mine, other = make(ours_t), make(theirs_t)
    assert repr(mine) == repr(other)
    for image in (FLOATS, BYTES, PICTURES[0]):
        given = image if isinstance(image, Image.Image) else None
        gc.manual_seed(seed)
        out = mine(given or gc.from_numpy(image.copy()))
        gc.manual_seed(seed)
        same(out, other(given or torch.from_numpy(image.copy())), level=2)


AUGMENTS = [
    lambda t: t.TrivialAugmentWide(), lambda t: t.TrivialAugmentWide(5, fill=3), lambda t: t.RandAugment(),
    lambda t: t.AutoAugment(),
    lambda t: t.RandAugment(3, 4, 9, fill=[1.0, 2.0, 3.0]), lambda t: t.AutoAugment(t.AutoAugmentPolicy.CIFAR10),
    lambda t: t.AutoAugment(t.AutoAugmentPolicy("svhn"), fill=9), lambda t: t.RandomPosterize(2),
    lambda t: t.RandomEqualize(0.7), lambda t: t.RandomAffine((-30, 30), (0.1, 0.2), (0.5, 1.5), (-5, 5, 0, 9), fill=5),
    lambda t: t.RandomAffine(10, center=(2, 3), interpolation=t.InterpolationMode.BILINEAR),
]  # fmt: skip


@pytest.mark.parametrize("make", AUGMENTS)
@pytest.mark.parametrize("seed", range(25))
def test_augmentations_draw_as_torchvision_does(make: Any, seed: int, same_draws: None) -> None:
    mine, other = make(ours_t), make(theirs_t)
    assert repr(mine) == repr(other)
    for image in (BYTES, PICTURES[0]):
        results = []
        for transform, library in ((mine, gc), (other, torch)):
            gc.manual_seed(seed)
            results.append(transform(image if isinstance(image, Image.Image) else library.from_numpy(image.copy())))
        a, b = (array_of(x).astype(int) for x in results)
        assert a.shape == b.shape
        assert (np.abs(a - b) > 1).mean() < 0.02  # places on the border of two elements fall to either


@pytest.mark.parametrize("value", [0, (0.1, 0.2, 0.3), "random"])
@pytest.mark.parametrize("seed", range(4))
def test_random_erasing(value: Any, seed: int, same_draws: None) -> None:
    results = []
    for t, image in ((ours_t, gc.from_numpy(FLOATS.copy())), (theirs_t, torch.from_numpy(FLOATS.copy()))):
        gc.manual_seed(seed)
        results.append(t.RandomErasing(0.7, value=value)(image))
    same(*results)


def test_choices_draw_from_python_s_random() -> None:
    import random

    for name in ("RandomChoice", "RandomOrder"):
        for seed in range(5):
            out = []
            for t, image in ((ours_t, gc.from_numpy(FLOATS.copy())), (theirs_t, torch.from_numpy(FLOATS.copy()))):
                random.seed(seed)
                out.append(getattr(t, name)([t.CenterCrop(9), t.Pad(1), t.RandomVerticalFlip(1.0)])(image))
            same(*out)


MADE_WRONG = [
    lambda t: t.RandomCrop(20)(t.ToTensor()(np.zeros((4, 4), np.uint8))), lambda t: t.Resize([1, 2, 3]),
    lambda t: t.Resize(1.5), lambda t: t.CenterCrop((1, 2, 3)), lambda t: t.Lambda(3), lambda t: t.ColorJitter(-1),
    lambda t: t.ColorJitter(hue=0.7), lambda t: t.ColorJitter("a"), lambda t: t.RandomRotation(-1),
    lambda t: t.RandomRotation((1, 2, 3)), lambda t: t.RandomErasing(2.0), lambda t: t.RandomErasing(value="no"),
    lambda t: t.GaussianBlur(4), lambda t: t.GaussianBlur(3, -1), lambda t: t.RandomResizedCrop(3, scale=1),
    lambda t: t.RandomChoice(3), lambda t: t.RandomAffine(-1), lambda t: t.RandomAffine((1, 2, 3)),
    lambda t: t.RandomAffine(1, (1, 2)), lambda t: t.RandomAffine(1, 3), lambda t: t.RandomAffine(1, None, (0, 1)),
    lambda t: t.RandomAffine(1, shear=(1, 2, 3)), lambda t: t.AutoAugment("no"),
]  # fmt: skip


@pytest.mark.parametrize("make", MADE_WRONG)
def test_made_wrong_alike(make: Any) -> None:
    assert isinstance(raised(lambda: make(ours_t)), type(raised(lambda: make(theirs_t))))


GRIDS: list[dict[str, Any]] = [
    {}, {"nrow": 2, "padding": 1}, {"normalize": True}, {"normalize": True, "scale_each": True, "pad_value": 0.5},
    {"normalize": True, "value_range": (0.2, 0.7)},
]  # fmt: skip


@pytest.mark.parametrize("kwargs", GRIDS)
def test_make_grid(kwargs: dict[str, Any]) -> None:
    batch = np.random.default_rng(4).random((5, 3, 4, 6), np.float32)
    for array in (batch, batch[:, :1], batch[0], batch[0, 0], batch[:1]):
        mine = gc.vision.utils.make_grid(gc.from_numpy(array.copy()), **kwargs)
        same(mine, torchvision.utils.make_grid(torch.from_numpy(array.copy()), **kwargs))
    mine = gc.vision.utils.make_grid([gc.from_numpy(a.copy()) for a in batch], **kwargs)
    same(mine, torchvision.utils.make_grid([torch.from_numpy(a.copy()) for a in batch], **kwargs))


def test_image_files(tmp_path: Any) -> None:
    torchvision.utils.save_image(torch.from_numpy(BATCH.copy()), tmp_path / "theirs.png", nrow=1)
    gc.vision.utils.save_image(gc.from_numpy(BATCH.copy()), tmp_path / "ours.png", nrow=1)
    same(Image.open(tmp_path / "ours.png"), Image.open(tmp_path / "theirs.png"))
    same(gc.vision.io.read_image(str(tmp_path / "ours.png")), theirs.pil_to_tensor(Image.open(tmp_path / "theirs.png")))


def test_celeba(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_celeba(tmp_path)
    for i in range(1, 5):
        Image.fromarray(BYTES.transpose(1, 2, 0)).save(tmp_path / f"celeba/img_align_celeba/{i:06}.png")
    monkeypatch.setattr(torchvision.datasets.CelebA, "_check_integrity", lambda self: True)
    for split in ("train", "all"):
        for kinds in ("attr", "identity", ["bbox", "landmarks"], []):
            mine = gc.vision.datasets.CelebA(str(tmp_path), split, kinds, ours_t.ToTensor())
            other = torchvision.datasets.CelebA(str(tmp_path), split, kinds, theirs_t.ToTensor())
            assert len(mine) == len(other) and mine.filename == other.filename and repr(mine) == repr(other)
            for i in range(len(mine)):
                (a, s), (b, t) = mine[i], other[i]
                same(a, b)
                if t is None:
                    assert s is None
                else:
                    same(s, t)


def test_datasets_of_files(tmp_path: Any) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label / "more").mkdir(parents=True)
        for i, folder in enumerate((tmp_path / label, tmp_path / label / "more")):
            Image.fromarray(BYTES.transpose(1, 2, 0) // (i + 1)).save(folder / f"{i}.png")
            (folder / "notes.txt").write_text("no image")
    mine = gc.vision.datasets.ImageFolder(str(tmp_path), ours_t.ToTensor())
    other = torchvision.datasets.ImageFolder(str(tmp_path), theirs_t.ToTensor())
    assert (mine.samples, mine.classes, mine.class_to_idx) == (other.samples, other.classes, other.class_to_idx)
    assert repr(mine) == repr(other)
    for i in range(4):
        same(mine[i][0], other[i][0])
        assert mine[i][1] == other[i][1]
