"""PyTorch's operators on PyTorch's own samples, two of each here; all of them by `python tests/parity/opinfo.py`.

Every operator holds or has a reason in `opinfo_gaps.py`; one that holds has none there.
"""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own tests would like more packages
    from opinfo import entries, examine
from opinfo_gaps import COMPILED, GAPS, reason  # noqa: E402

ENTRIES = entries()
SAMPLES = 2
#: the least that must hold, eager and compiled
LEAST = {None: 400, "llvm": 380, "opencl": 360}

MODES = [
    pytest.param(None, marks=pytest.mark.parity, id="eager"),
    pytest.param("llvm", marks=pytest.mark.parity, id="llvm"),
    pytest.param("opencl", marks=pytest.mark.opencl, id="opencl"),
]


@pytest.mark.parametrize("backend", MODES)
@pytest.mark.parametrize("name", ENTRIES)
def test_operator(name, backend):
    why = reason(name, backend)
    outcome = examine(ENTRIES[name], SAMPLES, backend)
    if why is None:
        assert not outcome.wrong
        assert outcome.samples
    else:
        assert outcome.wrong, f"{name} holds: its reason in opinfo_gaps.py is no longer true"


@pytest.mark.parity
@pytest.mark.parametrize("backend", LEAST)
def test_enough_operators_hold(backend):
    assert sum(reason(name, backend) is None for name in ENTRIES) >= LEAST[backend]


@pytest.mark.parity
def test_reasons_are_about_operators():
    unknown = [
        name for table in (GAPS, COMPILED) for names in table.values() for name in names.split() if name not in ENTRIES
    ]
    assert not unknown
