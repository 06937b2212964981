"""Custom operators beside PyTorch's: values, gradients of both orders, writes and errors, eager and compiled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

import graphc as gc  # noqa: E402

X = np.linspace(-1, 2, 6).reshape(2, 3)
Y = np.linspace(3, 1, 6).reshape(2, 3)


def made_for(m: Any) -> Any:
    """The same operators of either library."""
    library = m.library

    def sine(x: m.Tensor) -> m.Tensor:
        return m.from_numpy(np.sin(x.detach().numpy()))

    sine = library.custom_op("tests::sine", sine_hints(m, sine), mutates_args=())
    sine.register_fake(lambda x: m.empty_like(x))

    def save_input(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    def sine_backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos()

    library.register_autograd("tests::sine", sine_backward, setup_context=save_input)

    def mixed(xs, n, bias, *, k=2.0):
        return sum(xs) * n, (xs[0] if bias is None else xs[0] + bias) * k

    mixed.__annotations__ = {
        "xs": list[m.Tensor], "n": int, "bias": m.Tensor | None, "k": float, "return": tuple[m.Tensor, m.Tensor],
    }  # fmt: skip
    mixed = library.custom_op("tests::mixed", mixed, mutates_args=())

    @library.register_fake("tests::mixed")
    def _(xs, n, bias, *, k=2.0):
        return m.empty_like(xs[0]), m.empty_like(xs[0])

    def mixed_context(ctx, inputs, keyword_only_inputs, output):
        ctx.count, ctx.n, ctx.k = len(inputs[0]), inputs[1], keyword_only_inputs["k"]
        ctx.has_bias = inputs[2] is not None

    def mixed_backward(ctx, g, h):
        grads = [g * ctx.n for _ in range(ctx.count)]
        grads[0] = grads[0] + h * ctx.k
        return grads, None, h * ctx.k if ctx.has_bias else None

    mixed.register_autograd(mixed_backward, setup_context=mixed_context)

    def grow(x, by):
        x.numpy()[...] += by

    grow.__annotations__ = {"x": m.Tensor, "by": float, "return": None}
    grow = library.custom_op("tests::grow", grow, mutates_args={"x"})
    return SimpleNamespace(sine=sine, mixed=mixed, grow=grow)


def sine_hints(m: Any, fn: Any) -> Any:
    fn.__annotations__ = {"x": m.Tensor, "return": m.Tensor}
    return fn


def compiled(m: Any, fn: Any) -> Any:
    return fn if m is torch else gc.compile(fn)


def both(run: Any) -> tuple[Any, Any]:
    found = []
    for m in (gc, torch):
        results = run(m, made_for(m))
        found.append([None if r is None else np.array(r.detach().numpy()) for r in results])
    return found[0], found[1]


def check(run: Any) -> None:
    ours, theirs = both(run)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("through", [lambda m, fn: fn, compiled], ids=["eager", "compiled"])
def test_values_and_gradients(through: Any) -> None:
    def run(m, ops):
        x, y = (m.tensor(a, requires_grad=True) for a in (X, Y))

        def f(x, y):
            a, b = ops.mixed([x, y], 3, y, k=0.5)
            c, _ = ops.mixed([x], 2, None)
            return (ops.sine(a) * b + m.ops.tests.sine(c)).sum()

        out = through(m, f)(x, y)
        out.backward()
        return out, x.grad, y.grad

    check(run)


def test_second_gradients() -> None:
    def run(m, ops):
        x = m.tensor(X, requires_grad=True)
        (g,) = m.autograd.grad(ops.sine(x).pow(2).sum(), x, create_graph=True)
        return g, *m.autograd.grad(g.sum(), x)

    check(run)


@pytest.mark.parametrize("through", [lambda m, fn: fn, compiled], ids=["eager", "compiled"])
def test_writes_to_arguments(through: Any) -> None:
    def run(m, ops):
        w, x = m.tensor(X), m.tensor(Y)

        def f(x):
            before = w * 1
            ops.grow(w[0], 2.0)
            ops.grow(x, 1.0)
            return before, w * x

        step = through(m, f)
        return *step(x), *step(x), w, x

    check(run)


def test_kernels() -> None:
    def run(m, ops):
        x = m.tensor(X)
        m.library.register_kernel(sine := m.ops.tests.sine.default, "cpu", lambda x: x * 2)
        first = sine(x)
        with ops.sine.set_kernel_enabled("cpu", enabled=False):
            second = ops.sine(x)
        return first, second

    check(run)


def test_kernels_registered_by_decorator() -> None:
    def run(m, ops):
        @ops.sine.register_kernel("cpu")
        def _(x):
            return x + 1

        return (ops.sine(m.tensor(X)),)

    check(run)


SIGNATURES = {
    "plain": lambda t: {"x": t, "return": t},
    "lists": lambda t: {"xs": list[t], "ns": list[int], "fs": list[float], "return": list[t]},
    "optional": lambda t: {"x": t | None, "xs": list[t | None], "n": int | None, "ns": list[int] | None, "return": t},
    "words": lambda t: {"x": t, "flag": bool, "name": str, "number": int | float | bool, "return": tuple[t, t]},
    "one of a tuple": lambda t: {"x": t, "return": tuple[t]},
    "numbers": lambda t: {"x": t, "return": tuple[int, float, bool]},
    "nothing": lambda t: {"x": t, "return": None},
    # refused
    "no hint": lambda t: {"return": t},
    "no result": lambda t: {"x": t},
    "a dict": lambda t: {"x": dict, "return": t},
    "a tuple": lambda t: {"x": tuple[int, int], "return": t},
    "odd result": lambda t: {"x": t, "return": str},
    "optional list of tensors": lambda t: {"x": list[t] | None, "return": t},
}


@pytest.mark.parametrize("mutates", [(), ("x",), "unknown", ("z",), "all"], ids=str)
@pytest.mark.parametrize("kind", SIGNATURES)
def test_schemas(kind: str, mutates: Any) -> None:
    def schema_of(m):
        hints = SIGNATURES[kind](m.Tensor)
        names = [name for name in hints if name != "return"] or ["x"]
        scope: dict[str, Any] = {}
        exec(f"def fn({', '.join(names)}): pass", scope)
        scope["fn"].__annotations__ = hints
        try:
            return m.library.infer_schema(scope["fn"], mutates_args=mutates, op_name="name")
        except ValueError as error:
            return str(error).partition(".")[0].partition("unsupported type")[0]

    ours, theirs = schema_of(gc), schema_of(torch)
    if "were not found" not in theirs:
        assert ours == theirs
    assert ("->" in ours) == ("->" in theirs)


def test_schemas_of_defaults_and_keywords() -> None:
    found = []
    for m in (gc, torch):
        cpu = m.device("cpu")

        def fn(x, n=2, f=0.5, flag=True, word="a", d=m.float32, *, k=None, device=cpu):
            pass

        fn.__annotations__ = {
            "x": m.Tensor, "n": int, "f": float, "flag": bool, "word": str, "d": m.dtype, "k": float | None,
            "device": m.device, "return": m.Tensor,
        }  # fmt: skip
        found.append(m.library.infer_schema(fn, mutates_args=()))
    assert found[0] == found[1]


def refusal(run: Any, m: Any) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011  the class is compared below
        run(m, made_for(m))
    return info.value


def without_a_formula(m, ops):
    op = m.library.custom_op("tests::bare", sine_hints(m, lambda x: x * 2), mutates_args=())
    op(m.tensor(X, requires_grad=True)).sum().backward()


def giving_its_argument(m, ops):
    m.library.custom_op("tests::same", sine_hints(m, lambda x: x), mutates_args=())(m.tensor(X))


def giving_a_view(m, ops):
    m.library.custom_op("tests::view", sine_hints(m, lambda x: x[0]), mutates_args=())(m.tensor(X))


def differentiating_a_write(m, ops):
    ops.grow.register_autograd(lambda ctx, g: g)


def too_few_gradients(m, ops):
    ops.mixed.register_autograd(lambda ctx, g, h: (g,))
    ops.mixed([m.tensor(X, requires_grad=True)], 1, None)[0].sum().backward()


def an_unknown_op(m, ops):
    m.ops.tests.none_of_that_name(m.tensor(X))


def another_schema(m, ops):
    m.library.custom_op("tests::odd", sine_hints(m, lambda x: x), mutates_args=("x",), schema="(Tensor x) -> Tensor")


def another_kind_of_device(m, ops):
    op = m.library.custom_op("tests::far", sine_hints(m, lambda x: x * 1), mutates_args=(), device_types="cuda")
    op(m.tensor(X))


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (without_a_formula, "no autograd formula was registered"),
        (giving_its_argument, "must not also be an input to this custom operator"),
        (giving_a_view, "may not alias any inputs to this custom operator"),
        (differentiating_a_write, "Cannot register autograd formula for non-functional operator"),
        (too_few_gradients, "" ),
        (an_unknown_op, "object has no attribute 'none_of_that_name'"),
        (another_schema, "The schema suggests that the op mutates"),
        (another_kind_of_device, "Could not run 'tests::far' with arguments"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_refusals(run: Any, text: str) -> None:
    ours, theirs = refusal(run, gc), refusal(run, torch)
    known = next(c for c in type(theirs).__mro__ if c.__module__ == "builtins")
    assert isinstance(ours, known), (ours, theirs)
    assert text in str(ours)
    assert text in str(theirs)
