"""Classify pictures: files, the images of folders, glob patterns and standard input."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from glob import glob
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cifarnet.backend.devices import usable_cores
from cifarnet.choices import CROPS, VIEWS
from cifarnet.data.dataset import LeftOut
from cifarnet.data.decoding import image_suffixes
from cifarnet.data.images import fit_square, open_picture, read_file
from cifarnet.data.leftovers import Leftovers
from cifarnet.data.progress import Progress, silent
from cifarnet.data.walk import is_picture, is_system_name, passes_through_loop, walk
from cifarnet.errors import DataError, InvalidValueError, invalid, unknown_value
from cifarnet.evaluation.metrics import ranking, softmax
from cifarnet.inference.classifier import Classifier
from cifarnet.weights.record import Weights

if TYPE_CHECKING:
    from PIL.Image import Image

# On two cores a picture costs 1.03 ms of processor time in batches of 128 and of 250, 1.08 ms in batches of 64; smaller
# batches are answered sooner.
BATCH_SIZE = 128

Keep = Callable[[int, "Image"], Any]
"""A function of the index of a source and its decoded picture, for example one that makes a thumbnail."""


@dataclass(frozen=True)
class ImageSource:
    """A picture still to be read: its name for the user and its file, its content, or why there is neither."""

    name: str
    content: Path | bytes | DataError

    @property
    def told(self) -> str:
        """What messages call it."""
        return "Standard input" if self.name == "-" else self.name

    def read(self) -> bytes:
        """Its content.

        Raises:
            DataError: when there is none.
        """
        if isinstance(self.content, DataError):
            raise self.content
        return self.content if isinstance(self.content, bytes) else read_file(self.content, self.told)


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: (class, probability) pairs, likeliest first, or else an ``error``.

    ``rejected`` tells whether it is probably of none of the classes, ``explanation`` names the file that shows what the
    answer rests on; None where that was not asked. ``kept`` is the result of the ``keep`` of ``predict``.
    """

    image: str
    predictions: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    rejected: bool | None = None
    explanation: str | None = None
    kept: Any = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON-ready data: one item of what ``cifarnet predict --json`` prints."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        pairs = [{"class": name, "probability": probability} for name, probability in self.predictions]
        asked = {"rejected": self.rejected, "explanation": self.explanation}
        given = {name: value for name, value in asked.items() if value is not None}
        return {"image": self.image, "predictions": pairs, **given}


def find_images(
    arguments: Iterable[str],
    read_stdin: Callable[[], bytes],
    report_left_out: Callable[[Sequence[LeftOut]], None] = lambda left_out: None,
) -> list[ImageSource]:
    """Find the pictures that the ``arguments`` of ``cifarnet predict`` stand for, in their order.

    An argument is a file, a folder (all images in and below it, sorted), a glob pattern (``**`` crosses folders), or
    ``-``: the picture that ``read_stdin`` gives, which is called at most once. One that stands for nothing becomes a
    source whose content is a DataError. Folders and patterns follow the rules of data sources (``walk``): hidden and
    system files are skipped, links are followed without loops. A file given by its name is always tried.
    ``report_left_out`` is called with the counts of the other files in the folders.
    """
    found: list[ImageSource] = []
    left_out = Leftovers()
    stdin: bytes | None = None
    for argument in arguments:
        if argument == "-":
            stdin = read_stdin() if stdin is None else stdin
            found.append(ImageSource("-", stdin))
        # A pattern comes last: brackets are common in the names of files that do exist.
        elif os.path.lexists(argument):
            found += _at(argument, left_out)
        elif matches := _matches(argument):
            found += [source for match in matches for source in _at(match, left_out)]
        else:
            error = DataError(f"{argument} is no file or folder, and as a pattern it matches none.")
            found.append(ImageSource(argument, error))
    report_left_out(left_out.summary())
    return found


def _matches(pattern: str) -> list[str]:
    """Return the sorted paths that ``pattern`` matches, without those below a folder that it matches too."""
    fixed = list(takewhile(lambda part: not set("*?[") & set(part), Path(pattern).parts))
    root = os.path.join(*fixed) if fixed else os.curdir
    folders: set[Path] = set()
    found = []
    for match in sorted(glob(pattern, recursive=True)):
        path = Path(match)
        typed = Path(pattern).parts
        is_system = any(is_system_name(part) and part not in typed for part in path.parts[len(fixed) :])
        if is_system or not folders.isdisjoint(path.parents) or passes_through_loop(match, root):
            continue
        found.append(match)
        if path.is_dir():
            folders.add(path)
    return found


def _at(path: str, left_out: Leftovers) -> list[ImageSource]:
    """The picture at ``path``, or those in and below it; folders that can't be listed are sources with an error."""
    if not os.path.isdir(path):
        return [ImageSource(path, Path(path))]
    unlisted: list[OSError] = []
    names = []
    for entry in walk(path, unlisted.append):
        if entry.left_out:
            left_out.add(entry.left_out, entry.path)
        elif not entry.is_folder and is_picture(entry.path):
            names.append(entry.path)
        elif not entry.is_folder:
            left_out.add_kind(entry.path)
    found = [ImageSource(name, Path(name)) for name in sorted(names)]
    for error in unlisted:
        found.append(ImageSource(error.filename, DataError(f"{error.filename} can't be listed: {error.strerror}.")))
    if not found:
        found.append(ImageSource(path, DataError(f"{path} has no images ({', '.join(sorted(image_suffixes()))}).")))
    return found


def predict(
    sources: Sequence[ImageSource],
    classifier: Classifier,
    *,
    top_k: int | None = None,
    crop: str = "center",
    tta: str = "none",
    reject: bool = False,
    batch_size: int = BATCH_SIZE,
    keep: Keep | None = None,
    report: Progress = silent,
) -> Iterator[Prediction]:
    """Classify ``sources``: one ``Prediction`` each, in their order, given out batch by batch.

    ``crop``, one of ``CROPS``, makes pictures square; ``tta`` is one of ``VIEWS``, of which ``"views"`` makes them so
    in every way; ``reject`` says which pictures are probably of none of the classes. Threads read the next batch while
    this one is classified, so at most two batches are held, whatever the number of pictures. A picture that can't be
    read is answered with its error.

    Each picture is read and decoded once. ``keep`` is called with it in the thread that decodes it, and its result is
    the ``kept`` of the prediction. Two batches of these results are held too, so choose ``batch_size`` by their size.

    Raises:
        InvalidValueError: when ``top_k`` (see ``resolve_top_k``), ``crop`` or ``tta`` can't be meant, or the weights
            don't know what to ``reject``.
    """
    top_k = resolve_top_k(top_k, classifier.weights.spec.classes)
    for name, value, known in (("crop", crop, CROPS), ("tta", tta, VIEWS)):
        if value not in known:
            raise unknown_value(name, value, known)
    crops = CROPS if tta == "views" else (crop,)
    mirror = "none" if tta == "none" else "flip"
    threshold = required_threshold(classifier.weights) if reject else None
    pictures = _Pictures(sources, classifier.weights.spec.image_size, crops, batch_size, keep)
    return _predictions(pictures, classifier, top_k, mirror, threshold, report)


def required_threshold(weights: Weights) -> float:
    """The largest logit below which a picture is probably of none of the classes.

    Raises:
        InvalidValueError: when the weights have none.
    """
    if weights.reject_below is None:
        raise InvalidValueError(
            "`reject` needs weights that know how large their logits are on pictures of their classes: those of a run"
            " with `validation_split`, or of data with a folder val/. These don't.",
            field="reject",
        )
    return weights.reject_below


def resolve_top_k(top_k: int | None, classes: int) -> int:
    """How many classes to name: ``top_k`` or, without it, 3, or all ``classes`` where there are fewer.

    Raises:
        InvalidValueError: when ``top_k`` is not between 1 and ``classes``.
    """
    if top_k is None:
        return min(3, classes)
    if not 1 <= top_k <= classes:
        raise invalid("top_k", f"must be 1 to {classes}, the number of classes", top_k, valid=range(1, classes + 1))
    return top_k


class _Seen(NamedTuple):
    """The views of a picture, uint8 (crops, size, size, 3), and what ``keep`` made of it."""

    views: np.ndarray
    kept: Any


@dataclass(frozen=True)
class _Pictures:
    """The pictures of ``sources`` as ``crops`` of ``size`` pixels a side; iterating reads them in batches."""

    sources: Sequence[ImageSource]
    size: int
    crops: Sequence[str]
    batch_size: int
    keep: Keep | None

    def __iter__(self) -> Iterator[tuple[Sequence[ImageSource], list[_Seen | DataError]]]:
        """Yield batches of sources with their pictures; threads read the next batch meanwhile."""
        pool = ThreadPoolExecutor(usable_cores())

        def submit(start: int) -> list[Future[_Seen | DataError]]:
            batch = self.sources[start : start + self.batch_size]
            return [pool.submit(self._read, index, source) for index, source in enumerate(batch, start)]

        try:
            pending = submit(0)
            for start in range(0, len(self.sources), self.batch_size):
                contents = [future.result() for future in pending]
                pending = submit(start + self.batch_size)
                yield self.sources[start : start + self.batch_size], contents
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, index: int, source: ImageSource) -> _Seen | DataError:
        try:
            with open_picture(source.read(), source.told, self.size, to_show=self.keep is not None) as picture:
                views = np.stack([fit_square(picture, self.size, crop) for crop in self.crops])
                return _Seen(views, self.keep(index, picture) if self.keep else None)
        except DataError as error:
            return error


def _predictions(
    pictures: _Pictures,
    classifier: Classifier,
    top_k: int,
    mirror: str,
    threshold: float | None,
    report: Progress,
) -> Iterator[Prediction]:
    # Not in ``predict`` itself: a generator would raise its InvalidValueError only when it is iterated.
    names, size, total = classifier.weights.class_names, pictures.size, len(pictures.sources)
    # Every batch has as many rows, blank where a picture is missing: one shape is one compilation.
    images = np.zeros((min(pictures.batch_size, total), len(pictures.crops), size, size, 3), np.uint8)
    done = 0
    for batch, contents in pictures:
        for row, content in enumerate(contents):
            images[row] = 0 if isinstance(content, DataError) else content.views
        logits = np.zeros((len(batch), classifier.weights.spec.classes), np.float32)
        # Without a readable picture the backend is not needed.
        if not all(isinstance(content, DataError) for content in contents):
            views = images.reshape(-1, size, size, 3)
            answers = classifier.logits(views, tta=mirror, batch_size=len(views), compiled=total > len(images))
            logits = answers.reshape(len(images), len(pictures.crops), -1).mean(axis=1)[: len(batch)]
        probabilities = softmax(classifier.weights.calibrated(logits))
        tops = ranking(probabilities, top_k)
        for source, content, largest, row, top in zip(
            batch, contents, logits.max(axis=1), probabilities, tops, strict=True
        ):
            if isinstance(content, DataError):
                yield Prediction(source.name, error=str(content))
            else:
                pairs = tuple((names[label], float(row[label])) for label in top)
                rejected = None if threshold is None else bool(largest < threshold)
                yield Prediction(source.name, pairs, rejected=rejected, kept=content.kept)
        done += len(batch)
        report("Classifying images", done, total)
