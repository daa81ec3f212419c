"""Finetuning: energies and forces are fitted, in the same way for every strategy; then the test structures are read.

In:  frames, neighbours and splits of the seeds, and what the strategy takes from the pretraining of the same seeds:
       scratch         nothing
       longer-steps    nothing; it takes as many further optimiser steps as the pretraining would
       longer-compute  the record of the pretraining; it spends the same counted FLOPs
       pretrained      the weights
Out: runs/<dataset>/<backbone>/<strategy>/seed<n>/
       model.safetensors, run.json and metrics.csv, as in pretraining
       test.json  errors of the kept weights and of the trivial predictor (zero force, mean energy) on the structures
                  that the seed holds back

A job takes one seed or all (`seeds_per_job`); what a seed leaves is the same.
"""


rule finetune:
    """Fit energies and forces from the start that the strategy gives, and test what came out."""
    input:
        unpack(structures),
        unpack(ancestry),
    output:
        model=of_seeds(
            "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/model.safetensors"
        ),
        record=of_seeds(
            "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/run.json"
        ),
        metrics=of_seeds(
            "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/metrics.csv"
        ),
        test=of_seeds(
            "<results>/runs/{dataset}/{backbone}/{strategy}/seed{seed}/test.json"
        ),
    log:
        f"<logs>/finetune/{{dataset}}/{{backbone}}/{{strategy}}/{JOB}.log",
    benchmark:
        f"<benchmarks>/finetune/{{dataset}}/{{backbone}}/{{strategy}}/{JOB}.tsv"
    priority: work_of_finetuning
    conda:
        ENVIRONMENT
    threads: AT_ONCE
    resources:
        gpu=GPUS,
        at_once=AT_ONCE,
        runtime=minutes_of_finetuning,
        launch="",
    params:
        code=code_of_finetuning,
        spec=spec_of_finetuning,
        ancestry=ancestry_options,
        directories=run_folders,
    message:
        f"Finetune {{wildcards.backbone}} by {{wildcards.strategy}} on {{wildcards.dataset}}, {SEEDS}"
    shell:
        "{resources.launch} priorbench finetune --spec {params.spec:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.splits:q} --threads {threads} --at-once {resources.at_once} {params.ancestry:q} --output {params.directories:q}"
        " > {log:q} 2>&1"
