"""priorbench: does pretraining on structures alone make a neural potential better, or would longer training do the same?

Every dataset x backbone x strategy x seed of the configuration is one run.  A run's place says what it is:

    results/<experiment>/runs/<dataset>/<backbone>/<strategy>/seed<n>/

The rules are in workflow/rules, in the order of the work: data, pretrain, finetune, probes, collect, details, analysis,
questions.  Each is one call of the `priorbench` command line.  config.yaml is the default experiment; `--configfile`
takes another in its place, and so does the name of a preset as a target: `snakemake q4 --cores 2` runs
workflow/presets/q4.yaml.
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# With `--software-deployment-method apptainer`, the image that every job runs in; envs/priorbench.def builds it.
if image := os.environ.get("PRIORBENCH_CONTAINER"):

    container: image


# Targets are not known yet while a Snakefile is read; of the command line's words, one may name a preset.
PRESETS = {
    path.stem: path
    for path in Path(workflow.basedir, "workflow/presets").glob("*.yaml")
}
ASKED = [word for word in sys.argv[1:] if word in PRESETS and not workflow.configfiles]

# A preset is a whole experiment: it replaces the default one instead of being merged into it.
if ASKED:
    if len(set(ASKED)) > 1:
        sys.exit(f"Error: {', '.join(ASKED)}: one preset at a time")

    configfile: str(PRESETS[ASKED[0]])

    # So that jobs, which are Snakemake processes of their own, read the same file.
    workflow.config_settings.configfiles.append(PRESETS[ASKED[0]])

elif not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# The rules of an experiment, or those that redraw the figures and tables of kept ones.
if "redraw" in config:

    include: "workflow/redraw.smk"

else:

    include: "workflow/experiment.smk"


localrules:
    all,


rule all:
    """Everything: every run, tables, figures and verdicts, or the answer to the question of the experiment."""
    default_target: True
    input:
        EVERYTHING,


if PRESETS.get(Path(CONFIGFILE).stem):

    rule:
        """All of the preset of this name."""
        name:
            Path(CONFIGFILE).stem
        input:
            EVERYTHING,
        localrule: True
