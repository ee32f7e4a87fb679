"""airbench94: its table, its whitening, its forward pass, and the exactness of a resumed run."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.models.airbench import describe
from cifarnet.models.initial import adopted_weights, initial_weights
from cifarnet.models.layers import leaves, named_weights, total_macs, total_params
from cifarnet.models.spec import ModelSpec, base_and_head
from cifarnet.models.spec import describe as spec_layers
from cifarnet.models.whitening import EPSILON, whitening_kernel, whitening_weights
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import LARGER_FIRST, RECIPES
from cifarnet.runs import files
from cifarnet.runs.request import TrainRequest
from cifarnet.training.origins import refuse_other_network
from cifarnet.weights.formats import load_weights
from tests.support.jax import quick_jax
from tests.support.training import assert_same_state
from tests.support.weights import random_weights

SPEC, SLIM = ModelSpec("airbench94"), "airbench94-slim"
COLOURS = Normalization((125.0, 110.0, 60.0), (60.0, 40.0, 90.0))
# Type, output shape, parameters and multiply-accumulates of all layers with a row in the table.
GROUPS = [
    ("conv_group_1", 31, 15, 24, 64),
    ("conv_group_2", 15, 7, 64, 256),
    ("conv_group_3", 7, 3, 256, 256),
]


def documented_rows():
    rows = [("conv2d", "Conv2D", (31, 31, 24), 312, 31 * 31 * 12 * 24)]
    for name, side, pooled, inputs, channels in GROUPS:
        first, second = 9 * inputs * channels, 9 * channels * channels
        norm = ("BatchNormalization", (pooled, pooled, channels), 3 * channels, 0)
        rows += [
            (f"{name}/conv1", "Conv2D", (side, side, channels), first, side * side * first),
            (f"{name}/max_pooling2d", "MaxPooling2D", (pooled, pooled, channels), 0, 0),
            (f"{name}/batchnorm_1", *norm),
            (f"{name}/conv2", "Conv2D", (pooled, pooled, channels), second, pooled * pooled * second),
            (f"{name}/batchnorm_2", *norm),
        ]
    return [*rows, ("dense", "Dense", (10,), 2_560, 2_560), ("activation", "Activation", (10,), 0, 0)]


def test_every_row_and_the_totals():
    layers = describe(8, 10, 32)
    rows = [
        (path, each.type, each.output_shape, each.params, each.macs) for path, each in leaves(layers) if each.in_table
    ]
    assert rows == documented_rows()
    assert total_params(layers) == 1_973_944
    assert total_macs(layers) == 118_147_360
    assert sum(layer.trainable_params for layer in layers) == 1_973_944 - 288 - 2 * 1_152


def test_kernels_but_that_of_the_whitening_are_trained():
    weights = named_weights(describe(8, 10, 32))
    kernels = [name for name in weights if name.endswith("/kernel")]
    assert [name for name in kernels if not weights[name].trainable] == ["conv2d/kernel"]
    assert [name for name in weights if weights[name].regularized] == kernels[1:]
    assert weights["conv2d/bias"].trainable
    assert not any(name.endswith("/gamma") for name in weights)


def test_the_slim_network_has_fewer_channels_and_relu():
    wide, slim = ([each for _, each in leaves(spec_layers(ModelSpec(name)))] for name in ("airbench94", SLIM))
    assert [each.type for each in slim] == [each.type.replace("GELU", "ReLU") for each in wide]
    assert "GELU" in {each.type for each in wide}
    assert [each.output_shape[-1] for each in slim if each.type == "Conv2D"] == [24, 48, 48, 128, 128, 128, 128]
    assert total_macs(slim) == 43_126_688


@pytest.mark.parametrize(("size", "side"), [(12, 1), (16, 1), (20, 2), (24, 2), (28, 3), (32, 3), (64, 7)])
def test_the_last_pooling_is_over_the_whole_map(size, side):
    base, head = base_and_head(replace(SPEC, image_size=size))
    assert base[-1].output_shape == (side, side, 256)
    assert head[0].output_shape == (1, 1, 256)
    assert SPEC.shares_weights_with(replace(SPEC, image_size=size))


@pytest.mark.parametrize(("size", "nearest"), [(8, "12"), (11, "12"), (30, "28 and 32")])
def test_other_image_sizes_are_refused(size, nearest):
    with pytest.raises(InvalidValueError, match=rf"at least 12 pixels and a multiple of 4.*nearest: {nearest}\."):
        ModelSpec("airbench94", image_size=size)


@pytest.mark.parametrize("name", ["airbench", "airbench95", "airbench94x", "airbench94-slimm"])
def test_other_names_get_the_nearest(name):
    with pytest.raises(InvalidValueError, match="Did you mean airbench94"):
        ModelSpec(name)


@pytest.mark.parametrize(
    ("base", "wanted"), [("resnet20", "airbench94"), ("airbench94", "resnet20"), (SLIM, "airbench94")]
)
def test_weights_of_one_network_do_not_fit_the_other(base, wanted):
    inputs = TrainRequest(data="synthetic", weights="w.h5")
    spec, known = ModelSpec(wanted), ModelSpec(base)
    with pytest.raises(InvalidValueError, match=rf"a {known.title}, whose weights do not fit into a {spec.title}"):
        refuse_other_network(inputs, known, spec, freeze_base=False)


def correlated_images(count=40, size=12):
    """Pictures whose neighbours and channels are correlated."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(count, size + 2, size + 2, 3)) @ rng.normal(size=(3, 3))
    smooth = noise[:, 2:, 2:] + noise[:, 1:-1, 1:-1] + 0.7 * noise[:, :-2, 1:-1]
    return np.clip(120 + 25 * smooth, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("normalization", [Normalization(100.0, 50.0), COLOURS])
def test_whitened_patches_have_the_identity_as_covariance(normalization):
    images = correlated_images()
    kernel = whitening_kernel(images, normalization, 2)
    normalized = normalization.apply(images.astype(np.float64))
    windows = np.lib.stride_tricks.sliding_window_view(normalized, (2, 2), axis=(1, 2))  # (n, y, x, channel, 2, 2)
    outputs = np.einsum("nyxcij,ijck->nyxk", windows, kernel).reshape(-1, 24)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])
    variances = 1 / (np.linalg.norm(kernel.reshape(12, 24)[:, :12], axis=0) ** 2) - EPSILON
    assert (np.diff(variances) < 0).all()
    covariance = np.cov(outputs[:, :12], rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, np.diag(variances / (variances + EPSILON)), atol=1e-4)


def test_whitening_ignores_chunks_and_means(monkeypatch):
    images = correlated_images()
    whole = whitening_kernel(images, Normalization(100.0, 50.0), 2)
    monkeypatch.setattr("cifarnet.models.whitening._CHUNK_BYTES", 50_000)
    np.testing.assert_array_equal(whitening_kernel(images, Normalization(7.0, 50.0), 2), whole)


def test_whitening_of_images_of_one_colour_is_finite():
    kernel = whitening_kernel(np.full((3, 12, 12, 3), 77, np.uint8), Normalization(77.0, 1.0), 2)
    assert np.isfinite(kernel).all()
    assert np.abs(kernel).max() <= EPSILON**-0.5 + 1e-3


def test_initial_convolutions_pass_their_inputs_on():
    weights = initial_weights(SPEC, 1)
    kernel = weights["conv_group_2/conv1/kernel"]
    for channel in (0, 63):
        wanted = np.zeros((3, 3, 64))
        wanted[1, 1, channel] = 1
        np.testing.assert_array_equal(kernel[..., channel], wanted)
    drawn = kernel[..., 64:]
    assert 0.99 < np.abs(drawn).max() * (9 * 64) ** 0.5 <= 1
    assert not np.array_equal(drawn, initial_weights(SPEC, 2)["conv_group_2/conv1/kernel"][..., 64:])


def test_whitening_is_that_of_the_weights_if_there_are_any():
    trained = random_weights(ModelSpec("airbench94", 3)).tensors
    adopted = adopted_weights(SPEC, 0, trained, keep_head=False)
    np.testing.assert_array_equal(adopted["conv2d/kernel"], trained["conv2d/kernel"])
    assert [name for name, array in adopted.items() if array is not trained.get(name)] == ["dense/kernel"]


def torch_logits(tensors, images):
    """The logits of normalized ``images`` (n, size, size, 3), by PyTorch."""
    import torch
    from torch.nn import functional

    def tensor(name):
        array = torch.from_numpy(tensors[name])
        return array.permute(3, 2, 0, 1) if array.ndim == 4 else array

    def normalized(x, name):
        mean, variance = tensor(f"{name}/moving_mean"), tensor(f"{name}/moving_variance")
        return functional.batch_norm(x, mean, variance, bias=tensor(f"{name}/beta"), eps=1e-5)

    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = functional.gelu(functional.conv2d(x, tensor("conv2d/kernel"), tensor("conv2d/bias")))
    for group in ("conv_group_1", "conv_group_2", "conv_group_3"):
        x = functional.max_pool2d(functional.conv2d(x, tensor(f"{group}/conv1/kernel"), padding=1), 2)
        x = functional.gelu(normalized(x, f"{group}/batchnorm_1"))
        x = functional.conv2d(x, tensor(f"{group}/conv2/kernel"), padding=1)
        x = functional.gelu(normalized(x, f"{group}/batchnorm_2"))
    x = functional.max_pool2d(x, 3).flatten(1)
    return (x @ tensor("dense/kernel") / 9).numpy()


@pytest.mark.slow
def test_the_logits_are_those_of_pytorch():
    pytest.importorskip("torch")
    from cifarnet.models.network import build_model

    tensors = random_weights(SPEC).tensors
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    wanted = torch_logits(tensors, images)
    found = np.asarray(build_model(SPEC, tensors).logits(images))
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


STOP_AND_RESUME = """
import os, signal, sys
from pathlib import Path
from cifarnet.errors import InterruptedRunError
from cifarnet.events import StepDone
from cifarnet.recipes import RECIPES
from cifarnet.runs.request import TrainRequest
from cifarnet.training.resume import resume
from cifarnet.training.start import train

there, backend, model = Path(sys.argv[1]), *sys.argv[2:]
recipe = RECIPES["fast"].for_model(model).with_changes(
    name="own", epochs=2, batch_size=25, precise_batchnorm=0, resolutions=(), checks=0
)
request = TrainRequest(recipe, data="synthetic:50", model=model, image_size=16, backend=backend)
train(request, there / "alone")

def stop(event):
    if isinstance(event, StepDone) and event.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

try:
    train(request, there / "stopped", report=stop)
    sys.exit("It was not stopped.")
except InterruptedRunError:
    resume(there / "stopped")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "model"), [("tensorflow", "airbench94"), ("jax", "airbench94"), ("tensorflow", SLIM)]
)
def test_a_resumed_run_is_exact_and_keeps_the_whitening(tmp_path, backend, model):
    pytest.importorskip(backend)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= quick_jax(tmp_path) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", STOP_AND_RESUME, tmp_path, backend, model], check=True, env=environment)
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    assert (alone / files.HISTORY).read_text() == (stopped / files.HISTORY).read_text()
    assert_same_state(stopped, alone)
    weights, spec = load_weights(alone / files.WEIGHTS), ModelSpec(model, image_size=16)
    assert weights.spec == spec
    from cifarnet.data.sources import load_data

    images = load_data("synthetic:50", image_size=16).train.images
    whitening = whitening_weights(spec, images, weights.normalization)
    assert list(whitening) == ["conv2d/kernel"]
    np.testing.assert_array_equal(weights.tensors["conv2d/kernel"], whitening["conv2d/kernel"])
    assert weights.tensors["conv2d/bias"].any()


def test_fast_is_changed_for_the_network():
    recipe = RECIPES["fast"].for_model("airbench94")
    assert (recipe.batch_size, recipe.momentum, recipe.label_smoothing) == (500, 0.85, 0.2)
    assert recipe.resolutions == LARGER_FIRST
    assert RECIPES["fast"].for_model("airbench94-slim").resolutions == RECIPES["fast"].resolutions
