"""What imports what: the model knows no screen, the desk opens fast, and nothing live is a DataTable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import holdfast_tui

ROOT = Path(holdfast_tui.__file__).parent
PURE = [
    ROOT / f"{name}.py"
    for name in (
        *(
            "bottom",
            "command",
            "failure",
            "filter",
            "format",
            "intents",
            "keymap",
            "keys",
            "memory",
            "message",
            "plan",
            "router",
        ),
        *("sieve", "tour", "verbs", "vocabulary"),
    )
]


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_models_and_rules_import_no_textual() -> None:
    for file in (*PURE, *(ROOT / "model").glob("*.py")):
        assert not {name for name in imports(file) if name.split(".")[0] == "textual"}, file.name


def test_only_the_gateway_sees_the_bus_and_nobody_the_daemon() -> None:
    for file in ROOT.rglob("*.py"):
        names = imports(file)
        assert not any(name.startswith(("nats", "holdfast_daemon")) for name in names), file.name
        assert file.name == "parquet.py" or not any(name.startswith("duckdb") for name in names), file.name
        if file.name not in ("gateway.py", "app.py", "__init__.py", "tape.py", "recording.py", "replaying.py"):
            assert not any(name.startswith(("holdfast.client", "holdfast.bus")) for name in names), file.name


def test_imports_point_down_only() -> None:
    for file in (ROOT / "widgets").glob("*.py"):
        assert not any("holdfast_tui.screens" in name or "holdfast_tui.app" in name for name in imports(file)), (
            file.name
        )


def test_no_datatable() -> None:
    for file in ROOT.rglob("*.py"):
        assert not any("DataTable" in name for name in imports(file)), file.name


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "('textual', 'rich', 'nats', 'anyio', 'msgspec')"
    code = f"import sys, holdfast_tui; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert shown.stdout.strip() == "[]"


def test_the_table_of_keys_is_printed_without_textual() -> None:
    code = "import sys, holdfast_tui; holdfast_tui.key_table(None); print('textual' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert shown.stdout.strip() == "False"
