"""The workloads in PyTorch's API, for PyTorch and for graphc alike: `build(torch, case)` gives a step and its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cases import Case, Cnn, Gpt, Mlp, Optimizer, Product, Recurrent, Rows, first_numbers


def build(torch: Any, case: Case) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """`step(*args)` does one whole step and returns the loss, or the matrix; `torch` is the module to use."""
    args = tuple(torch.from_numpy(x) for x in case.inputs())
    if isinstance(case, Rows | Product):
        return _without_gradient(torch, FUNCTIONS[case.function]), args
    model = MODELS[type(case)](torch, case)
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), first_numbers(case), strict=True):
            assert tuple(parameter.shape) == array.shape
            parameter.copy_(torch.from_numpy(array))
    squares = isinstance(case, Mlp) and not case.classes
    loss = torch.nn.MSELoss() if squares else torch.nn.CrossEntropyLoss()
    return _training(model, loss, _optimizer(torch, case.optimizer, model)), args


def _training(model: Any, loss_of: Any, optimizer: Any) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _optimizer(torch: Any, wanted: Optimizer, model: Any) -> Any:
    more = {"momentum": wanted.momentum} if wanted.momentum else {}
    if wanted.weight_decay:
        more["weight_decay"] = wanted.weight_decay
    return getattr(torch.optim, wanted.name)(model.parameters(), lr=wanted.lr, **more)


def _mlp(torch: Any, case: Mlp) -> Any:
    layers: list[Any] = []
    for inputs, outputs in zip(case.widths, case.widths[1:], strict=False):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _cnn(torch: Any, case: Cnn) -> Any:
    nn, (first, second, third) = torch.nn, case.channels
    return nn.Sequential(
        *(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(second, third, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(case.features, case.hidden), nn.ReLU(), nn.Linear(case.hidden, case.classes)),
    )


def _recurrent(torch: Any, case: Recurrent) -> Any:
    nn = torch.nn

    class LanguageModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(case.vocabulary, case.embedding)
            self.cells = getattr(nn, case.cell)(case.embedding, case.hidden, num_layers=case.layers)
            self.head = nn.Linear(case.hidden, case.vocabulary)

        def forward(self, ids: Any) -> Any:
            out, _ = self.cells(self.embed(ids))
            return self.head(out).reshape(-1, case.vocabulary)

    return LanguageModel()


def _gpt(torch: Any, case: Gpt) -> Any:
    nn, functional, width = torch.nn, torch.nn.functional, case.width

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, context, _ = x.shape
            parts = self.qkv(self.before_attention(x)).split(width, dim=2)
            shape = (batch, context, case.heads, width // case.heads)
            q, k, v = (part.view(*shape).transpose(1, 2) for part in parts)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(mixed.transpose(1, 2).contiguous().view(batch, context, width))
            return x + self.down(functional.gelu(self.up(self.before_mlp(x))))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(case.vocabulary, width)
            self.positions = nn.Embedding(case.context, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(case.layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, case.vocabulary, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.positions(torch.arange(case.context))
            return self.head(self.norm(self.blocks(x))).view(-1, case.vocabulary)

    return Decoder()


MODELS: dict[type, Callable[[Any, Any], Any]] = {Mlp: _mlp, Cnn: _cnn, Recurrent: _recurrent, Gpt: _gpt}


def _gelu_silu(torch: Any, x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x))) + x.sigmoid() * x


def _softmax(torch: Any, x: Any) -> Any:
    return torch.softmax(x * 0.125, dim=-1)


def _layer_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.layer_norm(x, (x.shape[1],)) * 1.5 + 0.5


def _product(torch: Any, a: Any, b: Any) -> Any:
    return a @ b


FUNCTIONS = {"gelu_silu": _gelu_silu, "softmax": _softmax, "layer_norm": _layer_norm, "product": _product}


def _without_gradient(torch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any) -> Any:
        with torch.no_grad():
            return function(torch, *args)

    return step
