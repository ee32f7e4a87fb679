import os
import shutil

import pytest
from PIL import Image

from cifarnet.data import cache
from cifarnet.data.decoding import IMAGE_SUFFIXES
from cifarnet.data.sources import load_data
from cifarnet.errors import NoHomeError
from tests.support.datasets import (
    assert_same,
    fill,
    image_folder,
    tar_of,
    zip_of,
)


def test_a_folder_that_is_unchanged_is_not_decoded_again(tmp_path, monkeypatch):
    source = str(image_folder(tmp_path / "pets"))
    first = load_data(source)
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    assert_same(load_data(source), first)


def test_a_set_without_test_images_is_cached_too(tmp_path, monkeypatch):
    source = str(image_folder(tmp_path / "pets", test=0))
    first = load_data(source, test_split=0.3)
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    assert_same(load_data(source, test_split=0.3), first)


def replace_image(root):
    Image.new("RGB", (32, 32), "teal").save(root / "train" / "cat" / "0.png")


def touch_image(root):
    os.utime(root / "train" / "cat" / "0.png", ns=(1, 1))


def add_image(root):
    Image.new("RGB", (32, 32), "teal").save(root / "test" / "cat" / "new.png")


def rename_image(root):
    (root / "train" / "cat" / "0.png").rename(root / "train" / "dog" / "was_a_cat.png")


@pytest.mark.parametrize("change", [replace_image, touch_image, add_image, rename_image])
def test_a_changed_folder_is_decoded_again_and_keeps_one_entry(tmp_path, change):
    root = image_folder(tmp_path / "pets")
    load_data(str(root))
    (entry,) = cache.decoded_sets()
    before = entry.read_bytes()
    change(root)
    splits = load_data(str(root))
    assert list(cache.decoded_sets()) == [entry]
    assert entry.read_bytes() != before
    cache.compiled_dir().mkdir()
    cache.clear()
    assert not cache.compiled_dir().exists()
    assert_same(load_data(str(root)), splits)


def test_each_image_size_has_its_own_entry(tmp_path):
    source = str(image_folder(tmp_path / "pets"))
    load_data(source, image_size=16)
    assert load_data(source).train.images.shape == (6, 32, 32, 3)
    assert len(cache.decoded_sets()) == 2


def test_a_replaced_archive_is_read_again(tmp_path):
    archive = zip_of(image_folder(tmp_path / "pets"), tmp_path / "pets.zip")
    assert len(load_data(str(archive)).train) == 6
    zip_of(image_folder(tmp_path / "more", train=5), archive)
    assert len(load_data(str(archive)).train) == 10


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: content[:-5000] + bytes(5000)],
)
def test_a_damaged_entry_is_built_again(tmp_path, damage):
    source = str(image_folder(tmp_path / "pets"))
    first = load_data(source)
    (entry,) = cache.decoded_sets()
    entry.write_bytes(damage(entry.read_bytes()))
    assert_same(load_data(source), first)
    assert cache.decoded_sets() == {entry: source}


def test_a_flipped_pixel_in_an_entry_is_noticed(tmp_path):
    source = str(image_folder(tmp_path / "pets"))
    first = load_data(source)
    (entry,) = cache.decoded_sets()
    content = bytearray(entry.read_bytes())
    content[content.find(first.train.images[0].tobytes()) + 7] ^= 1
    entry.write_bytes(content)
    assert_same(load_data(source), first)


def test_an_unwritable_cache_is_a_warning_and_no_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "file" / "cache"))
    assert len(load_data(str(image_folder(tmp_path / "pets"))).train) == 6
    assert "are not cached" in caplog.text


@pytest.fixture
def no_home(monkeypatch):
    """The environment of an account without a home folder, as that of ``docker run --user 12345``."""
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    for name in ("CIFARNET_CACHE", "CIFARNET_WEIGHTS", "KERAS_HOME", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_folder_nothing_is_kept(tmp_path, monkeypatch, no_home, caplog):
    source = str(image_folder(tmp_path / "pets"))
    monkeypatch.chdir(tmp_path)
    assert len(load_data(source).train) == 6
    assert "are not cached" in caplog.text
    assert "Set CIFARNET_CACHE" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_without_a_home_folder_a_download_names_the_variable(no_home):
    with pytest.raises(NoHomeError, match="Set CIFARNET_CACHE"):
        load_data("cifar10")


def still(root, seconds=1_000_000_000):
    """Give all files below ``root`` one modification time."""
    for path in root.rglob("*"):
        os.utime(path, (seconds, seconds))


def red_and_green(root):
    """Classes whose pictures have equal names, sizes and times."""
    for split in ("train", "test"):
        for name, colour in (("cat", (200, 40, 40)), ("dog", (40, 200, 40))):
            folder = root / split / name
            folder.mkdir(parents=True)
            for row in range(2):
                Image.new("RGB", (32, 32), colour).save(folder / f"{row}.bmp")
    still(root)
    return root


def swap(one, other, spare):
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def colours(source):
    """The first pixel of each class's first training image."""
    train = load_data(str(source)).train
    return [train.images[train.labels == label][0, 0, 0].tolist() for label in (0, 1)]


RED, GREEN = [200, 40, 40], [40, 200, 40]


def test_renamed_class_folders_are_decoded_anew(tmp_path):
    root = red_and_green(tmp_path / "pets")
    assert colours(root) == [RED, GREEN]
    swap(root / "train/cat", root / "train/dog", root / "spare")
    still(root)
    assert colours(root) == [GREEN, RED]


def test_renamed_pictures_are_decoded_anew(tmp_path):
    root = red_and_green(tmp_path / "pets")
    assert colours(root) == [RED, GREEN]
    for row in range(2):
        swap(root / f"train/cat/{row}.bmp", root / f"train/dog/{row}.bmp", root / "train/cat/spare.bmp")
    still(root)
    assert colours(root) == [GREEN, RED]


def test_a_picture_written_over_at_the_same_time_is_decoded_anew(tmp_path):
    root = red_and_green(tmp_path / "pets")
    assert colours(root) == [RED, GREEN]
    for row in range(2):
        Image.new("RGB", (32, 32), (1, 2, 3)).save(root / f"train/cat/{row}.bmp")
    still(root)
    assert colours(root) == [[1, 2, 3], GREEN]


def test_a_folder_that_a_copy_replaced_is_decoded_anew(tmp_path):
    root = red_and_green(tmp_path / "pets")
    assert colours(root) == [RED, GREEN]
    swap(root / "train/cat", root / "train/dog", root / "spare")
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy2)
    swap(root / "train/cat", root / "train/dog", root / "spare")
    assert colours(root) == [RED, GREEN]
    shutil.rmtree(root)
    (tmp_path / "copy").rename(root)
    assert colours(root) == [GREEN, RED]


@pytest.mark.parametrize("linked", ["pets", "pets/train/cat", "pets/train/cat/0.bmp"])
def test_a_link_that_leads_elsewhere_is_decoded_anew(tmp_path, linked):
    root, other = red_and_green(tmp_path / "pets"), red_and_green(tmp_path / "other")
    swap(other / "train/cat", other / "train/dog", other / "spare")
    still(other)
    place = tmp_path / linked
    place.rename(tmp_path / "first")
    place.symlink_to(tmp_path / "first")
    assert colours(root)[0] == RED
    place.unlink()
    place.symlink_to(other / place.relative_to(root))
    assert colours(root)[0] == GREEN


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_archive_replaced_by_one_equal_size_and_time_read_anew(tmp_path, pack):
    root = red_and_green(tmp_path / "pets")
    options = {"mode": "w"} if pack is tar_of else {}
    archive = pack(root, tmp_path / "pets.archive", **options)
    still(tmp_path)
    assert colours(archive) == [RED, GREEN]
    size = archive.stat().st_size
    swap(root / "train/cat", root / "train/dog", root / "spare")
    pack(root, archive, **options)
    still(tmp_path)
    assert archive.stat().st_size == size
    assert colours(archive) == [GREEN, RED]


def test_an_entry_of_an_older_version_is_not_taken(tmp_path, monkeypatch):
    source = str(image_folder(tmp_path / "pets"))
    monkeypatch.setattr(cache, "_VERSION", 1)
    load_data(source)
    monkeypatch.undo()
    monkeypatch.setenv("CIFARNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    with pytest.raises(TypeError):
        load_data(source)


def test_a_suffix_that_became_readable_is_decoded_anew(tmp_path, monkeypatch):
    root = fill(tmp_path / "pets", "train/cat", "train/dog", "test/cat", "test/dog")
    (root / "train/cat/1.png").rename(root / "train/cat/1.picture")
    assert load_data(str(root)).train.counts().tolist() == [1, 2]
    suffixes = IMAGE_SUFFIXES | {".picture"}
    for module in ("walk", "cache"):
        monkeypatch.setattr(f"cifarnet.data.{module}.image_suffixes", lambda: suffixes)
    assert load_data(str(root)).train.counts().tolist() == [2, 2]


def test_one_long_name_does_not_enlarge_the_others(tmp_path):
    root = image_folder(tmp_path / "pets", train=200)
    load_data(str(root))
    (entry,) = cache.decoded_dir().glob("*.npz")
    before = entry.stat().st_size
    picture = next(root.rglob("*.png"))
    picture.rename(picture.with_name("x" * 200 + ".png"))
    splits = load_data(str(root))
    assert entry.stat().st_size < before + 2_000
    assert_same(load_data(str(root)), splits)
    assert any("x" * 200 in name for name in (*(splits.train.names or ()), *(splits.test.names or ())))


def test_names_that_are_no_text_are_kept(tmp_path, monkeypatch):
    root = image_folder(tmp_path / "pets")
    picture = next((root / "train").rglob("*.png"))
    picture.rename(os.fsdecode(os.fsencode(picture.parent) + b"/\xff\xfe.png"))
    first = load_data(str(root))
    monkeypatch.setattr("cifarnet.data.folders.read_images", None)
    assert load_data(str(root)).train.names == first.train.names
