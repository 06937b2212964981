"""The tape against PyTorch: backward, hooks, grad modes, autograd.grad, Function, gradients of gradients."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from derivative_cases import CASES, derivatives
from side_by_side import agree, compare, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

X = np.array([1.5, -2.0, 0.5])


def both(code: Any, *arrays: Any) -> None:
    """`code(module, *leaves)` gives the same in both libraries: tensors, plain values, or lists of them."""
    found = []
    for m in (gc, torch):
        leaves = [m.tensor(a.tolist(), dtype=m.float64, requires_grad=True) for a in arrays]
        found.append(code(m, *leaves))
    compare(found[0], found[1], n=8)


def leaf(m: Any, values: Any = (1.0, 2.0)) -> Any:
    return m.tensor(list(values), dtype=m.float64, requires_grad=True)


# --- backward -----------------------------------------------------------------------------------------------------------


def accumulates(m: Any, x: Any) -> Any:
    for _ in range(3):
        (x * x).sum().backward()
    return x.grad


def with_gradient(m: Any, x: Any) -> Any:
    (x * x).backward(gradient=m.arange(3.0).double())
    (x * 2).backward(m.ones(3).double())
    return x.grad


def retained(m: Any, x: Any) -> Any:
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


def created(m: Any, x: Any) -> Any:
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    (second,) = m.autograd.grad(first.sum(), x)
    return [first.detach(), first.requires_grad, second]


def only_inputs(m: Any, x: Any, y: Any) -> Any:
    z = x * y
    (z * z).sum().backward(inputs=[x])
    return [x.grad, y.grad is None, z.is_leaf]


def of_several(m: Any, x: Any, y: Any) -> Any:
    m.autograd.backward([(x * y).sum(), (x * 2)], [None, m.ones(3).double()])
    return [x.grad, y.grad]


def kept(m: Any, x: Any) -> Any:
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    (y * y).sum().backward()
    return [y.grad, y.retains_grad, x.retains_grad, y.is_leaf, y.output_nr]


def reset(m: Any, x: Any) -> Any:
    x.sum().backward()
    first = x.grad
    first.zero_()
    (x * 3).sum().backward()
    same = x.grad is first
    x.grad = None
    (x * 5).sum().backward()
    return [x.grad, same, x.grad is first]


def through_views(m: Any, x: Any) -> Any:
    y = x * 1
    y[1:].mul_(3)
    y.view(3, 1)[0] = 7.0
    (y * y).sum().backward()
    return x.grad


def overwritten(m: Any, x: Any) -> Any:
    found = []
    for write in (
        lambda y: y.fill_(2.0),
        lambda y: y.zero_(),
        lambda y: y.copy_(m.ones(3)),
        lambda y: y.__setitem__(..., 4.0),
    ):
        y = x * 2
        write(y)
        found += [y.requires_grad, y.is_leaf]
        x.grad = None
        (y * x).sum().backward(retain_graph=True)
        found.append(x.grad)
        x.grad = None
        (x * 2 + y).sum().backward()
        found.append(x.grad)
    return found


def copied_into(m: Any, x: Any, y: Any) -> Any:
    z = m.zeros(2, 3).double()
    z[0] = x
    z[1].copy_(y)
    (z * z).sum().backward()
    return [x.grad, y.grad, z.requires_grad]


def variable(m: Any, x: Any) -> Any:
    return [m.autograd.Variable(x).requires_grad, m.autograd.Variable(m.ones(2), requires_grad=True).requires_grad]


def anomalies(m: Any, x: Any) -> Any:
    with m.autograd.detect_anomaly(), m.autograd.set_detect_anomaly(True):
        (x * 2).sum().backward()
    return x.grad


BACKWARDS = {
    f.__name__: f
    for f in (accumulates, with_gradient, retained, created, kept, reset, through_views, variable, anomalies)
}
PAIRS = {f.__name__: f for f in (only_inputs, of_several, copied_into)}


@pytest.mark.parametrize("name", BACKWARDS)
def test_backward(name: str) -> None:
    both(BACKWARDS[name], X)


@pytest.mark.parametrize("name", PAIRS)
def test_backward_of_two(name: str) -> None:
    both(PAIRS[name], X, X + 1)


WRITABLE: dict[str, Any] = {
    "a quotient": lambda m, x: x / x.flip(0),
    "normalized": lambda m, x: m.nn.functional.normalize(x, dim=0),
    "a similarity": lambda m, x: m.nn.functional.cosine_similarity(x.outer(x), x.outer(x.flip(0))),
    "a product": lambda m, x: x * x.flip(0),
    "a power": lambda m, x: x**3,
    "softsign": lambda m, x: m.nn.functional.softsign(x),
    "a loss": lambda m, x: m.nn.functional.mse_loss(x, x * x, reduction="none"),
}


@pytest.mark.parametrize("name", WRITABLE)
def test_results_that_no_gradient_reads_may_be_written(name: str) -> None:
    def code(m: Any, x: Any) -> Any:
        y = WRITABLE[name](m, x * 1)
        y.mul_(2)
        y.sum().backward()
        return x.grad

    both(code, X)


def test_what_is_overwritten_keeps_a_gradient_of_zero() -> None:
    both(overwritten, X)


def test_backward_is_a_method_of_tensors() -> None:
    both(lambda m, x: [x.sum().backward(), x.grad, x.grad_fn is None, (x * 2).grad_fn is None], X)


REFUSED: dict[str, Any] = {
    "no scalar": lambda m: (leaf(m) * 2).backward(),
    "no tape": lambda m: m.ones(1).backward(),
    "twice": lambda m: [y.backward() for y in [leaf(m).exp().sum()] * 2],
    "shape": lambda m: (leaf(m) * 2).backward(m.ones(3).double()),
    "changed": lambda m: changed(m),
    "leaf write": lambda m: leaf(m).add_(1),
    "view of a leaf": lambda m: leaf(m)[0].add_(1),
    "integers": lambda m: m.tensor([1], requires_grad=True),
    "grad of nothing": lambda m: m.autograd.grad(leaf(m).sum(), m.ones(2)),
    "unused": lambda m: m.autograd.grad(leaf(m).sum(), leaf(m)),
    "contradiction": lambda m: m.autograd.grad(leaf(m).sum(), leaf(m), allow_unused=False, materialize_grads=True),
    "count": lambda m: m.autograd.grad([leaf(m).sum()], [leaf(m)], [None, None]),
    "gradcheck input": lambda m: m.autograd.gradcheck(m.exp, (m.ones(2).double(),)),
    "inference": lambda m: inference_write(m),
    "empty inputs": lambda m: leaf(m).sum().backward(inputs=[]),
    "hook on data": lambda m: m.ones(2).register_hook(print),
    "retain on data": lambda m: m.ones(2).retain_grad(),
    "decorated without a function": lambda m: m.set_grad_enabled(),
    "abstract": lambda m: m.autograd.Function.apply(leaf(m)),
    "saved text": lambda m: saving_text(m),
    "wrong count": lambda m: wrong_count(m),
    "wrong shape": lambda m: wrong_shape(m),
    "freed": lambda m: freed(m),
    "no second": lambda m: no_second(m),
}


def changed(m: Any) -> None:
    x = leaf(m)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


def inference_write(m: Any) -> None:
    with m.inference_mode():
        y = leaf(m) * 2
    y.sum().backward()


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    refuse(torch, REFUSED[name])


# --- hooks --------------------------------------------------------------------------------------------------------------


def test_hooks() -> None:
    def code(m: Any, x: Any) -> Any:
        seen = []
        y = x * 2
        first = y.register_hook(lambda g: seen.append(("y", g.tolist())))
        y.register_hook(lambda g: g * 10)
        removed = y.register_hook(lambda g: g * 100)
        removed.remove()
        removed.remove()
        x.register_hook(lambda g: seen.append(("x", g.tolist())) or g + 1)
        (y * y).sum().backward(retain_graph=True)
        first.remove()
        (m.autograd.grad((y * y).sum(), x)[0]).tolist()
        return [x.grad, str(seen)]

    both(code, X)


# --- grad -------------------------------------------------------------------------------------------------------------------


GRADS: dict[str, Any] = {
    "plain": lambda m, x, y: m.autograd.grad((x * y).sum(), (x, y)),
    "one": lambda m, x, y: m.autograd.grad((x * x).sum(), x),
    "cotangents": lambda m, x, y: m.autograd.grad([x * y, x + y], [x, y], [y.detach(), m.ones(3).double()]),
    "unused": lambda m, x, y: [g is None for g in m.autograd.grad(x.sum(), [x, y], allow_unused=True)],
    "zeros": lambda m, x, y: m.autograd.grad(x.sum(), [x, y], materialize_grads=True),
    "kept": lambda m, x, y: (lambda z: m.autograd.grad(z, x, retain_graph=True) + m.autograd.grad(z, y))(
        (x * y).exp().sum()
    ),
    "second": lambda m, x, y: m.autograd.grad(m.autograd.grad((x**3 * y).sum(), x, create_graph=True)[0].sum(), [x, y]),
    "third": lambda m, x, y: m.autograd.grad(
        m.autograd.grad(m.autograd.grad((x**4).sum(), x, create_graph=True)[0].sum(), x, create_graph=True)[0].sum(), x
    ),
    "intermediate": lambda m, x, y: (lambda z: m.autograd.grad((z * z).sum(), [z, x]))(x * y),
    "untouched": lambda m, x, y: [m.autograd.grad((x * y).sum(), x)[0], x.grad is None],
    "itself": lambda m, x, y: m.autograd.grad(x, x, m.ones(3).double()),
    "twice the same": lambda m, x, y: m.autograd.grad((x * y).sum(), [x, x]),
    "requires_grad": lambda m, x, y: [
        m.autograd.grad((x * x).sum(), x, create_graph=c)[0].requires_grad for c in (False, True)
    ],
    "only_inputs": lambda m, x, y: m.autograd.grad((x * y).sum(), x, only_inputs=True, is_grads_batched=False),
}


@pytest.mark.parametrize("name", GRADS)
def test_grad(name: str) -> None:
    both(lambda m, x, y: list(GRADS[name](m, x, y)), X, X + 3)


def test_gradchecks() -> None:
    for m in (gc, torch):
        x = leaf(m)
        assert m.autograd.gradcheck(lambda x: (x * x.exp()).sin(), (x,))
        assert m.autograd.gradgradcheck(lambda x: x**3, (x,))
        assert not m.autograd.gradcheck(wrong(m).apply, (x,), raise_exception=False)
        assert m.autograd.gradcheck(lambda x, k: x * k, (x, 3.0), eps=1e-6, atol=1e-4)
        with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"):
            m.autograd.gradcheck(wrong(m).apply, (x,))
        with pytest.raises(RuntimeError, match="Jacobian mismatch"):
            m.autograd.gradgradcheck(lambda x: wrong(m).apply(x) * x, (x,))  # noqa: B023


# --- modes ------------------------------------------------------------------------------------------------------------------


def modes(m: Any) -> list[Any]:
    x, seen = leaf(m), []

    def note() -> Any:
        seen.append((m.is_grad_enabled(), (x * 2).requires_grad, m.is_inference_mode_enabled()))
        return seen[-1]

    for make in (m.no_grad, m.enable_grad, m.inference_mode):
        with make():
            note()
            with m.enable_grad(), m.set_grad_enabled(False):
                note()
            note()
        note()
        make()(note)()
    m.no_grad(note)()
    for on in (True, False):
        with m.set_grad_enabled(on):
            note()
        m.set_grad_enabled(on)(note)()
        with m.inference_mode(on):
            note()
    m.set_grad_enabled(False)
    note()
    m.set_grad_enabled(True)
    note()
    return seen


def test_modes() -> None:
    mine, its = modes(gc), modes(torch)
    assert mine == its
    assert gc.autograd.no_grad is gc.no_grad
    for m in (gc, torch):
        for name in ("enable_grad", "inference_mode", "no_grad"):
            with getattr(m.autograd, name)():
                pass
        with m.autograd.set_grad_enabled(True):
            pass


def test_modes_of_generators_exceptions_and_threads() -> None:
    def run(m: Any) -> Any:
        seen: list[Any] = []

        @m.no_grad()
        def numbers() -> Any:
            got = yield m.is_grad_enabled()
            try:
                yield got, m.is_grad_enabled()
            except ValueError:
                yield "thrown", m.is_grad_enabled()
            return 5

        made = numbers()
        seen += [
            next(made),
            m.is_grad_enabled(),
            made.send(3),
            m.is_grad_enabled(),
            made.throw(ValueError()),
            m.is_grad_enabled(),
        ]
        try:
            next(made)
        except StopIteration as stop:
            seen.append(stop.value)
        try:
            with m.no_grad():
                raise KeyError
        except KeyError:
            seen.append(m.is_grad_enabled())
        with m.no_grad():
            thread = threading.Thread(target=lambda: seen.append(m.is_grad_enabled()))
            thread.start()
            thread.join()
            x = m.ones(2, requires_grad=True)
            seen += [x.requires_grad, x.add_(1).requires_grad]
        return seen

    assert run(gc) == run(torch)


# --- Function -----------------------------------------------------------------------------------------------------------


def wrong(m: Any) -> Any:
    class Wrong(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    return Wrong


def cube(m: Any) -> Any:
    class Cube(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float = 1.0) -> Any:
            ctx.save_for_backward(x)
            ctx.scale = scale
            return x**3 * scale

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g * ctx.scale, None

    return Cube


def several(m: Any) -> Any:
    class Several(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, flag: bool) -> Any:
            places = x.argsort()
            ctx.mark_non_differentiable(places)
            ctx.save_for_backward(x, y)
            ctx.seen = ctx.needs_input_grad
            return x * y, x + y, places

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any, k: Any) -> Any:
            x, y = ctx.saved_tensors
            assert ctx.needs_input_grad == ctx.seen
            return g * y + h, g * x + h, None

    return Several


def unmaterialized(m: Any) -> Any:
    class Unmaterialized(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            assert h is None
            return g * 2

    return Unmaterialized


def dirty(m: Any) -> Any:
    class Dirty(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    return Dirty


def with_setup(m: Any) -> Any:
    class WithSetup(m.autograd.Function):
        @staticmethod
        def forward(x: Any, k: float) -> Any:
            return x.exp() * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(output)
            assert inputs[1] == 2.0

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.saved_tensors[0] * g, None

    return WithSetup


def once(m: Any) -> Any:
    class Once(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @m.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * g

    return Once


def second_of(m: Any, f: Any, x: Any) -> Any:
    (first,) = m.autograd.grad(f(x).sum(), x, create_graph=True)
    return [first.detach(), *m.autograd.grad(first.sum(), x)]


FUNCTIONS: dict[str, Any] = {
    "plain": lambda m, x: m.autograd.grad(cube(m).apply(x, 2.0).sum(), x),
    "second": lambda m, x: second_of(m, lambda t: cube(m).apply(t, 2.0), x),
    "several": lambda m, x: (lambda a, b, c: [a.detach(), c, c.requires_grad, *m.autograd.grad((a * b).sum(), x)])(
        *several(m).apply(x, x.detach(), True)
    ),
    "one of several": lambda m, x: m.autograd.grad(several(m).apply(x, x * 2, False)[0].sum(), x),
    "materialized": lambda m, x: m.autograd.grad(several(m).apply(x, x, False)[1].sum(), x),
    "unmaterialized": lambda m, x: m.autograd.grad(unmaterialized(m).apply(x)[0].sum(), x),
    "dirty": lambda m, x: (lambda y, z: [z is y, y.detach(), *m.autograd.grad((z * z).sum(), x)])(
        *(lambda y: (y, dirty(m).apply(y)))(x * 1)
    ),
    "setup": lambda m, x: second_of(m, lambda t: with_setup(m).apply(t, 2.0), x),
    "once": lambda m, x: m.autograd.grad(once(m).apply(x).sum(), x),
    "untracked": lambda m, x: [
        cube(m).apply(x.detach()).requires_grad,
        cube(m).apply(x).is_leaf,
        m.no_grad()(cube(m).apply)(x).requires_grad,
    ],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    both(lambda m, x: list(FUNCTIONS[name](m, x)), X)


def test_functions_pass_gradcheck() -> None:
    for m in (gc, torch):
        assert m.autograd.gradcheck(cube(m).apply, (leaf(m),)) and m.autograd.gradgradcheck(cube(m).apply, (leaf(m),))


def saving_text(m: Any) -> None:
    class Saving(m.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward("text")
            return x * 2

    Saving.apply(leaf(m))


def wrong_count(m: Any) -> None:
    class Count(wrong(m)):  # type: ignore[misc]
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    Count.apply(leaf(m)).sum().backward()


def wrong_shape(m: Any) -> None:
    class Shape(wrong(m)):  # type: ignore[misc]
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return m.ones(5).double()

    Shape.apply(leaf(m)).sum().backward()


def freed(m: Any) -> None:
    y = cube(m).apply(leaf(m)).sum()
    y.backward()
    y.backward()


def no_second(m: Any) -> None:
    x = leaf(m)
    (g,) = m.autograd.grad(once(m).apply(x).sum(), x, create_graph=True)
    g.sum().backward()


def test_gradients_flow_through_integers_and_comparisons_as_nothing() -> None:
    agree(torch, lambda m, x: (x > 0, x.long(), x.argmax(), (x * (x > 0)).sum()), X)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrap", [lambda f: f, gc.compile], ids=["eager", "compiled"])
def test_three_derivatives(name: str, wrap: Any) -> None:
    given = np.array([0.7, -1.1, 0.4]), np.array([0.9, 0.3, -0.6])
    want = derivatives(torch, lambda x, w: CASES[name](torch, x, w), given)
    found = derivatives(gc, wrap(lambda x, w: CASES[name](gc, x, w)), given)
    assert len(found) == len(want)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
