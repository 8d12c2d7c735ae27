"""From credentials to a bus: the one place that knows how a connection is made from what the configuration says."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from holdfast.config import Tls
from holdfast.credentials import Credentials
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.bus.jetstream import JetStreamBus


async def dial(credentials: Credentials, *, name: str) -> JetStreamBus:
    """Connect to the project's server; `name` is what its monitoring shows.

    Raises:
        ConnectError: no server answers there, or it refuses the credentials.
        ConfigError: a TLS file can't be read.
    """
    from holdfast.bus.jetstream import connect  # nats is not paid for by whoever only asks for --help

    return await connect(
        credentials.url,
        project=credentials.project,
        name=name,
        user=credentials.user or None,
        password=credentials.password or None,
        creds=credentials.creds or None,
        tls=_context(credentials.tls),
    )


def _context(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:
        raise ConfigError(f"nats.tls: expected readable PEM files, found: {error}") from None
    return context
