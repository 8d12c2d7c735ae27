"""From a function to its syntax tree in its file, and from a tree back to code that fits the function.

The whole file is parsed, so that enclosing classes and functions give the names their meaning (private names,
`super()`, cells), and only the top-level statement around the function is compiled again.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import operator
import warnings
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from holdfast.errors import SourceUnavailable
from holdfast.rewrite.awaits import rebuilt

_FUTURES = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))
_PARSED_FILES = 4
"""Files are imported one after another, so a few suffice: a syntax tree is large."""


class Definition(NamedTuple):
    """A function's `async def` and the top-level statement that holds it (often itself)."""

    node: ast.AsyncFunctionDef
    statement: ast.stmt

    def with_body(self, body: list[ast.stmt]) -> ast.stmt:
        """The top-level statement with another body in the definition; this one stays as it is."""
        replacement = ast.AsyncFunctionDef(**{**vars(self.node), "body": body})

        def graft(node: ast.AST) -> ast.AST:
            if node is self.node:
                return replacement
            return rebuilt(node, graft) if _covers(node, self.node.lineno) else node

        replaced = graft(self.statement)
        assert isinstance(replaced, ast.stmt)
        return replaced


def find(function: FunctionType) -> Definition:
    """The function's definition in its file as it is on disk now.

    Raises:
        SourceUnavailable: there is no source, or no such definition stands where the function was defined.
    """
    code = function.__code__
    module = _source_tree(function)
    for statement in module.body:
        if not _covers(statement, code.co_firstlineno):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.AsyncFunctionDef) and _is_definition_of(node, code):
                return Definition(node, statement)
    raise _changed(function, f"an `async def {code.co_name}` in line {code.co_firstlineno}", "none there")


def compile_statement(statement: ast.stmt, function: FunctionType) -> CodeType:
    """The code of the function, compiled from the top-level statement that holds its definition.

    Raises:
        SourceUnavailable: the code takes other arguments or other closure variables than the function.
    """
    old = function.__code__
    tree = ast.Module([statement], type_ignores=[])
    module = _quietly(tree, old.co_filename, old.co_flags & _FUTURES)
    new = next(code for code in _nested(module) if _is_same_definition(code, old))
    if (expected := _arguments(old)) != (found := _arguments(new)):
        raise _changed(function, f"the arguments ({expected})", f"({found})")
    if old.co_freevars != new.co_freevars:
        raise _changed(function, f"the closure variables {old.co_freevars}", f"{new.co_freevars}")
    return new.replace(co_qualname=old.co_qualname)


def with_constants(code: CodeType, objects: Mapping[str, Any]) -> CodeType:
    """The code with placeholders among its constants, and those of the code nested in it, replaced by objects."""

    def replaced(constant: Any) -> Any:
        match constant:
            case str():
                return objects.get(constant, constant)
            case CodeType():
                return with_constants(constant, objects)
        return constant

    constants = tuple(replaced(constant) for constant in code.co_consts)
    if all(new is old for new, old in zip(constants, code.co_consts, strict=True)):
        return code
    return code.replace(co_consts=constants)


def _source_tree(function: FunctionType) -> ast.Module:
    filename = function.__code__.co_filename
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, function.__globals__)
    if not lines:
        raise SourceUnavailable(
            f"{function.__qualname__}: expected its source in {filename}, where its awaits are read to become "
            "checkpoints, and found none (a REPL or exec keeps no source). Put the task in a file, or mark the "
            'checkpoints by @step calls and declare it @task(checkpoint="steps")'
        )
    try:
        return _parsed(filename, "".join(lines))
    except (SyntaxError, ValueError) as error:
        raise _changed(function, "valid Python", str(error)) from error


@functools.lru_cache(_PARSED_FILES)
def _parsed(filename: str, source: str) -> ast.Module:
    tree = _quietly(source, filename, ast.PyCF_ONLY_AST)
    assert isinstance(tree, ast.Module)
    return tree


def _quietly(source: Any, filename: str, flags: int) -> Any:
    """Compiles without warnings: the user saw those of this file when it was imported.

    They have to be silenced in any case: a string that is called, which is what a placeholder looks like, is warned of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(source, filename, "exec", flags=flags, dont_inherit=True)


def _covers(node: ast.AST, line: int) -> bool:
    """Whether a line is within the node; its decorators count, nodes without a position cover everything."""
    end = getattr(node, "end_lineno", None)
    return end is None or (_first_line(node) <= line <= end)


def _first_line(node: Any) -> int:
    """Where `co_firstlineno` points: at the first decorator if there is one."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    line: int = decorators[0].lineno if decorators else node.lineno
    return line


def _is_definition_of(node: ast.AsyncFunctionDef, code: CodeType) -> bool:
    return node.name == code.co_name and _first_line(node) == code.co_firstlineno


def _is_same_definition(new: CodeType, old: CodeType) -> bool:
    return new.co_name == old.co_name and new.co_firstlineno == old.co_firstlineno


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _arguments(code: CodeType) -> str:
    """The arguments as they are written in a `def`, without defaults: equal texts mean equal calls."""
    names = iter(code.co_varnames)
    positional = [next(names) for _ in range(code.co_argcount)]
    keyword_only = [next(names) for _ in range(code.co_kwonlyargcount)]
    positional.insert(code.co_posonlyargcount, "/")
    star = f"*{next(names)}" if code.co_flags & inspect.CO_VARARGS else "*"
    double_star = [f"**{next(names)}"] if code.co_flags & inspect.CO_VARKEYWORDS else []
    return ", ".join([*positional, star, *keyword_only, *double_star])


def _changed(function: FunctionType, expected: str, found: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"{function.__qualname__}: expected {expected} in {function.__code__.co_filename}, found {found}: the file is "
        "not the one that was imported. Restart the process if it was edited meanwhile; if the function was generated "
        'there, mark the checkpoints by @step calls and declare the task @task(checkpoint="steps")'
    )
