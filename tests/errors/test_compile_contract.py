"""What users may rely on of compiled functions: arguments, captures, writes, leaks, gradients, results."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import AliasError, GradientError, RecompileError, SymbolicError, TraceLeakError, VerifyError

HERE = rf"{Path(__file__).name}:\d+"


# --- errors while tracing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        bool,
        int,
        float,
        lambda t: t.item(),
        lambda t: t.tolist(),
        lambda t: t.numpy(),
        lambda t: np.asarray(t),
        lambda t: range(t),
    ],
)
def test_a_decision_that_depends_on_data_names_the_line(ask):
    w, calls = gc.zeros(1), []

    @gc.compile
    def fn(x):
        w.add_(1)
        calls.append(1)
        ask(x.sum().long())
        return x

    for _ in range(2):
        with pytest.raises(
            SymbolicError, match=rf"(?s)at .*{HERE}: its numbers are known only when the graph runs.*gc.where, gc.cond"
        ):
            fn(gc.ones(2))
    assert w.item() == 0 and len(calls) == 2 and not fn.recompiles


def test_a_data_dependent_if():
    @gc.compile
    def fn(x):
        if (x > 0).all():
            return x
        return -x

    line = fn.fn.__code__.co_firstlineno + 2
    with pytest.raises(
        SymbolicError, match=rf"the truth value of a symbolic tensor, bool\[\], at .*{Path(__file__).name}:{line}"
    ):
        fn(gc.ones(2))


def test_a_captured_tensor_cannot_be_read_either():
    w = gc.ones(())
    with pytest.raises(SymbolicError, match=rf"a tensor that is read anew at each run, f32\[\], at .*{HERE}"):
        gc.compile(lambda x: x * w.item())(gc.ones(2))
    assert gc.compile(lambda x: x * float(w_now(w)))(gc.ones(2)).tolist() == [1, 1]


def w_now(w):
    with gc.eagerly():
        return w.item()


class Cell:
    def __init__(self):
        self.h = gc.zeros(2)
        self.losses = []


@pytest.mark.parametrize("how", ["attribute", "list", "dict", "global", "view", "grad"])
def test_a_leak_names_its_line_and_changes_nothing(how):
    cell, seen = Cell(), {}
    p = gc.ones(2, requires_grad=True)

    def leak(x):
        cell.h.add_(1)
        y = self_made = x * 2
        if how == "attribute":
            cell.h = cell.h + y
        elif how == "list":
            cell.losses.append(y.sum())
        elif how == "dict":
            seen["y"] = {"deep": [y]}
        elif how == "global":
            globals()["LEAKED"] = y
        elif how == "view":
            cell.losses.append(y[0])
        else:
            (p * y).sum().backward()
            cell.losses.append(p.grad)
        del self_made
        return y

    before = cell.h
    compiled = gc.compile(leak)
    if how == "grad":
        compiled(gc.ones(2))  # `.grad` is a place that the call writes: no leak
        assert p.grad.tolist() == [2, 2]
        return
    with pytest.raises(
        TraceLeakError, match=rf"(?s)a symbolic tensor .* made at .*{HERE} outlives the traced call.*return it"
    ) as raised:
        compiled(gc.ones(2))
    assert isinstance(raised.value, SymbolicError)
    assert before.tolist() == [0, 0] and not compiled.recompiles
    if how == "attribute":
        with pytest.raises(SymbolicError, match=HERE):
            cell.h + 1
    globals().pop("LEAKED", None)


def test_what_only_looks_like_a_leak():
    cell = Cell()
    buffers = nn.Module()
    buffers.register_buffer("h", gc.zeros(2))

    @gc.compile
    def fine(x):
        y = x * 2
        loop = [y]
        loop.append(loop)  # a cycle, collected
        cell.h.copy_(y)
        cell.shape = y.shape
        v = cell.h[0]
        v += 10
        return {"y": y, "again": [y, y.t()], "h": cell.h}

    out = fine(gc.ones(2))
    assert cell.h.tolist() == [12, 2] and out["h"] is cell.h and cell.shape == (2,)
    out = fine(gc.full((2,), 2.0))
    assert cell.h.tolist() == [14, 4] and out["y"].tolist() == [4, 4]


def test_a_buffer_assigned_in_a_trace_is_written():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", gc.zeros(()))

        def forward(self, x):
            self.n = self.n + 1
            return x * self.n

    model = Counter()
    compiled = gc.compile(model)
    assert [compiled(gc.ones(1)).item() for _ in range(3)] == [1, 2, 3]
    assert model.n.item() == 3 and not model.n.is_symbolic


def test_an_exception_in_the_function_leaves_everything_as_it_was():
    w = gc.ones(2, requires_grad=True)
    opt = optim.Adam([w], lr=0.1)

    @gc.compile
    def step(x):
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        w.requires_grad_(False)
        raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError, match="the user's own"):
        step(gc.ones(2))
    assert w.tolist() == [1, 1] and w.grad is None and w.requires_grad
    assert all(not s.any() for held in opt.state.values() for s in held.values())
    gc.compile(lambda x: x + w)(gc.ones(2))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: a["x"] @ a["x"], RuntimeError, "matmul"),
        (lambda a: a["x"] + a["y"], RuntimeError, "add"),
        (lambda a: a["x"].sum(5), IndexError, "Dimension out of range"),
        (lambda a: a["x"].view(7), RuntimeError, "view|reshape"),
        (lambda a: gc.cat([a["x"], a["y"]]), RuntimeError, "Tensors must have same number of dimensions"),
        (lambda a: a["x"][5], IndexError, "index 5"),
        (lambda a: a["x"].gather(0, a["y"]), RuntimeError, "int64"),
        (lambda a: a["x"] << 1, RuntimeError, "shift|<<"),
        (lambda a: ~a["x"], (RuntimeError, TypeError), "not|invert"),
        (lambda a: a["x"].expand(9, 9), RuntimeError, "expand"),
        (
            lambda a: nn.functional.cross_entropy(a["x"], a["y"]),
            RuntimeError,
            "expected scalar type Long but found float32",
        ),
        (lambda a: a["x"].cumsum(3), IndexError, "Dimension out of range"),
        (lambda a: a["x"].sort(4), IndexError, "Dimension out of range"),
        (lambda a: nn.Linear(2, 2)(a["y"]), RuntimeError, "linear|matmul"),
        (lambda a: a["x"].permute(0, 0), RuntimeError, "permute|repeated|unique"),
        (lambda a: gc.where(a["x"] > 0, a["x"], a["y"]), RuntimeError, "where"),
    ],
)
def test_shape_and_dtype_errors_through_every_door(call, error, text):
    def arrays():
        return {"x": gc.ones(2, 3), "y": gc.ones(4)}

    with pytest.raises(error, match=text) as eager:
        call(arrays())
    assert any(Path(f.path).name == Path(__file__).name for f in eager.traceback)
    w = gc.zeros(1)

    def traced(a):
        w.add_(1)
        return call(a)

    with pytest.raises(error, match=text) as compiled:
        gc.compile(traced)(arrays())
    assert type(compiled.value) is type(eager.value) and w.item() == 0
    graph = gc.Graph()
    with graph.as_default():
        placeholders = {"x": gc.placeholder((2, 3), name="x"), "y": gc.placeholder((4,), name="y")}
        with pytest.raises(error, match=text) as defined:
            call(placeholders)
    assert type(defined.value) is type(eager.value)


def test_operands_are_named_with_their_lines():
    graph = gc.Graph()
    with graph.as_default():
        a = gc.placeholder((64, 100), name="a") * 2
        b = gc.placeholder((128, 10), name="b")
        with pytest.raises(RuntimeError) as raised:
            a @ b
    text = str(raised.value)
    assert text.startswith("matmul: ") and len(re.findall(rf"f32\[\d+, \d+\]  made at .*{HERE}", text)) == 2
    line = raised.traceback[0].lineno + 1
    assert f"{Path(__file__).name}:{line}" in text


# --- aliases ----------------------------------------------------------------------------------------------------------


def both(fn, make):
    """fn on fresh tensors, eager and compiled: results and what became of the arguments."""
    found = []
    for run in (fn, gc.compile(fn)):
        tensors = make()
        for _ in range(2):
            out = run(*tensors)
        found.append([out.tolist(), [t.tolist() for t in tensors]])
    assert found[0] == found[1]
    return found[0]


def base():
    return gc.arange(6, dtype=gc.float32)


def same_twice():
    x = base()
    return x, x


def overlapping():
    x = base()
    return x[:4], x[2:]


def whole_and_part():
    x = base()
    return x, x[1:3]


def numpy_twice():
    array = np.arange(4, dtype=np.float32)
    return gc.from_numpy(array), gc.from_numpy(array)


def apart():
    return base()[:4], base()[:4] + 1


@pytest.mark.parametrize("make", [same_twice, overlapping, whole_and_part, numpy_twice, apart])
@pytest.mark.parametrize(
    "fn",
    [
        lambda a, b: (a.add_(1), b.mul_(2), a.sum() + b.sum())[-1],
        lambda a, b: (a[:2].copy_(b[-2:]), b.sum())[-1],
        lambda a, b: a.sum() * b.sum(),
        lambda a, b: (a.mul_(3), b * 1)[-1],
    ],
)
def test_aliased_arguments_behave_as_in_eager_code(make, fn):
    both(fn, make)


def test_an_argument_that_lies_in_captured_memory():
    def make():
        w = gc.zeros(4)
        return w, lambda x: (w.add_(1), x * 1)[-1], lambda x: (x.add_(1), w * 1)[-1]

    for i in (1, 2):
        results = []
        for compiled in (False, True):
            w, *fns = make()
            fn = gc.compile(fns[i - 1]) if compiled else fns[i - 1]
            results.append([fn(w[:2]).tolist(), fn(w).tolist(), fn(gc.ones(2)).tolist(), w.tolist()])
        assert results[0] == results[1]


def test_captured_aliases_without_a_common_base():
    array = np.zeros(4, np.float32)
    a, b, c = gc.from_numpy(array), gc.from_numpy(array[1:]), gc.from_numpy(array)
    assert gc.compile(lambda: a[:3] + b)().tolist() == [0, 0, 0]

    @gc.compile
    def write():
        a.add_(1)
        return b * 1

    with pytest.raises(
        AliasError,
        match=r"captured tensors .* and .* share memory without being views of one tensor, and .* is written",
    ):
        write()
    assert not array.any() and isinstance(AliasError("x"), RuntimeError)
    with pytest.raises(AliasError):
        gc.compile(lambda: (b.add_(1), c.sum(), a.sum())[-1])()
    assert not array.any()
    disjoint = gc.from_numpy(array[:2]), gc.from_numpy(array[2:])
    assert gc.compile(lambda: (disjoint[0].add_(1), disjoint[1] * 1)[-1])().tolist() == [0, 0]


def test_captured_views_of_one_tensor():
    def make():
        x = base()
        a, b = x[:4], x[2:].view(2, 2)
        return x, lambda: (a.add_(1), b.mul_(2), a * 1, b.sum() + x.sum())[-2:]

    (x, eager), (y, fn) = make(), make()
    compiled = gc.compile(fn)
    for _ in range(3):
        assert [t.tolist() for t in eager()] == [t.tolist() for t in compiled()]
    assert x.tolist() == y.tolist()


def test_a_write_into_an_argument_reaches_the_caller():
    x = gc.zeros(2, 3)
    view, array = x[0], x.numpy()
    version = x._version

    @gc.compile
    def fill(t):
        t[:, 1] = 5
        t += 1
        return t

    assert fill(x) is x
    assert x.tolist() == [[1, 6, 1]] * 2 and view.tolist() == [1, 6, 1] and array[1, 1] == 6
    fill(view.unsqueeze(0))
    assert x.tolist() == [[2, 6, 2], [1, 6, 1]]
    assert version is None or x._version is version
    with pytest.raises(GradientError, match="leaf Variable that requires grad"):
        fill(gc.ones(2, 3, requires_grad=True))


def test_results_share_memory_with_nothing():
    w = gc.ones(3)
    x = gc.ones(3)

    @gc.compile
    def fn(x):
        return x.view(3, 1), w.t(), x * 1, x, w, w[:2], gc.ones(2)

    first, second = fn(x), fn(x)
    assert first[3] is x and first[4] is w and second[4] is w
    arrays = [t.numpy() for t in (*first[:3], *first[5:], *second[:3], *second[5:], x, w)]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])
    kept = [t.tolist() for t in first]
    first[2].fill_(9)
    assert [t.tolist() for t in fn(x)] == kept


def test_a_later_call_never_changes_an_earlier_result():
    fn = gc.compile(lambda x: (x * 2, x.sum(), x + 1))
    first = fn(gc.ones(4))
    kept = [t.tolist() for t in first]
    for k in range(5):
        fn(gc.full((4,), float(k)))
    assert [t.tolist() for t in first] == kept


# --- gradients --------------------------------------------------------------------------------------------------------


def test_compiled_functions_nest():
    w = gc.full((2,), 3.0, requires_grad=True)
    inner = gc.compile(lambda x: x * w)
    outer = gc.compile(lambda x: inner(x) + inner(x + 1))
    out = outer(gc.ones(2))
    out.sum().backward()
    assert out.tolist() == [9, 9] and w.grad.tolist() == [3, 3]
    assert len(outer.recompiles) == 1 and not inner.recompiles
    inner(gc.ones(2))
    assert len(inner.recompiles) == 1


def chain(x, w):
    return ((x @ w).tanh() * x.sum(1, keepdim=True)).exp() / 3


def inputs():
    rng = np.random.default_rng(0)
    return [gc.tensor(rng.normal(size=s) * 0.3, requires_grad=True) for s in ((3, 2), (2, 2))]


def test_backward_through_a_compiled_forward():
    compiled = gc.compile(chain)
    for _ in range(2):
        results = []
        for fn in (chain, compiled):
            x, w = inputs()
            loss = (fn(x * 1, w) ** 2).sum()
            loss.backward()
            results.append([loss.item(), x.grad.numpy(), w.grad.numpy()])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_double_backward_through_a_compiled_function():
    results = []
    for fn in (chain, gc.compile(chain)):
        x, w = inputs()
        loss = (fn(x, w) ** 2).sum()
        gx, gw = gc.autograd.grad(loss, [x, w], create_graph=True)
        assert gx.requires_grad
        penalty = (gx**2).sum() + (gw * w).sum()
        second = gc.autograd.grad(penalty, [x, w], create_graph=True)
        third = gc.autograd.grad(sum((s**2).sum() for s in second), [x, w])
        results.append([t.detach().numpy() for t in (gx, gw, *second, *third)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    gc.autograd.gradcheck(gc.compile(chain), inputs())


def test_backward_twice_through_a_compiled_function():
    x, w = inputs()
    loss = gc.compile(chain)(x, w).sum()
    loss.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first)
    with pytest.raises(GradientError, match="backward through the graph a second time"):
        loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first)


def test_backward_through_a_loss_whose_gradient_the_call_has_used():
    w = gc.ones(2, requires_grad=True)
    opt = optim.SGD([w], lr=0.1)

    @gc.compile
    def step(x):
        opt.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        return loss

    loss = step(gc.ones(2))
    assert loss.requires_grad and not loss.is_leaf
    with pytest.raises(GradientError, match="backward through the graph a second time"):
        loss.backward()


def test_backward_twice_inside_a_trace():
    w = gc.ones(2, requires_grad=True)

    @gc.compile
    def step(x):
        loss = (w * x).exp().sum()
        loss.backward()
        loss.backward()
        return loss

    with pytest.raises(GradientError, match="backward through the graph a second time"):
        step(gc.ones(2))
    assert w.grad is None


def in_place_after_save(x):
    y = x.exp()
    z = y * y
    y.add_(1)
    z.sum().backward()
    return z


@pytest.mark.parametrize("door", ["eager", "compiled"])
def test_an_in_place_change_of_a_saved_tensor(door):
    x = gc.ones(2, requires_grad=True)
    fn = gc.compile(in_place_after_save) if door == "compiled" else in_place_after_save
    with pytest.raises(
        GradientError,
        match="modified by an inplace operation: .* saved a f32.*hint: write `x = x \\+ y`".replace(
            ".*hint", "(?s:.*)hint"
        ),
    ):
        fn(x)
    assert x.grad is None and x.tolist() == [1, 1]


def test_an_in_place_change_of_what_a_compiled_call_has_saved():
    x, w = inputs()
    out = gc.compile(chain)(x, w)
    with gc.no_grad():
        w.add_(1)
    with pytest.raises(GradientError, match="modified by an inplace operation: compiled saved"):
        out.sum().backward()
    assert x.grad is None and w.grad is None


def test_the_line_of_a_saved_tensor_in_a_graph():
    with gc.Graph().as_default():
        x = gc.placeholder((2,), name="x")
        y = x.exp()
        z = (y * y).sum()
        y.add_(1)
        with pytest.raises(
            GradientError, match=rf"modified by an inplace operation: multiply \(recorded at .*{HERE}\)"
        ):
            gc.gradients(z, x)


@pytest.mark.parametrize("keep", [False, True])
def test_consumed_gradients_are_inner_values(keep):
    w = gc.ones(2, requires_grad=True)
    other = gc.ones(2, requires_grad=True)
    opt = optim.SGD([w], lr=0.1)

    def step(x):
        opt.zero_grad()
        loss = (w * x).sum() + (other * x).sum()
        loss.backward()
        opt.step()
        return loss

    compiled = gc.compile(step, keep_grads=keep)
    for i in range(1, 4):
        compiled(gc.full((2,), 2.0))
        assert (w.grad.tolist() == [2, 2]) if keep else (w.grad is None)
        assert other.grad.tolist() == [2 * i] * 2


def test_gradients_no_optimizer_used_accumulate():
    w = gc.ones(2, requires_grad=True)

    @gc.compile
    def micro(x):
        (w * x).sum().backward()

    for i in range(1, 5):
        micro(gc.ones(2))
        assert w.grad.tolist() == [i, i]
    held = w.grad
    micro(gc.ones(2))
    assert w.grad.tolist() == [5, 5] and held.tolist() in ([4, 4], [5, 5])
    w.grad = None
    micro(gc.ones(2))
    assert w.grad.tolist() == [1, 1] and len(micro.recompiles) == 2


def test_gradients_of_arguments():
    @gc.compile
    def step(x):
        (x * x).sum().backward()
        return x.grad * 2

    x = gc.tensor([1.0, 2.0], requires_grad=True)
    assert step(x).tolist() == [4, 8] and x.grad.tolist() == [2, 4]
    assert step(x).tolist() == [8, 16] and x.grad.tolist() == [4, 8]


def test_hooks_inside_and_outside():
    w = gc.ones(2, requires_grad=True)
    seen = []

    @gc.compile
    def inner(x):
        y = x * w
        y.register_hook(lambda g: g * 10)
        return y

    out = inner(gc.ones(2))
    out.register_hook(lambda g: seen.append(g.tolist()))
    out.sum().backward()
    assert w.grad.tolist() == [10, 10] and seen == [[1, 1]]


def test_tensors_made_inside_that_want_gradients():
    @gc.compile
    def fn(x):
        y = x.detach().requires_grad_()
        (g,) = gc.autograd.grad((y**3).sum(), y)
        return g

    assert fn(gc.full((2,), 2.0)).tolist() == [12, 12]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_no_recompile_before_any_work():
    calls = []

    def fn(x, mode):
        calls.append(mode)
        return x * 2

    compiled = gc.compile(fn)
    with (
        gc.no_recompile(),
        pytest.raises(
            RecompileError, match=rf"compiled fn would need a build \(its first call of this kind\).* at .*{HERE}"
        ),
    ):
        compiled(gc.ones(2), "a")
    assert not calls
    compiled(gc.ones(2), "a")
    with gc.no_recompile():
        compiled(gc.ones(2), "a")
        with pytest.raises(RecompileError, match=r"\(x 2 -> 3\)"):
            compiled(gc.ones(3), "a")
        with pytest.raises(RecompileError):
            compiled(gc.ones(2), "b")
    assert calls == ["a"]
    compiled(gc.ones(3), "a")


def test_no_recompile_holds_in_its_thread_alone():
    compiled, found = gc.compile(lambda x: x * 2), []
    with gc.no_recompile():
        thread = threading.Thread(target=lambda: found.append(compiled(gc.ones(2)).tolist()))
        thread.start()
        thread.join()
    assert found == [[2, 2]]


def test_threads_share_one_compiled_step():
    w = gc.zeros(3)

    @gc.compile
    def add(x):
        w.add_(x)
        return w * 1

    threads = [threading.Thread(target=lambda: [add(gc.ones(3)) for _ in range(100)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert w.tolist() == [400] * 3 and len(add.recompiles) == 1


def test_no_passes_and_verify():
    for options in ({"optimize": False}, {"verify": True}, {"backend": "numpy"}):
        x, w = inputs()
        np.testing.assert_allclose(gc.compile(chain, **options)(x, w).detach().numpy(), chain(x, w).detach().numpy())
    with pytest.raises(RuntimeError, match=r"there are .*numpy"):
        gc.compile(chain, backend="nothing")(*inputs())


def test_verify_notices_a_wrong_result(monkeypatch):
    compiled = gc.compile(lambda x: x * 2, verify=True)
    compiled(gc.ones(2))
    build = next(iter(compiled._groups.values()))[0]
    monkeypatch.setattr(build.built, "run", lambda arrays: [np.zeros(2, np.float32)])
    with pytest.raises(VerifyError, match=rf"output 0 of the optimised program differs .*{HERE}"):
        compiled(gc.ones(2))


def test_nested_containers_and_plain_results():
    from collections import OrderedDict, namedtuple

    Pair = namedtuple("Pair", "a b")

    @gc.compile
    def fn(data, *, k):
        return OrderedDict(
            sum=data["x"] + data["more"][0], pair=Pair(data["x"] * k, "text"), plain=[k, None], shape=data["x"].shape
        )

    for _ in range(2):
        out = fn({"x": gc.ones(2), "more": (gc.ones(2),)}, k=3)
        assert type(out) is OrderedDict and out["sum"].tolist() == [2, 2]
        assert (
            type(out["pair"]) is Pair
            and out["pair"].b == "text"
            and out["plain"] == [3, None]
            and tuple(out["shape"]) == (2,)
        )


def test_a_size_among_the_results_is_that_of_the_call():
    fn = gc.compile(lambda x: (x.shape[0], x.shape, x * 2))
    for n in (2, 3, 4, 5):
        size, shape, _ = fn(gc.ones(n))
        assert size == n and tuple(shape) == (n,) and isinstance(size, int)


def test_one_tensor_returned_twice_is_one_object():
    @gc.compile
    def fn(x):
        y = x * 2
        return y, {"again": y}, x * 2

    a, more, b = fn(gc.ones(2))
    assert a is more["again"] and b is not a
    a.add_(1)
    assert b.tolist() == [2, 2]


def test_decorator_forms_and_methods():
    @gc.compile(optimize=False)
    def double(x):
        """Twice x."""
        return x * 2

    assert double(gc.ones(1)).item() == 2 and double.__doc__ == "Twice x." and "double" in repr(double)
    assert gc.compile(chain, disable=True) is chain
    assert gc.compile(gc.nn.functional.relu)(gc.tensor([-1.0, 1.0])).tolist() == [0, 1]
    assert gc.compile(gc.compile(lambda x: x + 1))(gc.ones(1)).item() == 2
