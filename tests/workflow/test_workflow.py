"""The workflow as a user meets it: plans, refusals, and which runs a changed key repeats."""

import copy
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import main as snakemake
from tests.conftest import LONG
from tests.processes import started

from priorbench import runs
from priorbench.config import Config, load_config, parse_config
from priorbench.datasets.pipeline import has_checks, parts

REPOSITORY = Path(__file__).parents[2]
REFERENCE = REPOSITORY / "workflow/presets/reference.yaml"  # no experiment: it redraws what was kept
PRESETS = [
    REPOSITORY / "config.yaml",
    *(path for path in sorted((REPOSITORY / "workflow/presets").glob("*.yaml")) if path != REFERENCE),
]
#: What has a small sibling is of the same shape: `make dry-run` plans it, `make check-long` counts its jobs.
LARGE = {path for path in PRESETS if path.with_stem(f"{path.stem}-quick") in PRESETS}
COUNTED = [path for path in PRESETS if LONG or path not in LARGE]
NOISE = re.compile(r"^Using workflow specific profile|^Assuming unrestricted|^$")

Plan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Run ``snakemake -n`` in an empty folder, where nothing has been made yet."""
    shutil.copy(REPOSITORY / "config.yaml", tmp_path)

    def run(*arguments: str | Path, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        options = ["-n", "--snakefile", REPOSITORY / "Snakefile", "--directory", tmp_path, *arguments]
        if not python:
            return forked_snakemake([str(option) for option in options], tmp_path)
        command = [sys.executable, *python, "-m", "snakemake", *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)

    return run


def forked_snakemake(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """``snakemake`` in a fork of this process: to start Python and to import it takes longer than to plan."""
    streams = folder / ".stdout", folder / ".stderr"

    def job() -> None:
        os.chdir(REPOSITORY)
        sys.argv = ["snakemake", *arguments]  # presets that are targets are found there
        snakemake(arguments)

    code = os.waitstatus_to_exitcode(os.waitpid(started(job, *streams), 0)[1])
    output, errors = (stream.read_text() for stream in streams)
    return subprocess.CompletedProcess(["snakemake", *arguments], code, output, errors)


def job_counts(plan: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert plan.returncode == 0, plan.stderr
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", plan.stdout + plan.stderr, re.MULTILINE)}


def expected_counts(config: Config) -> dict[str, int]:
    """Jobs of a whole experiment, counted from its configuration."""
    per_cell = 1 if config.seeds_per_job == "all" else len(config.seeds)
    cells = [(d, b) for d in config.finetuned_datasets for b in config.backbones]
    pretrained = {(b, *place) for d, b in cells for place in config.pretrainings_on(d, b)}
    labelled = {(d, config.pretraining[n].labels) for _, d, n in pretrained if config.pretraining[n].labels}
    counts = {
        "acquire": sum(len(parts(runs.dataset_spec(config, name))) for name in config.datasets),
        "convert": len(config.datasets),
        "relabel": len(labelled),
        "neighbours": len({(d, config.backbones[b].cutoff) for d, b in [*cells, *((d, b) for b, d, _ in pretrained)]}),
        "split": len(config.datasets) * len(config.seeds),
        "card": len(config.datasets),
        "checks": sum(has_checks(runs.dataset_spec(config, name)) for name in config.datasets),
        "pretrain": per_cell * len(pretrained),
        "finetune": per_cell * sum(len(config.trials_on(d, b)) for d, b in cells),
        "probe": len(cells) * len(config.seeds) if config.question == "q8" else 0,
        "collect_probes": int(config.question == "q8"),
        "details": len(cells),
        **dict.fromkeys(["collect", "statistics", "make_tables", "make_figures", "report", "all"], 1),
        **dict.fromkeys(["collect_details", "draw_details"], 1),
        "answer" if config.question else "judge_claims": 1,
        "simulate": len(config.seeds) * sum(len(config.trials_on(d, b)) for d, b in cells) if config.dynamics else 0,
        **dict.fromkeys(["collect_dynamics", "draw_dynamics"], int(config.dynamics is not None)),
    }
    counts = {rule: number for rule, number in counts.items() if number}
    return {**counts, "total": sum(counts.values())}


@pytest.mark.parametrize("preset", COUNTED, ids=lambda path: path.stem)
def test_every_preset_plans_all_its_runs(plan: Plan, preset: Path) -> None:
    assert job_counts(plan("--quiet", "rules", "--configfile", preset)) == expected_counts(load_config(preset))


@pytest.mark.parametrize("preset", sorted(LARGE), ids=lambda path: path.stem)
def test_a_preset_has_the_rules_of_its_small_sibling(preset: Path) -> None:
    """But for the checks of the data: what is generated as a smoke test has none."""
    small = expected_counts(load_config(preset.with_stem(f"{preset.stem}-quick")))
    large = expected_counts(load_config(preset))
    assert large.keys() - {"checks"} == small.keys() - {"checks"}
    assert large["total"] >= small["total"]


def test_a_preset_is_a_target_by_its_name(plan: Plan) -> None:
    named = job_counts(plan("q4-quick", "--quiet", "rules"))
    given = job_counts(plan("--quiet", "rules", "--configfile", REPOSITORY / "workflow/presets/q4-quick.yaml"))
    assert {**named, "all": 1} == given
    assert named["answer"] == 1


def test_two_presets_at_once_are_refused(plan: Plan) -> None:
    refused = plan("q4-quick", "q2-quick")
    assert refused.returncode != 0
    assert "one preset at a time" in refused.stderr


def test_kept_results_are_redrawn_without_training(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/reference").symlink_to(REPOSITORY / "results/reference")
    planned = plan("figures", "--quiet", "rules", "--configfile", REFERENCE)
    counts = job_counts(planned)
    assert not {"pretrain", "finetune", "acquire"} & set(counts)
    assert counts["make_figures"] == counts["make_tables"] == len(yaml.safe_load(REFERENCE.read_text())["redraw"])
    kept = [*(REPOSITORY / "results/reference").rglob("details.csv")]
    assert counts.get("draw_details", 0) == len(kept)


def test_details_are_drawn_where_their_table_was_kept(plan: Plan, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for table in ("runs", "curves", *(["details"] if name == "new" else [])):
            (tmp_path / name / f"{table}.csv").touch()
    configfile = write(tmp_path, {"redraw": {name: {"folder": str(tmp_path / name)} for name in ("old", "new")}})
    planned = plan("figures", "-p", "--configfile", configfile)
    assert job_counts(planned)["make_figures"] == 2
    (drawn,) = commands(planned, "details-figure")
    assert option(drawn, "--details-csv") == ["results/redrawn/new/details.csv"]


def test_dynamics_are_run_where_they_are_asked_for(plan: Plan, tmp_path: Path) -> None:
    content = changed("seeds_per_job", "all")
    assert "simulate" not in job_counts(plan("--quiet", "rules", "--configfile", write(tmp_path, content)))
    asked = job_counts(plan("dynamics", "--quiet", "rules", "--configfile", write(tmp_path, content)))
    content["dynamics"] = {"nvt_ps": 2.5}
    planned = plan("-p", "--configfile", write(tmp_path, content))
    assert job_counts(planned)["simulate"] == asked["simulate"]
    for call in commands(planned, "dynamics"):
        assert json.loads(option(call, "--spec")[0])["nvt_ps"] == 2.5
        (model,), (split,), (output,) = (option(call, name) for name in ("--model", "--split", "--output"))
        assert Path(model).parent.name == Path(output).stem == Path(split).stem.removeprefix("split-")
        assert Path(model).parts[-3] == Path(output).parts[-2]


@pytest.mark.parametrize("per_job", [1, "all"])
def test_seeds_go_to_a_job_each_or_all_to_one(plan: Plan, tmp_path: Path, per_job: int | str) -> None:
    content = changed("seeds_per_job", per_job)
    counts = job_counts(plan("--quiet", "rules", "--configfile", write(tmp_path, content)))
    assert counts == expected_counts(parse_config(content))


def commands(plan: subprocess.CompletedProcess[str], command: str) -> list[list[str]]:
    """The calls of ``priorbench <command>`` in a plan, as words."""
    assert plan.returncode == 0, plan.stderr
    return [shlex.split(call) for call in re.findall(rf"(priorbench {command} .*)$", plan.stdout, re.MULTILINE)]


def option(words: list[str], name: str) -> list[str]:
    """The values of a command's option."""
    values = words[words.index(name) + 1 :]
    return list(itertools.takewhile(lambda word: not word.startswith(("--", ">")), values))


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_job_of_all_seeds_does_what_the_jobs_of_each_do(plan: Plan, tmp_path: Path, stage: str) -> None:
    """The same specs with the same files and folders, whichever way they are divided."""
    runs_of = []
    for per_job in (1, "all"):
        configfile = write(tmp_path, changed("seeds_per_job", per_job))
        found = []
        for words in commands(plan("-p", "--configfile", configfile), stage):
            specs = runs.separated(json.loads(option(words, "--spec")[0]))
            shared = [option(words, name) for name in ("--frames", "--neighbours", "--threads")]
            own = [option(words, n) for n in ("--split", "--parent", "--budget", "--output") if n in words]
            assert all(len(values) == len(specs) for values in own)
            assert all(f"seed{spec['seed']}" in value for vs in own for spec, value in zip(specs, vs, strict=True))
            found += [[spec, shared, [values[i] for values in own]] for i, spec in enumerate(specs)]
        runs_of.append(sorted(json.dumps(run, sort_keys=True) for run in found))
    assert runs_of[0] == runs_of[1]
    assert len(runs_of[0]) == {"pretrain": 3 * 2 * 2, "finetune": 3 * 5 * 2}[stage]


@pytest.mark.parametrize("per_job", [1, "all"])
def test_details_are_divided_once_a_cell_from_all_its_networks_and_the_choice(
    plan: Plan, tmp_path: Path, per_job: int | str
) -> None:
    """Also where a strategy has trials: which of them are read is known when the table of trials is there."""
    content = changed("seeds_per_job", per_job)
    for strategy in content["strategies"].values():
        strategy["learning_rate"] = [1e-3, 3e-3]
    found = commands(plan("-p", "--configfile", write(tmp_path, content)), "details")
    assert len(found) == len(content["backbones"])
    for words in found:
        (output,) = option(words, "--output")
        assert output.startswith("results/ci/details/water/")
        backbone = Path(output).stem
        assert set(option(words, "--models")) == {
            f"results/ci/runs/water/{backbone}/{name}+{trial}/seed{seed}/model.safetensors"
            for name in content["strategies"]
            for trial in (1, 2)
            for seed in content["seeds"]
        }
        assert option(words, "--trials-csv") == ["results/ci/trials.csv"]
        assert option(words, "--frames") == ["results/ci/data/water/frames.safetensors"]
        assert option(words, "--neighbours") == ["results/ci/data/water/neighbours-3.5.safetensors"]
        assert option(words, "--splits") == [f"results/ci/data/water/split-seed{seed}.json" for seed in (0, 1)]


def test_a_cluster_can_say_what_every_job_needs(plan: Plan) -> None:
    """A name that a job does not have, or a value that is no number, ends the plan."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    resources = [
        f"{rule}:{key}={value}" for rule, own in profile["set-resources"].items() for key, value in own.items()
    ]
    assert "finetune:mem_mb=8000" in resources
    result = plan("--quiet", "all", "--set-resources", *resources)
    assert result.returncode == 0, result.stderr


def test_several_processes_for_a_run_are_launched_as_the_profile_says(plan: Plan) -> None:
    launch = "srun --ntasks=4 --kill-on-bad-exit=1"
    done = plan(
        "--printshellcmds", "--set-resources", f"finetune:launch={launch}", "finetune:tasks=4", "finetune:mpi=srun"
    )
    assert done.returncode == 0, done.stderr
    starts = re.findall(r"(?:Shell command:)? *(.*) priorbench finetune ", done.stdout)
    assert set(starts) == {launch}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_says_what_it_is_for(preset: Path) -> None:
    lines = preset.read_text(encoding="utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert len(head) > 40
    assert re.search(r"hours?|GPU|minutes", head), "what it costs"


def test_the_default_experiment_needs_no_option(plan: Plan) -> None:
    assert job_counts(plan("--quiet", "rules")) == expected_counts(load_config(REPOSITORY / "config.yaml"))


@pytest.mark.parametrize("target", ["tables", "figures", "claims"])
def test_targets_can_be_asked_for_by_name(plan: Plan, target: str) -> None:
    counts = job_counts(plan(target, "--quiet", "rules"))
    makers = {"tables": "make_tables", "figures": "make_figures", "claims": "judge_claims"}
    assert {name for name in makers.values() if name in counts} == {makers[target]}


def test_planning_imports_neither_torch_nor_openmm(plan: Plan) -> None:
    result = plan("--quiet", "all", python=("-X", "importtime"))
    assert result.returncode == 0
    imported = set(re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "priorbench.config" in imported
    assert not {name for name in imported if name.split(".")[0] in {"torch", "openmm", "ase"}}


def test_a_preset_replaces_the_default_experiment(plan: Plan, tmp_path: Path) -> None:
    content = small()
    del content["strategies"]
    result = plan("--configfile", write(tmp_path, content))
    assert result.returncode == 1
    assert "strategies: Field required" in result.stderr


def small() -> dict[str, Any]:
    """The smallest preset, which has every kind of strategy and no exception for any backbone."""
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "workflow/presets/ci.yaml").read_text(encoding="utf-8"))
    return copy.deepcopy(content)  # YAML anchors share objects


def changed(path: str, value: Any) -> dict[str, Any]:
    """The smallest preset with one key set (or, for ``...``, removed)."""
    content = json.loads(json.dumps(small()))
    *parents, key = path.split("/")
    section = content
    for name in parents:
        section = section[name]
    if value is ...:
        del section[key]
    else:
        section[key] = value
    return content


def write(folder: Path, content: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


BAD = {
    "unknown key": ("finetuning/training/epoch", 5, ["finetuning.training.epoch", "5"]),
    "unknown option": ("backbones/gns/depth", 5, ["backbones.gns", "'depth'"]),
    "impossible box": ("datasets/water/cutoff", 9, ["datasets.water", "cutoff", "9 Å", "half the box"]),
    "unknown backbone": ("backbones/gns/architecture", "schnet", ["backbones.gns", "'schnet'", "egnn"]),
    "ratio of zero": ("pretraining/mask/ratio", 0, ["pretraining.mask.ratio", "0"]),
    "ratio above one": ("pretraining/mask/ratio", 1.5, ["pretraining.mask.ratio", "1.5"]),
    "missing parent": ("strategies/mask", {"pretraining": "masks"}, ["strategies.mask.pretraining", "'masks'"]),
    "only one seed": ("seeds", [0], ["seeds", "[0]"]),
    "no longer run": ("strategies/longer-steps", ..., ["strategies.denoise", "longer: steps", "'denoise'"]),
    "no scratch run": ("strategies/scratch", ..., ["strategies", "scratch"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_experiment_is_refused_in_one_line(plan: Plan, tmp_path: Path, fault: str) -> None:
    path, value, named = BAD[fault]
    result = plan("--configfile", write(tmp_path, changed(path, value)))
    lines = [line for line in (result.stdout + result.stderr).splitlines() if not NOISE.search(line)]
    assert result.returncode == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert "experiment.yaml" in lines[0]
    assert all(text in lines[0] for text in named), lines[0]


@pytest.mark.parametrize("text", ["seeds: [0, 1\ndevice: }", "- a list", "\x00"])
def test_an_unreadable_experiment_is_refused(plan: Plan, tmp_path: Path, text: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    result = plan("--configfile", path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("text", [None, "seeds: [0, 1\ndevice: }", "- a list"])
def test_make_run_names_the_file_that_it_cannot_read(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "experiment.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    check = [sys.executable, "-m", "priorbench.cli", "check", path]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert str(path) in result.stderr


Run = tuple[str, ...]


def specs(config: Config) -> dict[Run, str]:
    """Everything that decides about a repetition, by run: the rule and its wildcards."""
    found: dict[Run, Any] = {}
    for seed in config.seeds:
        found["split", str(seed)] = runs.split_spec(config, seed)
    for dataset in config.datasets:
        found["data", dataset] = runs.dataset_spec(config, dataset)
        for backbone in config.backbones:
            for seed in config.seeds:
                cell = (config, dataset, backbone)
                for name in config.pretraining:
                    found["pretrain", backbone, name, str(seed)] = runs.pretrain_spec(*cell, name, seed)
                for name in config.strategies:
                    found["finetune", backbone, name, str(seed)] = runs.finetune_spec(*cell, name, seed)
    return {run: json.dumps(spec, sort_keys=True) for run, spec in found.items()}


def is_pretraining(name: str) -> Callable[[Run], bool]:
    return lambda run: run[0] == "pretrain" and run[2] == name


CHANGES: dict[str, tuple[str, Any, Callable[[Run], bool]]] = {
    "ratio": ("pretraining/mask/ratio", 0.25, is_pretraining("mask")),
    "sigma": ("pretraining/denoise/sigma", 0.1, is_pretraining("denoise")),
    "width": ("backbones/gns/width", 24, lambda run: run[0] in ("pretrain", "finetune") and run[1] == "gns"),
    "rate": ("finetuning/training/learning_rate", 2e-3, lambda run: run[0] == "finetune"),
    "per backbone": (
        "finetuning/per_backbone",
        {"egnn": {"learning_rate": 2e-3}},
        lambda run: run[:2] == ("finetune", "egnn"),
    ),
    "pretraining rate": ("pretraining/mask/training/learning_rate", 2e-3, is_pretraining("mask")),
    "split": ("split/max_train", 10, lambda run: run[0] == "split"),
    "molecules": ("datasets/water/molecules", 48, lambda run: run[0] == "data"),
    "device": ("device", "cuda", lambda run: run[0] in ("pretrain", "finetune")),
    "evidence": ("evidence", {"seeds": 5}, lambda _: False),
    "mirror": ("mirror", "elsewhere", lambda _: False),
    "seeds per job": ("seeds_per_job", 1, lambda _: False),
    "a further seed": ("seeds", [0, 1, 7], lambda run: run[-1] == "7"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_key_repeats_the_runs_that_depend_on_it(change: str) -> None:
    path, value, affected = CHANGES[change]
    before = specs(parse_config(small()))
    after = specs(parse_config(changed(path, value)))
    assert {run for run in after if after[run] != before.get(run)} == {run for run in after if affected(run)}
