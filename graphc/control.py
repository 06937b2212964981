"""Control flow in graphs: `cond`, `while_loop` and `scan`, each an op with closed bodies, each differentiable.

In eager mode they are plain Python control flow. The gradient of a scan is a scan that runs the other way; the gradient of
a while_loop repeats the loop, keeping what each step read, and walks back; that of a cond is a cond.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.aliasing import write
from graphc.autodiff import zeros_of
from graphc.bodies import Body, BodyTrace, Operand, Write, replay_body, vjp_program
from graphc.control_samples import (
    cond_errors,
    cond_samples,
    scan_errors,
    scan_samples,
    while_errors,
    while_grad_samples,
    while_samples,
)
from graphc.core.context import SLOTS, STATE, recording, set_grad
from graphc.core.dims import Size, is_static, same
from graphc.core.errors import ArgumentError, ArgumentTypeError, GradientError, ShapeError, user_line
from graphc.core.op import OUT, Joint, Kind, declare
from graphc.core.tensor_types import BOOL, FLOAT, TensorType
from graphc.effects import is_turn
from graphc.functions.axes import normalize_dim
from graphc.functions.joining import stack
from graphc.functions.shaping import movedim
from graphc.ir.interpret import interpret, interpreter
from graphc.ir.program import Program
from graphc.nests import flatten, unflatten
from graphc.primitives.copying import copy as copy_op
from graphc.primitives.elementwise import add
from graphc.tracing import Trace

_CONTROL = Kind("control")


def _is_float(x: Any) -> bool:
    return bool(x.dtype.category == FLOAT)


def _types(program: Program) -> tuple[TensorType, ...]:
    return tuple(v.type for v in program.outputs)


# --- cond -----------------------------------------------------------------------------------------------------------


def _cond_infer(pred: TensorType, *operands: TensorType, true: Program, false: Program) -> tuple[TensorType, ...]:
    """pred: bool[], operands -> the branches' common types."""
    if pred.shape != () or pred.dtype.category != BOOL:
        raise ShapeError("the condition must be one bool", f"bool[], got {pred}")
    return _types(true)


def _cond_eval(pred: Any, *operands: Any, true: Program, false: Program) -> tuple[Any, ...]:
    return tuple(interpret(true if bool(pred) else false, operands))


def _cond_vjp(
    g: Any, out: Any, pred: Any, *operands: Any, needs: Any, true: Program, false: Program
) -> tuple[Any, ...]:
    wanted = [need and _is_float(x) for need, x in zip(needs[1:], operands, strict=True)]
    cotangents = [c for c in g if c is not None]
    found = cond_op(pred, *operands, *cotangents, true=vjp_program(true, wanted), false=vjp_program(false, wanted))
    return (None, *_spread(found, wanted))


def _spread(found: Any, wanted: Sequence[bool]) -> list[Any]:
    """Gradients put at the places of the operands that wanted one."""
    rest = iter(found if isinstance(found, tuple) else (found,))
    return [next(rest) if want else None for want in wanted]


# Ops with bodies have as many outputs as their bodies: n_outputs -1 tells `output_types` and callers "a tuple".
cond_op = declare(
    "cond", infer=_cond_infer, eval=_cond_eval, kind=_CONTROL, vjp=Joint(_cond_vjp), saves=("all",), n_outputs=-1,
    samples=cond_samples, errors=cond_errors,
)  # fmt: skip


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """`true_fn(*operands)` if `pred` else `false_fn(*operands)`; in a graph decided when it runs.

    pred: bool[] tensor or a Python bool. Both branches must give the same nest of the same types. Gradients flow into the
    operands and into tensors the branches use from outside; writes reach both.
    """
    operands = tuple(operands) if isinstance(operands, tuple | list) else (operands,)
    if STATE.recorder is None or isinstance(pred, bool):
        found = (true_fn if bool(pred) else false_fn)(*operands)
        return found if isinstance(pred, bool) else _own(found)
    leaves: list[Any] = []
    structure = flatten(operands, leaves)
    shadows = [STATE.recorder.shadow(x) for x in leaves]
    branches = [_branch(fn, structure, shadows) for fn in (true_fn, false_fn)]
    (true, true_structure), (false, false_structure) = branches
    if true_structure != false_structure:
        raise ArgumentError(
            f"cond: the branches return different structures: {true_structure} and {false_structure} (at {user_line()})"
        )
    for i, (a, b) in enumerate(zip(true.values, false.values, strict=True)):
        if STATE.recorder.resolve(a.type) != STATE.recorder.resolve(b.type):  # type: ignore[attr-defined]
            raise ShapeError(f"cond: result {i} is {a.type} in one branch and {b.type} in the other (at {user_line()})")
    outside, programs, written = _joined(true, false, shadows)
    pred = pred if pred.dtype.category == BOOL else pred != 0
    results = cond_op(pred, *shadows, *outside, true=programs[0], false=programs[1])
    _write_back(written, results[len(true.values) :])
    return unflatten(true_structure, results[: len(true.values)])


#: a condition that no pass can know: it is read at each run
_ALWAYS = SLOTS.new_tensor(np.array(True))


def recomputed(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """`fn(*args, **kwargs)` in a recording, nothing of which is kept for the gradient: that computes it again.

    It is a branch that is always taken: the gradient of a branch begins with its operands.
    """
    recorder: Any = STATE.recorder
    leaves: list[Any] = []
    structure = (tuple, flatten(args, leaves), flatten(kwargs, leaves))
    shadows = [recorder.shadow(x) for x in leaves]
    body, out = _branch(lambda args, kwargs: fn(*args, **kwargs), structure, shadows)
    outside, programs, written = _joined(body, body, shadows)
    results = cond_op(recorder.shadow(_ALWAYS), *shadows, *outside, true=programs[0], false=programs[1])
    _write_back(written, results[len(body.values) :])
    return unflatten(out, results[: len(body.values)])


def _write_back(written: Sequence[Write], values: Sequence[Any]) -> None:
    """What a body has written to tensors outside is written to them."""
    for found, value in zip(written, values, strict=True):
        with set_grad(STATE.grad and found.tracked):
            write(found.outside, value)


def _branch(fn: Callable[..., Any], structure: Any, shadows: list[Any]) -> tuple[Body, Any]:
    found: list[Any] = []

    def flat(*symbols: Any) -> list[Any]:
        leaves_out: list[Any] = []
        found.append(flatten(_tensors(fn(*unflatten(structure, symbols))), leaves_out))
        return leaves_out

    operands = [Operand(s._data.type, s._edge is not None, s, whole=True) for s in shadows]
    return Body(STATE.recorder, flat, operands), found[0]


def _own(nest: Any) -> Any:
    """The nest with tensors that share memory with nothing: what a control op gives in a graph."""
    leaves: list[Any] = []
    structure = flatten(nest, leaves)
    return unflatten(structure, [copy_op(x) if x.is_contiguous() else x.contiguous() for x in leaves])


def _tensors(nest: Any) -> Any:
    """The nest with plain numbers as tensors."""
    if isinstance(nest, tuple | list):
        return type(nest)(map(_tensors, nest))
    if isinstance(nest, dict):
        return {k: _tensors(v) for k, v in nest.items()}
    if isinstance(nest, int | float | bool):
        recorder: Any = STATE.recorder
        return recorder.constant(np.asarray(nest, np.float32 if isinstance(nest, float) else None))
    return nest


def _joined(true: Body, false: Body, shadows: list[Any]) -> tuple[list[Any], list[Program], list[Write]]:
    """Both branches over the same operands and closures, giving the same written tensors."""
    outside = list({id(t): t for t in (*true.closures, *false.closures)}.values())
    written: dict[int, Write] = {}
    for found in (*true.written, *false.written):
        known = written.setdefault(id(found.outside), found)
        written[id(found.outside)] = known._replace(tracked=known.tracked or found.tracked)
    programs = []
    for body in (true, false):
        trace = BodyTrace(body.trace.table, None)
        operands = [trace.add_input(v.type, False) for v in body.trace.inputs[: len(shadows)]]
        extra = {id(t): x for t, x in zip(reversed(shadows), reversed(operands), strict=True)}
        extra |= {id(t): trace.add_input(t._data.type, False) for t in outside}
        new_values = {id(found.outside): found.value for found in body.written}
        inner = body.program([new_values[t] for t in written if t in new_values])
        with recording(trace), set_grad(False):
            results = replay_body(inner, [*operands, *(extra[id(t)] for t in body.closures)])
        rest = iter(results[len(body.values) :])
        updated = [next(rest) if t in new_values else extra[t] for t in written]
        outputs = [t._data for t in (*results[: len(body.values)], *updated)]
        programs.append(Program(trace.table, tuple(trace.inputs), tuple(outputs)))
    return outside, programs, list(written.values())


# --- while_loop -----------------------------------------------------------------------------------------------------


def _while_infer(*operands: TensorType, cond: Program, body: Program, n_carry: int) -> tuple[TensorType, ...]:
    """carry and closures -> carry."""
    found = cond.outputs[0].type
    if (is_static(found.shape) and found.size != 1) or found.dtype.category != BOOL:
        raise ShapeError("the condition must be one bool", f"bool[], got {found}")
    return tuple(v.type for v in body.outputs)


def _while_eval(*operands: Any, cond: Program, body: Program, n_carry: int) -> tuple[Any, ...]:
    carry, rest = list(operands[:n_carry]), operands[n_carry:]
    test, step = interpreter(cond), interpreter(body)
    while bool(test([*carry, *rest])[0]):
        carry = step([*carry, *rest])
    return tuple(np.array(c) for c in carry)


def _while_vjp(
    g: Any, out: Any, *operands: Any, needs: Any, cond: Program, body: Program, n_carry: int
) -> tuple[Any, ...]:
    wanted = [_is_float(x) for x in operands]
    back = vjp_program(body, wanted)
    cotangents = [c for c in g if c is not None]
    attrs = {"cond": cond, "body": body, "back": back, "n_carry": n_carry, "wanted": tuple(wanted)}
    found = while_grad(*operands, *cotangents, **attrs)
    return tuple(x if need else None for x, need in zip(_spread(found, wanted), needs, strict=True))


def _while_grad_infer(
    *operands: TensorType, cond: Program, body: Program, back: Program, n_carry: int, wanted: Any
) -> Any:
    """carry, closures and cotangents of the final carry -> cotangents of carry and closures."""
    return tuple(t for t, want in zip(operands, wanted, strict=False) if want)


def _while_grad_eval(*operands: Any, cond: Program, body: Program, back: Program, n_carry: int, wanted: Any) -> Any:
    n = len(wanted)
    carry, rest, cotangents = list(operands[:n_carry]), operands[n_carry:n], list(operands[n:])
    history = []
    test, step, step_back = interpreter(cond), interpreter(body), interpreter(back)
    while bool(test([*carry, *rest])[0]):
        history.append(carry)
        carry = step([*carry, *rest])
    n_float = sum(wanted[:n_carry])
    totals = [np.zeros_like(x) for x, want in zip(rest, wanted[n_carry:], strict=True) if want]
    for before in reversed(history):
        found = step_back([*before, *rest, *cotangents])
        cotangents = found[:n_float]
        totals = [a + b for a, b in zip(totals, found[n_float:], strict=True)]
    return tuple(map(np.array, (*cotangents, *totals)))


def _no_second_order(*_: Any, **__: Any) -> Any:
    raise GradientError(
        "the gradient of a while_loop cannot be differentiated again in a graph: use scan, whose length is known"
    )


while_op = declare(
    "while_loop", infer=_while_infer, eval=_while_eval, kind=_CONTROL, vjp=Joint(_while_vjp), saves=("all",), n_outputs=-1,
    samples=while_samples, errors=while_errors,
)  # fmt: skip
while_grad = declare(
    "while_loop_grad", infer=_while_grad_infer, eval=_while_grad_eval, kind=_CONTROL, vjp=Joint(_no_second_order), n_outputs=-1,
    samples=while_grad_samples,
)  # fmt: skip


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried: Any) -> Any:
    """Repeats `carried = body_fn(*carried)` while `cond_fn(*carried)` holds; returns the last `carried`.

    carried: a tuple (a single tensor or a dict stands for itself). body_fn returns the same nest of the same types. Zero steps
    are allowed. In a graph first-order gradients flow into `carried` and into tensors used from outside. The loop has `carried`
    for itself: what body_fn writes into it does not show in the tensors that were given.
    """
    single = not isinstance(carried, tuple | list)
    state = (carried,) if single else tuple(carried)
    if STATE.recorder is None:
        state = _own(state)
        while bool(cond_fn(*state)):
            state = _returned(body_fn(*state), single)
        state = _own(state)
        return state[0] if single else state
    recorder: Any = STATE.recorder
    leaves: list[Any] = []
    structure = flatten(_tensors(state), leaves)

    def body(*symbols: Any) -> list[Any]:
        found: list[Any] = []
        got = flatten(_tensors(_returned(body_fn(*unflatten(structure, symbols)), single)), found)
        if got != structure:
            raise ArgumentError(f"while_loop: the body returns {got}, carried is {structure} (at {user_line()})")
        return found

    def condition(*symbols: Any) -> list[Any]:
        found = _tensors(cond_fn(*unflatten(structure, symbols)))
        return [found if found.dtype.category == BOOL else found != 0]

    shadows = [recorder.shadow(x) for x in leaves]
    operands = [_carried(s._data.type) for s in shadows]
    traced, test = Body(recorder, body, operands), Body(recorder, condition, operands)
    if test.written or test.changed:
        shows = not test.changed and all(is_turn(found.symbol._data) for found in test.written)
        does = "has a gc.print or gc.breakpoint, whose place is the body" if shows else "writes into a tensor"
        raise ArgumentError(f"while_loop: the condition {does} (at {user_line()})")
    carry, rest, step, check = _closed_loop(recorder, leaves, traced, test)
    results = while_op(*carry, *rest, cond=check, body=step, n_carry=len(carry))
    _write_back(traced.written, results[len(leaves) :])
    final = unflatten(structure, results[: len(leaves)])
    return final[0] if single else final


def _carried(type_: TensorType) -> Operand:
    """A carry as a body gets it: from its second turn on it may have a history."""
    return Operand(type_, STATE.grad and type_.dtype.category == FLOAT)


def _returned(result: Any, single: bool) -> tuple[Any, ...]:
    return (result,) if single and not isinstance(result, tuple) else tuple(result)


def _check_carry(what: str, before: Sequence[TensorType], after: Sequence[TensorType]) -> None:
    recorder: Any = STATE.recorder
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        if a != b and (recorder is None or recorder.resolve(a) != recorder.resolve(b)):
            raise ShapeError(
                f"{what}: carry {i} goes in as {a} and comes out as {b}: it must keep its type (at {user_line()})"
            )


def _closed_loop(
    recorder: Any, leaves: list[Any], traced: Body, test: Body
) -> tuple[list[Any], list[Any], Program, Program]:
    """The loop's carries (with written closures), other closures, and body and condition over both."""
    _check_carry("while_loop", [recorder.shadow(x)._data.type for x in leaves], [v.type for v in traced.values])
    written = traced.written_closures
    outside = list({id(t): t for t in (*traced.closures, *test.closures)}.values())
    rest = [t for t in outside if not any(t is w for w in written)]
    programs = []
    for body in (traced, test):
        trace = BodyTrace(body.trace.table, None)
        own = [trace.add_input(v.type, False) for v in body.trace.inputs[: len(leaves)]]
        extra = {id(t): trace.add_input(t._data.type, False) for t in (*written, *rest)}
        inner = body.program([found.value for found in body.written])
        with recording(trace), set_grad(False):
            results = replay_body(inner, [*own, *(extra[id(t)] for t in body.closures)])
        programs.append(Program(trace.table, tuple(trace.inputs), tuple(t._data for t in results)))
    return [*leaves, *written], rest, programs[0], programs[1]


# --- scan -----------------------------------------------------------------------------------------------------------


def _scan_infer(
    *operands: TensorType, body: Program, n_carry: int, n_const: int, length: Size, reverse: bool, history: bool
) -> tuple[TensorType, ...]:
    """init carry, constants, xs[length, ...] -> last carry, ys[length, ...] (and every carry before its step)."""
    carry, xs = operands[:n_carry], operands[n_carry + n_const :]
    for x in xs:
        same(x.shape[0], length, "scan: sequences of different lengths")
    stacked = [t.with_shape((length, *t.shape)) for t in (v.type for v in body.outputs[n_carry:])]
    kept = [t.with_shape((length, *t.shape)) for t in carry] if history else []
    return (*carry, *stacked, *kept)


def _scan_eval(
    *operands: Any, body: Program, n_carry: int, n_const: int, length: int, reverse: bool, history: bool
) -> tuple[Any, ...]:
    carry, consts, xs = list(operands[:n_carry]), operands[n_carry : n_carry + n_const], operands[n_carry + n_const :]
    ys = [np.empty((length, *v.type.shape), v.dtype.np) for v in body.outputs[n_carry:]]
    kept = [np.empty((length, *c.shape), c.dtype) for c in carry] if history else []
    step = interpreter(body)
    for t in range(length - 1, -1, -1) if reverse else range(length):
        for store, c in zip(kept, carry, strict=False):
            store[t] = c
        found = step([*carry, *consts, *(x[t] for x in xs)])
        carry = found[:n_carry]
        for store, y in zip(ys, found[n_carry:], strict=True):
            store[t] = y
    return (*map(np.array, carry), *ys, *kept)


def _scan_vjp(
    g: Any,
    out: Any,
    *operands: Any,
    needs: Any,
    body: Program,
    n_carry: int,
    n_const: int,
    length: Size,
    reverse: bool,
    history: bool,
) -> tuple[Any, ...]:
    """A scan the other way. Its carry: cotangents of the carry and sums for the constants; its sequences: xs, the carries
    before each step, the cotangents of ys and of those carries."""
    if not history:
        raise GradientError("a scan recorded without gradient cannot be differentiated")
    n_y = len(body.outputs) - n_carry
    carry_at, consts, xs = operands[:n_carry], operands[n_carry : n_carry + n_const], operands[n_carry + n_const :]
    kept, g_kept = out[n_carry + n_y :], g[n_carry + n_y :]
    floats = [_is_float(x) for x in operands]
    program = _known_back_body(body, floats, n_carry, n_const)
    init = [c for c in g[:n_carry] if c is not None]
    sums = [_zeros(c) for c in consts if _is_float(c)]
    sequences = [
        *xs,
        *kept,
        *(c for c in g[n_carry : n_carry + n_y] if c is not None),
        *(c for c in g_kept if c is not None),
    ]
    found = scan_op(
        *init, *sums, *consts, *sequences, body=program, n_carry=len(init) + len(sums), n_const=n_const, length=length,
        reverse=not reverse, history=bool(STATE.grad),
    )  # fmt: skip
    n_found = sum(floats)
    assert len(carry_at) == n_carry
    return tuple(x if need else None for x, need in zip(_spread(found[:n_found], floats), needs, strict=True))


def _zeros(x: Any) -> Any:
    return zeros_of(x.tensor_type)


# Eager code runs one body over and over: its gradient is traced once.
_BACK_BODIES: weakref.WeakKeyDictionary[Program, dict[Any, Program]] = weakref.WeakKeyDictionary()


def _known_back_body(body: Program, floats: Sequence[bool], n_carry: int, n_const: int) -> Program:
    known = _BACK_BODIES.setdefault(body, {})
    key = (tuple(floats), n_carry, n_const)
    if key not in known:
        known[key] = _scan_back_body(body, floats, n_carry, n_const)
    return known[key]


def _scan_back_body(body: Program, floats: Sequence[bool], n_carry: int, n_const: int) -> Program:
    """One step of a scan's gradient: (g carry, sums) , consts, (x, carry, g y, g kept) -> (g carry, sums), g x."""
    back = vjp_program(body, floats)
    trace = BodyTrace(body.table, None)

    def inputs(types: Any) -> list[Any]:
        return [trace.add_input(t, False) for t in types]

    types = [v.type for v in body.inputs]
    carry_t, const_t, x_t = types[:n_carry], types[n_carry : n_carry + n_const], types[n_carry + n_const :]
    carry_floats = [t for t in carry_t if t.dtype.category == FLOAT]
    y_floats = [v.type for v in body.outputs[n_carry:] if v.dtype.category == FLOAT]
    g_carry = inputs(carry_floats)
    sums = inputs([t for t in const_t if t.dtype.category == FLOAT])
    consts, xs, carry = inputs(const_t), inputs(x_t), inputs(carry_t)
    g_y, g_kept = inputs(y_floats), inputs(carry_floats)
    with recording(trace), set_grad(False):
        found = replay_body(back, [*carry, *consts, *xs, *g_carry, *g_y])
        n_c, n_s = len(carry_floats), len(sums)
        new_carry = [add(a, b) for a, b in zip(found[:n_c], g_kept, strict=True)]
        new_sums = [add(a, b) for a, b in zip(sums, found[n_c : n_c + n_s], strict=True)]
    outputs = [*new_carry, *new_sums, *found[n_c + n_s :]]
    return Program(body.table, tuple(trace.inputs), tuple(t._data for t in outputs))


scan_op = declare(
    "scan", infer=_scan_infer, eval=_scan_eval, kind=_CONTROL, vjp=Joint(_scan_vjp), saves=("all", OUT), n_outputs=-1,
    samples=scan_samples, errors=scan_errors,
)  # fmt: skip


def scan(fn: Callable[[Any, Any], Any], init: Any, xs: Any, dim: int = 0, reverse: bool = False) -> Any:
    """Runs `carry, y = fn(carry, x)` along dimension `dim` of xs; returns `(carry, ys)`, ys stacked along dimension 0.

    init, xs and y are tensors or nests of them; the carry keeps its types. `reverse` starts at the end (ys stay in the order
    of xs). Zero steps are allowed. Gradients flow into init, xs and tensors that fn uses from outside. What fn writes into x is
    written to xs; the carry is the loop's own, so that what fn writes into it does not show in init.
    """
    leaves: list[Any] = []
    xs_structure = flatten(xs, leaves)
    if not leaves:
        raise ArgumentTypeError(f"scan: xs holds no tensor (at {user_line()})")
    if dim:
        leaves = [movedim(x, normalize_dim(dim, x.ndim), 0) for x in leaves]
    length = leaves[0].shape[0]
    for x in leaves:
        same_or_unified(x.shape[0], length)
    if STATE.recorder is None:
        return _eager_scan(fn, init, leaves, xs_structure, length, reverse)
    return _graph_scan(fn, init, leaves, xs_structure, length, reverse)


def same_or_unified(a: Size, b: Size) -> None:
    """Two lengths must agree; unknown ones are unified when the op is recorded."""
    if isinstance(a, int) and isinstance(b, int) and a != b:
        raise ShapeError(f"scan: sequences of different lengths, {a} and {b} (at {user_line()})")


def _eager_scan(fn: Any, init: Any, leaves: list[Any], xs_structure: Any, length: int, reverse: bool) -> Any:
    carry, found = _own(init), list[list[Any]]()
    y_structure: Any = None
    before: list[Any] = []
    structure = flatten(carry, before)
    types = [x.tensor_type for x in before]
    for t in range(length - 1, -1, -1) if reverse else range(length):
        carry, y = fn(carry, unflatten(xs_structure, [x[t] for x in leaves]))
        after: list[Any] = []
        ys: list[Any] = []
        if flatten(carry, after) == structure:
            _check_carry("scan", types, [x.tensor_type for x in after])
        y_structure = flatten(y, ys)
        # the next step may write what others than ys hold
        found.append([y if y._version is None and not any(y is x for x in after) else copy_op(y) for y in ys])
    if not length:
        return _own(carry), _empty_ys(fn, init, leaves, xs_structure)
    if reverse:
        found.reverse()
    return _own(carry), unflatten(y_structure, [stack(column) for column in zip(*found, strict=True)])


def _empty_ys(fn: Any, init: Any, leaves: list[Any], xs_structure: Any) -> Any:
    """The ys of zero steps: fn is traced once for their types."""
    trace = Trace()
    found: list[Any] = []
    with recording(trace), set_grad(False):
        xs = [
            SLOTS.new_tensor(trace.table.input(f"x{i}", x.tensor_type.with_shape(x.shape[1:])))
            for i, x in enumerate(leaves)
        ]
        structure = flatten(fn(init, unflatten(xs_structure, xs))[1], found)
    return unflatten(structure, [SLOTS.new_tensor(np.zeros((0, *y._data.shape), y.dtype.np)) for y in found])


def _graph_scan(fn: Any, init: Any, leaves: list[Any], xs_structure: Any, length: Size, reverse: bool) -> Any:
    recorder: Any = STATE.recorder
    carry: list[Any] = []
    carry_structure = flatten(_tensors(init), carry)
    y_structure: list[Any] = []

    def body(*symbols: Any) -> list[Any]:
        state = unflatten(carry_structure, symbols[: len(carry)])
        result = fn(state, unflatten(xs_structure, symbols[len(carry) :]))
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ArgumentTypeError(f"scan: fn must return (carry, y), got {type(result).__name__} (at {user_line()})")
        out: list[Any] = []
        got = flatten(_tensors(result[0]), out)
        if got != carry_structure:
            raise ArgumentError(
                f"scan: fn returns a carry of structure {got}, init is {carry_structure} (at {user_line()})"
            )
        y_structure.append(flatten(_tensors(result[1]), out))
        return out

    shadows = [recorder.shadow(x) for x in carry]
    types = [s._data.type for s in shadows]
    given = [_carried(t) for t in types]
    for s in (recorder.shadow(x) for x in leaves):
        given.append(Operand(s._data.type.with_shape(s._data.shape[1:]), s._edge is not None, s))
    traced = Body(recorder, body, given)
    _check_carry("scan", types, [v.type for v in traced.values[: len(carry)]])
    operands, program, n_carry, n_const = _closed_scan(carry, leaves, traced)
    history = STATE.grad and any(recorder.shadow(x)._edge is not None for x in operands)
    results = scan_op(
        *operands, body=program, n_carry=n_carry, n_const=n_const, length=length, reverse=reverse, history=history
    )  # fmt: skip
    _write_back(traced.written, results[len(carry) : n_carry])
    n_y = len(traced.values) - len(carry)
    rows = _written_rows(traced)
    _write_back(rows, results[n_carry + n_y : n_carry + n_y + len(rows)])
    return unflatten(carry_structure, results[: len(carry)]), unflatten(
        y_structure[0], results[n_carry : n_carry + n_y]
    )


def _written_rows(traced: Body) -> list[Write]:
    """The writes to sequences: each step's is one more y."""
    return [found for found in traced.changed.values() if found.outside is not None]


def _closed_scan(carry: list[Any], leaves: list[Any], traced: Body) -> tuple[list[Any], Program, int, int]:
    """The scan's operands and its body over (carry and written closures, other closures, xs)."""
    written = traced.written_closures
    consts = [t for t in traced.closures if not any(t is w for w in written)]
    trace = BodyTrace(traced.trace.table, None)
    inputs = traced.trace.inputs
    own = [trace.add_input(v.type, False) for v in inputs[: len(carry)]]
    extra = {id(t): trace.add_input(t._data.type, False) for t in (*written, *consts)}
    xs = [trace.add_input(v.type, False) for v in inputs[len(carry) : len(carry) + len(leaves)]]
    inner = traced.program([found.value for found in (*traced.written, *_written_rows(traced))])
    with recording(trace), set_grad(False):
        results = replay_body(inner, [*own, *xs, *(extra[id(t)] for t in traced.closures)])
    n, n_out = len(carry), len(traced.values)
    n_all = n_out + len(written)
    ordered = [*results[:n], *results[n_out:n_all], *results[n:n_out], *results[n_all:]]
    program = Program(trace.table, tuple(trace.inputs), tuple(t._data for t in ordered))
    return [*carry, *written, *consts, *leaves], program, n + len(written), len(consts)


__all__ = ["cond", "scan", "while_loop"]
