"""How much of the code the tests reach, and how many faults in it they notice; ends with 1 below a bound.

python tests/check_bounds.py coverage build/coverage.json      # after `make coverage`
python tests/check_bounds.py mutants mutants/mutmut-cicd-stats.json   # after `make mutants`
"""

import json
import sys
from pathlib import Path
from typing import Any

LINES, BRANCHES, KILLED = 95.0, 90.0, 85.0  # %


def coverage(content: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines and branches that ran, of all there are, in per cent."""
    totals = content["totals"]
    lines = 100 * totals["covered_lines"] / totals["num_statements"]
    branches = 100 * totals["covered_branches"] / totals["num_branches"]
    return [("lines", lines, LINES), ("branches", branches, BRANCHES)]


def mutants(content: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Changed versions of statistics, masking and splitting that some test noticed, of all that were tried."""
    noticed = content["killed"] + content["timeout"] + content["segfault"]
    return [("mutants killed", 100 * noticed / (noticed + content["survived"] + content["no_tests"]), KILLED)]


def main(kind: str, path: str) -> int:
    found = {"coverage": coverage, "mutants": mutants}[kind](json.loads(Path(path).read_text(encoding="utf-8")))
    for name, value, bound in found:
        print(f"{name}: {value:.1f} % (at least {bound:g} %)")
    return int(any(value < bound for _, value, bound in found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
