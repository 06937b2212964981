"""Chromium for the tests of pages: one process for all, a fresh page for each, and no network."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphc.contrast import page

try:
    from selenium import webdriver
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
except ImportError:  # the extra `browser` is not there, and its tests are not asked for
    webdriver = None

CLOSED_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"


class Page:
    """One opened page, and the few things tests do with it."""

    def __init__(self, driver: Any, path: Path):
        self.driver, self.path = driver, path

    def open(self, address: str = "") -> Page:
        self.driver.get("about:blank")
        self.driver.get(f"{self.path.as_uri()}#{address}")
        for _ in range(100):  # a large page may still be read when its address is there
            if self.js("return 'ready' in document.documentElement.dataset"):
                return self.settle()
            time.sleep(0.1)
        raise AssertionError(self.driver.get_log("browser"))

    def js(self, code: str, *given: Any) -> Any:
        return self.driver.execute_script(code, *given)

    def settle(self) -> Page:
        """Waits until what was asked for is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))"
        )
        return self

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} elements are {selector}"
        return found[0]

    def click(self, selector: str, nth: int = 0) -> Page:
        """Clicks as a person does: where the element is, after scrolling to it."""
        element = self.all(selector)[nth]
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()
        return self.settle()

    def point(self, selector: str, nth: int = 0) -> Any:
        """A pointer at the middle of an element, to go on with: `.click()`, `.double_click()`; hand it to `done`."""
        element = self.all(selector)[nth]
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        corners = (
            "const box = arguments[0].getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
        )
        x, y = self.js(corners, element)
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(round(x), round(y))
        return actions

    def done(self, actions: Any) -> Page:
        actions.perform()
        return self.settle()

    def press(self, *keys: str) -> Page:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)
            self.settle()
        return self

    def text(self, selector: str) -> str:
        return " ".join(str(self.one(selector).text).split())

    def figure(self, name: str) -> tuple[str, str]:
        """The number behind a figure, and what is written for it."""
        element = self.one(f"[data-figure='{name}']")
        return element.get_attribute("value"), element.text

    @property
    def address(self) -> str:
        return str(self.js("return location.hash.slice(1)"))

    @property
    def selected(self) -> list[str]:
        return list(self.js("return [...state.selected]"))

    def marked(self, selector: str, kind: str) -> set[str]:
        """The ids of what is shown as selected or related in one panel."""
        ids = "return [...document.querySelectorAll(arguments[0])].map((e) => e.dataset.id ?? e.dataset.vertex)"
        return set(self.js(ids, f"{selector}.{kind}"))

    def media(self, **features: str) -> None:
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})

    def size(self, width: int, height: int) -> Page:
        given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)
        return self.settle()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    assert webdriver is not None, 'the marker `browser` needs the extra: pip install -e ".[browser]"'
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(found.values()), f"the marker `browser` needs Debian's chromium and chromium-driver: {found}"
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", CLOSED_NETWORK):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found["chromedriver"]))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def open_file(chromium: Any) -> Iterator[Callable[..., Page]]:
    """Opens a page; afterwards: no message of the console, no request but for the file."""
    for log in ("browser", "performance"):
        chromium.get_log(log)
    opened: list[str] = []

    def show(path: Path, address: str = "", size: tuple[int, int] = (1440, 1000)) -> Page:
        opened.append(path.as_uri())
        shown = Page(chromium, path)
        shown.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        shown.size(*size)
        return shown.open(address)

    yield show
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and set(asked) <= {*opened, "about:blank"}


@pytest.fixture
def show(open_file: Callable[..., Page], tmp_path: Path) -> Callable[..., Page]:
    """Writes the page of some data and opens it."""

    def shown(data: dict[str, Any], address: str = "", size: tuple[int, int] = (1440, 1000)) -> Page:
        path = tmp_path / "contrast.html"
        path.write_text(page.html(data), encoding="utf-8")
        return open_file(path, address, size)

    return shown
