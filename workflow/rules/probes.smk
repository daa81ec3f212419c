"""Probes: what the networks have learned, read off their frozen features (question Q8).

In:  frames, neighbours, split, and all pretrained and finetuned networks of one dataset, backbone and seed.
Out: probes/<dataset>/<backbone>/seed<n>.csv
       R² of linear probes for O–H length, H–O–H angle and hydrogen bonds of water, before and after each training,
       and the similarity of the features before and after finetuning
     probes.csv  the same of all of them
"""


rule probe:
    """Fit linear probes on the frozen features of a seed's networks; compare the features before and after finetuning."""
    input:
        unpack(structures_of_probes),
        models=probed_models,
    output:
        "<results>/probes/{dataset}/{backbone}/seed{seed}.csv",
    log:
        "<logs>/probe/{dataset}/{backbone}/seed{seed}.log",
    benchmark:
        "<benchmarks>/probe/{dataset}/{backbone}/seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=GPUS,
    params:
        code=code_of_probing,
    message:
        "Probe the features of {wildcards.backbone} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench probe --models {input.models:q} --frames {input.frames:q} --neighbours {input.neighbours:q}"
        " --split {input.split:q} --threads {threads} --output {output:q} > {log:q} 2>&1"


rule collect_probes:
    """Gather the probes into one table."""
    input:
        every_probe(),
    output:
        "<analysis>/probes.csv",
    log:
        "<logs>/collect_probes.log",
    benchmark:
        "<benchmarks>/collect_probes.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("collect-probes"),
    message:
        "Collect the probes"
    shell:
        "priorbench collect-probes --probes {input:q} --output {output:q} > {log:q} 2>&1"
