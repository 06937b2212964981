"""A chain: a task that calls other tasks one after another for each item of its range, with words that move along.

Item i is block i % blocks of sample i // blocks. Before each call its words are copied and moved: by a step for each sample, a
step for each block, a step for the part that runs (working memory of its own), and by an amount for the first item of a part
(a product that starts a sum rather than adds to it). So the tasks see one sample, one block, one piece of working memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.gemm_words import plus, times
from graphc.backends.llvm.host import Machine

_MOVE = 5


@dataclass(frozen=True)
class Move:
    """How the word numbered `word` changes from item to item."""

    word: int
    sample: int = 0
    block: int = 0
    part: int = 0
    first: int = 0


@dataclass(frozen=True)
class Link:
    """A task of a chain: its words, how they move, and its range; with `by_block` that of block b is [b, b + 1)."""

    words: tuple[int, ...]
    moves: tuple[Move, ...]
    end: int
    by_block: bool = False


def words(links: Sequence[Link], functions: Sequence[int], samples: int, blocks: int, parts: int) -> tuple[int, ...]:
    """The words of a chain whose links call these functions; its extent is samples * blocks."""
    found = [samples * blocks, parts, blocks, len(links), max(len(link.words) for link in links)]
    for link, function in zip(links, functions, strict=True):
        found += [function, link.end, int(link.by_block), len(link.moves), len(link.words)]
        for move in link.moves:
            found += [move.word, move.sample, move.block, move.part, move.first]
        found += link.words
    return tuple(found)


def module(machine: Machine) -> str:
    """The module of the task `chain`."""
    text = Module(machine)
    f = text.function("chain", [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64")
    extent, parts, blocks, links, most = (word(f, "%args", n) for n in range(5))
    own = f.let(f"alloca i64, i64 {most}, align 64")
    part = part_of(f, extent, parts)
    with f.loop("%begin", "%end", 1) as item:
        sample, block = (f.let(f"{op} i64 {item.index}, {blocks}") for op in ("udiv", "urem"))
        is_first = f.let(f"zext i1 {f.let(f'icmp eq i64 {item.index}, %begin')} to i64")
        with f.loop("0", links, 1, [("i64", "5")]) as link:
            head = _behind(f, "%args", link.carried[0])
            size = _moved_words(f, head, own, (sample, block, part, is_first))
            _call(f, head, own, block)
            link.next = [plus(f, link.carried[0], size)]
    f.do("ret i64 0")
    return text.text()


def part_of(f: Function, extent: str, parts: str) -> str:
    """The number of the part that begins at `%begin`, of so many parts of a range."""
    return f.let(f"udiv i64 {plus(f, plus(f, times(f, '%begin', parts), extent), -1)}, {extent}")


def _behind(f: Function, base: str, n: int | str) -> str:
    """The address of the word n words behind `base`."""
    return f.let(f"getelementptr i64, ptr {base}, i64 {n}")


def word(f: Function, base: str, n: int | str) -> str:
    """The word n words behind `base`."""
    return f.let(f"load i64, ptr {_behind(f, base, n)}")


def _moved_words(f: Function, head: str, own: str, counts: Sequence[str]) -> str:
    """Writes the words of the link at `head`, moved, to `own`; how many words the link takes."""
    n_moves, n_words = word(f, head, 3), word(f, head, 4)
    moves = _behind(f, head, 5)
    source = _behind(f, moves, times(f, n_moves, _MOVE))
    with f.loop("0", n_words, 1) as copy:
        f.do(f"store i64 {word(f, source, copy.index)}, ptr {_behind(f, own, copy.index)}")
    with f.loop("0", n_moves, 1) as turn:
        move = _behind(f, moves, times(f, turn.index, _MOVE))
        place = _behind(f, own, word(f, move, 0))
        total = f.let(f"load i64, ptr {place}")
        for n, count in enumerate(counts, 1):
            total = plus(f, total, times(f, word(f, move, n), count))
        f.do(f"store i64 {total}, ptr {place}")
    return plus(f, plus(f, times(f, n_moves, _MOVE), n_words), 5)


def _call(f: Function, head: str, own: str, block: str) -> None:
    """Calls the task of the link at `head`; what fails ends the chain."""
    function, end, by_block = (word(f, head, n) for n in range(3))
    some = f.let(f"icmp ne i64 {by_block}, 0")
    first = f.let(f"select i1 {some}, i64 {block}, i64 0")
    last = f.let(f"select i1 {some}, i64 {plus(f, block, 1)}, i64 {end}")
    task = f.let(f"inttoptr i64 {function} to ptr")
    failed = f.let(f"call i64 {task}(ptr %table, ptr {own}, i64 {first}, i64 {last})")
    bad, good = f.label("bad"), f.label("good")
    f.branch_if(f.let(f"icmp ne i64 {failed}, 0"), bad, good, rarely=True)
    f.begin(bad)
    f.do(f"ret i64 {failed}")
    f.begin(good)
