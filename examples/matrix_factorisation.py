"""Ratings of films as products of what users like and what films have: matrix factorisation with biases.

    graphc run examples/matrix_factorisation.py --steps 160 [--compile]

Shows Embedding tables, a TensorDataset split in two, parameter groups, Nesterov's momentum, and an error measured without
gradients.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import BatchSampler, DataLoader, Subset, TensorDataset

USERS, FILMS, RATINGS = 60, 40, 1200


def ratings(seed=0):
    """Who rated what how: i64, i64, and numbers around 3 from tastes of rank two."""
    rng = np.random.default_rng(seed)
    tastes, films = rng.normal(size=(USERS, 2)), rng.normal(size=(FILMS, 2))
    user, film = rng.integers(0, USERS, RATINGS), rng.integers(0, FILMS, RATINGS)
    stars = 3 + (tastes[user] * films[film]).sum(1) + 0.1 * rng.normal(size=RATINGS)
    return user, film, stars.clip(1, 5)


class Factors(nn.Module):
    def __init__(self, rank=4):
        super().__init__()
        self.user, self.film = nn.Embedding(USERS, rank), nn.Embedding(FILMS, rank)
        self.user_bias, self.film_bias = nn.Embedding(USERS, 1), nn.Embedding(FILMS, 1)
        self.mean = nn.Parameter(torch.tensor(3.0))
        for table in (self.user, self.film):
            table.weight.data.uniform_(-0.5, 0.5)
        for table in (self.user_bias, self.film_bias):
            table.weight.data.zero_()

    def forward(self, user, film):
        product = (self.user(user) * self.film(film)).sum(1)
        return product + self.user_bias(user).squeeze(1) + self.film_bias(film).squeeze(1) + self.mean


def build():
    return Factors()


def data():
    """A part to learn from and one to be tested on."""
    user, film, stars = ratings()
    whole = TensorDataset(torch.tensor(user), torch.tensor(film), torch.tensor(stars, dtype=torch.get_default_dtype()))
    order = np.random.default_rng(1).permutation(RATINGS).tolist()
    return Subset(whole, order[200:]), Subset(whole, order[:200])


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    tables = [p for p in model.parameters() if p.dim() > 1]
    groups = [{"params": tables}, {"params": [model.mean], "lr": 0.02, "weight_decay": 0.0}]
    optimizer = optim.SGD(groups, lr=1.0, momentum=0.8, weight_decay=1e-4, nesterov=True)

    def step(user, film, stars):
        optimizer.zero_grad()
        loss = F.mse_loss(model(user, film), stars)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    part, _ = data()
    losses, rng = [], np.random.default_rng(2)
    while len(losses) < steps:
        order = rng.permutation(len(part)).tolist()
        for batch in DataLoader(part, batch_sampler=BatchSampler(order, batch_size=64, drop_last=False)):
            losses.append(step(*batch).item())
            if len(losses) == steps:
                break
    return losses


@torch.no_grad()
def error(model, part):
    """The root of the mean squared error."""
    squares = [F.mse_loss(model(u, f), s, reduction="sum") for u, f, s in DataLoader(part, batch_size=50)]
    return torch.stack(squares).sum().div(len(part)).sqrt().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    _, held_out = data()
    print(f"before  error {error(model, held_out):.3f} stars")
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")
    print(f"after   error {error(model, held_out):.3f} stars")


if __name__ == "__main__":
    main()
