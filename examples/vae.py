"""A variational auto-encoder of small pictures: soft spots at random places on a grid.

    graphc run examples/vae.py --steps 200 [--compile]

Shows two heads, the reparameterisation trick, a reconstruction and a divergence term, and pictures made from noise.
The noise is NumPy's.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

SIDE, LATENT = 10, 3


def spots(count, rng):
    """Pictures f64[count, SIDE * SIDE] between 0 and 1."""
    grid = np.arange(SIDE)
    row, column = rng.uniform(2, SIDE - 3, (2, count, 1, 1))
    width = rng.uniform(0.8, 2.5, (count, 1, 1))
    distance = (grid[:, None] - row) ** 2 + (grid[None, :] - column) ** 2
    return np.exp(-distance / width**2).reshape(count, -1)


class VAE(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.fc1 = nn.Linear(SIDE * SIDE, hidden)
        self.mean = nn.Linear(hidden, LATENT)
        self.log_var = nn.Linear(hidden, LATENT)
        self.fc3 = nn.Linear(LATENT, hidden)
        self.fc4 = nn.Linear(hidden, SIDE * SIDE)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.mean(h), self.log_var(h)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x, noise):
        mean, log_var = self.encode(x)
        std = torch.exp(0.5 * log_var)
        return self.decode(mean + noise * std), mean, log_var


def loss_of(model, x, noise):
    made, mean, log_var = model(x, noise)
    reconstruction = F.binary_cross_entropy(made, x, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return (reconstruction + divergence) / x.shape[0]


def build():
    return VAE()


def batches(steps):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield [
            torch.tensor(a, dtype=torch.get_default_dtype()) for a in (spots(64, rng), rng.normal(size=(64, LATENT)))
        ]


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.Adam(model.parameters(), lr=3e-3)

    def step(x, noise):
        optimizer.zero_grad()
        loss = loss_of(model, x, noise)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    model.train()
    return [step(x, noise).item() for x, noise in batches(steps)]


def show(picture):
    for row in picture.view(SIDE, SIDE).tolist():
        print("  " + "".join(" .:-=+*#%@"[min(int(value * 10), 9)] * 2 for value in row))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.3f}")
    model.eval()
    with torch.no_grad():
        for picture in model.decode(torch.randn(2, LATENT)):
            show(picture)


if __name__ == "__main__":
    main()
