"""A convolutional network that reads digits, as in everybody's first course; the digits are drawn with NumPy.

    graphc run examples/mnist_cnn.py --steps 100 [--compile]

Shows Conv2d, BatchNorm2d, max pooling, a Dataset of one's own with a DataLoader, StepLR, and accuracy in eval mode.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

GLYPHS = """
.###. ..#.. .###. ####. ...#. ##### .###. ##### .###. .###.
#...# .##.. #...# ....# ..##. #.... #.... ....# #...# #...#
#...# ..#.. ....# ....# .#.#. ####. ####. ...#. #...# #...#
#...# ..#.. ..##. .###. #..#. ....# #...# ..#.. .###. .####
#...# ..#.. .#... ....# ##### ....# #...# ..#.. #...# ....#
#...# ..#.. #.... ....# ...#. #...# #...# .#... #...# ....#
.###. .###. ##### ####. ...#. .###. .###. .#... .###. .###.
"""


class Digits(Dataset):
    """Images [1, 16, 16] of digits at random places, a little noisy."""

    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        rows = [line.split() for line in GLYPHS.strip().splitlines()]
        glyphs = np.array([[[c == "#" for c in row[d]] for row in rows] for d in range(10)], float)
        self.labels = rng.integers(0, 10, count)
        self.images = 0.3 * rng.random((count, 1, 16, 16))
        for image, label in zip(self.images, self.labels, strict=True):
            top, left = rng.integers(0, 3), rng.integers(0, 7)
            image[0, top : top + 14, left : left + 10] += 0.7 * np.kron(glyphs[label], np.ones((2, 2)))[:14, :10]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = torch.tensor(self.images[index], dtype=torch.get_default_dtype())
        return image, int(self.labels[index])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.fc1 = nn.Linear(16 * 3 * 3, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


def build():
    return Net()


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    data = Digits(512, seed=0)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.7)

    def step(images, labels):
        optimizer.zero_grad()
        loss = F.nll_loss(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    step = prepare(step) if prepare else step
    model.train()
    losses, rng = [], np.random.default_rng(1)
    while len(losses) < steps:
        order = rng.permutation(len(data)).tolist()  # NumPy's order, so that every library sees the same batches
        for images, labels in DataLoader(data, batch_size=32, sampler=order):
            losses.append(step(images, labels).item())
            if len(losses) == steps:
                break
        scheduler.step()
    return losses


@torch.no_grad()
def accuracy(model, data):
    model.eval()
    right = 0
    for images, labels in DataLoader(data, batch_size=100):
        prediction = model(images).argmax(dim=1, keepdim=True)
        right += prediction.eq(labels.view_as(prediction)).sum().item()
    return right / len(data)


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
    print(f"test accuracy {accuracy(model, Digits(200, seed=2)):.1%}")


if __name__ == "__main__":
    main()
