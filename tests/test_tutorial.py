"""What the tutorial writes works: its dataset is read, its backbone and task are trained, its symmetries hold."""

import re
import sys
from pathlib import Path

import pytest

from priorbench import registry
from priorbench.datasets.pipeline import acquire, convert
from priorbench.frames import Frames
from priorbench.io import read_json
from priorbench.training.run import run
from tests.backbones import test_symmetries
from tests.training.conftest import spec, write_inputs

TEXT = (Path(__file__).parents[1] / "docs/tutorial.md").read_text(encoding="utf-8")
PAIRS = {"name": "pairs", "architecture": "pairs", "cutoff": 3.4, "layers": 1, "width": 8}


@pytest.fixture
def _tutorial(tmp_path, monkeypatch):
    """The files of the tutorial as modules, and its lines in the registry."""
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = {"backbones": registry.BACKBONES, "tasks": registry.TASKS, "datasets": registry.DATASETS}
    for folder, name, code in re.findall(r"priorbench/(\w+)/(\w+)\.py`.*?```python\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / f"tutorial_{name}.py").write_text(code, encoding="utf-8")
        path = re.search(rf'"{name}": "priorbench\.{folder}\.{name}:(\w+)"', TEXT)
        monkeypatch.setitem(kinds[folder], name, f"tutorial_{name}:{path[1]}")
        monkeypatch.delitem(sys.modules, f"tutorial_{name}", raising=False)


@pytest.mark.usefixtures("_tutorial")
def test_the_backbone_is_pretrained_by_the_task_and_finetuned_on_the_dataset(tmp_path):
    dataset = {"name": "argon", "source": "dimers", "options": {"count": 9}}
    acquire(dataset, "all", None, tmp_path / "all.npz")
    convert(dataset, [tmp_path / "all.npz"], tmp_path / "argon.safetensors")
    inputs = write_inputs(tmp_path, Frames.load(tmp_path / "argon.safetensors"))
    task = {"name": "jitter", "sigma": 0.05}
    backbone = {**PAIRS, "cutoff": 3.4}
    for stage, extra in (("pretrain", {"strategy": "jitter", "task": task}), ("finetune", {})):
        run(spec(stage, backbone=backbone, **extra), inputs, 1, tmp_path / stage)
        assert read_json(tmp_path / stage / "run.json")["status"] == "completed"


@pytest.mark.usefixtures("_tutorial", "double")
@pytest.mark.parametrize("symmetry", test_symmetries.SYMMETRIES)
def test_the_backbone_has_the_symmetries_that_it_declares(symmetry, tmp_path):
    test_symmetries.test_declared_symmetries_hold_and_others_are_broken(PAIRS, symmetry, tmp_path)
