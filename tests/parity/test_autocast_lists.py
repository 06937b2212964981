"""Autocast's marks beside PyTorch's: on the CPU by what PyTorch does with its own samples, for devices by the lists it is built
from, since no card is here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import graphc as gc

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own tests would like more packages
    from opinfo import entries, fresh, is_tensor, leaves, mapped, name_of, ours, told
from opinfo_gaps import reason  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

ENTRIES = entries()
SAMPLES = 2


def with_floats(x: Any, change: Callable[[Any], Any]) -> Any:
    """An argument with its float32 and float16 tensors changed."""
    if is_tensor(x):
        return change(x) if name_of(x.dtype) in ("float32", "float16") else x
    return mapped(lambda y: with_floats(y, change), x) if isinstance(x, tuple | list | dict) else x


def samples(name: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Arguments of an operator's first samples in float32."""
    torch.manual_seed(0)
    for sample in islice(ENTRIES[name].sample_inputs("cpu", torch.float32), SAMPLES):
        yield [sample.input, *sample.args], sample.kwargs


# --- on the CPU -------------------------------------------------------------------------------------------------------

#: operator -> why its results have another dtype, or are refused
DIFFERENT = {
    "matrix_exp": "in bfloat16 PyTorch's numbers are not those of the function; here it is refused",
    "linalg.det": "PyTorch takes bfloat16 for matrices without elements alone",
    "linalg.pinv": "PyTorch ends it with a product, which is lowered; here it is one op",
    "nn.functional.linear_cross_entropy.chunked": "PyTorch saves memory by another way, which rounds",
    "nn.functional.linear_cross_entropy.chunked_none": "PyTorch saves memory by another way, which rounds",
}
#: operators of which PyTorch refuses all samples under autocast, so that nothing is compared
REFUSED = {"linalg.pinv.singular"}
FLOATING = [
    name
    for name, op in ENTRIES.items()
    if reason(name, None) is None and name not in DIFFERENT and torch.float32 in op.supported_dtypes("cpu")
]


def kinds(op: Callable[..., Any], library: Any, args: Any, kwargs: Any) -> list[str]:
    """The dtypes (or types) of what an operator gives under autocast."""
    with library.autocast("cpu"):
        found = op(*args, **kwargs)
    return [name_of(x.dtype) if is_tensor(x) else type(x).__name__ for x in leaves(found)]


@pytest.mark.parametrize("name", FLOATING)
def test_dtypes_on_the_cpu(name: str) -> None:
    op, compared = ENTRIES[name], 0
    mine: Any = ours(op)
    for given in samples(name):
        for args, kwargs in (given, with_floats(given, lambda x: x.bfloat16())):
            told_args, told_kwargs = told((args, kwargs))
            try:
                want = kinds(op.op, torch, fresh(args), fresh(kwargs))
            except (RuntimeError, NotImplementedError):
                continue  # what PyTorch cannot do there, graphc may
            assert kinds(mine, gc, told_args, told_kwargs) == want
            compared += 1
    assert (compared == 0) is (name in REFUSED)


# --- on devices -------------------------------------------------------------------------------------------------------

HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"


def listed(macro: str) -> list[str]:
    """The operators of one of PyTorch's lists for devices."""
    body = re.search(rf"#define AT_FORALL_{macro}\(_\)((?:.*\\\n)*.*)", HEADER.read_text())
    assert body
    return list(dict.fromkeys(re.findall(r"_\((?:ADD_NS\()?(\w+)", body[1])))


#: entries of the lists under another name
ALIASES = {
    "frobenius_norm": "norm.fro",
    "nuclear_norm": "norm.nuc",
    "nll_loss2d": "nn.functional.nll_loss",
    "grid_sampler": "nn.functional.grid_sample",
    "upsample_nearest1d": "nn.functional.interpolate.nearest",
    "upsample_nearest2d": "nn.functional.upsample_nearest",
    "_upsample_nearest_exact1d": "nn.functional.interpolate.nearest-exact",
    "upsample_linear1d": "nn.functional.interpolate.linear",
    "upsample_bilinear2d": "nn.functional.upsample_bilinear",
    "upsample_trilinear3d": "nn.functional.interpolate.trilinear",
    "upsample_bicubic2d": "nn.functional.interpolate.bicubic",
}
#: what no sample is there for: PyTorch's inner parts, other sizes of the above, cells, what is missing
WITHOUT_SAMPLES = {
    "_convolution", "convolution", "conv_tbc", "chain_matmul", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm_cell",
    "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "_scaled_dot_product_flash_attention", "native_layer_norm",
    "upsample_nearest3d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
}  # fmt: skip
ENTRY = {name.rpartition("functional.")[2].replace("linalg.", "linalg_"): name for name in FLOATING} | ALIASES
LOWERED = listed("LOWER_PRECISION_FP")
WIDENED = [*listed("FP32"), *listed("FP32_SET_OPT_DTYPE"), *listed("DIFFERENT_REDISPATCH_SIGNATURE")]
PROMOTED = listed("PROMOTE")


def sampled(names: list[str]) -> list[str]:
    return [ENTRY[name] for name in names if name in ENTRY]


def test_every_operator_of_the_lists_is_tried() -> None:
    assert {n for n in (*LOWERED, *WIDENED, *PROMOTED) if n not in ENTRY} == WITHOUT_SAMPLES
    assert len(LOWERED) > 20 and len(WIDENED) > 50 and len(PROMOTED) > 8


def recorded(name: str, args: Any, kwargs: Any) -> set[str]:
    """The dtypes of an operator's float results, recorded for a device under its autocast."""

    def fed(x: Any) -> Any:
        if is_tensor(x):
            return gc.placeholder(tuple(x.shape), dtype=x.dtype) if x.dtype.is_floating_point else x
        return mapped(fed, x) if isinstance(x, tuple | list | dict) else x

    op: Any = ours(ENTRIES[name])
    given = told((args, kwargs))
    gc.set_autocast_enabled("opencl", True)
    try:
        with gc.Graph().as_default():
            found = op(*fed(given[0]), **fed(given[1]))
    finally:
        gc.set_autocast_enabled("opencl", False)
    return {name_of(x.dtype) for x in leaves(found) if is_tensor(x) and x.dtype.is_floating_point}


@pytest.mark.parametrize("name", sampled(LOWERED))
def test_products_are_lowered(name: str) -> None:
    for args, kwargs in samples(name):
        assert recorded(name, args, kwargs) == {"float16"}


@pytest.mark.parametrize("name", sampled(WIDENED))
def test_losses_and_their_like_are_widened(name: str) -> None:
    for given in samples(name):
        assert recorded(name, *with_floats(given, lambda x: x.half())) == {"float32"}


@pytest.mark.parametrize("name", sampled(PROMOTED))
def test_operands_that_must_agree_get_the_widest(name: str) -> None:
    for given in samples(name):
        halves = with_floats(given, lambda x: x.half())
        assert recorded(name, *halves) == {"float16"}
        first = iter((True,))
        assert recorded(name, *with_floats(halves, lambda x, f=first: x.float() if next(f, False) else x)) == {
            "float32"
        }
