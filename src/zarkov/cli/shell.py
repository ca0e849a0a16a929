"""`shell` and `script`: Python with `ZM`, `zmr`, `client` and the settings at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from zarkov.cli.context import Zcmd, zcmd_of
from zarkov.cli.output import EXIT_FAILED, report
from zarkov.errors import ConfigError, ZarkovError

PANEL = "Ask"
BANNER = """\
Zarkov {version} on {where}: ZM.event.m.find({{...}}).all()
Here are ZM, zmr, client, settings, ObjectId, datetime. `from zarkov import client` works too.
"""


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.command(rich_help_panel=PANEL)(shell)
    # What follows the file is the script's, options included.
    rest = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(rich_help_panel=PANEL, context_settings=rest)(script)


def shell(ctx: typer.Context) -> None:
    """Ask in Python: IPython with `ZM`, `zmr`, `client`, `settings`, `ObjectId` and `datetime`.

    Works on a terminal and with a program on standard input. Also while the server runs.

    Example: [bold]echo 'print(ZM.event.m.find().count())' | zcmd shell[/bold]
    """
    from zarkov import __version__
    from zarkov.cli.wiring import open_model
    from zarkov.cli.zmr_wiring import open_zmr

    zcmd = zcmd_of(ctx)
    with open_model(zcmd.settings) as model, open_zmr(zcmd.settings) as zmr:
        if sys.stdin.isatty():
            settings = zcmd.settings
            where = f"MongoDB, database {settings.mongo_database}" if settings.mongo_uri else str(settings.data_dir)
            print(BANNER.format(version=__version__, where=where))
        _start_ipython(_namespace(zcmd, model, zmr))


def _start_ipython(namespace: dict[str, Any]) -> None:
    """Run IPython to its end; an error of Zarkov shows as its sentence and hint, any other with its traceback."""
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    config = Config()
    config.TerminalIPythonApp.display_banner = False
    config.TerminalInteractiveShell.confirm_exit = False
    if not sys.stdin.isatty():
        config.HistoryManager.enabled = False
        config.TerminalInteractiveShell.colors = "nocolor"
    app: Any = TerminalIPythonApp.instance(config=config, user_ns=namespace)
    app.initialize([])
    app.shell.set_custom_exc((ZarkovError,), _show_error)
    app.start()
    if not sys.stdin.isatty():
        print()


def _show_error(
    shell: Any, kind: type[BaseException], error: BaseException, frames: Any, tb_offset: Any = None
) -> None:
    """IPython's hook for errors of the kinds it was registered for."""
    report(error)


def script(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A Python file.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments, as sys.argv[1:].")] = None,
) -> None:
    """Run a Python file with the names of the shell.

    Example: [bold]zcmd -y development.yaml script count.py[/bold]
    """
    import runpy
    import traceback

    from zarkov.cli.wiring import open_model
    from zarkov.cli.zmr_wiring import open_zmr

    if not file.is_file():
        raise ConfigError(f"{file} is not a file", hint="Name a Python file.")
    zcmd = zcmd_of(ctx)
    sys.argv = [str(file), *(arguments or ())]
    sys.path.insert(0, str(file.resolve().parent))
    with open_model(zcmd.settings) as model, open_zmr(zcmd.settings) as zmr:
        try:
            runpy.run_path(str(file), init_globals=_namespace(zcmd, model, zmr), run_name="__main__")
        except Exception as error:  # noqa: BLE001  # the script's own fault: its author needs the traceback
            traceback.print_exception(error.with_traceback(_frames_of(error, file)))
            raise typer.Exit(EXIT_FAILED) from None


def _namespace(zcmd: Zcmd, model: Any, zmr: Any) -> dict[str, Any]:
    """The names at hand; with `ObjectId` and the module `datetime`, what is printed can be typed in again."""
    import datetime

    from bson import ObjectId

    from zarkov import client

    return {
        "ZM": model,
        "zmr": zmr,
        "client": client,
        "settings": zcmd.settings,
        "ObjectId": ObjectId,
        "datetime": datetime,
    }


def _frames_of(error: BaseException, file: Path) -> TracebackType | None:
    """The traceback from the script's first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(file):
        frames = frames.tb_next
    return frames or error.__traceback__
