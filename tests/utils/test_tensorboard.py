"""`utils.tensorboard` beside PyTorch's: TensorBoard reads the same from both files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import graphc as gc

torch = pytest.importorskip("torch")
accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
tensorboard = pytest.importorskip("torch.utils.tensorboard")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(0)


def read(folder: Any) -> Any:
    found = accumulators.EventAccumulator(
        str(folder), size_guidance={"images": 0, "histograms": 0, "scalars": 0, "tensors": 0}
    )
    return found.Reload()


def written(tmp_path: Any, write: Any) -> tuple[Any, Any]:
    """What `write(writer, tensor maker, nn)` leaves behind in both libraries."""
    libraries = (("ours", gc.utils.tensorboard, gc), ("theirs", tensorboard, torch))
    for name, module, library in libraries:
        with module.SummaryWriter(log_dir=str(tmp_path / name)) as writer:
            write(writer, library)
    return read(tmp_path / "ours"), read(tmp_path / "theirs")


def test_scalars_and_texts(tmp_path: Any) -> None:
    def write(writer: Any, m: Any) -> None:
        for i in range(4):
            writer.add_scalar("loss", m.tensor(1.5 * i), i)
            writer.add_scalar("plain", i / 3, 10 * i, walltime=5.0)
        writer.add_text("note", "*hello*", 2)

    ours, theirs = written(tmp_path, write)
    assert ours.Tags() == theirs.Tags()
    for tag in ("loss", "plain"):
        assert [(e.step, e.value) for e in ours.Scalars(tag)] == [(e.step, e.value) for e in theirs.Scalars(tag)]
    assert [e.wall_time for e in ours.Scalars("plain")] == [5.0] * 4
    (a,), (b,) = (found.Tensors("note/text_summary") for found in (ours, theirs))
    assert (a.step, a.tensor_proto) == (b.step, b.tensor_proto)


@pytest.mark.parametrize("bins", ["tensorflow", "auto", "fd", 12, [-3.0, -0.5, 0.0, 0.25, 4.0]], ids=str)
@pytest.mark.parametrize("max_bins", [None, 7, 100])
def test_histograms(tmp_path: Any, bins: Any, max_bins: int | None) -> None:
    cases = {"normal": RNG.normal(size=(20, 9)), "narrow": RNG.normal(size=50) * 1e-3 + 1, "one": np.array([0.1])}

    def write(writer: Any, m: Any) -> None:
        for name, values in cases.items():
            writer.add_histogram(name, m.tensor(values), 3, bins=bins, max_bins=max_bins)

    ours, theirs = written(tmp_path, write)
    for name in cases:
        (a,), (b,) = (found.Histograms(name) for found in (ours, theirs))
        assert a.step == b.step == 3
        for field in ("min", "max", "num", "sum", "sum_squares", "bucket_limit", "bucket"):
            x, y = (getattr(e.histogram_value, field) for e in (a, b))
            np.testing.assert_allclose(x, y, rtol=1e-12, err_msg=field)


def test_pictures(tmp_path: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    floats = RNG.uniform(-0.2, 1.2, (3, 5, 7)).astype(np.float32)
    bytes_ = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)
    cases = {
        "chw": (floats, "CHW"), "grey": (floats[:1], "CHW"), "hwc": (bytes_, "HWC"), "hw": (floats[0], "HW"),
        "wh": (floats[0], "wh"), "batch": (np.stack([floats] * 11), "NCHW"), "greys": (floats[:, None], "NCHW"),
        "nhwc": (np.stack([bytes_, bytes_ // 2]), "NHWC"),
    }  # fmt: skip

    def write(writer: Any, m: Any) -> None:
        for name, (array, formats) in cases.items():
            add = writer.add_images if len(formats) == 4 else writer.add_image
            add(name, m.tensor(array), 1, dataformats=formats)

    ours, theirs = written(tmp_path, write)
    for name in cases:
        (a,), (b,) = (found.Images(name) for found in (ours, theirs))
        assert (a.step, a.width, a.height) == (b.step, b.width, b.height)
        pixels = [np.asarray(image.open(io.BytesIO(x.encoded_image_string))) for x in (a, b)]
        np.testing.assert_array_equal(*pixels)


def test_graphs(tmp_path: Any) -> None:
    def write(writer: Any, m: Any) -> None:
        net = m.nn.Sequential(m.nn.Linear(4, 3), m.nn.ReLU(), m.nn.Sequential(m.nn.Linear(3, 2), m.nn.Dropout(0.5)))
        writer.add_graph(net, m.ones(5, 4))
        assert net.training and net[2][1].training

    found, theirs = (events.Graph() for events in written(tmp_path, write))
    scopes = [{n.name.partition("/")[0] for n in graph.node if "/" in n.name} for graph in (found, theirs)]
    assert scopes[0] == {"Sequential"} <= scopes[1]
    by_name = {n.name: n for n in found.node}
    assert len(by_name) == len(found.node)
    for node in found.node:  # nothing hangs in the air
        assert all(name.partition(":")[0] in by_name for name in node.input)
    (out,) = [n for n in found.node if n.op == "output"]
    (shape,) = out.attr["_output_shapes"].list.shape
    assert [d.size for d in shape.dim] == [5, 2]
    inputs = {n.name for n in found.node if n.op == "input"}
    assert inputs == {"input_0", *(f"Sequential/{n}" for n in ("0/weight", "0/bias", "2/0/weight", "2/0/bias"))}
    products = [n.name for n in found.node if n.op == "matmul"]
    assert products == ["Sequential/0/matmul", "Sequential/2/0/matmul"]


def test_a_graph_is_also_told(capsys: Any, tmp_path: Any) -> None:
    with gc.utils.tensorboard.SummaryWriter(log_dir=str(tmp_path)) as writer:
        writer.add_graph(lambda x, n, pair: (x * n, pair[0].sort()), (gc.ones(3), 2, (gc.ones(2, 2),)), verbose=True)
        with pytest.raises(gc.errors.ArgumentError, match="no number lies in the bins"):
            writer.add_histogram("x", gc.ones(3), bins=[2.0, 3.0])
    assert 'op: "multiply"' in capsys.readouterr().out
    found = read(tmp_path).Graph()
    assert "sort:1" in {name for n in found.node for name in n.input}
