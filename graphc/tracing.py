"""Recording: ops become nodes of a table, concrete tensors get symbolic shadows, sizes that meet are unified.

Inside a recorder a concrete tensor is never changed. Its *shadow* is read and written instead; when the run has succeeded,
whoever ran the program carries the changes over. A captured tensor becomes an input of the program that is read at each
run; for a view its base is captured and the view derived, so that overlapping captures need nothing special.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.aliasing import follows, mark_detached, place_in_base, refresh
from graphc.autodiff import order_entries
from graphc.core.arrays import DeviceArray, extent, is_array, shares_memory
from graphc.core.context import SLOTS, STATE, recording, set_grad
from graphc.core.dims import Dim, Size, assumptions, substitute
from graphc.core.errors import (
    AliasError,
    OperandError,
    SymbolicError,
    TraceLeakError,
    show_line,
    user_frame,
    user_line,
    warn_user,
)
from graphc.core.op import Op
from graphc.core.tape import LEAF, TensorBase, TypeOnly, tape_entry
from graphc.core.tensor_types import TensorType, float64, type_of_array
from graphc.eager import describe_operands
from graphc.ir.program import Origin, Table, Value
from graphc.layouts import Layouts, layout_of_constant, save_layouts


@dataclass(eq=False)
class Capture:
    """An input of the program that is read at each run: a tensor, a tensor's gradient, or a number of some owner.

    `read()` gives the array of this run. `tensor` is the concrete tensor written if the shadow's value changed.
    """

    name: str
    value: Value
    shadow: Any
    tensor: Any = None
    grad_of: Any = None
    owner: Any = None
    key: Any = None
    #: the gradient of this argument of the call
    argument: int | None = None

    @property
    def advances(self) -> bool:
        """Whether this is the state of a random generator, which every run that draws from it moves on."""
        return self.tensor is not None and "_random_state" in self.tensor.__dict__

    def target(self) -> Any:
        """The concrete tensor behind this input now, None where there is none."""
        return self.grad_of.grad if self.grad_of is not None else self.tensor

    def read(self) -> Any:
        """The array this input has in a run that starts now."""
        if self.owner is not None:
            return np.asarray(read_live(self.owner, self.key), np.float64)
        target = self.target()
        if target is None:
            return np.zeros(self.value.type.shape, self.value.dtype.np)
        return target._data


def read_live(owner: Any, key: Any) -> float:
    """The number `owner[key]`; a tuple key goes one level deeper: ("betas", 0)."""
    if isinstance(key, tuple):
        return float(owner[key[0]][key[1]])
    return float(owner[key])


@dataclass(frozen=True)
class Guard:
    """What a build depends on: `owner` answered `value` to `name`."""

    owner: Any
    name: str
    value: Any

    def holds(self) -> bool:
        """Whether the owner still answers the same."""
        return bool(ask(self.owner, self.name) == self.value)


def ask(owner: Any, name: str) -> Any:
    """What `owner` answers to a guard's name now: a method without arguments, an attribute, or a structural fact."""
    if name == "grad is None":
        return owner.grad is None
    if name == "requires_grad":
        return owner._edge is not None
    if name == "type":
        return owner.tensor_type
    if name == "place":
        return place_in_base(owner)
    if name == "hooks":
        return tuple(getattr(owner, "_hooks", ())), tuple(getattr(owner, "_grad_hooks", ()))
    if hasattr(owner, "fact"):
        return owner.fact(name)
    found = getattr(owner, name, None)
    return found() if callable(found) else found


@dataclass
class _ModuleScope:
    module: Any
    path: str
    shown: str


class ModuleScopes:
    """Which modules are running, one within the other (`open`). `shown`: the path of the innermost, "" outside of modules."""

    def __init__(self) -> None:
        self.open: list[_ModuleScope] = []
        self.shown = ""
        #: modules with the names of those in them, by identity
        self._names: dict[int, tuple[Any, dict[int, str]]] = {}

    def enter(self, module: Any) -> None:
        """A call of a module begins."""
        kind = type(module).__name__
        path, shown = "", kind
        if self.open:
            outer = self.open[-1]
            name = self._name(outer.module, module) or kind
            path, shown = f"{outer.path}.{name}" if outer.path else name, f"{outer.shown}.{name}"
        self.open.append(_ModuleScope(module, path, shown))
        self.shown = shown

    def _name(self, outer: Any, module: Any) -> str | None:
        """What a module is called in another one, None where it is no part of it."""
        names = self._names.get(id(outer), (outer, {}))[1]
        if id(module) not in names and hasattr(outer, "named_modules"):
            names = {id(m): n for n, m in outer.named_modules()}
            self._names[id(outer)] = outer, names
        return names.get(id(module))

    def leave(self) -> None:
        """The innermost call ends."""
        self.open.pop()
        self.shown = self.open[-1].shown if self.open else ""


class Recorder:
    """Records ops as nodes. `Trace` and `GraphRecorder` differ in what they do with the result."""

    #: placeholders and parameters count as wanting a gradient (graphs), or only what the tensors themselves say (traces)
    has_leaks = False
    #: the kind of device that a run's tensors are on, None where only a run will tell
    kind: str | None = None

    def __init__(self, table: Table | None = None):
        self.table = table or Table()
        self.captures: dict[Any, Capture] = {}
        self.shadows: dict[int, tuple[Any, Any]] = {}
        self.guards: dict[tuple[int, str], Guard] = {}
        self.aliases: dict[str, Size] = {}
        self.checks: list[tuple[Size, Size, str]] = []
        self.functions: list[tuple[str, tuple[Value, ...]]] = []
        self.made: list[weakref.ref[Any]] = []
        self.names: set[str] = set()
        self.layouts = Layouts()
        #: arguments that the traced code also reached by itself, by their place
        self.met_outside: dict[int, Any] = {}
        self._scopes = ModuleScopes()

    # --- ops ------------------------------------------------------------------------------------------------------

    def apply(self, op: Op, inputs: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """Records one op; its results are symbolic tensors of this recorder."""
        symbols = []
        for x in inputs:
            symbol = self.shadow(x)
            if symbol._base is not None:
                refresh(symbol)
            symbols.append(symbol)
        self.before_node()
        origin = self.origin()
        if attrs and self.aliases:
            attrs = {k: self.resolve(v) for k, v in attrs.items()}
        values = tuple([s._data for s in symbols])
        node = self.table.node(op, values, attrs, lambda: self.infer(op, symbols, attrs), (origin,))
        outputs = tuple(map(SLOTS.new_tensor, node.outputs))
        if self.layouts.sharing.doubts:
            for s in symbols:
                self.layouts.sharing.note_read(s, node.outputs)
        self.layouts.record(op, attrs, symbols, outputs)
        if STATE.grad:
            for s in symbols:
                if s._edge is not None:
                    types = tuple([v.type for v in values])
                    out_types = tuple([v.type for v in node.outputs])
                    entry = tape_entry(op, attrs, tuple(symbols), outputs, types, out_types)
                    if entry is not None:
                        entry.line = origin
                        save_layouts(entry, symbols, outputs)
                    break
        if self.has_leaks:
            self.made.extend(map(weakref.ref, outputs))
        return outputs[0] if op.n_outputs == 1 else outputs

    def before_node(self) -> None:
        """Called before each new node; a finalized graph refuses here."""

    def infer(self, op: Op, symbols: Sequence[Any], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """The types of an op's results; sizes it assumes equal are unified."""
        met: list[tuple[Size, Size]] = []
        types = [self.resolve(s._data.type) for s in symbols] if self.aliases else [s._data.type for s in symbols]
        try:
            with assumptions(lambda a, b: met.append((a, b))):
                out = op.output_types(*types, **attrs)
        except OperandError as error:
            raise error.about(op.name, describe_operands(op, tuple(symbols)), self.origin().place) from None
        for a, b in met:
            self.unify(a, b)
        return tuple(map(self.resolve, out)) if self.aliases else out

    def origin(self) -> Origin:
        """The user's line, the module that is running and what the op is for."""
        forward = STATE.forward
        if forward:
            return Origin(forward.file, forward.line, forward.module, STATE.role)
        frame = user_frame(2)
        module = self._scopes.shown
        if frame is None:
            return Origin("<graphc>", 0, module, STATE.role)
        return Origin(frame.f_code.co_filename, frame.f_lineno, module, STATE.role)

    # --- sizes ----------------------------------------------------------------------------------------------------

    def resolve(self, x: Any) -> Any:
        """A size, shape, type or attribute with every unified unknown under its one name."""
        if isinstance(x, Dim):
            return substitute(x, self.aliases)
        if isinstance(x, TensorType):
            return TensorType(self.resolve(x.shape), x.dtype)
        if isinstance(x, tuple) and any(isinstance(d, Dim | tuple) for d in x):
            return tuple(map(self.resolve, x))
        return x

    def unify(self, a: Size, b: Size) -> None:
        """Notes that two sizes are equal: tested at each run, and one name from here on where one is a plain unknown."""
        self.checks.append((a, b, user_line()))
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return
        for unknown, known in ((b, a), (a, b)):
            name = plain_name(unknown)
            if name is not None and (not isinstance(known, Dim) or name not in known.names()):
                self.aliases = {k: substitute(v, {name: known}) for k, v in self.aliases.items()}
                self.aliases[name] = known
                return

    # --- tensors --------------------------------------------------------------------------------------------------

    def shadow(self, tensor: Any) -> Any:
        """The symbolic tensor that stands for `tensor` here."""
        if not isinstance(tensor, TensorBase):
            raise TypeError(f"expected a Tensor, got {type(tensor).__name__}")
        data = tensor._data
        if not is_array(data):
            if isinstance(data, TypeOnly) or data.node.table is self.table:
                return tensor
            raise SymbolicError(
                f"a symbolic tensor {data.type} made at {data.origin_text()} was used at {user_line()}, outside the trace or "
                "graph it belongs to\n  hint: return it from the traced function, or fetch it with Session.run"
            )
        known = self.shadows.get(id(tensor))
        if known is None:
            known = self.shadows[id(tensor)] = (tensor, self._capture(tensor))
        elif "_argument" in known[1].__dict__:
            self.met_outside[known[1].__dict__["_argument"][0]] = tensor
        return known[1]

    def _capture(self, tensor: Any) -> Any:
        if type(tensor._data) is DeviceArray:
            self.kind = tensor._data.memory.device.type
        view = tensor._base
        if view is not None and is_array(view.base._data) and follows(tensor, view):
            base = self.shadow(view.base)
            with set_grad(view.tracked), recording(self):
                derived = base
                for op, attrs in view.chain:
                    derived = op(derived, **attrs)
            if not view.chain:
                derived = SLOTS.new_tensor(base._data)
                mark_detached(derived, base)
            if tensor._edge is not None and derived._edge is None:
                derived._edge = LEAF
            self.guard(tensor, "place", place_in_base(tensor))
            derived.__dict__["_stands_for"] = tensor
            return derived
        capture = self.add_capture(self.name_of(tensor), tensor.tensor_type, id(tensor))
        capture.tensor = tensor
        capture.shadow._layout = self.layouts.give(capture, tensor._data, tensor._data.shape)
        capture.shadow._edge = LEAF if tensor._edge is not None else None
        capture.shadow.__dict__["_stands_for"] = tensor
        for name in ("_hooks", "_grad_hooks"):
            if tensor._edge is LEAF and name in tensor.__dict__:
                capture.shadow.__dict__[name] = tensor.__dict__[name]
        self.note_capture(tensor)
        return capture.shadow

    def note_capture(self, tensor: Any) -> None:
        """What a build depends on of a captured tensor: flag, type; its setters move the epoch from now on."""
        tensor.__dict__["_watched"] = True
        self.guard(tensor, "requires_grad", tensor._edge is not None)
        self.guard(tensor, "type", tensor.tensor_type)
        if tensor._edge is LEAF:
            self.guard(tensor, "hooks", ask(tensor, "hooks"))

    def add_capture(self, name: str, type_: TensorType, key: Any) -> Capture:
        """A new input leaf with its shadow."""
        name = self.fresh_name(name)
        value = self.table.input(name, type_, (self.origin(),))
        capture = self.captures[key] = Capture(name, value, SLOTS.new_tensor(value))
        self.layouts.sharing.keep(capture.shadow)
        return capture

    def fresh_name(self, name: str) -> str:
        """`name`, numbered if it is taken."""
        found, count = name, 0
        while found in self.names:
            count += 1
            found = f"{name}_{count}"
        self.names.add(found)
        return found

    def name_of(self, tensor: Any) -> str:
        """A captured tensor's name: its path in the module that uses it, else `captured`."""
        for scope in reversed(self._scopes.open):
            for kind in ("_parameters", "_buffers"):
                for name, held in getattr(scope.module, kind, {}).items():
                    if held is tensor:
                        return f"{scope.path}.{name}" if scope.path else name
        return getattr(tensor, "name", None) or "captured"

    def constant(self, array: Any) -> Any:
        """A fresh symbolic tensor that holds a copy of the array."""
        array = np.array(array)
        out = SLOTS.new_tensor(self.table.constant(array, (self.origin(),)))
        out._layout = layout_of_constant(array)
        if self.has_leaks:
            self.made.append(weakref.ref(out))
        return out

    def live(self, owner: Any, key: Any) -> Any:
        """The number `owner[key]` as an input that is read at each run."""
        at = (id(owner), key)
        capture = self.captures.get(at)
        if capture is None:
            text = key if isinstance(key, str) else "_".join(map(str, key))
            capture = self.add_capture(text, TensorType((), float64), at)
            capture.owner, capture.key = owner, key
        return capture.shadow

    # --- gradients ------------------------------------------------------------------------------------------------

    def grad_of(self, tensor: Any) -> Any:
        """`tensor.grad` at this point of the recorded code; what the concrete tensor had is captured."""
        shadow = self.shadow(tensor)
        state = shadow.__dict__
        concrete = state.get("_stands_for")
        if "_grad_set" not in state and concrete is not None:
            state["_grad_set"] = False
            shadow._grad = self.first_grad(concrete)
        elif "_grad_set" not in state and "_argument" in state:
            state["_grad_set"] = False
            shadow._grad = self.argument_grad(shadow, *state["_argument"])
        return getattr(shadow, "_grad", None)

    def first_grad(self, tensor: Any) -> Any:
        """The symbol for the gradient a concrete tensor has when the run starts, None if it has none."""
        tensor.__dict__["_grad_watched"] = True
        self.guard(tensor, "grad is None", tensor.grad_outside() is None)
        return None if tensor.grad_outside() is None else self.capture_grad(tensor)

    def argument_grad(self, shadow: Any, place: int, argument: Any) -> Any:
        """The symbol for the gradient an argument has when the call starts; whether it has one is part of the call's kind."""
        if argument.grad_outside() is None:
            return None
        capture = self.add_capture("argument.grad", shadow.tensor_type, ("argument", place))
        capture.argument = place
        capture.shadow._layout = self.layouts.give(capture, argument.grad_outside()._data, shadow._data.type.shape)
        return capture.shadow

    def capture_grad(self, tensor: Any) -> Any:
        """An input that reads `tensor.grad` at each run."""
        capture = self.add_capture(self.name_of(tensor) + ".grad", tensor.tensor_type, ("grad", id(tensor)))
        capture.grad_of = tensor
        grad = tensor.grad_outside()
        if grad is not None:
            capture.shadow._layout = self.layouts.give(capture, grad._data, grad._data.shape)
        return capture.shadow

    def set_grad_of(self, tensor: Any, grad: Any) -> None:
        """Records `tensor.grad = grad`."""
        shadow = self.shadow(tensor)
        state = shadow.__dict__
        state["_grad_set"] = True
        if grad is None:
            state["_cleared"] = True
            state["_consumed"] = False
        shadow._grad = None if grad is None else self.shadow(grad)

    def grad_consumed(self, tensor: Any) -> None:
        """Notes that an optimizer has used the gradient."""
        self.shadow(tensor).__dict__["_consumed"] = True

    # --- notes ----------------------------------------------------------------------------------------------------

    def at_start(self, tensor: Any) -> Any:
        """The tensor a layer reads its kept statistics from: itself, since a traced call follows the order of its lines."""
        return tensor

    def guard(self, owner: Any, name: str, value: Any) -> None:
        """Notes a fact the recorded code depends on; the first answer of each owner counts."""
        self.guards.setdefault((id(owner), name), Guard(owner, name, value))

    def not_replayed(self, call: str, hint: str) -> None:
        """Warns that `call` changes Python's state now, and not at each run."""
        warn_user(f"{call} runs while the function is traced, and not when the compiled function is called", hint)

    def note_function(self, name: str, outputs: tuple[Any, ...]) -> None:
        """Notes that a custom function made these values."""
        self.functions.append((name, tuple(o._data for o in outputs)))

    def read_number(self, tensor: Any, asked: str) -> Any:
        """Raises SymbolicError: the numbers of a tensor are not known while recording."""
        what = "a symbolic tensor" if not is_array(tensor._data) else "a tensor that is read anew at each run"
        shown = "fetch it with Session.run, or return it from the compiled function; "
        reading = shown if asked in ("item()", "tolist()", "numpy()") else ""
        raise SymbolicError(
            f"{asked} of {what}, {tensor.tensor_type}, at {user_line()}: its numbers are known only when the graph runs\n"
            f"  hint: {reading}use gc.where, gc.cond, gc.while_loop or gc.scan for decisions that depend on data, "
            "or `with gc.eagerly():` for work that belongs outside the graph"
        )

    def enter_module(self, module: Any) -> None:
        """Ops recorded from here on belong to `module`."""
        self._scopes.enter(module)

    def leave_module(self) -> None:
        """Ends the innermost `enter_module`."""
        self._scopes.leave()


def plain_name(size: Size) -> str | None:
    """The name of a size that is one unknown and nothing else."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        (monomial, count) = size.terms[0]
        if count == 1 and len(monomial) == 1 and isinstance(monomial[0], str):
            return monomial[0]
    return None


class Trace(Recorder):
    """Records one call of a function."""

    has_leaks = True

    def successor(self) -> Trace:
        """A trace that goes on where this one ends, and knows nothing of the call's arguments."""
        found = Trace(self.table)
        found.captures, found.aliases, found.names, found.kind = self.captures, self.aliases, self.names, self.kind
        found.shadows = {key: (x, s) for key, (x, s) in self.shadows.items() if "_argument" not in s.__dict__}
        return found

    def check_leaks(self, returned: Sequence[Any]) -> None:
        """Raises TraceLeakError if a symbolic tensor is still held by user code and was not returned."""
        expected = {id(t) for t in returned}
        for _, shadow in self.shadows.values():
            expected.add(id(shadow))
            grad = getattr(shadow, "_grad", None)
            if grad is not None:
                expected.add(id(grad))
        for tensor in returned:
            while tensor._base is not None:  # what a returned view derives itself from
                tensor = tensor._base.base
                expected.add(id(tensor))
        alive = [t for t in (ref() for ref in self.made) if t is not None and id(t) not in expected]
        if not alive:
            return
        del alive
        gc.collect()
        expected |= self._held_by_tape(returned)
        for ref in self.made:
            tensor = ref()
            if tensor is not None and id(tensor) not in expected and not self._is_base(tensor):
                error = TraceLeakError(
                    f"a symbolic tensor {tensor._data.type} made at {tensor._data.origin_text()} outlives the traced call "
                    "without being returned: a replay would not see that assignment\n  hint: return it, write it in place "
                    "into a tensor that exists outside (`h.copy_(...)`), or register that tensor as a buffer of its module; "
                    "what only the call itself reads, drop before it ends (`self.h = None`)"
                )
                error.line = tensor._data.node.origins[0].place if tensor._data.node.origins else error.line
                raise error
        self.made.clear()

    def _held_by_tape(self, returned: Sequence[Any]) -> set[int]:
        """The leaves made by the call, and their gradients, that nothing but the tape of its results keeps alive."""
        tensors = [*returned, *(shadow for _, shadow in self.shadows.values())]
        edges = [entry.edges for entry in order_entries([t._edge[0] for t in tensors if type(t._edge) is tuple])]
        tape = {id(e) for e in edges}
        leaves = {id(e) for entry in edges for e in entry if isinstance(e, TensorBase)}
        held: set[int] = set()
        for ref in self.made:
            tensor = ref()
            if tensor is None or id(tensor) not in leaves:
                continue
            if all(id(holder) in tape for holder in gc.get_referrers(tensor)):
                held |= {id(tensor), id(getattr(tensor, "_grad", None))}
        return held

    def _is_base(self, tensor: Any) -> bool:
        """Whether only views, returned or captured, keep this tensor alive."""
        return any(
            s is not None and s._base is not None and s._base.base is tensor for s in (ref() for ref in self.made)
        ) or any(s._base is not None and s._base.base is tensor for _, s in self.shadows.values())

    def check_aliases(self) -> None:
        """Raises AliasError if two captured tensors overlap without a common base and one of them is written."""
        found = overlapping(self.captures.values(), lambda c: c.shadow._data is not c.value)
        if found is not None:
            one, other, written = found
            raise AliasError(
                f"captured tensors {one.name} and {other.name} share memory without being views of one tensor, and "
                f"{written.name} is written: a graph cannot follow that\n  hint: make one a view of the other, or clone it"
            )


def overlapping(
    captures: Iterable[Capture], is_written: Callable[[Capture], bool]
) -> tuple[Capture, Capture, Capture] | None:
    """Two captured tensors with elements in common, and the one of them that is written; None where there are none."""
    plain = [c for c in captures if c.tensor is not None and c.tensor._data.size]
    reaching: list[tuple[int, Capture]] = []
    for start, end, i in sorted((*extent(c.tensor._data), i) for i, c in enumerate(plain)):
        here = plain[i]
        reaching = [(limit, other) for limit, other in reaching if limit > start]
        for _, other in reaching:
            written = next(filter(is_written, (other, here)), None)
            if written is not None and shares_memory(other.tensor._data, here.tensor._data):
                return other, here, written
        reaching.append((end, here))
    return None


@contextmanager
def paused_gc() -> Iterator[None]:
    """Within, the cyclic garbage collector rests: it would scan the growing graph again and again."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def symbolic(recorder: Recorder, name: str, type_: TensorType, wants_grad: bool) -> Any:
    """A symbolic tensor for an input leaf of the recorder."""
    out = SLOTS.new_tensor(recorder.table.input(recorder.fresh_name(name), type_, (recorder.origin(),)))
    out._edge = LEAF if wants_grad else None
    return out


def run_recorded(recorder: Recorder, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls `fn` with this recorder as the thread's context."""
    with recording(recorder), paused_gc():
        return fn(*args, **kwargs)


__all__ = [
    "Capture", "Guard", "Recorder", "Trace", "overlapping", "paused_gc", "plain_name", "read_live", "run_recorded", "show_line",
    "symbolic", "type_of_array",
]  # fmt: skip
