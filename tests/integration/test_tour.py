"""The notebook docs/tour.ipynb, cell by cell, with a model of the tests."""

import os
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest
from model_files import make_random_model

from nearsight.descriptors.bispectrum.compute import bispectrum
from nearsight.model.bundle import save_bundle
from nearsight.structures.builders import hcp_orthorhombic


@pytest.mark.slow
def test_the_tour_runs(repository, tmp_path, monkeypatch):
    notebook = nbformat.read(repository / "docs/tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 10
    settings = {"kind": "bispectrum", "twojmax": 4, "cutoff_A": 4.0}
    rows = bispectrum(hcp_orthorhombic("Be", 1.896, 1.5797), (12, 20, 18), **settings)
    model = make_random_model(rows, settings, energy_max_eV=12.0, ldos_scaling=(0.02, 0.005))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("results/quickstart/model").mkdir(parents=True)
    save_bundle(model, "results/quickstart/model/model.json", "results/quickstart/model/model.safetensors")
    matplotlib.use("agg")
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "docs/tour.ipynb", "exec"), names)
    assert names["energies"]["atoms"] == 8
    assert names["figure"].axes[0].lines[0].get_ydata() == pytest.approx(names["dos"] / 8)
    for page in ("results/tour/predicted/view.html", "results/tour/moved.html"):
        assert "<canvas id=" in Path(page).read_text(encoding="utf-8")
