"""Makes `graphc/data/digits.npz` from the copy of the UCI optical digits in scikit-learn's wheel.

    pip install scikit-learn && python tools/make_digits.py

`sklearn/datasets/data/digits.csv.gz` holds one image a line: 64 counts from 0 to 16 (row by row), then the digit.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "graphc" / "data" / "digits.npz"


def main() -> None:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        sys.exit("scikit-learn is not installed: pip install scikit-learn")
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    np.savez_compressed(TARGET, images=images, labels=labels)
    print(f"{TARGET}: {len(labels)} images, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
