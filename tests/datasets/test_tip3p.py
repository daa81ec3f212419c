"""Rigid water: the geometry, the box, the thermostat and the bytes are what the options say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import acquired

from priorbench.datasets import tip3p_simulation
from priorbench.datasets.archive import read_npz, write_npz
from priorbench.datasets.pipeline import source_for
from priorbench.datasets.tip3p import TIP3P, TIP3POptions
from priorbench.datasets.tip3p_simulation import simulate, start_positions
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames

TINY: dict[str, Any] = {
    "molecules": 8,
    "trajectories": 2,
    "frames": 3,
    "interval_steps": 10,
    "equilibration_ps": 0.2,
    "smoke": True,
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return acquired("tip3p", TINY, tmp_path_factory.mktemp("tip3p"))


@pytest.fixture(scope="module")
def frames(parts: dict[str, Path]) -> Frames:
    return source_for("tip3p", TINY).convert(parts)


def test_the_same_options_give_the_same_bytes_and_another_seed_or_part_others(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    again, other = tmp_path / "again.npz", tmp_path / "other.npz"
    source_for("tip3p", TINY).acquire("trajectory0", None, again)
    source_for("tip3p", {**TINY, "seed": 1}).acquire("trajectory0", None, other)
    assert again.read_bytes() == parts["trajectory0"].read_bytes()
    positions = [read_npz(path, ["positions"])["positions"] for path in (*parts.values(), other)]
    assert not np.allclose(positions[0], positions[1], atol=1e-3)
    assert not np.allclose(positions[0], positions[2], atol=1e-3)


def test_molecules_are_rigid_tip3p_water(frames: Frames) -> None:
    assert set(frames.molecules) == set(range(8))
    water = frames.positions.reshape(-1, 3, 3)  # unwrapped, so a molecule is never torn apart
    arms = water[:, 1:] - water[:, :1]
    lengths = np.linalg.norm(arms, axis=-1)
    np.testing.assert_allclose(lengths, 0.9572, atol=1e-5)
    cosine = (arms[:, 0] * arms[:, 1]).sum(-1) / lengths.prod(-1)
    np.testing.assert_allclose(np.degrees(np.arccos(cosine)), 104.52, atol=1e-3)


def test_frames_have_the_density_the_groups_and_the_units_of_the_options(frames: Frames) -> None:
    assert len(frames) == 6
    assert frames.groups.tolist() == [0, 0, 0, 1, 1, 1]
    mass = 8 * 18.01528 / 0.602214076
    np.testing.assert_allclose(mass / np.linalg.det(frames.cells), 0.9647, rtol=1e-9)
    assert 0.3 < frames.forces.std() < 1.2  # eV/Å; kJ/mol/nm would be a thousand times more
    assert -0.2 < frames.energies.mean() / 24 < -0.05  # eV per atom
    net = np.add.reduceat(frames.forces, frames.offsets[:-1], axis=0)
    np.testing.assert_allclose(net, 0, atol=1e-3)


def test_forces_are_minus_the_gradient_of_the_energy_along_a_rigid_turn_and_move() -> None:
    """The labels belong to the stored positions: a molecule's net force is the slope of the energy."""
    import openmm

    options = TIP3POptions(**TINY)
    arrays = simulate(options, 0)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(tip3p_simulation._system(options), openmm.VerletIntegrator(0.001), platform)
    energies = []
    for step in (-1e-4, 1e-4):
        moved = arrays["positions"][0].copy()
        moved[:3, 0] += step
        context.setPositions(moved)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    slope = (energies[1] - energies[0]) / 2e-4
    np.testing.assert_allclose(arrays["forces"][0, :3, 0].sum(), -slope, rtol=1e-2, atol=1.0)


def test_the_default_box_is_the_papers() -> None:
    options = TIP3POptions(molecules=258, cutoff=10.0)
    assert options.box == pytest.approx(20.0, abs=1e-3)
    start = start_positions(options, np.random.default_rng(0))
    assert start.shape == (774, 3)
    assert not np.allclose(start[1] - start[0], start[4] - start[3])  # turned at random


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoff": 7.0}, r"tip3p: cutoff: 7 Å is more than half the box, 6\.283 Å"),
        ({"switch": 6.5}, r"tip3p: switch: 6\.5 Å is not less than the cutoff"),
        ({"variant": "flexible"}, r"tip3p: timestep: 2 fs is too long for flexible molecules; take 0\.5"),
        ({"equilibration_ps": 19}, r"tip3p: equilibration_ps: 19 ps do not equilibrate water; take at least 20"),
        ({"molecules": 0}, r"tip3p\.molecules: .*greater than or equal to 1"),
        ({"molecule": 5}, r"tip3p\.molecule: Extra inputs"),
    ],
)
def test_impossible_options_are_refused_with_key_and_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PriorbenchError, match=message):
        source_for("tip3p", options)


def test_a_trajectory_that_is_not_equilibrated_is_refused_and_not_written(tmp_path: Path) -> None:
    """Straight after minimisation half of the kinetic energy turns into potential energy."""
    hasty = {"frames": 5, "interval_steps": 4, "equilibration_ps": 0.0, "smoke": True}
    with pytest.raises(PriorbenchError, match=r"trajectory0: mean temperature .* raise equilibration_ps"):
        source_for("tip3p", hasty).acquire("trajectory0", None, tmp_path / "trajectory0.npz")
    assert list(tmp_path.iterdir()) == []


def test_forces_that_are_not_numbers_are_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tip3p_simulation._run

    def exploding(options: TIP3POptions, index: int) -> dict[str, Any]:
        arrays = good(options, index)
        arrays["forces"][1, 5, 2] = np.nan
        return arrays

    monkeypatch.setattr(tip3p_simulation, "_run", exploding)
    with pytest.raises(PriorbenchError, match="forces are not all finite"):
        TIP3P(TIP3POptions(**TINY)).acquire("trajectory0", None, tmp_path / "trajectory0.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_cut_or_foreign_part_is_refused(parts: dict[str, Path], tmp_path: Path) -> None:
    source, first = source_for("tip3p", {**TINY, "trajectories": 1}), tmp_path / "trajectory0.npz"
    for content in (parts["trajectory0"].read_bytes()[:-50], b"not an archive"):
        first.write_bytes(content)
        with pytest.raises(PriorbenchError, match="damaged or not an acquired part"):
            source.convert({"trajectory0": first})
    write_npz(first, energies=np.zeros(3))
    with pytest.raises(PriorbenchError, match="damaged or not an acquired part"):
        source.convert({"trajectory0": first})


def test_flexible_molecules_vibrate_with_forces_to_match() -> None:
    arrays = simulate(TIP3POptions(**TINY, variant="flexible", timestep=0.5), 0)
    water = arrays["positions"].reshape(-1, 3, 3) * 10
    lengths = np.linalg.norm(water[:, 1:] - water[:, :1], axis=-1)
    assert 0.01 < lengths.std() < 0.06  # Å
    assert abs(lengths.mean() - 0.9572) < 0.03
    arms = (water[:, 1:] - water[:, :1]) / lengths[..., None]
    pull = (arrays["forces"].reshape(-1, 3, 3)[:, 1:] * arms).sum(-1)
    assert np.corrcoef(pull.ravel(), lengths.ravel())[0, 1] < -0.7  # a stretched bond pulls its hydrogen back


def test_groups_are_trajectories_or_blocks_of_them(parts: dict[str, Path]) -> None:
    blocks = source_for("tip3p", {**TINY, "groups": "blocks"}).convert(parts)
    assert blocks.groups.tolist() == [0, 0, 0, 1, 1, 1]  # three frames are no longer than forces remember
    with np.load(parts["trajectory0"]) as archive:
        noise = np.random.default_rng(0).normal(size=(40, *archive["forces"].shape[1:]))
    groups = TIP3P(TIP3POptions(**TINY, groups="blocks"))._groups(noise)
    assert len(np.unique(groups)) == 20
