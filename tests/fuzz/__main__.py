"""``python -m tests.fuzz [parser [first [count]]]``: fuzz one parser or all, or show one input again."""

import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import fuzz
from tests.fuzz.parsers import PARSERS

name, first, count = (sys.argv[1:] + [None] * 3)[:3]  # type: ignore[list-item]
indices = range(int(first or 0), int(first or 0) + int(count or (1 if first else 1000)))
failed = 0
for parser in [name] if name else PARSERS:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        faults, refused = fuzz(parser, PARSERS[parser](Path(folder)), indices)
    print(f"{parser}: {len(indices)} inputs, {refused} refused, {time.process_time() - started:.1f} s of CPU")
    for fault in faults:
        print(f"  {fault}")
    failed += len(faults)
sys.exit(failed > 0)
