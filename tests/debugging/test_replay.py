"""`gc.debug`: a run again, node by node, with values and lines; where the compiled run differs, the pass or kernel is named."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gc
from graphc import executable, nn, optim
from graphc.backends.c_like import scalars as c_scalars
from graphc.backends.llvm import kernels, scalars
from graphc.errors import ArgumentError, ArgumentTypeError, IndexRangeError
from graphc.passes.pipelines import DEFAULT, NATIVE
from graphc.passes.rewrite import Rules, rewrite
from graphc.primitives import arithmetic, elementwise

HERE = "tests/debugging/test_replay.py"


def line_of(text):
    """`file:LINE` of the line of this file that ends with a comment."""
    with open(__file__, encoding="utf-8") as file:
        return f"{HERE}:{next(n for n, line in enumerate(file, 1) if line.rstrip().endswith('# ' + text))}"


def chain(x, w):
    h = x @ w  # the product
    h = (h + 1).tanh()  # the tanh
    return (h * h).sum(0) - 3  # the result


def operands():
    rng = np.random.default_rng(0)
    return [gc.tensor(rng.normal(size=size).astype(np.float32)) for size in ((5, 4), (4, 6))]


# --- steps ----------------------------------------------------------------------------------------------------------------


def test_steps_have_node_line_module_operands_and_result():
    x, w = operands()
    replay = gc.debug(gc.compile(chain), x, w)
    steps = [step for step in replay if step.node.inputs]
    assert [step.op for step in steps] == ["matmul", "add", "tanh", "multiply", "reduce_sum", "subtract"]
    product = steps[0]
    assert product.line == line_of("the product")
    assert product.text == "h = x @ w  # the product"
    assert (product.module, product.role, product.inside) == ("", "forward", ())
    np.testing.assert_array_equal(product.operands[0], x.numpy())
    np.testing.assert_allclose(product.result, x.numpy() @ w.numpy(), rtol=1e-5)
    assert replay.difference is None
    text = str(replay)
    assert text.startswith("replay of compiled chain on llvm: ")
    assert "\nthe compiled run agrees with it\n" in text
    assert re.search(
        r"f32\[5, 6\] in \[\S+, \S+\] = tanh\(f32\[5, 6\] in \[\S+, \S+\]\)  at " + line_of("the tanh"), text
    )


def test_a_training_step_is_replayed_and_nothing_changes():
    gc.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    opt = optim.Adam(model.parameters())

    @gc.compile
    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    x, y = gc.randn(5, 3), gc.tensor([0, 1, 0, 1, 1])
    step(x, y)
    before = [t.detach().numpy().copy() for t in (*model.parameters(), gc.get_rng_state())]
    replay = gc.debug(step, x, y)
    steps = list(replay)
    assert replay.difference is None
    assert {s.role for s in steps} == {"forward", "backward", "update"}
    assert {s.module for s in steps} >= {"Sequential.0", "Sequential.1", "Sequential.2"}
    assert any(s.module == "Sequential.0" and s.role == "backward" and s.op == "matmul" for s in steps)
    for old, new in zip(before, (*model.parameters(), gc.get_rng_state()), strict=True):
        np.testing.assert_array_equal(old, new.detach().numpy())
    (forward,) = (s for s in steps if s.op == "matmul" and s.module == "Sequential.0" and s.role == "forward")
    np.testing.assert_array_equal(forward.operands[0], x.numpy())


@pytest.mark.parametrize("backend", ["numpy", "llvm", "eager"])
def test_sessions_and_graphs(backend):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        w = gc.placeholder((4, 6), name="w")
        out = chain(x, w)
    x, w = (t.numpy() for t in operands())
    with gc.Session(graph, backend=backend) as session:
        want = session.run(out, {"x": x, "w": w})
        for subject in (session, graph):
            replay = gc.debug(subject, out, {"x": x, "w": w})
            last = list(replay)[-1]
            assert (last.op, last.line) == ("subtract", line_of("the result"))
            np.testing.assert_allclose(last.result, want, rtol=1e-5)
            assert replay.difference is None
    kind = "eager" if backend == "eager" else backend
    assert str(gc.debug(gc.Session(graph, backend=backend), out, {"x": x, "w": w})).startswith(
        f"replay of a run of graph graph on {kind}: "
    )


def test_bodies_of_loops_are_stepped_through_with_their_own_lines():
    def f(x):
        def body(c, x):
            d = c + x  # in the body
            return d * 2, c

        return gc.scan(body, x[0], x)[0].sum()

    x = gc.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    steps = gc.debug(f, x).at(line_of("in the body"))
    assert [s.result.tolist() for s in steps] == [[2], [6], [15]]
    assert [s.inside for s in steps] == [(f"body {turn} of scan",) for turn in range(3)]

    def whole(x):
        x.grad = None
        f(x).backward()
        return x.grad

    roles = {(s.role, s.op) for s in gc.debug(whole, x) if s.inside and "scan" in s.inside[0]}
    assert ("forward", "add") in roles and any(role == "backward" for role, _ in roles)


def test_sizes_that_were_left_open_are_those_of_the_call():
    f = gc.compile(chain, dynamic=True)
    x, w = operands()
    assert [s.result.shape for s in gc.debug(f, x[:2], w) if s.op == "tanh"] == [(2, 6)]


def test_the_first_nan_is_named():
    def f(x):
        h = x - 1
        h = h.log()  # the log
        return h.exp() / h

    replay = gc.debug(f, gc.tensor([0.5, 3.0]))
    assert replay.first_bad is not None
    assert (replay.first_bad.op, replay.first_bad.line) == ("log", line_of("the log"))
    assert "first not finite: f32[2] all 0.6931, 1 not finite = log(f32[2] in [-0.5, 2])" in str(replay)


def test_an_error_names_the_line_of_its_node():
    def f(x, i):
        return x[i] * 2  # the index

    with pytest.raises(IndexRangeError, match=f"index 9 is out of bounds(?s:.*)at {line_of('the index')}"):
        list(gc.debug(f, gc.ones(3), gc.tensor([1, 9])))


def test_a_run_that_ends_with_an_error_is_told_up_to_it():
    def f(x, i):
        return gc.log(x)[i] * 2  # before the error

    replay = gc.debug(f, gc.tensor([-1.0, 1.0]), gc.tensor([1, 9]))
    text = str(replay)
    assert re.search(r"it ends with IndexRangeError: index: index 9 is out of bounds", text)
    assert "agrees" not in text
    assert text.splitlines()[-1].startswith("  0: f32[2]")
    assert replay.first_bad.op == "log"
    assert [step.op for step in replay.at(line_of("before the error"))] == ["log"]


def test_what_cannot_be_replayed():
    with pytest.raises(ArgumentTypeError, match="cannot replay int"):
        gc.debug(3)


# --- breakpoints ----------------------------------------------------------------------------------------------------------


def test_breakpoints_at_lines_get_the_steps():
    x, w = operands()
    got = []
    replay = gc.debug(chain, x, w).breakpoint_at(line_of("the tanh"), lambda step: got.append(step.op))
    assert replay.run() is replay
    assert got == ["full", "add", "tanh"]
    line = int(line_of("the result").rpartition(":")[2])
    list(replay.breakpoint_at(line, lambda step: got.append(step.op)))
    assert got[3:] == ["full", "add", "tanh", "multiply", "reduce_sum", "full", "subtract"]


def test_a_file_is_named_by_whole_parts_of_its_path():
    replay = gc.debug(chain, *operands())
    line = line_of("the tanh").rpartition(":")[2]
    for file in (HERE, "test_replay.py", "debugging/test_replay.py", __file__):
        assert [step.op for step in replay.at(f"{file}:{line}")] == ["full", "add", "tanh"]
    for file in ("replay.py", "ging/test_replay.py"):
        with pytest.raises(ArgumentError, match=f"no node was made at {file}:{line}"):
            replay.at(f"{file}:{line}")


def test_a_line_without_nodes_is_refused():
    replay = gc.debug(chain, *operands())
    with pytest.raises(ArgumentError, match=rf"no node was made at 1\n  need one of .*{line_of('the tanh')}"):
        replay.breakpoint_at(1)
    with pytest.raises(ArgumentError, match="no line: 'here'"):
        replay.breakpoint_at("here")


def test_prints_are_printed_as_the_replay_goes(capsys):
    replay = gc.debug(lambda x: gc.print(x * 2, "x") + 1, gc.ones(1))
    assert str(replay) and capsys.readouterr().out == ""
    replay.run()
    assert capsys.readouterr().out == "x: tensor([2.])\n"


# --- passes and printers broken on purpose --------------------------------------------------------------------------------


def alters(node, build):
    """tanh(x) => sin(x), which is wrong"""
    return build(elementwise.sin, node.inputs[0])


def drops(node, build):
    """x + y => x, which is wrong"""
    return node.inputs[0]


def adds(node, build):
    """x - y => x + y, which is wrong"""
    return build(arithmetic.add, *node.inputs)


BROKEN = {
    "alters": (alters, elementwise.tanh, "tanh: f32[5, 6]", "the tanh"),
    "drops": (drops, arithmetic.add, "add: f32[5, 6]", "the tanh"),
    "adds": (adds, arithmetic.subtract, "subtract: f32[6]", "the result"),
}


#: numpy runs what the default pipeline gives
PIPELINES = [
    *(("numpy", "DEFAULT"), ("llvm", "DEFAULT"), ("llvm", "NATIVE")),
    pytest.param("opencl", "NATIVE", marks=pytest.mark.opencl),
]


@pytest.mark.parametrize(("backend", "pipeline"), PIPELINES)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pass_is_named_with_the_first_node(backend, name, pipeline, monkeypatch):
    rule, op, shown, text = BROKEN[name]

    def broken(program):
        return rewrite(program, Rules({op: (rule,)}), "broken")

    monkeypatch.setattr(executable, pipeline, (*{"DEFAULT": DEFAULT, "NATIVE": NATIVE}[pipeline], broken))
    replay = gc.debug(gc.compile(chain, backend=backend), *operands())
    found = replay.difference
    assert found is not None and "first wrong pass: broken, number " in found, found
    assert f"first wrong op: {shown}  made at {line_of(text)}" in found
    assert found in str(replay)
    with pytest.raises(gc.errors.VerifyError, match="first wrong pass: broken"):
        gc.compile(chain, backend=backend, verify=True)(*operands())


def in_llvm(monkeypatch):
    right = scalars._Printer.function

    def function(self, x, operands, dtype):
        return operands[0] if x.op == "tanh" else right(self, x, operands, dtype)

    monkeypatch.setattr(scalars._Printer, "function", function)


def in_c(monkeypatch):
    """The printer of the null backend, of OpenCL and of CUDA."""
    right = c_scalars._Printer.primitive

    def primitive(self, x, operands, dtype):
        return operands[0] if x.op == "tanh" else right(self, x, operands, dtype)

    monkeypatch.setattr(c_scalars._Printer, "primitive", primitive)


PRINTERS = [("llvm", in_llvm), pytest.param("opencl", in_c, marks=pytest.mark.opencl)]


@pytest.mark.parametrize(("backend", "break_it"), PRINTERS)
def test_a_broken_printer_is_found_by_the_kernel(backend, break_it, monkeypatch):
    break_it(monkeypatch)
    kernels._printed.cache_clear()
    try:
        found = gc.debug(gc.compile(chain, backend=backend), *operands()).difference
    finally:
        kernels._printed.cache_clear()
    assert found is not None
    assert f"all passes agree; {backend} computes something else" in found
    assert f"first wrong op: tanh: f32[5, 6]  made at {line_of('the tanh')}" in found
    assert re.search(r"(?s)first wrong step: kernel .*\n    tanh: f32\[5, 6\].*its kernel:\n    for .*tanh", found)


def test_a_backend_that_runs_nothing_says_so():
    with pytest.raises(gc.errors.BackendError, match="the backend 'null' writes kernels and runs none"):
        gc.debug(gc.compile(chain, backend="null"), *operands()).difference
