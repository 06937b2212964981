"""PyTorch's collectives on tensors. Each writes its result into a tensor it was given, outside of any gradient.

In eager code, compiled functions and graphs alike they are the ops of primitives/collective.py; with `async_op=True` eager
code has another thread do them and goes on, and the result is written at `wait()`. Tensors on a device go by way of the host.
What has no op (send, recv, gather, scatter) is for eager code alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from graphc.core.arrays import host, is_array, memory_of, moved
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import ArgumentError, ArgumentTypeError, DistError, ShapeError, SymbolicError
from graphc.core.tape import TensorBase
from graphc.distributed.groups import ProcessGroup, get_group_rank, group_of
from graphc.functions.arithmetic import div
from graphc.functions.joining import stack
from graphc.functions.shaping import reshape
from graphc.primitives import collective as ops

#: What reductions do with the elements of all processes.
ReduceOp = enum.Enum("ReduceOp", "SUM AVG PRODUCT MIN MAX BAND BOR BXOR", module=__name__)
_NAMES = {"SUM": "sum", "AVG": "sum", "PRODUCT": "prod", "MIN": "min", "MAX": "max"}


class Work:
    """A call under way: `wait()` ends it."""

    def __init__(self, pending: Any = None, finish: Callable[[Any], None] = lambda found: None, source: int = -1):
        self._pending, self._finish, self._source = pending, finish, source
        self._error: BaseException | None = None

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits until the call is done and the result is in its tensor; raises what went wrong. True.

        The time is the group's; another cannot be given here.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            try:
                found = pending.result()
                with set_grad(False):
                    self._finish(found)
            except BaseException as error:
                self._error = error
                raise
        return True

    def is_completed(self) -> bool:
        """Whether `wait()` would return at once."""
        return self._pending is None or bool(self._pending.done())

    def is_success(self) -> bool:
        """Whether the call is done, and well."""
        return self.is_completed() and self._error is None

    def exception(self) -> BaseException | None:
        """What `wait()` raised."""
        return self._error

    def source_rank(self) -> int:
        """From whom a message is."""
        return self._source


# --- one way for all that have an op ------------------------------------------------------------------------------------


def _collective(
    op: Any, group: ProcessGroup, x: Any, async_op: bool, finish: Callable[[Any], None], **attrs: Any
) -> Any:
    """Does a collective on `x` and hands the result to `finish`; with `async_op`, when the Work it returns is waited for."""
    with set_grad(False):
        if async_op and STATE.recorder is None:
            op.infer(x.tensor_type, group.turn.tensor_type, group=group.number, **attrs)
            options = {k: v for k, v in attrs.items() if k != "size"}
            memory, array = memory_of(x._data), np.array(host(x._here()._data), order="C")
            pending = group.link.begin(op.name, array, **options)
            return Work(pending, lambda found: finish(SLOTS.new_tensor(moved(found, memory))))
        finish(called(op, group, x, **attrs))
    return Work() if async_op else None


def called(op: Any, group: ProcessGroup, x: Any, **attrs: Any) -> Any:
    """The result of a collective of that group, in its turn."""
    result, turn = op(x, group.turn, group=group.number, **attrs)
    group.turn.copy_(turn)
    return result


def _check(x: Any, name: str) -> None:
    if not isinstance(x, TensorBase):
        raise ArgumentTypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
            f"             but got {type(x)} instead."
        )


def _check_list(xs: Any, name: str) -> None:
    if not isinstance(xs, list | tuple) or not all(isinstance(x, TensorBase) for x in xs):
        raise ArgumentTypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]")


def _check_alike(xs: Sequence[Any], like: Any, name: str, count: int) -> None:
    if len(xs) != count:
        raise DistError(f"{name}: a tensor for each of the {count} processes is needed, got {len(xs)}")
    for i, x in enumerate(xs):
        if tuple(x.shape) != tuple(like.shape) or x.dtype is not like.dtype:
            raise ShapeError(f"{name}: tensor {i} is {x.tensor_type}, where {like.tensor_type} is needed")


def _reduction(op: Any, x: Any) -> str:
    if not isinstance(op, ReduceOp):
        raise ArgumentTypeError(f"op: expected a ReduceOp, not {op!r}")
    if op is ReduceOp.AVG and not x.dtype.is_floating_point:
        raise DistError(f"ReduceOp.AVG of {x.dtype}: floats only")
    return _NAMES.get(op.name, op.name.lower())


def _averaged(op: Any, result: Any, group: ProcessGroup) -> Any:
    return div(result, group.size()) if op is ReduceOp.AVG else result


def root_of(group: ProcessGroup, rank: int | None, group_rank: int | None, name: str, default: int | None) -> int:
    """The number in the group of a process that was told by its rank, or by that in the group."""
    if rank is not None and group_rank is not None:
        raise ArgumentError(f"Can't specify both group_{name} and {name}")
    if group_rank is not None:
        if not 0 <= group_rank < group.size():
            raise DistError(f"group_{name} {group_rank} of {group.size()} processes")
        return group_rank
    rank = default if rank is None else rank
    if rank is None:
        raise ArgumentError(f"Must specify {name} or group_{name}")
    if rank not in group.ranks:
        raise DistError(f"invalid root rank: {rank} is not one of {list(group.ranks)}")
    return get_group_rank(group, rank)


def _eager(call: str) -> None:
    if STATE.recorder is not None:
        raise SymbolicError(
            f"{call} cannot be part of a graph: what has a part in graphs is all_reduce, reduce, broadcast, all_gather, "
            "all_gather_into_tensor, reduce_scatter, reduce_scatter_tensor and barrier"
        )


# --- the functions -------------------------------------------------------------------------------------------------------


def all_reduce(tensor: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
    """Replaces the tensor by what `op` makes of those of all processes; all hold the same bits then."""
    _check(tensor, "tensor")
    found = group_of(group, "all_reduce")
    if found is None:
        return None
    how = _reduction(op, tensor)
    return _collective(
        ops.all_reduce, found, tensor, async_op, lambda y: tensor.copy_(_averaged(op, y, found)), how=how
    )


def reduce(
    tensor: Any, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Any:  # fmt: skip
    """The same at process `dst` alone; the other processes keep their tensors."""
    _check(tensor, "tensor")
    found = group_of(group, "reduce")
    if found is None:
        return None
    how, is_root = _reduction(op, tensor), root_of(found, dst, group_dst, "dst", None) == found.rank()

    def finish(y: Any) -> None:
        if is_root:
            tensor.copy_(_averaged(op, y, found))

    return _collective(ops.all_reduce, found, tensor, async_op, finish, how=how)


def broadcast(
    tensor: Any, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Any:
    """Replaces the tensor by that of process `src`."""
    _check(tensor, "tensor")
    found = group_of(group, "broadcast")
    if found is None:
        return None
    source = root_of(found, src, group_src, "src", None)
    return _collective(ops.broadcast, found, tensor, async_op, tensor.copy_, source=source)


def all_gather(tensor_list: Sequence[Any], tensor: Any, group: Any = None, async_op: bool = False) -> Any:
    """Fills the list with the tensors of all processes, all of one shape."""
    _check_list(tensor_list, "tensor_list")
    _check(tensor, "tensor")
    found = group_of(group, "all_gather")
    if found is None:
        return None
    _check_alike(tensor_list, tensor, "all_gather", found.size())

    def finish(y: Any) -> None:
        for i, out in enumerate(tensor_list):
            out.copy_(y[i])

    return _collective(ops.all_gather, found, tensor, async_op, finish, size=found.size())


def all_gather_into_tensor(output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False) -> Any:
    """Writes the tensors of all processes into one, joined or stacked along the first dimension."""
    _check(output_tensor, "output_tensor")
    _check(input_tensor, "input_tensor")
    found = group_of(group, "all_gather_into_tensor")
    if found is None:
        return None
    _check_joined(output_tensor, input_tensor, found.size(), "all_gather_into_tensor: output_tensor")
    return _collective(
        ops.all_gather, found, input_tensor, async_op,
        lambda y: output_tensor.copy_(reshape(y, tuple(output_tensor.shape))), size=found.size(),
    )  # fmt: skip


def _check_joined(whole: Any, part: Any, size: int, what: str) -> None:
    shape = tuple(part.shape)
    fits = [(size, *shape)] + ([(size * shape[0], *shape[1:])] if shape else [(size,)])
    if tuple(whole.shape) not in fits or whole.dtype is not part.dtype:
        raise ShapeError(f"{what} is {whole.tensor_type}", f"{part.dtype.short}{list(fits[-1])} or {list(fits[0])}")


def reduce_scatter_tensor(
    output: Any, input: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Writes this process's part of what `op` makes of all inputs; the input is a part for each process, joined or stacked."""
    _check(output, "output")
    _check(input, "input")
    found = group_of(group, "reduce_scatter_tensor")
    if found is None:
        return None
    _check_joined(input, output, found.size(), "reduce_scatter_tensor: input")
    how, size = _reduction(op, output), found.size()
    with set_grad(False):
        parts = reshape(input, (size, *output.shape))
    return _collective(
        ops.reduce_scatter, found, parts, async_op, lambda y: output.copy_(_averaged(op, y, found)), size=size, how=how
    )


def reduce_scatter(
    output: Any, input_list: Sequence[Any], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """The same, the parts given as a list."""
    _check(output, "output")
    _check_list(input_list, "input_list")
    found = group_of(group, "reduce_scatter")
    if found is None:
        return None
    _check_alike(input_list, output, "reduce_scatter", found.size())
    with set_grad(False):
        return reduce_scatter_tensor(output, stack(list(input_list)), op, group, async_op)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: timedelta | None = None) -> Any:
    """Waits until all processes of the group are here."""
    found = group_of(group, "barrier")
    if found is None:
        return None
    one = SLOTS.new_tensor(np.zeros((), np.uint8))
    return _collective(ops.all_reduce, found, one, async_op, lambda y: None, how="max")


# --- eager code alone ----------------------------------------------------------------------------------------------------


def gather(
    tensor: Any, gather_list: Sequence[Any] | None = None, dst: int | None = None, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Fills the list of process `dst` (0 if it is left out) with the tensors of all."""
    _check(tensor, "tensor")
    found = group_of(group, "gather")
    if found is None:
        return None
    _eager("gather")
    target = root_of(found, dst, group_dst, "dst", found.ranks[0] if group_dst is None else None)
    if target == found.rank():
        if not gather_list:
            raise ArgumentError("Argument ``gather_list`` must be specified on destination rank.")
        _check_list(gather_list, "gather_list")
        _check_alike(gather_list, tensor, "gather", found.size())
    elif gather_list:
        raise ArgumentError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")

    def finish(rows: Any) -> None:
        for out, row in zip(gather_list or (), rows if rows is not None else (), strict=True):
            _write(out, row)

    return _answer(found.link.begin("gather", _elements(tensor), target=target), finish, async_op)


def scatter(
    tensor: Any, scatter_list: Sequence[Any] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Any:  # fmt: skip
    """Replaces the tensor by that which the list of process `src` (0 if it is left out) has for this process."""
    _check(tensor, "tensor")
    found = group_of(group, "scatter")
    if found is None:
        return None
    _eager("scatter")
    source = root_of(found, src, group_src, "src", found.ranks[0] if group_src is None else None)
    if source == found.rank():
        if not scatter_list:
            raise ArgumentError("Argument ``scatter_list`` must be specified on source rank.")
        _check_list(scatter_list, "scatter_list")
        _check_alike(scatter_list, tensor, "scatter", found.size())
        given = np.stack([_elements(x) for x in scatter_list])
    elif scatter_list:
        raise ArgumentError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    else:
        given = _elements(tensor)
    return _answer(found.link.begin("scatter", given, source=source), lambda row: _write(tensor, row), async_op)


def _elements(x: Any) -> Any:
    """A copy of a tensor's elements, on the host."""
    here = x._here()
    if not is_array(here._data):
        raise SymbolicError("a symbolic tensor has no elements to send")
    return np.array(host(here._data), order="C")


def _write(out: Any, array: Any) -> None:
    with set_grad(False):
        out.copy_(SLOTS.new_tensor(moved(np.array(array), memory_of(out._data))))


def _answer(pending: Any, finish: Callable[[Any], None], async_op: bool) -> Work | None:
    work = Work(pending, finish)
    if async_op:
        return work
    work.wait()
    return None


# --- messages from one process to another ---------------------------------------------------------------------------------


def isend(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Begins to send a copy of the tensor to process `dst`, whose `recv` or `irecv` has the same tag."""
    _check(tensor, "tensor")
    found = group_of(group, "isend")
    if found is None:
        return None
    _eager("send")
    target = root_of(found, dst, group_dst, "dst", None)
    if target == found.rank():
        raise ArgumentError(
            "Invalid destination rank: destination rank should not be the same as the rank of the current process."
        )
    return Work(found.link.send(_elements(tensor), target, tag))


def irecv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Begins to receive what process `src` sends with that tag; without `src`, waits for what comes first from any."""
    _check(tensor, "tensor")
    found = group_of(group, "irecv")
    if found is None:
        return None
    _eager("recv")
    out = np.empty(tuple(tensor.shape), tensor.dtype.np)
    if src is None and group_src is None:
        source = found.link.first_to_send(out, tag)
    else:
        source = root_of(found, src, group_src, "src", None)
    if source == found.rank():
        raise ArgumentError(
            "Invalid source rank: source rank should not be the same as the rank of the current process."
        )
    pending = found.link.receive(out, source, tag)
    return Work(pending, lambda _: _write(tensor, out), found.ranks[source])


def send(tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """`isend`, and waits until it is done."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """`irecv`, and waits until it is done; the rank of the process it came from, -1 outside of the group."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return work.source_rank()


class P2POp:
    """A message for `batch_isend_irecv`: `op` is `isend` or `irecv`."""

    def __init__(
        self,
        op: Any,
        tensor: Any,
        peer: int | None = None,
        group: Any = None,
        tag: int = 0,
        group_peer: int | None = None,
    ):
        if op not in (isend, irecv):
            raise ArgumentError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or ``irecv``."
            )
        _check(tensor, "tensor")
        self.op, self.tensor, self.peer, self.group, self.tag, self.group_peer = (
            op,
            tensor,
            peer,
            group,
            tag,
            group_peer,
        )


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Begins all these messages at once, in whatever order they are."""
    if not p2p_op_list or not all(isinstance(x, P2POp) for x in p2p_op_list):
        raise ArgumentError("Invalid ``p2p_op_list``. Expected a list of P2POp")
    begun = [x.op(x.tensor, x.peer, x.group, x.tag, x.group_peer) for x in p2p_op_list]
    return [work for work in begun if work is not None]


__all__ = [
    "P2POp", "ReduceOp", "Work", "all_gather", "all_gather_into_tensor", "all_reduce", "barrier", "batch_isend_irecv",
    "broadcast", "gather", "irecv", "isend", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "send",
]  # fmt: skip
