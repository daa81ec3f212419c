"""The typed experiment: the only place where strings from a YAML file become objects.

Validation fills every default, refuses unknown keys and impossible values with one line naming key and value, and
never imports torch.  The JSON schema and the key reference in ``docs/config.md`` are generated from these classes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from priorbench.errors import PriorbenchError
from priorbench.options import resolve_options

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="used in paths")]


class Strict(BaseModel):
    """Base of every section: unknown keys are errors, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Training(Strict):
    """How a network is optimised: explicit loop, half-cosine schedule per step."""

    epochs: int = Field(ge=1, description="passes over the training structures")
    batch_size: int = Field(8, ge=1, description="structures per optimiser step")
    optimiser: Literal["adam", "adamw"] = Field("adamw", description="Adam or AdamW (decoupled weight decay)")
    learning_rate: float = Field(1e-3, gt=0, description="at the first step")
    final_learning_rate: float = Field(1e-5, ge=0, description="at the last step, reached along a half cosine")
    weight_decay: float = Field(1e-4, ge=0, description="as the optimiser defines it")
    gradient_clip: float | None = Field(
        10.0, gt=0, description="largest 2-norm of the gradient, beyond which it is scaled down; null: never"
    )
    checkpoint: Literal["best", "last"] = Field(
        "best",
        description="whose weights are kept: that of the lowest validation loss (in finetuning force RMSE) or the last",
    )


class Stage(Strict):
    """A task with its options (flat beside these keys) and its training."""

    task: str = Field(description="name of a registered task")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the task, written flat in the YAML")
    training: Training
    per_backbone: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="training keys that differ for a backbone, by its name"
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"task", "training", "per_backbone"})

    def training_for(self, backbone: str) -> Training:
        """The training with the overrides for ``backbone``."""
        return Training(**{**self.training.model_dump(), **self.per_backbone.get(backbone, {})})


class Backbone(Strict):
    """A registered architecture with its options (flat beside this key)."""

    architecture: str = Field(description="name of a registered backbone")
    options: dict[str, Any] = Field(default_factory=dict, description="its options, written flat in the YAML")

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"architecture"})

    @property
    def cutoff(self) -> float:
        """Neighbour cutoff in Å."""
        return float(self.options["cutoff"])


class Dataset(Strict):
    """A registered source with its options (flat beside this key)."""

    source: str = Field(description="name of a registered dataset source")
    options: dict[str, Any] = Field(default_factory=dict, description="its options, written flat in the YAML")

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"source"})


class Strategy(Strict):
    """One way to spend a training budget before the test: from scratch, longer, or after a pretraining."""

    pretraining: str | None = Field(None, description="entry of `pretraining` whose weights finetuning starts from")
    longer: Literal["steps", "compute"] | None = Field(
        None,
        description="train from scratch for as many further optimiser steps (or counted FLOPs) as `matching` spends",
    )
    matching: str | None = Field(None, description="entry of `pretraining` that a longer run is matched to")

    @property
    def role(self) -> str:
        """One of scratch, longer-steps, longer-compute, pretrained."""
        if self.pretraining:
            return "pretrained"
        return f"longer-{self.longer}" if self.longer else "scratch"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pretraining and self.longer:
            raise ValueError("pretraining and longer exclude each other")
        if (self.longer is None) != (self.matching is None):
            raise ValueError("longer and matching belong together")
        return self


class Split(Strict):
    """Whole groups (blocks of a trajectory, near-duplicates) go to one side; the rest of the fractions is the test set.

    Where the source assigns official sides, its test set is kept as it is, and its training set is divided in the
    proportion of the two fractions.
    """

    train: float = Field(0.8, gt=0, lt=1, description="fraction of the structures, in whole groups")
    validation: float = Field(0.1, gt=0, lt=1, description="fraction of the structures, in whole groups")
    separation: float | None = Field(
        None,
        ge=0,
        description="Å: validation and test structures nearer than this (root mean square) to a training one, test "
        "also to a validation one, are left out and counted; official sides are only counted; 0: none are left out; "
        "null: what the source takes for near-duplicates, 0.1 over the heavy atoms of water, else 0.02 over all atoms",
    )
    max_train: int | None = Field(None, ge=1, description="keep at most so many training structures (drawn by seed)")
    max_validation: int | None = Field(None, ge=1, description="keep at most so many validation structures")
    max_test: int | None = Field(None, ge=1, description="keep at most so many test structures")
    resample: bool = Field(
        True, description="true: every seed draws its own split (the same for all strategies); false: one split for all"
    )

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError(f"train + validation = {self.train + self.validation:g} leaves no test set")
        return self


class Evidence(Strict):
    """Below this floor a verdict is printed as a smoke test, not as evidence."""

    structure_steps: int = Field(10_000, ge=1, description="least number of structures visited while finetuning")
    seeds: int = Field(3, ge=2, description="least number of seeds")


class Config(Strict):
    """One experiment: every dataset × backbone × strategy × seed is a run."""

    experiment: Name = Field(description="name of the experiment; its results go to `results/<experiment>/`")
    datasets: dict[Name, Dataset] = Field(min_length=1, description="by a name of your choice")
    backbones: dict[Name, Backbone] = Field(min_length=1, description="by a name of your choice")
    pretraining: dict[Name, Stage] = Field(default_factory=dict, description="by a name of your choice")
    finetuning: Stage = Field(description="fitting of energies and forces, the same for every strategy")
    strategies: dict[Name, Strategy] = Field(min_length=1, description="by a name of your choice")
    seeds: list[Annotated[int, Field(ge=0, lt=2**24)]] = Field(
        min_length=2, description="one run of everything for each"
    )
    seeds_per_job: Literal[1, "all"] = Field(
        1,
        description="seeds that one training job takes, one after the other, with the same results: 1, or all of a "
        "dataset, backbone and strategy, which starts fewer programs; but then an added seed repeats the others, and "
        "so does a change of this key",
    )
    split: Split = Field(default_factory=Split, description="how groups are divided")
    evidence: Evidence = Field(default_factory=Evidence, description="floor of evidence")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where networks are trained")
    mirror: Path | None = Field(
        None,
        description="folder tried before any download (its layout: `source/file`); PRIORBENCH_MIRROR overrides it",
    )

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed appears twice in {seeds}")
        return seeds

    @model_validator(mode="after")
    def _baselines_are_there(self) -> Self:
        """No comparison without scratch and a longer run that is matched to the very pretraining compared."""
        for section, stage in [("finetuning", self.finetuning), *self.pretraining.items()]:
            unknown = sorted(set(stage.per_backbone) - set(self.backbones))
            if unknown:
                raise ValueError(f"{section}.per_backbone: no backbone named {unknown[0]!r}")
            for backbone in stage.per_backbone:
                try:
                    stage.training_for(backbone)
                except ValidationError as error:
                    raise ValueError(f"{section}.per_backbone.{backbone}: {_first_line(error)}") from None
        roles = [s.role for s in self.strategies.values()]
        if roles.count("scratch") != 1:
            raise ValueError(
                f"strategies: exactly one plain scratch strategy is needed, found {roles.count('scratch')}"
            )
        for name, strategy in self.strategies.items():
            for key in ("pretraining", "matching"):
                parent = getattr(strategy, key)
                if parent is not None and parent not in self.pretraining:
                    raise ValueError(f"strategies.{name}.{key}: no entry {parent!r} under pretraining")
            if strategy.pretraining and not self.longer_for(strategy.pretraining):
                raise ValueError(
                    f"strategies.{name}: no strategy with longer: steps matches pretraining {strategy.pretraining!r}; "
                    "a gain that longer training gives as well is no gain"
                )
        if self.finetuning.task != "potential":
            raise ValueError(
                f"finetuning.task: {self.finetuning.task!r} does not fit energies and forces; use potential"
            )
        return self

    def longer_for(self, pretraining: str) -> list[str]:
        """Names of the longer-steps strategies matched to as many steps as ``pretraining`` takes."""

        def budget(stage: str) -> list[tuple[int, int]]:
            trainings = [self.pretraining[stage].training_for(backbone) for backbone in self.backbones]
            return [(training.epochs, training.batch_size) for training in trainings]

        return [
            name
            for name, s in self.strategies.items()
            if s.longer == "steps" and s.matching in self.pretraining and budget(s.matching) == budget(pretraining)
        ]


def load_config(path: Path) -> Config:
    """Read and validate a YAML file; every fault is a one-line :class:`PriorbenchError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such configuration file") from None
    except (OSError, yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise PriorbenchError(f"{path}: not readable as YAML: {problem}") from None
    return parse_config(data, str(path))


def parse_config(data: Any, where: str = "config") -> Config:
    """Validate ``data`` (as read from YAML) and return it with every default and plug-in option filled in."""
    if not isinstance(data, Mapping):
        raise PriorbenchError(f"{where}: a mapping of keys is expected, found {type(data).__name__}")
    try:
        config = Config.model_validate(dict(data))
        return config.model_copy(update=_resolved_sections(config))
    except ValidationError as error:
        raise PriorbenchError(f"{where}: {_first_line(error)}") from None
    except PriorbenchError as error:
        raise PriorbenchError(f"{where}: {error}") from None


def _resolved_sections(config: Config) -> dict[str, Any]:
    datasets = {
        name: d.model_copy(update={"options": resolve_options("dataset", d.source, d.options, f"datasets.{name}")})
        for name, d in config.datasets.items()
    }
    backbones = {
        name: b.model_copy(
            update={"options": resolve_options("backbone", b.architecture, b.options, f"backbones.{name}")}
        )
        for name, b in config.backbones.items()
    }
    pretraining = {name: _resolved_stage(s, f"pretraining.{name}") for name, s in config.pretraining.items()}
    return {
        "datasets": datasets,
        "backbones": backbones,
        "pretraining": pretraining,
        "finetuning": _resolved_stage(config.finetuning, "finetuning"),
    }


def _resolved_stage(stage: Stage, where: str) -> Stage:
    return stage.model_copy(update={"options": resolve_options("task", stage.task, stage.options, where)})


def _collect_options(data: Any, own: set[str]) -> Any:
    """Move the keys that are not the section's ``own`` under ``options``."""
    if not isinstance(data, Mapping) or "options" in data:
        return data
    return {
        **{key: value for key, value in data.items() if key in own},
        "options": {key: value for key, value in data.items() if key not in own},
    }


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = re.sub(r"^Value error, ", "", first["msg"])
    given = "" if isinstance(first["input"], Mapping | BaseModel) else f" (given {first['input']!r})"
    return f"{where}: {message}{given}" if where else message
