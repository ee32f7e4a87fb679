"""Tensors of PyTorch's checkpoints, read without PyTorch."""

import struct
import zipfile

import numpy as np
import pytest

from cifarnet.errors import WeightsError
from cifarnet.weights.formats.torch import read_tensors, recognizes
from tests.support.checkpoints import (
    call,
    checkpoint,
    dictionary,
    legacy_checkpoint,
    many,
    named,
    number,
    ordered_dict,
    state_dict,
    storage,
    tensor,
    text,
    torch_file,
)

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.standard_normal((2, 3, 3, 3)).astype(np.float32),
    "conv.bias": RNG.standard_normal(2),
    "bn.weight": RNG.standard_normal(2).astype(np.float16),
    "bn.num_batches_tracked": np.array(7),
}


def read(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert recognizes(content[:32])
    return read_tensors(path)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "net", "model_state_dict", "model"])
def test_tensors_are_read_alone_or_in_a_dictionary(tmp_path, wrapper):
    tensors = read(tmp_path, torch_file(ARRAYS, wrapper))
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name].values(), array.astype(np.float32))


def test_an_accuracy_that_is_a_tensor_is_no_network(tmp_path):
    pickled, storages = state_dict(ARRAYS)
    accuracy = tensor(storage("acc", 1), (), ())
    content = checkpoint(dictionary({"acc": accuracy, "net": pickled}), {**storages, "acc": b"\0\0\0\0"})
    assert list(read(tmp_path, content)) == list(ARRAYS)


def test_tensors_share_a_storage_with_offset_and_strides(tmp_path):
    values = np.arange(12, dtype=np.float32)
    stored = storage("0", 12)
    content = checkpoint(
        ordered_dict({"all": tensor(stored, (3, 4), (4, 1)), "part": tensor(stored, (2, 2), (1, 4), offset=5)}),
        {"0": values.tobytes()},
    )
    tensors = read(tmp_path, content)
    np.testing.assert_array_equal(tensors["all"].values(), values.reshape(3, 4))
    np.testing.assert_array_equal(tensors["part"].values(), values.reshape(3, 4)[1:, 1:3].T)


def test_a_storage_that_tensors_share_is_read_once(tmp_path, monkeypatch):
    stored, values = storage("0", 12), np.arange(12, dtype=np.float32)
    parts = {str(offset): tensor(stored, (4,), (1,), offset=offset) for offset in range(8)}
    tensors, opened = read(tmp_path, checkpoint(ordered_dict(parts), {"0": values.tobytes()})), []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args: opened.append(args[1]) or original(*args))
    for offset, each in enumerate(tensors.values()):
        np.testing.assert_array_equal(each.values(), values[offset : offset + 4])
    assert len(opened) == 1


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    pickled = ordered_dict({"x": tensor(storage("0", 2, "BFloat16Storage"), (2,), (1,))})
    content = checkpoint(pickled, {"0": struct.pack("<HH", 0x3F80, 0xC048)})
    np.testing.assert_array_equal(read(tmp_path, content)["x"].values(), [1.0, -3.125])


def test_files_of_big_endian_machines_are_read(tmp_path):
    pickled = ordered_dict({"x": tensor(storage("0", 2), (2,), (1,))})
    content = checkpoint(pickled, {"0": struct.pack(">ff", 1, 2)}, byteorder=b"big")
    np.testing.assert_array_equal(read(tmp_path, content)["x"].values(), [1.0, 2.0])


def test_parameters_and_states_of_optimizers_are_read(tmp_path):
    parameter = call(
        named("torch._utils", "_rebuild_parameter"),
        tensor(storage("0", 2), (2,), (1,)),
        b"\x88",
        named("collections", "OrderedDict") + b")R",
    )
    # State by number of parameter, and a tuple in two places, as Adam writes it for groups of parameters.
    betas = many(b"G" + struct.pack(">d", 0.9)) + b"q\x05"
    optimizer = dictionary({"state": b"}" + number(0) + dictionary({"step": number(1)}) + b"s", "betas": betas})
    content = checkpoint(
        dictionary({"state_dict": ordered_dict({"x": parameter}), "optimizer": optimizer, "again": b"h\x05"}),
        {"0": struct.pack("<ff", 1, 2)},
    )
    np.testing.assert_array_equal(read(tmp_path, content)["x"].values(), [1.0, 2.0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (checkpoint(number(1), {}), r"must hold a dictionary of tensors\. Save the tensors: torch.save"),
        (checkpoint(dictionary({"epoch": number(1)}), {}), "no tensors of a network.* Received: epoch"),
        (checkpoint(named("resnet", "ResNet"), {}), r"asks for resnet\.ResNet.*Nothing in it was run"),
        (checkpoint(b"N", {}, **{"constants.pkl": b"N."}), "is a TorchScript program.*torch.jit.load"),
        (checkpoint(b"N", {}).replace(b"data.pkl", b"data.pkk"), "not a checkpoint of PyTorch. Received: archive/data"),
        (legacy_checkpoint(number(1), {}), "must hold a dictionary of tensors"),
        (legacy_checkpoint(named("os", "system"), {}), r"asks for os\.system.*Nothing in it was run"),
        (legacy_checkpoint(b"N", {}, version=1000), r"damaged.*version 1000 of the format, not 1001"),
    ],
)
def test_other_files_of_pytorch_say_what_to_do(tmp_path, content, message):
    with pytest.raises(WeightsError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    state["half"] = torch.randn(3).half()
    state["transposed"] = torch.randn(4, 2).to(torch.bfloat16).t()
    state["part"] = torch.randn(4, 4, dtype=torch.float64)[1:, 1:]
    best = torch.tensor(0.5)
    saved = {"state_dict": state, "best": best, "optimizer": optimizer.state_dict()}
    torch.save(saved, tmp_path / "a.th", _use_new_zipfile_serialization=zipped)
    tensors = read_tensors(tmp_path / "a.th")
    assert list(tensors) == list(state)
    for name, wanted in state.items():
        np.testing.assert_array_equal(tensors[name].values(), wanted.to(torch.float32).numpy())


LEGACY_VALUES = struct.pack("<fff", 1, 2, 3)
LEGACY = ordered_dict({"x": tensor(storage("7", 3, "FloatStorage", b"N"), (2,), (1,), offset=1)})


def test_a_legacy_checkpoint_is_read(tmp_path):
    tensors = read(tmp_path, legacy_checkpoint(dictionary({"state_dict": LEGACY}), {"7": (3, LEGACY_VALUES)}))
    np.testing.assert_array_equal(tensors["x"].values(), [2.0, 3.0])


@pytest.mark.parametrize(
    "content",
    [
        legacy_checkpoint(LEGACY, {}),
        legacy_checkpoint(LEGACY, {"7": (2, LEGACY_VALUES)}),
        legacy_checkpoint(LEGACY, {"7": (-3, LEGACY_VALUES)}),
        legacy_checkpoint(LEGACY, {"7": (3, LEGACY_VALUES[:-1])}),
        legacy_checkpoint(LEGACY, {"7": (3, LEGACY_VALUES), "8": (0, b"")}),
        legacy_checkpoint(ordered_dict({"x": tensor(storage("7", 3), (2,), (1,))}), {"7": (3, LEGACY_VALUES)}),
        legacy_checkpoint(
            ordered_dict(
                {"x": tensor(storage("7", 3, "FloatStorage", many(text("v"), number(0), number(2))), (2,), (1,))}
            ),
            {"7": (3, LEGACY_VALUES)},
        ),
        legacy_checkpoint(
            ordered_dict({"x": tensor(storage("7", 2**40, "FloatStorage", b"N"), (2,), (1,))}), {"7": (2**40, b"")}
        ),
        legacy_checkpoint(
            ordered_dict(
                {
                    "x": tensor(storage("7", 3, "FloatStorage", b"N"), (2,), (1,)),
                    "y": tensor(storage("7", 1, "DoubleStorage", b"N"), (1,), (1,)),
                }
            ),
            {"7": (3, LEGACY_VALUES)},
        ),
    ],
)
def test_damaged_legacy_checkpoints_are_refused(tmp_path, content):
    with pytest.raises(WeightsError, match="is damaged"):
        read(tmp_path, content)


def test_a_legacy_checkpoint_that_is_cut_is_refused(tmp_path):
    content = legacy_checkpoint(LEGACY, {"7": (3, LEGACY_VALUES)})
    for end in range(len(content) - 1, 20, -1):
        with pytest.raises(WeightsError):
            read(tmp_path, content[:end])


def test_the_name_of_a_refused_global_is_cut(tmp_path):
    with pytest.raises(WeightsError, match=r"asks for x{50,60}, ") as raised:
        read(tmp_path, checkpoint(named("x" * 10_000, "y"), {}))
    assert len(str(raised.value)) < 600
