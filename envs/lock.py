"""Write the lock: every version of the environment, and the SHA-256 of every file of it, for all platforms.

    envs/lock.py           what requirements.in resolves to now
    envs/lock.py --keep    the versions of requirements.txt, their hashes anew

requirements.txt holds what every machine needs, requirements-cuda.txt adds the libraries of torch's build with CUDA,
and requirements-cpu.txt names the build without it, where pip finds one here.  pip refuses a file that has none of the
hashes and a package that is not listed.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
LOCK, CUDA, CPU = (ENVS / f"requirements{kind}.txt" for kind in ("", "-cuda", "-cpu"))
PYTHON, PLATFORM = "3.11", "x86_64-manylinux_2_39"
TOOLS, GPU = {"pip", "wheel"}, re.compile(r"nvidia-|cuda-|triton=")
LOCK_HEAD = """\
# Written by `make lock` from requirements.in: the whole environment, every version pinned, with the SHA-256 of every
# file that pip may choose for it, on any platform.  Install it by envs/install.sh.
"""
CUDA_HEAD = """\
# Written by `make lock`.  A machine with NVIDIA GPUs: the same versions, and the CUDA libraries that torch's build with
# CUDA asks for, which is the build that pip takes on Linux unless told otherwise.  Only a driver is needed beside them.
-r requirements.txt
"""
CPU_HEAD = """\
# Written by `make lock`.  torch's build for CPUs alone, which pip finds where it is told of an index or folder that has
# it (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS); envs/install.sh takes it before the one that brings 3 GB of CUDA libraries.
"""


def output(*command: object) -> str:
    """What a command prints; its own words end this where it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def resolved(python: Path) -> list[str]:
    """``name==version`` of what requirements.in brings into a new environment."""
    output(python, "-m", "pip", "install", "--quiet", "-r", ENVS / "requirements.in")
    return output(python, "-m", "pip", "freeze", "--all").split()


def kept() -> list[str]:
    """``name==version`` of the lock as it is."""
    return re.findall(r"^[\w.-]+==[\w.!-]+", LOCK.read_text(), re.MULTILINE)


def hashed(uv: Path, pins: Path, *options: str) -> dict[str, str]:
    """By ``name==version``: its lines in the lock, with the hashes of all files that the index lists."""
    always = "--generate-hashes", "--no-annotate", "--no-header", "--no-config", "--quiet"
    text = output(uv, "pip", "compile", pins, *always, "--python-version", PYTHON, *options)
    return {entry.split()[0]: entry for entry in re.split(r"\n(?=\S)", text.strip())}


def cpu_build(python: Path, pin: str, folder: Path) -> str | None:
    """The entry of torch's build for CPUs alone; None where pip finds none here."""
    output(python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, pin)
    (wheel,) = folder.glob("torch-*")
    digest = re.search(r"sha256:\w+", output(python, "-m", "pip", "hash", wheel))
    return f"{pin}+cpu \\\n    --hash={digest[0]}" if "+cpu-" in wheel.name and digest else None


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output(sys.executable, "-m", "venv", folder / "venv")
        python, uv = folder / "venv/bin/python", folder / "venv/bin/uv"
        pins = kept() if "--keep" in sys.argv else resolved(python)
        chosen = [pin.partition("+")[0] for pin in pins if not GPU.match(pin) and pin.split("=")[0] not in TOOLS]
        (folder / "pins.txt").write_text("\n".join(chosen) + "\n")
        output(python, "-m", "pip", "install", "--quiet", "uv")
        lock = hashed(uv, folder / "pins.txt", "--no-deps", "--universal")
        torch = next(pin for pin in lock if pin.startswith("torch=="))
        if cpu := cpu_build(python, torch, folder / "wheels"):
            CPU.write_text(CPU_HEAD + cpu + "\n")
        elif f"{torch}+cpu " not in CPU.read_text():
            CPU.write_text(CPU_HEAD)  # of another version: refused by its hash otherwise
        LOCK.write_text(LOCK_HEAD + "\n".join(lock.values()) + "\n")
        everything = hashed(uv, folder / "pins.txt", "--python-platform", PLATFORM)
        libraries = [entry for pin, entry in everything.items() if GPU.match(pin)]
        CUDA.write_text(CUDA_HEAD + "\n".join(libraries) + "\n")
        if missing := sorted(pin for pin in everything if not GPU.match(pin) and pin not in lock):
            sys.exit(f"Error: {' '.join(missing)}: needed, but in neither file; add it to requirements.in")


if __name__ == "__main__":
    main()
