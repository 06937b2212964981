"""Pointwise functions and activations against PyTorch: results, dtypes, gradients and kinds of errors."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from tolerances import EPS, as_array, assert_close

import graphc.eager  # noqa: F401
from graphc.functions import activations, pointwise
from graphc.functions import creation as make

torch = pytest.importorskip("torch")
functional = torch.nn.functional
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

NAN, INF = math.nan, math.inf
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
FLOATS = ("float16", "bfloat16", "float32", "float64")


class T:
    """A tensor of a case: numbers and dtype, made in either library."""

    def __init__(self, numbers, dtype="float32", grad=True):
        self.numbers, self.dtype = numbers, dtype
        self.grad = grad and dtype in FLOATS

    def ours(self, grad):
        kind = ml_dtypes.bfloat16 if self.dtype == "bfloat16" else np.dtype(self.dtype)
        x = make.from_numpy(np.array(np.array(self.numbers, np.float64).astype(kind)))
        return x.requires_grad_() if grad and self.grad else x

    def theirs(self, grad):
        x = torch.tensor(np.array(self.numbers, np.float64)).to(getattr(torch, self.dtype))
        return x.requires_grad_() if grad and self.grad else x

    def __repr__(self):
        return f"{self.dtype}{list(np.shape(self.numbers))}"


def pick(name, library):
    if library == "theirs":
        return next(getattr(m, name) for m in (torch, functional, torch.special) if hasattr(m, name))
    return next(getattr(m, name) for m in (activations, pointwise) if hasattr(m, name))


def prepared(args, kwargs, library, grad):
    def ready(x):
        return getattr(x, library)(grad) if isinstance(x, T) else x

    return [ready(x) for x in args], {k: ready(v) for k, v in kwargs.items()}


def outcome(fn, args, kwargs):
    try:
        return fn(*args, **kwargs), None
    except Exception as error:
        return None, error


def operands(args, kwargs):
    return [x for x in (*args, *kwargs.values()) if hasattr(x, "requires_grad") and x.requires_grad]


def check(name, *args, grad=True, close=None, ours=None, theirs=None, **kwargs):
    """One call in both libraries: the same result, dtype and gradients, or an error of PyTorch's kind."""
    a, ka = prepared(args, kwargs, "ours", grad)
    b, kb = prepared(args, kwargs, "theirs", grad)
    got, error = outcome(ours or pick(name, "ours"), a, ka)
    want, expected = outcome(theirs or pick(name, "theirs"), b, kb)
    if expected is not None:
        assert error is not None, f"{name}: PyTorch raises {type(expected).__name__}: {expected}"
        assert isinstance(error, type(expected)), f"{name}: {error!r} is no {type(expected).__name__}"
        return
    if error is not None:
        raise error
    compare(got, want, name, close)
    if grad and want.requires_grad:
        compare_gradients(name, got, want, operands(a, ka), operands(b, kb), close)


def compare(got, want, what, close):
    """By the table; `each`: every element relative to its own size, or to 1 where it is smaller."""
    close = dict(close or {})
    if not close.pop("each", False):
        assert_close(got, want, what=what, **close)
        return
    got, want = as_array(got), as_array(want)
    assert got.dtype == want.dtype, what
    for x, y in zip(got.ravel(), want.ravel(), strict=True):
        size = abs(float(y))
        assert_close(x, y, what=what, scale=size if 1 < size < INF else 1.0, **close)


def compare_gradients(name, got, want, ours, theirs, close):
    weights = np.linspace(0.5, 1.5, max(want.numel(), 1))[: want.numel()].reshape(want.shape)
    dtype = str(want.dtype).split(".")[1]
    try:
        want.backward(T(weights, dtype).theirs(False))
    except RuntimeError:  # PyTorch has no derivative there, or not for these dtypes
        return
    if got.requires_grad:
        got.backward(T(weights, dtype).ours(False))
    # PyTorch mixes the dtypes inside of one formula, so the coarsest decides
    coarsest = max((as_array(y).dtype for y in theirs), key=lambda d: EPS[d.name])
    close = {"dtype": coarsest, **(close or {})}
    for x, y in zip(ours, theirs, strict=True):
        if y.grad is not None and x.grad is not None:
            filled = torch.zeros(y.shape, dtype=y.dtype) if y.grad._is_zerotensor() else y.grad
            compare(x.grad, filled, f"{name} gradient", close)
        else:
            assert y.grad is None or not y.grad.any(), f"{name}: no gradient"


def numbers(dtype, low=-2.0, high=2.0, shape=(3, 4), seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape)
    if dtype not in FLOATS:
        return rng.integers(0 if dtype == "uint8" else math.floor(low), math.ceil(high) + 3, shape)
    return rng.uniform(low, high, shape)


# -- one operand ----------------------------------------------------------------------------------------------------

DOMAINS = {
    "log": (0.1, 4), "log2": (0.1, 4), "log10": (0.1, 4), "log1p": (-0.9, 4), "sqrt": (0.1, 4), "rsqrt": (0.1, 4),
    "asin": (-0.9, 0.9), "arcsin": (-0.9, 0.9), "acos": (-0.9, 0.9), "arccos": (-0.9, 0.9), "acosh": (1.1, 4),
    "arccosh": (1.1, 4), "atanh": (-0.9, 0.9), "arctanh": (-0.9, 0.9), "logit": (0.1, 0.9), "tan": (-1.2, 1.2),
    "entr": (0.1, 3),
}  # fmt: skip
UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "asin", "arcsin",
    "acos", "arccos", "atan", "arctan", "sinh", "cosh", "tanh", "asinh", "arcsinh", "acosh", "arccosh", "atanh",
    "arctanh", "erf", "erfc", "sigmoid", "expit", "floor", "ceil", "trunc", "fix", "round", "frac", "neg", "negative",
    "positive", "abs", "absolute", "sign", "sgn", "signbit", "reciprocal", "square", "logit", "sinc", "deg2rad",
    "rad2deg", "nan_to_num", "angle", "conj", "isnan", "isinf", "isfinite", "isposinf", "isneginf", "isreal",
    "logical_not", "bitwise_not", "entr",
)  # fmt: skip
ACTIVATIONS = (
    "relu", "relu6", "celu", "selu", "elu", "leaky_relu", "gelu", "silu", "mish", "softplus", "hardtanh", "hardsigmoid",
    "hardswish", "softsign", "tanhshrink", "logsigmoid", "hardshrink", "softshrink", "glu",
)  # fmt: skip
# their derivative at NaN, at infinities or in halves is a formula that PyTorch evaluates in another order
LOOSE_GRADIENT = {
    "relu6", "hardtanh", "hardshrink", "softshrink", "hardsigmoid", "celu", "elu", "selu", "mish", "silu", "gelu", "entr",
    "sinc", "logit", "angle", "isreal", "hardswish",
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY + ACTIVATIONS)
def test_unary(name, dtype):
    half = dtype in ("float16", "bfloat16")
    low, high = DOMAINS.get(name, (-2.0, 2.0))
    single = {"dtype": np.float32} if name in ("hardsigmoid", "hardswish") and dtype == "float64" else None
    check(name, T(numbers(dtype, low, high), dtype), close={"scale": 8.0} if half else single)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY + ACTIVATIONS)
def test_unary_at_special_numbers(name, dtype):
    points = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -3.0, 3.0, 6.0, 30.0, -30.0, 1e-5]
    close = {"each": True}
    if name in ("hardsigmoid", "hardswish"):
        close["dtype"] = np.float32  # PyTorch multiplies by a single-precision 1/6
    points = points[2:] if name == "gelu" else points  # PyTorch gives NaN at infinity
    check(name, T(points, dtype), grad=name not in LOOSE_GRADIENT, close=close)
    if name in LOOSE_GRADIENT:
        finite = [p for p in points if math.isfinite(p)]
        finite = {"entr": [0.5, 2.5], "logit": [0.0, 0.5, 1.0], "sinc": finite[:-1]}.get(name, finite)
        check(name, T(finite, dtype), close=close)


@pytest.mark.parametrize("name", UNARY)
def test_shapes(name):
    low, high = DOMAINS.get(name, (-2.0, 2.0))
    check(name, T(numbers("float64", low, high, ()), "float64"))
    check(name, T(np.zeros((0, 3)), "float32"))


@pytest.mark.parametrize("name", [n for n in UNARY + ACTIVATIONS if n not in ("softsign", "tanhshrink", "glu")])
def test_unary_takes_tensors_only(name):
    check(name, 1.5)
    check(name, "text")


# -- two operands ---------------------------------------------------------------------------------------------------

BINARY = (
    "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder",
    "fmod", "pow", "float_power", "ldexp", "atan2", "arctan2", "hypot", "copysign", "logaddexp", "logaddexp2", "xlogy",
    "xlog1py", "maximum", "minimum", "fmax", "fmin", "heaviside", "eq", "ne", "not_equal", "lt", "less", "le",
    "less_equal", "gt", "greater", "ge", "greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and",
    "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "isclose", "clamp_min", "clamp_max",
)  # fmt: skip
POSITIVE = {"pow", "float_power", "xlogy", "div", "divide", "true_divide", "floor_divide", "remainder", "fmod"}
PAIRS = [(a, b) for a in DTYPES for b in DTYPES if a == b or {a, b} & {"float32", "int64", "uint8"}]


def right_operand(name, dtype, shape=(3, 4)):
    low = 0.3 if name in POSITIVE else -2.0
    values = numbers(dtype, low, 2.0, shape, 1)
    if name in POSITIVE and dtype != "bool":
        values = np.where(values == 0, 1, values)
    return np.ones(shape) if name in POSITIVE and dtype == "bool" else values


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, first, second):
    low = 0.2 if "pow" in name else -2.0
    half = {first, second} & {"float16", "bfloat16"}
    x, y = T(numbers(first, low), first), T(right_operand(name, second), second)
    # PyTorch negates an unsigned number in one gradient, and powers integers by negative ones in another
    odd = (name in ("atan2", "arctan2") and "uint8" in (first, second)) or name == "ldexp"
    check(name, x, y, grad=not odd, close={"scale": 16.0} if half else {"dtype": np.float32} if odd else None)


@pytest.mark.parametrize("name", BINARY)
def test_binary_promotes_0d_and_numbers(name):
    grad = name != "ldexp"
    for first in ("int32", "float32", "bfloat16", "bool"):
        x = T(numbers(first, 0.2), first)
        close = {"scale": 16.0} if first == "bfloat16" else None
        check(name, x, T(1.5, "float64"), close=close, grad=grad)
        check(name, x, T(2, "int64"), close=close, grad=grad)
        check(name, T(1.5, "float64"), T(right_operand(name, first), first), close=close, grad=grad)
        for number in (2, 1.5) if "pow" in name else (2, 1.5, True):
            check(name, x, number, close=close)
            check(name, number, x, close=close) if first != "bool" else None


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts(name):
    low = 0.2 if "pow" in name else -2.0
    for a, b in (((3, 1), (1, 4)), ((2, 3), (3,)), ((), (4,)), ((0, 3), (1, 3)), ((2, 3), (4,))):
        check(name, T(numbers("float64", low, shape=a), "float64"), T(right_operand(name, "float64", b), "float64"))


SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.5, -2.0, 2.0]
# gradients at these points are no numbers anybody relies on
NO_GRADIENT = {"hypot", "logaddexp", "logaddexp2", "xlogy", "xlog1py", "pow", "float_power", "copysign", "clamp_min",
               "clamp_max", "atan2", "arctan2", "ldexp", "fmod", "remainder", "div", "divide", "true_divide"}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in BINARY if n != "hypot"])
def test_binary_at_special_numbers(name):
    x, y = np.meshgrid(SPECIAL, SPECIAL, indexing="ij")
    dtype = "float64"
    if name.startswith("bitwise"):
        return
    check(name, T(x, dtype), T(y, dtype), grad=name not in NO_GRADIENT)


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod", "pow", "div"])
def test_integers_of_both_signs(name):
    x, y = np.meshgrid(np.arange(-7, 8), [-3, -2, -1, 1, 2, 3], indexing="ij")
    for dtype in ("int8", "int64"):
        check(name, T(x, dtype), T(y, dtype))
    check(name, T(x, "float32"), T(y, "float32"))
    check(name, T([1, 2], "int32"), T([1, 0], "int32"))
    check(name, T([1, 2], "int32"), 0)


@pytest.mark.parametrize("name", ["add", "sub", "subtract", "rsub"])
@pytest.mark.parametrize("alpha", [2, 0.5, True, -1])
def test_alpha(name, alpha):
    for a, b in (
        ("int64", "int32"),
        ("float32", "int64"),
        ("float64", "float64"),
        ("bool", "bool"),
        ("uint8", "uint8"),
    ):
        check(name, T(numbers(a), a), T(numbers(b, seed=2), b), alpha=alpha)
    check(name, T(numbers("float32")), 3, alpha=alpha)


@pytest.mark.parametrize("mode", [None, "floor", "trunc", "nearest"])
def test_rounding_mode(mode):
    for a in ("int32", "float32", "uint8", "bool", "bfloat16"):
        x, y = T(numbers(a, -7, 7), a), T(right_operand("div", a), a)
        check("div", x, y, rounding_mode=mode)
        check("divide", x, 2, rounding_mode=mode)
    check("div", T([7, -7], "int64"), 0, rounding_mode=mode)
    check("div", T([NAN, INF, 1.0, 0.0]), T([1.0, 2.0, 0.0, 0.0]), rounding_mode=mode, grad=False)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1.7, -3])
def test_powers_by_number(exponent):
    for dtype in ("float64", "float32", "int64", "uint8", "bool", "float16"):
        check("pow", T(numbers(dtype, 0.2), dtype), exponent)
        check("pow", exponent, T(numbers(dtype, 0.2), dtype))
    check("pow", T([0.0, -1.5, 2.0] + [-0.0] * (exponent != -0.5), "float64"), exponent)


def test_powers_at_zero():
    check("pow", T([0.0, -2.0, 0.0, 0.0]), T([0.0, 0.0, 1.0, 2.0]))
    check("pow", T([2, 1, -1, 0, -1], "int64"), T([-1, -1, -1, -1, -2], "int64"))
    check("pow", 2, 3)


# -- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clamp", "clip"])
def test_clamp(name):
    x = [NAN, -2.0, 0.0, 0.5, 1.0, 3.0, INF]
    for bounds in ({"min": 0}, {"max": 1.0}, {"min": 0, "max": 1}, {"min": 2, "max": 1}, {}, {"min": NAN}):
        check(name, T(x), **bounds)
        check(name, T([-3, 0, 1, 4], "int64"), **bounds) if bounds != {"min": NAN} else None
    check(name, T([-3, 0, 1, 4], "int64"), 0.5, 2.5)
    check(name, T([True, False], "bool"), 0, 1)
    check(name, T(x[1:]), T(0.0), T(1.0))
    check(name, T(x[1:]), T([0.5] * 6), T([1.0] * 6))
    check(name, T(x[1:]), T([0.5] * 6), 2.0)
    check(name, T(x), T([NAN] * 7, grad=False))
    check(name, T([1, 5], "int32"), T([2.5, 2.5]), T([3.0, 3.0], "float64"))


def test_where():
    c = T([[True, False, True]], "bool")
    for a, b in (("float32", "float32"), ("int64", "float32"), ("bool", "uint8"), ("float64", "float16")):
        check("where", c, T(numbers(a, shape=(2, 3)), a), T(numbers(b, shape=(3,), seed=1), b))
        check("where", c, T(numbers(a, shape=(2, 3)), a), 2.5)
        check("where", c, 1, T(numbers(b, shape=(3,)), b))
    check("where", c, 1, 2)
    check("where", c, 1, 2.5)
    check("where", T([1, 0, 1], "uint8"), T([1.0, 2.0, NAN]), T([NAN, 5.0, 6.0]))
    check("where", T([1, 0, 1], "int64"), T([1.0, 2.0, 3.0]), 0.0)
    for condition in ([[True, False], [True, True]], True, [False, False]):
        got = pointwise.where(T(condition, "bool").ours(False))
        want = torch.where(T(condition, "bool").theirs(False))
        assert len(got) == len(want)
        for x, y in zip(got, want, strict=True):
            assert_close(x, y)


def test_interpolation():
    x, y = T(numbers("float64"), "float64"), T(numbers("float64", seed=2), "float64")
    for weight in (0.3, 0.7, 0, 1, -2.0, T(numbers("float64", seed=3), "float64"), T(0.5, "float64")):
        check("lerp", x, y, weight)
    check("lerp", T([1, 2], "int64"), T([3, 4], "int64"), 0.5)
    check("lerp", T([1.0]), T([3.0], "float64"), 0.5)
    check("lerp", T([1.0]), T([3.0]), T([0.5], "float64"))


@pytest.mark.parametrize("name", ["addcmul", "addcdiv"])
def test_sum_of_product(name):
    def floats(dtype, seed):
        return T(numbers(dtype, 0.5, 2, seed=seed), dtype)

    for value in (1, 2, 0.5, -1):
        for dtypes in (("float32",) * 3, ("int64",) * 3, ("float32", "float64", "int32"), ("bfloat16",) * 3):
            scale = {"scale": 8.0} if "bfloat16" in dtypes else None
            check(name, *(floats(d, i) for i, d in enumerate(dtypes)), value=value, close=scale)
    check(name, T([1.0]), T([2], "int64"), T([3], "int64"))


def test_other_options():
    for decimals in (0, 1, 2, -1):
        check("round", T([1.25, -12345.678, 0.5, 1.5, 2.5], "float64"), decimals=decimals)
    check("round", T([12, 17], "int64"), decimals=-1)
    for eps in (None, 0.1, 1e-6):
        check("logit", T([0.0, 0.05, 0.5, 0.95, 1.0]), eps=eps, grad=eps is not None)
    check("nan_to_num", T([NAN, INF, -INF, 2.0]), nan=1.0, posinf=7.0, neginf=-7.0)
    check("nan_to_num", T([NAN, INF, -INF, 2.0]), 3.0, 4.0)
    for dtype in FLOATS:
        check("nan_to_num", T([NAN, INF, -INF, 2.0], dtype))
    for options in ({"rtol": 0.1}, {"atol": 0.5}, {"equal_nan": True}, {"rtol": 0, "atol": 0}):
        check("isclose", T([1.0, NAN, INF, 2.0]), T([1.05, NAN, INF, 2.4]), **options)
        check("isclose", T([10, 20], "int64"), T([11, 20], "int64"), **options)
    check("isin", T([1, 2, 3], "int64"), T([[2, 9], [3, 7]], "int64"))
    check("isin", T([1, 2, 3], "int64"), 2, invert=True)
    check("isin", 3, T([1, 2, 3], "int64"))
    check("hypot", T([3.0, 1e30, 0.0], "float32", grad=False), T([4.0, 1e30, 0.0], "float32", grad=False))


# -- activations ----------------------------------------------------------------------------------------------------

POINTS = [-30.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.5, 3.0, 6.0, 21.0, 90.0]
OPTIONS = [
    ("elu", {"alpha": 2.0}), ("celu", {"alpha": 2.0}), ("celu", {"alpha": 0.0}), ("leaky_relu", {"negative_slope": 0.2}),
    ("gelu", {"approximate": "tanh"}), ("gelu", {"approximate": "sigmoid"}), ("softplus", {"beta": 2.0}),
    ("softplus", {"threshold": 1.0}), ("hardtanh", {"min_val": -2.0, "max_val": 0.5}), ("hardshrink", {"lambd": 1.0}),
    ("softshrink", {"lambd": 1.0}), ("softshrink", {"lambd": -1.0}), ("threshold", {"threshold": 0.3, "value": 7.0}),
    ("glu", {"dim": 0}), ("glu", {"dim": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_activation_options(name, options):
    check(name, T(POINTS, "float64"), **options)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if hasattr(torch, n + "_") or n in ("silu", "mish", "relu6")])
def test_activation_inplace(name):
    ours, theirs = T(POINTS, "float64").ours(False), T(POINTS, "float64").theirs(False)
    assert pick(name, "ours")(ours, inplace=True) is ours
    getattr(functional, name)(theirs, inplace=True)
    assert_close(ours, theirs)
    ours, theirs = T(POINTS, "float64").ours(True), T(POINTS, "float64").theirs(True)
    pick(name, "ours")(ours * 1, inplace=True).sum().backward()
    getattr(functional, name)(theirs * 1, inplace=True).sum().backward()
    assert_close(ours.grad, theirs.grad)


def test_prelu():
    x = T(numbers("float64", shape=(2, 3, 4)), "float64")
    for w in (0.3, [0.2], [0.1, 0.2, 0.3], [0.1, 0.2], [[0.1]]):
        check("prelu", x, T(w, "float64"))
    check("prelu", T(POINTS, "float64"), T([0.1], "float64"))
    check("prelu", T(1.5, "float64"), T([0.1], "float64"))
    check("prelu", x, T([0.1]))


def test_glu():
    check("glu", T(numbers("float64", shape=(4, 3)), "float64"), 0)
    check("glu", T(numbers("float64", shape=(4, 3)), "float64"))
    check("glu", T(1.0))


# -- methods, in-place methods and operators --------------------------------------------------------------------------


def both(fn, *args, grad=True):
    check("method", *args, ours=fn, theirs=fn, grad=grad)


OPERATORS = {
    "x + y": lambda x, y: x + y, "x - y": lambda x, y: x - y, "x * y": lambda x, y: x * y, "x / y": lambda x, y: x / y,
    "x // y": lambda x, y: x // y, "x % y": lambda x, y: x % y, "x ** y": lambda x, y: x**y, "x & y": lambda x, y: x & y,
    "x | y": lambda x, y: x | y, "x ^ y": lambda x, y: x ^ y, "x << y": lambda x, y: x << y, "x >> y": lambda x, y: x >> y,
    "x == y": lambda x, y: x == y, "x != y": lambda x, y: x != y, "x < y": lambda x, y: x < y,
    "x <= y": lambda x, y: x <= y, "x > y": lambda x, y: x > y, "x >= y": lambda x, y: x >= y,
}  # fmt: skip


@pytest.mark.parametrize("text", OPERATORS)
def test_operators(text):
    fn = OPERATORS[text]
    for first in ("bool", "uint8", "int64", "float32", "bfloat16"):
        x = numbers(first, 0.3)
        for second in ("bool", "int32", "float32"):
            both(fn, T(x, first), T(right_operand("div", second), second))
        for number in (2, 1.5) if "**" in text else (2, 1.5, True):
            both(fn, T(x, first), number)
            both(fn, number, T(np.where(x == 0, 1, x), first))


def test_unary_operators():
    for dtype in ("bool", "uint8", "int64", "float32"):
        x = T(numbers(dtype), dtype)
        both(lambda x: -x, x)
        both(lambda x: ~x, x) if dtype != "float32" else None
        both(lambda x: abs(x), x)


@pytest.mark.parametrize("name", pointwise.METHODS + activations.METHODS)
def test_method(name):
    low, high = DOMAINS.get(name, (-2.0, 2.0))
    x = T(numbers("float64", low, high), "float64")
    y = T(right_operand("pow", "float64"), "float64")
    integers = T(numbers("int64"), "int64"), T(numbers("int64", 0, 3, seed=1), "int64")
    if name.startswith("bitwise") or name in ("ldexp",):
        x, y = integers
    extra = {"lerp": (y, 0.3), "addcmul": (y, y), "addcdiv": (y, y)}.get(name)
    if extra is None:
        extra = (y,) if name in BINARY else (0.0, 1.0) if name in ("clamp", "clip") else ()
        extra = (T([0.5], "float64"),) if name == "prelu" else extra
    fn = lambda x, *more: getattr(x, name)(*more)  # noqa: E731
    both(fn, x, *extra)
    if name in pointwise.INPLACE + activations.INPLACE:
        inplace = lambda x, *more: getattr(x * 1, name + "_")(*more)  # noqa: E731
        both(inplace, x, *extra, grad=not name.startswith("logical"))


def test_inplace_keeps_the_dtype():
    for dtype, number in (("int64", 1.5), ("bool", 1), ("float16", 1.5), ("float32", 2)):
        both(
            lambda x, y: (x.clone() if hasattr(x, "clone") else x).add_(y), T(numbers(dtype), dtype, grad=False), number
        )


def test_names():
    """Every public pointwise name of PyTorch's that we have is really PyTorch's."""
    for name in pointwise.__all__:
        assert any(hasattr(m, name) for m in (torch, torch.special)), name
    for name in activations.FUNCTIONAL:
        assert hasattr(functional, name), name
