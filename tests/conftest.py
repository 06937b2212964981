"""What all tests share."""

from __future__ import annotations

import pytest

# Their asserts then say what differed, and hold under `python -O` too.
pytest.register_assert_rewrite("tolerances")
