"""graphc.distributed against torch.distributed (gloo), in a group of one process; DDP and the sampler."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from side_by_side import compare, refuse

import graphc as gc
import graphc.distributed
import graphc.nn.parallel

torch = pytest.importorskip("torch")
dist = pytest.importorskip("torch.distributed")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

LIBRARIES = (gc, torch)


@pytest.fixture(scope="module", autouse=True)
def groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meeting")
    for m in LIBRARIES:
        method = f"file://{folder}/{m.__name__}"
        m.distributed.init_process_group(
            backend="gloo", init_method=method, timeout=timedelta(seconds=60), world_size=1, rank=0
        )
    yield
    for m in LIBRARIES:
        if m.distributed.is_initialized():
            m.distributed.destroy_process_group()


DTYPES = ("int64", "int32", "float64", "half", "bfloat16", "uint8")


def written(m: Any, call: Any, **options: Any) -> Any:
    """What a call returned, and the tensor it wrote."""
    x = m.tensor([[1.0, 2.0], [3.0, 4.0]])
    return call(x, **options), x


def reduced(m: Any, x: Any, *op: Any) -> Any:
    """A tensor after `all_reduce`."""
    m.distributed.all_reduce(x, *op)
    return x


CALLS = {
    "all_reduce": lambda m, d: [written(m, d.all_reduce, op=getattr(d.ReduceOp, op)) for op in ("SUM", "AVG", "MIN", "MAX")],
    "all_reduce of others": lambda m, d: [reduced(m, m.tensor([1, 2], dtype=getattr(m, t))) for t in DTYPES],
    "all_reduce of bits": lambda m, d: [reduced(m, m.tensor([6]), getattr(d.ReduceOp, op)) for op in ("BAND", "BOR", "BXOR")],
    "all_reduce of a view": lambda m, d: reduced(m, m.arange(12.0).reshape(3, 4).t(), d.ReduceOp.PRODUCT),
    "all_reduce of a leaf": lambda m, d: reduced(m, m.ones(2, requires_grad=True)).detach(),
    "async": lambda m, d: (w := d.all_reduce(m.ones(2), async_op=True), w.wait(), w.is_completed())[1:],
    "broadcast": lambda m, d: written(m, d.broadcast, src=0),
    "reduce": lambda m, d: written(m, d.reduce, dst=0, op=d.ReduceOp.SUM),
    "all_gather": lambda m, d: (outs := [m.zeros(3)], d.all_gather(outs, m.arange(3.0)))[0],
    "all_gather_into_tensor": lambda m, d: (o := m.zeros(4), d.all_gather_into_tensor(o, m.arange(4.0)))[0],
    "reduce_scatter_tensor": lambda m, d: (o := m.zeros(4), d.reduce_scatter_tensor(o, m.arange(4.0)))[0],
    "reduce_scatter": lambda m, d: (o := m.zeros(4), d.reduce_scatter(o, [m.arange(4.0)]))[0],
    "gather": lambda m, d: (outs := [m.zeros(2)], d.gather(m.ones(2), outs, dst=0))[0],
    "scatter": lambda m, d: (o := m.zeros(2), d.scatter(o, [m.ones(2)], src=0))[0],
    "barrier": lambda m, d: (d.barrier(), d.barrier(async_op=True).wait(), d.barrier(device_ids=[0])),
    "all_gather_object": lambda m, d: (o := [None], d.all_gather_object(o, {"a": [1]}))[0],
    "broadcast_object_list": lambda m, d: (o := ["x", {1: 2}], d.broadcast_object_list(o, src=0))[0],
    "gather_object": lambda m, d: (o := [None], d.gather_object("y", o, dst=0))[0],
    "scatter_object_list": lambda m, d: (o := [None], d.scatter_object_list(o, [{"b": 2}], 0))[0],
    "ranks": lambda m, d: (d.get_rank(), d.get_world_size(), d.get_backend(), d.is_initialized(), d.is_available()),
    "new_group": lambda m, d: [
        (d.get_rank(g), d.get_world_size(g), d.get_process_group_ranks(g), d.get_backend(g), g.rank(), g.size())
        for g in (d.new_group(), d.new_group([0]), d.new_group(ranks=[0], backend="gloo"))
    ],
    "ranks in groups": lambda m, d: (d.get_global_rank(d.group.WORLD, 0), d.get_group_rank(d.group.WORLD, 0)),
    "outside": lambda m, d: (
        d.get_rank(d.GroupMember.NON_GROUP_MEMBER),
        d.all_reduce(m.ones(1), group=d.GroupMember.NON_GROUP_MEMBER),
    ),
    "what there is": lambda m, d: (
        d.is_gloo_available(), d.is_torchelastic_launched(), d.is_backend_available("gloo"), d.is_ucc_available(),
        d.is_backend_available("pigeons"), d.get_default_backend_for_device("cpu"), d.get_node_local_rank(3),
        d.get_default_backend_for_device("cuda"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    compare(*(CALLS[name](m, m.distributed) for m in LIBRARIES))


def test_what_only_one_of_them_may_have():
    for m in LIBRARIES:
        for ask in (m.distributed.is_nccl_available, m.distributed.is_mpi_available):
            assert ask() in (True, False)


REFUSED = {
    "twice": lambda m: m.distributed.init_process_group("gloo", init_method="tcp://localhost:1", rank=0, world_size=1),
    "no tensor": lambda m: m.distributed.all_reduce(3),
    "no op": lambda m: m.distributed.all_reduce(m.ones(2), op="sum"),
    "no root": lambda m: m.distributed.broadcast(m.ones(2)),
    "another root": lambda m: m.distributed.broadcast(m.ones(2), 5),
    "two roots": lambda m: m.distributed.broadcast(m.ones(2), src=0, group_src=0),
    "no list": lambda m: m.distributed.all_gather(m.ones(2), m.ones(2)),
    "short list": lambda m: m.distributed.all_gather([], m.ones(2)),
    "other sizes": lambda m: m.distributed.all_gather([m.ones(3)], m.ones(2)),
    "into others": lambda m: m.distributed.all_gather_into_tensor(m.ones(3), m.ones(2)),
    "scattered": lambda m: m.distributed.reduce_scatter_tensor(m.ones(3), m.ones(2)),
    "nothing to scatter": lambda m: m.distributed.scatter(m.ones(2)),
    "nowhere to gather": lambda m: m.distributed.gather(m.ones(2)),
    "no objects": lambda m: m.distributed.gather_object(1),
    "to itself": lambda m: m.distributed.send(m.ones(2), 0),
    "many ranks": lambda m: m.distributed.new_group([0, 1]),
    "another rank": lambda m: m.distributed.new_group([3]),
    "no ranks": lambda m: m.distributed.new_group([]),
    "no group rank": lambda m: m.distributed.get_group_rank(m.distributed.new_group([0]), 3),
    "no global rank": lambda m: m.distributed.get_global_rank(m.distributed.new_group([0]), 3),
    "no messages": lambda m: m.distributed.batch_isend_irecv([3]),
    "no message": lambda m: m.distributed.P2POp(print, m.ones(2), 0),
    "a rank that is none": lambda m: m.utils.data.DistributedSampler(range(9), 3, 3),
    "nothing to train": lambda m: m.nn.parallel.DistributedDataParallel(m.nn.ReLU()),
    "numbers on the CPU": lambda m: m.nn.parallel.DistributedDataParallel(m.nn.Linear(2, 2), device_ids=[0]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    refuse(torch, REFUSED[name])


def test_messages_need_another_process():
    """PyTorch's error for a message to itself depends on the call; that there is one does not."""
    for m, defined in zip(LIBRARIES, (graphc.distributed.collectives, dist.distributed_c10d), strict=True):
        message = m.distributed.P2POp(defined.isend, m.ones(2), 0, tag=3)
        assert (message.peer, message.tag, message.group is None) == (0, 3, m is gc)
        for call in (m.distributed.isend, m.distributed.irecv, m.distributed.recv):
            with pytest.raises((RuntimeError, ValueError)):
                call(m.ones(2), 0)


def test_without_a_group(groups, tmp_path):
    for m in LIBRARIES:
        m.distributed.destroy_process_group()
    for call in ("get_rank", "get_world_size", "barrier", "get_backend", "destroy_process_group"):
        refuse(torch, lambda m, call=call: getattr(m.distributed, call)())
    refuse(torch, lambda m: m.distributed.init_process_group("gloo"))
    refuse(torch, lambda m: m.distributed.init_process_group("gloo", init_method="x://y", rank=0, world_size=1))
    refuse(
        torch,
        lambda m: m.distributed.init_process_group(
            "pigeons", init_method=f"file://{tmp_path}/{m.__name__}", rank=0, world_size=1
        ),
    )
    refuse(torch, lambda m: m.utils.data.DistributedSampler(range(9)))
    refuse(torch, lambda m: m.nn.parallel.DistributedDataParallel(m.nn.Linear(2, 2)))


# --- DistributedDataParallel ----------------------------------------------------------------------------------------------


@pytest.fixture
def again(groups, tmp_path):
    for m in LIBRARIES:
        if not m.distributed.is_initialized():
            m.distributed.init_process_group("gloo", f"file://{tmp_path}/{m.__name__}", rank=0, world_size=1)


X = np.random.default_rng(0).normal(size=(5, 4, 6))
W = [np.random.default_rng(1).normal(size=s) for s in ((8, 6), (8,), (3, 8), (3,))]


def network(m: Any) -> Any:
    model = m.nn.Sequential(m.nn.Linear(6, 8), m.nn.BatchNorm1d(8), m.nn.Tanh(), m.nn.Linear(8, 3)).double()
    with m.no_grad():
        for p, w in zip((model[0].weight, model[0].bias, model[3].weight, model[3].bias), W, strict=True):
            p.copy_(m.tensor(w))
    return model


@pytest.mark.parametrize("compiled", [False, True])
def test_training(again, compiled):
    curves, states = [], []
    for m in LIBRARIES:
        model = m.nn.parallel.DistributedDataParallel(network(m), bucket_cap_mb=1, find_unused_parameters=False)
        optimizer = m.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, m=m, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = gc.compile(step) if compiled and m is gc else step
        curves.append([run(m.tensor(x)).item() for x in X])
        states.append(model.state_dict())
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-9)
    assert list(states[0]) == list(states[1])
    for mine, its in zip(states[0].values(), states[1].values(), strict=True):
        np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-9, atol=1e-12)


def test_no_sync_and_parameters_without_use(again):
    found = []
    for m in LIBRARIES:
        model = network(m)
        model.register_parameter("idle", m.nn.Parameter(m.ones(2, dtype=m.float64)))
        ddp = m.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        with ddp.no_sync():
            ddp(m.tensor(X[0])).sum().backward()
        ddp(m.tensor(X[1])).sum().backward()
        found.append({name: p.grad for name, p in ddp.named_parameters()})
    assert list(found[0]) == list(found[1]) and found[0]["module.idle"] is None is found[1]["module.idle"]
    for name, mine in found[0].items():
        if mine is not None:
            np.testing.assert_allclose(mine.numpy(), found[1][name].numpy(), rtol=1e-9, atol=1e-12)


def test_missing_gradients_are_found_by_the_next_forward(again):
    for m in LIBRARIES:
        model = network(m)
        model.register_parameter("idle", m.nn.Parameter(m.ones(2, dtype=m.float64)))
        ddp = m.nn.parallel.DistributedDataParallel(model)
        ddp(m.tensor(X[0])).sum().backward()
        with pytest.raises(RuntimeError, match="Expected to have finished reduction in the prior iteration"):
            ddp(m.tensor(X[1]))


def test_data_parallel_on_the_cpu():
    for m in LIBRARIES:
        model = m.nn.Linear(2, 2)
        x = m.ones(3, 2)
        want = model(x)
        assert m.allclose(m.nn.parallel.DataParallel(model)(x), want)


# --- gradients that are there, and shares of data ---------------------------------------------------------------------------


def test_hooks_on_finished_gradients():
    for m in LIBRARIES:
        x, seen = m.ones(2, requires_grad=True), []
        handle = x.register_post_accumulate_grad_hook(lambda t, seen=seen: seen.append(t.grad.tolist()))
        (x * x + x).sum().backward()
        (x * 2).sum().backward()
        m.autograd.grad((x * 2).sum(), x)
        handle.remove()
        x.sum().backward()
        assert seen == [[3.0, 3.0], [5.0, 5.0]] and x.grad.tolist() == [6.0, 6.0]
    refuse(torch, lambda m: m.ones(2).register_post_accumulate_grad_hook(print))
    refuse(torch, lambda m: (m.ones(2, requires_grad=True) * 2).register_post_accumulate_grad_hook(print))


def clear(t):
    t.grad.zero_()


def test_such_a_hook_may_write_the_gradient():
    for m in LIBRARIES:
        x, y = m.ones(2, requires_grad=True), m.ones(2, requires_grad=True)
        x.register_post_accumulate_grad_hook(clear)
        ((x + y) * m.tensor([2.0, 3.0])).sum().backward()
        assert x.grad.tolist() == [0.0, 0.0] and y.grad.tolist() == [2.0, 3.0]


def test_such_a_hook_may_step_and_clear():
    found = []
    for m in LIBRARIES:
        w = [m.nn.Parameter(m.full((2,), float(k))) for k in (1, 2)]
        optimizers = {p: m.optim.SGD([p], lr=0.1) for p in w}

        def hook(p, optimizers=optimizers):
            optimizers[p].step()
            optimizers[p].zero_grad()

        for p in w:
            p.register_post_accumulate_grad_hook(hook)
        for _ in range(2):
            (w[0] * w[1]).sum().backward()
        found.append([p.tolist() for p in w])
        assert all(p.grad is None for p in w)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [1, 3, 10, 12])
def test_shares(n, drop_last):
    data = list(range(n))
    for rank in range(4):
        pair = [m.utils.data.DistributedSampler(data, 4, rank, shuffle=False, drop_last=drop_last) for m in LIBRARIES]
        assert list(pair[0]) == list(pair[1]) and len(pair[0]) == len(pair[1])
        assert (pair[0].num_samples, pair[0].total_size) == (pair[1].num_samples, pair[1].total_size)
    shuffled = [m.utils.data.DistributedSampler(data, 1, 0, shuffle=True, seed=3) for m in LIBRARIES]
    for sampler in shuffled:
        sampler.set_epoch(2)
    assert sorted(shuffled[0]) == sorted(shuffled[1]) == data  # the streams differ
