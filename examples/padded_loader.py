"""Sequences of different lengths from several worker processes, padded by a collate function of one's own.

    graphc run examples/padded_loader.py --steps 60 --workers 2 [--compile]

Shows a Dataset whose items are made on demand, `collate_fn`, `num_workers`, `worker_init_fn`, a sampler that puts like lengths
together, and a masked mean over what is not padding. The task: which of four rhythms made the notes.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info


class Melodies(Dataset):
    """Item i is made from its number alone, so that it does not matter which worker makes it."""

    def __init__(self, count):
        self.lengths = np.random.default_rng(0).integers(5, 25, count)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        rng = np.random.default_rng([1, index])
        rhythm = int(rng.integers(0, 4))
        time = np.arange(self.lengths[index])
        notes = np.sin(2 * np.pi * time / (rhythm + 2) + rng.uniform(0, 6)) + 0.2 * rng.normal(size=len(time))
        return torch.tensor(notes, dtype=torch.get_default_dtype()), rhythm


class LikeLengths(Sampler):
    """Batches of indices whose sequences are about as long, so that little is padded; in an order by NumPy."""

    def __init__(self, lengths, batch_size, seed):
        order = np.argsort(lengths, kind="stable")
        batches = [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
        self.batches = [batches[i] for i in np.random.default_rng(seed).permutation(len(batches))]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def pad_batch(samples):
    notes, rhythms = zip(*samples, strict=True)
    lengths = torch.tensor([len(n) for n in notes])
    return pad_sequence(list(notes), batch_first=True), lengths, torch.tensor(rhythms)


def start_worker(worker_id):
    info = get_worker_info()
    assert info is not None and info.id == worker_id < info.num_workers
    np.random.seed(info.seed % 2**32)


class Listener(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.conv1 = nn.Conv1d(1, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 4)

    def forward(self, notes, lengths):
        mask = (torch.arange(notes.size(1))[None, :] < lengths[:, None]).to(notes.dtype)
        x = F.relu(self.conv1(notes.unsqueeze(1))) * mask.unsqueeze(1)
        x = F.relu(self.conv2(x)) * mask.unsqueeze(1)
        return self.head(x.sum(2) / lengths.unsqueeze(1))


def build():
    return Listener()


def train(model, steps, prepare=None, workers=0):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.Adam(model.parameters(), lr=5e-3)

    def step(notes, lengths, rhythms):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(notes, lengths), rhythms)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    data, losses, epoch = Melodies(320), [], 0
    while len(losses) < steps:
        loader = DataLoader(
            data,
            batch_sampler=LikeLengths(data.lengths, batch_size=16, seed=epoch),
            collate_fn=pad_batch,
            num_workers=workers,
            worker_init_fn=start_worker,
        )
        epoch += 1
        for batch in loader:
            losses.append(step(*batch).item())
            if len(losses) == steps:
                break
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    losses = train(build(), args.steps, torch.compile if args.compile else None, args.workers)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")


if __name__ == "__main__":
    main()
