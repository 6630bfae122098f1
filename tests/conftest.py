"""What all tests share."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

# tools/sanitize.sh: the kernel compiled with sanitizers in place of the installed one
if module := os.environ.get("NEARSIGHT_NATIVE_MODULE"):
    import nearsight.descriptors

    spec = importlib.util.spec_from_file_location("nearsight.descriptors._native", module)
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    sys.modules["nearsight.descriptors._native"] = nearsight.descriptors._native = native


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return Path(__file__).resolve().parents[1]
