"""What several processes do in the tests of graphc.distributed; each case runs in every one of them.

They are processes of their own (`spawn`), so that nothing is shared but what they send each other.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
import graphc.distributed as dist
from graphc import nn

#: Seconds after which processes that hang are killed, and after which a call among them gives up.
PATIENCE_S, CALL_S = 120, 60

RNG = np.random.default_rng(7)
BATCHES = [(RNG.normal(size=(8, 6)), RNG.integers(0, 3, size=8)) for _ in range(6)]


def run_case(case: str, rank: int, size: int, url: str, answers: Any) -> None:
    """The body of a process: joins the others, runs a case, and answers what it returns or the traceback."""
    os.environ["GRAPHC_AUTHKEY"] = url  # writes nothing into the user's home
    try:
        dist.init_process_group("gloo", url, timedelta(seconds=CALL_S), size, rank)
        found = globals()[case](rank, size)
        if not case.startswith("ends"):
            dist.destroy_process_group()
        answers.send(("", found))
        if case == "ends_badly" and not rank:
            raise ValueError("this one is meant")
    except BaseException as error:
        if "meant" in str(error):
            raise
        answers.send((traceback.format_exc(), None))


def together(case: str, size: int, folder: Path) -> list[Any]:
    """What a case returns in each of `size` processes, in order of their ranks."""
    context = multiprocessing.get_context("spawn")
    url, found, started = f"file://{folder}/meeting", {}, []
    try:
        for r in range(size):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=run_case, args=(case, r, size, url, theirs))
            process.start()
            theirs.close()
            started.append((process, ours))
        errors = ""
        for r, (_, ours) in enumerate(started):
            assert ours.poll(PATIENCE_S), f"{case} hangs{errors}"
            error, found[r] = ours.recv()
            errors += f"\nrank {r}:\n{error}" if error else ""
        assert not errors, errors
        return [found[r] for r in range(size)]
    finally:
        for process, ours in started:
            ours.close()
            process.join(CALL_S if len(found) == size else 0)
            process.kill()
            process.join()


def build(seed: int = 0) -> Any:
    """A small float64 network."""
    gc.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3)).double()


def weights(model: Any) -> Any:
    """All parameters in one array."""
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def train(model: Any, rank: int = 0, size: int = 1, compiled: bool = False) -> list[Any]:
    """The weights after each step; each process has its part of the batches."""
    optimizer, loss_of = gc.optim.Adam(model.parameters(), lr=1e-2), nn.CrossEntropyLoss()

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run, seen, share = gc.compile(step) if compiled else step, [], 8 // size
    for x, y in BATCHES:
        mine = slice(rank * share, (rank + 1) * share)
        run(gc.tensor(x[mine]), gc.tensor(y[mine]))
        seen.append(weights(model))
    return seen


# --- cases --------------------------------------------------------------------------------------------------------------


def ddp(rank: int, size: int) -> Any:
    """Weights after each step: eager, compiled, with one bucket and with many; processes begin from different weights."""
    found = {}
    for compiled in (False, True):
        for cap in (25, 1e-4):
            model = nn.parallel.DistributedDataParallel(build(rank), bucket_cap_mb=cap)
            found[compiled, cap] = train(model, rank, size, compiled)
    found["session"] = session_training(nn.parallel.DistributedDataParallel(build(rank)), rank, size)
    return found


def session_training(model: Any, rank: int, size: int) -> list[Any]:
    """The same steps as a graph in a session."""
    optimizer, graph, share, seen = gc.optim.Adam(model.parameters(), lr=1e-2), gc.Graph(), 8 // size, []
    with graph.as_default():
        x, y = gc.placeholder((None, 6), dtype=gc.float64), gc.placeholder((None,), dtype=gc.int64)
        step = optimizer.minimize(nn.functional.cross_entropy(model(x), y))
    with gc.Session(graph) as session:
        for a, b in BATCHES:
            mine = slice(rank * share, (rank + 1) * share)
            session.run(step, feed_dict={x: a[mine], y: b[mine]})
            seen.append(weights(model))
    return seen


def ddp_details(rank: int, size: int) -> Any:
    """no_sync, parameters without use, buffers, a model that is not the same everywhere."""
    found: dict[str, Any] = {}
    plain = nn.Linear(2, 1, bias=False).double()
    with gc.no_grad():
        plain.weight.fill_(1.0)
    model = nn.parallel.DistributedDataParallel(plain)
    x = gc.full((1, 2), rank + 1.0, dtype=gc.float64)
    with model.no_sync():
        model(x).sum().backward()
    found["alone"] = plain.weight.grad.tolist()
    model(x).sum().backward()
    found["together"] = plain.weight.grad.tolist()

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Linear(2, 1, bias=False) for _ in range(3))

        def forward(self, x: Any) -> Any:
            return self.parts[rank](x)  # the third is nobody's

    model = nn.parallel.DistributedDataParallel(Branches(), find_unused_parameters=True)
    for _ in range(2):
        model.zero_grad()
        model(gc.ones(1, 2)).sum().backward()
    found["branches"] = [p.grad if p.grad is None else p.grad.tolist() for p in model.parameters()]
    norm = nn.parallel.DistributedDataParallel(nn.BatchNorm1d(2))
    for _ in range(2):
        norm(gc.full((4, 2), float(rank)) + gc.arange(8.0).reshape(4, 2)).sum().backward()
    norm(gc.zeros(4, 2))
    found["running_mean"] = norm.module.running_mean.tolist()
    try:
        nn.parallel.DistributedDataParallel(nn.Linear(2, 1 + rank))
    except dist.DistError as error:
        found["different"] = str(error)
    return found


def calls(rank: int, size: int) -> Any:
    """Every call once, with numbers that tell who sent what; asserts here, so that a traceback names the line."""
    x = gc.arange(5.0) * (rank + 1)
    dist.all_reduce(x)
    assert x.tolist() == [i * size * (size + 1) / 2 for i in range(5)]
    x = gc.tensor(float(rank))
    work = dist.all_reduce(x, op=dist.ReduceOp.AVG, async_op=True)
    assert work.wait() and work.is_completed() and work.is_success() and x.item() == (size - 1) / 2
    compiled = gc.compile(lambda t: (dist.all_reduce(t, op=dist.ReduceOp.MAX), t * 2)[1])
    assert [compiled(gc.tensor([rank + k])).item() for k in range(3)] == [2 * (size - 1 + k) for k in range(3)]
    x = gc.tensor([rank])
    dist.reduce(x, 0, op=dist.ReduceOp.PRODUCT)
    assert x.item() == (0 if rank == 0 else rank)
    x = gc.tensor([1 << rank])
    dist.all_reduce(x, op=dist.ReduceOp.BOR)
    assert x.item() == (1 << size) - 1
    x = gc.full((2,), rank, dtype=gc.bfloat16)
    dist.broadcast(x, src=size - 1)
    assert x.tolist() == [size - 1] * 2
    parts = [gc.zeros((), dtype=gc.int64) for _ in range(size)]
    dist.all_gather(parts, gc.tensor(rank))
    assert [p.item() for p in parts] == list(range(size))
    joined = gc.zeros(2 * size)
    dist.all_gather_into_tensor(joined, gc.full((2,), float(rank)))
    assert joined.tolist() == [float(i // 2) for i in range(2 * size)]
    own = gc.zeros(2)
    dist.reduce_scatter_tensor(own, gc.arange(2.0 * size))
    assert own.tolist() == [size * 2.0 * rank, size * (2.0 * rank + 1)]
    dist.reduce_scatter(own, [gc.full((2,), float(r)) for r in range(size)])
    assert own.tolist() == [size * float(rank)] * 2
    rows = [gc.zeros(1) for _ in range(size)] if rank == 1 else None
    dist.gather(gc.tensor([float(rank)]), rows, dst=1)
    assert rows is None or [r.item() for r in rows] == list(range(size))
    dist.scatter(own, [gc.full((2,), 10.0 * r) for r in range(size)] if rank == 0 else None, src=0)
    assert own.tolist() == [10.0 * rank] * 2
    _messages(rank, size)
    _objects(rank, size)
    if rank:
        for call in (dist.gather, dist.scatter):
            with pytest.raises(gc.errors.ArgumentError, match="must NOT be specified on non-"):
                call(own, [own] * size)
        with pytest.raises(gc.errors.ArgumentError, match="the list has 1 places, that of the source 2"):
            dist.broadcast_object_list([1], src=0)
    else:
        dist.broadcast_object_list([1, 2], src=0)
    group = dist.new_group([1])
    assert dist.get_rank(group) == (0 if rank == 1 else -1) and dist.get_world_size(group) == (1 if rank == 1 else -1)
    if rank == 1:
        dist.all_reduce(own, group=group)
        assert own.tolist() == [10.0] * 2 and dist.get_global_rank(group, 0) == 1 and dist.get_group_rank(group, 1) == 0
    dist.barrier()
    return dist.get_backend(), dist.get_rank(), dist.get_world_size()


def sync_net() -> Any:
    """A small float64 network with batch norm."""
    gc.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, momentum=0.3), nn.Tanh(), nn.Linear(5, 3))
    return nn.SyncBatchNorm.convert_sync_batchnorm(model.double())


def sync_batch_norm(rank: int, size: int) -> Any:
    """Weights after each step and statistics, eager and compiled; then outputs and gradients of unequal parts of a batch."""
    found: dict[Any, Any] = {}
    for compiled in (False, True):
        model = nn.parallel.DistributedDataParallel(sync_net(), broadcast_buffers=False)
        steps = train(model, rank, size, compiled)
        norm = model.module[1]
        found[compiled] = steps, norm.running_mean.numpy(), norm.running_var.numpy(), norm.num_batches_tracked.item()
    layer, (x, _) = nn.SyncBatchNorm(6).double(), BATCHES[0]
    mine = gc.tensor(x[:3] if rank == 0 else x[3:]).requires_grad_()
    out = layer(mine)
    (out**3).sum().backward()
    found["unequal"] = out.detach().numpy(), mine.grad.numpy(), layer.weight.grad.numpy()
    alone = dist.new_group([0])
    own = nn.SyncBatchNorm(6, process_group=alone).double()
    try:
        found["a group of one"] = own(mine.detach()).detach().numpy()
    except ValueError as error:
        found["a group of one"] = str(error)
    found["evaluating"] = layer.eval()(mine.detach()).detach().numpy()
    return found


def ends(rank: int, size: int) -> str:
    """What process 1 hears when process 0 ends without destroying its group."""
    if not rank:
        return ""
    try:
        dist.recv(gc.ones(1), 0)
    except gc.errors.PeerError as error:
        return str(error)
    return "nothing"


ends_badly = ends


def _messages(rank: int, size: int) -> None:
    following, before = (rank + 1) % size, (rank - 1) % size
    big, got = gc.full((300_000,), float(rank)), gc.zeros(300_000)
    ops = [dist.P2POp(dist.isend, big, following), dist.P2POp(dist.irecv, got, before)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    assert got[-1].item() == before
    small = gc.tensor([rank])
    if rank:
        dist.send(small, 0, tag=3)
    else:
        senders = {dist.recv(small, tag=3) for _ in range(size - 1)}
        assert senders == set(range(1, size))


def _objects(rank: int, size: int) -> None:
    found: list[Any] = [None] * size
    dist.all_gather_object(found, {"rank": rank})
    assert found == [{"rank": r} for r in range(size)]
    found = ["x" * rank, rank]
    dist.broadcast_object_list(found, src=1)
    assert found == ["x", 1]
    gathered: Any = [None] * size if rank == 0 else None
    dist.gather_object(rank, gathered, dst=0)
    assert gathered is None or gathered == list(range(size))
    own: list[Any] = [None]
    dist.scatter_object_list(own, [[r] for r in range(size)] if rank == 0 else None, src=0)
    assert own == [[rank]]


def note_rank(rank, folder, name):
    """Writes a file."""
    (Path(folder) / f"{name}{rank}").write_text(str(rank))


def fail_beyond_the_first(rank):
    """Raises in all processes but one."""
    if rank:
        raise KeyError("of rank 1")
