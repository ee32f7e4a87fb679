import sys
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.data.cache import clear
from cifarnet.inference import graphs
from cifarnet.inference.graphs import graph_bytes
from cifarnet.models.spec import ModelSpec
from cifarnet.paths import graphs_dir
from cifarnet.preprocessing import Normalization
from tests.support.weights import random_weights

WEIGHTS = random_weights(ModelSpec("resnet8", classes=3, image_size=12))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path))


def entries():
    return sorted(graphs_dir().glob("*"))


def test_a_kept_graph_is_used_without_onnx(monkeypatch):
    built = graph_bytes(WEIGHTS)
    assert len(entries()) == 1
    monkeypatch.setitem(sys.modules, "cifarnet.models.onnx", None)
    assert graph_bytes(WEIGHTS) == built


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: content + b"x"])
def test_a_damaged_entry_is_built_again(damage):
    built = graph_bytes(WEIGHTS)
    (entry,) = entries()
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    assert graph_bytes(WEIGHTS) == built
    assert entry.read_bytes() == content


def test_other_weights_or_preprocessing_have_another_entry():
    name = next(iter(WEIGHTS.tensors))
    changed = {**WEIGHTS.tensors, name: WEIGHTS.tensors[name] + np.float32(1)}
    found = {graph_bytes(each) for each in (WEIGHTS, replace(WEIGHTS, tensors=changed))}
    found.add(graph_bytes(replace(WEIGHTS, normalization=Normalization(1.0, 2.0))))
    assert len(found) == len(entries()) == 3


def test_the_cache_keeps_a_limited_number_of_small_graphs(monkeypatch):
    monkeypatch.setattr(graphs, "KEPT", 2)
    for mean in (1.0, 2.0, 3.0):
        graph_bytes(replace(WEIGHTS, normalization=Normalization(mean, 1.0)))
    assert len(entries()) == 2
    monkeypatch.setattr(graphs, "LARGEST_KEPT", 100)
    graph_bytes(replace(WEIGHTS, normalization=Normalization(4.0, 1.0)))
    assert len(entries()) == 2


@pytest.mark.parametrize("cache", ["/proc/nowhere", "/dev/null/x"])
def test_a_cache_that_cannot_be_written_is_not_used(monkeypatch, cache):
    monkeypatch.setenv("CIFARNET_CACHE", cache)
    assert graph_bytes(WEIGHTS).startswith(b"\x08")


def test_the_cache_is_cleared_with_that_of_the_data():
    graph_bytes(WEIGHTS)
    clear()
    assert entries() == []
