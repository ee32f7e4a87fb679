import json

import pytest

from cifarnet.data.dataset import LeftOut
from cifarnet.data.sources import load_data
from tests.support.datasets import fill, left_out, tar_of


@pytest.fixture
def pets(tmp_path):
    return fill(tmp_path / "pets", "train/cat", "train/dog", "test/cat", "test/dog")


@pytest.mark.usefixtures("without_pillow_heif")
def test_files_of_other_suffixes_are_counted_by_suffix(pets):
    for row in range(4):
        (pets / f"train/cat/IMG_{row}.HEIC").touch()
    (pets / "train/dog/scan.psd").touch()
    (pets / "test/dog/README").touch()
    assert load_data(str(pets)).left_out == (
        LeftOut(
            ".heic files: install pillow-heif to read them",
            4,
            ("train/cat/IMG_0.HEIC", "train/cat/IMG_1.HEIC", "train/cat/IMG_2.HEIC"),
        ),
        LeftOut(".psd files", 1, ("train/dog/scan.psd",)),
        LeftOut("files without a suffix", 1, ("test/dog/README",)),
    )


def test_many_kinds_of_files_are_counted_together(pets):
    for number in range(9):
        (pets / f"train/cat/file.{number}").touch()
    assert sum(left_out(load_data(str(pets))).values()) == 9
    assert left_out(load_data(str(pets)))["files of other kinds"] == 4


def test_a_line_says_how_many_which_why_and_what_to_do():
    files = LeftOut(".heic files: install pillow-heif to read them", 9, ("train/cat/IMG_0.HEIC",))
    assert files.line == "Left out: 9 .heic files (train/cat/IMG_0.HEIC, ...): install pillow-heif to read them"
    assert LeftOut(".txt files", 1, ("a.txt",)).line == "Left out: 1 .txt file (a.txt)"


def test_pictures_beside_folders_are_counted(pets):
    fill(pets, "train", "extra", "extra/more", ".", count=1)
    assert left_out(load_data(str(pets))) == {
        "pictures beside test/ and train/": 1,
        "pictures in folders beside test/ and train/": 2,
        "pictures beside the class folders": 1,
    }


def test_pictures_beside_class_folders_alone_are_counted(tmp_path):
    fill(tmp_path, "cat", "dog", ".")
    assert left_out(load_data(str(tmp_path), test_split=0.5)) == {"pictures beside the class folders": 2}


def test_files_beside_an_outer_folder_are_counted(tmp_path, pets):
    (tmp_path / "README.md").touch()
    assert left_out(load_data(str(tmp_path))) == {".md files": 1}


def test_hidden_and_system_files_are_not_counted(pets):
    clean = load_data(str(pets)).sha256()
    fill(
        pets,
        *("train/cat/@eaDir/0.png", "train/cat/@__thumb", "#recycle/cat", ".Trashes/cat", "$RECYCLE.BIN/cat"),
        *("lost+found", "System Volume Information", "__MACOSX/train/cat", "train/dog/.thumbnails", ".AppleDouble"),
        *("~snapshot/train/cat", "@sharebin/cat"),
    )
    for name in ("Thumbs.db", "desktop.ini", "Desktop.ini", "._0.png", ".DS_Store", "Icon\r"):
        (pets / "train/cat" / name).touch()
    splits = load_data(str(pets))
    assert splits.left_out == ()
    assert splits.sha256() == clean


def test_the_cache_keeps_validation_images_and_counts(pets, monkeypatch):
    fill(pets, "val/cat", "val/dog", "train")
    first = load_data(str(pets))
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    again = load_data(str(pets))
    assert again.left_out == first.left_out != ()
    assert again.sha256() == first.sha256()
    assert again.validation.counts().tolist() == [2, 2]


@pytest.mark.usefixtures("without_pillow_heif")
def test_an_archive_leaves_out_what_its_folder_does(tmp_path, pets):
    (pets / "train/cat/0.heic").touch()
    fill(pets, "extra", "train")
    archive = tar_of(pets, tmp_path / "pets.tar", "pets", "w")
    assert load_data(str(archive)).left_out == load_data(str(pets)).left_out != ()
    assert json.dumps(left_out(load_data(str(archive))))


def test_heic_pictures_are_read_where_pillow_heif_is_installed(tmp_path, pets):
    from PIL import Image
    from pillow_heif import from_pillow

    from_pillow(Image.new("RGB", (32, 32), "red")).save(pets / "train/cat/IMG_1.HEIC")
    splits = load_data(str(pets))
    assert splits.left_out == ()
    assert splits.train.counts().tolist() == [splits.train.counts()[1] + 1, splits.train.counts()[1]]
