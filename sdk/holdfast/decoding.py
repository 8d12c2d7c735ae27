"""Parsed TOML into frozen structs, with errors that name the key, what was expected, what was found, the nearest name.

msgspec could decode in one call, but its errors name neither the key inside a dict (`projects[...]`) nor the nearest
right one. So structs and dicts are walked here, and msgspec judges the leaves. A leaf's type may say more:

    Annotated[float, Meta(extra={"read": function})]   function(found) -> value, or ValueError(what was expected)
    Annotated[str, Meta(extra={"secret": True})]       the value never appears in a message
    Annotated[int, Meta(ge=0, description="...")]      the words for what was expected
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from holdfast.errors import ConfigError


class Decoder:
    """Decodes what one source says; every error is a ConfigError of one line that begins with that source."""

    def __init__(self, source: str, origins: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._origins = origins or {}
        """Key path -> what to name instead of source and path, for values that came from elsewhere."""

    def fields(
        self, kind: type[Struct], tree: Mapping[str, Any], path: str = "", *, hidden: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The decoded fields of a struct, ready for its constructor; `hidden` ones are no keys."""
        hints = {key: hint for key, hint in _hints(kind).items() if key not in hidden}
        for key in tree:
            if key not in hints:
                known = f"one of {', '.join(sorted(hints))}"
                raise self._wrong(_join(path, key), known, "an unknown key" + nearest(key, hints))
        return {key: self._value(hints[key], value, _join(path, key)) for key, value in tree.items()}

    def leaf(self, hint: Any, value: object, path: str) -> Any:
        """One value that is no table."""
        meta = _meta(hint)
        extra = meta.extra or {}
        found = f"{_kind(value)} (not shown)" if extra.get("secret") else _shown(value)
        read: Callable[[object], object] = extra.get("read", lambda given: given)
        try:
            return msgspec.convert(read(value), hint)
        except msgspec.ValidationError as error:
            raise self._wrong(path, meta.description or _expected(hint, str(error)), found) from None
        except ValueError as error:
            raise self._wrong(path, str(error), found) from None

    def _value(self, hint: Any, value: object, path: str) -> Any:
        hint = _without_none(hint)
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self._struct(hint, value, path)
        if get_origin(hint) is dict:
            return self._dict(hint, value, path)
        if get_origin(hint) is tuple and isinstance(kind := get_args(hint)[0], type) and issubclass(kind, Struct):
            return self._tables(kind, value, path)
        return self.leaf(hint, value, path)

    def _struct(self, kind: type[Struct], value: object, path: str) -> Struct:
        fields = self.fields(kind, self._table(value, path), path)
        for field in structs.fields(kind):
            if field.required and field.name not in fields:
                raise self._wrong(path, f"a {field.name}", f"none in: {_together(kind, fields)}")
        try:
            return kind(**fields)
        except ValueError as error:  # its __post_init__: the fields are right one by one, not together
            raise self._wrong(path, str(error), _together(kind, fields)) from None

    def _dict(self, hint: Any, value: object, path: str) -> dict[str, Any]:
        keys, values = get_args(hint)
        table = self._table(value, path)
        paths = {key: _join(path, key) for key in table}
        return {self.leaf(keys, key, paths[key]): self._value(values, item, paths[key]) for key, item in table.items()}

    def _tables(self, kind: type[Struct], value: object, path: str) -> tuple[Struct, ...]:
        if not isinstance(value, list):
            raise self._wrong(path, f"tables like [[{path}]]", _kind(value))
        return tuple(self._struct(kind, item, f"{path}[{index}]") for index, item in enumerate(value))

    def _table(self, value: object, path: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(path, f"a table like [{path}]", _kind(value))
        return value

    def _wrong(self, path: str, expected: str, found: str) -> ConfigError:
        where = self._origins.get(path) or ": ".join(part for part in (self._source, path) if part)
        return ConfigError(f"{where}: expected {expected}, found {found}")


def nearest(key: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known name, or nothing if none is near."""
    import difflib  # only where something is wrong: it costs several milliseconds

    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def suggested(name: str, known: Iterable[str]) -> str:
    """What somebody who named what is not there may have meant: the nearest known name, else the first ones."""
    import difflib  # only where something is wrong: it costs several milliseconds

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names[:10]) or 'none yet'}"


@cache
def _hints(kind: type[Struct]) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _meta(hint: Any) -> Meta:
    return next((part for part in get_args(hint)[1:] if isinstance(part, Meta)), Meta())


def _together(kind: type[Struct], fields: Mapping[str, Any]) -> str:
    """What a table holds, without its secrets and its tables."""
    secret = {key for key in fields if (_meta(_without_none(_hints(kind)[key])).extra or {}).get("secret")}
    plain = {key: _shown(value) for key, value in fields.items() if not isinstance(value, (dict, Struct))}
    return ", ".join(f"{key} = {'(not shown)' if key in secret else text}" for key, text in plain.items()) or "none"


def _without_none(hint: Any) -> Any:
    """`X` of `X | None`: TOML has no null, a key is there or not."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if type(None) in get_args(hint) else hint


def _expected(hint: Any, message: str) -> str:
    """msgspec's words in ours: "Expected `str`, got `int` - at `$[0]`" is "a string at [0]"."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return " or ".join(f'"{member}"' for member in hint)
    what, _, where = message.partition(" - at `$")
    wanted = what.removeprefix("Expected ").partition(", got ")[0].replace("`", "")
    wanted = {"str": "a string", "bool": "true or false", "array": "a list of strings"}.get(wanted, wanted)
    return f"{wanted} at {where.removesuffix('`')}" if where else wanted


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"' if value.isprintable() else repr(value)
        case dict():
            return "a table"
        case _:
            return str(value)


def _kind(value: object) -> str:
    names = {
        str: "a string",
        dict: "a table",
        list: "a list",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "a date or time")


def _join(path: str, key: str) -> str:
    written = key if key and not set(key) & set(" .\"'") else f'"{key}"'
    written = written if key.isprintable() else repr(key)
    return f"{path}.{written}" if path else written
