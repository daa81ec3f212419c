"""Every registered source keeps the contract, and asking for parts stays cheap."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorbench.datasets.archive import write_npz
from priorbench.datasets.blocks import assemble, rectangular
from priorbench.datasets.card import describe
from priorbench.datasets.pipeline import acquire, convert, parts, source_for
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.registry import DATASETS, load

TINY: dict[str, Any] = {
    "molecules": 6,
    "trajectories": 1,
    "frames": 2,
    "interval_steps": 5,
    "equilibration_ps": 0.2,
    "smoke": True,
}
LEAST: dict[str, dict[str, Any]] = {"extxyz": {"path": "structures.xyz"}}  # options without a default
SPEC = {"name": "water", "source": "tip3p", "options": TINY}


@pytest.mark.parametrize("source", DATASETS)
def test_parts_are_distinct_file_names_and_every_option_has_default_and_description(source: str) -> None:
    names = source_for(source, LEAST.get(source, {})).parts()
    assert len(set(names)) == len(names) > 0
    assert all(name.replace("_", "").isalnum() for name in names)
    for name, entry in load("dataset", source).Options.model_json_schema()["properties"].items():
        assert "default" in entry or name in LEAST.get(source, {}), name
        assert entry.get("description"), name


@pytest.mark.parametrize("source", DATASETS)
def test_asking_for_parts_imports_neither_torch_nor_openmm(source: str) -> None:
    code = (
        "import sys; from priorbench.datasets.pipeline import parts; "
        f"assert parts({{'name': 'x', 'source': {source!r}, 'options': {LEAST.get(source, {})}}}); "
        "print([m for m in ('torch', 'openmm', 'vesin', 'ase', 'scipy', 'pooch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("water") / "trajectory0.npz"
    acquire(SPEC, "trajectory0", None, path)
    return path


def test_frames_and_their_description_agree(part: Path, tmp_path: Path) -> None:
    convert(SPEC, [part], tmp_path / "frames.safetensors")
    frames = Frames.load(tmp_path / "frames.safetensors", verify=True)
    card = describe(frames)
    assert card["hash"] == frames.hash()
    assert card["dataset"] == json.loads(json.dumps(SPEC))
    assert (card["structures"], card["atoms"], card["groups"]) == (2, 36, 1)
    assert card["atoms_by_element"] == {"H": 24, "O": 12}
    assert (card["intact_molecules"], card["structures_not_all_intact"]) == (12, 0)
    assert card["force_std_eV_per_A"] == pytest.approx(float(frames.forces.std()))
    assert card["shortest_distances_A"]["H-O"] == pytest.approx(0.9572, abs=1e-5)
    assert card["licence"]
    assert card["source"] == "tip3p"


def test_a_part_that_is_missing_or_unknown_is_refused_and_nothing_is_written(part: Path, tmp_path: Path) -> None:
    output = tmp_path / "frames.safetensors"
    more = {**SPEC, "options": {**TINY, "trajectories": 2}}
    with pytest.raises(PriorbenchError, match="make the dataset"):
        convert(more, [part], output)
    with pytest.raises(PriorbenchError, match=r"trajectory1\.npz: no such file"):
        convert(more, [part, tmp_path / "trajectory1.npz"], output)
    with pytest.raises(PriorbenchError, match="no part 'trajectory7'"):
        acquire(SPEC, "trajectory7", None, output)
    with pytest.raises(PriorbenchError, match="unknown dataset 'tip9p'"):
        parts({"name": "x", "source": "tip9p", "options": {}})
    assert list(tmp_path.iterdir()) == []


def test_nan_forces_in_a_part_are_refused_by_structure_and_nothing_is_written(part: Path, tmp_path: Path) -> None:
    with np.load(part) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["forces"][1, 3, 0] = np.nan
    write_npz(tmp_path / "trajectory0.npz", **arrays)
    with pytest.raises(PriorbenchError, match="water: tip3p trajectory0: structure 1: a force"):
        convert(SPEC, [tmp_path / "trajectory0.npz"], tmp_path / "frames.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["trajectory0.npz"]


def test_the_environment_overrides_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORBENCH_MIRROR", str(tmp_path / "from-the-environment"))
    with pytest.raises(PriorbenchError, match="from-the-environment"):
        acquire({"name": "dft", "source": "revpbe0_d3", "options": {}}, "classical_ice", tmp_path, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_shortest_distances_count_images_and_leave_out_pairs_that_never_meet() -> None:
    block = rectangular(
        positions=np.array([[[0.2, 0, 0], [9.5, 0, 0], [5, 5, 5]]]),
        forces=np.zeros((1, 3, 3)),
        energies=np.zeros(1),
        cells=np.eye(3)[None] * 10,
        atomic_numbers=np.array([8, 1, 6], np.int16),
        groups=np.zeros(1, np.int32),
    )
    frames = assemble([block], {}, plausible=False)
    assert frames.metadata["shortest_distances_A"] == {"H-O": pytest.approx(0.7)}
