"""Pydantic's errors in our words: what was expected, what was found, and where to read more."""

import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

#: Keys of earlier versions, and what replaces them.
RENAMED = {
    "structure": '`structures` names every cell: structures: {NAME: {...}}; see "structures"',
    "temperature_K": "every trajectory has its own temperature_K: trajectories: {a: {temperature_K: 298.0, ...}}",
    "structures.element": "the key is `formula` now, as in formula: Be",
    "dft.bands": "the key is `bands_per_occupied` now, bands over doubly occupied bands, the same for all cells",
    "training.hidden": "it is a key of training.network now: network: {hidden: [256, 256]}",
    "training.activation": "it is a key of training.network now: network: {activation: silu}",
    "inference.accept_unfit": "the key is `accept_extrapolation` now",
}


def explain(error: Mapping, root: type[BaseModel], section: str = "") -> str:
    """One of pydantic's errors on reading `root` in our words; section: name of `root` in the study file."""
    path, section, field, container = _locate(error["loc"], root, section)
    name = ".".join(path) or "study file"
    kind, value = error["type"], error["input"]
    page = f'see config/README.md, "{section}".'
    if kind == "extra_forbidden":
        if renamed := RENAMED.get(f"{path[0]}.{path[-1]}" if len(path) > 1 else path[0]):
            return f"{name}: unknown key; {renamed}. See config/README.md."
        return f"{name}: unknown key. {_suggest(path[-1], container)}"
    if field is None:
        return f"{name}: expected keys and values, got {show(value)}; {page}"
    if error["loc"][-1] == "[key]":
        return f"{name}: expected {_name_rule(path)}, got {show(value)}; {page}"
    expected = expected_text(field)
    if kind == "missing":
        return f"{name}: expected {expected}, found nothing. Add the key; {page}"
    default = default_text(field)
    if default is None:
        advice = f"S{page[1:]}"
    else:
        extra = field.json_schema_extra or {}
        advice = f"The {'reference uses' if extra.get('reference') else 'default is'} {default}; {page}"
    return f"{name}: expected {expected}, got {show(value)}.\n  {advice}"


def _name_rule(path: list[str]) -> str:
    if path[0] == "pseudopotentials":
        return "a chemical symbol such as Be"
    return "a name of letters, digits and _ that begins with a letter"


def _locate(
    location: tuple, root: type[BaseModel], section: str
) -> tuple[list[str], str, FieldInfo | None, type[BaseModel]]:
    """Follow pydantic's location: key path for the message, section of the README, field, innermost model."""
    path = [section] if section else []
    model = root
    field: FieldInfo | None = None
    annotation: Any = root
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int) and path and typing.get_origin(annotation) is not dict:
            path[-1] += f"[{part}]"
            continue
        options = {tag: kind for kind in models_of(annotation) if (tag := getattr(kind, "TAG", None))}
        if part in options and field is not None:  # the tag of a union, not a key of the file
            annotation = model = options[part]
            continue
        path.append(str(part))
        inner = models_of(annotation)
        if typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
            model = inner[0] if inner else model
        elif inner and part in inner[0].model_fields:
            model = inner[0]
            field = model.model_fields[part]
            annotation = field.annotation
            nested = models_of(annotation)
            if len(nested) == 1 and typing.get_origin(annotation) is not dict:
                model = nested[0]
    return path, path[0] if path else "study", field, model


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation: itself, a union's members, a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is dict:
        return models_of(typing.get_args(annotation)[1])
    if typing.get_origin(annotation) in (Annotated, typing.Union, types.UnionType):
        return [model for argument in typing.get_args(annotation) for model in models_of(argument)]
    return []


def expected_text(field: FieldInfo) -> str:
    """What a key takes: "a length in Å between 1 and 12"."""
    extra = field.json_schema_extra or {}
    unit = f" in {extra['unit']}" if extra.get("unit") else ""
    choices = [str(value) for value in typing.get_args(field.annotation)]
    if typing.get_origin(field.annotation) is Literal:
        *first, last = choices
        return f"{extra['expected']} ({', '.join(first)} or {last})" if first else f"{extra['expected']} ({last})"
    return f"{extra['expected']}{unit}{_limits(field)}"


def _limits(field: FieldInfo) -> str:
    found = {
        name: value
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(item, name, None)) is not None
    }
    if "ge" in found and ("le" in found or "lt" in found):
        top = found["le"] if "le" in found else found["lt"]
        return f" between {_number(found['ge'])} and {_number(top)}"
    text = []
    if "ge" in found:
        text.append(f"of at least {_number(found['ge'])}")
    if "gt" in found:
        text.append(f"above {_number(found['gt'])}")
    if "le" in found:
        text.append(f"at most {_number(found['le'])}")
    if "lt" in found:
        text.append(f"below {_number(found['lt'])}")
    return " " + " and ".join(text) if text else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def default_text(field: FieldInfo) -> Any:
    """The default of a key as YAML-like text; None where there is none."""
    value = field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    if value is None or isinstance(value, BaseModel):
        return None
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _suggest(key: str, model: type[BaseModel]) -> str:
    """The nearest key to an unknown one; `cutoff` leads to `cutoff_A`, whose unit is part of its name."""
    known = list(model.model_fields)
    stem = {name: _without_unit(name, model.model_fields[name]) for name in known}
    near = [name for name in known if stem[name] == _strip_suffix(key, stem[name])]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}" ({expected_text(model.model_fields[near[0]])})?'
    return f"Known keys here: {', '.join(known)}."


def _without_unit(name: str, field: FieldInfo) -> str:
    unit = (field.json_schema_extra or {}).get("unit", "")
    return name.rpartition("_")[0] if unit and "_" in name else name


def _strip_suffix(key: str, stem: str) -> str:
    """`cutoff_nm` names the same quantity as `cutoff_A`: compare up to the last underscore."""
    return key if key == stem else (key.rpartition("_")[0] or key)


def show(value: Any) -> str:
    """A value as a message quotes it, cut at 80 characters."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
