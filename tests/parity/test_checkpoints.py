"""Checkpoints that PyTorch writes: they load here, and the models give what PyTorch's give."""

from __future__ import annotations

import io

import numpy as np
import pytest

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")


class Cnn:
    """Convolutions with batch norm."""

    optimizer = ("SGD", {"lr": 0.1, "momentum": 0.9})

    @staticmethod
    def build(t):
        nn = t.nn
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
        )

    @staticmethod
    def run(t, model, x):
        return model(x)

    shape = (2, 1, 8, 8)


class Lstm:
    """Two layers, both directions."""

    optimizer = ("Adam", {"lr": 0.01, "amsgrad": True})

    @staticmethod
    def build(t):
        return t.nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)

    @staticmethod
    def run(t, model, x):
        return model(x)[0]

    shape = (2, 5, 3)


class Transformer:
    """An encoder."""

    optimizer = ("AdamW", {"lr": 0.01})

    @staticmethod
    def build(t):
        layer = t.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        return t.nn.TransformerEncoder(layer, 2)

    @staticmethod
    def run(t, model, x):
        return model(x)

    shape = (2, 5, 8)


def step(t, kind, model, optimizer, x):
    optimizer.zero_grad()
    loss = (kind.run(t, model, t.from_numpy(x)) ** 2).mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [Cnn, Lstm, Transformer], ids=lambda k: k.__name__)
def test_training_goes_on_from_a_checkpoint(kind, form, tmp_path):
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=kind.shape).astype(np.float32)
    theirs = kind.build(torch)
    name, options = kind.optimizer
    its = getattr(torch.optim, name)(theirs.parameters(), **options)
    for _ in range(3):
        step(torch, kind, theirs, its, x)
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": theirs.state_dict(), "optimizer": its.state_dict(), "epoch": 3}, path, **FORMATS[form])
    found = gc.load(path, map_location="cpu", weights_only=True)
    assert found["epoch"] == 3
    ours = kind.build(gc)
    mine = getattr(gc.optim, name)(ours.parameters(), **options)
    assert str(ours.load_state_dict(found["model"])) == "<All keys matched successfully>"
    mine.load_state_dict(found["optimizer"])
    theirs.eval(), ours.eval()
    with torch.no_grad():
        want = kind.run(torch, theirs, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(kind.run(gc, ours, gc.from_numpy(x)).detach().numpy(), want, rtol=1e-4, atol=1e-6)
    theirs.train(), ours.train()
    losses = [[step(t, kind, m, o, x) for _ in range(5)] for t, m, o in ((torch, theirs, its), (gc, ours, mine))]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]
)
def test_dtypes_and_views(dtype, form):
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    buffer = io.BytesIO()
    torch.save([x, x.t(), x[1:, ::2], x[:0], x[1, 2], x.expand(2, 3, 4)], buffer, **FORMATS[form])
    buffer.seek(0)
    found = gc.load(buffer)
    for a, b in zip(found, torch.load(io.BytesIO(buffer.getvalue())), strict=True):
        assert str(a.dtype).partition(".")[2] == dtype and tuple(a.shape) == tuple(b.shape)
        assert a.stride() == b.stride() or not b.numel()
        assert a.float().tolist() == b.float().tolist()


def test_a_whole_module_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(gc.errors.FileFormatError, match=r"torch\.nn\.modules\.linear\.Linear|by NEWOBJ"):
        gc.load(path, weights_only=False)


def test_missing_keys_and_wrong_shapes_change_nothing(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)
    for layer, message in ((gc.nn.Linear(2, 2), "size mismatch"), (gc.nn.Linear(2, 3, bias=False), "Unexpected key")):
        before = layer.weight.detach().clone()
        with pytest.raises(RuntimeError, match=message):
            layer.load_state_dict(gc.load(path))
        if "size" in message:
            assert bool((layer.weight == before).all())
