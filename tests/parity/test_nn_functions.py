"""`nn.functional` against PyTorch: outputs, gradients and kinds of errors."""

from __future__ import annotations

import numpy as np
import pytest
from nn_cases import IMAGE, IMAGE_T, LOGP, PROBS, T_IGNORED, W5, T, X, f32, f64, ints, signs, unit
from side_by_side import agree, refuse

import graphc as gc
from graphc.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def fn(module):
    """`nn.functional` of either library."""
    return F if module is gc else torch.nn.functional


REDUCTIONS = ("none", "mean", "sum")

ELEMENTWISE_LOSSES = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {},
    "smooth_l1_loss beta=0.3": {"beta": 0.3},
    "smooth_l1_loss beta=0": {"beta": 0.0},
    "huber_loss": {},
    "huber_loss delta=0.4": {"delta": 0.4},
    "poisson_nll_loss": {},
    "poisson_nll_loss full": {"full": True},
    "kl_div": {},
    "kl_div log_target": {"log_target": True},
    "binary_cross_entropy_with_logits": {},
    "soft_margin_loss": {},
    "multilabel_soft_margin_loss": {},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", ELEMENTWISE_LOSSES)
def test_losses_of_two_tensors(case, reduction):
    name, options = case.split()[0], ELEMENTWISE_LOSSES[case]

    def code(m, x, y):
        y = y.detach() if name == "soft_margin_loss" else y
        return getattr(fn(m), name)(x, y, reduction=reduction, **options)

    for x, y in ((X, unit(4, 5, seed=1)), (f32(3, 4), unit(3, 4, seed=1).astype(np.float32) * 3)):
        agree(torch, code, x, y, n=20)
    if "label" not in name:
        agree(torch, code, f64(0, 3), f64(0, 3), n=1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_with_other_operands(reduction):
    r = {"reduction": reduction}
    agree(
        torch,
        lambda m, x, t: fn(m).poisson_nll_loss(x, t, log_input=False, full=True, **r),
        unit(3, 4),
        unit(3, 4) * 4,
        n=12,
    )
    agree(torch, lambda m, x, t, v: fn(m).gaussian_nll_loss(x, t, v, **r), X, f64(4, 5, seed=1), unit(4, 5), n=20)
    agree(
        torch,
        lambda m, x, t, v: fn(m).gaussian_nll_loss(x, t, v, full=True, **r),
        X,
        f64(4, 5, seed=1),
        unit(4, 1),
        n=20,
    )
    agree(torch, lambda m, x, t, v: fn(m).gaussian_nll_loss(x, t, v, eps=0.5, **r), X, f64(4, 5, seed=1), unit(4), n=20)
    agree(torch, lambda m, x, t: fn(m).hinge_embedding_loss(x, t, margin=0.7, **r), X, signs(4, 5), n=20)
    agree(
        torch,
        lambda m, a, b, t: fn(m).margin_ranking_loss(a, b, t, margin=0.3, **r),
        X,
        f64(4, 5, seed=1),
        signs(4, 5),
        n=20,
    )
    agree(
        torch, lambda m, a, b, t: fn(m).cosine_embedding_loss(a, b, t, 0.1, **r), X, f64(4, 5, seed=1), signs(4), n=20
    )
    agree(torch, lambda m, a, b, t: fn(m).cosine_embedding_loss(a, b, t, **r), f64(5), f64(5, seed=1), signs(), n=20)
    for options in ({}, {"p": 1.0, "margin": 0.4}, {"swap": True}, {"p": 3.0}):

        def code(m, a, p, n, options=options):
            return fn(m).triplet_margin_loss(a, p, n, **options, **r)

        agree(torch, code, X, f64(4, 5, seed=1), f64(4, 5, seed=2), n=20)

    def with_distance(m, a, p, n):
        return fn(m).triplet_margin_with_distance_loss(
            a, p, n, distance_function=lambda x, y: (x - y).abs().sum(-1), **r
        )

    agree(torch, with_distance, X, f64(4, 5, seed=1), f64(4, 5, seed=2), n=20)
    for options in ({}, {"p": 2}, {"margin": 0.5}):
        agree(torch, lambda m, x, t, o=options: fn(m).multi_margin_loss(x, t, **o, **r), X, T, n=20)
    agree(torch, lambda m, x, t, w: fn(m).multi_margin_loss(x, t, weight=w.detach(), **r), X, T, W5, n=20)
    agree(torch, lambda m, x, t: fn(m).multi_margin_loss(x, t, **r), f64(5), np.array(2), n=20)
    agree(torch, lambda m, x, t, w: fn(m).multilabel_soft_margin_loss(x, t, w.detach(), **r), X, unit(4, 5), W5, n=20)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(reduction):
    r = {"reduction": reduction}
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, **r), LOGP, T, n=20)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, **r), LOGP, T_IGNORED, n=20)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, ignore_index=3, **r), LOGP, ints(5, 4, seed=1), n=20)
    agree(torch, lambda m, x, t, w: fn(m).nll_loss(x, t, w.detach(), **r), LOGP, T_IGNORED, W5, n=20)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, **r), IMAGE, IMAGE_T, n=40)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, **r), f64(5), np.array(2), n=5)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, **r), f64(2, 3, 4), ints(3, 2, 4), n=8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_class_indices(reduction, smoothing):
    o = {"reduction": reduction, "label_smoothing": smoothing}
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), X, T, n=20)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), f32(4, 5, scale=100.0), T, n=20)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), X, T_IGNORED, n=20)
    agree(torch, lambda m, x, t, w: fn(m).cross_entropy(x, t, w.detach(), **o), X, T_IGNORED, W5, n=20)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, ignore_index=2, **o), IMAGE, IMAGE_T, n=40)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), f64(5), np.array(2), n=5)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), f64(0, 5), ints(5, 0), n=5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_class_probabilities(reduction, smoothing):
    o = {"reduction": reduction, "label_smoothing": smoothing}
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), X, PROBS, n=20)
    agree(torch, lambda m, x, t, w: fn(m).cross_entropy(x, t, w.detach(), **o), X, PROBS, W5, n=20)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), IMAGE, unit(2, 3, 4, 5), n=40)
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t, **o), f64(5), unit(5), n=5)


def test_all_targets_ignored_gives_nan():
    agree(torch, lambda m, x, t: fn(m).cross_entropy(x, t), X, np.full(4, -100), grad=False)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(reduction):
    r = {"reduction": reduction}
    edges, targets = np.array([0.0, 0.0, 1.0, 1.0, 1e-13, 0.3]), np.array([0.0, 1.0, 0.0, 1.0, 0.4, 0.2])
    for kind in (np.float32, np.float64):

        def code(m, x, t):
            return fn(m).binary_cross_entropy(x, t.detach(), **r)

        agree(torch, code, edges.astype(kind), targets.astype(kind), n=20)
    agree(torch, lambda m, x, t: fn(m).binary_cross_entropy(x, t, **r), unit(4, 5), unit(4, 5, seed=1), n=20)
    agree(
        torch,
        lambda m, x, t, w: fn(m).binary_cross_entropy(x, t, w.detach(), **r),
        unit(4, 5),
        unit(4, 5, seed=1),
        W5,
        n=20,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits(reduction):
    r = {"reduction": reduction}
    far = np.array([0.0, 1e4, -1e4, 50.0, -50.0, 1.0], np.float32)
    agree(
        torch,
        lambda m, x, t: fn(m).binary_cross_entropy_with_logits(x, t.detach(), **r),
        far,
        unit(6).astype(np.float32),
        n=6,
    )
    agree(
        torch, lambda m, x, t, w: fn(m).binary_cross_entropy_with_logits(x, t, w.detach(), **r), X, unit(4, 5), W5, n=20
    )
    agree(
        torch,
        lambda m, x, t, w: fn(m).binary_cross_entropy_with_logits(x, t, pos_weight=w.detach(), **r),
        X,
        unit(4, 5),
        W5,
        n=20,
    )


def test_kl_div_batchmean():
    agree(torch, lambda m, x, t: fn(m).kl_div(x, t, reduction="batchmean"), LOGP, PROBS, n=20)
    agree(torch, lambda m, x, t: fn(m).kl_div(x, t.detach(), reduction="sum"), LOGP, np.eye(4, 5), n=20)


def test_weighted_regression():
    agree(torch, lambda m, x, t, w: fn(m).mse_loss(x, t, weight=w.detach()), X, f64(4, 5, seed=1), unit(4, 5), n=20)
    agree(
        torch,
        lambda m, x, t, w: fn(m).l1_loss(x, t, weight=w.detach(), reduction="sum"),
        X,
        f64(4, 5, seed=1),
        unit(4, 5),
        n=20,
    )


def test_broadcast_regression():
    agree(torch, lambda m, x, t: fn(m).mse_loss(x, t), X, f64(5, seed=1), n=20)
    agree(torch, lambda m, x, t: fn(m).l1_loss(x, t), X, f64(4, 1, seed=1), n=20)


def test_legacy_reduction_arguments():
    agree(torch, lambda m, x, t: fn(m).mse_loss(x, t, size_average=False), X, f64(4, 5, seed=1), n=20)
    agree(torch, lambda m, x, t: fn(m).nll_loss(x, t, reduce=False), LOGP, T, n=20)


LAYER_FUNCTIONS = {
    "linear": (lambda m, x, w, b: fn(m).linear(x, w, b), (f64(2, 3, 4), f64(5, 4, seed=1), f64(5, seed=2))),
    "linear vector": (lambda m, x, w, b: fn(m).linear(x, w, b), (f64(4), f64(5, 4, seed=1), f64(5, seed=2))),
    "linear one output": (lambda m, x, w: fn(m).linear(x, w), (f64(3, 4), f64(4, seed=1))),
    "bilinear": (
        lambda m, x, y, w, b: fn(m).bilinear(x, y, w, b),
        (f64(2, 3, 4), f64(2, 3, 5, seed=3), f64(6, 4, 5, seed=1), f64(6, seed=2)),
    ),
    "embedding": (lambda m, i, w: fn(m).embedding(i, w), (ints(6, 2, 3), f64(6, 4))),
    "embedding padded": (lambda m, i, w: fn(m).embedding(i, w, padding_idx=-1), (np.array([[5, 0], [5, 5]]), f64(6, 4))),
    "embedding by frequency": (
        lambda m, i, w: fn(m).embedding(i, w, scale_grad_by_freq=True), (np.array([1, 1, 2, 1]), f64(6, 4)),
    ),
    "layer_norm": (
        lambda m, x, w, b: fn(m).layer_norm(x, (4, 5), w, b), (f64(3, 4, 5), f64(4, 5, seed=1), f64(4, 5, seed=2)),
    ),
    "layer_norm plain": (lambda m, x: fn(m).layer_norm(x, [5], eps=0.1), (f64(3, 5),)),
    "rms_norm": (lambda m, x, w: fn(m).rms_norm(x, (5,), w), (f64(3, 5), f64(5, seed=1))),
    "rms_norm eps": (lambda m, x: fn(m).rms_norm(x, (5,), eps=0.5), (f32(3, 5),)),
    "group_norm": (
        lambda m, x, w, b: fn(m).group_norm(x, 2, w, b), (f64(3, 4, 5), f64(4, seed=1), f64(4, seed=2)),
    ),
    "instance_norm": (lambda m, x, w, b: fn(m).instance_norm(x, weight=w, bias=b), (f64(3, 4, 5), f64(4), f64(4, seed=1))),
    "batch_norm train": (
        lambda m, x, w, b: fn(m).batch_norm(x, None, None, w, b, training=True), (f64(6, 4), f64(4), f64(4, seed=1)),
    ),
    "batch_norm eval": (
        lambda m, x, r, v: fn(m).batch_norm(x, r.detach(), v.detach()), (f64(6, 4, 3), f64(4), unit(4)),
    ),
    "normalize": (lambda m, x: fn(m).normalize(x), (f64(3, 5),)),
    "normalize p=1": (lambda m, x: fn(m).normalize(x, p=1.0, dim=0), (f64(3, 5),)),
    "normalize zero": (lambda m, x: fn(m).normalize(x), (np.zeros((2, 3)),)),
    "cosine_similarity": (lambda m, x, y: fn(m).cosine_similarity(x, y), (f64(3, 5), f64(3, 5, seed=1))),
    "cosine_similarity broadcast": (lambda m, x, y: fn(m).cosine_similarity(x, y, dim=-1), (f64(3, 1, 5), f64(4, 5, seed=1))),
    "pairwise_distance": (lambda m, x, y: fn(m).pairwise_distance(x, y), (f64(3, 5), f64(3, 5, seed=1))),
    "pairwise_distance p=1": (lambda m, x, y: fn(m).pairwise_distance(x, y, p=1.0, keepdim=True), (f64(3, 5), f64(5, seed=1))),
    "softmax": (lambda m, x: fn(m).softmax(x, dim=1), (f64(3, 5),)),
    "softmax implicit": (lambda m, x: fn(m).softmax(x), (f64(3, 5),)),
    "softmax dtype": (lambda m, x: fn(m).softmax(x, -1, dtype=m.float64), (f32(3, 5),)),
    "log_softmax": (lambda m, x: fn(m).log_softmax(x, dim=0), (f64(3, 5),)),
    "softmin": (lambda m, x: fn(m).softmin(x, dim=1), (f64(3, 5),)),
    "one_hot": (lambda m, i: fn(m).one_hot(i, 6), (ints(6, 2, 3),)),
    "one_hot implicit": (lambda m, i: fn(m).one_hot(i), (ints(6, 2, 3),)),
    "pad": (lambda m, x: fn(m).pad(x, (1, 2, 0, 1), value=3.0), (f64(2, 3),)),
    "pad reflect": (lambda m, x: fn(m).pad(x, (1, 2), mode="reflect"), (f64(2, 3, 4),)),
    "attention": (
        lambda m, q, k, v: fn(m).scaled_dot_product_attention(q, k, v),
        (f64(2, 3, 4, 8), f64(2, 3, 5, 8, seed=1), f64(2, 3, 5, 6, seed=2)),
    ),
    "attention causal": (
        lambda m, q, k, v: fn(m).scaled_dot_product_attention(q, k, v, is_causal=True),
        (f64(2, 4, 8), f64(2, 4, 8, seed=1), f64(2, 4, 8, seed=2)),
    ),
    "attention bool mask": (
        lambda m, q, k, v: fn(m).scaled_dot_product_attention(
            q, k, v, attn_mask=m.tensor([[True, False, True], [True, True, False]]), scale=0.3
        ),
        (f64(2, 2, 8), f64(2, 3, 8, seed=1), f64(2, 3, 8, seed=2)),
    ),
    "attention float mask": (
        lambda m, q, k, v, a: fn(m).scaled_dot_product_attention(q, k, v, attn_mask=a),
        (f64(2, 2, 8), f64(2, 3, 8, seed=1), f64(2, 3, 8, seed=2), f64(2, 3)),
    ),
    "attention grouped": (
        lambda m, q, k, v: fn(m).scaled_dot_product_attention(q, k, v, enable_gqa=True),
        (f64(2, 4, 3, 8), f64(2, 2, 3, 8, seed=1), f64(2, 2, 3, 8, seed=2)),
    ),
    "rrelu": (lambda m, x: fn(m).rrelu(x), (f64(3, 5),)),
    "dropout off": (lambda m, x: fn(m).dropout(x, 0.5, training=False), (f64(3, 5),)),
    "dropout all": (lambda m, x: fn(m).dropout(x, 1.0), (f64(3, 5),)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYER_FUNCTIONS)
def test_layer_functions(name):
    code, arrays = LAYER_FUNCTIONS[name]
    agree(torch, code, *arrays, n=64)


def test_half_precision_norms_are_computed_in_float32():
    x = f32(3, 8).astype(np.float16)
    agree(torch, lambda m, x: fn(m).layer_norm(x, (8,)), x, n=16)
    agree(torch, lambda m, x: fn(m).softmax(x, -1), x, n=16)


def test_embedding_max_norm_rescales_used_rows_in_place():
    table = f64(6, 4) * 3

    def code(m, i, w):
        w = w.detach().clone()
        return fn(m).embedding(i, w, max_norm=1.0), w

    agree(torch, code, np.array([0, 2, 2]), table, n=8)


def test_every_function_of_this_issue_exists_in_pytorch_under_the_same_name():
    missing = [name for name in F.__all__ if not hasattr(torch.nn.functional, name)]
    assert missing == []


def test_refused_functions():
    refuse(torch, lambda m, x, t: fn(m).nll_loss(x, t), f64(3, 4), ints(4, 2))
    refuse(torch, lambda m, x: fn(m).dropout(x, -0.1), f64(3))
    refuse(torch, lambda m, x: fn(m).dropout1d(x), f64(3))
    refuse(torch, lambda m, x: fn(m).layer_norm(x, ()), f64(3))
    refuse(torch, lambda m, x: fn(m).rms_norm(x, (2,)), f64(3))
    refuse(torch, lambda m, x: fn(m).huber_loss(x, x, delta=0.0), f64(3))
