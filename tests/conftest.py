"""What all tests share."""

from __future__ import annotations

import pytest

# Asserts in the helpers then say what differed, and hold under `python -O` too.
pytest.register_assert_rewrite("tolerances", "programs", "side_by_side", "reduction_cases", "checks")
