"""A training run's recipe as data: every hyper-parameter in one place, named recipes, JSON round trip.

``documented`` and ``revised`` are the original project's, ``paper`` is He et al. 2015 (arXiv:1512.03385, section 4.2),
``fast`` is cifarnet's own, for a good accuracy soon, and so is ``fine-tune``, for trained weights and few images.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from cifarnet.errors import InvalidValueError, did_you_mean
from cifarnet.fields import FLOAT_LIMIT, Notation, Panel, Range, option, require_valid, typed_fields
from cifarnet.json_files import read_object, shown
from cifarnet.runs.files import CONFIG, verified_config

# Of ``Recipe.for_images``.
_SMALLEST_BATCH = 16
_EPOCH_STEPS = 8

_NAME_LIMIT = 64
_LONGEST_LIST = 100
# Counts beyond these are mistakes, and whole numbers of 32 bits hold them. Half a million epochs make the longest
# history that a checkpoint keeps.
_COUNT, _EPOCHS, _PIXELS = Range(0, 1_000_000_000), 500_000, Range(0, 1024)
_STEPS = Range(1, _COUNT.high)
_POSITIVE, _NOT_NEGATIVE = Range(0, FLOAT_LIMIT, low_excluded=True), Range(0, FLOAT_LIMIT)
_BELOW_ONE = Range(0, 1, high_excluded=True)


def _steps(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _sizes(text: str) -> tuple[tuple[int, float], ...]:
    pairs = [part.split(":") for part in text.split(",") if part.strip()]
    return tuple((int(side), float(share)) for side, share in pairs)


def _plain(value: float) -> str:
    """Return the shortest text that means ``value``."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


_STEP_LIST = Notation("steps", "32000,48000", _steps, lambda steps: ",".join(map(str, steps)))
_SIZE_LIST = Notation(
    "sides and shares",
    "20:0.4,24:0.3",
    _sizes,
    lambda sizes: ",".join(f"{side}:{_plain(share)}" for side, share in sizes),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Each field but the name is an option of ``cifarnet train``.

    Raises:
        InvalidValueError: for a value outside its range, naming the field.
    """

    name: str
    epochs: int | None = option(
        None,
        range=Range(1, _EPOCHS),
        metavar="N",
        help="Passes over the training images. Default: as the recipe says.",
        resumable=True,
    )
    """Exactly one of ``epochs`` and ``steps`` is given."""
    steps: int | None = option(
        None,
        range=_STEPS,
        metavar="N",
        help="Batches to train on, instead of `epochs`.",
        panel=Panel.RECIPE,
        resumable=True,
    )
    """The last epoch is cut short where the steps don't fill it."""
    batch_size: int = option(128, range=Range(1, 1_000_000), metavar="N", help="Images per step.", panel=Panel.RECIPE)
    learning_rate: float = option(
        0.1,
        range=_POSITIVE,
        metavar="X",
        help="Initial learning rate; with `cycle_peak` the highest.",
        panel=Panel.RECIPE,
    )
    momentum: float = option(
        0.9,
        range=_BELOW_ONE,
        metavar="X",
        help="Momentum of stochastic gradient descent (SGD).",
        panel=Panel.RECIPE,
    )
    nesterov: bool = option(False, help="Use Nesterov momentum.", panel=Panel.RECIPE)
    l2: float = option(
        1e-4,
        range=_NOT_NEGATIVE,
        metavar="X",
        help="L2 penalty on convolution kernels: half of other tools' weight decay.",
        panel=Panel.RECIPE,
    )
    """Adds l2 times the sum of squares of every convolution kernel to the loss, as Keras's regularizer does. A weight
    decay w of other frameworks, which adds w times the kernel to its gradient, is l2 = w / 2."""
    label_smoothing: float = option(
        0.0,
        range=_BELOW_ONE,
        metavar="FRACTION",
        help="Spread this fraction of each label over all classes.",
        panel=Panel.RECIPE,
    )
    """Szegedy et al. 2016, arXiv:1512.00567."""
    batchnorm_momentum: float = option(
        0.99,
        range=_BELOW_ONE,
        metavar="X",
        help="Momentum of batch normalization's moving mean and variance.",
        panel=Panel.RECIPE,
    )
    precise_batchnorm: int = option(
        0,
        range=_COUNT,
        metavar="N",
        help="Compute batch normalization's mean and variance from N training images; 0: use moving averages.",
        panel=Panel.RECIPE,
    )
    """Computed before each check and at the end (Wu and Johnson 2021, arXiv:2105.07576)."""
    lr_decay: float = option(
        0.0,
        range=_NOT_NEGATIVE,
        metavar="X",
        help="Divide the learning rate by 1 + X * step.",
        panel=Panel.SCHEDULE,
    )
    lr_drop: int = option(
        0,
        range=Range(0, _EPOCHS),
        metavar="N",
        help="Halve the learning rate every N epochs; 0: never.",
        panel=Panel.SCHEDULE,
    )
    lr_boundaries: tuple[int, ...] = option(
        (),
        notation=_STEP_LIST,
        metavar="STEP,...",
        help=f"Divide the learning rate by ten at these steps: {_STEP_LIST.example}.",
        panel=Panel.SCHEDULE,
    )
    cycle_peak: float = option(
        0.0,
        range=_BELOW_ONE,
        metavar="FRACTION",
        help="Raise the learning rate during this fraction of the run, then lower it to zero.",
        panel=Panel.SCHEDULE,
    )
    """One cycle (Smith and Topin 2018, arXiv:1708.07120): the learning rate rises linearly from zero, is
    ``learning_rate`` after this fraction of the run, and falls linearly to zero at its end; 0: no cycle."""
    warmup_steps: int = option(
        0, range=_COUNT, metavar="N", help="Begin with N steps at the warm-up learning rate.", panel=Panel.SCHEDULE
    )
    warmup_learning_rate: float = option(
        0.01, range=_POSITIVE, metavar="X", help="Learning rate of the warm-up.", panel=Panel.SCHEDULE
    )
    rotation: float = option(
        0.0,
        range=Range(0, 180),
        metavar="DEGREES",
        help="Rotate at random by up to this angle, either way.",
        panel=Panel.AUGMENTATION,
    )
    shift: float = option(
        0.0,
        range=_BELOW_ONE,
        metavar="FRACTION",
        help="Shift at random by up to this fraction of the image.",
        panel=Panel.AUGMENTATION,
    )
    """In both directions."""
    crop_padding: int = option(
        0,
        range=_PIXELS,
        metavar="PIXELS",
        help="Pad by this many pixels, then crop at random to the old size.",
        panel=Panel.AUGMENTATION,
    )
    flip: bool = option(True, help="Mirror images at random.", panel=Panel.AUGMENTATION)
    """Horizontally."""
    alternate_flips: bool = option(
        False, help="Mirror each image in every other epoch, instead of at random.", panel=Panel.AUGMENTATION
    )
    """Jordan 2024, arXiv:2404.00498."""
    cutout: int = option(
        0,
        range=_PIXELS,
        metavar="PIXELS",
        help="Hide a square of this side at a random place.",
        panel=Panel.AUGMENTATION,
    )
    """DeVries and Taylor 2017, arXiv:1708.04552."""
    resolutions: tuple[tuple[int, float], ...] = option(
        (),
        notation=_SIZE_LIST,
        metavar="SIDE:SHARE,...",
        help="Train these shares of the run on smaller images, and the rest on images of full size:"
        f" {_SIZE_LIST.example}. '' turns it off.",
        panel=Panel.AUGMENTATION,
    )
    """Progressive resizing: pairs of a side in pixels and the share of the run that is trained on images shrunk to it,
    in order. Networks limit the sides further (``cifarnet.training.schedule.require_sizes``)."""
    distillation: float | None = option(
        None,
        range=Range(0, 1, low_excluded=True),
        metavar="FRACTION",
        help="Fraction of the loss that compares with the `teacher`. Default: 0.9.",
        panel=Panel.TRANSFER,
    )
    """The rest of the loss compares with the labels (Hinton et al. 2015, arXiv:1503.02531); None without a teacher."""
    distillation_temperature: float | None = option(
        None,
        range=_POSITIVE,
        metavar="X",
        help="Divide both networks' logits by X before they are compared. Default: 4.",
        panel=Panel.TRANSFER,
    )
    """None without a teacher."""
    checks: int = option(
        0,
        range=Range(0, _EPOCHS),
        metavar="N",
        help="Classify the held-out images N times, evenly spread over the run; 0: after every epoch.",
        panel=Panel.RUN,
    )
    """The last check is at the end of the run."""

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise InvalidValueError(
                f"A recipe lasts a number of epochs or of steps, one of the two."
                f" Received: epochs {shown(self.epochs)}, steps {shown(self.steps)}"
            )
        require_valid(self)
        self._check(
            "name",
            f"text of 1 to {_NAME_LIMIT} printable characters without slashes",
            lambda name: (
                isinstance(name, str)
                and name.strip()
                and len(name) <= _NAME_LIMIT
                and name.isprintable()
                and not set(name) & {"/", "\\"}
            ),
        )
        self._check(
            "resolutions",
            f"at most {_LONGEST_LIST} pairs of a side (1 to 1,024 pixels) and a share above 0, the shares 1 or less"
            " together",
            lambda pairs: (
                len(pairs) <= _LONGEST_LIST
                and all(1 <= side <= _PIXELS.high and share > 0 for side, share in pairs)
                and sum(share for _, share in pairs) <= 1 + 1e-9
            ),
        )
        self._check(
            "lr_boundaries",
            f"at most {_LONGEST_LIST} rising steps {_STEPS}",
            lambda steps: (
                len(steps) <= _LONGEST_LIST
                and all(step in _STEPS for step in steps)
                and list(steps) == sorted(set(steps))
            ),
        )
        if self.crop_padding and (self.rotation or self.shift):
            raise InvalidValueError(
                "crop_padding can't be combined with rotation or shift: both move the image, filling its border in"
                f" different ways. Received: crop_padding {self.crop_padding}, rotation {self.rotation},"
                f" shift {self.shift}"
            )
        if self.cycle_peak and (self.lr_decay or self.lr_drop or self.lr_boundaries or self.warmup_steps):
            raise InvalidValueError(
                "cycle_peak is a whole learning-rate schedule: it can't be combined with lr_decay, lr_drop,"
                " lr_boundaries or warmup_steps."
            )
        unused = {field.name: field.default for field in fields(self)}["warmup_learning_rate"]
        if self.warmup_learning_rate != unused and not self.warmup_steps:
            raise InvalidValueError(
                "warmup_learning_rate is that of the first warmup_steps: give those too."
                f" Received: warmup_learning_rate {self.warmup_learning_rate}, warmup_steps 0"
            )
        if self.alternate_flips and not self.flip:
            raise InvalidValueError("alternate_flips needs flip. Received: flip False")
        if self.nesterov and not self.momentum:
            raise InvalidValueError("Nesterov needs a momentum above 0. Received: momentum 0")

    @property
    def needs_teacher(self) -> bool:
        """Whether it says how a teacher is followed."""
        return self.distillation is not None or self.distillation_temperature is not None

    def with_teacher(self) -> Self:
        """This recipe saying how a teacher is followed: as Tian et al. 2020 (arXiv:1910.10699) do where it is silent.

        Theirs are ResNets of these depths, on CIFAR-100.
        """
        share, temperature = self.distillation, self.distillation_temperature
        return replace(
            self,
            distillation=0.9 if share is None else share,
            distillation_temperature=4.0 if temperature is None else temperature,
        )

    @property
    def moves_images(self) -> bool:
        """Whether it rotates, shifts, crops or flips."""
        return bool(self.rotation or self.shift or self.crop_padding or self.flip)

    @property
    def varies_images(self) -> bool:
        """Whether an image looks different from one epoch to another."""
        return bool(self.moves_images or self.cutout or self.resolutions)

    @property
    def settling_steps(self) -> int:
        """Steps after which the moving moments of batch normalization hold 5 % of their initial values."""
        return math.ceil(math.log(0.05) / math.log(self.batchnorm_momentum)) if self.batchnorm_momentum else 1

    @property
    def length(self) -> dict[str, int | None]:
        """The length of a run: ``epochs`` and ``steps``, one of which is None."""
        return {"epochs": self.epochs, "steps": self.steps}

    def total_steps(self, images: int) -> int:
        """Return the length in steps on ``images`` training images."""
        return self.steps or self.steps_per_epoch(images) * (self.epochs or 0)

    def steps_per_epoch(self, images: int) -> int:
        """Return the number of batches in an epoch of ``images`` training images; the last may be smaller."""
        return -(-images // self.batch_size)

    def for_images(self, images: int) -> Self:
        """Return this recipe adapted to the number of training images: ``fast`` has smaller batches for few images.

        An epoch then has 8 steps or more, if batches of 16 allow it. The learning rate is proportional to the square
        root of the batch size (Krizhevsky 2014, arXiv:1404.5997, section 5). With 3 classes of 40 textures, batches of
        120 reached 100 % on the training images but only 65 to 87 % on others, however long they trained.
        """
        fast = RECIPES["fast"]
        if (self.name, self.batch_size, self.learning_rate) != (fast.name, fast.batch_size, fast.learning_rate):
            return self
        batch = self.batch_size
        while batch > _SMALLEST_BATCH and self.with_changes(batch_size=batch).steps_per_epoch(images) < _EPOCH_STEPS:
            batch //= 2
        if batch == self.batch_size:
            return self
        return replace(self, batch_size=batch, learning_rate=self.learning_rate * math.sqrt(batch / self.batch_size))

    @property
    def has_fast_sizes(self) -> bool:
        """Whether this is ``fast`` with its own small images, which are left out where they save no time."""
        fast = RECIPES["fast"]
        return (self.name, self.resolutions) == (fast.name, fast.resolutions)

    def _check(self, field: str, valid: str, holds: Any) -> None:
        if not holds(getattr(self, field)):
            raise InvalidValueError(f"{field} must be {valid}. Received: {shown(getattr(self, field))}")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-ready data; ``Recipe.from_dict(recipe.to_dict()) == recipe``."""
        return {
            **asdict(self),
            "lr_boundaries": list(self.lr_boundaries),
            "resolutions": [list(pair) for pair in self.resolutions],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The recipe that ``to_dict`` gave, or one written by hand; absent fields get their defaults.

        Raises:
            InvalidValueError: for unknown fields, values of another type or out of range.
        """
        return cls(**typed_fields(cls, data, "A recipe"))

    def with_changes(self, **changes: Any) -> Self:
        """This recipe with ``changes``; a new length in epochs takes the place of one in steps, and the reverse."""
        if not changes:
            return self
        if changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        elif changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        return replace(self, **changes)

    def on(self, device_kind: str) -> Self:
        """This recipe as it is taken on a device of that kind: ``fast`` without its small images on a GPU.

        There each image size costs half a minute of compilation (ResNet-20, H100), where all images at full size take
        less than a second an epoch.
        """
        if device_kind == "gpu" and self.has_fast_sizes:
            return replace(self, resolutions=())
        return self

    def for_model(self, model: str) -> Self:
        """Return this recipe adapted to the network ``model``: ``paper`` warms up those of 110 layers or more.

        The paper found a learning rate of 0.1 too large for ResNet-110 to start with, and used 0.01 for about 400
        steps.
        """
        # Imported here, because describing networks needs NumPy.
        from cifarnet.models.spec import ModelSpec

        if self == RECIPES["paper"] and ModelSpec(model).depth >= 110:
            return replace(self, warmup_steps=400)
        return self

    def differences(self) -> dict[str, Any]:
        """Return the fields that differ from the named recipe that it started from; all of them without one."""
        base = RECIPES.get(self.name)
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if base is None or getattr(base, field.name) != getattr(self, field.name)
        }


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="documented",
            epochs=250,
            nesterov=True,
            lr_decay=1e-6,
            lr_drop=20,
            rotation=15.0,
            shift=0.1,
        ),
        Recipe(
            name="revised",
            epochs=165,
            lr_boundaries=(32_000, 48_000),
            warmup_steps=500,
            rotation=20.0,
            shift=0.1,
        ),
        # The paper's weight decay is 1e-4, hence half of it here (see Recipe.l2).
        Recipe(
            name="paper",
            steps=64_000,
            l2=5e-5,
            lr_boundaries=(32_000, 48_000),
            crop_padding=4,
        ),
        # Weight decay 5e-4 on kernels only; see benchmarks/README.md, section Recipe, for what else was tried.
        Recipe(
            name="fast",
            epochs=20,
            batch_size=256,
            learning_rate=0.4,
            nesterov=True,
            l2=2.5e-4,
            cycle_peak=0.2,
            crop_padding=2,
            alternate_flips=True,
            # At 0.99 the few steps at full size leave much of the smaller images' moments: 80.7 % on the test images,
            # where moments taken anew gave 83.2 % (8 epochs).
            batchnorm_momentum=0.95,
            precise_batchnorm=1024,
            resolutions=((16, 0.35), (20, 0.25), (24, 0.2), (28, 0.1)),
            checks=5,
        ),
        # Small batches, because few images make few steps; see benchmarks/README.md, section Fine-tuning.
        Recipe(
            name="fine-tune",
            epochs=30,
            batch_size=16,
            learning_rate=0.01,
            nesterov=True,
            l2=2.5e-4,
            cycle_peak=0.2,
            crop_padding=2,
            batchnorm_momentum=0.95,
            precise_batchnorm=1024,
            checks=5,
        ),
    )
}


def named_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        InvalidValueError: for an unknown name.
    """
    if name in RECIPES:
        return RECIPES[name]
    # A name that looks like a file's was probably meant as one.
    known = [] if Path(name).suffix == ".json" or len(Path(name).parts) > 1 else RECIPES
    raise InvalidValueError(
        f"There is no recipe or file {name}.{did_you_mean(name, known)} Recipes are {', '.join(RECIPES)}. Give one"
        f" of them, or a JSON file with a recipe, such as a run's config.json. Received: {name}"
    )


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one in the file ``name``.

    Raises:
        InvalidValueError: when there is neither, or the file holds no valid recipe.
        RunError: when it is a run's and damaged.
    """
    if name in RECIPES or not Path(name).exists():
        return named_recipe(name)
    if Path(name).is_dir():
        config = Path(name) / CONFIG
        advice = f"For the recipe of that run, give {config}." if config.exists() else "Give a JSON file with a recipe."
        raise InvalidValueError(f"{name} is a folder, not a recipe. {advice} Received: {name}")
    return read_recipe(Path(name))


def read_recipe(path: Path) -> Recipe:
    """The recipe in a JSON file: one of its own, or a run's config.json.

    Raises:
        InvalidValueError: when the file can't be read or holds no valid recipe.
        RunError: when it is a run's and damaged.
    """
    try:
        data = read_object(path)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"The recipe can't be read as JSON: {error}. Give a JSON file with a recipe, such as a run's config.json."
            f" Received: {path}"
        ) from error
    if isinstance(data.get("recipe"), dict):
        data = verified_config(data, path)["recipe"]
    try:
        return Recipe.from_dict(data)
    except InvalidValueError as error:
        raise InvalidValueError(f"{path}: {error}") from error
