"""GEMM on our own kernels and on a BLAS, against NumPy in float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from backends.llvm.gemm_runs import described, matrix, run
from test_layers import ROOT
from tolerances import assert_close

from graphc.backends.llvm import blas, gemm, gemm_library, host
from graphc.backends.llvm.gemm import Matrix, choose, needs_copy, normal, split_of

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")


@pytest.fixture(params=["kernels", "library"])
def engine(request, monkeypatch):
    """The library to offer to `choose`, so that this engine is taken."""
    if request.param == "kernels":
        return None
    monkeypatch.setattr(gemm, "_library_is_faster", lambda *_: True)
    return blas.library() or pytest.skip("no BLAS")


def numbers(rng, shape, dtype="float32"):
    if dtype in FLOATS:
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def laid_out(x, layout):
    """The same numbers in another order in memory."""
    if layout == "transposed":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "gaps":
        wide = np.full((*x.shape[:-2], x.shape[-2] * 2, x.shape[-1] + 5), np.nan, x.dtype)
        wide[..., ::2, 2:-3] = x
        return wide[..., ::2, 2:-3]
    if layout == "strided":
        wide = np.zeros((*x.shape[:-1], x.shape[-1] * 3), x.dtype)
        wide[..., ::3] = x
        return wide[..., ::3]
    return x


def wanted(a, b, c, alpha=1.0, beta=0.0):
    product = alpha * np.matmul(a.astype("f8"), b.astype("f8"))
    return (product + beta * c.astype("f8") if beta else product).astype(c.dtype)


def check(a, b, c, library, threads=1, alpha=1.0, beta=0.0, machine=None):
    expected = wanted(a, b, c, alpha, beta)
    way = run(described(a, b, c, alpha=alpha, beta=beta), [a, b, c], threads, machine, library)
    assert_close(c, expected, n=max(a.shape[-1], 1), scale=float(max(1, np.abs(expected).max(initial=0))))
    return way


SIZES = [(1, 1, 1), (2, 3, 4), (8, 48, 16), (7, 49, 15), (9, 33, 17), (65, 100, 31), (64, 10, 100), (13, 97, 300)]
SIZES += [(7, 145, 15), (1, 97, 9), (12, 70, 130), (20, 300, 1)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_sizes_and_orders(engine, dtype, m, n, k):
    rng = np.random.default_rng(0)
    a, b, c = numbers(rng, (m, k), dtype), numbers(rng, (k, n), dtype), numbers(rng, (m, n), dtype)
    for x, y, z in itertools.product(("plain", "transposed", "gaps"), repeat=3):
        way = check(laid_out(a, x), laid_out(b, y), laid_out(c.copy(), z), engine, alpha=0.5, beta=-1.5)
        assert way.engine == ("library" if engine else "kernels")


@pytest.mark.parametrize("beta", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("alpha", [1.0, -2.0, 0.0])
def test_scales(engine, alpha, beta):
    rng = np.random.default_rng(1)
    a, b, c = numbers(rng, (20, 30)), numbers(rng, (30, 50)), numbers(rng, (20, 50))
    check(a, b, c, engine, alpha=alpha, beta=beta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", ["row", "whole", "gaps"])
@pytest.mark.parametrize(("m", "n", "k"), [(9, 33, 17), (64, 32, 64), (70, 100, 600), (1, 40, 3), (5, 1, 8), (4, 7, 0)])
def test_something_else_is_added(engine, dtype, shape, m, n, k):
    rng = np.random.default_rng(21)
    a, b, c = numbers(rng, (3, m, k), dtype), numbers(rng, (k, n), dtype), np.full((3, m, n), np.nan, dtype)
    d = numbers(rng, (n,) if shape == "row" else (3, m, n), dtype)
    d = laid_out(d, "gaps") if shape == "gaps" else d
    expected = 0.5 * np.matmul(a.astype("f8"), b.astype("f8")) - 2.0 * d.astype("f8")
    for threads in (1, 2, 3):
        c[:] = np.nan
        run(described(a, b, c, d, alpha=0.5, beta=-2.0), [a, b, c, d], threads, library=engine)
        assert_close(c, expected.astype(dtype), n=max(k, 1), scale=float(np.abs(expected).max()))


def test_blocks_of_rows_and_depth():
    rng = np.random.default_rng(2)
    a, b, c = numbers(rng, (gemm.ROW_BLOCK + 9, 2 * gemm.DEPTH_BLOCK + 3)), None, None
    b, c = numbers(rng, (a.shape[1], 50)), numbers(rng, (a.shape[0], 50))
    check(a, b, c, None, alpha=2.0, beta=3.0)
    check(laid_out(a, "transposed"), laid_out(b, "transposed"), c, None, beta=0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("n", [40, 97, 500])
def test_rows_of_b_far_apart_are_copied_for_several_strips(dtype, n):
    rng = np.random.default_rng(13)
    for m, k in [(7, 9), (20, 130), (33, 300)]:
        wide = numbers(rng, (k, 3000), "int8").astype(dtype)
        a, b, c = numbers(rng, (m, k), "int8").astype(dtype), wide[:, 3 : 3 + n], np.zeros((m, n), dtype)
        product = described(a, b, c)
        assert k < 100 or n < 50 or gemm._group(product, gemm.element(dtype, host.machine())) > 1
        run(product, [a, b, c])
        with np.errstate(over="ignore"):
            assert np.array_equal(c, np.matmul(a, b))


def test_small_products_are_made_without_copies():
    small = described(np.zeros((64, 64), "f4"), np.zeros((64, 32), "f4"), np.zeros((64, 32), "f4"))
    way = choose(small, 1, host.machine(), lambda: None)
    assert (way.scratch_bytes == 0) == (host.machine().vector_bytes == 64)


def test_strides_a_blas_refuses():
    rng = np.random.default_rng(3)
    a, b, c = numbers(rng, (20, 30)), numbers(rng, (30, 50)), numbers(rng, (20, 50))
    for x, y in itertools.product(("strided", "plain"), repeat=2):
        way = check(laid_out(a, x), laid_out(b, y), c, blas.library())
    way = check(a[::-1], b[:, ::-1], c, blas.library())
    assert way.engine == "kernels"
    check(np.broadcast_to(a[:1], a.shape), np.broadcast_to(b[:, :1], b.shape), c, blas.library())


def test_a_result_with_gaps_in_rows_and_columns_needs_a_copy():
    rng = np.random.default_rng(4)
    a, b, c = numbers(rng, (4, 5)), numbers(rng, (5, 6)), laid_out(numbers(rng, (4, 6)), "strided")
    assert needs_copy(described(a, b, c)) == ("c",)
    assert needs_copy(described(a, b, laid_out(c, "transposed"))) == ()
    assert needs_copy(described(a, b[:, :1], c[:, :1])) == ()
    check(a, b[:, :1], c[:, :1], None)
    check(a[:1], b, c[:1], None)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("split", gemm.DIRECTIONS)
def test_splits_give_the_same_bits(engine, split, threads, monkeypatch):
    monkeypatch.setattr(gemm, "SMALLEST_PART", 1)
    rng = np.random.default_rng(5)
    a, b, c = numbers(rng, (5, 70, 60)), numbers(rng, (5, 60, 90)), np.zeros((5, 70, 90), "f4")
    described_ = described(a, b, c)
    machine = host.machine()
    found = gemm._splits(normal(described_), gemm.element("float32", machine), threads)
    ways = {s[-1]: s for s in found}
    _, _, unit, extent, parts, _ = ways[split]
    way = replace(
        choose(described_, threads, machine, lambda: engine), split=split, unit=unit, extent=extent, parts=parts
    )
    run(described_, [a, b, c], machine=machine, library=engine, way=way)
    assert_close(c, wanted(a, b, c), n=60)
    again = c.copy()
    again[:] = np.nan
    run(described(a, b, again), [a, b, again], machine=machine, library=engine, way=way)
    assert again.tobytes() == c.tobytes()
    assert parts == min(threads, extent)


def test_batches(engine):
    rng = np.random.default_rng(6)
    for batch, of_a, of_b in [
        ((3,), (3,), (3,)),
        ((2, 3), (2, 1), (3,)),
        ((2, 3, 2), (2, 3, 2), (1, 3, 1)),
        ((4,), (1,), (4,)),
    ]:
        a, b = numbers(rng, (*of_a, 9, 20)), numbers(rng, (*of_b, 20, 17))
        check(a, b, numbers(rng, (*batch, 9, 17)), engine, beta=0.5)
        check(a, laid_out(b, "transposed"), numbers(rng, (*batch, 9, 17)), engine, threads=2)


def test_more_than_three_batch_axes_need_copies_unless_they_join():
    a, b, c = np.ones((2, 2, 2, 2, 3, 4), "f4"), np.ones((2, 2, 2, 2, 4, 5), "f4"), np.zeros((2, 2, 2, 2, 3, 5), "f4")
    assert needs_copy(described(a, b, c)) == ()
    check(a, b, c, None)
    assert needs_copy(described(a.transpose(3, 1, 2, 0, 4, 5), b, c)) == ()
    assert (
        needs_copy(
            described(
                np.ones((5, 1, 5, 1, 3, 4), "f4"), np.ones((5, 1, 5, 4, 5), "f4"), np.zeros((5, 5, 5, 5, 3, 5), "f4")
            )
        )
        != ()
    )


def test_a_batch_with_one_right_operand_becomes_rows():
    a, b, c = np.ones((6, 5, 4), "f4"), np.ones((4, 3), "f4"), np.zeros((6, 5, 3), "f4")
    assert normal(described(a, b, c)).m == 30
    assert normal(described(a, b, c)).batch == ()
    assert normal(described(a[:, :4], b, c[:, :4])).batch == (6,)
    check(a, b, c, None)


def test_empty_products(engine):
    rng = np.random.default_rng(7)
    for m, n, k in [(0, 5, 4), (5, 0, 4), (0, 0, 0), (5, 6, 0)]:
        for beta in (0.0, 0.5, 1.0):
            a, b, c = numbers(rng, (m, k)), numbers(rng, (k, n)), numbers(rng, (m, n))
            check(a, b, c, engine, beta=beta)
    c = np.full((5, 6), np.nan, "f4")
    check(np.ones((5, 0), "f4"), np.ones((0, 6), "f4"), c, engine)
    assert not c.any()
    check(np.ones((0, 5, 4), "f4"), np.ones((0, 4, 3), "f4"), np.ones((0, 5, 3), "f4"), engine, threads=2)


def test_beta_0_does_not_read_the_result(engine):
    a, b, c = np.ones((9, 20), "f4"), np.ones((20, 40), "f4"), np.full((9, 40), np.nan, "f4")
    check(a, b, c, engine)
    assert (c == 20).all()


@pytest.mark.parametrize("alpha", [1.0, 0.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_reach_exactly_their_row_and_column(engine, bad, alpha):
    for m, n, k in [(9, 50, 20), (1, 50, 20), (9, 1, 20), (64, 64, 64)]:
        a, b, c = np.ones((m, k), "f4"), np.ones((k, n), "f4"), np.ones((m, n), "f4")
        a[m // 2, k // 2] = bad
        b[k // 3, n // 2] = bad
        run(described(a, b, c, alpha=alpha, beta=2.0), [a, b, c], library=engine)
        with np.errstate(invalid="ignore"):
            expected = alpha * np.matmul(a.astype("f8"), b.astype("f8")) + 2
        assert np.array_equal(c, expected.astype("f4"), equal_nan=True)


def test_infinity_times_zero_is_nan(engine):
    a, b, c = np.zeros((5, 20), "f4"), np.ones((20, 30), "f4"), np.ones((5, 30), "f4")
    b[3, 4] = np.inf
    run(described(a, b, c), [a, b, c], library=engine)
    assert np.isnan(c[:, 4]).all()
    assert (np.delete(c, 4, 1) == 0).all()


@pytest.mark.parametrize("rate", [0.1, 0.0])
@pytest.mark.parametrize("of", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_alpha_read_at_run_time(engine, dtype, of, rate):
    rng = np.random.default_rng(8)
    x, g, w = numbers(rng, (20, 30), dtype), numbers(rng, (20, 40), dtype), numbers(rng, (30, 40), dtype)
    lr = np.array([0, rate], of)
    expected = (w - lr[1].astype("f8") * (x.T.astype("f8") @ g.astype("f8"))).astype(dtype)
    update = described(x.T, g, w, alpha=-1.0, beta=1.0, alpha_at=(4, lr.itemsize, of))
    run(update, [x, g, w, lr], library=engine)
    assert_close(w, expected, n=20)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap(dtype):
    rng = np.random.default_rng(9)
    for m, n, k in [(1, 1, 1), (9, 50, 20), (33, 17, 70), (3, 4, 0)]:
        a, b, c = (numbers(rng, shape, dtype) for shape in ((m, k), (k, n), (m, n)))
        with np.errstate(over="ignore"):
            expected = np.matmul(a, b) * np.array(3, dtype) + c
        run(described(a, laid_out(b, "transposed"), c, alpha=3, beta=1), [a, laid_out(b, "transposed"), c])
        assert np.array_equal(c, expected)


@pytest.mark.skipif(host.machine().vector_bytes < 32, reason="needs AVX2 to run AVX2")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_other_vectors(level, dtype):
    rng = np.random.default_rng(10)
    for m, n, k in [(7, 49, 15), (9, 33, 17), (5, 3, 40)]:
        a, b, c = (numbers(rng, shape, "int8").astype(dtype) for shape in ((m, k), (k, n), (m, n)))
        for x, y in itertools.product(("plain", "transposed"), repeat=2):
            check(laid_out(a, x), laid_out(b, y), c, None, beta=1.0, machine=host.level(level))


def test_offsets_and_slots_are_read():
    rng = np.random.default_rng(11)
    memory = numbers(rng, 2000)
    a, b, c = memory[10:210].reshape(10, 20), memory[300:600].reshape(20, 15), memory[1000:1150].reshape(10, 15)
    operands = [Matrix(1, 40, 20, 1), Matrix(1, 1200, 15, 1), Matrix(1, 4000, 15, 1)]
    expected = wanted(a, b, c, beta=1.0)
    run(gemm.Gemm("float32", 10, 15, 20, *operands, beta=1.0), [memory])
    assert_close(c, expected, n=20)


def test_the_split_follows_the_shape():
    machine = host.machine()
    tall, wide = np.zeros((4096, 64), "f4"), np.zeros((64, 4096), "f4")
    small = np.zeros((64, 64), "f4")
    assert split_of(described(tall, small, tall), 2, machine) == "rows"
    assert split_of(described(small, wide, wide), 2, machine) == "columns"
    many = np.zeros((64, 8, 8), "f4")
    assert split_of(described(many, many, many), 2, machine) == "batch"
    tiny = described(small[:8, :8], small[:8, :8], np.zeros((8, 8), "f4"))
    assert choose(tiny, 2, machine, lambda: None).parts == 1


def test_large_products_go_to_the_library():
    library, machine = blas.library() or pytest.skip("no BLAS"), host.machine()
    large, small = np.zeros((2000, 2000), "f4"), np.zeros((2000, 64), "f4")
    assert choose(described(large, large, large), 1, machine, lambda: library).engine == "library"
    assert choose(described(large, large, large), 1, machine, lambda: None).engine == "kernels"
    assert choose(described(large, small, np.zeros((2000, 64), "f4")), 1, machine, lambda: library).engine == (
        "kernels" if machine.vector_bytes >= 32 and machine.fma else "library"
    )
    integers = large.astype("i4")
    assert choose(described(integers, integers, integers), 1, machine, lambda: library).engine == "kernels"


def test_what_computes_a_product_is_named():
    library, machine = blas.library() or pytest.skip("no BLAS"), host.machine()
    large = np.zeros((2000, 2000), "f8")
    product = described(large, large, large)
    assert gemm.described(product, choose(product, 1, machine, lambda: None)) == "graphc's packed product"
    named = gemm.described(product, choose(product, 1, machine, lambda: library))
    assert named == f"dgemm of {library.name} ({library.core})"


def test_the_description_counts_work():
    a, b, c = np.zeros((6, 5, 4), "f4"), np.zeros((4, 3), "f4"), np.zeros((6, 5, 3), "f4")
    product = described(a, b, c, beta=1.0)
    assert product.flops == 2 * 30 * 4 * 3
    assert matrix(1, a.swapaxes(1, 2)) == matrix(1, a).transposed()


# ------------------------------------------------------------------------------------------------ the library


def test_the_library_is_ours_alone():
    """Somebody has loaded the same file, with its own threads and another core: ours is a copy."""
    code = """
import ctypes, importlib.util, pathlib
folder = importlib.util.find_spec("scipy_openblas32").submodule_search_locations[0]
path = next(pathlib.Path(folder, "lib").glob("libscipy_openblas*"))
theirs = ctypes.CDLL(str(path))
theirs.scipy_openblas_set_num_threads(2)
from graphc.backends.llvm import blas
ours = blas.library()
address = ctypes.cast(theirs.scipy_cblas_sgemm, ctypes.c_void_p).value
assert ours.addresses["sgemm"] != address
assert theirs.scipy_openblas_get_num_threads() == 2
print(ours.core)
"""
    if blas.library() is None or blas.library().name != "scipy-openblas32":
        pytest.skip("no scipy-openblas32")
    found = python(code, OPENBLAS_CORETYPE="Nehalem")
    assert found.stdout.strip() == "Nehalem"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def python(code, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)


def test_numpys_library_is_the_fallback(monkeypatch):
    monkeypatch.setattr(blas.importlib.util, "find_spec", lambda name: None)
    found = next(filter(None, map(blas._load, blas._candidates())), None)
    if found is None:
        pytest.skip("this NumPy brings no OpenBLAS")
    assert found.name == "NumPy's OpenBLAS"
    monkeypatch.setattr(gemm, "_library_is_faster", lambda *_: True)
    rng = np.random.default_rng(12)
    check(numbers(rng, (20, 30)), numbers(rng, (30, 40)), numbers(rng, (20, 40)), found, beta=1.0)


def test_a_file_that_is_no_library_is_passed_over(tmp_path):
    path = tmp_path / "libscipy_openblas.so"
    path.write_bytes(b"not a library")
    for shared in (False, True):
        assert blas._load(blas._Candidate("x", str(path), "scipy_", "", 32, shared)) is None


def test_the_core_is_chosen_only_where_the_user_has_not(monkeypatch):
    chosen_by_us = bool(blas.wanted_core())  # when the library was loaded, perhaps by a test before
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert blas.wanted_core() == ""
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert blas.wanted_core() == ("SkylakeX" if host.machine().vector_bytes == 64 else "")
    library = blas.library()
    if library is not None and chosen_by_us:
        assert library.core.lower() not in blas.LESSER_CORES
        assert gemm_library.ROW_MAJOR == 101
