"""A language model of words: an LSTM on sentences of different lengths, padded, then packed.

    graphc run examples/word_lstm.py --steps 100 [--compile]

Shows pad_sequence, pack_padded_sequence and back, Embedding with padding_idx, ignore_index, tied weights, and a sentence drawn
from the model. Dropout is "locked" (one mask for all words of a sentence), with its mask from NumPy.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, START, END = 0, 1, 2
SUBJECTS = ["the cat", "the old dog", "a bird", "my neighbour", "the small grey mouse"]
VERBS = ["sees", "hears", "follows", "forgets", "waits for"]
ENDS = ["today", "in the garden", "again", "when it rains", "and sleeps"]


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        parts = [rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(SUBJECTS)]
        if rng.random() < 0.5:
            parts.append(rng.choice(ENDS))
        made.append(" ".join(parts).split())
    return made


class Vocabulary:
    def __init__(self, texts):
        self.words = ["<pad>", "<start>", "<end>", *sorted({word for text in texts for word in text})]
        self.index = {word: i for i, word in enumerate(self.words)}

    def __len__(self):
        return len(self.words)

    def encode(self, text):
        return torch.tensor([START, *(self.index[word] for word in text), END])


TEXTS = sentences(200, seed=0)
VOCABULARY = Vocabulary(TEXTS)


class WordModel(nn.Module):
    def __init__(self, words, width=32, keep=0.8):
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PAD)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.output = nn.Linear(width, words)
        self.output.weight = self.embedding.weight  # tied
        self.keep = keep

    def forward(self, tokens, lengths, mask=None):
        x = self.embedding(tokens)
        if mask is not None:
            x = x * mask / self.keep
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = self.lstm(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        return self.output(outputs)

    @torch.no_grad()
    def write(self, rng, longest=20):
        """A sentence, word by word: the state is carried along."""
        token, state, words = START, None, []
        while len(words) < longest:
            x = self.embedding(torch.tensor([[token]]))
            out, state = self.lstm(x, state)
            weights = F.softmax(self.output(out[0, -1]), dim=-1).numpy().astype(float)
            weights[[PAD, START]] = 0
            token = int(rng.choice(len(weights), p=weights / weights.sum()))
            if token == END:
                break
            words.append(VOCABULARY.words[token])
        return " ".join(words)


def build():
    return WordModel(len(VOCABULARY))


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    loss_fn = nn.CrossEntropyLoss(ignore_index=PAD)

    def step(inputs, targets, lengths, mask):
        optimizer.zero_grad()
        scores = model(inputs, lengths, mask)
        loss = loss_fn(scores.transpose(1, 2), targets)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    model.train()
    rng = np.random.default_rng(1)
    # Lengths are plain ints: a compiled step is built once for each set of them, so there are few batches, used again.
    batches = [[VOCABULARY.encode(text) for text in TEXTS[i : i + 20]] for i in range(0, 80, 20)]
    losses = []
    for i in range(steps):
        encoded = batches[i % len(batches)]
        inputs = pad_sequence([e[:-1] for e in encoded], batch_first=True, padding_value=PAD)
        targets = pad_sequence([e[1:] for e in encoded], batch_first=True, padding_value=PAD)
        mask = rng.random((len(encoded), 1, 32)) < model.keep
        mask = torch.tensor(mask, dtype=torch.get_default_dtype())
        losses.append(step(inputs, targets, [len(e) - 1 for e in encoded], mask).item())
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
        print(f"step {i:4d}  loss {losses[i]:.4f}  perplexity {np.exp(losses[i]):.2f}")
    model.eval()
    rng = np.random.default_rng(2)
    for _ in range(3):
        print(model.write(rng))


if __name__ == "__main__":
    main()
