"""Generators of random bits. The state is two tensors, (seed, offset); each draw reads them, then adds 1 to the offset.

So a trace or graph sees an ordinary variable that it reads and updates, and the same seed gives the same numbers in
eager code, in compiled code and in sessions.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, eagerly, place, set_grad
from graphc.core.devices import CPU
from graphc.core.dims import Shape
from graphc.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import int64, uint8
from graphc.functions.promotion import scalar_operand
from graphc.functions.subscripts import write_into
from graphc.primitives.random import random_bits

_WORD = 1 << 64


def signed(seed: int) -> int:
    """The int64 with the same 64 bits."""
    return (seed + (_WORD >> 1)) % _WORD - (_WORD >> 1)


def _fresh_seed() -> int:
    """63 bits from the operating system (`secrets` would load OpenSSL for them)."""
    return int.from_bytes(os.urandom(8), "little") >> 1


class Generator:
    """A stream of random numbers: `seed` names it, `offset` counts the draws made. Both are 0-d int64 tensors.

    A new generator starts at a random seed; its tensors are made at the first use.
    """

    def __init__(self, device: Any = None):
        place(device)
        self._initial = _fresh_seed()
        self._state: tuple[Any, Any] | None = None
        self._seeds_given = 0

    @property
    def device(self) -> Any:
        """Where the state is."""
        return CPU

    @property
    def state(self) -> tuple[Any, Any]:
        """The tensors (seed, offset)."""
        if self._state is None:
            with eagerly():
                numbers = (np.array(signed(self._initial), np.int64), np.array(0, np.int64))
                self._state = (SLOTS.new_tensor(numbers[0]), SLOTS.new_tensor(numbers[1]))
                # every run that draws from it moves it on, also one that fetches no train op
                self._state[1].__dict__["_random_state"] = True
        return self._state

    @property
    def offset(self) -> Any:
        """How many draws were made, as a 0-d int64 tensor."""
        return self.state[1]

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream `seed` from its beginning; returns self. ArgumentError outside the 64-bit numbers."""
        seed = int(seed)
        if not -(_WORD >> 1) <= seed < _WORD:
            raise ArgumentError("Overflow when unpacking long long", f"a seed from {-(_WORD >> 1)} to {_WORD - 1}")
        self._write(signed(seed), 0)
        self._initial = seed % _WORD
        return self

    def seed(self) -> int:
        """Starts a stream with a random seed; returns the seed."""
        seed = _fresh_seed()
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed this generator was given last."""
        return self._initial

    def get_state(self) -> Any:
        """The state as u8[16], for `set_state`."""
        seed, offset = self.state
        return SLOTS.new_tensor(np.array([seed.item(), offset.item()], np.int64).view(np.uint8))

    def set_state(self, new_state: Any) -> None:
        """Goes back to a state that `get_state` gave."""
        if not isinstance(new_state, TensorBase) or new_state.dtype is not uint8:
            raise ArgumentTypeError("expected a torch.ByteTensor, as get_state() gives it")
        if new_state.shape != (16,):
            raise ShapeError("RNG state is wrong size", f"u8[16], got {list(new_state.shape)}")
        seed, offset = new_state.numpy().view(np.int64).tolist()  # type: ignore[attr-defined]
        self._write(seed, offset)
        self._initial = seed % _WORD

    def worker_seed(self) -> int:
        """A seed of 63 bits for other processes, each time another; the stream itself does not move.

        So what is drawn here is the same with and without them. (PyTorch moves its stream in both cases.)
        """
        seed, offset = self.state
        words = [seed.item() % _WORD, offset.item(), self._seeds_given]
        self._seeds_given += 1
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1

    def _write(self, seed: int, offset: int) -> None:
        self._seeds_given = 0
        with set_grad(False):
            for tensor, number in zip(self.state, (seed, offset), strict=True):
                write_into(tensor, scalar_operand(number, int64))

    def bits(self, shape: Shape, width: int) -> Any:
        """Random bits, i32[*shape] or i64[*shape], and one step of the offset."""
        seed, offset = self.state
        with set_grad(False):
            out = random_bits(seed, offset, shape=tuple(shape), width=width)
            offset.add_(1)
        return out


default_generator = Generator()
SLOTS.generator = lambda: default_generator


def manual_seed(seed: int) -> Generator:
    """Starts the default generator's stream `seed` from its beginning; returns the generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Starts the default generator at a random seed; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed the default generator was given last."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The default generator's state, u8[16]."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Goes back to a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)


def source_of(generator: Any) -> Any:
    """The generator a function was given, or the default one; ArgumentTypeError for anything else."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise ArgumentTypeError(f"argument 'generator' must be Generator, not {type(generator).__name__}")
    return generator


__all__ = [
    "Generator", "default_generator", "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state",
]  # fmt: skip
