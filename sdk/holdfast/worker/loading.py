"""Imports the modules that declare tasks."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, TaskImportError
from holdfast.task import TASKS, Task


def load_tasks(
    modules: Sequence[str], *, base: Path, tolerate: Callable[[str], None] | None = None
) -> dict[str, Task[..., Any]]:
    """Import modules by dotted name, or files by path (`tasks.py`), from `base`; every task they declare.

    Args:
        tolerate: told of each module that is wrong, which is left out with its tasks; None: the first one is an error.

    Raises:
        TaskImportError: a module is not there or fails, with the place; or none of them declares a task.
        DefinitionError: a task is declared in a way that can't work.
    """
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    wrong: list[tuple[str, HoldfastError]] = []
    for module in modules:
        try:
            _import(module)
        except HoldfastError as error:
            if tolerate is None:
                raise
            wrong.append((module, error))
            _forget_failed()
    if not TASKS and wrong:
        raise wrong[0][1]
    if not TASKS:
        raise TaskImportError(
            f"no task is declared in {', '.join(modules) or 'any module'}: put @task on a function there"
        )
    for module, why in wrong:
        assert tolerate is not None
        text = " ".join(str(why).split())
        tolerate(text if isinstance(why, TaskImportError) else f"module {module} is wrong: {text}")
    return dict(TASKS)


def _forget_failed() -> None:
    """Forget the tasks that a module declared before it failed; what it imported whole stays."""
    for id, task in list(TASKS.items()):
        if task.fn.__module__ not in sys.modules:
            del TASKS[id]


def _import(module: str) -> None:
    name = module.removesuffix(".py").replace("/", ".").lstrip(".") if module.endswith(".py") else module
    try:
        importlib.import_module(name)
    except HoldfastError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TaskImportError(
                f"no module {name!r}: expected {name.replace('.', '/')}.py below {sys.path[0]}, or an installed package"
            ) from None
        raise TaskImportError(_told(module, error)) from error
    except (Exception, SystemExit) as error:
        raise TaskImportError(_told(module, error)) from error


def _told(module: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and not frame.filename.startswith("<")]
    place = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" at {error.filename}:{error.lineno}"
    return f"module {module} failed to import{place}: {type(error).__name__}: {error}"
