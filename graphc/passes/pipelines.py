"""The ordered pipelines, with the reason for each pass's place, and `optimise`, which runs one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from graphc.core.config import config
from graphc.ir.dot import program_dot
from graphc.ir.program import Program
from graphc.ir.text import program_text
from graphc.ir.verify import verify
from graphc.passes.accumulate_products import accumulate_products
from graphc.passes.batch_sums import batch_sums
from graphc.passes.convolution_folds import convolution_folds
from graphc.passes.delay_sums import delay_sums
from graphc.passes.fold_transposes import fold_transposes
from graphc.passes.hoist import hoist
from graphc.passes.join_pads import join_pads
from graphc.passes.prune_scans import prune_scans
from graphc.passes.scatter_selects import scatter_selects
from graphc.passes.share_scans import share_scans
from graphc.passes.sink_into_scans import sink_into_scans
from graphc.passes.split_reductions import split_reductions
from graphc.passes.tidy import tidy
from graphc.passes.widen_halves import widen_halves
from graphc.passes.window_folds import window_folds

Pass = Callable[[Program], Program]

DEFAULT: tuple[Pass, ...] = (
    # Views, numbers and algebra first and together: each uncovers work for the others.
    tidy,
    # Transposes after algebra: a transpose behind a dropped copy or cast is seen only now.
    fold_transposes,
    # The views and numbers that contractions left over.
    tidy,
)

#: What backends that fuse run beside it, on programs whose sizes are numbers.
NATIVE: tuple[Pass, ...] = (
    # Before all that looks at products or scatters.
    widen_halves,
    # First what no scan needs: it would be kept alive by what comes next.
    prune_scans,
    # Numbers that were sequences are numbers of the bodies now.
    tidy,
    # While both bodies still say the same in the same words.
    share_scans,
    # After sharing: what is summed has been stacked by then.
    batch_sums,
    # After sharing, which finds nothing to share in what has left a body.
    hoist,
    # What was read only by what is gone.
    prune_scans,
    # The sums before a scan that nobody else reads any more.
    sink_into_scans,
    # When carries are what they will be.
    delay_sums,
    # After the gradients of splits have lost their zeros.
    join_pads,
    # A selection fuses; a scatter does not.
    scatter_selects,
    # Folds over windows fuse.
    window_folds,
    # So do convolutions of few channels.
    convolution_folds,
    # After all that looks at products and sums of them.
    accumulate_products,
    # Last: the parts of a fold would hide it from every other rule.
    split_reductions,
)


class PassReport(NamedTuple):
    """What one pass did: its name, how many nodes there were before and after, and how long it took."""

    name: str
    nodes_before: int
    nodes_after: int
    milliseconds: float

    def __str__(self) -> str:
        return f"{self.name}: {self.nodes_before} -> {self.nodes_after} nodes in {self.milliseconds:.2f} ms"


def optimise(
    program: Program,
    pipeline: tuple[Pass, ...] = DEFAULT,
    verify_each: bool | None = None,
    dump: str | None = None,
    name: str = "program",
    reports: list[PassReport] | None = None,
) -> Program:
    """The program after all passes of the pipeline; the same object where nothing applied.

    `verify_each` (default `config.verify`) re-infers every type after every pass and names the pass that broke it. `dump`
    (default `config.dump`) is a folder for text and DOT after each pass: `name.0.before.txt`, `name.1.simplify.txt`, ...
    `reports` gets one PassReport a pass.
    """
    verify_each = config.verify if verify_each is None else verify_each
    dump = config.dump if dump is None else dump
    if verify_each:
        verify(program, "tracing")
    if dump:
        write_dump(program, dump, f"{name}.0.before")
    for i, transform in enumerate(pipeline, 1):
        before, start = program, time.perf_counter()
        program = transform(program)
        elapsed = (time.perf_counter() - start) * 1e3
        pass_name = getattr(transform, "__name__", type(transform).__name__)
        if reports is not None:
            reports.append(PassReport(pass_name, len(before.nodes), len(program.nodes), elapsed))
        if verify_each and program is not before:
            verify(program, pass_name)
        if dump:
            write_dump(program, dump, f"{name}.{i}.{pass_name}")
    return program


def write_dump(program: Program, folder: str, stem: str) -> None:
    """Writes `stem.txt` and `stem.dot` into the folder, which is made if need be."""
    os.makedirs(folder, exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in stem)
    for ending, text in (("txt", program_text(program, lines=True)), ("dot", program_dot(program))):
        with open(os.path.join(folder, f"{safe}.{ending}"), "w", encoding="utf-8") as file:
            file.write(text)
