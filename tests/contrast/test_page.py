"""The page as text: self-contained, and nothing in the data can become markup or code."""

from __future__ import annotations

import base64
import copy
import hashlib
import html as html_text
import json
import re

import pytest
from contrast_sample import report

from graphc.contrast import page

DATA = report(2)
PAGE = page.html(DATA)


def between(text, start, end):
    return text.split(start, 1)[1].split(end, 1)[0]


def data_of(text):
    return json.loads(between(text, '<script type="application/json" id="data">', "</script>"))


def test_it_holds_the_data_and_leaves_it_alone():
    before = copy.deepcopy(DATA)
    found = data_of(page.html(DATA))
    assert before == DATA
    drawings = found.pop("drawings")
    assert found == DATA
    assert set(drawings) == {stage["id"] for stage in DATA["stages"]}
    assert all(level["vertices"] for levels in drawings.values() for level in levels)


def test_it_needs_nothing_else():
    assert not re.search(r"https?:", PAGE), "no address of the network, not even of a namespace"
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b", PAGE)
    assert not re.search(r"(@import|url\((?!#))", between(PAGE, "<style>", "</style>"))


def test_its_policy_allows_its_own_script_and_style_only():
    policy = html_text.unescape(between(PAGE, 'http-equiv="Content-Security-Policy" content="', '">'))
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        text = between(PAGE, f"<{tag}>", f"</{tag}>")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy


HOSTILE = ("</script><script>alert(1)</script>", "<!--<script>", "]]>&amp;\u2028", '"><img src=x onerror=alert(1)>')


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    data = report(1)
    data["title"] = data["sources"][0]["lines"][0] = data["lines"][0]["text"] = data["kernels"][0]["code"] = text
    found = page.html(data)
    assert found.count("<script") == found.count("</script") == PAGE.count("<script") == 2
    assert "<img" not in found and data_of(found)["kernels"][0]["code"] == text
    assert html_text.unescape(between(found, "<title>", "</title>")) == f"{text} · graphc contrast"


def test_placeholders_in_the_data_are_not_filled_in():
    data = report(1)
    data["programs"]["eager"] = "{{script}} {{data}} {{unknown}} \\1"
    assert data_of(page.html(data))["programs"]["eager"] == "{{script}} {{data}} {{unknown}} \\1"


def test_numbers_json_does_not_have():
    found = json.loads(page.embedded({"losses": [float("nan"), float("inf"), float("-inf"), 1.5], "pair": (1, None)}))
    assert found == {"losses": ["NaN", "Infinity", "-Infinity", 1.5], "pair": [1, None]}


def test_the_page_makes_elements_in_one_way():
    """What turns text into markup or code is named nowhere, and every file is used."""
    files = {path.stem: path.read_text() for path in page.FILES.glob("*.js")}
    assert set(files) == set(page.SCRIPTS)
    for name, text in files.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )
        assert len(text.splitlines()) < 350, f"{name}.js is long"
