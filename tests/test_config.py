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
    config = parse_config(changed(finetuning=finetuning, backbones=backbones))
    assert config.finetuning_for("water", "net").training.learning_rate == 0.5
    assert config.finetuning_for("water", "other") == config.finetuning


def test_overrides_of_a_backbone_reach_the_options_of_its_task() -> None:
    pretraining = {"mask": {**STAGE, "per_backbone": {"net": {"ratio": 0.25, "structures": 7}}}}
    backbones = {**MINIMAL["backbones"], "other": {"architecture": "egnn"}}
    config = parse_config(changed(pretraining=pretraining, backbones=backbones))
    own, other = (config.pretraining_for("mask", "water", name) for name in ("net", "other"))
    assert (own.options["ratio"], own.structures) == (0.25, 7)
    assert (other.options["ratio"], other.structures) == (0.5, None)


def test_the_released_protocol_is_a_set_of_values_that_can_be_taken_back_one_by_one() -> None:
    backbones = {"fair": {"architecture": "gns"}, "released": {"architecture": "gns", "protocol": "released"},
                 "mixed": {"architecture": "gns", "protocol": "released", "raw_coordinates": False}}  # fmt: skip
    finetuning = {**POTENTIAL, "per_backbone": {"mixed": {"label_spread": "force-rms", "checkpoint": "best"}}}
    config = parse_config(changed(backbones=backbones, finetuning=finetuning))
    assert [b.options["raw_coordinates"] for b in config.backbones.values()] == [False, True, False]
    assert [b.options["edge_update"] for b in config.backbones.values()] == ["message", "doubling", "doubling"]
    stages = [config.finetuning_for("water", name) for name in backbones]
    assert [s.options["label_spread"] for s in stages] == ["force-rms", "energy", "force-rms"]
    assert [s.training.checkpoint for s in stages] == ["best", "last", "best"]
    assert [s.training.gradient_clip for s in stages] == [10.0, None, None]


def test_released_labels_depend_on_the_source() -> None:
    datasets = {"tip3p": {"source": "tip3p"}, "dft": {"source": "revpbe0_d3"}}
    backbones = {"net": {"architecture": "gns", "protocol": "released"}}
    config = parse_config(changed(datasets=datasets, backbones=backbones))
    options = [config.finetuning_for(name, "net").options for name in datasets]
    assert [o["energy_reference"] for o in options] == ["mean", "mean-per-atom"]


def test_lists_of_a_strategy_are_its_trials() -> None:
    rates = [1e-3, 3e-3]
    strategies = {
        "scratch": {"learning_rate": rates},
        "longer": {**LONGER, "learning_rate": rates},
        "mask": {"pretraining": ["mask", "hot"], "learning_rate": 1e-3},
    }
    pretraining = {"mask": STAGE, "hot": {"task": "masking", "training": {"epochs": 5, "learning_rate": 0.01}}}
    trials = parse_config(changed(strategies=strategies, pretraining=pretraining)).trials
    assert list(trials) == ["scratch+1", "scratch+2", "longer+1", "longer+2", "mask+1", "mask+2"]
    assert [t.learning_rate for t in trials.values()] == [1e-3, 3e-3] * 2 + [1e-3] * 2
    assert [trials[f"mask+{n}"].pretraining for n in (1, 2)] == ["mask", "hot"]
    uneven = {**strategies, "mask": {"pretraining": "mask"}}
    assert "mask has 1 trials, scratch 2" in refusal(changed(strategies=uneven, pretraining=pretraining))


def test_nothing_is_tuned_under_the_released_protocol() -> None:
    from priorbench.runs import finetune_spec

    backbones = {**MINIMAL["backbones"], "released": {"architecture": "gns", "protocol": "released"}}
    pretraining = {"mask": STAGE, "hot": STAGE}
    strategies = {
        "scratch": {"learning_rate": [0.25, 0.5]},
        "longer": {**LONGER, "learning_rate": [0.25, 0.5]},
        "mask": {"pretraining": ["mask", "hot"]},
    }
    config = parse_config(changed(backbones=backbones, pretraining=pretraining, strategies=strategies))
    assert len(config.trials_on("water", "net")) == 6
    assert config.trials_on("water", "released") == ["scratch+1", "longer+1", "mask+1"]
    assert config.pretrainings_on("water", "net") == [("water", "hot"), ("water", "mask")]
    assert config.pretrainings_on("water", "released") == [("water", "mask")]
    specs = [finetune_spec(config, "water", name, "scratch+1", 0) for name in backbones]
    assert [(s["training"]["learning_rate"], s["trials"]) for s in specs] == [(0.25, 2), (1e-3, 1)]


def test_a_strategy_of_one_trial_keeps_its_name() -> None:
    assert list(parse_config(MINIMAL).trials) == list(MINIMAL["strategies"])


def test_a_file_extends_another_entry_by_entry(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "base.yaml").write_text(yaml.safe_dump(MINIMAL, sort_keys=False), encoding="utf-8")
    own = {"extends": "base.yaml", "seeds": [4, 5], "strategies": {"mask": None}, "experiment": "own",
           "finetuning": {"training": {"learning_rate": 0.5}}}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    config = load_config(tmp_path / "own.yaml")
    assert (config.experiment, config.seeds, list(config.strategies)) == ("own", [4, 5], ["scratch", "longer"])
    assert (config.finetuning.training.epochs, config.finetuning.training.learning_rate) == (10, 0.5)


def test_defaults_of_pretrainings_lie_under_their_own_keys() -> None:
    defaults = {"training": {"epochs": 7, "batch_size": 3}, "per_backbone": {"net": {"learning_rate": 0.25}}}
    pretraining = {"mask": {"task": "masking"}, "more": {"task": "masking", "training": {"epochs": 9}}}
    config = parse_config(changed(pretraining=pretraining, pretraining_defaults=defaults))
    stages = [config.pretraining_for(name, "water", "net").training for name in pretraining]
    assert [(s.epochs, s.batch_size, s.learning_rate) for s in stages] == [(7, 3, 0.25), (9, 3, 0.25)]


def test_later_bases_lie_over_earlier_ones(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "base.yaml").write_text(yaml.safe_dump(MINIMAL, sort_keys=False), encoding="utf-8")
    (tmp_path / "quick.yaml").write_text("finetuning: {training: {epochs: 2}}\n", encoding="utf-8")
    (tmp_path / "own.yaml").write_text("extends: [base.yaml, quick.yaml]\n", encoding="utf-8")
    assert load_config(tmp_path / "own.yaml").finetuning.training.epochs == 2


def test_a_strategy_may_be_run_on_some_datasets_alone() -> None:
    datasets = {name: {"source": "tip3p"} for name in ("a", "b")}
    strategies = {**MINIMAL["strategies"], "mask": {"pretraining": "mask", "datasets": ["b"]}}
    config = parse_config(changed(datasets=datasets, strategies=strategies))
    assert (config.trials_on("a", "net"), config.trials_on("b", "net")) == (
        ["scratch", "longer"],
        ["scratch", "longer", "mask"],
    )
    strategies["mask"]["datasets"] = ["c"]
    assert "strategies.mask.datasets" in refusal(changed(datasets=datasets, strategies=strategies))


def test_controls_are_variants_and_no_claim_is_judged_by_them() -> None:
    strategies = {
        **MINIMAL["strategies"],
        "fresh": {"pretraining": "mask", "transfer": "body"},
        "large": {"rescale": "mask"},
        "scan": {"pretraining": "mask", "variant": True},
    }
    found = parse_config(changed(strategies=strategies)).strategies
    assert {found[name].role for name in ("fresh", "large", "scan")} == {"variant"}


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
    "heads of nothing": ({"strategies": {**BASELINES, "h": {"rescale": "none"}}}, ["strategies.h.rescale", "'none'"]),
    "two budgets": ({"strategies": {"a": {}, "l": {**LONGER, "times": 2}}}, ["strategies.l", "matching", "times"]),
    "no trial": ({"strategies": {**BASELINES, "m": {"pretraining": []}}}, ["strategies.m", "trial"]),
    "labels of no energies": (
        {"pretraining": {"mask": {**STAGE, "labels": "x"}}},
        ["pretraining.mask.labels", "'masking'"],
    ),
    "a dataset that is not there": (
        {"pretraining": {"mask": {**STAGE, "dataset": "x"}}},
        ["pretraining.mask.dataset", "'x'"],
    ),
    "nothing to finetune on": (
        {"datasets": {"w": {"source": "tip3p", "pretraining_only": True}}},
        ["datasets", "pretraining_only"],
    ),
    "no released form": (
        {"backbones": {"net": {"architecture": "painn", "protocol": "released"}}},
        ["backbones.net.protocol", "'painn'"],
    ),
    "base that is not there": ({"extends": "nowhere.yaml"}, ["nowhere.yaml"]),
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
