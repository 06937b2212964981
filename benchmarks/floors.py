"""What no engine can beat on this machine: FLOPs over the measured rate of products, bytes over that of copies.

FLOPs are those of matrix products and convolutions alone. Bytes are what a step must read and write if all that it makes on
the way stays in registers: inputs, and for training each parameter and each moment of the optimizer, read and written once.
The copy rate is measured on as many bytes, so what fits into a cache is measured there.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from cases import Case, Cnn, Gpt, Mlp, Product, Recurrent, Rows


class Floor(NamedTuple):
    """Microseconds that arithmetic and memory take at least."""

    by_flops: float
    by_bytes: float

    @property
    def us(self) -> float:
        """The larger of the two: they can overlap."""
        return max(self)


def flops(case: Case) -> float:
    """Multiplications and additions in the products of one step; the gradient of what is no parameter is left out."""
    if isinstance(case, Rows):
        return 0.0
    if isinstance(case, Product):
        return 2.0 * case.size**3
    if isinstance(case, Mlp):
        layers = [2.0 * case.batch * a * b for a, b in itertools.pairwise(case.widths)]
        return 3 * sum(layers) - layers[0]
    if isinstance(case, Cnn):
        first, second, third = case.channels
        convolutions = [2.0 * case.batch * case.side**2 * 9 * first * second]
        convolutions.append(2.0 * case.batch * (case.side // 2) ** 2 * 9 * second * third)
        linear = 2.0 * case.batch * (case.features * case.hidden + case.hidden * case.classes)
        return 3 * (sum(convolutions) + linear) - convolutions[0]
    if isinstance(case, Recurrent):
        widths = case.embedding + case.hidden * (2 * case.layers - 1)
        each = case.gates * case.hidden * widths + case.hidden * case.vocabulary
        return 3 * 2.0 * case.batch * case.steps * each
    return 3 * _gpt_flops(case)


def _gpt_flops(case: Gpt) -> float:
    """Forward alone; causal attention looks at half of the places, and the diagonal."""
    tokens, looked_at = case.batch * case.context, (case.context + 1) / 2
    block = 12 * case.width**2 + 2 * case.width * looked_at
    return 2.0 * tokens * (case.layers * block + case.width * case.vocabulary)


def traffic(case: Case) -> int:
    """Bytes that one step must read and write."""
    given = sum(x.nbytes for x in case.inputs())
    if isinstance(case, Rows):
        return 2 * given
    if isinstance(case, Product):
        return given + 4 * case.size**2
    parameters = 4 * sum(int(np.prod(p.shape)) for p in case.parameters())
    moments = 2 if case.optimizer.name != "SGD" else 1 if case.optimizer.momentum else 0
    return given + 2 * (1 + moments) * parameters


def copy_rate(nbytes: int, threads: int, seconds: float = 0.2) -> float:
    """Bytes read and written in a second where each thread copies its own share of `nbytes`, again and again."""
    shares = [np.ones(max(nbytes // (2 * threads), 1), np.uint8) for _ in range(threads)]
    copied, start, lock = 0, threading.Barrier(threads), threading.Lock()

    def work(source: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        nonlocal copied
        target, times = np.empty_like(source), 0
        start.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            np.copyto(target, source)
            times += 1
        with lock:
            copied += 2 * times * source.size

    workers = [threading.Thread(target=work, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return copied / seconds


def floor(case: Case, flop_rate: float, rate_of_copies: Callable[[int], float]) -> Floor:
    """The floor at that many FLOPs a second, and bytes a second for a number of bytes."""
    size = traffic(case)
    return Floor(flops(case) / flop_rate * 1e6, size / rate_of_copies(size) * 1e6)
