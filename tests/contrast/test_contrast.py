"""A step both ways: the state it begins with, numbers, memory, kernels, scripts, and what is said where something is wrong."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import subprocess
import sys
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from contrast_checks import assert_same_losses, check_data
from test_layers import ROOT
from where import BACKEND, PRODUCT

import graphc as gc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.contrast.summary import break_even
from graphc.errors import ArgumentError, ArgumentTypeError, ShapeError, SymbolicError
from graphc.utils.data import DataLoader, TensorDataset


class Job:
    """A model with an optimizer, and a step that trains it."""

    def __init__(self, *more, make=lambda p: optim.Adam(p, lr=0.01)):
        gc.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), *more, nn.ReLU(), nn.Linear(8, 3))
        self.optimizer = make(self.model.parameters())
        self.x, self.y = gc.randn(16, 6), gc.randint(0, 3, (16,))

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def contrast(self, step=None, calls=4, **options):
        return gc.contrast(step or self.step, self.x, self.y, calls=calls, **options)


def line_of(data, text):
    return next(x for x in data["lines"] if x["text"] == text)


# --- state -------------------------------------------------------------------------------------------------------------


def test_both_begin_alike_and_everything_is_put_back():
    job = Job(nn.BatchNorm1d(8), nn.Dropout(0.2))
    counter, seen, cells = [0], {"last": None}, np.zeros(2)
    rate = optim.lr_scheduler.ExponentialLR(job.optimizer, 0.9)
    generator = np.random.default_rng(3)
    job.calls = 0

    def step(x, y):
        counter[0] += 1
        seen["last"] = counter[0]
        cells[0] += 1
        job.calls += 1
        return job.step(x, y)

    def host(x, y):
        loss = step(x, y)
        rate.step()
        generator.random()
        random.random()
        return loss

    random.seed(5)
    before = {k: v.clone() for k, v in job.model.state_dict().items()}
    offset, drawn = gc.default_generator.offset.item(), random.getstate()
    numbers = generator.bit_generator.state
    found = job.contrast(step)
    assert found.data["summary"]["agree"] and len({x["eager"] for x in found.data["losses"]}) == 4
    with pytest.warns(UserWarning, match=r"ExponentialLR.step\(\) runs while the function is traced"):
        job.contrast(host)
    assert all(gc.equal(v, before[k]) for k, v in job.model.state_dict().items())
    assert not job.optimizer.state_dict()["state"] and all(p.grad is None for p in job.model.parameters())
    assert job.optimizer.param_groups[0]["lr"] == 0.01 and rate.last_epoch == 0
    assert (counter, seen, job.calls, cells.tolist()) == ([0], {"last": None}, 0, [0.0, 0.0])
    assert gc.default_generator.offset.item() == offset and random.getstate() == drawn
    assert generator.bit_generator.state == numbers


def test_what_a_step_makes_for_itself_is_gone_afterwards():
    job = Job()

    class Seen:
        __slots__ = ("__hidden", "__weakref__", "calls", "late")

        def __init__(self):
            self.calls, self.__hidden = 0, [1]

        def count(self):
            self.calls, self.__hidden, self.late, Seen.last = self.calls + 1, [2], True, self.calls

        def hidden(self):
            return self.__hidden

    seen = Seen()
    counts, text = array("i", [1, 2]), bytearray(b"ab")
    if not seen:
        unset = 0

    def step(x, y):
        nonlocal unset
        unset = 1
        seen.count()
        counts.append(counts[0])
        counts[0], text[0] = 7, 7
        return job.step(x, y)

    job.contrast(step, calls=2)
    assert (seen.calls, seen.hidden(), list(counts), text) == (0, [1], [1, 2], b"ab")
    assert not hasattr(seen, "late") and not hasattr(Seen, "last")
    with pytest.raises(NameError):
        print(unset)


def test_state_that_is_there_already_is_gone_on_with():
    job = Job()
    job.step(job.x, job.y)
    moment = next(iter(job.optimizer.state.values()))["exp_avg"]
    kept, again = moment.clone(), job.contrast()
    assert again.data["summary"]["agree"] and gc.equal(moment, kept)
    assert next(iter(job.optimizer.state.values()))["exp_avg"] is moment
    assert math.isclose(again.data["losses"][0]["eager"], job.step(job.x, job.y).item(), rel_tol=1e-6)


@pytest.mark.parametrize("how", ["a compiled method", "a partial of a compiled function"])
def test_the_function_within_is_what_runs_eagerly(how):
    job = Job()

    class Trainer:
        @gc.compile
        def train(self, x, y):
            return job.step(x, y)

    step = Trainer().train if "method" in how else functools.partial(gc.compile(Trainer.train.fn), None, y=job.y)
    given = (job.x, job.y) if "method" in how else (job.x,)
    found = gc.contrast(step, *given, calls=2)
    assert (
        found.data["title"] == "test_contrast.py: train" and found.data["timelines"]["eager"][1]["phases"][1]["ns"] > 0
    )
    assert found.data["stages"][0]["nodes"] and {x["op"] for x in found.data["stages"][1]["nodes"]} >= {"x", "y"}


def test_a_compiled_step_of_the_users_goes_on_as_before():
    job = Job()
    fast = gc.compile(job.step)
    first = fast(job.x, job.y).item()
    assert job.contrast(fast).data["losses"][0]["eager"] < first
    expected = Job()
    expected.step(job.x, job.y)
    assert math.isclose(fast(job.x, job.y).item(), expected.step(job.x, job.y).item(), rel_tol=1e-5)


def test_arguments_that_a_step_writes_are_put_back():
    state = gc.zeros(3)

    def step(h, x):
        h.add_(x)
        return h.sum()

    found = gc.contrast(step, state, gc.ones(3), calls=3)
    assert [x["eager"] for x in found.data["losses"]] == [x["graph"] for x in found.data["losses"]] == [3.0, 6.0, 9.0]
    assert state.tolist() == [0.0, 0.0, 0.0]


# --- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_step_is_the_users_and_leaves_all_as_it_was():
    job = Job()
    before = job.model[0].weight.clone()

    def step(x, y):
        job.step(x, y)
        return x @ gc.ones(7, 2)

    with pytest.raises(ShapeError, match="matmul: inner sizes differ"):
        job.contrast(step)
    assert gc.equal(job.model[0].weight, before) and not job.optimizer.state_dict()["state"]


def test_a_step_that_cannot_be_compiled_says_so_and_leaves_all_as_it_was():
    job = Job()
    before = job.model[0].weight.clone()
    with pytest.raises(SymbolicError, match=r"item\(\) of a symbolic tensor"):
        job.contrast(lambda x, y: job.step(x, y).item())
    assert gc.equal(job.model[0].weight, before) and not job.optimizer.state_dict()["state"]


def test_a_step_may_have_keywords_of_any_name():
    job = Job()

    def step(x, *, y, warmup, fn=None):
        return job.step(x, y)

    found = gc.contrast(step, job.x, y=job.y, warmup=3, calls=2)
    assert found.data["summary"]["agree"] and {x["op"] for x in found.data["stages"][1]["nodes"]} >= {"x", "y"}


def test_a_contrast_within_a_trace_is_eager():
    job = Job()

    @gc.compile
    def outer(x):
        losses.append(gc.contrast(job.step, job.x, job.y, calls=2).data["losses"][0]["eager"])
        return x * 2

    losses = []
    outer(gc.ones(2))
    assert losses == [pytest.approx(job.step(job.x, job.y).item())]


def test_what_is_refused():
    def yields():
        yield 1

    async def waits():
        pass

    for step in (yields, waits):
        with pytest.raises(ArgumentTypeError, match=f"contrast: {step.__name__} only makes a generator or a coroutine"):
            gc.contrast(step)
    with pytest.raises(ArgumentTypeError, match="contrast: a int is no step"):
        gc.contrast(3)
    for calls in (1, 2.5):
        with pytest.raises(ArgumentError, match=f"contrast: calls={calls}"):
            gc.contrast(lambda: gc.ones(1).sum(), calls=calls)


# --- numbers -----------------------------------------------------------------------------------------------------------


def test_the_data():
    found = Job().contrast(calls=6, title="a title")
    check_data(found.data)
    data = found.data
    assert data["title"] == "a title" and data["made"]["backend"] == BACKEND
    assert data["summary"]["eager_peak_bytes"] == max(x["bytes"] for x in data["memory"]["eager"])
    model = line_of(data, "loss = F.cross_entropy(self.model(x), y)")
    assert {"Sequential.0", "Sequential.1", "Sequential.2"} <= set(model["modules"]) and "matmul" in model["ops"]
    # forward 2 * 16 * 6 * 8 and 2 * 16 * 8 * 3; backward without the gradient of x, and twice the second product
    assert model["flops"] > 2 * (2 * 16 * 6 * 8) + 3 * (2 * 16 * 8 * 3)
    assert model["backward_eager_ns"] > 0 and line_of(data, "self.optimizer.step()")["backward_eager_ns"] == 0
    roles = [x["role"] for x in data["stages"][1]["nodes"]]
    assert {"forward", "backward", "update", "input"} <= set(roles)
    names = {x["op"] for x in data["stages"][1]["nodes"] if x["role"] == "input"}
    assert {"x", "y", "self.model.0.weight", "self.optimizer.exp_avg of self.model.0.weight", "lr"} <= names


def test_a_pass_shows_what_it_changed_and_no_more():
    def step(x):
        return (x.neg().neg() * 1.0).sum()

    stages = gc.contrast(step, gc.ones(4), calls=2).data["stages"]
    tidy = next(x for x in stages if x["name"] == "tidy")
    before = {x["id"]: x["op"] for x in stages[1]["nodes"]}
    assert tidy["added"] == [] and [before[x] for x in tidy["removed"]].count("negate") == 2
    assert [x["op"] for x in tidy["nodes"]] == ["x", "reduce_sum"] and tidy["ms"] > 0
    assert (
        tidy["about"]
        == "Applies `canonical_views`, `fold_constants` and `simplify` together, until none of their rules applies."
    )
    assert set(tidy["removed"]) | {x["id"] for x in tidy["nodes"]} == set(before)


def test_the_bytes_of_an_eager_call_are_those_of_its_arrays():
    def step(x):
        a = x * 2.0
        b = a.exp()
        del a
        return (b + b).sum()

    data = gc.contrast(step, gc.ones(1000), calls=2).data
    events = [(x["op"], x["change"]) for x in data["memory"]["eager"] if abs(x["change"]) >= 4000]
    assert events[:4] == [("multiply", 4000), ("exp", 4000), ("multiply", -4000), ("add", 4000)]
    assert sorted(events[4:]) == [("add", -4000), ("exp", -4000)]
    assert 8000 <= data["summary"]["eager_peak_bytes"] < 8100
    assert data["memory"]["eager"][-1]["bytes"] == 0


def test_the_tape_is_what_backward_found():
    job = Job()
    tape = job.contrast(calls=2).data["stages"][0]
    ops = [x["op"] for x in tape["nodes"]]
    assert ops.count(PRODUCT) == 2 and ops.count("parameter") == 4
    first = next(x for x in tape["nodes"] if x["op"] == PRODUCT)
    assert first["detail"] == "keeps operand 0" and first["module"] == "Sequential.0" and len(first["lines"]) == 1


@pytest.mark.parametrize(
    ("eager", "graph", "steady", "calls"),
    [
        ([10, 10, 10, 10], [25, 2, 2, 2], (10, 2), 3),  # 30 >= 29
        ([10, 10], [100, 2], (10, 2), 2 + 11),  # 82 behind, 8 a call
        ([10, 10], [10, 10], (10, 10), None),
        ([10, 10], [5, 20], (10, 20), None),
        ([10, 10], [5, 2], (10, 2), 1),
        ([1000, 10, 10], [900, 500, 2], (10, 2), 3 + 48),  # a second build loses the lead: 382 behind, 8 a call
    ],
)
def test_break_even(eager, graph, steady, calls):
    assert break_even(eager, graph, *steady) == calls


def test_losses_that_disagree_are_told():
    job = Job()
    rate = optim.lr_scheduler.StepLR(job.optimizer, 1, 0.1)

    def step(x, y):
        loss = job.step(x, y)
        rate.step()  # Python's, at the first call only once it is compiled
        return loss

    with pytest.warns(UserWarning, match=r"StepLR.step\(\) runs while the function is traced"):
        found = job.contrast(step, calls=4)
    assert found.data["summary"]["agree"] is False and "NO: losses differ by at most" in str(found)
    assert found.data["losses"][0]["difference"] < 1e-6 < found.data["losses"][-1]["difference"]
    left = "StepLR.last_epoch is 4 after these calls eagerly, 1 compiled"
    assert left in found.data["summary"]["left_behind"]
    assert f"Python runs when a step is traced, not when it is replayed: {left}" in " ".join(str(found).split())


def test_a_loss_that_is_nan_in_one_way_only_is_no_agreement():
    job = Job()
    job.calls = 0

    def step(x, y):
        job.calls += 1  # 1 in each call of the compiled step
        return job.step(x, y) * (math.nan if job.calls == 3 else 1.0)

    found = job.contrast(step, calls=4)
    assert [x["difference"] == math.inf for x in found.data["losses"]] == [False, False, True, False]
    assert found.data["summary"]["agree"] is False and "NO: losses differ by at most inf" in str(found)


def test_iterators_are_told_of():
    job = Job()
    loader = DataLoader(TensorDataset(gc.randn(400, 6), gc.randint(0, 3, (400,))), batch_size=4)
    batches = iter(loader)
    with pytest.warns(UserWarning, match="reading a batch of a DataLoader runs while the function is traced"):
        found = gc.contrast(lambda: job.step(*next(batches)), calls=2)
    assert found.data["summary"]["agree"] is False
    assert found.data["summary"]["left_behind"] == [
        "batches is an iterator, which goes on and cannot be put back: both ways may see other items"
    ]


def test_a_step_without_a_loss():
    job = Job()
    seen = [0]

    def step(x, y):
        seen[0] += 1
        job.step(x, y)

    found = job.contrast(step, calls=2)
    assert "seen[0] is 2 after these calls eagerly, 1 compiled" in " ".join(str(found).split())
    assert found.data["summary"]["agree"] is None and "not known: the step returns no loss" in str(found)
    assert {x["eager"] for x in found.data["losses"]} == {None}
    assert found.data["timelines"]["eager"][0]["phases"][1]["ns"] > 0


def test_the_summary_as_text():
    lines = str(Job().contrast(calls=3)).splitlines()
    assert lines[0].endswith(f"3 calls each way on {BACKEND}") and max(map(len, lines)) <= 118
    questions = [x for x in lines if x.endswith("?") and not x.startswith(" ")]
    assert questions == [
        "which of my lines is slowest?", "what was fused?", "what did each pass do?", "how much memory?",
        "when does compiling pay?", "do both ways agree?",
    ]  # fmt: skip


# --- kernels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "language", "code"), [("llvm", "LLVM IR", "define i64 @task"), ("numpy", "NumPy", "np.")]
)
def test_the_code_of_kernels(backend, language, code):
    found = Job().contrast(calls=2, backend=backend)
    check_data(found.data)
    written = [x for x in found.data["kernels"] if x["code"]]
    assert {x["language"] for x in written} == {language} and any(code in x["code"] for x in written)
    assert found.data["made"]["backend"] == backend and all(x["ns"] is not None for x in found.data["kernels"])


@pytest.mark.opencl
def test_the_code_of_kernels_on_opencl():
    found = Job().contrast(calls=2, backend="opencl")
    check_data(found.data)
    written = [x for x in found.data["kernels"] if x["code"]]
    assert {x["language"] for x in written} == {"OpenCL C"} and all("KERNEL" in x["code"] for x in written)


@pytest.mark.opencl
def test_a_step_on_a_device():
    job = Job()
    job.model.to("opencl")
    found = gc.contrast(job.step, job.x.to("opencl"), job.y.to("opencl"), calls=2)
    check_data(found.data)
    assert found.data["made"]["backend"] == "opencl" and found.data["summary"]["agree"]
    on_host = Job().contrast(calls=2).data["summary"]["eager_peak_bytes"]
    assert found.data["summary"]["eager_peak_bytes"] > on_host / 4  # compiled ops hold less in between


def test_why_kernels_are_alone():
    def step(x, w):
        h = gc.relu(x @ w)
        return h.sum(0).sum() + h.sum(1).exp().sum()

    kernels = gc.contrast(step, gc.ones(32, 8), gc.ones(8, 4), calls=2).data["kernels"]
    assert all(x["alone_because"] for x in kernels)
    reasons = [reason for x in kernels for reason in x["alone_because"]]
    assert "a product runs in a kernel made for products, which reads its operands from memory" in reasons
    assert "reduce_sum is not in the kernel of reduce_sum: it folds other dimensions than the kernel does" in reasons


def test_explain_tells_why_kernels_are_alone():
    run = gc.compile(lambda x: (x.sum(0), x.sum(1)))
    run(gc.ones(8, 8))
    assert "alone since reduce_sum is not in the kernel of reduce_sum: it folds other dimensions" in str(
        gc.explain(run)
    )


# --- scripts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), (nn.Dropout(0.3),), (nn.BatchNorm1d(8),)], ids=["plain", "dropout", "batch norm"])
@pytest.mark.parametrize(
    "make",
    [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p, lr=0.01, amsgrad=True)],
    ids=["SGD", "AdamW"],
)
def test_scripts_give_the_losses_of_the_step(more, make, tmp_path):
    found = Job(*more, make=make).contrast()
    check_data(found.data)
    assert found.data["summary"]["agree"]
    assert_same_losses(found, tmp_path)


def test_titles_stay_within_the_docstrings_of_scripts(tmp_path):
    ways = ('"""\nraise SystemExit(3)\n"""', '"""+exit(3)+"""\\', "\\N{no} \\", 'ends in "', "日本\x00\r# x")
    for title in ways:
        found = Job().contrast(calls=2, title=title)
        assert found.data["title"] == title
        assert_same_losses(found, tmp_path)


def test_gradients_that_no_rule_gives_are_written_out(tmp_path):
    class Straight(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return gc.round(x)

        @staticmethod
        def backward(ctx, g):
            return g

    w = gc.tensor([0.4, 1.7], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        loss = ((Straight.apply(w) - x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss + w.sum()

    found = gc.contrast(step, gc.tensor([0.5, 0.5]), calls=3)
    assert "gradients(" not in found.programs["session"] and "(backward)" in found.programs["eager"]
    assert_same_losses(found, tmp_path)


def test_what_a_step_detaches_is_detached_in_its_scripts(tmp_path):
    w = gc.tensor([2.0, 3.0], requires_grad=True)

    def step(x):
        loss = (w * (w * x).detach()).sum()
        (g,) = gc.autograd.grad(loss, [w])
        return loss, g

    def train(x):
        w.grad = None
        loss = (w * (w * x).detach()).sum()
        loss.backward()
        with gc.no_grad():
            w.sub_(0.1 * w.grad)
        return loss

    found = gc.contrast(train, gc.tensor([1.0, 2.0]), calls=3)
    assert ".detach()" in found.programs["eager"] and "gc.autograd.grad(" in found.programs["eager"]
    assert_same_losses(found, tmp_path)
    assert gc.contrast(step, gc.tensor([1.0, 2.0]), calls=2).data["summary"]["agree"]


def test_gradients_that_add_up_are_kept_by_the_scripts(tmp_path):
    job = Job(make=lambda p: optim.SGD(p, lr=0.05))

    def step(x, y):
        loss = F.cross_entropy(job.model(x), y)
        loss.backward()
        job.optimizer.step()
        return loss

    found = job.contrast(step)
    assert found.data["summary"]["agree"]
    assert_same_losses(found, tmp_path)  # from the second call on, which finds gradients


def test_loops_and_branches_in_scripts(tmp_path):
    w = gc.tensor([0.5, -0.25], requires_grad=True)

    def step(x):
        carry, ys = gc.scan(lambda c, t: ((c + t * w).tanh(), c * 2.0), gc.zeros(2), x)
        last = gc.cond(carry.sum() > 0, lambda c: c * 3.0, lambda c: c - 1.0, carry)
        _, total = gc.while_loop(lambda n, t: n < 3, lambda n, t: (n + 1, t * 1.5), (gc.tensor(0), last))
        loss = total.sum() + ys.sum()
        w.grad = None
        loss.backward()
        with gc.no_grad():
            w.sub_(0.1 * w.grad)
        return loss

    found = gc.contrast(step, gc.tensor([[1.0, 2.0], [0.5, 0.5], [-1.0, 0.1]]), calls=3)
    assert all(f"gc.{name}(" in found.programs["session"] for name in ("scan", "cond", "while_loop"))
    assert_same_losses(found, tmp_path)


def test_arrays_that_are_many_lie_beside_the_scripts(tmp_path):
    w = gc.randn(300, 300)
    found = gc.contrast(lambda x: (x @ w).sum(), gc.randn(4, 300), calls=2, title="large.py: step")
    assert found.data["programs"]["file"] == "large_step.npz"
    assert "large_step.npz" in {x.name for x in found.write_programs(tmp_path)}
    assert_same_losses(found, tmp_path)


def test_a_step_whose_calls_are_different_programs_has_no_scripts():
    job = Job()

    def step(x, y):
        return job.step(x, y) * (1.0 + random.random())

    found = job.contrast(step, calls=3)
    assert found.data["summary"]["agree"] and found.programs["eager"] is None
    assert found.data["programs"]["why_none"].startswith("the step draws from Python's or NumPy's generator")


# --- around ------------------------------------------------------------------------------------------------------------

STABLE = """
import json, sys
import graphc as gc
from graphc.step_files import load_step
found = load_step(sys.argv[1], after=1)
data = gc.contrast(found.fn, *found.args, calls=2).data
for stage in data["stages"]:
    del stage["ms"]
keep = {key: data[key] for key in ("sources", "stages", "unchanged_passes")}
keep["lines"] = [{k: v for k, v in x.items() if not k.endswith(("_ns", "_share"))} for x in data["lines"]]
keep["kernels"] = [{k: v for k, v in x.items() if not k.endswith("ns")} for x in data["kernels"]]
keep["memory"] = data["memory"]["plan"], data["memory"]["buffers"]
print(json.dumps(keep))
"""


def test_ids_are_the_same_from_run_to_run():
    found = []
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", STABLE, str(ROOT / "examples" / "mlp.py")], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        found.append(json.loads(run.stdout.splitlines()[-1]))
    assert found[0] == found[1]


def test_the_page_is_shown_in_notebooks(monkeypatch):
    found = Job().contrast(calls=2)
    monkeypatch.setattr(
        "graphc.contrast.report.page", SimpleNamespace(html=lambda data: f'<p title="{data["title"]}">')
    )
    assert found._repr_html_().startswith('<iframe srcdoc="&lt;p title=&quot;')


def test_the_folder_can_be_called_and_has_the_function():
    assert gc.contrast is sys.modules["graphc.contrast"]
    assert gc.contrast.contrast(lambda: gc.ones(2).sum(), calls=2).data["losses"][0]["graph"] == 2.0
