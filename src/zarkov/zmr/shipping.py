"""Functions on their way to a worker: as a dotted name or as source text, never as a pickle.

    source = ship(lambda key, values: sum(values))
    load(source)("a", [1, 2])       # 3, in any process

A function that is shipped as text takes along what it uses: modules become imports; what an installed package
defines is imported from there; functions of one's own are shipped with it, and what those use; plain values
(`literals`) are written down as they are at that moment. Variables of an enclosing function count as the module's.
Everything else is refused, naming the variable. Functions share one namespace in the text, so two of them may not
mean different things by one name.

Loading text runs it: only whoever holds a key may send some (docs/security.md).
"""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import importlib
import linecache
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Literal, cast

from zarkov.errors import FunctionUnshippable
from zarkov.zmr.literals import LITERAL_MODULES, NotPlain, literal
from zarkov.zmr.located import definition_of

#: Bytes of a function's text with all that it takes along.
TEXT_BYTES_MAX = 1024 * 1024
#: Functions that one takes along, itself included.
FUNCTIONS_MAX = 200

_WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}
_OF_EVERY_MODULE = ("__name__", "__file__", "__doc__", "__spec__")


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A function as it travels: `name` is `package.module:function`, or what `text` defines."""

    kind: Literal["module", "text"]
    name: str
    text: str = ""

    @property
    def digest(self) -> str:
        """64 hexadecimal digits, the same for the same function in every process."""
        return hashlib.sha256("\x00".join((self.kind, self.name, self.text)).encode()).hexdigest()

    def to_document(self) -> dict[str, str]:
        return {"kind": self.kind, "name": self.name, "text": self.text}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> FunctionSource:
        """Raises: FunctionUnshippable: the document is none that `to_document` makes."""
        kind, name, text = document.get("kind"), document.get("name"), document.get("text", "")
        if kind not in ("module", "text") or not isinstance(name, str) or not isinstance(text, str):
            raise FunctionUnshippable("a function has a kind (module or text), a name, and its text")
        return cls(kind, name, text)


def ship(function: object) -> FunctionSource:
    """A function ready to travel.

    Args:   function: a Python function or lambda; `"package.module:function"`, which the workers must be able to
            import; a pair (text, name); or a FunctionSource, which is returned as it is.
    Raises: FunctionUnshippable: names the variable that cannot be sent, and the way out.
    """
    if isinstance(function, FunctionSource):
        return function
    if isinstance(function, str):
        return _by_name(function)
    if isinstance(function, tuple) and len(function) == 2 and all(isinstance(part, str) for part in function):
        return FunctionSource("text", function[1], _bounded(function[0]))
    if isinstance(function, BuiltinFunctionType) and _is_found(function.__module__, function.__qualname__, function):
        return FunctionSource("module", f"{function.__module__}:{function.__qualname__}")
    if not isinstance(function, FunctionType):
        raise FunctionUnshippable(
            f"{_shown(function)} is no function", hint="Wrap it into one: `def f(key, values): return ...`."
        )
    if function.__code__.co_flags & (_COROUTINE | _ASYNC_GENERATOR):
        raise FunctionUnshippable(f"{function.__name__} is a coroutine", hint="Workers call plain functions.")
    package = _Package()
    name = package.add(function, "lambda_function" if function.__name__ == "<lambda>" else function.__name__)
    return FunctionSource("text", name, _bounded(package.text()))


def load(source: FunctionSource) -> Callable[..., Any]:
    """The function itself; running its text, or importing its module, the first time.

    Raises: FunctionUnshippable: there is no such function. Whatever the text raises when it runs.
    """
    return _loaded(source)


@lru_cache(maxsize=256)
def _loaded(source: FunctionSource) -> Callable[..., Any]:
    found: Any = _imported(source.name) if source.kind == "module" else _run(source).get(source.name)
    if not callable(found):
        where = f"the module {source.name.partition(':')[0]}" if source.kind == "module" else "the text"
        raise FunctionUnshippable(f"{where} defines no function {source.name.rpartition(':')[2]}")
    return cast("Callable[..., Any]", found)


def _imported(name: str) -> object:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FunctionUnshippable(
            f"{name} cannot be imported here: {error}", hint="Install its package where the workers run."
        ) from error
    return found


def _run(source: FunctionSource) -> dict[str, Any]:
    filename = f"<function {source.name} {source.digest[:12]}>"
    # Tracebacks show the text's lines.
    linecache.cache[filename] = (len(source.text), None, source.text.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"__name__": f"zarkov_function_{source.digest[:12]}", "__file__": filename}
    try:
        code = compile(source.text, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise FunctionUnshippable(f"the text of {source.name} is no Python: {error}") from None
    exec(code, names)  # noqa: S102  # what map-reduce is; who may send text is decided by keys
    return names


def _by_name(name: str) -> FunctionSource:
    module, colon, path = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise FunctionUnshippable(
            f"{name[:60]!r} names no function", hint="Write `package.module:function`, or give (text, name)."
        )
    return FunctionSource("module", name)


@dataclass
class _Package:
    """What goes into one text: every name that is used, once."""

    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, object] = field(default_factory=dict)

    def text(self) -> str:
        parts = [
            "from __future__ import annotations",
            "\n".join(self.imports.values()),
            "\n".join(f"{name} = {value}" for name, value in self.constants.items()),
            *self.functions.values(),
        ]
        return "\n\n\n".join(part for part in parts if part) + "\n"

    def add(self, function: FunctionType, name: str) -> str:
        """Take a function along under this name, with all that it uses."""
        self._claim(name, function, function)
        if len(self.functions) >= FUNCTIONS_MAX:
            raise FunctionUnshippable(f"more than {FUNCTIONS_MAX} functions hang on it: name it as `module:function`")
        self.functions[name] = ""  # Keeps its place, and ends a recursion.
        node = definition_of(function)
        self._write_defaults(function, node)
        if isinstance(node, ast.Lambda):
            self.functions[name] = f"{name} = {ast.unparse(node)}"
        else:
            node.name = name
            self.functions[name] = ast.unparse(node)
        for used, value in _used(function):
            self._take(function, used, value)
        return name

    def _take(self, function: FunctionType, name: str, value: object) -> None:
        if name in self.meanings and self.meanings[name] is value:
            return
        if isinstance(value, ModuleType):
            self._claim(name, value, function)
            self.imports[name] = _import_of(value, name, function)
            for inner in _submodules(value, _attributes(function.__code__)):
                self.imports[inner] = f"import {inner}"
        elif isinstance(value, FunctionType) and not _is_installed(value):
            self.add(value, name)
        elif isinstance(value, FunctionType | BuiltinFunctionType | type) and _is_importable(value):
            self._claim(name, value, function)
            self.imports[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
        else:
            self._claim(name, value, function)
            self.constants[name] = self._literal(function, name, value)

    def _literal(self, function: FunctionType, name: str, value: object) -> str:
        try:
            text = literal(value)
        except NotPlain as reason:
            raise FunctionUnshippable(
                f"{function.__name__} uses the variable {name}, which cannot be sent: {reason}",
                hint=f"Make {name} inside the function, or put both into a module that the workers can import.",
            ) from None
        for module, statement in LITERAL_MODULES.items():
            if f"{module}." in text:
                if self.meanings.get(module, sys.modules[module]) is not sys.modules[module]:
                    raise FunctionUnshippable(f"{module} is both a module and another value: rename the other")
                self.meanings[module] = sys.modules[module]
                self.imports.setdefault(module, statement)
        return text

    def _write_defaults(self, function: FunctionType, node: ast.Lambda | ast.FunctionDef) -> None:
        """Default values as they are now, not as the names stand that they were made from."""
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        given = function.__defaults__ or ()
        for at, value in enumerate(given):
            name = names[len(names) - len(given) + at]
            arguments.defaults[at] = _expression(self._literal(function, name, value))
        for at, argument in enumerate(arguments.kwonlyargs):
            if argument.arg in (function.__kwdefaults__ or {}):
                value = (function.__kwdefaults__ or {})[argument.arg]
                arguments.kw_defaults[at] = _expression(self._literal(function, argument.arg, value))

    def _claim(self, name: str, value: object, function: FunctionType) -> None:
        if self.meanings.setdefault(name, value) is not value:
            raise FunctionUnshippable(
                f"{function.__name__} and a function it uses mean different things by {name}",
                hint=f"Rename one {name}.",
            )


def _used(function: FunctionType) -> Iterator[tuple[str, object]]:
    """The variables around a function that its code reads, with their values now. Raises: FunctionUnshippable."""
    free: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            free[name] = cell.cell_contents
        except ValueError:
            raise _undefined(function, name) from None
    around = function.__globals__
    for name in sorted(_names(function, function.__code__)):
        if name in free:
            continue
        if name in around:
            yield name, around[name]
        elif not hasattr(builtins, name):
            raise _undefined(function, name)
    yield from free.items()


def _names(function: FunctionType, code: CodeType) -> set[str]:
    """The names that a code object and those within it look up in their module."""
    found: set[str] = set()
    own: set[str] = set(_OF_EVERY_MODULE)  # A class's body looks up its own names in the same way.
    for instruction in dis.get_instructions(code):
        if instruction.opname in _WRITES or (
            instruction.opname == "STORE_DEREF" and instruction.argval in function.__code__.co_freevars
        ):
            raise FunctionUnshippable(
                f"{function.__name__} writes the variable {instruction.argval}, which lies outside it",
                hint="Workers share no variables: return or yield what is to be kept.",
            )
        if instruction.opname == "STORE_NAME":
            own.add(instruction.argval)
        elif instruction.opname in _READS and instruction.argval not in own:
            found.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(function, constant)
    return found


def _attributes(code: CodeType) -> set[str]:
    """The names of attributes in a code object and those within it, among others."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_attributes, inner))


def _submodules(module: ModuleType, names: set[str]) -> Iterator[str]:
    """The modules below this one that the names may mean."""
    for name in sorted(names):
        full = f"{module.__name__}.{name}"
        if full in sys.modules and getattr(module, name, None) is sys.modules[full]:
            yield full
            yield from _submodules(sys.modules[full], names)


def _undefined(function: FunctionType, name: str) -> FunctionUnshippable:
    return FunctionUnshippable(
        f"{function.__name__} uses the variable {name}, which is not defined", hint=f"Define {name} first."
    )


def _import_of(module: ModuleType, name: str, function: FunctionType) -> str:
    full = module.__name__
    if full == "__main__" or getattr(module, "__spec__", None) is None or sys.modules.get(full) is not module:
        raise FunctionUnshippable(f"{function.__name__} uses {name}, a module that cannot be imported by its name")
    # `import a.b` is what binds `a` alone, and `a.b` with it.
    return f"import {full}" if name == full else f"import {full} as {name}"


def _is_importable(value: Any) -> bool:
    return _is_installed(value) and _is_found(value.__module__, value.__qualname__, value)


def _is_found(module: str | None, path: str, value: object) -> bool:
    found: Any = sys.modules.get(module or "")
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None and found is value


def _is_installed(value: Any) -> bool:
    """Whether it comes with Python or an installed package, so that workers have it too."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    return any(folder in Path(file).parents for folder in _installed_folders())


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[Path, ...]:
    here = Path(__file__).parents[1]  # Workers run Zarkov itself.
    return (here, *{Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _bounded(text: str) -> str:
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise FunctionUnshippable(
            f"the function's text is longer than {TEXT_BYTES_MAX:,} bytes with all that it uses"
        )
    return text


def _shown(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return f"the {type(value).__name__} {name or repr(value)[:60]}"


_COROUTINE, _ASYNC_GENERATOR = 0x80 | 0x100, 0x200
