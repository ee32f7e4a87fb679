"""What a run learns from besides images: the weights that it begins with, and its teacher.

Both may come from runs that have learned images which are held out now, and may be others by the time that the run is
resumed.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cifarnet import places
from cifarnet.errors import InvalidValueError, RunError, WeightsError
from cifarnet.evaluation.source import Load, is_training_data, required_split
from cifarnet.models.spec import ModelSpec
from cifarnet.runs.config import PLACES, RunConfig, RunInputs
from cifarnet.runs.provenance import TrainedOn
from cifarnet.training.events import EventHandler, Warned
from cifarnet.training.run_data import RunData
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights
from cifarnet.weights.record import Weights


@dataclass(frozen=True)
class Origins:
    """What a run learns from besides images: the weights that it begins with, and its teacher; None for none."""

    base: Weights | None = None
    teacher: Weights | None = None

    @classmethod
    def load(cls, inputs: RunInputs) -> Self:
        """Read the weights and the teacher of ``inputs``.

        Raises:
            WeightsError: when they are missing or can't be read.
        """
        return cls(load_origin(inputs, "weights"), load_origin(inputs, "teacher"))


def load_origin(inputs: RunInputs, use: str) -> Weights | None:
    """Return the ``weights`` or the ``teacher`` of ``inputs``, whichever ``use`` names; None where it has none.

    Raises:
        WeightsError: when they are missing or can't be read.
    """
    text, path = getattr(inputs, use), getattr(inputs, f"{use}_path")
    if text is None:
        return None
    return load_weights(catalog.find(Path(path))) if path else catalog.read_named(text, load_weights)[1]


def origin_paths(inputs: RunInputs) -> list[Path]:
    """Return what ``inputs`` names as weights and teacher, each once."""
    return list(dict.fromkeys(Path(place) for use in ("weights", "teacher") if (place := inputs.place(use))))


def refuse_other_network(inputs: RunInputs, base: ModelSpec, model: str, freeze_base: bool) -> None:
    """Refuse a network called ``model`` that can't begin with the weights of ``base``.

    Raises:
        InvalidValueError: when the network is another and does not grow from ``base``, or the base is frozen.
    """
    if model == base.name:
        return
    spec = ModelSpec(model, base.classes, base.image_size)
    if spec.grows_from(base):
        if freeze_base:
            raise InvalidValueError(
                f"{inputs.weights} is a {base.title}. A {spec.title} adds units to it that have to be trained, which"
                f" `freeze_base` prevents. Leave one of the two out. Received: `model` {model} and `freeze_base`"
            )
        return
    deeper = f" {base.name}, or a deeper one that grows from it" if base.family.grows else f" {base.name}"
    raise InvalidValueError(
        f"{inputs.weights} is a {base.title}, whose weights do not fit into a {spec.title}. Leave `model` out, or give"
        f"{deeper}. Received: `model` {model}"
    )


def refuse_other_task(inputs: RunInputs, teacher: Weights, data: RunData) -> None:
    """Refuse a ``teacher`` of something else than ``data``.

    Raises:
        InvalidValueError: where its classes or their order differ, or the size of its images.
    """
    names, size = data.train.class_names, data.train.images.shape[1]
    if teacher.class_names != names:
        raise InvalidValueError(
            f"A teacher has to know the classes that are taught, in their order: {', '.join(names)}. Received:"
            f" {inputs.teacher}, which knows {', '.join(teacher.class_names)}"
        )
    if teacher.spec.image_size != size:
        raise InvalidValueError(
            f"A teacher has to see images of the size that is trained on, {size} pixels. Received: {inputs.teacher},"
            f" which sees {teacher.spec.image_size}"
        )


def common_test_split(inputs: RunInputs, load: Load) -> float | None:
    """Return the fraction to hold out to test on: that of the weights and the teacher, if they learned these images.

    Raises:
        InvalidValueError: when they, or ``inputs``, have different fractions.
    """
    splits = {}
    for origin in origin_paths(inputs):
        known = catalog.trained_on(origin)
        if known and (known.is_at(inputs.source) or is_training_data(known, inputs.source, load)):
            splits[origin] = required_split(known, str(origin), inputs.test_split)
    known_splits = {split for split in splits.values() if split is not None}
    if len(known_splits) > 1:
        each = ", ".join(f"{origin}: {split:g}" for origin, split in splits.items() if split is not None)
        raise InvalidValueError(
            f"`weights` and `teacher` held different fractions of {inputs.data} out to test on, so that one has learned"
            f" what the other held out ({each}). Use runs that held out the same."
        )
    return known_splits.pop() if known_splits else inputs.test_split


def warn_of_learned_images(inputs: RunInputs, sha256: str, report: EventHandler) -> None:
    """Warn when the initial or the teacher's weights were trained on images that are held out now.

    ``sha256`` is that of the images of ``inputs``.
    """
    for origin in origin_paths(inputs):
        if known := catalog.trained_on(origin):
            _warn_of_learned(origin, known, inputs, sha256, report)


def _warn_of_learned(origin: Path, known: TrainedOn, inputs: RunInputs, sha256: str, report: EventHandler) -> None:
    if known.test_split is not None and known.is_at(inputs.source) and known.data_sha256 not in (None, sha256):
        report(
            Warned(
                f"{inputs.data} has changed since {origin} held its test images out of it: they are others now,"
                " most of which its weights have learned. The test accuracy will be too good."
            )
        )
    others = (known.validation_split, known.seed) != (inputs.validation_split, inputs.seed)
    if inputs.validation_split is not None and known.data_sha256 == sha256 and others:
        held_out = (
            "none"
            if known.validation_split is None
            else f"others; `validation_split` {known.validation_split:g} `seed` {known.seed} holds the same out"
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
                    " place with `data`."
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
        raise RunError(f"The run in {directory} has no teacher: leave `teacher` out. Received: {config.teacher}")
    remedy = "Say with `teacher` where those weights are now, or start a new run."
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
