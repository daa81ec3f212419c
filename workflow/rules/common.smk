"""What the rules share: the validated experiment, and which files and specs belong to the wildcards of a job.

In:  `config`, as read from the YAML file of the experiment.
Out: CONFIG, the typed experiment, every default filled in, and input and parameter functions.  An impossible
     configuration ends here, before the first job, with one line that names key and value.

Nothing here may import torch: building the DAG takes a second, and every cluster job builds it again.
"""

import json
import os
import re
import sys
from pathlib import Path

from priorbench import runs
from priorbench.config import parse_config
from priorbench.datasets.pipeline import files, has_checks, part_spec, parts
from priorbench.errors import PriorbenchError
from priorbench.plan import priority
from priorbench.plan.needs import Needs

CONFIGFILE = os.path.relpath(workflow.configfiles[-1])
try:
    CONFIG = parse_config(config, CONFIGFILE)
    PARTS = {name: parts(runs.dataset_spec(CONFIG, name)) for name in CONFIG.datasets}
    NEEDS = Needs(Path("results", CONFIG.experiment))
except PriorbenchError as error:
    # Not a WorkflowError: it would add the line of this file to the one line that helps.
    sys.exit(f"Error: {CONFIGFILE}: {str(error).removeprefix(f'{CONFIGFILE}: ')}")

# Tables, figures and verdicts; an experiment whose runs several questions share has a folder for each.
ANALYSIS = CONFIG.analysis_folder

EVIDENCE = json.dumps(CONFIG.evidence.model_dump(), sort_keys=True)

DYNAMICS = json.dumps(
    CONFIG.dynamics.model_dump() if CONFIG.dynamics else {}, sort_keys=True
)

# By the environment and not by a parameter: where a file was fetched from must not decide whether runs are repeated.
if CONFIG.mirror:
    os.environ.update(
        PRIORBENCH_MIRROR=os.environ.get("PRIORBENCH_MIRROR") or str(CONFIG.mirror)
    )

GPUS = int(CONFIG.device == "cuda")  # per job
ENVIRONMENT = f"../../envs/{'cuda' if GPUS else 'cpu'}.yaml"  # of trainings
# Seeds that a job trains side by side.
AT_ONCE = (
    min(CONFIG.seeds_at_once, len(CONFIG.seeds)) if CONFIG.seeds_per_job == "all" else 1
)
# What the logs of a training job are called, and what it says it takes.
JOB, SEEDS = (
    ("all-seeds", f"{len(CONFIG.seeds)} seeds")
    if CONFIG.seeds_per_job == "all"
    else ("seed{seed}", "seed {wildcards.seed}")
)


def one_of(names):
    """A regular expression for exactly these names; for none of them, one that nothing matches."""
    return "|".join(map(re.escape, names)) or "(?!)"


def as_json(spec):
    """The canonical text of a spec: the same spec never looks like a changed parameter."""
    return json.dumps(spec, sort_keys=True)


def spec_of_dataset(wildcards):
    return as_json(runs.dataset_spec(CONFIG, wildcards.dataset))


def spec_of_part(wildcards):
    dataset = runs.dataset_spec(CONFIG, wildcards.dataset)
    return as_json(part_spec(dataset, wildcards.part))


def spec_of_labels(wildcards):
    return as_json({"name": wildcards.labels})


def spec_of_split(wildcards):
    return as_json(runs.split_spec(CONFIG, int(wildcards.seed)))


def code_of_acquiring(wildcards):
    return code_of("acquire", dataset=CONFIG.datasets[wildcards.dataset].source)


def code_of_converting(wildcards):
    return code_of("convert", dataset=CONFIG.datasets[wildcards.dataset].source)


def code_of_checks(wildcards):
    return code_of("checks", dataset=CONFIG.datasets[wildcards.dataset].source)


def code_of_labelling(wildcards):
    return code_of("relabel", labels=wildcards.labels)


def architecture(wildcards):
    return CONFIG.backbones[wildcards.backbone].architecture


def code_of_pretraining(wildcards):
    task = CONFIG.pretraining[wildcards.pretraining].task
    return code_of("pretrain", backbone=architecture(wildcards), task=task)


def code_of_finetuning(wildcards):
    task = CONFIG.finetuning.task
    return code_of("finetune", backbone=architecture(wildcards), task=task)


def code_of_probing(wildcards):
    return code_of("probe", backbone=architecture(wildcards))


def code_of_details(wildcards):
    return code_of("details", backbone=architecture(wildcards))


def code_of_dynamics(wildcards):
    return code_of("dynamics", backbone=architecture(wildcards))


def code_of_answer(wildcards):
    return code_of("answer", question=question_asked(wildcards))


def seeds_of(wildcards):
    """The seeds that a training job takes: its own, or all."""
    return CONFIG.seeds if CONFIG.seeds_per_job == "all" else [int(wildcards.seed)]


def of_seeds(path):
    """An output of a training job: that of its seed, or one for each seed that it takes; other wildcards stay."""
    seed = CONFIG.seeds if CONFIG.seeds_per_job == "all" else "{seed}"
    return expand(path, seed=seed, allow_missing=True)


def spec_of_pretraining(wildcards):
    cell = wildcards.dataset, wildcards.backbone, wildcards.pretraining
    specs = [runs.pretrain_spec(CONFIG, *cell, seed) for seed in seeds_of(wildcards)]
    return as_json(runs.joined(specs))


def spec_of_finetuning(wildcards):
    cell = wildcards.dataset, wildcards.backbone, wildcards.strategy
    specs = [runs.finetune_spec(CONFIG, *cell, seed) for seed in seeds_of(wildcards)]
    return as_json(runs.joined(specs))


def work_ahead_of_pretraining(wildcards):
    """What decides which training goes first."""
    cell = wildcards.dataset, wildcards.backbone, wildcards.pretraining
    return priority.pretraining(CONFIG, *cell)


def work_of_finetuning(wildcards):
    """The same for a finetuning."""
    cell = wildcards.dataset, wildcards.backbone, wildcards.strategy
    return priority.finetuning(CONFIG, *cell)


def minutes_of_pretraining(wildcards):
    """What a cluster is asked for, by the saved plan."""
    cell = wildcards.dataset, wildcards.backbone, wildcards.pretraining
    return NEEDS.training("pretrain", *cell, len(seeds_of(wildcards)))


def minutes_of_finetuning(wildcards):
    """The same for a finetuning; the trials of a strategy take equally long."""
    strategy = CONFIG.trials[wildcards.strategy].strategy
    cell = wildcards.dataset, wildcards.backbone, strategy
    return NEEDS.training("finetune", *cell, len(seeds_of(wildcards)))


def minutes_of_part(wildcards):
    """The same for one part of a dataset."""
    return NEEDS.part(wildcards.dataset)


def raw_parts(wildcards):
    """Every acquired part of the dataset."""
    names = parts(runs.dataset_spec(CONFIG, wildcards.dataset))
    return expand(
        "<results>/data/{dataset}/raw/{part}.npz", dataset=wildcards.dataset, part=names
    )


def own_files(wildcards):
    """Files of the user's that the dataset is read from."""
    return files(runs.dataset_spec(CONFIG, wildcards.dataset))


def generated():
    """The datasets whose trajectories are checked."""
    return [d for d in CONFIG.datasets if has_checks(runs.dataset_spec(CONFIG, d))]


def every_split(wildcards):
    """The dataset's splits, one for each seed."""
    return expand(
        "<results>/data/{dataset}/split-seed{seed}.json",
        dataset=wildcards.dataset,
        seed=CONFIG.seeds,
    )


def every_neighbours():
    """The neighbour lists of every dataset for every cutoff in use."""
    return expand(
        "<results>/data/{dataset}/neighbours-{cutoff}.safetensors",
        dataset=CONFIG.datasets,
        cutoff=sorted({repr(b.cutoff) for b in CONFIG.backbones.values()}),
    )


def structures_of(wildcards, seeds):
    """Frames, the neighbours within the backbone's cutoff, and the splits of the seeds."""
    data = f"<results>/data/{wildcards.dataset}"
    return {
        "frames": f"{data}/frames.safetensors",
        "neighbours": f"{data}/neighbours-{CONFIG.backbones[wildcards.backbone].cutoff!r}.safetensors",
        "splits": expand(f"{data}/split-seed{{seed}}.json", seed=seeds),
    }


def structures(wildcards):
    """What a finetuning job reads."""
    return structures_of(wildcards, seeds_of(wildcards))


def structures_of_pretraining(wildcards):
    """The same for a pretraining, with other labels where it asks for them."""
    labels = CONFIG.pretraining[wildcards.pretraining].labels
    files = structures(wildcards)
    if labels:
        files["frames"] = (
            f"<results>/data/{wildcards.dataset}/labels/{labels}.safetensors"
        )
    return files


def pretrained(wildcards, pretraining, file):
    """A file of a pretraining of the same seeds, on the dataset that it learns from."""
    dataset = CONFIG.pretraining_dataset(pretraining, wildcards.dataset)
    run = f"<results>/pretrained/{dataset}/{wildcards.backbone}/{pretraining}"
    return expand(f"{run}/seed{{seed}}/{file}", seed=seeds_of(wildcards))


def ancestry(wildcards):
    """What a run takes from a pretraining: its weights, the size of its outputs, or the record of its budget."""
    trial = CONFIG.trials[wildcards.strategy]
    strategy = CONFIG.strategies[trial.strategy]
    parent = trial.pretraining or strategy.rescale
    if parent:
        return {"parent": pretrained(wildcards, parent, "model.safetensors")}
    if strategy.matching:
        return {"budget": pretrained(wildcards, strategy.matching, "run.json")}
    return {}


def ancestry_options(wildcards, input):
    """The same as command-line options."""
    return [word for key in ancestry(wildcards) for word in (f"--{key}", *input[key])]


def every_run(*names):
    """The files `names` of every finetuned run."""
    return [
        file
        for dataset in CONFIG.finetuned_datasets
        for backbone in CONFIG.backbones
        for file in expand(
            "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/{name}",
            dataset=dataset,
            backbone=backbone,
            strategy=CONFIG.trials_on(dataset, backbone),
            seed=CONFIG.seeds,
            name=names,
        )
    ]


def every_pretraining(*names):
    """The files `names` of every pretraining that a run needs, each once."""
    places = {
        (source, backbone, pretraining)
        for dataset in CONFIG.finetuned_datasets
        for backbone in CONFIG.backbones
        for source, pretraining in CONFIG.pretrainings_on(dataset, backbone)
    }
    return [
        file
        for dataset, backbone, pretraining in sorted(places)
        for file in expand(
            "<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/{name}",
            dataset=dataset,
            backbone=backbone,
            pretraining=pretraining,
            seed=CONFIG.seeds,
            name=names,
        )
    ]


def structures_of_probes(wildcards):
    """What a probe reads: frames, neighbours and the split of its seed."""
    files = structures(wildcards)
    return {
        "frames": files["frames"],
        "neighbours": files["neighbours"],
        "split": f"<results>/data/{wildcards.dataset}/split-seed{wildcards.seed}.json",
    }


def probed_models(wildcards):
    """Every network of a dataset, backbone and seed, pretrained on that very dataset or finetuned."""
    cell = wildcards.dataset, wildcards.backbone
    pretrained = [
        f"pretrained/{'/'.join(cell)}/{name}"
        for dataset, name in CONFIG.pretrainings_on(*cell)
        if dataset == wildcards.dataset
    ]
    finetuned = [f"runs/{'/'.join(cell)}/{name}" for name in CONFIG.trials_on(*cell)]
    return [
        f"<results>/{run}/seed{wildcards.seed}/model.safetensors"
        for run in (*pretrained, *finetuned)
    ]


def every_probe():
    """The probes of every dataset, backbone and seed."""
    return expand(
        "<results>/probes/{dataset}/{backbone}/seed{seed}.csv",
        dataset=CONFIG.finetuned_datasets,
        backbone=CONFIG.backbones,
        seed=CONFIG.seeds,
    )


def structures_of_details(wildcards):
    """What the details of a dataset and backbone are computed from: the same, of all seeds."""
    return structures_of(wildcards, CONFIG.seeds)


def finetuned_models(wildcards):
    """Every finetuned network of a dataset and backbone, trials not chosen among them."""
    cell = wildcards.dataset, wildcards.backbone
    return expand(
        "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/model.safetensors",
        dataset=wildcards.dataset,
        backbone=wildcards.backbone,
        strategy=CONFIG.trials_on(*cell),
        seed=CONFIG.seeds,
    )


def every_details():
    """The details of every dataset and backbone."""
    return expand(
        "<analysis>/details/{dataset}/{backbone}.json",
        dataset=CONFIG.finetuned_datasets,
        backbone=CONFIG.backbones,
    )


def every_simulation():
    """The dynamics of every finetuned network; of a trial that was not chosen it says no more than that."""
    return [
        file
        for dataset in CONFIG.finetuned_datasets
        for backbone in CONFIG.backbones
        for file in expand(
            "<analysis>/dynamics/{dataset}/{backbone}/{strategy}/seed{seed}.json",
            dataset=dataset,
            backbone=backbone,
            strategy=CONFIG.trials_on(dataset, backbone),
            seed=CONFIG.seeds,
        )
    ]


def question_asked(wildcards):
    """The question that the experiment answers."""
    return CONFIG.question


def probes_of_question(wildcards):
    """The table of probes where the question is what is learned."""
    return ["<analysis>/probes.csv"] if CONFIG.question == "q8" else []


def tested_structures(wildcards):
    """The errors of every test structure."""
    return ["<analysis>/structures.csv"]


def reported(wildcards):
    """Everything that the report shows."""
    return REPORTED


def data_cards():
    """The folder of the data cards."""
    return [f"results/{CONFIG.experiment}/data"]


def folders(wildcards, input):
    """The folders of all input files, each once, in the order of the experiment."""
    return list(dict.fromkeys(os.path.dirname(file) for file in input))


def run_folders(wildcards, output):
    """The folders that a training job writes into, one a seed."""
    return [os.path.dirname(file) for file in output.record]
