"""Gradients that explode, clipped, under learning rates on a schedule: a plain RNN that adds two marked numbers.

    graphc run examples/clipping_schedules.py --schedule onecycle --steps 150 [--compile]

Shows clip_grad_norm_ and its returned norm, clip_grad_value_, and OneCycleLR, SequentialLR (warm-up, then cosine),
LambdaLR and ReduceLROnPlateau on the same model; each prints its losses, norms and rates.
"""

import argparse

import numpy as np
import torch
from torch import nn, optim
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import lr_scheduler

LENGTH = 12
SCHEDULES = ("onecycle", "warmup-cosine", "lambda", "plateau")


def sums(count, rng):
    """Sequences f64[count, LENGTH, 2] of numbers and marks, and the sum of the two marked numbers: f64[count, 1]."""
    x = np.zeros((count, LENGTH, 2))
    x[..., 0] = rng.uniform(-1, 1, (count, LENGTH))
    for row in x:
        row[rng.choice(LENGTH, 2, replace=False), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(1, keepdims=True)


class Adder(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.rnn = nn.RNN(2, width, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(width, 1)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain=1.2)

    def forward(self, x):
        _, hidden = self.rnn(x)
        return self.head(hidden.squeeze(0))


def build():
    return Adder()


def make_scheduler(name, optimizer, steps):
    if name == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=max(steps, 10))
    if name == "warmup-cosine":
        warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps - 10, 1), eta_min=1e-4)
        return lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[10])
    if name == "lambda":
        return lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, (10 / (step + 1)) ** 0.5))
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=15)


def train(model, steps, prepare=None, schedule="onecycle", report=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile, `report` is told norms and rates."""
    by_value = schedule == "lambda"
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = make_scheduler(schedule, optimizer, steps)
    criterion = nn.MSELoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        if by_value:
            clip_grad_value_(model.parameters(), 0.5)
        norm = clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        return loss, norm

    step = prepare(step) if prepare else step
    model.train()
    losses, rng = [], np.random.default_rng(0)
    for i in range(steps):
        x, y = (torch.tensor(a, dtype=torch.get_default_dtype()) for a in sums(32, rng))
        loss, norm = step(x, y)
        losses.append(loss.item())
        if report:
            report(i, losses[-1], norm.item(), optimizer.param_groups[0]["lr"])
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(losses[-1])
        else:
            scheduler.step()
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--schedule", choices=SCHEDULES, default=None, help="one of them; all if not given")
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()

    def report(i, loss, norm, rate):
        if i % max(1, args.steps // 5) == 0:
            print(f"step {i:4d}  loss {loss:.4f}  norm {norm:8.3f}  rate {rate:.5f}")

    for schedule in [args.schedule] if args.schedule else SCHEDULES:
        print(schedule)
        torch.manual_seed(0)
        train(build(), args.steps, torch.compile if args.compile else None, schedule, report)


if __name__ == "__main__":
    main()
