"""Operators of PyTorch's `op_db` that graphc has not, or does not do as PyTorch, each with the reason."""

from __future__ import annotations

#: reason -> names of operators that do not hold
GAPS: dict[str, str] = {
    "graphc has no complex numbers": """
        view_as_real view_as_complex complex stft istft imag nn.functional.silu.complex
        nn.functional.batch_norm.without_cudnn polar cdouble cfloat chalf fft.fft fft.fft2 fft.fftn fft.hfft fft.hfft2
        fft.hfftn fft.rfft fft.rfft2 fft.rfftn fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.ihfft2 fft.ihfftn fft.irfft
        fft.irfft2 fft.irfftn fft.fftshift fft.ifftshift linalg.eig linalg.eigvals
    """,
    "graphc has no sparse, nested or float8 tensors": """
        sparse.sampled_addmm sparse.mm.reduce torch._scaled_mm_v2 torch._scaled_mm to_sparse _segment_reduce.lengths
        _segment_reduce.offsets
    """,
    "PyTorch's inner parts, which no program calls": """
        _softmax_backward_data native_group_norm native_layer_norm native_batch_norm _native_batch_norm_legit
        _batch_norm_with_update _upsample_bilinear2d_aa max_pool2d_with_indices_backward
        torch.ops.aten._safe_softmax.default torch.ops.aten._flash_attention_forward
        torch.ops.aten._efficient_attention_forward __rdiv__ slice _unsafe_masked_index
        _unsafe_masked_index_put_accumulate _chunk_cat jiterator_unary jiterator_binary
        jiterator_4inputs_with_extra_args jiterator_binary_return_by_ref jiterator_2inputs_2outputs
        native_dropout_backward hash_tensor
    """,
    "PyTorch's copies of views, which programs write as view and clone": """
        unsafe_chunk expand_copy diagonal_copy alias_copy as_strided_copy as_strided_scatter narrow_copy view_copy
        permute_copy unsafe_split split_with_sizes_copy unbind_copy unfold_copy squeeze_copy unsqueeze_copy
        transpose_copy t_copy
    """,
    "special functions that no program of our survey calls": """
        i0 frexp igamma igammac
        polygamma.polygamma_n_0 polygamma.polygamma_n_1 polygamma.polygamma_n_2 polygamma.polygamma_n_3
        polygamma.polygamma_n_4 special.i0e special.i1 special.i1e special.ndtr special.polygamma.special_polygamma_n_0
        special.xlog1py special.zeta special.entr special.ndtri special.log_ndtr special.erfcx special.airy_ai
        special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1 special.chebyshev_polynomial_t
        special.chebyshev_polynomial_u special.chebyshev_polynomial_v special.chebyshev_polynomial_w
        special.hermite_polynomial_h special.hermite_polynomial_he special.laguerre_polynomial_l
        special.legendre_polynomial_p special.modified_bessel_i0 special.modified_bessel_i1 special.modified_bessel_k0
        special.modified_bessel_k1 special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w special.spherical_bessel_j0
    """,
    "masked reductions: masks are tensors of their own, for where and masked_fill": """
        masked.sum masked.prod masked.cumsum masked.cumprod masked.amax masked.amin masked.argmax masked.argmin
        masked.mean masked.median masked.norm masked.var masked.std masked.softmax masked.log_softmax masked.softmin
        masked.normalize masked.logaddexp masked.logsumexp
    """,
    "windows of signal processing": """
        signal.windows.hamming signal.windows.hann signal.windows.bartlett signal.windows.blackman signal.windows.cosine
        signal.windows.exponential signal.windows.gaussian signal.windows.kaiser signal.windows.general_cosine
        signal.windows.general_hamming signal.windows.nuttall
    """,
    "decompositions that are not there yet, or their gradients": """
        geqrf lu ormqr svd_lowrank pca_lowrank linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve linalg.lu_factor
        linalg.lu_factor_ex linalg.lu linalg.pinv.hermitian
    """,
    "not there yet": """
        sum_to_size lcm gcd constant_pad_nd nextafter new_empty_strided empty_strided empty_permuted histogram
        histogramdd fill resize_as_ nonzero_static grid_sampler_2d grid_sampler_3d
    """,
}
#: the same of operators that hold in eager code, but not compiled
COMPILED: dict[str, str] = {
    "the number of results, or a size, is known only when the program runs; the error says so": """
        item allclose equal masked_select narrow tensor_split unique unique_consecutive bincount resize_ nonzero
        nn.functional.one_hot argwhere
    """,
}


def reason(name: str, backend: str | None) -> str | None:
    """Why an operator does not hold in eager mode (None) or compiled for a backend; None where it does."""
    for table in (GAPS,) if backend is None else (GAPS, COMPILED):
        for why, names in table.items():
            if name in names.split():
                return why
    return None
