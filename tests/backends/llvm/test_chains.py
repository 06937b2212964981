"""Chains: words move with samples, blocks and parts; ranges follow blocks; what fails ends the chain."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
from native_tasks import Table, task

from graphc.backends.llvm import chains
from graphc.backends.llvm.chains import Link, Move
from graphc.backends.llvm.host import machine
from graphc.backends.llvm.native_code import addresses


def run(links: list[Link], names: list[str], table: Table, samples: int, blocks: int, parts: int) -> list[int]:
    """What the chain returns for each of its parts, one after another."""
    (function,) = addresses([(chains.module(machine()), "chain")])
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)(function)
    words = np.array(chains.words(links, [task(name) for name in names], samples, blocks, parts), np.int64)
    ends = [samples * blocks * i // parts for i in range(parts + 1)]
    return [call(table.address, words.ctypes.data, a, b) for a, b in pairwise(ends)]


def test_words_move_and_ranges_follow_blocks() -> None:
    a, b = np.zeros(4, np.int64), np.zeros(3, np.int64)
    links = [
        Link((1, 5), (Move(1, sample=10, block=1, part=100, first=1000),), 2),  # a[:2] += word
        Link((2, 1), (), 9, by_block=True),  # b[block] += 1
    ]
    for parts in (1, 2, 4):
        a[:], b[:] = 0, 0
        assert run(links, ["add_word", "add_word"], Table(a, b), 5, 3, parts) == [0] * parts
        ends = [15 * i // parts for i in range(parts + 1)]
        want = sum(
            5 + 10 * (i // 3) + i % 3 + 100 * p + 1000 * (i == ends[p])
            for p in range(parts)
            for i in range(ends[p], ends[p + 1])
        )
        assert a.tolist() == [want, want, 0, 0]
        assert b.tolist() == [5, 5, 5]


def test_the_arguments_stay_as_they_are() -> None:
    a = np.zeros(1, np.int64)
    link = Link((1, 1), (Move(1, sample=1),), 1)
    for _ in range(2):
        a[:] = 0
        run([link], ["add_word"], Table(a), 4, 1, 2)
        assert a[0] == 1 + 2 + 3 + 4


def test_a_failure_ends_the_chain() -> None:
    a = np.zeros(1, np.int64)
    links = [Link((1, 1), (), 1), Link((1,), (), 9, by_block=True), Link((1, 100), (), 1)]
    table = Table(a)
    assert run(links, ["add_word", "fail_at", "add_word"], table, 1, 3, 1) == [1]
    assert a[0] == 1 + 100 + 1, "block 1 fails in its second link"
    assert table.state[0] == 7 and table.state[1] == 1
