import os
import pickle

import numpy as np
import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.support.datasets import (
    BATCHES,
    CLASSES,
    Attack,
    batches,
    binary_layout,
    planes,
    python_layout,
    tar_of,
    zip_of,
)


def assert_official(splits):
    """The six batches of ``making.batches``, in order."""
    parts = batches()
    np.testing.assert_array_equal(splits.train.images, np.concatenate([parts[name][0] for name in BATCHES[:5]]))
    np.testing.assert_array_equal(splits.train.labels, np.concatenate([parts[name][1] for name in BATCHES[:5]]))
    np.testing.assert_array_equal(splits.test.images, parts["test_batch"][0])
    np.testing.assert_array_equal(splits.test.labels, parts["test_batch"][1])
    assert splits.train.class_names == CLASSES


@pytest.mark.parametrize("make", [binary_layout, python_layout])
def test_an_official_layout_is_read_as_folder_and_as_archive(tmp_path, make):
    root = make(tmp_path / "cifar-10-batches")
    assert_official(load_data(str(root)))
    assert_official(load_data(str(tar_of(root, tmp_path / "a.tar.gz", root.name))))
    assert_official(load_data(str(zip_of(root, tmp_path / "a.zip"))))


def test_official_images_are_brought_to_another_size(tmp_path):
    assert load_data(str(binary_layout(tmp_path)), image_size=16).test.images.shape == (4, 16, 16, 3)


@pytest.mark.parametrize(("make", "meta"), [(binary_layout, "batches.meta.txt"), (python_layout, "batches.meta")])
def test_class_names_come_from_meta_file_and_cifar10s_without_it(tmp_path, make, meta):
    root = make(tmp_path)
    names = [f"class{label}" for label in range(10)]
    content = "\n".join(names).encode() if make is binary_layout else pickle.dumps({"label_names": names}, 2)
    (root / meta).write_bytes(content)
    assert load_data(str(root)).train.class_names == tuple(names)
    (root / meta).unlink()
    assert load_data(str(root)).train.class_names == CLASSES


@pytest.mark.parametrize(("make", "name"), [(binary_layout, "data_batch_3.bin"), (python_layout, "data_batch_3")])
def test_a_missing_batch_is_named(tmp_path, make, name):
    (make(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=f"lacks {name};"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("size", [0, 5000])
def test_a_binary_batch_of_broken_records_is_refused(tmp_path, size):
    batch = binary_layout(tmp_path) / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:size])
    with pytest.raises(DataError, match=r"data_batch_2\.bin is damaged or truncated.*3,073 bytes"):
        load_data(str(tmp_path))


def test_a_label_out_of_range_is_refused(tmp_path):
    batch = binary_layout(tmp_path) / "data_batch_2.bin"
    batch.write_bytes(b"\x0a" + batch.read_bytes()[1:])
    with pytest.raises(
        DataError, match=r"data_batch_2\.bin is damaged.*Labels must be 0 to 9.*Received: 10 in record 0"
    ):
        load_data(str(tmp_path))


def test_a_label_of_a_pickle_out_of_range_is_refused(tmp_path):
    content = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, 2)
    (python_layout(tmp_path) / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch is damaged.*Labels must be 0 to 9.*Received: 10 in record 1"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(("make", "meta"), [(binary_layout, "batches.meta.txt"), (python_layout, "batches.meta")])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog"] * 5, "must name every class once. Received twice: cat, dog"),
        ([f"class{label}" for label in range(3)], "Labels must be 0 to 2"),
    ],
)
def test_names_that_fit_no_labels_are_refused(tmp_path, make, meta, names, message):
    content = "\n".join(names).encode() if make is binary_layout else pickle.dumps({"label_names": names}, 2)
    (make(tmp_path) / meta).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_data(str(tmp_path))


def test_names_of_two_words_are_read(tmp_path):
    names = [f"kind {label}" for label in range(10)]
    (binary_layout(tmp_path) / "batches.meta.txt").write_text("\r\n".join([*names, "", ""]))
    assert load_data(str(tmp_path)).train.class_names == tuple(names)


def test_batches_of_cifar100_are_named(tmp_path):
    content = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1, 2]}, 2)
    (python_layout(tmp_path) / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_3 is CIFAR-100"):
        load_data(str(tmp_path))


def python2_array(array: np.ndarray) -> bytes:
    """The opcodes with which Python 2 and NumPy 1 pickled an array (as in the official archive)."""
    shape = b"".join(b"K" + bytes([n]) if n < 256 else b"M" + n.to_bytes(2, "little") for n in array.shape)
    raw = array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + (b"\x86" if array.ndim == 2 else b"\x85")
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + len(raw).to_bytes(4, "little")
        + raw
        + b"tb"
    )


def test_pickles_of_python_2_are_read(tmp_path):
    root = python_layout(tmp_path)
    for name, (images, labels) in batches().items():
        listed = b"".join(b"K" + bytes([label]) for label in labels)
        content = b"\x80\x02}(U\x04data" + python2_array(planes(images)) + b"U\x06labels](" + listed + b"eu."
        (root / name).write_bytes(content)
    assert_official(load_data(str(root)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read(tmp_path, protocol):
    assert_official(load_data(str(python_layout(tmp_path, protocol=protocol))))


@pytest.mark.parametrize("name", ["data_batch_4", "batches.meta"])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.mkdir, "mkdir"), (exec, "exec"), (np.load, "numpy.load"), (getattr, "getattr"), (np.frombuffer, "frombuffer")],
)
def test_a_pickle_names_anything_else_is_refused_and_not_run(tmp_path, function, named, name):
    (python_layout(tmp_path) / name).write_bytes(pickle.dumps({"data": Attack(function, str(tmp_path / "ran"))}, 2))
    with pytest.raises(DataError, match=f"{name} is refused: it asks for .*{named}"):
        load_data(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_can_use_no_codec_but_latin1(tmp_path):
    import _codecs

    (python_layout(tmp_path) / "test_batch").write_bytes(pickle.dumps(Attack(_codecs.encode, "text", "rot13"), 2))
    with pytest.raises(DataError, match="test_batch is refused: it asks for the encoding 'rot13'"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or not a pickle"),
        (b"\x80\x02}(U\x04data", "damaged or not a pickle"),
        (pickle.dumps([1, 2]), "must hold a dictionary. Received: list"),
        (pickle.dumps({"labels": [1]}), "must hold 'data': a uint8"),
        (pickle.dumps({"data": np.zeros((2, 3071), np.uint8)}, 2), "must hold 'data': a uint8"),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}, 2),
            "is refused: it asks for an array of type 'f4'",
        ),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, 2), "'labels' of .* must be 2 whole"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}, 2), "must be 2 whole numbers"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1 << 40]}, 2), "must number classes"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused(tmp_path, content, message):
    (python_layout(tmp_path) / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_data(str(tmp_path))
    assert "data_batch_1" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("top", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize(("make", "name"), [(binary_layout, "data_batch_1.bin"), (python_layout, "data_batch_1")])
def test_a_pipe_in_place_of_a_batch_is_named(tmp_path, make, name, top):
    batch = make(tmp_path / top) / name
    batch.unlink()
    os.mkfifo(batch)
    with pytest.raises(DataError, match=rf"lacks {name};.* Left out: {name} \(devices, pipes or sockets\)"):
        load_data(str(tmp_path))


def test_a_batch_of_terabytes_is_refused(tmp_path):
    with (binary_layout(tmp_path) / "data_batch_2.bin").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"data_batch_2\.bin has more than 2048 MiB"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("make", [binary_layout, python_layout])
def test_a_list_of_names_of_megabytes_is_refused(tmp_path, make):
    root = make(tmp_path)
    (root / ("batches.meta.txt" if make is binary_layout else "batches.meta")).write_bytes(bytes(2 << 20))
    with pytest.raises(DataError, match=r"batches\.meta.* has more than 1 MiB"):
        load_data(str(root))


def test_protocol_0_of_python_2_is_read(tmp_path):
    """Python 2 wrote the bytes of an array as an escaped string of ASCII."""
    root = python_layout(tmp_path)
    for name, (images, labels) in batches().items():
        raw = "".join(f"\\x{byte:02x}" for byte in planes(images).tobytes()).encode()
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nI3072\ntcnumpy\ndtype\n"
            b"(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'%b'\ntb" % (len(images), raw)
        )
        listed = b"".join(b"I%d\na" % label for label in labels)
        (root / name).write_bytes(b"(dp0\nS'data'\n" + array + b"sS'labels'\n(lp1\n" + listed + b"s.")
    assert_official(load_data(str(root)))
