import re

import pytest

from tests.support.faults.reading import read_apart
from tests.support.faults.tensors import CHECKPOINTS, SAFETENSORS

pytestmark = pytest.mark.faults

HOSTILE = {**CHECKPOINTS, **{f"safetensors: {name}": case for name, case in SAFETENSORS.items()}}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The file of each kind, and what came of reading it within 1 GiB of memory."""
    folder, paths = tmp_path_factory.mktemp("hostile"), []
    for index, (content, _) in enumerate(HOSTILE.values()):
        paths.append(folder / f"{index}.pt")
        paths[-1].write_bytes(content)
        (folder / f"{index}").mkdir()
    return dict(zip(HOSTILE, zip(paths, read_apart(paths), strict=True), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_refused_soon_in_little_memory(name, answers):
    path, answer = answers[name]
    for error in answer["errors"]:
        assert error is not None, "taken for weights"
        assert str(path) in error
        assert re.search(HOSTILE[name][1], error)
        assert len(error) < 1500
    assert answer["seconds"] < 5


def test_more_than_sixty_are_tried():
    assert len(HOSTILE) >= 60
