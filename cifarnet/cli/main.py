"""The command ``cifarnet``. Exceptions become messages and exit statuses here."""

import io
import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cifarnet.cli import compare, console, data, doctor, evaluate, export, predict, process, summary, train, weights
from cifarnet.cli.help import SETTINGS, PanelCommand, PanelGroup, examples

if TYPE_CHECKING:
    from cifarnet.cli.seed_reports import SeedReports

app = typer.Typer(
    name="cifarnet",
    cls=PanelGroup,
    help="Train, check, inspect and use CIFAR-class networks.",
    epilog=examples(
        ("predict img.png", "Classify a picture"),
        ("train --budget 20m", "Train for 20 minutes on CIFAR-10"),
        ("evaluate runs/r20", "Score a trained network"),
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
)


def _print_version(requested: bool) -> None:
    if not requested:
        return
    from cifarnet.installation import versions
    from cifarnet.printable import printable

    print(printable(versions()))
    raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the versions and exit."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


for _module in (train, evaluate, compare, summary, predict, export, data, doctor):
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, cls=PanelCommand, epilog=_module.EXAMPLES)(getattr(_module, _name))
app.add_typer(weights.app)


def main(reports: "SeedReports | None" = None) -> None:
    """Run the command line. A training sends its progress to ``reports``, by default to the screen.

    Every error ends in a message and an exit status, without a traceback unless CIFARNET_TRACEBACK is set.
    """
    process.open_missing_streams()
    _prepare_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid in the terminal's encoding, and Windows pipes know few characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    with process.guarded_stderr():
        try:
            # Training replaces these signal handlers by its own.
            with process.stopping_by_signals(), process.guarded_stdout(), console.logged_warnings_shown():
                # Without Typer's own handling of errors, the status of an Exit is returned.
                status = app(words, prog_name="cifarnet", standalone_mode=False, obj=reports)
        except process.Stopped as stopped:
            _fail("Stopped.", stopped.status)
        except BrokenPipeError:
            sys.exit(1)  # The reader of the pipe, such as head, has ended.
        except Exception as error:
            from cifarnet.cli.errors import error_message

            if os.environ.get("CIFARNET_TRACEBACK"):
                raise
            _fail(*error_message(error, words))
        sys.exit(status or 0)


def _prepare_libraries() -> None:
    """Make libraries treat an empty HOME as unset, and silence warnings that don't concern users."""
    import logging

    from cifarnet.paths import home_dir

    if not os.environ.get("HOME", "-"):
        del os.environ["HOME"]
    # Without a home folder matplotlib uses a temporary folder, and warns about it in three lines.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if home_dir() is None:
        # matplotlib 3.10 fails without a home folder, but replaces a path that is not a folder by a temporary folder.
        os.environ.setdefault("MPLCONFIGDIR", os.devnull)
    # For the process that cleans up after a pool of processes when a second Ctrl-C ends it.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")


def _fail(message: str, exit_code: int) -> NoReturn:
    from cifarnet.printable import printable_lines

    # A message may quote an untrusted file.
    message = printable_lines(message)
    stopped = exit_code >= 128
    text, style = (message, "yellow") if stopped else (f"Error: {message}", "bold red")
    console.stderr().print(text, style=style, markup=False, soft_wrap=True)
    sys.exit(exit_code)
