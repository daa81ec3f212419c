"""Data: from a source to labelled structures, their neighbours and their splits.

In:  nothing but the configuration; a downloaded source is verified against its SHA-256.
Out: data/<dataset>/
       raw/<part>.npz                   one independent trajectory or one downloaded file, in the source's own units
       frames.safetensors               structures in Å, eV, eV/Å with groups, bonds and molecules
       labels/<labels>.safetensors      the same structures with energies and forces of another method
       neighbours-<cutoff>.safetensors  pairs closer than the cutoff in Å, one file for all backbones that share it
       split-seed<n>.json               training, validation and test structures; whole groups go to one side
       checks.{png,pdf}                 temperature, energy and structure of generated trajectories
       card.{md,json,png,pdf}           what the dataset is, where it comes from and how it was split
"""


rule acquire:
    """Generate one trajectory, fetch one file (a mirror is tried first), or read one of the user's own."""
    input:
        own_files,
    output:
        "<results>/data/{dataset}/raw/{part}.npz",
    log:
        "<logs>/acquire/{dataset}/{part}.log",
    benchmark:
        "<benchmarks>/acquire/{dataset}/{part}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        runtime=minutes_of_part,
    params:
        code=code_of_acquiring,
        spec=spec_of_part,
    message:
        "Acquire {wildcards.dataset}: {wildcards.part}"
    shell:
        "priorbench acquire --dataset {params.spec:q} --part {wildcards.part:q} --output {output:q} > {log:q} 2>&1"


rule convert:
    """Bring all parts to the one frame format; perceive molecules, find the groups that are not independent."""
    input:
        raw_parts,
    output:
        "<results>/data/{dataset}/frames.safetensors",
    log:
        "<logs>/convert/{dataset}.log",
    benchmark:
        "<benchmarks>/convert/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of_converting,
        spec=spec_of_dataset,
    message:
        "Convert {wildcards.dataset} to frames"
    shell:
        "priorbench convert --dataset {params.spec:q} --parts {input:q}"
        " --output {output:q} > {log:q} 2>&1"


rule relabel:
    """Give the structures the energies and forces of another method; their splits and neighbours stay theirs."""
    input:
        "<results>/data/{dataset}/frames.safetensors",
    output:
        "<results>/data/{dataset}/labels/{labels}.safetensors",
    log:
        "<logs>/relabel/{dataset}-{labels}.log",
    benchmark:
        "<benchmarks>/relabel/{dataset}-{labels}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of_labelling,
        by=spec_of_labels,
    message:
        "Label {wildcards.dataset} by {wildcards.labels}"
    shell:
        "priorbench relabel --frames {input:q} --by {params.by:q} --output {output:q} > {log:q} 2>&1"


rule checks:
    """Draw whether generated trajectories are in equilibrium; one that is not has failed its own job before."""
    input:
        raw_parts,
    output:
        figure=report(
            "<results>/data/{dataset}/checks.png",
            caption="../report/checks.rst",
            category="4. Data",
            labels={"what": "{dataset}, checks"},
        ),
        pdf="<results>/data/{dataset}/checks.pdf",
    log:
        "<logs>/checks/{dataset}.log",
    benchmark:
        "<benchmarks>/checks/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of_checks,
        spec=spec_of_dataset,
        stem=lambda wildcards, output: os.path.splitext(output.pdf)[0],
    message:
        "Check the trajectories of {wildcards.dataset}"
    shell:
        "priorbench checks --dataset {params.spec:q} --parts {input:q} --output {params.stem:q} > {log:q} 2>&1"


rule neighbours:
    """List the neighbours of every atom, periodic images included, once for all runs."""
    input:
        "<results>/data/{dataset}/frames.safetensors",
    output:
        "<results>/data/{dataset}/neighbours-{cutoff}.safetensors",
    log:
        "<logs>/neighbours/{dataset}-{cutoff}.log",
    benchmark:
        "<benchmarks>/neighbours/{dataset}-{cutoff}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("neighbours"),
    message:
        "Neighbours within {wildcards.cutoff} Å in {wildcards.dataset}"
    shell:
        "priorbench neighbours --frames {input:q} --cutoff {wildcards.cutoff} --output {output:q} > {log:q} 2>&1"


rule split:
    """Divide the groups into training, validation and test; all strategies of a seed share the split."""
    input:
        "<results>/data/{dataset}/frames.safetensors",
    output:
        "<results>/data/{dataset}/split-seed{seed}.json",
    log:
        "<logs>/split/{dataset}-seed{seed}.log",
    benchmark:
        "<benchmarks>/split/{dataset}-seed{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("split"),
        spec=spec_of_split,
    message:
        "Split {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "priorbench split --frames {input:q} --spec {params.spec:q} --output {output:q} > {log:q} 2>&1"


rule card:
    """Describe the dataset: provenance, counts, labels, molecules, splits, and how alike the sides are."""
    input:
        frames="<results>/data/{dataset}/frames.safetensors",
        splits=every_split,
    output:
        json="<results>/data/{dataset}/card.json",
        markdown="<results>/data/{dataset}/card.md",
        figure=report(
            "<results>/data/{dataset}/card.png",
            caption="../report/card.rst",
            category="4. Data",
            labels={"what": "{dataset}"},
        ),
        pdf="<results>/data/{dataset}/card.pdf",
    log:
        "<logs>/card/{dataset}.log",
    benchmark:
        "<benchmarks>/card/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        code=code_of("card"),
        directory=subpath(output.json, parent=True),
    message:
        "Describe {wildcards.dataset} in a data card"
    shell:
        "priorbench card --frames {input.frames:q} --splits {input.splits:q}"
        " --output {params.directory:q} > {log:q} 2>&1"
