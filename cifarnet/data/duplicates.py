"""Find test images that are nearly the same as a training image.

The search approximates ciFAIR (Barz and Denzler 2020, "Do we train on test data? Purging CIFAR of near-duplicates",
arXiv:1902.00423). Its authors looked at the nearest pairs of a network's features, and judged them by hand.

Here two correlations of pixels decide. Candidates are the training images with the highest correlation of coarse
colours (8x8 pixels) with a test image or its mirror image. Of a candidate, the details are correlated too: the pixels
blurred by 0.5 pixels minus those blurred by 1.5 pixels, at the best of all shifts of up to 4 pixels. Photos of the same
kind of thing agree in their colours, and only pictures of one photo agree in their details as well.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cifarnet.data.filters import blur_matrix, box_matrix, filtered
from cifarnet.data.progress import Progress, silent
from cifarnet.errors import NoHomeError, StorageError
from cifarnet.files import replacing
from cifarnet.paths import duplicates_dir

THRESHOLD = 0.80
"""The least similarity of near-duplicates."""

_LOGGER = logging.getLogger(__name__)
# Part of every key of the cache. Increase it when the search changes, so that older results are not used.
_VERSION = 1

_COARSE, _FINE = 8, 32
_CANDIDATES = 20
# The least correlation of the coarse colours of candidates. One in two hundred near-duplicates has less.
_ALIKE = 0.75
_REACH = 4
_CHUNK, _BLOCK = 500, 128


@dataclass(frozen=True)
class Nearest:
    """The most similar training image of each test image.

    Attributes:
        similarity: float32 (n,): the mean of the two correlations, 1 for equal images; 0 where it is surely below
            ``THRESHOLD``.
        rows: the index of the training image, int32 (n,).
        mirrored: whether it is similar to the mirror image, bool (n,).
    """

    similarity: np.ndarray
    rows: np.ndarray
    mirrored: np.ndarray

    @property
    def near_duplicates(self) -> np.ndarray:
        """Whether each test image has a near-duplicate among the training images, bool (n,)."""
        return self.similarity >= THRESHOLD


def nearest_training_images(test: np.ndarray, train: np.ndarray, report: Progress = silent) -> Nearest:
    """Return the training image that is most similar to each test image, from the cache or by a search.

    Images of another size are reduced or enlarged to 32x32 pixels. A search among the images of CIFAR-10 takes 20 s
    on a CPU core.

    Args:
        test: uint8 (n, size, size, 3).
        train: uint8 (m, size, size, 3), at least one.
        report: called with the progress.
    """
    key = _key(test, train)
    if (found := _stored(key, len(test), len(train))) is not None:
        return found
    found = _search(test, train, report)
    _store(key, found)
    return found


def _search(test: np.ndarray, train: np.ndarray, report: Progress) -> Nearest:
    coarse = np.zeros((-(-len(train) // _BLOCK) * _BLOCK, 3 * _COARSE**2), np.float32)
    for rows in _chunks(len(train)):
        coarse[rows] = _coarse(train[rows])
    similarity, nearest = np.zeros(len(test), np.float32), np.zeros(len(test), np.int32)
    mirrored = np.zeros(len(test), bool)
    for rows in _chunks(len(test)):
        report("Comparing with the training images", rows.start, len(test))
        for mirror in (False, True):
            images = test[rows, :, ::-1] if mirror else test[rows]
            chunk, candidates, colours = _candidates(_coarse(images), coarse)
            likeness = (colours + _detail_correlation(images[chunk], train[candidates])) / 2
            # In ascending order, so that the greatest is assigned last.
            order = np.argsort(likeness, kind="stable")
            best, best_rows = np.zeros(len(images), np.float32), np.zeros(len(images), np.int32)
            best[chunk[order]], best_rows[chunk[order]] = likeness[order], candidates[order]
            higher = best > similarity[rows]
            similarity[rows] = np.where(higher, best, similarity[rows])
            nearest[rows] = np.where(higher, best_rows, nearest[rows])
            mirrored[rows] = np.where(higher, mirror, mirrored[rows])
    report("Comparing with the training images", len(test), len(test))
    return Nearest(similarity, nearest, mirrored)


def _candidates(images: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs that may be near-duplicates: rows of ``images``, rows of ``train``, and their correlations.

    ``train`` has a multiple of ``_BLOCK`` rows.
    """
    correlations = (images @ train.T).reshape(len(images), -1, _BLOCK)
    # The highest correlations are in the blocks with the highest maxima. Partitioning whole rows takes three times as
    # long as computing them.
    blocks = _highest(correlations.max(axis=2))
    inside = np.take_along_axis(correlations, blocks[:, :, None], 1).reshape(len(images), -1)
    highest = _highest(inside)
    rows = np.take_along_axis(blocks, highest // _BLOCK, 1) * _BLOCK + highest % _BLOCK
    found = np.take_along_axis(inside, highest, 1)
    chunk, places = np.nonzero(found >= _ALIKE)
    return chunk, rows[chunk, places], found[chunk, places]


def _highest(values: np.ndarray) -> np.ndarray:
    """Return the columns of the ``_CANDIDATES`` highest values of each row, in any order."""
    count = min(_CANDIDATES, values.shape[1])
    return np.argpartition(values, -count, axis=1)[:, -count:]


def _coarse(images: np.ndarray) -> np.ndarray:
    """Return mean colours of 8x8 squares, float32 (n, 192), with a mean of 0 and a norm of 1."""
    small = filtered(images.astype(np.float32), box_matrix(images.shape[1], _COARSE)).reshape(len(images), -1)
    return _normalized(small - small.mean(axis=1, keepdims=True))


def _detail_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of the details of pairs of images at the best shift, float32 (n,)."""
    found = np.zeros(len(first), np.float32)
    padded = 2 * (_FINE + 2 * _REACH,)
    around = np.arange(-_REACH, _REACH + 1)
    for rows in _chunks(len(first)):
        spectra = [np.fft.rfft2(_details(each[rows]), padded) for each in (first, second)]
        shifted = np.fft.irfft2(spectra[0] * spectra[1].conj(), padded)
        found[rows] = shifted[:, around[:, None], around].max(axis=(1, 2))
    return found


def _details(images: np.ndarray) -> np.ndarray:
    """Return the details of grey images, float32 (n, 32, 32), with a mean of 0 and a norm of 1, faded at the edges."""
    grey = images.astype(np.float32) @ np.full((3, 1), 1 / 3, np.float32)
    fit = box_matrix(images.shape[1], _FINE)
    fine, blurred = (filtered(grey, blur_matrix(_FINE, sigma) @ fit)[..., 0] for sigma in (0.5, 1.5))
    # The square root of a Hann window: edges count less, because a shift moves others into the image.
    window = np.sqrt(np.hanning(_FINE + 2)[1:-1]).astype(np.float32)
    fade = window[:, None] * window
    details = fine - blurred
    details = (details - (details * fade).sum(axis=(1, 2), keepdims=True) / fade.sum()) * fade
    return _normalized(details.reshape(len(images), -1)).reshape(details.shape)


def _normalized(rows: np.ndarray) -> np.ndarray:
    """Return ``rows`` with a norm of 1. Rows of one colour stay 0: they are similar to no image."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # Below a thousandth of a level per value there are only rounding errors.
    return np.where(norms > 1e-3 * np.sqrt(rows.shape[1]), rows / np.maximum(norms, 1e-6), 0).astype(np.float32)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


def _key(test: np.ndarray, train: np.ndarray) -> str:
    digest = hashlib.sha256(f"{_VERSION} {THRESHOLD} {test.shape} {train.shape}\n".encode())
    for images in (test, train):
        for rows in _chunks(len(images)):
            digest.update(np.ascontiguousarray(images[rows]).data)
    return digest.hexdigest()[:32]


def _stored(key: str, images: int, training_images: int) -> Nearest | None:
    """Return the result in the cache; None if there is none or it is damaged."""
    try:
        path = duplicates_dir() / f"{key}.npz"
        if not path.is_file():
            return None
        # Opened here, because np.load does not close a file that is not a zip.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = Nearest(stored["similarity"], stored["rows"], stored["mirrored"])
        dtypes = [part.dtype for part in (found.similarity, found.rows, found.mirrored)]
        shapes = {part.shape for part in (found.similarity, found.rows, found.mirrored)}
        if dtypes != [np.float32, np.int32, np.bool_] or shapes != {(images,)}:
            raise ValueError(f"it holds {dtypes} of {shapes}")
        if images and not 0 <= found.rows.min() <= found.rows.max() < training_images:
            raise ValueError("its rows are none of the training images")
        return found
    except NoHomeError:
        return None
    except Exception as error:  # Flipped bits raise many types, from OSError to tokenize.TokenError.
        _LOGGER.warning("%s is damaged (%s): the images are compared again.", path, error)
        return None


def _store(key: str, found: Nearest) -> None:
    """Store a result in the cache. A cache that can't be written is logged, not an error."""
    try:
        with replacing(duplicates_dir() / f"{key}.npz") as temporary:
            np.savez(temporary, similarity=found.similarity, rows=found.rows, mirrored=found.mirrored)
    except (StorageError, NoHomeError) as error:
        _LOGGER.warning("The near-duplicates are not cached: %s", error)
