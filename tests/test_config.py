"""The typed configuration: documented, complete, strict, and free of comparisons that prove nothing."""

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from priorbench import config as module
from priorbench.config import Config, Strict, Training, load_config, parse_config
from priorbench.errors import PriorbenchError
from priorbench.options import schemas
from priorbench.registry import REGISTRIES

DOCUMENT = Path(__file__).parents[1] / "docs" / "config.md"
SECTIONS = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Strict) and c is not Strict]

MINIMAL: dict[str, Any] = {
    "experiment": "small",
    "datasets": {"water": {"source": "tip3p"}},
    "backbones": {"net": {"architecture": "gns", "cutoff": 4.0}},
    "pretraining": {"mask": {"task": "masking", "training": {"epochs": 5}}},
    "finetuning": {"task": "potential", "training": {"epochs": 10}},
    "strategies": {
        "scratch": {},
        "longer": {"longer": "steps", "matching": "mask"},
        "mask": {"pretraining": "mask"},
    },
    "seeds": [0, 1],
}


def changed(**sections: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **sections}


def refusal(content: Any) -> str:
    with pytest.raises(PriorbenchError) as caught:
        parse_config(content, "here.yaml")
    message = str(caught.value)
    assert message.startswith("here.yaml: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_described(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        annotation = field.annotation
        is_section = isinstance(annotation, type) and issubclass(annotation, Strict)
        assert field.description or (is_section and annotation.__doc__), f"{section.__name__}.{name}"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in REGISTRIES.items() for name in names])
def test_every_option_of_every_plugin_is_described_and_closed(kind: str, name: str) -> None:
    schema = schemas()[kind][name]
    assert schema["additionalProperties"] is False
    assert all("description" in option for option in schema.get("properties", {}).values())


def test_the_reference_names_every_key_and_default() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for section in SECTIONS:
        for name in set(section.model_fields) - {"options"}:  # written flat in the YAML
            assert f"`{name}`" in text, f"{section.__name__}.{name}"
    for by_name in schemas().values():
        for plugin, schema in by_name.items():
            for option in schema.get("properties", {}):
                assert f"`{option}`" in text, f"{plugin}.{option}"


def test_defaults_of_sections_and_plugins_are_filled_in() -> None:
    config = parse_config(MINIMAL)
    assert config.split.train == 0.8
    assert config.finetuning.training.batch_size == Training(epochs=1).batch_size
    assert config.pretraining["mask"].options["ratio"] == 0.5
    assert config.backbones["net"].options["layers"] == 10
    assert config.backbones["net"].cutoff == 4.0


def test_values_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_config(MINIMAL).device = "cuda"


def test_overrides_of_a_backbone_reach_its_training_alone() -> None:
    finetuning = {**MINIMAL["finetuning"], "per_backbone": {"net": {"learning_rate": 0.5}}}
    backbones = {**MINIMAL["backbones"], "other": {"architecture": "egnn"}}
    stage = parse_config(changed(finetuning=finetuning, backbones=backbones)).finetuning
    assert stage.training_for("net").learning_rate == 0.5
    assert stage.training_for("other") == stage.training


def test_roles_follow_from_what_a_strategy_does() -> None:
    roles = {name: s.role for name, s in parse_config(MINIMAL).strategies.items()}
    assert roles == {"scratch": "scratch", "longer": "longer-steps", "mask": "pretrained"}


STAGE = {"task": "masking", "training": {"epochs": 5}}
POTENTIAL = MINIMAL["finetuning"]
LONGER = {"longer": "steps", "matching": "mask"}
BASELINES = {"scratch": {}, "longer": LONGER}
FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"epochs": 3}, ["epochs", "3"]),
    "unknown source": ({"datasets": {"w": {"source": "tap"}}}, ["datasets.w", "'tap'", "tip3p"]),
    "unknown task": ({"pretraining": {"mask": {**STAGE, "task": "guess"}}}, ["pretraining.mask", "'guess'"]),
    "unknown option": ({"backbones": {"net": {"architecture": "gns", "size": 3}}}, ["backbones.net", "'size'"]),
    "negative cutoff": ({"backbones": {"net": {"architecture": "gns", "cutoff": -1}}}, ["backbones.net.cutoff", "-1"]),
    "ratio of zero": ({"pretraining": {"mask": {**STAGE, "ratio": 0}}}, ["pretraining.mask.ratio", "0"]),
    "ratio above one": ({"pretraining": {"mask": {**STAGE, "ratio": 1.5}}}, ["pretraining.mask.ratio", "1.5"]),
    "ratio as text": ({"pretraining": {"mask": {**STAGE, "ratio": "half"}}}, ["pretraining.mask.ratio", "half"]),
    "one seed": ({"seeds": [0]}, ["seeds", "2"]),
    "the same seed twice": ({"seeds": [3, 3]}, ["seeds", "[3, 3]"]),
    "no test set": ({"split": {"train": 0.9, "validation": 0.1}}, ["split", "test"]),
    "path as a name": ({"experiment": "../up"}, ["experiment", "../up"]),
    "two scratch runs": ({"strategies": {"a": {}, "b": {}, "l": LONGER}}, ["strategies", "scratch", "2"]),
    "no longer run": ({"strategies": {"a": {}, "m": {"pretraining": "mask"}}}, ["strategies.m", "'mask'"]),
    "missing parent": ({"strategies": {**BASELINES, "m": {"pretraining": "none"}}}, ["strategies.m", "'none'"]),
    "missing match": ({"strategies": {"a": {}, "l": {**LONGER, "matching": "x"}}}, ["strategies.l.matching", "'x'"]),
    "longer than what": ({"strategies": {"a": {}, "l": {"longer": "steps"}}}, ["strategies.l", "matching"]),
    "pretrained and longer": (
        {"strategies": {**BASELINES, "m": {"pretraining": "mask", **LONGER}}},
        ["strategies.m", "exclude"],
    ),
    "override of no backbone": (
        {"finetuning": {**POTENTIAL, "per_backbone": {"ghost": {}}}},
        ["finetuning.per_backbone", "'ghost'"],
    ),
    "override of no key": (
        {"finetuning": {**POTENTIAL, "per_backbone": {"net": {"pace": 1}}}},
        ["finetuning.per_backbone.net", "pace"],
    ),
    "finetuning to nothing": ({"finetuning": STAGE}, ["finetuning.task", "'masking'"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_impossible_value_is_refused_by_key_and_value(fault: str) -> None:
    sections, named = FAULTS[fault]
    message = refusal(changed(**sections))
    assert all(text in message for text in named), message


def test_a_longer_run_must_match_the_steps_of_the_pretraining_compared() -> None:
    longer_pretraining = {**MINIMAL["pretraining"], "more": {"task": "masking", "training": {"epochs": 6}}}
    strategies = {**MINIMAL["strategies"], "more": {"pretraining": "more"}}
    assert "'more'" in refusal(changed(pretraining=longer_pretraining, strategies=strategies))


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_only_a_mapping_is_an_experiment(content: Any) -> None:
    assert type(content).__name__ in refusal(content)


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "no such"), ("a: [1\nb: }", "YAML"), ("- 1", "mapping"), ("", "mapping")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "experiment.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(PriorbenchError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


def test_the_schema_of_the_file_is_that_of_the_class() -> None:
    assert set(Config.model_json_schema()["properties"]) == set(Config.model_fields)


def test_a_longer_run_must_match_every_backbone() -> None:
    """A pretraining that one backbone does for longer needs a longer run of its own."""
    changed = copy.deepcopy(MINIMAL)
    changed["pretraining"]["other"] = copy.deepcopy(changed["pretraining"]["mask"])
    changed["pretraining"]["other"]["per_backbone"] = {"net": {"epochs": 50}}
    changed["strategies"]["other"] = {"pretraining": "other"}
    with pytest.raises(PriorbenchError, match=r"strategies\.other: no strategy with longer: steps"):
        parse_config(changed)


def test_a_seed_beyond_the_generators_is_refused() -> None:
    with pytest.raises(PriorbenchError, match=r"seeds\.0: .*less than 16777216"):
        parse_config({**MINIMAL, "seeds": [20260725, 1]})


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match="not readable"):
        load_config(tmp_path)


def test_seeds_per_job_is_one_unless_all_are_asked_for() -> None:
    assert parse_config(MINIMAL).seeds_per_job == 1
    assert parse_config(changed(seeds_per_job="all")).seeds_per_job == "all"


@pytest.mark.parametrize("value", [0, 2, "some", "1", None])
def test_seeds_per_job_is_nothing_else(value: Any) -> None:
    assert "seeds_per_job" in refusal(changed(seeds_per_job=value))
