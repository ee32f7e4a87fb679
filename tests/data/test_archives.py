import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from cifarnet.data import archive_contents
from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.support.datasets import (
    assert_same,
    image_folder,
    tar_of,
    zip_of,
)


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
@pytest.mark.parametrize("top", [".", "images", "a/b/images", ""])
def test_a_tar_equals_the_folder_in_it_below_any_top_folder(tmp_path, suffix, mode, top):
    root = image_folder(tmp_path / "pets")
    assert_same(load_data(str(tar_of(root, tmp_path / f"pets.{suffix}", top, mode))), load_data(str(root)))


def test_a_zip_equals_the_folder_in_it(tmp_path):
    root = image_folder(tmp_path / "pets")
    assert_same(load_data(str(zip_of(root, tmp_path / "pets.zip"))), load_data(str(root)))


def test_an_archive_is_known_by_its_content_and_not_its_name(tmp_path):
    root = image_folder(tmp_path / "pets")
    assert_same(load_data(str(zip_of(root, tmp_path / "download"))), load_data(str(root)))


def test_the_clutter_of_a_mac_in_a_zip_is_ignored(tmp_path):
    archive = zip_of(image_folder(tmp_path / "pets"), tmp_path / "pets.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/train/cat/._0.png", b"resource fork")
    assert len(load_data(str(archive)).train) == 6


def test_reading_an_archive_extracts_nothing_and_follows_no_link(tmp_path):
    archive = tar_of(image_folder(tmp_path / "pets"), tmp_path / "pets.tar", mode="w")
    secret = tmp_path / "secret.png"
    Image.new("RGB", (32, 32)).save(secret)
    with tarfile.open(archive, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            link = tarfile.TarInfo(f"train/cat/{kind.decode()}.png")
            link.type, link.linkname = kind, str(secret)
            tar.addfile(link)
        escaping = tarfile.TarInfo("../escaped.png")
        escaping.size = secret.stat().st_size
        tar.addfile(escaping, io.BytesIO(secret.read_bytes()))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert load_data(str(archive)).train.counts().tolist() == [3, 3]
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


@pytest.mark.parametrize("limit", ["MEMBER_LIMIT", "ARCHIVE_LIMIT"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, limit, pack):
    archive = pack(image_folder(tmp_path / "pets"), tmp_path / "pets.archive")
    monkeypatch.setattr(archive_contents, limit, 1000)
    with pytest.raises(DataError, match=r"too much to be read into memory.*Unpack it"):
        load_data(str(archive))


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_truncated_archive_is_refused(tmp_path, pack):
    archive = pack(image_folder(tmp_path / "pets"), tmp_path / "pets.archive")
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DataError, match="damaged"):
        load_data(str(archive))


def headers_of(archive):
    """The positions of the headers in a tar."""
    with tarfile.open(archive) as file:
        return [member.offset for member in file]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content, header: content[: header + 3] + bytes([content[header + 3] ^ 64]) + content[header + 4 :],
        lambda content, header: content[: header + 300],
        lambda content, header: content[:header],
    ],
)
def test_a_tar_with_a_damaged_header_is_not_a_shorter_one(tmp_path, compress, damage):
    archive = tmp_path / "pets.tar"
    with tarfile.open(archive, "w") as file:
        file.add(image_folder(tmp_path / "pets"), "pets")
    content = damage(archive.read_bytes(), headers_of(archive)[-1])
    archive.write_bytes(compress(content))
    with pytest.raises(DataError, match=r"pets\.tar is damaged or truncated"):
        load_data(str(archive))


@pytest.mark.parametrize("cut", [4, 12])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_needs_its_checksum(tmp_path, compress, cut):
    archive = tmp_path / "pets.tar"
    with tarfile.open(archive, "w") as file:
        file.add(image_folder(tmp_path / "pets"), "pets")
    content = compress(archive.read_bytes())
    archive.write_bytes(content[:-cut])
    with pytest.raises(DataError, match="damaged"):
        load_data(str(archive))


def test_changed_pixels_in_a_compressed_tar_are_noticed(tmp_path):
    root, archive = image_folder(tmp_path / "pets"), tmp_path / "pets.tar.gz"
    picture = next(root.rglob("*.png"))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(picture.with_suffix(".bmp"))
    with tarfile.open(tmp_path / "pets.tar", "w") as file:
        file.add(root, "pets")
    content = bytearray(gzip.compress((tmp_path / "pets.tar").read_bytes(), 0))
    content[content.find(pixels[0, :, ::-1].tobytes())] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="damaged or truncated"):
        load_data(str(archive))


def test_a_bad_image_in_an_archive_is_named_with_the_archive(tmp_path):
    root = image_folder(tmp_path / "pets")
    (root / "train" / "dog" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/dog/1\.png in .*pets\.zip is not"):
        load_data(str(zip_of(root, tmp_path / "pets.zip")))


def zip_named(folder, archive, rename, flag=True):
    """A zip of ``folder`` whose members have the names that ``rename`` gives, in UTF-8 with or without its flag."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.writestr(rename(path.relative_to(folder).as_posix()), path.read_bytes())
    if not flag:
        content = bytearray(archive.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = content.find(signature)
            while start >= 0:
                content[start + offset + 1] &= ~0x08
                start = content.find(signature, start + 4)
        archive.write_bytes(content)
    return archive


def test_a_zip_with_backslashes_equals_the_folder_in_it(tmp_path):
    root = image_folder(tmp_path / "pets")
    archive = zip_named(root, tmp_path / "pets.zip", lambda name: f"pets\\{name}".replace("/", "\\"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("pets\\train\\", b"")
    assert_same(load_data(str(archive)), load_data(str(root)))


@pytest.mark.parametrize("flag", [True, False])
def test_names_in_utf_8_are_read_with_and_without_their_flag(tmp_path, flag):
    root = image_folder(tmp_path / "pets", classes=("Äpfel", "ねこ", "cafe\u0301"))
    splits = load_data(str(zip_named(root, tmp_path / "pets.zip", str, flag)))
    assert splits.train.class_names == ("caf\u00e9", "Äpfel", "ねこ")
    assert_same(splits, load_data(str(root)))


def test_names_in_another_encoding_are_read(tmp_path):
    root = image_folder(tmp_path / "pets", classes=("xpfel", "cat"))
    archive = zip_named(root, tmp_path / "pets.zip", str)
    archive.write_bytes(archive.read_bytes().replace(b"/xpfel/", b"/\x8epfel/"))
    assert load_data(str(archive)).train.class_names == ("cat", "Äpfel")


def test_a_tar_with_names_in_no_unicode_names_the_class(tmp_path):
    root = image_folder(tmp_path / "pets", classes=("cat", "dog"))
    (root / "train/dog").rename(root / "train/\udcc4pfel")
    with pytest.raises(DataError, match=r"not valid UTF-8.*b'\\xc4pfel'"):
        load_data(str(tar_of(root, tmp_path / "pets.tar", "pets", "w")))


def test_a_name_in_thousands_of_folders_is_refused(tmp_path):
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a/" * 20_000 + "0.png", b"")
    with pytest.raises(DataError, match=r"pets\.zip has a name that is too long: .* and 100 folders\. Received: a/a/"):
        load_data(str(archive))


def test_members_without_content_count_towards_the_limit(tmp_path, monkeypatch):
    archive = tmp_path / "pets.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for _ in range(5_000):
            folder = tarfile.TarInfo("train")
            folder.type = tarfile.DIRTYPE
            packed.addfile(folder)
    monkeypatch.setattr(archive_contents, "RATIO_FROM", 1 << 20)
    with pytest.raises(DataError, match="it looks like a decompression bomb"):
        load_data(str(archive))


def test_an_archive_of_outside_names_alone_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as archive:
        archive.writestr("../train/cat/0.png", b"")
    with pytest.raises(DataError, match=r"0 files in no known.*0\.png \(names or links out of the archive\), one of 1"):
        load_data(str(tmp_path / "up.zip"))
