"""Layers and functions people meet less often, against PyTorch: outputs, gradients, repr, state, errors; eager and compiled."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from nn_cases import X, f32, f64, ints
from side_by_side import agree, compare, pair, refuse
from tolerances import assert_close

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(11)


def both(make):
    """The same layer in both libraries, ours with PyTorch's weights."""
    theirs, ours = make(torch.nn), make(nn)
    assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
    state = {k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def check_layer(make, *arrays, n=64):
    """Outputs and gradients, eagerly and compiled."""
    ours, theirs = both(make)
    for run in (ours, gc.compile(ours)):
        ours.zero_grad()
        theirs.zero_grad()
        made = [pair(torch, x, x.dtype.kind == "f") for x in arrays]
        mine, its = run(*(a for a, _ in made)), theirs(*(b for _, b in made))
        compare(mine, its, n=n)
        if its.requires_grad:
            mine.sum().backward()
            its.sum().backward()
        for a, b in (*made, *zip(ours.parameters(), theirs.parameters(), strict=True)):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                compare(a.grad, b.grad, n=n, scale=max(1.0, float(b.grad.abs().max())))


IMAGE, SIGNAL, VOLUME = f32(2, 3, 6, 5), f32(2, 3, 7), f32(1, 2, 4, 5, 6)
LAYERS = {
    **{f"{kind}Pad1d((2, 1))": (SIGNAL,) for kind in ("Zero", "Reflection", "Replication", "Circular")},
    **{f"{kind}Pad2d((2, 1, 1, 3))": (IMAGE,) for kind in ("Zero", "Reflection", "Replication", "Circular")},
    **{f"{kind}Pad3d(2)": (VOLUME,) for kind in ("Zero", "Reflection", "Replication", "Circular")},
    "ConstantPad1d(2, 3.5)": (SIGNAL,),
    "ConstantPad2d((1, 0, 2, 1), -1)": (IMAGE[0],),
    "ConstantPad3d((1, 0, 2, 1, 0, 1), 0.5)": (VOLUME,),
    "PixelShuffle(2)": (f32(2, 8, 3, 2),),
    "PixelUnshuffle(2)": (f32(2, 2, 4, 6),),
    "EmbeddingBag(7, 3)": (ints(7, 4, 3),),
    "EmbeddingBag(7, 3, mode='sum', padding_idx=2)": (ints(7, 9), np.array([0, 4, 4])),
    "EmbeddingBag(7, 3, mode='max')": (ints(7, 9), np.array([0, 2, 2, 5])),
    "EmbeddingBag(7, 3, max_norm=0.5, norm_type=1.0)": (ints(7, 4, 3),),
    "EmbeddingBag(7, 3, mode='mean', include_last_offset=True)": (ints(7, 9), np.array([0, 2, 5, 9])),
    "SyncBatchNorm(3)": (IMAGE,),
    "MultiLabelMarginLoss()": (X, np.array([[1, 2, -1, 0, 0], [0, 1, 2, 3, 4], [-1, 2, 3, 1, 1], [4, 4, -1, -1, -1]])),
    "MultiLabelMarginLoss(reduction='none')": (X[0], np.array([3, 0, -1, 1, 1])),
    "LinearCrossEntropyLoss(5, 4, bias=True)": (f32(4, 5), ints(4, 4)),
    "LinearCrossEntropyLoss(5, 4, out_features=(2,), label_smoothing=0.1, reduction='sum')": (f32(4, 5), ints(4, 4, 2)),
    "NLLLoss2d()": (f32(2, 3, 4, 4), ints(3, 2, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("text", LAYERS)
def test_layers(text):
    check_layer(lambda n: eval("n." + text, {"n": n}), *LAYERS[text])


def test_channel_shuffle():
    ours, theirs = both(lambda n: n.ChannelShuffle(3))
    a, b = pair(torch, f32(2, 6, 4))
    compare(ours(a), theirs(b))
    agree(torch, lambda m, x: (m.channel_shuffle(x, 2), m.native_channel_shuffle(x, 2)), f64(1, 4, 3), grad=False)
    agree(torch, lambda m, x: (F(m).channel_shuffle(x, 2), F(m).native_channel_shuffle(x, 2)), f64(1, 4, 3), grad=False)
    agree(torch, lambda m, x: (m.pixel_shuffle(x, 2), F(m).pixel_shuffle(x, 2)), f64(4, 3, 2))
    agree(torch, lambda m, x: (m.pixel_unshuffle(x, 2), F(m).pixel_unshuffle(x, 2)), f64(1, 1, 4, 2))


def F(m):
    """`nn.functional` of either library."""
    return m.nn.functional


# --- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", [2, 3])
def test_fractional_pooling(spatial):
    sizes, counts = ((9, 8), (4, 3)) if spatial == 2 else ((6, 7, 8), (3, 1, 4))
    x, samples = f64(2, 3, *sizes), RNG.random((2, 3, spatial))
    name = f"fractional_max_pool{spatial}d"

    def code(m, x, s):
        s = s.detach()
        ratio = tuple(c / n for c, n in zip(counts, sizes, strict=True))
        values, indices = getattr(F(m), name)(x, 2, counts, return_indices=True, _random_samples=s)
        again, _ = getattr(F(m), name + "_with_indices")(x, 2, output_ratio=ratio, _random_samples=s)
        layer = getattr(m.nn, f"FractionalMaxPool{spatial}d")(2, output_size=counts, _random_samples=s[:1])
        return values, indices, again, getattr(F(m), name)(x[0], 2, counts, _random_samples=s[:1]), layer(x[:1])

    # PyTorch takes the first of equal maxima too; its gradients of two results of one call agree with ours
    agree(torch, code, x, samples)
    refuse(torch, lambda m, x: getattr(F(m), name)(x, 2), x)
    refuse(torch, lambda m, x: getattr(F(m), name)(x, 2, 50), x)
    for options in ({}, {"output_size": 3, "output_ratio": 0.5}, {"output_ratio": 1.5}):
        refuse(torch, lambda m, o=options: getattr(m.nn, f"FractionalMaxPool{spatial}d")(2, **o))
    gc.manual_seed(0)
    found = getattr(nn.functional, name)(gc.tensor(x), 2, counts)
    assert tuple(found.shape) == (2, 3, *counts)
    assert np.isin(found.numpy(), x).all()


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("align", [True, False])
def test_grid_sample(mode, padding, align):
    def code(m, x, grid):
        return F(m).grid_sample(x, grid, mode, padding, align)

    agree(torch, code, f64(2, 3, 5, 6), RNG.normal(size=(2, 4, 3, 2)), n=64)
    if mode != "bicubic":
        agree(torch, code, f64(1, 2, 3, 4, 5), RNG.normal(size=(1, 2, 3, 2, 3)), n=64)


def test_affine_grid():
    agree(torch, lambda m, t: F(m).affine_grid(t, (2, 3, 4, 5), align_corners=False), f64(2, 2, 3), n=4)
    agree(torch, lambda m, t: F(m).affine_grid(t, (2, 1, 4, 5, 1), align_corners=True), f64(2, 3, 4), n=4)
    refuse(torch, lambda m, t: F(m).affine_grid(t, (2, 3, 4)), f64(2, 2, 3))
    refuse(torch, lambda m, t: F(m).affine_grid(t, (2, 3, 4, 5)), f64(2, 3, 3))
    refuse(torch, lambda m, x: F(m).grid_sample(x, m.zeros(2, 3, 4, 3)), f32(2, 1, 3, 3))
    refuse(torch, lambda m, x: F(m).grid_sample(x, m.zeros(2, 3, 4, 2), mode="linear"), f32(2, 1, 3, 3))


def test_pdist_and_conv_tbc():
    for p in (0.0, 1.0, 2.0, 3.0, float("inf")):  # PyTorch's gradient of p = 0 is zeros, ours none
        agree(torch, lambda m, x, p=p: (m.pdist(x, p), F(m).pdist(x, p)), f64(5, 3), n=8, grad=p > 0)
    refuse(torch, lambda m, x: m.pdist(x), f64(3))
    agree(
        torch,
        lambda m, x, w, b: (m.conv_tbc(x, w, b, 1), F(m).conv_tbc(x, w, b)),
        f64(7, 2, 3),
        f64(3, 3, 4),
        f64(4),
        n=16,
    )


def test_embedding_bag():
    at, weight = ints(7, 9), f64(7, 3)

    def sums(m, i, w, p):
        bag = F(m).embedding_bag
        return bag(i, w, m.tensor([0, 4]), mode="sum", per_sample_weights=p), bag(i.reshape(3, 3), w, mode="max")

    agree(torch, sums, at, weight, f64(9))
    made = [m.nn.EmbeddingBag.from_pretrained(m.tensor(f32(5, 3).tolist()), mode="sum") for m in (gc, torch)]
    assert repr(made[0]) == repr(made[1])
    assert not made[0].weight.requires_grad
    for code in (
        lambda m, i, w: F(m).embedding_bag(i, w),
        lambda m, i, w: F(m).embedding_bag(i, w, m.tensor([[0]])),
        lambda m, i, w: F(m).embedding_bag(i.reshape(3, 3), w, m.tensor([0])),
        lambda m, i, w: F(m).embedding_bag(i, w, m.tensor([0]), mode="median"),
        lambda m, i, w: F(m).embedding_bag(i, w, m.tensor([0]), mode="max", scale_grad_by_freq=True),
        lambda m, i, w: F(m).embedding_bag(i, w, m.tensor([0]), per_sample_weights=w),
        lambda m, i, w: m.nn.EmbeddingBag(3, 2, padding_idx=4),
    ):
        refuse(torch, code, at, weight)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_loss(reduction):
    scores, targets = f64(12, 3, 6), ints(5, 3, 4) + 1
    targets[1, 1] = targets[1, 0]

    def code(m, x, t):
        x, options = m.log_softmax(x, 2), {"reduction": reduction}
        long, short = m.tensor([12, 10, 8]), m.tensor([4, 3, 2])
        flat = m.cat([t[0, :4], t[1, :3], t[2, :2]])
        return (
            F(m).ctc_loss(x, t, (12, 10, 8), (4, 3, 2), **options),
            F(m).ctc_loss(x, flat, long, short, **options),
            F(m).ctc_loss(x[:, 0], t[0], (12,), (4,), **options),
            F(m).ctc_loss(x, t - 1, (12, 10, 2), (4, 0, 3), blank=5, zero_infinity=True, **options),
            m.nn.CTCLoss(**options)(x, t, long, short),
        )

    agree(torch, code, scores, targets, n=144)
    agree(
        torch,
        lambda m, x, t: F(m).ctc_loss(m.log_softmax(x, 2), t, (12, 10, 2), (4, 3, 3), reduction=reduction),
        scores,
        targets,
        grad=False,
        n=144,
    )


def test_the_gradient_of_ctc_loss_is_that_of_what_was_given():
    lp = torch.tensor(f64(8, 2, 4)).log_softmax(2).numpy()
    agree(torch, lambda m, x, t: F(m).ctc_loss(x, t, (8, 6), (3, 2), reduction="sum"), lp, ints(3, 2, 3) + 1, n=64)


def test_ctc_loss_refuses_lengths_that_do_not_fit():
    for code in (
        lambda m, x, t: F(m).ctc_loss(x, t, (9, 8), (3, 2)),
        lambda m, x, t: F(m).ctc_loss(x, t, (8, 8), (4, 2)),
        lambda m, x, t: F(m).ctc_loss(x, t, (8, 8, 8), (3, 2)),
        lambda m, x, t: F(m).ctc_loss(x, t, (8, 8), (3, 2), blank=9),
    ):
        refuse(torch, code, f64(8, 2, 4), ints(3, 2, 3) + 1)


def test_ctc_loss_compiled():
    x, t = gc.tensor(f64(9, 2, 5)), gc.tensor(ints(4, 2, 3) + 1)
    lengths, counts = gc.tensor([9, 6]), gc.tensor([3, 1])

    def loss(x, t, a, b):
        x = x.detach().requires_grad_()
        out = nn.functional.ctc_loss(gc.log_softmax(x, 2), t, a, b)
        return (out, *gc.autograd.grad(out, [x]))

    for got, want in zip(gc.compile(loss)(x, t, lengths, counts), loss(x, t, lengths, counts), strict=True):
        assert_close(got, want, n=64)


def test_multilabel_margin_and_linear_cross_entropy():
    t = np.array([[1, 2, -1, 0, 0], [0, 1, 2, 3, 4], [-1, 2, 3, 1, 1], [4, 4, -1, -1, -1]])
    for reduction in ("none", "mean", "sum"):
        agree(torch, lambda m, x, t, r=reduction: F(m).multilabel_margin_loss(x, t, reduction=r), X, t, n=25)

        def code(m, x, w, t, b, r=reduction):
            return F(m).linear_cross_entropy(x, w, t, linear_bias=b, reduction=r, ignore_index=2)

        agree(torch, code, f64(6, 3), f64(5, 3, seed=1), ints(5, 6), f64(5), n=16)
    refuse(torch, lambda m, x: F(m).multilabel_margin_loss(x, m.zeros(3, dtype=m.int64)), X)
    refuse(torch, lambda m, x: F(m).linear_cross_entropy(x, m.zeros(5, 4), m.zeros(4, dtype=m.int64)), X)
    options = [m.nn.LinearCrossEntropyOptions(batch_chunk_size=2, chunking_method=None) for m in (gc, torch)]
    assert repr(options[0]) == repr(options[1])
    refuse(torch, lambda m: m.nn.LinearCrossEntropyOptions(batch_chunk_size=0))
    refuse(torch, lambda m: m.nn.LinearCrossEntropyOptions(acc_policy="best"))


# --- adaptive softmax -------------------------------------------------------------------------------------------------


def test_adaptive_softmax():
    def make(n):
        return n.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)

    ours, theirs = both(make)
    x, t = f32(6, 8), np.array([0, 2, 3, 6, 7, 11])
    for run in (ours, gc.compile(ours)):
        ours.zero_grad()
        theirs.zero_grad()
        (a, b), (s, u) = pair(torch, x, True), pair(torch, t)
        mine, its = run(a, s), theirs(b, u)
        compare(mine.output, its.output, n=16)
        compare(mine.loss, its.loss, n=16)
        mine.loss.backward()
        its.loss.backward()
        for p, q in ((a, b), *zip(ours.parameters(), theirs.parameters(), strict=True)):
            compare(p.grad, q.grad, n=64, scale=1.0)
    compare(ours.log_prob(a), theirs.log_prob(b), n=32)
    compare(ours.predict(a), theirs.predict(b))
    compare(ours(a[0], s[0]).output, theirs(b[0], u[0]).output, n=16)
    for cuts in ([], [3, 3], [5, 2], [0, 4], [12]):
        refuse(torch, lambda m, c=cuts: m.nn.AdaptiveLogSoftmaxWithLoss(8, 12, c))
    layers = {gc: ours, torch: theirs}
    refuse(torch, lambda m, x, t: layers[m](x, t), x, t + 1)
    refuse(torch, lambda m, x, t: layers[m](x[:2], t), x, t)


# --- lazy layers ------------------------------------------------------------------------------------------------------

LAZY = {
    "LazyLinear(3)": (4, 5), "LazyLinear(3, bias=False)": (2, 4, 5), "LazyConv1d(4, 3)": (2, 3, 7),
    "LazyConv2d(4, 3, stride=2, bias=False)": (2, 3, 7, 6), "LazyConv3d(2, 2)": (1, 3, 4, 4, 3),
    "LazyConvTranspose1d(4, 3)": (2, 3, 7), "LazyConvTranspose2d(4, 3, stride=2)": (2, 3, 4, 4),
    "LazyConvTranspose3d(2, 2)": (1, 3, 2, 3, 3), "LazyBatchNorm1d()": (4, 3), "LazyBatchNorm2d(affine=False)": (2, 3, 4, 4),
    "LazyBatchNorm3d(track_running_stats=False)": (2, 3, 2, 2, 2), "LazyInstanceNorm1d()": (2, 3, 5),
    "LazyInstanceNorm2d()": (2, 3, 4, 4), "LazyInstanceNorm3d()": (2, 3, 2, 3, 2),
}  # fmt: skip


@pytest.mark.parametrize("text", LAZY)
def test_lazy_layers_become_ordinary_ones(text):
    ours, theirs = (eval("n." + text, {"n": n}) for n in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.has_uninitialized_params() == theirs.has_uninitialized_params()
    a, b = pair(torch, f32(*LAZY[text]))
    ours(a), theirs(b)
    assert type(ours).__name__ == type(theirs).__name__
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict({k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    compare(ours(a), theirs(b), n=64)


def test_lazy_layers_take_shapes_from_a_state_dict():
    for n, library in ((nn, gc), (torch.nn, torch)):
        layer = n.LazyLinear(3)
        assert repr(layer.weight) == "<UninitializedParameter>"
        with pytest.raises(RuntimeError, match="shape of an uninitialized parameter"):
            _ = layer.weight.shape
        layer.load_state_dict(n.Linear(4, 3).state_dict())
        assert tuple(layer.weight.shape) == (3, 4)
        assert tuple(layer(library.zeros(2, 4)).shape) == (2, 3)
        assert repr(layer) == "Linear(in_features=4, out_features=3, bias=True)"
    a, b = copy.deepcopy(nn.LazyLinear(2)), copy.deepcopy(torch.nn.LazyLinear(2))
    assert a.has_uninitialized_params() and b.has_uninitialized_params()
    a.weight.materialize((2, 5))
    b.weight.materialize((2, 5))
    assert tuple(a.weight.shape) == tuple(b.weight.shape)
    assert isinstance(a.weight, nn.Parameter)


def test_parameters_and_buffers_by_their_file():
    for n, library in ((nn, gc), (torch.nn, torch)):
        p = n.parameter
        assert p.is_lazy(p.UninitializedParameter()) and p.is_lazy(p.UninitializedBuffer())
        assert not p.is_lazy(p.Parameter(library.ones(1)))
        layer = n.Identity()
        layer.count = p.Buffer(library.ones(1))
        assert list(layer.state_dict()) == ["count"]


@pytest.mark.parametrize("name", ["UninitializedParameter", "UninitializedBuffer"])
def test_tensors_without_a_shape(name):
    made = [getattr(m.nn, name)(dtype=m.float64) for m in (gc, torch)]
    assert repr(made[0]) == repr(made[1])
    for x in made:
        with pytest.raises(RuntimeError, match="uninitialized"):
            x.share_memory_()
        x.materialize((2, 3))
    assert made[0].shape == tuple(made[1].shape)
    assert made[0].dtype is gc.float64
    assert made[0].requires_grad == made[1].requires_grad


def test_a_lazy_model_trains_compiled_as_eagerly():
    gc.manual_seed(1)
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    x = gc.tensor(f32(3, 2, 6, 6))
    model(x)
    step = gc.compile(lambda x: model(x).square().mean())
    assert_close(step(x), model(x).square().mean(), n=64)


def test_sync_batch_norm_takes_over_what_it_replaces():
    def make(n):
        return n.SyncBatchNorm.convert_sync_batchnorm(n.Sequential(n.Conv2d(3, 4, 2), n.BatchNorm2d(4), n.ReLU()))

    check_layer(make, IMAGE)
    refuse(torch, lambda m: m.nn.SyncBatchNorm(3)(m.zeros(3)))


def test_layers_start_from_pytorchs_distribution():
    for text in ("EmbeddingBag(300, 100)", "AdaptiveLogSoftmaxWithLoss(64, 300, [50, 150])"):
        ours, theirs = (eval("n." + text, {"n": n}) for n in (nn, torch.nn))
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert abs(float(p.std()) - float(q.std())) <= 0.15 * float(q.std())


def test_copies_and_pickles():
    for text in ("EmbeddingBag(5, 2)", "ZeroPad2d(1)", "CTCLoss()"):
        layer = eval("nn." + text)
        for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert repr(again) == repr(layer)


SAME_KIND_OF_ERROR = {
    "pixels": lambda m: m.nn.PixelShuffle(2)(m.zeros(2, 6, 3, 3)),
    "pixels dims": lambda m: m.nn.PixelShuffle(2)(m.zeros(4, 3)),
    "unshuffle": lambda m: m.nn.PixelUnshuffle(2)(m.zeros(1, 3, 3)),
    "channels": lambda m: m.nn.ChannelShuffle(2)(m.zeros(1, 3, 2)),
    "circular dims": lambda m: m.nn.CircularPad2d(1)(m.zeros(3, 3)),
    "reflection": lambda m: m.nn.ReflectionPad1d(4)(m.zeros(1, 1, 3)),
    "lazy dims": lambda m: m.nn.LazyConv2d(2, 2)(m.zeros(2, 2)),
    "lazy groups": lambda m: m.nn.LazyConv1d(2, 2, groups=2)(m.zeros(1, 3, 4)),
    "lazy norm dims": lambda m: m.nn.LazyBatchNorm2d()(m.zeros(2, 3)),
    "loss weight": lambda m: m.nn.LinearCrossEntropyLoss(3, 4, weight=m.zeros(3)),
}


@pytest.mark.parametrize("name", SAME_KIND_OF_ERROR)
def test_errors_are_of_pytorchs_kind(name):
    refuse(torch, SAME_KIND_OF_ERROR[name])


def test_old_names_of_hardtanhs_limits():
    for m in (gc, torch):
        with pytest.warns(FutureWarning, match="keyword argument `max_value` is deprecated"):
            layer = m.nn.Hardtanh(max_value=0.5, min_value=-2)
        assert (layer.min_val, layer.max_val) == (-2, 0.5)
