"""Recurrent nets and Transformers through every door: a char-LSTM, a GRU classifier, a tiny GPT, a translator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from training import DOORS, numbers, run_eager

import graphc as gc
from graphc import nn
from graphc.nn import functional as F
from graphc.nn.recurrent import CELLS, Weights, recurrent_layers
from graphc.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

V, T, N, C, HEADS = 11, 6, 4, 8, 2
STEPS = 12


def tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, V, shape)


def fill(lib, model):
    """The same numbers in every parameter, whatever the library and its generator."""
    for i, p in enumerate(model.parameters()):
        p.data = lib.tensor(numbers(*p.shape, seed=i, scale=0.4))
    return model


class Net:
    """`model` trained on batches by Adam; `lib` is graphc or PyTorch."""

    dtype = "float64"

    def __init__(self, lib=gc):
        self.lib = lib
        self.model = fill(lib, self.make(lib.nn).to(lib.float64))
        self.opt = lib.optim.Adam(self.model.parameters(), lr=0.02)

    def named(self):
        return dict(self.model.named_parameters())

    def step(self, x, y):
        self.opt.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss

    def graph(self, x, y):
        loss = self.loss(x, y)
        return loss, self.opt.minimize(loss)

    def loss(self, x, y):
        out = self.run(x)
        return self.lib.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))


class CharLSTM(Net):
    """Two layers of LSTM predict the next character."""

    batches = tuple((tokens(N, T, seed=i), tokens(N, T, seed=9 + i)) for i in range(2))

    def make(self, n):
        return n.ModuleDict(
            {"embed": n.Embedding(V, C), "lstm": n.LSTM(C, 7, num_layers=2, batch_first=True), "head": n.Linear(7, V)}
        )

    def run(self, x):
        out, _ = self.model["lstm"](self.model["embed"](x))
        return self.model["head"](out)


class Classifier(Net):
    """A bidirectional GRU and an RNN read a series; the last states decide."""

    batches = tuple((numbers(T, N, 3, seed=i), np.random.default_rng(i).integers(0, 3, N)) for i in range(2))

    def make(self, n):
        return n.ModuleDict(
            {"gru": n.GRU(3, 5, bidirectional=True), "rnn": n.RNN(10, 4, nonlinearity="relu"), "head": n.Linear(4, 3)}
        )

    def run(self, x):
        out, _ = self.model["gru"](x)
        _, h = self.model["rnn"](out)
        return self.model["head"](h[0])


class Projected(Net):
    """An LSTM with projection, unrolled by a cell at the top."""

    batches = tuple((numbers(T, N, 3, seed=i), np.random.default_rng(i).integers(0, 3, N)) for i in range(2))

    def make(self, n):
        return n.ModuleDict({"lstm": n.LSTM(3, 6, proj_size=2), "cell": n.LSTMCell(2, 3)})

    def run(self, x):
        out, (h, _) = self.model["lstm"](x)
        state = None
        for t in range(T):
            state = self.model["cell"](out[t] + h[0], state)
        return state[0]


class Packed(Net):
    """Sentences of different lengths: packed, read by a GRU, padded again."""

    batches = CharLSTM.batches

    def make(self, n):
        return n.ModuleDict({"embed": n.Embedding(V, C), "gru": n.GRU(C, V, batch_first=True)})

    def run(self, x):
        tools = self.lib.nn.utils.rnn
        packed = tools.pack_padded_sequence(self.model["embed"](x), [3, 6, 1, 4], True, enforce_sorted=False)
        out, h = self.model["gru"](packed)
        whole, _ = tools.pad_packed_sequence(out, batch_first=True)
        return whole + h[0].unsqueeze(1)


class TinyGPT(Net):
    """A causal Transformer from its parts, as people write it."""

    batches = CharLSTM.batches

    def make(self, n):
        parts = {"tok": n.Embedding(V, C), "pos": n.Embedding(T, C), "norm": n.LayerNorm(C)}
        for i in range(2):
            parts |= {
                f"ln{i}": n.LayerNorm(C), f"qkv{i}": n.Linear(C, 3 * C), f"out{i}": n.Linear(C, C),
                f"up{i}": n.Linear(C, 2 * C), f"down{i}": n.Linear(2 * C, C),
            }  # fmt: skip
        return n.ModuleDict(parts)

    def attention(self, x, i):
        b, t, c = x.shape
        q, k, v = self.model[f"qkv{i}"](x).split(C, dim=2)
        q, k, v = (a.view(b, t, HEADS, c // HEADS).transpose(1, 2) for a in (q, k, v))
        y = self.lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.model[f"out{i}"](y.transpose(1, 2).contiguous().view(b, t, c))

    def run(self, x):
        m = self.model
        h = m["tok"](x) + m["pos"](self.lib.arange(T))
        for i in range(2):
            h = h + self.attention(m[f"ln{i}"](h), i)
            h = h + m[f"down{i}"](self.lib.nn.functional.gelu(m[f"up{i}"](h)))
        return m["norm"](h) @ m["tok"].weight.t()


class Translator(Net):
    """nn.Transformer with a causal mask, and attention with its weights at the top."""

    batches = CharLSTM.batches

    def make(self, n):
        return n.ModuleDict(
            {
                "embed": n.Embedding(V, C), "net": n.Transformer(C, HEADS, 1, 1, 12, 0.0, batch_first=True),
                "look": n.MultiheadAttention(C, HEADS, batch_first=True, add_bias_kv=True), "head": n.Linear(C, V),
            }
        )  # fmt: skip

    def run(self, x):
        e = self.model["embed"](x)
        mask = self.lib.nn.Transformer.generate_square_subsequent_mask(T, dtype=self.lib.float64)
        out = self.model["net"](e, e + 1, tgt_mask=mask)
        found, weights = self.model["look"](out, e, e)
        return self.model["head"](found) + weights.mean(-1, keepdim=True)


class Dropped(Net):
    """Dropout between recurrent layers and inside a Transformer, drawn from a seed."""

    batches = Classifier.batches

    def __init__(self, lib=gc):
        super().__init__(lib)
        lib.manual_seed(5)

    def make(self, n):
        return n.ModuleDict(
            {
                "lstm": n.LSTM(3, 4, num_layers=3, dropout=0.3),
                "layer": n.TransformerDecoderLayer(4, 2, 8, dropout=0.2, norm_first=True),
            }
        )

    def run(self, x):
        out, _ = self.model["lstm"](x)
        return self.model["layer"](out, out).mean(0)


PROGRAMS = [CharLSTM, Classifier, Projected, Packed, TinyGPT, Translator]
KNOWN = {}


def expected(kind):
    """The eager run, once."""
    if kind not in KNOWN:
        KNOWN[kind] = run_eager(kind(), kind.batches, STEPS)
    return KNOWN[kind]


@pytest.mark.parametrize("kind", PROGRAMS, ids=lambda k: k.__name__)
def test_training_makes_the_loss_smaller(kind):
    assert expected(kind).losses[-1] < expected(kind).losses[0]


@pytest.mark.parametrize("door", ["compiled", "session"])
@pytest.mark.parametrize("kind", [*PROGRAMS, Dropped], ids=lambda k: k.__name__)
def test_every_door_gives_what_eager_gives(kind, door):
    DOORS[door](kind(), kind.batches, STEPS).check(expected(kind), 1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("kind", PROGRAMS, ids=lambda k: k.__name__)
def test_pytorch_gives_the_same(kind):
    torch = pytest.importorskip("torch")
    theirs, losses = kind(torch), []
    for i in range(STEPS):
        losses.append(theirs.step(*map(torch.from_numpy, kind.batches[i % 2])).item())
    np.testing.assert_allclose(expected(kind).losses, losses, rtol=1e-8)
    for name, p in theirs.named().items():
        np.testing.assert_allclose(expected(kind).final[name], p.detach().numpy(), rtol=0, atol=1e-6)


# --- programs do not grow with the sequence ---------------------------------------------------------------------------


def training_graph(kind, length):
    """A recurrent layer's training step as a graph over sequences of a length (None: any)."""
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((length, None, 3), gc.float64, name="x")
        layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True).double()
        out, _ = layer(x)
        loss = (out**2).mean()
        train = gc.optim.SGD(layer.parameters(), lr=0.1).minimize(loss)
    return graph, x, loss, train, layer


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_200_steps_are_as_many_nodes_as_20(kind):
    short, long = (training_graph(kind, length)[0] for length in (20, 200))
    assert len(short.nodes) == len(long.nodes)
    assert len(short.table.bodies.nodes) == len(long.table.bodies.nodes)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_graph_takes_sequences_of_any_length(kind):
    graph, x, loss, train, layer = training_graph(kind, None)
    other = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True).double()
    other.load_state_dict(layer.state_dict())
    opt = gc.optim.SGD(other.parameters(), lr=0.1)
    with gc.Session(graph) as session:
        for length, batch in ((5, 2), (9, 3), (1, 1), (5, 4)):
            data = numbers(length, batch, 3, seed=length)
            found = session.run([loss, train], {x: data})[0]
            opt.zero_grad()
            want = (other(gc.tensor(data))[0] ** 2).mean()
            want.backward()
            opt.step()
            np.testing.assert_allclose(found, want.item(), rtol=1e-12)
        assert len(session.recompiles) == 1
    for p, q in zip(layer.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-14)


def test_attention_takes_sequences_of_any_length():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, None, C), gc.float64, name="x")
        layer = nn.TransformerEncoderLayer(C, HEADS, 12, 0.0, batch_first=True).double()
        attention = nn.MultiheadAttention(C, HEADS, batch_first=True, add_zero_attn=True).double()
        out, weights = attention(layer(x), x, x)
        causal = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    with gc.Session(graph) as session:
        for shape in ((2, 5, C), (1, 3, C)):
            data = numbers(*shape)
            found = session.run([out, weights, causal], {x: data})
            with gc.no_grad():
                t = gc.tensor(data)
                want = (*attention(layer(t), t, t), F.scaled_dot_product_attention(t, t, t, is_causal=True))
            for have, expect in zip(found, want, strict=True):
                np.testing.assert_allclose(have, expect.numpy(), rtol=1e-12)


# --- what else the tape can do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", CELLS)
def test_gradients_and_gradients_of_gradients(mode):
    gates, states = CELLS[mode].gates * 2, CELLS[mode].states
    shapes = [(3, 1, 1), (gates, 1), (gates, 2), (gates,), (gates,), *[(1, 1, 2)] * states]
    args = [gc.tensor(numbers(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]

    def run(x, *rest):
        return recurrent_layers(mode, x, rest[4:], [[Weights(*rest[:4])]])[0]

    assert gc.autograd.gradcheck(run, args)
    assert gc.autograd.gradgradcheck(run, args)


def test_attention_gradients_of_gradients():
    q, k, v = (gc.tensor(numbers(3, 2, seed=i), requires_grad=True) for i in range(3))
    mask = gc.tensor([[True, True, False], [False] * 3, [True] * 3])
    assert gc.autograd.gradgradcheck(lambda *a: F.scaled_dot_product_attention(*a, mask), (q, k, v))


def test_threads_run_one_layer_at_once():
    layer = nn.GRU(3, 4)
    data = [gc.tensor(numbers(5, 2, 3, seed=i).astype(np.float32)) for i in range(6)]

    def gradient(x):
        return gc.autograd.grad(layer(x)[0].pow(2).sum(), layer.weight_hh_l0)[0].numpy()

    want = [gradient(x) for x in data]
    with ThreadPoolExecutor(3) as pool:
        for have, expect in zip(pool.map(gradient, data * 3), want * 3, strict=True):
            np.testing.assert_array_equal(have, expect)


def test_a_layer_under_no_grad_keeps_nothing():
    layer = nn.LSTM(3, 4)
    with gc.no_grad():
        out, (h, c) = layer(gc.ones(5, 2, 3))
    assert not any(t.requires_grad for t in (out, h, c))
    np.testing.assert_array_equal(out[-1].numpy(), h[0].numpy())


def test_the_state_goes_on_from_call_to_call():
    layer = nn.LSTM(3, 4, num_layers=2)
    x = gc.tensor(numbers(6, 2, 3).astype(np.float32))
    whole, (h, c) = layer(x)
    first, state = layer(x[:2])
    second, (h2, c2) = layer(x[2:], state)
    for a, b in ((gc.cat([first, second]), whole), (h2, h), (c2, c)):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-6)


def test_a_packed_sequence_from_outside_is_refused_in_a_trace():
    packed = pack_padded_sequence(gc.ones(4, 2, 3), [4, 2])
    layer = nn.GRU(3, 5)
    with pytest.raises(gc.errors.SymbolicError, match="call pack_padded_sequence inside the traced function"):
        gc.compile(lambda: layer(packed)[0].data.sum())()


def test_lengths_that_only_a_run_knows_are_told_what_to_give():
    def packed(x, lengths):
        return pack_padded_sequence(x, lengths).data

    x, lengths = gc.ones(4, 2, 3), gc.tensor([4, 2])
    with pytest.raises(gc.errors.SymbolicError, match=r"the lengths of the sequences are known only when") as caught:
        gc.compile(packed)(x, lengths)
    assert "give them as a list of ints" in str(caught.value)
    assert gc.equal(gc.compile(packed)(x, lengths.tolist()), packed(x, lengths))


def test_packed_sequences_are_taken_apart_as_they_were_put_together():
    x = gc.tensor(numbers(3, 4, 2))
    whole, lengths = pad_packed_sequence(pack_padded_sequence(x, [2, 4, 1], True, enforce_sorted=False), True)
    assert lengths.tolist() == [2, 4, 1]
    for i, n in enumerate((2, 4, 1)):
        np.testing.assert_array_equal(whole[i, :n].numpy(), x[i, :n].numpy())
        assert not whole[i, n:].numpy().any()


def test_copies_and_files_keep_the_weights(tmp_path):
    layer = nn.GRU(3, 4, 2, bidirectional=True)
    gc.save(layer.state_dict(), tmp_path / "gru.safetensors")
    other = nn.GRU(3, 4, 2, bidirectional=True)
    other.load_state_dict(gc.load(tmp_path / "gru.safetensors"))
    x = gc.ones(2, 1, 3)
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), other(x)[0].detach().numpy())
    layer.double()
    assert layer(x.double())[0].dtype is gc.float64
