"""`nn` against PyTorch: with the same weights the same outputs, gradients, state_dict keys, repr and kinds of errors."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from nn_cases import LOGP, PROBS, T, X, f32, f64, ints, signs, unit
from side_by_side import compare, pair
from tolerances import as_array, assert_close

import graphc as gc
from graphc import nn
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


# --- layers -----------------------------------------------------------------------------------------------------------


def both(make):
    """The same layer in both libraries, ours with PyTorch's weights."""
    theirs = make(torch.nn)
    ours = make(nn)
    state = {k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def check_layer(make, *arrays, n=64, calls=1, fixed=()):
    ours, theirs = both(make)
    assert repr(ours) == repr(theirs)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for call in range(calls):
        made = []
        for i, a in enumerate(arrays):
            floating = a.dtype.kind == "f"
            made.append(pair(torch, a + call if call and floating else a, floating and i not in fixed))
        mine, its = ours(*(a for a, _ in made)), theirs(*(b for _, b in made))
        compare(mine, its, n=n)
        if its.requires_grad:
            mine.sum().backward()
            its.sum().backward()
            for a, b in made:
                if b.grad is not None:
                    compare(a.grad, b.grad, n=n, scale=max(1.0, float(b.grad.abs().max())))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.requires_grad == q.requires_grad
        if q.grad is not None:
            compare(p.grad, q.grad, n=n, scale=max(1.0, float(q.grad.abs().max())))
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, n=n)


ACTIVATIONS = [
    "CELU()", "ELU()", "ELU(0.7)", "GELU()", "GELU('tanh')", "GLU()", "GLU(0)", "Hardshrink()", "Hardsigmoid()",
    "Hardswish()", "Hardtanh()", "Hardtanh(-0.5, 0.5)", "LeakyReLU()", "LeakyReLU(0.2)", "LogSigmoid()", "LogSoftmax(1)",
    "Mish()", "PReLU()", "PReLU(6)", "ReLU()", "ReLU6()", "RReLU()", "SELU()", "SiLU()", "Sigmoid()", "Softmax(1)",
    "Softmax()", "Softmin(1)", "Softplus()", "Softplus(2.0, 1.0)", "Softshrink()", "Softsign()", "Tanh()", "Tanhshrink()",
    "Threshold(0.1, 20.0)", "Identity()",
]  # fmt: skip


@pytest.mark.parametrize("text", ACTIVATIONS)
def test_activation_layers(text):
    check_layer(lambda n: eval("n." + text, {"n": n}).eval(), f64(4, 6).astype(np.float32) * 2)


@pytest.mark.parametrize("text", ["ReLU(inplace=True)", "LeakyReLU(0.1, True)", "ELU(inplace=True)", "SiLU(True)"])
def test_in_place_activations_write_their_input(text):
    ours, theirs = (eval("n." + text, {"n": n}) for n in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    a, b = pair(torch, f32(3, 4))
    ours(a), theirs(b)
    compare(a, b, n=4)


LAYERS = {
    "Linear(4, 3)": (f32(2, 5, 4),),
    "Linear(4, 3, bias=False)": (f32(5, 4),),
    "Bilinear(4, 3, 2)": (f32(5, 4), f32(5, 3, seed=1)),
    "Bilinear(4, 3, 2, bias=False)": (f32(5, 4), f32(5, 3, seed=1)),
    "Embedding(7, 3)": (ints(7, 2, 4),),
    "Embedding(7, 3, padding_idx=2)": (ints(7, 2, 4),),
    "Embedding(7, 3, max_norm=1.0)": (ints(7, 2, 4),),
    "Embedding(7, 3, scale_grad_by_freq=True)": (ints(7, 2, 4),),
    "LayerNorm(4)": (f32(3, 4),),
    "LayerNorm((3, 4), eps=0.1)": (f32(2, 3, 4),),
    "LayerNorm(4, bias=False)": (f32(3, 4),),
    "LayerNorm(4, elementwise_affine=False)": (f32(3, 4),),
    "RMSNorm(4)": (f32(3, 4),),
    "RMSNorm([3, 4], eps=0.1)": (f32(2, 3, 4),),
    "GroupNorm(2, 4)": (f32(3, 4, 5),),
    "GroupNorm(2, 4, affine=False)": (f32(3, 4, 5),),
    "BatchNorm1d(4)": (f32(6, 4),),
    "BatchNorm1d(4, momentum=0.3, eps=0.1)": (f32(6, 4, 3),),
    "BatchNorm1d(4, momentum=None)": (f32(6, 4),),
    "BatchNorm1d(4, affine=False)": (f32(6, 4),),
    "BatchNorm1d(4, track_running_stats=False)": (f32(6, 4),),
    "BatchNorm2d(3)": (f32(2, 3, 4, 5),),
    "BatchNorm3d(2)": (f32(2, 2, 3, 2, 2),),
    "Flatten()": (f32(2, 3, 4),),
    "Flatten(0, 1)": (f32(2, 3, 4),),
    "Unflatten(1, (2, 3))": (f32(4, 6),),
    "Softmax2d()": (f32(2, 3, 4, 5),),
    "CosineSimilarity()": (f32(3, 4), f32(3, 4, seed=1)),
    "PairwiseDistance(p=1.0)": (f32(3, 4), f32(3, 4, seed=1)),
}


@pytest.mark.parametrize("text", LAYERS)
def test_layers(text):
    check_layer(lambda n: eval("n." + text, {"n": n}), *LAYERS[text], calls=2)


@pytest.mark.parametrize("text", [t for t in LAYERS if "Norm" in t])
def test_norm_layers_in_eval_mode(text):
    check_layer(lambda n: eval("n." + text, {"n": n}).eval(), *LAYERS[text])


@pytest.mark.parametrize("text", ["Dropout()", "Dropout(0.2, True)", "Dropout1d(0.3)", "Dropout2d()", "Dropout3d()",
                                  "AlphaDropout(0.1)", "FeatureAlphaDropout()"])  # fmt: skip
def test_dropout_layers_in_eval_mode(text):
    check_layer(lambda n: eval("n." + text, {"n": n}).eval(), f32(3, 4, 5) if "1d" in text else f32(3, 4, 5, 6, 2))


LOSSES = {
    "L1Loss()": (X, f64(4, 5, seed=1)),
    "MSELoss(reduction='sum')": (X, f64(4, 5, seed=1)),
    "SmoothL1Loss(beta=0.5)": (X, f64(4, 5, seed=1)),
    "HuberLoss(delta=0.5)": (X, f64(4, 5, seed=1)),
    "NLLLoss(ignore_index=2)": (LOGP, T),
    "CrossEntropyLoss()": (X, T),
    "CrossEntropyLoss(label_smoothing=0.1, reduction='none')": (X, T),
    "KLDivLoss(reduction='batchmean')": (LOGP, PROBS),
    "PoissonNLLLoss(full=True)": (X, unit(4, 5) * 3),
    "GaussianNLLLoss(full=True)": (X, f64(4, 5, seed=1), unit(4, 5)),
    "BCELoss()": (unit(4, 5), unit(4, 5, seed=1)),
    "BCEWithLogitsLoss()": (X, unit(4, 5)),
    "SoftMarginLoss()": (X, signs(4, 5)),
    "HingeEmbeddingLoss(margin=0.5)": (X, signs(4, 5)),
    "MultiLabelSoftMarginLoss()": (X, unit(4, 5)),
    "CosineEmbeddingLoss(margin=0.1)": (X, f64(4, 5, seed=1), signs(4)),
    "MarginRankingLoss(margin=0.1)": (X, f64(4, 5, seed=1), signs(4, 5)),
    "MultiMarginLoss(p=2)": (X, T),
    "TripletMarginLoss(swap=True)": (X, f64(4, 5, seed=1), f64(4, 5, seed=2)),
    "TripletMarginWithDistanceLoss()": (X, f64(4, 5, seed=1), f64(4, 5, seed=2)),
}


@pytest.mark.parametrize("text", LOSSES)
def test_loss_layers(text):
    fixed = {"SoftMarginLoss()": (1,)}.get(text, ())
    check_layer(lambda n: eval("n." + text, {"n": n}), *LOSSES[text], fixed=fixed)


def test_loss_weights_are_buffers():
    w = unit(5).astype(np.float32)
    for make in (
        lambda n, t: n.CrossEntropyLoss(weight=t),
        lambda n, t: n.NLLLoss(t),
        lambda n, t: n.BCEWithLogitsLoss(pos_weight=t),
        lambda n, t: n.BCELoss(t),
    ):
        ours, theirs = make(nn, gc.tensor(w)), make(torch.nn, torch.tensor(w))
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert repr(ours) == repr(theirs)


def test_embedding_from_pretrained():
    table = f32(5, 3)
    ours, theirs = (
        nn.Embedding.from_pretrained(gc.tensor(table)),
        torch.nn.Embedding.from_pretrained(torch.tensor(table)),
    )
    assert not ours.weight.requires_grad and repr(ours) == repr(theirs)
    a, b = pair(torch, ints(5, 4))
    compare(ours(a), theirs(b))


def test_batch_norm_tracks_batches_and_unbiased_variance():
    ours, theirs = both(lambda n: n.BatchNorm1d(3))
    for seed in range(3):
        a, b = pair(torch, f32(7, 3, seed=seed) * 2 + 1)
        ours(a), theirs(b)
    assert int(ours.num_batches_tracked) == int(theirs.num_batches_tracked) == 3
    assert_close(ours.running_var, theirs.running_var, n=8)
    assert ours.num_batches_tracked.dtype is gc.int64


# --- modules ----------------------------------------------------------------------------------------------------------


def mlp(n):
    return n.Sequential(OrderedDict(
        body=n.Sequential(n.Linear(4, 8), n.BatchNorm1d(8), n.ReLU(inplace=True), n.Dropout(0.0)),
        head=n.Linear(8, 3),
    ))  # fmt: skip


def containers(n, library):
    parameters = n.ParameterList([n.Parameter(library.zeros(2, 3)), n.Parameter(library.zeros(1))])
    return [
        n.Sequential(), n.ModuleList(), n.ModuleDict(), mlp(n),
        n.ModuleList([n.Linear(2, 2), n.Linear(2, 2), n.ReLU(), n.Linear(2, 2)]),
        n.ModuleList([n.Sequential(n.Linear(2, 2), n.ReLU()) for _ in range(3)]),
        n.ModuleDict({"b": n.Linear(2, 1), "a": n.ReLU()}),
        parameters,
        n.ParameterDict({"z": n.Parameter(library.zeros(2)), "a": library.ones(3), "n": 4}),
        n.Sequential(n.Flatten(), n.Sequential(n.Linear(3, 2), n.Softmax(dim=-1))),
        n.Sequential(*[n.Linear(1, 1)] * 2),
    ]  # fmt: skip


def test_containers_print_and_name_their_state_as_pytorch():
    for ours, theirs in zip(containers(nn, gc), containers(torch.nn, torch), strict=True):
        assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
        assert [n for n, _ in ours.named_modules(remove_duplicate=False)] == [
            n for n, _ in theirs.named_modules(remove_duplicate=False)
        ]
        assert [n for n, _ in ours.named_parameters("p")] == [n for n, _ in theirs.named_parameters("p")]
        assert [n for n, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]
        assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]


def test_a_whole_model_trains_as_pytorchs():
    ours, theirs = both(mlp)
    for seed in range(3):
        a, b = pair(torch, f32(6, 4, seed=seed))
        t, u = pair(torch, ints(3, 6, seed=seed))
        for model, x, y, cross in ((ours, a, t, F.cross_entropy), (theirs, b, u, torch.nn.functional.cross_entropy)):
            model.zero_grad()
            cross(model(x), y).backward()
            library = gc if model is ours else torch
            with library.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p, q, n=4000, scale=1.0)


def message(code, module):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        code(module)
    return caught.value


class Before:
    """Classes that assign before `super().__init__()`."""

    @staticmethod
    def parameter(n, library):
        class Bad(n.Module):
            def __init__(self):
                self.w = n.Parameter(library.zeros(1))

        return Bad()

    @staticmethod
    def module(n, library):
        class Bad(n.Module):
            def __init__(self):
                self.w = n.Linear(1, 1)

        return Bad()

    @staticmethod
    def buffer(n, library):
        class Bad(n.Module):
            def __init__(self):
                self.register_buffer("b", library.zeros(1))

        return Bad()


def linear(n):
    return n.Linear(2, 3)


def assign(module, name, value):
    setattr(module, name, value)


SAME_ERRORS = {
    "parameter before init": lambda n, m: Before.parameter(n, m),
    "module before init": lambda n, m: Before.module(n, m),
    "buffer before init": lambda n, m: Before.buffer(n, m),
    "no attribute": lambda n, m: linear(n).absent,
    "tensor as parameter": lambda n, m: assign(linear(n), "weight", m.zeros(3, 2)),
    "text as parameter": lambda n, m: assign(linear(n), "weight", "x"),
    "text as module": lambda n, m: assign(n.Sequential(linear(n)), "0", "x"),
    "text as buffer": lambda n, m: assign(n.BatchNorm1d(2), "running_mean", "x"),
    "dotted parameter": lambda n, m: linear(n).register_parameter("a.b", None),
    "empty parameter": lambda n, m: linear(n).register_parameter("", None),
    "number as name": lambda n, m: linear(n).register_parameter(1, None),
    "taken name": lambda n, m: linear(n).register_parameter("forward", None),
    "tensor to register_parameter": lambda n, m: linear(n).register_parameter("p", m.zeros(1)),
    "dotted buffer": lambda n, m: linear(n).register_buffer("a.b", None),
    "taken buffer": lambda n, m: linear(n).register_buffer("weight", None),
    "text buffer": lambda n, m: linear(n).register_buffer("b", "x"),
    "dotted module": lambda n, m: linear(n).add_module("a.b", None),
    "no module": lambda n, m: linear(n).add_module("a", 3),
    "missing submodule": lambda n, m: mlp(n).get_submodule("body.9"),
    "not a module": lambda n, m: mlp(n).get_submodule("head.weight"),
    "not a parameter": lambda n, m: mlp(n).get_parameter("body.0"),
    "missing parameter": lambda n, m: mlp(n).get_parameter("head.w"),
    "not a buffer": lambda n, m: mlp(n).get_buffer("head.weight"),
    "bad mode": lambda n, m: linear(n).train("yes"),
    "to an integer dtype": lambda n, m: linear(n).to(m.int64),
    "no forward": lambda n, m: n.Module()(1),
    "index out of range": lambda n, m: mlp(n)[7],
    "list index": lambda n, m: n.ModuleList([linear(n)])[2],
    "append to sequential": lambda n, m: n.Sequential().append(3),
    "insert out of range": lambda n, m: n.Sequential().insert(3, linear(n)),
    "missing key": lambda n, m: linear(n).load_state_dict({"weight": m.zeros(3, 2)}),
    "unexpected key": lambda n, m: linear(n).load_state_dict(
        {"weight": m.zeros(3, 2), "bias": m.zeros(3), "x": m.zeros(1)}
    ),
    "wrong size": lambda n, m: linear(n).load_state_dict({"weight": m.zeros(2, 2), "bias": m.zeros(3)}),
    "all at once": lambda n, m: mlp(n).load_state_dict(
        {"head.weight": m.zeros(1), "head.foo": m.zeros(1), "tail.x": m.zeros(1)}
    ),
    "wrong size though not strict": lambda n, m: linear(n).load_state_dict({"weight": m.zeros(2, 2)}, strict=False),
    "state is a list": lambda n, m: linear(n).load_state_dict([1]),
    "one value per channel": lambda n, m: n.BatchNorm1d(3)(m.zeros(1, 3)),
    "batch norm dims": lambda n, m: n.BatchNorm1d(3)(m.zeros(1, 3, 2, 2)),
    "batch norm 2d dims": lambda n, m: n.BatchNorm2d(3)(m.zeros(1, 3)),
    "dropout p": lambda n, m: n.Dropout(1.5),
    "embedding padding": lambda n, m: n.Embedding(3, 2, padding_idx=3),
    "group norm": lambda n, m: n.GroupNorm(3, 4),
    "reduction": lambda n, m: n.MSELoss(reduction="avg")(m.zeros(1), m.zeros(1)),
    "batch sizes": lambda n, m: n.CrossEntropyLoss()(m.zeros(3, 2), m.zeros(2, dtype=m.int64)),
    "bce sizes": lambda n, m: n.BCELoss()(m.zeros(3), m.zeros(2)),
    "bce logits sizes": lambda n, m: n.BCEWithLogitsLoss()(m.zeros(3), m.zeros(2)),
    "beta": lambda n, m: n.SmoothL1Loss(beta=-1.0)(m.zeros(1), m.zeros(1)),
    "multi margin p": lambda n, m: n.MultiMarginLoss(p=3),
    "triplet margin": lambda n, m: n.TripletMarginLoss(margin=0.0),
    "non-leaf": lambda n, m: linear(n).register_parameter("p", non_leaf(n, m)),
    "bilinear": lambda n, m: n.Bilinear(0, 1, 1),
    "unflatten": lambda n, m: n.Unflatten(1, (2, 3.0)),
    "fan": lambda n, m: n.init.xavier_uniform_(m.zeros(3)),
    "gain": lambda n, m: n.init.calculate_gain("swish"),
    "mode": lambda n, m: n.init.kaiming_uniform_(m.zeros(3, 3), mode="fan"),
    "sparse": lambda n, m: n.init.sparse_(m.zeros(3), 0.1),
    "list extend": lambda n, m: n.ModuleList().extend(3),
    "dict update": lambda n, m: n.ModuleDict().update(3),
    "dict pair": lambda n, m: n.ModuleDict([(1, 2, 3)]),
}


def non_leaf(n, library):
    """A Parameter that an operation made: one written in place with something that has a history."""
    p = n.Parameter(library.zeros(1), requires_grad=False)
    p += library.ones(1, requires_grad=True)
    return p


@pytest.mark.parametrize("name", SAME_ERRORS)
def test_errors_have_pytorchs_class_and_text(name):
    code = SAME_ERRORS[name]
    mine = message(lambda n: code(n, gc), nn)
    its = message(lambda n: code(n, torch), torch.nn)
    assert isinstance(mine, type(its)), f"{mine!r}, PyTorch raises {its!r}"
    said = str(mine).split("\n  need")[0].split("\n  hint")[0].split("\n  at ")[0].replace("graphc.", "torch.")
    assert said == str(its)


SAME_KIND_OF_ERROR = {
    "linear sizes": lambda n, m: n.Linear(2, 3)(m.zeros(4, 5)),
    "linear dtypes": lambda n, m: n.Linear(2, 3)(m.zeros(4, 2, dtype=m.float64)),
    "layer norm sizes": lambda n, m: n.LayerNorm(3)(m.zeros(2, 4)),
    "group norm sizes": lambda n, m: n.GroupNorm(2, 4)(m.zeros(2, 3)),
    "batch norm channels": lambda n, m: n.BatchNorm1d(3)(m.zeros(2, 4)),
    "embedding of floats": lambda n, m: n.Embedding(3, 2)(m.zeros(2)),
    "embedding index": lambda n, m: n.Embedding(3, 2)(m.tensor([3])),
    "negative embedding index": lambda n, m: n.Embedding(3, 2)(m.tensor([-1])),
    "class out of range": lambda n, m: n.CrossEntropyLoss()(m.zeros(2, 3), m.tensor([0, 3])),
    "negative class": lambda n, m: n.CrossEntropyLoss()(m.zeros(2, 3), m.tensor([0, -1])),
    "float classes": lambda n, m: n.CrossEntropyLoss()(m.zeros(2, 3), m.zeros(2)),
    "integer probabilities": lambda n, m: n.CrossEntropyLoss()(m.zeros(2, 3), m.zeros(2, 3, dtype=m.int64)),
    "class weights": lambda n, m: n.CrossEntropyLoss(m.ones(4))(m.zeros(2, 3), m.tensor([0, 1])),
    "smoothing": lambda n, m: n.CrossEntropyLoss(label_smoothing=1.5)(m.zeros(2, 3), m.tensor([0, 1])),
    "probabilities out of range": lambda n, m: n.BCELoss()(m.tensor([1.5]), m.tensor([1.0])),
    "integer parameter": lambda n, m: n.Parameter(m.tensor([1, 2])),
    "variance sign": lambda n, m: n.GaussianNLLLoss()(m.zeros(2), m.zeros(2), -m.ones(2)),
    "variance size": lambda n, m: n.GaussianNLLLoss()(m.zeros(2, 3), m.zeros(2, 3), m.ones(4)),
    "cosine embedding dims": lambda n, m: n.CosineEmbeddingLoss()(m.zeros(2, 3), m.zeros(2, 3), m.ones(2, 1)),
    "vector of a number": lambda n, m: n.utils.vector_to_parameters(3, []),
    "mse sizes": lambda n, m: n.MSELoss()(m.zeros(2, 3), m.zeros(2, 4)),
    "flatten dims": lambda n, m: n.Flatten()(m.zeros(3)),
    "glu size": lambda n, m: n.GLU()(m.zeros(3)),
    "nll dims": lambda n, m: n.NLLLoss()(m.zeros(2, 3, 4), m.zeros(2, 5, dtype=m.int64)),
    "non-finite norm": lambda n, m: n.utils.clip_grad_norm_(broken(n, m), 1.0, error_if_nonfinite=True),
}


def broken(n, library):
    p = n.Parameter(library.ones(2))
    p.grad = library.full((2,), float("nan"))
    return [p]


@pytest.mark.parametrize("name", SAME_KIND_OF_ERROR)
def test_errors_are_of_pytorchs_kind(name):
    code = SAME_KIND_OF_ERROR[name]
    its = message(lambda n: code(n, torch), torch.nn)
    mine = message(lambda n: code(n, gc), nn)
    assert isinstance(mine, type(its)), f"{mine!r}, PyTorch raises {its!r}"


def test_load_state_dict_reports_and_returns_as_pytorch():
    for strict in (True, False):
        state = {} if not strict else {"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(3, np.float32)}
        mine = linear(nn).load_state_dict({k: gc.tensor(v) for k, v in state.items()}, strict)
        its = linear(torch.nn).load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict)
        assert repr(mine) == repr(its) and tuple(mine) == tuple(its)


def test_state_dict_metadata_and_arguments():
    ours, theirs = mlp(nn), mlp(torch.nn)
    assert dict(ours.state_dict()._metadata) == dict(theirs.state_dict()._metadata)
    assert list(ours.state_dict(prefix="p.")) == list(theirs.state_dict(prefix="p."))
    assert ours.state_dict(keep_vars=True)["head.weight"] is ours.head.weight
    assert not ours.state_dict()["head.weight"].requires_grad


def test_hooks_are_called_as_pytorchs():
    def log_of(n, library):
        log = []
        model = n.Sequential(n.Linear(2, 2), n.Tanh())
        with library.no_grad():
            for p in model.parameters():
                p.fill_(0.5)
        model[0].register_forward_pre_hook(lambda m, args: log.append(("pre", m._get_name(), len(args))))
        model[0].register_forward_hook(lambda m, args, out: out * 2)
        model[1].register_forward_hook(lambda m, a, k, out: log.append(("kw", k)), with_kwargs=True)
        model[1].register_full_backward_pre_hook(lambda m, g: (g[0] * 3,))
        model[1].register_full_backward_hook(lambda m, gi, go: log.append(("back", numbers(gi), numbers(go))))
        model[0].register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
        x = library.ones(1, 2, requires_grad=True)
        y = model(x)
        y.sum().backward()
        return [*log, numbers((y, x.grad, model[0].weight.grad))]

    def numbers(tensors):
        return [None if t is None else np.round(as_array(t), 5).tolist() for t in tensors]

    assert log_of(nn, gc) == log_of(torch.nn, torch)


def test_backward_hook_without_input_gradient():
    def log_of(n, library):
        log = []
        layer = n.Linear(2, 1)
        layer.register_full_backward_hook(lambda m, gi, go: log.append(([g is None for g in gi], len(go))))
        layer(library.ones(3, 2)).sum().backward()
        return log

    assert log_of(nn, gc) == log_of(torch.nn, torch)


def test_deepcopy_and_pickle():
    ours, theirs = both(mlp)
    a, b = pair(torch, f32(6, 4))
    ours.eval(), theirs.eval()
    expected = theirs(b)
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        compare(again(a), expected, n=64)
        assert all(p is not q for p, q in zip(ours.parameters(), again.parameters(), strict=True))
        assert repr(again) == repr(theirs)


def test_parameter_prints_and_shares_as_pytorchs():
    assert repr(nn.Parameter(gc.ones(2))) == repr(torch.nn.Parameter(torch.ones(2)))
    assert list(nn.Parameter().shape) == list(torch.nn.Parameter().shape) == [0]
    data = gc.zeros(2)
    p = nn.Parameter(data)
    data[0] = 5.0
    assert p.detach().tolist() == [5.0, 0.0] and p.requires_grad and p.is_leaf


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clipping_gradients(norm_type):
    made = [pair(torch, f32(3, 4)), pair(torch, f32(5))]
    ours, theirs = [nn.Parameter(a) for a, _ in made], [torch.nn.Parameter(b) for _, b in made]
    for p, q, g in zip(ours, theirs, (f32(3, 4, seed=5), f32(5, seed=6)), strict=True):
        p.grad, q.grad = gc.tensor(g), torch.tensor(g)
    total, expected = clip_grad_norm_(ours, 0.5, norm_type), torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type)
    compare(total, expected, n=16)
    for p, q in zip(ours, theirs, strict=True):
        compare(p.grad, q.grad, n=16)
    clip_grad_value_(ours, 0.05)
    torch.nn.utils.clip_grad_value_(theirs, 0.05)
    for p, q in zip(ours, theirs, strict=True):
        compare(p.grad, q.grad, n=16)


def test_parameters_as_a_vector():
    ours, theirs = both(lambda n: n.Linear(3, 2))
    compare(parameters_to_vector(ours.parameters()), torch.nn.utils.parameters_to_vector(theirs.parameters()))
    vector_to_parameters(gc.arange(8.0), ours.parameters())
    torch.nn.utils.vector_to_parameters(torch.arange(8.0), theirs.parameters())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p, q)


# --- initialisers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    "constant_(x, 0.3)", "ones_(x)", "zeros_(x)", "eye_(x)", "dirac_(y)", "dirac_(z, 2)",
])  # fmt: skip
def test_fixed_initialisers(call):
    shapes = {"x": (3, 5), "y": (3, 4, 3), "z": (4, 2, 3, 3)}
    mine, its = ({k: m.full(s, 7.0) for k, s in shapes.items()} for m in (gc, torch))
    compare(eval("i." + call, {"i": init, **mine}), eval("i." + call, {"i": torch.nn.init, **its}))


@pytest.mark.parametrize("call", [
    "uniform_(x, -1.0, 3.0)", "normal_(x, 1.0, 2.0)", "trunc_normal_(x, 0.5, 1.0, -1.0, 1.5)", "xavier_uniform_(x, 2.0)",
    "xavier_normal_(x)", "kaiming_uniform_(x, a=2.0)", "kaiming_normal_(x, mode='fan_out', nonlinearity='relu')",
])  # fmt: skip
def test_random_initialisers_have_pytorchs_distribution(call):
    gc.manual_seed(0)
    torch.manual_seed(0)
    mine = as_array(eval("i." + call, {"i": init, "x": gc.empty(150, 200)})).astype(np.float64)
    its = as_array(eval("i." + call, {"i": torch.nn.init, "x": torch.empty(150, 200)})).astype(np.float64)
    assert abs(mine.mean() - its.mean()) < 0.03 * its.std()
    assert abs(mine.std() / its.std() - 1) < 0.02
    quantiles = np.linspace(0.01, 0.99, 33)
    assert np.abs(np.quantile(mine, quantiles) - np.quantile(its, quantiles)).max() < 0.06 * its.std()


def test_orthogonal_and_sparse():
    q = as_array(init.orthogonal_(gc.empty(4, 3, 2), gain=2.0)).reshape(4, 6).astype(np.float64)
    assert_close(q @ q.T, np.eye(4) * 4, dtype=np.float32)
    tall = as_array(init.orthogonal_(gc.empty(6, 3, dtype=gc.float64)))
    assert_close(tall.T @ tall, np.eye(3))
    assert ((as_array(init.sparse_(gc.empty(10, 4), 0.25)) == 0).sum(0) == 3).all()


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize(
    "text", ["Linear(300, 200)", "Bilinear(60, 50, 200)", "Embedding(300, 100, padding_idx=0)", "PReLU(5)"]
)
def test_layers_start_from_pytorchs_distribution(text):
    ours, theirs = (eval("n." + text, {"n": n}) for n in (nn, torch.nn))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine, its = as_array(p).astype(np.float64), as_array(q).astype(np.float64)
        assert mine.shape == its.shape
        assert abs(mine.mean() - its.mean()) <= 0.2 * its.std() + 1e-12
        assert abs(mine.std() - its.std()) <= 0.15 * its.std()
        assert abs(np.abs(mine).max() - np.abs(its).max()) <= 0.25 * np.abs(its).max()
