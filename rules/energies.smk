"""Total free energy, of predictions and of the reference's own LDOS."""


rule compute_energies:
    """Total free energy of one structure from its predicted fields, or from its reference LDOS, on any number of MPI ranks."""
    input:
        module=script("compute_energies"),
        fields=fields_file,
        pseudopotentials=PSEUDOPOTENTIALS,
    output:
        f"{RESULTS}/energies/{{source}}/{{structure}}.json",
    log:
        f"{RESULTS}/logs/compute_energies/{{source}}-{{structure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_energies/{{source}}-{{structure}}.tsv"
    conda:
        "../envs/nearsight.yaml"
    threads: STUDY.descriptors.ranks
    resources:
        mpi="mpiexec",
        tasks=STUDY.descriptors.ranks,
        cpus_per_task=1,
        mem_mb_per_cpu=growing(INFERENCE_MB),
        runtime=growing(60),
    params:
        pseudopotentials=PSEUDOPOTENTIAL_OPTIONS,
        ecutrho_Ry=STUDY.dft.ecutrho_Ry,
        version=VERSIONS["energies"],
    shell:
        "{resources.mpi} -n {resources.tasks} python {input.module:q} --fields {input.fields:q}"
        " {params.pseudopotentials:q} --ecutrho-Ry {params.ecutrho_Ry:q} --ranks {resources.tasks}"
        " --memory-MB {resources.mem_mb_per_cpu} --output {output:q} --log {log:q}"
