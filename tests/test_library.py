"""Custom operators in graphs: what their fakes tell, where their gradients flow, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from where import KIND

import graphc as gc
from graphc.core.errors import ArgumentError, GradientError, KernelError, MissingNameError, SchemaError, SymbolicError
from graphc.library import custom_op

BACKENDS = ["numpy", "llvm"]
X = np.linspace(-1, 2, 6).reshape(2, 3)


@custom_op("own::double_rows", mutates_args=())
def double_rows(x: gc.Tensor, times: int) -> gc.Tensor:
    return gc.from_numpy(np.repeat(x.numpy(), times, axis=0) * 2)


@double_rows.register_fake
def _(x, times):
    return x.new_empty((x.shape[0] * times, *x.shape[1:]))


double_rows.register_autograd(
    lambda ctx, g: (2 * g.reshape(-1, ctx.times, *g.shape[1:]).sum(1), None),
    setup_context=lambda ctx, inputs, output: setattr(ctx, "times", inputs[1]),
)


@custom_op("own::cube", mutates_args=())
def cube(x: gc.Tensor) -> gc.Tensor:
    return gc.from_numpy(x.numpy() ** 3)


cube.register_fake(gc.empty_like)
cube.register_autograd(
    lambda ctx, g: 3 * g * ctx.saved_tensors[0] ** 2,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


@custom_op("own::ramp", mutates_args=())
def ramp(x: gc.Tensor) -> list[gc.Tensor]:
    return [x * 1, gc.from_numpy(x.numpy().T.copy().T * 2), x.sum()]


@ramp.register_fake
def _(x):
    return [gc.empty_like(x), gc.empty_like(x), x.new_empty(())]


def test_unknown_sizes(backend: str) -> None:
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), dtype=gc.float64, name="x")
        y = double_rows(x, 2)
        (g,) = gc.gradients(y.sum(), [x])
    assert str(y.tensor_type).startswith("f64[2*")
    with gc.Session(graph, backend=backend) as sess:
        for rows in (2, 5):
            fed = np.arange(3.0 * rows).reshape(rows, 3)
            got, grad = sess.run([y, g], {x: fed})
            np.testing.assert_array_equal(got, np.repeat(fed, 2, axis=0) * 2)
            np.testing.assert_array_equal(grad, np.full((rows, 3), 4.0))


def test_lists_and_layouts(backend: str) -> None:
    fn = gc.compile(lambda x: [t + 1 for t in ramp(x)], backend=backend)
    a, b, c = fn(gc.tensor(X))
    for got, want in zip((a, b, c), (X + 1, 2 * X + 1, X.sum() + 1), strict=True):
        np.testing.assert_allclose(got.numpy(), want)


def test_gradients_where_recorded_ops_are_replayed(backend: str) -> None:
    x = gc.tensor(X, requires_grad=True)

    def loops(x):
        total, _ = gc.scan(lambda c, row: (c + cube(row * c), c), gc.ones(3, dtype=gc.float64), x)
        return gc.cond(x.sum() > 0, lambda: cube(total).sum(), lambda: total.sum())

    def by_hand(x):
        total = gc.ones(3, dtype=gc.float64)
        for row in x:
            total = total + (row * total) ** 3
        return (total**3).sum()

    want = gc.autograd.grad(by_hand(x), x)[0]
    got = gc.autograd.grad(gc.compile(loops, backend=backend)(x), x)[0]
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


def test_vmap_and_gradients() -> None:
    x = gc.tensor(X)
    rows = gc.func.vmap(gc.func.grad(lambda r: cube(r).sum()))(x)
    np.testing.assert_allclose(rows.numpy(), 3 * X**2)


def test_a_result_changed_in_place_keeps_the_gradient() -> None:
    x = gc.tensor(X, requires_grad=True)
    y = cube(x)
    y.mul_(2)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * X**2)


def test_equal_calls_are_one_and_unread_ones_none() -> None:
    calls = []

    @custom_op("own::counted", mutates_args=())
    def counted(x: gc.Tensor, word: str = "a", dtype: gc.dtype = gc.float64) -> gc.Tensor:
        calls.append(word)
        return x.to(dtype) * 1

    counted.register_fake(lambda x, word="a", dtype=gc.float64: x.new_empty(x.shape, dtype=dtype))

    def fn(x):
        counted(x, "unread")
        return counted(x) + counted(x) + counted(x, "b")

    gc.compile(fn)(gc.tensor(X))
    assert sorted(calls) == ["a", "b"]
    assert gc.compile(lambda x: counted(x, dtype=gc.float32))(gc.tensor(X)).dtype is gc.float32


def test_a_new_kernel_is_used_by_what_is_compiled() -> None:
    op = custom_op("own::changing", lambda x: x * 2, mutates_args=(), schema="(Tensor x) -> Tensor")
    op.register_fake(gc.empty_like)
    fn = gc.compile(lambda x: op(x))
    x = gc.tensor(X)
    np.testing.assert_array_equal(fn(x).numpy(), X * 2)
    op.register_kernel("cpu", lambda x: x * 3)
    np.testing.assert_array_equal(fn(x).numpy(), X * 3)
    with op.set_kernel_enabled("cpu", False):
        np.testing.assert_array_equal(fn(x).numpy(), X * 2)


def test_writes_through_views_and_in_graphs(backend: str) -> None:
    @custom_op("own::fill", mutates_args=["out"])
    def fill(out: gc.Tensor, value: float) -> gc.Tensor:
        out.numpy()[...] = value
        return out + 1

    fill.register_fake(lambda out, value: gc.empty_like(out))
    state = gc.zeros(3, 2)

    def fn():
        return fill(state[1], 5.0), state.sum()

    a, total = gc.compile(fn, backend=backend)()
    assert a.tolist() == [6.0, 6.0]
    assert total.item() == 10.0
    assert state.tolist() == [[0, 0], [5, 5], [0, 0]]


def test_without_a_fake() -> None:
    op = custom_op("own::unfaked", lambda x: x * 1, mutates_args=(), schema="(Tensor x) -> Tensor")
    assert op(gc.ones(2)).tolist() == [1, 1]
    with pytest.raises(
        SymbolicError, match=r"There was no fake impl registered for .*own::unfaked.*test_library.py:\d+"
    ):
        gc.compile(lambda x: op(x))(gc.ones(2))


def test_a_fake_that_is_wrong(backend: str) -> None:
    op = custom_op("own::misjudged", lambda x: x[:1] * 1, mutates_args=(), schema="(Tensor x) -> Tensor")
    op.register_fake(gc.empty_like)
    with pytest.raises(
        ArgumentError, match=r"^own::misjudged: its fake tells of results f32\[2\], and it gave f32\[1\]"
    ):
        gc.compile(lambda x: op(x), backend=backend)(gc.ones(2))


def test_another_number_of_results() -> None:
    op = custom_op(
        "own::three", lambda x: (x * 1, x * 2, x * 3), mutates_args=(), schema="(Tensor x) -> (Tensor, Tensor)"
    )
    with pytest.raises(SchemaError, match="tells of other results"):
        op(gc.ones(2))


@pytest.mark.parametrize(
    ("result", "returns"),
    [(None, "Tensor"), (np.ones(2), "Tensor"), (gc.ones(2), "Tensor[]"), ((gc.ones(2), 3), "(Tensor, Tensor)")],
)
def test_results_that_are_no_tensors(result: Any, returns: str) -> None:
    op = custom_op("own::untold", lambda x: result, mutates_args=(), schema=f"(Tensor x) -> {returns}")
    op.register_fake(lambda x: result)
    with pytest.raises(SchemaError, match=r"own::untold: the schema .* tells of other results than"):
        op(gc.zeros(2))
    with pytest.raises(SchemaError, match=r"own::untold: its fake gives .*, and the schema .* tells of other results"):
        gc.compile(lambda x: op(x))(gc.zeros(2))


def test_arguments_that_are_not_those_of_the_schema() -> None:
    schema = "(Tensor x, int n=2, *, Tensor(a2!) y, Tensor? z=None) -> Tensor"
    op = custom_op("own::strict", lambda x, n=2, *, y, z=None: x * n, mutates_args=("y",), schema=schema)
    x = gc.ones(2)
    assert op(x, y=gc.zeros(2)).tolist() == [2, 2]
    for call in (lambda x: op(3, y=x), lambda x: op(x, y=[x])):
        for run in (call, gc.compile(call)):
            with pytest.raises(
                SchemaError, match=r"Expected a value of type 'Tensor' for argument '[xy]' but instead found"
            ):
                run(x)
    with pytest.raises(
        SchemaError, match=r"own::strict\(\) missing a required .*'y'. Declaration: own::strict\(Tensor x"
    ):
        op(x)


def test_a_gradient_that_is_no_tensor() -> None:
    op = custom_op("own::steep", lambda x: x * 3, mutates_args=(), schema="(Tensor x) -> Tensor")
    op.register_fake(gc.empty_like)
    op.register_autograd(lambda ctx, g: 3)
    for run in (op, gc.compile(lambda x: op(x) * 2)):
        with pytest.raises(GradientError, match=r"function steepBackward: expected Variable or None \(got int\)"):
            run(gc.ones(2, requires_grad=True)).sum().backward()


def test_numbers_and_nothing_in_graphs() -> None:
    number = custom_op("own::number", lambda x: 3, mutates_args=(), schema="(Tensor x) -> SymInt")
    number.register_fake(lambda x: 3)
    nothing = custom_op("own::nothing", lambda x: None, mutates_args=(), schema="(Tensor x) -> ()")
    assert number(gc.ones(2)) == 3
    assert nothing(gc.ones(2)) is None
    with pytest.raises(SymbolicError, match="gives numbers, which are known only when the graph runs"):
        gc.compile(lambda x: number(x) * x)(gc.ones(2))
    with pytest.raises(SymbolicError, match="gives nothing and writes to no argument"):
        gc.compile(lambda x: (nothing(x), x + 1))(gc.ones(2))


def test_lists_of_gradients_of_another_length() -> None:
    op = custom_op("own::added", lambda xs: xs[0] + xs[1], mutates_args=(), schema="(Tensor[] xs) -> Tensor")
    op.register_autograd(lambda ctx, g: ([g],))
    xs = [gc.ones(2, requires_grad=True), gc.ones(2)]
    with pytest.raises(GradientError, match="same structure as the inputs: 2 gradients for xs, got 1"):
        op(xs).sum().backward()


def test_errors_of_names() -> None:
    with pytest.raises(ArgumentError, match="form 'namespace::name', got 'plain'"):
        custom_op("plain", lambda x: x, mutates_args=(), schema="(Tensor x) -> Tensor")
    with pytest.raises(ArgumentError, match="not a schema: 'x to y'"):
        custom_op("own::odd", lambda x: x, mutates_args=(), schema="x to y")
    with pytest.raises(ArgumentError, match="'own::absent' is no custom op"):
        gc.library.register_fake("own::absent", gc.empty_like)
    with pytest.raises(MissingNameError, match=r"custom ops of this namespace are .*cube"):
        gc.ops.own.absent
    with pytest.raises(MissingNameError, match=r"torch\.\* has PyTorch's own"):
        gc.ops.aten.relu
    assert "cube" in dir(gc.ops.own)
    op = custom_op("own::far", lambda x: x, mutates_args=(), schema="(Tensor x) -> Tensor", device_types="cuda")
    with pytest.raises(
        KernelError, match=rf"on the device '{KIND}': it has kernels for cuda only, register_kernel\('{KIND}'\)"
    ):
        op(gc.ones(2))


def test_graphs_with_custom_ops_are_not_saved(tmp_path: Path) -> None:
    graph = gc.Graph()
    with graph.as_default():
        graph.outputs["y"] = cube(gc.placeholder((3,), name="x"))
    with pytest.raises(gc.errors.GraphError, match="cube"):
        gc.save_graph(graph, tmp_path / "graph.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=BACKENDS)
def backend(request: Any) -> str:
    return request.param


@pytest.mark.opencl
def test_on_a_device() -> None:
    x = gc.tensor(X, dtype=gc.float32, device="opencl", requires_grad=True)

    @custom_op("own::moving", mutates_args=())
    def moving(x: gc.Tensor) -> gc.Tensor:
        return gc.from_numpy(x.detach().cpu().numpy() * 2).to(x.device)

    moving.register_fake(gc.empty_like)
    moving.register_autograd(lambda ctx, g: g * 2)
    for fn in (moving, gc.compile(lambda x: moving(x))):
        y = fn(x)
        assert y.device.type == "opencl"
        np.testing.assert_allclose(y.detach().cpu().numpy(), 2 * X, rtol=1e-6)
        (g,) = gc.autograd.grad(y.sum(), x)
        np.testing.assert_array_equal(g.cpu().numpy(), np.full((2, 3), 2.0))
