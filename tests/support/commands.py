"""What the commands that messages advise ask for."""

import shlex

import pytest
from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.runs.request import TrainRequest


def request_of_command(command: str) -> TrainRequest:
    """Return the request of ``command``, which starts with ``cifarnet train``. Nothing is trained."""
    program, *words = shlex.split(command)
    assert (program, words[0]) == ("cifarnet", "train")
    received = []

    def note(request, *arguments, **others):
        received.append(request)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cifarnet.training.start.train", note)
        result = CliRunner().invoke(app, words)
    assert received, f"{command}: {result.output} {result.exception}"
    return received[0]
