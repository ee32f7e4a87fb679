"""``cifarnet train --seeds``: train a run for each of several seeds, and compare them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet.backend.placement import Placement
from cifarnet.cli import console, process
from cifarnet.cli.train_options import train_request
from cifarnet.errors import BackendError, FailedSeedsError, InterruptedRunError, InvalidValueError
from cifarnet.fields import option_name
from cifarnet.plurals import counted, verb
from cifarnet.printable import printable
from cifarnet.shell import command_line

if TYPE_CHECKING:
    import subprocess

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from cifarnet.backend.cluster import Cluster
    from cifarnet.runs.sweep import Sweep, SweepPlan
    from cifarnet.training.sweep import Ended, Failure, Machine, Message, Outcome, Slot, SweepEvent

_RESUMABLE = {"resume", "data", "teacher", "jobs", "mirror", "save_interval", "report_file", "tensorboard", "quiet"}


def is_sweep(given: dict[str, Any]) -> bool:
    """Return whether the ``given_options`` train several seeds.

    Raises:
        InvalidValueError: for ``--jobs`` without several seeds, and for ``--seeds`` with ``--resume``.
    """
    resumed = given.get("resume")
    if resumed is not None and "seeds" in given:
        raise InvalidValueError(
            f"--resume continues what is there, with the seeds of its start: leave out --seeds, or give a new --output."
            f" Received: --resume {resumed} --seeds {given['seeds']}"
        )
    several = "seeds" in given
    if resumed is not None:
        from cifarnet.runs import sweep

        several = sweep.is_sweep(resumed)
    if "jobs" in given and not several:
        raise InvalidValueError(
            f"--jobs is for runs of several seeds: give --seeds too. Received: --jobs {given['jobs']}"
        )
    return several


def refuse_cluster(cluster: "Cluster | None") -> None:
    """Refuse to train several seeds in the processes of a ``cluster``.

    Raises:
        BackendError: when there is one.
    """
    if cluster:
        raise BackendError(
            "One command trains several seeds, and starts a process for each of them. Unset the variables that describe"
            f" a run on several processes. Received: {cluster}"
        )


def train_sweep(given: dict[str, Any]) -> None:
    """Train the runs of the ``given_options``, show their progress, and print their comparison.

    Raises:
        InterruptedRunError: when a signal stopped the runs, after their states were saved.
        FailedSeedsError: when runs failed. The others are trained to their end.
        RunError: when another process trains them, or there is no valid sweep.
        CifarnetError: when options, data, weights or folder can't be used. Nothing has been trained then.
    """
    from cifarnet.training.signals import stopping_with

    report_file = given.get("report_file")
    if report_file:
        from cifarnet.cli.reporting import page_path

        page_path(report_file)
    with ExitStack() as stack:
        sweep = stack.enter_context(_resumed(given) if "resume" in given else _new(given))
        machine = _machine(sweep.plan.request(sweep.plan.seed).devices)
        outcome = _train(sweep, machine, given)
        advice = command_line("train", "--resume", sweep.path)
        with stopping_with(
            f"Stopped before the comparison was printed. Print it with: {command_line('compare', sweep.path)}"
        ):
            finished = [seed for seed in sweep.plan.all_seeds if sweep.is_finished(seed)]
            failed = _failure_lines(outcome.failures)
            if outcome.signal_number:
                are = verb(sweep.plan.seeds, "is", "are")
                count = f"{len(finished)} of {counted(sweep.plan.seeds, 'seed')} {are} finished"
                message = "\n".join(
                    [f"Stopped; {count}, and those that were running are saved.", *failed, f"Continue with: {advice}"]
                )
                raise InterruptedRunError(message, outcome.signal_number)
            _show(sweep, finished, report_file)
        if outcome.failures:
            count = f"{len(outcome.failures)} of {counted(sweep.plan.seeds, 'seed')} failed:"
            others = "The others are finished. " if finished else ""
            message = "\n".join([count, *failed, f"{others}Try again with: {advice}"])
            raise FailedSeedsError(message, outcome.failures[0].status)


def _machine(devices: str | int) -> "Machine":
    """Return this machine, with the processors that runs on ``devices`` may use.

    Raises:
        InvalidValueError: for several devices on a machine with GPUs, of which each run gets one.
    """
    from cifarnet.training.sweep import Machine

    machine, placement = Machine.here(), Placement.parse(devices)
    if placement.kind == "cpu":
        return replace(machine, gpus=())
    if placement.kind == "gpu" or (machine.gpus and (placement.count or 1) > 1):
        raise InvalidValueError(
            "With several seeds each run gets a GPU of its own: leave out `devices`, or train one seed on several GPUs."
            f" Received: `devices` {placement}"
        )
    return machine


def _failure_lines(failures: "Sequence[Failure]") -> list[str]:
    return [f"  seed {failure.seed}: {failure.message}" for failure in failures]


@contextmanager
def _resumed(given: dict[str, Any]) -> "Iterator[Sweep]":
    """Lock the sweep that ``--resume`` names, and yield it."""
    from cifarnet.runs.sweep import Sweep, runs_at

    path = given["resume"]
    if refused := sorted(given.keys() - _RESUMABLE):
        one = "".join(
            f" To change one run, resume it by itself: {command_line('train', '--resume', run)}"
            for run in runs_at(path)[:1]
        )
        raise InvalidValueError(
            f"The runs in {path} keep the settings in its sweep.json, so --resume can't be combined with"
            f" {', '.join(map(option_name, refused))}. Start new runs with another --output to change them.{one}"
        )
    with Sweep.open(path) as sweep:
        yield _moved(sweep, given)


def _moved(sweep: "Sweep", given: dict[str, Any]) -> "Sweep":
    """Return ``sweep`` with the ``given`` places of its data and teachers, which must be those of its started runs."""
    from cifarnet.runs.sweep import MOVABLE
    from cifarnet.training.resume import moved_inputs
    from cifarnet.training.session import Session

    places = {name: given[name] for name in MOVABLE if name in given}
    if not places:
        return sweep
    config = sweep.first_config()
    if config is None:
        # A seed that has not started has no checksums.
        return sweep.replanned(sweep.plan.moved(places))
    with console.progress_reporter(given.get("quiet", False)) as bar:
        session = Session(mirrors=given.get("mirror") or (), data_report=bar)
        found = moved_inputs(sweep.plan.placed(config), sweep.path, places.get("data"), places.get("teacher"), session)
    return sweep.replanned(sweep.plan.moved(found))


@contextmanager
def _new(given: dict[str, Any]) -> "Iterator[Sweep]":
    """Make a new sweep after all that can be checked before a run has been checked, or continue it if it is there."""
    from cifarnet.backend.devices import Device
    from cifarnet.backend.select import choose_backend
    from cifarnet.files import require_writable
    from cifarnet.runs.sweep import Sweep, SweepPlan, is_sweep, read_plan, require_seeds, require_unused
    from cifarnet.training.distribute import require_divisible, require_supported
    from cifarnet.training.network_choice import with_best_network, with_default_weights
    from cifarnet.training.session import Session
    from cifarnet.training.setup import network_for, prepare, read_images
    from cifarnet.training.start import FOLDER, make_default_directory

    seeds, path = given["seeds"], given.get("output")
    request = train_request(given)
    require_seeds(request.seed, seeds)
    machine = _machine(request.devices)
    jobs = machine.jobs(seeds, request.budget, given.get("jobs"))
    # A later --resume may have another default.
    backend = choose_backend(request.backend)
    request = replace(request, backend=backend)
    placement = Placement.parse(request.devices)
    require_supported(placement, backend, None, synchronized=request.sync_batchnorm)
    prepared = prepare(request)
    plan = SweepPlan.of(request, seeds, jobs, machine.cores_of_each(jobs))
    if path is not None and is_sweep(path) and read_plan(path) == plan:
        with Sweep.open(path) as sweep:
            yield sweep
        return
    if path is not None:
        require_unused(path)
    require_writable(path or FOLDER)
    # Images that can't be used end the command here, once, and several processes need not download them.
    with console.progress_reporter(given.get("quiet", False)) as bar:
        session = Session(mirrors=given.get("mirror") or (), data_report=bar)
        # The budget is that of a run, which reads its images again.
        _, data, _ = read_images(replace(prepared, request=replace(request, budget=None)), session)
        prepared, _ = with_default_weights(prepared, data)
        kind = "gpu" if machine.gpus else "cpu"
        prepared, _ = with_best_network(prepared, Device(backend, kind, kind, cores=plan.cores or 1), len(data.train))
        network_for(prepared.model, prepared.recipe, prepared.origins.base, data)
    batch_size = prepared.recipe.for_images(len(data.train), prepared.model).batch_size
    require_divisible(batch_size, placement.count or 1)
    del data
    with Sweep.create(path or make_default_directory(prepared), plan) as sweep:
        yield sweep


def start_process(words: Sequence[str], slot: "Slot") -> "subprocess.Popen[str]":
    """Start a process that runs the command ``words`` of cifarnet on the processors of ``slot``.

    It stops and saves its run when its stdin is closed, which also happens when this process is killed.
    """
    import subprocess

    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    environment |= {"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    if slot.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = slot.gpu
    return subprocess.Popen(
        [*process.python_command("cifarnet.cli.seed_process"), ",".join(map(str, slot.cores)), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C in a terminal reaches a whole process group, and a second signal would end a run without saving it.
        start_new_session=True,
    )


def _train(sweep: "Sweep", machine: "Machine", given: dict[str, Any]) -> "Outcome":
    from cifarnet.training.sweep import train_seeds

    plan, quiet = sweep.plan, given.get("quiet", False)
    seeds = [seed for seed in plan.all_seeds if not sweep.is_complete(seed)]
    jobs = machine.jobs(plan.seeds, wanted=given.get("jobs")) if "jobs" in given else plan.jobs
    slots = machine.slots(jobs, plan.cores)
    common = [word for name in ("mirror", "save_interval") for word in _words(name, given.get(name))]
    common += [f"--{name}" for name in ("tensorboard",) if given.get(name)]
    # Before the first run starts.
    for seed in seeds:
        sweep.require_own(seed)
    with _screen(quiet) as screen:
        if seeds:
            screen.plan(sweep, seeds, slots)
        return train_seeds(
            seeds, slots, lambda seed, slot: start_process([*sweep.words(seed), *common], slot), screen.handle
        )


def _words(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [word for each in values for word in (option_name(name), str(each))]


def _show(sweep: "Sweep", finished: Sequence[int], report_file: Path | None) -> None:
    """Print the comparison of the ``finished`` runs, if there are any, and write its page."""
    if not finished:
        return
    from cifarnet.cli.compare import print_comparison, write_comparison
    from cifarnet.reports.comparison_rows import accuracy_lines
    from cifarnet.runs.compare import compare

    comparison = compare([sweep.directory(seed) for seed in finished])
    print_comparison(comparison)
    out = console.stdout()
    for line in accuracy_lines(comparison.to_dict()):
        out.print(line.replace("±", "+/-") if out.options.ascii_only else line, markup=False, soft_wrap=True)
    out.print(
        f"The runs are in {sweep.path}. Next:\n  {command_line('compare', sweep.path)}", markup=False, soft_wrap=True
    )
    if report_file:
        write_comparison(report_file, comparison)


def plan_lines(plan: "SweepPlan", path: Path, left: Sequence[int], slots: "Sequence[Slot]") -> list[str]:
    """Return the lines on the runs of the seeds ``left``, which ``slots`` train at a time."""
    first, last = plan.all_seeds[0], plan.all_seeds[-1]
    seeds = str(first) if first == last else f"{first} to {last}"
    if len(left) < plan.seeds:
        seeds += f", {len(left)} of them left"
    at_a_time = "one at a time" if len(slots) == 1 else f"{len(slots)} at a time"
    lines = [f"Seeds     {seeds}, {at_a_time}{_processors(slots[0])}"]
    if plan.request(first).budget and len(slots) > 1:
        lines.append("          Each run has the whole budget, in which it trains less than alone on the machine.")
    return [*lines, f"Runs      {printable(str(path))}"]


def _processors(slot: "Slot") -> str:
    if slot.gpu is not None:
        return ", each on a GPU"
    if not slot.cores:
        return ""
    return f", each on {counted(len(slot.cores), 'core')} (another number gives other weights)"


class _Screen:
    """Shows the runs on stderr: on a terminal a row for each running one, elsewhere the lines of their logs."""

    def __init__(self, out: "Console", quiet: bool, rows: "Progress | None"):
        self._out, self._quiet, self._rows = out, quiet, rows
        self._tasks: dict[int, TaskID] = {}
        self._printed: set[str] = set()
        self._sweep: Sweep | None = None

    def plan(self, sweep: "Sweep", seeds: Sequence[int], slots: "Sequence[Slot]") -> None:
        """Print the plan."""
        self._sweep = sweep
        if not self._quiet:
            for line in plan_lines(sweep.plan, sweep.path, seeds, slots):
                self._out.print(line, markup=False, soft_wrap=True)

    def handle(self, event: "SweepEvent") -> None:
        """Show ``event``."""
        from cifarnet.training.sweep import Ended, Started

        if isinstance(event, Started):
            if self._rows:
                self._tasks[event.seed] = self._rows.add_task(f"seed {event.seed}", total=None, activity="starting")
        elif isinstance(event, Ended):
            if self._rows:
                self._rows.remove_task(self._tasks.pop(event.seed))
            self._end(event)
        else:
            self._show(event)

    def _show(self, message: "Message") -> None:
        content = message.content
        if isinstance(warning := content.get("warning"), str):
            self._print(message.seed, warning, "yellow")
        elif "text" in content and self._rows:
            share = content.get("progress")
            total = None if share is None else 1.0
            activity = printable(str(content["text"]))
            self._rows.update(self._tasks[message.seed], completed=share or 0.0, total=total, activity=activity)
        elif not self._quiet and not self._rows:
            for line in content.get("lines", ()):
                self._print(message.seed, str(line))

    def _print(self, seed: int, text: str, style: str | None = None) -> None:
        """Print ``text`` of a run. What another run has printed already, such as its network, is left out."""
        if text not in self._printed:
            self._printed.add(text)
            for line in text.split("\n"):
                self._out.print(f"seed {seed}  {printable(line)}", style=style, markup=False, soft_wrap=True)

    def _end(self, event: "Ended") -> None:
        from cifarnet.runs.directory import Run

        sweep, seed = self._sweep, event.seed
        if event.failure:
            self._printed.discard(failure := f"failed: {event.failure.message}")
            self._print(seed, failure, "yellow")
        elif sweep and not self._quiet and sweep.is_finished(seed):
            accuracy = Run(sweep.directory(seed)).result_values("accuracy")
            done = sum(map(sweep.is_finished, sweep.plan.all_seeds))
            if accuracy:
                self._print(
                    seed, f"Test accuracy {accuracy[0]:.2%}; {done} of {counted(sweep.plan.seeds, 'seed')} finished"
                )


@contextmanager
def _screen(quiet: bool) -> Iterator[_Screen]:
    out = console.stderr()
    if quiet or not console.can_be_redrawn(out):
        yield _Screen(out, quiet, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TextColumn("{task.fields[activity]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    rows = Progress(*columns, console=out, transient=True, redirect_stdout=False, refresh_per_second=2)
    suspended = console.SuspendedDisplay(out, lambda: max(1, len(rows.tasks)))
    with rows:
        suspended.start()
        try:
            yield _Screen(out, quiet, rows)
        finally:
            suspended.stop()
