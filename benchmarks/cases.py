"""The workloads as data: kinds of model and their sizes. Every engine builds its step from these, from the same numbers.

A training case is a whole step: forward, loss, backward, optimizer. `Rows` and `Product` are one function, without gradient.
Parameters stand in PyTorch's order and layouts, so that one list of arrays starts every engine's model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Parameter(NamedTuple):
    """The shape of a parameter, and the mean its first numbers are drawn around."""

    shape: tuple[int, ...]
    mean: float = 0.0


class Optimizer(NamedTuple):
    """SGD, Adam or AdamW with its numbers."""

    name: str
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0


_SGD, _ADAM, _FASTER_ADAM = Optimizer("SGD", 1e-4), Optimizer("Adam", 1e-4), Optimizer("Adam", 1e-3)
_MOMENTUM, _ADAMW = Optimizer("SGD", 1e-2, momentum=0.9), Optimizer("AdamW", 1e-3, weight_decay=0.01)


def _linear(inputs: int, outputs: int) -> list[Parameter]:
    return [Parameter((outputs, inputs)), Parameter((outputs,))]


def _floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _labels(classes: int, *shape: int) -> Array:
    return np.random.default_rng(0).integers(0, classes, shape)


@dataclass(frozen=True)
class Mlp:
    """Linear layers of these widths with ReLU between; mean squared error, or cross entropy where `classes`."""

    batch: int
    widths: tuple[int, ...]
    optimizer: Optimizer
    classes: bool = False

    def parameters(self) -> list[Parameter]:
        return [p for layer in itertools.pairwise(self.widths) for p in _linear(*layer)]

    def inputs(self) -> tuple[Array, ...]:
        first, last = self.widths[0], self.widths[-1]
        y = _labels(last, self.batch) if self.classes else _floats(self.batch, last)
        return _floats(self.batch, first), y


@dataclass(frozen=True)
class Cnn:
    """Two 3 x 3 convolutions, each with ReLU and 2 x 2 max pooling, and two linear layers, on square images."""

    batch: int
    side: int
    channels: tuple[int, int, int]
    hidden: int
    classes: int = 10
    optimizer: Optimizer = _MOMENTUM

    @property
    def features(self) -> int:
        """What the convolutions give for an image."""
        return self.channels[2] * (self.side // 4) ** 2

    def parameters(self) -> list[Parameter]:
        found = []
        for inputs, outputs in itertools.pairwise(self.channels):
            found += [Parameter((outputs, inputs, 3, 3)), Parameter((outputs,))]
        return found + _linear(self.features, self.hidden) + _linear(self.hidden, self.classes)

    def inputs(self) -> tuple[Array, ...]:
        return _floats(self.batch, self.channels[0], self.side, self.side), _labels(self.classes, self.batch)


@dataclass(frozen=True)
class Recurrent:
    """A language model: embedding, LSTM or GRU layers, a linear head for each step."""

    cell: str
    batch: int
    steps: int
    embedding: int
    hidden: int
    layers: int
    vocabulary: int = 96
    optimizer: Optimizer = _FASTER_ADAM

    @property
    def gates(self) -> int:
        """Rows of a weight per hidden unit."""
        return {"LSTM": 4, "GRU": 3}[self.cell]

    def parameters(self) -> list[Parameter]:
        found, rows = [Parameter((self.vocabulary, self.embedding))], self.gates * self.hidden
        for layer in range(self.layers):
            inputs = self.hidden if layer else self.embedding
            found += [Parameter((rows, inputs)), Parameter((rows, self.hidden)), Parameter((rows,)), Parameter((rows,))]
        return found + _linear(self.hidden, self.vocabulary)

    def inputs(self) -> tuple[Array, ...]:
        ids = _labels(self.vocabulary, self.steps, self.batch)
        return ids, _labels(self.vocabulary, self.steps * self.batch)


@dataclass(frozen=True)
class Gpt:
    """A decoder-only transformer: learned positions, pre-norm blocks, causal attention, GELU."""

    batch: int
    context: int
    width: int
    heads: int
    layers: int
    vocabulary: int = 96
    optimizer: Optimizer = _ADAMW

    def parameters(self) -> list[Parameter]:
        c = self.width
        norm = [Parameter((c,), 1.0), Parameter((c,))]
        block = [*norm, *norm, *_linear(c, 3 * c), *_linear(c, c), *_linear(c, 4 * c), *_linear(4 * c, c)]
        tables = [Parameter((self.vocabulary, c)), Parameter((self.context, c))]
        return [*tables, *block * self.layers, *norm, Parameter((self.vocabulary, c))]

    def inputs(self) -> tuple[Array, ...]:
        ids = _labels(self.vocabulary, self.batch, self.context)
        return ids, _labels(self.vocabulary, self.batch * self.context)


@dataclass(frozen=True)
class Rows:
    """`gelu_silu`, `softmax` or `layer_norm` (with a scale before or after) of a matrix, without gradient."""

    function: str
    rows: int
    columns: int

    def parameters(self) -> list[Parameter]:
        return []

    def inputs(self) -> tuple[Array, ...]:
        return (_floats(self.rows, self.columns),)


@dataclass(frozen=True)
class Product:
    """A product of two square matrices, which tells how fast matrix products can be."""

    size: int
    function: str = "product"

    def parameters(self) -> list[Parameter]:
        return []

    def inputs(self) -> tuple[Array, ...]:
        return _floats(self.size, self.size), _floats(self.size, self.size)


Training = Mlp | Cnn | Recurrent | Gpt
Case = Training | Rows | Product


def first_numbers(case: Training) -> list[Array]:
    """The parameters every engine starts from, float32."""
    rng = np.random.default_rng(1)
    return [p.mean + 0.05 * rng.standard_normal(p.shape, dtype=np.float32) for p in case.parameters()]


STANDARD: dict[str, Case] = {
    "mlp_tiny": Mlp(4, (3, 8, 1), _SGD),
    "mlp_seed_sgd": Mlp(64, (1000, 100, 10), _SGD),
    "mlp_seed_adam": Mlp(64, (1000, 100, 10), _ADAM),
    "mlp_mnist": Mlp(128, (784, 512, 256, 10), _FASTER_ADAM, classes=True),
    "mlp_wide_sgd": Mlp(256, (1024, 4096, 1024), _SGD),
    "cnn_lenet": Cnn(64, 28, (1, 32, 64), 128),
    "lstm_char": Recurrent("LSTM", 32, 32, 64, 128, 2),
    "gpt_char": Gpt(16, 64, 128, 4, 4),
    "ew_gelu_chain": Rows("gelu_silu", 2048, 2048),
    "softmax_rows": Rows("softmax", 4096, 1024),
    "layernorm_rows": Rows("layer_norm", 4096, 1024),
}

VARIED: dict[str, Case] = {
    "mlp_one_row": Mlp(1, (16, 32, 4), _SGD),
    "mlp_long_batch": Mlp(2048, (32, 64, 1), _ADAM),
    "mlp_deep": Mlp(32, (256, 256, 256, 256, 256, 10), _FASTER_ADAM, classes=True),
    "mlp_square": Mlp(512, (512, 512, 512), _SGD),
    "mlp_odd": Mlp(50, (333, 77, 13), Optimizer("SGD", 1e-3, momentum=0.9)),
    "cnn_colour": Cnn(32, 32, (3, 16, 32), 64),
    "cnn_large_batch": Cnn(128, 28, (1, 16, 32), 128),
    "cnn_small_batch": Cnn(8, 48, (3, 32, 64), 64),
    "lstm_one_layer": Recurrent("LSTM", 16, 64, 32, 256, 1),
    "lstm_short": Recurrent("LSTM", 64, 8, 128, 128, 3),
    "gru_char": Recurrent("GRU", 32, 32, 64, 128, 2),
    "gru_small": Recurrent("GRU", 8, 100, 16, 64, 1),
    "gpt_small": Gpt(4, 128, 64, 2, 2),
    "gpt_wide": Gpt(8, 32, 256, 8, 2),
    "gpt_deep": Gpt(2, 64, 96, 3, 6),
    "ew_cached": Rows("gelu_silu", 256, 512),
    "ew_odd": Rows("gelu_silu", 1001, 777),
    "softmax_long": Rows("softmax", 128, 32768),
    "softmax_short": Rows("softmax", 65536, 64),
    "layernorm_gpt": Rows("layer_norm", 1024, 768),
    "layernorm_odd": Rows("layer_norm", 3000, 1000),
}

#: The same recurrence over few and many steps: what compiles must not grow with the steps.
LENGTHS: dict[str, Case] = {
    "lstm_32_steps": Recurrent("LSTM", 8, 32, 32, 64, 2),
    "lstm_1000_steps": Recurrent("LSTM", 8, 1000, 32, 64, 2),
}

PRODUCTS: dict[str, Case] = {"product_512": Product(512), "product_1024": Product(1024), "product_2048": Product(2048)}

CASES = {**STANDARD, **VARIED, **LENGTHS, **PRODUCTS}
