"""The commands of zcmd, the options before them, and how every error ends: one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from zarkov import __version__
from zarkov.cli import (
    check_config,
    export,
    find,
    init,
    jobs,
    journal,
    keygen,
    loading,
    mapreduce,
    migrate,
    perftest,
    rejected,
    rotate,
    run,
    send,
    shell,
    stats,
    tail,
    zmr,
)
from zarkov.cli.context import Zcmd
from zarkov.cli.options import Options
from zarkov.cli.output import EXIT_DONE, reader_has_left, report, silence_stdout

app = typer.Typer(
    name="zcmd",
    rich_markup_mode="rich",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with [bold]zcmd serve[/bold] in one terminal and [bold]zcmd shell[/bold] in another. "
    "Everything works without a settings file.",
)

for family in (
    run,
    shell,
    send,
    find,
    tail,
    stats,
    export,
    mapreduce,
    jobs,
    rejected,
    journal,
    loading,
    rotate,
    zmr,
    perftest,
    migrate,
    init,
    keygen,
    check_config,
):
    family.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"zarkov {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def zcmd(
    ctx: typer.Context,
    file: Annotated[str | None, typer.Option("--yaml", "-y", metavar="FILE", help="Settings file (YAML).")] = None,
    data_dir: Annotated[
        str | None,
        typer.Option("--data-dir", metavar="DIR", help="Where everything is stored [dim](data_dir)[/dim]."),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any setting; may be repeated.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log in detail, and tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Zarkov: an event logger. Without a command, [bold]zcmd[/bold] opens the shell."""
    del version
    ctx.obj = Zcmd(Options(file, data_dir, tuple(assignments or ()), verbose))
    if ctx.invoked_subcommand is None:
        shell.shell(ctx)


@app.command("help", rich_help_panel="Help")
def show_help(
    ctx: typer.Context, command: Annotated[list[str] | None, typer.Argument(help="A command.")] = None
) -> None:
    """Show the help of a command.

    Example: [bold]zcmd help find[/bold]
    """
    app([*(command or ()), "--help"], prog_name=ctx.parent.info_name if ctx.parent else "zcmd")


def main() -> None:
    """The console script."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    code: int | str | None = EXIT_DONE
    try:
        stdout = os.dup(1)  # rich puts another in its place when its reader leaves
        try:
            app(prog_name="zcmd")
        except SystemExit as ended:
            if isinstance(ended.__context__, BrokenPipeError):  # typer and rich end so, whichever pipe it was
                raise ended.__context__ from None
            code = ended.code
        print(end="", flush=True)
    except Exception as error:  # noqa: BLE001  # the outermost frame: every error ends as one sentence
        if isinstance(error, BrokenPipeError) and reader_has_left(stdout):
            silence_stdout()
        else:
            code = report(error, verbose=verbose)
    sys.exit(code)


if __name__ == "__main__":
    main()
