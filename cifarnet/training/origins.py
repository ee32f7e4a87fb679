"""The initial weights and the teachers of a run.

Both may have been trained on images that the run holds out, and both may have changed when the run is resumed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from cifarnet import places
from cifarnet.data.dataset import Splits
from cifarnet.errors import InvalidValueError, RunError, WeightsError
from cifarnet.evaluation.source import Load, is_training_data, required_split
from cifarnet.events import EventHandler, Warned
from cifarnet.fields import IMAGE_SIZES
from cifarnet.models.spec import ModelSpec
from cifarnet.runs.config import RunConfig, RunInputs
from cifarnet.runs.provenance import TrainedOn
from cifarnet.shell import command_line
from cifarnet.training.run_data import RunData
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.record import Weights

LoadAtSize = Callable[[str, float | None, int], Splits]
"""A function of the name of a data source, a ``test_split`` and an image size in pixels, which reads the source."""


_TEACHER_REMEDY = "Give the current path of its weights with `teacher`, or start a new run."


@dataclass(frozen=True)
class Origins:
    """The weights that a run starts from, None for none, and those of its teachers."""

    base: Weights | None = None
    teachers: tuple[Weights, ...] = ()

    @classmethod
    def load(cls, inputs: RunInputs) -> Self:
        """Read the initial weights and the teachers of a run.

        Raises:
            WeightsError: when they are missing or can't be read.
        """
        teachers = zip(inputs.teacher, inputs.teacher_path, strict=True)
        return cls(load_base(inputs), tuple(_load(name, path) for name, path in teachers))

    def by_place(self, inputs: RunInputs) -> dict[Path, Weights]:
        """Return the initial weights and the teachers by their paths or names."""
        used = [*zip(inputs.teacher_places, self.teachers, strict=True)]
        if self.base and inputs.weights_place:
            used.insert(0, (inputs.weights_place, self.base))
        return {Path(place): weights for place, weights in used}


def load_base(inputs: RunInputs) -> Weights | None:
    """Read the initial weights of a run; None if it has none.

    Raises:
        WeightsError: when they are missing or can't be read.
    """
    return None if inputs.weights is None else _load(inputs.weights, inputs.weights_path)


def _load(name: str, path: str | None) -> Weights:
    return load_weights(catalog.find(Path(path))) if path else catalog.read_named(name, load_weights)[1]


def refuse_other_network(inputs: RunInputs, base: ModelSpec, spec: ModelSpec, freeze_base: bool) -> None:
    """Check that the network ``spec`` can start from the weights of the network ``base``.

    Raises:
        InvalidValueError: when it can't, or when it grows from ``base`` and the base is frozen.
    """
    model = spec.name
    if model == base.name:
        if not spec.shares_weights_with(base):
            raise _other_size(inputs, base, spec)
        return
    if spec.grows_from(base):
        if freeze_base:
            raise InvalidValueError(
                f"{inputs.weights} is a {base.title}. A {spec.title} adds units to it that must be trained, which"
                f" `freeze_base` prevents. Leave out one of the two. Received: `model` {model} and `freeze_base`"
            )
        return
    deeper = f" {base.name}, or a deeper one that grows from it" if base.family.grows else f" {base.name}"
    raise InvalidValueError(
        f"{inputs.weights} is a {base.title}, whose weights do not fit into a {spec.title}. Leave out `model`, or give"
        f"{deeper}. Received: `model` {model}"
    )


def _other_size(inputs: RunInputs, base: ModelSpec, spec: ModelSpec) -> InvalidValueError:
    sizes = base.fitting_sizes(int(IMAGE_SIZES.high))
    valid = f"{sizes[0]} to {sizes[-1]} pixels" if len(sizes) > 1 else f"{sizes[0]} pixels"
    return InvalidValueError(
        f"{inputs.weights} is a {base.title} for images of {base.image_size} pixels, whose weights do not fit images of"
        f" {spec.image_size} pixels. They fit multiples of {base.family.image_multiple} from {valid}: give one of these"
        f" as `image_size`, or leave out `weights`. Received: `image_size` {spec.image_size}",
        field="image_size",
        value=spec.image_size,
        valid=sizes,
    )


def refuse_other_task(name: str, teacher: Weights, data: RunData) -> None:
    """Check that ``teacher``, which was given as ``name``, has the classes and the image size of ``data``.

    Raises:
        InvalidValueError: when its classes, their order or the size of its images differ.
    """
    names, size = data.train.class_names, data.train.images.shape[1]
    if teacher.class_names != names:
        raise InvalidValueError(
            f"A teacher must have the classes of the data, in the same order: {', '.join(names)}. Received:"
            f" {name}, which has {', '.join(teacher.class_names)}"
        )
    if teacher.spec.image_size != size:
        raise InvalidValueError(
            f"A teacher must take images of {size} pixels, the size that the network is trained on. Give another"
            f" teacher, or train at the size of this one with `image_size` {teacher.spec.image_size}. Received:"
            f" {name}, which takes {teacher.spec.image_size}"
        )


def refuse_equal_teachers(inputs: RunInputs, origins: Origins) -> None:
    """Check that the teachers have different weights. Two equal ones would take twice the time and teach the same.

    Raises:
        InvalidValueError: when two have the same weights.
    """
    first: dict[str, str] = {}
    for name, teacher in zip(inputs.teacher, origins.teachers, strict=True):
        if (sha256 := teacher.sha256()) in first:
            raise InvalidValueError(
                "Two teachers have the same weights. The second costs time and adds nothing. Give one of them"
                f" as `teacher`. Received: {first[sha256]}, {name}",
                field="teacher",
                value=name,
            )
        first[sha256] = name


def common_test_split(inputs: RunInputs, origins: Origins, load: LoadAtSize) -> float | None:
    """Return the fraction of the images to hold out as test images.

    If the initial weights or a teacher were trained on the same images, it is their fraction.

    Args:
        inputs: the inputs of the run.
        origins: the initial weights and the teachers.
        load: reads a data source. Images are compared at the size of the weights.

    Raises:
        InvalidValueError: when they, or ``inputs``, have different fractions.
    """
    splits = {}
    for origin, weights in origins.by_place(inputs).items():
        known = catalog.trained_on(origin)
        load_same: Load = partial(_load_at, load, weights.spec.image_size)
        if known and (known.is_at(inputs.source) or is_training_data(known, inputs.source, load_same)):
            splits[origin] = required_split(known, str(origin), inputs.test_split)
    these = "`weights` and `teacher`" if inputs.weights else "The teachers"
    known_splits = {split for split in splits.values() if split is not None}
    if len(known_splits) > 1:
        each = ", ".join(f"{origin}: {split:g}" for origin, split in splits.items() if split is not None)
        raise InvalidValueError(
            f"{these} held out different fractions of {inputs.data} as test images, so one of them was trained on test"
            f" images of another ({each}). Use runs that held out the same fraction."
        )
    return known_splits.pop() if known_splits else inputs.test_split


def _load_at(load: LoadAtSize, image_size: int, source: str, test_split: float | None) -> Splits:
    return load(source, test_split, image_size)


def warn_of_learned_images(
    inputs: RunInputs, origins: Origins, data: RunData, load: LoadAtSize, report: EventHandler
) -> None:
    """Warn if the initial weights or a teacher were trained, or may have been, on images that are held out now.

    Args:
        inputs: the inputs of the run.
        origins: the initial weights and the teachers.
        data: its images.
        load: reads a data source, for weights of another image size, whose images have another SHA-256.
        report: receives the warnings.
    """
    for origin, weights in origins.by_place(inputs).items():
        known, size = catalog.trained_on(origin), weights.spec.image_size
        if known is None and inputs.validation_split is not None:
            _warn_of_unknown(origin, weights.class_names, data.train.class_names, report)
        # Reading the images at another size takes time, so it is done only where a warning is possible.
        if known and (known.test_split is not None or inputs.validation_split is not None):
            same = data.sha256 if size == inputs.image_size else load(inputs.source, inputs.test_split, size).sha256()
            _warn_of_learned(origin, known, inputs, same, report)


def _warn_of_unknown(origin: Path, known: Sequence[str], names: Sequence[str], report: EventHandler) -> None:
    if classes := familiar_classes(names, known, str(origin)):
        report(
            Warned(
                f"{origin} may have been trained on images that are validation images now: its training images are not"
                f" recorded, and the classes of the data are {classes}. The validation accuracy, and the temperature"
                " and rejection threshold fitted on them, may be too good."
            )
        )


def familiar_classes(names: Sequence[str], known: Sequence[str], owner: str) -> str:
    """Return why images of the classes ``names`` may be those that weights were trained on, as the kind of the classes.

    The result is an empty text for images of other classes.

    Args:
        names: the classes of the images.
        known: the classes of the weights.
        owner: what has the classes ``known``, for the result.
    """
    folded = {name.casefold() for name in names}
    if all(name.isdecimal() for name in folded):
        return "numbers"
    return f"those of {owner}" if folded <= {name.casefold() for name in known} else ""


def _warn_of_learned(origin: Path, known: TrainedOn, inputs: RunInputs, sha256: str, report: EventHandler) -> None:
    if known.test_split is not None and known.is_at(inputs.source) and known.data_sha256 not in (None, sha256):
        report(
            Warned(
                f"{inputs.data} has changed since {origin} held out its test images. The test images are others now,"
                f" and {origin} was trained on most of them. The test accuracy will be too good."
            )
        )
    others = (known.validation_split, known.seed) != (inputs.validation_split, inputs.seed)
    if inputs.validation_split is not None and known.data_sha256 == sha256 and others:
        held_out = (
            "none"
            if known.validation_split is None
            else f"others; `validation_split` {known.validation_split:g} `seed` {known.seed} holds out the same"
        )
        report(
            Warned(
                f"{origin} was trained on images that are validation images now (it held out {held_out}). The"
                " validation accuracy, and the temperature and rejection threshold fitted on them, will be too good."
            )
        )


def found_again(config: RunConfig, directory: Path) -> RunConfig:
    """Return ``config`` of the run in ``directory`` with the current paths of its data, weights and teachers.

    Weights and teachers that are missing keep their recorded paths, because they may not be needed.

    Raises:
        RunError: when the images are missing.
    """

    def current(text: str, path: str | None) -> str | None:
        return path and (places.find(text, path, directory) or path)

    data = current(config.data, config.data_path)
    if data and not places.is_there(data):
        raise RunError(
            f"There is nothing at {data} any more, where the images of the run in {directory} were. Give their current"
            f" path: {command_line('train', '--resume', directory, '--data', 'PATH')}"
        )
    return replace(
        config,
        data_path=data,
        weights_path=config.weights and current(config.weights, config.weights_path),
        teacher_path=tuple(map(current, config.teacher, config.teacher_path)),
    )


def same_weights(config: RunConfig, directory: Path) -> Weights | None:
    """Return the initial weights of the run in ``directory``; None if it has none.

    Raises:
        RunError: when their file has other weights now.
    """
    weights = load_base(config)
    if weights and config.weights_sha256 not in (None, weights.sha256()):
        raise RunError(
            f"{config.weights_place} does not hold the weights that the run in {directory} started from (their SHA-256"
            " differs). Restore these weights, or start a new run."
        )
    return weights


def same_teachers(
    config: RunConfig, directory: Path, given: Sequence[str] = ()
) -> tuple[RunConfig, tuple[Weights, ...]]:
    """Return ``config`` of the run in ``directory`` with the current places of its teachers, and their weights.

    Args:
        config: the configuration, with the places where the teachers were.
        directory: the run.
        given: the current places of some or all of them, in any order.

    Raises:
        RunError: when ``given`` has other weights, when a teacher can't be read or has other weights now, or when
            ``given`` is not empty and the run has no teacher.
    """
    if given and not config.teacher:
        received = ", ".join(given)
        raise RunError(f"The run in {directory} has no teacher: leave out `teacher`. Received: {received}")
    known: dict[str, tuple[str, str | None, Weights]] = {}
    for name in given:
        path = places.of_weights(name)
        weights = _load(name, path)
        if (sha256 := weights.sha256()) not in config.teacher_sha256:
            raise RunError(
                f"{path or name} does not hold the weights of a teacher of the run in {directory}, which learns from"
                f" {', '.join(config.teacher_places)} (the SHA-256 differs). {_TEACHER_REMEDY}"
            )
        known[sha256] = name, path, weights
    found = [
        known.get(sha256) or (name, path, _recorded_teacher(name, path, sha256, directory))
        for name, path, sha256 in zip(config.teacher, config.teacher_path, config.teacher_sha256, strict=True)
    ]
    names, paths, teachers = zip(*found, strict=True) if found else ((), (), ())
    return replace(config, teacher=names, teacher_path=paths), teachers


def _recorded_teacher(name: str, path: str | None, sha256: str, directory: Path) -> Weights:
    if path and not places.is_there(path):
        raise RunError(
            f"There is nothing at {path} any more, where a teacher of the run in {directory} was. Give its current"
            f" path: {command_line('train', '--resume', directory, '--teacher', 'PATH')}"
        )
    try:
        teacher = _load(name, path)
    except WeightsError as error:
        raise RunError(f"A teacher of the run in {directory} can't be read. {_TEACHER_REMEDY}\n{error}") from error
    if teacher.sha256() != sha256:
        raise RunError(
            f"{path or name} does not hold the weights that the run in {directory} learns from (their SHA-256"
            f" differs). {_TEACHER_REMEDY}"
        )
    return teacher
