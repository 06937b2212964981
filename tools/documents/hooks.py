"""Hooks of mkdocs: pages made from the code stand beside those that are written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pass_pages
import reference_pages
from mkdocs.structure.files import File, Files

#: Sections of the menu whose pages are generated, with their folder.
SECTIONS = {"Passes": ("passes", pass_pages.pages), "Reference": ("reference", reference_pages.pages)}

_made: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """Makes the pages and puts them into the menu."""
    _made.clear()
    for title, (folder, pages) in SECTIONS.items():
        paths = {f"{folder}/{name}": text for name, text in pages().items()}
        _made.update(paths)
        config.nav.append({title: list(paths)})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages to those of the folder."""
    for path, text in _made.items():
        files.append(File.generated(config, path, content=text))
    return files
