"""What a run learns from besides images: the weights that it begins with, and its teacher.

Both may come from runs that have learned images which are held out now, and may be others by the time that the run is
resumed.
"""

from collections.abc import Collection
from pathlib import Path

from cifarnet import runs
from cifarnet.errors import InvalidValueError, RunError, WeightsError
from cifarnet.models.spec import ModelSpec
from cifarnet.models.weights import Weights, load_weights
from cifarnet.training.config import RunConfig
from cifarnet.training.events import Report, Warned
from cifarnet.training.run_data import RunData
from cifarnet.weights import catalog


def load_origin(weights: str | None) -> Weights | None:
    """What a run, file or name stands for; None for None."""
    return load_weights(catalog.find(Path(weights))) if weights else None


def refuse_other_depth(config: RunConfig, base: ModelSpec, depth: int) -> None:
    """Refuse a network of ``depth`` that can't be begun with the weights of ``base``.

    Raises:
        InvalidValueError: for fewer layers than ``base`` has, and for more where the base is fixed.
    """
    if depth < base.depth:
        raise InvalidValueError(
            f"{config.weights} is a {base.title}, which has too many layers for --depth {depth}. Leave --depth out, or"
            f" give {base.depth} or more: deeper networks grow from it."
        )
    if depth > base.depth and config.freeze_base:
        raise InvalidValueError(
            f"{config.weights} is a {base.title}: --depth {depth} would add units to it that have to be trained, and"
            " --freeze-base would keep them from it. Leave one of the two out."
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


def common_test_split(config: RunConfig, origins: Collection[Path]) -> float | None:
    """The fraction to hold out to test on: that of the runs ``origins``, where they were trained on these images.

    Raises:
        InvalidValueError: where they, or ``config``, say different ones.
    """
    splits = {origin: runs.split_of_run(origin, config.data, config.test_split) for origin in origins}
    told = {split for split in splits.values() if split is not None}
    if len(told) > 1:
        each = ", ".join(f"{origin}: {split:g}" for origin, split in splits.items() if split is not None)
        raise InvalidValueError(
            f"--weights and --teacher held different fractions of {config.data} out to test on, so that one has learned"
            f" what the other held out ({each}). Use runs that held out the same."
        )
    return told.pop() if told else config.test_split


def warn_of_learned_images(base: Path, config: RunConfig, sha256: str, report: Report) -> None:
    """Tell where the run ``base``, which gives weights or teaches, has learned images that are held out now."""
    if runs.find_data_source(base) is None:
        return
    if runs.holds_out_others(base, config.data, lambda: sha256):
        report(
            Warned(
                f"{config.data} has changed since {base} held its test images out of it: they are others now,"
                " most of which its weights have learned. The test accuracy will be too good."
            )
        )
    known = RunConfig.read(base)
    others = (known.validation_split, known.seed) != (config.validation_split, config.seed)
    if config.validation_split is not None and known.data_sha256 == sha256 and others:
        held_out = (
            "none"
            if known.validation_split is None
            else f"others; --validation-split {known.validation_split:g} --seed {known.seed} holds the same out"
        )
        report(
            Warned(
                f"{base} has learned images that are validation images now (it held out {held_out}): the validation"
                " accuracy, and the temperature and rejection threshold fitted on them, will be too good."
            )
        )


def same_weights(config: RunConfig, directory: Path) -> Weights | None:
    """The weights that the run in ``directory`` began with; None where it began with none.

    Raises:
        RunError: when others lie in their place now.
    """
    weights = load_origin(config.weights)
    if weights and config.weights_sha256 not in (None, weights.sha256()):
        raise RunError(
            f"{config.weights} does not hold the weights that the run in {directory} began with (their SHA-256"
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
        teacher = load_origin(config.teacher)
    except WeightsError as error:
        raise RunError(f"The teacher of the run in {directory} can't be read: {error} {remedy}") from error
    if teacher and config.teacher_sha256 != teacher.sha256():
        raise RunError(
            f"{config.teacher} does not hold the weights that the run in {directory} learns from (their SHA-256"
            f" differs). {remedy}"
        )
    return teacher
