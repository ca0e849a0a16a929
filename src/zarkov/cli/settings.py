"""Where settings come from: a YAML file < the environment < flags. Meaning and checks are `zarkov.config`.

The file is read as data only: no tags, no aliases or anchors (a few of them can stand for gigabytes), no key twice,
at most FILE_BYTES_MAX. A variable is ZARKOV_<KEY>, with two underscores between section and key
(ZARKOV_ZMR__LOCAL_WORKERS); ZARKOV_<KEY>_FILE names a file that holds the value, for secrets. An empty variable
counts as not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from zarkov.cli.options import Options
from zarkov.config import RETIRED, Layer, Resolved, resolve, table
from zarkov.errors import ConfigError

FILE_BYTES_MAX = 1024 * 1024
SECRET_BYTES_MAX = 64 * 1024

PREFIX = "ZARKOV_"
# Variables that are no settings: the tests' own, and those that Kubernetes sets for a service named zarkov.
_NOT_SETTINGS = re.compile(r"^ZARKOV_(CRASH_AT|TEST_.*|SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d+_.*)$")


def load(options: Options, environment: Mapping[str, str] | None = None) -> Resolved:
    """Read all layers and resolve them.

    Raises: ConfigError: a file that cannot be read or is no settings file, or what `config.resolve` refuses.
    """
    layers = [_file_layer(Path(options.file))] if options.file is not None else []
    layers.append(_environment_layer(os.environ if environment is None else environment))
    layers.append(_flag_layer(options))
    return resolve(layers)


def _file_layer(path: Path) -> Layer:
    text = _read(path, FILE_BYTES_MAX, hint=f"`zcmd init --config {path}` writes a commented one.")
    try:
        values = yaml.load(text, Loader=_StrictLoader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(
            f"{path}{where} is not a settings file: {error.problem}", hint="Correct that line."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not a settings file: {_first_line(error)}", hint="Correct it.") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply", hint="Settings are at most three levels deep.") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of settings", hint="Write lines as `web_port: 8081`.")
    return Layer(str(path), {str(key): value for key, value in values.items()})


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    keys = {row.variable: key for key, row in table().items()}
    keys |= {PREFIX + key.replace(".", "__").upper(): key for key in RETIRED}
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX) or _NOT_SETTINGS.match(name) or text == "":
            continue
        stem = name.removesuffix("_FILE")
        if name not in keys and stem in keys:
            if environment.get(stem):
                raise ConfigError(f"{stem} and {name} are both set", hint="Keep one of them.")
            text = _read(Path(text), SECRET_BYTES_MAX, hint=f"{name} must name a readable file.").strip()
            key = keys[stem]
        else:
            key = keys.get(name, name.removeprefix(PREFIX).lower().replace("__", "."))
        names[key] = name
        _put(values, key, text)
    return Layer("the environment", values, text=True, names=names)


def _flag_layer(options: Options) -> Layer:
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for assignment in options.assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {assignment} is not KEY=VALUE", hint="Write it as `--set web_port=8081`.")
        names[key] = f"--set {key}"
        _put(values, key, text)
    if options.data_dir is not None:
        names["data_dir"] = "--data-dir"
        values["data_dir"] = options.data_dir
    if options.verbose:
        names["verbose"] = "--verbose"
        values["verbose"] = "true"
    return Layer("the command line", values, text=True, names=names)


def _put(values: dict[str, Any], key: str, text: str) -> None:
    section, dot, name = key.rpartition(".")
    if not dot:
        values[key] = text
        return
    inner = values.setdefault(section, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{section} cannot be set as a whole and by its keys at once", hint="Set its keys.")
    inner[name] = text


def _read(path: Path, bytes_max: int, *, hint: str) -> str:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(bytes_max + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 at byte {error.start}", hint="Save it as UTF-8.") from None
    if len(data) > bytes_max:
        raise ConfigError(
            f"{path} is larger than {bytes_max:,} bytes", hint="A settings file is a few lines of YAML."
        )
    return text


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without anchors and aliases, and with every key once."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it open
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases (& and *) are not allowed; write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r:.60} stands here twice; keep one", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
