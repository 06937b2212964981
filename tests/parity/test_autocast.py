"""Autocast and GradScaler against PyTorch's on the CPU: which dtype each function gives, values, gradients, a training run."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from side_by_side import flat
from tolerances import assert_close

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

Case = Callable[[Any, Callable[..., Any]], Any]


def functional(name: str, *shapes: tuple[int, ...], **options: Any) -> Case:
    """`nn.functional.name` on tensors of these shapes."""
    return lambda m, r: getattr(m.nn.functional, name)(*[r(*s) for s in shapes], **options)


def top(name: str, *shapes: tuple[int, ...], **options: Any) -> Case:
    """`torch.name` on tensors of these shapes."""
    return lambda m, r: getattr(m, name)(*[r(*s) for s in shapes], **options)


PAIR = ((2, 3), (2, 3))
CASES: dict[str, Case] = {
    "linear": functional("linear", (2, 3), (4, 3), (4,)),
    "matmul": lambda m, r: r(2, 3) @ r(3, 4),
    "matmul-vectors": lambda m, r: m.matmul(r(3), r(3)),
    "mm": top("mm", (2, 3), (3, 3)),
    "bmm": top("bmm", (1, 2, 3), (1, 3, 3)),
    "addmm": top("addmm", (3,), (2, 3), (3, 3)),
    "addbmm": top("addbmm", (2, 3), (1, 2, 3), (1, 3, 3)),
    "baddbmm": top("baddbmm", (1, 2, 3), (1, 2, 3), (1, 3, 3)),
    "mv": top("mv", (2, 3), (3,)),
    "dot": top("dot", (3,), (3,)),
    "addr": top("addr", (3, 3), (3,), (3,)),
    "inner": lambda m, r: (m.inner(r(3), r(3)), m.inner(r(2, 3), r(2, 3))),
    "outer": top("outer", (3,), (3,)),
    "einsum": lambda m, r: (
        m.einsum("ij,jk->ik", r(2, 3), r(3, 3)),
        m.einsum("ij->ji", r(2, 3)),
        m.einsum("i,j->ij", r(3), r(3)),
        m.einsum("ij,jk,k->ik", r(2, 3), r(3, 2), r(2)),
    ),
    "tensordot": lambda m, r: m.tensordot(r(2, 3), r(3, 3), 1),
    "multi_dot": lambda m, r: m.linalg.multi_dot([r(2, 3), r(3, 3), r(3, 3)]),
    "vecdot": lambda m, r: m.linalg.vecdot(r(2, 3), r(2, 3)),
    "matrix_power": lambda m, r: m.matrix_power(r(3, 3), 3),
    "kron": top("kron", (2, 3), (3, 3)),
    "cov": lambda m, r: (m.cov(r(3, 4)), m.cov(r(3, 4), aweights=m.ones(4)), m.corrcoef(r(3, 4))),
    "trace": top("trace", (3, 3)),
    "cdist": top("cdist", (2, 3), (2, 3)),
    "bilinear": functional("bilinear", (2, 3), (2, 4), (5, 3, 4)),
    "conv1d": functional("conv1d", (1, 2, 5), (2, 2, 3), (2,)),
    "conv2d": functional("conv2d", (1, 2, 5, 5), (2, 2, 3, 3), padding="same"),
    "conv3d": functional("conv3d", (1, 2, 4, 4, 4), (2, 2, 3, 3, 3)),
    "conv_transpose1d": functional("conv_transpose1d", (1, 2, 5), (2, 2, 3)),
    "conv_transpose2d": functional("conv_transpose2d", (1, 2, 5, 5), (2, 2, 3, 3)),
    "conv_transpose3d": functional("conv_transpose3d", (1, 2, 3, 3, 3), (2, 2, 3, 3, 3)),
    "attention": functional("scaled_dot_product_attention", (1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8)),
    "prelu": functional("prelu", (2, 3), (1,)),
    "softmax": functional("softmax", (2, 3), dim=-1),
    "log_softmax": functional("log_softmax", (2, 3), dim=-1),
    "layer_norm": lambda m, r: m.nn.functional.layer_norm(r(2, 3), (3,), r(3), r(3)),
    "group_norm": lambda m, r: m.nn.functional.group_norm(r(2, 4, 3), 2, r(4), r(4)),
    "rms_norm": lambda m, r: m.nn.functional.rms_norm(r(2, 3), (3,), r(3)),
    "cosine_similarity": functional("cosine_similarity", *PAIR),
    "pairwise_distance": functional("pairwise_distance", *PAIR),
    "prod": lambda m, r: (m.prod(r(2, 3)), r(2, 3).prod(1)),
    "quantile": lambda m, r: (m.quantile(r(2, 3), 0.5), m.nanquantile(r(2, 3), 0.5)),
    "reductions": lambda m, r: (r(2, 3).sum(), r(2, 3).mean(0), m.logsumexp(r(2, 3), 0), m.norm(r(2, 3)), m.cumsum(r(3), 0)),
    "elementwise": lambda m, r: (m.exp(r(3)), m.log(r(3)), m.pow(r(3), 2.5), r(3).reciprocal(), r(3) + r(3)),
    "activations": lambda m, r: (m.nn.functional.gelu(r(3)), m.nn.functional.softplus(r(3)), r(3).tanh()),
    "pooling": lambda m, r: (m.nn.functional.avg_pool2d(r(1, 2, 4, 4), 2), m.nn.functional.max_pool2d(r(1, 2, 4, 4), 2)),
    "avg_pool3d": lambda m, r: m.nn.functional.avg_pool3d(r(1, 2, 4, 4, 4), 2),
    "max_pool3d": lambda m, r: m.nn.functional.max_pool3d(r(1, 2, 4, 4, 4), 2),
    "adaptive3d": lambda m, r: (
        m.nn.functional.adaptive_avg_pool3d(r(1, 2, 4, 4, 4), 2),
        m.nn.functional.adaptive_max_pool3d(r(1, 2, 4, 4, 4), 2),
    ),
    "pad-reflect": lambda m, r: [m.nn.functional.pad(r(1, *(4,) * (n + 1)), (1, 1) * n, "reflect") for n in (1, 2, 3)],
    "pad-replicate": lambda m, r: [m.nn.functional.pad(r(1, *(4,) * (n + 1)), (1, 1) * n, "replicate") for n in (1, 2, 3)],
    "pad-constant": lambda m, r: m.nn.functional.pad(r(2, 3), (1, 1)),
    "joined": lambda m, r: (m.cat([r(3), m.ones(2)]), m.stack([r(3), m.ones(3)])),
    "interpolate": lambda m, r: m.nn.functional.interpolate(r(1, 2, 4, 4), scale_factor=2),
}  # fmt: skip
LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)
LOSSES = (*LOSSES, "kl_div", "poisson_nll_loss", "hinge_embedding_loss")
CASES |= {name: functional(name, *PAIR) for name in LOSSES}
CASES |= {
    "nll_loss": lambda m, r: m.nn.functional.nll_loss(r(2, 3), m.tensor([0, 1])),
    "cross_entropy": lambda m, r: m.nn.functional.cross_entropy(r(2, 3), m.tensor([0, 1]), label_smoothing=0.1),
    "soft_margin_loss": lambda m, r: m.nn.functional.soft_margin_loss(r(2, 3), m.ones(2, 3)),
    "gaussian_nll_loss": functional("gaussian_nll_loss", *PAIR, (2, 3)),
    "margin_ranking_loss": lambda m, r: m.nn.functional.margin_ranking_loss(r(3), r(3), m.ones(3)),
    "cosine_embedding_loss": lambda m, r: m.nn.functional.cosine_embedding_loss(r(2, 3), r(2, 3), m.ones(2)),
    "triplet_margin_loss": functional("triplet_margin_loss", *PAIR, (2, 3)),
    "multi_margin_loss": lambda m, r: m.nn.functional.multi_margin_loss(r(2, 3), m.tensor([0, 1])),
    "multilabel_soft_margin_loss": lambda m, r: m.nn.functional.multilabel_soft_margin_loss(r(2, 3), m.ones(2, 3)),
}
#: PyTorch refuses float32 scales beside other operands in float64
MIXED = ("layer_norm", "group_norm", "rms_norm")


def run(m: Any, case: Case, dtype: str, through: Callable[[Callable[..., Any]], Any]) -> tuple[list[Any], list[Any]]:
    """What a case gives under autocast, and the gradients of its operands."""
    rng, made = np.random.default_rng(0), []

    def take(*shape: int) -> Any:
        made.append(m.tensor(rng.random(shape) * 0.8 + 0.1, dtype=getattr(m, dtype)).requires_grad_())
        return made[-1]

    with m.autocast("cpu"):
        case(m, take)  # notes which operands there are
    operands, made = made, []

    def again(*given: Any) -> Any:
        rest = iter(given)
        with m.autocast("cpu"):
            return case(m, lambda *shape: next(rest))

    results = flat(through(again)(*operands))
    total: Any = 0.0
    for x in results:
        if x.requires_grad:
            weights = m.linspace(0.5, 1.5, x.numel(), dtype=m.float64).reshape(x.shape)
            total = total + (x.double() * weights).sum()
    total.backward()
    return results, [x.grad for x in operands]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_dtypes_values_and_gradients(name: str, dtype: str) -> None:
    if dtype == "float64" and name in MIXED:
        pytest.skip("operands of one dtype only")
    theirs, their_grads = run(torch, CASES[name], dtype, lambda f: f)
    for through in (lambda f: f, gc.compile):
        ours, our_grads = run(gc, CASES[name], dtype, through)
        assert [str(x.dtype)[7:] for x in ours] == [str(x.dtype)[6:] for x in theirs]
        coarse = np.float64 if dtype == "float64" and name not in ("joined",) else "bfloat16"
        for a, b in zip(ours, theirs, strict=True):
            compared(a, b, coarse)
        for g, h in zip(our_grads, their_grads, strict=True):
            assert (g is None) == (h is None)
            if h is not None:
                assert str(g.dtype)[7:] == str(h.dtype)[6:]
                compared(g, h, coarse)


def compared(a: Any, b: Any, coarse: Any) -> None:
    """Asserts that two tensors agree in the precision of the coarsest thing computed."""
    double = np.asarray(b.detach().double().numpy())
    if coarse == "bfloat16":
        limit = 24 * 2.0**-8 * max(np.abs(double).max(initial=0), 0.1)
        assert np.abs(a.detach().double().numpy() - double).max(initial=0) <= limit
    else:
        assert_close(a.detach(), double, n=64, scale=1.0)


LAYERS: dict[str, Any] = {
    "LSTM": lambda m: m.nn.LSTM(3, 4),
    "GRU": lambda m: m.nn.GRU(3, 4),
    "RNN": lambda m: m.nn.RNN(3, 4),
    "LSTMCell": lambda m: m.nn.LSTMCell(3, 4),
    "GRUCell": lambda m: m.nn.GRUCell(3, 4),
    "RNNCell": lambda m: m.nn.RNNCell(3, 4),
    "MultiheadAttention": lambda m: m.nn.MultiheadAttention(3, 1),
    "BatchNorm1d": lambda m: m.nn.BatchNorm1d(3),
    "TransformerEncoderLayer": lambda m: m.nn.TransformerEncoderLayer(3, 1, 4, dropout=0.0),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, dtype: str) -> None:
    shape = (2, 3) if name.endswith(("Cell", "1d")) else (5, 2, 3)
    theirs = LAYERS[name](torch)
    ours = LAYERS[name](gc)
    ours.load_state_dict({k: gc.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    numbers = np.random.default_rng(3).normal(size=shape)
    found = []
    for m, layer in ((gc, ours), (torch, theirs)):
        x = m.tensor(numbers, dtype=getattr(m, dtype))
        try:
            with m.autocast("cpu"):
                found.append(flat(layer(x, x, x) if name.startswith("Multi") else layer(x)))
        except RuntimeError as error:
            if m is gc or "could not create a primitive descriptor" not in str(error):
                raise
            pytest.skip("PyTorch has no bfloat16 LSTM for this processor")
    for a, b in zip(*found, strict=True):
        assert str(a.dtype)[7:] == str(b.dtype)[6:]
        compared(a, b, "bfloat16")


def test_attention_with_a_mask_and_its_weights() -> None:
    for m in (gc, torch):
        layer, x = m.nn.MultiheadAttention(4, 2, batch_first=True), m.ones(2, 3, 4)
        with m.autocast("cpu"):
            for need in (True, False):
                out, weights = layer(x, x, x, need_weights=need, attn_mask=m.zeros(3, 3))
                assert out.dtype is m.bfloat16 and (weights is None or weights.dtype is m.bfloat16)


def test_switches() -> None:
    for m in (gc, torch):
        assert (m.is_autocast_enabled("cpu"), m.is_autocast_enabled(), m.is_autocast_cpu_enabled()) == (False,) * 3
        assert m.get_autocast_dtype("cpu") is m.bfloat16 is m.get_autocast_cpu_dtype()
        assert m.get_autocast_dtype("cuda") is m.float16 is m.get_autocast_gpu_dtype()
        assert m.amp.is_autocast_available("cpu")
        assert m.is_autocast_cache_enabled()
        with m.autocast("cpu", dtype=m.float16, cache_enabled=False):
            assert m.is_autocast_enabled("cpu") and m.get_autocast_dtype("cpu") is m.float16
            assert not m.is_autocast_cache_enabled()
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float16
            with m.autocast(device_type="cpu", enabled=False):
                assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float32
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float16
        assert m.get_autocast_dtype("cpu") is m.bfloat16 and m.is_autocast_cache_enabled()
        m.set_autocast_enabled("cpu", True)
        m.set_autocast_dtype("cpu", m.float16)
        assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float16
        m.set_autocast_enabled("cpu", False)
        m.set_autocast_dtype("cpu", m.bfloat16)
        m.set_autocast_cache_enabled(False)
        m.set_autocast_cache_enabled(True)
        m.clear_autocast_cache()
        assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float32


def test_decorator_threads_and_refusals() -> None:
    for m in (gc, torch):
        x = m.ones(2, 2)

        @m.amp.autocast("cpu", dtype=m.bfloat16)
        def product(m: Any = m, x: Any = x) -> Any:
            return x @ x

        assert product().dtype is m.bfloat16 and (x @ x).dtype is m.float32
        seen: list[Any] = []
        with m.autocast("cpu"):
            other = threading.Thread(target=lambda m=m, x=x, seen=seen: seen.append((x @ x).dtype))
            other.start()
            other.join()
        assert seen == [m.float32]
        with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
            m.autocast(m.device("cpu"))
        with pytest.raises(RuntimeError):
            m.autocast("toaster")
        with pytest.warns(UserWarning, match="target dtype is not supported"), m.autocast("cpu", dtype=m.float64):
            assert (x @ x).dtype is m.float32
        if not m.cuda.is_available():
            with m.cuda.amp.autocast(enabled=True):
                assert (x @ x).dtype is m.float32


def test_a_parameter_used_twice_gets_one_gradient() -> None:
    grads = []
    for m in (gc, torch):
        w = m.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        x = m.tensor([[1.0, -1.0], [0.5, 2.0]])
        with m.autocast("cpu"):
            y = (x @ w) @ w
            z = (x @ w.t()).sum()
        (y.float().sum() + z.float()).backward()
        grads.append(w.grad)
    assert grads[0].dtype is gc.float32
    compared(grads[0], grads[1], "bfloat16")


def test_custom_functions() -> None:
    for m in (gc, torch):

        class Product(m.autograd.Function):  # type: ignore[name-defined,misc]
            @staticmethod
            @m.amp.custom_fwd(device_type="cpu", cast_inputs=m.float32)
            def forward(ctx: Any, a: Any, b: Any) -> Any:
                ctx.save_for_backward(a, b)
                return a @ b

            @staticmethod
            @m.amp.custom_bwd(device_type="cpu")
            def backward(ctx: Any, g: Any) -> Any:
                a, b = ctx.saved_tensors
                return g @ b.t(), a.t() @ g

        a = m.ones(2, 2, dtype=m.bfloat16, requires_grad=True)
        with m.autocast("cpu"):
            y = Product.apply(a, m.ones(2, 2))
        assert y.dtype is m.float32
        y.sum().backward()
        assert a.grad.dtype is m.bfloat16 and a.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


# --- GradScaler -----------------------------------------------------------------------------------------------------------


def train(m: Any, optimizer: str, through: Callable[[Any], Any], steps: int = 7) -> list[Any]:
    """A run in which one batch overflows: per step the scale, its tracker, a weight, and the step count at the end."""
    layer = m.nn.Linear(4, 1)
    with m.no_grad():
        layer.weight.copy_(m.linspace(-1, 1, 4).reshape(1, 4))
        layer.bias.zero_()
    opt = getattr(m.optim, optimizer)(layer.parameters(), lr=0.1)
    scaler = m.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)

    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = m.nn.functional.mse_loss(layer(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        m.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        scaler.step(opt)
        scaler.update()
        return loss

    call, seen = through(step), []
    for i in range(steps):
        x = m.linspace(-1, 1, 8).reshape(2, 4) * (float("inf") if i == 2 else 1.0)
        loss = call(x, m.ones(2, 1))
        state = scaler.state_dict()
        seen.append((loss.item(), scaler.get_scale(), state["_growth_tracker"], *layer.weight.flatten().tolist()))
    return seen


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_with_a_skipped_step(optimizer: str, compiled: bool) -> None:
    theirs = train(torch, optimizer, lambda f: f)
    ours = train(gc, optimizer, gc.compile if compiled else lambda f: f)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert ours[1][3:] == ours[2][3:] and ours[2][1] == ours[1][1] / 2  # it was skipped


def test_scaler_settings_and_state() -> None:
    for m in (gc, torch):
        scaler = m.amp.GradScaler(device="cpu", init_scale=8.0)
        assert scaler.is_enabled() and scaler.get_scale() == 8.0
        scaler.set_growth_factor(3.0)
        scaler.set_backoff_factor(0.25)
        scaler.set_growth_interval(5)
        assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.25, 5)
        state = scaler.state_dict()
        other = m.amp.GradScaler("cpu")
        other.load_state_dict(state)
        assert other.state_dict() == state
        scaled = other.scale([m.ones(2), m.ones(1, dtype=m.float64)])
        assert [x.tolist() for x in scaled] == [[8.0, 8.0], [8.0]] and scaled[1].dtype is m.float64
        other.update(4.0)
        assert other.get_scale() == 4.0
        with pytest.raises(RuntimeError, match="source state dict is empty"):
            other.load_state_dict({})


def test_a_scaler_that_is_off() -> None:
    for m in (gc, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scalers = [m.amp.GradScaler("cpu", enabled=False)]
            if not m.cuda.is_available():
                scalers.append(m.cuda.amp.GradScaler())
        for scaler in scalers:
            w = m.ones(2, requires_grad=True)
            opt = m.optim.SGD([w], lr=1.0)
            loss = w.sum()
            assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
            loss.backward()
            scaler.unscale_(opt)
            scaler.step(opt)
            scaler.update()
            assert w.tolist() == [0.0, 0.0] and not scaler.is_enabled()


def test_the_order_of_calls_is_watched() -> None:
    for m in (gc, torch):
        w = m.ones(2, requires_grad=True)
        opt, scaler = m.optim.SGD([w], lr=1.0), m.amp.GradScaler("cpu")
        with pytest.raises(AssertionError, match="_scale is None"):
            scaler.step(opt)
        scaler.scale(w.sum()).backward()
        with pytest.raises(AssertionError, match="No inf checks were recorded prior to update"):
            scaler.update()
        with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
            scaler.step(opt, closure=lambda: None)
        scaler.unscale_(opt)
        with pytest.raises(RuntimeError, match=r"unscale_\(\) has already been called"):
            scaler.unscale_(opt)
        scaler.step(opt)
        with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
            scaler.step(opt)
        with pytest.raises(RuntimeError, match=r"unscale_\(\) is being called after step"):
            scaler.unscale_(opt)
        half = m.ones(2, dtype=m.float16, requires_grad=True)
        other = m.optim.SGD([half], lr=1.0)
        half.grad = m.ones(2, dtype=m.float16)
        with pytest.raises(ValueError, match="unscale FP16 gradients"):
            scaler.step(other)
