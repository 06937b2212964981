"""`check_nans=True`: the first op that makes a NaN or an infinity is named, and a run that fails has changed nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import NonFiniteError
from graphc.ir.interpret import interpreter
from graphc.nn import functional as F

inf, nan = float("inf"), float("nan")


@pytest.fixture(params=["llvm", "numpy", pytest.param("opencl", marks=pytest.mark.opencl)])
def backend(request: Any) -> str:
    return str(request.param)


def line_of(text: str) -> int:
    """The one line of this file that ends with a comment."""
    lines = Path(__file__).read_text().splitlines()
    (n,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return n


def fails(call: Any, op: str, line: str, *more: str) -> str:
    """The message of a call that must fail for this op on the line that ends with this comment."""
    with pytest.raises(NonFiniteError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(f"{op}: made "), text
    assert re.search(rf"  at \S*test_nan_checks\.py:{line_of(line)}( |$)", text.splitlines()[-1]), text
    for part in more:
        assert part in text, text
    return text


def test_what_nobody_reads_of_sorted_rows_is_not_looked_at() -> None:
    """One program leaves memory full of NaN, the other writes a part of the same."""

    def all_of(x: Any) -> Any:
        return gc.sort(x * 2, 1)[0].sum()

    def first_three(x: Any) -> Any:
        return gc.topk(x * 2, 3, 1)[0].sum()

    x = gc.ones(40, 50)
    assert np.isnan(float(gc.compile(all_of, backend="llvm")(x * nan)))
    assert float(gc.compile(first_three, backend="llvm", check_nans=True)(x)) == 40 * 3 * 2


def test_a_fused_op_is_named(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def f(x: Any) -> Any:
        y = x * 2
        z = gc.log(y)  # the log
        return z * 3 + 1

    np.testing.assert_allclose(f(gc.tensor([0.5, 1.0])).numpy(), [1, 1 + 3 * np.log(2)], rtol=1e-6)
    text = fails(
        lambda: f(gc.tensor([1.0, -1.0])),
        "log",
        "the log",
        "NaN from finite operands, in 1 of 2 elements, the first at [1]",
    )
    assert re.search(r"  a: f32\[2\] in \[-2, 2\]  made at \S*test_nan_checks\.py:\d+\n", text)
    fails(lambda: f(gc.tensor([[0.0, 1.0]])), "log", "the log", "made infinity", "1 of 2 elements, the first at [0, 0]")
    np.testing.assert_allclose(f(gc.tensor([0.5])).numpy(), [1], rtol=1e-6)


def test_it_is_a_runtime_error_and_a_floating_point_error(backend: str) -> None:
    f = gc.compile(lambda x: 1 / x, backend=backend, check_nans=True)
    for kind in (RuntimeError, FloatingPointError, gc.errors.GraphcError):
        with pytest.raises(kind, match="divide: made infinity from finite operands, in 1 of 1 elements"):
            f(gc.tensor(0.0))


def test_without_it_nothing_is_raised_or_called(backend: str) -> None:
    f = gc.compile(lambda x: gc.log(x), backend=backend)
    assert np.isnan(f(gc.tensor([-1.0])).numpy()).all()
    if backend == "llvm":
        checked = gc.compile(lambda x: gc.log(x), backend=backend, check_nans=True)
        checked(gc.tensor([1.0]))
        plain, other = (next(iter(g.last_built().executables.values())) for g in (f, checked))
        assert [type(x).__name__ for x in plain.translation.instructions] == ["Region"]
        assert [type(x).__name__ for x in other.translation.instructions] == ["Region", "Host"]


def test_what_comes_from_outside_may_be_anything(backend: str) -> None:
    f = gc.compile(lambda x: (x + 1).exp() * 2, backend=backend, check_nans=True)
    assert np.isnan(f(gc.tensor([nan, 1.0])).numpy()[0])
    assert f(gc.tensor([inf])).item() == inf


def test_infinities_that_are_written_on_purpose_are_none_of_its_business(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def attention(q: Any, mask: Any) -> Any:
        scores = (q @ q.t()).masked_fill(mask, -inf)
        return gc.softmax(scores, -1) @ q, gc.full((3,), inf), scores.amax(1)

    padded = gc.compile(lambda x: F.pad(x, (1, 1), value=-inf), backend=backend, check_nans=True)
    assert padded(gc.ones(2)).tolist() == [-inf, 1, 1, -inf]
    q, mask = gc.randn(4, 4), gc.ones(4, 4).triu(1).bool()
    assert np.isfinite(attention(q, mask)[0].numpy()).all()


def test_in_a_kernel_only_what_is_stored_counts() -> None:
    def f(x: Any) -> Any:
        return gc.where(x > 0, gc.log(x), 0.0) + 1  # hidden

    x = gc.tensor([-1.0, 1.0])
    fails(lambda: gc.compile(f, backend="numpy", check_nans=True)(x), "log", "hidden")
    assert gc.compile(f, backend="llvm", check_nans=True)(x).tolist() == [1, 1]


def test_a_product_that_overflows(backend: str) -> None:
    f = gc.compile(lambda x: x @ x, backend=backend, check_nans=True)  # the product
    f(gc.ones(3, 3))
    fails(lambda: f(gc.full((3, 3), 1e30)), "matmul", "the product", "9 of 9 elements, the first at [0, 0]")


def test_a_training_step_that_fails_changes_nothing(backend: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    opt = optim.Adam(model.parameters(), lr=0.1)

    @gc.compile(backend=backend, check_nans=True)
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = (gc.log(model(x).square() + y)).mean()  # the loss
        loss.backward()
        opt.step()
        return loss

    x, y = gc.randn(5, 3), gc.ones(5, 1)
    step(x, y)
    kept = [t for s in opt.state.values() for t in s.values() if isinstance(t, gc.Tensor)]
    state = [t.detach().numpy().copy() for t in (*model.parameters(), *kept)]
    fails(lambda: step(x, y - 1e6), "log", "the loss", "made NaN")
    for a, b in zip(state, (*model.parameters(), *kept), strict=True):
        np.testing.assert_array_equal(a, b.detach().numpy())
    assert all(p.grad is None for p in model.parameters())
    before = state[0]
    step(x, y)
    assert not np.array_equal(before, next(iter(model.parameters())).detach().numpy())


def test_the_module_and_the_gradient_are_named(backend: str) -> None:
    class Root(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sqrt()  # the root

    model = gc.compile(nn.Sequential(nn.Identity(), Root()), backend=backend, check_nans=True)
    fails(lambda: model(gc.tensor([-1.0])), "sqrt", "the root", " in module Sequential.1")
    x = gc.tensor([0.0], requires_grad=True)
    out = model(x)
    with pytest.raises(NonFiniteError, match=r"the first at \[0\]") as caught:
        out.sum().backward()
    assert "(backward)" in str(caught.value) and f"test_nan_checks.py:{line_of('the root')}" in str(caught.value)
    assert x.grad is None


def test_inside_loops_and_branches(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def f(x: Any, ys: Any) -> Any:
        def body(x: Any, y: Any) -> Any:
            return x + gc.log(y), x  # in the loop

        x = gc.scan(body, x, ys)[0]
        return gc.cond(x.sum() < 100, lambda x: x * 2, lambda x: gc.rsqrt(x - 200), [x])  # a branch

    ok = f(gc.ones(2), gc.ones(5, 2)).numpy()
    np.testing.assert_array_equal(ok, [2, 2])
    # NumPy runs a loop as one step; native code is checked in its body
    ops = ("scan", "cond") if backend == "numpy" else ("log", "rsqrt")
    ys = gc.ones(5, 2)
    ys[3, 1] = 0.0
    with pytest.raises(NonFiniteError, match=f"{ops[0]}: made infinity from finite operands"):
        f(gc.ones(2), ys)
    with pytest.raises(NonFiniteError, match=f"{ops[1]}: made NaN from finite operands"):
        f(gc.full((2,), 150.0), gc.ones(5, 2))


def test_parts_of_a_concatenation(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def f(x: Any, y: Any) -> Any:
        return gc.cat([x.exp().sum(1), gc.log(y).sum(1), x[:, 0] * 2])  # the parts

    x, y = gc.ones(400, 3), gc.ones(300, 5)
    assert f(x, y).shape == (1100,)
    y[7, 2] = -1.0
    fails(lambda: f(x, y), "log", "the parts")


def test_scatters_are_followed_to_what_they_put(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def f(base: Any, x: Any, i: Any) -> Any:
        start = gc.sqrt(base)  # the start
        return start.index_add(0, i, gc.log(x)).index_add(0, i, x)  # the scatter

    base, x, i = gc.ones(5, 300), gc.ones(3, 300), gc.tensor([4, 0, 4])
    assert f(base, x, i)[:, 0].tolist() == [2, 1, 1, 1, 3]
    fails(lambda: f(base, -x, i), "log", "the scatter")
    fails(lambda: f(-base, x, i), "sqrt", "the start")
    x[2, 7] = inf
    assert f(base, x, i)[4, 7].item() == inf


def test_sums_with_products(backend: str) -> None:
    layer = nn.Linear(8, 8)
    f = gc.compile(lambda x: layer(x), backend=backend, check_nans=True)  # the layer
    with gc.no_grad():
        layer.weight.fill_(1.0)
        f(gc.ones(4, 8))
        op = "matmul" if backend == "numpy" else "matmul_add"
        with pytest.raises(NonFiniteError, match=f"{op}: made"):
            f(gc.full((4, 8), 1e38))
        layer.bias.fill_(-inf)
        assert f(gc.ones(4, 8))[0, 0].item() == -inf


def test_convolutions_pooling_and_python_steps(backend: str) -> None:
    @gc.compile(backend=backend, check_nans=True)
    def f(x: Any, w: Any) -> Any:
        return F.max_pool2d(F.conv2d(x, w, padding=1), 2)  # the convolution

    x, w = gc.randn(2, 16, 8, 8), gc.randn(16, 16, 3, 3)
    f(x, w)
    fails(lambda: f(x * 100, w * 1e37), "convolution", "the convolution")
    g = gc.compile(lambda x: x.cumsum(0), backend=backend, check_nans=True)  # the running sum
    assert g(gc.ones(3)).tolist() == [1, 2, 3]
    fails(lambda: g(gc.full((3,), 3e38)), "cumulative_sum", "the running sum")


@pytest.mark.parametrize("dtype", [gc.float16, gc.bfloat16, gc.float64])
def test_other_floats(backend: str, dtype: Any) -> None:
    f = gc.compile(lambda x: gc.log(x - 1), backend=backend, check_nans=True)
    assert f(gc.full((3,), 2.0, dtype=dtype)).tolist() == [0, 0, 0]
    with pytest.raises(NonFiniteError, match="log: made NaN"):
        f(gc.zeros(3, dtype=dtype))


def test_integers_are_not_looked_at(backend: str) -> None:
    f = gc.compile(lambda x: (x * 2).argmax(), backend=backend, check_nans=True)
    assert f(gc.tensor([1, 5, 2])).item() == 1


def test_a_session_that_fails_writes_nothing(backend: str) -> None:
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 2), name="x")
        layer = nn.Linear(2, 1)
        loss = layer(x).sum() * gc.log(x.sum())  # in a graph
        train = optim.SGD(layer.parameters(), lr=0.1).minimize(loss)
    session = gc.Session(graph, backend=backend, check_nans=True)
    session.run(train, {"x": np.ones((3, 2), "f4")})
    before = layer.weight.detach().numpy().copy()
    fails(lambda: session.run([loss, train], {"x": -np.ones((3, 2), "f4")}), "log", "in a graph")
    np.testing.assert_array_equal(before, layer.weight.detach().numpy())
    assert gc.explain(session).data["options"]["check_nans"] is True


def test_what_cannot_check_says_so() -> None:
    with pytest.raises(
        gc.errors.BackendError, match="check_nans looks at the steps of a plan, and the backend 'eager' has none"
    ):
        gc.Session(gc.Graph(), backend="eager", check_nans=True)

    class Plain:
        name, fuses = "plain", False

        def compile(self, program: Any, updates: Any = None) -> Any:
            return interpreter(program)

    gc.backends.register_backend("plain", Plain)
    assert gc.compile(lambda x: x + 1, backend="plain")(gc.ones(1)).item() == 2
    with pytest.raises(gc.errors.BackendError, match="'plain' cannot check for NaN: leave out check_nans"):
        gc.compile(lambda x: x + 1, backend="plain", check_nans=True)(gc.ones(1))


@pytest.mark.opencl
def test_tensors_on_a_device_and_bad_indices() -> None:
    @gc.compile(check_nans=True)
    def f(x: Any, i: Any) -> Any:
        return gc.log(x[i]).sum()  # on a device

    x, i = gc.ones(3, device="opencl"), gc.tensor([0, 2]).to("opencl")
    assert f(x, i).item() == 0
    fails(lambda: f(x - 1, i), "log", "on a device", "made infinity", "a: f32[2] all 0")
    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 3"):
        f(x - 1, i + 5)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_explain_times_a_checked_function(backend: str) -> None:
    f = gc.compile(lambda x: gc.log(x), backend=backend, check_nans=True)
    data = gc.explain(f, gc.ones(3)).data
    assert data["options"]["check_nans"] is True
    assert all("measured_ns" in step for step in data["builds"][0]["plans"][0]["steps"])
    with pytest.raises(NonFiniteError, match="log: made NaN"):
        gc.explain(f, -gc.ones(3))
