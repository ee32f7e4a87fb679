"""Faults by the hundred: what was tried, and what cifarnet made of it.

    python benchmarks/faults.py                      # all parts at full length: two hours on two cores
    python benchmarks/faults.py --parts saves pictures --scale 0.01

The tests run a few of each (tests/faults); this runs the same code with the long counts, and stops at the first fault
that is not survived. Run it in a checkout, with what development needs installed; Linux, with strace for ``saves``.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

Row = tuple[str, str, str]

# A shell's background job inherits an ignored SIGINT.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import cifarnet.cli.main as m; m.main()"
)


def scaled(count: int, scale: float) -> int:
    """``count`` at full length, at least 2."""
    return max(2, round(count * scale))


def kills(folder: Path, scale: float) -> list[Row]:
    """SIGKILL at random moments of trainings that save after every step."""
    count = scaled(500, scale)
    command = [sys.executable, "-m", "tests.support.faults.kills", folder / "kills", str(count), "0"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    survived = (
        f"{told['kills']} went on, none from before its last save; {told['equal']} of {told['finished']} results equal"
        " to the last bit"
    )
    return [("training killed at a random moment", f"{told['kills']}", survived)]


def saves(folder: Path, scale: float) -> list[Row]:
    """Each system call of a save, killed, and failing in three ways."""
    from cifarnet.training.saving import Saver, latest_checkpoint
    from tests.support.faults.saves import ERRORS, can_trace, checkpoint, faults, saved_under

    if not can_trace():
        return [("system calls of a save", "0", "not tried: strace is missing, or may not trace here")]
    before = folder / "before"
    saver = Saver(before, "test", lambda event: None)
    for step in (1, 2):
        saver.save(checkpoint(step))
    trial = folder / "trial"
    shutil.copytree(before, trial)
    calls = faults(trial, 3)
    calls = calls[:: max(1, len(calls) // scaled(len(calls), scale))]
    rows = []
    for told, fault in [("SIGKILL", "signal=SIGKILL"), *((error, f"error={error}") for error in ERRORS)]:
        found: Counter[int] = Counter()
        for call in calls:
            shutil.rmtree(trial)
            shutil.copytree(before, trial)
            outcome = saved_under(trial, 3, call, fault)
            assert outcome.reached, call
            newest = latest_checkpoint(trial, lambda event: None)
            assert newest, call
            step = newest.progress.step
            assert newest.weights.sha256() == checkpoint(step).weights.sha256()
            assert step == 3 or outcome.status or outcome.warned, call
            found[step] += 1
        rows.append(
            (f"a system call of a save: {told}", f"{len(calls)}", f"{found[2]} old states whole, {found[3]} new")
        )
    return rows


def disks(folder: Path, scale: float) -> list[Row]:
    """Each operation on each file of a run, refused once, and from it on."""
    from cifarnet import runs
    from cifarnet.errors import StorageError
    from cifarnet.models.weights import load_weights
    from cifarnet.recipes import RECIPES
    from cifarnet.training.config import RunConfig
    from cifarnet.training.run import resume, train
    from tests.support.faults.disk import disk

    recipe = RECIPES["paper"].with_changes(epochs=2, batch_size=32)
    config = RunConfig(recipe, data="synthetic:100", depth=8, validation_split=0.2)
    with disk(folder / "reference") as healthy:
        train(config, folder / "reference")
    wanted = load_weights(folder / "reference" / runs.WEIGHTS).sha256()
    rows = []
    for for_ever in (False, True):
        for code in (errno.ENOSPC, errno.EIO, errno.EACCES):
            counts: Counter[str] = Counter()
            step = max(1, healthy.operations // scaled(healthy.operations, scale))
            for refused in range(1, healthy.operations + 1, step):
                directory = folder / f"{for_ever}-{code}-{refused}"
                try:
                    with disk(directory, refused, code, for_ever):
                        train(config, directory)
                    counts["went on"] += 1
                except StorageError:
                    counts["said so"] += 1
                if not (directory / runs.METRICS).exists():
                    (resume(directory) if (directory / runs.CONFIG).exists() else train(config, directory))
                assert load_weights(directory / runs.WEIGHTS).sha256() == wanted, directory
                shutil.rmtree(directory)
            told = f"{errno.errorcode[code]}, {'from then on' if for_ever else 'once'}"
            survived = (
                f"{counts['went on']} went on, {counts['said so']} stopped and were finished later; all results equal"
            )
            rows.append((f"an operation on a run's file: {told}", f"{counts.total()}", survived))
    return rows


def damage(folder: Path, scale: float) -> list[Row]:
    """Flipped bits and cut ends of every kind of file."""
    from tests.support.faults.corruption import damage as damaged
    from tests.support.faults.corruption import kinds

    os.environ["CIFARNET_CACHE"] = str(folder / "cache")
    flips, cuts = scaled(2000, scale), scaled(100, scale)
    rows = []
    for name, kind in kinds(folder).items():
        counts = damaged(kind, folder, flips, cuts)
        assert not counts["missed"] + counts["unnamed"], (name, counts)
        shutil.rmtree(folder / "images", ignore_errors=True)
        rows.append(
            (
                f"{name}: bits flipped, ends cut",
                f"{flips:,} + {cuts}",
                f"{counts['noticed']:,} noticed and named, {counts['harmless']} without effect on what is read",
            )
        )
    return rows


def weights(folder: Path, scale: float) -> list[Row]:
    """Crafted weight files."""
    from cifarnet.models.weights import save_weights
    from tests.support.faults.crafted import CRAFTED, save_secrets
    from tests.support.faults.reading import read_apart
    from tests.support.faults.saves import checkpoint

    paths = [folder / f"{index}.h5" for index in range(len(CRAFTED))]
    for path, make in zip(paths, CRAFTED.values(), strict=True):
        save_weights(path, checkpoint(1).weights)
        save_secrets(path.with_suffix(""))
        make(path, path.with_suffix(""))
    answers = read_apart(paths)
    for name, told in zip(CRAFTED, answers, strict=True):
        assert told["told"][1], name
    slowest = max(told["seconds"] for told in answers)
    return [("a crafted weight file", f"{len(CRAFTED)}", f"all refused, within 1 GiB and {slowest:.1f} s")]


def mutants(folder: Path, scale: float) -> list[Row]:
    """Mutated weight files and checkpoints, sealed anew, ten thousand a process."""
    from tests.support.faults.mutated import COUNTS, fuzz

    rows = []
    for kind in COUNTS:
        left, seed, counts, slowest, peak, began = scaled(100_000, scale), 0, Counter[str](), 0.0, 0, time.monotonic()
        while left > 0:
            told = fuzz(kind, min(left, 10_000), seed)
            slowest, peak = max(slowest, told.pop("slowest")), max(peak, told.pop("peak"))
            counts.update(told)
            left, seed = left - 10_000, seed + 1
        rate = counts.total() / (time.monotonic() - began)
        common.tell(f"{kind}: {counts.total():,}, {rate:,.0f} a second")
        survived = (
            f"{counts['read']:,} read, {counts['refused']:,} refused; the slowest {slowest:.2f} s, {peak / 1e6:,.0f} MB"
        )
        rows.append((f"a mutated {kind} file, sealed anew", f"{counts.total():,}", survived))
    return rows


def archives(folder: Path, scale: float) -> list[Row]:
    """Crafted archives."""
    from tests.support.faults.archives import CRAFTED, REFUSED, try_crafted

    os.environ["CIFARNET_CACHE"] = str(folder / "cache")
    for index, name in enumerate(CRAFTED):
        try_crafted(name, folder / str(index))
    refused = [outcome for _, _, outcome in CRAFTED.values()].count(REFUSED)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    survived = (
        f"{refused} refused, {len(CRAFTED) - refused} read without what is crafted; nothing written; {peak:,.0f} MB"
    )
    return [("a crafted archive", f"{len(CRAFTED)}", survived)]


def pictures(folder: Path, scale: float) -> list[Row]:
    """Mutated pictures, a hundred thousand a process."""
    from tests.support.faults.pictures import fuzz

    left, seed, counts, slowest = scaled(1_000_000, scale), 0, Counter[str](), 0.0
    while left > 0:
        told = fuzz(min(left, 100_000), seed)
        slowest = max(slowest, told.pop("slowest"))
        counts.update(told)
        common.tell(f"pictures: {counts.total():,}")
        left, seed = left - 100_000, seed + 1
    survived = f"{counts['read']:,} read, {counts['refused']:,} refused, no crash; the slowest {slowest:.1f} s"
    return [("a mutated picture", f"{counts.total():,}", survived)]


def readers(folder: Path, scale: float) -> list[Row]:
    """Mutated data sources of each kind."""
    from tests.support.faults.mutants import KINDS, fuzz

    rows = []
    for kind in KINDS:
        told = fuzz(kind, scaled(100_000, scale))
        survived = (
            f"{told['read']:,} read, {told['refused']:,} refused, no crash; the slowest {told['slowest']:.1f} s,"
            f" at most {told['peak']:,.0f} MB"
        )
        rows.append((f"a mutated {kind}", f"{told['read'] + told['refused']:,}", survived))
        common.tell(f"{kind}: {survived}")
    return rows


def texts(folder: Path, scale: float) -> list[Row]:
    """Mutated JSON and CSV files: an index, a run's configuration, result and history, and recipes."""
    import contextlib
    import io

    from tests.support.faults.texts import KINDS, fuzz

    rows = []
    for name in KINDS:
        count = scaled(10_000, scale)
        (folder / name).mkdir()
        with contextlib.redirect_stdout(io.StringIO()):  # The tables of those that are read.
            counts, slowest, crashes = fuzz(name, folder / name, count, 0)
        assert not crashes, crashes
        common.tell(f"{name}: {counts.total():,}")
        survived = f"{counts['read']:,} read, {counts['refused']:,} refused, no traceback; the slowest {slowest:.1f} s"
        rows.append((f"a mutated {name}", f"{counts.total():,}", survived))
    return rows


def stops(folder: Path, scale: float) -> list[Row]:
    """SIGTERM and SIGINT at random moments of a training of ResNet-20: seconds until it has saved and ended."""
    rng = np.random.default_rng(0)
    rows = []
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        seconds = []
        for index in range(scaled(20, scale)):
            directory = folder / f"{number}-{index}"
            options = ["--data", "synthetic:2000", "--recipe", "paper", "--epochs", "50", "--output", directory]
            command = [sys.executable, "-c", INTERRUPTIBLE, "train", *options]
            process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
            while not (directory / "checkpoint.h5").exists():
                time.sleep(0.05)
            time.sleep(float(rng.uniform(0, 20)))
            began = time.monotonic()
            process.send_signal(number)
            _, told = process.communicate()
            seconds.append(time.monotonic() - began)
            assert process.returncode == status, told
            assert "--resume" in told
            assert "Traceback" not in told
        times = f"median {np.median(seconds):.1f} s, at most {max(seconds):.1f} s"
        survived = f"all saved, exit status {status}, told how to go on; {times}"
        rows.append((f"{number.name} while ResNet-20 is trained", f"{len(seconds)}", survived))
    return rows


def operations(folder: Path, scale: float) -> list[Row]:
    """Each operation on a file of a save, a change of named weights, a result, a decoded set and a download."""
    from tests.support.faults.disk import KILL
    from tests.support.faults.operations import ACTIONS, FAULTS, downloads, forget, meet
    from tests.support.serving import Server, running

    rows = []
    with running(Server()) as server:
        actions = {**ACTIONS, "download": downloads(server)}
        for fault in FAULTS:
            counts: Counter[str] = Counter()
            for name, action in actions.items():
                counts += meet(action, folder / f"{name}-{fault}", fault)
            told = "killed" if fault == KILL else errno.errorcode[fault]
            survived = f"old or new, and done by the next call: {counts['told']} told, {counts['went on']} went on"
            if fault == KILL:
                survived = "old or new, and done by the next call"
            rows.append(
                (f"each file operation of {len(actions)} kinds of writing: {told}", f"{counts.total()}", survived)
            )
    states = sum(forget(action, folder / f"{name}-forgotten") for name, action in ACTIONS.items())
    rows.append(("a power cut after each of them, which loses what was not synced", f"{states} states", "old or new"))
    return rows


def replacements(folder: Path, scale: float) -> list[Row]:
    """SIGKILL at random moments of ``weights add --replace``, and readers meanwhile."""
    from cifarnet.models.weights import save_weights
    from cifarnet.weights import catalog
    from tests.support.faults.saves import checkpoint

    os.environ["CIFARNET_WEIGHTS"] = str(folder / "own")
    sources = [folder / f"{step}.h5" for step in (1, 2)]
    for step, source in enumerate(sources, start=1):
        save_weights(source, checkpoint(step).weights)
    known = {checkpoint(step).weights.sha256() for step in (1, 2)}
    catalog.add(sources[0], "mine")
    rng = np.random.default_rng(0)
    began = time.monotonic()
    catalog.add(sources[1], "mine", replace=True)
    whole = time.monotonic() - began

    def replace_for_ever() -> None:
        while True:
            for source in sources:
                catalog.add(source, "mine", replace=True)

    kills = scaled(500, scale)
    for _ in range(kills):
        child = _forked(replace_for_ever)
        time.sleep(float(rng.uniform(0, 4 * whole)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert catalog.load("mine").sha256() in known
    reads = scaled(15_000, scale)
    child = _forked(replace_for_ever)
    for number in range(reads):
        assert catalog.find("mine").name.startswith("mine.")
        assert number % 50 or catalog.load("mine").sha256() in known
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    catalog.add(sources[0], "mine", replace=True)
    left = {path.name for path in (folder / "own").iterdir()} - {catalog.INDEX, ".lock"}
    assert left == {catalog.entries()["mine"].path.name}, left
    return [
        ("weights add --replace killed at a random moment", f"{kills}", "old or new each time; nothing left over"),
        ("reading named weights while they are replaced", f"{reads:,}", "all read"),
    ]


def _forked(work: Callable[[], None]) -> int:
    """Do ``work`` in a forked process; return its number."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)
    return child


PARTS: dict[str, Callable[[Path, float], list[Row]]] = {
    part.__name__: part
    for part in (
        kills,
        saves,
        disks,
        damage,
        weights,
        mutants,
        archives,
        pictures,
        readers,
        texts,
        stops,
        operations,
        replacements,
    )
}


def main() -> None:
    """Run the parts and print the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the long counts")
    args = parser.parse_args()
    rows = []
    for name in args.parts:
        common.tell(f"{name} ...")
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            rows += [(*row, common.number(time.monotonic() - started)) for row in PARTS[name](Path(folder), args.scale)]
    print(common.table("Faults", ("fault", "tried", "survived", "s, of the whole part"), rows, common.machine()))


if __name__ == "__main__":
    main()
