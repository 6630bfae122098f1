"""The network from descriptors to LDOS."""


rule train_model:
    """Train on the train snapshots until the error on the validation snapshots stops falling."""
    input:
        module=script("train_model"),
        train_reference=datasets("reference", "train"),
        train_descriptors=datasets("descriptors", "train"),
        validation_reference=datasets("reference", "validation"),
        validation_descriptors=datasets("descriptors", "validation"),
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        weights=f"{RESULTS}/model/model.safetensors",
        bundle=f"{RESULTS}/model/model.json",
        history=f"{RESULTS}/model/history.csv",
    log:
        f"{RESULTS}/logs/train_model/model.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_model/model.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.training.ranks * STUDY.training.threads
    resources:
        **TRAINING_GPU,
        **TRAINING_MPI,
        mem_mb=growing(8000 * STUDY.training.ranks),
        runtime=growing(480),
    params:
        # no output: Snakemake would delete it before the job that resumes from it
        checkpoint=f"{RESULTS}/model/checkpoint.safetensors",
        settings=STUDY.training.to_json("ranks", "threads"),
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        seed=STUDY.seed,
        version=VERSIONS["training"],
    shell:
        f"{TRAINING_LAUNCHER}"
        "python {input.module:q}"
        " --train-reference {input.train_reference:q} --train-descriptors {input.train_descriptors:q}"
        " --validation-reference {input.validation_reference:q}"
        " --validation-descriptors {input.validation_descriptors:q}"
        " {params.pseudopotentials:q} --settings {params.settings:q} --seed {params.seed:q} "
        f"{TRAINING_SHARES}"
        " --checkpoint {params.checkpoint:q} --weights {output.weights:q} --bundle {output.bundle:q}"
        " --history {output.history:q} --memory-MB {resources.mem_mb} --log {log:q}"
