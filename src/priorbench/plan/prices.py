"""What a structure of a stage costs."""

from dataclasses import dataclass, field

Key = tuple[str, str, str, str]  # dataset, backbone, pretrain or finetune, and name of a stage


@dataclass(frozen=True)
class Price:
    """Of a stage, per structure; seconds of one core or GPU, None where they are not known."""

    flops: float  # of a structure-step
    step: float | None = None  # s of a structure-step
    validation: float | None = None  # s in a validation pass
    test: float | None = None  # s in a test pass
    setup: float | None = None  # s of a run

    def times(self, factor: float) -> "Price":
        """The same on a machine that takes ``factor`` times as long."""
        seconds = (self.step, self.validation, self.test, self.setup)
        return Price(self.flops, *(None if value is None else value * factor for value in seconds))


@dataclass(frozen=True)
class Prices:
    """Of every stage whose sizes are known."""

    of: dict[Key, Price]
    start: float | None  # s of a job before its first run
    basis: str  # where the seconds come from
    notes: list[str] = field(default_factory=list)
    factor: float = 1.0  # by which seconds measured here were multiplied
