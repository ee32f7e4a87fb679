import os

import pytest

from cifarnet.backend.placement import Placement
from cifarnet.errors import BackendError, InvalidValueError


@pytest.mark.parametrize(
    ("text", "kind", "count", "gpus"),
    [
        ("auto", "auto", None, ()),
        ("cpu", "cpu", None, ()),
        ("cpu:3", "cpu", 3, ()),
        ("gpu", "gpu", None, ()),
        ("gpu:2", "gpu", 1, (2,)),
        ("gpu:0,3", "gpu", 2, (0, 3)),
        ("4", "auto", 4, ()),
        (4, "auto", 4, ()),
    ],
)
def test_placements_are_parsed_and_printed(text, kind, count, gpus):
    placement = Placement.parse(text)
    assert (placement.kind, placement.count, placement.gpus) == (kind, count, gpus)
    assert str(placement) == str(text)


@pytest.mark.parametrize(
    "text",
    ["", "0", 0, -1, True, 1.0, None, "cpu:0", "cpu:", "cpu:1,2", "gpu:", "gpu:1,1", "gpu:a", "auto:2", "tpu", "5000"],
)
def test_other_placements_are_refused(text):
    with pytest.raises(InvalidValueError, match=r"^`devices` must .*Received: "):
        Placement.parse(text)


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("auto", 0, ("cpu", 1)),
        ("auto", 4, ("gpu", 1)),
        ("2", 0, ("cpu", 2)),
        ("2", 4, ("gpu", 2)),
        ("gpu", 4, ("gpu", 4)),
        ("gpu:1,2", 2, ("gpu", 2)),
        ("cpu", 4, ("cpu", 1)),
        ("cpu:8", 0, ("cpu", 8)),
    ],
)
def test_number_of_devices_follows_the_machine(text, gpus, expected):
    assert Placement.parse(text).number_of(gpus) == expected


@pytest.mark.parametrize(("text", "gpus", "found"), [("gpu", 0, "no GPU"), ("gpu:0,1", 1, "1 GPU"), ("8", 2, "2 GPUs")])
def test_missing_gpus_are_named(text, gpus, found):
    with pytest.raises(BackendError, match=f"sees {found}.*Received: `devices` {text}"):
        Placement.parse(text).number_of(gpus)


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [("gpu:1,0", None, "1,0"), ("gpu:0,1", "5, 7", "5,7"), ("cpu", "3", ""), ("auto", "3", "3"), ("gpu", "2,3", "2,3")],
)
def test_claim_shows_the_chosen_gpus_alone(text, before, after, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before or "")
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    Placement.parse(text).claim()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after


def test_claim_refuses_a_gpu_that_is_hidden(monkeypatch):
    for listed, shown in (("5,7", "5,7"), ("", "none")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
        with pytest.raises(InvalidValueError, match=f"CUDA_VISIBLE_DEVICES lists, from 0: {shown}. Received: gpu:2"):
            Placement.parse("gpu:2").claim()
