"""Training recipes: all hyper-parameters as data, and the named recipes.

``documented`` and ``revised`` are from the original project. ``paper`` is from He et al. 2015 (arXiv:1512.03385,
section 4.2). ``fast`` and ``fine-tune`` were developed for cifarnet: for a good accuracy in a short time, and for
training from trained weights on few images.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from cifarnet.errors import InvalidValueError, invalid
from cifarnet.fields import (
    FLOAT_LIMIT,
    Notation,
    Panel,
    Range,
    convert_fields,
    option,
    options_of,
    received,
    require_valid,
    typed_fields,
)
from cifarnet.json_files import shown

# Of ``Recipe.for_images``.
_SMALLEST_BATCH = 16
_EPOCH_STEPS = 8

_NAME_LIMIT = 64
# Characters of a list in a message.
_SHOWN = 60
_LONGEST_LIST = 100
# Larger counts are mistakes, and these fit into 32 bits. A checkpoint keeps a history of at most half a million epochs.
_COUNT, _EPOCHS, _PIXELS = Range(0, 1_000_000_000), 500_000, Range(0, 1024)
_STEPS = Range(1, _COUNT.high)
_POSITIVE, _NOT_NEGATIVE = Range(0, FLOAT_LIMIT, low_excluded=True), Range(0, FLOAT_LIMIT)
_BELOW_ONE = Range(0, 1, high_excluded=True)
# The parameter of a Beta distribution. With 1,000 nearly all shares are a half.
_SHAPE = Range(0, 1000)


def _steps(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _sizes(text: str) -> tuple[tuple[int, float], ...]:
    pairs = [part.split(":") for part in text.split(",") if part.strip()]
    return tuple((int(side), float(share)) for side, share in pairs)


def _plain(value: float) -> str:
    """Return the shortest text that is equal to ``value`` when it is read."""
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
    """How a network is trained. Each field except ``name`` is an option of ``cifarnet train``.

    Raises:
        InvalidValueError: for a value outside its range. The message names the field.
    """

    name: str
    epochs: int | None = option(
        None,
        range=Range(1, _EPOCHS),
        metavar="N",
        help="Passes over the training images. Default: as in the recipe.",
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
    """The last epoch may be shorter than the others."""
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
    muon: float = option(
        0.0,
        range=_NOT_NEGATIVE,
        metavar="X",
        help="Train convolution kernels with Muon, with this peak learning rate; 0: with SGD. For airbench94 and"
        " airbench94-slim.",
        panel=Panel.RECIPE,
    )
    """``cifarnet.training.muon``; the schedule is that of ``learning_rate``, and the momentum that of SGD."""
    nesterov: bool = option(False, help="Use Nesterov momentum.", panel=Panel.RECIPE)
    l2: float = option(
        1e-4,
        range=_NOT_NEGATIVE,
        metavar="X",
        help="L2 penalty on convolution kernels: half of other tools' weight decay.",
        panel=Panel.RECIPE,
    )
    """``l2`` times the sum of squares of all convolution kernels is added to the loss, as by Keras's regularizer. A
    weight decay w of other frameworks, which add w times the kernel to its gradient, is l2 = w / 2."""
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
    """Computed before each check and at the end of the run (Wu and Johnson 2021, arXiv:2105.07576)."""
    ema: float = option(
        0.0,
        range=_BELOW_ONE,
        metavar="DECAY",
        help="Check and keep the exponential moving average of the weights: 0.999 averages about 1,000 steps; 0: none."
        " Needs `precise_batchnorm`.",
        panel=Panel.RECIPE,
    )
    """Polyak and Juditsky 1992. ``cifarnet.training.optimizer.average_decay`` is the decay at each step."""
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
    """One cycle (Smith and Topin 2018, arXiv:1708.07120): the learning rate rises linearly from zero to
    ``learning_rate`` in this fraction of the run, then falls linearly to zero at its end; 0: no cycle."""
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
    """Horizontally and vertically, either way."""
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
    jitter: float = option(
        0.0,
        range=Range(0, 1),
        metavar="FRACTION",
        help="Change the brightness and the contrast of each image at random by up to this fraction.",
        panel=Panel.AUGMENTATION,
    )
    """Each by a factor of its own, which is uniform from 1 - ``jitter`` to 1 + ``jitter``."""
    trivial_augment: bool = option(
        False,
        help="Change each image by one random operation: shear, shift, rotate, or change its colours.",
        panel=Panel.AUGMENTATION,
    )
    """Müller and Hutter 2021, arXiv:2103.10158; ``cifarnet.data.trivial_augment`` lists the operations."""
    mixup: float = option(
        0.0,
        range=_SHAPE,
        metavar="ALPHA",
        help="Mix each image and its label with another: the share is a random number, Beta(ALPHA, ALPHA). Usual: 0.2.",
        panel=Panel.AUGMENTATION,
    )
    """Zhang et al. 2018, arXiv:1710.09412."""
    cutmix: float = option(
        0.0,
        range=Range(0, 1),
        metavar="PROBABILITY",
        help="Replace a square of an image by that of another, and share the label by area, with this probability. The"
        " images without a square get `mixup`.",
        panel=Panel.AUGMENTATION,
    )
    """Yun et al. 2019, arXiv:1905.04899: 0.5 for CIFAR. The areas of the squares are uniform, as with the paper's alpha
    of 1."""
    resolutions: tuple[tuple[int, float], ...] = option(
        (),
        notation=_SIZE_LIST,
        metavar="SIDE:SHARE,...",
        help="Train these shares of the run on smaller images, and the rest on images of full size:"
        f" {_SIZE_LIST.example}. '' turns it off.",
        panel=Panel.AUGMENTATION,
    )
    """Progressive resizing: pairs of a side in pixels and the share of the run that is trained on images of this size,
    in order. Networks limit the sides further (``cifarnet.training.schedule.require_sizes``)."""
    distillation: float | None = option(
        None,
        range=Range(0, 1, low_excluded=True),
        metavar="FRACTION",
        help="Fraction of the loss that compares with the `teacher`. Default: 0.9.",
        panel=Panel.TRANSFER,
    )
    """The rest of the loss compares with the labels (Hinton et al. 2015, arXiv:1503.02531). None without a teacher."""
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
        convert_fields(self)
        if (self.epochs is None) == (self.steps is None):
            raise InvalidValueError(
                f"A recipe has either epochs or steps. Received: epochs {shown(self.epochs)}, steps {shown(self.steps)}"
            )
        require_valid(self)
        self._check(
            "name",
            f"text of 1 to {_NAME_LIMIT} printable characters without slashes",
            lambda name: (
                name.strip() and len(name) <= _NAME_LIMIT and name.isprintable() and not set(name) & {"/", "\\"}
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
                "`crop_padding` can't be combined with `rotation` or `shift`, because they fill the border of the image"
                f" in different ways. Received: `crop_padding` {self.crop_padding}, `rotation` {self.rotation},"
                f" `shift` {self.shift}"
            )
        others = ("lr_decay", "lr_drop", "lr_boundaries", "warmup_steps")
        if self.cycle_peak and (given := {name: value for name in others if (value := getattr(self, name))}):
            remedy = "Set `cycle_peak` 0 to use these."
            raise InvalidValueError(
                "`cycle_peak` is a whole learning-rate schedule: it can't be combined with `lr_decay`, `lr_drop`,"
                f" `lr_boundaries` or `warmup_steps`. {remedy} Received:"
                f" {received({'cycle_peak': self.cycle_peak, **given}, options_of(self))}",
                field="cycle_peak",
                value=self.cycle_peak,
                remedy=remedy,
            )
        unused = {field.name: field.default for field in fields(self)}["warmup_learning_rate"]
        if self.warmup_learning_rate != unused and not self.warmup_steps:
            raise InvalidValueError(
                "`warmup_learning_rate` is the learning rate of the first `warmup_steps`: give these too."
                f" Received: `warmup_learning_rate` {self.warmup_learning_rate}, `warmup_steps` 0"
            )
        if self.alternate_flips and not self.flip:
            raise InvalidValueError("`alternate_flips` needs `flip`. Received: no `flip`", field="flip", value=False)
        if self.ema and not self.precise_batchnorm:
            remedy = "Set `precise_batchnorm` 1024."
            raise InvalidValueError(
                "`ema` needs `precise_batchnorm`, because the moving averages of batch normalization are those of the"
                f" weights in training, and do not fit averaged weights. {remedy} Received: `ema` {self.ema},"
                " `precise_batchnorm` 0",
                field="ema",
                value=self.ema,
                remedy=remedy,
            )
        # The optimizer multiplies by the ratio, as float32.
        if self.muon > FLOAT_LIMIT * self.learning_rate:
            remedy = "Give a lower `muon` or a higher `learning_rate`."
            problem = f"must be at most {FLOAT_LIMIT:g} times the `learning_rate`"
            text = received({name: getattr(self, name) for name in ("muon", "learning_rate")}, options_of(self))
            raise invalid("muon", problem, self.muon, remedy=remedy, received=text)
        if self.nesterov and not self.momentum:
            raise InvalidValueError("`nesterov` needs a `momentum` above 0. Received: `momentum` 0")

    @property
    def needs_teacher(self) -> bool:
        """Whether it has settings for a teacher."""
        return self.distillation is not None or self.distillation_temperature is not None

    def with_teacher(self) -> Self:
        """Return the recipe with unset distillation fields filled in: a share of 0.9 and a temperature of 4.

        These are the values of Tian et al. 2020 (arXiv:1910.10699) for ResNets of the same depths on CIFAR-100.
        """
        share, temperature = self.distillation, self.distillation_temperature
        return replace(
            self,
            distillation=0.9 if share is None else share,
            distillation_temperature=4.0 if temperature is None else temperature,
        )

    @property
    def moves_images(self) -> bool:
        """Whether images are rotated, shifted, cropped, flipped or sheared."""
        return bool(self.rotation or self.shift or self.crop_padding or self.flip or self.trivial_augment)

    @property
    def mixes_images(self) -> bool:
        """Whether images and labels are mixed with one another."""
        return bool(self.mixup or self.cutmix)

    @property
    def varies_images(self) -> bool:
        """Whether an image differs between epochs."""
        return bool(self.moves_images or self.cutout or self.jitter or self.mixes_images or self.resolutions)

    @property
    def settling_steps(self) -> int:
        """Steps after which the moving averages of batch normalization have 5 % of their initial values."""
        return math.ceil(math.log(0.05) / math.log(self.batchnorm_momentum)) if self.batchnorm_momentum else 1

    @property
    def length(self) -> dict[str, int | None]:
        """The length of a run: ``epochs`` and ``steps``, one of which is None."""
        return {"epochs": self.epochs, "steps": self.steps}

    def total_steps(self, images: int) -> int:
        """Return the number of steps of a run on ``images`` training images."""
        return self.steps or self.steps_per_epoch(images) * (self.epochs or 0)

    def steps_per_epoch(self, images: int) -> int:
        """Return the number of batches in an epoch of ``images`` training images; the last may be smaller."""
        return -(-images // self.batch_size)

    def for_images(self, images: int, model: str = "resnet20") -> Self:
        """Return the recipe adapted to the number of training images: ``fast`` has smaller batches for few images.

        ``model`` is the network's name, because the learning rate and the batch size of ``fast`` depend on it.

        The batch size is halved, down to 16, until an epoch has 8 steps. The learning rate is proportional to the
        square root of the batch size (Krizhevsky 2014, arXiv:1404.5997, section 5). With 3 classes of 40 textures,
        batches of 120 reached 100 % on the training images but only 65 to 87 % on others, in runs of any length.
        """
        fast = RECIPES["fast"].for_model(model)
        if (self.name, self.batch_size, self.learning_rate) != (fast.name, fast.batch_size, fast.learning_rate):
            return self
        batch = self.batch_size
        while batch > _SMALLEST_BATCH and self.with_changes(batch_size=batch).steps_per_epoch(images) < _EPOCH_STEPS:
            batch = max(_SMALLEST_BATCH, batch // 2)
        if batch == self.batch_size:
            return self
        return replace(self, batch_size=batch, learning_rate=self.learning_rate * math.sqrt(batch / self.batch_size))

    @property
    def has_fast_sizes(self) -> bool:
        """Whether this is ``fast`` with its own small images, which are left out if they save no time.

        They may be those of a larger image size (``for_image_size``).
        """
        return self._fast_plan is not None

    @property
    def _fast_plan(self) -> tuple[tuple[int, float], ...] | None:
        """The plan of small images, for 32 pixels, that this recipe follows at some image size; None if none."""
        if self.name != RECIPES["fast"].name or not self.resolutions:
            return None
        sizes = range(_FAST_SIZE, int(_PIXELS.high) + 1)
        plans = (RECIPES["fast"].resolutions, LARGER_FIRST)
        return next((plan for plan in plans if any(self.resolutions == _scaled(plan, size) for size in sizes)), None)

    def for_image_size(self, image_size: int) -> Self:
        """Return the recipe with the small images of ``fast`` in proportion to ``image_size``, in multiples of 4.

        The images of ``fast`` have 16 to 28 of 32 pixels, so at 64 they have 32 to 56. Its crops are shifted by up to 2
        pixels at all sizes.

        A ResNet-8 on 1,000 synthetic images enlarged to 64 pixels reached 99.5 % in 98 s with these sizes, 98.5 % in
        185 s at full size throughout, and 83.5 % in 54 s with 16 to 28 pixels (20 epochs of 16 steps, one run each).
        """
        return replace(self, resolutions=_scaled(self._fast_plan or RECIPES["fast"].resolutions, image_size))

    def _check(self, field: str, valid: str, holds: Any) -> None:
        if not holds(getattr(self, field)):
            value, described = getattr(self, field), options_of(self).get(field)
            # The recipe's name is not an option.
            what, text = (f"`{field}`", described.text(value)) if described else (field, shown(value))
            text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
            raise invalid(field, f"must be {valid}", value, valid=valid, received=text, what=what)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-ready data, so that ``Recipe.from_dict(recipe.to_dict()) == recipe``."""
        return {
            **asdict(self),
            "lr_boundaries": list(self.lr_boundaries),
            "resolutions": [list(pair) for pair in self.resolutions],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the recipe in ``data``, which is from ``to_dict`` or a JSON file. Missing fields have their defaults.

        Raises:
            InvalidValueError: for unknown fields, values of another type or out of range.
        """
        return cls(**typed_fields(cls, data, "A recipe"))

    def with_changes(self, **changes: Any) -> Self:
        """Return the recipe with ``changes``. New epochs replace steps, and new steps replace epochs."""
        if not changes:
            return self
        if changes.get("epochs") is not None:
            changes.setdefault("steps", None)
        elif changes.get("steps") is not None:
            changes.setdefault("epochs", None)
        return replace(self, **changes)

    def on(self, device_kind: str) -> Self:
        """Return the recipe adapted to a kind of device: ``fast`` has no small images on a GPU.

        On a GPU, compiling for an image size takes half a minute, and an epoch at full size less than a second
        (ResNet-20, H100).
        """
        if device_kind == "gpu" and self.has_fast_sizes:
            return replace(self, resolutions=())
        return self

    def for_model(self, model: str) -> Self:
        """Return the named recipe with the changes of the network ``model``, and any other recipe as it is."""
        # Imported here, because the description of networks imports NumPy.
        from cifarnet.models.spec import ModelSpec

        if self != RECIPES.get(self.name):
            return self
        return replace(self, **ModelSpec(model).recipe_changes(self.name))

    def changes(self) -> str:
        """Return ``changed_options`` as on the command line, such as ``steps 100, resolutions 24:0.6,28:0.2``."""
        return received(self.changed_options(), options_of(self), quote="")

    def changed_options(self) -> dict[str, Any]:
        """Return the options that differ from the named recipe of the same name, or from the defaults if there is none.

        Options that are None are left out.
        """
        named = RECIPES.get(self.name)
        usual = {each.name: getattr(named, each.name) if named else each.default for each in fields(self)}
        values = {name: getattr(self, name) for name in options_of(self)}
        return {name: value for name, value in values.items() if value is not None and value != usual[name]}


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
            # With 0.99 the few steps at full size keep much of the moments of smaller images: 80.7 % on the test
            # images, and 83.2 % with moments that were computed again (8 epochs).
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


# The image size for which ``fast`` was developed.
_FAST_SIZE = 32


LARGER_FIRST = ((24, 0.6), (28, 0.2))
"""The small images of ``fast`` for networks that are trained for longer. They are larger than its own, with which a
run has more steps for the same arithmetic (benchmarks/README.md, section Networks within a budget)."""


def _scaled(plan: tuple[tuple[int, float], ...], image_size: int) -> tuple[tuple[int, float], ...]:
    """Return the small images ``plan`` for images of ``image_size`` pixels. All networks take multiples of 4."""
    return tuple((4 * round(side * image_size / _FAST_SIZE / 4), share) for side, share in plan)
