"""Operators of one's own: a Python function that is one op of a graph, whatever it does inside.

In eager code a call runs the function. Recorded, it is an opaque op that the run calls back: its types come from the
function given to `register_fake`, which is traced by itself. A gradient is the formula of `register_autograd`; it hangs on
the tape as an `autograd.Function` does, and is the op's rule where recorded ops are replayed (bodies of loops, `vmap`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.bodies import BodyTrace
from graphc.core.arrays import host, shares_memory
from graphc.core.context import EPOCH, SLOTS, STATE, recording, set_grad
from graphc.core.dims import same
from graphc.core.errors import (
    AliasError,
    ArgumentError,
    GradientError,
    KernelError,
    SchemaError,
    SymbolicError,
    user_line,
)
from graphc.core.op import OUT, Joint, Kind, Op
from graphc.core.tape import TensorBase, counter_of
from graphc.core.tensor_types import TensorType, type_of_array
from graphc.custom_function import Function, FunctionCtx
from graphc.ir.program import Table
from graphc.library.schema import infer_schema, parse_schema

#: every custom op by its name, `namespace::name`
OPERATORS: dict[str, CustomOpDef] = {}


class Form:
    """How the tensors and the plain values of a call are told apart. Made of plain values only, it is an attribute of the op.

    `tensors`: for each argument that holds tensors its name, and None for one tensor, or for a list which places hold one;
    `values`: the other arguments, lists as tuples.
    """

    def __init__(self, tensors: tuple[Any, ...], values: tuple[Any, ...]):
        self.tensors, self.values = tensors, values

    @classmethod
    def take_apart(cls, arguments: Mapping[str, Any]) -> tuple[Form, list[Any]]:
        """The form of these arguments, and their tensors."""
        found: list[Any] = []
        tensors: list[Any] = []
        values: list[Any] = []
        for name, value in arguments.items():
            if isinstance(value, TensorBase):
                tensors.append((name, None))
                found.append(value)
            elif isinstance(value, list | tuple) and any(isinstance(x, TensorBase) for x in value):
                tensors.append((name, tuple(x is not None for x in value)))
                found += [x for x in value if x is not None]
            else:
                values.append((name, tuple(value) if isinstance(value, list) else value))
        return cls(tuple(tensors), tuple(values)), found

    def put_together(self, tensors: Iterable[Any]) -> dict[str, Any]:
        """The arguments with these for their tensors."""
        rest = iter(tensors)
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in self.values}
        for name, places in self.tensors:
            found[name] = next(rest) if places is None else [next(rest) if held else None for held in places]
        return found

    def names(self) -> list[str]:
        """For each tensor the argument it belongs to."""
        return [name for name, places in self.tensors for held in (places or (True,)) if held]


class CustomOpDef:
    """An operator of one's own, made by `custom_op`; calling it runs or records it."""

    def __init__(self, name: str, text: str, fn: Callable[..., Any]):
        self._qualname = name
        self._schema = parse_schema(text)
        self._init_fn = fn
        self._signature = inspect.signature(fn)
        parameters = self._signature.parameters.values()
        self._keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self._kernels: dict[str | None, Callable[..., Any]] = {}
        self._disabled: set[str] = set()
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup_context: Callable[..., Any] | None = None
        self._ops: dict[int, Op] = {}
        self._types: dict[Any, tuple[TensorType, ...]] = {}
        self._function: Any = type(name.rpartition("::")[2], (_Taped,), {"definition": self})
        OPERATORS[name] = self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    # --- what is registered ---------------------------------------------------------------------------------------

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        """Another function for tensors on these kinds of device ("cpu", "cuda", ...); also a decorator."""
        if fn is None:
            return lambda found: self.register_kernel(device_types, found)
        for device_type in (device_types,) if device_types is None or isinstance(device_types, str) else device_types:
            self._kernels[device_type] = fn
        EPOCH.bump()
        return fn

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """How many results the op gives, and their shapes and dtypes: a function that makes tensors like them.

        It is called with tensors that have no numbers and sizes that may be unknown.
        """
        self._fake = fn
        self._types.clear()
        EPOCH.bump()
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """The op's gradient: `backward(ctx, *grads)` after `setup_context(ctx, inputs, output)`, as in `autograd.Function`.

        GradientError for an op that writes to its arguments.
        """
        if self._schema.mutated:
            raise GradientError(
                f"Cannot register autograd formula for non-functional operator {self} with schema {self._schema.text}. "
                "Please create a functional operator and register an autograd formula for that."
            )
        self._backward, self._setup_context = backward, setup_context
        EPOCH.bump()

    @contextmanager
    def set_kernel_enabled(self, device_type: str, enabled: bool = True) -> Iterator[None]:
        """Within, the function registered for that kind of device is used, or the one the op was made with."""
        before = set(self._disabled)
        (self._disabled.discard if enabled else self._disabled.add)(device_type)
        try:
            yield
        finally:
            self._disabled = before

    # --- calls ----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        form, tensors = Form.take_apart(self._arguments(args, kwargs))
        if self._schema.mutated or not STATE.grad or not any(t._here()._edge is not None for t in tensors):
            with set_grad(False):
                return self._plain(form, tensors)
        found = self._function.apply(form, *tensors)
        return _in_form(self._schema, list(found)) if isinstance(found, tuple) else found

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments by their names; SchemaError where they are not those of the schema."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise SchemaError(f"{self._qualname}() {error}. Declaration: {self._qualname}{self._schema.text}") from None
        bound.apply_defaults()
        for name in self._schema.tensors:
            value = bound.arguments.get(name)
            if not isinstance(value, TensorBase):
                raise SchemaError(
                    f"{self._qualname}() Expected a value of type 'Tensor' for argument '{name}' but instead found type "
                    f"'{type(value).__name__}'. Declaration: {self._qualname}{self._schema.text}"
                )
        return bound.arguments

    def _plain(self, form: Form, tensors: Sequence[Any]) -> Any:
        """A call off the tape."""
        return self._recorded(form, tensors) if STATE.recorder is not None else self._ran(form, tensors)

    def _ran(self, form: Form, tensors: Sequence[Any]) -> Any:
        """The function's result, run now."""
        result = self._call(self._kernel(tensors), form, tensors)
        written = [t for t, name in zip(tensors, form.names(), strict=True) if name in self._schema.mutated]
        for t in written:
            counter_of(t).count += 1  # a function may write to the memory itself
        self._check_result(result, tensors)
        return result

    def _call(self, fn: Callable[..., Any], form: Form, tensors: Sequence[Any]) -> Any:
        """A user's function called as the op was; it may call its arguments otherwise."""
        found = form.put_together(tensors)
        return fn(*[found[name] for name in self._positional], **{name: found[name] for name in self._keyword_only})

    def _kernel(self, tensors: Sequence[Any]) -> Callable[..., Any]:
        kind = tensors[0].device.type if tensors else "cpu"
        if kind in self._disabled:
            return self._init_fn
        found = self._kernels.get(kind) or self._kernels.get(None)
        if found is None:
            raise KernelError(
                f"Could not run '{self._qualname}' with arguments on the device '{kind}': it has kernels for "
                f"{', '.join(sorted(map(str, self._kernels)))} only, register_kernel({kind!r}) adds one"
            )
        return found

    def _check_result(self, result: Any, tensors: Sequence[Any]) -> None:
        """AliasError where a result shares memory with something; SchemaError where it is not what the schema tells of."""
        if not self._is_told(result):
            raise SchemaError(
                f"{self._qualname}: the schema {self._schema.text} tells of other results than {result!r}"
            )
        given = list(tensors)
        for t in _parts(self._schema, result):
            if not isinstance(t, TensorBase):
                continue
            if any(t is other or shares_memory(t._data, other._data) for other in given):
                raise AliasError(
                    f"{self._qualname} (with implementation in {inspect.getmodule(self._init_fn)}): The output of this custom "
                    "operator (1) must not also be an input to this custom operator and (2) may not alias any inputs to this "
                    "custom operator or other returns. The most common way to trigger this error is if we have y = "
                    "custom_op(x) and y and x are the same Tensor. Please instead return a clone of the offending output "
                    "tensor(s) (e.g. return x.clone()) or refactor the custom operator to not return y."
                )
            given.append(t)

    def _is_told(self, result: Any) -> bool:
        """Whether a result is what the schema tells of: as many parts, and tensors where it has tensors."""
        expected = self._schema.returns
        is_list = expected == ("Tensor[]",)
        if (is_list or (self._schema.is_tuple and expected)) and not isinstance(result, tuple | list):
            return False
        found = _parts(self._schema, result)
        words = ("Tensor",) * len(found) if is_list else expected
        return len(found) == len(words) and all(
            word != "Tensor" or isinstance(part, TensorBase) for word, part in zip(words, found, strict=True)
        )

    # --- in graphs ------------------------------------------------------------------------------------------------

    def _recorded(self, form: Form, tensors: Sequence[Any]) -> Any:
        """The op's results as symbols; arguments that it writes to get their new values."""
        symbols = [STATE.recorder.shadow(t) for t in tensors]  # type: ignore[union-attr]
        attrs = {"tensors": form.tensors, "values": form.values}
        count = len(self._result_types([s.tensor_type for s in symbols], form))
        written = [t for t, name in zip(tensors, form.names(), strict=True) if name in self._schema.mutated]
        if not count + len(written):
            raise SymbolicError(
                f"{self._qualname} at {user_line()} gives nothing and writes to no argument: a graph would leave it out\n"
                "  hint: name what it writes to in mutates_args, or call it within gc.eagerly()"
            )
        found = self._op(count + len(written))(*tensors, **attrs)
        found = list(found) if isinstance(found, tuple) else [found]
        for t, new in zip(written, found[count:], strict=True):
            t.copy_(new)
        return _in_form(self._schema, found[:count])

    def _op(self, n_outputs: int) -> Op:
        """The primitive with that many results, new values of arguments among them."""
        if n_outputs not in self._ops:
            self._ops[n_outputs] = Op(
                self._qualname,
                infer=lambda *types, **attrs: _one_or_all(self._infer(types, Form(**attrs))),
                eval=lambda *arrays, **attrs: _one_or_all(self._eval(arrays, Form(**attrs))),
                kind=Kind("opaque"),
                vjp=Joint(self._vjp),
                saves=("all", OUT),
                n_outputs=n_outputs,
            )
        return self._ops[n_outputs]

    def _infer(self, types: Sequence[TensorType], form: Form) -> tuple[TensorType, ...]:
        new = [t for t, name in zip(types, form.names(), strict=True) if name in self._schema.mutated]
        return (*self._result_types(types, form), *new)

    def _result_types(self, types: Sequence[TensorType], form: Form) -> tuple[TensorType, ...]:
        """The results' types, by tracing what `register_fake` was given."""
        if not self._schema.returns:
            return ()
        if self._fake is None:
            raise SymbolicError(
                f"There was no fake impl registered for {self}, called at {user_line()}. This is necessary for it to be part "
                "of a graph. Please use `<custom_op>.register_fake` to add an fake impl."
            )
        trace = BodyTrace(Table(), None)
        symbols = [trace.add_input(t, False) for t in types]
        with recording(trace), set_grad(False):
            result = self._call(self._fake, form, symbols)
            if not self._is_told(result):
                raise SchemaError(
                    f"{self._qualname}: its fake gives {result!r}, and the schema {self._schema.text} tells of other results"
                )
            found = _parts(self._schema, result)
            if not all(isinstance(t, TensorBase) for t in found):
                raise SymbolicError(
                    f"{self._qualname} gives numbers, which are known only when the graph runs, at {user_line()}\n"
                    "  hint: give a tensor of one element instead"
                )
            known = tuple(trace.shadow(t).tensor_type for t in found)
        for a, b, _ in trace.checks:
            same(a, b)
        return trace.resolve(known) if trace.aliases else known

    def _eval(self, arrays: Sequence[Any], form: Form) -> list[Any]:
        """Runs the function on arrays; checks that it gives what its fake has told."""
        names = form.names()
        given = [np.array(a) if n in self._schema.mutated else a for a, n in zip(arrays, names, strict=True)]
        tensors = [SLOTS.new_tensor(a) for a in given]
        with recording(None), set_grad(False):
            results = [np.asarray(host(t._data)) for t in _parts(self._schema, self._ran(form, tensors))]
        types = tuple(map(type_of_array, arrays))
        key = (types, form.tensors, repr(form.values))
        if key not in self._types:
            self._types[key] = self._result_types(types, form)
        told, have = self._types[key], tuple(map(type_of_array, results))
        if told != have:
            raise ArgumentError(
                f"its fake tells of results {', '.join(map(str, told))}, and it gave {', '.join(map(str, have))}"
            )
        return [*results, *(host(t._data) for t, n in zip(tensors, names, strict=True) if n in self._schema.mutated)]

    # --- gradients ------------------------------------------------------------------------------------------------

    def _set_up(self, ctx: FunctionCtx, form: Form, tensors: Sequence[Any], outputs: list[Any]) -> None:
        """Calls the user's setup_context as PyTorch does."""
        if self._setup_context is None:
            return
        arguments = form.put_together(tensors)
        inputs = tuple(arguments[name] for name in self._positional)
        output = _in_form(self._schema, outputs)
        if self._keyword_only:
            named = {name: arguments[name] for name in self._keyword_only}
            self._setup_context(ctx=ctx, inputs=inputs, keyword_only_inputs=named, output=output)
        else:
            self._setup_context(ctx=ctx, inputs=inputs, output=output)

    def _needs(self, form: Form, needs: Sequence[bool]) -> tuple[Any, ...]:
        """For each positional argument whether it wants a gradient; a list of answers for a list of tensors."""
        holds, found = dict(form.tensors), form.put_together(needs)
        return tuple(found[name] if name in holds else False for name in self._positional)

    def _gradients(self, ctx: Any, form: Form, grads: Sequence[Any]) -> list[Any]:
        """One gradient for each tensor, by the user's backward."""
        if self._backward is None:
            raise GradientError(
                f"Trying to backward through {self._qualname} but no autograd formula was registered. Please use "
                "register_autograd to add one."
            )
        given = [list(grads)] if self._schema.returns == ("Tensor[]",) else grads
        found = self._backward(ctx, *given)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) != len(self._positional):
            raise GradientError(
                f"{self._qualname}: its backward returned an incorrect number of gradients (expected {len(self._positional)}, "
                f"got {len(found)})"
            )
        by_name = dict(zip(self._positional, found, strict=True))
        gradients: list[Any] = []
        for name, places in form.tensors:
            g = by_name.get(name)
            if places is None:
                gradients.append(g)
            else:
                parts = [None] * len(places) if g is None else list(g)
                if len(parts) != len(places):
                    raise GradientError(
                        f"{self._qualname}: Expected the return from backward to be of the same structure as the inputs: "
                        f"{len(places)} gradients for {name}, got {len(parts)}"
                    )
                gradients += [part for part, held in zip(parts, places, strict=True) if held]
        return gradients

    def _vjp(self, g: Any, out: Any, *inputs: Any, needs: Any, **attrs: Any) -> tuple[Any, ...]:
        """The op's rule, for places where recorded ops are replayed."""
        form = Form(**attrs)
        ctx: Any = _ReplayedCtx()
        ctx.needs_input_grad = self._needs(form, needs)
        outputs = list(out) if isinstance(out, tuple) else [out]
        self._set_up(ctx, form, inputs, outputs)
        grads = list(g) if isinstance(g, tuple) else [g]
        found = self._gradients(ctx, form, grads)
        return tuple(x if need else None for x, need in zip(found, needs, strict=True))


class _ReplayedCtx(FunctionCtx):
    """A context whose tensors are there already."""

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        return self._to_save


class _Taped(Function):
    """A custom op on the tape; each has a subclass of its own, whose name is the op's."""

    definition: CustomOpDef

    @classmethod
    def forward(cls, ctx: Any, form: Form, *tensors: Any) -> Any:
        """Runs or records the op."""
        this = cls.definition
        outputs = _parts(this._schema, this._plain(form, tensors))
        ctx.needs_input_grad = this._needs(form, ctx.needs_input_grad[1:])
        this._set_up(ctx, form, tensors, outputs)
        ctx._form = form
        return tuple(outputs)

    @classmethod
    def backward(cls, ctx: Any, *grads: Any) -> Any:
        """The gradients of the op's tensors."""
        return (None, *cls.definition._gradients(ctx, ctx._form, grads))


def _parts(schema: Any, result: Any) -> list[Any]:
    """An op's results, one by one."""
    if result is None:
        return []
    return list(result) if schema.is_tuple or schema.returns == ("Tensor[]",) else [result]


def _in_form(schema: Any, outputs: list[Any]) -> Any:
    """Results as the schema has them."""
    if not schema.returns:
        return None
    if schema.returns == ("Tensor[]",):
        return outputs
    return tuple(outputs) if schema.is_tuple else outputs[0]


def _one_or_all(found: Sequence[Any]) -> Any:
    return found[0] if len(found) == 1 else tuple(found)


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: str | Iterable[str],
    device_types: Any = None,
    schema: str | None = None,
) -> Any:
    """Makes a function one operator, `namespace::name`, which graphs call and look into no further; also a decorator.

    `mutates_args`: the arguments it writes to. In graphs it needs `register_fake`, for gradients `register_autograd`. Calls
    with equal arguments may be made once, and those whose results nobody reads not at all.

    ArgumentError for a name without a namespace and for type hints that a schema has no words for.
    """
    if fn is None:
        return lambda found: custom_op(name, found, mutates_args=mutates_args, device_types=device_types, schema=schema)
    if name.count("::") != 1:
        raise ArgumentError(f"custom_op: expected a name of the form 'namespace::name', got {name!r}")
    text = infer_schema(fn, mutates_args=mutates_args) if schema is None else schema
    made = CustomOpDef(name, text, fn)
    if schema is not None and set(made._schema.mutated) != set(mutates_args):
        raise ArgumentError(
            f"Attempted to create a custom op with `mutates_args={mutates_args}` and `schema={schema}. The schema suggests "
            f"that the op mutates {set(made._schema.mutated)}which is different from what was provided to us in "
            "`mutates_args`. Please make these consistent."
        )
    made.register_kernel(device_types, fn)
    return made


__all__ = ["OPERATORS", "CustomOpDef", "custom_op"]
