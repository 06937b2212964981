"""What users may rely on of compiled functions: gradients, when they are built, what they return."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from graphc.core.errors import GradientError, RecompileError, VerifyError
from graphc.utils.checkpoint import checkpoint

HERE = rf"{Path(__file__).name}:\d+"


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
    monkeypatch.setattr(build.built, "executable", lambda *_: lambda arrays: [np.zeros(2, np.float32)])
    with pytest.raises(VerifyError, match=rf"(?s)output 0 differs from the recorded program: 2 of 2 elements.*{HERE}"):
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


def test_traces_of_equal_values_with_other_gradients():
    def fn(a, b):
        return ((a.detach() * b, a * b.detach(), (a * b).detach())[random.randrange(3)] * 2).sum()

    compiled, found = gc.compile(fn), set()
    for seed in range(24):
        grads = []
        for f in (compiled, fn):
            a, b = gc.full((2,), 3.0, requires_grad=True), gc.full((2,), 5.0, requires_grad=True)
            random.seed(seed % 12)
            out = f(a, b)
            if out.requires_grad:
                out.backward()
            grads.append([None if t.grad is None else tuple(t.grad.tolist()) for t in (a, b)])
        assert grads[0] == grads[1]
        found.add(tuple(grads[0]))
    assert len(found) == 3 and len(compiled.recompiles) == 3


# --- histories that bodies cut ----------------------------------------------------------------------------------------


def untaped(a):
    with gc.no_grad():
        return a * 2


def own_leaf(a):
    t = a.detach().requires_grad_()
    return gc.autograd.grad((t**2).sum(), t)[0]


def written_untaped(a):
    b = a * 1
    b.detach().mul_(3)
    return b * b


def branch(f):
    return lambda x: gc.cond(x.sum() > 0, f, lambda a: a * 1, (x,))


CUTS = {
    "detach": branch(lambda a: a.detach() * a),
    "no_grad": branch(lambda a: untaped(a) * a),
    "the same value taped": branch(lambda a: (a * 2) * untaped(a)),
    "a leaf of its own": branch(lambda a: own_leaf(a) * a),
    "a write without the tape": branch(written_untaped),
    "a gradient": branch(lambda a: gc.autograd.grad((a**3).sum(), a)[0] * a),
    "a gradient on the tape": branch(lambda a: gc.autograd.grad((a**3).sum(), a, create_graph=True)[0] * a),
    "recomputed": lambda x: checkpoint(lambda a: a.detach() * a, x),
    "rows": lambda x: gc.scan(lambda c, r: (c, r.detach() * r), gc.zeros(()), x)[1],
    "a carry": lambda x: gc.scan(lambda c, r: (c.detach() * r + c, c * r), gc.ones(()), x)[0],
    "a loop": lambda x: gc.while_loop(lambda a: a.sum() < 500, lambda a: a.detach() * a, x),
    "a branch in a loop": lambda x: gc.scan(
        lambda c, r: (c + gc.cond(r > 4, lambda u: u.detach() * u, lambda u: u * 1, (r,)), c * 1), gc.zeros(()), x
    )[0],
    "a batch": lambda x: gc.func.vmap(lambda a: a.detach() * untaped(a) * a)(x),
}


@pytest.mark.parametrize("name", CUTS)
def test_gradients_end_where_a_body_cuts_the_history(name):
    found = []
    for fn in (CUTS[name], gc.compile(CUTS[name])):
        x = gc.tensor([3.0, 5.0], requires_grad=True)
        y = fn(x)
        y.sum().backward()
        found.append((y.tolist(), x.grad.tolist()))
    assert found[0] == found[1]


def test_a_batch_cuts_histories_as_its_elements_do():
    x = gc.tensor([3.0, 5.0], requires_grad=True)
    gc.func.vmap(lambda a: a.detach() * a)(x).sum().backward()
    assert x.grad.tolist() == [3, 5]
