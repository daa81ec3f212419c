"""Documentation names only what exists."""

import re
from pathlib import Path

import pytest
import yaml

from priorbench.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_citation_names_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert f'version = "{citation["version"]}"' in project


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_commands_and_presets_exist(page):
    text = page.read_text(encoding="utf-8")
    known = set(build_parser()._subparsers._group_actions[0].choices)
    assert set(re.findall(r"(?:`|bin/)priorbench ([a-z-]+)", text)) <= known
    presets = re.findall(r"workflow/presets/([a-z0-9-]+)\.yaml", text)
    assert [name for name in presets if not (ROOT / f"workflow/presets/{name}.yaml").is_file()] == []


def test_every_guard_has_its_test():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/guards.md").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| (?!what |---)", (ROOT / "docs/guards.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) == len(rows)
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text("utf-8")] == []
