import os
import signal
import subprocess
import time

import pytest

from cifarnet.backend.gpus import visible_gpus
from cifarnet.errors import InvalidValueError
from cifarnet.training.sweep import (
    Ended,
    Machine,
    Message,
    Slot,
    Started,
    fastest_jobs,
    train_seeds,
)

GB = 1 << 30


@pytest.mark.parametrize(
    ("seeds", "cores", "most", "jobs"),
    [
        (1, 2, 2, 1),
        (2, 2, 2, 2),
        (3, 2, 2, 1),  # The third would leave a core idle.
        (4, 2, 2, 2),
        (5, 1, 1, 1),
        (4, 4, 4, 4),
        (5, 16, 16, 5),
        (4, 4, 2, 2),  # Memory for two.
        (5, 0, 1, 1),
    ],
)
def test_as_many_runs_at_a_time_as_are_fastest(seeds, cores, most, jobs):
    assert fastest_jobs(seeds, cores, most) == jobs


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        (None, ("0", "1", "2")),
        ("2,0", ("2", "0")),
        ("GPU-8932f937, 1", ("GPU-8932f937", "1")),
        ("1,-1,0", ("1",)),
        ("", ()),
    ],
)
def test_gpus_are_those_that_cuda_shows(variable, names):
    assert visible_gpus(variable, 3) == names


def test_runs_have_equal_and_separate_shares_of_the_cores():
    machine = Machine(cores=(0, 1, 4, 5, 7))
    assert machine.cores_of_each(2) == 2
    assert machine.slots(2, 2) == [Slot((0, 1)), Slot((4, 5))]
    # A sweep that goes on with fewer cores keeps those of each run as far as it can.
    assert Machine(cores=(3,)).slots(2, 2) == [Slot((3,))]
    assert Machine(cores=(3, 4, 5)).slots(2, 2) == [Slot((3, 4))]
    assert Machine(cores=()).slots(1, 8) == [Slot()]


def test_each_gpu_has_one_run():
    machine = Machine(cores=(0, 1), gpus=("0", "GPU-1"))
    assert machine.jobs(5) == machine.jobs(5, budget=60) == 2
    assert machine.cores_of_each(2) is None
    assert machine.slots(2, None) == [Slot(gpu="0"), Slot(gpu="GPU-1")]


def test_memory_and_a_budget_limit_the_runs_at_a_time():
    assert Machine(cores=(0, 1, 2, 3), memory=32 * GB).jobs(4) == 4
    assert Machine(cores=(0, 1, 2, 3), memory=5 * GB).jobs(4) == 2
    assert Machine(cores=(0, 1), memory=1 * GB).jobs(4) == 1
    assert Machine(cores=(0, 1)).jobs(4, budget=60) == 1
    assert Machine(cores=(0, 1)).jobs(4, budget=60, wanted=2) == 2
    assert Machine(cores=(0, 1, 2, 3)).jobs(2, wanted=4) == 2


@pytest.mark.parametrize("wanted", [0, -1, 3])
def test_more_runs_than_cores_are_refused(wanted):
    with pytest.raises(InvalidValueError, match="`jobs` must be at least 1 and at most 2, the number of usable proc"):
        Machine(cores=(0, 1)).jobs(4, wanted=wanted)


def children(script: str, seen: list | None = None):
    """Return what starts a shell as the process of a seed, with the seed as $1; ``seen`` gets them."""

    def start(seed: int, slot: Slot) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if seen is not None:
            seen.append(process)
        return process

    return start


def test_each_processor_trains_one_seed_at_a_time():
    events, used = [], []
    start = children("sleep 0.05")

    def note(seed: int, slot: Slot) -> subprocess.Popen[str]:
        used.append(slot)
        return start(seed, slot)

    outcome = train_seeds(range(4), [Slot((0,)), Slot((1,))], note, events.append)
    assert sorted(outcome.done) == [0, 1, 2, 3]
    assert sorted(used, key=str) == [Slot((0,)), Slot((0,)), Slot((1,)), Slot((1,))]
    running = most = 0
    for event in events:
        running += 1 if isinstance(event, Started) else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


def test_a_failed_seed_ends_no_other_and_tells_why():
    script = """
    case $1 in
    1) echo 'Some warning.' >&2; echo 'Error: The loss is NaN.' >&2; echo 'Lower it.' >&2; exit 4;;
    2) kill -9 $$;;
    3) exit 3;;
    *) echo '{"lines": ["Epoch 1/1"]}'; echo 'no report'; exit 0;;
    esac
    """
    events: list = []
    outcome = train_seeds(range(5), [Slot()], children(script), events.append)
    assert outcome.done == [0, 4]
    assert [(each.seed, each.status) for each in outcome.failures] == [(1, 4), (2, 1), (3, 3)]
    messages = [each.message for each in outcome.failures]
    assert messages[0] == "The loss is NaN.\nLower it."
    assert "memory ran out" in messages[1]
    assert messages[2] == "Its process ended with status 3 and no message."
    contents = [(event.seed, event.content) for event in events if isinstance(event, Message)]
    lines = {"lines": ["Epoch 1/1"]}
    assert contents == [(0, lines), (1, {"warning": "Some warning."}), (4, lines)]
    assert [event.seed for event in events if isinstance(event, Ended)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_seeds_save_and_starts_no_other(tmp_path, interruptible, number):
    # The end of stdin is the request. A run that fails to save is a failure.
    script = f"cat; echo saved > {tmp_path}/$1; [ $1 = 1 ] && exit 3; echo Stopped. >&2; exit 138"
    events: list = []

    def report(event: object) -> None:
        events.append(event)
        if event == Started(1):
            os.kill(os.getpid(), number)

    outcome = train_seeds(range(4), [Slot(), Slot()], children(script), report)
    assert (outcome.signal_number, outcome.done) == (number, [])
    assert [each.status for each in outcome.failures] == [3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert not [event for event in events if isinstance(event, Message)]


def test_a_second_signal_kills_the_processes(interruptible):
    started: list = []

    def report(event: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train_seeds(range(2), [Slot(), Slot()], children("sleep 60 & echo '{\"lines\": []}'; wait", started), report)
    assert time.monotonic() - began < 20
    assert [process.returncode for process in started] == [-signal.SIGKILL] * len(started)
