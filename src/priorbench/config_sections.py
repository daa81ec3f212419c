"""The sections of an experiment's file as types; :mod:`priorbench.config` puts them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from priorbench.protocols import Protocol

Role = Literal["scratch", "longer-steps", "longer-compute", "pretrained", "variant"]
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


class GPU(Strict):
    """How a GPU computes; nothing of it matters on a CPU."""

    graphs: bool = Field(
        True, description="launch a step as one CUDA graph, in static shapes; false: operation by operation"
    )
    compile: bool = Field(
        False, description="let torch.compile fuse a step's operations: minutes at the start, so for long runs alone"
    )
    deterministic: bool = Field(
        True,
        description="the same bytes every time; false: sums in whatever order is fastest, the same but for rounding",
    )
    tf32: bool = Field(
        False, description="matrix products of numbers rounded to 10 bits: faster, and not what a CPU computes"
    )


class Stage(Strict):
    """A task with its options (flat beside these keys) and its training."""

    task: str = Field(description="name of a registered task")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the task, written flat in the YAML")
    training: Training
    structures: int | None = Field(
        None, ge=1, description="use only so many of the training structures (drawn by seed; fewer are among more)"
    )
    dataset: str | None = Field(
        None, description="of a pretraining: learn from the training structures of this dataset, not the finetuned one"
    )
    labels: str | None = Field(
        None, description="of a pretraining on energies and forces: a registered way to label the same structures anew"
    )
    per_backbone: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="by the name of a backbone: keys of training, options of the task and `structures` that differ",
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"task", "training", "structures", "dataset", "labels", "per_backbone"})

    def changed(self, *layers: Mapping[str, Any]) -> Self:
        """The stage with keys of the training, ``structures`` and options of the task replaced, the last layer wins."""
        changes = {key: value for layer in layers for key, value in layer.items()}
        training = {key: changes.pop(key) for key in list(changes) if key in Training.model_fields}
        structures = changes.pop("structures", self.structures)
        return self.model_copy(
            update={
                "training": Training(**{**self.training.model_dump(), **training}),
                "structures": Stage.model_validate({**self.model_dump(), "structures": structures}).structures,
                "options": {**self.options, **changes},
            }
        )


class Backbone(Strict):
    """A registered architecture with its options (flat beside this key)."""

    architecture: str = Field(description="name of a registered backbone")
    protocol: Protocol = Field(
        "fair",
        description="released: architecture, training, labels and noise as in the paper's released code, but for what "
        "stands here and under `per_backbone`; fair: the defaults",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="its options, written flat in the YAML")

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"architecture", "protocol"})

    @property
    def cutoff(self) -> float:
        """Neighbour cutoff in Å."""
        return float(self.options["cutoff"])


class Dataset(Strict):
    """A registered source with its options (flat beside this key)."""

    source: str = Field(description="name of a registered dataset source")
    pretraining_only: bool = Field(False, description="nothing is finetuned on it; some pretraining names it")
    options: dict[str, Any] = Field(default_factory=dict, description="its options, written flat in the YAML")

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: Any) -> Any:
        return _collect_options(data, {"source", "pretraining_only"})


class Strategy(Strict):
    """One way to spend a training budget before the test: from scratch, longer, or after a pretraining.

    Lists are *trials*: every seed runs each and keeps the one with the lowest validation force RMSE; what all of them
    cost is counted.  All strategies have the same number of trials.
    """

    pretraining: str | list[str] | None = Field(
        None, description="entry of `pretraining` whose weights finetuning starts from; of a list, each is a trial"
    )
    learning_rate: float | list[float] | None = Field(
        None, description="of finetuning, in place of that of the backbone; of a list, each is a trial"
    )
    longer: Literal["steps", "compute"] | None = Field(
        None, description="train from scratch for more optimiser steps, or for more counted FLOPs"
    )
    matching: str | None = Field(None, description="of a longer run: as much more as this `pretraining` spends")
    times: float | None = Field(None, gt=0, description="of a longer run: the budget, in multiples of finetuning's own")
    transfer: Literal["all", "body"] = Field(
        "all", description="what is carried over: all weights, or all but the heads, which start as from scratch"
    )
    rescale: str | None = Field(
        None,
        description="from scratch, with heads scaled to the outputs' root mean square of this entry of `pretraining`",
    )
    variant: bool = Field(
        False, description="a control or one value of a scan: compared in tables, but no claim is judged by it"
    )

    datasets: list[str] | None = Field(None, description="run on these datasets alone; null: on all")

    def runs_on(self, dataset: str) -> bool:
        """Whether the strategy is compared on ``dataset``."""
        return self.datasets is None or dataset in self.datasets

    @property
    def pretrainings(self) -> list[str]:
        """The pretrainings to start from, one a trial."""
        return [self.pretraining] if isinstance(self.pretraining, str) else self.pretraining or []

    @property
    def learning_rates(self) -> list[float | None]:
        """Learning rates of finetuning, one a trial; None: that of the backbone."""
        return list(self.learning_rate) if isinstance(self.learning_rate, list) else [self.learning_rate]

    @property
    def references(self) -> list[str]:
        """Entries of `pretraining` that give no weights but a budget or the size of outputs."""
        return [name for name in (self.matching, self.rescale) if name is not None]

    @property
    def needs(self) -> list[str]:
        """Every entry of `pretraining` that must have run before."""
        return [*self.pretrainings, *self.references]

    @property
    def role(self) -> Role:
        """What the strategy is in comparisons."""
        if self.variant or self.rescale or self.transfer == "body":
            return "variant"
        if self.pretrainings:
            return "pretrained"
        if self.longer is None:
            return "scratch"
        return "longer-steps" if self.longer == "steps" else "longer-compute"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum([bool(self.pretrainings), self.longer is not None, self.rescale is not None]) > 1:
            raise ValueError("pretraining, longer and rescale exclude each other")
        if self.pretraining == [] or self.learning_rate == []:
            raise ValueError("an empty list has no trial")
        if self.longer and (self.matching is None) == (self.times is None):
            raise ValueError("longer needs either matching or times")
        if not self.longer and (self.matching or self.times):
            raise ValueError("matching and times belong to longer")
        if self.transfer == "body" and not self.pretrainings:
            raise ValueError("transfer belongs to pretraining")
        for rate in self.learning_rates:
            if rate is not None and not rate > 0:
                raise ValueError(f"learning_rate must be positive (given {rate!r})")
        return self


@dataclass(frozen=True)
class Trial:
    """One run of a strategy: the ``number``-th of ``count`` combinations of its lists."""

    strategy: str
    number: int
    count: int
    pretraining: str | None
    learning_rate: float | None


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


class Dynamics(Strict):
    """Molecular dynamics with every finetuned network, from one of its test structures."""

    temperature: float = Field(300.0, gt=0, description="K, of the first velocities and of the thermostat")
    timestep_fs: float = Field(0.5, gt=0, le=5, description="fs")
    nve_ps: float = Field(1.0, gt=0, description="ps without a thermostat, for the drift of the energy")
    nvt_ps: float = Field(5.0, gt=0, description="ps with a Langevin thermostat, or until it breaks")
    friction_per_ps: float = Field(1.0, gt=0, description="1/ps, of the thermostat")


def _collect_options(data: Any, own: set[str]) -> Any:
    """Move the keys that are not the section's ``own`` under ``options``."""
    if not isinstance(data, Mapping) or "options" in data:
        return data
    return {
        **{key: value for key, value in data.items() if key in own},
        "options": {key: value for key, value in data.items() if key not in own},
    }
