"""Revised MD17: the genuine files where a mirror has them, bad input made up elsewhere."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.units import kcal, mol

from priorbench.datasets import rmd17
from priorbench.datasets.pins import read_pins
from priorbench.datasets.rmd17 import MOLECULES, RMD17, SHA256, RMD17Options
from priorbench.errors import PriorbenchError
from priorbench.frames import TEST, TRAIN, Frames

needs_mirror = pytest.mark.skipif("PRIORBENCH_MIRROR" not in os.environ, reason="PRIORBENCH_MIRROR is not set")
ETHANOL = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1], np.uint8)
GEOMETRY = np.array(
    [
        [1.168, -0.388, 0.0],
        [0.0, 0.559, 0.0],
        [-1.190, -0.205, 0.0],
        [2.116, 0.157, 0.0],
        [1.128, -1.029, 0.886],
        [1.128, -1.029, -0.886],
        [0.046, 1.205, 0.887],
        [0.046, 1.205, -0.887],
        [-1.937, 0.396, 0.0],
    ]
)


def fetched(folder: Path, mirror: Path, **options: Any) -> Frames:
    source = RMD17(RMD17Options(**options))
    files = {part: folder / f"{part}.npz" for part in source.parts()}
    for part, file in files.items():
        source.acquire(part, mirror, file)
    return source.convert(files)


def side(seed: int, count: int = 12, **changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "nuclear_charges": ETHANOL,
        "coords": GEOMETRY + random.normal(0, 0.03, (count, 9, 3)),
        "energies": random.normal(-97_000.0, 4.0, count),  # kcal/mol
        "forces": random.normal(0, 27.0, (count, 9, 3)),  # kcal/mol/Å
        "old_indices": np.arange(count),
        **changed,
    }


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with a small made-up ethanol whose hashes are expected."""
    monkeypatch.setenv("PRIORBENCH_LOCK", str(tmp_path / "data.lock.json"))
    monkeypatch.setattr(rmd17, "SHA256", dict(SHA256))
    for name, seed in (("train", 0), ("test", 1)):
        put(tmp_path / "mirror", name, side(seed))
    return tmp_path / "mirror"


def put(mirror: Path, name: str, arrays: dict[str, Any], split: int = 1) -> Path:
    path = mirror / "rmd17" / f"rmd17_ethanol_{name}_{split:02d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    if split == 1:
        rmd17.SHA256[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def refused(folder: Path, mirror: Path, reason: str, written: bool = False, **options: Any) -> None:
    with pytest.raises(PriorbenchError, match=reason) as refusal:
        fetched(folder, mirror, molecules=["ethanol"], **options)
    assert "\n" not in str(refusal.value)
    assert (folder / "ethanol.npz").exists() == written


@needs_mirror
@pytest.mark.slow
def test_the_genuine_molecules(tmp_path: Path) -> None:
    frames = fetched(tmp_path, Path(os.environ["PRIORBENCH_MIRROR"]))
    assert len(frames) == 20_000
    assert frames.metadata["subsystems"] == MOLECULES
    assert frames.metadata["sha256"] == SHA256
    assert not frames.pbc.any()
    assert not frames.cells.any()
    assert len(np.unique(frames.groups)) == 20_000
    owner = np.repeat(frames.subsystems, frames.sizes)
    for index, molecule in enumerate(MOLECULES):
        of_it = frames.subsystems == index
        assert (frames.official[of_it] == np.repeat([TRAIN, TEST], 1000)).all()
        assert 0.5 < frames.forces[owner == index].std() < 2
        intact = np.minimum.reduceat(frames.molecules, frames.offsets[:-1])[of_it] >= 0
        one = np.maximum.reduceat(frames.molecules, frames.offsets[:-1])[of_it] == 0
        atoms = (frames.molecules[owner == index] >= 0).mean()
        print(f"{molecule}: structures intact {intact.mean():.4f}, one molecule {one.mean():.4f}, atoms {atoms:.5f}")
        if molecule in ("ethanol", "aspirin"):
            assert (intact & one).all(), molecule
    with np.load(Path(os.environ["PRIORBENCH_MIRROR"]) / "rmd17" / "rmd17_uracil_test_01.npz") as archive:
        last = 1000 * 12
        np.testing.assert_allclose(frames.forces[-last:] / (kcal / mol), archive["forces"].reshape(-1, 3), rtol=1e-14)
        np.testing.assert_array_equal(frames.positions[-last:], archive["coords"].reshape(-1, 3))
        np.testing.assert_allclose(frames.energies[-1000:] / (kcal / mol), archive["energies"], rtol=1e-14)


def test_made_up_ethanol_keeps_sides_units_and_order(tmp_path: Path, mirror: Path) -> None:
    frames = fetched(tmp_path, mirror, molecules=["ethanol"])
    assert frames.official.tolist() == [TRAIN] * 12 + [TEST] * 12
    assert frames.groups.tolist() == list(range(24))
    assert (frames.molecules == 0).all()
    assert frames.metadata["licence"] == "CC0"
    np.testing.assert_allclose(frames.energies[:12], side(0)["energies"] * 0.0433641, rtol=1e-5)
    np.testing.assert_allclose(frames.forces[108:], side(1)["forces"].reshape(-1, 3) * 0.0433641, rtol=1e-5)


def test_an_altered_file_is_refused(tmp_path: Path, mirror: Path) -> None:
    path = mirror / "rmd17" / "rmd17_ethanol_test_01.npz"
    path.write_bytes(path.read_bytes()[:-1])
    refused(tmp_path, mirror, r"ethanol_test_01\.npz: the mirror's copy is altered")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"energies": np.array([1.0] * 12, object)}, r"test_01\.npz: damaged"),
        ({"forces": np.zeros((12, 8, 3))}, r"test_01\.npz: its arrays do not fit each other"),
        ({"coords": np.zeros((11, 9, 3)), "forces": np.zeros((11, 9, 3))}, "do not fit"),
        ({"energies": np.zeros((12, 1))}, "do not fit"),
        ({"energies": np.float64(1.0)}, "do not fit"),
        ({"nuclear_charges": ETHANOL.astype(float)}, "do not fit"),
        ({"coords": np.zeros((12, 9, 3), complex)}, "do not fit"),
        ({"nuclear_charges": ETHANOL[::-1]}, r"test_01\.npz: its nuclear_charges differ"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_and_nothing_is_written(
    tmp_path: Path, mirror: Path, changed: dict[str, Any], reason: str
) -> None:
    put(mirror, "test", side(1, **changed))
    refused(tmp_path, mirror, reason)


def test_a_missing_key_is_refused(tmp_path: Path, mirror: Path) -> None:
    arrays = side(1)
    del arrays["forces"]
    put(mirror, "test", arrays)
    refused(tmp_path, mirror, r"test_01\.npz: damaged .*forces is not a file")


@pytest.mark.parametrize("name", ["coords", "forces", "energies"])
def test_nan_is_refused_by_side_and_structure(tmp_path: Path, mirror: Path, name: str) -> None:
    arrays = side(1)
    arrays[name][7] = np.nan
    put(mirror, "test", arrays)
    refused(tmp_path, mirror, r"rmd17 ethanol, test: structure 7: .* not finite", written=True)


@pytest.mark.parametrize(
    ("name", "factor", "reason"),
    [
        ("energies", kcal / mol, "seem to be in Hartree"),  # in eV already
        ("energies", 1 / 627.5, "seem to be in Hartree"),
        ("energies", 4184.0, "kJ/mol, not eV"),  # in J/mol
        ("forces", 1 / 627.5 * 0.529, "Hartree/Bohr"),
        ("forces", 4184.0, "seem to be in kcal"),
        ("coords", 1 / 0.529, "Bohr"),
        ("coords", 0.1, "nm"),
    ],
)
def test_files_in_other_units_are_refused(tmp_path: Path, mirror: Path, name: str, factor: float, reason: str) -> None:
    for where, seed in (("train", 0), ("test", 1)):
        arrays = side(seed)
        put(mirror, where, {**arrays, name: arrays[name] * factor})
    refused(tmp_path, mirror, f"rmd17 ethanol, train: .*{reason}", written=True)


def test_other_splits_are_pinned_when_first_seen(
    tmp_path: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for where, seed in (("train", 0), ("test", 1)):
        put(mirror, where, side(seed), split=3)
    frames = fetched(tmp_path, mirror, molecules=["ethanol"], split=3)
    assert capsys.readouterr().out.count("taken on trust") == 2
    assert sorted(frames.metadata["sha256"]) == ["rmd17_ethanol_test_03.npz", "rmd17_ethanol_train_03.npz"]
    assert {pin.sha256 for pin in read_pins().values()} == set(frames.metadata["sha256"].values())
    put(mirror, "test", side(2), split=3)
    (tmp_path / "ethanol.npz").unlink()
    refused(tmp_path, mirror, r"test_03\.npz: has .* pinned in", split=3)


def test_a_bad_file_is_not_pinned(tmp_path: Path, mirror: Path) -> None:
    put(mirror, "train", side(0, coords=np.array([None] * 12)), split=2)
    refused(tmp_path, mirror, r"train_02\.npz: damaged", split=2)
    assert read_pins() == {}


def test_options_are_the_ten_molecules_once_and_the_five_splits() -> None:
    assert RMD17(RMD17Options()).parts() == MOLECULES
    assert len(MOLECULES) == 10
    assert len(SHA256) == 20
    for wrong in ({"molecules": ["ethanol", "ethanol"]}, {"molecules": ["water"]}, {"molecules": []}, {"split": 6}):
        with pytest.raises(ValueError, match="validation error"):
            RMD17Options(**wrong)
