"""Is a trajectory of TIP3P water in equilibrium?  Temperature, energy drift and structure, judged and drawn.

Measured on ten trajectories of 258 rigid molecules, 100 ps each (one frame every 0.1 ps, 300 K): the potential energy
spreads by 0.060 eV √n, its values are independent after 2 ps, the means of two halves differ by 0.020 eV √n (one
standard deviation; 0.017 follows from the two numbers before), and the first peak of the O–O distribution is 2.75 high
at 2.77 Å.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

if TYPE_CHECKING:
    from priorbench.datasets.tip3p import TIP3POptions

EV = 0.010364269656262174  # of one kJ/mol
KILOJOULE_PER_MOL_NM = 0.0010364269656262174  # eV/Å
GAS_CONSTANT = 0.00831446261815324  # kJ/mol/K
RECORDED = 0.2  # ps between two values of the equilibration
DECORRELATION = 0.7  # ps after which mean temperatures count as independent (measured spread of means of 1 to 10 ps)
ENERGY_SPREAD = 0.060  # eV √n at 300 K, rigid
VIBRATION_SPREAD = 0.032  # eV √n at 300 K that three classical vibrations of a molecule add: kT √(3/2)
ENERGY_DECORRELATION = 2.0  # ps
STANDARD_ERRORS = 4
PEAK_PLACE, PEAK_HEIGHT = (2.6, 2.95), (2.0, 3.5)  # Å; height of the first maximum
LEAST_BOX = 8.0  # Å; in a smaller one the first shell meets its images
LEAST_PAIRS = 20_000
BIN = 0.05  # Å
SAMPLED = 200  # frames a trajectory


def check(index: int, arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> None:
    """Refuse trajectory ``index`` (OpenMM's units) where it did not equilibrate; every check that can be made is."""
    check_finite(index, arrays)
    check_temperature(index, arrays, options)
    check_drift(index, arrays, options)
    check_structure(index, arrays["positions"], float(arrays["box"]), options)


def check_together(trajectories: Sequence[Mapping[str, NDArray[Any]]], options: "TIP3POptions") -> None:
    """Refuse a set of trajectories whose means together are not those of equilibrium, which tells more than each alone.

    The mean temperature must be within 1 % and four standard errors, and the potential energy must not have gone on
    falling or rising from the second half of the equilibrations to the frames by more than four.
    """
    if options.smoke:
        return
    found = [mean_temperature(arrays, options) for arrays in trajectories]
    mean, error = _pooled(found)
    tolerance = 0.01 * options.temperature + STANDARD_ERRORS * error
    if not abs(mean - options.temperature) <= tolerance:
        raise PriorbenchError(
            f"tip3p: the mean temperature of all trajectories, {mean:.1f} K, is not within {tolerance:.1f} K of "
            f"{options.temperature:g} K; raise equilibration_ps or lower timestep"
        )
    drift, error = _pooled([settling(arrays, options) for arrays in trajectories])
    if abs(drift) > STANDARD_ERRORS * error:
        raise PriorbenchError(
            f"tip3p: the potential energy of all trajectories still moved by {drift:+.2f} eV from the second half of "
            f"the equilibration to the frames, where {error:.2f} eV is one standard error; raise equilibration_ps"
        )


def _pooled(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    values, errors = np.array(found).T
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors))


def check_finite(index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a trajectory with a number that is missing or infinite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise PriorbenchError(f"tip3p trajectory{index}: {name} are not all finite; lower timestep or density")


def check_temperature(index: int, arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> None:
    """Refuse a trajectory whose mean temperature (K) is off by more than 2 % and four standard errors."""
    mean, error = mean_temperature(arrays, options)
    tolerance = 0.02 * options.temperature + STANDARD_ERRORS * error
    if not abs(mean - options.temperature) <= tolerance:
        raise PriorbenchError(
            f"tip3p trajectory{index}: mean temperature {mean:.1f} K is not within {tolerance:.1f} K of "
            f"{options.temperature:g} K; raise equilibration_ps, lower timestep or take another seed"
        )


def mean_temperature(arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> tuple[float, float]:
    """Mean over the second half of the equilibration and the frames, and its standard error, K.

    The standard error is that of the canonical ensemble for as many independent values as the time holds.
    """
    spread = options.temperature * math.sqrt(2 / (options.degrees_of_freedom * options.molecules))
    parts = [(arrays["temperatures"], _duration(options)), _late(arrays["equilibration_temperatures"], options)]
    weights = [duration for _, duration in parts]
    mean = np.average([values.mean() if len(values) else 0.0 for values, _ in parts], weights=weights)
    return float(mean), spread / math.sqrt(max(1.0, sum(weights) / DECORRELATION))


def check_drift(index: int, arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> None:
    """Refuse a trajectory whose potential energy (kJ/mol) moves by four standard errors.

    From the first half of the frames to the second, and from the second half of the equilibration to the frames.
    """
    for (drift, error), where in (
        (energy_drift(arrays["energies"], options), "between its halves"),
        (settling(arrays, options), "from the second half of the equilibration to the frames"),
    ):
        if abs(drift) > STANDARD_ERRORS * error:
            raise PriorbenchError(
                f"tip3p trajectory{index}: the potential energy drifts by {drift:+.2f} eV {where}, where "
                f"{error:.2f} eV is one standard error; raise equilibration_ps or take another seed"
            )


def energy_drift(energies: NDArray[np.float64], options: "TIP3POptions") -> tuple[float, float]:
    """Mean potential energy (F,) kJ/mol of the second half less that of the first, and its standard error, in eV."""
    half = len(energies) // 2
    error = _energy_spread(options) * math.sqrt(2 / _independent(_duration(options) / 2))
    return (float(energies[-half:].mean() - energies[:half].mean()) * EV if half else 0.0), error


def settling(arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> tuple[float, float]:
    """Mean potential energy of the frames less that of the second half of the equilibration, and its error, in eV."""
    values, duration = _late(arrays["equilibration_energies"], options)
    error = _energy_spread(options) * math.sqrt(1 / _independent(_duration(options)) + 1 / _independent(duration))
    return (float(arrays["energies"].mean() - values.mean()) * EV if len(values) else 0.0), error


def _late(values: NDArray[np.float64], options: "TIP3POptions") -> tuple[NDArray[np.float64], float]:
    """The second half of what was recorded of the equilibration, and the time that it covers, ps."""
    half = values[len(values) // 2 :]
    return half, options.equilibration_ps * len(half) / max(len(values), 1)


def _energy_spread(options: "TIP3POptions") -> float:
    spread = math.hypot(ENERGY_SPREAD, VIBRATION_SPREAD if options.variant == "flexible" else 0.0)
    return spread * math.sqrt(options.molecules) * options.temperature / 300


def _duration(options: "TIP3POptions") -> float:
    """Of the frames, ps."""
    return options.frames * options.interval_steps * options.timestep * 1e-3


def _independent(duration: float) -> float:
    """Independent energies that a time in ps holds, at least one."""
    return max(1.0, duration / ENERGY_DECORRELATION)


def check_structure(index: int, positions: NDArray[np.float64], box: float, options: "TIP3POptions") -> None:
    """Refuse a trajectory (nm) of another density than asked for or without the first shell of liquid water.

    The shell is looked for at the default density, in boxes of at least 8 Å and where enough pairs are sampled.
    """
    if not math.isclose(box * 10, options.box, rel_tol=1e-6):
        raise PriorbenchError(
            f"tip3p trajectory{index}: its box of {box * 10:.4f} Å is not that of the density asked for; run it again"
        )
    if not can_tell_structure(len(positions), options):
        return
    place, height = first_peak(*oxygen_distribution(positions, box))
    if not (PEAK_PLACE[0] <= place <= PEAK_PLACE[1] and PEAK_HEIGHT[0] <= height <= PEAK_HEIGHT[1]):
        raise PriorbenchError(
            f"tip3p trajectory{index}: the O–O distribution peaks at {place:.2f} Å with {height:.2f}, not between "
            f"{PEAK_PLACE[0]} and {PEAK_PLACE[1]} Å with {PEAK_HEIGHT[0]:g} to {PEAK_HEIGHT[1]:g}; raise "
            "equilibration_ps"
        )


def can_tell_structure(frames: int, options: "TIP3POptions") -> bool:
    """Whether box, density and number of pairs allow to judge the O–O distribution."""
    pairs = min(frames, SAMPLED) * options.molecules**2 / 2
    return options.box >= LEAST_BOX and pairs >= LEAST_PAIRS and options.density >= 0.9


def oxygen_distribution(positions: NDArray[np.float64], box: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle of the bins (Å) and g(r) of the oxygens up to half the box; ``positions`` (F, 3n, 3) and ``box`` in nm."""
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(len(positions), SAMPLED)).astype(int))
    return radial_distribution(positions[chosen, ::3] * 10, box * 10, BIN)


def radial_distribution(
    points: NDArray[np.float64], box: float, width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle of the bins and g(r) of ``points`` (F, m, 3) in cubic boxes of edge ``box``, up to half of it."""
    edges = np.arange(0.0, box / 2 + 1e-9, width)
    first, second = np.triu_indices(points.shape[1], 1)
    counts = np.zeros(len(edges) - 1)
    for frame in points:
        vectors = frame[first] - frame[second]
        vectors -= box * np.round(vectors / box)
        counts += np.histogram(np.linalg.norm(vectors, axis=1), edges)[0]
    ideal = len(points) * len(first) / box**3 * 4 / 3 * np.pi * np.diff(edges**3)
    return (edges[1:] + edges[:-1]) / 2, counts / ideal


def first_peak(distances: NDArray[np.float64], g: NDArray[np.float64]) -> tuple[float, float]:
    """Place (Å) and height of the highest point within 4 Å."""
    near = np.flatnonzero(distances < 4.0)
    at = near[g[near].argmax()]
    return float(distances[at]), float(g[at])


def summary(arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> dict[str, float | bool]:
    """The numbers of one trajectory for the data card."""
    drift, error = energy_drift(arrays["energies"], options)
    settled, settling_error = settling(arrays, options)
    temperature, temperature_error = mean_temperature(arrays, options)
    place, height = first_peak(*oxygen_distribution(arrays["positions"], float(arrays["box"])))
    return {
        "temperature_K": temperature,
        "temperature_standard_error_K": temperature_error,
        "temperature_std_K": float(arrays["temperatures"].std()),
        "energy_eV_per_molecule": float(arrays["energies"].mean() * EV / options.molecules),
        "energy_drift_between_halves_eV": drift,
        "energy_drift_standard_error_eV": error,
        "energy_since_equilibration_eV": settled,
        "energy_since_equilibration_standard_error_eV": settling_error,
        "first_OO_peak_A": place,
        "first_OO_peak_height": height,
        "structure_checked": can_tell_structure(len(arrays["positions"]), options),
        "force_std_eV_per_A": float(arrays["forces"].std() * KILOJOULE_PER_MOL_NM),
    }


def draw(trajectories: Mapping[str, Mapping[str, NDArray[Any]]], options: "TIP3POptions", stem: Path) -> None:
    """Write ``stem``.{pdf,png}: temperature and potential energy over time, and g(r) of the oxygens, by trajectory."""
    import matplotlib as mpl

    from priorbench.analysis.style import RC, new_figure, save

    step = options.interval_steps * options.timestep * 1e-3
    with mpl.rc_context(RC):
        figure = new_figure(7.2, 2.3)
        temperature, energy, structure = figure.subplots(1, 3)
        shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(trajectories)))
        for shade, arrays in zip(shades, trajectories.values(), strict=True):
            for axes, name, unit in (
                (temperature, "temperatures", 1.0),
                (energy, "energies", EV * 1e3 / options.molecules),
            ):
                before, values = arrays[f"equilibration_{name}"], arrays[name]
                early = (np.arange(len(before)) + 1 - len(before)) * RECORDED
                time = np.concatenate([early, (np.arange(len(values)) + 1) * step])
                axes.plot(*running_mean(time, np.concatenate([before, values]) * unit), color=shade, lw=0.8)
            structure.plot(*oxygen_distribution(arrays["positions"], float(arrays["box"])), color=shade, lw=0.8)
        for axes in (temperature, energy):
            axes.axvspan(0, _duration(options), color="0.9", lw=0, zorder=0)
        temperature.axhline(options.temperature, color="black", lw=0.8, ls="--")
        temperature.set(xlabel="time since equilibration (ps)", ylabel="temperature (K)")
        energy.set(xlabel="time since equilibration (ps)", ylabel="potential energy (meV/molecule)")
        structure.set(xlabel="O–O distance (Å)", ylabel="$g$(O–O)", xlim=(2, None), ylim=(0, None))
        structure.axhline(1, color="black", lw=0.8, ls="--")
        for axes, letter in zip((temperature, energy, structure), "abc", strict=True):
            axes.set_title(letter, loc="left", fontweight="bold")
        figure.tight_layout(w_pad=2.0)
        save(figure, stem)


def running_mean(
    time: NDArray[np.float64], values: NDArray[np.float64], width: float = 5.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of ``values`` over ``width`` ps and the middle of each; of a run shorter than thrice that, the values."""
    if time[-1] - time[0] < 3 * width:
        return time, values
    grid = np.arange(time[0], time[-1], RECORDED)
    kernel = np.full(round(width / RECORDED), RECORDED / width)
    half = (len(kernel) - 1) / 2 * RECORDED
    smooth = np.convolve(np.interp(grid, time, values), kernel, mode="valid")
    return grid[: len(smooth)] + half, smooth
