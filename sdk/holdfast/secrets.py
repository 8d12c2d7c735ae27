"""`secrets["STRIPE_KEY"]`: inside a run from the project's vault, outside of one from the environment."""

from __future__ import annotations

import os

from holdfast.context import execution
from holdfast.errors import UnknownSecret


class Secrets:
    """The project's secrets by name.

    A run goes on with the version that it read first, whatever is rotated meanwhile; its reading is recorded, the value
    never. What it prints, raises or returns is stored without the value.

    Example: `stripe.api_key = secrets["STRIPE_KEY"]`.
    """

    def __getitem__(self, name: str) -> str:
        """The value. Raises: UnknownSecret: it is not set; outside a run: there is no variable of this name."""
        current = execution.get()
        if current is not None:
            return current.secret(name)
        value = os.environ.get(name)
        if value is None:
            raise UnknownSecret(
                f"secret {name}: expected an environment variable {name}, as this code is not inside a run, found "
                f"none: set it for tests and scripts, and `holdfast secrets set {name}` for runs"
            )
        return value

    def __repr__(self) -> str:
        return "secrets"


secrets = Secrets()
