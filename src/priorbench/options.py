"""Options of plug-ins, validated without importing torch.

Backbones and tasks import torch, and building the DAG must not.  ``priorbench schema`` therefore writes the JSON
schema of every registered class's ``Options`` to ``schemas/options.json``; this module validates against that file and
fills in the defaults.  A test fails when file and classes drift apart.  Dataset sources and labels import nothing
heavy, so their classes validate themselves, conditions between keys included.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from priorbench.errors import PriorbenchError
from priorbench.registry import REGISTRIES, load
from priorbench.yaml_file import shortened

LIGHT = ("dataset", "labels")
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
    registry = REGISTRIES[kind]
    if name not in registry:
        raise PriorbenchError(f"{where}: unknown {kind} {name!r}; known are {', '.join(registry)}")
    if kind in LIGHT:
        return _validated(load(kind, name).Options, options, where)
    return _from_schema(schemas()[kind][name], options, where, name)


def _validated(cls: type[BaseModel], options: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        return cls(**options).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([where, *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key; known are {', '.join(cls.model_fields)}"
        given = "" if isinstance(first["input"], dict) else f" (given {shortened(repr(first['input']))})"
        raise PriorbenchError(f"{path}: {message}{given}") from None


def _from_schema(schema: dict[str, Any], options: dict[str, Any], where: str, name: str) -> dict[str, Any]:
    import jsonschema

    properties = schema.get("properties", {})
    for error in jsonschema.Draft202012Validator(schema).iter_errors(options):
        if error.validator == "additionalProperties":
            unknown = sorted(set(options) - set(properties))
            raise PriorbenchError(f"{where}: unknown key {unknown[0]!r} for {name}; known are {', '.join(properties)}")
        path = ".".join([where, *map(str, error.absolute_path)])
        raise PriorbenchError(f"{path}: {shortened(error.message)}")
    defaults = {key: entry["default"] for key, entry in properties.items() if "default" in entry}
    return {**defaults, **options}
