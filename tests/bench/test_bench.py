"""The whole bench, as small as it gets."""

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from priorbench import registry
from priorbench.backbones.gns import GNS
from priorbench.bench import machine, steps
from priorbench.bench.boxes import write_boxes
from priorbench.bench.cells import engine
from priorbench.bench.command import fastest, run
from priorbench.bench.options import Options
from priorbench.bench.phases import PHASES
from priorbench.cli import main
from priorbench.io import write_json
from tests.bench.conftest import report

SMALL = ["--backbones", "forcenet", "--tasks", "masking", "--atoms", "24", "--batch-size", "2", "--threads", "1"]
CELL = {"atoms": 24, "batch_size": 2, "threads": 1, "device": "cpu", "seconds": 0.0}
TINY = Options(("forcenet",), ("masking",), (24,), 2, threads=1, seconds=0.0)
VERSION = {"ms", "best_ms", "phases_ms", "steps", "matmul_units", "structures_per_s", "edges_per_s", "matmul_share"}


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MATRIX", 256)
    monkeypatch.setattr(machine, "COPIED", 1 << 22)


@pytest.mark.parametrize("backbone", registry.BACKBONES)
@pytest.mark.parametrize("task", registry.TASKS)
def test_every_cell_is_timed(tmp_path: Path, backbone: str, task: str) -> None:
    write_boxes(tmp_path, 24, 3.4, 4)
    settings = {"cutoff": 3.4, "layers": 1, "width": 8}
    row = engine(backbone=backbone, task=task, folder=str(tmp_path), settings=settings, **CELL)
    assert sum(row["phases_ms"].values()) == pytest.approx(row["ms"])
    assert all(row["phases_ms"][phase] > 0 for phase in PHASES)
    assert 0 < row["best_ms"] <= row["ms"]
    assert row["edges_per_structure"] == pytest.approx(24 * 12.6, rel=0.01)
    assert row["gflop_per_structure"] > 0
    assert row["peak_memory_gb"] > 0.05


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_report_has_everything(in_this_process: Any) -> None:
    whole = run(TINY, ["steps"])
    (row,) = whole["suites"]["steps"]
    assert (row["backbone"], row["task"], row["atoms"], row["batch_size"]) == ("forcenet", "masking", 24, 2)
    for name in ("priorbench", "textbook"):
        assert VERSION | {"peak_memory_gb", "peak_gpu_memory_gb"} <= set(row[name])
        assert row[name]["steps"] == 3
    assert row["ratio"] == row["textbook"]["ms"] / row["priorbench"]["ms"]
    rate = row["matmul_gflops"]  # around the cell
    own = row["priorbench"]
    assert own["matmul_units"] == pytest.approx(own["ms"] / 1000 * rate)
    assert own["matmul_share"] == pytest.approx(row["gflop_per_structure"] / own["matmul_units"])
    assert own["edges_per_s"] == pytest.approx(row["edges_per_step"] / 2 * own["structures_per_s"])
    assert whole["options"]["batch_size"] == 2
    assert {"date", "commit", "version", "format"} <= set(whole)


@pytest.mark.parametrize(("cells", "rate"), [([150.0, 300.0], 300.0), ([], 200.0), ([150.0], 200.0)])
def test_the_machine_is_as_fast_as_it_was_seen_at_its_best(cells: list[float], rate: float) -> None:
    content = report([{"matmul_gflops": cell} for cell in cells])
    content["machine"]["matmul_gflops"] = 200.0
    fastest(content)
    assert content["machine"]["matmul_gflops"] == rate


def test_without_the_repository_the_textbook_is_left_out(
    in_this_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(steps, "TEXTBOOK", tmp_path / "benchmarks" / "textbook")
    (row,) = run(TINY, ["steps"])["suites"]["steps"]
    assert row["textbook"] is row["ratio"] is None
    said = [line for line in capsys.readouterr().err.splitlines() if "textbook" in line]
    assert len(said) == 1
    assert "does not exist" in said[0]


def test_a_new_backbone_is_timed_without_another_edit(
    in_this_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("plug_in")
    module.New = type("New", (GNS,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plug_in", module)
    monkeypatch.setitem(registry.BACKBONES, "new", "plug_in:New")

    def isolated(function: str, **arguments: Any) -> Any:
        from priorbench.errors import PriorbenchError

        if function.endswith(":textbook"):
            raise PriorbenchError("KeyError: 'New'")
        return in_this_process(function, **arguments)

    monkeypatch.setattr(steps, "isolated", isolated)
    options = Options(("new",), ("potential",), (24,), 2, threads=1, seconds=0.0)
    (row,) = run(options, ["steps"])["suites"]["steps"]
    assert row["priorbench"]["ms"] > 0
    assert row["ratio"] is None
    assert "new potential 24 atoms, textbook: KeyError: 'New'" in capsys.readouterr().err


def test_the_command_measures_and_writes(
    in_this_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--suites", "steps", *SMALL, "--seconds", "0", "--no-textbook"]
    assert main([*arguments, "--output", str(tmp_path), "--name", "here"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"here.{s}" for s in ("json", "md", "pdf", "png")]
    assert "forcenet  masking     24  priorbench" in capsys.readouterr().out
    assert json.loads((tmp_path / "here.json").read_text())["suites"]["steps"][0]["priorbench"]["steps"] == 3


@pytest.mark.parametrize(("factor", "status"), [(1.1, 0), (1.2, 1)])
def test_the_command_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factor: float, status: int
) -> None:
    write_json(tmp_path / "earlier.json", report())
    now = report()
    now["suites"]["steps"][0]["priorbench"]["matmul_units"] *= factor
    monkeypatch.setattr("priorbench.bench.command.run", lambda *_: now)
    assert main(["bench", "--against", str(tmp_path / "earlier.json")]) == status
    out, err = capsys.readouterr()
    assert f"+{100 * factor - 100:.1f} %" in out
    assert err.count("\n") == status
    assert err.startswith("priorbench bench: 1 of 18 cells" if status else "")


def test_a_cell_that_fails_costs_no_other(
    in_this_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def isolated(function: str, **arguments: Any) -> Any:
        from priorbench.errors import PriorbenchError

        if arguments.get("backbone") == "gns":
            raise PriorbenchError("out of luck")
        return in_this_process(function, **arguments)

    monkeypatch.setattr(steps, "isolated", isolated)
    arguments = [*SMALL, "--backbones", "gns", "forcenet", "--seconds", "0", "--no-textbook", "--output", str(tmp_path)]
    assert main(["bench", "--suites", "steps", *arguments, "--name", "x"]) == 1
    captured = capsys.readouterr()
    assert "forcenet  masking     24  priorbench" in captured.out
    assert captured.err.endswith("priorbench bench: 1 cell failed: gns masking 24 atoms: out of luck\n")
    whole = json.loads((tmp_path / "x.json").read_text())
    assert [row["backbone"] for row in whole["suites"]["steps"]] == ["forcenet"]
    assert whole["failures"] == ["gns masking 24 atoms: out of luck"]


@pytest.mark.slow
def test_a_job_is_timed_to_its_first_step(in_this_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIORBENCH_KERNELS", "plain")
    (row,) = run(Options(("forcenet",), ("potential",), threads=1), ["startup"])["suites"]["startup"]
    assert 0.3 < row["seconds"] < 60
    assert row["compile_seconds"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbones", "gsn"], "--backbones: unknown 'gsn'; known are egnn, gns, forcenet, painn"),
        (["--tasks", "x"], "--tasks: unknown 'x'; known are masking, denoising, masking_denoising, potential"),
        (["--gpu", "x", "--device", "cuda"], "--gpu: unknown 'x'; known are compile, fast, tf32"),
        (["--gpu", "tf32"], "--gpu tf32: --device is cpu; give --device cuda"),
        (["--suites", "x"], "--suites: unknown 'x'; known are steps, startup, parallel, packed, calculator, scale"),
        (["--atoms", "192", "100"], "--atoms: 100 atoms are no whole water molecules; give multiples of 3"),
        (["--batch-size", "0"], "--batch-size: 0 is less than 1"),
        (["--seconds", "nan"], "--seconds: nan is no length of time"),
        (["--tolerance", "-1"], "--tolerance: -1 is no fraction"),
        (["--against", "nowhere.json"], "nowhere.json: no such file; run the rule that makes it first"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 1
    assert capsys.readouterr().err == f"priorbench bench: {message}\n"


def test_neither_the_parser_nor_the_parent_process_imports_torch() -> None:
    code = """
import sys
from priorbench.cli import build_parser
build_parser().parse_args(["bench"])
print({"torch", "numpy", "pydantic"} & set(sys.modules))
import priorbench.bench.command
print({"torch", "matplotlib"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nset()\n"
