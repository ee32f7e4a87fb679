"""``cifarnet train``: train a network, or continue a run that was stopped."""

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cifarnet.backend.cluster import Cluster
from cifarnet.cli import console
from cifarnet.cli.cluster_process import is_training_process, note_directory, train_in_process
from cifarnet.cli.help import examples
from cifarnet.cli.sweep import is_sweep, refuse_cluster, train_sweep
from cifarnet.cli.train_options import given_options, resume_options, train_request, with_train_options
from cifarnet.shell import command_line

if TYPE_CHECKING:
    from cifarnet.events import Event, EventHandler
    from cifarnet.training.result import Result

EXAMPLES = examples(
    ("train --budget 20m", "The best network for CIFAR-10 in 20 minutes"),
    ("train --data my-images --output runs/mine", "Your own images, from trained weights"),
    ("train --resume runs/mine", "Continue a run after Ctrl-C or a crash"),
)


@with_train_options
def train(context: typer.Context, **options: Any) -> None:
    """Train a network.

    Ctrl-C saves the run; --resume continues it.
    """
    started = time.monotonic()
    given, quiet, run = given_options(context), options["quiet"], options["resume"]
    cluster = Cluster.from_environment()
    if is_sweep(given):
        refuse_cluster(cluster)
        train_sweep(given)
        return
    if cluster and not is_training_process() and os.name == "posix":
        raise typer.Exit(train_in_process(cluster))
    # The others repeat what process 0 says, but for errors.
    follows = cluster is not None and not cluster.is_writer
    quiet = quiet or follows
    with console.transient("Starting ...", shown=not quiet):
        from cifarnet.cli.reporting import page_path
        from cifarnet.cli.training_screen import training_screen
        from cifarnet.training.resume import resume as resume_run
        from cifarnet.training.start import train as train_run

    if options["report_file"]:
        page_path(options["report_file"])
    service = partial(resume_run, run, pictures=True, **resume_options(given)) if run else None
    service = service or partial(train_run, train_request(given), options["output"])
    with training_screen(quiet, context.obj) as (report, data_report):
        log = None
        if options["tensorboard"] and not follows:
            from cifarnet.training.tensorboard import TensorBoardLog

            report = log = TensorBoardLog(report)
        result = service(
            cluster=cluster,
            mirrors=options["mirror"] or (),
            save_interval=options["save_interval"],
            started=started,
            report=_of_process(cluster, report) if cluster else report,
            data_report=data_report,
            start_backend=partial(console.start_backend, progress=None if quiet else data_report),
        )
        if log:
            log.finish(result.scored)
    if not follows:
        _show(result, options["report_file"])


def _of_process(cluster: Cluster, report: "EventHandler") -> "EventHandler":
    """Return a handler that notes the directory of the run, and sends events to ``report`` in process 0 alone."""

    def handle(event: "Event") -> None:
        note_directory(event)
        if cluster.is_writer:
            report(event)

    return handle


def _show(result: "Result", report_file: Path | None) -> None:
    """Write the plots and the page of a finished run, and print its result."""
    html = _write_pictures(result)
    from cifarnet.reports.terminal.training_lines import render_result

    console.print_result(render_result(result.to_dict(), str(result.directory)))
    if report_file:
        from cifarnet.cli.reporting import write_page
        from cifarnet.errors import StorageError

        if html is None:
            raise typer.Exit(StorageError.exit_code)
        write_page(report_file, html)


def _write_pictures(result: "Result") -> str | None:
    """Write the plots and the page of a finished run, and return the page; None if that failed.

    The result is complete without them, so the run does not fail with them.

    Raises:
        InterruptedRunError: when a signal stopped it.
        LostRunError: when the result was deleted or moved.
    """
    from cifarnet.cli.reporting import finish_run
    from cifarnet.errors import InterruptedRunError, LostRunError
    from cifarnet.training.signals import stopping_with

    advice = command_line("train", "--resume", result.directory)
    try:
        with stopping_with(
            f"Stopped before plots and report were written. The result is complete. Write them with: {advice}"
        ):
            result.run.require_result()
            html = finish_run(result)
            result.run.require_result()
            return html
    except (InterruptedRunError, LostRunError):
        raise
    except Exception as error:  # A long training ends with its result, not with a traceback.
        result.run.require_result()
        console.warn(f"Plots or report could not be written: {error} The result is complete. To write them: {advice}")
        return None
