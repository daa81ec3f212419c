"""The code that a command runs through is found by reading imports; here it is held against the commands themselves."""

import ast
import re
import sys
from pathlib import Path

import pytest

from priorbench.registry import REGISTRIES
from priorbench.sources import ASIDE, COMMANDS, PACKAGE, code_of, sources

ROOT = PACKAGE.parents[1]
ELSEWHERE = {"training.pack"}  # brings the same runs into several processes
FUNCTIONS = {"pretrain": "train", "finetune": "train"}


def called(command: str) -> set[str]:
    """The modules that the function of a command imports."""
    name = FUNCTIONS.get(command, command.replace("-", "_"))
    for file in ("cli.py", "potential/commands.py"):
        for node in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                inside = [i.module or "" for i in ast.walk(node) if isinstance(i, ast.ImportFrom)]
                return {module.removeprefix("priorbench.") for module in inside if module.startswith("priorbench.")}
    raise AssertionError(f"no function of {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_calls_is_among_its_sources(command: str) -> None:
    assert called(command) - ASIDE - ELSEWHERE
    assert called(command) - ASIDE - ELSEWHERE <= set(sources(*COMMANDS[command]))


def test_every_rule_that_calls_a_command_has_its_code_among_the_parameters() -> None:
    found = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            found += (
                [rule.split(":")[0]]
                if "priorbench " in rule.partition("shell:")[2] and "code=code_of" not in rule
                else []
            )
    assert found == []


def test_plug_ins_and_what_a_function_does_not_reach_stay_apart() -> None:
    acquired = sources("datasets.pipeline:acquire", "datasets.tip3p:acquire")
    assert "datasets.tip3p_simulation" in acquired
    assert not {"datasets.groups", "analysis.style"} & set(acquired)
    assert len({code_of("finetune", backbone=name, task="potential") for name in ("egnn", "gns")}) == 2
    assert not [name for name in sources(*COMMANDS["finetune"]) if name.startswith(("report", "analysis", "plan"))]


def test_a_plug_in_from_outside_counts_by_its_own_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(REGISTRIES["task"], "guest", "guest_task:Guest")
    found = []
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        (tmp_path / "guest_task.py").write_text(text)
        found.append(code_of("pretrain", backbone="gns", task="guest"))
    assert found[0] == found[2] != found[1]
    assert "guest_task" not in sys.modules
