"""Figures, each with its numbers as CSV, and the summary."""


rule plot_dos:
    """Density of states: DFT and prediction of the held-out snapshots, prediction of the larger structures."""
    input:
        module=script("plot_dos"),
        predictions=prediction_files(DRAWN),
        references=datasets("reference", "test"),
    output:
        png=report(
            f"{RESULTS}/figures/dos.png",
            caption="../report/dos.rst",
            category="Predictions against DFT",
            labels={"figure": "density of states", "structure": "held-out snapshots and larger structures"},
        ),
        pdf=f"{RESULTS}/figures/dos.pdf",
        csv=f"{RESULTS}/figures/dos.csv",
    log:
        f"{RESULTS}/logs/plot_dos/dos.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_dos/dos.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        names=DRAWN,
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --predictions {input.predictions:q} --references {input.references:q}"
        " --names {params.names:q} --png {output.png:q} --pdf {output.pdf:q} --csv {output.csv:q} --log {log:q}"


rule plot_density_slice:
    """Electronic density in a plane of one held-out snapshot, and the prediction's error."""
    input:
        module=script("plot_density_slice"),
        prediction=f"{RESULTS}/predictions/{{snapshot}}/prediction.h5",
        reference=f"{RESULTS}/reference/{{snapshot}}.h5",
    output:
        png=report(
            f"{RESULTS}/figures/density-{{snapshot}}.png",
            caption="../report/density_slice.rst",
            category="Predictions against DFT",
            labels={"figure": "electronic density", "structure": "{snapshot}"},
        ),
        pdf=f"{RESULTS}/figures/density-{{snapshot}}.pdf",
        csv=f"{RESULTS}/figures/density-{{snapshot}}.csv",
    log:
        f"{RESULTS}/logs/plot_density_slice/{{snapshot}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_density_slice/{{snapshot}}.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --prediction {input.prediction:q} --reference {input.reference:q}"
        " --name {wildcards.snapshot:q}"
        " --png {output.png:q} --pdf {output.pdf:q} --csv {output.csv:q} --log {log:q}"


rule plot_training:
    """Training curve: errors on train and validation snapshots, epoch by epoch."""
    input:
        module=script("plot_training"),
        history=f"{RESULTS}/model/history.csv",
    output:
        png=report(
            f"{RESULTS}/figures/training.png",
            caption="../report/training.rst",
            category="Training",
            labels={"figure": "training curve", "structure": "train and validation snapshots"},
        ),
        pdf=f"{RESULTS}/figures/training.pdf",
        csv=f"{RESULTS}/figures/training.csv",
    log:
        f"{RESULTS}/logs/plot_training/training.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_training/training.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --history {input.history:q}"
        " --png {output.png:q} --pdf {output.pdf:q} --csv {output.csv:q} --log {log:q}"


rule plot_band_energy_parity:
    """Predicted band energies against those of DFT."""
    input:
        module=script("plot_band_energy_parity"),
        evaluations=evaluation_files(),
    output:
        png=report(
            f"{RESULTS}/figures/band-energy.png",
            caption="../report/band_energy.rst",
            category="Predictions against DFT",
            labels={"figure": "band energies", "structure": "all snapshots"},
        ),
        pdf=f"{RESULTS}/figures/band-energy.pdf",
        csv=f"{RESULTS}/figures/band-energy.csv",
    log:
        f"{RESULTS}/logs/plot_band_energy_parity/band-energy.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_band_energy_parity/band-energy.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --evaluations {input.evaluations:q}"
        " --png {output.png:q} --pdf {output.pdf:q} --csv {output.csv:q} --log {log:q}"


rule write_summary:
    """Errors and times of the whole study, for people and for programs."""
    input:
        module=script("write_summary"),
        evaluations=evaluation_files(),
        observables=observables_files(),
        energies=energy_files("prediction", PREDICTED),
    output:
        json=f"{RESULTS}/summary.json",
        markdown=report(
            f"{RESULTS}/summary.md",
            caption="../report/summary.rst",
            category="Summary",
            labels={"figure": "summary", "structure": "all"},
        ),
    log:
        f"{RESULTS}/logs/write_summary/summary.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_summary/summary.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        study=STUDY.study,
        names=PREDICTED,
        supercells=[
            f"--supercell={name}={supercell.snapshot}"
            for name, supercell in STUDY.supercells.items()
            if supercell.is_repetition
        ],
        benchmarks=f"{RESULTS}/benchmarks",
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --study {params.study:q} --evaluations {input.evaluations:q}"
        " --names {params.names:q} --observables {input.observables:q} --energies {input.energies:q} {params.supercells:q}"
        " --benchmarks {params.benchmarks:q} --json {output.json:q} --markdown {output.markdown:q} --log {log:q}"


rule write_model_card:
    """The model's card, for people and for programs: settings from its files, errors from its evaluations."""
    input:
        module=script("write_model_card"),
        bundle=f"{RESULTS}/model/model.json",
        weights=f"{RESULTS}/model/model.safetensors",
        references=datasets("reference"),
        evaluations=evaluation_files(),
    output:
        json=f"{RESULTS}/model/card.json",
        markdown=f"{RESULTS}/model/card.md",
    log:
        f"{RESULTS}/logs/write_model_card/card.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_model_card/card.tsv"
    localrule: True
    conda:
        "../envs/nearsight.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        study=STUDY.study,
        version=VERSIONS["figures"],
    shell:
        "python {input.module:q} --study {params.study:q} --model {input.bundle:q} --weights {input.weights:q}"
        " --references {input.references:q} --evaluations {input.evaluations:q}"
        " --json {output.json:q} --markdown {output.markdown:q} --log {log:q}"
