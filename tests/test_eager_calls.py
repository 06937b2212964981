"""Eager code through compiled calls: the same results, gradients, errors and effects as op by op."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from copy import deepcopy
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from test_layers import ROOT
from tolerances import assert_close
from where import keeps_memory_order, runs_natively

import graphc as gc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.core import one_call as marks
from graphc.core.errors import GradientError


@contextlib.contextmanager
def eager(way: str) -> Iterator[None]:
    before, gc.config.eager = gc.config.eager, way
    try:
        yield
    finally:
        gc.config.eager = before


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tensors(*shapes: tuple[int, ...]) -> list[Any]:
    return [gc.tensor(numbers(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]


LABELS = gc.tensor([1, 0, 4, -100])
QKV = ((2, 3, 5, 4),) * 3
#: name -> (function of the tensors, their shapes, the marked function, how many terms an element is a sum of)
CALLS: dict[str, Any] = {
    "softmax": (lambda x: gc.softmax(x, 1), ((4, 5),), 8),
    "log_softmax": (lambda x: F.log_softmax(x, 0), ((4, 5),), 8),
    "gelu": (F.gelu, ((4, 5),), 1),
    "gelu, tanh": (lambda x: F.gelu(x, approximate="tanh"), ((4, 5),), 1),
    "silu": (F.silu, ((4, 5),), 1),
    "relu": (F.relu, ((4, 5),), 1),
    "glu": (lambda x: F.glu(x, 0), ((4, 5),), 1),
    "cross entropy": (lambda x: F.cross_entropy(x, LABELS), ((4, 5),), 8),
    "cross entropy, smoothed": (lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1), ((4, 5),), 16),
    "nll": (lambda x: F.nll_loss(x, LABELS), ((4, 5),), 8),
    "mse": (F.mse_loss, ((4, 5), (4, 5)), 32),
    "l1": (lambda x, y: F.l1_loss(x, y, reduction="sum"), ((4, 5), (4, 5)), 32),
    "smooth l1": (F.smooth_l1_loss, ((4, 5), (4, 5)), 32),
    "huber": (F.huber_loss, ((4, 5), (4, 5)), 32),
    "bce with logits": (F.binary_cross_entropy_with_logits, ((4, 5), (4, 5)), 32),
    "kl": (lambda x, y: F.kl_div(x, y, reduction="batchmean", log_target=True), ((4, 5), (4, 5)), 32),
    "layer norm": (lambda x, w, b: F.layer_norm(x, [5], w, b), ((4, 5), (5,), (5,)), 16),
    "rms norm": (lambda x, w: F.rms_norm(x, (5,), w), ((4, 5), (5,)), 16),
    "group norm": (lambda x: F.group_norm(x, 2), ((3, 4, 5),), 32),
    "batch norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), ((4, 5), (5,), (5,)), 16),
    "instance norm": (lambda x: F.instance_norm(x), ((3, 4, 5),), 16),
    "conv1d": (lambda x, w: F.conv1d(x, w, padding=1), ((2, 3, 7), (4, 3, 3)), 32),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, stride=2), ((2, 3, 7, 6), (4, 3, 3, 2), (4,)), 64),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w), ((2, 3, 4, 5), (3, 2, 2, 3)), 64),
    "max pool": (lambda x: F.max_pool2d(x, 2, 1), ((2, 3, 5, 4),), 4),
    "mean pool": (lambda x: F.avg_pool2d(x, 2, 1, 1), ((2, 3, 5, 4),), 8),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), ((2, 3, 5, 4),), 8),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), QKV, 64),
    "attention over one": (lambda x: F.scaled_dot_product_attention(x, x, x), QKV[:1], 64),
    "linear": (F.linear, ((2, 3, 5), (4, 5), (4,)), 32),
    "cosine similarity": (F.cosine_similarity, ((4, 5), (4, 5)), 16),
}


def marked_calls() -> list[Any]:
    """What every marked function of the package knows of its signatures."""
    files = [m for name, m in list(sys.modules.items()) if name.startswith("graphc.")]
    functions = [f for m in files for f in list(vars(m).values()) if isinstance(f, FunctionType)]
    known = {id(f.known_calls): f.known_calls for f in functions if hasattr(f, "known_calls")}
    return [call for calls in known.values() for call in calls.values()]


def outcome(function: Any, shapes: Any, way: str) -> list[Any]:
    """The result, its gradients, and their gradients."""
    with eager(way):
        xs = tensors(*shapes)
        y = function(*xs)
        weights = gc.linspace(-1, 1, y.numel()).reshape(y.shape)
        grads = gc.autograd.grad((y * y * weights).sum(), xs, create_graph=True)
        again = gc.autograd.grad(sum((g * g).sum() for g in grads), xs, allow_unused=True)
        plain = gc.autograd.grad((function(*xs) * weights).sum(), xs)
    return [y, *grads, *(gc.zeros(1) if g is None else g for g in again), *plain]


@pytest.mark.parametrize("name", CALLS)
def test_results_and_gradients_are_those_of_the_body(name):
    function, shapes, n = CALLS[name]
    before = len(marked_calls())
    want, got = outcome(function, shapes, "numpy"), outcome(function, shapes, "compiled")
    assert len(marked_calls()) > before, "nothing was compiled"
    scale = max(float(abs(w.detach()).max()) for w in want)
    for a, b in zip(got, want, strict=True):
        assert_close(a.detach(), b.detach(), n=n, scale=scale)


def test_no_marked_function_has_to_run_its_body():
    with eager("compiled"):
        for function, shapes, _ in CALLS.values():
            function(*tensors(*shapes))
        F.dropout(gc.ones(3))
        nn.LSTM(3, 4, 2)(gc.ones(5, 2, 3))
    assert all(callable(call) or type(call) is float for call in marked_calls())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers(kind):
    found = []
    for way in ("numpy", "compiled"):
        gc.manual_seed(0)
        layer = getattr(nn, kind)(3, 4, num_layers=2, batch_first=True, bidirectional=True)
        x = gc.tensor(numbers(2, 6, 3), requires_grad=True)
        with eager(way):
            out, _ = layer(x)
            (out * out).sum().backward()
        found.append([out.detach(), x.grad, *(p.grad for p in layer.parameters())])
        assert out.stride() == (8, 16, 1)
    for a, b in zip(*found, strict=True):
        assert_close(b, a, n=64, scale=10.0)


# --- when -------------------------------------------------------------------------------------------------------------


@runs_natively
def test_a_signature_is_compiled_when_numpy_has_done_as_much_as_compiling_costs(monkeypatch):
    monkeypatch.setattr(marks.LEDGER, "total", marks.LOADING)
    made = []

    @marks.one_call(weight=100)
    def double(x: Any, times: float) -> Any:
        made.append(gc.core.context.STATE.recorder is not None)
        return x * times

    x, calls = gc.ones(1000), -(-marks.WORTH // (marks.A_CALL + 100 * 1000))
    with eager("auto"):
        for _ in range(calls + 5):
            double(x, 2.0)
        assert made == [False] * (calls - 1) + [True]
        double(gc.ones(999), 2.0)
        assert made[calls:] == [False]
    with eager("numpy"):
        double(x, 2.0)
    assert made[calls:] == [False, False]


@runs_natively
def test_the_compiler_is_loaded_when_all_calls_together_are_worth_it(monkeypatch):
    monkeypatch.setattr(marks.LEDGER, "total", 0.0)
    made = []

    @marks.one_call(weight=1000)
    def double(x: Any, times: float) -> Any:
        made.append(gc.core.context.STATE.recorder is not None)
        return x * times

    with eager("auto"):
        for i in range(9):
            double(gc.ones(6000), float(i))
        assert made == [False] * 8 + [True]


def test_arguments_that_are_equal_but_not_alike_are_told_apart():
    @marks.one_call()
    def scaled(x: Any, by: Any) -> Any:
        return x * by

    x = gc.ones(2)
    with eager("compiled"):
        assert np.signbit(scaled(x, -0.0).numpy()).all() and not np.signbit(scaled(x, 0.0).numpy()).any()
        i = gc.tensor([2, 3])
        assert [scaled(i, by).dtype for by in (1, 1.0, True)] == [gc.int64, gc.float32, gc.int64]
        assert len(scaled.known_calls) == 5
        scaled(x, by=1.0)
        assert len(scaled.known_calls) == 6


@runs_natively
def test_old_signatures_are_forgotten():
    @marks.one_call()
    def identity(x: Any, n: int) -> Any:
        return x + n

    x = gc.ones(1)
    with eager("auto"):
        for n in range(marks.MOST_SIGNATURES + 50):
            identity(x, n)
    assert len(identity.known_calls) == marks.MOST_SIGNATURES
    with eager("compiled"):
        for n in range(marks.MOST_COMPILED + 2):
            identity(x, n)
    compiled = [call for call in identity.known_calls.values() if callable(call)]
    assert len(compiled) == marks.MOST_COMPILED and identity(x, 1).tolist() == [2.0]


def test_a_body_that_reads_other_tensors_or_gives_views_runs_as_it_is():
    other = gc.tensor([1.0, 2.0])

    @marks.one_call()
    def shifted(x: Any) -> Any:
        return x + other

    @marks.one_call()
    def flat(x: Any) -> Any:
        return x.reshape(-1)

    with eager("compiled"):
        assert shifted(gc.ones(2)).tolist() == [2.0, 3.0]
        other.add_(1)
        assert shifted(gc.ones(2)).tolist() == [3.0, 4.0]
        x = gc.zeros(2, 2)
        flat(x).add_(1)
        assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_recording_holds_the_ops_of_the_body():
    with eager("compiled"):
        graph = gc.Graph()
        with graph.as_default():
            y = F.softmax(gc.placeholder((2, 3)), 1)
        assert y._data.node.op.name == "divide"
        compiled = gc.compile(lambda x: F.softmax(x, 1))
        assert_close(compiled(gc.ones(2, 4)), np.full((2, 4), 0.25, np.float32))
        assert any(node.op.name == "exp" for node in compiled.last_built().recorded.nodes)


def test_nothing_native_is_loaded_before_it_is_needed():
    code = "import graphc as gc, sys; gc.softmax(gc.ones(3), 0); assert 'llvmlite' not in sys.modules"
    code += "; assert 'graphc.eager_calls' not in sys.modules"
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- tape -------------------------------------------------------------------------------------------------------------


def test_one_entry_stands_for_the_call():
    (x,) = tensors((2, 3))
    with eager("compiled"):
        y = F.softmax(x, 1)
        assert repr(y.grad_fn) == "<SoftmaxBackward>" and y.grad_fn.next_functions == ((x, 0),)
        with gc.no_grad():
            assert F.softmax(x, 1).grad_fn is None
        assert F.softmax(x.detach(), 1).grad_fn is None


def test_a_second_backward_needs_what_the_first_has_freed():
    (x,) = tensors((2, 3))
    with eager("compiled"):
        y = F.softmax(x, 1)[0, 0]
        y.backward(retain_graph=True)
        y.backward()
        with pytest.raises(GradientError, match="a second time"):
            y.backward()


def test_hooks_and_kept_gradients_see_what_flows_through():
    (x,) = tensors((2, 3))
    seen = []
    with eager("compiled"):
        h = x * 2
        h.register_hook(lambda g: seen.append(g.shape) or g * 0)
        y = F.gelu(h)
        y.retain_grad()
        y.sum().backward()
    assert seen == [(2, 3)] and y.grad.tolist() == gc.ones(2, 3).tolist() and not x.grad.any()


def test_an_argument_that_the_gradient_reads_must_not_change():
    (x,) = tensors((2, 3))
    with eager("compiled"):
        h = x * 1
        y = F.gelu(h)
        h.add_(1)
        with pytest.raises(GradientError, match=r"modified by an inplace operation: gelu saved a f32\[2, 3\]"):
            y.sum().backward()
        h = x * 1
        y = F.gelu(h)
        y.add_(1)
        y.sum().backward()


@pytest.mark.parametrize(
    "function",
    [F.relu, gc.sigmoid, gc.tanh, F.dropout, lambda x: gc.softmax(x, 1), lambda x: F.log_softmax(x, 1),
     lambda x: F.cross_entropy(x, gc.tensor([0, 2]), reduction="none")],
)  # fmt: skip
def test_an_argument_may_change_where_pytorch_reads_the_result(function):
    (x,) = tensors((2, 3))
    with eager("compiled"):
        gc.manual_seed(0)
        (want,) = gc.autograd.grad(function(x)[..., :1].sum(), x)
        h = x * 1
        gc.manual_seed(0)
        y = function(h)
        h.zero_()
        y[..., :1].sum().backward()
    assert x.grad.tolist() == want.tolist()


def test_ops_that_are_slow_in_numpy_keep_their_own_tape():
    with eager("compiled"):
        a, b = tensors((2, 3), (3, 4))
        y = gc.erf(a @ b)
        assert repr(y.grad_fn) == "<ErfBackward>" and repr(y.grad_fn.next_functions[0][0]) == "<MatmulBackward>"
        y.sum().backward()
    want = 2 / np.sqrt(np.pi) * np.exp(-((a.detach().numpy() @ b.detach().numpy()) ** 2))
    assert_close(a.grad, (want @ b.detach().numpy().T).astype(np.float32), n=32)


def test_random_bits_do_not_depend_on_who_makes_them():
    found = []
    for way in ("numpy", "compiled"):
        with eager(way):
            gc.manual_seed(5)
            found.append(
                [gc.rand(7).tolist(), gc.randint(9, (5,)).tolist(), gc.randperm(6).tolist(), gc.randn(3).tolist()]
            )
    assert found[0] == found[1]


@keeps_memory_order
def test_the_way_elements_lie_in_memory_is_kept():
    x = gc.tensor(numbers(3, 4))
    for way in ("numpy", "compiled"):
        with eager(way):
            assert F.gelu(x.t()).stride() == (1, 4) and F.gelu(x[:, ::2]).stride() == (2, 1)
            assert_close(F.gelu(x.t()), F.gelu(x).t(), n=1)
            assert F.relu(x.t().detach().requires_grad_()).stride() == (1, 4)


# --- effects ----------------------------------------------------------------------------------------------------------


def test_running_statistics_move():
    found = []
    for way in ("numpy", "compiled"):
        layer = nn.BatchNorm1d(5)
        with eager(way):
            for i in range(3):
                layer(gc.tensor(numbers(4, 5, seed=i)))
        found.append(layer.state_dict())
        assert layer.running_mean._version == 0 or layer.num_batches_tracked == 3
    for name, want in found[0].items():
        assert_close(found[1][name], want, n=16, scale=1.0, what=name)


def test_statistics_that_are_views_or_share_memory_are_written_too():
    with eager("compiled"):
        both = gc.zeros(2, 5)
        x = gc.tensor(numbers(4, 5))
        F.batch_norm(x, both[0], both[1], training=True)
        assert_close(both[0], x.mean(0) * 0.1, n=16) and both[1].all()
        F.batch_norm(x, both[0], both[0], training=True)


def test_the_same_random_numbers_and_the_same_state_afterwards():
    found = []
    for way in ("numpy", "compiled"):
        with eager(way):
            gc.manual_seed(3)
            found.append([F.dropout(gc.ones(50)).tolist(), F.dropout(gc.ones(50)).tolist(), gc.rand(2).tolist()])
    assert found[0] == found[1] and found[0][0] != found[0][1]


def test_clipping_by_norm():
    found = []
    for way in ("numpy", "compiled"):
        xs = tensors((3, 4), (5,))
        for x in xs:
            x.grad = x.detach() * 3
        with eager(way):
            found.append([nn.utils.clip_grad_norm_(xs, 1.5), *(x.grad for x in xs)])
    for a, b in zip(*found, strict=True):
        assert_close(b, a, n=32)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "bad",
    [lambda x: F.softmax(x, 2), lambda x: F.layer_norm(x, (4,)), lambda x: F.conv2d(x, x),
     lambda x: F.cross_entropy(x, gc.tensor([0, 3])), lambda x: F.mse_loss(x, x.long().sum()[None].expand(4)),
     lambda x: F.softmax([1.0], 0), lambda x: F.scaled_dot_product_attention(x, x.double(), x),
     lambda x: F.gelu(x, approximate="more"), lambda x: F.softmax(x, 0, nonsense=1)],
)  # fmt: skip
def test_the_same_errors(bad):
    texts = []
    for way in ("numpy", "compiled", "compiled"):
        with eager(way), pytest.raises(Exception) as caught:  # noqa: PT011
            bad(gc.ones(2, 3))
        texts.append((caught.type, str(caught.value)))
    assert texts[0] == texts[1] == texts[2]


def test_a_bad_index_raises_before_anything_is_written_and_names_this_call():
    x = gc.ones(2, 3)

    def call(target):
        F.cross_entropy(x, gc.tensor(target))

    with eager("compiled"):
        call([0, 2])
        with pytest.raises(IndexError, match="index 7") as numbers:
            call([0, 7])
    with eager("numpy"), pytest.raises(IndexError) as plain:
        call([0, 7])
    assert str(numbers.value) == str(plain.value)
    assert plain.value.line == f"tests/test_eager_calls.py:{call.__code__.co_firstlineno + 1}"


def test_several_threads():
    x = numbers(50, 40)
    with eager("compiled"):
        want = F.log_softmax(gc.tensor(x), 1).tolist()
        found: list[Any] = []

        def work() -> None:
            for _ in range(20):
                t = gc.tensor(x, requires_grad=True)
                y = F.log_softmax(t, 1)
                y.sum().backward()
                found.append((y.tolist(), t.grad.tolist()))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(found) == 80 and all(f == found[0] for f in found) and found[0][0] == want


# --- optimizers -------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01),
    "dampened": lambda p: optim.SGD(p, 0.1, 0.9, 0.5),
    "adam": lambda p: optim.Adam(p, 0.1, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW([{"params": p[:1], "lr": 0.01}, {"params": p[1:]}], 0.1),
}


def trained(make: Any, way: str) -> list[Any]:
    xs = [x.detach().requires_grad_() for x in tensors((3, 4), (4,), (2,))]
    optimizer = make(xs)
    with eager(way):
        for step in range(6):
            optimizer.zero_grad()
            used = xs[: 2 + (step > 1)]  # a gradient that joins later
            sum((x * x * (i + 1.0)).sum() for i, x in enumerate(used)).backward()
            optimizer.step()
            if step == 3:
                optimizer.param_groups[0]["lr"] *= 0.5
    return [*xs, *(t for x in xs for t in optimizer.state[x].values())]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_move_parameters_and_state_alike(name):
    for got, want in zip(trained(OPTIMIZERS[name], "compiled"), trained(OPTIMIZERS[name], "numpy"), strict=True):
        assert_close(got.detach(), want.detach(), n=64, scale=4.0)


def test_a_changed_learning_rate_builds_nothing_and_a_changed_option_does():
    (x,) = tensors((3,))
    optimizer = optim.SGD([x], 0.1)
    x.grad = gc.ones(3)
    with eager("compiled"):
        for lr in (0.1, 0.2, 0.3):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
        (step,) = optimizer._compiled.values()
        assert len(step.recompiles) == 1
        optimizer.param_groups[0]["weight_decay"] = 0.5
        before = x.detach().clone()
        optimizer.step()
    assert len(step.recompiles) == 2
    assert_close(x.detach(), before - 0.3 * (1 + 0.5 * before), n=4)


def test_a_step_builds_nothing_where_nothing_may_be_built():
    (x,) = tensors((3,))
    optimizer = optim.SGD([x], 0.1)
    x.grad, before = gc.ones(3), x.detach().clone()
    with eager("compiled"), gc.no_recompile():
        optimizer.step()
    assert_close(x.detach(), before - 0.1, n=2)
    assert not optimizer._compiled


def test_copies_of_an_optimizer_step_for_themselves():
    (x,) = tensors((3,))
    optimizer = optim.Adam([x], 0.1)
    x.grad = gc.ones(3)
    with eager("compiled"):
        optimizer.step()
        for other in (deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            (y,) = other.param_groups[0]["params"]
            y.grad = gc.ones(3)
            before = x.tolist()
            other.step()
            assert x.tolist() == before and y.tolist() != before


def test_an_update_of_ones_own_runs_in_python_each_time():
    class Counting(optim.SGD):
        steps = 0

        def update(self, group: Any, p: Any, grad: Any, state: Any) -> Any:
            self.steps += 1
            return p - grad * self.steps, {}

    (x,) = tensors((3,))
    optimizer = Counting([x])
    x.grad = gc.ones(3)
    with eager("compiled"):
        for _ in range(3):
            optimizer.step()
    assert optimizer.steps == 3 and not optimizer._compiled
