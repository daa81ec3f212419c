"""Is a trajectory of TIP3P water in equilibrium?  Temperature, energy drift and structure, judged and drawn.

Measured on ten trajectories of 258 rigid molecules, 100 ps each (one frame every 0.1 ps, 300 K): the potential energy
spreads by 0.060 eV √n, its values are independent after 2 ps, the means of two halves differ by 0.020 eV √n (one
standard deviation; 0.017 follows from the two numbers before), and the first peak of the O–O distribution is 2.75 high
at 2.77 Å.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from priorbench.datasets.tip3p import TIP3POptions

EV = 0.010364269656262174  # of one kJ/mol
KILOJOULE_PER_MOL_NM = 0.0010364269656262174  # eV/Å
GAS_CONSTANT = 0.00831446261815324  # kJ/mol/K
DECORRELATION = 0.3  # ps after which kinetic energies are independent (autocorrelation 0.2 at 0.2 ps, 0 at 0.3 ps)
ENERGY_SPREAD = 0.060  # eV √n at 300 K, rigid
VIBRATION_SPREAD = 0.032  # eV √n at 300 K that three classical vibrations of a molecule add: kT √(3/2)
ENERGY_DECORRELATION = 2.0  # ps
STANDARD_ERRORS = 4
PEAK_PLACE, PEAK_HEIGHT = (2.6, 2.95), 2.0  # Å; least height
LEAST_BOX = 8.0  # Å; in a smaller one the first shell meets its images
LEAST_PAIRS = 20_000
BIN = 0.05  # Å
SAMPLED = 200  # frames a trajectory


def check(index: int, arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> None:
    """Refuse trajectory ``index`` (OpenMM's units) where it did not equilibrate; every check that can be made is."""
    check_finite(index, arrays)
    check_temperature(index, arrays["temperatures"], options)
    check_drift(index, arrays["energies"], options)
    check_structure(index, arrays["positions"], float(arrays["box"]), options)


def check_finite(index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a trajectory with a number that is missing or infinite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise PriorbenchError(f"tip3p trajectory{index}: {name} are not all finite; lower timestep or density")


def check_temperature(index: int, temperatures: NDArray[np.float64], options: "TIP3POptions") -> None:
    """Refuse a trajectory whose mean temperature (K) is off by more than 2 % and four standard errors.

    The standard error is that of the canonical ensemble for as many independent frames as the trajectory is long.
    """
    spread = options.temperature * math.sqrt(2 / (options.degrees_of_freedom * options.molecules))
    independent = min(options.frames, _independent(options, DECORRELATION))
    tolerance = 0.02 * options.temperature + STANDARD_ERRORS * spread / math.sqrt(independent)
    mean = float(temperatures.mean())
    if not abs(mean - options.temperature) <= tolerance:
        raise PriorbenchError(
            f"tip3p trajectory{index}: mean temperature {mean:.1f} K is not within {tolerance:.1f} K of "
            f"{options.temperature:g} K; raise equilibration_ps or lower timestep"
        )


def check_drift(index: int, energies: NDArray[np.float64], options: "TIP3POptions") -> None:
    """Refuse a trajectory whose potential energy (kJ/mol) differs between its halves by four standard errors."""
    drift, error = energy_drift(energies, options)
    if abs(drift) > STANDARD_ERRORS * error:
        raise PriorbenchError(
            f"tip3p trajectory{index}: the potential energy drifts by {drift:+.2f} eV between its halves, "
            f"where {error:.2f} eV is one standard error; raise equilibration_ps"
        )


def energy_drift(energies: NDArray[np.float64], options: "TIP3POptions") -> tuple[float, float]:
    """Mean potential energy (F,) kJ/mol of the second half less that of the first, and its standard error, in eV."""
    half = len(energies) // 2
    spread = math.hypot(ENERGY_SPREAD, VIBRATION_SPREAD if options.variant == "flexible" else 0.0)
    spread *= math.sqrt(options.molecules) * options.temperature / 300
    error = spread * math.sqrt(2 / max(1.0, _independent(options, ENERGY_DECORRELATION) / 2))
    return (float(energies[-half:].mean() - energies[:half].mean()) * EV if half else 0.0), error


def check_structure(index: int, positions: NDArray[np.float64], box: float, options: "TIP3POptions") -> None:
    """Refuse a trajectory (nm) of another density than asked for or without the first shell of liquid water.

    The shell is looked for at the default density, in boxes of at least 8 Å and where enough pairs are sampled.
    """
    if not math.isclose(box * 10, options.box, rel_tol=1e-6):
        raise PriorbenchError(
            f"tip3p trajectory{index}: its box of {box * 10:.4f} Å is not that of the density asked for; run it again"
        )
    frames = min(len(positions), SAMPLED)
    if options.box < LEAST_BOX or frames * options.molecules**2 / 2 < LEAST_PAIRS or options.density < 0.9:
        return
    place, height = first_peak(*oxygen_distribution(positions, box))
    if not (PEAK_PLACE[0] <= place <= PEAK_PLACE[1] and height >= PEAK_HEIGHT):
        raise PriorbenchError(
            f"tip3p trajectory{index}: the O–O distribution peaks at {place:.2f} Å with {height:.2f}, not between "
            f"{PEAK_PLACE[0]} and {PEAK_PLACE[1]} Å with at least {PEAK_HEIGHT:g}; raise equilibration_ps"
        )


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


def summary(arrays: Mapping[str, NDArray[Any]], options: "TIP3POptions") -> dict[str, float]:
    """The numbers of one trajectory for the data card."""
    drift, error = energy_drift(arrays["energies"], options)
    place, height = first_peak(*oxygen_distribution(arrays["positions"], float(arrays["box"])))
    return {
        "temperature_K": float(arrays["temperatures"].mean()),
        "temperature_std_K": float(arrays["temperatures"].std()),
        "energy_eV_per_molecule": float(arrays["energies"].mean() * EV / options.molecules),
        "energy_drift_between_halves_eV": drift,
        "energy_drift_standard_error_eV": error,
        "first_OO_peak_A": place,
        "first_OO_peak_height": height,
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
            time = (np.arange(len(arrays["energies"])) + 1) * step
            _running(temperature, time, arrays["temperatures"], shade, step)
            _running(energy, time, arrays["energies"] * (EV * 1e3 / options.molecules), shade, step)
            structure.plot(*oxygen_distribution(arrays["positions"], float(arrays["box"])), color=shade, lw=0.8)
        temperature.axhline(options.temperature, color="black", lw=0.8, ls="--")
        temperature.set(xlabel="time (ps)", ylabel="temperature (K)")
        energy.set(xlabel="time (ps)", ylabel="potential energy (meV/molecule)")
        structure.set(xlabel="O–O distance (Å)", ylabel="$g$(O–O)", xlim=(2, None), ylim=(0, None))
        structure.axhline(1, color="black", lw=0.8, ls="--")
        for axes, letter in zip((temperature, energy, structure), "abc", strict=True):
            axes.set_title(letter, loc="left", fontweight="bold")
        figure.tight_layout(w_pad=2.0)
        save(figure, stem)


def _running(axes: "Axes", time: NDArray[Any], values: NDArray[Any], shade: Any, step: float) -> None:
    """The mean over five picoseconds, or all values where there are few."""
    width = min(len(values), max(1, round(5.0 / step)))
    if len(values) < 3 * width:
        width = 1
    smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
    axes.plot(time[width - 1 :] - (width - 1) * step / 2, smooth, color=shade, lw=0.8)


def _independent(options: "TIP3POptions", decorrelation: float) -> float:
    """Independent values that a trajectory holds, at least one."""
    return max(1.0, options.frames * options.interval_steps * options.timestep * 1e-3 / decorrelation)
