"""Sums of products as text, a tile at a time: matrix products, and convolutions as the matrix products they are.

A kernel that adds up products of two loads walks some of its outer loops with one load only (the rows), some with the other
only (the columns), and some with both (the batch). A group makes a tile of rows and columns (`tiles.py`): for a share of the
inner steps it brings what both loads read into local memory, computing places and conditions once for all the products they
take part in, and then adds up blocks of products in registers. Where several loops are one side of the tile, what their
counters contribute to places is in tables, computed once for each row, column or step.

    for the shares of the steps
      tables of the steps;  a[row, step] and b[step, column] from memory
      for the blocks: for the steps: sums[row, column] += a[row, step] * b[step, column]
    for rows and columns: what is made of the sum, and its store
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

from graphc.backends.c_like.kernels import KernelPrinter, Printed, Shape
from graphc.backends.c_like.scalars import register_type
from graphc.backends.c_like.tiles import Tables, Target, Tile, tile_for, tiles_for
from graphc.backends.c_like.writing import Lines, Source
from graphc.core.scalar import Scalar, postorder
from graphc.core.tensor_types import FLOAT, DType
from graphc.ir.kernel import Access, Kernel
from graphc.planning.merging import merge_loops

#: On a card, fewer rows or columns, steps, and products in all do not pay for barriers and for items without work.
_LEAST_SIDE, _LEAST_STEPS, _LEAST_PRODUCTS = 4, 8, 1 << 14
#: On a processor, all products pay but the smallest (measured on PoCL: 8 x 8 x 8 takes as long either way).
_LEAST_ON_PROCESSOR = 1 << 9
#: Where there are fewer rows or columns than this, the rows are the fewer: columns are done side by side. A tile with fewer
#: elements uses nothing twice.
_FEW = 4
#: How many elements that lie apart are read side by side.
_STRIP = 16


@dataclass(frozen=True)
class Operand:
    """A factor: a tree over one load, and the outer loops that only it walks."""

    tree: Scalar
    access: Access
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """A kernel as a sum of products: statement `fold` adds up what `a` (rows) and `b` (columns) read."""

    kernel: Kernel
    fold: int
    a: Operand
    b: Operand
    batch: tuple[int, ...]

    def extent(self, axes: Sequence[int]) -> int:
        """How many steps loops take."""
        return prod(self.kernel.extents[axis] for axis in axes)

    @property
    def steps(self) -> tuple[int, ...]:
        """The inner loops."""
        return tuple(range(self.kernel.n_outer, len(self.kernel.extents)))

    @property
    def dtype(self) -> DType:
        """What is added up."""
        return self.kernel.statements[self.fold].tree.dtype


def print_product(source: Source, kernel: Kernel, target: Target, tile: Tile | None = None) -> Printed | None:
    """Writes a kernel as tiles of sums of products into a source; None where it is no such sum, or too small to profit.

    `tile`: which, if not the one that should fit best.
    """
    product = _profitable(kernel, target)
    if product is None:
        return None
    printer = _TilePrinter(source, product, target, tile)
    name = printer.print()
    rows, columns, batch = (product.extent(x) for x in (product.a.axes, product.b.axes, product.batch))
    groups = printer.tile.groups(rows, columns, batch)
    return Printed(name, groups, printer.shape.items, tuple(printer.words), printer.idx == "i64", ())


def tiles_of(kernel: Kernel, target: Target) -> list[Tile]:
    """The tiles that a kernel can be printed with, none where it is no sum of products that profits."""
    product = _profitable(kernel, target)
    return [] if product is None else _TilePrinter(Source(), product, target).fitting(target)


def _profitable(kernel: Kernel, target: Target) -> Product | None:
    product = product_of(merge_loops(kernel))
    if product is None:
        return None
    axes = (product.a.axes, product.b.axes, product.steps, product.batch)
    return product if profits(target, *map(product.extent, axes)) else None


def profits(target: Target, rows: int, columns: int, steps: int, batch: int) -> bool:
    """Whether a product is done faster as tiles."""
    products = batch * rows * columns * steps
    if target.vector:
        return rows * columns >= _FEW and products >= _LEAST_ON_PROCESSOR
    return min(rows, columns) >= _LEAST_SIDE and steps >= _LEAST_STEPS and products >= _LEAST_PRODUCTS


# --- which kernels are such sums --------------------------------------------------------------------------------------


def product_of(kernel: Kernel) -> Product | None:
    """A kernel as a sum of products, if it is one."""
    folds = [n for n, x in enumerate(kernel.statements) if x.inner]
    if len(folds) != 1 or any(x.scatter or x.fails or x.running for x in kernel.statements):
        return None
    fold = kernel.statements[folds[0]]
    if fold.combine != "add" or fold.position is not None:
        return None
    tree, condition = fold.tree, None
    if tree.op == "select" and tree.args[2].op == "const" and not tree.args[2].value:
        condition, tree = tree.args[0], tree.args[1]
    if tree.op != "mul" or tree.dtype.category == 0:
        return None
    accesses = [_only_load(kernel, x) for x in tree.args]
    first, second = accesses
    if first is None or second is None or (condition is not None and condition not in (first.guard, second.guard)):
        return None
    walked = [_axes_of(first), _axes_of(second)]
    outer = range(kernel.n_outer)
    own = [tuple(i for i in outer if i in walked[n] and i not in walked[1 - n]) for n in (0, 1)]
    batch = tuple(i for i in outer if i not in own[0] and i not in own[1])
    factors = [Operand(tree.args[n], access, own[n]) for n, access in enumerate((first, second))]
    product = Product(kernel, folds[0], factors[0], factors[1], batch)
    rows, columns = product.extent(own[0]), product.extent(own[1])
    few = columns < _FEW or rows < _FEW
    swapped = columns < rows if few else _neighbours_are_rows(kernel, factors[0])
    return replace(product, a=factors[1], b=factors[0]) if swapped else product


def _only_load(kernel: Kernel, tree: Scalar) -> Access | None:
    """The load that a factor is made of, and nothing else; its place must not be read from memory."""
    leaves = {x.value for x in postorder(tree) if x.op == "leaf"}
    source = kernel.sources[leaves.pop()] if len(leaves) == 1 else None
    if not isinstance(source, Access) or any(x.op == "index" for x in postorder(tree)):
        return None
    return None if any(x.op == "leaf" for x in postorder(*_trees_of(source))) else source


def _trees_of(access: Access) -> list[Scalar]:
    return [*(tree for tree, _ in access.computed), *([] if access.guard is None else [access.guard])]


def _axes_of(access: Access) -> set[int]:
    """The loops that a load walks."""
    named = {x.value for x in postorder(*_trees_of(access)) if x.op == "index"}
    return named | {axis for axis, c in enumerate(access.coefs) if c}


def _neighbours_are_rows(kernel: Kernel, rows: Operand) -> bool:
    """Whether results that are neighbours in memory belong to different rows."""
    stores = [x.store for x in kernel.statements if x.store is not None]
    return any(stores[-1].coefs[axis] == 1 for axis in rows.axes)


# --- the text ---------------------------------------------------------------------------------------------------------


@dataclass
class _Walk:
    """Loops stepped through as one, a share at a time: `start` is the first step of the share, `total` all steps.

    What a step adds to the place of access n is `factors[n]` times its number, or in a table; so are counters of loops.
    """

    axes: tuple[int, ...]
    start: str
    total: str
    factors: dict[int, str] = field(default_factory=dict)
    tables: dict[int, str] = field(default_factory=dict)
    counters: dict[int, str] = field(default_factory=dict)


class _TilePrinter(KernelPrinter):
    def __init__(self, source: Source, product: Product, target: Target, tile: Tile | None = None):
        super().__init__(source, product.kernel, Shape(1, 1), careful=False)
        self.product, dtype = product, product.dtype
        self.named = {x.value for x in postorder(*self.kernel.trees()) if x.op == "index"}
        wide = dtype.itemsize == 8
        self.itemsize = 8 if wide else 4
        tile = self.tile = tile or self.choose(target)
        self.shape = Shape(tile.items[0] * tile.items[1], 1)
        #: integers are added up as unsigned ones, which wrap
        self.element = ("f64" if wide else "f32") if dtype.category == FLOAT else "u64" if wide else "u32"
        self.vector = self.element if tile.lanes == 1 else f"{self.element}x{tile.lanes}"
        #: vectors in local memory have a second name, as elements
        self.one = "" if tile.lanes == 1 else "_one"
        self.width = tile.columns // tile.lanes
        #: an item alone reads steps of a row one after another: a vector of them is no use to others
        self.by_row = tile.alone and _along_steps(product.a)

    def print(self) -> str:
        """Writes the function; its name."""
        self.f = Lines(self.source)
        self.arguments()
        self.tiles()
        rows, columns = self.group()
        steps = self.walk("k", self.product.steps, "k0")
        if not self.tile.alone:
            self.f.do(f"{self.element} t[{self.tile.block[0]}][{self.tile.block[1]}]")
            with self.each_of_block():
                self.f.do("t[i][j] = 0")
        with self.f.block(f"for ({self.idx} k0 = 0; k0 < {self.live(steps.total)}; k0 += {self.tile.steps})"):
            self.share("steps", steps, self.tile.steps)
            self.bring(self.product.a, rows, "a", "rows", self.tile.rows, steps)
            self.bring(self.product.b, columns, f"b{self.one}", "columns", self.tile.columns, steps)
            self.meet()
            self.add_up()
            self.meet()
        self.results(rows, columns)
        return self.source.add_kernel(self.shape.items, self.parameters(), self.f)

    def choose(self, target: Target) -> Tile:
        """The tile that should fit the device best."""
        p = self.product
        rows, columns, steps = p.extent(p.a.axes), p.extent(p.b.axes), p.extent(p.steps)
        return tile_for(target, self.itemsize, p.extent(p.batch), rows, columns, steps, self.table_bytes())

    def fitting(self, target: Target) -> list[Tile]:
        """Every tile that fits the device."""
        p = self.product
        rows, columns, steps = p.extent(p.a.axes), p.extent(p.b.axes), p.extent(p.steps)
        return tiles_for(target, self.itemsize, rows, columns, steps, self.table_bytes())

    def table_bytes(self) -> Tables:
        """The bytes of tables for each row, each column and each step."""
        p, size = self.product, 8 if self.idx == "i64" else 4
        return size * self.tables(p.a.axes), size * self.tables(p.b.axes), size * self.tables(p.steps)

    def tables(self, axes: Sequence[int]) -> int:
        """How many tables loops need that are walked as one."""
        places = sum(not _is_even(access, axes, self.kernel) for access in self.accesses)
        return places + (len(self.named.intersection(axes)) if len(axes) > 1 else 0)

    def meet(self) -> None:
        """Lets the items of a group see what the others have written."""
        if not self.tile.alone:
            self.f.do("BARRIER")

    def live(self, number: str) -> str:
        """A number that is 0 after a fault: items that meet others cannot return."""
        return number if self.tile.alone else f"(live ? {number} : 0)"

    def tiles(self) -> None:
        """Local memory, and the same as elements."""
        f, tile = self.f, self.tile
        f.do(f"LOCAL {self.element} a[{tile.steps * (tile.rows + tile.apart)}]")
        f.do(f"LOCAL {self.vector} b[{tile.steps * (self.width + tile.apart)}]")
        if tile.alone:
            f.do(f"LOCAL {self.vector} sums[{tile.rows * self.width}]")
        if tile.lanes > 1:
            f.do(f"LOCAL {self.element} *b_one = (LOCAL {self.element} *)b")
            f.do(f"LOCAL {self.element} *sums_one = (LOCAL {self.element} *)sums")

    def group(self) -> tuple[_Walk, _Walk]:
        """Which tile the group makes: its rows and columns, and the counters of the batch."""
        f, tile, product = self.f, self.tile, self.product
        f.do("if (*fault) return" if tile.alone else "const bool live = !*fault")
        number = f"({self.idx})GROUP"
        for name, axes, size in (("c0", product.b.axes, tile.columns), ("r0", product.a.axes, tile.rows)):
            tiles = self.word(-(-product.extent(axes) // size))
            f.do(f"const {self.idx} {name} = {number} % {tiles} * {size}")
            number = f.let(self.idx, f"{number} / {tiles}")
        self.enter_flat(product.batch, number)
        rows, columns = self.walk("r", product.a.axes, "r0"), self.walk("c", product.b.axes, "c0")
        self.share("rows", rows, tile.rows)
        self.share("columns", columns, tile.columns)
        return rows, columns

    # --- loops walked as one ------------------------------------------------------------------------------------------

    def walk(self, letter: str, axes: tuple[int, ...], start: str) -> _Walk:
        """How places move along loops."""
        size = {"r": self.tile.rows, "c": self.tile.columns, "k": self.tile.steps}[letter]
        walk = _Walk(axes, start, self.word(self.product.extent(axes)))
        for n, access in enumerate(self.accesses):
            if not _is_even(access, axes, self.kernel):
                walk.tables[n] = self.table(f"{letter}_place{n}", size)
            elif any(access.coefs[i] for i in axes):
                walk.factors[n] = self.coefs.get((n, axes[-1]), "1")
        if len(axes) > 1:
            walk.counters = {i: self.table(f"{letter}_loop{i}", size) for i in axes if i in self.named}
        return walk

    def table(self, name: str, size: int) -> str:
        self.f.do(f"LOCAL {self.idx} {name}[{self.tile.table(size)}]")
        return name

    def share(self, name: str, walk: _Walk, size: int) -> None:
        """Of a share of the loops: how many steps there are, and its tables. What is beyond the end is like the last step."""
        f = self.f
        left = f.let(self.idx, f"{walk.total} - {walk.start}")
        f.do(f"const i32 {name} = {left} < {size} ? {left} : {size}")
        if not walk.tables and not walk.counters:
            return
        with self.moved(), f.block(f"for (i32 v = 0; v < {size}; v += {self.shape.items})"):
            f.do(f"const i32 u = v + {self.own(0, 1)}")  # every item fills as many: PoCL loses sums if some do less
            self.offsets = dict.fromkeys(self.offsets, "")
            self.enter_flat(walk.axes, self.number(walk, "u", clamped=True))
            for n, table in walk.tables.items():
                f.do(f"{table}[u] = {self.offsets[n]}")
            for axis, table in walk.counters.items():
                f.do(f"{table}[u] = {self.counters[axis]}")
        self.meet()

    def number(self, walk: _Walk, at: str, clamped: bool) -> str:
        """The number of step `at` of a share among all."""
        flat = self.f.let(self.idx, f"{walk.start} + {at}")
        return self.f.let(self.idx, f"{flat} < {walk.total} ? {flat} : {walk.total} - 1") if clamped else flat

    def move(self, walk: _Walk, at: str, numbers: Sequence[int], clamped: bool = False) -> None:
        """Moves accesses to step `at` of a share."""
        f = self.f
        flat = self.number(walk, at, clamped)
        for n in numbers:
            if n in walk.tables:
                step = f"{walk.tables[n]}[{at}]"
            elif n in walk.factors:
                step = flat if walk.factors[n] == "1" else f"{flat} * {walk.factors[n]}"
            else:
                continue
            before = self.offsets[n]
            self.offsets[n] = f.let(self.idx, f"{before} + {step}" if before else step)
        if len(walk.axes) == 1:
            self.counters[walk.axes[0]] = flat
        for axis, table in walk.counters.items():
            self.counters[axis] = f.let(self.idx, f"{table}[{at}]")

    @contextmanager
    def moved(self) -> Iterator[None]:
        """What is moved within is as before after it."""
        offsets, counters = dict(self.offsets), dict(self.counters)
        yield
        self.offsets, self.counters = offsets, counters

    # --- from memory to local memory ----------------------------------------------------------------------------------

    def own(self, place: int, side: int) -> str:
        """The number of the item, or one of its two coordinates where `side` items are a row of them."""
        if self.tile.alone:
            return "0"
        return "ITEM" if side == 1 else f"ITEM {'/%'[place]} {side}"

    def bring(self, operand: Operand, walk: _Walk, name: str, count: str, size: int, steps: _Walk) -> None:
        """What an operand reads for the tile, neighbouring items reading neighbours."""
        by_row = self.by_row and operand is self.product.a
        # an item alone gathers vectors of what lies along the steps; what is beyond the end may be gathered too
        strips = self.tile.alone and _along_steps(operand) and not by_row
        loops = self.strips(count, size) if strips else self.shares(_along_steps(operand), count, size)
        number = [self.numbers[id(operand.access)]]
        with self.moved(), loops:
            self.move(walk, "u", number, clamped=strips)
            self.move(steps, "k", number)
            (value,) = self.values([operand.tree])
            place = f"u * {self.tile.steps} + k" if by_row else f"k * {size + self.tile.apart} + u"
            self.f.do(f"{name}[{place}] = ({self.element}){value}")

    @contextmanager
    def strips(self, count: str, size: int) -> Iterator[None]:
        """Loops over `u` and `k`, the innermost over as many u as a vector has elements."""
        strip = min(_STRIP, size)
        with (
            self.f.block(f"for (i32 first = 0; first < {count}; first += {strip})"),
            self.f.block("for (i32 k = 0; k < steps; ++k)"),
            self.side_by_side(f"for (i32 u = first; u < first + {strip}; ++u)"),
        ):
            yield

    @contextmanager
    def side_by_side(self, head: str) -> Iterator[None]:
        """A loop whose steps have nothing to do with each other; a processor's compiler does not see that for itself."""
        if self.tile.alone:
            self.f.line("#pragma clang loop vectorize(assume_safety)")
        with self.f.block(head):
            yield

    @contextmanager
    def shares(self, along_steps: bool, count: str, size: int) -> Iterator[None]:
        """Loops over `u` and `k`, the inner one over what are neighbours in memory."""
        pairs = [("u", count, size), ("k", "steps", self.tile.steps)]
        (slow, slow_end, _), (fast, fast_end, most) = pairs if along_steps else reversed(pairs)
        side = min(most, self.shape.items)
        others = self.shape.items // side
        with (
            self.f.block(f"for (i32 {slow} = {self.own(0, side)}; {slow} < {slow_end}; {slow} += {others})"),
            self.side_by_side(f"for (i32 {fast} = {self.own(1, side)}; {fast} < {fast_end}; {fast} += {side})"),
        ):
            yield

    # --- sums ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def each_of_block(self) -> Iterator[None]:
        """Loops over rows `i` and columns `j` of a block, written out by the compiler: they are registers."""
        with self.unrolled("i", self.tile.block[0]), self.unrolled("j", self.tile.block[1]):
            yield

    @contextmanager
    def unrolled(self, counter: str, count: int) -> Iterator[None]:
        self.f.line("#pragma unroll")
        with self.f.block(f"for (i32 {counter} = 0; {counter} < {count}; ++{counter})"):
            yield

    def add_up(self) -> None:
        """Adds the products of a share of the steps."""
        f, tile = self.f, self.tile
        if not tile.alone:
            self.products(
                f"ITEM / {tile.items[1]} + i * {tile.items[0]}", f"ITEM % {tile.items[1]} + j * {tile.items[1]}"
            )
            return
        with (
            f.block(f"for (i32 c = 0; c * {tile.lanes} < columns; c += {tile.block[1]})"),
            f.block(f"for (i32 r = 0; r < rows; r += {tile.block[0]})"),
        ):
            f.do(f"{self.vector} t[{tile.block[0]}][{tile.block[1]}]")
            place = f"sums[(r + i) * {self.width} + c + j]"
            with self.each_of_block():
                f.do(f"t[i][j] = k0 > 0 ? {place} : ({self.vector})(0)")
            self.products("r + i", "c + j")
            with self.each_of_block():
                f.do(f"{place} = t[i][j]")

    def products(self, row: str, column: str) -> None:
        """The same for one block, whose sums are `t`."""
        f, tile = self.f, self.tile
        with f.block("for (i32 k = 0; k < steps; ++k)"):
            f.do(f"{self.vector} y[{tile.block[1]}]")
            with self.unrolled("j", tile.block[1]):
                f.do(f"y[j] = b[k * {self.width + tile.apart} + {column}]")
            with self.unrolled("i", tile.block[0]):
                place = f"({row}) * {tile.steps} + k" if self.by_row else f"k * {tile.rows + tile.apart} + {row}"
                f.do(f"const {self.vector} x = ({self.vector})(a[{place}])")
                with self.unrolled("j", tile.block[1]):
                    is_float = self.product.dtype.category == FLOAT
                    f.do(f"t[i][j] = {'fma(x, y[j], t[i][j])' if is_float else 'x * y[j] + t[i][j]'}")

    # --- results ------------------------------------------------------------------------------------------------------

    def results(self, rows: _Walk, columns: _Walk) -> None:
        """What is made of each sum."""
        f, tile = self.f, self.tile
        numbers = [
            n
            for n, x in enumerate(self.accesses)
            if id(x) not in map(id, (self.product.a.access, self.product.b.access))
        ]
        if tile.alone:
            with self.moved(), f.block("for (i32 r = 0; r < rows; ++r)"):
                self.move(rows, "r", numbers)
                with self.side_by_side("for (i32 c = 0; c < columns; ++c)"):
                    self.move(columns, "c", numbers)
                    self.result(f"sums{self.one}[r * {tile.columns} + c]")
            return
        with self.moved(), self.unrolled("i", tile.block[0]):
            f.do(f"const i32 r = ITEM / {tile.items[1]} + i * {tile.items[0]}")
            with f.block("if (live && r < rows)"):
                self.move(rows, "r", numbers)
                with self.unrolled("j", tile.block[1]):
                    f.do(f"const i32 c = ITEM % {tile.items[1]} + j * {tile.items[1]}")
                    with f.block("if (c < columns)"):
                        self.move(columns, "c", numbers)
                        self.result("t[i][j]")

    def result(self, total: str) -> None:
        """The statements after the fold."""
        fold, statements = self.product.fold, self.kernel.statements
        kind = register_type(self.product.dtype)
        self.made[fold] = self.f.let(kind, total if kind == self.element else f"({kind}){total}")
        for stage in range(self.kernel.n_stages):
            self.evaluate([n for n, x in enumerate(statements) if x.stage == stage and n != fold])
            if stage == statements[fold].stage:
                self.finish(fold)


def _is_even(access: Access, axes: Sequence[int], kernel: Kernel) -> bool:
    """Whether an access moves as far at each step of loops that are walked as one."""
    return all(access.coefs[i] == access.coefs[j] * kernel.extents[j] for i, j in pairwise(axes))


def _along_steps(operand: Operand) -> bool:
    """Whether neighbouring steps read neighbours, and neighbouring rows or columns do not."""
    coefs = operand.access.coefs
    return coefs[-1] == 1 and all(coefs[axis] != 1 for axis in operand.axes[-1:])


__all__ = ["Operand", "Product", "print_product", "product_of"]
