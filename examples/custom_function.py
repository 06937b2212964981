"""Operations with gradients of one's own: a network with weights of plus and minus one.

    graphc run examples/custom_function.py --steps 150 [--compile]

Shows autograd.Function with saved tensors, plain values on ctx, an input that needs no gradient, a gradient that is not the
operation's own (straight through), a class with `setup_context`, and gradcheck for the one that has a true gradient.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.autograd import Function, gradcheck


class Binarise(Function):
    """sign(x), whose gradient passes straight through where |x| <= limit (Courbariaux et al. 2016)."""

    @staticmethod
    def forward(ctx, x, limit):
        ctx.save_for_backward(x)
        ctx.limit = limit
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= ctx.limit).to(grad_output.dtype), None


class Swish(Function):
    """x * sigmoid(beta * x), computed once and differentiated by hand."""

    @staticmethod
    def forward(x, beta):
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, beta = inputs
        ctx.save_for_backward(x, beta)

    @staticmethod
    def backward(ctx, grad_output):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        slope = s * (1 - s)
        grad_x = grad_beta = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_output * (s + beta * x * slope)
        if ctx.needs_input_grad[1]:
            grad_beta = (grad_output * x * x * slope).sum()
        return grad_x, grad_beta


class BinaryLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, Binarise.apply(self.weight, 1.0), self.bias) / self.in_features**0.5


class Net(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.first = nn.Linear(2, width)
        self.second = BinaryLinear(width, width)
        self.last = nn.Linear(width, 2)
        self.beta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        x = Swish.apply(self.first(x), self.beta)
        return self.last(Swish.apply(self.second(x), self.beta))


def moons(count, rng):
    """Points f64[count, 2] of two half circles that reach into each other, and which one: i64[count]."""
    which, angle = rng.integers(0, 2, count), rng.uniform(0, np.pi, count)
    x = np.where(which == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(which == 0, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], 1) + 0.1 * rng.normal(size=(count, 2)), which


def build():
    return Net()


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    points, which = moons(256, np.random.default_rng(0))
    x, y = torch.tensor(points, dtype=torch.get_default_dtype()), torch.tensor(which)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.second.weight.clamp_(-1, 1)
        return loss

    step = prepare(step) if prepare else step
    return [step(x, y).item() for _ in range(steps)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    print("Swish's gradient is right:", gradcheck(Swish.apply, (x, beta)))
    model = build()
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")
    print(f"beta is now {model.beta.item():.3f}")


if __name__ == "__main__":
    main()
