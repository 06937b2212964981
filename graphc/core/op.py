"""The `Op` record: everything graphc knows about one primitive, and the registry of all of them.

Adding an op is one declaration in one file of `primitives/`. Nothing else in the package names it, except functions that
use it. A declaration holds

- `infer(*types, **attrs)`: the result's `TensorType` (a tuple of them for several outputs). Sizes may be `Dim`s. Raises
  `ShapeError`, `DtypeError`, ... with `problem` and `need`; the caller adds op and operands.
- `eval(*arrays, **attrs)`: the reference meaning in NumPy. Must refuse nothing that `infer` accepts.
- `vjp`: one rule per input, `rule(g, out, *inputs, **attrs) -> cotangent of that input`, `None` for an input without
  gradient; or one `Joint` rule where inputs are many or share work. Rules are written in graphc ops.
- `saves`: what each rule reads besides types: input positions, `OUT` for the output(s).
- `kind`: what kernel generators and passes may know of it.
- `samples()` and `errors()`: inputs that must work and inputs that must be refused; every system is tested with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphc.core.context import apply
from graphc.core.tensor_types import TensorType

Attrs = Mapping[str, Any]
OUT = "out"


@dataclass(frozen=True)
class Elementwise:
    """One output element from the broadcast operands' elements at the same place.

    `scalar(*operands, **attrs)` builds the meaning on one element as a tree of `core.scalar` primitives; `operands` are
    scalar trees that know their dtype.
    """

    scalar: Callable[..., Any]


@dataclass(frozen=True)
class View:
    """Elements of the one operand, placed elsewhere.

    `index(out_index, in_type, **attrs)` maps a tuple of output index expressions to the input's (they support + - * // %
    with sizes). `put(base, value, **attrs)` is the inverse for writing: `base` with the viewed elements replaced, written
    in graphc ops; `None` where writing through the view is refused (expand). Strides follow from `index`, which is affine for
    every view but `reshape` (`layouts.py`).
    """

    index: Callable[..., Any]
    put: Callable[..., Any] | None


@dataclass(frozen=True)
class Reduction:
    """Folds `attrs["axes"]` away with an associative `combine` ("add", "multiply", "maximum", "minimum", "or", "and")."""

    combine: str
    identity: Callable[..., Any]


@dataclass(frozen=True)
class ArgReduction:
    """The position of the extreme element along `attrs["axis"]` ("maximum" or "minimum"); the first of equals.

    "maximum_last_nan": the last NaN, if there is one, along `attrs["axes"]`; a second operand holds the positions, and an
    element whose position is negative takes no part.
    """

    combine: str


@dataclass(frozen=True)
class Cumulative:
    """A running fold along `attrs["axis"]`: first the last operand's element, then `step(before, *elements)`, a scalar tree.

    `combine`: "add", "multiply", "maximum", "minimum", which are associative, "logaddexp" or "linear". `start(dtype)`: the
    number from which `step` gives the first value too; None where there is none.
    """

    combine: str
    step: Callable[..., Any]
    start: Callable[..., Any] | None


@dataclass(frozen=True)
class Scatter:
    """A copy of operand 0 in which the elements of operand number `value` are put one after another, in C order.

    `place(at, index, *types, **attrs)`: where the value's element at `index` goes, an index expression for each axis of the
    result; `at` as for `element` below. Axes whose place is not looked up are given by coordinates of the value, so that
    elements apart there stay apart. `adds(**attrs)`: whether elements are added to what is there; else they replace it.
    """

    value: int
    place: Callable[..., Any]
    adds: Callable[..., bool]


@dataclass(frozen=True)
class Kind:
    """A kind that is told by its name alone.

    `name`: "sort", "gather", "put", "contraction", "convolution", "concat", "pad", "create", "random", "control",
    "window", "window part", "collective", "effect", "opaque", "leaf". The four ops of kind "convolution" are told apart by
    their names (primitives/convolution.py), and so are the four of kind "window" (primitives/windows.py).
    """

    name: str


@dataclass(frozen=True)
class Joint:
    """One rule for all inputs: `rule(g, out, *inputs, needs, **attrs) -> tuple`, `needs[i]` telling which are wanted."""

    rule: Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Sample:
    """Operands (NumPy arrays) and attributes an op must accept.

    `smooth` is False where the function has a kink or jump near these operands, so that finite differences say nothing.
    """

    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True


@dataclass(frozen=True)
class ErrorSample:
    """Operands and attributes an op must refuse with `error`, the message matching the regular expression `match`."""

    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    error: type[Exception]
    match: str


AnyKind = Elementwise | View | Reduction | ArgReduction | Cumulative | Scatter | Kind
Saves = tuple[tuple[int | str, ...], ...] | tuple[int | str, ...]


class Op:
    """One primitive operation. Calling it applies it: `add(x, y)`, `reduce_sum(x, axes=(0,))`."""

    __slots__ = (
        "call",
        "element",
        "errors",
        "eval",
        "infer",
        "inplace",
        "kind",
        "n_outputs",
        "name",
        "samples",
        "saves",
        "vjp",
        "weight",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        infer: Callable[..., Any],
        eval: Callable[..., Any],
        kind: AnyKind,
        vjp: tuple[Callable[..., Any] | None, ...] | Joint | None = None,
        saves: Saves = (),
        samples: Callable[[], Iterable[Sample]] = lambda: (),
        errors: Callable[[], Iterable[ErrorSample]] = lambda: (),
        n_outputs: int = 1,
        inplace: Callable[..., Any] | None = None,
        element: Callable[..., Any] | None = None,
        weight: float = 0.0,
    ):
        self.name, self.infer, self.eval, self.kind = name, infer, eval, kind
        self.vjp, self.saves, self.samples, self.errors = vjp, saves, samples, errors
        self.n_outputs = n_outputs
        #: `inplace(out, *arrays, **attrs)`: like eval, written into the given array; None where NumPy has no such form.
        self.inplace = inplace
        #: `element(at, out_index, *types, **attrs)`: one output element as a scalar tree over elements of the operands at any
        #: places, for ops that are neither elementwise nor views; see `planning/groups.py` for what `at` offers.
        self.element = element
        #: what NumPy does with an element of an operand where native code is much faster, as in `one_call`; 0: it is not
        self.weight = weight
        #: the closure eager evaluation has built for this op; until then the general door
        self.call: Callable[..., Any] = self.apply

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        return self.call(*inputs, **attrs)

    def apply(self, *inputs: Any, **attrs: Any) -> Any:
        """Applies the op through the general door."""
        return apply(self, inputs, attrs)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        return (find_op, (self.name,))

    def output_types(self, *types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
        """`infer` with the result always a tuple."""
        out = self.infer(*types, **attrs)
        return (out,) if self.n_outputs == 1 else out


REGISTRY: dict[str, Op] = {}


def declare(name: str, **fields: Any) -> Op:
    """Makes an Op and registers it by name."""
    assert name not in REGISTRY, f"op {name} declared twice"
    op = REGISTRY[name] = Op(name, **fields)
    return op


def find_op(name: str) -> Op:
    """The registered op of that name; KeyError otherwise."""
    return REGISTRY[name]
