# priorbench; `make help` lists the targets.  Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
CONFIG ?= config.yaml
CORES ?= all
TEST_JOBS ?= 2
SIDE_BY_SIDE = -n $(TEST_JOBS) --dist loadscope --no-loadscope-reorder  # what the tests of a module share is made once
PRESETS := $(wildcard workflow/presets/*.yaml)

SHELL := bash
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.complete
CREATOR := $(shell command -v $(PYTHON))
ALONE := tests/workflow/check_default.py  # uses all cores and is timed
LONG := tests/workflow/check_reruns.py tests/training/check_soak.py tests/fuzz/check_fuzz.py \
  tests/faults/test_faults.py tests/tasks/test_context.py \
  tests/workflow/test_workflow.py::test_every_preset_plans_all_its_runs \
  tests/training/test_checkpoint.py::test_cut_after_every_step_every_run_leaves_the_same_bytes

export PATH := $(BIN):$(PATH)
# Work runs side by side in processes, never in threads within one; a rule sets its own number.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DELETE_ON_ERROR:
.PHONY: help run plan test test-cluster lint audit dry-run coverage mutants check-long docs lock clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo '  CONFIG=workflow/presets/<name>.yaml chooses another experiment for `make run`.'

run: $(STAMP)  ## say what CONFIG will take, run it, write its reports, print its table, verdicts and times
	@priorbench plan "$(CONFIG)" --no-measure $(if $(filter-out all,$(CORES)),--cores $(CORES)) && \
	echo && \
	started=$$(date +%s) && \
	folder=$$(priorbench check --folder "$(CONFIG)") && \
	priorbench run "$(CONFIG)" --cores $(CORES) && \
	snakemake --cores $(CORES) --configfile "$(CONFIG)" --quiet all --report $$folder/snakemake-report.html && \
	priorbench accounting --experiment $$(cut -d/ -f1,2 <<< $$folder) --output $$folder --cores $(CORES) --started $$started && \
	priorbench summary --experiment $$folder

plan: $(STAMP)  ## print the runs of CONFIG and what they will cost on CORES, a few steps timed
	priorbench plan "$(CONFIG)" $(if $(filter-out all,$(CORES)),--cores $(CORES))

test: $(STAMP)  ## run the tests
	pytest $(SIDE_BY_SIDE)

test-cluster: $(STAMP)  ## run the tests on a SLURM of their own; needs root and Debian, else says why it does nothing
	pytest -v -rs --show-capture=no -p no:cacheprovider tests/cluster/test_cluster.py || [ $$? -eq 5 ]  # 5: all skipped

lint: $(STAMP)  ## check style, types, the workflow and the generated files
	ruff check
	ruff format --check
	mypy
	snakefmt --check .
	snakemake --lint
	priorbench schema --check
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict

docs: $(STAMP)  ## build the documentation into build/docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

dry-run: $(STAMP)  ## plan every preset without running anything
	@for config in config.yaml $(PRESETS); do \
	  plan=$$(snakemake -n -F --quiet rules --configfile $$config 2>&1) || { echo "$$plan"; exit 1; }; \
	  echo "$$config: $$(sed -n 's/^total *//p' <<< "$$plan" | head -n 1) jobs"; \
	done

coverage: $(STAMP)  ## how many lines and branches of the package the tests run
	mkdir -p build/coverage
	coverage erase
	pytest -q $(SIDE_BY_SIDE) --cov --cov-report=json:build/coverage.json --cov-report=
	python tests/check_bounds.py coverage build/coverage.json

mutants: $(STAMP)  ## how many faults put into statistics, masking and splitting the tests notice; an hour
	rm -rf mutants
	mutmut run
	mutmut export-cicd-stats
	python tests/check_bounds.py mutants mutants/mutmut-cicd-stats.json

check-long: $(STAMP)  ## what takes longer than the tests: bounds of the default experiment, repetition, reruns, kills, fuzzing
	mkdir -p results/reference
	set -o pipefail; export PRIORBENCH_LONG=1; code=0; \
	  commit=$$(git describe --always --abbrev=40 --dirty); \
	  { echo "$$commit"; date; } > results/reference/check-long.txt; \
	  pytest -v --show-capture=no $(ALONE) 2>&1 | tee -a results/reference/check-long.txt || code=1; \
	  pytest -v --show-capture=no -n $(TEST_JOBS) --dist worksteal $(LONG) 2>&1 | tee -a results/reference/check-long.txt || code=1; \
	  exit $$code

lock:  ## pin what requirements.in resolves to now, with the hashes of all files
	$(CREATOR) envs/lock.py

audit:  ## ask a public database whether a pinned version has a known vulnerability
	@$(CREATOR) envs/audit.py

clean:  ## remove caches; results and the environment stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment and all results but the reference as well
	rm -rf .venv .snakemake
	find results -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +

$(STAMP): $(wildcard envs/requirements*.txt) envs/install.sh pyproject.toml
	@test -n "$(CREATOR)" || { echo "Error: $(PYTHON): not found; priorbench needs Python 3.11 or newer (make PYTHON=/path/to/python3)"; exit 1; }
	@"$(CREATOR)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: $$("$(CREATOR)" --version) is too old; priorbench needs 3.11 or newer (make PYTHON=/path/to/python3)"; exit 1; }
	@echo "Building .venv from envs/requirements.txt; this takes a few minutes, once."
	@"$(CREATOR)" -m venv .venv
	@envs/install.sh .venv/bin/python
	@.venv/bin/python -m pip install -qq --no-build-isolation --no-deps -e .
	@touch $@
