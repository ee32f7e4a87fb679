"""The command ``cifarnet``: the app, and the boundary where errors become messages and exit statuses."""

import io
import signal
import sys
from typing import Annotated, NoReturn

import typer

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

    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid in the terminal's encoding, and Windows pipes know few characters.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Click would turn a KeyboardInterrupt into "Aborted." and status 1; training replaces this handler by its own.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: _fail("Stopped.", 130))
    try:
        app()
    except CifarnetError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader (head, say) has gone; without this, Python would complain at exit when it flushes stdout.
        sys.stdout = None
        sys.exit(1)
    except OSError as error:
        _fail(f"The system refused: {error}", 1)
    except MemoryError as error:
        _fail(f"The memory of this machine is not enough: {error or 'no more could be had'}", 1)
    finally:
        signal.signal(signal.SIGINT, before)


def _fail(message: str, exit_code: int) -> NoReturn:
    from cifarnet.cli import console
    from cifarnet.reports.text import printable

    # What a message quotes may come from a stranger's file; its own line breaks stay.
    message = "\n".join(map(printable, message.splitlines()))
    console.stderr().print(message, style="bold red" if exit_code < 128 else "yellow", markup=False, soft_wrap=True)
    sys.exit(exit_code)
