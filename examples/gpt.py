"""A small GPT on the characters of a poem.

    graphc run examples/gpt.py --steps 60 [--compile]

Shows causal attention, pre-norm blocks, weights tied between embedding and output, AdamW with decay for matrices only, a
learning rate with warm-up and cosine written by hand, clipping, and text drawn from the model. Batches are NumPy's.
"""

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

TEXT = """the river takes the morning light and carries it away,
the boats go down at half past eight, the children come to play,
the heron stands on one thin leg and looks at what goes by,
a leaf, a stick, a paper boat, a slow and upside sky.
"""
CHARACTERS = sorted(set(TEXT))
BLOCK, WIDTH, HEADS, LAYERS = 16, 32, 4, 2


class CausalSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.tril(torch.ones(BLOCK, BLOCK)).view(1, 1, BLOCK, BLOCK))

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(c, dim=2)
        q, k, v = (a.view(b, t, HEADS, c // HEADS).transpose(1, 2) for a in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = CausalSelfAttention()
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(len(CHARACTERS), WIDTH),
                "wpe": nn.Embedding(BLOCK, WIDTH),
                "h": nn.ModuleList([Block() for _ in range(LAYERS)]),
                "ln_f": nn.LayerNorm(WIDTH),
            }
        )
        self.lm_head = nn.Linear(WIDTH, len(CHARACTERS), bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * LAYERS))

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.1)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx, targets=None):
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.transformer.wte(idx) + self.transformer.wpe(pos)
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, [-1], :]), None
        logits = self.lm_head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    @torch.no_grad()
    def generate(self, idx, count, temperature=0.8, top_k=5):
        for _ in range(count):
            logits, _ = self(idx[:, -BLOCK:])
            logits = logits[:, -1, :] / temperature
            best, _ = torch.topk(logits, top_k)
            logits[logits < best[:, [-1]]] = -float("Inf")
            idx = torch.cat((idx, torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)), dim=1)
        return idx


def build():
    return GPT()


def configure_optimizer(model, lr):
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def learning_rate(step, warmup=10, decay=200, top=5e-3, low=5e-4):
    if step < warmup:
        return top * (step + 1) / warmup
    part = min((step - warmup) / (decay - warmup), 1.0)
    return low + 0.5 * (1.0 + math.cos(math.pi * part)) * (top - low)


def train(model, steps, prepare=None):
    """Trains in place and returns the loss of each step; `prepare` may be torch.compile."""
    data = np.array([CHARACTERS.index(c) for c in TEXT])
    optimizer = configure_optimizer(model, lr=1e-3)

    def step(x, y):
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    step = prepare(step) if prepare else step
    model.train()
    losses, rng = [], np.random.default_rng(0)
    for i in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(i)
        starts = rng.integers(0, len(data) - BLOCK, 16)
        x = torch.stack([torch.from_numpy(data[s : s + BLOCK]) for s in starts])
        y = torch.stack([torch.from_numpy(data[s + 1 : s + 1 + BLOCK]) for s in starts])
        losses.append(step(x, y).item())
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    args = parser.parse_args()
    torch.manual_seed(1337)
    model = build()
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    losses = train(model, args.steps, torch.compile if args.compile else None)
    for i in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {i:4d}  loss {losses[i]:.4f}")
    model.eval()
    start = torch.tensor([[CHARACTERS.index("t")]], dtype=torch.long)
    print("".join(CHARACTERS[i] for i in model.generate(start, 100)[0].tolist()))


if __name__ == "__main__":
    main()
