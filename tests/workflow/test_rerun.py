"""Which jobs a change repeats: every key of the configuration, the data, the code; what depends on it, nothing else."""

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from priorbench.config import Config, parse_config
from priorbench.errors import PriorbenchError

REPOSITORY = Path(__file__).parents[2]

# What is made from the runs.  Details of every backbone: which trial was chosen is read from the table of all trials.
AFTER_RUNS = [
    *("collect", "statistics", "make_tables", "make_figures", "judge_claims", "report"),
    *("details *", "collect_details", "draw_details"),
]
TRAININGS = ["pretrain *", "finetune *", *AFTER_RUNS]
AFTER_SPLITS = ["card *", *TRAININGS]
AFTER_FRAMES = ["split *", "neighbours *", *AFTER_SPLITS]
AFTER_PARTS = ["convert *", "checks *", *AFTER_FRAMES]
GNS = ["pretrain */gns/*", "finetune */gns/*", *AFTER_RUNS]
FINETUNED = ["finetune *", *AFTER_RUNS]
MASK = [
    "pretrain */mask/*",
    "finetune */mask/*",
    "finetune */longer-mask/*",
    *AFTER_RUNS,
]  # longer by what masking has spent
OWN = ["acquire own/*", "convert own", "split own/*", "neighbours own/*", "card own", "finetune own/*", *AFTER_RUNS]
SIMULATED = ["simulate *", "collect_dynamics", "draw_dynamics", "report"]
LABELLED = ["finetune */labels/*", "finetune */longer/*", "finetune */heads/*", *AFTER_RUNS, *SIMULATED]
JUDGED = ["make_tables", "judge_claims", "report"]
NOTHING: list[str] = []

TRAINING = {"epochs": 2, "batch_size": 4}
WATER = {"source": "tip3p", "molecules": 32, "trajectories": 3, "frames": 4, "equilibration_ps": 2, "smoke": True}
#: Two backbones and two pretrainings, each with a longer run to match; a job takes all seeds.
BOTH = {
    "experiment": "x",
    "seeds": [0, 1],
    "seeds_per_job": "all",
    "datasets": {"water": WATER},
    "backbones": {
        "egnn": {"architecture": "egnn", "cutoff": 3.5, "layers": 1, "width": 8},
        "gns": {"architecture": "gns", "cutoff": 3.5, "layers": 1, "width": 8},
    },
    "pretraining": {
        "mask": {"task": "masking", "training": TRAINING},
        "denoise": {"task": "denoising", "training": TRAINING},
    },
    "finetuning": {"task": "potential", "training": TRAINING},
    "strategies": {
        "scratch": {},
        "longer-mask": {"longer": "steps", "matching": "mask"},
        "longer-denoise": {"longer": "steps", "matching": "denoise"},
        "mask": {"pretraining": "mask"},
        "denoise": {"pretraining": "denoise"},
    },
}
#: Two datasets, one of them the user's file, a pretraining on the other's, dynamics; a job takes one seed.
TWO = {
    "experiment": "x",
    "seeds": [0, 1, 2],
    "datasets": {"water": WATER, "own": {"source": "extxyz", "path": "own.xyz"}},
    "backbones": {"egnn": {"architecture": "egnn", "cutoff": 3.5, "layers": 1, "width": 8}},
    "pretraining": {
        "labels": {"task": "potential", "labels": "flexible_tip3p", "dataset": "water", "training": TRAINING}
    },
    "finetuning": {"task": "potential", "training": TRAINING},
    "strategies": {
        "scratch": {},
        "longer": {"longer": "steps", "matching": "labels"},
        "labels": {"pretraining": "labels"},
        "heads": {"rescale": "labels"},
    },
    "dynamics": {"nvt_ps": 1.0},
}
BASES = {"both": BOTH, "two": TWO}


@dataclass(frozen=True)
class Change:
    """Values by the places where they are set, and patterns of the jobs that depend on them; None: it is refused."""

    values: dict[str, Any]
    repeats: list[str] | None
    base: str = "both"
    like: str = ""  # an entry that changes the same specs

    def applied(self) -> dict[str, Any]:
        """The configuration after it."""
        content = json.loads(json.dumps(BASES[self.base]))  # nothing shared
        for path, value in self.values.items():
            *parents, key = path.split("/")
            section: Any = content
            for name in parents:
                section = section.setdefault(name, {})
            if value is ...:
                del section[key]
            else:
                section[key] = value
        return content


def of_training(path: str, patterns: list[str]) -> dict[str, Change]:
    values = {
        "epochs": 3, "batch_size": 2, "optimiser": "adam", "learning_rate": 2e-3, "final_learning_rate": 2e-5,
        "weight_decay": 1e-3, "gradient_clip": None, "checkpoint": "last",
    }  # fmt: skip
    return {
        f"{path}/{key}": Change({f"{path}/{key}": v}, patterns, like=f"{path}/epochs" if key != "epochs" else "")
        for key, v in values.items()
    }


#: Every key of the configuration, `*` for a name of the user's choice; options of plug-ins stand under `options`.
KEYS: dict[str, Change] = {
    "experiment": Change({"experiment": "y"}, ["*"]),
    "question": Change({"question": "q2"}, [*(p for p in AFTER_RUNS if p != "judge_claims"), "answer"]),
    "datasets/*/source": Change(
        {"datasets/water": {"source": "droplet", "molecules": 8, "droplets": 3}},
        ["acquire *", "convert *", *AFTER_FRAMES],
    ),
    "datasets/*/pretraining_only": Change({"datasets/water/pretraining_only": True}, [*AFTER_RUNS, *SIMULATED], "two"),
    "datasets/*/options": Change({"datasets/water/molecules": 48}, ["acquire *", *AFTER_PARTS]),
    "backbones/*/architecture": Change({"backbones/gns/architecture": "painn"}, GNS),
    "backbones/*/protocol": Change({"backbones/gns/protocol": "released"}, GNS),
    "backbones/*/options": Change({"backbones/gns/width": 16}, GNS),
    "pretraining/*/task": Change({"pretraining/mask/task": "masking_denoising"}, MASK),
    "pretraining/*/options": Change({"pretraining/mask/ratio": 0.25}, MASK),
    **of_training("pretraining/mask/training", MASK),
    "pretraining/*/structures": Change({"pretraining/mask/structures": 2}, MASK),
    "pretraining/*/dataset": Change(
        {"pretraining/labels/dataset": "own"},
        ["pretrain own/*", "relabel own", *LABELLED],
        "two",
    ),
    "pretraining/*/labels": Change(
        {"pretraining/labels/labels": ...},
        ["pretrain *", *LABELLED],
        "two",
    ),
    "pretraining/*/per_backbone": Change(
        {"pretraining/mask/per_backbone": {"gns": {"learning_rate": 2e-3}}},
        ["pretrain */gns/mask/*", "finetune */gns/mask/*", "finetune */gns/longer-mask/*", *AFTER_RUNS],
    ),
    "pretraining_defaults": Change(
        {"pretraining_defaults": {"training": {"weight_decay": 1e-3}}},
        ["pretrain *", "finetune *mask/*", "finetune *denoise/*", *AFTER_RUNS],
    ),
    "finetuning/task": Change({"finetuning/task": "denoising"}, None),
    "finetuning/dataset": Change({"finetuning/dataset": "water"}, None),
    "finetuning/labels": Change({"finetuning/labels": "flexible_tip3p"}, None),
    "finetuning/options": Change({"finetuning/force_weight": 100.0}, FINETUNED),
    **of_training("finetuning/training", FINETUNED),
    "finetuning/structures": Change({"finetuning/structures": 2}, FINETUNED),
    "finetuning/per_backbone": Change(
        {"finetuning/per_backbone": {"gns": {"epochs": 3}}}, ["finetune */gns/*", *AFTER_RUNS]
    ),
    "strategies/*/pretraining": Change({"strategies/mask/pretraining": "denoise"}, ["finetune */mask/*", *AFTER_RUNS]),
    "strategies/*/learning_rate": Change({"strategies/mask/learning_rate": 2e-3}, ["finetune */mask/*", *AFTER_RUNS]),
    "strategies/*/longer": Change(
        {"strategies/further": {"longer": "steps", "matching": "mask"}, "strategies/longer-mask/longer": "compute"},
        ["finetune */longer-mask/*", "finetune */further/*", *AFTER_RUNS],
    ),
    "strategies/*/matching": Change(
        {"strategies/longer-mask/matching": "denoise"}, ["finetune */longer-mask/*", *AFTER_RUNS]
    ),
    "strategies/*/times": Change(
        {"strategies/further": {"longer": "steps", "times": 2.0}}, ["finetune */further/*", *AFTER_RUNS]
    ),
    "strategies/*/transfer": Change({"strategies/mask/transfer": "body"}, ["finetune */mask/*", *AFTER_RUNS]),
    "strategies/*/rescale": Change({"strategies/further": {"rescale": "mask"}}, ["finetune */further/*", *AFTER_RUNS]),
    "strategies/*/variant": Change({"strategies/mask/variant": True}, ["finetune */mask/*", *AFTER_RUNS]),
    "strategies/*/datasets": Change(
        {"strategies/heads/datasets": ["own"]}, [*AFTER_RUNS, *SIMULATED], "two"
    ),
    "seeds": Change(
        {"seeds": [0, 1, 2, 7]},
        ["split */seed7", "card *", "pretrain */seed7", "finetune */seed7", *AFTER_RUNS, *SIMULATED],
        "two",
    ),
    "seeds_per_job": Change({"seeds_per_job": 1}, TRAININGS),
    "seeds_at_once": Change({"seeds_at_once": 2}, NOTHING),
    **{
        f"split/{key}": Change(
            {f"split/{key}": value}, ["split *", *AFTER_SPLITS], like="split/train" if key != "train" else ""
        )
        for key, value in {
            "train": 0.7, "validation": 0.15, "separation": 0.0, "max_train": 5, "max_validation": 2, "max_test": 2,
        }.items()
    },
    "split/resample": Change({"split/resample": False}, ["split */seed1", *AFTER_SPLITS]),  # by the draw of seed 0
    "evidence/structure_steps": Change({"evidence/structure_steps": 5}, JUDGED),
    "evidence/seeds": Change({"evidence/seeds": 2}, JUDGED, like="evidence/structure_steps"),
    **{
        f"dynamics/{key}": Change(
            {f"dynamics/{key}": value}, SIMULATED, "two", like="dynamics/nvt_ps" if key != "nvt_ps" else ""
        )
        for key, value in {
            "temperature": 310.0, "timestep_fs": 0.25, "nve_ps": 2.0, "nvt_ps": 2.0, "friction_per_ps": 2.0,
        }.items()
    },
    "device": Change({"device": "cuda"}, TRAININGS),
    # How a GPU computes is no part of a run on a CPU; of one on a GPU it is (test_runs.py).
    **{
        f"gpu/{key}": Change({f"gpu/{key}": value}, NOTHING)
        for key, value in {"graphs": False, "compile": True, "deterministic": False, "tf32": True}.items()
    },
    "mirror": Change({"mirror": "elsewhere"}, NOTHING),
}  # fmt: skip

#: Changes that are no new value of a key.
OTHERS: dict[str, Change] = {
    "a seed less": Change(
        {"seeds": [0, 1]}, ["card *", *AFTER_RUNS, "collect_dynamics", "draw_dynamics", "simulate *"], "two"
    ),
    "a strategy less": Change({"strategies/denoise": ...}, AFTER_RUNS),
    "a backbone less": Change({"backbones/gns": ...}, AFTER_RUNS),
    "another cutoff": Change({"backbones/gns/cutoff": 3.25}, ["neighbours water/3.25", *GNS]),
    "one more trajectory": Change({"datasets/water/trajectories": 4}, ["acquire water/trajectory3", *AFTER_PARTS]),
    "other groups": Change({"datasets/water/groups": "blocks"}, AFTER_PARTS),
    "another file": Change({"datasets/own/path": "other.xyz"}, [*OWN, *SIMULATED], "two"),
    "another nearness": Change({"datasets/own/distance": 0.1}, [*OWN[1:], *SIMULATED], "two"),
    "no dynamics": Change({"dynamics": ...}, ["report"], "two"),
}

#: Files that are changed, relative to the experiment.
DATA: dict[str, tuple[str, str, list[str]]] = {
    "the user's file": ("two", "own.xyz", [*OWN, *SIMULATED]),
    "a trajectory": ("both", "results/x/data/water/raw/trajectory0.npz", AFTER_PARTS),
    "frames": ("both", "results/x/data/water/frames.safetensors", AFTER_FRAMES),
    "neighbours": ("both", "results/x/data/water/neighbours-3.5.safetensors", TRAININGS),
    "a split": ("both", "results/x/data/water/split-seed1.json", AFTER_SPLITS),
    "pretrained weights": (
        "both", "results/x/pretrained/water/gns/mask/seed0/model.safetensors", ["finetune */gns/mask/*", *AFTER_RUNS],
    ),
    "a test": ("both", "results/x/runs/water/gns/mask/seed0/test.json", AFTER_RUNS),
    "a table": ("both", "results/x/details.csv", ["draw_details", "report"]),
}  # fmt: skip

#: Outputs that are deleted: results come back, data where something reads them again.
DELETED: dict[str, tuple[str, str, list[str]]] = {
    "weights": (
        "both", "results/x/runs/water/gns/mask/seed0/model.safetensors", ["finetune */gns/mask/*", *AFTER_RUNS],
    ),
    "the record of a pretraining": (
        "both", "results/x/pretrained/water/gns/mask/seed1/run.json",
        ["pretrain */gns/mask/*", "finetune */gns/mask/*", "finetune */gns/longer-mask/*", *AFTER_RUNS],
    ),
    "statistics": (
        "both", "results/x/statistics.json",
        ["statistics", "make_tables", "make_figures", "judge_claims", "draw_details", "report"],
    ),
    "details of a backbone": (
        "both", "results/x/details/water/gns.json", ["details */gns", "collect_details", "draw_details", "report"],
    ),
    "a simulation": (
        "two", "results/x/dynamics/water/egnn/scratch/seed1.json",
        ["simulate water/*/scratch/seed1", "collect_dynamics", "draw_dynamics", "report"],
    ),
    "the trajectory of frames that are there": ("both", "results/x/data/water/raw/trajectory1.npz", NOTHING),
}  # fmt: skip

#: Modules that are changed, relative to the package.
CODE: dict[str, list[str]] = {
    "datasets/tip3p_simulation.py": ["acquire *", *AFTER_PARTS],
    "datasets/plausibility.py": ["convert *", *AFTER_FRAMES],
    "datasets/validity.py": ["convert *", *AFTER_FRAMES],
    "datasets/card_page.py": ["card *", "report"],
    "datasets/extxyz_file.py": NOTHING,  # no such dataset here
    "splits.py": ["split *", *AFTER_SPLITS],
    "backbones/gns.py": GNS,
    "backbones/painn.py": NOTHING,
    "kernels/gns.py": GNS,
    "kernels/c/gns.c": GNS,
    "kernels/c/common.h": TRAININGS,
    "tasks/masking.py": MASK,
    "tasks/potential.py": FINETUNED,
    "training/loop.py": TRAININGS,
    "evaluation/errors.py": TRAININGS,  # one program trains and tests
    "evaluation/details.py": ["details *", "collect_details", "draw_details", "report"],
    "evaluation/details_table.py": ["details *", "collect_details", "draw_details", "report"],
    "analysis/collect.py": AFTER_RUNS,
    "analysis/intervals.py": ["statistics", "make_tables", "make_figures", "judge_claims", "draw_details", "report"],
    "analysis/tables.py": ["make_tables", "report"],
    "analysis/claims.py": ["judge_claims", "report"],
    "analysis/details_figure.py": ["draw_details", "report"],
    "potential/dynamics.py": NOTHING,
    "questions/scan.py": NOTHING,
    "report/leaderboard.py": ["report"],
    "report/page.py": ["report"],
    "report/assets/style.css": ["report"],
    **dict.fromkeys(["cli.py", "config.py", "errors.py", "status.py", "plan/command.py", "bench/cells.py"], NOTHING),
}

#: Changes that no other stands for; the rest is planned by ``make check-long``.
PLANNED = [name for name, change in (KEYS | OTHERS).items() if change.repeats is not None and not change.like] + [
    *DATA,
    *DELETED,
    "datasets/tip3p_simulation.py",
    "datasets/card_page.py",
    "backbones/gns.py",
    "kernels/c/gns.c",
    "cli.py",
]
PLANNED += ["tasks/masking.py", "training/loop.py", "evaluation/details.py", "analysis/tables.py", "report/page.py"]

Plan = Mapping[str, bool]  # by job, whether it would run


def request(base: str, folder: Path, only: Container[str]) -> dict[str, Any]:
    """What ``pending.py`` is asked: the changes of a base that are in ``only``."""
    (folder / "own.xyz").write_text("structures")
    shutil.copy(folder / "own.xyz", folder / "other.xyz")
    package = folder / "package/priorbench"
    shutil.copytree(REPOSITORY / "src/priorbench", package)
    changes: dict[str, dict[str, Any]] = {
        name: {"config": change.applied()}
        for name, change in (KEYS | OTHERS).items()
        if change.base == base and change.repeats is not None
    }
    changes |= {name: {"file": file, "text": "more"} for name, (of, file, _) in DATA.items() if of == base}
    changes |= {name: {"file": file} for name, (of, file, _) in DELETED.items() if of == base}
    if base == "both":
        changes |= {name: {"file": str(package / name), "text": "\n"} for name in CODE}
    changes = {name: change for name, change in changes.items() if name in only}
    return {
        "snakefile": str(REPOSITORY / "Snakefile"),
        "folder": str(folder),
        "config": BASES[base],
        "changes": changes,
    }


def plans_after(only: Container[str], root: Path) -> dict[str, Plan]:
    """What Snakemake plans after each change of an experiment that is finished; by its base: after none."""
    found: dict[str, Plan] = {}
    for base in BASES:
        (root / base).mkdir()
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("pending.py")],
            input=json.dumps(request(base, root / base, only)),
            env={**os.environ, "PYTHONPATH": str(root / base / "package")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found |= {name or base: jobs(rows) for name, rows in json.loads(done.stdout).items()}
    return found


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    return plans_after(PLANNED, tmp_path_factory.mktemp("plans"))


def jobs(rows: list[tuple[str, str, bool]]) -> Plan:
    """By the name of each job; that of several seeds has several."""
    found: dict[str, set[bool]] = {}
    for rule, file, pending in rows:
        found.setdefault(job(rule, file), set()).add(pending)
    assert {name: states for name, states in found.items() if len(states) > 1} == {}
    return {name: states.pop() for name, states in found.items()}


def job(rule: str, file: str) -> str:
    """The rule, and what tells its jobs apart."""
    place = Path(file).relative_to("results")
    within = Path(*place.parts[1:])  # the experiment
    if rule in ("pretrain", "finetune"):
        return f"{rule} {'/'.join(within.parts[1:-1])}"
    if rule in ("details", "simulate"):
        return f"{rule} {'/'.join(within.with_suffix('').parts[1:])}"
    if rule in ("acquire", "split", "neighbours"):
        return f"{rule} {within.parts[1]}/{within.stem.removeprefix(f'{rule}-')}"
    return f"{rule} {within.parts[1]}" if within.parts[0] == "data" else rule


def expected(plan: Plan, patterns: list[str]) -> list[str]:
    """The jobs of the plan that the patterns match, each of which must match some."""
    assert [pattern for pattern in patterns if not fnmatch.filter(plan, pattern)] == []
    return sorted({name for pattern in patterns for name in fnmatch.filter(plan, pattern)})


def repeated(plan: Plan) -> list[str]:
    return sorted(name for name, pending in plan.items() if pending)


@pytest.mark.parametrize("base", BASES)
def test_nothing_is_repeated_without_a_change(plans: dict[str, Plan], base: str) -> None:
    assert len(plans[base]) > 30
    assert repeated(plans[base]) == []


@pytest.mark.parametrize("name", [name for name in KEYS | OTHERS if name in PLANNED])
def test_a_changed_key_repeats_what_depends_on_it_and_nothing_else(plans: dict[str, Plan], name: str) -> None:
    assert repeated(plans[name]) == expected(plans[name], (KEYS | OTHERS)[name].repeats or [])


@pytest.mark.parametrize("name", DATA)
def test_changed_data_repeat_what_is_made_from_them_and_nothing_else(plans: dict[str, Plan], name: str) -> None:
    assert repeated(plans[name]) == expected(plans[name], DATA[name][2])


@pytest.mark.parametrize("name", DELETED)
def test_deleted_results_are_made_again_and_what_is_made_from_them(plans: dict[str, Plan], name: str) -> None:
    assert repeated(plans[name]) == expected(plans[name], DELETED[name][2])


@pytest.mark.parametrize("name", [name for name in CODE if name in PLANNED])
def test_a_changed_module_repeats_what_runs_through_it_and_nothing_else(plans: dict[str, Plan], name: str) -> None:
    assert repeated(plans[name]) == expected(plans[name], CODE[name])


def keys_of(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """Every key below a section of the configuration."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in flattened(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        many = typing.get_origin(field.annotation) is dict and inner
        if inner:
            yield from keys_of(inner[0], f"{place}{name}/*/" if many else f"{place}{name}/")
        else:
            yield f"{place}{name}"


def flattened(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, types.UnionType) or typing.get_args(annotation):
        for inner in typing.get_args(annotation):
            yield from flattened(inner)
    else:
        yield annotation


def test_every_key_of_the_configuration_has_an_entry() -> None:
    entries = {key.replace("pretraining/mask/", "pretraining/*/") for key in KEYS}
    assert sorted(keys_of(Config)) == sorted(entries)


@pytest.mark.parametrize("name", [name for name, change in KEYS.items() if change.repeats is None])
def test_a_key_without_a_meaning_is_refused(name: str) -> None:
    with pytest.raises(PriorbenchError, match=name.replace("/", ".")):
        parse_config(KEYS[name].applied())
