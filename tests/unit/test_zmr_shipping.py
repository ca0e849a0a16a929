"""Functions as text: found, packed with what they use, and loaded elsewhere."""

import collections
import functools
import json
import linecache
import math
import operator
import re
import subprocess
import sys
import traceback
import xml.dom
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from textwrap import dedent
from typing import Any

import pytest
from bson import ObjectId

from zarkov.errors import FunctionUnshippable
from zarkov.zmr.shipping import FunctionSource, load, ship

LIMIT = 3
WEIGHTS = {"commit": 2, ("a", 1): [1.5, None, float("inf")]}
WORD = re.compile(r"\w+", re.IGNORECASE)
SINCE = datetime(2011, 7, 20, tzinfo=UTC)
OWNER = ObjectId("4e2723eeb240217416000001")
LOCK = object()


def double(value: int) -> int:
    return value * 2


def is_even(number: int) -> bool:
    return number == 0 or is_odd(number - 1)


def is_odd(number: int) -> bool:
    return number != 0 and is_even(number - 1)


def by_word(events: Iterator[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    for event in events:
        for word in WORD.findall(event["text"]):
            if len(word) > LIMIT:
                yield word.lower(), double(WEIGHTS.get(event["type"], 1))


def travelled(function: object) -> Callable[..., Any]:
    """The function after its journey as a document."""
    return load(FunctionSource.from_document(json.loads(json.dumps(ship(function).to_document()))))


def elsewhere(function: object, *arguments: object) -> Any:
    """What it returns in another process, which has nothing but Zarkov."""
    script = "import json, sys; from zarkov.zmr.shipping import *; d = json.load(sys.stdin); "
    script += "print(json.dumps(load(FunctionSource.from_document(d[0]))(*d[1])))"
    given = json.dumps([ship(function).to_document(), arguments])
    done = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_function_takes_along_the_functions_and_plain_values_that_it_uses() -> None:
    events = [{"type": "commit", "text": "Fix the parser"}, {"type": "x", "text": "parser"}]
    assert list(travelled(by_word)(iter(events))) == [("parser", 4), ("parser", 2)]


def test_a_function_runs_in_a_process_that_never_saw_its_module() -> None:
    assert elsewhere(is_even, 10) is True
    assert elsewhere(lambda n: math.floor(n) + double(LIMIT), 2.5) == 8


def test_lambdas_of_one_line_are_told_apart() -> None:
    several = [lambda n: n + 1, lambda n: n + 2, lambda n: n + 3, lambda key, n=4: n]
    assert [travelled(each)(0) for each in several] == [1, 2, 3, 4]


def test_lambdas_that_look_alike_on_one_line_but_stand_in_different_columns_are_told_apart() -> None:
    first, second = (lambda n: n), (lambda n: n)
    assert (travelled(first)(1), travelled(second)(2)) == (1, 2)


def test_a_lambda_over_several_lines_is_found() -> None:
    total = lambda key, values: sum(  # noqa: E731
        value for value in values if value
    )
    assert travelled(total)("a", [1, None, 2]) == 3


def test_closures_over_plain_values_and_functions_are_taken_along() -> None:
    factor = 5

    def scale(value: int) -> int:
        return value * factor

    def apply(key: str, values: list[int]) -> int:
        return scale(sum(values))

    assert travelled(apply)("a", [1, 2]) == 15


def test_default_values_are_those_of_the_moment() -> None:
    base = 1

    def add(value: int, more: int = base, *, much: tuple[int, ...] = (base, 7)) -> int:
        return value + more + sum(much)

    base = 100
    assert travelled(add)(0) == 9


def test_a_decorated_function_is_its_decorator_around_it() -> None:
    def noisy(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def inner(*arguments: int) -> int:
            return function(*arguments) + 1000

        return inner

    @noisy
    def add(a: int, b: int) -> int:
        return a + b

    assert travelled(add)(1, 2) == 1003


def test_modules_and_what_installed_packages_define_are_imported() -> None:
    def use(text: str) -> Any:
        counted = Counter(text)
        ordered = collections.OrderedDict(sorted(counted.items()))
        return [dict(ordered), math.pi, json.loads("[1]"), xml.dom.Node.ELEMENT_NODE, operator.add(1, 2)]

    assert elsewhere(use, "aab") == [{"a": 2, "b": 1}, math.pi, [1], 1, 3]


def test_values_of_every_plain_type_arrive_as_they_were() -> None:
    values = (None, True, 1, 2.5, "text", b"bytes", (1,), [2], {"k": {3}}, frozenset({4}), range(5), SINCE, OWNER)
    pattern = WORD

    def give() -> Any:
        return values, pattern

    given, compiled = travelled(give)()
    assert given == values
    assert [type(value) for value in given] == [type(value) for value in values]
    assert (compiled.pattern, compiled.flags) == (WORD.pattern, WORD.flags)
    assert math.isinf(travelled(lambda: WEIGHTS[("a", 1)][2])())


def test_annotations_need_nothing_where_the_function_runs() -> None:
    def annotated(events: "Iterator[NotThere]") -> Callable[[object], int]:  # noqa: F821
        return len(list(events))  # type: ignore[return-value]

    assert travelled(annotated)([1, 2]) == 2


def test_a_class_within_a_function_travels_with_it() -> None:
    def measure(values: list[int]) -> int:
        class Total:
            start = 0
            value = start

            def add(self, number: int) -> None:
                self.value += number

        total = Total()
        for value in values:
            total.add(value)
        return total.value

    assert travelled(measure)([1, 2, 3]) == 6


@pytest.mark.parametrize(
    ("given", "expected"),
    [("operator:add", 3), (("def g(a, b): return a + b", "g"), 3), (max, 2), (math.pow, 1.0), (operator.add, 3)],
)
def test_functions_may_be_named_or_given_as_text(given: object, expected: float) -> None:
    assert travelled(given)(1, 2) == expected


def uses_a_lock() -> object:
    return LOCK


def uses_what_is_not_there() -> object:
    return not_there_at_all  # type: ignore[name-defined]  # noqa: F821


def writes_outside() -> None:
    global LIMIT
    LIMIT = 4


def uses_it_deep_down() -> object:
    return [uses_a_lock() for _ in range(2)]


async def sleeps() -> None:
    """A coroutine."""


class Caller:
    def __call__(self) -> int:
        return 1

    def method(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (uses_a_lock, "LOCK"),
        (uses_it_deep_down, "LOCK"),
        (uses_what_is_not_there, "not_there_at_all"),
        (writes_outside, "LIMIT"),
        (sleeps, "coroutine"),
        (Caller(), "Caller"),
        (Caller().method, "method"),
        (Caller, "Caller"),
        (functools.partial(double, 1), "partial"),
        (42, "42"),
        ("no colon", "names no function"),
        ("os:system; import os", "names no function"),
    ],
)
def test_what_cannot_travel_is_refused_by_name(function: object, named: str) -> None:
    with pytest.raises(FunctionUnshippable, match=re.escape(named)) as refused:
        ship(function)
    assert refused.value.hint


def test_a_closure_that_is_written_is_refused() -> None:
    seen = 0

    def count(events: Iterator[object]) -> int:
        nonlocal seen
        seen += len(list(events))
        return seen

    with pytest.raises(FunctionUnshippable, match="seen"):
        ship(count)


def test_two_meanings_of_one_name_are_refused() -> None:
    def outer() -> Callable[[], int]:
        LIMIT = 4  # noqa: N806

        def inner() -> int:
            return LIMIT

        return inner

    inner = outer()

    def both() -> int:
        return inner() + LIMIT

    with pytest.raises(FunctionUnshippable, match="LIMIT"):
        ship(both)


def test_a_function_without_a_source_is_refused() -> None:
    names: dict[str, Any] = {}
    exec("def made(): return 1", names)  # noqa: S102
    with pytest.raises(FunctionUnshippable, match="source"):
        ship(names["made"])


def test_a_function_of_an_ipython_cell_is_found() -> None:
    text = dedent("""
        STEP = 2
        def step(n): return n + STEP
    """)
    linecache.cache["<ipython-input-1>"] = (len(text), None, text.splitlines(keepends=True), "<ipython-input-1>")
    names: dict[str, Any] = {}
    exec(compile(text, "<ipython-input-1>", "exec"), names)  # noqa: S102
    assert travelled(names["step"])(1) == 3


def test_the_traceback_of_a_shipped_function_shows_its_lines() -> None:
    def divide(a: int) -> float:
        return a / 0

    with pytest.raises(ZeroDivisionError) as failed:
        travelled(divide)(1)
    assert "return a / 0" in "".join(traceback.format_exception(failed.value))


def test_the_digest_tells_functions_apart_and_is_the_same_elsewhere() -> None:
    assert ship(is_even).digest == FunctionSource.from_document(ship(is_even).to_document()).digest
    assert ship(is_even).digest != ship(is_odd).digest


def test_a_name_that_the_worker_cannot_import_says_so() -> None:
    with pytest.raises(FunctionUnshippable, match="no_such_module"):
        load(FunctionSource("module", "no_such_module:f"))
    with pytest.raises(FunctionUnshippable, match="defines no function"):
        load(FunctionSource("text", "g", "f = 1"))
    with pytest.raises(FunctionUnshippable, match="no Python"):
        load(FunctionSource("text", "g", "def g(:"))
