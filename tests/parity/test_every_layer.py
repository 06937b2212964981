"""Every class of `torch.nn`: signature, repr, state and, with PyTorch's numbers loaded, outputs.

`LAYERS` has an entry for each public class; a test fails where one is missing.
"""

from __future__ import annotations

import inspect
import io
import warnings
from typing import Any

import numpy as np
import pytest
from nn_cases import f32, ints
from side_by_side import pair
from tolerances import assert_close

import graphc as gc
from graphc import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

CLASSES = sorted(
    name for name, found in vars(torch.nn).items() if isinstance(found, type) and issubclass(found, torch.nn.Module)
)
#: classes that are tested elsewhere, or are no layers
OTHERS = {
    "Container": "given up by PyTorch: Sequential, ModuleList and ModuleDict",
    "CrossMapLRN2d": "PyTorch's keeps the first channel in every later sum: LocalResponseNorm",
    "DataParallel": "tests/nn/test_parallel.py",
    "SyncBatchNorm": "needs an accelerator in PyTorch: tests/distributed/test_processes.py",
    "RNNBase": "a base class", "RNNCellBase": "a base class", "Module": "a base class",
}  # fmt: skip
LINE, ROWS, SIGNAL, IMAGE, VOLUME = f32(2, 4), f32(2, 3, 4), f32(2, 4, 8), f32(2, 4, 6, 6), f32(2, 4, 6, 6, 6)
STEPS = f32(5, 2, 4)
POSITIVE, TARGET = np.abs(LINE) + 0.1, f32(2, 4, seed=1)
SIGNS = np.sign(f32(2, seed=2))


def by_size(pattern: str, *arguments: str, sizes: Any = (1, 2, 3)) -> dict[str, Any]:
    """An entry for each number of dimensions, with an input that has as many."""
    inputs = {1: SIGNAL, 2: IMAGE, 3: VOLUME}
    return {f"{pattern.format(n)}({arguments_of})": (inputs[n],) for n in sizes for arguments_of in arguments}


ELEMENTWISE = (
    "CELU()", "CELU(0.7)", "ELU()", "ELU(0.5, inplace=True)", "GELU()", "GELU(approximate='tanh')", "Hardshrink(0.3)",
    "Hardsigmoid()", "Hardswish()", "Hardtanh(-0.5, 0.7)", "Identity(3, a=1)", "LeakyReLU(0.2)", "LogSigmoid()", "Mish()",
    "RReLU()", "ReLU()", "ReLU(inplace=True)", "ReLU6()", "SELU()", "SiLU()", "Sigmoid()", "Softplus(2, 5)",
    "Softshrink(0.2)", "Softsign()", "Tanh()", "Tanhshrink()", "Threshold(0.1, 20)", "PReLU()", "PReLU(4, init=0.3)",
    "Softmax(dim=1)", "Softmin(1)", "LogSoftmax(1)", "GLU(1)", "Flatten()", "Flatten(0)", "Unflatten(1, (2, 2))", "Dropout()",
    "Dropout(0.3, True)", "AlphaDropout(0.2)", "FeatureAlphaDropout(0.4)",
)  # fmt: skip
LAYERS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(ELEMENTWISE, (LINE,)),
    "Softmax2d()": (IMAGE,),
    "ChannelShuffle(2)": (IMAGE,),
    "PixelShuffle(2)": (IMAGE,),
    "PixelUnshuffle(2)": (IMAGE,),
    **by_size("Dropout{}d", "", "0.3, inplace=True"),
    **by_size("AdaptiveAvgPool{}d", "2"),
    **by_size("AdaptiveMaxPool{}d", "2", "2, return_indices=True"),
    **by_size("AvgPool{}d", "2", "3, 2, 1, count_include_pad=False"),
    **by_size("MaxPool{}d", "2", "3, stride=2, padding=1, dilation=1, ceil_mode=True"),
    **by_size("LPPool{}d", "2, 2"),
    **by_size("FractionalMaxPool{}d", "2, output_size=3", sizes=(2, 3)),
    "MaxUnpool1d(2)": (f32(2, 4, 4), ints(2, 2, 4, 4) + 2 * np.arange(4)),
    "MaxUnpool2d(2)": (f32(1, 1, 1, 2), np.array([[[[1, 6]]]])),
    "MaxUnpool3d(2, stride=2)": (f32(1, 1, 1, 1, 2), np.array([[[[[1, 6]]]]])),
    **by_size("Conv{}d", "4, 6, 3", "4, 2, 3, 2, 1, groups=2, bias=False", "4, 2, 3, padding='same', padding_mode='reflect'"),
    **by_size("ConvTranspose{}d", "4, 6, 3", "4, 2, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False"),
    **by_size("BatchNorm{}d", "4", "4, affine=False", "4, momentum=None, track_running_stats=False"),
    **by_size("BatchNorm{}d", "4, eps=0.1, momentum=0.3"),
    **by_size("InstanceNorm{}d", "4", "4, affine=True", "4, track_running_stats=True"),
    **by_size("LazyConv{}d", "6, 3", "6, 3, bias=False"),
    **by_size("LazyConvTranspose{}d", "6, 3, stride=2"),
    **by_size("LazyBatchNorm{}d", "", "affine=False"),
    **by_size("LazyInstanceNorm{}d", "", "affine=True, track_running_stats=True"),
    **by_size("CircularPad{}d", "1"),
    **by_size("ConstantPad{}d", "1, 0.5"),
    **by_size("ReflectionPad{}d", "2"),
    **by_size("ReplicationPad{}d", "1"),
    **by_size("ZeroPad{}d", "1"),
    "Linear(4, 3)": (LINE,),
    "Linear(4, 3, bias=False)": (LINE,),
    "LazyLinear(3)": (LINE,),
    "Bilinear(4, 4, 3)": (LINE, TARGET),
    "Embedding(7, 3)": (ints(7, 2, 3),),
    "Embedding(7, 3, padding_idx=2, max_norm=1.5, scale_grad_by_freq=True)": (ints(7, 2, 3),),
    "EmbeddingBag(7, 3)": (ints(7, 2, 3),),
    "EmbeddingBag(7, 3, mode='sum', padding_idx=1, include_last_offset=True)": (ints(7, 6), np.array([0, 2, 6])),
    "LayerNorm(4)": (ROWS,),
    "LayerNorm((3, 4), elementwise_affine=False)": (ROWS,),
    "LayerNorm(4, bias=False)": (ROWS,),
    "RMSNorm(4)": (ROWS,),
    "RMSNorm((3, 4), eps=0.1, elementwise_affine=False)": (ROWS,),
    "GroupNorm(2, 4)": (IMAGE,),
    "GroupNorm(2, 4, affine=False)": (IMAGE,),
    "LocalResponseNorm(3)": (IMAGE,),
    "Fold((4, 5), 2)": (f32(2, 8, 12),),
    "Unfold(3, padding=1, stride=2)": (IMAGE,),
    "Upsample(scale_factor=2)": (IMAGE,),
    "Upsample(size=(3, 4), mode='bilinear', align_corners=True)": (IMAGE,),
    "UpsamplingBilinear2d(scale_factor=2)": (IMAGE,),
    "UpsamplingNearest2d(size=(3, 4))": (IMAGE,),
    "CosineSimilarity(dim=1)": (LINE, TARGET),
    "PairwiseDistance(p=3)": (LINE, TARGET),
    **{f"{kind}(4, 3{more})": (STEPS,) for kind in ("RNN", "LSTM", "GRU")
       for more in ("", ", 2, bidirectional=True, dropout=0.2", ", bias=False, batch_first=True")},
    "RNN(4, 3, nonlinearity='relu')": (STEPS,),
    "LSTM(4, 3, proj_size=2)": (STEPS,),
    **{f"{kind}Cell(4, 3{more})": (LINE,) for kind in ("RNN", "LSTM", "GRU") for more in ("", ", bias=False")},
    "MultiheadAttention(4, 2)": (STEPS, STEPS, STEPS),
    "MultiheadAttention(4, 2, bias=False, kdim=4, vdim=4, batch_first=True)": (STEPS, STEPS, STEPS),
    "MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True)": (STEPS, f32(6, 2, 3), f32(6, 2, 5)),
    "TransformerEncoderLayer(4, 2, 6)": (STEPS,),
    "TransformerEncoderLayer(4, 2, 6, activation='gelu', norm_first=True, bias=False, batch_first=True)": (STEPS,),
    "TransformerDecoderLayer(4, 2, 6)": (STEPS, f32(3, 2, 4)),
    "TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6), 2, nn.LayerNorm(4))": (STEPS,),
    "TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6), 2)": (STEPS, f32(3, 2, 4)),
    "Transformer(4, 2, 1, 1, 6)": (STEPS, f32(3, 2, 4)),
    "AdaptiveLogSoftmaxWithLoss(4, 9, [3, 6], div_value=2, head_bias=True)": (LINE, ints(9, 2)),
    "Sequential(nn.Linear(4, 3), nn.ReLU())": (LINE,),
    "ModuleList([nn.Linear(4, 3), nn.ReLU()])": (),
    "ModuleDict({'a': nn.Linear(4, 3), 'b': nn.BatchNorm1d(2)})": (),
    "ParameterList([nn.Parameter(m.ones(2, 1)), nn.Parameter(m.zeros(3))])": (),
    "ParameterDict({'a': nn.Parameter(m.ones(2, 1)), 'b': nn.Parameter(m.zeros(3))})": (),
    **{f"{kind}({more})": (LINE, TARGET) for kind in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss")
       for more in ("", "reduction='none'")},
    "BCELoss(weight=m.tensor([1.0, 2.0, 3.0, 4.0]))": (1 / (1 + np.exp(-LINE)), (TARGET > 0).astype(np.float32)),
    "BCEWithLogitsLoss(pos_weight=m.tensor([1.0, 2.0, 3.0, 4.0]))": (LINE, (TARGET > 0).astype(np.float32)),
    "CrossEntropyLoss(m.tensor([1.0, 2.0, 3.0, 4.0]), label_smoothing=0.1)": (LINE, ints(4, 2)),
    "LinearCrossEntropyLoss(4, 5)": (LINE, ints(5, 2)),
    "NLLLoss(m.tensor([1.0, 2.0, 3.0, 4.0]))": (LINE, ints(4, 2)),
    "NLLLoss2d()": (IMAGE, ints(4, 2, 6, 6)),
    "CTCLoss(zero_infinity=True)": (f32(6, 2, 4), 1 + ints(3, 2, 3), np.array([6, 5]), np.array([3, 2])),
    "CosineEmbeddingLoss(0.1)": (LINE, TARGET, SIGNS),
    "GaussianNLLLoss(full=True)": (LINE, TARGET, POSITIVE),
    "HingeEmbeddingLoss(0.8)": (LINE, np.sign(TARGET)),
    "KLDivLoss(reduction='batchmean')": (LINE, POSITIVE),
    "MarginRankingLoss(0.2)": (LINE[0], LINE[1], np.sign(TARGET[0])),
    "MultiLabelMarginLoss()": (LINE, np.array([[1, 2, -1, 0], [3, -1, 0, 0]])),
    "MultiLabelSoftMarginLoss(m.tensor([1.0, 2.0, 3.0, 4.0]))": (LINE, (TARGET > 0).astype(np.float32)),
    "MultiMarginLoss(weight=m.tensor([1.0, 2.0, 3.0, 4.0]))": (LINE, ints(4, 2)),
    "PoissonNLLLoss(full=True)": (LINE, POSITIVE),
    "SoftMarginLoss()": (LINE, np.sign(TARGET)),
    "TripletMarginLoss(0.5, swap=True)": (LINE, TARGET, POSITIVE),
    "TripletMarginWithDistanceLoss(margin=0.5)": (LINE, TARGET, POSITIVE),
}  # fmt: skip
#: layers that draw numbers where they evaluate, and those that PyTorch too refuses to run with numbers that were loaded
WITHOUT_OUTPUTS = ("FractionalMaxPool", "LazyInstanceNorm")


def made_by(m: Any, call: str) -> Any:
    """The layer that a call makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(call if call.startswith("nn.") else f"nn.{call}", {"nn": m.nn, "m": m})


def class_of(call: str) -> str:
    return call.partition("(")[0]


def typed(state: Any) -> dict[str, Any]:
    """Keys in their order, with shape and dtype."""
    return {
        key: (tuple(x.shape), str(x.dtype).rpartition(".")[2]) if hasattr(x, "dtype") else type(x).__name__
        for key, x in state.items()
    }


def fill(layer: Any) -> None:
    """Other numbers for PyTorch's parameters and buffers, positive where they are variances."""
    generator = torch.Generator().manual_seed(0)
    for key, x in layer.state_dict().items():
        if x.is_floating_point():
            x.copy_(torch.rand(x.shape, generator=generator) * 0.9 + (0.2 if "var" in key else -0.4))


def test_every_class_has_an_entry() -> None:
    there = {class_of(call) for call in LAYERS}
    assert sorted(set(CLASSES) - there - OTHERS.keys()) == []
    assert sorted(there | OTHERS.keys() - set(CLASSES)) == sorted(there)
    assert [name for name in CLASSES if not hasattr(nn, name)] == ["Container", "CrossMapLRN2d"]


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("Container", "CrossMapLRN2d", "NLLLoss2d")])
def test_signatures(name: str) -> None:
    ours, theirs = (
        [(p.name, p.kind, getattr(p.default, "__name__", str(p.default).replace("graphc.", "torch."))) for p in found]
        for found in (inspect.signature(getattr(m, name)).parameters.values() for m in (nn, torch.nn))
    )
    assert ours == theirs


@pytest.mark.parametrize("call", LAYERS)
def test_repr_and_state(call: str) -> None:
    ours, theirs = made_by(gc, call), made_by(torch, call)
    assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
    lazy = "Lazy" in call
    if lazy:
        for m, layer in ((gc, ours), (torch, theirs)):
            layer(*[m.tensor(a) for a in LAYERS[call]])
        assert repr(ours).replace("graphc.", "torch.") == repr(theirs)
    assert typed(ours.state_dict()) == typed(theirs.state_dict())
    for what in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [k for k, _ in getattr(ours, what)()] == [k for k, _ in getattr(theirs, what)()], what
    for (_, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.requires_grad == b.requires_grad
    assert ours.training == theirs.training


def loaded(call: str) -> tuple[Any, Any]:
    """Both layers with PyTorch's numbers, which come as a file."""
    ours, theirs = made_by(gc, call), made_by(torch, call)
    if "Lazy" in call:
        theirs(*[torch.tensor(a) for a in LAYERS[call]])
    fill(theirs)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    result = ours.load_state_dict(gc.load(file))
    assert (list(result.missing_keys), list(result.unexpected_keys)) == ([], [])
    return ours, theirs


def tensors_in(x: Any) -> list[Any]:
    if isinstance(x, tuple | list):
        return [t for part in x for t in tensors_in(part)]
    return [] if x is None else [x]


@pytest.mark.parametrize("call", [c for c, inputs in LAYERS.items() if inputs and not c.startswith(WITHOUT_OUTPUTS)])
def test_outputs_with_pytorchs_numbers(call: str) -> None:
    ours, theirs = loaded(call)
    ours.eval()
    theirs.eval()
    given = [pair(torch, a) for a in LAYERS[call]]
    mine, its = ours(*(a for a, _ in given)), theirs(*(b for _, b in given))
    mine, its = tensors_in(mine), tensors_in(its)
    assert len(mine) == len(its) > 0
    for a, b in zip(mine, its, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        assert str(a.dtype).rpartition(".")[2] == str(b.dtype).rpartition(".")[2]
        assert_close(a, b, n=256)
    assert typed(ours.state_dict()) == typed(theirs.state_dict())
    for (_, a), (_, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert_close(a, b, n=64)
