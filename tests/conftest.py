"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

# Asserts in the helper files say what differed, and hold under `python -O` too.
HELPERS = [p.stem for p in Path(__file__).parent.rglob("*.py") if not p.stem.startswith(("test_", "conftest", "__"))]
pytest.register_assert_rewrite(*HELPERS)
