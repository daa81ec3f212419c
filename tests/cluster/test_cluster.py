"""The benchmark on a real SLURM: every training on a GPU of its own, cut in every way, with the numbers of uncut ones.

`make test-cluster` runs it; plain pytest does not.  All cuts happen side by side in one run of the shipped profile:
seed 0 of `cut` gets SIGTERM twenty times, seed 1 is requeued, the node of seed 2 loses its power, and a job of an
earlier Snakemake, itself killed, still trains `timed` when its copy starts; both have a minute and sleep until it is
over.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_json
from priorbench.lock import NAME as LOCK
from priorbench.lock import holder_of
from priorbench.plan.needs import NAME as PLAN
from tests.cluster import slurm

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "tests/cluster/experiment.yaml"
CUTS, REQUEUES = 20, 2
HANG = 2400  # s after which it is stuck; how long it takes, pytest says: it differs twofold between machines
LONG = {name: f"runs/water/{name}/scratch" for name in ("cut", "timed")}
RUNS = [f"{LONG['cut']}/seed{seed}" for seed in (0, 1, 2)] + [f"{LONG['timed']}/seed0"]
QUICK = [f"runs/water/quick/{name}/seed{seed}" for name in ("scratch", "mask") for seed in (0,)]
PRETRAINED = ["pretrained/water/quick/mask/seed0"]
POWERLESS = RUNS[2]
HELD = RUNS[3]  # by a job whose Snakemake was killed

if reason := slurm.why_not():
    pytest.skip(f"no SLURM can be brought up: {reason}", allow_module_level=True)


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PATH": path, "PRIORBENCH_CHECKPOINT_SECONDS": "5"}


def merged(folder: Path) -> Path:
    """The shipped profile with the overlay over it, as a profile of the place where it runs."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    for key, value in yaml.safe_load((ROOT / "tests/cluster/overlay.yaml").read_text()).items():
        if isinstance(value, dict):
            old = profile.get(key, {})
            value = {k: {**old.get(k, {}), **v} if isinstance(v, dict) else v for k, v in {**old, **value}.items()}
        profile[key] = value
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


def snakemake(place: Path, log: Path, *arguments: str, nice: int = 0) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "tests.cluster.impatient",
        "-s",
        str(ROOT / "Snakefile"),
        "--directory",
        str(place),
    ]
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, "--configfile", str(EXPERIMENT), *arguments],
            cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: os.nice(nice),
        )  # fmt: skip


def wanted(runs: list[str]) -> list[str]:
    return ["--", *(f"results/cluster/{run}/run.json" for run in runs)]


@dataclass
class Cluster:
    """What happened: where it ran and what was done to it."""

    place: Path
    uncut: Path
    log: str = ""
    cuts: int = 0
    requeues: int = 0
    powered_off: str | None = None
    records: list[dict[str, str]] = field(default_factory=list)

    def record(self, run: str) -> dict[str, Any]:
        return dict(read_json(self.place / "results/cluster" / run / "run.json"))

    def training_log(self, run: str) -> str:
        top, dataset, backbone, name, seed = run.split("/")
        stage = "finetune" if top == "runs" else "pretrain"
        return (self.place / f"results/cluster/logs/{stage}/{dataset}/{backbone}/{name}/{seed}.log").read_text()


def progress_of(place: Path, run: str) -> dict[str, Any]:
    """What a running job says of itself; nothing where none runs."""
    folder = place / "results/cluster" / run
    with contextlib.suppress(PriorbenchError, OSError):
        found = read_json(folder / "progress.json")
        holder = holder_of(folder) or {}
        if found["state"] == "running" and holder.get("job") == found["job"]:
            return dict(found)
    return {}


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Everything at once; the tests below look at what is left."""
    top = tmp_path_factory.mktemp("cluster")
    found = Cluster(top / "cut", top / "uncut")
    slurm.up()
    running: list[subprocess.Popen[bytes]] = []
    done = threading.Event()
    try:
        found.place.mkdir()
        found.uncut.mkdir()
        profile = merged(top / "slurm")
        started = time.monotonic()
        # The data once, for both.
        lists = [f"results/cluster/data/water/neighbours-{cutoff}.safetensors" for cutoff in (3.4, 3.5, 3.6)]
        prepare = snakemake(found.uncut, top / "log", "--cores", "2", "--", *lists)
        running.append(prepare)
        assert prepare.wait(600) == 0, (top / "log").read_text()
        shutil.copytree(found.uncut / "results/cluster/data", found.place / "results/cluster/data")
        shutil.copytree(found.uncut / ".snakemake", found.place / ".snakemake")
        cluster_options = ["--workflow-profile", str(profile), "--rerun-triggers", "mtime"]
        write_json(found.place / "results/cluster" / PLAN, {"seconds": {"pretrain/water/quick/mask": 1000.0}})
        first_of_all = ["--prioritize", f"results/cluster/{RUNS[0]}/run.json"]
        first = snakemake(found.place, top / "first", *cluster_options, *wanted([HELD]))
        running.append(first)
        slurm.wait_for(lambda: progress_of(found.place, HELD).get("epoch", 0) >= 1, 300, "the first job to train")
        threading.Thread(target=slow_down, args=(found.place, done), daemon=True).start()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        unlock = snakemake(found.place, top / "first", "--unlock")
        assert unlock.wait() == 0
        whole = snakemake(found.place, top / "log", *cluster_options, *first_of_all, *wanted([*RUNS, *QUICK]))
        running.append(whole)
        reference = snakemake(found.uncut, top / "reference", "--cores", "1", *wanted([*RUNS, *QUICK]), nice=15)
        running.append(reference)
        trouble(found, whole, started + HANG)
        assert whole.wait(1) == 0, (top / "log").read_text()[-8000:]
        found.log = (top / "log").read_text() + (top / "first").read_text()
        found.records = slurm.records()
        assert reference.wait(600) == 0, (top / "reference").read_text()[-4000:]
        yield found
    finally:
        done.set()
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        slurm.down()


def slow_down(place: Path, done: threading.Event) -> None:
    """Let a job that has a minute sleep 19 of 20 times, until SLURM ends it: no machine is to be in time, or nearly."""
    while not done.wait(0.1):
        told = progress_of(place, HELD)
        if told and command("squeue", "-h", "-j", told["job"], "-t", "R", "-o", "%l").strip() == "1:00":
            with contextlib.suppress(ProcessLookupError):
                os.kill(told["pid"], signal.SIGSTOP)
                time.sleep(1.9)
                os.kill(told["pid"], signal.SIGCONT)  # it beats its lease


def trouble(found: Cluster, whole: subprocess.Popen[bytes], deadline: float) -> None:
    """Cut the runs as they go, until all is done."""
    last_cut = last_requeue = None
    off = False
    while whole.poll() is None:
        assert time.monotonic() < deadline, f"not done: {found}\n{command('squeue')}"
        told = progress_of(found.place, RUNS[0])
        attempt = (told.get("job"), told.get("pid"))
        if found.cuts < CUTS and told.get("epoch", 0) >= 1 and told.get("job") and attempt != last_cut:
            command("scancel", "--signal=TERM", told["job"])
            found.cuts, last_cut = found.cuts + 1, attempt
        told = progress_of(found.place, RUNS[1])
        attempt = (told.get("job"), told.get("pid"))
        if found.requeues < REQUEUES and told.get("epoch", 0) >= 1 and told.get("job") and attempt != last_requeue:
            command("scontrol", "requeue", told["job"])
            found.requeues, last_requeue = found.requeues + 1, attempt
        told = progress_of(found.place, POWERLESS)
        saved = (found.place / "results/cluster" / POWERLESS / "checkpoint.safetensors").exists()
        if found.powered_off is None and saved and told.get("job"):
            found.powered_off = command("squeue", "-h", "-j", told["job"], "-o", "%N").strip()
            slurm.power_off(found.powered_off)
            off = True
        if off and found.powered_off in slurm.nodes_that_are("down"):
            slurm.start_node(str(found.powered_off))
            off = False
        for run in (*RUNS[1:], *QUICK):  # the one that is cut most often takes longest
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.setpriority(os.PRIO_PROCESS, progress_of(found.place, run)["pid"], 10)
        time.sleep(0.3)


@pytest.mark.parametrize("run", [*RUNS, *QUICK, *PRETRAINED])
def test_every_run_has_the_very_numbers_of_an_uncut_one(cluster: Cluster, run: str) -> None:
    uncut = read_json(cluster.uncut / "results/cluster" / run / "run.json")
    own = cluster.record(run)
    assert own["final_checksum"] == uncut["final_checksum"]
    assert (own["steps"], own["best_epoch"]) == (uncut["steps"], uncut["best_epoch"])
    if run.startswith("runs"):
        tested = [(top / "results/cluster" / run / "test.json").read_bytes() for top in (cluster.place, cluster.uncut)]
        assert tested[0] == tested[1]


def test_a_run_is_cut_twenty_times_with_the_shipped_retries(cluster: Cluster) -> None:
    assert cluster.cuts == CUTS
    assert cluster.record(RUNS[0])["attempts"] >= CUTS // 2  # some cuts came before anything was to be saved


def test_a_requeued_job_goes_on(cluster: Cluster) -> None:
    assert cluster.requeues == REQUEUES
    assert cluster.record(RUNS[1])["attempts"] >= 2


def test_a_lost_node_costs_no_more_than_the_work_since_the_checkpoint(cluster: Cluster) -> None:
    assert cluster.powered_off in slurm.nodes()
    assert "goes on at epoch" in cluster.training_log(POWERLESS)


def test_a_copy_of_a_job_leaves_the_run_to_it(cluster: Cluster) -> None:
    """The first copy went on when its Snakemake was killed, and the second started beside it and waited."""
    logs = cluster.place / ".snakemake/slurm_logs/rule_finetune/water_timed_scratch_0"
    first, second = (
        next(record for record in cluster.records if record["JobId"] == str(job))
        for job in sorted(int(path.stem) for path in logs.glob("*.log"))[:2]
    )
    assert second["StartTime"] < first["EndTime"]


def test_a_run_longer_than_its_time_limit_ends_all_the_same(cluster: Cluster) -> None:
    assert cluster.record(HELD)["attempts"] >= 2
    assert "goes on at epoch" in cluster.training_log(HELD)
    assert any(record["JobState"] == "TIMEOUT" for record in cluster.records)


@pytest.mark.parametrize("run", [*RUNS, *QUICK, *PRETRAINED])
def test_every_training_job_ran_on_the_cluster_with_a_gpu(cluster: Cluster, run: str) -> None:
    assert re.search(r"^SLURM job \d+ on node[12], GPU [01]$", cluster.training_log(run), re.MULTILINE)


def test_slurm_says_so_too(cluster: Cluster) -> None:
    trained = [record for record in cluster.records if record["Partition"] == "gpu"]
    assert len({record["JobId"] for record in trained}) >= len([*RUNS, *QUICK, *PRETRAINED]) + CUTS
    assert {record["NodeList"] for record in trained} >= set(slurm.nodes())
    done = {record["JobId"] for record in trained if record["JobState"] == "COMPLETED"}
    said = {
        m[1] for run in (*RUNS, *QUICK, *PRETRAINED) if (m := re.search(r"SLURM job (\d+)", cluster.training_log(run)))
    }
    assert said <= done | {record["JobId"] for record in trained if record["JobState"] == "REQUEUED"}


def test_a_job_asks_for_twice_the_time_of_the_saved_plan(cluster: Cluster) -> None:
    job = re.search(r"SLURM job (\d+)", cluster.training_log(PRETRAINED[0]))
    assert job
    assert {record["TimeLimit"] for record in cluster.records if record["JobId"] == job[1]} == {"34"}  # minutes


def test_no_two_jobs_shared_a_gpu(cluster: Cluster) -> None:
    spans = []
    for run in (*RUNS, *QUICK, *PRETRAINED):
        told = re.search(r"SLURM job (\d+) on (\w+), GPU (\d)", cluster.training_log(run))
        assert told
        (record,) = [r for r in cluster.records if r["JobId"] == told[1] and r["JobState"] == "COMPLETED"]
        spans.append((told[2], told[3], record["StartTime"], record["EndTime"], told[1]))
    for one in spans:
        for other in spans:
            if one[4] != other[4] and one[:2] == other[:2]:
                assert one[3] <= other[2] or other[3] <= one[2], (one, other)


def test_no_lock_and_no_checkpoint_is_left(cluster: Cluster) -> None:
    left = [
        p for p in (cluster.place / "results").rglob("*") if p.name in (LOCK, "checkpoint.safetensors", "progress.json")
    ]
    assert left == []


def test_status_says_that_all_is_done(cluster: Cluster) -> None:
    arguments = ["status", str(EXPERIMENT), "--results", str(cluster.place / "results")]
    command = [sys.executable, "-m", "priorbench.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len([*RUNS, *QUICK, *PRETRAINED])} done" in done.stdout.splitlines()[0]
