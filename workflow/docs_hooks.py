"""Hooks of mkdocs: figures of kept results, which lie outside docs/, become part of the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add every kept figure."""
    for path in sorted((ROOT / "results/reference").rglob("*.png")):
        name = path.relative_to(ROOT / "results").as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point images at the copies in the site."""
    return markdown.replace("](../results/reference/", "](reference/")
