"""Predictions, batch by batch, and their errors where there is a reference."""


rule plan_tiles:
    """Cut a structure's grid into batches of tiles and find a first Fermi level on a coarser grid."""
    input:
        module=script("plan_tiles"),
        bundle=f"{RESULTS}/model/model.json",
        weights=f"{RESULTS}/model/model.safetensors",
        structure=f"{RESULTS}/structures/{{structure}}.extxyz",
        conditions=temperature_file,
    output:
        f"{RESULTS}/predictions/{{structure}}/plan.json",
    log:
        f"{RESULTS}/logs/plan_tiles/{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_tiles/{{structure}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.inference.threads
    resources:
        mem_mb=growing(INFERENCE_MB),
        runtime=growing(60),
    params:
        settings=STUDY.inference.to_json("ranks", "threads", "screening"),
        temperature=temperature_options,
        keep_ldos=lambda wildcards: ["--keep-ldos"] if wildcards.structure in EVALUATED else [],
        version=VERSIONS["inference"],
    shell:
        "python {input.module:q} --model {input.bundle:q} --weights {input.weights:q} --structure {input.structure:q}"
        " --settings {params.settings:q} {params.temperature:q} {params.keep_ldos:q}"
        " --threads {threads} --output {output:q}"
        " --memory-MB {resources.mem_mb} --log {log:q}"


rule predict_tiles:
    """Predict one batch of tiles; the LDOS itself is kept only if there is a reference to compare with."""
    input:
        module=script("predict_tiles"),
        plan=f"{RESULTS}/predictions/{{structure}}/plan.json",
        bundle=f"{RESULTS}/model/model.json",
        weights=f"{RESULTS}/model/model.safetensors",
        structure=f"{RESULTS}/structures/{{structure}}.extxyz",
    output:
        f"{RESULTS}/predictions/{{structure}}/batch-{{batch}}.h5",
    log:
        f"{RESULTS}/logs/predict_tiles/{{structure}}-{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_tiles/{{structure}}-{{batch}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.inference.ranks * STUDY.inference.threads
    resources:
        **INFERENCE_MPI,
        tasks=STUDY.inference.ranks,
        cpus_per_task=STUDY.inference.threads,
        mem_mb_per_cpu=growing(-(-INFERENCE_MB // STUDY.inference.threads)),
        runtime=growing(240),
    params:
        version=VERSIONS["inference"],
    shell:
        f"{INFERENCE_LAUNCHER}"
        "python {input.module:q} --plan {input.plan:q} --model {input.bundle:q}"
        " --weights {input.weights:q} --structure {input.structure:q} --batch {wildcards.batch:q}"
        " --ranks {resources.tasks} --threads {resources.cpus_per_task} --output {output:q}"
        " --memory-MB {resources.mem_mb_per_cpu} --log {log:q}"


rule gather_prediction:
    """Density, DOS, Fermi level, band energy and entropy of one structure from its batches."""
    input:
        module=script("gather_prediction"),
        plan=f"{RESULTS}/predictions/{{structure}}/plan.json",
        bundle=f"{RESULTS}/model/model.json",
        weights=f"{RESULTS}/model/model.safetensors",
        batches=batch_files,
    output:
        prediction=f"{RESULTS}/predictions/{{structure}}/prediction.h5",
        dos=f"{RESULTS}/predictions/{{structure}}/dos.csv",
        observables=f"{RESULTS}/predictions/{{structure}}/observables.json",
    log:
        f"{RESULTS}/logs/gather_prediction/{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather_prediction/{{structure}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(INFERENCE_MB),
        runtime=growing(60),
    params:
        no_screening=[] if STUDY.inference.screening else ["--no-screening"],
        version=VERSIONS["inference"],
    shell:
        "python {input.module:q} --plan {input.plan:q} --batches {input.batches:q} --model {input.bundle:q}"
        " --weights {input.weights:q} {params.no_screening:q} --output {output.prediction:q}"
        " --dos {output.dos:q} --observables {output.observables:q}"
        " --memory-MB {resources.mem_mb} --log {log:q}"


rule evaluate_prediction:
    """Errors of one prediction against DFT, each beside that of a trivial predictor."""
    input:
        module=script("evaluate_prediction"),
        prediction=f"{RESULTS}/predictions/{{structure}}/prediction.h5",
        batches=batch_files,
        reference=f"{RESULTS}/reference/{{structure}}.h5",
        energies=f"{RESULTS}/energies/prediction/{{structure}}.json",
        reference_energies=f"{RESULTS}/energies/reference/{{structure}}.json",
        bundle=f"{RESULTS}/model/model.json",
        weights=f"{RESULTS}/model/model.safetensors",
    output:
        f"{RESULTS}/evaluation/{{structure}}.json",
    log:
        f"{RESULTS}/logs/evaluate_prediction/{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_prediction/{{structure}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        role=lambda wildcards: STUDY.role(wildcards.structure),
        version=VERSIONS["inference"],
    shell:
        "python {input.module:q} --name {wildcards.structure:q} --role {params.role:q} --prediction {input.prediction:q}"
        " --batches {input.batches:q} --reference {input.reference:q} --model {input.bundle:q}"
        " --weights {input.weights:q}"
        " --energies {input.energies:q} --reference-energies {input.reference_energies:q}"
        " --output {output:q}"
        " --memory-MB {resources.mem_mb} --log {log:q}"
