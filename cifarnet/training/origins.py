"""What a run learns from besides images: the weights that it begins with, and its teacher.

Both may come from runs that have learned images which are held out now, and may be others by the time that the run is
resumed.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarnet import places
from cifarnet.errors import InvalidValueError, RunError, WeightsError
from cifarnet.evaluation.source import Load, is_training_data, required_split
from cifarnet.models.spec import ModelSpec
from cifarnet.training.config import PLACES, RunConfig
from cifarnet.training.events import Report, Warned
from cifarnet.training.run_data import RunData
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.record import Weights


def load_origin(config: RunConfig, use: str) -> Weights | None:
    """Return the ``weights`` or the ``teacher`` of ``config``, whichever ``use`` names; None where it has none.

    Raises:
        WeightsError: when they are missing or can't be read.
    """
    text, path = getattr(config, use), getattr(config, f"{use}_path")
    if text is None:
        return None
    return load_weights(catalog.find(Path(path))) if path else catalog.read_named(text, load_weights)[1]


def origins(config: RunConfig) -> list[Path]:
    """Return what ``config`` names as weights and teacher, each once."""
    return list(dict.fromkeys(Path(place) for use in ("weights", "teacher") if (place := config.place(use))))


def refuse_other_network(config: RunConfig, base: ModelSpec, model: str) -> None:
    """Refuse a network called ``model`` that can't begin with the weights of ``base``.

    Raises:
        InvalidValueError: when the network is another and does not grow from ``base``, or the base is fixed.
    """
    if model == base.name:
        return
    spec = ModelSpec(model, base.classes, base.image_size)
    if spec.grows_from(base):
        if config.freeze_base:
            raise InvalidValueError(
                f"{config.weights} is a {base.title}. A {spec.title} adds units to it that have to be trained, which"
                f" --freeze-base prevents. Leave one of the two out. Received: --model {model} and --freeze-base"
            )
        return
    deeper = f" {base.name}, or a deeper one that grows from it" if base.family.grows else f" {base.name}"
    raise InvalidValueError(
        f"{config.weights} is a {base.title}, whose weights do not fit into a {spec.title}. Leave --model out, or give"
        f"{deeper}. Received: --model {model}"
    )


def refuse_other_task(config: RunConfig, teacher: Weights, data: RunData) -> None:
    """Refuse a ``teacher`` of something else than ``data``.

    Raises:
        InvalidValueError: where its classes or their order differ, or the size of its images.
    """
    names, size = data.train.class_names, data.train.images.shape[1]
    if teacher.class_names != names:
        raise InvalidValueError(
            f"A teacher has to know the classes that are taught, in their order: {', '.join(names)}. Received:"
            f" {config.teacher}, which knows {', '.join(teacher.class_names)}"
        )
    if teacher.spec.image_size != size:
        raise InvalidValueError(
            f"A teacher has to see images of the size that is trained on, {size} pixels. Received: {config.teacher},"
            f" which sees {teacher.spec.image_size}"
        )


def common_test_split(config: RunConfig, origins: Collection[Path], load: Load) -> float | None:
    """Return the fraction to hold out to test on: that of ``origins``, where they were trained on these images.

    Raises:
        InvalidValueError: where they, or ``config``, say different ones.
    """
    splits = {}
    for origin in origins:
        known = catalog.trained_on(origin)
        if known and (known.is_at(config.source) or is_training_data(known, config.source, load)):
            splits[origin] = required_split(known, str(origin), config.test_split)
    told = {split for split in splits.values() if split is not None}
    if len(told) > 1:
        each = ", ".join(f"{origin}: {split:g}" for origin, split in splits.items() if split is not None)
        raise InvalidValueError(
            f"--weights and --teacher held different fractions of {config.data} out to test on, so that one has learned"
            f" what the other held out ({each}). Use runs that held out the same."
        )
    return told.pop() if told else config.test_split


def warn_of_learned_images(origin: Path, config: RunConfig, sha256: str, report: Report) -> None:
    """Warn when the initial or the teacher's weights ``origin`` were trained on images that are held out now."""
    known = catalog.trained_on(origin)
    if known is None:
        return
    if known.test_split is not None and known.is_at(config.source) and known.data_sha256 not in (None, sha256):
        report(
            Warned(
                f"{config.data} has changed since {origin} held its test images out of it: they are others now,"
                " most of which its weights have learned. The test accuracy will be too good."
            )
        )
    others = (known.validation_split, known.seed) != (config.validation_split, config.seed)
    if config.validation_split is not None and known.data_sha256 == sha256 and others:
        held_out = (
            "none"
            if known.validation_split is None
            else f"others; --validation-split {known.validation_split:g} --seed {known.seed} holds the same out"
        )
        report(
            Warned(
                f"{origin} has learned images that are validation images now (it held out {held_out}): the validation"
                " accuracy, and the temperature and rejection threshold fitted on them, will be too good."
            )
        )


def found_again(config: RunConfig, directory: Path) -> RunConfig:
    """Return ``config`` of the run in ``directory`` with the present places of its data, weights and teacher.

    Weights and a teacher that are gone keep their recorded places: not every resumption needs them.

    Raises:
        RunError: when nothing is left where the images were.
    """
    found: dict[str, Any] = {}
    for use in PLACES:
        text, path = getattr(config, use), getattr(config, f"{use}_path")
        if path is not None:
            found[f"{use}_path"] = places.find(text, path, directory) or path
            if use == "data" and not Path(found["data_path"]).exists():
                raise RunError(
                    f"There is nothing at {path} any more, where the images of the run in {directory} were. Give their"
                    " place with --data."
                )
    return replace(config, **found)


def same_weights(config: RunConfig, directory: Path) -> Weights | None:
    """The weights that the run in ``directory`` began with; None where it began with none.

    Raises:
        RunError: when others lie in their place now.
    """
    weights = load_origin(config, "weights")
    if weights and config.weights_sha256 not in (None, weights.sha256()):
        raise RunError(
            f"{config.place('weights')} does not hold the weights that the run in {directory} began with (their SHA-256"
            " differs). Put those back in their place, or start a new run."
        )
    return weights


def same_teacher(config: RunConfig, directory: Path) -> Weights | None:
    """The teacher of the run in ``directory``, where ``config`` says that it lies now; None where it has none.

    Raises:
        RunError: when there is another teacher, or none.
    """
    if config.teacher is None:
        return None
    if config.teacher_sha256 is None:
        raise RunError(f"The run in {directory} has no teacher: leave --teacher out. Received: {config.teacher}")
    remedy = "Say with --teacher where those weights are now, or start a new run."
    try:
        teacher = load_origin(config, "teacher")
    except WeightsError as error:
        raise RunError(f"The teacher of the run in {directory} can't be read: {error} {remedy}") from error
    if teacher and config.teacher_sha256 != teacher.sha256():
        raise RunError(
            f"{config.place('teacher')} does not hold the weights that the run in {directory} learns from (their"
            f" SHA-256 differs). {remedy}"
        )
    return teacher
