import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.support.datasets import assert_same, fill, left_out, tar_of

FOLDERS = ("train/cat", "train/dog", "test/cat", "test/dog")


@pytest.fixture
def pets(tmp_path):
    return fill(tmp_path / "pets", *FOLDERS)


def loaded(source: Path):
    return load_data(str(source))


def zip_with_links(folder: Path, archive: Path) -> Path:
    """A zip as Info-ZIP's ``zip --symlinks`` makes it."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                file.writestr(info, path.readlink().as_posix())
            elif path.is_file():
                file.write(path, name)
    return archive


def tar_with_links(folder: Path, archive: Path) -> Path:
    return tar_of(folder, archive, "pets", "w")


def itself(folder: Path, archive: Path) -> Path:
    return folder


FORMS = pytest.mark.parametrize("form", [itself, tar_with_links, zip_with_links])


@FORMS
def test_linked_pictures_and_folders_are_read(tmp_path, pets, form):
    fill(pets, ".store/owl", ".store/0")
    for split in ("train", "test"):
        (pets / split / "owl").symlink_to("../.store/owl")
    (pets / "train/cat/linked.png").symlink_to("../../.store/0/0.png")
    (pets / "train/cat/chain.png").symlink_to("linked.png")
    splits = loaded(form(pets, tmp_path / "pets.archive"))
    assert splits.train.class_names == ("cat", "dog", "owl")
    assert splits.train.counts().tolist() == [4, 2, 2]
    assert splits.test.counts().tolist() == [2, 2, 2]
    assert splits.left_out == ()
    assert_same(splits, loaded(pets))


@FORMS
@pytest.mark.parametrize("target", ["..", "../..", "../../train", ".", "../../test/../train/cat"])
def test_a_link_to_a_parent_folder_is_no_source(tmp_path, pets, form, target):
    clean = loaded(form(pets, tmp_path / "clean.archive"))
    (pets / "train/cat/up").symlink_to(target)
    splits = loaded(form(pets, tmp_path / "pets.archive"))
    assert_same(splits, clean)
    assert left_out(splits) == {"links to a parent folder": 1}


@FORMS
def test_folders_that_link_to_each_other_are_read_once(tmp_path, pets, form):
    (pets / "train/cat/friend").symlink_to("../dog")
    (pets / "train/dog/friend").symlink_to("../cat")
    splits = loaded(form(pets, tmp_path / "pets.archive"))
    assert splits.train.counts().tolist() == [4, 4]
    assert left_out(splits) == {"links to a parent folder": 2}


def test_a_link_to_a_folder_above_the_source_is_no_source(tmp_path, pets):
    fill(tmp_path, "others")
    (pets / "train/cat/up").symlink_to(tmp_path)
    assert left_out(loaded(pets)) == {"links to a parent folder": 1}
    assert loaded(pets).train.counts().tolist() == [2, 2]


def test_link_out_of_a_linked_folder_to_its_parent_is_no_source(tmp_path, pets):
    fill(tmp_path, "pool/owl", "pool/other")
    (tmp_path / "pool/owl/up").symlink_to("..")
    for split in ("train", "test"):
        (pets / split / "owl").symlink_to(tmp_path / "pool/owl")
    assert loaded(pets).train.counts().tolist() == [2, 2, 2]
    assert left_out(loaded(pets)) == {"links to a parent folder": 2}


@FORMS
def test_broken_links_to_folders_are_counted(tmp_path, pets, form):
    (pets / "train/cat/gone").symlink_to("nowhere")
    (pets / "train/cat/circle").symlink_to("circle")
    assert left_out(loaded(form(pets, tmp_path / "pets.archive"))) == {"broken links": 2}


def test_a_broken_link_to_a_picture_is_a_missing_picture(pets):
    (pets / "train/cat/9.png").symlink_to("gone.png")
    (pets / "train/cat/8.png").symlink_to("8.png")
    with pytest.raises(DataError, match=r"2 of 10 pictures can't be read:\n.*8\.png can't be read.*\n.*9\.png can't"):
        loaded(pets)


@pytest.mark.parametrize("form", [tar_with_links, zip_with_links])
@pytest.mark.parametrize(
    "target", ["{outside}/0.png", "../../../../outside/0.png", "../../../../../../../../etc/passwd"]
)
def test_links_out_of_an_archive_are_counted(tmp_path, pets, form, target):
    outside = fill(tmp_path, "outside") / "outside"
    (pets / "train/cat/link.png").symlink_to(target.format(outside=outside))
    splits = loaded(form(pets, tmp_path / "pets.archive"))
    assert splits.train.counts().tolist() == [2, 2]
    (files,) = splits.left_out
    assert (files.reason, files.count) == ("names or links out of the archive", 1)
    assert files.examples[0].endswith("train/cat/link.png")


def hard(archive: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.LNKTYPE, target
    archive.addfile(link)


def test_hard_links_count_like_files_wherever_their_files_are(tmp_path, pets):
    path = tmp_path / "pets.tar"
    with tarfile.open(path, "w") as archive:
        hard(archive, "pets/train/cat/early.png", "pets/train/cat/0.png")
        hard(archive, "pets/train/cat/chain.png", "pets/train/dog/late.png")
        archive.add(pets, "pets")
        hard(archive, "./pets/train/dog/late.png", "./pets/train/cat/1.png")
        hard(archive, "pets/train/dog/gone.png", "pets/train/dog/none.png")
        hard(archive, "pets/train/dog/self.png", "pets/train/dog/self.png")
    splits = loaded(path)
    assert splits.train.counts().tolist() == [4, 3]
    assert left_out(splits) == {"broken links": 2}
    names = ["0.png", "1.png", "chain.png", "early.png"]
    by_name = dict(zip(names, splits.train.images, strict=False))
    assert (by_name["early.png"] == by_name["0.png"]).all()
    assert (by_name["chain.png"] == by_name["1.png"]).all()


def test_a_tar_of_hard_links_equals_its_folder(tmp_path, pets):
    for name in ("cat", "dog"):
        (pets / f"train/{name}/again.png").hardlink_to(pets / f"train/{name}/0.png")
    splits = loaded(tar_with_links(pets, tmp_path / "pets.tar"))
    assert splits.train.counts().tolist() == [3, 3]
    assert_same(splits, loaded(pets))


def test_links_that_multiply_are_refused(tmp_path, pets):
    path = tar_with_links(pets, tmp_path / "pets.tar")
    with tarfile.open(path, "a") as archive:
        for level in range(40):
            for name in ("a", "b"):
                link = tarfile.TarInfo(f"pets/.levels/{level}/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, f"../{level + 1}"
                archive.addfile(link)
        folder = tarfile.TarInfo("pets/.levels/40")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("pets/train/cat/bomb")
        link.type, link.linkname = tarfile.SYMTYPE, "../../.levels/0"
        archive.addfile(link)
    with pytest.raises(DataError, match="it looks like a decompression bomb"):
        loaded(path)


def test_linked_content_counts_towards_the_limit(tmp_path, pets, monkeypatch):
    path = tar_with_links(pets, tmp_path / "pets.tar")
    with tarfile.open(path, "a") as archive:
        for row in range(10):
            hard(archive, f"pets/train/cat/again{row}.png", "pets/train/cat/0.png")
    assert loaded(path).train.counts().tolist() == [12, 2]
    monkeypatch.setattr("cifarnet.data.archive_contents.ARCHIVE_LIMIT", 5000)
    monkeypatch.setattr("cifarnet.data.sources.DecodedSet.load", lambda *_: None)
    with pytest.raises(DataError, match="too much to be read into memory: pets/train/cat/again"):
        loaded(path)


def test_a_link_and_a_file_of_one_name_are_refused(tmp_path, pets):
    path = tar_with_links(pets, tmp_path / "pets.tar")
    with tarfile.open(path, "a") as archive:
        hard(archive, "pets/train/cat/0.png", "pets/train/cat/1.png")
    with pytest.raises(DataError, match=r"holds pets/train/cat/0\.png twice"):
        loaded(path)


def test_devices_in_an_archive_are_counted(tmp_path, pets):
    path = tar_with_links(pets, tmp_path / "pets.tar")
    with tarfile.open(path, "a") as archive:
        pipe = tarfile.TarInfo("pets/train/cat/pipe.png")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
        info = tarfile.TarInfo("pets/../../escaped.png")
        archive.addfile(info, io.BytesIO())
    assert left_out(loaded(path)) == {"devices, pipes or sockets": 1, "names or links out of the archive": 1}
