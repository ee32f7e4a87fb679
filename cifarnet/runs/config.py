"""The resolved configuration of a run: the content of its config.json."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from cifarnet import __version__, places
from cifarnet.backend.devices import Device, Execution
from cifarnet.backend.placement import MOST_DEVICES
from cifarnet.choices import DEFAULT_WEIGHTS, ON_NAN
from cifarnet.errors import InvalidValueError, invalid
from cifarnet.fields import Range, convert_fields, options_of, require_valid, typed_fields
from cifarnet.models.spec import ModelSpec, model_name
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs.provenance import TEXT_LIMIT, TrainedOn
from cifarnet.runs.request import TrainRequest, require_few_teachers
from cifarnet.weights.record import LARGEST, require_storable

PLACES = ("data", "weights", "teacher")
"""The fields that may be paths, each with absolute paths and checksums beside it: ``data_path``, ``data_sha256`` ..."""

_CORES = Range(1, 2**20)
_DEVICES = Range(1, MOST_DEVICES)
_DEPTHS = Range(0, LARGEST["depth"])
_OPTIONS = options_of(TrainRequest)
_DEFAULTS = {field.name: field.default for field in fields(TrainRequest)} | {
    "image_size": ModelSpec().image_size,
    "devices": 1,
}
# Options that are always part of the command, because they identify the run.
_ALWAYS = ("recipe", "data", "model", "seed")
# Fields of named recipes that are adapted to the device unless they are given.
_ADAPTED = {"fast": ("resolutions",)}


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """The inputs of a run: its images, its initial weights and its teachers.

    Attributes:
        image_size: the side in pixels at which the images are read, which is that of the network.
        data: the data source as it was given.
        data_path: its absolute path when the run started; None for ``cifar10`` and ``synthetic``.
        weights: the initial weights as they were given; None for none.
        weights_path: their absolute path; None for a name.
        teacher: the weights of each teacher as they were given.
        teacher_path: the absolute path of each; None for a name.
        test_split: the fraction of every class held out as test images; None if the source has test images.
        validation_split: the fraction of the training images held out to select an epoch; None for none.
        seed: the seed of all random numbers, including the choice of validation images.
        skip_broken: whether unreadable pictures are left out.
    """

    data: str
    image_size: int = ModelSpec().image_size
    data_path: str | None = None
    weights: str | None = None
    weights_path: str | None = None
    teacher: tuple[str, ...] = ()
    teacher_path: tuple[str | None, ...] = ()
    test_split: float | None = None
    validation_split: float | None = None
    seed: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)
        require_valid(self, _OPTIONS)
        # A checksum in a stranger's file may be as long as a path.
        for name in (f"{place}{kind}" for place in PLACES for kind in ("", "_path", "_sha256")):
            value = getattr(self, name, None)
            for text in value if isinstance(value, tuple) else (value,):
                if text and len(text) > TEXT_LIMIT:
                    problem = f"must have at most {TEXT_LIMIT:,} characters"
                    raise invalid(name, problem, text, valid=TEXT_LIMIT, received=f"{len(text):,}")
        self._require_each_teacher("teacher_path")
        require_few_teachers(self.teacher)

    def _require_each_teacher(self, name: str) -> None:
        if (found := len(getattr(self, name))) != (valid := len(self.teacher)):
            raise invalid(name, f"must have a value for each teacher ({valid} in all)", found, valid=valid)

    @property
    def source(self) -> str:
        """The data source to read, with an absolute path."""
        return self.data_path or self.data

    @property
    def weights_place(self) -> str | None:
        """The absolute path of the initial weights, or their name; None for none."""
        return self.weights_path or self.weights

    @property
    def teacher_places(self) -> tuple[str, ...]:
        """The absolute path or the name of each teacher."""
        return tuple(path or name for name, path in zip(self.teacher, self.teacher_path, strict=True))


@dataclass(frozen=True, kw_only=True)
class RunConfig(RunInputs):
    """The settings that determine the result of a run.

    Attributes:
        recipe: the recipe, adapted to the data, the network and the device.
        model: the network's name.
        backend: the Keras backend.
        precision: the number type of the feature maps.
        jit: whether XLA compiles the training step.
        data_sha256: SHA-256 of all images and labels. A run can only be resumed on the same images.
        weights_sha256: SHA-256 of the initial weights; None for none.
        teacher_sha256: SHA-256 of the weights of each teacher.
        cores: number of processor cores, because the weights depend on it; None on a GPU.
        devices: number of devices that each batch is split over.
        sync_batchnorm: whether batch normalization has the moments of the whole batch.
        freeze_base: whether only the head is trained.
        budget: seconds, which replace the length of the recipe; None for none.
        on_nan: what to do when the loss or a weight becomes NaN or infinite: ``stop``, or ``restore`` the last good
            checkpoint at half the learning rate.
        request_sha256: the digest of the request (``setup.request_sha256``), by which the same command finds its run;
            None for runs of earlier versions, and for those that got another length or ``on_nan`` since.

    Raises:
        InvalidValueError: for a value out of range, and for fields that contradict each other.
    """

    recipe: Recipe
    model: str
    backend: str
    precision: str
    jit: bool
    data_sha256: str
    weights_sha256: str | None = None
    teacher_sha256: tuple[str, ...] = ()
    cores: int | None = None
    devices: int = 1
    sync_batchnorm: bool = True
    freeze_base: bool = False
    budget: float | None = None
    on_nan: str = ON_NAN[0]
    request_sha256: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_storable(ModelSpec(self.model, image_size=self.image_size))
        _CORES.require("cores", self.cores)
        _DEVICES.require("devices", self.devices)
        self._require_each_teacher("teacher_sha256")
        require_consistent(self, self.recipe)

    @property
    def trained_on(self) -> TrainedOn:
        """The record of the training images for the weight files of this run."""
        return TrainedOn.from_dict(vars(self))

    @property
    def head_alone(self) -> bool:
        """Whether only the head is trained, on features that are computed once; see ``trains_head_alone``."""
        return trains_head_alone(self, self.recipe)

    @property
    def common_text(self) -> str:
        """What the processes of a run must have in common, as text: all but the paths and the cores of a machine."""
        machine = dict.fromkeys((*(f"{place}_path" for place in PLACES), "cores", "request_sha256"))
        return json.dumps({**self.to_dict(), **machine}, sort_keys=True)

    @property
    def _devices(self) -> str | int:
        """The value of ``--devices`` with which the run computes on the same kind of device."""
        if self.cores is None:
            return self.devices
        return "cpu" if self.devices == 1 else f"cpu:{self.devices}"

    def execution(self, device: Device) -> Execution:
        """Return how the run's steps are executed on ``device``."""
        return Execution(self.precision, self.jit, Execution.best_on(device).steps_per_call)

    def command(self, file: Path, without: Collection[str] = ()) -> list[str]:
        """Return the command that repeats this run, as words, with every option that is not at its default.

        A recipe that is not a named one is read from ``file``, the config.json of the run. Known paths are absolute.
        Options of the fields ``without`` are left out.
        """
        named = self.recipe.name in RECIPES
        values = {
            **vars(self),
            "data": self.source,
            "weights": self.weights_place,
            "teacher": self.teacher_places,
            "recipe": self.recipe.name if named else str(file),
            "devices": self._devices,
        }
        words = ["cifarnet", "train"]
        # Without the option, the image size would be that of the weights, which may change.
        always = (*_ALWAYS, "image_size") if self.weights else _ALWAYS
        for name, described in _OPTIONS.items():
            if name in without or name not in values:
                continue
            if name in always or values[name] != _DEFAULTS[name]:
                words += described.words(name, values[name])
        changes = self.recipe.changed_options() if named else {}
        of_network = ModelSpec(self.model).recipe_changes(self.recipe.name)
        for adapted in (*_ADAPTED.get(self.recipe.name, ()), *of_network):
            changes[adapted] = getattr(self.recipe, adapted)
        for name, described in options_of(Recipe).items():
            if name in without or (self.budget is not None and name in ("epochs", "steps")):
                continue
            if name in changes:
                words += described.words(name, changes[name])
        return words

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-ready data."""
        return {"cifarnet": __version__, **asdict(self), "recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the configuration in ``record``, which is from ``to_dict`` of this or an earlier version.

        Raises:
            InvalidValueError: when a field is missing, unknown or invalid.
        """
        # Cifarnet 0.1 had neither precision nor jit.
        data = {"precision": "float32", "jit": False, **record}
        data.pop("cifarnet", None)
        # Cifarnet 0.1, and development versions of 0.2, recorded the depth of a ResNet.
        if (depth := data.pop("depth", None)) is not None:
            _DEPTHS.require("depth", depth)
            data["model"] = model_name(depth)
        if not isinstance(recipe := data.get("recipe"), dict):
            raise invalid("recipe", "must be an object", recipe, received=f"{recipe!r:.60}")
        values = typed_fields(
            cls, {**data, **_listed_teacher(data), "recipe": Recipe.from_dict(recipe)}, "A run's configuration"
        )
        # Before 0.2 only the given text was kept: a path, if it exists here, or else a name.
        values.setdefault("weights_path", places.of_weights(values.get("weights")))
        values.setdefault("teacher_path", tuple(map(places.of_weights, values.get("teacher", ()))))
        return cls(**values)


def _listed_teacher(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the teacher of a ``record`` from before there could be several, as lists; nothing for other records."""
    given = record.get("teacher")
    if not isinstance(given, str | None):
        return {}
    names = ("teacher", "teacher_path", "teacher_sha256")
    # The path of a name is null.
    return {name: [record[name]] if given is not None else [] for name in names if name in record}


def trains_head_alone(asked: TrainRequest | RunConfig, recipe: Recipe) -> bool:
    """Return whether the base is frozen and gets the same images in every epoch, so that its features are fixed."""
    return asked.freeze_base and not recipe.varies_images


def require_consistent(asked: TrainRequest | RunConfig, recipe: Recipe) -> None:
    """Check that the settings in ``asked`` do not contradict each other or ``recipe``.

    Raises:
        InvalidValueError: when they do. The message names the settings.
    """
    for field, message in _contradictions(asked, recipe):
        raise InvalidValueError(message, field=field, value=getattr(asked if hasattr(asked, field) else recipe, field))


def _contradictions(asked: TrainRequest | RunConfig, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the messages of contradictions, each with the field that it is about."""
    if asked.freeze_base and asked.weights is None:
        yield (
            "freeze_base",
            "`freeze_base` needs a trained base: give `weights` too, a run, a file or a name such as"
            f" {DEFAULT_WEIGHTS}. Received: no weights",
        )
    if asked.freeze_base and recipe.muon:
        yield (
            "muon",
            "`muon` trains convolution kernels, which `freeze_base` keeps as they are: leave out one of the two."
            f" Received: `muon` {recipe.muon:g}, `freeze_base`",
        )
    if not asked.teacher and recipe.needs_teacher:
        named = ((name, getattr(recipe, name)) for name in ("distillation", "distillation_temperature"))
        received = ", ".join(f"`{name}` {value:g}" for name, value in named if value is not None)
        yield (
            "teacher",
            "`distillation` and `distillation_temperature` are settings for a teacher: give `teacher` too, or leave out"
            f" both, also in a recipe file. Received: no teacher, {received}",
        )
    alone = trains_head_alone(asked, recipe)
    if asked.teacher and alone:
        yield (
            "teacher",
            "With `freeze_base` and no augmentation the head is trained on features, and a teacher needs images: leave"
            " out `teacher` or `freeze_base`, or augment (`flip`).",
        )
    if alone and asked.precision not in (None, "float32"):
        yield (
            "precision",
            "With `freeze_base` and no augmentation the features of the base are computed once, in float32: leave out"
            f" `precision`. Received: {asked.precision}",
        )
    if asked.budget is not None and not recipe.cycle_peak:
        yield (
            "budget",
            "A budget needs a recipe whose learning rate falls to zero at the end of the run: fast, or one with a"
            f" `cycle_peak`. Received: {recipe.name}",
        )
