"""`gc.print` and `gc.breakpoint`: at each run, in order, on every backend, without changing a result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from where import prints_no_device

import graphc as gc
from graphc import nn, optim
from graphc.errors import ArgumentError, ArgumentTypeError, GraphError

ROOT = Path(__file__).parent.parent.parent
BACKENDS = ["numpy", "llvm", pytest.param("opencl", marks=pytest.mark.opencl)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def loop(x):
    y = gc.print(x * 2, "doubled")

    def body(c, x):
        gc.print(c, "carry")
        return c + x, c * x

    c, ys = gc.scan(body, y[0], y)
    gc.print(c, "end")
    return c.sum() + ys.sum()


LOOP = """\
doubled: tensor([[2., 4.],
        [6., 8.]])
carry: tensor([2., 4.])
carry: tensor([4., 8.])
end: tensor([10., 16.])
"""


def matrix(**options):
    return gc.tensor([[1.0, 2.0], [3.0, 4.0]], **options)


def test_it_prints_in_order_at_each_run_and_changes_nothing(backend, capsys):
    x = matrix(requires_grad=True)
    want = loop(x)
    want.backward()
    assert capsys.readouterr().out == LOOP
    gradient, x.grad = x.grad, None
    run = gc.compile(loop, backend=backend)
    for _ in range(3):
        found = run(x)
        assert capsys.readouterr().out == LOOP
        found.backward()
        assert found.item() == want.item()
        np.testing.assert_array_equal(x.grad.numpy(), gradient.numpy())
        assert capsys.readouterr().out == ""
        x.grad = None


def test_without_a_label_the_line_is_told(backend, capsys):
    gc.compile(lambda x: gc.print(x) + 1, backend=backend)(gc.ones(2, dtype=gc.int64))
    line = test_without_a_label_the_line_is_told.__code__.co_firstlineno + 1
    assert capsys.readouterr().out == f"tests/debugging/test_showing.py:{line}: tensor([1, 1])\n"


def test_a_sessions_run_prints_what_it_computes(backend, capsys):
    graph = gc.Graph()
    with graph.as_default():
        p = gc.placeholder((None, 2), name="p")
        q = gc.placeholder((2,), name="q")
        gc.print(q * 3, "nobody reads it")
        out = loop(p)
        other = gc.print(q * 5, "q") + 1
    rows, ones = matrix().numpy(), np.ones(2, np.float32)
    with gc.Session(graph, backend=backend) as session:
        session.run(out, {"p": rows})
        assert capsys.readouterr().out == LOOP
        session.run(other, {"q": ones})
        assert capsys.readouterr().out == "q: tensor([5., 5.])\n"
        session.run([other, out], {"q": ones, "p": rows})
        assert capsys.readouterr().out == LOOP + "q: tensor([5., 5.])\n"


@pytest.mark.parametrize("kind", ["numpy", "llvm", "eager"])
def test_a_train_op_prints_what_its_loss_is_made_of(kind, capsys):
    model = nn.Linear(2, 1)
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 2), name="x")
        h = gc.print(model(x), "h")
        loss = gc.print(h.square().mean(), "loss")
        train = optim.SGD(model.parameters(), lr=0.1).minimize(loss)
        every = gc.updates()
    with gc.Session(graph, backend=kind) as session:
        feed = {"x": np.ones((1, 2), np.float32)}
        session.run(h, feed)
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["h"]
        before = session.run(loss, feed)
        capsys.readouterr()
        session.run(train, feed)
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["h", "loss"]
        assert session.run(loss, feed) < before
        session.run([train, every], feed)  # what orders the prints is no update of the user's


def test_gradients_print_too(backend, capsys):
    class Twice(gc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return gc.print(g * 2, "in backward")

    def hooked(x):
        gc.print(x, "forward")
        y = Twice.apply(x)
        y.register_hook(lambda g: gc.print(g, "hook"))
        return y.sum()

    want = "forward: tensor([1., 1.])\nhook: tensor([1., 1.])\nin backward: tensor([2., 2.])\n"
    for run in (hooked, gc.compile(hooked, backend=backend)):
        x = gc.ones(2, requires_grad=True)
        run(x).backward()
        assert capsys.readouterr().out == want
        assert x.grad.tolist() == [2, 2]


def test_branches_and_loops_of_unknown_length(backend, capsys):
    def f(x):
        def body(i, x):
            gc.print(i, "i")
            return i + 1, x * 2

        _, x = gc.while_loop(lambda i, x: i < 2, body, (gc.tensor(0), x))
        return gc.cond(x.sum() > 3, lambda x: gc.print(x + 1, "true"), lambda x: gc.print(x - 1, "false"), (x,))

    run = gc.compile(f, backend=backend)
    run(gc.ones(2))
    assert capsys.readouterr().out == "i: tensor(0)\ni: tensor(1)\ntrue: tensor([5., 5.])\n"
    run(-gc.ones(2))
    assert capsys.readouterr().out == "i: tensor(0)\ni: tensor(1)\nfalse: tensor([-5., -5.])\n"


def test_a_verified_run_prints_once(backend, capsys):
    gc.compile(loop, backend=backend, verify=True)(matrix())
    assert capsys.readouterr().out == LOOP


@prints_no_device
def test_a_training_step(backend, capsys):
    model = nn.Linear(2, 1)
    opt = optim.Adam(model.parameters())

    @gc.compile(backend=backend)
    def step(x):
        opt.zero_grad()
        loss = gc.print(model(x).square().mean(), "loss")
        loss.backward()
        gc.print(model.bias.grad, "gradient")
        opt.step()
        return loss

    for _ in range(3):
        loss = step(gc.ones(4, 2))
        out = capsys.readouterr().out
        assert out.startswith(f"loss: {loss.detach()!r}\ngradient: tensor([")


def test_each_element_of_a_vmap_prints(capsys):
    out = gc.func.vmap(lambda x: gc.print(x * 2, "x").sum())(matrix())
    assert capsys.readouterr().out == "x: tensor([2., 4.])\nx: tensor([6., 8.])\n"
    assert out.tolist() == [6, 14]


@pytest.mark.opencl
def test_tensors_on_a_device(capsys):
    x = matrix().to("opencl")
    assert gc.print(x, "x") is x
    gc.compile(lambda x: gc.print(x, "x") + 1)(x)
    assert capsys.readouterr().out == 2 * "x: tensor([[1., 2.],\n        [3., 4.]])\n"


def test_a_symbolic_tensor_says_what_it_is(capsys):
    def f(x):
        print(x + 1, repr(x))
        return x

    gc.compile(f)(gc.ones(2, 3))
    assert capsys.readouterr().out == "Tensor(f32[2, 3], symbolic) Tensor(f32[2, 3], symbolic)\n"


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ArgumentTypeError, match="print: expected a Tensor, got int"):
        gc.print(3)
    with pytest.raises(ArgumentTypeError, match="breakpoint: expected a Tensor, got list"):
        gc.breakpoint([gc.ones(1)])


# --- breakpoints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [lambda f: f, gc.compile])
def test_a_label_is_text_and_a_call_can_be_called(mode):
    x = gc.ones(2)
    with pytest.raises(
        ArgumentTypeError, match=r"print: the label is a str, got Tensor(?s:.*)one call for each tensor"
    ):
        mode(lambda x: gc.print(x, x))(x)
    with pytest.raises(ArgumentTypeError, match="breakpoint: `call` cannot be called, it is a int"):
        mode(lambda x: gc.breakpoint(x, call=3))(x)


def test_the_condition_of_a_recorded_loop_prints_nothing(backend):
    def loop(x):
        return gc.while_loop(lambda x: gc.print(x) < 10, lambda x: (x * 2,), (x,))

    with pytest.raises(
        ArgumentError, match=r"while_loop: the condition has a gc.print or gc.breakpoint, whose place is the"
    ):
        gc.compile(loop, backend=backend)(gc.ones(()))


def test_what_explain_runs_to_measure_shows_nothing(backend, capsys):
    seen = []

    def f(x):
        gc.breakpoint(x, call=seen.append)
        return gc.print(x * 2, "twice") + 1

    run = gc.compile(f, backend=backend)
    run(gc.ones(2))
    capsys.readouterr()
    text = str(gc.explain(run, gc.ones(2)))
    assert "show" in text
    assert capsys.readouterr().out == ""
    assert len(seen) == 1


def test_what_a_breakpoint_raises_keeps_its_arguments(backend):
    class Stop(Exception):
        pass

    def stop(error):
        raise error

    def f(x, error):
        gc.breakpoint(x, call=lambda x: stop(error))  # stops
        return x + 1

    number = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith("# stops"))
    for error in (KeyError("key"), Stop(3, "three"), Stop(), OSError(2, "no such thing")):
        args, text = error.args, str(error)
        with pytest.raises(type(error)) as raised:
            gc.compile(f, backend=backend)(gc.ones(2), error)
        assert (raised.value.args, str(raised.value)) == (args, text)
        assert raised.value.__notes__[0].endswith(f"test_showing.py:{number}")


def test_a_breakpoint_calls_at_each_run(backend):
    got = []

    def f(x):
        y = x * 3
        gc.breakpoint(y, x, call=lambda y, x: got.append((y.tolist(), x.tolist())))
        return y + 1

    run = gc.compile(f, backend=backend)
    f(gc.ones(1))
    assert run(gc.ones(1) * 2).tolist() == [7]
    run(gc.ones(1) * 4)
    assert got == [([3], [1]), ([6], [2]), ([12], [4])]


def test_what_a_breakpoint_raises_ends_the_run(backend):
    model = nn.Linear(1, 1)

    def stop(value):
        raise KeyError("enough")

    @gc.compile(backend=backend)
    def f(x):
        gc.breakpoint(x, call=stop)
        with gc.no_grad():
            model.bias.add_(1)
        return x + 1

    before = model.bias.item()
    with pytest.raises(KeyError, match="enough"):
        f(gc.ones(1))
    assert model.bias.item() == before


def test_a_graph_with_a_function_in_it_cannot_be_saved(tmp_path):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((2,), name="x")
        graph.outputs["y"] = gc.scan(
            lambda c, x: (gc.breakpoint(c, call=print), (c + x, c))[1], x, gc.ones(3, 2)
        )[0]  # fmt: skip
    with pytest.raises(GraphError, match=r"show at .* cannot be saved"):
        gc.save_graph(graph, tmp_path / "graph")


SCRIPT = """
import graphc as gc

def f(x):
    y = x * 3
    gc.breakpoint(y)
    return y + 1

{call}
print("done")
"""


@pytest.mark.parametrize(
    ("call", "commands", "shown"),
    [
        ("f(gc.ones(2))", "p y.tolist()\nc\n", "[3.0, 3.0]"),
        ("gc.compile(f)(gc.ones(2))", "p values[0].tolist()\nc\n", "[3.0, 3.0]"),
        ("gc.debug(f, gc.ones(2)).breakpoint_at(7).run()", "c\nc\np values.result.sum()\nc\n", "float32(8.0)"),
    ],
)  # fmt: skip
def test_the_debugger_has_the_values(call, commands, shown, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(call=call))
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    options = {"capture_output": True, "text": True, "timeout": 120, "env": env, "cwd": tmp_path}
    done = subprocess.run([sys.executable, str(path)], input=commands, check=False, **options)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert done.stdout.endswith("done\n")
    quiet = subprocess.run(
        [sys.executable, str(path)], input="", check=False, **{**options, "env": {**env, "PYTHONBREAKPOINT": "0"}}
    )
    assert quiet.returncode == 0 and "(Pdb)" not in quiet.stdout, quiet.stderr
