"""`torch.func`: functions made of functions. Derivatives nest, in eager code, in traces and in graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.autodiff import order_entries
from graphc.autograd.functional import pulled, pushed
from graphc.batching import Batched, record, run, whole, write_operands
from graphc.core.context import EPOCH, set_grad
from graphc.core.dims import product
from graphc.core.errors import ArgumentError, ArgumentTypeError, GradientError
from graphc.core.tape import LEAF, TensorBase
from graphc.functions.creation import ones_like, zeros
from graphc.functions.generators import default_generator
from graphc.functions.joining import stack
from graphc.functions.shaping import movedim
from graphc.nests import Other, flatten, unflatten
from graphc.primitives.copying import copy
from graphc.primitives.views import reshape

Function = Callable[..., Any]


# --- derivatives ------------------------------------------------------------------------------------------------------


class _Level:
    """The tensors that one derivative is taken by, in the place of what was given."""

    def __init__(self, nest: Any):
        given: list[Any] = []
        self.structure = flatten(nest, given)
        if not given:
            raise ArgumentTypeError("expected a Tensor, or a nest of Tensors, to differentiate by")
        self.inputs = [copy(x) if x.requires_grad else x.detach().requires_grad_(True) for x in given]
        self.own = {id(x) for x in self.inputs}

    @property
    def nest(self) -> Any:
        """The tensors as they were given."""
        return unflatten(self.structure, self.inputs)

    def shaped(self, tensors: Sequence[Any]) -> Any:
        """One tensor for each input, in the inputs' nest."""
        return unflatten(self.structure, list(tensors))

    def settled(self, nest: Any) -> Any:
        """Results, off the tape unless something outside of this derivative wants their gradients."""
        found: list[Any] = []
        structure = flatten(nest, found)
        return unflatten(structure, [self._settle(x) for x in found])

    def _settle(self, x: Any) -> Any:
        edge = x._here()._edge
        if edge is None or (edge is LEAF and id(x) not in self.own):
            return x
        if edge is LEAF:
            return x.detach()
        leaves = (e for entry in order_entries([edge[0]]) for e in entry.edges if isinstance(e, TensorBase))
        return x if any(id(leaf) not in self.own for leaf in leaves) else x.detach()


def _chosen(args: tuple[Any, ...], argnums: Any) -> Any:
    """The arguments a derivative is taken by."""
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    for n in numbers:
        if not isinstance(n, int) or not -len(args) <= n < len(args):
            raise GradientError(f"Got argnum={n}, but only {len(args)} positional inputs")
    return tuple(args[n] for n in numbers) if isinstance(argnums, tuple) else args[argnums]


def _replaced(args: tuple[Any, ...], argnums: Any, chosen: Any) -> list[Any]:
    replaced = list(args)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    for n, x in zip(numbers, chosen if isinstance(argnums, tuple) else (chosen,), strict=True):
        replaced[n] = x
    return replaced


def _with_aux(result: Any, has_aux: bool, where: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise GradientError(f"{where}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def grad_and_value(func: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of `func`'s single number by its arguments `argnums`, and the number (and aux)."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with set_grad(True):
            level = _Level(_chosen(args, argnums))
            value, aux = _with_aux(
                func(*_replaced(args, argnums, level.nest), **kwargs), has_aux, "grad_and_value(f)(*args)"
            )
            if not isinstance(value, TensorBase):
                raise GradientError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a single tensor, got {type(value)}"
                )
            if len(value.shape):
                raise GradientError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with "
                    f"{len(value.shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            found = level.shaped(pulled((value,), tuple(level.inputs), (ones_like(value),), True, False, ""))
        found, value, aux = level.settled((found, value, aux))
        return (found, (value, aux)) if has_aux else (found, value)

    return wrapper


def grad(func: Function, argnums: Any = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of `func`'s single number by its arguments `argnums` (and aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """`func(*primals)`, and a function from its cotangents to those of the primals (and aux)."""
    with set_grad(True):
        level = _Level(primals)
        result, aux = _with_aux(func(*level.nest), has_aux, "vjp(f, *primals)")
    ys: list[Any] = []
    structure = flatten(result, ys)

    def pull(*cotangents: Any, create_graph: bool | None = None) -> Any:
        given: list[Any] = []
        flatten(cotangents[0] if len(cotangents) == 1 else cotangents, given)
        if len(given) != len(ys):
            raise GradientError(f"Expected {len(ys)} cotangents in the structure of the output, got {len(given)}")
        found = pulled(tuple(ys), tuple(level.inputs), given, True, False, "")
        return level.settled(level.shaped(found))

    out = level.settled(unflatten(structure, ys))
    return (out, pull, level.settled(aux)) if has_aux else (out, pull)


def jvp(func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """`func(*primals)`, and how it changes as the primals move along the tangents (and aux)."""
    if not isinstance(primals, tuple) or not primals:
        raise GradientError(f"jvp(f, primals, tangents): Expected primals to be a non-empty tuple, got {type(primals)}")
    given: list[Any] = []
    with set_grad(True):
        level = _Level(primals)
        if flatten(tangents, given) != level.structure:
            raise GradientError("jvp(f, primals, tangents): Expected primals and tangents to have the same structure")
        result, aux = _with_aux(func(*level.nest), has_aux, "jvp(f, primals, tangents)")
        ys: list[Any] = []
        structure = flatten(result, ys)
        found = pushed(tuple(ys), tuple(level.inputs), tuple(given), True, strict)
    out, tangent = level.settled((unflatten(structure, ys), unflatten(structure, list(found))))
    return (out, tangent, level.settled(aux)) if has_aux else (out, tangent)


def jacrev(
    func: Function, argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None, **_: Any
) -> Function:
    """A function that gives the derivatives of every element of `func`'s result: [*output, *input]; one sweep for each."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with set_grad(True):
            level = _Level(_chosen(args, argnums))
            result, aux = _with_aux(func(*_replaced(args, argnums, level.nest), **kwargs), has_aux, "jacrev")
            ys: list[Any] = []
            structure = flatten(result, ys)
            blocks = [level.shaped(_jacobian(y, level.inputs)) for y in ys]
        found = level.settled(unflatten(structure, blocks))
        return (found, level.settled(aux)) if has_aux else found

    return wrapper


def _jacobian(y: Any, xs: Sequence[Any]) -> list[Any]:
    shape, flat = tuple(y.shape), y.reshape(-1)
    rows = [pulled((flat[j],), tuple(xs), (ones_like(flat[j]),), True, False, "") for j in range(product(shape))]
    whole = [shape + tuple(x.shape) for x in xs]
    if not rows:
        return [zeros(size, dtype=x.dtype) for size, x in zip(whole, xs, strict=True)]
    return [reshape(stack([row[i] for row in rows]), shape=size) for i, size in enumerate(whole)]


def jacfwd(
    func: Function, argnums: Any = 0, has_aux: bool = False, *, chunk_size: int | None = None, randomness: str = "error"
) -> Function:
    """As `jacrev`: graphc differentiates in reverse."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Function, argnums: Any = 0) -> Function:
    """A function that gives the second derivatives of `func`'s result."""
    return jacfwd(jacrev(func, argnums), argnums)


# --- batches ----------------------------------------------------------------------------------------------------------


def vmap(
    func: Function, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
) -> Function:
    """A function that applies `func` to each element along a dimension of its arguments, and stacks what it gives.

    `in_dims`, `out_dims`: the dimension for each argument and result, None for an argument that all share. `func` is recorded
    for one element and run for all at once (`graphc/batching.py`). `randomness`: "same" or "different" numbers for each
    element, which are then run in turn, as of any function that writes to outer tensors; "error" refuses such a function. A
    function that prints is run in turn too.
    """
    if randomness not in ("error", "different", "same"):
        raise GradientError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves: list[Any] = []
        structure = flatten(args, leaves)
        dims = _dims(in_dims, args, leaves)
        sizes = {x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None}
        if not sizes:
            raise ArgumentError(
                "vmap: at least one argument must have a dimension to map over, got in_dims without any"
            )
        if len(sizes) > 1:
            raise ArgumentError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got {sizes}"
            )
        size = sizes.pop()
        moved = [
            Batched(x if d is None else movedim(x, d, 0), d is not None) for x, d in zip(leaves, dims, strict=True)
        ]
        out: list[Any] = []

        def element(*parts: Any) -> list[Any]:
            found: list[Any] = []
            out[:] = [flatten(func(*unflatten(structure, list(parts)), **kwargs), found)]
            for x in _others(out[0]):
                raise ArgumentError(f"vmap: the function must only return Tensors, got type {type(x)}")
            return found

        recorded = record(element, moved)
        if recorded.writes and randomness == "error":
            raise GradientError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
                "randomness flags on vmap or perform the randomness operation out of vmap"
            )
        if (recorded.writes or recorded.shows) and not (isinstance(size, int) and size == 0):
            found = _in_turn(element, moved, size, randomness == "same")
        else:
            results = run(recorded, moved, size)
            n = len(results) - len(recorded.changed)
            found = [whole(x, size) for x in results[:n]]
            write_operands(recorded, moved, results[n:], size)
        return _placed(unflatten(out[0], found), out_dims)

    return wrapper


def _others(structure: Any) -> Any:
    """What is no tensor in a nest's structure."""
    parts = [structure]
    while parts:
        part = parts.pop()
        if isinstance(part, Other):
            yield part.value
        elif isinstance(part, tuple):
            parts += part


def _in_turn(element: Function, operands: Sequence[Batched], size: int, same: bool) -> list[Any]:
    """The results of one element after another, stacked."""
    state, rows = default_generator.get_state() if same else None, []
    for i in range(size):
        if state is not None:
            default_generator.set_state(state)
        rows.append(element(*[x.tensor[i] if x.has_batch else x.tensor for x in operands]))
    return [stack(column) for column in zip(*rows, strict=True)]


def _placed(nest: Any, out_dims: Any) -> Any:
    """Results with the batch's dimension where it is wanted."""
    found: list[Any] = []
    structure = flatten(nest, found)
    dims = [out_dims] * len(found) if isinstance(out_dims, int) else list(out_dims)
    if len(dims) != len(found):
        raise ArgumentError(f"vmap: out_dims {out_dims!r} does not fit {len(found)} results")
    return unflatten(structure, [x if d == 0 else movedim(x, 0, d) for x, d in zip(found, dims, strict=True)])


def _dims(in_dims: Any, args: tuple[Any, ...], leaves: Sequence[Any]) -> list[Any]:
    """The dimension to map over of each tensor among the arguments."""
    if isinstance(in_dims, int):
        return [in_dims] * len(leaves)
    if not isinstance(in_dims, tuple | list) or len(in_dims) != len(args):
        raise ArgumentError(
            f"vmap: in_dims is not compatible with the structure of inputs. in_dims has {in_dims!r}, there are {len(args)} "
            "arguments"
        )
    found: list[Any] = []
    for spec, arg in zip(in_dims, args, strict=True):
        inner: list[Any] = []
        flatten(arg, inner)
        if spec is None or isinstance(spec, int):
            found += [spec] * len(inner)
        elif isinstance(arg, Mapping):
            found += _dims(tuple(spec[k] for k in arg), tuple(arg.values()), inner)
        else:
            found += _dims(tuple(spec), tuple(arg), inner)
    return found


# --- modules ----------------------------------------------------------------------------------------------------------


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other tensors in the place of its parameters and buffers, given by their names.

    A sequence of dicts counts as one. `tie_weights`: what is one tensor in the module stays one. Names that the module has not
    are passed over; `strict`: GradientError for those, and unless all are given.
    """
    dicts = (
        [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, Mapping) else parameter_and_buffer_dicts
    )
    given: dict[str, Any] = {}
    for d in dicts:
        for name in d:
            if name in given:
                raise ArgumentError(
                    f"{name} appears in multiple dictionaries; behavior of functional call is ambiguous"
                )
        given |= d
    places = _places(module)
    unknown = [name for name in given if name not in places]
    missing = [name for name in places if name not in given]
    if strict and (unknown or missing):
        raise GradientError(f"Error(s) in loading state_dict: unexpected keys {unknown}, missing keys {missing}")
    given = {name: tensor for name, tensor in given.items() if name in places}
    owners: dict[int, list[str]] = {}
    for name, (held, key) in places.items():
        owners.setdefault(id(held[key]), []).append(name)
    named = dict(given)
    if tie_weights:
        for name, tensor in given.items():
            held, key = places[name]
            named |= {other: tensor for other in owners[id(held[key])] if other not in given}
    before = [(places[name], places[name][0][places[name][1]]) for name in named]
    EPOCH.bump()
    try:
        for name, tensor in named.items():
            held, key = places[name]
            held[key] = tensor
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*positional, **(kwargs or {}))
    finally:
        for (held, key), tensor in before:
            held[key] = tensor
        EPOCH.bump()


def _places(module: Any) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer stands, by its full name."""
    found = {}
    for path, child in module.named_modules(remove_duplicate=False):
        for held in (child._parameters, child._buffers):
            for key, tensor in held.items():
                if tensor is not None:
                    found[f"{path}.{key}" if path else key] = (held, key)
    return found


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of modules of one kind, stacked by name, for `vmap` over `functional_call`."""
    if not models:
        raise GradientError("stack_module_state: Expected at least one model, got 0.")
    if len({type(m) for m in models}) > 1:
        raise GradientError("stack_module_state: Expected all models to be of the same class.")

    def stacked(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        with set_grad(False):
            made = {name: stack([item[name] for item in items]) for name in items[0]}
        return {name: x.requires_grad_(items[0][name].requires_grad) for name, x in made.items()}

    return stacked([dict(m.named_parameters()) for m in models]), stacked([dict(m.named_buffers()) for m in models])


__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "stack_module_state", "vjp", "vmap",
]  # fmt: skip
