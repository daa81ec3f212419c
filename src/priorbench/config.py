"""The typed experiment: the only place where strings from a YAML file become objects.

Validation fills every default, refuses unknown keys and impossible values with one line naming key and value, and
never imports torch.  The JSON schema and the key reference in ``docs/config.md`` are generated from these classes.
"""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from priorbench.config_sections import (
    GPU,
    Backbone,
    Dataset,
    Dynamics,
    Evidence,
    Name,
    Role,
    Split,
    Stage,
    Strategy,
    Strict,
    Training,
    Trial,
)
from priorbench.errors import PriorbenchError
from priorbench.options import resolve_options
from priorbench.protocols import backbone_values, task_values, training_values
from priorbench.registry import QUESTIONS
from priorbench.yaml_file import read_yaml, shortened

__all__ = [
    "Backbone", "Config", "Dataset", "Evidence",
    "Role", "Split", "Stage", "Strategy", "Strict", "Training", "Trial",
    "load_config", "parse_config",
]  # fmt: skip


class Config(Strict):
    """One experiment: every dataset × backbone × strategy × seed is a run."""

    experiment: Name = Field(description="name of the experiment; its results go to `results/<experiment>/`")
    question: Name | None = Field(
        None,
        description="a registered question that the experiment answers; its tables and figures go to "
        "`results/<experiment>/<question>/`, its runs are shared with the other questions of the experiment",
    )
    datasets: dict[Name, Dataset] = Field(min_length=1, description="by a name of your choice")
    backbones: dict[Name, Backbone] = Field(min_length=1, description="by a name of your choice")
    pretraining: dict[Name, Stage] = Field(default_factory=dict, description="by a name of your choice")
    pretraining_defaults: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="`training` and `per_backbone` of every pretraining, under what its own entry says",
    )
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
    seeds_at_once: int = Field(
        1,
        ge=1,
        description="of the seeds of one job (`seeds_per_job: all`), so many train side by side, a process each, with "
        "the same results: for networks that do not fill a GPU",
    )
    split: Split = Field(default_factory=Split, description="how groups are divided")
    evidence: Evidence = Field(default_factory=Evidence, description="floor of evidence")
    dynamics: Dynamics | None = Field(
        None,
        description="molecular dynamics with every finetuned network; null: none, unless the target `dynamics` asks",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where networks are trained")
    gpu: GPU = Field(default_factory=GPU, description="how a GPU computes")
    mirror: Path | None = Field(
        None,
        description="folder tried before any download (its layout: `source/file`); PRIORBENCH_MIRROR overrides it",
    )

    @model_validator(mode="before")
    @classmethod
    def _spread_defaults(cls, data: Any) -> Any:
        """Write the defaults of pretrainings into each of them."""
        defaults = data.get("pretraining_defaults") if isinstance(data, Mapping) else None
        entries = data.get("pretraining") if isinstance(data, Mapping) else None
        if not isinstance(defaults, Mapping) or not isinstance(entries, Mapping):
            return data
        unknown = sorted(set(defaults) - {"training", "per_backbone"})
        if unknown:
            raise ValueError(f"pretraining_defaults: unknown key {unknown[0]!r}; known are training, per_backbone")
        spread = {
            name: merged(defaults, entry, depth=-9) if isinstance(entry, Mapping) else entry
            for name, entry in entries.items()
        }
        return {**data, "pretraining": spread}

    @field_validator("question")
    @classmethod
    def _registered(cls, question: str | None) -> str | None:
        if question is not None and question not in QUESTIONS:
            raise ValueError(f"unknown question; known are {', '.join(QUESTIONS)}")
        return question

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed appears twice in {seeds}")
        return seeds

    @model_validator(mode="after")
    def _baselines_are_there(self) -> Self:
        """No comparison without scratch and a longer run that is matched to the very pretraining compared."""
        roles = [s.role for s in self.strategies.values()]
        if roles.count("scratch") != 1:
            raise ValueError(
                f"strategies: exactly one plain scratch strategy is needed, found {roles.count('scratch')}"
            )
        for name, strategy in self.strategies.items():
            unknown = sorted(set(strategy.datasets or []) - set(self.datasets))
            if unknown:
                raise ValueError(f"strategies.{name}.datasets: no dataset named {unknown[0]!r}")
            for parent in strategy.needs:
                if parent not in self.pretraining:
                    key = "matching" if parent == strategy.matching else "pretraining"
                    key = "rescale" if parent == strategy.rescale else key
                    raise ValueError(f"strategies.{name}.{key}: no entry {parent!r} under pretraining")
            for parent in strategy.pretrainings:
                if not self.longer_for(parent):
                    raise ValueError(
                        f"strategies.{name}: no strategy with longer: steps matches pretraining {parent!r}; "
                        "a gain that longer training gives as well is no gain"
                    )
        counts = {
            name: len(strategy.pretrainings or [""]) * len(strategy.learning_rates)
            for name, strategy in self.strategies.items()
        }
        if len(set(counts.values())) > 1:
            few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            raise ValueError(
                f"strategies: {few} has {counts[few]} trials, {many} {counts[many]}; every strategy is tuned as much "
                "as any other, give their lists of pretraining and learning_rate the same number of combinations"
            )
        return self

    @model_validator(mode="after")
    def _stages_are_possible(self) -> Self:
        for section, stage in self._stages():
            unknown = sorted(set(stage.per_backbone) - set(self.backbones))
            if unknown:
                raise ValueError(f"{section}.per_backbone: no backbone named {unknown[0]!r}")
            for backbone in stage.per_backbone:
                try:
                    stage.changed(stage.per_backbone[backbone])
                except ValidationError as error:
                    raise ValueError(f"{section}.per_backbone.{backbone}: {first_line(error)}") from None
            if stage.dataset is not None and stage.dataset not in self.datasets:
                raise ValueError(f"{section}.dataset: no dataset named {stage.dataset!r}")
            if stage.labels is not None and stage.task != "potential":
                raise ValueError(f"{section}.labels: {stage.task!r} reads no energies and forces; use task: potential")
        if self.finetuning.dataset or self.finetuning.labels:
            key = "dataset" if self.finetuning.dataset else "labels"
            raise ValueError(f"finetuning.{key}: belongs to a pretraining; finetuning takes every dataset as it is")
        if self.finetuning.task != "potential":
            raise ValueError(
                f"finetuning.task: {self.finetuning.task!r} does not fit energies and forces; use potential"
            )
        if not self.finetuned_datasets:
            raise ValueError("datasets: all are pretraining_only; nothing is left to finetune on")
        return self

    def _stages(self) -> list[tuple[str, Stage]]:
        """Every stage with its place in the file."""
        return [("finetuning", self.finetuning), *((f"pretraining.{n}", s) for n, s in self.pretraining.items())]

    @property
    def analysis_folder(self) -> str:
        """Where tables, figures and verdicts go, relative to the root."""
        return "/".join(["results", self.experiment, *([self.question] if self.question else [])])

    @property
    def finetuned_datasets(self) -> list[str]:
        """Datasets that strategies are compared on."""
        return [name for name, dataset in self.datasets.items() if not dataset.pretraining_only]

    @property
    def trials(self) -> dict[str, Trial]:
        """Every run of every strategy by its name in paths: that of the strategy, with ``+n`` where it has several."""
        found = {}
        for name, strategy in self.strategies.items():
            starts: list[str | None] = [*strategy.pretrainings] or [None]
            choices = list(itertools.product(starts, strategy.learning_rates))
            for number, (pretraining, rate) in enumerate(choices, 1):
                key = name if len(choices) == 1 else f"{name}+{number}"
                found[key] = Trial(name, number, len(choices), pretraining, rate)
        return found

    def trials_on(self, dataset: str, backbone: str) -> list[str]:
        """The names of the trials of ``backbone`` on ``dataset``; under the released protocol nothing is tuned."""
        tuned = self.backbones[backbone].protocol == "fair"
        return [
            name
            for name, trial in self.trials.items()
            if self.strategies[trial.strategy].runs_on(dataset) and (tuned or trial.number == 1)
        ]

    def pretrainings_on(self, dataset: str, backbone: str) -> list[tuple[str, str]]:
        """Every pretraining that a run of ``backbone`` on ``dataset`` needs, after the dataset that it learns from."""
        trials = [self.trials[name] for name in self.trials_on(dataset, backbone)]
        needed = {
            name
            for trial in trials
            for name in (trial.pretraining, *self.strategies[trial.strategy].references)
            if name is not None
        }
        return sorted((self.pretraining_dataset(name, dataset), name) for name in needed)

    def finetuning_for(self, dataset: str, backbone: str) -> Stage:
        """Finetuning of ``backbone`` on ``dataset``, with all that its protocol and the file change."""
        return self._stage_for("finetune", self.finetuning, dataset, backbone, "finetuning")

    def pretraining_for(self, name: str, dataset: str, backbone: str) -> Stage:
        """The pretraining ``name`` of ``backbone`` on ``dataset``, likewise."""
        return self._stage_for("pretrain", self.pretraining[name], dataset, backbone, f"pretraining.{name}")

    def pretraining_dataset(self, name: str, dataset: str) -> str:
        """The dataset whose structures the pretraining ``name`` learns from before ``dataset`` is finetuned."""
        return self.pretraining[name].dataset or dataset

    def _stage_for(
        self, kind: Literal["pretrain", "finetune"], stage: Stage, dataset: str, backbone: str, where: str
    ) -> Stage:
        protocol, source = self.backbones[backbone].protocol, self.datasets[dataset].source
        values = training_values(protocol, kind) | task_values(protocol, stage.task, source)
        own = stage.per_backbone.get(backbone, {})
        return _resolved_stage(stage.changed(values, own), f"{where}.per_backbone.{backbone}" if own else where)

    def longer_for(self, pretraining: str) -> list[str]:
        """Names of the longer-steps strategies matched to as many steps as ``pretraining`` takes."""

        def budget(stage: str) -> list[tuple[int, int, int | None, str | None]]:
            entry = self.pretraining[stage]
            stages = [entry.changed(entry.per_backbone.get(backbone, {})) for backbone in self.backbones]
            return [(s.training.epochs, s.training.batch_size, s.structures, s.dataset) for s in stages]

        return [
            name
            for name, s in self.strategies.items()
            if s.longer == "steps" and s.matching in self.pretraining and budget(s.matching) == budget(pretraining)
        ]


def load_config(path: Path) -> Config:
    """Read and validate a YAML file; every fault is a one-line :class:`PriorbenchError`."""
    return parse_config(read_yaml(path), str(path))


def extended(data: Mapping[str, Any], where: str, over: tuple[Path, ...] = ()) -> dict[str, Any]:
    """``data`` over the file or files that its key ``extends`` names (relative to ``where``), entry by entry.

    ``over`` are the files that extend this one.  A section's entry that is null (``strategies:
    {denoise: null}``) is taken away.
    """
    if "extends" not in data:
        return dict(data)
    under: dict[str, Any] = {}
    chain = (*over, Path(where).resolve())
    for name in data["extends"] if isinstance(data["extends"], list) else [data["extends"]]:
        if not isinstance(name, str):
            raise PriorbenchError(f"{where}: extends: {shortened(repr(name))} is no name of a file")
        base = Path(where).parent / name
        try:
            itself = base.resolve() in chain
        except (ValueError, OSError):  # a lone half of a pair, a name of megabytes
            raise PriorbenchError(f"{where}: extends: {shortened(ascii(name))} is no name of a file") from None
        if itself:
            raise PriorbenchError(f"extends: {name} extends itself; take it out")
        under = merged(under, extended(read_yaml(base), str(base), chain), depth=0)
    return merged(under, {key: value for key, value in data.items() if key != "extends"}, depth=0)


def merged(under: Mapping[str, Any], over: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """``over`` laid over ``under``, mapping by mapping; at depth 1 (the entries of a section) null takes away."""
    result = dict(under)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value, depth + 1)
        elif value is None and depth == 1:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def parse_config(data: Any, where: str = "config") -> Config:
    """Validate ``data`` (as read from YAML) and return it with every default and plug-in option filled in."""
    if not isinstance(data, Mapping):
        raise PriorbenchError(f"{where}: a mapping of keys is expected, found {type(data).__name__}")
    try:
        config = Config.model_validate(extended(data, where))
        return config.model_copy(update=_resolved_sections(config))
    except ValidationError as error:
        raise PriorbenchError(f"{where}: {first_line(error)}") from None
    except PriorbenchError as error:
        raise PriorbenchError(f"{where}: {error}") from None


def _resolved_sections(config: Config) -> dict[str, Any]:
    datasets = {
        name: d.model_copy(update={"options": resolve_options("dataset", d.source, d.options, f"datasets.{name}")})
        for name, d in config.datasets.items()
    }
    backbones = {name: _resolved_backbone(b, f"backbones.{name}") for name, b in config.backbones.items()}
    pretraining = {name: _resolved_stage(s, f"pretraining.{name}") for name, s in config.pretraining.items()}
    for stage in config.pretraining.values():
        if stage.labels is not None:
            resolve_options("labels", stage.labels, {}, "pretraining.labels")
    resolved = config.model_copy(update={"datasets": datasets, "backbones": backbones})
    for dataset, backbone in itertools.product(config.datasets, config.backbones):
        resolved.finetuning_for(dataset, backbone)
        for name in config.pretraining:
            resolved.pretraining_for(name, dataset, backbone)
    return {
        "datasets": datasets,
        "backbones": backbones,
        "pretraining": pretraining,
        "finetuning": _resolved_stage(config.finetuning, "finetuning"),
    }


def _resolved_backbone(entry: Backbone, where: str) -> Backbone:
    """The options of the protocol under those of the file, and defaults under both."""
    released = backbone_values(entry.protocol, entry.architecture)
    if released is None:
        raise PriorbenchError(f"{where}.protocol: {entry.architecture!r} has no released form; use protocol: fair")
    options = resolve_options("backbone", entry.architecture, {**released, **entry.options}, where)
    return entry.model_copy(update={"options": options})


def _resolved_stage(stage: Stage, where: str) -> Stage:
    return stage.model_copy(update={"options": resolve_options("task", stage.task, stage.options, where)})


def first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = re.sub(r"^Value error, ", "", first["msg"])
    given = "" if isinstance(first["input"], Mapping | BaseModel) else f" (given {shortened(repr(first['input']))})"
    return f"{where}: {message}{given}" if where else message
