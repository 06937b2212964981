"""`Session`: runs a graph. A run is pruned to what is fetched, built once per set of fetches, planned once per size."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from graphc.backends import backend_names, find_backend
from graphc.builds import Recompile, check_may_build, write_array
from graphc.compiled_backward import replay
from graphc.core.arrays import duplicate, host, is_array
from graphc.core.config import config
from graphc.core.context import SLOTS, eagerly
from graphc.core.dims import Dim, Size, substitute
from graphc.core.errors import BackendError, FeedError, FetchError, GraphError, ShapeError, user_line
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, TensorType, dtype_of
from graphc.effects import is_turn, only_needed
from graphc.executable import Built
from graphc.graphs import AllUpdates, Graph, UpdateGroup, gradients, placeholder, updates
from graphc.ir.program import Value
from graphc.nests import flatten, unflatten
from graphc.sharing import Doubt
from graphc.tracing import Capture, plain_name


class SharedLock:
    """Many readers or one writer; a waiting writer goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting = 0

    @contextmanager
    def held(self, write: bool) -> Iterator[None]:
        """Holds the lock, alone if `write`."""
        with self._changed:
            self._waiting += write
            try:
                while self._writing or (write and self._readers) or (not write and self._waiting):
                    self._changed.wait()
            except BaseException:  # Ctrl-C: those who wait for this writer need not any more
                self._changed.notify_all()
                raise
            finally:
                self._waiting -= write
            self._writing = write
            self._readers += not write
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._readers -= not write
                self._changed.notify_all()


class Asked(NamedTuple):
    """The doubts about shared memory that show in a run, when so many readers were noted; and feeds for which all hold."""

    events: int
    doubts: list[Doubt]
    agreed: set[tuple[tuple[Value, tuple[int, ...]], ...]]


@dataclass(eq=False)
class PreparedRun:
    """A build for one set of fetches: values and train ops. `picks`: the output that each fetch shows."""

    fetches: list[Any]
    built: Built
    sources: list[tuple[str, Any]]
    writes: list[tuple[Capture, int]]
    picks: list[int | None]
    asked: Asked | None = None


class Session:
    """Runs a graph on a backend.

    `backend=None` is `compile`'s default; "eager" runs node by node through the eager door. `verify=True` compares each run
    of another backend with the recorded program, as `compile` does. `strict=True` makes a line that grows the graph between
    runs an error. `check_nans=True` raises NonFiniteError for the first op that makes a NaN or an infinity from finite
    operands, before anything is written. Several threads may run one session: runs that write exclude each other, one that
    only reads never sees half an update.
    """

    def __init__(
        self,
        graph: Graph,
        backend: str | None = None,
        optimize: bool = True,
        verify: bool = False,
        strict: bool = False,
        check_nans: bool = False,
    ):
        if not isinstance(graph, Graph):
            raise GraphError(f"Session takes a Graph, got {type(graph).__name__}")
        self.graph, self.optimize, self.verify, self.check_nans = graph, optimize, verify, check_nans
        self._asked, self.backend = backend, backend or config.backend
        if self.backend == "eager":
            if check_nans:
                raise BackendError("check_nans looks at the steps of a plan, and the backend 'eager' has none")
        elif self.backend not in backend_names():
            raise BackendError(f"unknown backend {backend!r}: there are {', '.join([*backend_names(), 'eager'])}")
        else:
            find_backend(self.backend)  # it loads now, so that the first run need not
        graph._strict = strict
        self.recompiles: list[Recompile] = []
        self._prepared: OrderedDict[Any, PreparedRun] = OrderedDict()
        self._known_outputs: dict[Any, Any] = {}
        self._building = threading.RLock()
        self._lock = SharedLock()
        self._closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops what was built; may be called again."""
        self._closed = True
        self._prepared.clear()
        self._known_outputs.clear()

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Runs what the fetches need and returns NumPy arrays in their nesting, None for a train op.

        fetches: tensors of the graph, parameters (their value at the start), names in `graph.outputs`, train ops, nested.
        feed_dict: placeholder or its name -> array, Tensor, number or nested list. Raises FetchError, FeedError; ShapeError for
        sizes with which a write would reach what it does not reach in the graph, as `reshape` gives a view or a copy.
        """
        with eagerly():
            structure, leaves = self._fetches(fetches)
            feeds = self._feeds({} if feed_dict is None else feed_dict)
            prepared = self._prepare(leaves, feeds)
            with self._lock.held(write=bool(prepared.writes)):
                results = self._execute(prepared, feeds, leaves)
        self.graph.note_run()
        return unflatten(structure, results)

    def builds(self) -> list[PreparedRun]:
        """Every build there is now."""
        with self._building:
            return list(self._prepared.values())

    def prepare(self, fetches: Any) -> PreparedRun:
        """The build for these fetches, made if there is none; nothing runs, and nothing need be fed."""
        with eagerly():
            return self._prepare(self._fetches(fetches)[1], None)

    def arrays_for(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None
    ) -> tuple[PreparedRun, list[np.ndarray[Any, Any]]]:
        """The build that `run` would use, made if there is none, and copies of the arrays it would read; nothing runs."""
        with eagerly():
            _, leaves = self._fetches(fetches)
            feeds = self._feeds({} if feed_dict is None else feed_dict)
            prepared = self._prepare(leaves, feeds)
            with self._lock.held(write=False):
                return prepared, [duplicate(array) for array in self._read(prepared, feeds, leaves)]

    # --- fetches --------------------------------------------------------------------------------------------------

    def _fetches(self, fetches: Any) -> tuple[Any, list[Any]]:
        """The nest's structure, and its fetches as values and train ops."""
        if self._closed:
            raise GraphError(f"this session is closed (at {user_line()})")
        leaves: list[Any] = []
        structure = flatten(self._as_leaves(fetches), leaves)
        return structure, [self._fetch(leaf.fetch) for leaf in leaves]

    def _as_leaves(self, nest: Any) -> Any:
        """The nest with every fetch wrapped, so that structure and fetches come apart."""
        if isinstance(nest, list | tuple):
            parts = [self._as_leaves(x) for x in nest]
            return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
        if isinstance(nest, dict):
            return {k: self._as_leaves(v) for k, v in nest.items()}
        return _FetchLeaf.around(nest)

    def _fetch(self, fetch: Any) -> Any:
        """A Value, or a train op."""
        graph = self.graph
        if isinstance(fetch, str):
            if fetch not in graph.outputs:
                known = ", ".join(map(repr, graph.outputs)) or "nothing (fill graph.outputs)"
                raise FetchError(f"no output named {fetch!r}: graph.outputs has {known} (at {user_line()})")
            fetch = graph.outputs[fetch]
        if isinstance(fetch, UpdateGroup | AllUpdates):
            if fetch.graph is not graph:
                raise FetchError(f"this train op belongs to another graph (at {user_line()})")
            return fetch
        if not isinstance(fetch, TensorBase):
            raise FetchError(
                f"cannot fetch {fetch!r}: fetches are tensors, names in graph.outputs and train ops (at {user_line()})"
            )
        if fetch._base is not None:
            self.graph.derive_anew(fetch)
        if not is_array(fetch._data):
            if fetch._data.node.table is not graph.table:
                raise FetchError(
                    f"a tensor {fetch._data.type} made at {fetch._data.origin_text()} belongs to another graph "
                    f"(fetched at {user_line()})"
                )
            graph.layouts.sharing.note_fetch(fetch)
            return fetch._data
        capture = graph.captures.get(id(fetch))
        if capture is None:
            raise FetchError(f"a tensor {fetch.tensor_type} that the graph does not use was fetched at {user_line()}")
        return capture.value

    # --- feeds ----------------------------------------------------------------------------------------------------

    def _feeds(self, feed_dict: Any) -> dict[Value, Any]:
        if not isinstance(feed_dict, Mapping):
            kind = type(feed_dict).__name__
            raise FeedError(
                f"feed_dict must be a dict from placeholders or their names to values, got {kind} (at {user_line()})"
            )
        found: dict[Value, Any] = {}
        for key, value in feed_dict.items():
            name, leaf = self._fed(key)
            if leaf in found:
                raise FeedError(f"{name} is fed twice (at {user_line()})")
            found[leaf] = _as_feed(name, leaf.type, value)
        return found

    def _fed(self, key: Any) -> tuple[str, Value]:
        inputs = self.graph.inputs
        if isinstance(key, str) and key in inputs:
            return key, self.graph.fed[key]
        for name, tensor in inputs.items():
            if key is tensor:
                return name, self.graph.fed[name]
        known = ", ".join(inputs) or "none"
        shown = repr(key) if isinstance(key, str) else f"{type(key).__name__} {getattr(key, 'tensor_type', '')}"
        raise FeedError(
            f"cannot feed {shown}: it is not a placeholder of this graph; the placeholders are {known} (at {user_line()})"
        )

    # --- building -------------------------------------------------------------------------------------------------

    def _prepare(self, leaves: list[Any], feeds: dict[Value, Any] | None) -> PreparedRun:
        """The build for these fetches; with feeds, a new one only if nothing is missing."""
        values, writes, picks = self._outputs_once(leaves)
        key = (tuple(values), tuple((id(c), v) for c, v in writes), tuple(picks))
        with self._building:
            found = self._prepared.get(key)
            if found is not None:
                self._prepared.move_to_end(key)
                return found
            check_may_build("Session.run", "these fetches for the first time")
            start = time.perf_counter()
            program = self.graph.program([*values, *(v for _, v in writes)])
            sources = self._sources(program.inputs)
            if feeds is not None:
                self._check_fed(sources, feeds, leaves)
            backend = None if self.backend == "eager" else self._asked
            built = Built(
                program, self.graph.aliases, backend, self.optimize, self.verify, self.graph.name,
                check_nans=self.check_nans,
            )  # fmt: skip
            numbered = [(capture, len(values) + i) for i, (capture, _) in enumerate(writes)]
            found = self._prepared[key] = PreparedRun(leaves, built, sources, numbered, picks)
            if len(self._prepared) > config.largest_cache:
                self._prepared.popitem(last=False)
            ms = (time.perf_counter() - start) * 1e3
            self.recompiles.append(Recompile("fetches", None, None, len(leaves), user_line(), ms))
            return found

    def _outputs_once(self, leaves: list[Any]) -> Any:
        """`_outputs`, which walks the graph, remembered for these fetches and the writes recorded so far."""
        key = (tuple(leaves), tuple([value for _, value in self.graph.writes()]), len(self.graph.fed))
        found = self._known_outputs.get(key)
        if found is None:
            if len(self._known_outputs) >= config.largest_cache:
                self._known_outputs.clear()
            found = self._known_outputs[key] = self._outputs(leaves)
        return found

    def _outputs(self, leaves: list[Any]) -> tuple[list[Value], list[tuple[Capture, Value]], list[int | None]]:
        """The values to fetch, the variables to write, and which value each fetch shows."""
        values: list[Value] = []
        picks: list[int | None] = []
        writes: dict[int, tuple[Capture, Value, Any]] = {}
        for leaf in leaves:
            if isinstance(leaf, Value):
                picks.append(len(values))
                values.append(leaf)
                continue
            picks.append(None)
            pairs = [*leaf.pairs, *self.graph.implied_writes(leaf)]
            for capture, value in pairs:
                if is_turn(value):  # what is printed hangs on the run
                    continue
                known = writes.get(id(capture))
                if known is not None and known[1] is not value:
                    raise FetchError(f"two train ops of one run write {capture.name} (at {user_line()})")
                writes[id(capture)] = (capture, value, leaf)
        for capture, value in self.graph.random_advances([*values, *(v for _, v, _ in writes.values())]):
            writes.setdefault(id(capture), (capture, value, None))
        found = [(c, v) for c, v, _ in writes.values()]
        for capture, turn in self.graph.effects():
            losses = [self.graph.shadow(x.loss)._data for x in leaves if getattr(x, "loss", None) is not None]
            new, turn = only_needed([*values, *(v for _, v in found)], turn, losses)
            values, found = new[: len(values)], [(c, v) for (c, _), v in zip(found, new[len(values) :], strict=True)]
            found += [(capture, turn)] if turn is not capture.value else []
        return values, found, picks

    def _sources(self, inputs: Sequence[Value]) -> list[tuple[str, Any]]:
        fed = {value: name for name, value in self.graph.fed.items()}
        captures = {c.value: c for c in self.graph.captures.values()}
        return [(fed[v], v) if v in fed else ("", captures[v]) for v in inputs]

    # --- running --------------------------------------------------------------------------------------------------

    def _execute(self, prepared: PreparedRun, feeds: dict[Value, Any], leaves: list[Any]) -> list[Any]:
        results = self._compute(prepared.built, self._read(prepared, feeds, leaves))
        for capture, k in prepared.writes:
            _store(capture, results[k])
        return [None if k is None else host(results[k]) for k in prepared.picks]

    def _read(self, prepared: PreparedRun, feeds: dict[Value, Any], leaves: list[Any]) -> list[Any]:
        """The arrays a run reads, checked against what the build assumes."""
        self._check_fed(prepared.sources, feeds, leaves)
        arrays, names = [], []
        for name, source in prepared.sources:
            names.append(name or source.name)
            if not name:
                array = source.read()
                want: TensorType = source.value.type
                if array.shape != want.shape or array.dtype != want.dtype.np:
                    raise GraphError(
                        f"variable {source.name} is now {array.dtype}{list(array.shape)}, "
                        f"the graph was built for {want} (at {user_line()})"
                    )
                arrays.append(array)
                continue
            arrays.append(feeds[source])
        built = prepared.built
        if built.places:
            try:
                built.check([a.shape for a in arrays], names)
            except ShapeError as error:
                raise FeedError(f"{error.problem} (fed at {user_line()})") from None
        if self.graph.layouts.sharing.events:
            self._check_doubts(prepared, feeds)
        return arrays

    def _check_doubts(self, prepared: PreparedRun, feeds: dict[Value, Any]) -> None:
        """Raises ShapeError for sizes with which memory would be shared otherwise than recorded, where the run can show it.

        What such a write reaches may hang on feeds that the program itself does not need.
        """
        layouts, asked, program = self.graph.layouts, prepared.asked, prepared.built.recorded
        events = layouts.sharing.events
        if asked is None or asked.events != events:
            values = {v for node in program.nodes for v in node.outputs}
            doubts = [doubt for doubt in layouts.sharing.doubts if doubt.shows_in(values, program.outputs)]
            asked = prepared.asked = Asked(events, doubts, set())
        if not asked.doubts:
            return
        fed = [(value, feeds[value].shape) for value in self.graph.fed.values() if value in feeds]
        key = tuple(fed)
        if key in asked.agreed:
            return
        sizes = _sizes_fed(fed, self.graph.aliases)
        for doubt in asked.doubts:
            layouts.check_doubt(doubt, sizes)
        if len(asked.agreed) >= config.largest_cache:
            asked.agreed.clear()
        asked.agreed.add(key)

    def _compute(self, built: Built, arrays: list[Any]) -> list[Any]:
        if self.backend == "eager":
            tensors = [SLOTS.new_tensor(a) for a in arrays]
            return [duplicate(t._data) for t in replay(built.recorded, tensors, built.aliases)]
        return built.run(arrays)

    def _check_fed(self, sources: list[tuple[str, Any]], feeds: dict[Value, Any], leaves: list[Any]) -> None:
        for name, source in sources:
            if name and source not in feeds:
                raise FeedError(self._missing(name, source, leaves))

    def _missing(self, name: str, placeholder: Value, leaves: list[Any]) -> str:
        """The message for a placeholder without a feed: the path from a fetch to it."""
        for leaf in leaves:
            roots = [leaf] if isinstance(leaf, Value) else [v for _, v in leaf.pairs]
            path = _path(roots, placeholder)
            if path:
                steps = "\n".join(f"    {v.node.op.name}: {v.type}  made at {v.origin_text()}" for v in path[:-1][:12])
                fetch = "the train op" if not isinstance(leaf, Value) else "the fetch"
                return (
                    f"placeholder {name!r} {placeholder.type} is not fed, and {fetch} needs it (run at {user_line()})\n"
                    f"  path from the fetch:\n{steps}\n    placeholder {name!r}  made at {placeholder.origin_text()}"
                )
        made = f"placeholder {name!r} {placeholder.type}, made at {placeholder.origin_text()}"
        return f"{made}, is not fed (run at {user_line()})"


def _sizes_fed(fed: Sequence[tuple[Value, tuple[int, ...]]], aliases: Mapping[str, Size]) -> dict[str, int]:
    """The unknown sizes that feeds of these shapes tell, under each of their names."""
    sizes: dict[str, int] = {}
    for known in ({}, aliases):  # a placeholder's own name for a size comes first
        for value, shape in fed:
            for want, have in zip(value.type.shape, shape, strict=True):
                name = plain_name(substitute(want, known))
                if name is not None:
                    sizes.setdefault(name, have)
    for name, size in aliases.items():
        found = substitute(size, sizes)
        if isinstance(found, int):
            sizes.setdefault(name, found)
    return sizes


class _FetchLeaf(TensorBase):
    """Wraps a fetch so that nests are taken apart at fetches."""

    __slots__ = ("fetch",)
    fetch: Any

    @staticmethod
    def around(fetch: Any) -> _FetchLeaf:
        leaf = _FetchLeaf()
        leaf.fetch = fetch
        return leaf


def _path(roots: Sequence[Value], goal: Value) -> list[Value]:
    """A shortest path from one of the roots down to `goal`, both included."""
    before: dict[Value, Value | None] = dict.fromkeys(roots)
    queue = list(roots)
    for value in queue:
        if value is goal:
            path: list[Value] = []
            at: Value | None = value
            while at is not None:
                path.append(at)
                at = before[at]
            return path[::-1]
        for operand in value.node.inputs:
            if operand not in before:
                before[operand] = value
                queue.append(operand)
    return []


def _as_feed(name: str, want: TensorType, value: Any) -> Any:
    """The array to feed; FeedError where dtype or shape do not fit."""
    if isinstance(value, TensorBase):
        if not is_array(value._data):
            raise FeedError(f"{name}: a symbolic tensor cannot be fed (at {user_line()})")
        value = value._data
    if is_array(value):
        try:
            have = dtype_of(value.dtype)
        except TypeError as error:
            raise FeedError(f"{name}: {error} (at {user_line()})") from None
        if have is not want.dtype:
            raise FeedError(
                f"{name} is {want}, the feed is {have.short}{list(value.shape)}: "
                f"write `.astype('{want.dtype.name}')` (at {user_line()})"
            )
        array = value if value.dtype.isnative else value.astype(want.dtype.np)
    else:
        try:
            given = np.asarray(value)
            if given.dtype == object:
                raise ValueError("a ragged or non-numeric feed")
            array = given.astype(want.dtype.np)
            if want.dtype.category != FLOAT and not np.array_equal(array, given):
                raise ValueError(f"not every number is a {want.dtype.name}")
        except (ValueError, TypeError, OverflowError) as error:
            raise FeedError(
                f"{name} is {want}, and {value!r:.60} cannot be fed to it: {error} (at {user_line()})"
            ) from None
    if array.ndim != len(want.shape) or any(
        not isinstance(d, Dim) and d != s for d, s in zip(want.shape, array.shape, strict=True)
    ):
        raise FeedError(f"{name} is {want}, the feed has shape {list(array.shape)} (at {user_line()})")
    return array


def _store(capture: Capture, array: Any) -> None:
    """Gives a variable its new value after a run."""
    if capture.grad_of is not None and capture.grad_of.grad is None:
        capture.grad_of.grad = SLOTS.new_tensor(array)
        return
    target = capture.target()
    write_array(target, array)


__all__ = ["Graph", "Session", "UpdateGroup", "gradients", "placeholder", "updates"]
