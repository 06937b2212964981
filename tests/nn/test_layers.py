"""Layers and losses: against NumPy, against finite differences, and the same through all doors with an unknown batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layer_cases import CLASSES, LAYERS, LOSSES, PROBS, W4, N, X, made, normal
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn
from graphc.gradcheck import gradcheck
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides", "ignore:Implicit dimension")


def placeholders(arrays, batch=None):
    return [
        gc.placeholder((batch, *a.shape[1:]), dtype=gc.float64 if a.dtype.kind == "f" else gc.int64, name=f"x{i}")
        for i, a in enumerate(arrays)
    ]


def eager_result(module, arrays):
    tensors = [gc.tensor(a) for a in arrays]
    for t in tensors:
        if t.is_floating_point():
            t.requires_grad_()
    out = module(*tensors)
    if out.requires_grad:
        out.sum().backward()
    grads = [t.grad for t in tensors if t.requires_grad] + [p.grad for p in module.parameters()]
    return [out, *(g for g in grads if g is not None)]


@pytest.mark.parametrize("text", [*LAYERS, *LOSSES])
def test_eager_compiled_and_session_agree_on_any_batch(text):
    arrays = (LAYERS | LOSSES)[text]
    gc.manual_seed(0)
    module = made(text)
    start = {k: v.clone() for k, v in module.state_dict().items()}
    expected = eager_result(module, arrays)
    module.zero_grad()
    module.load_state_dict(start)
    got = eager_result(gc.compile(module), arrays)
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, n=64, scale=max(1.0, float(np.abs(as_array(b)).max())))
    module.zero_grad()
    module.load_state_dict(start)
    graph = gc.Graph()
    with graph.as_default():
        inputs = placeholders(arrays)
        out = module(*inputs)
        wanted = [x for x in inputs if x.is_floating_point()] + list(module.parameters())
        grads = [g for g in gc.gradients(out.sum(), wanted, allow_unused=True) if g is not None] if wanted else []
    with gc.Session(graph) as session:
        found = session.run([out, *grads], feed_dict=dict(zip(inputs, arrays, strict=True)))
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, n=64, scale=max(1.0, float(np.abs(as_array(b)).max())))
        part = [a[:4] for a in arrays]
        again = session.run(out, feed_dict=dict(zip(inputs, part, strict=True)))
        assert len(session.recompiles) <= 2
    module.load_state_dict(start)
    assert_close(again, eager_result(module, part)[0], n=64)


@pytest.mark.parametrize("text", [t for t in [*LAYERS, *LOSSES] if "Hard" not in t and "Embedding(" not in t])
def test_gradients_are_finite_differences(text):
    arrays = (LAYERS | LOSSES)[text]
    gc.manual_seed(1)
    module = made(text)
    if "BatchNorm" in text:
        module.momentum = 0.0
    tensors = [gc.tensor(a[:3]) for a in arrays]
    for i, t in enumerate(tensors):
        if t.is_floating_point() and not (i and "Soft" in text) and not ("Hinge" in text and i) and "signs" not in text:
            t.requires_grad_()
    assert gradcheck(lambda *a: module(*a), tensors)


# --- against NumPy ----------------------------------------------------------------------------------------------------


def log_softmax(x, axis=1):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def test_linear_and_layer_norm_by_hand():
    layer, norm = made("Linear(4, 3)"), made("LayerNorm(3)")
    w, b = as_array(layer.weight), as_array(layer.bias)
    y = X @ w.T + b
    assert_close(layer(gc.tensor(X)), y, n=4)
    z = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5)
    assert_close(norm(layer(gc.tensor(X))), z, n=32)


def test_cross_entropy_by_hand():
    picked = log_softmax(X)[np.arange(N), CLASSES]
    loss = F.cross_entropy(gc.tensor(X), gc.tensor(CLASSES))
    assert_close(loss, np.array(-picked.mean()), n=N)
    weights = W4[CLASSES]
    loss = F.cross_entropy(gc.tensor(X), gc.tensor(CLASSES), gc.tensor(W4))
    assert_close(loss, np.array(-(picked * weights).sum() / weights.sum()), n=N)
    assert_close(
        F.cross_entropy(gc.tensor(X), gc.tensor(PROBS)), np.array(-(PROBS * log_softmax(X)).sum() / N), n=4 * N
    )


def test_losses_stay_finite_far_out():
    far = gc.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = F.cross_entropy(far, gc.tensor([1, 1]))
    loss.backward()
    assert loss.item() == 1e4 and bool(far.grad.isfinite().all())
    z = gc.tensor([1e4, -1e4], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(z, gc.tensor([0.0, 0.0]))
    loss.backward()
    assert loss.item() == 5e3 and z.grad.tolist() == [0.5, 0.0]
    p = gc.tensor([0.0, 1.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(p, gc.tensor([0.0, 1.0, 0.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 100.0 and p.grad[:2].tolist() == [0.0, 0.0] and math.isfinite(p.grad[2].item())


def test_batch_norm_statistics_by_hand():
    layer = nn.BatchNorm1d(4).double()
    mean, var = np.zeros(4), np.ones(4)
    for seed in range(3):
        x = normal(N, 4, seed=seed) * 3 + 1
        layer(gc.tensor(x))
        mean, var = 0.9 * mean + 0.1 * x.mean(0), 0.9 * var + 0.1 * x.var(0, ddof=1)
    assert_close(layer.running_mean, mean, n=N)
    assert_close(layer.running_var, var, n=N)
    assert layer.num_batches_tracked.item() == 3 and layer.num_batches_tracked.dtype is gc.int64
    x = normal(1, 4)
    assert_close(layer.eval()(gc.tensor(x)), (x - mean) / np.sqrt(var + 1e-5), n=8)
    with pytest.raises(
        ValueError, match=r"Expected more than 1 value per channel when training, got input size .*\[1, 4\]"
    ):
        layer.train()(gc.tensor(x))
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0.0] * 4 and layer.num_batches_tracked.item() == 0


def test_batch_norm_in_a_session_writes_with_the_train_op():
    layer, graph = nn.BatchNorm1d(4), gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        y = layer(x)
        update = gc.updates(graph)
    data = X.astype(np.float32)
    with gc.Session(graph) as session:
        session.run(y, {x: data})
        assert layer.num_batches_tracked.item() == 0
        session.run([y, update], {x: data})
    assert layer.num_batches_tracked.item() == 1
    assert_close(layer.running_mean, 0.1 * data.mean(0), n=N)


def test_embedding():
    table = nn.Embedding(5, 3, padding_idx=-1)
    assert table.padding_idx == 4 and table.weight[4].tolist() == [0.0] * 3
    out = table(gc.tensor([[0, 4], [4, 1]]))
    out.sum().backward()
    assert table.weight.grad.sum(1).tolist() == [3.0, 3.0, 0.0, 0.0, 0.0]
    frozen = nn.Embedding.from_pretrained(gc.ones(4, 2))
    assert not frozen.weight.requires_grad and (frozen.num_embeddings, frozen.embedding_dim) == (4, 2)
    with pytest.raises(IndexError):
        table(gc.tensor([5]))
    for look_up in (table, gc.compile(table)):
        with pytest.raises(
            IndexError, match=r"(?s)index -1 is out of bounds for dimension 0 with size 5\n.*need 0 <= index < 5"
        ):
            look_up(gc.tensor([-1]))
    with pytest.raises(RuntimeError, match="scalar types"):
        table(gc.ones(2))
    for bad in (
        lambda: nn.Embedding(3, 2, padding_idx=3),
        lambda: F.embedding(gc.tensor([0]), gc.ones(3, 2), padding_idx=5),
    ):
        with pytest.raises(AssertionError, match="Padding_idx"):
            bad()
    with pytest.raises(AssertionError, match="Shape of weight"):
        nn.Embedding(3, 2, _weight=gc.ones(2, 2))
    with pytest.raises(AssertionError, match="2-dimensional"):
        nn.Embedding.from_pretrained(gc.ones(3))


@pytest.mark.parametrize("loss", [F.nll_loss, F.cross_entropy])
def test_classes_out_of_range_raise_in_every_door(loss):
    x = gc.ones(2, 3)
    compiled = gc.compile(loss)
    for bad, wrong in (([0, 3], 3), ([-1, 0], -1)):
        for fn in (loss, compiled):
            with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
                fn(x, gc.tensor(bad))
    assert math.isnan(loss(x, gc.tensor([-100, -100])).item())


def test_class_losses_refuse_what_does_not_fit():
    x = gc.ones(2, 3)
    cases = [
        ((x, gc.tensor([0, 1, 2])), ValueError, r"batch_size \(2\) to match target batch_size \(3\)"),
        ((x, gc.ones(2)), RuntimeError, "expected scalar type Long but found float32"),
        ((x, gc.ones(2, 3, dtype=gc.int64)), RuntimeError, "Expected floating point type for target"),
        ((x, gc.tensor([0, 1]), gc.ones(4)), RuntimeError, "weight tensor should be defined either for all 3 classes"),
        (
            (x, gc.tensor([0, 1]), gc.ones(3, dtype=gc.float64)),
            RuntimeError,
            "expected scalar type float32 but found float64",
        ),
        ((gc.ones(2, 3, 4), gc.tensor([[0], [1]])), RuntimeError, "do not fit scores of shape"),
    ]
    for args, error, text in cases:
        with pytest.raises(error, match=text):
            F.cross_entropy(*args)
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        F.cross_entropy(x, x, ignore_index=1)
    with pytest.raises(RuntimeError, match="label_smoothing must be between"):
        F.cross_entropy(x, x, label_smoothing=2.0)
    with pytest.raises(ValueError, match="avg is not a valid value for reduction"):
        F.mse_loss(x, x, reduction="avg")
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(x, gc.ones(3))
    with pytest.warns(UserWarning, match="please use reduction='sum'"):
        assert F.mse_loss(x, x * 3, size_average=False).item() == 24.0


def test_norms_refuse_what_does_not_fit():
    cases = [
        (
            lambda: F.layer_norm(gc.ones(2, 3), (4,)),
            r"Given normalized_shape=\[4\], expected input with shape \[\*, 4\]",
        ),
        (lambda: F.layer_norm(gc.ones(2, 3), (3,), gc.ones(2)), "Expected weight to be of same shape"),
        (lambda: F.layer_norm(gc.ones(2, 3), ()), "at least 1-dimensional"),
        (lambda: F.group_norm(gc.ones(2, 3), 2), "divisible by num_groups"),
        (lambda: F.group_norm(gc.ones(3), 1), "at least 2 dimensions"),
        (lambda: F.group_norm(gc.ones(2, 3), 0), "greater than 0"),
        (lambda: F.batch_norm(gc.ones(2, 3), gc.ones(4), gc.ones(4)), "running_mean should contain 3 elements not 4"),
        (lambda: F.batch_norm(gc.ones(2, 3), None, None), "to be defined in eval mode"),
        (lambda: F.batch_norm(gc.ones(2), None, None), "at least 2 dimensions"),
    ]
    for bad, text in cases:
        with pytest.raises(RuntimeError, match=text):
            bad()
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        F.instance_norm(gc.ones(2, 3, 1))
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        nn.BatchNorm1d(3)(gc.ones(3))
    with pytest.raises(ValueError, match="must be divisible"):
        nn.GroupNorm(3, 4)


def test_losses_of_pairs_refuse_what_does_not_fit():
    x = gc.ones(2, 3)
    cases = [
        (lambda: F.binary_cross_entropy(x, gc.ones(2)), ValueError, "different to the input size"),
        (lambda: F.binary_cross_entropy(x, x.double()), RuntimeError, "Found dtype float64 but expected float32"),
        (lambda: F.binary_cross_entropy(x * 2, x), RuntimeError, "between 0 and 1"),
        (lambda: F.binary_cross_entropy_with_logits(x, gc.ones(2)), ValueError, "must be the same as input size"),
        (lambda: F.gaussian_nll_loss(x, x, gc.ones(4)), ValueError, "var is of incorrect size"),
        (lambda: F.gaussian_nll_loss(x, x, -x), ValueError, "negative entry"),
        (lambda: F.gaussian_nll_loss(x, x, x, reduction="avg"), ValueError, "avg is not valid"),
        (lambda: F.smooth_l1_loss(x, x, beta=-1.0), RuntimeError, "negative values for beta"),
        (lambda: F.huber_loss(x, x, delta=0.0), RuntimeError, "non-positive values for delta"),
        (lambda: F.margin_ranking_loss(x, x, gc.ones(2)), RuntimeError, "should have same dimension"),
        (lambda: F.cosine_embedding_loss(x, x, x), RuntimeError, "target tensor expects"),
        (lambda: F.cosine_similarity(gc.tensor([[1]]), gc.tensor([[1]])), RuntimeError, "to be floating point"),
        (lambda: F.triplet_margin_loss(x, x, gc.ones(3)), RuntimeError, "same number of dimensions"),
        (lambda: F.triplet_margin_loss(x, x, x, margin=0.0), ValueError, "margin must be greater than 0"),
        (lambda: F.multi_margin_loss(x, gc.tensor([0, 1]), p=3), ValueError, "only p == 1"),
        (lambda: F.multi_margin_loss(x, gc.tensor([0])), RuntimeError, "inconsistent target size"),
        (lambda: F.multi_margin_loss(x, gc.tensor([0, 1]), weight=x), ValueError, "weight must be one-dimensional"),
        (lambda: F.mse_loss(x, x, weight=gc.ones(2)), ValueError, "Weights and input must have the same size"),
        (lambda: nn.MultiMarginLoss(weight=x), ValueError, "None or 1D tensor"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=-1.0), ValueError, "greater than 0"),
        (lambda: nn.Hardtanh(1.0, 0.0), AssertionError, "max_val must be greater"),
        (lambda: nn.Unflatten(1, 3), TypeError, "must be tuple of ints"),
        (lambda: nn.Unflatten("x", (1,)), TypeError, "tuple of tuples"),
        (lambda: nn.Softmax2d()(x), ValueError, "expected input to be 3D or 4D"),
        (lambda: nn.Bilinear(0, 1, 1), ValueError, "in1_features must be > 0"),
    ]
    for bad, error, text in cases:
        with pytest.raises(error, match=text):
            bad()


# --- dropout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Dropout(0.3)", "Dropout2d(0.3)", "AlphaDropout(0.3)", "FeatureAlphaDropout(0.3)", "RReLU()"]
)
def test_random_layers_draw_the_same_numbers_everywhere(text):
    layer, x = eval("nn." + text), normal(5, 4, 3, 2).astype(np.float32)
    compiled = gc.compile(layer)
    graph = gc.Graph()
    with graph.as_default():
        place = gc.placeholder((None, 4, 3, 2), name="x")
        out = layer(place)
    gc.manual_seed(3)
    first = [as_array(layer(gc.tensor(x))) for _ in range(3)]
    gc.manual_seed(3)
    second = [as_array(compiled(gc.tensor(x))) for _ in range(3)]
    gc.manual_seed(3)
    with gc.Session(graph) as session:
        third = [session.run(out, {place: x}) for _ in range(3)]
    for a, b, c in zip(first, second, third, strict=True):
        assert_close(b, a)
        assert_close(c, a)
    assert (first[0] != first[1]).any()
    layer.eval()
    assert_close(layer(gc.tensor(x)), compiled(gc.tensor(x)))


def test_dropout_keeps_the_mean_and_drops_whole_channels():
    gc.manual_seed(0)
    x = gc.ones(200, 50)
    y = as_array(nn.Dropout(0.2)(x))
    assert set(np.unique(y)) == {0.0, 1.25} and abs(y.mean() - 1) < 0.02
    z = as_array(F.dropout1d(gc.ones(20, 30, 7), 0.5))
    assert (z == z[:, :, :1]).all() and 0.4 < (z == 0).mean() < 0.6
    assert as_array(F.dropout1d(gc.ones(30, 7), 0.5)).shape == (30, 7)
    assert as_array(F.dropout3d(gc.ones(3, 2, 2, 2), 0.5)).shape == (3, 2, 2, 2)
    x = gc.ones(4)
    assert nn.Dropout(1.0, inplace=True)(x) is x and x.tolist() == [0.0] * 4
    normal_input = gc.randn(300, 300)
    kept = as_array(F.alpha_dropout(normal_input, 0.3, training=True))
    assert abs(kept.mean()) < 0.02 and abs(kept.std() - 1) < 0.02
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(-0.1)
    with pytest.raises(RuntimeError, match="Expected 2D or 3D input"):
        F.dropout1d(gc.ones(3))


def test_gumbel_softmax():
    gc.manual_seed(0)
    logits = gc.tensor(np.log([[0.2, 0.5, 0.3]]).repeat(2000, 0), requires_grad=True)
    soft = F.gumbel_softmax(logits, tau=0.7)
    assert_close(soft.sum(1), np.ones(2000), n=3)
    hard = F.gumbel_softmax(logits, hard=True)
    assert np.abs(as_array(hard).mean(0) - [0.2, 0.5, 0.3]).max() < 0.05
    assert_close(hard.sum(1), np.ones(2000))
    hard.pow(2).sum().backward()
    assert bool(logits.grad.abs().sum() > 0)


# --- initialisers and tools -------------------------------------------------------------------------------------------


def test_initialisers_leave_no_trace_and_record_nothing():
    w = nn.Parameter(gc.empty(3, 3))
    graph = gc.Graph()
    with graph.as_default():
        for fill in (
            init.xavier_uniform_,
            init.kaiming_normal_,
            init.orthogonal_,
            init.eye_,
            init.ones_,
            init.trunc_normal_,
        ):
            assert fill(w) is w
        init.constant_(w, 2.0)
        init.sparse_(w, 0.5)
        assert not list(graph.nodes)
        with pytest.raises(RuntimeError, match="zeros_ cannot fill a symbolic tensor"):
            init.zeros_(gc.empty(2))
    assert w.is_leaf and w.requires_grad and not w.is_symbolic


def test_initialiser_errors_and_old_names():
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_normal_(gc.empty(3))
    with pytest.raises(ValueError, match="Unsupported nonlinearity swish"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", "x")
    with pytest.raises(ValueError, match="Mode fan not supported"):
        init.kaiming_uniform_(gc.empty(2, 2), mode="fan")
    for bad, text in (
        (lambda: init.eye_(gc.empty(2)), "2 dimensions"), (lambda: init.sparse_(gc.empty(2), 0.1), "2 dimensions"),
        (lambda: init.orthogonal_(gc.empty(2)), "2 or more"), (lambda: init.dirac_(gc.empty(2, 2)), "3, 4, or 5"),
        (lambda: init.dirac_(gc.empty(3, 2, 2), groups=2), "divisible by groups"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            bad()
    with pytest.warns(FutureWarning, match=r"nn.init.xavier_uniform. is now deprecated"):
        init.xavier_uniform(gc.empty(2, 2))
    with pytest.warns(UserWarning, match="zero-element"):
        init.kaiming_uniform_(gc.empty(0, 2))
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(gc.empty(3), mean=9.0)


def test_truncated_normal_stays_inside():
    w = as_array(init.trunc_normal_(gc.empty(4000, dtype=gc.float64), 0.0, 1.0, -0.5, 1.0))
    assert w.min() >= -0.5 and w.max() <= 1.0 and abs(w.mean() - 0.19) < 0.03


def test_clipping_in_eager_and_in_a_compiled_step():
    def step(x):
        layer.zero_grad()
        layer(x).pow(2).sum().backward()
        total = clip_grad_norm_(layer.parameters(), 0.5)
        clip_grad_value_(layer.parameters(), 0.2)
        return total

    layer, x = nn.Linear(4, 3), gc.tensor(X.astype(np.float32))
    expected = step(x)
    grads = [p.grad.clone() for p in layer.parameters()]
    assert_close(gc.compile(step)(x), expected, n=32)
    for p, g in zip(layer.parameters(), grads, strict=True):
        assert_close(p.grad, g, n=32)
        assert p.grad.abs().max().item() <= 0.2 + 1e-6
    with pytest.warns(UserWarning, match="empty generator"):
        assert clip_grad_norm_([], 1.0).item() == 0.0
    layer.weight.grad = gc.full((3, 4), math.inf)
    with pytest.raises(RuntimeError, match="non-finite"):
        clip_grad_norm_(layer.weight, 1.0, error_if_nonfinite=True)


def test_parameters_to_vector_and_back():
    layer = nn.Linear(2, 2)
    vector = parameters_to_vector(layer.parameters())
    assert vector.shape == (6,)
    vector_to_parameters(gc.arange(6.0), layer.parameters())
    assert layer.weight.tolist() == [[0.0, 1.0], [2.0, 3.0]] and layer.bias.tolist() == [4.0, 5.0]
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        vector_to_parameters([1.0], layer.parameters())


def test_module_paths_are_pytorchs():
    for name in (
        "module",
        "container",
        "linear",
        "sparse",
        "normalization",
        "batchnorm",
        "dropout",
        "flatten",
        "activation",
        "loss",
    ):
        assert hasattr(nn.modules, name), name
    assert nn.modules.linear.Linear is nn.Linear and nn.modules.loss.MSELoss is nn.MSELoss
    assert nn.parameter.Parameter is nn.Parameter and nn.utils.clip_grad.clip_grad_norm_ is clip_grad_norm_


@pytest.mark.parametrize("dtype", [gc.float16, gc.bfloat16])
def test_half_precision_layers_keep_their_dtype(dtype):
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 3)).to(dtype)
    loss = nn.CrossEntropyLoss()(model(gc.tensor(X).to(dtype)), gc.tensor(CLASSES % 3))
    loss.backward()
    assert loss.dtype is dtype and all(p.grad.dtype is dtype for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.LazyLinear(2), (2, 3)),
        (lambda: nn.LazyConv2d(2, 3), (2, 3, 5, 5)),
        (lambda: nn.LazyConvTranspose1d(2, 3), (2, 3, 5)),
        (lambda: nn.LazyBatchNorm2d(), (2, 3, 5, 5)),
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2)), (2, 3)),
    ],
)
def test_lazy_layers_take_their_sizes_where_they_are_first_recorded(make, shape):
    x = gc.randn(*shape)
    gc.manual_seed(0)
    want = make()(x)
    gc.manual_seed(0)
    compiled = gc.compile(make())
    for _ in range(2):
        assert_close(compiled(x), want)
    gc.manual_seed(0)
    with gc.Graph().as_default() as graph:
        given = gc.placeholder(shape, name="x")
        result = make()(given)
    assert_close(gc.Session(graph).run(result, {given: x}), want)
