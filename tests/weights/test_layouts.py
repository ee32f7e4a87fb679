"""Weights of PyTorch's programs: names, shapes, and logits equal to PyTorch's."""

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError, WeightsError
from cifarnet.inference.classifier import Classifier
from cifarnet.models.layers import named_weights
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.preprocessing import CIFAR10_CLASSES, Normalization
from cifarnet.weights.formats import layouts, load_described, load_header, load_weights
from cifarnet.weights.formats.layouts import LAYOUTS
from tests.support.checkpoints import arrays_of, safetensors_file, torch_file

AKAMASTER, CHENYAOFO, KUANGLIU = LAYOUTS
NETWORKS = [(AKAMASTER, "resnet8-v1"), (CHENYAOFO, "resnet14-v1b"), (KUANGLIU, "preactresnet18")]
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@pytest.fixture(autouse=True)
def notes_are_new():
    layouts._note_once.cache_clear()


def save(path, arrays, wrapper=None):
    path.write_bytes(torch_file(arrays, wrapper))
    return path


@pytest.fixture
def arrays():
    return arrays_of(AKAMASTER, ModelSpec("resnet8-v1"))


@pytest.mark.parametrize(("layout", "name"), NETWORKS)
@pytest.mark.parametrize("classes", [10, 3])
def test_network_and_tensors_are_found_by_names_and_shapes(tmp_path, layout, name, classes):
    spec = ModelSpec(name, classes)
    arrays = arrays_of(layout, spec)
    path = save(tmp_path / "model.th", arrays, "state_dict")
    weights = load_described(path, Normalization(120.0, 64.0), None)
    assert weights.spec == spec
    assert list(weights.tensors) == list(named_weights(describe(spec)))
    np.testing.assert_array_equal(weights.tensors["conv2d/kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0))
    unit = "sequential_1/res_net_unit_1"
    np.testing.assert_array_equal(
        weights.tensors[f"{unit}/batchnorm_2/moving_variance"], arrays["layer2.0.bn2.running_var"]
    )
    np.testing.assert_array_equal(weights.tensors["dense/kernel"], arrays[f"{layout.classifier}.weight"].T)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_all_names_are_removed(tmp_path, arrays, prefix):
    path = save(tmp_path / "m.th", {f"{prefix}{name}": array for name, array in arrays.items()})
    assert load_weights(path).spec == ModelSpec("resnet8-v1")


def test_safetensors_and_half_precision_give_the_same_network(tmp_path, arrays):
    halves = {name: array.astype(np.float16) if array.ndim else array for name, array in arrays.items()}
    (tmp_path / "m.safetensors").write_bytes(safetensors_file(halves))
    rounded = load_weights(tmp_path / "m.safetensors")
    wanted = load_weights(save(tmp_path / "m.th", arrays))
    assert rounded.spec == wanted.spec
    for name, tensor in wanted.tensors.items():
        np.testing.assert_array_equal(rounded.tensors[name], tensor.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("layout", "wanted"), [(AKAMASTER, IMAGENET), (CHENYAOFO, CIFAR10), (KUANGLIU, CIFAR10)])
def test_assumed_facts_are_said_once(tmp_path, caplog, layout, wanted):
    arrays = arrays_of(layout, ModelSpec(layout.network.format(layout.documented)))
    path = save(tmp_path / "my model.th", arrays)
    header, weights = load_header(path), load_weights(path)
    for found in (header, weights):
        assert found.class_names == CIFAR10_CLASSES
        for values, known in zip((found.normalization.mean, found.normalization.std), wanted, strict=True):
            np.testing.assert_allclose(np.array(values) / 255, known)
    (message,) = caplog.messages
    assert f"the normalization of {layout.origin} (mean {','.join(map(str, wanted[0]))}, std 0." in message
    assert "and the classes of CIFAR-10 in their usual order" in message
    command = f"cifarnet weights convert '{path}' 'my model.h5' --mean R,G,B --std R,G,B --classes-file FILE"
    assert command in message


def test_what_is_given_is_not_assumed(tmp_path, caplog, arrays):
    path = save(tmp_path / "m.th", arrays)
    names = tuple("abcdefghij")
    weights = load_described(path, Normalization(120.0, 64.0), names)
    assert (weights.class_names, weights.normalization) == (names, Normalization(120.0, 64.0))
    assert not caplog.messages
    load_described(path, Normalization(120.0, 64.0), None)
    assert "Assumed: the classes of CIFAR-10" in caplog.text
    assert "normalization of" not in caplog.text


def test_other_classes_need_a_normalization(tmp_path, caplog):
    path = save(tmp_path / "m.th", arrays_of(AKAMASTER, ModelSpec("resnet8-v1", 3)))
    with pytest.raises(WeightsError, match=r"3 classes, and does not record .* cifarnet weights convert .* --mean R,G"):
        load_header(path)
    weights = load_described(path, Normalization(120.0, 64.0), None)
    assert weights.class_names == ("class 0", "class 1", "class 2")
    assert "Assumed: the names class 0 to class 2. If" in caplog.text


def test_names_must_be_as_many_as_classes(tmp_path, arrays):
    with pytest.raises(InvalidValueError, match=r"`class_names` must name each of the 10 classes .* Received: 2 names"):
        load_described(save(tmp_path / "m.th", arrays), None, ("a", "b"))


def without(name):
    return lambda arrays: arrays.pop(name)


def instead(name, array):
    return lambda arrays: arrays.__setitem__(name, array)


def of_infinity(arrays):
    arrays["bn1.weight"][0] = np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("bn1.bias"),
            r"looks like a ResNet-8 v1 of akamaster.* Missing: bn1\.bias\. Received",
        ),
        (without("linear.weight"), r"Expected are those of akamaster.*conv1\.weight.* Received: conv1\.weight, bn1"),
        (instead("extra.weight", np.ones(1)), r"Missing: none\. Received but unknown: extra\.weight"),
        (
            instead("conv1.weight", np.ones((64, 3, 3, 3))),
            r"has the shape \(16, 3, 3, 3\)\. Received: \(64",
        ),
        (instead("linear.weight", np.ones((1, 64))), "Received: conv1.weight"),
        (instead("bn1.weight", np.full(16, np.nan)), r"bn1\.weight has non-finite values"),
        (instead("bn1.weight", np.full(16, 1e300)), r"bn1\.weight has non-finite values"),
        (of_infinity, r"bn1\.weight has non-finite values"),
        (instead("bn1.weight", np.ones(16, np.uint8)), r"must have floating-point numbers\. Received: uint8"),
    ],
)
def test_tensors_that_fit_no_layout_are_listed(tmp_path, arrays, change, message):
    change(arrays)
    with pytest.raises(WeightsError, match=message) as raised:
        load_weights(save(tmp_path / "m.th", arrays))
    assert len(str(raised.value)) < 1200


def test_a_storage_that_is_damaged_is_named(tmp_path, arrays):
    path = save(tmp_path / "m.th", arrays)
    content = path.read_bytes()
    kernel = arrays["conv1.weight"].tobytes()
    path.write_bytes(content.replace(kernel, bytes(len(kernel))))
    load_header(path)
    with pytest.raises(WeightsError, match=r"its tensor conv1\.weight can't be read: Bad CRC-32"):
        load_weights(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "units", "depth"), [("akamaster", 1, 8), ("akamaster", 3, 20), ("chenyaofo", 2, 14)]
)
def test_logits_are_those_of_pytorch(tmp_path, program, units, depth):
    torch = pytest.importorskip("torch")
    from tests.support import torch_networks

    network = torch_networks.randomized(getattr(torch_networks, program)(units))
    torch.save({"state_dict": torch.nn.DataParallel(network).state_dict(), "best_prec1": 0.9}, tmp_path / "m.th")
    weights = load_weights(tmp_path / "m.th")
    assert weights.spec.depth == depth
    mean, std = IMAGENET if program == "akamaster" else CIFAR10
    wanted = torch_networks.logits(network, IMAGES, mean, std)
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(Classifier(weights).logits(IMAGES), wanted, atol=1e-4)


@pytest.mark.slow
def test_logits_of_preactresnet18_are_those_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from tests.support import torch_networks

    network = torch_networks.randomized(torch_networks.kuangliu())
    torch.save({"net": network.state_dict(), "acc": 95.0, "epoch": 3}, tmp_path / "ckpt.pth")
    weights = load_weights(tmp_path / "ckpt.pth")
    wanted = torch_networks.logits(network, IMAGES, *CIFAR10)
    np.testing.assert_allclose(Classifier(weights).logits(IMAGES), wanted, atol=1e-4 * np.abs(wanted).max())
