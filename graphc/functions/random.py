"""Random tensors, distributions and fills. The numbers are the same on every backend, but not PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.core.arrays import device_of, is_array
from graphc.core.context import STATE, making_in, place, set_grad
from graphc.core.dims import Shape, product
from graphc.core.errors import ArgumentTypeError, DtypeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import (
    FLOAT,
    INT,
    DType,
    as_dtype,
    bfloat16,
    bool_,
    defaults,
    float16,
    float32,
    float64,
    int32,
    int64,
)
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.creation import finished
from graphc.functions.generators import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
    signed,
    source_of,
)
from graphc.functions.indexing import searchsorted
from graphc.functions.placing import beside
from graphc.functions.promotion import cast_to, is_number, promote, scalar_operand
from graphc.functions.sizes import as_size, as_sizes
from graphc.functions.subscripts import write_into
from graphc.primitives import elementwise as e
from graphc.primitives.cumulative import cumulative_sum
from graphc.primitives.reductions import reduce_all, reduce_max, reduce_min, reduce_sum
from graphc.primitives.sorting import sort
from graphc.primitives.views import reshape, slice_

# --- samples of one type and shape -----------------------------------------------------------------------------------

#: Bits of precision: that many random bits give a float exactly, so that a uniform number is never rounded up to 1.
_DIGITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


def _fraction(bits: Any, width: int, digits: int, dtype: DType, shift: float = 0.0) -> Any:
    """(k + shift) / 2^digits for the `digits` highest of the bits, k = 0 .. 2^digits - 1."""
    kind = int32 if width == 32 else int64
    k = e.shift_right(bits, scalar_operand(width - digits, kind))  # keeps the sign: the mask drops its copies
    k = e.bitwise_and(k, scalar_operand((1 << digits) - 1, kind))
    out = e.cast(k, dtype=dtype)
    if shift:
        out = e.add(out, scalar_operand(shift, dtype))
    return e.multiply(out, scalar_operand(2.0**-digits, dtype))


def _need_float_dtype(fn: str, dtype: DType) -> None:
    if dtype.category != FLOAT:
        raise DtypeError(f'"{fn}" not implemented for {dtype.name}', "a floating dtype")


def _count(shape: Shape, *args: Any, **kwargs: Any) -> int:
    return product(shape)  # type: ignore[return-value]


@one_call(weight=10, elements=_count)
def uniform_sample(shape: Shape, dtype: DType, generator: Any = None) -> Any:
    """Evenly spread over [0, 1): multiples of 2^-24 (float32), 2^-53 (float64), 2^-11 (float16) or 2^-8 (bfloat16)."""
    width = 64 if dtype is float64 else 32
    return _fraction(source_of(generator).bits(shape, width), width, _DIGITS[dtype], dtype)


def open_uniform_sample(shape: Shape, dtype: DType, generator: Any = None) -> Any:
    """Evenly spread over (0, 1) without the ends: odd multiples of 2^-24 (float32) or 2^-53 (float64)."""
    width = 64 if dtype is float64 else 32
    return _fraction(source_of(generator).bits(shape, width), width, _DIGITS[dtype] - 1, dtype, 0.5)


def normal_sample(shape: Shape, dtype: DType, generator: Any = None) -> Any:
    """Mean 0, variance 1: sqrt(-2 log u) cos(2 pi v) of two uniform numbers (Box and Muller 1958).

    float32 takes u and v from the halves of one 64-bit word, float64 from two words; half types go through float32.
    """
    source = source_of(generator)
    if dtype is float64:
        words = source.bits((2, *shape), 64)
        u, v = _fraction(_row(words, 0), 64, 52, float64, 0.5), _fraction(_row(words, 1), 64, 53, float64)
    else:
        word = source.bits(shape, 64)
        low = e.bitwise_and(word, scalar_operand(0xFFFFFFFF, int64))
        high = e.bitwise_and(e.shift_right(word, scalar_operand(32, int64)), scalar_operand(0xFFFFFFFF, int64))
        u, v = (e.cast(half, dtype=float32) for half in (high, e.shift_right(low, scalar_operand(8, int64))))
        u, v = (u + 0.5) * 2.0**-32, v * 2.0**-24  # all 32 bits for u: it makes the tails
    return cast_to(e.sqrt(e.log(u) * -2.0) * e.cos(v * (2.0 * math.pi)), dtype)


def _row(x: Any, i: int) -> Any:
    rest = tuple(x.shape[1:])
    starts, limits = (i, *(0 for _ in rest)), (i + 1, *rest)
    return reshape(slice_(x, starts=starts, limits=limits, strides=(1,) * len(x.shape)), shape=rest)


def integer_sample(low: Any, high: Any, shape: Shape, generator: Any = None) -> Any:
    """int64 from low to high - 1; the bounds may be unknown sizes. ShapeError (a RuntimeError) unless low < high."""
    count = high - low
    if isinstance(count, int) and count <= 0:
        raise ShapeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    bits = source_of(generator).bits(shape, 64)
    if isinstance(count, int) and count >= 1 << 63:
        return bits if count == 1 << 64 else _wrapped_modulo(bits, low, count)
    positive = e.bitwise_and(bits, scalar_operand((1 << 63) - 1, int64))
    return e.add(e.remainder(positive, scalar_operand(count, int64)), scalar_operand(low, int64))


def _wrapped_modulo(bits: Any, low: int, count: int) -> Any:
    """64-bit words modulo a count of 2^63 and more: one (wrapping) subtraction brings all into the range.

    The lower end is drawn more often if 2^64 is no multiple of the count, as in PyTorch.
    """
    inside = e.logical_and(
        e.greater_equal(bits, scalar_operand(low, int64)), e.less_equal(bits, scalar_operand(low + count - 1, int64))
    )
    return e.where(inside, bits, e.subtract(bits, scalar_operand(signed(count), int64)))


@one_call(weight=10, elements=_count)
def mask_sample(shape: Shape, p: float, generator: Any = None) -> Any:
    """bool[shape], true with probability p, to 2^-32: the bits are compared as they are."""
    limit = min(round(p * 2.0**32), (1 << 32) - 1) - (1 << 31)
    bits = source_of(generator).bits(shape, 32)
    if p >= 1:
        return e.greater_equal(bits, scalar_operand(-(1 << 31), int32))
    return e.less(bits, scalar_operand(limit, int32))


# --- new tensors -----------------------------------------------------------------------------------------------------


def _float_dtype(fn: str, dtype: Any) -> DType:
    chosen = defaults.float_dtype if dtype is None else as_dtype(dtype)
    _need_float_dtype(fn, chosen)
    return chosen


def _shape(args: tuple[Any, ...], size: Any) -> Shape:
    return as_sizes(args if size is None else (size,))


def rand(
    *args: Any,
    size: Any = None,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Uniform numbers from [0, 1) of the given sizes."""
    with making_in(place(device)):
        out = uniform_sample(_shape(args, size), _float_dtype("rand", dtype), generator)
    return finished(out, requires_grad, device)


def randn(
    *args: Any,
    size: Any = None,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Numbers of mean 0 and variance 1, normally distributed, of the given sizes."""
    with making_in(place(device)):
        out = normal_sample(_shape(args, size), _float_dtype("randn", dtype), generator)
    return finished(out, requires_grad, device)


def randint(
    *args: Any,
    low: Any = None,
    high: Any = None,
    size: Any = None,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Whole numbers from low (0 if not given) to high - 1: `randint(high, size)` or `randint(low, high, size)`."""
    given = list(args)
    if size is None and given:
        size = given.pop()
    if high is None and given:
        high = given.pop()
    if low is None and given:
        low = given.pop()
    if given or high is None or size is None or is_number(size):
        raise ArgumentTypeError("randint() takes (high, size) or (low, high, size), with a tuple of ints as size")
    low = 0 if low is None else low
    with making_in(place(device)):
        out = integer_sample(as_size(low, "low"), as_size(high, "high"), as_sizes((size,)), generator)
    return finished(cast_to(out, int64 if dtype is None else as_dtype(dtype)), requires_grad, device)


def randperm(
    n: Any,
    *,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """The numbers from 0 to n - 1 in random order."""
    count = as_size(n, "n")
    if isinstance(count, int) and count < 0:
        raise ShapeError(f"n must be non-negative, got {count}")
    with making_in(place(device)):
        keys = source_of(generator).bits((count,), 64)
    order = sort(keys, axis=0, descending=False, stable=True)[1]
    return finished(cast_to(order, int64 if dtype is None else as_dtype(dtype)), requires_grad, device)


def _like(input: Any, dtype: Any, device: Any) -> tuple[Shape, DType, Any]:
    """Shape, dtype and device of a tensor like the input."""
    shape = tuple(need_tensor(input).shape)
    return (
        shape,
        input.dtype if dtype is None else as_dtype(dtype),
        device_of(input._data) if device is None else device,
    )


def rand_like(
    input: Any,
    *,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """`rand` of the input's shape and dtype."""
    shape, chosen, device = _like(input, dtype, device)
    return rand(shape, generator=generator, dtype=chosen, device=device, requires_grad=requires_grad)


def randn_like(
    input: Any,
    *,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """`randn` of the input's shape and dtype."""
    shape, chosen, device = _like(input, dtype, device)
    return randn(shape, generator=generator, dtype=chosen, device=device, requires_grad=requires_grad)


def randint_like(
    input: Any,
    *args: Any,
    low: Any = 0,
    high: Any = None,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Any:
    """`randint` of the input's shape and dtype: `randint_like(x, high)` or `randint_like(x, low, high)`."""
    shape, chosen, device = _like(input, dtype, device)
    if len(args) == 2:
        low, high = args
    elif args:
        (high,) = args
    return randint(low, high, shape, generator=generator, dtype=chosen, device=device, requires_grad=requires_grad)


# --- distributions with tensors as parameters ------------------------------------------------------------------------


def _known(x: Any) -> bool:
    """Whether the numbers of x can be looked at here."""
    return STATE.recorder is None and is_array(x._data) and x._data.size > 0


def _flat_all(condition: Any) -> bool:
    return bool(reduce_all(condition, axes=tuple(range(len(condition.shape)))).item())


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Normal numbers with given means and standard deviations: tensors (broadcast), or numbers with a `size`."""
    tensors = [x for x in (mean, std) if isinstance(x, TensorBase)]
    if not tensors:
        if size is None:
            raise ArgumentTypeError('normal() missing 1 required positional arguments: "size"')
        shape, chosen = as_sizes((size,)), _float_dtype("normal", dtype)
    else:
        shape = tuple((e.add(*promote(*tensors)) if len(tensors) == 2 else tensors[0]).shape)
        chosen = need_float(tensors[0], "mean" if tensors[0] is mean else "std").dtype
    _check_std(std)
    sample = normal_sample(shape, chosen, generator)
    with set_grad(False):
        mean, std = (cast_to(x, chosen) if isinstance(x, TensorBase) else x for x in (mean, std))
        return finished(_scaled(sample, std, mean), requires_grad, device)


def _check_std(std: Any) -> None:
    if isinstance(std, TensorBase):
        if _known(std) and not _flat_all(e.greater_equal(std, scalar_operand(0, std.dtype))):
            raise ShapeError("normal expects all elements of std >= 0.0")
    elif std < 0:
        raise ShapeError(f"normal expects std >= 0.0, but found std {std}")


def _scaled(x: Any, factor: Any, shift: Any) -> Any:
    """x * factor + shift, leaving out what changes nothing."""
    if isinstance(factor, TensorBase) or factor != 1:
        x = x * factor
    return x + shift if isinstance(shift, TensorBase) or shift != 0 else x


@beside
def bernoulli(input: Any, p: Any = None, *, generator: Any = None) -> Any:
    """1 with the probability each element of `input` gives, else 0; with `p`, that probability for all elements."""
    x = need_tensor(input)
    if p is not None:
        return cast_to(_hits(p, tuple(x.shape), generator), x.dtype)
    if x.dtype.category != FLOAT:
        raise DtypeError(f'"bernoulli_tensor_cpu_p_" not implemented for {x.dtype.name}', "a floating dtype")
    return cast_to(_hits(x, tuple(x.shape), generator), x.dtype)


def _hits(p: Any, shape: Shape, generator: Any) -> Any:
    """bool[shape], true with probability p (a number, or a floating tensor that broadcasts to the shape)."""
    if isinstance(p, TensorBase):
        zero, one = (scalar_operand(n, p.dtype) for n in (0, 1))
        if _known(p) and not _flat_all(e.logical_and(e.greater_equal(p, zero), e.less_equal(p, one))):
            raise ShapeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
        chosen = float64 if p.dtype is float64 else float32
        with set_grad(False):
            return e.less(uniform_sample(shape, chosen, generator), cast_to(p, chosen))
    if not 0 <= p <= 1:
        raise ShapeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return mask_sample(shape, p, generator)


@beside
def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Any:
    """Positions drawn with probabilities proportional to `input`, f32[n] or f32[m, n] -> i64[num_samples] or i64[m, ..].

    Raises ShapeError (a RuntimeError) for more samples than there are positions, negative or vanishing probabilities.
    """
    x = need_tensor(input)
    if len(x.shape) not in (1, 2):
        raise ShapeError("prob_dist must be 1 or 2 dim")
    if x.dtype.category != FLOAT:
        raise DtypeError(f"multinomial only supports floating-point dtypes for input, got: {x.dtype.name}")
    if num_samples <= 0:
        raise ShapeError("cannot sample n_sample <= 0 samples")
    axis, count = len(x.shape) - 1, x.shape[-1]
    if not replacement and isinstance(count, int) and num_samples > count:
        raise ShapeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    with set_grad(False):
        p = cast_to(x, float64 if x.dtype is float64 else float32)
        _check_probabilities(p, axis, 1 if replacement else num_samples)
        if replacement:
            sums = cumulative_sum(p, axis=axis)
            total = reduce_max(sums, axes=(axis,))
            u = uniform_sample((*x.shape[:-1], num_samples), p.dtype, generator)
            return searchsorted(sums, u * reshape(total, shape=(*total.shape, 1)), right=True)
        # the positions whose exponential clocks of rate p ring first
        clocks = -e.log(open_uniform_sample(tuple(p.shape), p.dtype, generator))
        order = sort(p / clocks, axis=axis, descending=True, stable=True)[1]
        limits = (*x.shape[:-1], num_samples)
        return slice_(order, starts=(0,) * (axis + 1), limits=limits, strides=(1,) * (axis + 1))


def _check_probabilities(p: Any, axis: int, least: int) -> None:
    if not _known(p):
        return
    zero, infinity = scalar_operand(0, p.dtype), scalar_operand(math.inf, p.dtype)
    if not _flat_all(e.logical_and(e.greater_equal(p, zero), e.less(p, infinity))):
        raise ShapeError("probability tensor contains either `inf`, `nan` or element < 0")
    positive = reduce_sum(e.cast(e.greater(p, zero), dtype=int64), axes=(axis,))
    fewest = reduce_min(positive, axes=tuple(range(axis))).item()
    if fewest == 0:
        raise ShapeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if fewest < least:
        raise ShapeError(
            "invalid multinomial distribution (with replacement=False, not enough non-negative category to sample)"
        )


# --- filling a tensor ------------------------------------------------------------------------------------------------


def _fill(self: Any, sample: Any, factor: Any = 1, shift: Any = 0) -> Any:
    with set_grad(False):
        new = cast_to(_scaled(sample, factor, shift), self.dtype)
    return write_into(self, new)


def _work_dtype(fn: str, self: Any) -> DType:
    _need_float_dtype(fn, need_tensor(self, "self").dtype)
    return float64 if self.dtype is float64 else float32


@beside
def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with uniform numbers from [from_, to); returns self. ShapeError (a RuntimeError) for from_ > to."""
    _need_float_dtype("check_uniform_bounds", need_tensor(self, "self").dtype)
    if from_ > to:
        raise ShapeError(f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}")
    return _fill(self, uniform_sample(tuple(self.shape), self.dtype, generator), to - from_, from_)


@beside
def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with normal numbers; returns self."""
    _need_float_dtype("normal_kernel_cpu", need_tensor(self, "self").dtype)
    _check_std(std)
    return _fill(self, normal_sample(tuple(self.shape), self.dtype, generator), std, mean)


@beside
def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fills with 1 with probability p (a number or a tensor that broadcasts), else 0; returns self."""
    return _fill(self, _hits(p, tuple(need_tensor(self, "self").shape), generator))


@beside
def random_(self: Any, *args: Any, from_: Any = 0, to: Any = None, generator: Any = None) -> Any:
    """Fills with whole numbers: all the dtype holds (floats: exactly), `random_(to)` or `random_(from_, to)`."""
    dtype = need_tensor(self, "self").dtype
    if len(args) == 2:
        from_, to = args
    elif args:
        (to,) = args
    if to is None:
        to = (
            1 << _DIGITS[dtype] if dtype.category == FLOAT else 2 if dtype is bool_ else int(np.iinfo(dtype.np).max) + 1
        )
        to += dtype.category == FLOAT
    return _fill(self, integer_sample(from_, to, tuple(self.shape), generator))


@beside
def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with exponentially distributed numbers of rate lambd; returns self."""
    work = _work_dtype("exponential_", self)
    if lambd <= 0:
        raise ShapeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(self, e.log(open_uniform_sample(tuple(self.shape), work, generator)), -1 / lambd)


@beside
def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Fills with exp of normal numbers of the given mean and std; returns self."""
    work = _work_dtype("log_normal_", self)
    if std <= 0:
        raise ShapeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return _fill(self, e.exp(_scaled(normal_sample(tuple(self.shape), work, generator), std, mean)))


@beside
def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Fills with Cauchy distributed numbers; returns self."""
    work = _work_dtype("cauchy_", self)
    if sigma <= 0:
        raise ShapeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    u = open_uniform_sample(tuple(self.shape), work, generator)
    return _fill(self, e.tan((u - 0.5) * math.pi), sigma, median)


@beside
def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """Fills with the number of trials until the first success of probability p: 1, 2, ...; returns self."""
    if need_tensor(self, "self").dtype is bool_:
        raise DtypeError('"geometric_cpu_" not implemented for bool', "a number dtype")
    if not 0 < p < 1:
        raise ShapeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    work = float32 if self.dtype.category == INT or self.dtype is not float64 else float64
    return _fill(self, e.ceil(e.log(open_uniform_sample(tuple(self.shape), work, generator)) * (1 / math.log1p(-p))))


FILLS = (
    "uniform_", "normal_", "bernoulli_", "random_", "exponential_", "log_normal_", "cauchy_", "geometric_",
)  # fmt: skip
METHODS = ("multinomial", "bernoulli")
INPLACE: tuple[str, ...] = ()
__all__ = [
    "Generator", "default_generator", "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "rand",
    "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli", "multinomial",
]  # fmt: skip
