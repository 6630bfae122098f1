"""Reading a study file: safe YAML, overrides from the command line, and one message per mistake."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from nearsight.errors import ConfigError, InputError
from nearsight.files import read_regular
from nearsight.study.messages import explain, show
from nearsight.study.relations import find_contradictions
from nearsight.study.sections import Study, merge

#: A study file of a thousand structures has 50 kB and 10,000 nodes; aliases of aliases can stand for any number.
LARGEST_STUDY_BYTES = 1 << 20
LARGEST_STUDY_NODES = 200_000


class _Loader(yaml.SafeLoader):
    """Safe YAML of bounded size without duplicate keys, in which 1e-3 is a number (YAML 1.1 wants 1.0e-3).

    Truth values are `true` and `false` alone, as in YAML 1.2: `No` is nobelium, `on` may be a name.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count_nodes(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(
                    f"line {line}: {key}: expected every key once, found it in line {seen[key]} already. Remove one."
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _count_nodes(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Number of nodes with every alias written out; raises ConfigError where a few lines stand for very many."""
    if node not in counts:
        counts[node] = LARGEST_STUDY_NODES  # met again inside itself, it has no end
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = isinstance(node, yaml.MappingNode)
        parts = (part for child in children for part in (child if pairs else (child,)))
        counts[node] = 1 + sum(_count_nodes(part, counts) for part in parts)
        if counts[node] > LARGEST_STUDY_NODES:
            line = node.start_mark.line + 1
            raise ConfigError(f"line {line}: expected at most {LARGEST_STUDY_NODES} values with all aliases, got more.")
    return counts[node]


def read_yaml(path: str | Path) -> dict:
    """The mapping of a YAML file. Raises ConfigError: missing, no YAML, too large, duplicate keys."""
    advice = "Give one with --configfile, or run in the folder that holds config/."
    try:
        text = read_regular(path, "a study file", advice, LARGEST_STUDY_BYTES).decode("utf-8")
        content = yaml.load(text, _Loader)  # a safe loader
    except InputError as error:
        raise ConfigError(str(error)) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # PyYAML raises errors of Python besides its own: a date of month 13, 5000 digits, ...
        raise ConfigError(f"{path}: expected YAML, got: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, got {show(content)}.")
    return content


def load_study(path: str | Path, overrides: Mapping | None = None) -> Study:
    """Read and check a study file.

    overrides: nested keys that replace those of the file (Snakemake's --config). Raises ConfigError with one
    line per mistake.
    """
    content = read_yaml(path)
    if overrides:
        content = merge(content, _typed(overrides))
    return parse_study(content, str(path))


def parse_study(content: Mapping, source: str) -> Study:
    """Check the content of a study file; `source` is its name in messages. Raises ConfigError."""
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        lines = [explain(item, Study) for item in error.errors()]
    else:
        lines = [f"{key}: {text}" for key, text in find_contradictions(study)]
        if not lines:
            return study
    shown = "\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))
    raise ConfigError(shown)


def _typed(value: Any) -> Any:
    """Numbers and truth values in an override, which Snakemake's --config leaves as text inside sections."""
    if isinstance(value, Mapping):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.load(value, _Loader)
    except yaml.YAMLError:
        return value
    return read if isinstance(read, bool | int | float) else value
