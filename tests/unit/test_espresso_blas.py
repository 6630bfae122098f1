"""OpenBLAS's kernels: a better one where the processor has it and nobody has chosen, else nothing is touched."""

import os
import shutil
import sys

import pytest

from nearsight.reference.espresso import blas
from nearsight.reference.espresso.blas import better_kernel, blas_environment, chosen_kernel, describe_kernels
from nearsight.reference.espresso.programs import Launch, run_program

AVX2 = {"sse2", "avx", "avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("chosen", "flags", "expected"),
    [
        ("Prescott", AVX512, "SkylakeX"),
        ("Prescott", AVX2, "Haswell"),
        ("Sandybridge", AVX2, "Haswell"),
        ("Haswell", AVX512, "SkylakeX"),
        ("Zen", AVX2, None),
        ("SkylakeX", AVX512, None),
        ("Cooperlake", AVX512, None),
        ("OfTheNextCentury", AVX512, None),
        ("Prescott", {"sse2"}, None),
        ("Prescott", AVX512 - {"avx512vl"}, "Haswell"),
        ("neoversen1", set(), None),
    ],
)
def test_better_kernels(chosen, flags, expected):
    assert better_kernel(chosen, flags) == expected


@pytest.fixture
def old_kernels(tmp_path, monkeypatch, caplog):
    """A pw.x that prints its OPENBLAS_CORETYPE, on a processor with AVX2 whose OpenBLAS would take SSE3."""
    path = tmp_path / "bin" / "pw.x"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\nimport os\nprint('kernels', os.environ.get('OPENBLAS_CORETYPE'))\nprint('JOB DONE.')\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(blas, "chosen_kernel", lambda program, wanted=None: wanted or "Prescott")
    monkeypatch.setattr(blas, "processor_flags", lambda: AVX2)
    blas._choose.cache_clear()
    caplog.set_level("INFO", logger="nearsight")
    yield lambda: run_program("pw.x", "", tmp_path, Launch(), "scf")
    blas._choose.cache_clear()


def test_a_better_one_is_set_and_logged(old_kernels, caplog):
    assert "kernels Haswell" in old_kernels()
    assert "kernels Haswell" in old_kernels()
    message = (
        "pw.x: OpenBLAS's kernels would be Prescott, the processor can run Haswell: OPENBLAS_CORETYPE=Haswell is set"
    )
    assert caplog.messages.count(message) == 1
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_a_value_that_is_set_is_left_alone(old_kernels, monkeypatch, caplog):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert "kernels Prescott" in old_kernels()
    assert "OpenBLAS" not in caplog.text


def test_a_kernel_that_the_library_lacks_is_not_set(old_kernels, monkeypatch, caplog):
    monkeypatch.setattr(blas, "chosen_kernel", lambda program, wanted=None: "Prescott")
    assert "kernels None" in old_kernels()
    assert "pw.x: OpenBLAS's kernels are Prescott" in caplog.messages


def test_programs_without_openblas_go_on(old_kernels, monkeypatch, caplog):
    monkeypatch.setattr(blas, "chosen_kernel", chosen_kernel)  # the fake program is a script
    assert "kernels None" in old_kernels()
    assert "pw.x: no OpenBLAS that could be asked for its kernels" in caplog.messages


def test_a_ratio_names_the_kernels(old_kernels, monkeypatch):
    assert describe_kernels("pw.x") == "BLAS kernels Haswell"
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert describe_kernels("pw.x") == "BLAS kernels Prescott, though the processor can run Haswell"
    monkeypatch.setattr(blas, "chosen_kernel", lambda program, wanted=None: None)
    assert describe_kernels("pw.x") == "BLAS kernels unknown"
    monkeypatch.setenv("PATH", "/nonexistent")
    assert describe_kernels("pw.x") == "BLAS kernels unknown"


@pytest.mark.qe
def test_the_kernels_of_this_machine(monkeypatch):
    """What the library of the real pw.x says; whatever is set for it is what it then takes."""
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    blas._choose.cache_clear()
    program = shutil.which("pw.x")
    chosen = chosen_kernel(program)
    if chosen is None:
        pytest.skip("no shared OpenBLAS")
    found = blas_environment("pw.x")
    assert chosen_kernel(program, found.get("OPENBLAS_CORETYPE")) == found.get("OPENBLAS_CORETYPE", chosen)
    assert chosen_kernel(program, "Prescott") == "Prescott"
