"""Planted faults: small programs as users write them, one line of each at fault. In eager code, compiled functions and sessions
the message must name exactly that line, the module it ran in, the op and the types of its operands.

A program is a function of arrays; the faulty line ends with the comment FAULT. Each entry of the table tells what it is run on,
in which modes it fails (`MODES` unless said otherwise) and what its message must say.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from where import raises_for_division_by_zero

import graphc as gc
from graphc import nn, optim
from graphc.backends.c_like import scalars as c_scalars
from graphc.backends.llvm import kernels, scalars
from graphc.errors import (
    AliasError,
    ArgumentError,
    BackendError,
    DeviceError,
    DimensionError,
    DivisionError,
    DtypeError,
    FeedError,
    FetchError,
    GradientError,
    GraphcError,
    IndexRangeError,
    NonFiniteError,
    OutOfMemoryError,
    ShapeError,
    SymbolicError,
    TraceLeakError,
)
from graphc.nn import functional as F

MODES = ("eager", "compiled", "session")
GRAPHS = ("compiled", "session")
HERE = "tests/errors/test_planted_faults.py"


@dataclass
class Fault:
    """A program, what it is run on, and what its message must say (in all modes, and in graphs)."""

    program: Callable[..., Any]
    arrays: Sequence[Any]
    error: type[Exception]
    says: Sequence[str]
    modes: Sequence[str] = MODES
    in_graphs: Sequence[str] = ()
    marks: Any = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """`file:LINE` of the faulty line."""
        lines, first = inspect.getsourcelines(self.program)
        (at,) = [n for n, line in enumerate(lines, first) if line.rstrip().endswith("# FAULT")]
        return f"{HERE}:{at}"


FAULTS: dict[str, Fault] = {}


def fault(arrays: Sequence[Any], error: type[Exception], *says: str, **options: Any) -> Callable[[Any], Any]:
    """Puts a program into the table."""

    def put(program: Any) -> Any:
        own = {k: options.pop(k) for k in ("modes", "in_graphs", "marks") if k in options}
        FAULTS[program.__name__] = Fault(program, arrays, error, says, **own, options=options)
        return program

    return put


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def ints(*numbers: Any) -> Any:
    return np.array(numbers)


def weights() -> Any:
    """A parameter of the user's."""
    return gc.tensor([1.0, 2.0, 3.0], requires_grad=True)


# --- shapes and dtypes ----------------------------------------------------------------------------------------------------


@fault(
    [floats(4, 3), floats(4, 3)], ShapeError, "matmul: inner sizes differ", "a: f32[4, 3]", "b: f32[4, 3]", "got 3 and 4",
    in_graphs=[r"a: f32\[4, 3\]  made at \S+:\d+\n  b: f32\[4, 3\]  made at \S+:\d+\n"],
)  # fmt: skip
def product_of_wrong_shapes(x, y):
    h = x * 2
    k = y + 1
    return h @ k  # FAULT


@fault([floats(4, 3), floats(4, 2)], ShapeError, "add: shapes do not broadcast", "a: f32[4, 3]", "b: f32[4, 2]")
def sum_that_does_not_broadcast(x, y):
    h = x * 2
    return h + y  # FAULT


@fault(
    [floats(4, 3)], ShapeError, "matmul: inner sizes differ", "a: f32[4, 5]", "b: f32[2, 6]", "in module Sequential.2.second"
)  # fmt: skip
def layer_of_a_wrong_size(x):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(6, 2)

        def forward(self, x):
            h = self.first(x)
            return self.second(h)  # FAULT

    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), Head())
    return model(x)


@fault([floats(2, 4, 8, 8)], ShapeError, "expected input[2, 4, 8, 8] to have 3 channels", "in module Conv2d")
def convolution_of_other_channels(x):
    conv = nn.Conv2d(3, 6, 3)
    return conv(x)  # FAULT


@fault([floats(4, 3), ints(1, 2, 3)], DtypeError, "matmul: expected m1 and m2 to have the same dtype", "b: i64[3, 1]")
def product_of_floats_and_integers(x, i):
    return x @ i  # FAULT


@fault([floats(4, 6)], ShapeError, "reshape: shape '[5, 5]' is invalid for input of size 24", "a: f32[4, 6]")
def reshape_to_another_size(x):
    return x.reshape(5, 5)  # FAULT


@fault(
    [floats(4, 6), floats(3, 5)], ShapeError, "concat: Sizes of tensors must match except in dimension 0", "f32[3, 5]"
)
def concatenation_of_other_widths(x, y):
    return gc.cat([x, y])  # FAULT


@fault([floats(2, 3)], DimensionError, "expected to be in range of [-2, 1], but got 2")
def dimension_that_is_not_there(x):
    return x.softmax(2)  # FAULT


@fault(
    [floats(4, 3), ints(0, 1, 2)],
    ArgumentError,
    "Expected input batch_size (4) to match target batch_size (3)",
    "in module",
)
def loss_of_other_batches(x, y):
    loss_fn = nn.CrossEntropyLoss()
    return loss_fn(x, y)  # FAULT


@fault([floats(4, 3), floats(5, 3)], ShapeError, "shapes do not broadcast", "f32[4, 3]", "f32[5, 3]")
@pytest.mark.filterwarnings("ignore:Using a target size")
def regression_loss_of_other_shapes(x, y):
    return F.mse_loss(x, y)  # FAULT


@fault([floats(3, 4), floats(3, 2)], ShapeError, "scan: carry 0 goes in as f32[4] and comes out as f32[3, 4]")
def carry_that_changes(xs, ys):
    def body(h, x):
        return h + xs, h

    return gc.scan(body, xs[0], xs)  # FAULT


@fault([floats(3, 4), floats(3, 2)], ShapeError, "add: shapes do not broadcast", "f32[4]", "f32[2]")
def wrong_shape_in_a_loop(xs, ys):
    def body(h, x):
        a, b = x
        return h + a, a + b  # FAULT

    return gc.scan(body, xs[0], (xs, ys))


# --- numbers --------------------------------------------------------------------------------------------------------------


@fault(
    [np.array([0.5, 0.0, 2.0], "f4")], NonFiniteError, "log: made infinity from finite operands, in 1 of 3 elements",
    "a: f32[3] in [0, 4]", "in module Score", checks=True,
)  # fmt: skip
def logarithm_of_zero(x):
    class Score(nn.Module):
        def forward(self, x):
            h = x * 2
            return h.log()  # FAULT

    return (Score()(x) + 1).sum()


@fault(
    [floats(3), np.array([1.0, 0.0, 2.0], "f4")], NonFiniteError, "divide: made infinity", "in 1 of 3 elements",
    "b: f32[3] in [0, 2]", checks=True,
)  # fmt: skip
def division_by_zero(x, y):
    h = x.exp()
    return h / y * 2  # FAULT


@fault([np.array([2, 4]), np.array([1, 0])], DivisionError, "an integer divided by zero", "a: i64[2]", modes=("eager",),
       marks=raises_for_division_by_zero)  # fmt: skip
def integer_division_by_zero(x, y):
    return x // y  # FAULT


@fault([np.array([1.0, -4.0], "f4")], NonFiniteError, "sqrt: made NaN", "a: f32[2] in [-3.5, 1.5]", checks=True)
def root_of_a_negative_number(x):
    h = x + 0.5
    return h.sqrt() * 2  # FAULT


@fault([np.array([1.0, 2.0], "f4")], NonFiniteError, "exp: made infinity", "a: f32[2] in [60, 120]", checks=True)
def overflow_in_exp(x):
    return (x * 60).exp()  # FAULT


@fault(
    [np.array([0.0, 4.0], "f4")], NonFiniteError, "made infinity from finite operands", "(backward)",
    checks=True, modes=GRAPHS,
)  # fmt: skip
def gradient_of_a_root_at_zero(x):
    w = x.detach().requires_grad_()
    y = w.sqrt()  # FAULT
    y.sum().backward()
    return w.grad


@fault([ints(1, 7)], IndexRangeError, "index 7 is out of bounds for dimension 0 with size 5", "in module Sequential.0")
def word_that_is_not_in_the_embedding(words):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    return model(words)  # FAULT


@fault([floats(4, 3), ints([1], [7])], IndexRangeError, "gather: index 7", "dimension 0 with size 4", "b: i64[2, 1]")
def gather_beyond_the_end(x, i):
    return gc.gather(x, 0, i) * 2  # FAULT


@fault(
    [floats(4, 3), ints(1, 9)], IndexRangeError, "index: index 9", "a: f32[4, 3]", "b: i64[2]", "need -4 <= index < 4"
)
def advanced_index_beyond_the_end(x, i):
    h = x * 2
    return h[i].sum()  # FAULT


@fault([floats(4, 3), ints(0, 1, 2, 5)], IndexRangeError, "index 5 is out of bounds for dimension 1 with size 3")
def class_that_does_not_exist(x, y):
    h = x * 2
    return F.cross_entropy(h, y)  # FAULT


# --- gradients ------------------------------------------------------------------------------------------------------------


@fault([floats(3)], GradientError, "modified by an inplace operation: exp", "saved a f32[3]")
def saved_tensor_written_in_place(x):
    h = (x * weights()).exp()
    h.mul_(2)  # FAULT
    h.sum().backward()
    return h


@fault([floats(3)], GradientError, "a leaf Variable that requires grad is being used in an in-place operation")
def parameter_written_in_place(x):
    w = weights()
    w.mul_(2)  # FAULT
    return (x * w).sum()


@fault([floats(3)], GradientError, "Trying to backward through the graph a second time", "exp")
def backward_twice(x):
    loss = (x * weights()).exp().sum()
    loss.backward()
    loss.backward()  # FAULT
    return loss


@fault([floats(4, 3)], ShapeError, "matmul: inner sizes differ", "a: f32[4, 3]", "b: f32[4, 3]")
def wrong_backward_of_a_function(x):
    class Twice(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g @ x  # FAULT

    loss = Twice.apply(x * weights()).sum()
    loss.backward()
    return loss


@fault([floats(4, 3)], ArgumentError, "the forward of the user's")
def error_raised_in_a_function(x):
    class Picky(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            raise ArgumentError("the forward of the user's")  # FAULT

        @staticmethod
        def backward(ctx, g):
            return g

    return Picky.apply(x)


@fault([floats(3)], ArgumentError, "Invalid learning rate: -1.0")
def optimizer_with_a_wrong_argument(x):
    w = weights()
    opt = optim.SGD([w], lr=-1.0)  # FAULT
    return x, opt


# --- what a graph cannot follow -------------------------------------------------------------------------------------------


@fault(
    [floats(4, 3)], SymbolicError, "the truth value of a symbolic tensor, bool[]", "hint: use gc.where", modes=GRAPHS
)
def branch_on_data(x):
    if x.sum() > 100:  # FAULT
        return x
    return x * 2


@fault([floats(4, 3)], SymbolicError, "item() of a symbolic tensor, f32[]", modes=GRAPHS)
def number_of_a_tensor(x):
    return x * x.mean().item()  # FAULT


@fault([floats(4, 3)], TraceLeakError, "a symbolic tensor f32[4, 3] made at", modes=("compiled",))
def tensor_kept_outside(x):
    h = x * 2  # FAULT
    KEPT.append(h)
    return h + 1


KEPT: list[Any] = []


# --- feeds and fetches: a program is the whole of a user's --------------------------------------------------------------


def classifier() -> Any:
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 3), name="x")
        y = gc.placeholder((None,), dtype=gc.int64, name="y")
        loss = F.cross_entropy(x * 2, y)
    return gc.Session(graph), loss


@fault(
    [],
    FeedError,
    "placeholder 'y' i64[",
    "is not fed, and the fetch needs it",
    "path from the fetch",
    modes=("script",),
)
def feed_that_is_missing():
    session, loss = classifier()
    session.run(loss, {"x": floats(4, 3)})  # FAULT


@fault([], FeedError, "x is f32[", "the feed has shape [4, 5]", modes=("script",))
def feed_of_a_wrong_shape():
    session, loss = classifier()
    session.run(loss, {"x": floats(4, 5), "y": ints(0, 1, 2, 0)})  # FAULT


@fault([], FeedError, "x is f32[", "the feed is f64[4, 3]: write `.astype('float32')`", modes=("script",))
def feed_of_a_wrong_dtype():
    session, loss = classifier()
    session.run(loss, {"x": floats(4, 3).astype("f8"), "y": ints(0, 1, 2, 0)})  # FAULT


@fault([], FeedError, "cannot feed 'z'", "the placeholders are x, y", modes=("script",))
def feed_of_an_unknown_name():
    session, loss = classifier()
    session.run(loss, {"x": floats(4, 3), "z": ints(0, 1, 2, 0)})  # FAULT


@fault([], FeedError, "sizes disagree: y_0 = 3, x_0 = 4, made equal at", modes=("script",))
def feeds_of_sizes_that_disagree():
    session, loss = classifier()
    session.run(loss, {"x": floats(4, 3), "y": ints(0, 1, 2)})  # FAULT


@fault([], FetchError, "belongs to another graph", "f32[]", modes=("script",))
def fetch_of_another_graph():
    session, _ = classifier()
    _, loss = classifier()
    session.run(loss, {"x": floats(4, 3), "y": ints(0, 1, 2, 0)})  # FAULT


@fault(
    [], SymbolicError, "a symbolic tensor f32[] was used outside the trace or graph it belongs to", modes=("script",)
)
def tensor_of_a_graph_in_eager_code():
    _, loss = classifier()
    return loss * 2  # FAULT


@fault(
    [], AliasError, "share memory without being views of one tensor", "a graph cannot follow that", modes=("script",)
)
def aliases_that_a_trace_cannot_follow():
    memory = np.zeros(4, np.float32)
    a, b = gc.from_numpy(memory), gc.from_numpy(memory[1:])

    @gc.compile
    def step(x):
        a.add_(x)
        return b * 2

    step(gc.ones(4))  # FAULT


# --- machines -------------------------------------------------------------------------------------------------------------


@fault(
    [floats(2)], OutOfMemoryError, "no room for", "f32[2, 16777216, 16777216]", "2,251,799,813,685,248",
    in_graphs=["holds 2,251,799,813,685,\\d+ bytes at its peak beside inputs of 8; its largest tensors:\n"],
)  # fmt: skip
def more_than_there_is_room_for(x):
    return x.reshape(2, 1, 1).expand(2, 1 << 24, 1 << 24) * 2  # FAULT


@fault([floats(2)], OutOfMemoryError, "bytes at its peak", "f32[2, 1048576, 1048576] multiply made at", modes=GRAPHS,
       marks=pytest.mark.opencl, backend="opencl")  # fmt: skip
def more_than_a_device_has_room_for(x):
    return x.reshape(2, 1, 1).expand(2, 1 << 20, 1 << 20) * 2  # FAULT


@fault([], DeviceError, "at least two devices", "f32[3]", modes=("script",), marks=pytest.mark.opencl)
def tensors_on_two_devices():
    x, w = gc.ones(3, device="opencl"), weights()
    return x * w  # FAULT


@fault(
    [floats(5)], BackendError, "cannot be compiled", "it does tanh made at", modes=GRAPHS, broken=True, backend="llvm"
)
def kernel_that_cannot_be_built(x):
    return x.tanh()  # FAULT


@fault([floats(5)], BackendError, "cannot build a kernel", "it does tanh made at", modes=GRAPHS, broken=True, backend="opencl",
       marks=pytest.mark.opencl)  # fmt: skip
def kernel_that_a_device_cannot_build(x):
    return x.tanh()  # FAULT


# --- running them ---------------------------------------------------------------------------------------------------------


def run_eager(found: Fault, options: dict[str, Any]) -> None:
    tensors = [gc.tensor(x) for x in found.arrays]
    if options.get("check_nans"):
        with gc.check_nans():
            found.program(*tensors)
    else:
        found.program(*tensors)


def run_compiled(found: Fault, options: dict[str, Any]) -> None:
    gc.compile(found.program, **options)(*[gc.tensor(x) for x in found.arrays])


def run_session(found: Fault, options: dict[str, Any]) -> None:
    graph = gc.Graph()
    with graph.as_default():
        feeds = [gc.placeholder(x.shape, gc.tensor(x).dtype, name=f"x{i}") for i, x in enumerate(found.arrays)]
        fetch = found.program(*feeds)
    with gc.Session(graph, **options) as session:
        session.run(fetch, dict(zip(feeds, found.arrays, strict=True)))


def run_script(found: Fault, options: dict[str, Any]) -> None:
    found.program()


RUN = {"eager": run_eager, "compiled": run_compiled, "session": run_session, "script": run_script}
CASES = [
    pytest.param(name, mode, marks=found.marks, id=f"{name}-{mode}")
    for name, found in FAULTS.items()
    for mode in found.modes
]


@pytest.fixture
def broken_printers(monkeypatch):
    """Printers that write what no compiler reads for a tanh."""
    for printer, nonsense in ((scalars._Printer, "%nonsense"), (c_scalars._Printer, "nonsense!")):
        name = "function" if hasattr(printer, "function") else "primitive"
        right = getattr(printer, name)

        def wrong(self, x, operands, dtype, right=right, nonsense=nonsense):
            return nonsense if x.op == "tanh" else right(self, x, operands, dtype)

        monkeypatch.setattr(printer, name, wrong)
    kernels._printed.cache_clear()
    yield
    kernels._printed.cache_clear()


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_message_names_the_faulty_line(name, mode, request):
    found = FAULTS[name]
    options = {"backend": found.options["backend"]} if "backend" in found.options else {}
    if found.options.get("checks"):
        options["check_nans"] = True
    if found.options.get("broken"):
        request.getfixturevalue("broken_printers")
    with pytest.raises(GraphcError) as caught:
        RUN[mode](found, options)
    KEPT.clear()
    text = str(caught.value)
    assert isinstance(caught.value, found.error), repr(caught.value)
    assert caught.value.line.split()[0] == found.line, f"{caught.value.line}, not {found.line}: {text}"
    assert re.search(rf"{re.escape(found.line)}\b", text), text
    for part in found.says:
        assert part in text, text
    for pattern in found.in_graphs if mode in GRAPHS else ():
        assert re.search(pattern, text), text


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_forgotten_zero_grad_is_warned_of_where_anomalies_are_searched_for(mode, recwarn):
    """It is no error: gradients may be meant to add up. A step that has used them and a backward() that adds to them is one."""
    model = nn.Linear(3, 1)
    opt = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        loss = model(x).square().mean()
        loss.backward()  # EAGER
        opt.step()  # COMPILED
        return loss

    run = gc.compile(step) if mode == "compiled" else step
    lines, first = inspect.getsourcelines(step)
    (at,) = [n for n, line in enumerate(lines, first) if line.rstrip().endswith(f"# {mode.upper()}")]
    with gc.autograd.set_detect_anomaly(True):
        for _ in range(3):
            run(gc.ones(2, 3))
    told = [(x.lineno, str(x.message)) for x in recwarn]
    assert told
    assert all(line == at and f"{HERE}:{at})\n  hint: call optimizer.zero_grad()" in text for line, text in told), told


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_that_are_cleared_or_meant_to_add_up_are_not_warned_of(mode, set_to_none, recwarn):
    model = nn.Linear(3, 1)
    opt = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        opt.zero_grad(set_to_none)
        for half in (x[:1], x[1:]):
            model(half).square().mean().backward()
        opt.step()

    run = gc.compile(step) if mode == "compiled" else step
    with gc.autograd.set_detect_anomaly(True):
        for _ in range(3):
            run(gc.ones(2, 3))
    assert not [str(x.message) for x in recwarn]


def test_there_are_many_of_them():
    assert len(FAULTS) >= 40
    assert len(CASES) >= 80
