"""Translation with attention, in small: a GRU reads dates written out, another writes them in digits.

    graphc run examples/seq2seq_attention.py --steps 100 [--compile]

"march 7" becomes "07/03". Shows an encoder, Bahdanau's additive attention with a mask over padding, a decoder of GRUCells in a
Python loop, teacher forcing by a coin (NumPy's), and where the decoder looks.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

MONTHS = [
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
]
SOURCE = ["<pad>", *sorted(set("".join(MONTHS) + " 0123456789"))]
TARGET = ["<start>", *"0123456789/"]
LONGEST, WRITTEN = 12, 5


def pairs(count, rng):
    """Source characters i64[count, LONGEST], padded with 0, and target characters i64[count, WRITTEN]."""
    source, target = np.zeros((count, LONGEST), np.int64), np.zeros((count, WRITTEN), np.int64)
    for i in range(count):
        month, day = rng.integers(0, 12), rng.integers(1, 29)
        text = f"{MONTHS[month]} {day}"
        source[i, : len(text)] = [SOURCE.index(c) for c in text]
        target[i] = [TARGET.index(c) for c in f"{day:02d}/{month + 1:02d}"]
    return source, target


class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(len(SOURCE), width, padding_idx=0)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * width, width)

    def forward(self, source):
        outputs, hidden = self.gru(self.embedding(source))
        return outputs, torch.tanh(self.bridge(torch.cat([hidden[0], hidden[1]], dim=1)))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(2 * width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, hidden, outputs, mask):
        energy = torch.tanh(self.query(hidden).unsqueeze(1) + self.key(outputs))
        scores = self.score(energy).squeeze(2).masked_fill(~mask, -1e9)
        weights = F.softmax(scores, dim=1)
        return torch.bmm(weights.unsqueeze(1), outputs).squeeze(1), weights


class Seq2Seq(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.encoder = Encoder(width)
        self.attention = Attention(width)
        self.embedding = nn.Embedding(len(TARGET), width)
        self.cell = nn.GRUCell(3 * width, width)
        self.output = nn.Linear(3 * width, len(TARGET))

    def forward(self, source, target=None):
        """Scores [N, WRITTEN, characters] and attention [N, WRITTEN, LONGEST]; the decoder reads `target`, or what it wrote."""
        outputs, hidden = self.encoder(source)
        mask = source != 0
        token = torch.zeros(source.size(0), dtype=torch.long)
        scores, looks = [], []
        for t in range(WRITTEN):
            context, weights = self.attention(hidden, outputs, mask)
            hidden = self.cell(torch.cat([self.embedding(token), context], dim=1), hidden)
            scores.append(self.output(torch.cat([hidden, context], dim=1)))
            looks.append(weights)
            token = target[:, t] if target is not None else scores[-1].argmax(1).detach()
        return torch.stack(scores, dim=1), torch.stack(looks, dim=1)


def build():
    return Seq2Seq()


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()

    def step(source, target, forced):
        optimizer.zero_grad()
        scores, _ = model(source, target if forced else None)
        loss = criterion(scores.reshape(-1, len(TARGET)), target.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    model.train()
    losses, rng = [], np.random.default_rng(0)
    for _ in range(steps):
        source, target = (torch.tensor(a) for a in pairs(32, rng))
        losses.append(step(source, target, bool(rng.random() < 0.7)).item())
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")
    source, _ = pairs(3, np.random.default_rng(1))
    model.eval()
    with torch.no_grad():
        scores, looks = model(torch.tensor(source))
    for characters, best, look in zip(source, scores.argmax(2).tolist(), looks.argmax(2).tolist(), strict=True):
        text = "".join(SOURCE[c] for c in characters if c)
        print(
            f"{text} -> {''.join(TARGET[c] for c in best)}  looking at {''.join((text + '______')[i] for i in look)!r}"
        )


if __name__ == "__main__":
    main()
