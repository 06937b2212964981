"""Pictures of a contrast's page for the documents, by Chromium (extra `browser`; Debian: chromium, chromium-driver).

    python tools/contrast_pictures.py examples/mlp.py docs/pictures

contrasts the script's training step and writes `contrast.png` (the answers and timelines), `contrast-dark.png` (the same), and
`contrast-graph.png` (the source and the graph). Run it on a machine that does nothing else: the figures show.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver

WIDTH = 1280


def browser() -> webdriver.Chrome:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def shoot(
    driver: webdriver.Chrome, page: Path, theme: str, fragment: str, height: int, scroll_to: str, out: Path
) -> None:
    """One picture of the page: a part of it from the element `scroll_to` on, with what the fragment selects."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    driver.get("about:blank")
    driver.get(f"file://{page}#{fragment}")
    time.sleep(1)
    if scroll_to:
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", scroll_to)
        time.sleep(0.5)
    driver.save_screenshot(str(out))


def main() -> None:
    """See the file's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("folder", type=Path)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "contrast.html"
        subprocess.run(
            [sys.executable, "-m", "graphc", "contrast", str(told.script), "-o", str(page)], check=True
        )  # fmt: skip
        driver = browser()
        try:
            shoot(driver, page, "light", "", 1480, "", told.folder / "contrast.png")
            shoot(driver, page, "dark", "", 1480, "", told.folder / "contrast-dark.png")
            shoot(driver, page, "light", "", 1400, "source", told.folder / "contrast-graph.png")
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
