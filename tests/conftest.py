"""Options of the long tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", default="0", help="how long the chaos test goes on; default: 15 s")
    parser.addoption("--seed", default="0", help="of the chaos test; default: a new one, printed")
