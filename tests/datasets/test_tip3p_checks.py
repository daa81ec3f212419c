"""What is not in equilibrium is refused; what is, is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priorbench.cli import main
from priorbench.datasets.archive import write_npz
from priorbench.datasets.tip3p import TIP3POptions
from priorbench.datasets.tip3p_checks import (
    EV,
    RECORDED,
    check_drift,
    check_structure,
    check_temperature,
    check_together,
    energy_drift,
    first_peak,
    radial_distribution,
    running_mean,
    summary,
)
from priorbench.datasets.tip3p_simulation import start_positions
from priorbench.errors import PriorbenchError

LONG = TIP3POptions(molecules=258, frames=1000)


def test_independent_points_have_a_flat_distribution_and_a_lattice_peaks_at_its_constant() -> None:
    random = np.random.default_rng(0)
    distances, g = radial_distribution(random.uniform(-20, 40, (20, 300, 3)), 20.0, 0.5)
    np.testing.assert_allclose(g[4:], 1.0, atol=0.1)
    assert distances[-1] == pytest.approx(9.75)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(1, -1, 3) * 3.0
    distances, g = radial_distribution(grid, 12.0, 0.05)
    place, height = first_peak(distances, g)
    assert place == pytest.approx(3.0, abs=0.05)
    assert height > 5


def correlated(random: np.random.Generator, frames: int, time: float, spread: float) -> np.ndarray:
    """A stationary series that forgets itself after ``time`` frames."""
    decay = np.exp(-1 / time)
    values = np.zeros(frames + 200)
    for i in range(1, len(values)):
        values[i] = decay * values[i - 1] + np.sqrt(1 - decay**2) * random.normal()
    return values[200:] * spread


def run(random: np.random.Generator, options: TIP3POptions, before: float = 0.0, off: float = 0.0) -> dict[str, Any]:
    """Series of a run in equilibrium; ``before`` eV higher in energy while equilibrating, ``off`` K too warm."""
    step = options.interval_steps * options.timestep * 1e-3
    spread, kelvin = 0.060 * np.sqrt(options.molecules) / EV, 300 * np.sqrt(2 / 6 / options.molecules)
    early = round(options.equilibration_ps / RECORDED)
    both = correlated(random, early + options.frames, 1.0 / step, spread)  # independent after two picoseconds
    warm = 300 + off + correlated(random, early + options.frames, 0.35 / step, kelvin)
    return {
        "energies": -1e4 + both[early:],
        "equilibration_energies": -1e4 + before / EV + both[:early],
        "temperatures": warm[early:],
        "equilibration_temperatures": warm[:early],
    }


def test_equilibrium_passes_and_a_drift_is_refused() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        arrays = run(random, LONG)
        check_drift(0, arrays, LONG)
        drifting = arrays["energies"] + np.linspace(0, 4 * 0.060 * np.sqrt(258) / EV, 1000)
        with pytest.raises(PriorbenchError, match=r"trajectory3: .* drifts by \+.* between its halves.* raise equil"):
            check_drift(3, {**arrays, "energies": drifting}, LONG)
        falling = {**arrays, "equilibration_energies": arrays["equilibration_energies"] + 8 / EV}
        with pytest.raises(PriorbenchError, match=r"drifts by -\d.* from the second half of the equilibration"):
            check_drift(3, falling, LONG)


def test_the_temperature_must_be_a_number_near_the_thermostats() -> None:
    random, options = np.random.default_rng(1), TIP3POptions()
    for _ in range(30):
        check_temperature(0, run(random, options), options)
    for off in (-45.0, 45.0, np.nan):
        with pytest.raises(PriorbenchError, match="mean temperature"):
            check_temperature(0, run(random, options, off=off), options)


def test_trajectories_together_tell_what_none_tells_alone() -> None:
    # Ten short trajectories that had not settled passed one by one.
    random = np.random.default_rng(2)
    options = TIP3POptions(molecules=64, frames=10, interval_steps=100)
    for _ in range(30):
        check_together([run(random, options) for _ in range(10)], options)
    unsettled = [run(random, options, before=0.014 * 64) for _ in range(10)]
    for index, arrays in enumerate(unsettled):
        check_drift(index, arrays, options)
    with pytest.raises(PriorbenchError, match=r"all trajectories still moved by -0\.\d+ eV"):
        check_together(unsettled, options)
    warm = [run(random, options, off=15.0) for _ in range(10)]
    with pytest.raises(PriorbenchError, match=r"mean temperature of all trajectories, 31\d"):
        check_together(warm, options)
    check_together(warm, options.model_copy(update={"smoke": True}))


def test_one_frame_has_no_drift_and_flexible_water_a_wider_tolerance() -> None:
    assert energy_drift(np.array([5.0]), LONG)[0] == 0.0
    flexible = TIP3POptions(molecules=258, frames=1000, variant="flexible", timestep=0.5, interval_steps=200)
    assert energy_drift(np.zeros(4), flexible)[1] > energy_drift(np.zeros(4), LONG)[1]


def test_a_grid_is_no_liquid_and_another_density_is_noticed() -> None:
    options = TIP3POptions(molecules=64)
    grid = np.tile(start_positions(options, np.random.default_rng(0)) * 0.1, (40, 1, 1))
    with pytest.raises(PriorbenchError, match=r"trajectory0: the O–O distribution peaks at 3\.\d\d Å"):
        check_structure(0, grid, options.box * 0.1, options)
    with pytest.raises(PriorbenchError, match="is not that of the density asked for"):
        check_structure(0, grid, options.box * 0.11, options)
    check_structure(0, grid[:1], options.box * 0.1, options)  # one frame is too few to tell


def test_the_checks_are_summed_up_and_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    options: dict[str, Any] = {"molecules": 27, "trajectories": 2, "frames": 6}
    parsed = TIP3POptions(**options)
    for part in ("trajectory0", "trajectory1"):
        arrays = {
            "positions": np.tile(start_positions(parsed, random) * 0.1, (6, 1, 1)),
            "forces": random.normal(size=(6, 81, 3)) * 600,
            "energies": random.normal(-1000, 10, 6),
            "box": np.array(parsed.box * 0.1),
            "temperatures": random.normal(300, 20, 6),
            "equilibration_energies": random.normal(-1000, 10, 100),
            "equilibration_temperatures": random.normal(300, 20, 100),
        }
        write_npz(tmp_path / f"{part}.npz", **arrays)
        numbers = summary(arrays, parsed)
        assert numbers["force_std_eV_per_A"] == pytest.approx(0.62, abs=0.05)
        late = arrays["equilibration_temperatures"][50:].mean()
        assert numbers["temperature_K"] == pytest.approx((late * 10 + arrays["temperatures"].mean() * 0.6) / 10.6)
        assert not numbers["structure_checked"]
        assert all(np.isfinite(value) for value in numbers.values())
    spec = '{"name": "water", "source": "tip3p", "options": {"molecules": 27, "trajectories": 2, "frames": 6}}'
    files = [str(tmp_path / f"trajectory{i}.npz") for i in range(2)]
    assert main(["checks", "--dataset", spec, "--parts", *files, "--output", str(tmp_path / "checks")]) == 0
    assert (tmp_path / "checks.png").stat().st_size > 10_000
    assert (tmp_path / "checks.pdf").is_file()


def test_a_running_mean_lies_in_the_middle_of_what_it_averages() -> None:
    time = np.concatenate([np.arange(0, 20, 0.2), np.arange(20, 60, 0.05)])
    middle, mean = running_mean(time, 3 * time + 1)
    np.testing.assert_allclose(mean, 3 * middle + 1, atol=1e-9)
    assert middle[0] == pytest.approx(2.4)
    few = np.arange(4.0)
    assert running_mean(few, few)[1] is few


def test_a_source_without_simulation_has_no_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = '{"name": "ten", "source": "rmd17", "options": {}}'
    assert main(["checks", "--dataset", spec, "--parts", "x.npz", "--output", str(tmp_path / "checks")]) == 1
    assert "generates nothing that is checked" in capsys.readouterr().err
