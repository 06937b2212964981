"""Watches which public names the parity tests compare with PyTorch; test_coverage.py says which none does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LAST = "test_coverage.py"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)


@pytest.fixture(scope="session")
def record_file(tmp_path_factory: pytest.TempPathFactory, worker_id_or_none: str | None) -> Path:
    """Where all processes of this run note the tests they finished and the names these compared."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if worker_id_or_none else base) / "parity.jsonl"


@pytest.fixture(scope="session")
def worker_id_or_none(request: pytest.FixtureRequest) -> str | None:
    worker = getattr(request.config, "workerinput", None)
    return worker["workerid"] if worker else None


@pytest.fixture(scope="session")
def recorder() -> Any:
    pytest.importorskip("torch")
    from recording import Recorder

    return Recorder()


@pytest.fixture(scope="module", autouse=True)
def watched(recorder: Any) -> Iterator[None]:
    with recorder.watching():
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


@pytest.fixture(autouse=True)
def noted(request: pytest.FixtureRequest, recorder: Any, record_file: Path) -> Iterator[None]:
    recorder.start()
    yield
    report = getattr(request.node, "report_call", None)
    new = recorder.keep() if report is not None and report.passed else ()
    with record_file.open("a") as out:
        out.write(json.dumps([request.node.nodeid, sorted(new)]) + "\n")
