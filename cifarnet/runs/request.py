"""A request for a training run, before anything is read: the options of ``cifarnet train`` as data."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cifarnet.backend.placement import Placement
from cifarnet.choices import BACKENDS, DEFAULT_WEIGHTS, FEW_IMAGES, ON_NAN, PRECISIONS, WEIGHTS_PLACE
from cifarnet.durations import DURATION
from cifarnet.errors import InvalidValueError, did_you_mean, invalid
from cifarnet.fields import (
    FRACTION,
    IMAGE_SIZES,
    Option,
    Panel,
    Range,
    convert_fields,
    option,
    options_of,
    received,
    require_valid,
    require_whole,
    typed_values,
)
from cifarnet.files import as_path
from cifarnet.json_files import shown
from cifarnet.recipes import Recipe
from cifarnet.runs.provenance import SEEDS

MOST_TEACHERS = 16
"""The most teachers of a run."""

WEIGHTS = "RUN|FILE|NAME"
"""The metavar of options that take a run directory, a weight file or a name that ``cifarnet weights`` lists."""

LONGEST_BUDGET = 366 * 24 * 3600.0
"""The largest budget in seconds, a year."""

SAVE_INTERVAL = 180.0
"""Seconds between checkpoints within an epoch."""

_LENGTHS = ("epochs", "steps", "budget")


@dataclass(frozen=True)
class TrainRequest:
    """A request for a training run. A field that is None is resolved when the run starts.

    Raises:
        InvalidValueError: for a value out of range, and for fields that contradict each other.
    """

    recipe: Recipe | str | None = option(
        None,
        metavar="NAME|FILE",
        help="documented, revised, paper, fast, fine-tune, or a JSON file. Default: documented; with `budget` fast;"
        " with `weights` fine-tune, also within a budget.",
    )
    data: str | os.PathLike[str] = option(
        "cifar10",
        metavar="SOURCE",
        help="Images: cifar10, cifar100, cifar100-coarse, synthetic, or the path of a folder, an archive or an .npz"
        " file. Default: cifar10.",
        resumable=True,
    )
    model: str | None = option(
        None,
        metavar="NAME",
        help="Network; `cifarnet summary` lists them. Default: that of `weights`; with `budget` on a CPU the best for"
        " the time; otherwise resnet20. A deeper one than `weights` grows from it.",
    )
    seed: int = option(0, range=SEEDS, metavar="N", help="Seed of everything random. Default: 0.")
    budget: float | None = option(
        None,
        range=Range(0, LONGEST_BUDGET, low_excluded=True, unit="seconds"),
        metavar="TIME",
        help="Train for this much time, instead of `epochs`: 20m, 1h30m, 90s.",
        notation=DURATION,
        resumable=True,
    )
    """Seconds."""
    weights: str | Path | None = option(
        None,
        metavar=WEIGHTS,
        help="Start from trained weights: a run directory, a weight file, or a name that `cifarnet weights` lists."
        f" Default: none; for up to {FEW_IMAGES:,} images of your own classes {DEFAULT_WEIGHTS}, unless `model`,"
        " `recipe` or `teacher` is given.",
    )
    validation_split: float | None = option(
        None,
        range=FRACTION,
        metavar="FRACTION",
        help="Hold out this fraction of the training images, and keep the weights that are best on them.",
    )
    test_split: float | None = option(
        None,
        range=FRACTION,
        metavar="FRACTION",
        help="Hold out this fraction of each class as test images, for data without any: 0.2.",
        panel=Panel.DATA,
    )
    skip_broken: bool = option(
        False, help="Leave out pictures that can't be read, instead of stopping.", panel=Panel.DATA
    )
    image_size: int | None = option(
        None,
        range=IMAGE_SIZES,
        metavar="PIXELS",
        help="Side of the images that the network sees: 32, 48, 64, 96, 128, ... Default: that of `weights`, or 32.",
        panel=Panel.DATA,
    )
    classes: int | None = option(
        None, metavar="N", help="Refuse data with another number of classes.", panel=Panel.DATA
    )
    freeze_base: bool = option(
        False, help="Train only the last layers (the head), and keep all other weights.", panel=Panel.TRANSFER
    )
    teacher: str | Path | list[str | Path] | tuple[str | Path, ...] | None = option(
        (),
        metavar=WEIGHTS,
        help="Learn from the answers of these weights as well as from the labels. May be repeated: the mean of several"
        " is usually better than the best of them. With `resume`: where they are now.",
        panel=Panel.TRANSFER,
        resumable=True,
    )
    """One path or name, or several. They are stored as a tuple of texts; None becomes an empty one."""
    on_nan: str = option(
        ON_NAN[0],
        choices=ON_NAN,
        help="When the loss becomes NaN or infinite: stop, or restore the last checkpoint and halve the learning rate."
        " Default: stop.",
        panel=Panel.RUN,
        resumable=True,
    )
    precision: str | None = option(
        None,
        choices=PRECISIONS,
        help="Number type of the feature maps. Default: the fastest on this device.",
        panel=Panel.DEVICE,
    )
    jit: bool | None = option(
        None,
        help="Compile the training step with XLA. Default: if that is faster on this device.",
        panel=Panel.DEVICE,
    )
    devices: str | int = option(
        "auto",
        metavar="DEVICES",
        help="Devices to split each batch over: auto, cpu, cpu:N, gpu (all), gpu:0,1, or N. Default: auto, the first"
        " GPU or the CPU.",
        panel=Panel.DEVICE,
        resumable=True,
    )
    sync_batchnorm: bool = option(
        True,
        help="With several devices, normalize by the moments of the whole batch, so that the result does not depend on"
        " the number of devices. Default: yes.",
        panel=Panel.DEVICE,
    )
    backend: str | None = option(
        None,
        choices=BACKENDS,
        help="Keras backend. Default: the variable KERAS_BACKEND, or tensorflow.",
        panel=Panel.DEVICE,
        resumable=True,
    )
    changes: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the recipe that differ from ``recipe``, by name."""

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, Recipe | str | None):
            raise InvalidValueError(
                f"recipe takes a Recipe or a name, such as cifarnet.RECIPES['fast'] or 'fast'."
                f" Received: {self.recipe!r:.80}",
                field="recipe",
                value=self.recipe,
                valid="a Recipe or a name",
            )
        if self.data == "" or not isinstance(self.data, str | os.PathLike):
            from cifarnet.data.sources import source_name

            source_name(self.data)
        if self.weights is not None:
            path = as_path(self.weights, "weights", taken=WEIGHTS_PLACE)
            object.__setattr__(self, "weights", self.weights if isinstance(self.weights, str) else path)
        object.__setattr__(self, "teacher", teacher_texts(self.teacher))
        convert_fields(self)
        require_valid(self)
        known = [each.name for each in fields(Recipe)]
        if unknown := sorted(map(str, self.changes.keys() - set(known))):
            hint = option_hint(unknown[0]) or did_you_mean(unknown[0][:64], known)
            raise InvalidValueError(
                f"A recipe has no field {shown(unknown[0])}.{hint} Received: {shown(unknown[0])}",
                field="changes",
                value=unknown[0],
                valid=tuple(known),
            )
        Placement.parse(self.devices)
        object.__setattr__(self, "changes", typed_values(Recipe, self.changes))
        require_one_length({**{name: self.changes.get(name) for name in _LENGTHS}, "budget": self.budget})

    @property
    def leaves_network_open(self) -> bool:
        """Whether the device decides the network: there is a budget, and the request does not decide.

        The recipe must be ``fast``, with which the networks were compared.
        """
        return self.budget is not None and not self.decides_network and self.recipe in (None, "fast")

    @property
    def decides_network(self) -> bool:
        """Whether the request has a network, initial weights or teachers, so that a budget chooses no network."""
        return bool(self.model or self.weights or self.teachers)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The paths or names of the teachers' weights."""
        return teacher_texts(self.teacher)

    @property
    def adapts_to_device(self) -> bool:
        """Whether the recipe may lose its small images on a GPU: it is one by name, and no image sizes were given."""
        return self.recipe in (None, "fast") and "resolutions" not in self.changes


def option_hint(name: str) -> str:
    """Return a sentence for ``name`` in a recipe if it is an option of a training instead; an empty text if not."""
    if name not in (*options_of(TrainRequest), "depth"):
        return ""
    return f" It is an option of the training, not part of a recipe: give it as `{name}`."


def teacher_texts(given: Any) -> tuple[str, ...]:
    """Return the path or the name of each teacher in ``given``: one, a sequence of them, or None for none.

    Raises:
        InvalidValueError: for anything else, and for a path that is empty or contains a NUL character.
    """
    several = given if isinstance(given, list | tuple) else () if given is None else (given,)
    require_few_teachers(several)
    for each in several:
        as_path(each, "teacher", taken=WEIGHTS_PLACE)
    return tuple(map(str, several))


def require_few_teachers(teachers: Sequence[object]) -> None:
    """Check that the ``teachers`` of a run, which may be in a stranger's file, are not too many to be read.

    Raises:
        InvalidValueError: when they are more than ``MOST_TEACHERS``.
    """
    if (found := len(teachers)) > MOST_TEACHERS:
        raise invalid("teacher", f"can be given {MOST_TEACHERS} times at most", found, valid=MOST_TEACHERS)


def request_of(options: Mapping[str, Any], request: TrainRequest | None = None) -> TrainRequest:
    """Return the request for ``options`` by the names of the options of ``cifarnet train``, with ``_`` for ``-``.

    These are the fields of ``TrainRequest`` and ``Recipe``, and ``depth``, which is short for ``model``. A value may be
    the word of the command line: ``budget="20m"``.

    Args:
        options: the values by name.
        request: a request, whose fields are replaced by the options.

    Raises:
        InvalidValueError: for an unknown name, with the nearest one, and as for ``TrainRequest``.
    """
    asked_names, recipe_names = options_of(TrainRequest), options_of(Recipe)
    known = {**asked_names, **recipe_names}
    for name in options:
        if name not in (*known, "depth"):
            hint = did_you_mean(name[:64], [*known, "depth", *_ARGUMENTS])
            raise InvalidValueError(f"train has no option {name:.64}.{hint} Received: {name:.64}", field=name)
    values = {name: _parsed(name, value, known[name]) for name, value in options.items() if name != "depth"}
    if (depth := options.get("depth")) is not None:
        from cifarnet.models.spec import model_name

        require_whole("depth", depth)
        model = model_name(depth)
        if values.get("model") not in (None, model):
            raise invalid("depth", f"{depth} is short for `model` {model}: give one of the two", values["model"])
        values["model"] = model
    asked = {name: value for name, value in values.items() if name in asked_names}
    changes = {name: value for name, value in values.items() if name in recipe_names}
    if request is None:
        return TrainRequest(**asked, changes=changes)
    return replace(request, **asked, changes={**request.changes, **changes})


# Those of ``cifarnet.train`` itself, for suggestions.
_ARGUMENTS = ("output", "progress", "mirrors", "save_interval")


def _parsed(name: str, value: Any, described: Option) -> Any:
    if described.notation is None or not isinstance(value, str):
        return value
    try:
        return described.notation.parse(value)
    except ValueError:
        valid = f"{described.notation.what} such as {described.notation.example}"
        raise invalid(name, f"takes {valid}", value, valid=valid) from None


LENGTHS = {name: each for cls in (Recipe, TrainRequest) for name, each in options_of(cls).items() if name in _LENGTHS}
"""The options that give the length of a run, by field."""


def require_one_length(length: Mapping[str, Any]) -> None:
    """Check that at most one of ``epochs``, ``steps`` and ``budget`` in ``length`` is given; the others are None.

    Raises:
        InvalidValueError: when several are given.
    """
    given = {name: value for name, value in length.items() if value is not None}
    if len(given) > 1:
        names, remedy = " and ".join(f"`{name}`" for name in given), "give one of them"
        raise InvalidValueError(
            f"{names} give the length of the run: {remedy}. Received: {received(given, LENGTHS)}",
            field=next(iter(given)),
            value=given,
            remedy=remedy,
        )
