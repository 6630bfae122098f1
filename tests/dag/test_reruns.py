"""What a changed key of the study file runs again, and that it runs no more than that."""

import shutil

import pytest

PREDICTION = {
    "plan_tiles",
    "predict_tiles",
    "gather_prediction",
    "compute_energies",
    "evaluate_prediction",
    "plot_dos",
    "plot_density_slice",
    "plot_band_energy_parity",
    "write_model_card",
    "write_summary",
    "all",
}
#: Modules of the target paper_figures.
PAPER = {
    *("prepare_stacking_fault", "prepare_cost", "prepare_accuracy", "prepare_similarity"),
    *("draw_paper_figure", "deposit_figures", "take_deposit"),
}
MODEL = {"train_model", "plot_training"} | PREDICTION
# the scratch folder of the SCF is temporary: a new LDOS needs it again
SNAPSHOTS = {"run_scf", "collect_reference"}
SELECTION = {"select_snapshots_a", "select_snapshots_b", "build_supercell", "compute_descriptors"} | SNAPSHOTS | MODEL

CHANGES = {
    "training.learning_rate": (5e-4, MODEL),
    "training.network.hidden": ([64], MODEL),
    "ldos.broadening_eV": (0.3, SNAPSHOTS | MODEL),
    "ldos.backend": ("espresso", {"run_ldos"} | SNAPSHOTS | MODEL),
    "dft.conv_thr_Ry": (1e-10, SNAPSHOTS | MODEL),
    "descriptors.cutoff_A": (4.5, {"compute_descriptors"} | MODEL),
    "inference.batches": (3, PREDICTION),
    "inference.screening": (False, PREDICTION - {"plan_tiles", "predict_tiles"}),
    "md.equilibration_fs": (30.0, SELECTION),
    "md.time_step_fs": (1.5, {"run_dft_md", "collect_dft_md"} | SELECTION),
    "supercells.be64.repeat": (
        [3, 1, 1],
        {
            "build_supercell",
            "plan_tiles",
            "predict_tiles",
            "gather_prediction",
            "compute_energies",
            "plot_dos",
            "write_summary",
            "all",
        },
    ),
}


@pytest.mark.parametrize("key", CHANGES)
def test_changed_key_reruns_what_depends_on_it(finished, key):
    value, expected = CHANGES[key]
    assert set(finished.jobs("--configfile", finished.study({key: value}))) == expected


def test_unchanged_study_reruns_nothing(finished):
    assert "Nothing to be done" in finished.run("--cores", "1")


def test_settings_of_the_machine_rerun_nothing(finished):
    changes = {
        "dft.launcher": "mpirun",
        "dft.ranks": 2,
        "descriptors.ranks": 3,
        "ldos.work_MB": 512,
        "training.threads": 1,
        "inference.threads": 2,
    }
    assert "Nothing to be done" in finished.run("--cores", "1", "--configfile", finished.study(changes))


def test_another_study_has_its_own_results(finished):
    jobs = finished.jobs("--configfile", finished.study({"study": "other"}))
    assert jobs["run_scf"] == 6
    assert jobs["make_pseudopotential"] == 1


def test_scratch_is_removed(finished):
    assert not list(finished.folder.glob("results/*/reference/*/scf"))


def test_every_job_leaves_log_and_benchmark(finished):
    results = finished.folder / "results/quickstart"
    for module in (finished.folder / "workflow/scripts").glob("*.py"):
        if module.stem in ("run_ldos", "run_lammps_md", "take_frames", "take_snapshot"):  # of other studies
            continue
        if module.stem in PAPER | {"score_model", "compare_variants"}:  # of other targets
            continue
        assert list((results / "logs" / module.stem).glob("*.log")), module.stem
        assert list((results / "benchmarks" / module.stem).glob("*.tsv")), module.stem


def test_lost_segment_is_repeated_alone(finished, copy_with_stubs, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    workflow = type(finished)(tmp_path / "copy")
    results = workflow.folder / "results/quickstart/md"
    (results / "a/segment-5.extxyz").unlink()
    (results / "a.extxyz").unlink()
    jobs = workflow.jobs("results/quickstart/md/a.extxyz")
    assert jobs == {"run_dft_md": 1, "collect_dft_md": 1}


def test_results_in_a_repository_that_was_cloned_anew(finished, tmp_path):
    """Sources are newer than results there, and Snakemake's records are missing: --touch (docs/reliability.md)."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    workflow = type(finished)(tmp_path / "copy")
    for folder in ("config", "workflow/scripts"):
        for path in (workflow.folder / folder).rglob("*"):
            path.touch()
    # its records have the checksums of small files: nothing to be done
    assert "Nothing to be done" in workflow.run("--cores", "1")
    shutil.rmtree(workflow.folder / ".snakemake")
    assert workflow.jobs()["train_model"] == 1
    before = {path: path.stat().st_size for path in (workflow.folder / "results").rglob("*.h5")}
    workflow.run("--touch", "--cores", "1")
    assert "Nothing to be done" in workflow.run("--cores", "1")
    assert {path: path.stat().st_size for path in before} == before
