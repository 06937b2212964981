"""Lazy modules load on first use, once, and say how to get what is missing."""

from __future__ import annotations

import sys

import pytest

from graphc.core.lazy import lazy_attributes, lazy_import


@pytest.fixture
def made_module(tmp_path, monkeypatch):
    (tmp_path / "lazily_made.py").write_text("answer = 42\n")
    (tmp_path / "lazily_broken.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "lazily_made"
    sys.modules.pop("lazily_made", None)


def test_nothing_is_imported_before_the_first_attribute(made_module):
    lazy = lazy_import("lazily_made")
    assert repr(lazy) == "<lazy module lazily_made>"
    assert made_module not in sys.modules
    assert lazy.answer == 42
    assert made_module in sys.modules


def test_an_attribute_read_twice_is_not_looked_up_again(made_module):
    lazy = lazy_import("lazily_made")
    assert lazy.answer == 42
    del sys.modules[made_module]
    assert lazy.answer == 42
    assert made_module not in sys.modules


def test_a_missing_attribute_names_the_module(made_module):
    with pytest.raises(AttributeError, match="module 'lazily_made' has no attribute 'question'"):
        _ = lazy_import("lazily_made").question


@pytest.mark.parametrize(
    ("name", "hint", "message"),
    [
        ("no_such.part", "", r"^no_such\.part cannot be imported: No module.*\n  hint: pip install no_such$"),
        ("no_such", "pip install graphc[cuda]", r"hint: pip install graphc\[cuda\]"),
        ("lazily_broken", "", "lazily_broken cannot be imported: No module named 'no_such_library'"),
    ],
)
def test_a_module_that_cannot_be_imported_says_how_to_get_it(made_module, name, hint, message):
    with pytest.raises(ImportError, match=message):
        _ = lazy_import(name, hint).anything


def test_lazy_attributes_is_a_module_getattr(made_module):
    load = lazy_attributes("graphc", {"made": "lazily_made"})
    assert made_module not in sys.modules
    assert load("made").answer == 42
    with pytest.raises(AttributeError, match="module 'graphc' has no attribute 'other'"):
        load("other")
