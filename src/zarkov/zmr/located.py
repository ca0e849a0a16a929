"""Finding a function's source text by its code object: files, IPython cells, lambdas, nested functions.

A code object knows its file, its first line and, from Python 3.11 on, the columns of every instruction. That tells
apart several lambdas of one line, which `inspect.getsource` does not.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType

from zarkov.errors import FunctionUnshippable

Definition = ast.FunctionDef | ast.Lambda
_Span = tuple[int, int, int, int]


def definition_of(function: FunctionType) -> Definition:
    """The syntax tree of a function or a lambda, without its decorators; the caller may change it.

    Raises: FunctionUnshippable: its source is not to be had, or is not that of the code that would run.
    """
    code = function.__code__
    source = _source(code.co_filename)
    if not source:
        raise FunctionUnshippable(
            f"the source of {function.__qualname__} is not to be had (it was defined in {code.co_filename})",
            hint="Define it in a file or an IPython cell, or give its text and its name.",
        )
    found = [node for node in _definitions(source, code.co_filename) if _is_of(node, code)]
    if len(found) > 1:
        found = [node for node in found if _body_span(node) == _code_span(code)]
    if len(found) != 1:
        raise FunctionUnshippable(
            f"{function.__qualname__} is not found at line {code.co_firstlineno} of {code.co_filename}",
            hint="Its file has changed since it was loaded, or several look alike there: reload it, use def.",
        )
    return _copied(found[0])


def _source(filename: str) -> str:
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename))


@lru_cache(maxsize=64)
def _definitions(source: str, filename: str) -> tuple[Definition, ...]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise FunctionUnshippable(
            f"{filename} is no Python any more: {error.msg} at line {error.lineno}",
            hint="Mend the file, and reload it.",
        ) from None
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda))


def _is_of(node: Definition, code: CodeType) -> bool:
    """Whether a definition may be the one that a code object was compiled from."""
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return node.name == code.co_name and first == code.co_firstlineno


def _body_span(node: Definition) -> _Span:
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    last = body[-1]
    return (body[0].lineno, body[0].col_offset, last.end_lineno or 0, last.end_col_offset or 0)


def _code_span(code: CodeType) -> _Span:
    """From the first to the last column of its instructions; the ones that stand for no text come first, at col 0."""
    spans = list(_positions(code))
    if not spans:
        return (0, 0, 0, 0)
    start, end = min(span[:2] for span in spans), max(span[2:] for span in spans)
    return (*start, *end)


def _positions(code: CodeType) -> Iterator[_Span]:
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None:
            continue
        if (column, end_column) == (0, 0):
            continue  # RESUME and the like
        yield line, column, end_line, end_column


def _copied(node: Definition) -> Definition:
    """The definition alone, as the module's first statement would parse."""
    if isinstance(node, ast.Lambda):
        copy = ast.parse(ast.unparse(node), mode="eval").body
        assert isinstance(copy, ast.Lambda)
        return copy
    statement = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(statement, ast.FunctionDef)
    statement.decorator_list = []
    return statement
