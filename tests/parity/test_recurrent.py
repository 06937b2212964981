"""Recurrent layers, their cells and packed sequences against PyTorch: outputs, states and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
from nn_cases import f32, f64
from side_by_side import compare, flat, pair, refuse
from tolerances import assert_close

import graphc as gc
from graphc import nn
from graphc.nn.utils import rnn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

T, N, E, H = 5, 3, 4, 6


def both(make):
    """The same module in both libraries, ours with PyTorch's weights, in float64."""
    torch.manual_seed(0)
    theirs, ours = make(torch.nn).double(), make(nn).double()
    assert repr(ours) == repr(theirs)
    state = {k: gc.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def weighted(lib, results):
    """A scalar to which every element of every result counts differently."""
    total = 0.0
    for k, x in enumerate(results):
        w = np.linspace(0.5, 1.5, x.numel()).reshape(tuple(x.shape)) + k
        total = total + (x * lib.tensor(w)).sum()
    return total


def check(ours, theirs, mine, its, inputs):
    """Equal results, and equal gradients in every parameter and input."""
    compare(mine, its, n=64)
    weighted(gc, flat(mine)).backward()
    weighted(torch, flat(its)).backward()
    for (name, p), (same, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == same
        compare(p.grad, q.grad, n=256, scale=max(1.0, float(q.grad.abs().max())))
    for a, b in inputs:
        compare(a.grad, b.grad, n=256, scale=max(1.0, float(b.grad.abs().max())))


def states(text, layers, *batch):
    """Initial states for a layer written as `text`."""
    out = 2 if "proj_size=2" in text else H
    if text.startswith("LSTM"):
        return [f64(layers, *batch, out, seed=5), f64(layers, *batch, H, seed=6)]
    return [f64(layers, *batch, out, seed=5)]


def call(module, x, h):
    """The module on x, with no state, one state or a pair."""
    return module(x) if not h else module(x, h[0] if len(h) == 1 else tuple(h))


LAYERS = [
    "RNN(4, 6)", "RNN(4, 6, nonlinearity='relu')", "RNN(4, 6, 2, 'relu', False)", "LSTM(4, 6)", "GRU(4, 6)",
    "LSTM(4, 6, bias=False)", "GRU(4, 6, bias=False)", "LSTM(4, 6, 2)", "GRU(4, 6, 3)", "LSTM(4, 6, bidirectional=True)",
    "GRU(4, 6, 2, bidirectional=True)", "RNN(4, 6, bidirectional=True, bias=False)", "LSTM(4, 6, batch_first=True)",
    "GRU(4, 6, 2, batch_first=True, bidirectional=True)", "LSTM(4, 6, proj_size=2)",
    "LSTM(4, 6, 2, proj_size=2, bidirectional=True, bias=False)",
]  # fmt: skip


def layer_count(theirs):
    return theirs.num_layers * (2 if theirs.bidirectional else 1)


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("text", LAYERS)
def test_layers(text, given):
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    made = [pair(torch, f64(N, T, E) if theirs.batch_first else f64(T, N, E), True)]
    if given:
        made += [pair(torch, a, True) for a in states(text, layer_count(theirs), N)]
    mine, its = (call(m, *((t[0], t[1:]))) for m, t in zip((ours, theirs), zip(*made, strict=True), strict=True))
    check(ours, theirs, mine, its, made)


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("text", ["RNN(4, 6)", "LSTM(4, 6, 2, batch_first=True)", "GRU(4, 6, bidirectional=True)"])
def test_unbatched(text, given):
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    made = [pair(torch, f64(T, E), True)]
    if given:
        made += [pair(torch, a, True) for a in states(text, layer_count(theirs))]
    mine, its = (call(m, t[0], t[1:]) for m, t in zip((ours, theirs), zip(*made, strict=True), strict=True))
    check(ours, theirs, mine, its, made)


@pytest.mark.parametrize("text", ["RNN(4, 6)", "LSTM(4, 6)", "GRU(4, 6)"])
def test_an_empty_batch_and_one_step(text):
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    for shape in ((T, 0, E), (1, N, E), (1, 1, E)):
        a, b = pair(torch, f64(*shape))
        compare(ours(a), theirs(b), n=64)


@pytest.mark.parametrize("text", ["RNN(4, 6, 2)", "LSTM(4, 6)", "GRU(4, 6, bidirectional=True)"])
def test_half_and_single_precision(text):
    for dtype in ("float32", "bfloat16"):
        ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
        ours.to(getattr(gc, dtype)), theirs.to(getattr(torch, dtype))
        a, b = pair(torch, f32(T, N, E))
        mine, its = ours(a.to(getattr(gc, dtype))), theirs(b.to(getattr(torch, dtype)))
        for x, y in zip(flat(mine), flat(its), strict=True):
            assert str(x.dtype).split(".")[-1] == dtype
            np.testing.assert_allclose(
                x.detach().float().numpy(), y.detach().float().numpy(), atol=1e-6 if dtype == "float32" else 0.03
            )


def test_names_weights_and_initial_values():
    for text in ("LSTM(3, 50, 2, bidirectional=True, proj_size=5)", "RNN(3, 50)", "GRUCell(3, 50)"):
        ours, theirs = (eval("n." + text, {"n": n}) for n in (nn, torch.nn))
        for (name, p), (same, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert (name, tuple(p.shape)) == (same, tuple(q.shape))
            for x in (p, q):
                assert 0.6 * 50**-0.5 < float(x.abs().max()) <= 50**-0.5
    ours, theirs = (n.LSTM(3, 5, 2, proj_size=2, bidirectional=True) for n in (nn, torch.nn))
    assert [[tuple(w.shape) for w in ws] for ws in ours.all_weights] == [
        [tuple(w.shape) for w in ws] for ws in theirs.all_weights
    ]
    assert ours.all_weights[1][0] is ours.weight_ih_l0_reverse
    for m in (ours, theirs):
        assert m.flatten_parameters() is None
        assert m.mode == "LSTM" and (m.num_layers, m.proj_size, m.dropout) == (2, 2, 0.0)


def test_the_base_classes():
    for n in (nn, torch.nn):
        assert n.RNNBase("GRU", 3, 4).weight_ih_l0.shape == (12, 3)
        assert n.RNNCellBase(3, 4, True, num_chunks=2).weight_hh.shape == (8, 4)
        assert issubclass(n.LSTM, n.RNNBase) and issubclass(n.LSTMCell, n.RNNCellBase)


def test_dropout_stands_between_the_layers_and_only_in_training():
    for text in ("LSTM(4, 6, 2, dropout=1.0)", "GRU(4, 6, 2, dropout=1.0)", "RNN(4, 6, 2, dropout=1.0)"):
        ours, theirs = both(lambda n: eval("n." + text, {"n": n}))  # noqa: B023
        a, b = pair(torch, f64(T, N, E))
        compare(ours(a), theirs(b), n=64)  # the second layer sees zeros
        compare(ours.eval()(a), theirs.eval()(b), n=64)
    layer = nn.LSTM(4, 60, 2, dropout=0.5)
    x = gc.tensor(f32(T, N, E))
    assert not np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    layer.eval()
    assert np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())


CELLS = ["RNNCell(4, 6)", "RNNCell(4, 6, False, 'relu')", "LSTMCell(4, 6)", "LSTMCell(4, 6, bias=False)", "GRUCell(4, 6)",
         "GRUCell(4, 6, bias=False)"]  # fmt: skip


@pytest.mark.parametrize("batch", [(3,), ()], ids=["batch", "unbatched"])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("text", CELLS)
def test_cells(text, given, batch):
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    made = [pair(torch, f64(*batch, E), True)]
    if given:
        made += [pair(torch, f64(*batch, H, seed=3 + i), True) for i in range(2 if "LSTM" in text else 1)]
    mine, its = (call(m, t[0], t[1:]) for m, t in zip((ours, theirs), zip(*made, strict=True), strict=True))
    check(ours, theirs, mine, its, made)


def test_a_layer_is_its_cell_over_time():
    for kind in ("RNN", "LSTM", "GRU"):
        layer, cell = getattr(nn, kind)(E, H), getattr(nn, kind + "Cell")(E, H)
        cell.load_state_dict({k: v for (k, _), v in zip(cell.state_dict().items(), layer.state_dict().values())})  # noqa: B905
        x = gc.tensor(f32(T, N, E))
        state, found = None, []
        for t in range(T):
            state = cell(x[t], state)
            found.append(state[0] if kind == "LSTM" else state)
        assert_close(layer(x)[0].detach(), gc.stack(found).detach(), n=E + H)


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "input size": lambda m, x: m.nn.LSTM(3, 6)(x),
    "dtype": lambda m, x: m.nn.LSTM(4, 6)(x.double()),
    "4 dimensions": lambda m, x: m.nn.GRU(4, 6)(x[None]),
    "state size": lambda m, x: m.nn.GRU(4, 6)(x, m.zeros(1, 2, 6)),
    "state layers": lambda m, x: m.nn.RNN(4, 6, 2)(x, m.zeros(1, 3, 6)),
    "state dimensions": lambda m, x: m.nn.GRU(4, 6)(x, m.zeros(3, 6)),
    "pair dimensions": lambda m, x: m.nn.LSTM(4, 6)(x[0], (m.zeros(1, 1, 6), m.zeros(1, 1, 6))),
    "first of pair": lambda m, x: m.nn.LSTM(4, 6)(x, (m.zeros(1, 2, 6), m.zeros(1, 3, 6))),
    "second of pair": lambda m, x: m.nn.LSTM(4, 6, proj_size=2)(x, (m.zeros(1, 3, 2), m.zeros(1, 3, 2))),
    "no steps": lambda m, x: m.nn.LSTM(4, 6)(x[:0]),
    "dropout": lambda m, x: m.nn.LSTM(4, 6, dropout=1.2),
    "dropout bool": lambda m, x: m.nn.LSTM(4, 6, dropout=True),
    "float size": lambda m, x: m.nn.LSTM(4.0, 6),
    "float hidden": lambda m, x: m.nn.LSTM(4, 6.0),
    "zero size": lambda m, x: m.nn.LSTM(0, 6),
    "zero hidden": lambda m, x: m.nn.RNN(4, 0),
    "no layers": lambda m, x: m.nn.GRU(4, 6, 0),
    "bias": lambda m, x: m.nn.GRU(4, 6, bias=1),
    "batch_first": lambda m, x: m.nn.GRU(4, 6, batch_first=1),
    "proj too large": lambda m, x: m.nn.LSTM(4, 6, proj_size=6),
    "proj negative": lambda m, x: m.nn.LSTM(4, 6, proj_size=-1),
    "proj of GRU": lambda m, x: m.nn.GRU(4, 6, proj_size=2),
    "proj of RNN": lambda m, x: m.nn.RNN(4, 6, proj_size=2),
    "nonlinearity": lambda m, x: m.nn.RNN(4, 6, nonlinearity="sin"),
    "mode": lambda m, x: m.nn.RNNBase("LSTMS", 4, 6),
    "cell input size": lambda m, x: m.nn.LSTMCell(3, 6)(x[0]),
    "cell dimensions": lambda m, x: m.nn.GRUCell(4, 6)(x),
    "cell state dimensions": lambda m, x: m.nn.GRUCell(4, 6)(x[0], x),
    "cell state size": lambda m, x: m.nn.RNNCell(4, 6)(x[0], m.zeros(3, 5)),
    "cell state batch": lambda m, x: m.nn.LSTMCell(4, 6)(x[0], (m.zeros(3, 6), m.zeros(2, 6))),
    "cell nonlinearity": lambda m, x: m.nn.RNNCell(4, 6, nonlinearity="sin")(x[0]),
    "lengths that rise": lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [2, 5, 1]),
    "lengths of zero": lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 0]),
    "too few lengths": lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [5, 3]),
    "lengths 2-d": lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, m.ones(3, 1).long()),
    "total_length": lambda m, x: m.nn.utils.rnn.pad_packed_sequence(
        m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 1]), total_length=4
    ),
    "no sequences": lambda m, x: m.nn.utils.rnn.pad_sequence([]),
    "not sequences": lambda m, x: m.nn.utils.rnn.pad_sequence(3),
    "sequences of other sizes": lambda m, x: m.nn.utils.rnn.pad_sequence([x[0], x[0, :, :2]]),
    "padding side": lambda m, x: m.nn.utils.rnn.pad_sequence([x[0]], padding_side="top"),
    "short sequence first": lambda m, x: m.nn.utils.rnn.pack_sequence([x[0, :1], x[0]]),
    "data alone": lambda m, x: m.nn.utils.rnn.PackedSequence(x),
    "packed state": lambda m, x: m.nn.GRU(4, 6)(
        m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 1]), m.zeros(1, 2, 6)
    ),
    "packed size": lambda m, x: m.nn.GRU(3, 6)(m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 1])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    refuse(torch, REFUSED[name], f32(T, N, E))


def test_lengths_beyond_the_batch_are_refused():
    with pytest.raises(gc.errors.ShapeError, match="a length of 7 in a batch of 5 steps"):
        rnn.pack_padded_sequence(gc.zeros(T, N, E), [7, 2, 1])


def test_dropout_without_effect_warns():
    for n in (nn, torch.nn):
        with pytest.warns(UserWarning, match="non-zero dropout expects num_layers"):
            n.LSTM(4, 6, dropout=0.5)


# --- packed sequences -------------------------------------------------------------------------------------------------


def same_packed(mine, its):
    compare(mine.data, its.data, n=64)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        a, b = getattr(mine, name), getattr(its, name)
        assert (a is None) == (b is None)
        if b is not None:
            compare(a, b)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 5, 3], [4, 4, 4]])
def test_pack_and_pad(lengths, batch_first):
    enforce = lengths == sorted(lengths, reverse=True)
    a, b = pair(torch, f64(N, T, E) if batch_first else f64(T, N, E), True)
    found = []
    for lib, x in ((gc, a), (torch, b)):
        tools = lib.nn.utils.rnn
        packed = tools.pack_padded_sequence(x, lib.tensor(lengths), batch_first, enforce)
        found.append((packed, tools.pad_packed_sequence(packed, batch_first, -1.0, 7)))
    same_packed(found[0][0], found[1][0])
    compare(found[0][1], found[1][1])
    for lib, (_, (whole, _)) in zip((gc, torch), found, strict=True):
        weighted(lib, [whole]).backward()
    compare(a.grad, b.grad)


def test_lists_of_sequences():
    arrays = [f64(n, 2, seed=n) for n in (2, 4, 1)]
    for side in ("right", "left"):
        for first in (False, True):
            compare(*(
                lib.nn.utils.rnn.pad_sequence([lib.tensor(a) for a in arrays], first, 0.5, side) for lib in (gc, torch)
            ))  # fmt: skip
    found = [lib.nn.utils.rnn.pack_sequence([lib.tensor(a) for a in arrays], False) for lib in (gc, torch)]
    same_packed(*found)
    compare(*(lib.nn.utils.rnn.unpack_sequence(p) for lib, p in zip((gc, torch), found, strict=True)))
    a, b = pair(torch, f64(4, 3, 2))
    compare(rnn.unpad_sequence(a, gc.tensor([2, 4, 1])), torch.nn.utils.rnn.unpad_sequence(b, torch.tensor([2, 4, 1])))
    compare(*(lib.nn.utils.rnn.invert_permutation(lib.tensor([2, 0, 1])) for lib in (gc, torch)))
    assert rnn.invert_permutation(None) is None


def test_packed_sequences_convert_and_keep_their_order():
    found = []
    for lib in (gc, torch):
        x = lib.tensor(f32(T, N, E))
        p = lib.nn.utils.rnn.pack_padded_sequence(x, [2, 5, 3], enforce_sorted=False)
        found.append(
            (p, p.double(), p.to(lib.float64), p.float(), p.half(), p.long(), p.int(), p.short(), p.char(), p.cpu())
        )
        assert p.float() is p and not p.is_cuda
    for mine, its in zip(*found, strict=True):
        same_packed(mine, its)
    both = [lib.nn.utils.rnn.PackedSequence(lib.ones(3), lib.tensor([2, 1]), lib.tensor([1, 0])) for lib in (gc, torch)]
    same_packed(*both)
    assert rnn.PackedSequence((gc.ones(3), gc.tensor([2, 1]))).data.shape == (3,)


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
@pytest.mark.parametrize("lengths", [[5, 3, 1], [2, 5, 3]])
@pytest.mark.parametrize(
    "text",
    ["RNN(4, 6)", "LSTM(4, 6, 2)", "GRU(4, 6, 2, bidirectional=True)", "LSTM(4, 6, bidirectional=True, proj_size=2)"],
)
def test_layers_on_packed_sequences(text, lengths, given):
    ours, theirs = both(lambda n: eval("n." + text, {"n": n}))
    made = [pair(torch, f64(T, N, E), True)]
    if given:
        made += [pair(torch, a, True) for a in states(text, layer_count(theirs), N)]
    found = []
    for lib, module, (x, *h) in zip((gc, torch), (ours, theirs), zip(*made, strict=True), strict=True):
        p = lib.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        out, state = call(module, p, h)
        assert type(out).__name__ == "PackedSequence"
        found.append((out.data, state))
        assert out.batch_sizes.tolist() == p.batch_sizes.tolist()
    check(ours, theirs, *found, made)
