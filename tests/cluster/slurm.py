"""A throw-away SLURM on one Debian machine: slurmctld and two nodes with two fake GPUs each, without systemd.

    python -m tests.cluster.slurm up | down

Everything lives in one folder; /etc/slurm/*.conf are links into it, because the job step of Snakemake's executor
forgets SLURM_CONF.  A machine that has a SLURM of its own is left alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/tmp/priorbench-slurm")
ETC = Path("/etc/slurm")
NODES, GPUS, CPUS, MEMORY = 2, 2, 4, 64_000  # GPUs, CPUs and MB a node; no more than a claim
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=16817
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmdSpoolDir={folder}/state/slurmd-%n
StateSaveLocation={folder}/state/slurmctld
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=10
InactiveLimit=0
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
GresTypes=gpu
NodeName=node[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-{last_port}] \
CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=600 DefMemPerCPU=100 State=UP
PartitionName=gpu Nodes=ALL MaxTime=600 DefMemPerCPU=100 State=UP
"""


def why_not() -> str | None:
    """Why no cluster can be brought up here; None where it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("apt-get") and _missing():
        return "needs Debian, or SLURM and munge installed"
    for name in ("slurm.conf", "gres.conf"):
        place = ETC / name
        if place.exists() and not (place.is_symlink() and FOLDER in place.resolve().parents):
            return f"{place} is of a real SLURM"
    return None


def up() -> None:
    """Bring the cluster up; one that is up already is taken down first."""
    if reason := why_not():
        raise SystemExit(f"no test cluster: {reason}")
    down()
    _install()
    for name in ("etc", "log", "run", "state/slurmctld", "munge", "dev"):
        (FOLDER / name).mkdir(parents=True)
    (FOLDER / "log").chmod(0o700)
    (FOLDER / "munge").chmod(0o755)
    key = FOLDER / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    munge = FOLDER / "munge"
    options = [f"--{o}={munge}/{f}" for o, f in (("socket", "socket"), ("key-file", "key"), ("seed-file", "seed"))]
    _run("munged", "--force", *options, f"--log-file={FOLDER}/log/munged.log", f"--pid-file={FOLDER}/run/munged.pid")
    names = {"host": socket.gethostname().split(".")[0], "folder": FOLDER, "nodes": NODES, "last_port": 17000 + NODES}
    (FOLDER / "etc/slurm.conf").write_text(CONF.format(**names, cpus=CPUS, memory=MEMORY, gpus=GPUS))
    for gpu in range(GPUS):
        os.mknod(FOLDER / f"dev/nvidia{gpu}", 0o666 | 0o020000, os.makedev(1, 3))
    (FOLDER / "etc/gres.conf").write_text(
        f"NodeName=node[1-{NODES}] Name=gpu AutoDetect=off File={FOLDER}/dev/nvidia[0-{GPUS - 1}]\n"
    )
    ETC.mkdir(exist_ok=True)
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)
        (ETC / name).symlink_to(FOLDER / "etc" / name)
    _run("slurmctld")
    for node in nodes():
        start_node(node)
    wait_for(lambda: len(nodes_that_are("idle")) == NODES, 60, "the nodes to come up")


def down() -> None:
    """End what :func:`up` started, by the process numbers it left, and remove its files."""
    if not FOLDER.exists():
        return
    with suppress(Exception):
        subprocess.run(["scancel", "--user=root"], timeout=10, capture_output=True, check=False)
        time.sleep(1)
    pids = [pid for path in sorted((FOLDER / "run").glob("*.pid")) if (pid := _pid(path))]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with suppress(TimeoutError):
        wait_for(lambda: not any(map(_alive, pids)), 10, "the daemons to end")
    for pid in filter(_alive, pids):
        os.kill(pid, signal.SIGKILL)
    for name in ("slurm.conf", "gres.conf"):
        if (ETC / name).is_symlink() and FOLDER in (ETC / name).resolve().parents:
            (ETC / name).unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)


def nodes() -> list[str]:
    """Names of all nodes."""
    return [f"node{number}" for number in range(1, NODES + 1)]


def start_node(name: str) -> None:
    """Start the daemon of a node."""
    (FOLDER / f"state/slurmd-{name}").mkdir(exist_ok=True)
    _run("slurmd", "-N", name)


def power_off(name: str) -> None:
    """Kill a node without warning: its daemon, and everything that runs in its jobs."""
    daemon = _pid(FOLDER / f"run/slurmd-{name}.pid")
    victims = [pid for pid in _processes() if f"SLURMD_NODENAME={name}" in _environment(pid)]
    steps = [pid for pid in _processes() if _command(pid).startswith("slurmstepd") and _parent(pid) in (daemon, 1)]
    own = [pid for pid in steps if any(_descends(victim, pid) for victim in victims)]
    for pid in (daemon, *own, *victims):
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def nodes_that_are(state: str) -> list[str]:
    """Names of the nodes in a state: idle, down …"""
    command = ["sinfo", "-h", "-N", "-p", "cpu", "-t", state, "-o", "%N"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def records() -> list[dict[str, str]]:
    """SLURM's own record of every job that has ended, one a job and attempt."""
    path = FOLDER / "log/jobs.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.2)


def _missing() -> list[str]:
    path = os.environ["PATH"] + ":/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def _install() -> None:
    if not _missing():
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL, check=True)


def _run(*command: object) -> None:
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    environment.pop("SLURM_CONF", None)
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")


def _pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        pid = _parent(pid)
        if pid == ancestor:
            return True
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in _state(pid)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return "Z"


if __name__ == "__main__":
    if sys.argv[1:] not in (["up"], ["down"]):
        raise SystemExit(__doc__)
    up() if sys.argv[1] == "up" else down()
