"""Pooling twice differentiated, with unknown sizes, and the same in eager code, compiled, and in a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from side_by_side import flat
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn
from graphc.gradcheck import gradcheck, gradgradcheck
from graphc.nn import functional as F


def distinct(*shape: int) -> Any:
    """Numbers so far apart that a small step changes no maximum."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 8.0 + 0.3


POOLS: dict[str, Any] = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max, places": lambda x: F.max_pool2d(x, 2, return_indices=True),
    "max, rounded up": lambda x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), ceil_mode=True),
    "max, spread": lambda x: F.max_pool2d(x, 2, 1, 1, 2),
    "max 1d": lambda x: F.max_pool1d(x, 2, ceil_mode=True),
    "mean": lambda x: F.avg_pool2d(x, 2),
    "mean, padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "mean, padding not counted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "mean, rounded up": lambda x: F.avg_pool2d(x, 2, 3, 1, ceil_mode=True),
    "mean, rounded up, not counted": lambda x: F.avg_pool2d(x, (2, 3), 3, 1, ceil_mode=True, count_include_pad=False),
    "mean, divided": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "mean 1d": lambda x: F.avg_pool1d(x, 3, 2, 1),
    "norm": lambda x: F.lp_pool2d(x, 3.0, 2),
    "all": lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1, True)),
    "adaptive mean": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive mean, one side": lambda x: F.adaptive_avg_pool2d(x, (None, 2)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, 4), True),
    "adaptive, more than there are": lambda x: (F.adaptive_avg_pool2d(x, 9), F.adaptive_max_pool2d(x, 9)),
    "back": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape[-2:]),
    "back, smallest": lambda x: F.max_unpool2d(*F.max_pool2d(x, 1, return_indices=True), 1),
    "response": lambda x: F.local_response_norm(x, 3, 0.5),
    "instance norm": lambda x: F.instance_norm(x) if len(x.shape) == 4 else F.instance_norm(x[None]),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_twice_differentiable(name: str) -> None:
    def code(x: Any) -> Any:
        return [y for y in flat(POOLS[name](x)) if y.is_floating_point()]

    x = gc.tensor(distinct(2, 5, 4), requires_grad=True)
    assert gradcheck(lambda x: tuple(code(x)), (x,)) and gradgradcheck(lambda x: tuple(code(x)), (x,))


def summed(results: Any) -> Any:
    """A number that every result and every element of it moves in its own way, none of them by much."""
    return sum(((y * gc.arange(y.numel(), dtype=y.dtype).sin().reshape(y.shape)).sin().sum() for y in results), 0.0)


@pytest.mark.parametrize("name", POOLS)
def test_the_same_compiled(name: str) -> None:
    def step(x: Any) -> Any:
        results = flat(POOLS[name](x))
        (g,) = gc.autograd.grad(summed(y for y in results if y.requires_grad), x)
        return [*results, g]

    compiled = gc.compile(step)
    for seed in range(2):
        x = gc.tensor(np.random.default_rng(seed).normal(size=(2, 3, 7, 6)), requires_grad=True)
        x = x if "1d" not in name else x[0].detach().requires_grad_()
        for got, want in zip(compiled(x), step(x), strict=True):
            assert_close(got, want, n=64)
    assert len(compiled.recompiles) == 1


@pytest.mark.parametrize("name", POOLS)
def test_the_same_in_a_session_of_unknown_sizes(name: str) -> None:
    ndim = 3 if "1d" in name else 4
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None,) * ndim, dtype=gc.float64)
        results = flat(POOLS[name](x))
        (gradient,) = gc.gradients(summed(y for y in results if y.dtype.is_floating_point), [x])
    shapes = [(2, 3, 7, 6), (1, 2, 6, 8), (3, 5, 9, 5)]
    with gc.Session(graph) as session:
        for shape in shapes:
            array = np.random.default_rng(1).normal(size=shape[:ndim])
            found = session.run([*results, gradient], {x: array})
            eager = gc.tensor(array, requires_grad=True)
            wanted = flat(POOLS[name](eager))
            summed(y for y in wanted if y.requires_grad).backward()
            for got, want in zip(found, [*wanted, eager.grad], strict=True):
                assert_close(got, want, n=64)


def test_a_network_of_the_layers_trains_the_same_compiled() -> None:
    def network() -> Any:
        gc.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(2), nn.Unflatten(2, (8, 8)), nn.BatchNorm2d(2), nn.MaxPool2d(3, 2, 1), nn.ReLU(),
            nn.InstanceNorm2d(2, affine=True, track_running_stats=True), nn.AvgPool2d(2, ceil_mode=True),
            nn.LocalResponseNorm(2), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(4, 3),
        )  # fmt: skip

    x, target = (
        gc.tensor(np.random.default_rng(0).normal(size=(5, 2, 64)).astype(np.float32)),
        gc.tensor([0, 1, 2, 0, 1]),
    )
    runs = []
    for compiled in (False, True):
        model = network()
        optimizer = gc.optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any, target: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        run = gc.compile(step) if compiled else step
        losses = [run(x, target).item() for _ in range(5)]
        model.eval()
        runs.append(
            [np.array(losses, np.float32), *(as_array(v) for v in model.state_dict().values()), as_array(model(x))]
        )
    assert runs[0][0][-1] < runs[0][0][0]
    for eager, replayed in zip(*runs, strict=True):
        assert_close(replayed, eager, n=4096, scale=1.0)


def test_indices_of_a_pool_can_be_gathered() -> None:
    x = gc.tensor(distinct(2, 3, 6, 5))
    for values, indices in (F.max_pool2d(x, 3, 2, 1, return_indices=True), F.adaptive_max_pool2d(x, (4, 3), True)):
        found = gc.gather(x.flatten(2), 2, indices.flatten(2)).reshape(values.shape)
        assert found.tolist() == values.tolist()


def test_gradients_meet_where_windows_share_a_maximum() -> None:
    x = gc.tensor([[0.0, 5.0, 1.0, 0.0]], requires_grad=True)
    F.max_pool1d(x, 3, 1).sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0, 0.0, 0.0]]


def test_messages_name_the_function() -> None:
    x = gc.zeros(1, 2, 4, 4)
    cases = [
        (lambda: F.max_pool2d(x, 0), RuntimeError, "max_pool2d: kernel_size must be greater than zero"),
        (lambda: F.max_pool2d(x, 2, padding=2), RuntimeError, "at most half of kernel size"),
        (lambda: F.avg_pool2d(x, (1, 2, 3)), RuntimeError, "avg_pool2d: kernel_size must be a single int or a tuple of 2"),
        (lambda: F.max_pool2d(x, 9), RuntimeError, "output size is too small"),
        (lambda: F.max_pool3d(x[0], 2), RuntimeError, r"Expected 4D or 5D .* got: \[2, 4, 4\]"),
        (lambda: F.max_pool2d(gc.zeros(1, 0, 4, 4), 2), RuntimeError, "non-zero size for non-batch dimensions"),
        (lambda: F.max_pool2d(gc.zeros(1, 2, 2), 2, padding=1, dilation=3), RuntimeError, "a window lies outside"),
        (lambda: F.adaptive_avg_pool2d(x, (1, -2)), RuntimeError, "greater than or equal to 0"),
        (lambda: F.avg_pool2d(x > 0, 2), NotImplementedError, "not implemented for bool"),
        (lambda: nn.InstanceNorm1d(3)(x), ValueError, "expected 2D or 3D input"),
    ]  # fmt: skip
    for code, error, text in cases:
        with pytest.raises(error, match=text):
            code()
