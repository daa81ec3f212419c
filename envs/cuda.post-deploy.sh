#!/usr/bin/env bash
# Runs in the new environment, in the folder of the workflow.
set -euo pipefail
python -m pip install --require-hashes --no-deps -r envs/requirements-cuda.txt
python -m pip install --no-build-isolation --no-deps .
python - <<'CHECK'
import sys, torch
sys.exit(None if torch.version.cuda else f"Error: torch {torch.__version__} has no CUDA; let pip find a build that has "
         "it (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) and make the environment again")
CHECK
