"""Attention, as a function and as modules, and the Transformer against PyTorch: outputs, weights and all gradients."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from nn_cases import f32, f64, rng
from side_by_side import agree, compare, flat, pair, refuse
from test_recurrent import weighted

import graphc as gc
from graphc import nn
from graphc.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

N, L, S, E, HEADS = 2, 3, 5, 8, 2


def sdpa(lib):
    return lib.nn.functional.scaled_dot_product_attention


def bools(*shape, seed=0):
    return rng(seed).random(shape) < 0.6


Q, K, V = f64(N, HEADS, L, 4), f64(N, HEADS, S, 4, seed=1), f64(N, HEADS, S, 6, seed=2)
ROW = np.ones((L, S), bool)
ROW[1] = False  # a query that may look nowhere
FUNCTIONS = {
    "plain": (lambda m, q, k, v: sdpa(m)(q, k, v), Q, K, V),
    "scale": (lambda m, q, k, v: sdpa(m)(q, k, v, scale=0.7), Q, K, V),
    "two dimensions": (lambda m, q, k, v: sdpa(m)(q, k, v), Q[0, 0], K[0, 0], V[0, 0]),
    "three dimensions": (lambda m, q, k, v: sdpa(m)(q, k, v), Q[0], K[0], V[0]),
    "causal": (lambda m, q, k, v: sdpa(m)(q, k, v, is_causal=True), Q, K, V),
    "causal, more queries than keys": (lambda m, q, k, v: sdpa(m)(q, k, v, is_causal=True), K, Q, V[:, :, :L]),
    "bool mask": (lambda m, q, k, v, a: sdpa(m)(q, k, v, a), Q, K, V, bools(L, S)),
    "bool mask per head": (lambda m, q, k, v, a: sdpa(m)(q, k, v, a), Q, K, V, bools(N, HEADS, L, S)),
    "bool mask of keys": (lambda m, q, k, v, a: sdpa(m)(q, k, v, a), Q, K, V, bools(N, 1, 1, S, seed=4)),
    "float mask": (lambda m, q, k, v, a: sdpa(m)(q, k, v, a), Q, K, V, f64(L, S, seed=3)),
    "bool mask, one row empty": (lambda m, q, k, v, a: sdpa(m)(q, k, v, a), Q, K, V, ROW),
    "float mask, one row empty": (
        lambda m, q, k, v, a: sdpa(m)(q, k, v, m.zeros(L, S, dtype=q.dtype).masked_fill(~a, -np.inf)), Q, K, V, ROW
    ),
    "grouped": (lambda m, q, k, v: sdpa(m)(q, k, v, enable_gqa=True), f64(N, 4, L, 4), K, V),
    "grouped, one head of v": (lambda m, q, k, v: sdpa(m)(q, k, v, enable_gqa=True), f64(N, 4, L, 4), K, V[:, :1]),
    "dropout of all": (lambda m, q, k, v: sdpa(m)(q, k, v, dropout_p=1.0), Q, K, V),
    "no keys": (lambda m, q, k, v: sdpa(m)(q, k, v), Q, K[:, :, :0], V[:, :, :0]),
    "no queries": (lambda m, q, k, v: sdpa(m)(q, k, v), Q[:, :, :0], K, V),
    "large scores": (lambda m, q, k, v: sdpa(m)(q * 1e4, k * 1e4, v), Q, K, V),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scaled_dot_product_attention(name):
    code, *arrays = FUNCTIONS[name]
    agree(torch, code, *arrays, n=64, scale=4.0)


def test_attention_of_narrow_floats():
    for dtype, tolerance in (("float16", 2e-3), ("bfloat16", 2e-2), ("float32", 1e-6)):
        found = []
        for m in (gc, torch):
            q, k, v = (m.tensor(a.astype(np.float32)).to(getattr(m, dtype)) for a in (Q, K, V))
            out = sdpa(m)(q, k, v, m.tensor(ROW))
            assert str(out.dtype).endswith(dtype)
            found.append(out.float().numpy())
        np.testing.assert_allclose(*found, atol=tolerance)


def test_nan_stays_nan():
    q, k, v = (gc.tensor(a) for a in (Q[0, 0], K[0, 0], V[0, 0]))
    q[0, 0] = np.nan
    out = F.scaled_dot_product_attention(q, k, v, gc.tensor(ROW)).numpy()
    assert np.isnan(out[0]).all() and not np.isnan(out[1:]).any()


def test_dropout_of_attention_weights():
    out = F.scaled_dot_product_attention(*(gc.ones(1, 1, 400, 1) for _ in range(3)), dropout_p=0.25)
    kept = out.numpy() * 400 * 0.75
    np.testing.assert_allclose(kept, kept.round(), atol=1e-2)
    assert abs(out.numpy().mean() - 1) < 0.01 and out.numpy().std() > 0.01


NOT_TAKEN = {
    "dtypes": lambda m, q, k, v: sdpa(m)(q, k.float(), v),
    "integer mask": lambda m, q, k, v: sdpa(m)(q, k, v, m.ones(L, S).int()),
    "wider mask": lambda m, q, k, v: sdpa(m)(q.float(), k.float(), v.float(), m.ones(L, S).double()),
    "size of heads": lambda m, q, k, v: sdpa(m)(q, k[..., :3], v),
    "size of mask": lambda m, q, k, v: sdpa(m)(q, k, v, m.ones(2, S).bool()),
    "more dimensions in the mask": lambda m, q, k, v: sdpa(m)(q[0], k[0], v[0], m.ones(4, 1, 1, 1, 1).bool()),
    "one dimension": lambda m, q, k, v: sdpa(m)(q[0, 0, 0], k, v),
    "heads": lambda m, q, k, v: sdpa(m)(m.cat([q, q], 1), k, v),
    "heads that do not divide": lambda m, q, k, v: sdpa(m)(m.cat([q, q[:, :1]], 1), k, v, enable_gqa=True),
    "integers": lambda m, q, k, v: sdpa(m)(q.long(), k.long(), v.long()),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_attention_refuses(name):
    refuse(torch, NOT_TAKEN[name], Q, K, V)


def test_a_mask_besides_is_causal_is_refused():
    for m in (gc, torch):
        q = m.tensor(Q[0, 0])
        with pytest.raises(RuntimeError, match="Explicit attn_mask should not be set when is_causal=True"):
            sdpa(m)(q, q, q, m.ones(L, L).bool(), is_causal=True)


# --- modules ----------------------------------------------------------------------------------------------------------


def both(make):
    """The same module in both libraries, ours with PyTorch's weights, biases not zero, in float64."""
    torch.manual_seed(0)
    theirs, ours = make(torch).double(), make(gc).double()
    assert repr(ours) == repr(theirs)
    with torch.no_grad():
        for i, p in enumerate(theirs.parameters()):
            if p.dim() == 1:
                p += torch.tensor(f64(*p.shape, seed=i)) * 0.1
    state = {k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def check_module(make, code, *arrays, train=True):
    """`code(lib, module, *tensors)` in both libraries: results and gradients of inputs and parameters."""
    ours, theirs = both(make)
    ours.train(train), theirs.train(train)
    made = [pair(torch, a, np.asarray(a).dtype.kind == "f") for a in arrays]
    mine, its = code(gc, ours, *(a for a, _ in made)), code(torch, theirs, *(b for _, b in made))
    compare([x for x in flat(mine) if x is not None], [x for x in flat(its) if x is not None], n=256)
    for lib, found in ((gc, mine), (torch, its)):
        weighted(lib, [x for x in flat(found) if x is not None]).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            compare(p.grad, q.grad, n=1024, scale=max(1.0, float(q.grad.abs().max())))
    for a, b in made:
        if b.grad is not None:
            compare(a.grad, b.grad, n=1024, scale=max(1.0, float(b.grad.abs().max())))


X, Y = f64(L, N, E), f64(S, N, E, seed=1)
PADDING = np.array([[False, False, True, False, True], [False] * 5])
MASK = np.triu(np.ones((L, S), bool), 3)


def mha(options=""):
    return lambda m: eval(f"m.nn.MultiheadAttention({E}, {HEADS}{options})", {"m": m})


HEAD_CASES = {
    "self": (mha(), lambda m, a, x: a(x, x, x), X),
    "key and value": (mha(), lambda m, a, x, y: a(x, y, y), X, Y),
    "three": (mha(), lambda m, a, x, y, z: a(x, y, z), X, Y, Y + 1),
    "no bias": (mha(", bias=False"), lambda m, a, x, y: a(x, y, y), X, Y),
    "no bias, three": (mha(", bias=False"), lambda m, a, x, y, z: a(x, y, z), X, Y, Y + 1),
    "per head": (mha(), lambda m, a, x, y: a(x, y, y, average_attn_weights=False), X, Y),
    "no weights": (mha(), lambda m, a, x, y: a(x, y, y, need_weights=False), X, Y),
    "batch first": (mha(", batch_first=True"), lambda m, a, x, y: a(x, y, y), X.swapaxes(0, 1), Y.swapaxes(0, 1)),
    "batch first, self": (mha(", batch_first=True"), lambda m, a, x: a(x, x, x, need_weights=False), X.swapaxes(0, 1)),
    "other sizes": (mha(", kdim=3, vdim=6"), lambda m, a, x, k, v: a(x, k, v), X, Y[..., :3], Y[..., :6]),
    "other sizes, no bias": (
        mha(", kdim=3, vdim=6, bias=False"), lambda m, a, x, k, v: a(x, k, v), X, Y[..., :3], Y[..., :6]
    ),
    "bias_kv": (mha(", add_bias_kv=True"), lambda m, a, x, y: a(x, y, y), X, Y),
    "zero": (mha(", add_zero_attn=True"), lambda m, a, x, y: a(x, y, y), X, Y),
    "bias_kv and zero, masks": (
        mha(", add_bias_kv=True, add_zero_attn=True, batch_first=True"),
        lambda m, a, x, y, p, b: a(x, y, y, key_padding_mask=p, attn_mask=b), X.swapaxes(0, 1), Y.swapaxes(0, 1), PADDING,
        MASK,
    ),
    "padding": (mha(), lambda m, a, x, y, p: a(x, y, y, key_padding_mask=p), X, Y, PADDING),
    "padding, no weights": (
        mha(), lambda m, a, x, y, p: a(x, y, y, key_padding_mask=p, need_weights=False), X, Y, PADDING
    ),
    "mask": (mha(), lambda m, a, x, y, b: a(x, y, y, attn_mask=b), X, Y, MASK),
    "float mask": (mha(), lambda m, a, x, y, b: a(x, y, y, attn_mask=b), X, Y, f64(L, S, seed=7)),
    "mask per head": (
        mha(), lambda m, a, x, y, b: a(x, y, y, attn_mask=b, need_weights=False), X, Y, f64(N * HEADS, L, S, seed=8)
    ),
    "both masks": (mha(), lambda m, a, x, y, p, b: a(x, y, y, p, True, b), X, Y, PADDING, MASK),
    "both masks, no weights": (mha(), lambda m, a, x, y, p, b: a(x, y, y, p, False, b), X, Y, PADDING, MASK),
    "causal": (
        mha(), lambda m, a, x: a(
            x, x, x, attn_mask=m.nn.Transformer.generate_square_subsequent_mask(L, dtype=x.dtype), is_causal=True,
            need_weights=False,
        ), X,
    ),
    "causal, weights": (
        mha(), lambda m, a, x: a(
            x, x, x, attn_mask=m.nn.Transformer.generate_square_subsequent_mask(L, dtype=x.dtype), is_causal=True,
        ), X,
    ),
    "unbatched": (mha(), lambda m, a, x, y: a(x, y, y), X[:, 0], Y[:, 0]),
    "unbatched, masks": (
        mha(", batch_first=True"), lambda m, a, x, y, p, b: a(x, y, y, key_padding_mask=p, attn_mask=b), X[:, 0], Y[:, 0],
        PADDING[0], f64(HEADS, L, S) > 1.0,
    ),
    "all masked, no weights": (
        mha(), lambda m, a, x, y, p: a(x, y, y, key_padding_mask=p, need_weights=False), X, Y,
        np.array([[True] * S, [False] * S]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEAD_CASES)
def test_multihead_attention(name):
    check_module(*HEAD_CASES[name])


def test_all_masked_weights_are_nan():
    ours, theirs = both(mha())
    a, b = pair(torch, X)
    mask = np.ones((N, L), bool)
    mine = ours(a, a, a, key_padding_mask=gc.tensor(mask))
    its = theirs(b, b, b, key_padding_mask=torch.tensor(mask))
    for x, y in zip(mine, its, strict=True):
        assert np.isnan(x.detach().numpy()).all() and np.isnan(y.detach().numpy()).all()


def test_attention_weights_start_as_in_pytorch():
    gc.manual_seed(0), torch.manual_seed(0)
    for options in ("", ", kdim=3, add_bias_kv=True"):
        ours, theirs = mha(options)(gc), mha(options)(torch)
        for (name, p), (same, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert (name, tuple(p.shape)) == (same, tuple(q.shape))
            if p.ndim > 1:
                assert 0.5 < float(p.std()) / float(q.std()) < 2
            else:
                assert float(p.abs().max()) == float(q.abs().max()) == 0


def test_dropout_in_attention():
    ours = nn.MultiheadAttention(E, HEADS, dropout=1.0)
    x = gc.tensor(f32(L, N, E))
    for need in (True, False):
        np.testing.assert_array_equal(ours(x, x, x, need_weights=need)[0].detach().numpy(), 0)
    assert float(ours.eval()(x, x, x)[0].abs().max()) > 0


def test_multi_head_attention_forward():
    def run(m, x, y, w, b, out, ob, k, v):
        f = m.nn.functional.multi_head_attention_forward
        a, weights = f(x, y, y, E, HEADS, w, b, None, None, False, 0.0, out, ob)
        c, _ = f(
            x, y, y, E, HEADS, None, None, None, None, True, 0.5, out, ob, training=False, need_weights=False,
            use_separate_proj_weight=True, q_proj_weight=w[:E], k_proj_weight=w[E : 2 * E], v_proj_weight=w[2 * E :],
        )  # fmt: skip
        d, _ = f(x, y, y, E, HEADS, w, b, None, None, False, 0.0, out, ob, static_k=k, static_v=v)
        return a, weights, c, d

    static = [f64(N * HEADS, S, E // HEADS, seed=i) for i in (5, 6)]
    agree(torch, run, X, Y, f64(3 * E, E), f64(3 * E), f64(E, E), f64(E), *static, n=1024, scale=50.0)


MODULES_REFUSE = {
    "heads": lambda m, x: m.nn.MultiheadAttention(8, 3),
    "no heads": lambda m, x: m.nn.MultiheadAttention(8, 0),
    "no size": lambda m, x: m.nn.MultiheadAttention(0, 2),
    "query size": lambda m, x: m.nn.MultiheadAttention(4, 2)(x, x, x),
    "key and value": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x[:2]),
    "query dimensions": lambda m, x: m.nn.MultiheadAttention(8, 2)(x[None], x, x),
    "key dimensions": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x[0], x),
    "unbatched key dimensions": lambda m, x: m.nn.MultiheadAttention(8, 2)(x[0], x, x),
    "padding dimensions": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, m.zeros(3).bool()),
    "padding size": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, m.zeros(2, 4).bool()),
    "integer padding": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, m.zeros(2, 3).int()),
    "mask dimensions": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=m.zeros(3)),
    "mask size": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=m.zeros(3, 4)),
    "mask per head size": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=m.zeros(3, 3, 3)),
    "causal without mask": lambda m, x: m.nn.MultiheadAttention(8, 2)(x, x, x, is_causal=True),
    "activation": lambda m, x: m.nn.TransformerEncoderLayer(8, 2, activation="tanh"),
    "batch": lambda m, x: m.nn.Transformer(8, 2, 1, 1, 16)(x, x[:, :1]),
    "features": lambda m, x: m.nn.Transformer(8, 2, 1, 1, 16)(x, x[..., :4]),
}


@pytest.mark.parametrize("name", MODULES_REFUSE)
def test_modules_refuse(name):
    refuse(torch, MODULES_REFUSE[name], f32(L, N, E))


# --- transformers -----------------------------------------------------------------------------------------------------


def layer(kind, options=""):
    return lambda m: eval(f"m.nn.{kind}({E}, {HEADS}, 16, 0.0{options})", {"m": m})


def causal(m, size, like):
    return m.nn.Transformer.generate_square_subsequent_mask(size, dtype=like.dtype)


LAYER_CASES = {
    "encoder": (layer("TransformerEncoderLayer"), lambda m, a, x: a(x), X),
    "encoder, batch first": (layer("TransformerEncoderLayer", ", batch_first=True"), lambda m, a, x: a(x), X),
    "encoder, norm first": (layer("TransformerEncoderLayer", ", norm_first=True"), lambda m, a, x: a(x), X),
    "encoder, gelu": (layer("TransformerEncoderLayer", ", activation='gelu'"), lambda m, a, x: a(x), X),
    "encoder, callable": (
        lambda m: m.nn.TransformerEncoderLayer(E, HEADS, 16, 0.0, m.nn.functional.silu), lambda m, a, x: a(x), X
    ),
    "encoder, no bias": (layer("TransformerEncoderLayer", ", bias=False"), lambda m, a, x: a(x), X),
    "encoder, causal": (
        layer("TransformerEncoderLayer"), lambda m, a, x: a(x, causal(m, L, x), is_causal=True), X
    ),
    "encoder, masks": (
        layer("TransformerEncoderLayer"), lambda m, a, x, b, p: a(x, b, p), X, MASK[:, :L], PADDING[:, :L]
    ),
    "encoder, unbatched": (layer("TransformerEncoderLayer"), lambda m, a, x: a(x), X[:, 0]),
    "decoder": (layer("TransformerDecoderLayer"), lambda m, a, x, y: a(x, y), X, Y),
    "decoder, norm first": (
        layer("TransformerDecoderLayer", ", norm_first=True, batch_first=True"), lambda m, a, x, y: a(x, y),
        X.swapaxes(0, 1), Y.swapaxes(0, 1),
    ),
    "decoder, masks": (
        layer("TransformerDecoderLayer"),
        lambda m, a, x, y, b, p: a(x, y, causal(m, L, x), b, None, p, tgt_is_causal=True), X, Y, MASK, PADDING,
    ),
    "encoders": (
        lambda m: m.nn.TransformerEncoder(layer("TransformerEncoderLayer")(m), 2, m.nn.LayerNorm(E)),
        lambda m, a, x, p: a(x, src_key_padding_mask=p), X, PADDING[:, :L],
    ),
    "encoders, causal mask": (
        lambda m: m.nn.TransformerEncoder(layer("TransformerEncoderLayer")(m), 2), lambda m, a, x: a(x, causal(m, L, x)), X
    ),
    "decoders": (
        lambda m: m.nn.TransformerDecoder(layer("TransformerDecoderLayer")(m), 2, m.nn.LayerNorm(E)),
        lambda m, a, x, y: a(x, y, causal(m, L, x)), X, Y,
    ),
    "transformer": (
        lambda m: m.nn.Transformer(E, HEADS, 2, 2, 16, 0.0),
        lambda m, a, x, y: a(y, x, tgt_mask=causal(m, L, x)), X, Y,
    ),
    "transformer, batch first": (
        lambda m: m.nn.Transformer(E, HEADS, 1, 1, 16, 0.0, "gelu", batch_first=True, norm_first=True, bias=False),
        lambda m, a, x, y, p: a(y, x, src_key_padding_mask=p, memory_key_padding_mask=p), X.swapaxes(0, 1),
        Y.swapaxes(0, 1), PADDING,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYER_CASES)
def test_transformer_layers(name):
    check_module(*LAYER_CASES[name])


def test_transformers_in_eval_mode():
    for name in ("encoder, batch first", "encoder, masks", "transformer"):
        check_module(*LAYER_CASES[name], train=False)


def test_transformers_start_as_in_pytorch():
    ours, theirs = (m.nn.Transformer(32, 2, 1, 1, 64) for m in (gc, torch))
    for (name, p), (same, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (name, tuple(p.shape)) == (same, tuple(q.shape))
        if p.ndim > 1:
            assert 0.9 < float(p.std()) / float(q.std()) < 1.1
    assert (ours.d_model, ours.nhead, ours.batch_first) == (32, 2, False)
    given = nn.Transformer(8, 2, custom_encoder=nn.Identity(), custom_decoder=nn.Identity())
    assert isinstance(given.encoder, nn.Identity) and not list(given.parameters())


def test_the_copies_of_a_layer_do_not_share_weights():
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, HEADS, 16), 2)
    a, b = (p.linear1.weight for p in ours.layers)
    assert a is not b and np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_masks_of_different_kinds_warn():
    for m in (gc, torch):
        a, x = m.nn.MultiheadAttention(E, HEADS), m.tensor(f32(L, N, E))
        with pytest.warns(UserWarning, match="Support for mismatched key_padding_mask and attn_mask"):
            a(x, x, x, key_padding_mask=m.zeros(N, L).bool(), attn_mask=m.zeros(L, L))


def test_kernels_of_attention_can_be_named():
    for m, attention in ((gc, gc.nn.attention), (torch, importlib.import_module("torch.nn.attention"))):
        q = m.ones(1, 2, 3, 4)
        with attention.sdpa_kernel(attention.SDPBackend.MATH):
            assert tuple(m.nn.functional.scaled_dot_product_attention(q, q, q).shape) == (1, 2, 3, 4)
        with attention.sdpa_kernel([attention.SDPBackend.FLASH_ATTENTION, attention.SDPBackend.MATH]):
            pass
        with pytest.raises(AssertionError), attention.sdpa_kernel("math"):
            pass
