"""The suites parallel, packed and scale, as small as they get."""

import sys
from dataclasses import asdict
from typing import Any

import pytest

from priorbench.bench import packed, parallel, scale
from priorbench.bench.boxes import prepare, write_boxes
from priorbench.bench.cells import Setting, as_trained, own
from priorbench.bench.options import Cell, Options
from priorbench.bench.process import isolated
from priorbench.bench.suite import Log
from priorbench.errors import PriorbenchError
from priorbench.memory import resident_memory
from tests.bench.conftest import MACHINE
from tests.processes import together

OPTIONS: dict[str, Any] = {"atoms": (24,), "batch_size": 2, "threads": 2, "seconds": 0.0}


def test_two_processes_are_measured_beside_one(tmp_path, in_this_process: Any, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    log = Log()
    rows = parallel.measure(Options(("gns", "forcenet"), **OPTIONS), MACHINE, tmp_path, log)
    assert log.failures == []
    (row,) = rows  # the other has batch statistics
    assert (row["backbone"], row["atoms"], row["batch_size"]) == ("gns", 24, 2)
    rates = [row[way]["structures_per_s"] for way in parallel.WAYS]
    assert row["over_one_thread"] == pytest.approx(rates[2] / rates[0])
    assert row["over_two_threads"] == pytest.approx(rates[2] / rates[1])
    assert row["matmul_units"] == pytest.approx(MACHINE["matmul_gflops"] / rates[2])
    assert row["two_processes"]["steps"] >= 3


def test_two_processes_really_share_their_steps(tmp_path) -> None:
    write_boxes(tmp_path, 24, 3.4, 4)
    cell = {"backbone": "gns", "task": "masking", "atoms": 24, "batch_size": 2, "threads": 1, "device": "cpu"}
    settings = {"layers": 1, "width": 8}
    arguments = {**cell, "seconds": 0.0, "folder": str(tmp_path), "settings": settings, "steps": 5, "divided": True}
    first, second = together(own, [arguments] * 2, tmp_path)
    assert first["steps"] == second["steps"] == 5


def test_the_seed_of_a_run_is_its_own(tmp_path) -> None:
    write_boxes(tmp_path, 24, 3.4, 2)
    cells = [Cell("gns", "masking", 24, 2, 1, "cpu", 0.0, str(tmp_path), {"layers": 1}, seed) for seed in (0, 0, 1)]
    first, again, other = (Setting.of(cell).model.state_dict()["element.weight"] for cell in cells)
    assert bool((first == again).all())
    assert not bool((first == other).all())
    assert own(**vars(cells[0]))["steps"] == 3


def test_steps_as_a_gpu_takes_them_are_timed_in_blocks(tmp_path) -> None:
    write_boxes(tmp_path, 24, 3.4, 8)
    cell = Cell("gns", "masking", 24, 2, 1, "cpu", 0.0, str(tmp_path), {"layers": 1, "width": 8})
    setting = Setting.of(cell)
    row = as_trained(cell, setting, setting.store("cpu"), block=2)
    assert row["steps_by"] == "operations"  # a CPU captures nothing
    assert 0 < row["best_ms"] <= row["ms"]
    assert 0 <= row["outside"] < 1


def test_runs_at_once_are_measured_beside_runs_in_a_row(tmp_path, in_this_process: Any) -> None:
    log = Log()
    options = Options(("forcenet",), ("masking", "denoising"), **OPTIONS)
    (row,) = packed.measure(options, MACHINE, tmp_path, log)  # of masking alone
    assert log.failures == []
    assert (row["task"], row["runs"]) == ("masking", 2)
    assert row["ratio"] == pytest.approx(row["at_once"]["structures_per_s"] / row["in_a_row"]["structures_per_s"])
    assert row["matmul_units"] > 0


@pytest.mark.parametrize(
    ("suite", "options"), [(parallel, Options(device="cuda")), (packed, Options(device="cuda", threads=1))]
)
def test_what_cannot_be_measured_is_left_out_in_one_line(
    suite: Any, options: Options, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.measure(options, MACHINE, tmp_path, Log()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("its rows are left out")


def test_sizes_are_measured_with_equal_atoms(tmp_path, in_this_process: Any) -> None:
    log = Log()
    options = Options(("forcenet",), atoms=(24, 48), threads=1, seconds=0.0)
    rows = scale.measure(options, MACHINE, tmp_path, log)
    assert log.failures == []
    assert [(row["kind"], row["atoms"], row["structures"]) for row in rows] == [
        ("inference", 24, 2),
        ("inference", 48, 1),
        ("training", 24, 2),
        ("training", 48, 1),
    ]
    for row in rows:
        assert row["ratio"] == (1.0 if row["atoms"] == 24 else pytest.approx(rows_ratio(rows, row)))
        assert row["edges_per_atom"] == pytest.approx(12.6, rel=0.01)
        assert row["matmul_units"] == pytest.approx(row["best_ns_per_atom"] * 1e-9 * MACHINE["matmul_gflops"])
        assert row["edges_at_once"] == pytest.approx(48 * 12.6, rel=0.01)  # small ones fit into one part


def rows_ratio(rows: list[dict], row: dict) -> float:
    smallest = next(other for other in rows if other["kind"] == row["kind"])
    return row["best_ns_per_atom"] / smallest["best_ns_per_atom"]


def result(edges: int, peak: float, whole: bool = False) -> dict[str, Any]:
    figures = {"ns_per_atom": 2e4, "best_ns_per_atom": 2e4, "steps": 1, "edges_per_atom": 10.0, "whole": whole}
    return {**figures, "base_memory_gb": 0.5, "peak_memory_gb": peak, "edges_at_once": edges}


def test_a_size_that_would_not_fit_is_left_out(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def isolated(function: str, **arguments: Any) -> Any:
        if function.endswith(":prepare"):
            return {"gns": {str(n): "" for n in arguments["atoms"]}}
        ran.append((function.split(":")[1], arguments["atoms"], arguments["batch_size"]))
        edges, training = 10 * arguments["atoms"], function.endswith(":training")
        too_large = training and arguments["atoms"] == 30000
        return None if too_large else result(edges, 0.5 + 1e-4 * edges if training else 1.0)

    ran: list[tuple] = []
    monkeypatch.setattr(scale, "isolated", isolated)
    rows = scale.measure(Options(("gns",), atoms=(300, 3000, 30000)), MACHINE, tmp_path, Log())
    assert ran[:4] == [("inference", 300, 1), ("inference", 300, 100), ("inference", 3000, 10), ("inference", 30000, 1)]
    assert ran[4:] == [("training", 300, 1), ("training", 300, 100), ("training", 3000, 10), ("training", 30000, 1)]
    assert rows[-1]["best_ns_per_atom"] is rows[-1]["matmul_units"] is None
    assert rows[-1]["extrapolated_memory_gb"] == pytest.approx(0.5 + 1e-4 * 300_000)


def starved(**cell: Any) -> Any:
    """A training cell of a machine that has 0.5 GB to spare; in a process of its own."""
    from priorbench.bench import scale_cells

    scale_cells._memory_now = lambda device: (resident_memory(), 0.5)
    return scale_cells.training(**cell)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited there alone")
@pytest.mark.parametrize(("atoms", "fits"), [(192, True), (3072, False)])
def test_a_step_without_the_memory_it_needs_is_no_failure(atoms: int, fits: bool, tmp_path) -> None:
    place = prepare(str(tmp_path), ["gns"], [atoms], 1)["gns"][str(atoms)]
    cell = Cell("gns", "potential", atoms, 1, 1, "cpu", 0.0, place)
    row = isolated("tests.bench.test_several:starved", **asdict(cell))
    assert (row is not None) == fits


def test_where_not_one_structure_fits_it_is_said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"gns": {"300": ""}}
    monkeypatch.setattr(scale, "isolated", lambda function, **_: places if function.endswith(":prepare") else None)
    log = Log()
    assert scale.measure(Options(("gns",), atoms=(300,)), MACHINE, tmp_path, log) == []
    message = "the memory is too small for one structure of 300 atoms"
    assert log.failures == [f"scale gns {kind}: {message}" for kind in ("inference", "training")]


@pytest.mark.parametrize(("whole", "needed"), [(False, 0.5 + 2 * 1.0), (True, 0.5 + 8 * 1.0)])
def test_memory_grows_with_what_is_computed_at_once(whole: bool, needed: float) -> None:
    cell = Cell("gns", "potential", 600, 4, 1, "cpu", 0.0, "")
    assert scale.extrapolated(result(3000, 1.5, whole=whole), cell) == pytest.approx(needed)


def test_a_size_that_fails_costs_no_other(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def isolated(function: str, **arguments: Any) -> Any:
        if function.endswith(":prepare"):
            return {"gns": {str(n): "" for n in arguments["atoms"]}}
        if function.endswith(":inference") and arguments["atoms"] > 300:
            raise PriorbenchError("its process was ended by signal 9")
        return result(10 * arguments["atoms"], 1.0)

    log = Log()
    monkeypatch.setattr(scale, "isolated", isolated)
    rows = scale.measure(Options(("gns",), atoms=(300, 3000, 30000)), MACHINE, tmp_path, log)
    assert [(row["kind"], row["atoms"]) for row in rows] == [
        ("inference", 300),
        *(("training", atoms) for atoms in (300, 3000, 30000)),
    ]
    assert log.failures == ["scale gns potential 3000 atoms inference: its process was ended by signal 9"]
