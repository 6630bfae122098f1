"""Descriptors and networks by name: folders of this package, and what other distributions offer.

A kind is a module: a folder of `nearsight.descriptors` or `nearsight.model.networks`, or, without a change to
Nearsight, a module that an installed distribution names as an entry point of that group, in its pyproject.toml:

    [project.entry-points."nearsight.descriptors"]
    neighbours = "my_package.neighbours"

A name in a file from a stranger thus never imports anything that was not installed for this purpose.
"""

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel, WrapValidator

from nearsight.errors import InputError

DESCRIPTORS = "nearsight.descriptors"
NETWORKS = "nearsight.model.networks"


def find_kind(group: str, kind: object, key: str) -> ModuleType:
    """The module that implements `kind`. Raises InputError, which names `key`, where there is none.

    group: DESCRIPTORS or NETWORKS.
    """
    built_in = [module.name for module in pkgutil.iter_modules(importlib.import_module(group).__path__) if module.ispkg]
    if kind in built_in:
        return importlib.import_module(f"{group}.{kind}")
    others = {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}
    if isinstance(kind, str) and kind in others:
        return others[kind].load()
    raise InputError(
        f"{key}: expected one of {', '.join(sorted({*built_in, *others}))}, got {kind!r}. Another one comes with a "
        f"package that names it as an entry point of {group}; see docs/developing.md."
    )


def other_kinds(group: str, own: str) -> WrapValidator:
    """For a key of the study file that is a section of the kind `own`: one of another kind is checked by that kind."""

    def check(value: Any, check_own: Callable[[Any], BaseModel]) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        kind = value.get("kind", own) if isinstance(value, Mapping) else own
        if kind == own:
            return check_own(value)
        try:
            return find_kind(group, kind, "kind").Settings.model_validate(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return WrapValidator(check)
