"""What texts know of the device they are for, and which tiles of a sum of products fit it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

#: Most elements that a vector type of OpenCL holds.
_MOST_LANES = 16
#: A processor's tiles: the sums of 256 x 256 elements, and both operands for 128 steps, are what a second-level cache keeps;
#: each element that is brought in is used 256 times, which pays even for a gather.
_SIDE, _STEPS = 256, 128
#: Products summed by a group: fewer are not worth a start of their own.
_LEAST_WORK = 1 << 18
#: A graphics card's tiles: so many steps hide the barriers, and both operands for them leave room for a second group.
_LEAST_STEPS = 16
#: The bytes of sums an item of a card keeps in registers: 8 x 8 of float32.
_SUMS_CARD = 256
#: Elements between the rows of a card's tile, so that neighbouring rows begin in different banks of local memory.
_APART = 4

#: Bytes of tables for each row, each column, and each step.
Tables: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Target:
    """A device: items of a group, bytes of local memory, groups that run side by side.

    `vector`: the bytes of a processor's vector; 0 for a graphics card, whose items are the lanes of its vectors.
    `arguments`: the bytes of a kernel's arguments; every OpenCL device takes 1,024.
    `wide_atomics`: whether items can add to the same element of 64 bits.
    """

    items: int
    local: int
    units: int
    vector: int
    arguments: int = 1024
    wide_atomics: bool = False


@dataclass(frozen=True)
class Tile:
    """What a group makes at a time: `rows` x `columns` sums, over `steps` steps.

    A block is what is in registers at once: `block` rows and columns, the latter counted in vectors of `lanes` elements.
    `items`: how many rows and columns of blocks are made side by side; an item alone makes one block after another.
    """

    rows: int
    columns: int
    steps: int
    block: tuple[int, int]
    lanes: int
    items: tuple[int, int]

    @property
    def alone(self) -> bool:
        """Whether the group is one item."""
        return self.items == (1, 1)

    @property
    def apart(self) -> int:
        """Elements between rows in local memory."""
        return 0 if self.alone else _APART

    def nbytes(self, itemsize: int, tables: Tables) -> int:
        """Local memory: operands, sums where blocks take turns, and tables."""
        operands = self.steps * (self.rows + self.columns + 2 * self.apart)
        sums = self.rows * self.columns if self.alone else 0
        sides = zip(tables, (self.rows, self.columns, self.steps), strict=True)
        return itemsize * (operands + sums) + sum(n * self.table(places) for n, places in sides)

    def table(self, places: int) -> int:
        """How many entries a table for so many rows, columns or steps has: every item fills as many."""
        return max(places, self.items[0] * self.items[1])

    def groups(self, rows: int, columns: int, batch: int) -> int:
        """How many of them a result takes."""
        return batch * -(-rows // self.rows) * -(-columns // self.columns)


def tile_for(target: Target, itemsize: int, batch: int, rows: int, columns: int, steps: int, tables: Tables) -> Tile:
    """The largest tile that fits the device, unless the result is too small to keep the device busy with such.

    A processor's local memory is a cache, a quarter of which is left to others.
    """
    sizes, most, room = (_processor_tiles, _STEPS, target.local * 3 // 4) if target.vector else (
        _card_tiles, _LEAST_STEPS, target.local)  # fmt: skip
    for tile in sizes(target, itemsize, rows, columns):
        busy = tile.groups(rows, columns, batch) >= 2 * target.units or tile.rows * tile.columns * steps <= _LEAST_WORK
        if busy and tile.nbytes(itemsize, tables) <= room:
            break
    wanted = min(most, power_of_two(steps))
    while tile.steps < wanted and (longer := replace(tile, steps=2 * tile.steps)).nbytes(itemsize, tables) <= room:
        tile = longer
    return replace(tile, steps=min(tile.steps, wanted))


def tiles_for(target: Target, itemsize: int, rows: int, columns: int, steps: int, tables: Tables) -> list[Tile]:
    """Every tile that fits the device, largest first, over as many steps as are wanted, half as many, and a quarter."""
    sizes, most = (_processor_tiles, _STEPS) if target.vector else (_card_tiles, _LEAST_STEPS)
    wanted = min(most, power_of_two(steps))
    found = [
        replace(tile, steps=n)
        for tile in sizes(target, itemsize, rows, columns)
        for n in dict.fromkeys((wanted, max(wanted // 2, 1), max(wanted // 4, 1)))
    ]
    return [tile for tile in found if tile.nbytes(itemsize, tables) <= target.local]


def _processor_tiles(target: Target, itemsize: int, rows: int, columns: int) -> Iterator[Tile]:
    """An item alone, whose blocks are vectors: a processor has no items side by side, and its local memory is its cache.

    Blocks are what registers hold beside an operand: processors with vectors of 64 bytes have 32 of them, others perhaps 16.
    """
    lanes = max(min(target.vector // itemsize, _MOST_LANES), 1)
    while lanes > 1 and lanes // 2 >= columns:
        lanes //= 2
    block = min(8 if target.vector >= 64 else 4, power_of_two(rows)), 1 if columns <= lanes else 2
    least = block[0], block[1] * lanes
    side = [max(min(_SIDE, power_of_two(n)), m) for n, m in zip((rows, columns), least, strict=True)]
    while True:
        yield Tile(side[0], side[1], _LEAST_STEPS, block, lanes, (1, 1))
        if side == [*least]:
            return
        longer = 0 if side[1] == least[1] or side[0] >= max(side[1], 2 * least[0]) else 1
        side[longer] //= 2


def _card_tiles(target: Target, itemsize: int, rows: int, columns: int) -> Iterator[Tile]:
    """Items in a square, each with a square of sums in its registers."""
    side = 1 << (target.items.bit_length() - 1) // 2
    most = 1 << ((_SUMS_CARD // itemsize).bit_length() - 1) // 2
    block = [max(min(most, power_of_two(n) // side), 1) for n in (rows, columns)]
    while True:
        yield Tile(side * block[0], side * block[1], _LEAST_STEPS, (block[0], block[1]), 1, (side, side))
        if block == [1, 1]:
            return
        block[int(block[1] > block[0])] //= 2


def power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


__all__ = ["Tables", "Target", "Tile", "power_of_two", "tile_for", "tiles_for"]
