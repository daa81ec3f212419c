"""Options of backbones and tasks, validated without importing them.

Their classes import torch, and building the DAG must not.  ``priorbench schema`` therefore writes the JSON schema of
every registered class's ``Options`` to ``schemas/options.json``; this module validates against that file and fills in
the defaults.  A test fails when file and classes drift apart.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError
from priorbench.registry import REGISTRIES, load

SCHEMAS = Path(__file__).parent / "schemas" / "options.json"


def generate_schemas() -> dict[str, dict[str, Any]]:
    """The JSON schema of every registered plug-in's options, by kind and name (imports torch)."""
    return {
        kind: {name: load(kind, name).Options.model_json_schema() for name in registry}
        for kind, registry in REGISTRIES.items()
    }


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """The committed schemas."""
    content: dict[str, dict[str, Any]] = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    return content


def resolve_options(kind: str, name: str, options: dict[str, Any], where: str) -> dict[str, Any]:
    """Validate ``options`` of the plug-in ``name`` and return them with every default filled in.

    ``where`` is the configuration path that an error names.
    """
    import jsonschema

    registry = REGISTRIES[kind]
    if name not in registry:
        raise PriorbenchError(f"{where}: unknown {kind} {name!r}; known are {', '.join(registry)}")
    schema = schemas()[kind][name]
    properties = schema.get("properties", {})
    for error in jsonschema.Draft202012Validator(schema).iter_errors(options):
        if error.validator == "additionalProperties":
            unknown = sorted(set(options) - set(properties))
            raise PriorbenchError(f"{where}: unknown key {unknown[0]!r} for {name}; known are {', '.join(properties)}")
        path = ".".join([where, *map(str, error.absolute_path)])
        raise PriorbenchError(f"{path}: {error.message}")
    defaults = {key: entry["default"] for key, entry in properties.items() if "default" in entry}
    return {**defaults, **options}
