"""Nothing from outside is run: no pickles, no shells, no archive's own paths, no secrets in what is written."""

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from priorbench.cli import main
from priorbench.config import parse_config
from priorbench.errors import PriorbenchError
from tests.faults.stages import own_structures
from tests.test_config import MINIMAL
from tests.training.conftest import spec, write_inputs

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("src", "workflow", "benchmarks", "envs") for path in (ROOT / folder).rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]
#: What a shell command of a rule may hold unquoted: numbers, and the prefix that a cluster's profile sets itself.
UNQUOTED = {"threads", "wildcards.seed", "wildcards.cutoff", "resources.at_once", "resources.launch"}

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "mktemp", "yaml.unsafe_load",
    "yaml.full_load", "numpy.fromregex", "pandas.read_pickle", "pd.read_pickle", "shutil.unpack_archive",
}  # fmt: skip
METHODS = {"extract", "extractall", "to_pickle"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def faults(text: str) -> Iterator[str]:
    """What must not be in a Python source."""
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] in MODULES)
        # An address, not a name as those of XML.
        if isinstance(node, ast.Constant) and re.match(r"http://(?!www\.w3\.org/)", str(node.value)):
            yield str(node.value)
        if isinstance(node, ast.Call):
            yield from call_faults(node)


def call_faults(node: ast.Call) -> Iterator[str]:
    name, method = dotted(node.func), dotted(node.func).rpartition(".")[2]
    given = {word.arg: word.value for word in node.keywords}
    values = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    if name in CALLS or (method in METHODS and "." in name):
        yield name
    if values.get("allow_pickle") is True or values.get("shell") is True or values.get("verify") is False:
        yield f"{name}({', '.join(map(str, values))})"
    if name == "np.load" and values.get("allow_pickle") is not False:
        yield name
    if name == "torch.load" and values.get("weights_only") is not True:
        yield name
    if name == "yaml.load" and "Safe" not in dotted(given.get("Loader", node.args[-1])):
        yield name


def test_no_source_runs_what_it_reads() -> None:
    assert len(SOURCES) > 200
    assert {str(path.relative_to(ROOT)): found for path in SOURCES if (found := list(faults(path.read_text())))} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle", "from pickle import loads", "np.load(f, allow_pickle=True)", "np.load(f)", "torch.load(f)",
        "torch.load(f, weights_only=False)", "yaml.load(text, yaml.Loader)", "yaml.load(text, Loader=Loader)",
        "subprocess.run(c, shell=True)", "eval(text)", "exec(text)", "requests.get(u, verify=False)",
        "url = 'http://example.org'", "archive.extractall(folder)", "tar.extract(member)", "tempfile.mktemp()",
        "os.system(c)", "pd.read_pickle(f)", "shutil.unpack_archive(f)", "if a:\n    def f():\n        exec(a)",
    ],
)  # fmt: skip
def test_the_scan_finds(planted: str) -> None:
    assert list(faults(planted))


def test_the_scan_knows_what_is_harmless() -> None:
    harmless = "model.eval(); np.load(f, allow_pickle=False); torch.load(f, weights_only=True); yaml.safe_load(t)"
    assert (
        list(faults(f"{harmless}; yaml.load(t, Loader=yaml.SafeLoader); re.compile(t); run(['a'], shell=False)")) == []
    )


def placeholders(text: str) -> list[str]:
    """Everything that the shell commands of a Snakefile fill in, as it stands there."""
    commands = re.findall(r"^ +shell:\n((?: +f?\".*\"\n)+)", text, re.MULTILINE)
    return [found for command in commands for found in re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", command)]


def test_every_value_reaches_a_shell_quoted() -> None:
    found = {path.name: placeholders(path.read_text()) for path in RULES}
    assert sum(map(len, found.values())) > 100
    assert [p for own in found.values() for p in own if not p.endswith(":q") and p not in UNQUOTED] == []
    assert all(
        path.read_text().count("shell:") == len(re.findall(r"shell:\n +f?\"", path.read_text())) for path in RULES
    )
    assert placeholders('    shell:\n        "a {input} {x:q}"\n') == ["input", "x:q"]


EVIL = [
    "a b",
    "a'b",
    'a"b',
    "$(touch x)",
    "`touch x`",
    "a;b",
    "a\nb",
    "a\n",
    "-rf",
    "--help",
    "../up",
    "a/b",
    "",
    "{a}",
    "é",
]


@pytest.mark.parametrize("name", EVIL)
def test_a_name_that_a_shell_could_misread_is_refused_in_one_line(name: str) -> None:
    parse_config(MINIMAL)
    for section, entry in (("experiment", name), *((s, {name: v}) for s, v in _entries())):
        with pytest.raises(PriorbenchError) as error:
            parse_config(MINIMAL | {section: entry})
        assert "\n" not in str(error.value)
        assert section in str(error.value)


def _entries() -> Iterator[tuple[str, object]]:
    for section in ("datasets", "backbones", "strategies"):
        yield section, next(iter(MINIMAL[section].values()))  # type: ignore[attr-defined]


SECRETS = {
    "SECRET_TOKEN": "s3cr3t-t0ken", "AWS_SECRET_ACCESS_KEY": "s3cr3t-aws", "WANDB_API_KEY": "s3cr3t-wandb",
    "https_proxy": "http://user:s3cr3t-proxy@127.0.0.1:9", "PIP_INDEX_URL": "https://user:s3cr3t-pip@example.invalid/",
}  # fmt: skip


def revealed(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]


def test_files_and_words_of_a_training_hold_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PRIORBENCH_CHECKPOINT_SECONDS", "0")
    files = write_inputs(tmp_path)
    data = ["--frames", files.frames, "--neighbours", files.neighbours, "--split", files.split]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        given = ["--spec", json.dumps(spec()), *data, "--keep-checkpoint", "--output", tmp_path / "run"]
        assert main([*map(str, ["finetune", *given])]) == 0
        assert main(["export", str(tmp_path / "run/model.safetensors"), "--output", str(tmp_path / "run/p.pt2")]) == 0
    assert len(list((tmp_path / "run").iterdir())) == 6
    assert revealed(tmp_path) == []
    assert "s3cr3t" not in said.getvalue()
    (tmp_path / "leak").write_text("s3cr3t")
    assert len(revealed(tmp_path)) == 1


def test_a_workflow_in_a_folder_of_an_evil_name_runs_no_part_of_it(tmp_path: Path) -> None:
    """A real job: folder, data file and mirror have names that a shell would act on."""
    evil = 'it\'s "a" $(touch pwned) `touch pwned`; touch pwned & -rf'
    folder = tmp_path / evil
    folder.mkdir()
    own = folder / f"own {evil}\n.xyz"
    own_structures(own)
    mirror = folder / f"mirror {evil}"
    mirror.mkdir()
    datasets = {"own": {"source": "extxyz", "path": str(own)}}
    config = MINIMAL | {"datasets": datasets, "mirror": str(mirror)}
    (folder / "-config.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
        "--cores",
        "1",
    ]
    command += ["--printshellcmds", f"results/{MINIMAL['experiment']}/data/own/raw/structures.npz"]
    command += ["--configfile", folder / "-config.yaml"]
    environment = {**os.environ, **SECRETS}
    environment.pop("PRIORBENCH_MIRROR", None)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "results" / MINIMAL["experiment"] / "data/own/raw/structures.npz").exists()
    assert "--dataset '{" in done.stderr + done.stdout  # the command was shown
    assert [path for path in tmp_path.rglob("*") if path.name == "pwned"] == []
    assert revealed(tmp_path) == []
