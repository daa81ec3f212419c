"""Ask the public database of vulnerabilities about every version of the lock: 1 where one is known, 0 otherwise.

Where the database cannot be reached, or does not know a package, that is said in one line each: what was not asked
about is not called safe.  pip-audit runs in an environment of its own and sees no more than names and versions.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = [Path(__file__).with_name(f"requirements{kind}.txt") for kind in ("", "-cuda")]
OUT_OF_REACH = "Audit: the database of vulnerabilities is out of reach; nothing was checked."


def verdict(packages: list[dict[str, Any]]) -> tuple[str, int]:
    """What to say of the packages of pip-audit's report, and the exit code."""
    lines, known = [], 0
    for package in packages:
        for found in package.get("vulns", []):
            mended = ", ".join(found.get("fix_versions", [])) or "no version yet"
            lines.append(f"Error: {package['name']} {package['version']}: {found['id']}; mended in {mended}")
            known += 1
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return OUT_OF_REACH, 0
    if skipped:
        lines.append(f"Audit: the database does not know {', '.join(skipped)}")
    lines.append(f"Audit: {len(packages) - len(skipped)} packages checked, {known or 'no'} known vulnerabilities")
    return "\n".join(lines), int(known > 0)


def audited(tool: Path) -> list[dict[str, Any]]:
    """The packages of the lock as pip-audit reports them; none where it could not ask."""
    files = [word for lock in LOCKS for word in ("-r", str(lock))]
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json", "--timeout", "30"]
    done = subprocess.run([str(tool), *files, *options], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"Audit: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return []
    return packages


def main() -> int:
    """Make the tool's environment, ask, say."""
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            [sys.executable, "-m", "venv", folder],
            [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "pip-audit"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"Audit: pip-audit cannot be installed here; nothing was checked.\n{done.stderr.strip()}")
                return 0
        text, code = verdict(audited(Path(folder, "bin/pip-audit")))
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
