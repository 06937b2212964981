"""MultiheadAttention."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentError
from graphc.nn import init
from graphc.nn.modules.linear import Linear, new_parameter
from graphc.nn.modules.module import Module
from graphc.nn.multihead import Projections, attend_unbatched_too


class NonDynamicallyQuantizableLinear(Linear):
    """Linear, under the name that PyTorch shows for the way out of attention."""


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani et al. 2017), with learned projections in and out.

    ValueError unless embed_dim and num_heads are positive, AssertionError unless the heads divide embed_dim.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ArgumentError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        same = self._qkv_same_embed_dim
        sizes = {
            "q_proj_weight": None if same else (embed_dim, embed_dim),
            "k_proj_weight": None if same else (embed_dim, self.kdim),
            "v_proj_weight": None if same else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if same else None,
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, size in sizes.items():
            made = None if size is None else new_parameter(*size, dtype=dtype, device=device)
            self.register_parameter(name, made)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            made = new_parameter(1, 1, embed_dim, dtype=dtype, device=device) if add_bias_kv else None
            self.register_parameter(name, made)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """query: f32[L, N, E], key: f32[S, N, kdim], value: f32[S, N, vdim] (`batch_first`: N before L and S; or no N).

        Gives the result, shaped like query, and the weights f32[N, L, S] (f32[N, heads, L, S] unless averaged) or None.
        key_padding_mask: [N, S]; attn_mask: [L, S] or [N * heads, L, S]; bool (True: not allowed) or floating (added).
        """
        separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        p = Projections(
            self.in_proj_weight, separate, self.in_proj_bias, self.bias_k, self.bias_v, self.out_proj.weight,
            self.out_proj.bias,
        )  # fmt: skip
        return attend_unbatched_too(
            query, key, value, p, self.embed_dim, self.num_heads, batch_first=self.batch_first,
            dropout_p=self.dropout if self.training else 0.0, key_padding_mask=key_padding_mask, attn_mask=attn_mask,
            add_zero_attn=self.add_zero_attn, need_weights=need_weights, average=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip


__all__ = ["MultiheadAttention", "NonDynamicallyQuantizableLinear"]
