"""MALA's scalers of descriptors and LDOS, saved as JSON (from 1.4 on) or pickled (before)."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from nearsight.errors import InputError
from nearsight.files import parse_json
from nearsight.imports.mala.pickles import KNOWN, Record, StridedTensor, read_pickle
from nearsight.imports.mala.torch_file import array_of, read_storage
from nearsight.model.scaling import Scaling

#: The class of a pickled scaler.
SCALER = "mala.datahandling.data_scaler DataScaler"

#: Kind of scaling, feature by feature or not -> names of what is subtracted, and of what gives the divisor.
KINDS = {
    ("standard", True): ("means", "stds"),
    ("standard", False): ("total_mean", "total_std"),
    ("minmax", True): ("mins", "maxs"),
    ("minmax", False): ("total_min", "total_max"),
}


def read_scaler(content: bytes, path: str, features: int) -> tuple[str, Scaling]:
    """Kind (`none`, `standard`, `minmax`, with `feature-wise-` before it) and scaling of a saved scaler.

    features: their number. Raises InputError where the file is damaged, or the scaler was never fitted.
    """
    found = _read_fields_of_pickle(content, path) if content[:1] == b"\x80" else _read_fields_of_json(content, path)
    kinds = [kind for kind in ("standard", "minmax") if found.get(f"scale_{kind}") is True]
    # the former name
    kinds += ["minmax"] if "scale_minmax" not in found and found.get("scale_normal") is True else []
    by_feature = found.get("feature_wise") is True
    if not kinds:
        return "none", Scaling(np.zeros(features), np.ones(features))
    if len(kinds) > 1 or found.get("cantransform") is not True:
        raise InputError(f"{path}: expected a scaler of one kind that was fitted, got {' and '.join(kinds)}.")
    subtracted, divisor = (_numbers(found, name, features, path) for name in KINDS[kinds[0], by_feature])
    scale = divisor - subtracted if kinds[0] == "minmax" else divisor
    if not (scale > 0).all():
        raise InputError(
            f"{path}: {KINDS[kinds[0], by_feature][1]}: expected a spread above 0 of every number, got "
            f"{scale.min():g} for number {int(scale.argmin())}, by which MALA divides. Train without what is constant."
        )
    return f"{'feature-wise-' if by_feature else ''}{kinds[0]}", Scaling(subtracted, scale)


def _read_fields_of_json(content: bytes, path: str) -> dict[str, Any]:
    # MALA writes the infinities of what was not fitted as Infinity, which is not JSON
    plain = content.replace(b"-Infinity", b"null").replace(b"Infinity", b"null").replace(b"NaN", b"null")
    return parse_json(plain, path)


def _read_fields_of_pickle(content: bytes, path: str) -> dict[str, Any]:
    calls = {**KNOWN, "torch.storage _load_from_bytes": lambda part: read_storage(part, path)}
    found = read_pickle(io.BytesIO(content), path, calls, frozenset({SCALER}))
    if not isinstance(found, Record) or found.name != SCALER:
        raise InputError(f"{path}: expected a scaler of MALA, got another object.")
    return found.attributes


def _numbers(found: Mapping[str, Any], name: str, features: int, path: str) -> np.ndarray:
    """Numbers of a scaler, one per feature, float64."""
    value = found.get(name)
    kind = type(value).__name__
    try:
        if isinstance(value, StridedTensor):
            value = array_of(value, value.storage.content or b"", f"{path}: {name}")
        values = np.asarray(value, dtype=np.float64).reshape(-1)
        values = np.repeat(values, features) if name.startswith("total_") and values.size == 1 else values
    except (ValueError, TypeError, OverflowError, RecursionError):
        values = np.empty(0)
    if values.size != features or not np.isfinite(values).all():
        raise InputError(
            f"{path}: {name}: expected {features} finite numbers, got {values.size} in a "
            f"{kind}. Save the model again with MALA."
        )
    return values
