"""`torch.autograd.functional`: products with Jacobians and Hessians, and these themselves.

Everything is made of reverse sweeps. A product with the Jacobian itself is the gradient, with respect to the cotangent, of a
product with its transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.autodiff import pull_to, seeds_for, zeros_of
from graphc.core.context import set_grad
from graphc.core.dims import product
from graphc.core.errors import ArgumentTypeError, GradientError
from graphc.core.tape import TensorBase
from graphc.functions.creation import ones_like, zeros, zeros_like
from graphc.functions.joining import stack
from graphc.functions.placing import at_home
from graphc.primitives.copying import copy
from graphc.primitives.views import reshape

Tensors = tuple[Any, ...]


def _tuple(x: Any, what: str, where: str) -> tuple[bool, Tensors]:
    """Whether x is a tuple, and x as one; ArgumentTypeError unless it is made of tensors."""
    is_tuple = isinstance(x, tuple)
    found = x if is_tuple else (x,)
    for i, t in enumerate(found):
        if not isinstance(t, TensorBase):
            raise ArgumentTypeError(
                f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but the"
                + (f" value at index {i} has type {type(t)}." if is_tuple else f" given {what} has type {type(t)}.")
            )
    return is_tuple, found


def _fresh(inputs: Tensors, create_graph: bool) -> Tensors:
    """The inputs as tensors of their own that want gradients; on the outer tape where the result is to be."""
    return tuple(copy(x) if create_graph and x.requires_grad else x.detach().requires_grad_(True) for x in inputs)


def _settled(nest: Any, create_graph: bool) -> Any:
    """Results, off the tape unless they are to stay on it."""
    if isinstance(nest, tuple):
        return tuple([_settled(x, create_graph) for x in nest])
    return nest if create_graph else nest.detach()


def _plain(items: Any, is_tuple: bool) -> Any:
    return tuple(items) if is_tuple else items[0]


def pulled(
    outputs: Tensors, inputs: Tensors, cotangents: Sequence[Any], create: bool, strict: bool, where: str
) -> list[Any]:
    """The gradients of the outputs that depend on the inputs, zeros where they do not; GradientError there if `strict`."""
    wanted = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if g is not None and y._edge is not None]
    if strict and len(wanted) < len(outputs):
        raise GradientError(f"Output 0 of the user-provided function does not require gradients. {where}")
    found: list[Any] = [None] * len(inputs)
    if wanted:
        with set_grad(create):
            roots = seeds_for([y for y, _ in wanted], [g for _, g in wanted])
        found = pull_to(roots, list(inputs), True, create)
    for i, g in enumerate(found):
        if g is None and strict:
            raise GradientError(f"The output of the user-provided function is independent of input {i}. {where}")
    found = [zeros_of(x.tensor_type) if g is None else g for x, g in zip(inputs, found, strict=True)]
    return [at_home(g, x) for x, g in zip(inputs, found, strict=True)]


def _checked_v(v: Any, others: Tensors, what: str, where: str) -> Tensors:
    """The vector of a product: ones for a single number, else tensors of the shapes of `others`."""
    if v is None:
        if len(others) != 1 or product(tuple(others[0].shape)) != 1:
            raise GradientError(
                f"The vector v can only be None if {what} is a single Tensor with a single element, in {where}."
            )
        return (ones_like(others[0]),)
    _, vs = _tuple(v, "v", where)
    if len(vs) != len(others):
        raise GradientError(f"v is a tuple of invalid length: should be {len(others)} but got {len(vs)}.")
    for i, (a, b) in enumerate(zip(vs, others, strict=True)):
        if tuple(a.shape) != tuple(b.shape):
            raise GradientError(
                f"Entry {i} in v has invalid size: should be {tuple(b.shape)} but got {tuple(a.shape)}, in {where}."
            )
    return vs


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """`func(*inputs)`, and v times the Jacobian: the gradients of the inputs for the cotangents v."""
    is_tuple, given = _tuple(inputs, "inputs", "vjp")
    with set_grad(True):
        xs = _fresh(given, create_graph)
        many, ys = _tuple(func(*xs), "outputs of the user-provided function", "vjp")
        vs = _checked_v(v, ys, "the output", "vjp")
        found = pulled(ys, xs, vs, create_graph, strict, "This is not allowed in strict mode.")
    return _settled(_plain(ys, many), create_graph), _settled(_plain(found, is_tuple), create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """`func(*inputs)`, and the Jacobian times v: how the outputs change as the inputs move along v."""
    _, given = _tuple(inputs, "inputs", "jvp")
    vs = _checked_v(v, given, "the input", "jvp")
    with set_grad(True):
        xs = _fresh(given, create_graph)
        many, ys = _tuple(func(*xs), "outputs of the user-provided function", "jvp")
        tangents = pushed(ys, xs, vs, create_graph, strict)
    return _settled(_plain(ys, many), create_graph), _settled(_plain(tangents, many), create_graph)


def pushed(ys: Tensors, xs: Tensors, vs: Tensors, create: bool, strict: bool) -> list[Any]:
    """The outputs' changes: v times the derivative of J^T u by u, which is J v."""
    us = tuple(zeros_like(y).requires_grad_(True) for y in ys)
    found = pulled(ys, xs, us, True, strict, "This is not allowed in strict mode.")
    return pulled(tuple(found), us, vs, create, False, "")


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivatives of every output's elements by every input's: [*output, *input], in tuples of tuples for tuples.

    One sweep for each element of an output; `vectorize` and `strategy` change nothing.
    """
    is_tuple, given = _tuple(inputs, "inputs", "jacobian")
    with set_grad(True):
        xs = _fresh(given, create_graph)
        many, ys = _tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        rows = [_rows(y, xs, create_graph, strict) for y in ys]
    whole = tuple(_plain(row, is_tuple) for row in rows)
    return _settled(_plain(whole, many), create_graph)


def _rows(y: Any, xs: Tensors, create: bool, strict: bool) -> tuple[Any, ...]:
    """The Jacobian of one output."""
    shape = tuple(y.shape)
    flat = y.reshape(-1)
    parts = [
        pulled((flat[j],), xs, (ones_like(flat[j]),), create, strict, "This is not allowed in strict mode.")
        for j in range(product(shape))
    ]
    whole = [shape + tuple(x.shape) for x in xs]
    if not parts:
        return tuple(zeros(size, dtype=x.dtype) for size, x in zip(whole, xs, strict=True))
    return tuple(reshape(stack([p[i] for p in parts]), shape=size) for i, size in enumerate(whole))


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function with one number as its result: [*input, *input], in tuples for tuples."""
    is_tuple, given = _tuple(inputs, "inputs", "hessian")

    def gradient(*xs: Any) -> Tensors:
        y = _single(func(*xs), "hessian")
        return tuple(pulled((y,), xs, (ones_like(y),), True, strict, "This is not allowed in strict mode."))

    found = jacobian(gradient, given, create_graph, strict)
    return found if is_tuple else found[0][0]


def _single(y: Any, where: str) -> Any:
    is_tuple, ys = _tuple(y, "outputs of the user-provided function", where)
    if is_tuple or product(tuple(ys[0].shape)) != 1:
        raise GradientError(f"The function given to {where} should return a single Tensor with a single element")
    return ys[0].reshape(())


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """`func(*inputs)`, one number, and v times its Hessian."""
    is_tuple, given = _tuple(inputs, "inputs", "vhp")
    vs = _checked_v(v, given, "the input", "vhp")
    with set_grad(True):
        xs = _fresh(given, create_graph)
        result = func(*xs)
        y = _single(result, "vhp")
        gradient = pulled((y,), xs, (ones_like(y),), True, strict, "This is not allowed in strict mode.")
        found = pulled(tuple(gradient), xs, vs, create_graph, strict, "This is not allowed in strict mode.")
    return _settled(result, create_graph), _settled(_plain(found, is_tuple), create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """`func(*inputs)`, one number, and its Hessian times v: the same as `vhp` where second derivatives are continuous."""
    is_tuple, given = _tuple(inputs, "inputs", "hvp")
    vs = _checked_v(v, given, "the input", "hvp")
    with set_grad(True):
        xs = _fresh(given, create_graph)
        result = func(*xs)
        y = _single(result, "hvp")
        gradient = pulled((y,), xs, (ones_like(y),), True, strict, "This is not allowed in strict mode.")
        found = pushed(tuple(gradient), xs, vs, create_graph, strict)
    return _settled(result, create_graph), _settled(_plain(found, is_tuple), create_graph)


__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
