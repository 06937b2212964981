"""Views: the elements of one operand, placed elsewhere; and the two ops that write through one.

Each declares `index`, where an output element comes from, and `put`, the base with the viewed elements replaced. `eval`
returns NumPy views wherever NumPy can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Shape, Size, floordiv, is_static, product, same, size_max, size_min
from graphc.core.errors import ArgumentError, DimensionError, DtypeError, ShapeError
from graphc.core.op import ErrorSample, Kind, Op, Sample, Scatter, View, declare, find_op
from graphc.core.tensor_types import DTYPES, TensorType, int64
from graphc.primitives.creation import full

Indices = tuple[Any, ...]


def show(shape: Shape) -> str:
    """A shape as PyTorch's messages print it: `[3, 4]`."""
    return "[" + ", ".join(map(str, shape)) + "]"


def zeros_of(shape: Shape, dtype: Any) -> Any:
    """Zeros, as a `full` op."""
    return full(shape=tuple(shape), value={0: False, 1: 0, 2: 0.0}[dtype.category], dtype=dtype)


def sum_to(x: Any, shape: Shape) -> Any:
    """The sum of x over whatever was broadcast to get from `shape` to x's shape."""
    lead = len(x.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, size in enumerate(shape) if size == 1 and x.shape[lead + i] != 1)
    if axes:
        # reductions.py imports this file for its own rules
        x = find_op("reduce_sum")(x, axes=axes)
    return x if x.shape == tuple(shape) else reshape(x, shape=tuple(shape))


def typed_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """A small [2, 3] array of every dtype."""
    for dtype in DTYPES:
        yield np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.np)


def laid_out_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """f64[2, 3] in several memory layouts, one with NaN and Inf."""
    rng = np.random.default_rng(0)
    yield rng.normal(size=(3, 2)).T
    yield rng.normal(size=(4, 6))[::2, ::2]
    yield rng.normal(size=(2, 3))[::-1, ::-1]
    yield np.broadcast_to(rng.normal(size=(1, 3)), (2, 3))
    yield np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 1.0]])


def samples_2x3(**attrs: Any) -> Iterator[Sample]:
    """[2, 3] operands of every dtype and layout with the same attributes."""
    for array in (*typed_arrays(), *laid_out_arrays()):
        smooth = array.dtype.kind not in "fV" or bool(np.isfinite(array.astype(np.float64)).all())
        yield Sample((array,), attrs, smooth)


# --- reshape ---------------------------------------------------------------------------------------------------------


def _reshape_infer(x: TensorType, *, shape: Shape) -> TensorType:
    old, new = x.size, product(shape)
    if is_static(shape) and (min(shape, default=0) < 0 or (isinstance(old, int) and old != new)):
        raise ShapeError(f"shape '{show(shape)}' is invalid for input of size {old}", f"{old} elements")
    same(old, new, f"shape '{show(shape)}' is invalid for input of size {old}", f"{old} elements, got {new}")
    return x.with_shape(shape)


def _groups(ins: list[Size], outs: list[Size]) -> Iterator[tuple[range, range]]:
    """Runs of input and output axes that hold the same number of elements, as short as can be told."""
    i = j = 0
    while i < len(ins) or j < len(outs):
        first_in, first_out = i, j
        have_in: Size = 1
        have_out: Size = 1
        while i == first_in or j == first_out or have_in != have_out:
            gap = have_in - have_out
            if i == len(ins) or j == len(outs) or not isinstance(gap, int):
                i, j = len(ins), len(outs)
                break
            if gap < 0 or i == first_in:
                have_in = have_in * ins[i]
                i += 1
            else:
                have_out = have_out * outs[j]
                j += 1
        yield range(first_in, i), range(first_out, j)


def _reshape_index(out_index: Indices, in_type: TensorType, *, shape: Shape) -> Indices:
    found: list[Any] = [0] * in_type.ndim
    if any(size == 0 for size in in_type.shape):
        return tuple(found)
    ins = [axis for axis, size in enumerate(in_type.shape) if size != 1]
    outs = [axis for axis, size in enumerate(shape) if size != 1]
    for take, give in _groups([in_type.shape[a] for a in ins], [shape[a] for a in outs]):
        flat: Any = 0
        for n, j in enumerate(give):
            flat = out_index[outs[j]] if n == 0 else flat * shape[outs[j]] + out_index[outs[j]]
        for n, i in enumerate(reversed(take)):
            size = in_type.shape[ins[i]]
            last = n == len(take) - 1
            found[ins[i]] = flat if last else flat % size
            flat = flat if last else flat // size
    return tuple(found)


def _reshape_samples() -> Iterator[Sample]:
    yield from samples_2x3(shape=(3, 2))
    rng = np.random.default_rng(1)
    for old, new in [((), (1, 1)), ((1,), ()), ((0, 3), (3, 0, 2)), ((2, 3, 4), (6, 4)), ((2, 3, 4), (2, 2, 6))]:
        yield Sample((rng.normal(size=old),), {"shape": new})
    for old, new in [((2, 6), (4, 3)), ((1, 4, 1, 2), (2, 1, 4)), ((4, 2, 3), (2, 2, 6)), ((2, 3), (2, 3))]:
        yield Sample((rng.normal(size=old),), {"shape": new})


def _reshape_errors() -> Iterator[ErrorSample]:
    wrong_count = r"shape '\[3, 4\]' is invalid for input of size 10"
    yield ErrorSample((np.zeros(10),), {"shape": (3, 4)}, ShapeError, wrong_count)
    yield ErrorSample((np.zeros((2, 3)),), {"shape": (-2, -3)}, ShapeError, "is invalid for input of size 6")


reshape: Op = declare(
    "reshape",
    infer=_reshape_infer,
    eval=lambda x, *, shape: x.reshape(shape),
    kind=View(_reshape_index, lambda base, value, *, shape: reshape(value, shape=base.shape)),
    vjp=(lambda g, out, x, *, shape: reshape(g, shape=x.shape),),
    saves=((),),
    samples=_reshape_samples,
    errors=_reshape_errors,
)


# --- permute ---------------------------------------------------------------------------------------------------------


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    back = [0] * len(axes)
    for i, axis in enumerate(axes):
        back[axis] = i
    return tuple(back)


def _permute_infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if len(axes) != x.ndim:
        raise ShapeError(
            f"the number of axes {list(axes)} does not match the number of dimensions of the input",
            f"{x.ndim} axes, got {len(axes)}",
        )
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"axes {list(axes)} are not a permutation", f"each of 0 to {x.ndim - 1} once")
    return x.with_shape(x.shape[a] for a in axes)


def _permute_samples() -> Iterator[Sample]:
    yield from samples_2x3(axes=(1, 0))
    rng = np.random.default_rng(1)
    for shape, axes in [((), ()), ((3,), (0,)), ((0, 2, 3), (2, 0, 1)), ((2, 3, 4), (1, 2, 0)), ((2, 3), (0, 1))]:
        yield Sample((rng.normal(size=shape),), {"axes": axes})


def _permute_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros((2, 3)),), {"axes": (0,)}, ShapeError, "does not match the number of dimensions")
    yield ErrorSample((np.zeros((2, 3)),), {"axes": (0, 0)}, ShapeError, "not a permutation")


permute: Op = declare(
    "permute",
    infer=_permute_infer,
    eval=lambda x, *, axes: x.transpose(axes),
    kind=View(
        lambda out_index, in_type, *, axes: tuple(out_index[i] for i in inverse(axes)),
        lambda base, value, *, axes: permute(value, axes=inverse(axes)),
    ),
    vjp=(lambda g, out, x, *, axes: permute(g, axes=inverse(axes)),),
    saves=((),),
    samples=_permute_samples,
    errors=_permute_errors,
)


# --- expand ----------------------------------------------------------------------------------------------------------


def _expand_infer(x: TensorType, *, shape: Shape) -> TensorType:
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ShapeError(
            f"the number of sizes provided ({len(shape)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({x.ndim})",
            f"at least {x.ndim} sizes",
        )
    if any(isinstance(size, int) and size < 0 for size in shape):
        raise ShapeError(f"the expanded size {show(shape)} has a negative size", "sizes >= 0")
    found = list(shape)
    for i, (have, want) in enumerate(zip(x.shape, shape[lead:], strict=True)):
        if have != 1:
            found[lead + i] = same(
                have,
                want,
                f"the expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {lead + i}. Target sizes: {show(shape)}. Tensor sizes: {show(x.shape)}",
                f"{have} there, or a size of 1 to expand",
            )
    return x.with_shape(found)


def _expand_index(out_index: Indices, in_type: TensorType, *, shape: Shape) -> Indices:
    own = out_index[len(shape) - in_type.ndim :]
    return tuple(0 if size == 1 else i for i, size in zip(own, in_type.shape, strict=True))


def _expand_samples() -> Iterator[Sample]:
    yield from samples_2x3(shape=(2, 2, 3))
    rng = np.random.default_rng(1)
    cases = [((), ()), ((), (2, 2)), ((1,), (3,)), ((1, 3), (0, 3)), ((2, 1, 3), (4, 2, 2, 3)), ((1, 0), (2, 0))]
    for old, new in cases:
        yield Sample((rng.normal(size=old),), {"shape": new})


def _expand_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros((2, 3)),), {"shape": (2, 4)}, ShapeError, r"the expanded size of the tensor \(4\) must")
    yield ErrorSample((np.zeros((2, 3)),), {"shape": (3,)}, ShapeError, "number of sizes provided")
    yield ErrorSample((np.zeros((1, 3)),), {"shape": (-2, 3)}, ShapeError, "negative size")


expand: Op = declare(
    "expand",
    infer=_expand_infer,
    eval=lambda x, *, shape: np.broadcast_to(x, shape),
    kind=View(_expand_index, None),
    vjp=(lambda g, out, x, *, shape: sum_to(g, x.shape),),
    saves=((),),
    samples=_expand_samples,
    errors=_expand_errors,
)


# --- slice -----------------------------------------------------------------------------------------------------------


def check_slice(x: TensorType, starts: Shape, limits: Shape, strides: tuple[int, ...]) -> None:
    """Raises unless 0 <= start <= limit <= size and stride >= 1 hold as far as they can be told."""
    if not len(starts) == len(limits) == len(strides) == x.ndim:
        raise ShapeError("a slice needs one start, limit and stride per dimension", f"{x.ndim} of each")
    for axis, (start, limit, stride, size) in enumerate(zip(starts, limits, strides, x.shape, strict=True)):
        if isinstance(stride, int) and stride < 1:
            raise ArgumentError("slice step must be positive", f"stride >= 1 at dimension {axis}, got {stride}")
        for low, high in ((0, start), (start, limit), (limit, size)):
            gap = high - low
            if isinstance(gap, int) and gap < 0:
                raise DimensionError(
                    f"slice {start}:{limit} is out of range at dimension {axis}", f"0 <= start <= limit <= {size}"
                )


def _slice_shape(starts: Shape, limits: Shape, strides: tuple[int, ...]) -> Shape:
    return tuple(floordiv(b - a + s - 1, s) for a, b, s in zip(starts, limits, strides, strict=True))


def _slice_infer(x: TensorType, *, starts: Shape, limits: Shape, strides: tuple[int, ...]) -> TensorType:
    check_slice(x, starts, limits, strides)
    return x.with_shape(_slice_shape(starts, limits, strides))


def _slices(starts: Shape, limits: Shape, strides: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(map(slice, starts, limits, strides))


def _slice_eval(x: Any, *, starts: Shape, limits: Shape, strides: tuple[int, ...]) -> Any:
    return x[(*_slices(starts, limits, strides), ...)]


def _slice_index(
    out_index: Indices, in_type: TensorType, *, starts: Shape, limits: Shape, strides: tuple[int, ...]
) -> Indices:
    return tuple(i * s + a for i, a, s in zip(out_index, starts, strides, strict=True))


def _slice_rule(g: Any, out: Any, x: Any, *, starts: Shape, limits: Shape, strides: tuple[int, ...]) -> Any:
    if all(s == 1 for s in strides):
        high = tuple(size - limit for size, limit in zip(x.shape, limits, strict=True))
        # joining.py imports this file: pad's own rule is a slice
        return find_op("pad")(g, low=starts, high=high, value=0.0)
    return slice_put(zeros_of(x.shape, g.dtype), g, starts=starts, limits=limits, strides=strides)


_SLICES: tuple[tuple[Shape, dict[str, tuple[int, ...]]], ...] = (
    ((), {"starts": (), "limits": (), "strides": ()}),
    ((5,), {"starts": (1,), "limits": (4,), "strides": (1,)}),
    ((5,), {"starts": (0,), "limits": (5,), "strides": (2,)}),
    ((5,), {"starts": (1,), "limits": (5,), "strides": (3,)}),
    ((3, 4), {"starts": (1, 0), "limits": (3, 4), "strides": (1, 3)}),
    ((3, 4), {"starts": (2, 2), "limits": (2, 4), "strides": (1, 2)}),
    ((0, 2), {"starts": (0, 1), "limits": (0, 2), "strides": (1, 1)}),
    ((2, 3, 2), {"starts": (0, 0, 0), "limits": (2, 3, 2), "strides": (1, 1, 1)}),
)
_SLICE_2X3 = {"starts": (0, 1), "limits": (2, 3), "strides": (1, 1)}


def _slice_samples() -> Iterator[Sample]:
    yield from samples_2x3(**_SLICE_2X3)
    for shape, attrs in _SLICES:
        yield Sample((np.random.default_rng(1).normal(size=shape),), dict(attrs))


def _slice_errors(*more: Any) -> Iterator[ErrorSample]:
    x = (np.zeros((2, 3)), *more)
    bad: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"starts": (0, 2), "limits": (2, 4), "strides": (1, 1)}, DimensionError, "out of range"),
        ({"starts": (0, 2), "limits": (2, 1), "strides": (1, 1)}, DimensionError, "out of range"),
        ({"starts": (0, -1), "limits": (2, 1), "strides": (1, 1)}, DimensionError, "out of range"),
        ({"starts": (0, 0), "limits": (2, 1), "strides": (1, 0)}, ArgumentError, "step must be positive"),
        ({"starts": (0,), "limits": (2,), "strides": (1,)}, ShapeError, "one start, limit and stride"),
    ]
    return (ErrorSample(x, attrs, error, match) for attrs, error, match in bad)


slice_: Op = declare(
    "slice_",
    infer=_slice_infer,
    eval=_slice_eval,
    kind=View(_slice_index, lambda base, value, **attrs: slice_put(base, value, **attrs)),
    vjp=(_slice_rule,),
    saves=((),),
    samples=_slice_samples,
    errors=_slice_errors,
)


def check_put(value: TensorType, base: TensorType, shape: Shape) -> None:
    """Raises unless `value` can replace a part of `base` that has `shape`."""
    if value.dtype is not base.dtype:
        raise DtypeError("the value has another dtype than the base", f"{base.dtype!r}, got {value.dtype!r}")
    if value.ndim != len(shape):
        raise ShapeError("the value does not fit the part it replaces", f"shape {show(shape)}, got {show(value.shape)}")
    for have, want in zip(value.shape, shape, strict=True):
        same(have, want, "the value does not fit the part it replaces", f"shape {show(shape)}, got {show(value.shape)}")


def _slice_put_infer(
    base: TensorType, value: TensorType, *, starts: Shape, limits: Shape, strides: tuple[int, ...]
) -> TensorType:
    check_slice(base, starts, limits, strides)
    check_put(value, base, _slice_shape(starts, limits, strides))
    return base


def _slice_put_eval(base: Any, value: Any, *, starts: Shape, limits: Shape, strides: tuple[int, ...]) -> Any:
    out = base.copy()
    out[(*_slices(starts, limits, strides), ...)] = value
    return out


def _slice_put_element(
    at: Any, index: Any, base: TensorType, value: TensorType, *, starts: Any, limits: Any, strides: tuple[int, ...]
) -> Any:
    inside, own = None, []
    for n, (i, start, stride) in enumerate(zip(index, starts, strides, strict=True)):
        own.append(i - start if stride == 1 else (i - start) // stride)
        if start == 0 and stride == 1 and value.shape[n] == base.shape[n]:
            continue
        place = at.tree(i)
        here = (place >= start) & (place < limits[n])
        if stride != 1:
            here = here & s.eq(s.rem(place - start, s.const(stride, int64)), 0)
        inside = here if inside is None else inside & here
    if inside is None:
        return at(1, index)
    return s.select(inside, at(1, own, inside), at(0, index, ~inside))


def _put_samples(singles: Iterator[Sample], part: Any) -> Iterator[Sample]:
    """Samples of a put from those of its view: the operand, and a value of the view's shape."""
    for sample in singles:
        (base,) = sample.inputs
        value = np.asarray(np.asarray(part(base, **sample.attrs)).astype(np.float64) * 2 + 1, base.dtype)
        yield Sample((base, value), sample.attrs, sample.smooth)


def _slice_put_errors() -> Iterator[ErrorSample]:
    yield from _slice_errors(np.zeros((2, 2)))
    for value, error, match in [
        (np.zeros((2, 3)), ShapeError, "does not fit"),
        (np.zeros(2), ShapeError, "does not fit"),
        (np.zeros((2, 2), np.float32), DtypeError, "another dtype"),
    ]:
        yield ErrorSample((np.zeros((2, 3)), value), dict(_SLICE_2X3), error, match)


slice_put: Op = declare(
    "slice_put",
    infer=_slice_put_infer,
    eval=_slice_put_eval,
    element=_slice_put_element,
    kind=Kind("put"),
    vjp=(
        lambda g, out, base, value, **attrs: slice_put(g, zeros_of(value.shape, g.dtype), **attrs),
        lambda g, out, base, value, **attrs: slice_(g, **attrs),
    ),
    saves=((), ()),
    samples=lambda: _put_samples(_slice_samples(), _slice_eval),
    errors=_slice_put_errors,
)


# --- flip ------------------------------------------------------------------------------------------------------------


def _flip_infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if len(set(axes)) != len(axes):
        raise ShapeError(f"a dimension appears multiple times in {list(axes)}", "each dimension at most once")
    if any(not 0 <= a < x.ndim for a in axes):
        raise DimensionError(f"dimension out of range in {list(axes)}", f"0 to {x.ndim - 1}")
    return x


def _flip_samples() -> Iterator[Sample]:
    yield from samples_2x3(axes=(1,))
    rng = np.random.default_rng(1)
    for shape, axes in [((), ()), ((4,), (0,)), ((0, 2), (0, 1)), ((2, 3, 2), (0, 2)), ((2, 3), ())]:
        yield Sample((rng.normal(size=shape),), {"axes": axes})


def _flip_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros((2, 3)),), {"axes": (0, 0)}, ShapeError, "appears multiple times")
    yield ErrorSample((np.zeros((2, 3)),), {"axes": (2,)}, DimensionError, "out of range")


flip: Op = declare(
    "flip",
    infer=_flip_infer,
    eval=lambda x, *, axes: x[(*(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim)), ...)],
    kind=View(
        lambda out_index, in_type, *, axes: tuple(
            i * -1 + (in_type.shape[a] - 1) if a in axes else i for a, i in enumerate(out_index)
        ),
        lambda base, value, *, axes: flip(value, axes=axes),
    ),
    vjp=(lambda g, out, x, *, axes: flip(g, axes=axes),),
    saves=((),),
    samples=_flip_samples,
    errors=_flip_errors,
)


# --- diagonal --------------------------------------------------------------------------------------------------------


def _diagonal_shape(x: TensorType, offset: int, axis1: int, axis2: int) -> Shape:
    if x.ndim < 2 or not (0 <= axis1 < x.ndim and 0 <= axis2 < x.ndim):
        raise DimensionError(f"no dimensions {axis1} and {axis2} for a diagonal", f"two of {x.ndim} dimensions")
    if axis1 == axis2:
        raise ShapeError(f"diagonal dimensions cannot be identical: {axis1}, {axis2}", "two different dimensions")
    length = size_max(size_min(x.shape[axis1] + min(offset, 0), x.shape[axis2] - max(offset, 0)), 0)
    return (*(s for a, s in enumerate(x.shape) if a not in (axis1, axis2)), length)


def _diagonal_infer(x: TensorType, *, offset: int, axis1: int, axis2: int) -> TensorType:
    return x.with_shape(_diagonal_shape(x, offset, axis1, axis2))


def _diagonal_eval(x: Any, *, offset: int, axis1: int, axis2: int) -> Any:
    out = np.diagonal(x, offset, axis1, axis2)
    if x.flags.writeable:
        out.flags.writeable = True
    return out


def _diagonal_index(out_index: Indices, in_type: TensorType, *, offset: int, axis1: int, axis2: int) -> Indices:
    rest = iter(out_index[:-1])
    place = {axis1: out_index[-1] + max(-offset, 0), axis2: out_index[-1] + max(offset, 0)}
    return tuple(place[a] if a in place else next(rest) for a in range(in_type.ndim))


def _diagonal_samples() -> Iterator[Sample]:
    yield from samples_2x3(offset=0, axis1=0, axis2=1)
    rng = np.random.default_rng(1)
    cases = [((3, 4), 1, 0, 1), ((3, 4), -2, 0, 1), ((3, 3), 5, 0, 1), ((0, 2), 0, 0, 1), ((2, 3, 4), 1, 0, 2)]
    for shape, offset, axis1, axis2 in [*cases, ((2, 3, 4), -1, 2, 1)]:
        yield Sample((rng.normal(size=shape),), {"offset": offset, "axis1": axis1, "axis2": axis2})


def _diagonal_errors(*more: Any) -> Iterator[ErrorSample]:
    same_axes, missing = {"offset": 0, "axis1": 0, "axis2": 0}, {"offset": 0, "axis1": 0, "axis2": 2}
    yield ErrorSample((np.zeros((2, 3)), *more), same_axes, ShapeError, "cannot be identical")
    yield ErrorSample((np.zeros((2, 3)), *more), missing, DimensionError, "no dimensions")


diagonal: Op = declare(
    "diagonal",
    infer=_diagonal_infer,
    eval=_diagonal_eval,
    kind=View(_diagonal_index, lambda base, value, **attrs: diagonal_put(base, value, **attrs)),
    vjp=(lambda g, out, x, **attrs: diagonal_put(zeros_of(x.shape, g.dtype), g, **attrs),),
    saves=((),),
    samples=_diagonal_samples,
    errors=_diagonal_errors,
)


def _diagonal_put_infer(base: TensorType, value: TensorType, *, offset: int, axis1: int, axis2: int) -> TensorType:
    check_put(value, base, _diagonal_shape(base, offset, axis1, axis2))
    return base


def _diagonal_put_eval(base: Any, value: Any, **attrs: Any) -> Any:
    out = base.copy()
    _diagonal_eval(out, **attrs)[...] = value
    return out


def _diagonal_put_place(at: Any, own: Indices, base: TensorType, value: TensorType, **attrs: Any) -> Indices:
    return _diagonal_index(own, base, **attrs)


def _diagonal_put_errors() -> Iterator[ErrorSample]:
    yield from _diagonal_errors(np.zeros(2))
    attrs = {"offset": 0, "axis1": 0, "axis2": 1}
    yield ErrorSample((np.zeros((2, 3)), np.zeros(3)), attrs, ShapeError, "does not fit")
    yield ErrorSample((np.zeros((2, 3)), np.zeros(2, np.int64)), attrs, DtypeError, "another dtype")


diagonal_put: Op = declare(
    "diagonal_put",
    infer=_diagonal_put_infer,
    eval=_diagonal_put_eval,
    kind=Scatter(1, _diagonal_put_place, lambda **attrs: False),
    vjp=(
        lambda g, out, base, value, **attrs: diagonal_put(g, zeros_of(value.shape, g.dtype), **attrs),
        lambda g, out, base, value, **attrs: diagonal(g, **attrs),
    ),
    saves=((), ()),
    samples=lambda: _put_samples(_diagonal_samples(), _diagonal_eval),
    errors=_diagonal_put_errors,
)
