"""The headers of a message, as NATS has them on the wire (ADR-4): `NATS/1.0` and a line for each, ended by CR LF.

A block is kept as its bytes until somebody asks what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.errors import BusError

TRACE = "traceparent"
"""Header of the trace that a message belongs to (https://www.w3.org/TR/trace-context/)."""
ID = "Nats-Msg-Id"
"""Header by which the server deduplicates."""

RESERVED = "nats-"
"""What the server's own headers begin with, in lower case."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_TRACE = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_FIRST = "NATS/1.0"


def parse(block: bytes) -> dict[str, str]:
    """Values by name; of a name that is there more than once the first one. Nothing of what holds no headers."""
    found: dict[str, str] = {}
    if not block:
        return found
    for line in block.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def render(headers: Mapping[str, str]) -> bytes:
    """The block that says this; no bytes for no headers."""
    if not headers:
        return b""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{_FIRST}\r\n{lines}\r\n".encode()


def joined(block: bytes, more: bytes) -> bytes:
    """One block with what both say."""
    if not block or not more:
        return block or more
    return block[:-2] + more[len(_FIRST) + 2 :]


def check(headers: Mapping[str, str]) -> None:
    """Raises: BusError: a publisher can't give a message these headers."""
    for name, value in headers.items():
        if not isinstance(name, str) or _NAME.match(name) is None:
            raise BusError(f"expected the name of a header without spaces and colons, found {name!r:.80}")
        if name.lower().startswith(RESERVED):
            raise BusError(f"header {name}: names that begin with Nats- are the server's own: choose another one")
        if not isinstance(value, str) or not (value.isprintable() and value == value.strip()):
            raise BusError(f"header {name}: expected a printable text without outer spaces, found {value!r:.80}")


def trace(headers: Mapping[str, str]) -> str:
    """The W3C `traceparent` that a message carries; empty where there is none, or none that means anything."""
    found = headers.get(TRACE) or headers.get("Traceparent") or ""
    return found if _TRACE.match(found) and not found.startswith("ff") else ""
