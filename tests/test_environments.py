"""The environments: one lock, and conda, pip and containers that install nothing else."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"


def lines(name: str) -> list[str]:
    content = (ENVS / name).read_text().splitlines()
    return [line for raw in content if (line := raw.split("#")[0].strip())]


def pins() -> dict[str, str]:
    pairs = (line.split("==") for line in lines("requirements.txt"))
    return {plain(name): version for name, version in pairs}


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_lock_pins_everything_exactly() -> None:
    assert len(pins()) == len(lines("requirements.txt")) > 50
    assert all(re.fullmatch(r"[\w.!-]+", version) for version in pins().values())


def test_what_is_asked_for_is_in_the_lock() -> None:
    for line in lines("requirements.in"):
        name, _, version = line.partition("==")
        assert plain(name) in pins(), name
        assert version in ("", pins()[plain(name)]), name


def test_the_package_imports_nothing_that_is_not_locked() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    declared = re.findall(r'"([\w-]+)(?:>=[\d.]+)?"', text.split("dependencies = [")[1].split("]")[0])
    assert len(declared) > 10
    assert {name.lower() for name in declared} <= set(pins())


@pytest.mark.parametrize(("name", "file"), [("cpu", "requirements.txt"), ("cuda", "requirements-cuda.txt")])
def test_a_conda_environment_installs_the_lock_and_pins_nothing_itself(name: str, file: str) -> None:
    environment = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    assert environment["dependencies"] == ["python =3.11", "pip"]
    script = (ENVS / f"{name}.post-deploy.sh").read_text()
    assert re.findall(r"pip install (.*)", script) == [f"-r envs/{file}", "--no-deps ."]
    assert (ENVS / f"{name}.post-deploy.sh").stat().st_mode & 0o111


def test_a_gpu_has_the_same_versions() -> None:
    assert lines("requirements-cuda.txt") == ["-r requirements.txt"]


@pytest.mark.parametrize("name", ["Dockerfile", "priorbench.def"])
def test_a_container_installs_the_lock(name: str) -> None:
    text = (ENVS / name).read_text()
    assert re.search(r"^From:? python:3\.11-slim$", text, re.MULTILINE | re.IGNORECASE)
    installed = re.findall(r"pip install --no-cache-dir (.*)", text)
    assert [command.replace("${REQUIREMENTS}", "requirements-cuda.txt") for command in installed] == [
        "-r envs/requirements-cuda.txt",
        "--no-deps .",
    ]
    copied = re.findall(r"^COPY (.*)$", text, re.MULTILINE) or text.split("%files")[1].split("%post")[0].splitlines()
    sources = [source for line in copied for source in line.split()[:-1]]
    assert len(sources) == 5
    assert all((ROOT / source).exists() for source in sources)


def test_every_rule_names_an_environment_that_is_there() -> None:
    used = {
        match
        for path in (ROOT / "workflow").rglob("*.smk")
        for match in re.findall(r"envs/([\w{}' ]+)\.yaml", path.read_text())
    }
    assert "cpu" in used
    assert (ENVS / "cpu.yaml").exists()
    assert (ENVS / "cuda.yaml").exists()
