"""Pretraining: a network learns from the training structures alone, without energies and forces.

In:  frames, neighbours and splits of the seeds.
Out: pretrained/<dataset>/<backbone>/<pretraining>/seed<n>/
       model.safetensors  all weights, heads included
       run.json           spec, seconds, counted FLOPs, checksums
       metrics.csv        one row per epoch; validation loss against its context-free floor

A job takes one seed or all (`seeds_per_job`); what a seed leaves is the same.
"""


rule pretrain:
    """Train a backbone on a pretraining task; same seed, same initial weights as every run it is compared with."""
    input:
        unpack(structures_of_pretraining),
    output:
        model=of_seeds(
            "<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/model.safetensors"
        ),
        record=of_seeds(
            "<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/run.json"
        ),
        metrics=of_seeds(
            "<results>/pretrained/{dataset}/{backbone}/{pretraining}/seed{seed}/metrics.csv"
        ),
    log:
        f"<logs>/pretrain/{{dataset}}/{{backbone}}/{{pretraining}}/{JOB}.log",
    benchmark:
        f"<benchmarks>/pretrain/{{dataset}}/{{backbone}}/{{pretraining}}/{JOB}.tsv"
    priority: work_ahead_of_pretraining
    conda:
        ENVIRONMENT
    threads: AT_ONCE
    resources:
        gpu=GPUS,
        at_once=AT_ONCE,
        runtime=minutes_of_pretraining,
        launch="",
    params:
        code=code_of_pretraining,
        spec=spec_of_pretraining,
        directories=run_folders,
    message:
        f"Pretrain {{wildcards.backbone}} by {{wildcards.pretraining}} on {{wildcards.dataset}}, {SEEDS}"
    shell:
        "{resources.launch} priorbench pretrain --spec {params.spec:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.splits:q} --threads {threads} --at-once {resources.at_once} --output {params.directories:q} > {log:q} 2>&1"
