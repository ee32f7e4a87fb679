"""The command ``cifarnet``: the app, and the boundary where errors become messages and exit statuses."""

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from cifarnet.cli import process
from cifarnet.cli.compare import compare
from cifarnet.cli.data import data
from cifarnet.cli.evaluate import evaluate
from cifarnet.cli.predict import predict
from cifarnet.cli.summary import summary
from cifarnet.cli.train import train
from cifarnet.cli.weights import app as weights

app = typer.Typer(
    name="cifarnet",
    help="Train, check, inspect and use CIFAR-10 ResNets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from cifarnet.runtime import versions

    print(versions())
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the versions and exit."),
    ] = False,
) -> None:
    pass


for _command in (train, evaluate, compare, summary, predict, data):
    app.command(_command.__name__)(_command)
app.add_typer(weights)


def main() -> None:
    """Run the command line; every expected failure ends in a message and its exit status, never in a traceback."""
    from cifarnet.errors import CifarnetError

    process.open_missing_streams()
    _prepare_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid in the terminal's encoding, and Windows pipes know few characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    with process.guarded_stderr():
        try:
            # Training answers the signals in its own way.
            with process.stopping_by_signals(), process.guarded_stdout():
                app()
        except process.Stopped as stopped:
            _fail("Stopped.", stopped.status)
        except CifarnetError as error:
            _fail(str(error), error.exit_code)
        except BrokenPipeError:
            sys.exit(1)  # The reader (head, say) has ended, which is no news to the user.
        except OSError as error:
            _fail(_refusal(error), 1)
        except MemoryError as error:
            _fail(f"The memory of this machine is not enough: {error or 'no more could be had'}", 1)


def _prepare_libraries() -> None:
    """Have libraries take an empty HOME for none, and be silent about what users need not know."""
    import logging

    from cifarnet.paths import home_dir

    if not os.environ.get("HOME", "-"):
        del os.environ["HOME"]
    # It takes a temporary folder then, and says so in three lines that don't matter to cifarnet's users.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if home_dir() is None:
        # matplotlib 3.10 fails where there is no home; it makes a temporary folder in the place of one that is none.
        os.environ.setdefault("MPLCONFIGDIR", os.devnull)
    # For the process that removes what a pool of processes leaves when a second Ctrl-C ends them all at once.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")


def _refusal(error: OSError) -> str:
    try:
        os.getcwd()
    except OSError:
        return "The current folder has been deleted or can't be read. Change to another one, then try again."
    return f"The system refused: {error}"


def _fail(message: str, exit_code: int) -> NoReturn:
    from cifarnet.cli import console
    from cifarnet.reports.text import printable

    # What a message quotes may come from a stranger's file; its own line breaks stay.
    message = "\n".join(map(printable, message.splitlines()))
    console.stderr().print(message, style="bold red" if exit_code < 128 else "yellow", markup=False, soft_wrap=True)
    sys.exit(exit_code)
