"""`graphc doctor`: what works here, and the sentence that helps where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from graphc import cli, doctor
from graphc.core.errors import BackendError


def no_driver():
    raise BackendError("no OpenCL platform was found (-1001): install your graphics card's driver")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without OpenCL drivers; the folder of their `.icd` files."""
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    monkeypatch.setattr(doctor, "_INTEL", tmp_path / "libintelocl.so")
    monkeypatch.setattr(doctor.opencl, "devices", no_driver)
    return tmp_path


def found():
    return {finding.name: finding for finding in doctor.examine()}


def test_the_processor_works_and_what_is_missing_is_told(bare, capsys):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(doctor.about())
    assert f"numpy {np.__version__}" in said
    assert "vectors of " in said
    assert "opencl\n  does not work: no OpenCL platform was found (-1001): install your graphics card's driver" in said
    assert said.count("  works\n") == 2
    assert not found()["cuda"].works or found()["cuda"].lines


def test_a_dead_driver_is_named(bare):
    (bare / "broken.icd").write_text(f"{__file__}\n")
    (bare / "intel.icd").write_text("/nowhere/libintelocl.so\n")
    (bare / "relative.icd").write_text("libnowhere.so\n")
    (bare / "sound.icd").write_text(f"{np._core._multiarray_umath.__file__}\n")
    broken, intel, relative = found()["opencl"].lines
    assert broken.startswith(f"{bare}/broken.icd names {__file__}, which does not load (")
    assert intel.startswith(f"{bare}/intel.icd names /nowhere/libintelocl.so, which is not there")
    assert "set OCL_ICD_VENDORS" in intel
    assert relative.startswith(f"{bare}/relative.icd names libnowhere.so, which does not load (")


def test_what_intels_runtime_lacks_is_named(bare, monkeypatch):
    def load(library):
        raise OSError("libimf.so: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(doctor.ctypes, "CDLL", load)
    (bare / "intel.icd").write_text("libintelocl.so\n")
    (line,) = found()["opencl"].lines
    assert line.endswith("): pip install intel-cmplr-lib-rt")


def test_a_runtime_installed_by_pip_that_nothing_names_is_found(bare, monkeypatch):
    library = bare / "libintelocl.so"
    library.touch()
    (line,) = found()["opencl"].lines
    assert line.startswith(f"{library} was installed by pip, but no .icd file in {bare} names it")
    icd = bare / "intel.icd"
    icd.write_text(f"{library}\n")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(icd))
    (line,) = found()["opencl"].lines
    assert line.startswith(f"{icd} names {library}, which does not load")


def test_wrong_numbers_are_found(bare, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_on", lambda backend: doctor._compare(np.ones(3), np.full(3, 2.0)))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert said.count("does not work: a small program gives other numbers than eager code: 1 apart") == 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            BackendError("cannot build\nerror: unknown target CPU 'znver5'"),
            "cannot build; this PoCL is older than the processor",
        ),
        (ImportError("No module named 'pyopencl'"), "No module named 'pyopencl'; reinstall graphc"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_advice(error, text):
    assert doctor._advice(error).startswith(text)


@pytest.mark.opencl
def test_devices_work():
    devices = [finding for name, finding in found().items() if name.startswith("opencl:")]
    assert devices
    assert all(finding.works for finding in devices), [str(finding) for finding in devices]
    assert "float64" in devices[0].lines[1]
