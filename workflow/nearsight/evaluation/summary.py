"""The summary of a study, for programs (JSON) and for people (Markdown)."""

import csv
from pathlib import Path

OBSERVABLE_KEYS = (
    "atoms",
    "grid_shape",
    "electrons",
    "electrons_of_density",
    "fermi_energy_eV",
    "band_energy_eV_per_atom",
    "entropy_energy_eV_per_atom",
    "total_free_energy_eV_per_atom",
)


#: Rules whose jobs start programs of Quantum ESPRESSO, and do little else.
ESPRESSO_RULES = ("make_pseudopotential", "run_dft_md", "run_scf", "run_ldos")


def say_total(times: dict[str, dict[str, float]]) -> str:
    """Seconds of all jobs, and how many of them are Quantum ESPRESSO's, as a sentence."""
    total = sum(entry["seconds"] for entry in times.values())
    espresso = sum(times[rule]["seconds"] for rule in ESPRESSO_RULES if rule in times)
    return f"All jobs: {total:.1f} s, Quantum ESPRESSO: {espresso:.1f} s."


def read_stage_times(benchmarks: Path) -> dict[str, dict[str, float]]:
    """Jobs, summed and longest seconds per rule from Snakemake's benchmark files (benchmarks/<rule>/...tsv)."""
    times: dict[str, dict[str, float]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with open(path, encoding="utf-8", newline="") as file:
            seconds = sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
        entry = times.setdefault(rule, {"jobs": 0, "seconds": 0.0, "longest_seconds": 0.0})
        entry["jobs"] += 1
        entry["seconds"] = round(entry["seconds"] + seconds, 2)
        entry["longest_seconds"] = round(max(entry["longest_seconds"], seconds), 2)
    return times


def summarize(
    study: str,
    evaluations: list[dict],
    observables: dict[str, dict],
    supercells: dict[str, str],
    stage_times: dict[str, dict[str, float]],
) -> dict:
    """Errors of every evaluated snapshot, observables of every prediction, additivity of supercells, times.

    supercells: name of a supercell -> name of the snapshot that it repeats; a repeated cell has the same energies
    per atom, and the difference is listed in meV per atom.
    """
    return {
        "study": study,
        "errors": {evaluation["name"]: evaluation for evaluation in evaluations},
        "predictions": {name: {key: values[key] for key in OBSERVABLE_KEYS} for name, values in observables.items()},
        "additivity_meV_per_atom": {
            supercell: {
                "repeats": snapshot,
                **{
                    key: 1e3
                    * (observables[supercell][f"{key}_eV_per_atom"] - observables[snapshot][f"{key}_eV_per_atom"])
                    for key in ("band_energy", "entropy_energy", "total_free_energy")
                },
            }
            for supercell, snapshot in supercells.items()
        },
        "stage_times": stage_times,
    }


def render_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([" --- "] * len(header)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def render_markdown(summary: dict) -> str:
    """The summary as a readable page."""
    errors = summary["errors"].values()
    fields = [
        [
            error["name"],
            error["role"],
            *(
                f"{error['fields']['network'][key]:.2f} ({error['fields']['mean_ldos'][key]:.1f})"
                for key in ("ldos_percent", "density_mape_percent", "density_integrated_percent", "dos_percent")
            ),
        ]
        for error in errors
    ]
    energies = [
        [
            error["name"],
            error["role"],
            *(f"{error['fermi_energy_error_meV'][key]:+.1f}" for key in ("total", "network", "method")),
            *(
                f"{error['band_energy_error_meV_per_atom'][key]:+.2f}"
                for key in ("total", "network", "method", "mean_energy")
            ),
            *(
                f"{error['total_free_energy_error_meV_per_atom'][key]:+.2f}"
                for key in ("total", "network", "method", "mean_energy")
            ),
            f"{error['label_floor_meV_per_atom']['total']:.2f}",
        ]
        for error in errors
    ]
    predictions = [
        [
            name,
            str(values["atoms"]),
            "×".join(map(str, values["grid_shape"])),
            f"{values['electrons']:.6f}",
            f"{values['electrons_of_density']:.6f}",
            f"{values['fermi_energy_eV']:.4f}",
            f"{values['band_energy_eV_per_atom']:.6f}",
            f"{1e3 * values['entropy_energy_eV_per_atom']:.3f}",
            f"{values['total_free_energy_eV_per_atom']:.6f}",
        ]
        for name, values in summary["predictions"].items()
    ]
    additivity = [
        [
            name,
            values["repeats"],
            *(f"{values[key]:+.2e}" for key in ("band_energy", "entropy_energy", "total_free_energy")),
        ]
        for name, values in summary["additivity_meV_per_atom"].items()
    ]
    times = [
        [rule, str(entry["jobs"]), f"{entry['seconds']:.1f}", f"{entry['longest_seconds']:.1f}"]
        for rule, entry in sorted(summary["stage_times"].items(), key=lambda item: -item[1]["seconds"])
    ]
    return (
        "\n\n".join(
            [
                f"# {summary['study']}: predictions against DFT",
                "## Fields\n\nError of the prediction in percent; in brackets that of the trivial predictor, the "
                "training set's mean LDOS at every point.",
                render_table(
                    ["structure", "role", "LDOS (L1)", "density (MAPE)", "density (∫&#124;Δn&#124;/N)", "DOS (L1)"],
                    fields,
                ),
                "## Energies\n\n*Total* is the prediction against DFT (eigenvalues). It is the sum of *network*, the "
                "prediction against the same integrals of the DFT's LDOS, and *method*, those integrals against the "
                "eigenvalues. *Mean* is the trivial predictor: the training set's mean energy per atom. *Floor* is "
                "what the DFT's own SCF, window and LDOS leave of the total free energy: an error of the network below "
                "it means nothing (`nearsight check`).",
                render_table(
                    [
                        "structure",
                        "role",
                        "μ total (meV)",
                        "μ network",
                        "μ method",
                        "band energy total (meV/atom)",
                        "network",
                        "method",
                        "mean",
                        "total free energy total (meV/atom)",
                        "network",
                        "method",
                        "mean",
                        "floor",
                    ],
                    energies,
                ),
                "## Predictions",
                render_table(
                    [
                        "structure",
                        "atoms",
                        "grid",
                        "electrons",
                        "∫n",
                        "Fermi level (eV)",
                        "band energy (eV/atom)",
                        "-TS (meV/atom)",
                        "total free energy (eV/atom)",
                    ],
                    predictions,
                ),
                "## Repeated cells\n\nA cell repeated N times has N times the energy; differences per atom, in meV. "
                "They are rounding errors where both took all grid points, else what the sampling grid leaves out "
                "(`inference.ecut_sample_Ry`).",
                render_table(["supercell", "repeats", "band energy", "-TS", "total free energy"], additivity),
                "## Time\n\nSeconds of all jobs of a rule together, and of its longest. "
                + say_total(summary["stage_times"]),
                render_table(["rule", "jobs", "seconds", "longest"], times),
            ]
        )
        + "\n"
    )
