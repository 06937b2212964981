"""Weights as length times direction: a network of dilated convolutions that hears an echo.

    graphc run examples/weight_norm.py --steps 100 [--compile]

Shows parametrizations.weight_norm, what it puts in the place of `weight`, a parametrization of one's own, and
remove_parametrizations, which leaves a plain weight that computes the same.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

LENGTH, DELAY = 32, 7


def echoes(count, rng):
    """Noise f64[count, 1, LENGTH], and the same with a weaker, later copy of itself on top."""
    x = rng.normal(size=(count, 1, LENGTH))
    y = x.copy()
    y[:, :, DELAY:] += 0.6 * x[:, :, :-DELAY]
    return x, y


class Causal(nn.Module):
    """Looks back only: the sequence is padded on the left."""

    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        self.reach = 2 * dilation
        self.conv = weight_norm(nn.Conv1d(inputs, outputs, 3, dilation=dilation))

    def forward(self, x):
        return self.conv(F.pad(x, (self.reach, 0)))


class Positive(nn.Module):
    """A parameter that stays above zero."""

    def forward(self, x):
        return F.softplus(x)

    def right_inverse(self, y):
        return torch.log(torch.expm1(y))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.factor


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.ModuleList([Causal(1, width, 1), Causal(width, width, 2), Causal(width, width, 4)])
        self.head = weight_norm(nn.Conv1d(width, 1, 1), dim=0)
        self.scale = Scale()
        parametrize.register_parametrization(self.scale, "factor", Positive())

    def forward(self, x):
        for layer in self.layers:
            x = F.elu(layer(x))
        return self.scale(self.head(x))


def build():
    return Net()


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        x, y = (torch.tensor(a, dtype=torch.get_default_dtype()) for a in echoes(32, rng))
        losses.append(step(x, y).item())
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    for name, p in model.layers[0].conv.named_parameters():
        print(f"{name:36} {tuple(p.shape)}")
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")
    x = torch.randn(1, 1, LENGTH)
    before = model(x)
    for layer in model.layers:
        parametrize.remove_parametrizations(layer.conv, "weight")
    print("after removal:", *(name for name, _ in model.layers[0].conv.named_parameters()))
    print("the same outputs:", torch.allclose(model(x), before, atol=1e-6))


if __name__ == "__main__":
    main()
