"""YAML from outside: what a file says in plain values, bounded in size, each key once."""

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from priorbench.errors import PriorbenchError

LARGEST_FILE = 1_000_000  # characters
MOST = 100_000  # values in a file, those behind anchors counted wherever they are used
DEEPEST = 50
LARGEST = 2**63  # of whole numbers
LONGEST = 10_000  # characters of a text


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; what cannot be meant is a one-line :class:`PriorbenchError`."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LARGEST_FILE:
            raise ValueError(f"{len(text)} characters are no configuration")
        data = yaml.load(text, _SafeLoader)
        if isinstance(data, Mapping):
            _measure(data, {}, 0)
    except FileNotFoundError:
        raise PriorbenchError(f"{path}: no such configuration file") from None
    except RecursionError:
        raise PriorbenchError(f"{path}: not readable as YAML: nested too deeply") from None
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise PriorbenchError(f"{path}: not readable as YAML: {problem}") from None
    if not isinstance(data, Mapping):
        raise PriorbenchError(f"{path}: a mapping of keys is expected, found {type(data).__name__}")
    return dict(data)


def shortened(text: str, most: int = 300) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else f"{text[:most]}…"


class _SafeLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last, and merges that multiply."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name is not None and name in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                if name is not None:
                    seen.add(name)
        return super().construct_mapping(node, deep)

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= DEEPEST:  # time goes with the square of the depth
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())
        super().fetch_flow_collection_start(token)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > LONGEST:
            raise yaml.constructor.ConstructorError(None, None, "too many keys are merged", node.start_mark)


def _measure(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values there are in ``value``; one that no configuration can mean is a ``ValueError``."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    if id(value) in known:
        return known[id(value)]
    count = 1
    if isinstance(value, Mapping | list | tuple | set):
        items = [*value, *value.values()] if isinstance(value, Mapping) else list(value)
        count += sum(_measure(item, known, depth + 1) for item in items)
        known[id(value)] = count
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    elif isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError("a whole number is too large")
    elif isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"a text of {len(value)} characters")
    if count > MOST:
        raise ValueError(f"more than {MOST} values, those behind anchors counted")
    return count
