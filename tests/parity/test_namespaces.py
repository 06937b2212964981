"""The rest of the public names against PyTorch: random numbers, saving, linalg, nn's functions, hooks and containers."""

from __future__ import annotations

import functools
import io
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from side_by_side import agree, compare, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(11)
A = RNG.normal(size=(3, 4))
V = RNG.normal(size=3)


# --- random numbers: shapes, dtypes, ranges, seeds (the streams differ) -------------------------------------------------


DRAWS: dict[str, Any] = {
    "rand": lambda m: (
        m.rand(3, 4),
        m.rand((2,), dtype=m.float64),
        m.rand_like(m.zeros(3)),
        m.rand(2, requires_grad=True),
    ),
    "randn": lambda m: (
        m.randn(3, 4),
        m.randn(()),
        m.randn_like(m.zeros(3, dtype=m.float64)),
        m.randn(2, dtype=m.half),
    ),
    "randint": lambda m: (
        m.randint(5, (3,)),
        m.randint(2, 9, (2, 2)),
        m.randint(3, (2,), dtype=m.int32),
        m.randint_like(m.zeros(2), 4),
    ),
    "randperm": lambda m: (m.randperm(5), m.randperm(4, dtype=m.int32), m.randperm(0)),
    "normal": lambda m: (
        m.normal(0.0, 1.0, (3,)),
        m.normal(m.zeros(3), m.ones(3)),
        m.normal(m.zeros(2), 2.0),
        m.normal(1.0, m.ones(2)),
    ),
    "bernoulli": lambda m: (
        m.bernoulli(m.tensor([0.0, 1.0])),
        m.zeros(2).bernoulli(1.0),
        m.zeros(3).bernoulli_(1.0),
        m.zeros(2).bernoulli_(m.ones(2)),
    ),
    "multinomial": lambda m: (
        m.multinomial(m.tensor([0.0, 1.0]), 1),
        m.tensor([[0.0, 3.0], [1.0, 0.0]]).multinomial(4, True),
    ),
    "fills": lambda m: (
        m.zeros(2).uniform_(),
        m.zeros(2).uniform_(1, 2),
        m.zeros(2).normal_(1, 2),
        m.zeros(2).exponential_(),
        m.zeros(2).geometric_(0.5),
        m.zeros(2).log_normal_(),
        m.zeros(2).cauchy_(),
        m.zeros(2).random_(5),
        m.zeros(2).random_(1, 3),
    ),
    "dropout": lambda m: tuple(
        getattr(m.nn.functional, n)(m.ones(2, 3, 4, 5), 0.0)
        for n in ("dropout", "alpha_dropout", "dropout2d", "dropout3d", "feature_alpha_dropout")
    ),
    "gumbel": lambda m: (
        m.nn.functional.gumbel_softmax(m.zeros(2, 3)),
        m.nn.functional.gumbel_softmax(m.zeros(2, 3), hard=True),
    ),
}
CERTAIN = {"bernoulli", "dropout"}


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name: str) -> None:
    gc.manual_seed(0)
    torch.manual_seed(0)
    mine, its = DRAWS[name](gc), DRAWS[name](torch)
    assert len(mine) == len(its)
    for a, b in zip(mine, its, strict=True):
        assert (
            tuple(a.shape) == tuple(b.shape)
            and str(a.dtype)[7:] == str(b.dtype)[6:]
            and a.requires_grad == b.requires_grad
        )
        if name in CERTAIN:
            compare(a, b)
    gc.manual_seed(0)
    compare(list(DRAWS[name](gc)), [x.detach().requires_grad_(x.requires_grad) for x in mine])


def test_seeds_and_states() -> None:
    for m in (gc, torch):
        m.manual_seed(5)
        assert m.initial_seed() == 5
        state = m.get_rng_state()
        first = m.rand(3).tolist()
        m.set_rng_state(state)
        assert m.rand(3).tolist() == first
        assert isinstance(m.seed(), int) and m.seed() != m.seed()
        g = m.Generator()
        assert g.manual_seed(7) is g and g.initial_seed() == 7
        kept, drawn = g.get_state(), m.randn(2, generator=g).tolist()
        g.set_state(kept)
        assert m.randn(2, generator=g).tolist() == drawn and m.rand(2).tolist() != m.rand(2).tolist()


REFUSED_DRAWS: dict[str, Any] = {
    "randint empty": lambda m: m.randint(5, 5, (2,)),
    "normal": lambda m: m.normal(0.0, -1.0, (2,)),
    "bernoulli": lambda m: m.bernoulli(m.tensor([2.0])),
    "multinomial": lambda m: m.multinomial(m.tensor([-1.0, 1.0]), 1),
    "multinomial many": lambda m: m.multinomial(m.tensor([1.0, 1.0]), 3),
    "randperm": lambda m: m.randperm(-1),
    "rand": lambda m: m.rand(2, dtype=m.int32),
    "uniform_": lambda m: m.zeros(2).uniform_(2, 1),
    "random_": lambda m: m.zeros(2).random_(0),
    "exponential_": lambda m: m.zeros(2).exponential_(-1),
    "geometric_": lambda m: m.zeros(2).geometric_(2.0),
    "log_normal_": lambda m: m.zeros(2).log_normal_(0, -1),
    "integers": lambda m: m.zeros(2, dtype=m.int32).normal_(),
    "dropout": lambda m: m.nn.functional.dropout(m.ones(2), 2.0),
    "state": lambda m: m.set_rng_state(m.zeros(3)),
}


@pytest.mark.parametrize("name", REFUSED_DRAWS)
def test_refused_draws(name: str) -> None:
    refuse(torch, REFUSED_DRAWS[name])


# --- saving -------------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Any) -> None:
    for m in (gc, torch):
        state = {"w": m.arange(6.0).reshape(2, 3), "n": m.tensor(3)}
        path = tmp_path / f"{m.__name__}.pt"
        m.save(state, path)
        back = m.load(path)
        assert list(back) == ["w", "n"] and back["w"].tolist() == state["w"].tolist() and back["n"].dtype is m.int64
        with pytest.raises(FileNotFoundError):
            m.load(tmp_path / "nothing.pt")
        file = io.BytesIO()
        m.save(state, file)
        file.seek(0)
        assert m.load(file)["n"].item() == 3


# --- linalg ---------------------------------------------------------------------------------------------------------------


LINALG: dict[str, tuple[Any, ...]] = {
    "cross": (lambda la, x: la.cross(x, x.flip(0)), A.T[:, :3]),
    "diagonal": (lambda la, x: (la.diagonal(x), la.diagonal(x, offset=1)), A),
    "matmul": (lambda la, x: la.matmul(x, x.mT), A),
    "matrix_norm": (lambda la, x: [la.matrix_norm(x, o) for o in ("fro", 1, -1, float("inf"), -float("inf"))], A),
    "matrix_norm kept": (lambda la, x: la.matrix_norm(x.expand(2, 3, 4), 1, (0, -1), keepdim=True), A),
    "matrix_power": (lambda la, x: la.matrix_power(x[:, :3], 3), A),
    "multi_dot": (lambda la, x: la.multi_dot([x, x.mT, x]), A),
    "norm": (
        lambda la, x: [
            la.norm(x),
            la.norm(x, 1),
            la.norm(x, "fro"),
            la.norm(x, 3, 0),
            la.norm(x[0], 1),
            la.norm(x, dim=(0, 1), keepdim=True),
        ],
        A,
    ),
    "vander": (lambda la, x: (la.vander(x), la.vander(x, N=2)), V),
    "vecdot": (lambda la, x: (la.vecdot(x, x), la.vecdot(x, x[0], dim=1)), A),
    "vector_norm": (
        lambda la, x: [la.vector_norm(x), la.vector_norm(x, 1, 0, True), la.vector_norm(x, float("inf"))],
        A,
    ),
}


@pytest.mark.parametrize("name", LINALG)
def test_linalg(name: str) -> None:
    code, *arrays = LINALG[name]
    agree(torch, lambda m, *t: code(m.linalg, *t), *arrays, n=16)


REFUSED_LINALG: dict[str, Any] = {
    "cross": lambda la, x: la.cross(x, x),
    "matrix_norm": lambda la, x: la.matrix_norm(x[0]),
    "dim": lambda la, x: la.matrix_norm(x, dim=(0, 0)),
    "integers": lambda la, x: la.matrix_norm(x.long()),
    "power": lambda la, x: la.matrix_power(x, 2),
    "vector": lambda la, x: la.vector_norm(x.long()),
    "vander": lambda la, x: la.vander(x[0], N=1),
    "vecdot": lambda la, x: la.vecdot(x, x[:, :2]),
    "multi_dot": lambda la, x: la.multi_dot([x]),
    "diagonal": lambda la, x: la.diagonal(x[0]),
    "norm": lambda la, x: la.norm(x, "nothing"),
    "matmul": lambda la, x: la.matmul(x, x),
}


@pytest.mark.parametrize("name", REFUSED_LINALG)
def test_refused_linalg(name: str) -> None:
    refuse(torch, lambda m, x: REFUSED_LINALG[name](m.linalg, x), A)


# --- nn.functional and nn.init ------------------------------------------------------------------------------------------


FUNCTIONAL = (
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
)


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_activations_by_their_functional_name(name: str) -> None:
    agree(torch, lambda m, x: getattr(m.nn.functional, name)(x), A.astype(np.float32), n=8)
    if name not in ("glu", "sigmoid", "softsign", "tanh", "tanhshrink"):  # there PyTorch ends in an AttributeError
        refuse(torch, lambda m: getattr(m.nn.functional, name)(None))


def test_activations_with_arguments_and_in_place() -> None:
    agree(
        torch,
        lambda m, x: (m.nn.functional.threshold(x, 0.1, 2.0), m.nn.functional.prelu(x, m.tensor([0.2], dtype=x.dtype))),
        A,
    )
    for name in ("celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "selu_"):
        agree(torch, lambda m, x: getattr(m.nn.functional, name)(x * 1), A, n=8)  # noqa: B023
    agree(torch, lambda m, x: m.nn.functional.threshold_(x * 1, 0.1, 2.0), A)
    agree(torch, lambda m, x: m.nn.functional.rrelu_(x * 1, 0.2, 0.2), A, n=4)


OLD_INIT = (
    "constant",
    "eye",
    "dirac",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "sparse",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
)


def test_initializers() -> None:
    for m in (gc, torch):
        for name in OLD_INIT:
            extra: tuple[Any, ...] = {"constant": (3.0,), "sparse": (0.5,)}.get(name, ())
            shape = (4, 2, 3) if name == "dirac" else (4, 3)
            x = m.ones(*shape)
            with pytest.warns(FutureWarning):
                assert getattr(m.nn.init, name)(x, *extra) is x
            if name in ("constant", "eye", "dirac"):
                want = torch.ones(*shape)
                compare(gc.tensor(x.tolist()), getattr(torch.nn.init, name + "_")(want, *extra))
        q = m.nn.init.orthogonal_(m.empty(5, 3, dtype=m.float64), gain=2.0)
        assert np.allclose((q.mT @ q).numpy(), 4 * np.eye(3))
        with pytest.raises(ValueError, match=r"2 or more dimensions|2 dimensions"):
            m.nn.init.orthogonal_(m.empty(3))


# --- modules and containers ---------------------------------------------------------------------------------------------


def test_module_protocol() -> None:
    for m in (gc, torch):
        net = m.nn.Sequential(m.nn.Linear(2, 3), m.nn.BatchNorm1d(3))
        seen: list[str] = []
        assert net.apply(lambda x, seen=seen: seen.append(type(x).__name__)) is net
        assert seen == ["Linear", "BatchNorm1d", "Sequential"] == [type(x).__name__ for x in (*net.children(), net)]
        assert len(list(net.modules())) == 3 and len(list(net.buffers())) == 3
        for name in ("double", "half", "bfloat16", "float"):
            assert getattr(net, name)() is net
            assert net[0].weight.dtype is getattr(m, name) and net[1].num_batches_tracked.dtype is m.int64
        net.type(m.float64)
        assert net[0].weight.dtype is m.float64 and net.cpu() is net and net.share_memory() is net
        assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
        assert m.nn.Module().extra_repr() == ""
        net.register_module("extra", m.nn.Identity())
        net.set_submodule("extra", m.nn.Tanh())
        assert type(net.extra).__name__ == "Tanh" and net[0].extra_repr() == "in_features=2, out_features=3, bias=True"
        assert net.extend([m.nn.ReLU()]) is net and len(net) == 4
        assert net.to_empty(device="cpu") is net
        with pytest.raises(AttributeError):
            net.set_submodule("no.where", m.nn.Tanh())
        with pytest.raises(KeyError):
            net.register_module("a.b", m.nn.Tanh())
        with pytest.raises(TypeError):
            net.register_module("b", 3)


def test_state_dict_hooks() -> None:
    for m in (gc, torch):
        net = m.nn.Linear(2, 1)
        seen: list[str] = []
        note = seen.append
        net.register_state_dict_pre_hook(lambda *a, note=note: note("before"))
        net.register_state_dict_post_hook(lambda module, state, prefix, meta, note=note: note("after"))
        net.register_load_state_dict_pre_hook(lambda module, state, *a, note=note: note("load"))
        handle = net.register_load_state_dict_post_hook(lambda module, keys, note=note: note("loaded"))
        net.load_state_dict(net.state_dict())
        handle.remove()
        net.load_state_dict(net.state_dict())
        assert seen == ["before", "after", "load", "loaded", "before", "after", "load"]


def test_containers() -> None:
    for m in (gc, torch):
        layers = m.nn.ModuleDict({"a": m.nn.Tanh(), "b": m.nn.ReLU()})
        assert list(layers.keys()) == ["a", "b"] and len(layers.values()) == len(layers) == 2
        assert [k for k, _ in layers.items()] == ["a", "b"] and type(layers.pop("a")).__name__ == "Tanh"
        layers.clear()
        assert len(layers) == 0
        some = m.nn.ParameterList([m.ones(2)])
        some.append(m.ones(3)).extend([m.zeros(1)])
        assert len(some) == 3 and [p.numel() for p in some] == [2, 3, 1] and some[1].requires_grad
        named = m.nn.ParameterDict({"x": m.ones(2)})
        named.update({"y": m.zeros(3)})
        assert named.get("nothing", 5) == 5 and named.setdefault("z", m.ones(1)).numel() == 1
        assert list(named.keys()) == ["x", "y", "z"] and [v.numel() for v in named.values()] == [2, 3, 1]
        assert [k for k, _ in named.items()] == ["x", "y", "z"] and len(named.copy()) == len(named) == 3
        assert named.pop("y").numel() == 3 and named.popitem()[0] == "z" and list(named.fromkeys(["q"], 1)) == ["q"]
        named.clear()
        assert len(named) == 0
        with pytest.raises(AttributeError):
            named.pop("x")
        buffer, parameter = m.nn.Buffer(m.ones(2)), m.nn.Parameter(m.ones(2))
        assert not buffer.requires_grad and parameter.requires_grad and parameter.is_leaf
        with pytest.raises(TypeError):
            m.nn.ParameterList(3)
        assert m.nn.ParameterDict(OrderedDict(b=m.ones(1), a=m.ones(2))).keys()


def test_gradient_utilities() -> None:
    def run(m: Any) -> Any:
        u, found = m.nn.utils, []
        ps = [m.tensor([3.0, 4.0], requires_grad=True), m.tensor([12.0], requires_grad=True)]
        for p in ps:
            (p * p / 2).sum().backward()
        found.append(u.get_total_norm([p.grad for p in ps]).item())
        u.clip_grads_with_norm_(ps, 6.5, m.tensor(13.0))
        found += [p.grad.tolist() for p in ps]
        found.append(u.clip_grad_norm(ps, 1.0).item())
        u.clip_grad_value_(ps, 0.25)
        found += [p.grad.tolist() for p in ps]
        vector = u.parameters_to_vector(ps)
        u.vector_to_parameters(vector.detach() * 2, ps)
        return [*found, vector.tolist(), *(p.tolist() for p in ps)]

    mine, its = run(gc), run(torch)
    for a, b in zip(mine, its, strict=True):
        assert np.allclose(a, b, rtol=1e-6)


# --- optimizers and data --------------------------------------------------------------------------------------------------


def test_optimizer_protocol() -> None:
    for m in (gc, torch):
        p = m.nn.Parameter(m.ones(2))
        for make in (functools.partial(m.optim.SGD, lr=0.1), m.optim.Adam, m.optim.AdamW):
            p.grad = m.ones(2)
            optimizer = make([p])
            assert optimizer.step(lambda: m.tensor(3.0)).item() == 3.0  # noqa: B023
            optimizer.zero_grad(set_to_none=False)
            assert p.grad.tolist() == [0.0, 0.0]
            m.optim.Optimizer.zero_grad(optimizer)
            assert p.grad is None
        base = m.optim.Optimizer([p], {"lr": 1})
        assert base.param_groups[0]["lr"] == 1
        p.grad = m.ones(2)
        with pytest.raises(NotImplementedError):
            base.step(None)
        schedule = m.optim.lr_scheduler.StepLR(optimizer, 2)
        state = schedule.state_dict()
        schedule.load_state_dict(state)
        assert m.optim.lr_scheduler.LRScheduler.state_dict(schedule)["last_epoch"] == 0
        m.optim.lr_scheduler.LRScheduler.load_state_dict(schedule, {"last_epoch": 4})
        assert schedule.last_epoch == 4
        with pytest.raises(NotImplementedError):
            m.optim.lr_scheduler.LRScheduler.get_lr(schedule)

        class Halving(m.optim.lr_scheduler.LRScheduler):  # type: ignore[name-defined,misc]
            def get_lr(self) -> Any:
                return [group["lr"] / 2 for group in self.optimizer.param_groups]

        again = Halving(m.optim.SGD([p], 1.0))
        again.step()
        assert again.get_last_lr() == [0.25]


def test_data_sets_and_samplers() -> None:
    for m in (gc, torch):
        data = m.utils.data

        class Squares(data.Dataset):  # type: ignore[name-defined,misc]
            def __getitem__(self, i: int) -> int:
                return i * i

            def __len__(self) -> int:
                return 5

        class Stream(data.IterableDataset):  # type: ignore[name-defined,misc]
            def __iter__(self) -> Any:
                return iter(range(3))

        class Backwards(data.Sampler):  # type: ignore[name-defined,misc]
            def __iter__(self) -> Any:
                return iter([4, 2, 0])

        made = Squares()
        assert [b.tolist() for b in data.DataLoader(made, 2, sampler=Backwards())] == [[16, 4], [0]]
        assert [b.tolist() for b in data.DataLoader(Stream(), 2)] == [[0, 1], [2]]
        assert list(data.Subset(made, [1, 3])) == [1, 9] and len(data.Subset(made, [1, 3])) == 2
        assert sorted(data.SubsetRandomSampler([4, 2])) == [2, 4] and data.get_worker_info() is None
        assert len(made + Squares()) == 10
        with pytest.raises(NotImplementedError):
            data.Dataset()[0]
