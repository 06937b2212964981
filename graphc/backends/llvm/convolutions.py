"""Convolutions as chains: kernels that lay windows out, and products, sample by sample (planning/convolutions.py)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from graphc.backends.llvm import blas, chains, gemm
from graphc.backends.llvm.chains import Link, Move
from graphc.backends.llvm.gemm_words import WORDS
from graphc.backends.llvm.host import Machine
from graphc.backends.llvm.kernels import print_kernel
from graphc.ir.kernel import Kernel
from graphc.planning.convolutions import (
    FORWARD,
    INPUT_GRADIENT,
    Convolution,
    blocks,
    columns_kernel,
    folding_kernel,
    grouped,
    rearranged,
)
from graphc.planning.costs import kernel_cycles
from graphc.planning.memory import aligned

Where = tuple[int, int]
#: Slot, byte offset; bytes to move on for each sample, block and part.
Buffer = tuple[int, int, int, int, int]

_ONE = struct.unpack("q", struct.pack("d", 1.0))[0]


@dataclass
class Chain:
    """A convolution as a chain: texts and symbols of its links, extent, parts, working memory, cycles of all parts."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    samples: int = 1
    blocks: int = 1
    parts: int = 1
    scratch: int = 0
    cycles: float = 0.0

    @property
    def extent(self) -> int:
        """How many items there are."""
        return self.samples * self.blocks

    def words(self, functions: list[int]) -> tuple[int, ...]:
        """The arguments once the functions are known."""
        return chains.words(self.links, functions, self.samples, self.blocks, self.parts)


def chain(
    name: str, c: Convolution, a: Where, b: Where, out: Where, scratch: Where, parts: int, machine: Machine
) -> Chain:  # fmt: skip
    """The chain of the op `name` in at most `parts` parts, on operands a and b, with working memory at `scratch`."""
    c = grouped(c, 0 if name in (FORWARD, INPUT_GRADIENT) else parts)
    found = Chain(samples=c.batch, blocks=blocks(c, name == INPUT_GRADIENT))
    found.parts = max(1, min(parts, found.extent))
    writer = _Writer(found, c, scratch, machine)
    {FORWARD: writer.forward, INPUT_GRADIENT: writer.input_gradient}.get(name, writer.weight_gradient)(a, b, out)
    return found


class _Writer:
    """Adds the links of a convolution to a chain."""

    def __init__(self, made: Chain, c: Convolution, scratch: Where, machine: Machine):
        self.chain, self.c, self.scratch, self.machine = made, c, scratch, machine
        self.size = c.dtype.itemsize
        #: bytes of a sample of x and of g
        self.x, self.g = (c.groups * n * self.size for n in (c.channels * c.elements, c.filters * c.places))

    def columns(self, x: Where) -> tuple[Buffer, int]:
        """Where the columns of an item lie, and how far apart their rows are."""
        c = self.c
        places = c.places // self.chain.blocks
        if c.is_plain:
            return (*x, self.x, places * self.size, 0), c.places
        target = self.room(aligned(c.groups * c.channels * c.window * places * self.size))
        self.kernel(columns_kernel(c, self.chain.blocks), (*x, self.x, 0, 0), target, self.chain.blocks > 1)
        return target, places

    def outputs(self, g: Where, places: int) -> Buffer:
        """g, of which blocks take `places` places each, the channels of all samples that are done at once side by side."""
        if self.c.samples == 1:
            return (*g, self.g, places * self.size, 0)
        target = self.room(aligned(self.g))
        self.kernel(columns_kernel(rearranged(self.c), 1), (*g, self.g, 0, 0), target, False)
        return target

    def room(self, nbytes: int) -> Buffer:
        """Working memory of each part."""
        slot, offset = self.scratch[0], self.scratch[1] + self.chain.scratch
        self.chain.scratch += nbytes * self.chain.parts
        return slot, offset, 0, 0, nbytes

    def kernel(self, kernel: Kernel, source: Buffer, target: Buffer, by_block: bool) -> None:
        """A link that runs a kernel of two buffers."""
        printed = print_kernel(kernel, self.machine)
        moves = tuple(Move(2 * n + 1, *buffer[2:]) for n, buffer in enumerate((source, target)))
        link = Link(
            (*source[:2], *target[:2], *printed.words), moves, kernel.extents[0] if kernel.n_outer else 1, by_block
        )
        self.add(printed.text, "task", link)
        turns = self.chain.samples if by_block else self.chain.extent  # by block, the kernel counts the blocks itself
        self.chain.cycles += kernel_cycles(kernel, printed.lanes) * turns

    def product(
        self, m: int, n: int, k: int, a: gemm.Matrix, b: gemm.Matrix, c: gemm.Matrix, moving: list[Buffer],
        adds: bool = False,
    ) -> None:  # fmt: skip
        """A link that multiplies matrices, one pair for each group; `moving`: the buffers of the three."""
        product = gemm.Gemm(self.c.dtype.name, m, n, k, a, b, c, (self.c.groups,), beta=1.0 if adds else 0.0)
        way = gemm.choose(product, 1, self.machine, blas.library)
        room = self.room(aligned(way.total_scratch))
        args = gemm.words(product, way, self.machine, room[:2])
        moves = [
            Move(WORDS.index(f"{x}_offset"), *buffer[2:])
            for x, buffer in zip("abcd", (*moving, moving[-1]), strict=True)  # what is added to stands where C does
        ]
        moves.append(Move(WORDS.index("scratch_offset"), part=room[4]))
        if adds:
            moves.append(Move(WORDS.index("beta"), first=-_ONE))
        self.add(way.module, way.symbol, Link(args, tuple(moves), way.extent))
        self.chain.cycles += float(way.cycles) * self.chain.extent

    def add(self, text: str, symbol: str, link: Link) -> None:
        self.chain.texts.append((text, symbol))
        self.chain.links.append(link)

    # --- the three ops --------------------------------------------------------------------------------------------

    def forward(self, x: Where, w: Where, out: Where) -> None:
        """out[n] = w @ columns, a block of rows at a time."""
        c = self.c
        columns, apart = self.columns(x)
        deep, places = c.channels * c.window, c.places // self.chain.blocks
        target: Buffer = (*out, self.g, places * self.size, 0)
        made = target if c.samples == 1 else self.room(aligned(self.g))
        self.product(
            c.filters, places, deep, gemm.Matrix(*w, deep, 1, (c.filters * deep,)),
            gemm.Matrix(*columns[:2], apart, 1, (deep * apart,)),
            gemm.Matrix(*made[:2], c.places, 1, (c.filters * c.places,)), [(*w, 0, 0, 0), columns, made],
        )  # fmt: skip
        if c.samples > 1:
            self.kernel(folding_kernel(rearranged(c), 1), made, target, False)

    def input_gradient(self, g: Where, w: Where, out: Where) -> None:
        """columns = w.T @ g[n], a block of channels at a time, then added up."""
        c = self.c
        channels, deep = c.channels // self.chain.blocks, c.channels * c.window
        rows = channels * c.window
        source = self.outputs(g, 0)
        target: Buffer = (*out, self.x, channels * c.elements * self.size, 0)
        columns, apart = target, c.channels * c.elements
        if not c.is_plain:
            columns, apart = self.room(aligned(c.groups * rows * c.places * self.size)), rows * c.places
        self.product(
            rows, c.places, c.filters, gemm.Matrix(*w, 1, deep, (c.filters * deep,)),
            gemm.Matrix(*source[:2], c.places, 1, (c.filters * c.places,)),
            gemm.Matrix(*columns[:2], c.places, 1, (apart,)), [(*w, 0, rows * self.size, 0), source, columns],
        )  # fmt: skip
        if not c.is_plain:
            self.kernel(folding_kernel(c, self.chain.blocks), columns, target, False)

    def weight_gradient(self, x: Where, g: Where, out: Where) -> None:
        """out[part] += g[n] @ columns.T, a block of rows at a time."""
        c = self.c
        columns, apart = self.columns(x)
        deep, places = c.channels * c.window, c.places // self.chain.blocks
        source = self.outputs(g, places)
        self.product(
            c.filters, deep, places, gemm.Matrix(*source[:2], c.places, 1, (c.filters * c.places,)),
            gemm.Matrix(*columns[:2], 1, apart, (deep * apart,)), gemm.Matrix(*out, deep, 1, (c.filters * deep,)),
            [source, columns, (*out, 0, 0, c.weights * self.size)], adds=True,
        )  # fmt: skip
