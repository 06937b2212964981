"""`verify=True`: a wrong pass and a wrong kernel are named with op and line, and nothing has changed by then."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gc
from graphc import executable, nn, optim
from graphc.backends.llvm import kernels, scalars
from graphc.core.errors import VerifyError
from graphc.passes.pipelines import DEFAULT, NATIVE
from graphc.passes.rewrite import Rules, rewrite
from graphc.planning import regions
from graphc.primitives import elementwise
from tests.fuzz.backends import on
from tests.fuzz.generator import generate_and_run
from tests.fuzz.runner import check

BACKENDS = ["numpy", "llvm"]
HERE = re.escape("tests/test_verifying.py")


def line_of(text):
    """`file:LINE` of the line of this file that ends with a comment."""
    with open(__file__, encoding="utf-8") as file:
        return f"{HERE}:{next(n for n, line in enumerate(file, 1) if line.rstrip().endswith('# ' + text))}\\b"


def tanh_to_sin(node, build):
    """tanh(x) => sin(x), which is wrong"""
    return build(elementwise.sin, node.inputs[0])


def wrong_pass(program):
    """Takes tanh for sin."""
    return rewrite(program, Rules({elementwise.tanh: (tanh_to_sin,)}), "wrong_pass")


def chain(x, w):
    h = x @ w + 1
    h = h.exp() * 0.1
    h = h.tanh()  # the tanh
    return (h * h).sum(0) + 3  # the result


def inputs():
    rng = np.random.default_rng(0)
    return gc.tensor(rng.normal(size=(5, 4)).astype(np.float32)), gc.tensor(rng.normal(size=(4, 6)).astype(np.float32))


@pytest.fixture
def wrong_kernels(monkeypatch):
    """Both backends compute another tanh: numpy sin(x) into a given array, llvm x itself."""
    right = scalars._Printer.function

    def function(self, x, operands, dtype):
        return operands[0] if x.op == "tanh" else right(self, x, operands, dtype)

    monkeypatch.setattr(scalars._Printer, "function", function)
    monkeypatch.setattr(elementwise.tanh, "inplace", lambda out, x: np.sin(x, out=out))
    kernels._printed.cache_clear()  # right kernels of other tests, and afterwards the wrong ones
    yield
    kernels._printed.cache_clear()


# --- what agrees ------------------------------------------------------------------------------------------------------


def training(backend, dtype=gc.float32, **options):
    gc.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)).to(dtype)
    optimizer = optim.Adam(model.parameters(), lr=0.05)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, gc.compile(step, backend=backend, **options)


def batch(dtype=gc.float32):
    rng = np.random.default_rng(1)
    return gc.tensor(rng.normal(size=(6, 4))).to(dtype), gc.tensor(rng.integers(0, 3, 6))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [gc.float32, gc.bfloat16])
def test_a_right_training_step_passes_and_is_carried_out(backend, dtype):
    """Updates in place, random numbers: both runs read the same, and the result is that of a run that is not verified."""
    (verified, step), (plain, other) = training(backend, dtype, verify=True), training(backend, dtype)
    for _ in range(3):
        gc.manual_seed(7)
        one = step(*batch(dtype))
        gc.manual_seed(7)
        assert one.item() == other(*batch(dtype)).item()
    for p, q in zip(verified.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().float().numpy(), q.detach().float().numpy())


@pytest.mark.parametrize("backend", BACKENDS)
def test_rounding_is_not_a_fault(backend):
    """Differences of nearly equal numbers, long sums, gradients that are zero but for rounding."""

    def f(x):
        centred = x - x.mean(0)
        y = (centred / (x.var(0, unbiased=False) + 1e-5).sqrt()).exp()
        return centred.sum(0), y.sum() - y.reshape(-1, 2).sum(0).sum(), y.softmax(0).log_softmax(0)

    x = gc.tensor(np.random.default_rng(0).normal(1000, 1, size=(300, 4)).astype(np.float32), requires_grad=True)
    outputs = gc.compile(f, backend=backend, verify=True)(x)
    sum(out.sum() for out in outputs).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_nan(backend):
    x = gc.tensor([np.nan, 1.0, -np.inf, np.inf])
    got = gc.compile(lambda x: (x * 2, (x - x).tanh()), backend=backend, verify=True)(x)
    np.testing.assert_array_equal(got[0].numpy(), x.numpy() * 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_programs_pass(backend):
    for seed in range(40):
        program, outcomes = generate_and_run(seed)
        with on(backend, seed):
            failure = check(program, ("verified" if seed % 4 else "session, verified",), outcomes, feeds=(0, 1))
        assert failure is None, f"{failure}\n{program}"


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_pass_is_named_with_its_op(backend, monkeypatch):
    monkeypatch.setattr(executable, "DEFAULT", (*DEFAULT, wrong_pass, *DEFAULT))
    with pytest.raises(VerifyError) as failed:
        gc.compile(chain, backend=backend, verify=True, dynamic=True)(*inputs())
    text = str(failed.value)
    assert re.search(
        rf"chain on {backend}: output 0 differs from the recorded program: \d of 6 elements, the worst", text
    )
    assert re.search(rf"output 0: add: f32\[w_1\]  made at {line_of('the result')}", text)
    assert re.search(rf"first wrong pass: wrong_pass, number {len(DEFAULT) + 1} of", text)
    assert re.search(rf"first wrong op: tanh: f32\[x_0, w_1\]  made at {line_of('the tanh')}", text)


def test_a_wrong_native_pass_is_named(monkeypatch):
    monkeypatch.setattr(executable, "NATIVE", (*NATIVE, wrong_pass))
    with pytest.raises(
        VerifyError, match=rf"(?s)pass: wrong_pass.*op: tanh: f32\[5, 6\]  made at {line_of('the tanh')}"
    ):
        gc.compile(chain, backend="llvm", verify=True)(*inputs())


def test_a_pass_that_fails_on_parts_is_told(monkeypatch):
    def fails_on_parts(program):
        if program.outputs[0].node.op is not elementwise.add:
            raise ValueError("a part")
        return wrong_pass(program)

    monkeypatch.setattr(executable, "DEFAULT", (fails_on_parts,))
    with pytest.raises(VerifyError, match=r"(?s)output 0 differs .*\n  the search for its cause failed: a part"):
        gc.compile(chain, verify=True)(*inputs())


def test_the_module_is_named(wrong_kernels):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with pytest.raises(VerifyError, match=r"first wrong op: tanh: f32\[2, 3\]  made at \S+:\d+ Sequential\.1\n"):
        gc.compile(model, backend="llvm", verify=True)(gc.ones(2, 4))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_kernel_is_named_with_its_op(backend, wrong_kernels):
    with pytest.raises(VerifyError) as failed:
        gc.compile(chain, backend=backend, verify=True)(*inputs())
    text = str(failed.value)
    assert f"all passes agree; {backend} computes something else" in text
    assert re.search(rf"first wrong op: tanh: f32\[5, 6\]  made at {line_of('the tanh')}", text)
    if backend == "llvm":
        assert re.search(r"(?s)first wrong step: kernel .*\n    tanh: f32\[5, 6\].*its kernel:\n    for .*tanh", text)


def test_a_wrong_op_in_a_loop_is_named(wrong_kernels):
    def f(x):
        return gc.scan(lambda h, x: ((h + x).tanh(), h * 2), x[0], x)[0]  # in a loop

    with pytest.raises(VerifyError) as failed:
        gc.compile(f, backend="llvm", verify=True)(gc.tensor([[0.0, 0.0], [0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]))
    assert re.search(rf", in body of scan: f32\[2\]  made at {line_of('in a loop')}", str(failed.value))
    assert re.search(rf"first wrong op: tanh: f32\[2\]  made at {line_of('in a loop')}", str(failed.value))


def test_memory_that_values_share_is_told_from_wrong_steps(monkeypatch):
    """Every step is right, but one value lies where another does."""
    allocate = regions.allocate

    def overlapping(buffers, steps):
        size = allocate(buffers, steps)
        for buffer in buffers:
            buffer.offset = 0
        return size

    monkeypatch.setattr(regions, "allocate", overlapping)
    x = gc.ones(8, 8) * 0.5
    with pytest.raises(VerifyError, match="one by one, all steps agree: only the whole run does not"):
        gc.compile(lambda x: (x @ x) @ (x.T @ x + 1) + 1, backend="llvm", verify=True)(x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_is_verified_too(backend, wrong_kernels):
    """The program of the gradient holds a tanh that the forward program does not."""

    def f(x):
        return (x * x).sum()

    class Twist(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.5

        @staticmethod
        def backward(ctx, g):
            return (g * 0.3).tanh()  # backward

    x = gc.ones(3, requires_grad=True)
    loss = gc.compile(lambda x: f(Twist.apply(x)), backend=backend, verify=True)(x)
    with pytest.raises(VerifyError, match=rf"first wrong op: tanh: f32\[3\]  made at {line_of('backward')}"):
        loss.backward()
    assert x.grad is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_has_changed_when_a_step_is_refused(backend, wrong_kernels):
    model, step = training(backend, verify=True)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    state = gc.get_rng_state().numpy().copy()
    with pytest.raises(VerifyError, match=r"first wrong op: tanh: f32\[6, 8\]"):
        step(*batch())
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)
        assert p.grad is None
    np.testing.assert_array_equal(gc.get_rng_state().numpy(), state)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_session_names_it_and_changes_nothing(backend, wrong_kernels):
    graph = gc.Graph()
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        loss = model(x).square().mean()
        train = optim.SGD(model.parameters(), lr=0.1).minimize(loss)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    session = gc.Session(graph, backend=backend, verify=True)
    with pytest.raises(VerifyError, match=rf"(?s)on {backend}: output .*first wrong op: tanh: f32\[2, 3\]  made at"):
        session.run([loss, train], {"x": np.ones((2, 4), np.float32)})
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_right_session_passes(backend):
    graph = gc.Graph()
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.5))
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        loss = model(x).square().mean()
        train = optim.SGD(model.parameters(), lr=0.1).minimize(loss)
    with gc.Session(graph, backend=backend, verify=True) as session:
        found = [session.run([loss, train], {"x": np.ones((n, 4), np.float32)})[0] for n in (2, 5, 2)]
    assert found[2] != found[0]
