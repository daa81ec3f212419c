#!/usr/bin/env bash
# Runs in the new environment, in the folder of the workflow.
set -euo pipefail
envs/install.sh python
python -m pip install --no-build-isolation --no-deps .
