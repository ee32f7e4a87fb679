"""Find pictures in files, folders, glob patterns and standard input, and classify them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from glob import glob
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cifarnet.backend.devices import worker_count
from cifarnet.choices import CROPS, VIEWS
from cifarnet.data.dataset import LeftOut
from cifarnet.data.decoding import image_suffixes, upright_rgb
from cifarnet.data.images import fit_square, open_picture, read_file
from cifarnet.data.leftovers import Leftovers
from cifarnet.data.progress import Progress, silent
from cifarnet.data.walk import is_picture, is_system_name, passes_through_loop, walk
from cifarnet.errors import DataError, invalid, unknown_value
from cifarnet.evaluation.metrics import ranking, softmax
from cifarnet.fields import require_whole
from cifarnet.inference.classifier import Classifier
from cifarnet.inference.rejection import Rejection, required_rejection
from cifarnet.inference.tta import Averaged
from cifarnet.models.memory import images_within_limit

if TYPE_CHECKING:
    from PIL.Image import Image

# On two cores a picture takes 1.03 ms of processor time in batches of 128 or 250, and 1.08 ms in batches of 64. With
# smaller batches, the first results come sooner.
BATCH_SIZE = 128

# The sentences of messages begin with these names.
_DISPLAY_NAMES = {"-": "Standard input", "picture": "The picture"}

Keep = Callable[[int, "Image"], Any]
"""A function of the index of a picture and the decoded picture, for example one that makes a thumbnail."""


@dataclass(frozen=True)
class ImageSource:
    """A picture to read.

    Attributes:
        name: its name in the output.
        content: its file, its content, the error of finding it, an image of Pillow, or its levels as uint8
            (height, width, 3) or (height, width).
    """

    name: str
    content: "Path | bytes | DataError | Image | np.ndarray"

    @property
    def display_name(self) -> str:
        """The name of the picture in messages."""
        return _DISPLAY_NAMES.get(self.name, self.name)

    def open(self, size: int, *, to_show: bool = False) -> "AbstractContextManager[Image]":
        """Return a context with the picture, upright and in RGB; the arguments are those of ``open_picture``.

        Raises:
            DataError: when it can't be found, read or decoded.
        """
        content = self.content
        if isinstance(content, DataError):
            raise content
        if isinstance(content, Path):
            content = read_file(content, self.display_name)
        if isinstance(content, bytes):
            return open_picture(content, self.display_name, size, to_show=to_show)
        return nullcontext(upright_rgb(content, self.display_name))


@dataclass(frozen=True)
class Prediction:
    """The prediction for one picture, or the error of reading it.

    Attributes:
        image: the picture's name.
        predictions: pairs of a class and its probability, the likeliest first.
        error: why the picture could not be read; None if it could.
        rejected: whether the picture probably belongs to none of the classes; None if not requested.
        explanation: the file with the heat map that explains the prediction; None if not requested.
        kept: the result of the argument ``keep`` of ``predict``.
    """

    image: str
    predictions: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    rejected: bool | None = None
    explanation: str | None = None
    kept: Any = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str | None:
        """The likeliest class; None for a picture that could not be read."""
        return self.predictions[0][0] if self.predictions else None

    @property
    def probability(self) -> float | None:
        """The probability of the likeliest class; None for a picture that could not be read."""
        return self.predictions[0][1] if self.predictions else None

    def __str__(self) -> str:
        """Return a line such as ``cat.jpg: cat 99.1 %, dog 0.8 %``."""
        if self.error is not None:
            return self.error
        return (
            f"{self.image}: {', '.join(f'{name} {share:.1%}'.replace('%', ' %') for name, share in self.predictions)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON-ready data, one item of the list that ``cifarnet predict --json`` prints."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        pairs = [{"class": name, "probability": probability} for name, probability in self.predictions]
        optional = {"rejected": self.rejected, "explanation": self.explanation}
        present = {name: value for name, value in optional.items() if value is not None}
        return {"image": self.image, "predictions": pairs, **present}


def find_images(
    arguments: Iterable[str],
    read_stdin: Callable[[], bytes],
    report_left_out: Callable[[Sequence[LeftOut]], None] = lambda left_out: None,
) -> list[ImageSource]:
    """Return the pictures that the arguments of ``cifarnet predict`` name, in their order.

    Folders and patterns follow the rules of data sources (``cifarnet.data.walk``): hidden files and system files are
    skipped, and links are followed without loops. A file that is given by its name is always read. The content of a
    source is a ``DataError`` when its argument matches nothing.

    Args:
        arguments: each is a file, a folder (for all images in and below it, sorted), a glob pattern (in which ``**``
            crosses folders), or ``-`` for standard input.
        read_stdin: returns the content of standard input. It is called at most once.
        report_left_out: called with counts of the files in folders that are no images.
    """
    found: list[ImageSource] = []
    left_out = Leftovers()
    stdin: bytes | None = None
    for argument in arguments:
        if argument == "-":
            stdin = read_stdin() if stdin is None else stdin
            found.append(ImageSource("-", stdin))
        # Patterns come last, because names of files often have brackets.
        elif os.path.lexists(argument):
            found += _at(argument, left_out)
        elif matches := _matches(argument):
            found += [source for match in matches for source in _at(match, left_out)]
        else:
            error = DataError(
                f"{argument} is not a file or folder, and no file matches it as a pattern. Received: {argument}"
            )
            found.append(ImageSource(argument, error))
    report_left_out(left_out.summary())
    return found


def _matches(pattern: str) -> list[str]:
    """Return the sorted paths that match ``pattern``, without those below a folder that matches too."""
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
    """Return the picture at ``path``, or all pictures in and below it, with an error for each unreadable folder."""
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
        found.append(
            ImageSource(
                error.filename, DataError(f"{error.filename} can't be listed: {error.strerror}. Received: {path}")
            )
        )
    if not found:
        suffixes = ", ".join(sorted(image_suffixes()))
        found.append(ImageSource(path, DataError(f"{path} has no images ({suffixes}). Received: {path}")))
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
    """Classify ``sources``, and return an iterator over their predictions, in the same order.

    Each picture is read and decoded once. Threads read the next batch while the current one is classified, so memory
    holds at most two batches. The prediction for a picture that can't be read has an ``error``.

    Args:
        sources: the pictures.
        classifier: the classifier.
        top_k: number of classes in a prediction. By default 3, or all where there are fewer.
        crop: how pictures become square, one of ``CROPS``.
        tta: test-time augmentation, one of ``VIEWS``. ``"flip"`` averages over a picture and its mirror image,
            ``"shift"`` over views shifted by a pixel too (``cifarnet.inference.tta``), ``"views"`` over all crops and
            their mirror images.
        reject: whether to mark pictures that probably belong to none of the classes (``cifarnet.inference.rejection``).
            The logits and distances of several views are averaged before.
        batch_size: pictures per batch.
        keep: called with every decoded picture in the thread that decodes it. Its result becomes ``Prediction.kept``.
            Memory holds two batches of results.
        report: called with the progress after every batch.

    Raises:
        InvalidValueError: for an invalid ``top_k``, ``crop`` or ``tta``, or for ``reject`` when the weights have no
            rejection threshold.
    """
    top_k = resolve_top_k(top_k, classifier.weights.spec.classes)
    for name, value, known in (("crop", crop, CROPS), ("tta", tta, VIEWS)):
        if value not in known:
            raise unknown_value(name, value, known)
    crops = CROPS if tta == "views" else (crop,)
    per_crop = "flip" if tta == "views" else tta
    rejection = required_rejection(classifier.weights) if reject else None
    pictures = _Pictures(sources, classifier.weights.spec.image_size, crops, batch_size, keep)
    return _predictions(pictures, classifier, top_k, per_crop, rejection, report)


def resolve_top_k(top_k: int | None, classes: int) -> int:
    """Return the number of classes in a prediction: ``top_k``, or by default the smaller of 3 and ``classes``.

    Raises:
        InvalidValueError: when ``top_k`` is not a whole number between 1 and ``classes``.
    """
    if top_k is None:
        return min(3, classes)
    require_whole("top_k", top_k)
    if not 1 <= top_k <= classes:
        raise invalid("top_k", f"must be 1 to {classes}, the number of classes", top_k, valid=range(1, classes + 1))
    return top_k


class _Decoded(NamedTuple):
    """The views of a picture, uint8 (crops, size, size, 3), and the result of ``keep``."""

    views: np.ndarray
    kept: Any


@dataclass(frozen=True)
class _Pictures:
    """Reads pictures in batches, each picture as one or more ``crops`` of ``size`` x ``size`` pixels."""

    sources: Sequence[ImageSource]
    size: int
    crops: Sequence[str]
    batch_size: int
    keep: Keep | None

    def __iter__(self) -> Iterator[tuple[Sequence[ImageSource], list[_Decoded | DataError]]]:
        """Yield each batch of sources with its pictures, while threads read the next batch."""
        pool = ThreadPoolExecutor(worker_count())

        def submit(start: int) -> list[Future[_Decoded | DataError]]:
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

    def _read(self, index: int, source: ImageSource) -> _Decoded | DataError:
        try:
            with source.open(self.size, to_show=self.keep is not None) as picture:
                views = np.stack([fit_square(picture, self.size, crop) for crop in self.crops])
                return _Decoded(views, self.keep(index, picture) if self.keep else None)
        except DataError as error:
            return error


def _predictions(
    pictures: _Pictures,
    classifier: Classifier,
    top_k: int,
    per_crop: str,
    rejection: Rejection | None,
    report: Progress,
) -> Iterator[Prediction]:
    # A generator of its own, so that ``predict`` raises its errors when it is called, not when it is iterated.
    names, size, total = classifier.weights.class_names, pictures.size, len(pictures.sources)
    # All batches have the same shape, with blank rows for missing pictures, so that the network is compiled once.
    images = np.zeros((min(pictures.batch_size, total), len(pictures.crops), size, size, 3), np.uint8)
    done = 0
    for batch, contents in pictures:
        for row, content in enumerate(contents):
            images[row] = 0 if isinstance(content, DataError) else content.views
        logits = np.zeros((len(batch), classifier.weights.spec.classes), np.float32)
        distances: np.ndarray | None = np.zeros(len(batch), np.float32)
        # The backend does not start until a picture can be read.
        if not all(isinstance(content, DataError) for content in contents):
            views = images.reshape(-1, size, size, 3)
            batch_size = images_within_limit(classifier.weights.spec, len(views))
            averaged = classifier.averaged_logits(
                views,
                tta=per_crop,
                distances=rejection is not None and rejection.by_distance,
                batch_size=batch_size,
                compiled=total > len(images),
            )
            logits, distances = _over_crops(averaged, len(pictures.crops), len(batch))
        probabilities = softmax(classifier.weights.calibrated(logits))
        tops = ranking(probabilities, top_k)
        rejected = [None] * len(batch) if rejection is None else rejection.rejected(logits, distances).tolist()
        for source, content, strange, row, top in zip(batch, contents, rejected, probabilities, tops, strict=True):
            if isinstance(content, DataError):
                yield Prediction(source.name, error=str(content))
            else:
                pairs = tuple((names[label], float(row[label])) for label in top)
                yield Prediction(source.name, pairs, rejected=strange, kept=content.kept)
        done += len(batch)
        report("Classifying images", done, total)


def _over_crops(averaged: Averaged, crops: int, pictures: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the mean logits and distances over the ``crops`` of each picture, for the first ``pictures``."""
    logits, distances = averaged.logits, averaged.distances
    mean = logits.reshape(-1, crops, logits.shape[1]).mean(axis=1)[:pictures]
    return mean, None if distances is None else distances.reshape(-1, crops).mean(axis=1)[:pictures]
