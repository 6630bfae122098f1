"""Every reader of others' files under fire: an error, never a crash, a hang, unbounded memory or execution.

Each reader has a process of its own (fuzz_reader.py), two at a time. FILES each here, always the same ones; as long as
NEARSIGHT_FUZZ_SECONDS says, 600 s by default, in `make stress`, other files each time: what those find becomes a test
of its own. The numbers go to docs/reliability.md.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NAMES = [
    "HDF5 dataset",
    "model bundle, JSON",
    "model bundle, weights",
    "training checkpoint",
    "plan of a prediction",
    "tile of a prediction",
    "structure",
    "study file (YAML)",
    "cube",
    "UPF, deck of ld1.x",
    "pw.x, XML",
    "pw.x, XML, conditions",
    "pp.x, comment of a cube",
    "pw.x, text",
    "pw.x, charge-density.dat",
    "pw.x, wfc1.dat",
    "pw.x, HDF5",
    "UPF, augmentation",
    "pw.x, text of a whole run",
    "MALA, model",
    "MALA, tensors",
    "MALA, scaler",
    "MALA, array",
    "MALA, openPMD",
]


#: Files that each reader is given in the quick test: a number, for no test depends on the clock. Each HDF5 file is
#: looked at in a process of its own.
FILES = {
    "HDF5 dataset": 400,
    "model bundle, JSON": 4000,
    "model bundle, weights": 4000,
    "structure": 2000,
    "study file (YAML)": 3000,
    "pw.x, HDF5": 400,
    "MALA, openPMD": 400,
}
OTHER_FILES = 8000


def fuzz(name: str, amount: str, seed: int, folder: Path) -> dict:
    """Numbers of one reader: files tried, refused and taken, seconds, seed, exit status and the end of the output."""
    folder.mkdir(parents=True)
    script = Path(__file__).with_name("fuzz_reader.py")
    with open(folder / "output", "wb") as output:
        status = subprocess.run(
            [sys.executable, str(script), name, amount, str(seed), str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        ).returncode
    counts = json.loads((folder / "counts.json").read_text()) if (folder / "counts.json").exists() else {}
    end = (folder / "output").read_text(errors="replace")[-3000:]
    return {"reader": name, **counts, "seed": seed, "status": status, "end": end}


def fuzz_all(
    amounts: dict[str, str], seed: int, folder: Path, record_property: Callable[[str, object], None]
) -> list[dict]:
    """Fuzz all readers, two at a time; report a line for each, and fail with the output of those that failed."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = list(pool.map(lambda name: fuzz(name, amounts[name], seed, folder / str(NAMES.index(name))), NAMES))
    for result in results:
        line = json.dumps({key: value for key, value in result.items() if key != "end"})
        record_property("measured", f"fuzz: {line}")
    if report := os.environ.get("NEARSIGHT_FUZZ_REPORT"):
        lines = ["| reader | files tried | refused | taken | s |", "|---|---|---|---|---|"]
        lines += ["| {reader} | {tried:,} | {refused:,} | {taken:,} | {seconds:.0f} |".format(**r) for r in results]
        Path(report).write_text("\n".join(lines) + "\n", encoding="utf-8")
    failed = [f"{result['reader']}: exit status {result['status']}\n{result['end']}" for result in results]
    failed = [text for text, result in zip(failed, results, strict=True) if result["status"] != 0]
    assert not failed, "\n\n".join(failed)
    assert all(result["refused"] > 10 for result in results), results
    return results


def test_all_readers_are_fuzzed():
    """The list here, which needs no torch, is the one of readers.py."""
    text = (Path(__file__).with_name("readers.py")).read_text(encoding="utf-8")
    table = text.partition("READERS = {")[2]
    assert sorted(line.split('"')[1] for line in table.splitlines() if line.startswith('    "')) == sorted(NAMES)


def test_readers_survive_thousands_of_files_each(tmp_path, record_property):
    files = {name: FILES.get(name, OTHER_FILES) for name in NAMES}
    results = fuzz_all({name: f"{n} files" for name, n in files.items()}, 1, tmp_path / "fuzz", record_property)
    assert all(result["tried"] >= files[result["reader"]] * 0.9 for result in results), results


@pytest.mark.stress
def test_readers_survive_long(tmp_path, record_property):
    seconds = int(os.environ.get("NEARSIGHT_FUZZ_SECONDS", "600"))
    fuzz_all(
        dict.fromkeys(NAMES, f"{seconds} seconds"), 1 + secrets.randbelow(2**31), tmp_path / "fuzz", record_property
    )
