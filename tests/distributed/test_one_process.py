"""A group of one process: every call, what is refused, and DistributedDataParallel as far as one process shows it."""

from __future__ import annotations

import copy
import logging
import re
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from rank_cases import build, train

import graphc as gc
import graphc.distributed as dist
from graphc import nn
from graphc.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DistError,
    DtypeError,
    GradientError,
    GroupError,
    ShapeError,
    SymbolicError,
)
from graphc.distributed import mpi
from graphc.nn.parallel import DistributedDataParallel
from graphc.nn.parallel.reducing import Reducer
from graphc.utils.data import DistributedSampler

OUTSIDE = dist.GroupMember.NON_GROUP_MEMBER


def test_without_a_group(tmp_path):
    assert dist.is_available() and not dist.is_initialized() and dist.group.WORLD is None
    for call in (dist.get_rank, dist.get_world_size, dist.barrier, dist.get_backend):
        with pytest.raises(GroupError, match="Default process group has not been initialized"):
            call()
    with pytest.raises(GroupError, match="no process group to destroy"):
        dist.destroy_process_group()
    with pytest.raises(GroupError, match="Unknown backend type pigeons, there are gloo"):
        dist.init_process_group("pigeons", rank=0, world_size=1, init_method=f"file://{tmp_path}/x")
    with pytest.raises(ArgumentTypeError, match=r"Expected timeout argument to be of type datetime\.timedelta"):
        dist.init_process_group("gloo", timeout=3, rank=0, world_size=1, init_method=f"file://{tmp_path}/x")
    with pytest.raises(ArgumentTypeError, match="store: processes meet by init_method"):
        dist.init_process_group("gloo", store=object(), rank=0, world_size=1)


def test_the_log_says_what_answers(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "graphc.distributed"):
        for backend in ("nccl", "gloo", "cpu:gloo,cuda:nccl", None):
            url = f"file://{tmp_path}/x"
            dist.init_process_group(backend, url, timedelta(seconds=9), 1, 0, device_id=gc.device("cpu"))
            assert dist.get_backend() == (backend if backend == "nccl" else "gloo")
            dist.destroy_process_group()
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO", "INFO", "INFO"]
    assert caplog.messages[0] == "1 processes are joined; the backend nccl is answered by sockets here"


def test_mpi_is_missing(monkeypatch):
    monkeypatch.setattr(mpi, "is_there", lambda: False)
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(DistError, match=r"mpi4py is not installed[\s\S]*graphc launch"):
        dist.init_process_group("mpi")
    assert not dist.is_mpi_available() and not dist.is_backend_available("mpi")
    assert mpi.was_started({"OMPI_COMM_WORLD_SIZE": "2"}) and not mpi.was_started({})


def test_environment(monkeypatch):
    variables = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500, "LOCAL_RANK": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    dist.init_process_group()
    assert (dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank()) == (0, 1, 0)
    dist.destroy_process_group()
    monkeypatch.delenv("LOCAL_RANK")
    assert dist.get_node_local_rank(3) == 3 and not dist.is_torchelastic_launched()
    with pytest.raises(DistError, match="LOCAL_RANK is not in the environment"):
        dist.get_node_local_rank()


def test_every_call_leaves_things_as_they_are(alone):
    x = gc.arange(4.0)
    for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG, dist.ReduceOp.PRODUCT, dist.ReduceOp.MIN, dist.ReduceOp.MAX):
        dist.all_reduce(x, op=op)
        dist.reduce(x, 0, op=op)
        assert dist.all_reduce(x, op, async_op=True).wait()
    dist.broadcast(x, 0)
    dist.broadcast(x, group_src=0)
    dist.scatter(x, [x.clone()])
    assert x.tolist() == [0, 1, 2, 3] and x.grad_fn is None
    outs = [gc.zeros(4) for _ in range(5)]
    dist.all_gather(outs[:1], x)
    dist.all_gather_into_tensor(outs[1], x)
    dist.reduce_scatter_tensor(outs[2], x)
    dist.reduce_scatter(outs[3], [x])
    dist.gather(x, outs[4:])
    assert all(gc.equal(out, x) for out in outs)
    found = [None]
    dist.all_gather_object(found, "it")
    assert found == ["it"]
    dist.barrier(device_ids=[0])
    group = dist.new_group()
    assert dist.get_process_group_ranks(group) == [0] == dist.get_process_group_ranks(None)
    assert (group.rank(), group.size(), group.name()) == (0, 1, "gloo")
    dist.destroy_process_group(group)
    with pytest.raises(GroupError, match="The given group is not registered"):
        dist.all_reduce(x, group=group)
    with pytest.raises(GroupError, match="twice"):
        dist.init_process_group("gloo", rank=0, world_size=1)


def test_a_leaf_that_wants_a_gradient_is_written_outside_of_it(alone):
    w = gc.ones(3, requires_grad=True)
    dist.all_reduce(w)
    assert w.is_leaf and w.requires_grad


def test_outside_of_a_group_nothing_happens(alone):
    x = gc.ones(2)
    calls = [
        lambda: dist.all_reduce(x, group=OUTSIDE), lambda: dist.reduce(x, 0, group=OUTSIDE), lambda: dist.barrier(OUTSIDE),
        lambda: dist.broadcast(x, 0, OUTSIDE), lambda: dist.all_gather([x], x, OUTSIDE),
        lambda: dist.gather(x, [x], 0, OUTSIDE), lambda: dist.all_gather_into_tensor(x, x, OUTSIDE),
        lambda: dist.reduce_scatter_tensor(x, x, group=OUTSIDE),
        lambda: dist.reduce_scatter(x, [x], group=OUTSIDE), lambda: dist.scatter(x, [x], 0, OUTSIDE),
        lambda: dist.send(x, 0, OUTSIDE), lambda: dist.all_gather_object([None], 1, OUTSIDE),
        lambda: dist.broadcast_object_list([1], 0, OUTSIDE), lambda: dist.gather_object(1, [None], 0, OUTSIDE),
        lambda: dist.scatter_object_list([None], [1], 0, OUTSIDE),
    ]  # fmt: skip
    for call in calls:
        with pytest.warns(UserWarning, match="on global rank 0 which does not belong to the given group"):
            assert call() is None
    with pytest.warns(UserWarning, match="irecv"):
        assert dist.recv(x, 0, OUTSIDE) == -1
    assert dist.get_rank(OUTSIDE) == dist.get_world_size(OUTSIDE) == -1
    with pytest.raises(GroupError, match="Invalid process group specified"):
        dist.get_backend(OUTSIDE) if OUTSIDE is None else dist.destroy_process_group(
            dist.ProcessGroup(7, [0], "gloo", None)
        )


X = gc.ones(2)
REFUSED = {
    "no tensor": (lambda: dist.all_reduce(3), ArgumentTypeError, "Expected parameter `tensor` of type torch.Tensor"),
    "no list": (lambda: dist.all_gather(X, X), ArgumentTypeError, r"`tensor_list` of type List\[torch.Tensor\]"),
    "bits of floats later": (lambda: dist.all_reduce(X, dist.ReduceOp.BOR, async_op=True), DtypeError, "bor of float32"),
    "no op": (lambda: dist.all_reduce(X, op="sum"), ArgumentTypeError, "op: expected a ReduceOp, not 'sum'"),
    "mean of integers": (lambda: dist.all_reduce(gc.tensor([1]), dist.ReduceOp.AVG), DistError, "floats only"),
    "bits of floats": (lambda: dist.all_reduce(X, dist.ReduceOp.BOR), NotImplementedError, "bor of float32"),
    "no group": (lambda: dist.all_reduce(X, group=3), ArgumentTypeError, "group: expected what new_group gave, not int"),
    "a root that is not there": (lambda: dist.broadcast(X, 5), DistError, r"invalid root rank: 5 is not one of \[0\]"),
    "no root": (lambda: dist.broadcast(X), ArgumentError, "Must specify src or group_src"),
    "two roots": (lambda: dist.broadcast(X, 0, group_src=0), ArgumentError, "Can't specify both group_src and src"),
    "no such root": (lambda: dist.reduce(X, group_dst=2), DistError, "group_dst 2 of 1 processes"),
    "other sizes": (lambda: dist.all_gather([gc.ones(3)], X), ShapeError, r"tensor 0 is f32\[3\], where f32\[2\]"),
    "too few": (lambda: dist.all_gather([], X), DistError, "a tensor for each of the 1 processes is needed, got 0"),
    "joined": (lambda: dist.all_gather_into_tensor(gc.ones(3), X), ShapeError, r"output_tensor is f32\[3\][\s\S]*need f32"),
    "parts": (lambda: dist.reduce_scatter_tensor(gc.ones(3), X), ShapeError, r"input is f32\[2\]"),
    "nothing to scatter": (lambda: dist.scatter(X), ArgumentError, "scatter_list`` must be specified on source"),
    "nowhere to gather": (lambda: dist.gather(X), ArgumentError, "gather_list`` must be specified on destination"),
    "to itself": (lambda: dist.send(X, 0), ArgumentError, "Invalid destination rank"),
    "from itself": (lambda: dist.recv(X, 0), ArgumentError, "Invalid source rank"),
    "no message": (lambda: dist.P2POp(print, X, 0), ArgumentError, "Invalid ``op``"),
    "no messages": (lambda: dist.batch_isend_irecv([]), ArgumentError, "Invalid ``p2p_op_list``"),
    "many ranks": (lambda: dist.new_group([0, 1]), ArgumentError, "less or equal to the world size"),
    "no such rank": (lambda: dist.new_group([1]), ArgumentError, "rank should be within the world_size"),
    "no ranks": (lambda: dist.new_group([]), ArgumentTypeError, "a group has at least one process"),
    "no place": (lambda: dist.all_gather_object([], 1), ArgumentError, "a place for each of the 1 processes"),
    "no place at the target": (lambda: dist.gather_object(1), ArgumentError, "object_gather_list`` must be specified"),
    "nothing to put": (lambda: dist.scatter_object_list([]), ArgumentError, "a list of size at least 1"),
    "nothing to send": (lambda: dist.scatter_object_list([1]), ArgumentError, "an object for each process is needed"),
    "not in the group": (lambda: dist.get_group_rank(None, 3), ArgumentError, "Global rank 3 is not part of group"),
    "not in all": (lambda: dist.get_global_rank(None, 3), ArgumentError, "Group rank 3 is not part of group"),
    "nobody sends": (lambda: dist.recv(X), DistError, "nobody has sent it"),
    "a rank that is none": (lambda: DistributedSampler(X, 3, 3), ArgumentError, r"in the interval \[0, 2\]"),
    "nothing to train": (lambda: DistributedDataParallel(nn.ReLU()), GradientError, "is not needed when a module"),
    "on the CPU": (
        lambda: DistributedDataParallel(nn.Linear(2, 2, device="cpu"), [0]), ArgumentError, "only work with single-device",
    ),
    "a number": (lambda: DistributedDataParallel(nn.Linear(2, 2), 0), ArgumentTypeError, "device_ids: expected a list"),
    "without": (
        lambda: DistributedDataParallel(nn.Linear(2, 2), process_group=OUTSIDE), ArgumentError, "is not in the group",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(alone, what):
    call, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        call()


EAGER_ONLY = {
    "send": lambda x: dist.send(x, 0),
    "recv": lambda x: dist.recv(x, 0),
    "gather": lambda x: dist.gather(x, [x]),
    "scatter": lambda x: dist.scatter(x, [x]),
}


@pytest.mark.parametrize("name", EAGER_ONLY)
def test_what_has_no_part_in_graphs(alone, name):
    call = EAGER_ONLY[name]
    with pytest.raises(SymbolicError, match="cannot be part of a graph: what has a part in graphs is all_reduce"):
        gc.compile(lambda x: call(x))(gc.ones(2))


# --- in programs ---------------------------------------------------------------------------------------------------------


def test_collectives_keep_their_order_and_stay_in_programs(alone, monkeypatch):
    seen = []
    link = dist.group.WORLD.link
    run = link.run
    monkeypatch.setattr(link, "run", lambda call, x, **rest: (seen.append((call, x.tolist())), run(call, x, **rest))[1])

    @gc.compile
    def f(x):
        a, b = x * 2, x * 3
        dist.all_reduce(b)  # nobody reads it here, but other processes may
        dist.all_reduce(a)
        dist.all_reduce(a)
        dist.broadcast(x * 3, 0)
        dist.barrier()
        return a

    turns = dist.group.WORLD.turn
    for k in (1.0, 2.0):
        before = turns.item()
        assert f(gc.tensor([k])).tolist() == [2 * k] and turns.item() == before + 5
        assert [c for c, _ in seen] == ["all_reduce", "all_reduce", "all_reduce", "broadcast", "all_reduce"]
        assert [v for _, v in seen] == [[3 * k], [2 * k], [2 * k], [3 * k], 0]
        seen.clear()


def test_a_failed_run_is_repeated_alone(alone, monkeypatch):
    seen = []
    link = dist.group.WORLD.link
    run = link.run
    monkeypatch.setattr(link, "run", lambda *a, **rest: (seen.append(a[0]), run(*a, **rest))[1])

    @gc.compile
    def f(x, i):
        dist.all_reduce(x)
        return (x * 2)[i]

    f(gc.ones(3), gc.tensor([0]))
    seen.clear()
    with pytest.raises(IndexError):
        f(gc.ones(3), gc.tensor([7]))
    assert len(seen) <= 1  # the program that looks for the line at fault sends nothing


# --- DistributedDataParallel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_training_alone_is_training(alone, compiled):
    found = train(DistributedDataParallel(build(), bucket_cap_mb=1e-4), compiled=compiled)
    for mine, want in zip(found, train(build()), strict=True):
        np.testing.assert_allclose(mine, want, rtol=1e-9, atol=1e-12)


def test_a_compiled_step_has_an_op_for_each_bucket(alone):
    model = DistributedDataParallel(build(), bucket_cap_mb=1e-4)
    optimizer = gc.optim.SGD(model.parameters(), lr=0.1)

    @gc.compile
    def step(x):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()

    step(gc.ones(2, 6, dtype=gc.float64))
    assert len(model.reducer.buckets) > 2
    steps = str(gc.explain(step))
    steps_of_the_host = re.findall("(?:= |host )all_reduce", steps)  # as native code and as a device tell them
    assert len(steps_of_the_host) == len(model.reducer.buckets), steps


def test_buckets_are_filled_from_the_last_parameter_on():
    def buckets(params, first, most):
        hooks = [(str(i), p) for i, p in enumerate(params)]
        return Reducer(None, hooks, first, most, lambda: True).buckets

    params = [gc.zeros(n, requires_grad=True) for n in (4, 4, 4, 4, 1)]
    assert buckets(params, 16, 32) == [[4, 3], [2, 1], [0]]
    assert buckets(params, 1, 1 << 20) == [[4], [3, 2, 1, 0]]
    params[2] = gc.zeros(4, dtype=gc.float64, requires_grad=True)
    assert buckets(params, 1 << 20, 1 << 20) == [[2], [4, 3, 1, 0]]


def test_buckets_leave_while_backward_runs(alone):
    model = DistributedDataParallel(build(), bucket_cap_mb=1e-4)
    gone = []
    x = gc.ones(2, 6, dtype=gc.float64, requires_grad=True)
    middle = model.module[:3](x)
    middle.register_hook(lambda g: gone.append(len(model.reducer._gone)))
    x.register_hook(lambda g: gone.append(len(model.reducer._gone)))
    model.reducer.prepare(True, None)
    model.module[3:](middle).sum().backward()
    assert 0 < gone[0] < gone[1] == len(model.reducer.buckets)


def test_state_and_looks(alone):
    model = DistributedDataParallel(nn.Linear(2, 1), gradient_as_bucket_view=True, static_graph=True)
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    other = copy.deepcopy(model)
    other(gc.ones(1, 2)).sum().backward()
    assert other.module.weight.grad is not None and model.module.weight.grad is None
    assert repr(model) == repr(other) and repr(model).startswith("DistributedDataParallel(\n  (module): Linear(")


class Two(nn.Module):
    """A model of which one half takes no part."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x):
        return self.used(x)


def test_parameters_without_use_in_compiled_steps(alone):
    model = DistributedDataParallel(Two(), find_unused_parameters=True)

    @gc.compile
    def step(x):
        model.zero_grad()
        model(x).sum().backward()

    for _ in range(2):
        step(gc.ones(1, 2))
        assert [p.grad.tolist() for p in model.parameters()] == [[[1.0, 1.0]], [1.0], [[0.0, 0.0]], [0.0]]


def test_parameters_without_a_gradient_are_named(alone):
    model = DistributedDataParallel(Two())
    text = r"Expected to have finished reduction[\s\S]*without a gradient: idle.weight, idle.bias"
    model(gc.ones(1, 2)).sum().backward()
    with pytest.raises(GradientError, match=text):
        model(gc.ones(1, 2))
    model(gc.ones(1, 2))  # and begins anew

    @gc.compile
    def step(x):
        model(x).sum().backward()

    with pytest.raises(GradientError, match=text):
        step(gc.ones(1, 2))
    forward = gc.compile(lambda x: model(x).sum())
    forward(gc.ones(1, 2)).backward
    model.reducer.reset()
    with pytest.raises(GradientError, match=text):
        forward(gc.ones(1, 2)).backward()


def test_two_backward_passes_for_one_forward(alone):
    model = DistributedDataParallel(nn.Linear(2, 1))
    y = model(gc.ones(1, 2))
    model.reducer._note(0)
    with pytest.raises(GradientError, match="Expected to mark a variable ready only once: weight"):
        y.sum().backward()


@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_model_is_averaged_too(alone, monkeypatch, whole):
    model = DistributedDataParallel(nn.Linear(2, 1))
    seen, leave = [], model.reducer._leave
    monkeypatch.setattr(model.reducer, "_leave", lambda bucket: (seen.append(bucket), leave(bucket))[1])
    forward = gc.compile(model) if whole else gc.compile(lambda x: model(x))
    for k in range(1, 4):
        forward(gc.ones(1, 2)).sum().backward()
        assert len(seen) == k
    with model.no_sync():
        forward(gc.ones(1, 2)).sum().backward()
        assert len(seen) == k
    forward(gc.ones(1, 2)).sum().backward()
    assert len(seen) == k + 1


def test_a_model_that_is_wrapped_anew_is_averaged_once(alone):
    plain = nn.Linear(2, 1)
    for _ in range(2):
        model = DistributedDataParallel(plain)
        model(gc.ones(1, 2)).sum().backward()
    assert len(plain.weight._grad_hooks) == 1
    del model
    assert not plain.weight._grad_hooks


def test_under_no_grad_nothing_is_expected(alone):
    model = DistributedDataParallel(nn.Linear(2, 1))
    with gc.no_grad():
        model(gc.ones(1, 2))
    model.eval()
    assert model(gc.ones(1, 2)).shape == (1, 1)


@pytest.mark.opencl
@pytest.mark.parametrize("compiled", [False, True])
def test_tensors_on_a_device(alone, compiled):
    x = gc.arange(3.0, device="opencl")
    dist.all_reduce(x, op=dist.ReduceOp.AVG)
    dist.all_reduce(x, async_op=True).wait()
    assert x.device.type == "opencl" and x.tolist() == [0, 1, 2]
    found = []
    for device in ("cpu", "opencl"):
        gc.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).to(device)
        model = DistributedDataParallel(net, device_ids=None if device == "cpu" else [0], bucket_cap_mb=1e-4)
        optimizer = gc.optim.SGD(model.parameters(), lr=0.1)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        run = gc.compile(step) if compiled else step
        for k in range(3):
            run((gc.arange(12.0).reshape(4, 3) + k).to(device))
        assert net[0].weight.device.type == device
        found.append(np.concatenate([p.detach().cpu().numpy().ravel() for p in net.parameters()]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


# --- the sampler -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 12, 13])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shares_of_a_dataset(n, shuffle, drop_last):
    samplers = [DistributedSampler(range(n), 4, r, shuffle, seed=3, drop_last=drop_last) for r in range(4)]
    for epoch in (0, 1):
        for s in samplers:
            s.set_epoch(epoch)
        shares = [list(s) for s in samplers]
        assert len({len(x) for x in shares}) == 1 and all(
            len(x) == len(s) for x, s in zip(shares, samplers, strict=True)
        )
        together = sorted(i for x in shares for i in x)
        assert set(together) == set(range(n)) if not drop_last else len(set(together)) == len(together) == n // 4 * 4
    if shuffle and n > 4:
        assert shares != [list(DistributedSampler(range(n), 4, r, seed=3, drop_last=drop_last)) for r in range(4)]


def test_the_sampler_asks_the_group(alone):
    sampler = DistributedSampler(range(3), shuffle=False)
    assert list(sampler) == [0, 1, 2] and (sampler.rank, sampler.num_replicas) == (0, 1)


def test_importing_nn_joins_nobody():
    code = "import graphc.nn, graphc.utils.data, sys; print('multiprocessing.connection' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
