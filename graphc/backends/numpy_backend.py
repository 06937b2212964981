"""The numpy backend: interprets a plan with NumPy over one arena. The oracle of all others, always there.

Each step becomes one closure over the run's environment, a list with one slot per value. What lives in the arena, and every
view of it, is bound to arrays once per arena; a run takes an idle arena, or makes one, so that threads never share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np

from graphc.core.lazy import lazy_import
from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.ir.blame import blame
from graphc.ir.program import Node, Program, Value
from graphc.planning.memory import ALIGNMENT, make_plan
from graphc.planning.plan import ARENA, EVAL, INPLACE, VIEW, Plan, Step
from graphc.planning.room import no_room

descriptions = lazy_import("graphc.planning.descriptions")
nan_checks = lazy_import("graphc.backends.nan_checks")

_ndarray = np.ndarray
_empty = np.empty
Env = list[Any]
Run = Callable[[Env], None]

#: Idle arenas an executable keeps for the next runs.
MOST_IDLE = 4


class NumpyBackend:
    """Compiles programs for NumPy."""

    name = "numpy"
    fuses = False
    checks_nans = True

    def compile(
        self, program: Program, updates: Mapping[int, int] | None = None, check_nans: bool = False
    ) -> NumpyExecutable:
        """An executable for a program whose sizes are numbers; every output is new memory, updates too.

        `check_nans`: a run raises NonFiniteError for the first op that makes a NaN or an infinity.
        """
        return NumpyExecutable(make_plan(program), check_nans)


class NumpyExecutable:
    """A plan that runs on NumPy. `peak`: the most bytes a run holds in arena, outputs and arrays kernels make."""

    def __init__(self, plan: Plan, check_nans: bool = False):
        self.plan, self.check_nans = plan, check_nans
        self.peak = plan.peak
        self._n_inputs = len(plan.program.inputs)
        self._slots = number_slots(plan)
        self._runs: tuple[Run, ...] = ()
        self._nodes: dict[int, Node] = {}
        self._outputs = [(self._slots[value], copied) for value, copied in plan.outputs]
        self._bound_views: list[Node] = []
        self._compile()
        self._idle: list[Env] = []
        self._lock = threading.Lock()
        self._single = None if check_nans else self._single_call()

    @property
    def steps(self) -> str:
        """The steps as text: what each computes and where the result goes."""
        return self.plan.text

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The outputs for one array per input, each new memory. Errors of kernels name the user's line."""
        assert len(arrays) == self._n_inputs, f"{self._n_inputs} inputs, {len(arrays)} arrays"
        if self._single is not None:
            return self._single(arrays)
        with self._lock:
            bound = self._idle.pop() if self._idle else None
        token = quiet_set(quiet)
        step = None
        try:
            if bound is None:
                bound = self._bind()
            env = bound.copy()
            env[: len(arrays)] = arrays
            for step in self._runs:
                step(env)
        except MemoryError as error:
            raise self._no_room() from error
        except Exception as error:
            raise blame(error, self._nodes[id(step)]) from error.__cause__
        finally:
            quiet_reset(token)
        outputs = [env[slot].copy() if copied else env[slot] for slot, copied in self._outputs]
        with self._lock:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(bound)
        return outputs

    def _no_room(self) -> Exception:
        plan = self.plan
        return no_room(
            "no room for a run", plan.program, [v for step in plan.steps for v in step.node.outputs], self.peak
        )

    # --- what it is and how long it takes ------------------------------------------------------------------------------

    def timed(self, arrays: Sequence[np.ndarray[Any, Any]], runs: int = 5) -> list[int]:
        """Nanoseconds of each step of the plan, the least of some runs; views that are made once for an arena take none."""
        self(arrays)  # warms up, and raises what there is to be raised
        bound = self._bind()
        least: dict[Node, int] = {}
        token = quiet_set(quiet)
        try:
            for _ in range(runs):
                env = bound.copy()
                env[: len(arrays)] = arrays
                for step in self._runs:
                    start = perf_counter_ns()
                    step(env)
                    passed = perf_counter_ns() - start
                    node = self._nodes.get(id(step))
                    if node is not None:
                        least[node] = min(passed, least.get(node, passed))
        finally:
            quiet_reset(token)
        return [least.get(step.node, 0) for step in self.plan.steps]

    @contextmanager
    def measured(self) -> Iterator[Callable[[], Callable[[], list[int]]]]:
        """Within, runs are measured: `mark()` ends a stretch of them, and what it gives tells the nanoseconds of each step."""
        taken = [0] * len(self.plan.steps)
        place = {step.node: n for n, step in enumerate(self.plan.steps)}
        runs, single = self._runs, self._single
        clocked = []
        for run in runs:
            node = self._nodes.get(id(run))
            clocked.append(run if node is None else _clocked(run, taken, place[node]))
            if node is not None:
                self._nodes[id(clocked[-1])] = node
        self._runs = tuple(clocked)
        if single is not None:
            self._single = _clocked(single, taken, 0)

        def mark() -> Callable[[], list[int]]:
            found, taken[:] = [*taken], [0] * len(taken)
            return lambda: found

        try:
            yield mark
        finally:
            self._runs, self._single = runs, single

    def describe(self, times: Sequence[int] | None = None) -> dict[str, Any]:
        """The plan as plain data; `times` are those of `timed`."""
        measured = {} if times is None else {x.node: ns for x, ns in zip(self.plan.steps, times, strict=True)}
        found: dict[str, Any] = descriptions.describe_plan(self.plan, measured)
        return found

    # --- compilation ---------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        runs: list[Run] = []
        releasable: dict[int, None] = {}
        for step in self.plan.steps:
            if step.how == VIEW and self._is_bound(step.node.outputs[0]):
                self._bound_views.append(step.node)
            else:
                run = self._step(step)
                checked = self.check_nans and nan_checks.may_be_blamed(step.node)
                runs.append(_checked(step.node, self._slots, run, step.how == INPLACE) if checked else run)
                self._nodes[id(runs[-1])] = step.node
                releasable.update((self._slots[v], None) for v in step.node.outputs if not self._is_bound(v))
            for value in step.frees:
                if self._slots[value] in releasable:
                    runs.append(_release(self._slots[value]))
        self._runs = tuple(runs)

    def _is_bound(self, value: Value) -> bool:
        """Whether the value is an array known per arena: in the arena, or seen through views of it or of a constant."""
        buffer, root, _ = self.plan.locations[value]
        return buffer.place == ARENA if buffer is not None else root in self.plan.constants

    def _step(self, step: Step) -> Run:
        node, slots = step.node, self._slots
        ins = [slots[value] for value in node.inputs]
        outs = [slots[value] for value in node.outputs]
        if step.how == VIEW:
            return _view(node, ins[0], outs[0])
        if step.how == EVAL:
            return _evaluated(node, ins, outs)
        if self._is_bound(node.outputs[0]):
            return _into_bound(node, ins, outs[0])
        if step.how == INPLACE:
            assert step.over is not None
            return _over(node, ins, slots[step.over], outs[0])
        return _into_new(node, ins, outs[0])

    def _bind(self) -> Env:
        """A new arena, and the environment in which everything that lives in it is an array."""
        plan = self.plan
        env: Env = [None] * (max(self._slots.values(), default=-1) + 1)
        memory = np.empty(plan.arena_bytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        for value, array in plan.constants.items():
            env[self._slots[value]] = array
        for step in plan.steps:
            for value in step.node.outputs:
                at = plan.locations[value]
                if step.how != VIEW and at.buffer is not None and at.buffer.place == ARENA:
                    env[self._slots[value]] = _array_at(memory, start + at.buffer.offset, value)
            if step.how == VIEW and self._is_bound(step.node.outputs[0]):
                operand = env[self._slots[step.node.inputs[0]]]
                env[self._slots[step.node.outputs[0]]] = step.node.op.eval(operand, **step.node.attrs)
        return env

    def _single_call(self) -> Callable[[Sequence[Any]], list[Any]] | None:
        """A call without arena or environment for a plan of one step that makes the one output."""
        plan, no_room = self.plan, self._no_room
        if len(plan.steps) != 1 or len(plan.outputs) != 1:
            return None
        node, how = plan.steps[0].node, plan.steps[0].how
        if node.op.n_outputs != 1 or plan.outputs[0].value is not node.outputs[0] or not node.inputs or how == VIEW:
            return None
        inputs, known = plan.program.inputs, plan.constants
        if any(value not in known and value not in inputs for value in node.inputs):
            return None
        #: for each operand the number of the input it is, or the array of a constant
        places = [known[value] if value in known else inputs.index(value) for value in node.inputs]
        plain = not any(value in known for value in node.inputs) and places == list(range(len(inputs)))
        evaluate = partial(node.op.eval, **node.attrs) if node.attrs else node.op.eval

        def call(arrays: Sequence[Any]) -> list[Any]:
            operands = arrays if plain else [arrays[x] if type(x) is int else x for x in places]
            token = quiet_set(quiet)
            try:
                result = evaluate(*operands)
            except MemoryError as error:
                raise no_room() from error
            except Exception as error:
                raise blame(error, node) from error.__cause__
            finally:
                quiet_reset(token)
            return [owned(result, operands)]

        return call


def number_slots(plan: Plan) -> dict[Value, int]:
    """A place in the environment for every value, inputs first."""
    slots = {value: i for i, value in enumerate(plan.program.inputs)}
    for value in plan.constants:
        slots[value] = len(slots)
    for step in plan.steps:
        for value in step.node.outputs:
            slots[value] = len(slots)
    return slots


def _array_at(memory: Any, offset: int, value: Value) -> Any:
    return np.ndarray(value.type.shape, value.dtype.np, buffer=memory, offset=offset)


def owned(result: Any, operands: Sequence[Any]) -> Any:
    """The result as an array in C order that shares memory with no operand."""
    if type(result) is not _ndarray:
        return np.asarray(result)
    if result.base is None:
        for x in operands:
            if result is x:
                return result.copy()
        return result if result.flags.c_contiguous else result.copy()
    if not result.flags.c_contiguous or not result.flags.writeable:
        return result.copy()
    return result.copy() if any(np.may_share_memory(result, x) for x in operands) else result


# --- closures, one per step ----------------------------------------------------------------------------------------------


def _writer(node: Node) -> tuple[Callable[..., None], bool]:
    """The function that writes the node's result into an array, and whether that array is its argument `out` (a ufunc)."""
    op = node.op
    if isinstance(op.eval, np.ufunc) and op.eval.nout == 1 and not node.attrs:
        return op.eval, True
    assert op.inplace is not None
    return (partial(op.inplace, **node.attrs) if node.attrs else op.inplace), False


def _into_bound(node: Node, ins: list[int], out: int) -> Run:
    """Writes into an array that is there already."""
    write, is_ufunc = _writer(node)
    if is_ufunc and len(ins) == 1:
        return _ufunc1(write, ins[0], out)
    if is_ufunc and len(ins) == 2:
        return _ufunc2(write, ins[0], ins[1], out)
    if is_ufunc:
        return lambda env: write(*[env[i] for i in ins], out=env[out])
    if len(ins) == 1:
        a = ins[0]
        return lambda env: write(env[out], env[a])
    return lambda env: write(env[out], *[env[i] for i in ins])


def _ufunc1(ufunc: Callable[..., Any], a: int, out: int) -> Run:
    def run(env: Env) -> None:
        ufunc(env[a], out=env[out])

    return run


def _ufunc2(ufunc: Callable[..., Any], a: int, b: int, out: int) -> Run:
    def run(env: Env) -> None:
        ufunc(env[a], env[b], out=env[out])

    return run


def _into_new(node: Node, ins: list[int], out: int) -> Run:
    """Writes into an array made for this run."""
    shape, dtype = node.outputs[0].type.shape, node.outputs[0].dtype.np
    write = _into_bound(node, ins, out)

    def run(env: Env) -> None:
        env[out] = _empty(shape, dtype)
        write(env)

    return run


def _over(node: Node, ins: list[int], over: int, out: int) -> Run:
    """Writes over an operand that was made in this run."""
    write = _into_bound(node, ins, out)

    def run(env: Env) -> None:
        env[out] = env[over]
        write(env)

    return run


def _view(node: Node, operand: int, out: int) -> Run:
    evaluate = partial(node.op.eval, **node.attrs)

    def run(env: Env) -> None:
        env[out] = evaluate(env[operand])

    return run


def _evaluated(node: Node, ins: list[int], outs: list[int]) -> Run:
    """Keeps the arrays that the kernel makes."""
    evaluate = partial(node.op.eval, **node.attrs) if node.attrs else node.op.eval
    if node.op.n_outputs == 1:
        out = outs[0]

        def run(env: Env) -> None:
            operands = [env[i] for i in ins]
            env[out] = owned(evaluate(*operands), operands)

        return run

    def run_several(env: Env) -> None:
        operands = [env[i] for i in ins]
        made: list[Any] = []
        for slot, result in zip(outs, evaluate(*operands), strict=True):
            array = owned(result, operands)
            if any(np.may_share_memory(array, other) for other in made):  # a body may give one array twice
                array = array.copy()
            made.append(array)
            env[slot] = array

    return run_several


def _checked(node: Node, slots: Mapping[Value, int], step: Run, over: bool) -> Run:
    """The step, and an error if it makes something not finite from finite operands. It may write over one of them."""
    operands = [(value, slots[value]) for value in node.inputs]
    results = [slots[value] for value in node.outputs]

    def run(env: Env) -> None:
        finite = all(nan_checks.is_finite(value, env[at]) for value, at in operands)
        kept = [env[at].copy() if over else env[at] for _, at in operands]
        step(env)
        if finite:
            nan_checks.check_node(node, [env[at] for at in results], kept)

    return run


def _clocked(run: Callable[[Any], Any], taken: list[int], n: int) -> Callable[[Any], Any]:
    """The same, and its time is added to number n of what was taken."""

    def call(operands: Any) -> Any:
        start = perf_counter_ns()
        found = run(operands)
        taken[n] += perf_counter_ns() - start
        return found

    return call


def _release(slot: int) -> Run:
    def run(env: Env) -> None:
        env[slot] = None

    return run
