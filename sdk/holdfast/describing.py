"""The arguments of a task as JSON Schema (2020-12), for those who trigger it over HTTP.

msgspec describes what it can convert, pydantic its own models; whatever neither knows may be anything, as it may be
when a payload is checked. What a schema refers to stands in its `$defs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter
from typing import Any

import msgspec

LONGEST = 64 << 10
"""Bytes of a schema; a larger one is left out: it travels with the task's card."""


def described(parameters: Iterable[Parameter], hints: Mapping[str, Any]) -> bytes:
    """The object of arguments by name, as JSON; empty where it would be too large.

    Args:
        hints: the annotations as types, by name; a parameter without one takes anything.
    """
    properties: dict[str, object] = {}
    definitions: dict[str, object] = {}
    required: list[str] = []
    more = False
    for parameter in parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            more = True
            continue
        schema = _of_type(hints[parameter.name], definitions) if parameter.name in hints else {}
        properties[parameter.name] = {**schema, **_default(parameter)}
        if parameter.default is Parameter.empty:
            required.append(parameter.name)
    whole: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": more}
    if required:
        whole["required"] = required
    if definitions:
        whole["$defs"] = definitions
    encoded = msgspec.json.encode(whole)
    return encoded if len(encoded) <= LONGEST else b""


def _of_type(hint: Any, definitions: dict[str, object]) -> dict[str, Any]:
    """The schema of one type; what it refers to is added to the definitions."""
    of_pydantic = getattr(hint, "model_json_schema", None)
    try:
        if of_pydantic is not None:
            schema = dict(of_pydantic(ref_template="#/$defs/{model}"))
            found = schema.pop("$defs", {})
        else:
            (schema,), found = msgspec.json.schema_components([hint], ref_template="#/$defs/{name}")
        plain: tuple[dict[str, Any], dict[str, Any]] = msgspec.json.decode(msgspec.json.encode((schema, found)))
    except Exception:  # a type of the user's that neither knows, or whose own hooks fail: it may be anything
        return {}
    definitions.update(plain[1])
    return plain[0]


def _default(parameter: Parameter) -> dict[str, object]:
    """The default, where JSON has it."""
    if parameter.default is Parameter.empty:
        return {}
    try:
        return {"default": msgspec.json.decode(msgspec.json.encode(parameter.default))}
    except Exception:  # any object of the user's
        return {}
