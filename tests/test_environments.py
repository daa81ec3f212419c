"""The environments: one lock, and conda, pip and containers that install nothing else."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from priorbench.io import sha256_file

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"


def entries(name: str) -> list[str]:
    """Every requirement of a file on one line, without comments."""
    content = (ENVS / name).read_text().replace("\\\n", " ").splitlines()
    return [line for raw in content if (line := raw.split("#")[0].strip())]


def lines(name: str) -> list[str]:
    """As above, without hashes and references to other files."""
    return [entry.split(" --hash=")[0].strip() for entry in entries(name) if not entry.startswith("-r ")]


def pins(name: str = "requirements.txt") -> dict[str, str]:
    pairs = (line.split("==") for line in lines(name))
    return {plain(name): version for name, version in pairs}


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_lock_pins_everything_exactly() -> None:
    assert len(pins()) == len(lines("requirements.txt")) > 50
    assert all(re.fullmatch(r"[\w.!-]+", version) for version in pins().values())


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-cpu.txt", "requirements-cuda.txt"])
def test_every_file_that_is_installed_has_a_hash(name: str) -> None:
    found = [entry for entry in entries(name) if not entry.startswith("-r ")]
    assert found
    assert all(re.fullmatch(r"\S+==\S+(\s+--hash=sha256:[0-9a-f]{64})+", entry) for entry in found)


def test_the_hashes_are_those_of_all_platforms() -> None:
    """numpy has wheels for Linux, macOS and Windows, for several versions of Python."""
    (numpy,) = (entry for entry in entries("requirements.txt") if entry.startswith("numpy=="))
    assert numpy.count("--hash") > 30


def test_pip_reads_the_lock_and_refuses_a_file_of_another_hash(tmp_path: Path) -> None:
    """pip's own parser, and its own check, on a package made here."""
    wheel = tmp_path / "harmless-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        content.writestr(
            "harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr("harmless-1.0.dist-info/RECORD", "")
    offline = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "installed")]
    text = (ENVS / "install.sh").read_text()
    (options,) = re.findall(r"^install=.* pip install --quiet (.*)\)$", text, re.MULTILINE)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"harmless==1.0 --hash=sha256:{'0' * 64}\n")
    command = [sys.executable, "-m", "pip", "install", "--isolated", *options.split(), "-r", str(requirements)]
    done = subprocess.run([*command, *offline], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sha256_file(wheel) in done.stderr  # what it got, in place of what was expected


def test_the_installer_takes_nothing_without_its_hash(tmp_path: Path) -> None:
    """Every call of pip that it makes, with a pip that only writes down what it is asked."""
    log, python = tmp_path / "log", tmp_path / "python with spaces"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{log}'\ntest \"$3\" != check -o -e '{tmp_path}/whole'\n")
    python.chmod(0o755)
    for whole, wanted in (
        (False, ["cpu", "", "check", "cuda", "check", "check"]),
        (True, ["cpu", "", "check", "check"]),
    ):
        if whole:
            (tmp_path / "whole").touch()
        log.unlink(missing_ok=True)
        done = subprocess.run([str(ENVS / "install.sh"), str(python)], check=False)
        assert done.returncode == (0 if whole else 1)
        calls = log.read_text().splitlines()
        installs = [call for call in calls if " install " in call]
        assert all("--require-hashes --no-deps" in call for call in installs)
        assert [re.sub(r".*requirements-?|\.txt|-m pip ", "", call) for call in calls] == wanted


def test_an_audit_fails_on_what_is_known_and_says_what_was_not_asked() -> None:
    spec = importlib.util.spec_from_file_location("audit", ENVS / "audit.py")
    assert spec
    assert spec.loader
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    clean = {"name": "good", "version": "1", "vulns": []}
    bad = {"name": "bad", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
    unknown = {"name": "unheard", "skip_reason": "not found"}
    assert audit.verdict([clean]) == ("Audit: 1 packages checked, no known vulnerabilities", 0)
    text, code = audit.verdict([clean, bad, unknown])
    assert code == 1
    assert text.splitlines() == [
        "Error: bad 1: CVE-1; mended in 1.1",
        "Audit: the database does not know unheard",
        "Audit: 2 packages checked, 1 known vulnerabilities",
    ]
    for nothing in ([], [unknown]):
        assert audit.verdict(nothing) == (audit.OUT_OF_REACH, 0)


def test_what_is_asked_for_is_in_the_lock() -> None:
    assert pins("requirements-cpu.txt") == {"torch": pins()["torch"] + "+cpu"}
    for line in lines("requirements.in"):
        name, _, version = line.partition("==")
        assert plain(name) in pins(), name
        assert version in ("", pins()[plain(name)]), name


def test_the_package_imports_nothing_that_is_not_locked() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    declared = re.findall(r'"([\w-]+)(?:>=[\d.]+)?"', text.split("dependencies = [")[1].split("]")[0])
    assert len(declared) > 10
    assert {name.lower() for name in declared} <= set(pins())


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_conda_environment_installs_the_lock_and_pins_nothing_itself(name: str) -> None:
    environment = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    assert environment["dependencies"] == ["python =3.11", "pip"]
    script = (ENVS / f"{name}.post-deploy.sh").read_text()
    package = "--no-build-isolation --no-deps ."
    if name == "cpu":
        assert "envs/install.sh python\n" in script
        assert re.findall(r"pip install (.*)", script) == [package]
    else:
        hashed = "--require-hashes --no-deps -r envs/requirements-cuda.txt"
        assert re.findall(r"pip install (.*)", script) == [hashed, package]
    assert (ENVS / f"{name}.post-deploy.sh").stat().st_mode & 0o111


def test_a_gpu_has_the_same_versions() -> None:
    assert entries("requirements-cuda.txt")[0] == "-r requirements.txt"
    libraries = pins("requirements-cuda.txt")
    assert all(re.match(r"nvidia-|cuda-|triton$", name) for name in libraries)
    assert not set(libraries) & set(pins())


@pytest.mark.parametrize("name", ["Dockerfile", "priorbench.def"])
def test_a_container_installs_the_lock(name: str) -> None:
    text = (ENVS / name).read_text()
    assert re.search(r"^From:? python:3\.11-slim$", text, re.MULTILINE | re.IGNORECASE)
    installed = re.findall(r"pip install --no-cache-dir (.*)", text)
    assert [command.replace("${REQUIREMENTS}", "requirements-cuda.txt") for command in installed] == [
        "--require-hashes --no-deps -r envs/requirements-cuda.txt",
        "--no-build-isolation --no-deps .",
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
