import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cifarnet.choices import CROPS, DISTANCE
from cifarnet.data.images import read_image
from cifarnet.errors import DataError, InvalidValueError
from cifarnet.evaluation.metrics import softmax
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.predict import ImageSource, find_images, predict, resolve_top_k
from cifarnet.inference.rejection import Rejection
from cifarnet.weights.formats import load_weights
from tests.support.networks import SIZE, save_picture, save_tiny_weights
from tests.support.weights import with_random_statistics


def no_stdin():
    raise AssertionError("standard input must not be read")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three pictures and a text, as relative paths below the working directory."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("photos/b.png", "photos/a/z.JPG", "photos/c.webp")):
        save_picture(tmp_path / name, seed)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")


def names(sources):
    return [source.name.replace(os.sep, "/") for source in sources]


@pytest.mark.usefixtures("photos")
def test_a_folder_stands_for_the_images_in_and_below_it_sorted():
    assert names(find_images(["photos"], no_stdin)) == ["photos/a/z.JPG", "photos/b.png", "photos/c.webp"]


@pytest.mark.usefixtures("photos")
def test_file_is_taken_whatever_suffix_and_arguments_keep_order():
    arguments = ["photos/notes.txt", "photos/b.png", "photos/b.png"]
    assert names(find_images(arguments, no_stdin)) == arguments


@pytest.mark.usefixtures("photos")
def test_pattern_gives_sorted_matches_two_stars_cross_folders():
    assert names(find_images(["photos/*.[pw]*"], no_stdin)) == ["photos/b.png", "photos/c.webp"]
    assert names(find_images(["**/*.JPG"], no_stdin)) == ["photos/a/z.JPG"]


@pytest.mark.usefixtures("photos")
def test_brackets_in_the_name_of_an_existing_file_are_no_pattern(tmp_path):
    save_picture(tmp_path / "photos" / "[b].png", 9)
    assert names(find_images(["photos/[b].png"], no_stdin)) == ["photos/[b].png"]


def test_standard_input_is_read_once_however_often_it_is_named():
    contents = iter([b"first"])
    sources = find_images(["-", "-"], lambda: next(contents))
    assert [source.content for source in sources] == [b"first", b"first"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("missing.png", "missing.png is not a file or folder"),
        ("missing*.png", "no file matches it as a pattern"),
        ("empty", "empty has no images (.bmp, .gif"),
    ],
)
def test_an_argument_stands_for_nothing_is_an_error_in_its_place(tmp_path, argument, message):
    (tmp_path / "empty").mkdir()
    before, bad, after = find_images(["photos/b.png", argument, "photos/c.webp"], no_stdin)
    assert names([before, bad, after]) == ["photos/b.png", argument, "photos/c.webp"]
    assert message in str(bad.content)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="no folder is closed to this user")
@pytest.mark.usefixtures("photos")
def test_a_folder_that_can_not_be_listed_is_an_error(tmp_path):
    closed = tmp_path / "photos" / "a"
    closed.chmod(0)
    try:
        sources = find_images(["photos"], no_stdin)
    finally:
        closed.chmod(0o755)
    assert names(sources) == ["photos/b.png", "photos/c.webp", "photos/a"]
    assert "can't be listed" in str(sources[-1].content)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier(load_weights(save_tiny_weights(tmp_path_factory.mktemp("w") / "w.h5", ("ant", "bee", "cow"))))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Five pictures, of which the third is damaged."""
    folder = tmp_path_factory.mktemp("five")
    files = [save_picture(folder / f"{k}.png", k) for k in range(5)]
    files[2].write_bytes(files[2].read_bytes()[:80])
    return [ImageSource(file.name, file) for file in files]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_a_damaged_image_is_reported_while_others_are_answered(classifier, sources, batch_size):
    answers = list(predict(sources, classifier, batch_size=batch_size))
    assert [answer.image for answer in answers] == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert [answer.image for answer in answers if answer.error] == ["2.png"]
    assert "2.png" in answers[2].error
    assert answers[2].predictions == ()
    for k in (0, 1, 3, 4):
        odds = np.exp(classifier.logits(read_image(sources[k].content, SIZE)[None])[0].astype(float))
        expected = sorted(zip(odds / odds.sum(), ("ant", "bee", "cow"), strict=True), reverse=True)
        assert [name for name, _ in answers[k].predictions] == [name for _, name in expected]
        assert [share for _, share in answers[k].predictions] == pytest.approx([x for x, _ in expected], rel=1e-4)


def test_only_two_batches_are_read_ahead(classifier, sources):
    class Watched(list):
        furthest = 0

        def __getitem__(self, rows):
            self.furthest = max(self.furthest, rows.stop)
            return super().__getitem__(rows)

    watched = Watched(sources[:2] * 10)
    answers = predict(watched, classifier, batch_size=3)
    next(answers)
    assert watched.furthest == 6
    assert len(list(answers)) == 19


def test_progress_tells_how_many_of_how_many(classifier, sources):
    progress = []
    list(predict(sources, classifier, batch_size=2, report=lambda *news: progress.append(news)))
    assert progress == [("Classifying images", done, 5) for done in (2, 4, 5)]


def test_no_sources_have_no_answers(classifier):
    assert list(predict([], classifier)) == []


def test_source_without_pictures_is_answered_with_its_error(classifier):
    (answer,) = predict([ImageSource("gone", DataError("gone is gone"))], classifier)
    assert answer.to_dict() == {"image": "gone", "error": "gone is gone"}


def test_what_standard_input_lacks_is_said_of_standard_input(classifier):
    (answer,) = predict([ImageSource("-", b"")], classifier)
    assert answer.to_dict() == {"image": "-", "error": "Standard input is empty."}


def test_top_k_is_3_or_all_of_fewer_classes_by_default():
    assert (resolve_top_k(None, 10), resolve_top_k(None, 2), resolve_top_k(10, 10)) == (3, 2, 10)


@pytest.mark.parametrize("top_k", ["3", 2.5, True, np.float32(1)])
def test_a_top_k_that_is_no_whole_number_is_refused(top_k):
    with pytest.raises(InvalidValueError, match="`top_k` must be a whole number"):
        resolve_top_k(top_k, 10)


@pytest.mark.parametrize("top_k", [0, 4])
def test_a_top_k_that_the_weights_cannot_name_is_refused_at_once(classifier, top_k):
    with pytest.raises(InvalidValueError, match=f"must be 1 to 3, .* Received: {top_k}"):
        predict([], classifier, top_k=top_k)


def test_views_are_the_mean_of_all_crops_and_their_mirror_images(classifier, tmp_path):
    wide = np.random.default_rng(3).integers(0, 256, (SIZE, 3 * SIZE, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (answer,) = predict([ImageSource("wide", tmp_path / "wide.png")], classifier, tta="views")
    views = np.stack([read_image(tmp_path / "wide.png", SIZE, crop=crop) for crop in CROPS])
    logits = classifier.logits(np.concatenate([views, views[:, :, ::-1]])).mean(axis=0)
    expected = softmax(logits[None])[0]
    assert dict(answer.predictions) == pytest.approx(dict(zip(("ant", "bee", "cow"), expected, strict=True)), rel=1e-4)


@pytest.mark.parametrize("option", ["crop", "tta"])
def test_an_unknown_way_to_look_is_refused_at_once(classifier, option):
    with pytest.raises(InvalidValueError, match=rf"`{option}` must be .* or .*Received: sideways"):
        predict([], classifier, **{option: "sideways"})


def test_reject_marks_pictures_with_small_logits(classifier, sources):
    largest = [classifier.logits(read_image(sources[k].content, SIZE)[None]).max() for k in (0, 1, 3, 4)]
    weights = replace(classifier.weights, reject_below=float(np.median(largest)))
    classifier = Classifier(weights)
    asked = [answer.rejected for answer in predict(sources, classifier, reject=True) if not answer.error]
    assert asked == [bool(x < np.median(largest)) for x in largest]
    assert {answer.rejected for answer in predict(sources, classifier)} == {None}
    assert next(predict(sources, classifier, reject=True)).to_dict()["rejected"] == asked[0]


@pytest.mark.parametrize(("tta", "crops"), [("none", ["center"]), ("flip", ["center"]), ("views", CROPS)])
def test_reject_marks_pictures_far_from_the_training_images(classifier, sources, tta, crops):
    # By their logits all pictures would be rejected.
    weights = replace(with_random_statistics(classifier.weights), reject_below=1e9)

    def distance(views):
        return Classifier(weights).averaged_logits(views, tta="none", distances=True).distances.mean()

    wanted = []
    for k in (0, 1, 3, 4):
        views = np.stack([read_image(sources[k].content, SIZE, crop=crop) for crop in crops])
        mirrored = [] if tta == "none" else [views[:, :, ::-1]]
        wanted.append(distance(np.concatenate([views, *mirrored])))
    beyond = float(np.median(wanted))
    rejecting = Classifier(replace(weights, reject_beyond=beyond))
    found = [each.rejected for each in predict(sources, rejecting, reject=True, tta=tta) if not each.error]
    assert found == [bool(each > beyond) for each in wanted]
    assert sorted(found) == [False, False, True, True]


def test_distances_that_are_no_numbers_are_rejected():
    rejection = Rejection(DISTANCE, 3.0)
    found = rejection.rejected(np.zeros((4, 2)), np.array([2.9, 3.0, 3.1, np.nan]))
    assert found.tolist() == [False, False, True, True]


def test_rejecting_needs_weights_that_know_what_to_reject(classifier, sources):
    with pytest.raises(InvalidValueError, match="`validation_split`"):
        predict(sources, classifier, reject=True)


def test_probabilities_are_those_of_the_weights_temperature(classifier, sources):
    cool = Classifier(replace(classifier.weights, temperature=0.5))
    (before,), (after,) = (list(predict(sources[:1], each)) for each in (classifier, cool))
    odds = np.array([share for _, share in before.predictions]) ** 2
    assert [name for name, _ in after.predictions] == [name for name, _ in before.predictions]
    assert [share for _, share in after.predictions] == pytest.approx(odds / odds.sum(), rel=1e-4)


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A folder with a picture of each kind that is read or left out."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "a/@eaDir/1.png/thumb.png", "#recycle/2.png", "a/.hidden.png", ".Trashes/3.png", "b/4.jpg"):
        save_picture(tmp_path / "mixed" / name, 0)
    for name in ("a/._1.png", "Thumbs.db", "a/notes.txt", "a/5.HEIC", "a/6.HEIC"):
        (tmp_path / "mixed" / name).touch()
    save_picture(tmp_path / "elsewhere/7.png", 0)
    (tmp_path / "mixed/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mixed/b/up").symlink_to("..")
    (tmp_path / "mixed/b/gone").symlink_to("nowhere")
    (tmp_path / "mixed/b/gone.png").symlink_to("nowhere")


MIXED = ["mixed/a/1.png", "mixed/b/4.jpg", "mixed/b/gone.png", "mixed/linked/7.png"]


@pytest.mark.usefixtures("mixed", "without_pillow_heif")
@pytest.mark.parametrize("argument", ["mixed", "mixed/", "./mixed"])
def test_a_folder_follows_the_rules_of_data_sources(argument):
    left_out = []
    found = find_images([argument], no_stdin, left_out.extend)
    assert [name.removeprefix("./") for name in names(found)] == MIXED
    assert {files.reason: files.count for files in left_out} == {
        "links to a parent folder": 1,
        "broken links": 1,
        ".heic files: install pillow-heif to read them": 2,
        ".txt files": 1,
    }


@pytest.mark.usefixtures("mixed", "without_pillow_heif")
@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("mixed/**", MIXED),
        ("mixed/*", MIXED),
        ("mixed/**/*.png", ["mixed/a/1.png", "mixed/b/gone.png", "mixed/linked/7.png"]),
        ("*/*/[0-9].*g", ["mixed/a/1.png", "mixed/b/4.jpg", "mixed/linked/7.png"]),
        ("mixed/b/up/*/*.jpg", ["mixed/b/up/b/4.jpg"]),
        ("mixed/a/@eaDir/*/*.png", ["mixed/a/@eaDir/1.png/thumb.png"]),
    ],
)
def test_patterns_follow_the_rules_of_data_sources(pattern, matches):
    found = find_images([pattern], no_stdin)
    assert [name for name, source in zip(names(found), found, strict=True) if source.name != pattern] == matches


@pytest.mark.usefixtures("mixed", "without_pillow_heif")
def test_a_file_that_is_named_is_tried_even_when_it_is_hidden():
    arguments = ["mixed/a/._1.png", "mixed/a/5.HEIC", "mixed/a/@eaDir/1.png/thumb.png"]
    assert names(find_images(arguments, no_stdin)) == arguments
    assert names(find_images(["mixed/a/@eaDir"], no_stdin)) == ["mixed/a/@eaDir/1.png/thumb.png"]
