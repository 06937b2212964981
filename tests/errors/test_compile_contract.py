"""What users may rely on of compiled functions: what a trace refuses, leaks, and memory that is shared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from where import shares_memory_with_numpy, works_in_forks

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import AliasError, GradientError, SymbolicError, TraceLeakError
from graphc.nests import tensors_in
from graphc.utils.checkpoint import checkpoint

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


def test_a_number_that_is_read_is_to_be_returned_and_a_decision_is_not():
    told = r"\n  hint: fetch it with Session.run, or return it from the compiled function; use gc.where"
    with pytest.raises(SymbolicError, match=told):
        gc.compile(lambda x: x.sum().item())(gc.ones(2))
    with gc.Graph().as_default(), pytest.raises(SymbolicError, match=told):
        float(gc.placeholder((), name="x"))
    with pytest.raises(SymbolicError, match=r"\n  hint: use gc.where"):
        gc.compile(lambda x: x if x.sum() > 0 else -x)(gc.ones(2))


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
    inner, outer = gc.from_numpy(array[1:2]), gc.from_numpy(array[3:4])  # neighbours by their place, both within a
    with pytest.raises(AliasError):
        gc.compile(lambda: (outer.add_(1), a.sum() + inner.sum())[-1])()
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


@shares_memory_with_numpy
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


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=works_in_forks)])
def test_a_batch_that_a_traced_function_reads_is_warned_of(workers):
    loader = gc.utils.data.DataLoader(gc.arange(6.0), batch_size=2, num_workers=workers)
    batches = iter(loader)
    total = gc.compile(lambda: next(batches).sum())
    with pytest.warns(
        UserWarning,
        match=rf"reading a batch of a DataLoader runs while .* traced(.|\n)*{HERE}(.|\n)*read the batch outside",
    ):
        assert total().item() == 1.0
    with gc.Graph().as_default():
        next(batches)  # a graph is made once, of whatever it is made of


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_condition_that_is_a_number_holds_unless_it_is_zero(backend):
    def loop():
        return gc.while_loop(lambda k: 300 - k, lambda k: k + 1, gc.tensor(0))

    def branch(x):
        return gc.cond(x, lambda x: x * 2, lambda x: x - 1, (x,))

    assert loop().item() == gc.compile(loop, backend=backend)().item() == 300
    for number in (256, 0):
        x = gc.tensor(number)
        assert branch(x).item() == gc.compile(branch, backend=backend)(x).item()


# --- writes in the bodies of control ops ------------------------------------------------------------------------------


def without_tape(a):
    with gc.no_grad():
        a.add_(1)
    return a * 3


WRITES = {
    "an operand": lambda x, p: gc.cond(p, lambda a: a.mul_(2), lambda a: a.clone(), (x,)) + x,
    "in both branches": lambda x, p: gc.cond(p, lambda a: a.mul_(2) + 1, lambda a: a.exp_(), (x,)) + x,
    "a view of an operand": lambda x, p: gc.cond(p, lambda a: a[0].mul_(3).sum(), lambda a: a.t().exp_().sum(), (x,)) + x,
    "one operand of two": lambda x, p: gc.cond(p, lambda a, b: a.mul_(b[0]), lambda a, b: a + b, (x, x * 2)) + x,
    "an operand given twice": lambda x, p: gc.cond(p, lambda a, b: a.mul_(2) + b, lambda a, b: a * b, (x, x)) + x,
    "an operand that is read outside": lambda x, p: gc.cond(p, lambda a: a.mul_(2) + x, lambda a: x * a, (x,)) + x,
    "a view given": lambda x, p: gc.cond(p, lambda a: a.mul_(2), lambda a: a + 1, (x[1],)) + x,
    "without the tape": lambda x, p: gc.cond(p, without_tape, lambda a: a * 2, (x,)) + x,
    "a branch in a branch": lambda x, p: (
        gc.cond(p, lambda a: gc.cond(a.sum() > 0, lambda b: b.mul_(3), lambda b: b.neg_(), (a,)), lambda a: a * 1, (x,)) + x
    ),
    "recomputed": lambda x, p: checkpoint(lambda a: a.mul_(2).sin(), x) + x,
    "recomputed, a view": lambda x, p: checkpoint(lambda a: a[0].exp_().sum() * a, x) + x,
    "recomputed, without the tape": lambda x, p: checkpoint(without_tape, x) + x,
    "a scan's rows": lambda x, p: (gc.scan(lambda c, r: (c + r.mul_(2), r + c), gc.zeros(3), x)[1], x.sum()),
    "a scan's rows, backwards": lambda x, p: (gc.scan(lambda c, r: (c + r.exp_(), r + c), x[:, 0], x, 1, True)[0] + x.t(), x),
    "a scan's carry": lambda x, p: (*gc.scan(lambda c, r: (c.mul_(r), c), x[0], x), x * 2),
    "a carry given twice": lambda x, p: (*gc.scan(lambda c, r: ((c[0].mul_(r), c[1] + 1), c), (x[0], x[0]), x)[0], x * 2),
    "a loop's carry": lambda x, p: gc.while_loop(lambda a: a.sum() < 50, lambda a: a.mul_(2), x) + x,
    "a closure": lambda x, p: gc.cond(p, lambda: x.mul_(2) + 1, lambda: x + 1) + x,
    "a closure of a loop": lambda x, p: gc.scan(lambda c, r: (c + r, x.add_(1).sum(0) + c), x[0] * 2, gc.ones(2, 3))[1] + x,
    "a batch": lambda x, p: gc.func.vmap(lambda a: a.mul_(2).sum() * a)(x) + x,
    "a batch, along columns": lambda x, p: gc.func.vmap(lambda a, b: a.mul_(b), in_dims=(1, None))(x, x[:, 0] + 1).t() + x,
}  # fmt: skip


@pytest.mark.parametrize("tracked", [False, True], ids=["plain", "tracked"])
@pytest.mark.parametrize("name", WRITES)
def test_writes_to_what_a_body_is_given(name, tracked):
    def run(x, p):
        if not tracked:
            return WRITES[name](x, p)
        h = x * 1.5
        found = WRITES[name](h, p)
        return found, h

    compiled = gc.compile(run)
    for flag in (True, False, True):
        seen = []
        for fn in (run, compiled):
            x = gc.tensor([[0.5, 1.0, 2.0], [1.5, 1.0, 0.5]], requires_grad=tracked)
            tensors = tensors_in(fn(x, gc.tensor(flag)))
            if tracked:
                sum((t * t).sum() for t in tensors).backward()
                tensors.append(x.grad)
            seen.append([t.detach().numpy() for t in (*tensors, x)])
        for a, b in zip(*seen, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=name)


def test_a_branch_that_writes_its_operand_changes_the_callers_tensor():
    x = gc.ones(2)
    doubled = gc.compile(lambda x, p: gc.cond(p, lambda a: a.mul_(2), lambda a: a.clone(), (x,)) + x)
    assert doubled(x, gc.tensor(True)).tolist() == [4, 4] and x.tolist() == [2, 2]
    with pytest.raises(GradientError, match="leaf Variable that requires grad"):
        doubled(gc.ones(2, requires_grad=True), gc.tensor(True))


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_what_a_loop_writes_into_its_carry_stays_in_the_loop(through):
    start, xs = gc.zeros(2, requires_grad=True), gc.ones(3, 2)
    last, ys = through(lambda: gc.scan(lambda c, x: (c.add_(x), c), start, xs))()
    assert last.tolist() == [3, 3] and ys.tolist() == [[1, 1], [2, 2], [3, 3]] and not start.any()
    assert through(lambda: gc.while_loop(lambda a: a.sum() < 4, lambda a: a.add_(1), start))().tolist() == [2, 2]
    assert not start.any()


def test_a_layer_that_writes_its_input_may_be_recomputed():
    gc.manual_seed(0)
    first, rest = nn.Linear(3, 4), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    x, seen = gc.randn(5, 3), []

    def plain(x):
        return rest(first(x))

    def again(x):
        return checkpoint(rest, first(x), use_reentrant=False)

    for fn in (plain, again, gc.compile(again)):
        first.zero_grad(), rest.zero_grad()
        y = fn(x)
        y.square().sum().backward()
        seen.append([y.detach().numpy(), *(p.grad.numpy() for m in (first, rest) for p in m.parameters())])
    for found in seen[1:]:
        for a, b in zip(found, seen[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_condition_that_writes_its_operand_is_refused():
    with pytest.raises(ValueError, match=r"while_loop: the condition writes into a tensor \(at .*" + HERE):
        gc.compile(lambda x: gc.while_loop(lambda a: a.add_(1).sum() < 9, lambda a: a * 2, x))(gc.ones(2))


SHARED = {
    "a view and its base": lambda x, v, p: gc.cond(p, lambda: (v.add_(1), x.sum())[1], lambda: x.sum() * 1),
    "two operands": lambda x, v, p: gc.cond(p, lambda a, b: (a.add_(1), b.sum())[1], lambda a, b: b * a, (x, v)),
    "recomputed": lambda x, v, p: checkpoint(lambda a: a.add_(1) + x, v),
    "rows and all": lambda x, v, p: gc.scan(lambda c, r: (c + r.add_(1) + x.sum(), c), gc.zeros(3), x)[0],
    "a batch": lambda x, v, p: gc.func.vmap(lambda a, b: a.add_(1) + b)(x, x),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_body_that_writes_to_what_it_knows_by_another_name_is_refused(name):
    x = gc.ones(2, 3)
    with pytest.raises(AliasError, match=rf"(?s)the body of a control op writes into f32.*shares memory.*{HERE}"):
        gc.compile(lambda p: SHARED[name](x, x[0], p))(gc.tensor(True))
    assert x.sum() == 6


def test_a_body_may_write_to_one_part_of_a_tensor_and_read_another():
    def step(x, p):
        return gc.cond(p, lambda a, b: a.mul_(2) + b, lambda a, b: a + b, (x[:, 0], x[:, 1]))

    for dynamic in (False, True):
        x = gc.ones(3, 2)
        assert gc.compile(step, dynamic=dynamic)(x, gc.tensor(True)).tolist() == [3, 3, 3]
        assert x.tolist() == [[2, 1]] * 3


@pytest.mark.parametrize("through", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_a_body_writes_to_a_leaf_where_nothing_is_taped(through):
    w, p = gc.ones(2, requires_grad=True), gc.tensor(True)

    def write():
        with gc.no_grad():
            w.mul_(3)
        return w * 2

    y = through(lambda: gc.cond(p, write, lambda: w * 1) + w)()
    y.sum().backward()
    assert y.tolist() == [9, 9] and w.tolist() == [3, 3] and w.grad.tolist() == [3, 3] and w.is_leaf
