"""Makes `tests/parity/used_names.txt`: PyTorch's names that training scripts use, from a count of them.

    python tools/used_names.py api_usage.csv

The count has a line a name: kind, name, files, training_scripts, repos. Taken are names that at least one training script and
two repositories use, with keywords as `torch.stack(dim=)`; families that graphc leaves out are not.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "tests" / "parity" / "used_names.txt"
#: kinds that are no names of PyTorch's, or only guessed to be methods
OTHER_KINDS = ("third-party import", "torchtext/audio", "torchvision", "Module/Optimizer method (heuristic)")
#: sparse, complex, nested and float8 numbers, named dimensions, inner parts of the compiler, other devices, remote calls
LEFT_OUT = re.compile(
    r"sparse|spmm|complex|view_as_real|polar|\.fft\b|nested|jagged|float8|_scaled_mm|\.names$|\.rename$|\.fx\b|_dynamo|_inductor|\.npu\b|"
    r"flex_attention|distributed\.(rpc|autograd|optim|fsdp|nn|pipeline|algorithms|checkpoint|elastic|tensor|device_mesh)|RemoteModule|"
    r"_foreach_copy_$|volatile="
)  # fmt: skip


def main(source: str) -> None:
    """Writes the file."""
    names = set()
    with open(source, newline="") as rows:
        for row in csv.DictReader(rows):
            name = row["name"]
            if int(row["training_scripts"]) < 1 or int(row["repos"]) < 2 or row["kind"] in OTHER_KINDS:
                continue
            name = name if name.startswith("torch") else f"torch.{name}"
            if not LEFT_OUT.search(name):
                names.add(name)
    TARGET.write_text("\n".join(sorted(names)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
