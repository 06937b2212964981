"""A generative adversarial network of convolutions, in the manner of DCGAN, on pictures of bars.

    graphc run examples/gan.py --steps 60 [--compile]

Shows ConvTranspose2d, two optimizers, `detach`, `apply` with one's own initialisation, and LeakyReLU. The noise is NumPy's.
"""

import argparse

import numpy as np
import torch
from torch import nn, optim

NOISE, SIDE = 8, 8


def bars(count, rng):
    """Pictures f64[count, 1, SIDE, SIDE] between -1 and 1 of one upright or lying bar."""
    pictures = np.full((count, 1, SIDE, SIDE), -1.0)
    for picture in pictures:
        at = rng.integers(0, SIDE - 1)
        if rng.random() < 0.5:
            picture[0, at : at + 2] = 1
        else:
            picture[0, :, at : at + 2] = 1
    return pictures


class Generator(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE, 2 * width, 4, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * width, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 1, 4, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.main(x).view(-1)


def init_weights(module):
    name = module.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(module.weight, 0.0, 0.1)
    elif name.find("BatchNorm") != -1:
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build():
    return nn.ModuleDict({"generator": Generator(), "discriminator": Discriminator()}).apply(init_weights)


def train(model, steps, prepare=None):
    """Trains in place and returns the discriminator's and the generator's losses, in turn; `prepare` may be torch.compile."""
    generator, discriminator = model["generator"], model["discriminator"]
    criterion = nn.BCELoss()
    optimizer_d = optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    optimizer_g = optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def step(real, noise):
        ones, zeros = torch.ones(real.size(0)), torch.zeros(real.size(0))
        # The discriminator: real pictures are ones, made pictures zeros.
        discriminator.zero_grad()
        loss_real = criterion(discriminator(real), ones)
        loss_real.backward()
        made = generator(noise)
        loss_made = criterion(discriminator(made.detach()), zeros)
        loss_made.backward()
        optimizer_d.step()
        # The generator: made pictures shall be taken for real.
        generator.zero_grad()
        loss_g = criterion(discriminator(made), ones)
        loss_g.backward()
        optimizer_g.step()
        return loss_real + loss_made, loss_g

    step = prepare(step) if prepare else step
    model.train()
    losses, rng = [], np.random.default_rng(0)
    for _ in range(steps):
        arrays = bars(32, rng), rng.normal(size=(32, NOISE, 1, 1))
        real, noise = (torch.tensor(a, dtype=torch.get_default_dtype()) for a in arrays)
        losses += [loss.item() for loss in step(real, noise)]
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, args.steps, max(1, args.steps // 10)):
        print(f"step {i:4d}  discriminator {losses[2 * i]:.4f}  generator {losses[2 * i + 1]:.4f}")
    model.eval()
    with torch.no_grad():
        picture = model["generator"](torch.randn(1, NOISE, 1, 1))[0, 0]
    for row in picture.tolist():
        print("  " + "".join(" .+#"[min(int((value + 1) * 2), 3)] * 2 for value in row))


if __name__ == "__main__":
    main()
