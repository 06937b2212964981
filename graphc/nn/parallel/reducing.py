"""Gradients of one model in many processes: buckets of them are averaged while the backward pass still runs.

The reducer is told by a hook when a parameter's gradient is there. Parameters are in buckets, the last ones first, since their
gradients come first; when a bucket is full and those before it have gone, its gradients leave as one array. All processes have
the same buckets in the same order. In eager code another thread exchanges them meanwhile and results are written at the end of
the pass; in a trace the exchange is an op of the program.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.autodiff import order_entries
from graphc.core.arrays import host, memory_of, moved
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import DistError, GradientError
from graphc.core.tape import TensorBase
from graphc.distributed.collectives import called
from graphc.distributed.groups import ProcessGroup
from graphc.functions.arithmetic import div
from graphc.functions.creation import zeros_like
from graphc.functions.joining import cat
from graphc.functions.shaping import reshape
from graphc.graphs import Graph
from graphc.primitives import collective as ops

_UNFINISHED = (
    "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates that your "
    "module has parameters that were not used in producing loss. You can enable unused parameter detection by passing the "
    "keyword argument `find_unused_parameters=True` to `torch.nn.parallel.DistributedDataParallel`, and by making sure all "
    "`forward` function outputs participate in calculating loss.\n  without a gradient: "
)


class Reducer:
    """Averages the gradients of named parameters over the processes of a group.

    `first_bytes`, `most_bytes`: what the first bucket and the others hold at least, but for a last one. `syncs()`: whether
    gradients are averaged, asked where no forward pass has said so (one that runs compiled says nothing).
    """

    def __init__(
        self,
        group: ProcessGroup,
        params: Sequence[tuple[str, Any]],
        first_bytes: int,
        most_bytes: int,
        syncs: Callable[[], bool],
    ):
        self.group, self._syncs = group, syncs
        self.names, self.params = [name for name, _ in params], [p for _, p in params]
        self.buckets = _in_buckets(self.params, first_bytes, most_bytes)
        self._bucket_of = {i: k for k, bucket in enumerate(self.buckets) for i in bucket}
        self.reset()
        # the parameters outlive this, and may get another reducer then
        told = weakref.WeakMethod(self._is_there)
        handles = [
            p.register_post_accumulate_grad_hook(lambda leaf, i=i: (call := told()) and call(i))
            for i, p in enumerate(self.params)
        ]
        weakref.finalize(self, _take_out, handles)

    def reset(self) -> None:
        """Begins anew: nothing is known of the next backward pass."""
        self._expects: bool | None = None
        self._finds_unused = False
        self._ready: set[int] = set()
        self._left = [len(bucket) for bucket in self.buckets]
        self._gone: list[Any] = []
        self._unused: set[int] = set()

    # --- before the backward pass -------------------------------------------------------------------------------------

    def prepare(self, syncs: bool, outputs: Sequence[Any] | None) -> None:
        """A forward pass is done, whose backward pass is to average gradients or not.

        `outputs`: its tensors, where parameters that they do not depend on are to be found; else None. GradientError where
        gradients of the pass before are missing.
        """
        self.check_finished()
        self.reset()
        self._expects = syncs
        if not syncs:
            return
        if isinstance(STATE.recorder, Graph):
            self._hook_graph(STATE.recorder)
        elif outputs is not None:
            used = _leaves_below(outputs)
            self._unused = {i for i, p in enumerate(self.params) if id(p._here()) not in used}
        self._finds_unused = outputs is not None

    def check_finished(self) -> None:
        """GradientError if a backward pass has begun to average gradients and some are missing."""
        if self._ready and len(self._gone) < len(self.buckets):
            missing = [name for i, name in enumerate(self.names) if i not in self._ready]
            self.reset()
            raise GradientError(_UNFINISHED + ", ".join(missing))

    def _hook_graph(self, graph: Any) -> None:
        """In a graph gradients are values (`minimize`): each is averaged where it is made."""
        for p in self.params:
            shadow = graph.shadow(p)
            if "_averaged_by" not in shadow.__dict__:
                shadow.__dict__["_averaged_by"] = self
                shadow.register_hook(self._average)

    def _average(self, g: Any) -> Any:
        with set_grad(False):
            return div(called(ops.all_reduce, self.group, g, how="sum"), self.group.size())

    # --- in the backward pass -----------------------------------------------------------------------------------------

    def _is_there(self, i: int) -> None:
        """The gradient of parameter i is whole."""
        if isinstance(STATE.recorder, Graph):
            return
        assert STATE.after_backward is not None
        if self._finish not in STATE.after_backward:
            STATE.after_backward.append(self._finish)
        if not (self._syncs() if self._expects is None else self._expects):
            return
        if not self._ready:
            for j in sorted(self._unused):
                self._note(j)
        if i in self._ready:
            raise GradientError(
                f"Expected to mark a variable ready only once: {self.names[i]} got a gradient twice in one pass, or in two "
                "passes for one forward\n  hint: call forward again, or accumulate under no_sync()"
            )
        self._note(i)
        while len(self._gone) < len(self.buckets) and not self._left[len(self._gone)]:
            self._gone.append(self._leave(self.buckets[len(self._gone)]))

    def _note(self, i: int) -> None:
        self._ready.add(i)
        self._left[self._bucket_of[i]] -= 1

    def _leave(self, bucket: Sequence[int]) -> Any:
        """Sends a bucket's gradients off; what gives their averages."""
        with set_grad(False):
            grads = [self._grad(i) for i in bucket]
            flat = div(cat([reshape(g, (-1,)) for g in grads]), self.group.size())
            if STATE.recorder is not None:
                return called(ops.all_reduce, self.group, flat, how="sum")
            return _Flight(self.group, flat)

    def _grad(self, i: int) -> Any:
        grad = self.params[i].grad
        return zeros_like(self.params[i]) if grad is None else grad.detach()

    # --- at its end ---------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Writes the averages into the gradients."""
        if len(self._gone) < len(self.buckets):
            if STATE.recorder is not None or self._expects is None:
                self.check_finished()  # no forward pass of Python's comes that would
            if not self._ready:
                self.reset()
            return
        used = self._used()
        with set_grad(False):
            for bucket, found in zip(self.buckets, self._gone, strict=True):
                flat, at = found.result() if isinstance(found, _Flight) else found, 0
                for i in bucket:
                    p, n = self.params[i], self.params[i].numel()
                    if used is None or used[i]:
                        self._write(p, reshape(flat[at : at + n], tuple(p.shape)))
                    at += n
        self.reset()

    def _used(self) -> Any:
        """Which parameters some process has used; None: all count as used.

        In a trace, which cannot decide by that, gradients of those nobody uses are zeros.
        """
        if not self._finds_unused or STATE.recorder is not None:
            return None
        mine = np.array([i not in self._unused for i in range(len(self.params))])
        return self.group.link.run("all_reduce", mine, how="max")

    @staticmethod
    def _write(p: Any, average: Any) -> None:
        if p.grad is None:
            p.grad = average.clone()
        else:
            p.grad.copy_(average)


def _take_out(handles: Sequence[Any]) -> None:
    for handle in handles:
        handle.remove()


class _Flight:
    """An array under way, in eager code."""

    def __init__(self, group: ProcessGroup, flat: Any):
        self._memory = memory_of(flat._data)
        self._pending = group.link.begin("all_reduce", host(flat._data), how="sum")

    def result(self) -> Any:
        """The sum, where the array was."""
        return SLOTS.new_tensor(moved(self._pending.result(), self._memory))


def _in_buckets(params: Sequence[Any], first_bytes: int, most_bytes: int) -> list[list[int]]:
    """Numbers of parameters, last ones first, each bucket of one dtype and device."""
    done: list[list[int]] = []
    open_: dict[Any, tuple[list[int], int]] = {}
    for i in reversed(range(len(params))):
        p = params[i]
        kind = p.dtype, p.device
        bucket, size = open_.pop(kind, ([], 0))
        bucket.append(i)
        size += p.numel() * p.dtype.itemsize
        if size >= (most_bytes if done else first_bytes):
            done.append(bucket)
        else:
            open_[kind] = bucket, size
    return done + [bucket for bucket, _ in open_.values()]


def _leaves_below(tensors: Sequence[Any]) -> set[int]:
    """The identities of all leaves that these tensors depend on."""
    here = [t._here() for t in tensors]
    found = {id(t) for t in here}
    for entry in order_entries(t._edge[0] for t in here if type(t._edge) is tuple):
        found.update(id(edge) for edge in entry.edges if isinstance(edge, TensorBase))
    return found


def check_alike(group: ProcessGroup, params: Sequence[tuple[str, Any]]) -> None:
    """DistError unless the parameters have the same names, shapes and dtypes in all processes."""
    text = "; ".join(f"{name}: {p.tensor_type}" for name, p in params).encode()
    mine = np.zeros(1 << 16, np.uint8)
    mine[: min(len(text), mine.size)] = np.frombuffer(text[: mine.size], np.uint8)
    first = group.link.run("broadcast", mine, source=0)
    agree = group.link.run("all_gather", np.array([(first == mine).all()]))[:, 0]
    if not agree.all():
        others = ", ".join(str(group.ranks[r]) for r in np.flatnonzero(~agree))
        raise DistError(
            f"DistributedDataParallel: the model is another one in rank {others} than in rank {group.ranks[0]}: names, shapes "
            f"or dtypes of its parameters differ; here {text.decode()[:500]}"
        )


def send_state(group: ProcessGroup, tensors: Sequence[Any]) -> None:
    """Writes the values that the group's first process has into the tensors of all, those of one dtype and device at once."""
    kinds: dict[Any, list[Any]] = {}
    for t in tensors:
        kinds.setdefault((t.dtype, t.device), []).append(t)
    with set_grad(False):
        for same in kinds.values():
            flat, at = called(ops.broadcast, group, cat([reshape(t.detach(), (-1,)) for t in same]), source=0), 0
            for t in same:
                t.copy_(reshape(flat[at : at + t.numel()], tuple(t.shape)))
                at += t.numel()


__all__ = ["Reducer", "check_alike", "send_state"]
