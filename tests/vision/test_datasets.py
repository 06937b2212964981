"""Datasets of images, read from files in torchvision's layout; nothing is run that a file asks for."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celeba_files import write_celeba

import graphc as gc
from graphc.core.pickles import read_plain
from graphc.errors import FileFormatError
from graphc.vision import datasets, transforms
from graphc.vision.datasets.mnist import read_idx
from graphc.vision.datasets.vision import DatasetMissingError

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (6, 28, 28), np.uint8), np.array([3, 1, 4, 1, 5, 9], np.uint8)


def idx(array: Any, code: int = 8) -> bytes:
    """An idx file's bytes."""
    big = array.astype(array.dtype.newbyteorder(">"))
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + big.tobytes()


def write_mnist(root: Path, name: str = "MNIST", packed: bool = False) -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for kind, count in (("train", 6), ("t10k", 2)):
        for part, array in (("images-idx3", IMAGES[:count]), ("labels-idx1", LABELS[:count])):
            path = folder / f"{kind}-{part}-ubyte"
            if packed:
                Path(f"{path}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST])
def test_mnist_reads_its_files(kind, packed, tmp_path):
    pytest.importorskip("PIL.Image")
    write_mnist(tmp_path, kind.__name__, packed)
    found = kind(str(tmp_path), train=True, transform=transforms.ToTensor())
    assert len(found) == 6 and found.targets.tolist() == LABELS.tolist() and found.targets.dtype is gc.int64
    assert found.data.numpy().tolist() == IMAGES.tolist() and len(found.classes) == 10
    image, label = found[4]
    assert label == 5 and image.dtype is gc.float32
    assert np.array_equal(image.numpy()[0], (IMAGES[4] / np.float32(255)).astype(np.float32))
    assert len(kind(tmp_path, train=False)) == 2
    assert "Split: Train" in repr(found) and "Transform: ToTensor()" in repr(found)
    batch, classes = next(iter(gc.utils.data.DataLoader(found, batch_size=6)))
    assert tuple(batch.shape) == (6, 1, 28, 28) and classes.tolist() == LABELS.tolist()


def test_the_old_names_of_mnist_warn(tmp_path):
    write_mnist(tmp_path)
    found = datasets.MNIST(tmp_path)
    for old, new in (("train_data", found.data), ("test_labels", found.targets)):
        with pytest.warns(UserWarning, match=f"{old} has been renamed"):
            assert getattr(found, old) is new


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, np.uint8), (9, np.int8), (11, np.int16), (12, np.int32), (13, np.float32), (14, np.float64)]
)
def test_idx_files_of_every_type(code, dtype, tmp_path):
    array = (RNG.random((2, 3)) * 100).astype(dtype)
    (tmp_path / "x").write_bytes(idx(array, code))
    found = read_idx(str(tmp_path / "x"))
    assert found.dtype == dtype and np.array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "not an idx file"), (b"\0\0\x07\x01", "not an idx file"), (b"PK\x03\x04abc", "not an idx file"),
     (idx(IMAGES)[:-1], "do not fit the shape"), (idx(IMAGES) + b"x", "do not fit the shape"),
     (b"\0\0\x08\x03\0\0", "do not fit the shape")],
)  # fmt: skip
def test_damaged_idx_files_are_refused(content, text, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FileFormatError, match=text):
        read_idx(str(tmp_path / "x"))


def test_images_and_labels_that_do_not_fit(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    with pytest.raises(FileFormatError, match=r"images \(6, 28, 28\) and labels \(3,\) do not fit"):
        datasets.MNIST(tmp_path)


def test_without_files_one_sentence_says_what_helps(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"MNIST: Dataset not found in .*raw, which must hold train-images-idx3-ubyte"
    ):
        datasets.MNIST(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"You can use download=True .* where there is a network, or copy these files"
    ):
        datasets.CIFAR10(tmp_path)


# --- downloads, from addresses of files ------------------------------------------------------------------------------


def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for MNIST's servers."""
    folder = tmp_path / "server"
    folder.mkdir()
    parts = {"train-images-idx3": IMAGES, "train-labels-idx1": LABELS, "t10k-images-idx3": IMAGES[:2],
             "t10k-labels-idx1": LABELS[:2]}  # fmt: skip
    sums = []
    for name, array in parts.items():
        content = gzip.compress(idx(array))
        (folder / f"{name}-ubyte.gz").write_bytes(content)
        sums.append((f"{name}-ubyte.gz", hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", tuple(sums))
    monkeypatch.setattr(datasets.MNIST, "mirrors", ("file:///nowhere/", f"file://{folder}/"))
    return folder


def test_a_download_comes_from_the_first_address_that_works(tmp_path, monkeypatch):
    folder = served(tmp_path, monkeypatch)
    assert datasets.MNIST(tmp_path / "data", download=True).data.numpy().tolist() == IMAGES.tolist()
    for file in folder.iterdir():
        file.unlink()
    assert len(datasets.MNIST(tmp_path / "data", train=False, download=True)) == 2  # there already


def test_a_download_with_another_checksum_leaves_nothing(tmp_path, monkeypatch):
    folder = served(tmp_path, monkeypatch)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DatasetMissingError, match=r"another file than expected \(its MD5 is not"):
        datasets.MNIST(tmp_path / "data", download=True)
    assert os.listdir(tmp_path / "data/MNIST/raw") == []


def test_without_a_network_the_sentence_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ("file:///nowhere/",))
    with pytest.raises(DatasetMissingError) as caught:
        datasets.MNIST(tmp_path, download=True)
    text = str(caught.value)
    assert text.startswith("MNIST: cannot be downloaded\n  file:///nowhere/train-images-idx3-ubyte.gz: ")
    folder = re.escape(str(tmp_path / "MNIST/raw"))
    want = rf"hint: without a network, download train-images-idx3-ubyte\.gz elsewhere and copy it to {folder}\n  at "
    assert re.search(want, text)


# --- CIFAR -----------------------------------------------------------------------------------------------------------

PIXELS = RNG.integers(0, 256, (4, 3072), np.uint8)


def write_cifar(root: Path, protocol: int = 2) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i in range(5):
        batch = {"data": PIXELS + np.uint8(i), "labels": [i, 1, 2, 3], "batch_label": f"{i}", "filenames": ["a"] * 4}
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch, protocol))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": PIXELS, "labels": [9, 8, 7, 6]}, protocol))
    names = {"label_names": [f"class {i}" for i in range(10)], "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar_reads_its_batches(protocol, tmp_path):
    write_cifar(tmp_path, protocol)
    found = datasets.CIFAR10(tmp_path)
    assert found.data.shape == (20, 32, 32, 3) and found.targets[:5] == [0, 1, 2, 3, 1]
    assert np.array_equal(found.data[5], (PIXELS[1] + np.uint8(1)).reshape(3, 32, 32).transpose(1, 2, 0))
    assert found.classes[3] == "class 3" and found.class_to_idx["class 3"] == 3
    assert datasets.CIFAR10(tmp_path, train=False).targets == [9, 8, 7, 6]


def test_cifar_gives_pictures(tmp_path):
    pytest.importorskip("PIL.Image")
    write_cifar(tmp_path)
    image, label = datasets.CIFAR10(str(tmp_path), train=False, transform=transforms.PILToTensor())[2]
    assert label == 7 and np.array_equal(image.numpy(), PIXELS[2].reshape(3, 32, 32))
    assert "Split: Test" in repr(datasets.CIFAR10(tmp_path, train=False))


def test_cifar_100_reads_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        batch = {"data": PIXELS, "fine_labels": [5, 6, 7, 8], "coarse_labels": [0, 0, 1, 1]}
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["x"] * 100, "coarse_label_names": []}, 2))
    assert datasets.CIFAR100(tmp_path).targets == [5, 6, 7, 8]


def test_cifar_is_unpacked_from_its_archive_only_where_it_belongs(tmp_path, monkeypatch):
    write_cifar(tmp_path / "server")
    with tarfile.open(tmp_path / "server/cifar-10-python.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "server/cifar-10-batches-py", "cifar-10-batches-py")
        outside = tarfile.TarInfo("../outside")
        outside.size = 3
        packed.addfile(outside, io.BytesIO(b"bad"))
    archive = (tmp_path / "server/cifar-10-python.tar.gz").read_bytes()
    monkeypatch.setattr(datasets.CIFAR10, "url", f"file://{tmp_path}/server/cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive).hexdigest())
    assert len(datasets.CIFAR10(tmp_path / "data", download=True)) == 20
    assert not (tmp_path / "outside").exists()


class Attack:
    """A pickle of this runs a command where it is really unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    write_cifar(tmp_path)
    attack = pickle.dumps({"data": Attack(tmp_path / "ran"), "labels": []}, 2)
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(attack)
    with pytest.raises(FileFormatError, match=r"data_batch_1: refused: it holds a (posix|os)\.system, .*runs no code"):
        datasets.CIFAR10(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.array([1, "a"], object), "no plain data"), (np.zeros(2, [("a", "i4")]), "no plain data"), (eval, "it holds a"),
     (np.ndarray, "it holds a numpy.ndarray"), (Path("x"), "it holds a pathlib")],
)  # fmt: skip
def test_pickles_of_anything_else_are_refused(value, text, tmp_path):
    (tmp_path / "x").write_bytes(pickle.dumps([value], 2))
    with pytest.raises(FileFormatError, match=text):
        read_plain(str(tmp_path / "x"))


def test_plain_pickles_come_back_as_they_were(tmp_path):
    value = {
        "a": [1, 2.5, None, True, "ä", b"\xff\x00", {1, 2}, np.float64(3.0), 1j],
        "b": (RNG.random((2, 3)), np.arange(4, dtype=">i2")),
    }
    for protocol in (1, 2, 4):
        (tmp_path / "x").write_bytes(pickle.dumps(value, protocol))
        found = read_plain(str(tmp_path / "x"))
        assert found["a"] == value["a"]
        for mine, other in zip(found["b"], value["b"], strict=True):
            assert np.array_equal(mine, other) and mine.dtype == other.dtype.newbyteorder("=")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"data": PIXELS}, 2)[:-200]])
def test_damaged_pickles_are_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FileFormatError, match="refused: its pickle is damaged"):
        read_plain(str(tmp_path / "x"))


def test_a_batch_of_another_shape_is_refused(tmp_path):
    write_cifar(tmp_path)
    for batch in ([1], {"data": PIXELS, "labels": [1]}, {"data": PIXELS[:, :5], "labels": [1] * 4}, {"labels": [1]}):
        (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps(batch, 2))
        with pytest.raises(FileFormatError, match="not a batch of CIFAR10"):
            datasets.CIFAR10(tmp_path)


# --- CelebA ----------------------------------------------------------------------------------------------------------


def test_celeba_reads_its_tables(tmp_path):
    write_celeba(tmp_path)
    found = datasets.CelebA(tmp_path)
    assert found.filename == ["000001.png", "000003.png"] and len(found) == 2
    assert found.attr.tolist() == [[1, 0], [1, 1]] and found.attr_names == ["Bald", "Young"]
    assert found.identity.tolist() == [[11], [33]] and found.bbox[1].tolist() == [2, 2, 3, 4]
    assert len(datasets.CelebA(tmp_path, "all")) == 4 and datasets.CelebA(tmp_path, "Test").filename == ["000002.png"]
    with pytest.raises(ValueError, match="Unknown value 'none' for argument split"):
        datasets.CelebA(tmp_path, "none")
    with pytest.raises(ValueError, match='Target type "age" is not recognized'):
        datasets.CelebA(tmp_path, target_type=["attr", "age"])
    (tmp_path / "celeba/identity_CelebA.txt").write_text("000001.png one\n")
    with pytest.raises(FileFormatError, match=r"identity_CelebA\.txt: not a table of whole numbers"):
        datasets.CelebA(tmp_path)
    with pytest.raises(
        RuntimeError, match=r"CelebA: Dataset not found in .*\n  hint: download it in a browser and unpack it"
    ):
        datasets.CelebA(tmp_path / "nowhere", download=True)


def test_celeba_gives_pictures_with_the_targets_asked_for(tmp_path):
    image = pytest.importorskip("PIL.Image")
    write_celeba(tmp_path)
    image.fromarray(PIXELS[0].reshape(32, 32, 3)).save(tmp_path / "celeba/img_align_celeba/000003.png")
    for kinds, want in (("identity", 33), (["landmarks"], [2, -2]), ([], None)):
        picture, target = datasets.CelebA(tmp_path, target_type=kinds, transform=transforms.PILToTensor())[1]
        assert tuple(picture.shape) == (3, 32, 32)
        assert (target if target is None else target.tolist()) == want
    found = datasets.CelebA(str(tmp_path), target_type=["attr", "bbox"], target_transform=lambda t: len(t))
    assert found[1][1] == 2 and "Target type: ['attr', 'bbox']" in repr(found)


# --- folders and noise -----------------------------------------------------------------------------------------------


def test_a_folder_of_any_files(tmp_path):
    for name in ("b/2.txt", "a/1.txt", "a/deep/0.TXT", "a/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = datasets.DatasetFolder(tmp_path, lambda path: Path(path).read_text(), (".txt",), transform=str.upper)
    assert found.classes == ["a", "b"] and found.targets == [0, 0, 1]
    assert [found[i] for i in range(len(found))] == [("A/1.TXT", 0), ("A/DEEP/0.TXT", 0), ("B/2.TXT", 1)]
    (tmp_path / "c").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"Found no valid file for the classes c\. Supported extensions are: \.txt"
    ):
        datasets.DatasetFolder(tmp_path, str, (".txt",))
    assert len(datasets.DatasetFolder(tmp_path, str, (".txt",), allow_empty=True)) == 3
    with pytest.raises(ValueError, match="Both extensions and is_valid_file"):
        datasets.DatasetFolder(tmp_path, str)
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        datasets.ImageFolder(tmp_path / "c")


def test_noise_is_the_same_for_the_same_index():
    pytest.importorskip("PIL.Image")
    found = datasets.FakeData(4, (3, 5, 6), 7, transforms.PILToTensor())
    state = gc.get_rng_state().tolist()
    first, again = found[2], found[2]
    assert gc.get_rng_state().tolist() == state
    assert first[0].tolist() == again[0].tolist() and first[1] == again[1] and 0 <= first[1] < 7
    assert tuple(first[0].shape) == (3, 5, 6) and found[1][0].tolist() != first[0].tolist()
    with pytest.raises(IndexError, match="FakeData index out of range"):
        found[4]


def test_one_transform_of_both_or_one_of_each():
    found = datasets.VisionDataset("x", transforms=lambda a, b: (b, a))
    assert found.transforms(1, 2) == (2, 1)
    with pytest.raises(ValueError, match="Only transforms or transform/target_transform"):
        datasets.VisionDataset("x", transforms=str, transform=str)
    each = datasets.VisionDataset("x", transform=str, target_transform=float)
    assert each.transforms(1, 2) == ("1", 2.0)
