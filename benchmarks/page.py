"""docs/performance.md: the sections that scripts write, and the line that says on what machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"


def machine(*packages: str) -> str:
    """Python, NumPy, these packages where they are installed, and the processor, for the record."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    installed = ("numpy", *(name for name in packages if importlib.util.find_spec(name)))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in installed]
    return f"Python {platform.python_version()}, {', '.join(versions)}, {os.cpu_count()} cores of {model}"


def measured(*packages: str) -> str:
    """The sentence that begins a section: when, by which command, on which machine, how busy it was."""
    script, *arguments = sys.argv
    command = " ".join(["python", f"benchmarks/{Path(script).name}", *arguments])
    load = f"Load when it was written: {os.getloadavg()[0]:.1f} processes."
    return f"Measured on {datetime.date.today()} by `{command}` with {machine(*packages)}. {load}\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of the page."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Puts text between the marks of a section; ValueError where the page has none of that name."""
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no section between {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}{end}{after}")
