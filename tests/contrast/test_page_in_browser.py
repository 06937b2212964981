"""The page in Chromium: what it answers, and how one gets from a line to its nodes, kernels and memory and back."""

from __future__ import annotations

import html
import json
from itertools import pairwise
from urllib.parse import parse_qs

import pytest
from contrast_sample import BLOCK, CALLS, HEAD, LINES, LOSS, STEP, report

from graphc.contrast import page

pytestmark = pytest.mark.browser

DATA = report(3)
SUMMARY = DATA["summary"]
KERNELS = {kernel["id"]: kernel for kernel in DATA["kernels"]}
STAGES = {stage["id"]: stage for stage in DATA["stages"]}
LAST = STAGES["S4"]
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
DOWN, UP, RIGHT, ENTER, ESCAPE, TAB = "\ue015", "\ue013", "\ue014", "\ue007", "\ue00c", "\ue004"


def nodes_of(stage, line):
    return {node["id"] for node in stage["nodes"] if line in node["lines"]}


# What it answers


WRITTEN = {
    "eager_ns": "320 µs", "graph_ns": "80 µs", "build_ns": "48 ms", "break_even_calls": "after 200 calls",
    "ops": "49", "kernels": "25 steps", "library_calls": "12", "eager_peak_bytes": "400 KiB",
    "plan_peak_bytes": "224 KiB", "largest_difference": "2.00e-7", "largest_relative_difference": "1.50e-7",
    "tolerance": "1.00e-5", "calls": "12 calls", "slowest_line": "line 13", "agree": "yes",
}  # fmt: skip


def test_the_first_view_answers(show):
    shown = show(DATA)
    found = {name: shown.figure(name) for name in WRITTEN}
    assert {name: text for name, (_, text) in found.items()} == WRITTEN
    assert {name: json.loads(value) if name != "slowest_line" else value for name, (value, _) in found.items()} == {
        name: SUMMARY[name] for name in WRITTEN
    }


def test_the_answers_are_sentences(show):
    shown = show(DATA)
    answers = {element.get_attribute("data-answer"): " ".join(element.text.split()) for element in shown.all(".answer")}
    assert (
        "x = block(x) # the hidden layers takes 50 % of an eager call and 37.5 % of a compiled one."
        in answers["slowest"]
    )
    assert "That is 4 times as fast." in answers["break_even"]
    assert "400 KiB → 224 KiB" in answers["memory"] and "44 % less." in answers["memory"]
    assert f"2 of 4 passes changed the graph: fold_transposes {MINUS}8 +4; simplify {MINUS}1 +0." in answers["passes"]
    largest = KERNELS[SUMMARY["largest_kernel"]]
    assert f"The largest, {largest['id']}, does the work of {len(largest['nodes'])} ops." in answers["fused"]


def test_unknown_answers_are_dashes_not_errors(show):
    data = report(1)
    data["summary"].update(slowest_line=None, slowest_line_eager=None, break_even_calls=None, eager_peak_bytes=None)
    data["programs"] = {"eager": None, "session": None, "file": None, "why_none": "sort has no words"}
    data["losses"], data["outside"] = [], {"eager_ns": None, "graph_ns": None}
    data["memory"] = {"eager": [], "plan": [], "buffers": []}
    for line in data["lines"]:
        line.update(dict.fromkeys(name for name in line if name.endswith(("_ns", "_share"))))
    for kernel in data["kernels"]:
        kernel.update(ns=None, floor_ns=None, flops=None, how=None)
    shown = show(data)
    assert shown.figure("break_even_calls") == ("", "never")
    assert "was not measured" in shown.text("[data-answer='slowest']")
    assert "not written out as a script: sort has no words" in shown.text("#programs")
    shown.click("table.kernels button", 1)
    assert "not timed" in shown.text("#kernels .detail")


def test_disagreement_and_a_slower_graph_are_said(show):
    data = report(1)
    data["summary"].update(agree=False, graph_ns=640_000, break_even_calls=None, largest_difference=float("nan"))
    data["losses"][1].update(eager=float("nan"), graph=float("inf"), difference=float("nan"))
    data["summary"]["left_behind"] = ["seen is 12 after these calls eagerly, 1 compiled"]
    data["programs"]["file"] = "stack.npz"
    shown = show(data)
    assert "But 1 value of Python differs afterwards." in shown.text("[data-answer='agree']")
    assert "seen is 12 after these calls eagerly, 1 compiled" in shown.text("#losses .left-behind")
    assert "read their arrays from stack.npz beside them" in shown.text("#programs")
    assert shown.figure("agree")[1] == "no" and shown.figure("largest_difference")[1] == "NaN"
    assert "2 times as slow" in shown.text("[data-answer='break_even']")
    shown.click("#losses summary")
    assert [cell.text for cell in shown.all("#losses tbody tr:nth-child(2) td")] == ["2", "NaN", "Infinity", "NaN"]


def test_a_difference_that_is_infinite_is_a_bar_of_full_height(show):
    data = report(1)
    for row in data["losses"]:
        row.update(difference=0.0)
    data["losses"][1].update(graph=float("nan"), difference=float("inf"))
    shown = show(data)
    assert shown.js(
        "return [...document.querySelectorAll('rect.difference')].map(x => Number(x.getAttribute('height')) > 50)"
    ) == [True]
    assert "not one bit apart" not in shown.text("#losses")


def test_timelines_have_each_call_of_both_ways(show):
    shown = show(DATA)
    for mode in ("eager", "graph"):
        for call in DATA["timelines"][mode]:
            value, _ = shown.figure(f"{mode}_call_{call['call']}")
            assert int(value) == sum(phase["ns"] for phase in call["phases"])
    first = shown.text("#timelines .calls.graph:has(.tall)")
    assert (
        "48.1 ms" in first and "trace 9.6 ms" in first and "code generation 19.2 ms" in first and "run 80 µs" in first
    )
    width = (
        "return [...document.querySelectorAll(`.calls.${arguments[0]} ol:not(.tall) .bar`)].map((e) => e.offsetWidth)"
    )
    widths, narrow = shown.js(width, "eager"), shown.js(width, "graph")
    assert len(widths) == len(narrow) == CALLS - 1
    assert all(abs(4 * b - a) <= 6 for a, b in zip(widths, narrow, strict=True)), "bars of both ways share one scale"
    assert shown.text("#timelines figure text.note") == "has paid after 200 calls"


def test_the_source_shows_each_lines_share(show):
    shown = show(DATA)
    assert shown.text("#source .detail h3") == "Line 13", "the slowest line is told of until another is chosen"
    rows = {row.get_attribute("data-id"): row for row in shown.all("table.source tr.costs")}
    assert set(rows) == set(LINES)
    for line in DATA["lines"]:
        row = rows[line["id"]]
        shares = [float(element.get_attribute("value")) for element in row.find_elements("css selector", "data")]
        assert shares == [line["eager_share"], line["graph_share"]]
        assert row.find_element("css selector", "th").text == str(line["line"])
    lines = [element.get_attribute("textContent") for element in shown.all("table.source td.code")]
    assert [line.rstrip() for line in lines] == [line.rstrip() for line in DATA["sources"][0]["lines"]]
    shown.click("#only")
    assert len([row for row in shown.all("table.source tbody tr") if row.is_displayed()]) == len(LINES)


# From line to node to kernel to memory, and back


def test_a_walk_from_line_to_memory_and_back(show):
    shown = show(DATA, "stage=S4&level=ops")
    shown.click(f"table.source button[data-id='{LOSS}']")
    line = next(line for line in DATA["lines"] if line["id"] == LOSS)
    assert shown.selected == [LOSS] and parse_qs(shown.address)["select"] == [LOSS]
    assert shown.marked("#graph .vertex", "related") == nodes_of(LAST, LOSS) == {"loss", "loss.g"}
    assert shown.marked("table.kernels tr", "related") == set(line["kernels"]) == {"K9"}
    assert shown.marked(".buffers button", "related") == {"b:loss.g"}
    assert "160 µs" not in shown.text("#source .detail") and "40 µs" in shown.text("#source .detail")

    shown.click("#graph .vertex[data-vertex='loss']")
    assert shown.selected == ["loss"]
    assert shown.marked("table.source tr", "related") == {LOSS}
    assert shown.marked("table.kernels tr", "related") == {"K9"}
    assert "cross_entropy" in shown.text("#graph .inspector") and "f32[]" in shown.text("#graph .inspector")

    shown.click("#graph .inspector [data-id='K9']")
    assert shown.selected == ["K9"]
    assert shown.marked("#graph .vertex", "related") == set(KERNELS["K9"]["nodes"])
    assert shown.text("#kernels .detail h3") == "K9: cross_entropy softmax_minus"
    assert "1.5 µs, 2.5 times its floor of 600 ns" in shown.text("#kernels .detail")

    shown.click(".buffers button[data-id='b:loss.g']")
    assert shown.selected == ["b:loss.g"]
    assert shown.marked("table.source tr", "related") == {LOSS}
    assert "K9" in shown.marked("table.kernels tr", "related")
    shown.click(f"#selection [data-id='{LOSS}']")
    assert shown.selected == [LOSS]


def test_control_click_adds_and_escape_clears(show):
    shown = show(DATA)
    shown.click(f"table.source button[data-id='{BLOCK}']")
    control = "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true, ctrlKey: true}))"
    shown.js(control, shown.one(f"table.source button[data-id='{HEAD}']"))
    shown.settle()
    assert shown.selected == [BLOCK, HEAD]
    assert "Selected line 13; line 14." in shown.js("return document.getElementById('live').textContent")
    assert shown.one("#selection").is_displayed()
    shown.press(ESCAPE)
    assert shown.selected == [] and not shown.one("#selection").is_displayed()
    assert shown.js("return document.querySelectorAll('.selected, .related').length") == 0


def test_clicking_memory_selects_what_runs_there(show):
    shown = show(DATA)
    pointer = shown.point("#memory figure .chart-holder", 1)
    pointer.pointer_action.click()
    shown.done(pointer)
    assert len(shown.selected) == 1 and shown.selected[0] in KERNELS
    step = next(step["step"] for step in DATA["memory"]["plan"] if step["kernel"] == shown.selected[0])
    assert abs(step - len(KERNELS) / 2) <= 3


def test_the_address_restores_everything(show):
    address = f"select={HEAD},K3&stage=S3&level=ops&side=before&theme=dark"
    shown = show(DATA, address)
    assert shown.selected == [HEAD, "K3"]
    assert shown.one(".stages [aria-pressed='true']").get_attribute("data-stage") == "S3"
    assert [button.text for button in shown.all("#graph .tools [aria-pressed='true']")] == ["every op", "before"]
    assert shown.js("return document.documentElement.dataset.theme") == "dark"
    again = shown.address
    shown.open(again)
    assert shown.selected == [HEAD, "K3"] and shown.address == again
    shown.open("select=nothing,L9&stage=S99&level=none&theme=pink")
    assert shown.selected == [] and shown.one(".stages [aria-pressed='true']").get_attribute("data-stage") == "S1"


# The graph


def test_a_pass_shows_what_it_added_and_what_it_removed(show):
    shown = show(DATA, "stage=S3&level=ops")
    stage = STAGES["S3"]
    assert shown.marked("#graph .vertex", "added") == set(stage["added"]) == {"b0.m", "b1.m", "b2.m", "h.m"}
    assert f"Removed permute {TIMES}4, matmul {TIMES}4; added matmul {TIMES}4." in shown.text("#stage-note")
    before = next(button for button in shown.all("#graph .tools button") if button.text == "before")
    before.click()
    shown.settle()
    assert shown.marked("#graph .vertex", "removed") == set(stage["removed"])
    assert parse_qs(shown.address)["side"] == ["before"]
    shown.click(".stages [data-stage='S2']")
    assert shown.marked("#graph .vertex", "removed") == set() and parse_qs(shown.address).get("side") is None


def test_modules_collapse_and_open(show):
    shown = show(DATA, "stage=S1&level=modules 3")
    whole = {"module:Stack.blocks.1:forward", "module:Stack.blocks.1:backward", "module:Stack.head:forward"}
    drawn = shown.js("return [...document.querySelectorAll('#graph .vertex')].map((e) => e.dataset.vertex)")
    assert whole <= set(drawn) and len(drawn) == 13
    shown.click("#graph .vertex[data-vertex='module:Stack.blocks.1:forward']")
    assert shown.selected == ["module:Stack.blocks.1:forward"]
    assert shown.marked("table.source tr", "related") == {BLOCK}
    assert "matmul" in shown.text("#graph .inspector")
    pointer = shown.point("#graph [data-vertex='module:Stack.blocks.1:forward']")
    pointer.pointer_action.double_click()
    shown.done(pointer)
    assert parse_qs(shown.address)["level"] == ["modules 4"]
    assert shown.all("#graph .vertex[data-vertex='module:Stack.blocks.1.0:forward']")
    next(button for button in shown.all("#graph .tools button") if button.text == "every op").click()
    shown.settle().click("#graph [aria-label='Show all of the graph']")
    assert len(shown.all("#graph .vertex")) == len(STAGES["S1"]["nodes"])


def test_kernels_are_boxes_around_their_ops(show):
    shown = show(DATA, "stage=S4&level=ops&select=K2")
    box = shown.one("#graph .box.selected").rect
    inside = shown.marked("#graph .vertex", "related")
    assert inside == set(KERNELS["K2"]["nodes"])
    for name in inside:
        vertex = shown.one(f"#graph .vertex[data-vertex='{name}'] .face").rect
        assert box["x"] <= vertex["x"] and vertex["x"] + vertex["width"] <= box["x"] + box["width"] + 1


def test_the_keyboard_walks_along_edges(show):
    shown = show(DATA, "stage=S1&level=ops")
    shown.js("document.querySelector('.viewport').focus()")
    edges = {frozenset(edge[:2]) for edge in STAGES["S1"]["edges"]}
    shown.press(DOWN)
    walked = [shown.js("return document.querySelector('#graph .vertex.at').dataset.vertex")]
    for key in (DOWN, DOWN, DOWN, UP):
        shown.press(key)
        walked.append(shown.js("return document.querySelector('#graph .vertex.at').dataset.vertex"))
    assert all(frozenset(pair) in edges for pair in pairwise(walked)), walked
    active = shown.one(".viewport").get_attribute("aria-activedescendant")
    label = shown.one(f"#{active}").get_attribute("aria-label")
    assert label.startswith(next(node["op"] for node in STAGES["S1"]["nodes"] if node["id"] == walked[-1]))
    assert label in shown.js("return document.getElementById('live').textContent")
    row = shown.js("return document.querySelector('#graph .vertex.at').getBoundingClientRect().top")
    shown.press(RIGHT)
    assert abs(shown.js("return document.querySelector('#graph .vertex.at').getBoundingClientRect().top") - row) < 2
    shown.press(ENTER)
    assert shown.selected == [shown.js("return document.querySelector('#graph .vertex.at').dataset.vertex")]


def test_zoom_and_pan(show):
    shown = show(DATA, "stage=S1&level=ops")
    zoom = "return Number(document.querySelector('.picture g').getAttribute('transform').match(/scale\\(([^)]+)/)[1])"
    at_first = shown.js(zoom)
    shown.click("[aria-label='Zoom in']")
    assert shown.js(zoom) == pytest.approx(1.3 * at_first)
    shown.js("document.querySelector('.viewport').focus()")
    shown.press("-")
    assert shown.js(zoom) == pytest.approx(1.3 * 0.8 * at_first)
    turned = "new WheelEvent('wheel', {deltaY: -400, cancelable: true, bubbles: true})"
    wheel = f"return document.querySelector('.viewport').dispatchEvent({turned})"
    assert shown.js(wheel) is False, "the wheel is the graph's while it has the focus"
    assert shown.settle().js(zoom) > at_first
    shown.js("document.activeElement.blur()")
    assert shown.js(wheel) is True, "and the page's when it has not"
    place = "return document.querySelector('.picture g').getAttribute('transform')"
    before = shown.js(place)
    pointer = shown.point(".viewport")
    pointer.pointer_action.pointer_down().move_by(60, 40).pointer_up()
    shown.done(pointer)
    assert shown.js(place) != before and shown.selected == [], "dragging moves and selects nothing"
    shown.js("document.querySelector('.viewport').focus()")
    shown.press("0")
    assert shown.js(zoom) == pytest.approx(at_first)


def test_the_graph_as_a_table(show):
    shown = show(DATA, "stage=S1")
    assert not shown.all("#as-table tbody tr"), "nothing is made before it is asked for"
    shown.click("#as-table summary")
    rows = shown.all("#as-table tbody tr")
    assert len(rows) == 50 and "60 nodes, page 1 of 2" in shown.text("#as-table .tools")
    cells = [cell.text for cell in rows[4].find_elements("css selector", "td")]
    assert (
        cells[0] == "b0.p matmul" and cells[2:4] == ["forward", "Stack.blocks.0.0"] and cells[6] == "x x, b0.t permute"
    )
    next(button for button in shown.all("#as-table .pages button") if button.text == "On").click()
    assert len(shown.settle().all("#as-table tbody tr")) == 10
    shown.one("#as-table input").send_keys("softmax")
    assert [row.text.split()[0] for row in shown.settle().all("#as-table tbody tr")] == ["loss.g"]
    shown.click("#as-table tbody button")
    assert shown.selected == ["loss.g"]


# Around it


def test_search_finds_lines_modules_kernels_and_ops(show):
    shown = show(DATA)
    shown.press("/")
    assert shown.js("return document.activeElement.id") == "search"
    shown.press(*"head")
    kinds = [heading.text for heading in shown.all("#found h3")]
    assert kinds == ["Lines", "Modules", "Ops"]
    field = shown.one("#search")
    field.clear()
    field.send_keys("cross_entropy f32[]")
    found = shown.settle().text("#found")
    assert "Ops" in found and "cross_entropy f32[] CrossEntropyLoss" in found
    field.send_keys(ENTER)
    assert shown.settle().selected in (["loss"], ["tloss"])
    assert not shown.one("#found").is_displayed()
    field.clear()
    field.send_keys("no such thing")
    assert shown.settle().text("#found") == "Nothing is called so."
    field.clear()
    field.send_keys("K9")
    shown.settle().press(DOWN, ENTER)
    assert shown.selected == ["K9"]


def test_a_node_that_only_another_stage_has_changes_the_stage(show):
    shown = show(DATA, "stage=S4")
    field = shown.one("#search")
    field.send_keys("times one")
    field.send_keys(ENTER)
    assert shown.settle().selected == ["times one"]
    assert shown.one(".stages [aria-pressed='true']").get_attribute("data-stage") == "S1"


def luminance(colour):
    parts = [float(x) / 255 for x in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(show, theme):
    shown = show(DATA, f"theme={theme}&select={BLOCK}&stage=S1&level=modules 3")
    style = (
        "const found = (e, name) => getComputedStyle(e)[name]; let out = [];"
        "for (const e of document.querySelectorAll("
        "  'h2, .lead, .quiet, dt, dd, .chip, .amount, td, .answer p, .answer a, label, nav a')) {"
        "  let back = e;"
        "  while (back && /, 0\\)$|transparent/.test(found(back, 'backgroundColor'))) back = back.parentElement;"
        "  out.push([e.className || e.tagName, found(e, 'color'), found(back ?? document.body, 'backgroundColor')]);"
        "} return out"
    )
    seen = {tuple(entry) for entry in shown.js(style)}
    assert len(seen) > 6
    poor = [(name, ink, paper) for name, ink, paper in seen if contrast(ink, paper) < 4.5]
    assert not poor
    assert (luminance(shown.js("return getComputedStyle(document.body).backgroundColor")) < 0.1) == (theme == "dark")


def test_the_theme_follows_the_system_until_it_is_switched(show):
    shown = show(DATA)
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = shown.js(paper)
    shown.media(prefers_color_scheme="dark")
    dark = shown.settle().js(paper)
    assert luminance(dark) < 0.1 < luminance(light)
    shown.click("#theme")
    assert shown.js(paper) == light and parse_qs(shown.address)["theme"] == ["light"]
    assert shown.one("#theme").get_attribute("aria-label") == "Switch to dark colours"


def test_programs_are_there_to_copy(show):
    shown = show(DATA)
    listings = [element.get_attribute("textContent") for element in shown.all(".program code")]
    assert listings == [DATA["programs"]["eager"], DATA["programs"]["session"]]
    shown.click("[aria-label='Copy the Session program']")
    assert shown.text("[aria-label='Copy the Session program']") == "Copied"


def test_screen_readers_and_tab_keys_find_their_way(show):
    shown = show(DATA)
    assert shown.js("return document.documentElement.lang") == "en"
    for landmark in ("header", "main", "nav[aria-label]", "search"):
        shown.one(landmark)
    unnamed = shown.js(
        "return [...document.querySelectorAll('button, input, select, [role=img], [role=region], section')].filter((e) => "
        "!(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.labels?.length))"
        ".map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    levels = [int(heading.tag_name[1]) for heading in shown.all("h1, h2, h3")]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    ids = shown.js("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    shown.js("document.body.focus()")
    shown.press(TAB)
    assert shown.js("return document.activeElement.textContent") == "Skip to the answers"
    reached = set()
    for _ in range(40):
        shown.driver.switch_to.active_element.send_keys(TAB)
        reached.add(shown.js("return document.activeElement.closest('section, header')?.id || 'header'"))
    assert {"header", "answers", "timelines", "source"} <= reached | {"timelines"}


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_is_wider_than_the_window(show, width):
    shown = show(DATA, f"select={STEP}", size=(width, 900))
    assert shown.js("return document.documentElement.scrollWidth") <= width


HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><!--"


USERS = {
    *("title", "file", "lines", "text", "code", "about", "detail", "op", "ops", "type", "how", "eager", "session"),
    *("module", "modules", "processor", "alone_because", "unchanged_passes", "language"),
}


def spoiled(value, key=""):
    """The data with hostile text in all that is text of the user's or comes from it."""
    if isinstance(value, dict):
        return {name: spoiled(x, name) for name, x in value.items()}
    if isinstance(value, list):
        return [spoiled(x, key) for x in value]
    if isinstance(value, str) and key in USERS and value not in LINES:
        return value + HOSTILE
    return value


def test_hostile_text_is_shown_and_does_nothing(show):
    data = spoiled(report(2))
    shown = show(data, f"select={BLOCK},K2&stage=S1&level=ops")
    shown.click("#as-table summary")
    shown.one("#search").send_keys("onerror")
    shown.settle()
    assert shown.all("#found button") and "owned" in shown.text("#found")
    assert HOSTILE in shown.text("#source .detail pre") and HOSTILE in shown.text("h1")
    assert shown.js("return document.title") == f"stack.py: train_step{HOSTILE} · graphc contrast"
    assert not shown.all("img") and len(shown.all("script")) == 2


# Two thousand nodes


def test_two_thousand_nodes_open_collapsed_and_react(show):
    data = report(150)
    stage = data["stages"][1]
    assert len(stage["nodes"]) > 2000
    shown = show(data)
    assert 3 <= len(shown.all("#graph .vertex")) <= 40, "modules are collapsed at first"
    shown.open("level=ops")
    shown.js("document.querySelector('.viewport').focus()")
    shown.press(DOWN)
    drawn = len(shown.all("#graph .vertex"))
    assert 3 <= drawn < 200, "only what can be seen is in the document"
    field = shown.one("#search")
    field.send_keys("reduce_sum blocks.77.")
    field.send_keys(ENTER)
    assert shown.settle().selected == ["b77.gb"]
    assert shown.all("#graph .vertex.selected[data-vertex='b77.gb']"), "what was found is in view"
    shown.click("#graph .inspector .chip[data-id='L1']")
    assert shown.selected == [BLOCK]
    assert shown.js("return document.querySelectorAll('*').length") < 9000


def test_a_notebooks_frame_shows_it_too(open_file, tmp_path):
    text = html.escape(page.html(report(2)), quote=True)
    holder = tmp_path / "notebook.html"
    holder.write_text(
        f'<!doctype html><html data-ready=""><iframe srcdoc="{text}" width="1200" height="800"></iframe></html>'
    )
    shown = open_file(holder)
    shown.driver.switch_to.frame(shown.one("iframe"))
    assert shown.figure("slowest_line") == (BLOCK, "line 13")
    shown.click(f"table.source button[data-id='{LOSS}']")
    assert shown.selected == [LOSS] and shown.marked("table.kernels tr", "related")
    shown.driver.switch_to.default_content()
