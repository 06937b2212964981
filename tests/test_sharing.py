"""Where `reshape` gives a view for some of the sizes that may be fed and a copy for others, a session never answers wrongly."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from where import here

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import FeedError, ShapeError

HERE = rf"{Path(__file__).name}:\d+"
VIEW, COPY = "it gives a view where the graph recorded a copy", "it gives a copy where the graph recorded a view"


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def graph_of(fn, *shapes):
    """A graph of `fn` on placeholders x0, x1, ..., and what it returned."""
    graph = gc.Graph()
    with graph.as_default():
        out = fn(*(gc.placeholder(shape, name=f"x{i}") for i, shape in enumerate(shapes)))
    return graph, out


def as_array(result: Any) -> np.ndarray:
    return np.array(result.detach().numpy() if isinstance(result, gc.Tensor) else result)


def run(session, out, *arrays):
    return session.run(out, {f"x{i}": array for i, array in enumerate(arrays)})


def assert_alike(session, out, fn, *arrays):
    want = fn(*(gc.from_numpy(a.copy()) for a in arrays))
    np.testing.assert_allclose(run(session, out, *arrays), as_array(want), rtol=1e-5, atol=1e-6)


def write_to_turned(x):
    half = x[1::2]
    half.transpose(0, 1).reshape(-1)[1::2].add_(1.0)
    return half


OPTIONS = ({"backend": "numpy"}, {"backend": "llvm"}, {"backend": "eager"}, {"backend": "llvm", "verify": True})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_write_that_would_reach_more_is_refused(options):
    graph, out = graph_of(write_to_turned, (None, 3))
    with gc.Session(graph, **options) as session:
        for n in (4, 5, 1, 0, 7):
            assert_alike(session, out, write_to_turned, numbers(n, 3))
        for n in (2, 3, 2):
            with pytest.raises(ShapeError, match=rf"^reshape: with x0_0 = {n} {VIEW}, and a write .*") as raised:
                run(session, out, numbers(n, 3))
            raised.match(r"input: f32\[3, .*x0_0.*\], now f32\[3, 1\]")
            raised.match(
                rf"hint: call \.clone\(\) .* or build a graph with these sizes given as numbers\n  at .*{HERE}$"
            )
        assert_alike(session, out, write_to_turned, numbers(4, 3))
        with pytest.raises(ShapeError, match=VIEW):
            session.arrays_for(out, {"x0": numbers(2, 3)})


def test_what_the_hint_says_helps():
    def cloned(x):
        half = x[1::2]
        half.transpose(0, 1).reshape(-1).clone()[1::2].add_(1.0)
        return half

    for fn, shape, sizes in (
        (cloned, (None, 3), (2, 4)),
        (write_to_turned, (2, 3), (2,)),
        (write_to_turned, (4, 3), (4,)),
    ):
        graph, out = graph_of(fn, shape)
        for n in sizes:
            assert_alike(gc.Session(graph), out, fn, numbers(n, 3))


def test_a_copy_where_a_view_was_recorded():
    def fn(x):
        x[:, ::2].reshape(-1).mul_(2.0)
        return x

    graph, out = graph_of(fn, (2, None))
    session = gc.Session(graph)
    for n in (4, 8, 1):
        assert_alike(session, out, fn, numbers(2, n))
    with pytest.raises(ShapeError, match=rf"^reshape: with x0_1 = 3 {COPY}"):
        run(session, out, numbers(2, 3))


def test_only_the_result_is_read():
    """Then nobody can tell a view from a copy."""

    def of_a_view(x):
        return x[:, ::2].reshape(-1).mul_(2.0)

    def of_a_copy(x):
        return x.t().reshape(-1).mul_(2.0).add_(x.shape[0])

    def of_the_source(x):
        x.t().reshape(-1).sum()
        return x.mul_(2.0)

    for fn in (of_a_view, of_a_copy, of_the_source):
        graph, out = graph_of(fn, (None, None))
        session = gc.Session(graph)
        for shape in ((2, 3), (2, 4), (1, 4), (4, 1), (1, 1)):
            assert_alike(session, out, fn, numbers(*shape))


def test_contiguous_is_asked_too():
    def fn(x):
        x.t().contiguous().add_(1.0)
        return x

    def recorded_as_itself(x):
        x[:, : x.shape[1] // 2 * 2].contiguous().add_(1.0)
        return x

    for f, right, wrong, text in ((fn, (2, 3), (1, 3), VIEW), (recorded_as_itself, (3, 4), (3, 5), COPY)):
        graph, out = graph_of(f, (None, None))
        assert_alike(gc.Session(graph), out, f, numbers(*right))
        with pytest.raises(ShapeError, match=rf"^contiguous: .*{text}"):
            run(gc.Session(graph), out, numbers(*wrong))


def test_sizes_that_happen_to_be_equal():
    def fn(x):
        x.t().reshape(x.shape[0], x.shape[1]).mul_(2.0)
        return x

    graph, out = graph_of(fn, (None, None))
    assert_alike(gc.Session(graph), out, fn, numbers(2, 3))
    with pytest.raises(ShapeError, match=f"with x0_1 = 3, x0_0 = 3 {VIEW}"):
        run(gc.Session(graph), out, numbers(3, 3))


def test_what_follows_from_a_copy_that_may_be_a_view():
    """With one row `merged` is a view with gaps, and of that the second reshape is a copy."""

    def fn(x):
        merged = x[..., :3].transpose(0, 1).reshape(-1, 3)
        merged.reshape(-1).mul_(2.0)
        return merged

    graph, out = graph_of(fn, (None, 2, 8))
    assert_alike(gc.Session(graph), out, fn, numbers(2, 2, 8))
    with pytest.raises(ShapeError, match=COPY):
        run(gc.Session(graph), out, numbers(1, 2, 8))


def test_what_follows_from_the_order_of_an_elementwise_result():
    def fn(x):
        y = (x.t() * 2).exp()
        y.t().reshape(-1).mul_(3.0)
        z = y.permute(1, 0).unsqueeze(0) * 1.0
        z.transpose(1, 2).reshape(-1).add_(1.0)
        return y + z.sum()

    graph, out = graph_of(fn, (None, 3))
    session = gc.Session(graph)
    for n in (4, 2):
        assert_alike(session, out, fn, numbers(n, 3))
    with pytest.raises(ShapeError, match=VIEW):
        run(session, out, numbers(1, 3))


class Encoder(nn.Module):
    """Sequences are turned and written in place, as models do that take the batch first or second."""

    def __init__(self, residual: bool):
        super().__init__()
        self.first, self.last, self.residual = nn.Linear(3, 4), nn.Linear(8, 1), residual
        self.place = nn.Parameter(here(numbers(2, 1, 4)))

    def forward(self, x):
        h = self.first(x)
        turned = h.transpose(0, 1).contiguous()
        turned += self.place
        turned = gc.relu(turned.transpose(0, 1).reshape(-1, 8)).mul_(2.0)
        return self.last(turned + h.flatten(1) if self.residual else turned)


def training(residual: bool) -> Any:
    gc.manual_seed(0)
    model = Encoder(residual)
    return model, optim.Adam(model.parameters(), lr=0.01)


def test_training_goes_on_with_a_batch_of_one():
    model, opt = training(residual=False)
    (graph, (loss, train)) = graph_of(lambda x: (loss := (model(x) ** 2).mean(), opt.minimize(loss)), (None, 2, 3))
    session = gc.Session(graph)
    mine = [float(run(session, [loss, train], numbers(n, 2, 3))[0]) for n in (4, 1, 2, 1)]
    model, opt = training(residual=False)
    for n, found in zip((4, 1, 2, 1), mine, strict=True):
        opt.zero_grad()
        loss = (model(here(numbers(n, 2, 3))) ** 2).mean()
        loss.backward()
        opt.step()
        np.testing.assert_allclose(found, loss.item(), rtol=1e-5)


def test_training_that_reads_what_was_turned_is_refused_for_a_batch_of_one():
    model, opt = training(residual=True)
    (graph, (loss, train)) = graph_of(lambda x: (loss := (model(x) ** 2).mean(), opt.minimize(loss)), (None, 2, 3))
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    with pytest.raises(ShapeError, match="contiguous: with x0_0 = 1"):
        run(gc.Session(graph), [loss, train], numbers(1, 2, 3))
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.detach().numpy(), before[name])
    run(gc.Session(graph), [loss, train], numbers(2, 2, 3))


def test_only_runs_that_can_show_it_are_refused():
    def fn(x):
        before = x.max()
        turned = x.t().reshape(-1)
        turned.add_(1.0)
        return before, turned.sum(), x.sum()

    graph, (before, turned, after) = graph_of(fn, (None, 3))
    session, array = gc.Session(graph), numbers(1, 3)
    np.testing.assert_allclose(run(session, [before, turned], array), [array.max(), array.sum() + 3], rtol=1e-5)
    for fetch in (after, graph.inputs["x0"], [before, after]):
        with pytest.raises(ShapeError, match=VIEW):
            run(session, fetch, array)
    run(session, [before, turned], array)


def test_a_write_recorded_after_a_run():
    graph, (x, turned) = graph_of(lambda x: (x, x.t().reshape(-1)), (None, 3))
    session = gc.Session(graph)
    np.testing.assert_array_equal(run(session, x, numbers(1, 3)), numbers(1, 3))
    with graph.as_default():
        turned.zero_()
    with pytest.raises(ShapeError, match=VIEW):
        run(session, x, numbers(1, 3))
    np.testing.assert_array_equal(run(session, turned, numbers(1, 3)), np.zeros(3))


def test_two_copies_of_one_tensor():
    def fn(x):
        a, b = x.t().reshape(-1), x.t().reshape(-1)
        a.zero_()
        return b

    graph, out = graph_of(fn, (None, 3))
    assert_alike(gc.Session(graph), out, fn, numbers(2, 3))
    with pytest.raises(ShapeError, match=VIEW):
        run(gc.Session(graph), out, numbers(1, 3))


def test_a_variable_is_read_in_the_next_run():
    state = gc.zeros(4, 3)

    def fn(x):
        part = state[: x.shape[0]].t().reshape(-1)
        part.add_(1.0)
        return part.sum()

    graph, out = graph_of(fn, (None,))
    session = gc.Session(graph)
    assert run(session, out, numbers(2)) == 6
    with pytest.raises(ShapeError, match=VIEW):
        run(session, out, numbers(1))


def test_bodies_of_control_flow():
    def inside(x):
        def body():
            x.t().reshape(-1).add_(1.0)
            return x.sum()

        return gc.cond(x.sum() > -100, body, lambda: x.sum())

    def across(x):
        turned = x.t().reshape(-1)

        def body():
            x.add_(1.0)
            return turned.sum()

        return gc.cond(x.sum() > -100, body, lambda: x.sum())

    def next_turn(x):
        turned = x.t().reshape(-1)

        def step(total, y):
            total = total + turned.sum() * y
            x.add_(1.0)
            return total, total

        return gc.scan(step, gc.tensor(0.0), gc.ones(3))[0]

    for fn in (inside, across, next_turn):
        with gc.no_grad():
            graph, out = graph_of(fn, (None, 3))
        assert_alike(gc.Session(graph), out, fn, numbers(2, 3))
        with pytest.raises(ShapeError, match=VIEW):
            run(gc.Session(graph), out, numbers(1, 3))


def test_a_graph_from_a_file_refuses_the_same(tmp_path):
    def fn(x):
        before = x.sum()
        merged = x[..., :3].transpose(0, 1).reshape(-1, 3)
        merged.reshape(-1).mul_(2.0)
        return before, merged

    graph, (before, merged) = graph_of(fn, (None, 2, 8))
    graph.outputs["before"], graph.outputs["merged"] = before, merged
    for _ in range(2):
        gc.save_graph(graph, tmp_path / "g")
        graph = gc.load_graph(tmp_path / "g")
        session = gc.Session(graph)
        assert_alike(session, "merged", lambda x: fn(x)[1], numbers(2, 2, 8))
        assert_alike(session, "before", lambda x: fn(x)[0], numbers(1, 2, 8))
        with pytest.raises(ShapeError, match=rf"{COPY}.*[\s\S]*at .*{HERE}$"):
            run(session, "merged", numbers(1, 2, 8))


# --- random programs --------------------------------------------------------------------------------------------------

VIEWS = (
    "{a}.transpose(0, -1)", "{a}.transpose(0, 1)", "{a}[1::2]", "{a}[:, ::2]", "{a}[..., :2]", "{a}.detach()", "{a}[:, :3]",
    "{a}.reshape(-1)", "{a}.reshape({a}.shape[0], -1)", "{a}.reshape(-1, {a}.shape[-1])", "{a}.contiguous()", "{a}.flip(0)",
    "{a}.permute(1, 0, 2)", "{a}.reshape({a}.shape[1], {a}.shape[0], -1)", "{a}.reshape(-1, 2)", "{a}.unsqueeze(0)",
    "{a} * 1.5", "{a} + {a}.transpose(0, 1).contiguous().transpose(0, 1)", "{a} + {a}.transpose(0, 1).contiguous().sum()",
)  # fmt: skip
WRITES = ("{a}.add_(1.0)", "{a}.mul_(2.5)", "{a}[0].mul_(1.7)", "{a}[..., ::2].add_(3.0)", "{a}[..., 0].neg_()")
SHAPES = ((4, 4, 6), (1, 4, 6), (2, 1, 3), (3, 3, 3), (2, 3, 1), (2, 4, 2), (1, 2, 1))


def random_program(seed: int) -> Any:
    """A function of one tensor that makes views, writes and returns some of its values."""
    rng = random.Random(seed)
    lines, names = ["def program(x0):"], ["x0"]
    for i in range(rng.randint(3, 8)):
        a = rng.choice(names[-3:])
        if rng.random() < 0.7:
            names.append(f"v{i}")
            lines.append(f"    v{i} = " + rng.choice(VIEWS).format(a=a))
        else:
            lines.append("    " + rng.choice(WRITES).format(a=a))
    lines.append(f"    return [{', '.join(rng.sample(names, min(len(names), 2)))}]")
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    return space["program"], "\n".join(lines)


def outcome(session: gc.Session, outputs: Any, fn: Any, array: np.ndarray) -> str:
    """Whether a run was refused or gave what eager code gives."""
    try:
        want = [as_array(x) for x in fn(gc.from_numpy(array.copy()))]
        found = session.run(outputs, {"x0": array})
    except FeedError:
        return "sizes assumed equal"
    except (ShapeError, IndexError) as error:
        return "refused" if "where the graph recorded" in str(error) else "not in eager code"
    return "right" if all(np.allclose(a, b, rtol=1e-4) for a, b in zip(found, want, strict=True)) else "wrong"


def test_random_programs_are_right_or_refused():
    count: Counter[str] = Counter()
    for seed in range(250):
        fn, text = random_program(seed)
        try:
            graph, outputs = graph_of(fn, (None, None, None))
        except (ShapeError, IndexError, gc.errors.SymbolicError):
            continue
        session = gc.Session(graph, backend="eager")
        for shape in SHAPES:
            found = outcome(session, outputs, fn, numbers(*shape))
            assert found != "wrong", f"{text}\nfed {shape}"
            count[found] += 1
    assert count["right"] > 700 and 20 < count["refused"] < 100, count
