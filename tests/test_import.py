"""What `import graphc` brings along: NumPy, ml_dtypes, graphc, the standard library; nothing that loads on first use."""

from __future__ import annotations

import os
import subprocess
import sys

from test_layers import LAZY_ONLY, ROOT


def modules_after(code: str, cwd: str) -> set[str]:
    """Top-level names of the modules a fresh interpreter has loaded after running the code."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRAPHC_DEVICE": "cpu"}  # a device is opened with its driver
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_graphc_loads_no_library_that_loads_on_first_use(tmp_path):
    loaded = modules_after("import graphc", str(tmp_path))
    assert "numpy" in loaded
    assert not loaded & (LAZY_ONLY | {"torch", "IPython", "matplotlib", "pytest"})


def test_importing_graphc_adds_no_other_library_than_its_dtypes(tmp_path):
    before = modules_after("import numpy", str(tmp_path))
    added = modules_after("import graphc", str(tmp_path)) - before
    assert added - set(sys.stdlib_module_names) <= {"graphc", "ml_dtypes"}


def test_the_error_classes_have_a_public_module():
    code = "from graphc.errors import __all__, ShapeError\nimport graphc.core.errors as e, graphc\n"
    code += "assert ShapeError is graphc.errors.ShapeError is e.ShapeError\n"
    code += "assert set(__all__) == {n for n, c in vars(e).items() if isinstance(c, type) and issubclass(c, Exception)}"
    modules_after(code, ".")


def test_only_as_torch_answers_for_torch():
    code = (
        "import sys, graphc.cli, graphc.step_files, graphc.contrast, graphc.porting, graphc.doctor, graphc.distributed.run\n"
        "print([type(f).__name__ for f in sys.meta_path if type(f).__module__.startswith('graphc')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
