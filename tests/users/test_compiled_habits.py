"""What users do around compiled functions: objects, containers, hooks and copies behave as in eager code."""

from __future__ import annotations

import copy
import functools
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

import graphc as gc
from graphc import nn, optim
from graphc.core.errors import TraceLeakError

SCALE = 1.0


@dataclass(frozen=True)
class Result:
    loss: Any
    count: int
    parts: list[Any]


class Pair(NamedTuple):
    a: Any
    b: Any


def both(build: Any) -> list[Any]:
    """What `build(wrap)` gives with a wrap that does nothing, which the compiled one must give too."""
    eager, compiled = build(lambda fn: fn), build(gc.compile)
    assert compiled == eager
    return eager  # type: ignore[no-any-return]


def test_dataclasses_and_named_tuples_in_and_out() -> None:
    def build(wrap: Any) -> list[Any]:
        def fn(pair: Pair, box: Result) -> Result:
            return Result((pair.a * box.loss).sum(), box.count + 1, [pair.b, {"x": box.parts[0] * 2}])

        f, out = wrap(fn), []
        for n in (3, 3, 5):
            r = f(Pair(gc.ones(n), gc.zeros(n)), Result(gc.full((n,), 2.0), n, [gc.ones(2)]))
            assert type(r) is Result
            out.append([r.loss.item(), r.count, r.parts[0].tolist(), r.parts[1]["x"].tolist()])
        return out

    assert both(build)[0] == [6.0, 4, [0.0, 0.0, 0.0], [2.0, 2.0]]


def test_a_dataclass_of_tensors_is_taken_apart_like_a_tuple() -> None:
    f = gc.compile(lambda r: r.loss * r.count)
    for i in range(3):
        assert f(Result(gc.full((2,), float(i)), 2, [])).tolist() == [2.0 * i, 2.0 * i]
    assert len(f.recompiles) == 1


def test_writes_into_lists_and_dicts_of_the_caller() -> None:
    def build(wrap: Any) -> list[Any]:
        def fn(batch: dict[str, Any], log: list[Any], nest: tuple[Any, ...]) -> Any:
            batch["y"] = batch["x"] * 2
            label = batch.pop("label")
            log.append(batch["y"].sum())
            log[0] = log[0] + 1
            nest[0].clear()
            return label.sum()

        f, out = wrap(fn), []
        for i in range(3):
            x = gc.full((2,), float(i))
            batch, log, inner = {"x": x, "label": gc.ones(3)}, [gc.zeros(1)], {"gone": 1}
            out.append(f(batch, log, (inner, 1)).item())
            assert list(batch) == ["x", "y"] and batch["x"] is x and not inner
            out += [batch["y"].tolist(), [t.tolist() for t in log]]
        return out

    assert both(build)[-1] == [[1.0], 8.0]


def test_numbers_counted_in_a_dict_argument() -> None:
    def build(wrap: Any) -> list[Any]:
        state = {"n": 0}

        def fn(state: dict[str, int], x: Any) -> Any:
            state["n"] += 1
            return x * state["n"]

        f = wrap(fn)
        return [f(state, gc.ones(1)).item() for _ in range(3)] + [state]

    assert both(build) == [1.0, 2.0, 3.0, {"n": 3}]


def test_a_set_argument_counts_by_its_content() -> None:
    def build(wrap: Any) -> list[Any]:
        f, names = wrap(lambda x, names: x * len(names)), {"a"}
        first = f(gc.ones(1), names).item()
        names.add("b")
        return [first, f(gc.ones(1), names).item()]

    assert both(build) == [1.0, 2.0]


class Trainer:
    def __init__(self) -> None:
        self.model, self.alpha = nn.Linear(2, 1, bias=False), 1.0
        nn.init.ones_(self.model.weight)
        self.optimizer = gc.optim.SGD(self.model.parameters(), lr=0.5)
        self.run = gc.compile(self.step)

    def step(self, x: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.alpha * self.model(x).sum()
        loss.backward()
        self.optimizer.step()
        return loss

    @gc.compile
    def scaled(self, x: Any) -> Any:
        return x * self.alpha


@pytest.mark.parametrize("how", ["decorated", "bound", "argument", "closure", "global"])
def test_plain_attributes_the_function_reads_are_never_stale(how: str) -> None:
    owner, other = Trainer(), Trainer()
    if how == "bound":
        call = gc.compile(Trainer.step.__get__(owner))
    elif how == "argument":
        compiled = gc.compile(lambda t, x: x * t.alpha)
        call = functools.partial(compiled, owner)
    elif how == "closure":
        call = gc.compile(lambda x: x * owner.alpha)
    elif how == "global":
        names: dict[str, Any] = {"owner": owner}
        exec("def f(x): return x * owner.alpha", names)
        call = gc.compile(names["f"])
    else:
        call = owner.scaled
    x = gc.ones(1, 2) if how == "bound" else gc.ones(1)
    first = call(x).item()
    with gc.no_grad():
        owner.model.weight.fill_(1.0)
    owner.alpha = 4.0
    assert call(x).item() == 4 * first
    assert other.scaled(gc.ones(1)).item() == 1.0


def test_an_attribute_that_only_shares_a_name_does_not_rebuild() -> None:
    class Counter:
        def __init__(self) -> None:
            self.step, self.weight = 0, gc.ones(1, requires_grad=True)
            self.optimizer = gc.optim.SGD([self.weight], lr=0.1)

        @gc.compile
        def learn(self, x: Any) -> Any:
            self.optimizer.zero_grad()
            loss = (self.weight * x).sum()
            loss.backward()
            self.optimizer.step()
            return loss

    counter = Counter()
    for _ in range(4):
        counter.step += 1
        counter.learn(gc.ones(1))
    assert len(Counter.learn.recompiles) == 1


@pytest.mark.parametrize("how", ["module", "partial", "called object"])
def test_plain_globals_of_forward_and_of_partials_are_guarded(how: str) -> None:
    names: dict[str, Any] = {"SCALE": 1.0, "Module": nn.Module}
    exec(
        "class M(Module):\n  def forward(self, x): return x * SCALE\n"
        "class C:\n  def __call__(self, x): return x * SCALE\n"
        "def g(a, x): return a * x * SCALE\n",
        names,
    )
    made = {"module": names["M"], "called object": names["C"], "partial": lambda: functools.partial(names["g"], 1.0)}
    f = gc.compile(made[how]())
    assert f(gc.ones(1)).item() == 1.0
    names["SCALE"] = 3.0
    assert f(gc.ones(1)).item() == 3.0


def test_gradient_hooks_of_parameters() -> None:
    def build(wrap: Any) -> list[Any]:
        w = gc.ones(3, requires_grad=True)
        first = w.register_hook(lambda g: g * 0.5)
        optimizer = gc.optim.SGD([w], lr=1.0)

        def fn(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (w * x).sum()
            loss.backward()
            optimizer.step()
            return loss

        step, out = wrap(fn), []
        for i in range(6):
            if i == 2:
                second = w.register_hook(lambda g: g * 4)
            if i == 4:
                first.remove()
                second.remove()
            out.append(step(gc.ones(3)).item())
        loss = wrap(lambda x: (w * x).sum())
        w.grad = None
        handle = w.register_hook(lambda g: g * 7)
        loss(gc.ones(3)).backward()  # the compiled gradient meets the hook once
        handle.remove()
        return [*out, w.grad.tolist()]

    assert both(build) == [3.0, 1.5, 0.0, -6.0, -12.0, -15.0, [7.0, 7.0, 7.0]]


def test_a_leaf_made_inside_a_call_is_no_leak() -> None:
    def build(wrap: Any) -> list[Any]:
        model = nn.Linear(2, 1)
        with gc.no_grad():
            for p in model.parameters():
                p.fill_(0.5)

        def fn(x: Any) -> Any:
            x = x.clone().requires_grad_()
            out = model(x)
            (slope,) = gc.autograd.grad(out.sum(), x, create_graph=True)
            loss = (slope**2).sum() + out.sum()
            loss.backward()
            return loss

        f = wrap(fn)
        return [f(gc.ones(3, 2)).item() for _ in range(2)] + [model.weight.grad.tolist()]

    assert both(build)[-1] == [[12.0, 12.0]]


def test_a_returned_leaf_is_a_leaf_with_its_gradient() -> None:
    def build(wrap: Any) -> list[Any]:
        def fn(x: Any, backward: bool) -> Any:
            x = x.clone().requires_grad_()
            if backward:
                (x**3).sum().backward()
            return x

        f, out = wrap(fn), []
        for backward in (False, True):
            x = f(gc.full((2,), 2.0), backward)
            (x * 5).sum().backward()
            out += [x.is_leaf, x.requires_grad, x.grad_fn is None, x.grad.tolist()]
        return out

    assert both(build)[-1] == [17.0, 17.0]


def test_a_leaf_made_inside_and_kept_is_a_leak() -> None:
    kept: Any = Trainer()

    def fn(x: Any) -> Any:
        kept.x = x.clone().requires_grad_()
        loss = (kept.x**2).sum()
        loss.backward()
        return loss

    with pytest.raises(
        TraceLeakError, match=r"a symbolic tensor f32\[3\] made at .*test_compiled_habits.py:\d+ outlives"
    ):
        gc.compile(fn)(gc.ones(3))


class Penalised(nn.Linear):
    """Leaves a penalty behind that the step reads, as layers of Bayesian nets and gates of experts do."""

    penalty: Any = None

    def forward(self, x: Any) -> Any:
        self.penalty = self.weight.square().sum()
        return super().forward(x)


@pytest.mark.parametrize("dropped", [False, True])
def test_what_only_the_call_reads_is_dropped_before_it_ends(dropped: bool) -> None:
    def build(wrap: Any) -> list[float]:
        gc.manual_seed(0)
        layer = Penalised(2, 1)
        opt = optim.SGD(layer.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = layer(x).square().mean() + 0.1 * layer.penalty
            loss.backward()
            opt.step()
            if dropped:
                layer.penalty = None
            return loss

        f = wrap(step)
        return [f(gc.full((3, 2), float(i))).item() for i in range(3)]

    if dropped:
        both(build)
        return
    with pytest.raises(
        TraceLeakError, match=r"what only the call itself reads, drop before it ends \(`self.h = None`\)"
    ):
        build(gc.compile)


def test_an_exception_in_a_step_leaves_all_as_it_was() -> None:
    trainer, bad = Trainer(), {"now": True}

    def fn(x: Any) -> Any:
        loss = trainer.step(x)
        if bad["now"]:
            raise KeyError("in the middle")
        return loss

    f = gc.compile(fn)
    for now in (True, False, True):
        bad["now"] = now
        before = trainer.model.weight.tolist()
        if now:
            with pytest.raises(KeyError, match="in the middle"):
                f(gc.ones(1, 2))
            assert trainer.model.weight.tolist() == before and trainer.model.weight.grad is None
        else:
            f(gc.ones(1, 2))
            assert trainer.model.weight.tolist() != before


@gc.compile
def doubled(x: Any) -> Any:
    """Twice x."""
    return x * 2


def test_copies_and_pickles_of_what_holds_compiled_functions() -> None:
    a = Trainer()
    a.run(gc.ones(1, 2))
    b = copy.deepcopy(a)
    before = a.model.weight.tolist()
    b.run(gc.ones(1, 2))
    assert a.model.weight.tolist() == before != b.model.weight.tolist()
    assert copy.deepcopy(doubled) is doubled
    again = pickle.loads(pickle.dumps(gc.compile(functools.partial(gc.add, gc.ones(2)), keep_grads=True)))
    assert again(gc.ones(2)).tolist() == [2.0, 2.0] and again.keep_grads


@pytest.mark.parametrize("dtype", [gc.bool, gc.uint8, gc.int64, gc.float16, gc.bfloat16, gc.float32], ids=str)
def test_dtypes_are_pickled_and_copied_as_themselves(dtype: Any) -> None:
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.deepcopy({"dtype": dtype})["dtype"] is dtype


def test_a_captured_leaf_that_is_overwritten_before_it_is_read_still_gets_its_gradient():
    weight, source = gc.ones(3, requires_grad=True), gc.tensor([0.5, -1.0, 2.0])

    def step(x):
        with gc.no_grad():
            weight.copy_(source)
        return (weight * x).sum()

    x = gc.tensor([1.0, 2.0, 3.0])
    gc.compile(step)(x).backward()
    assert weight.tolist() == source.tolist()
    assert weight.grad.tolist() == x.tolist()
