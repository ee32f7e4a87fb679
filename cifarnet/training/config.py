"""What decides a run's result, as data: the content of its config.json."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from cifarnet import __version__, places, runs
from cifarnet.backend.devices import Device, Execution
from cifarnet.choices import BACKENDS, ON_NAN, PRECISIONS
from cifarnet.data.dataset import require_fraction
from cifarnet.data.sources import source_name
from cifarnet.errors import InvalidValueError, RunError, unknown_value
from cifarnet.fields import Range, typed_fields
from cifarnet.files import as_path
from cifarnet.json_files import shown
from cifarnet.models.spec import ModelSpec, model_name
from cifarnet.provenance import SEEDS, TEXT_LIMIT, TrainedOn
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.weights.record import LARGEST, require_storable

PLACES = ("data", "weights", "teacher")
"""The fields that may be paths, each with its absolute path beside it: ``data_path``, ``weights_path`` ..."""

_LONGEST_BUDGET = 366 * 24 * 3600.0
_CORES = Range(1, 2**20)
_DEPTHS = Range(0, LARGEST["depth"])


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run's result, and what its config.json holds.

    ``data``, ``weights`` and ``teacher`` may be given as paths too, and are kept as texts.
    ``model`` None means the network of ``weights``, or resnet20; a network deeper than ``weights`` grows from them.
    ``teacher`` names the weights whose answers it learns from, besides the labels.
    ``skip_broken`` leaves pictures out that can't be read.
    ``budget``, seconds, takes the place of the recipe's length.
    ``backend`` None means that of KERAS_BACKEND, or TensorFlow; ``precision`` and ``jit`` None what is fastest on the
    device (``cifarnet.backend.devices.Execution``).
    ``on_nan`` says what happens when the loss or a weight becomes NaN or infinite: ``stop``, or ``restore`` the last
    good checkpoint and go on at half the learning rate.
    ``data``, ``weights`` and ``teacher`` are kept as given; ``data_path``, ``weights_path`` and ``teacher_path`` are
    their absolute paths when the run started, and None for names.
    ``data_sha256``, ``weights_sha256`` and ``teacher_sha256`` are filled in when the run starts, so that it can only be
    resumed on the same images, with the same teacher, and from the same weights where it has to begin anew. So is
    ``cores``, the processor cores of a run on a CPU: another number gives other weights.
    """

    recipe: Recipe
    data: str = "cifar10"
    model: str | None = None
    seed: int = 0
    test_split: float | None = None
    validation_split: float | None = None
    weights: str | None = None
    freeze_base: bool = False
    budget: float | None = None
    backend: str | None = None
    precision: str | None = None
    jit: bool | None = None
    on_nan: str = "stop"
    teacher: str | None = None
    data_sha256: str | None = None
    weights_sha256: str | None = None
    teacher_sha256: str | None = None
    cores: int | None = None
    skip_broken: bool = False
    data_path: str | None = None
    weights_path: str | None = None
    teacher_path: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, Recipe):
            raise InvalidValueError(
                f"recipe takes a Recipe, such as cifarnet.RECIPES['fast']. Received: {self.recipe!r:.80}"
            )
        object.__setattr__(self, "data", source_name(self.data))
        for name in ("weights", "teacher"):
            if (place := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(as_path(place, name)))
        for name in ("test_split", "validation_split"):
            if (fraction := getattr(self, name)) is not None:
                require_fraction(_option(name), fraction)
        self._check_places()
        if self.model is not None:
            require_storable(ModelSpec(self.model))
        if self.backend not in (None, *BACKENDS):
            raise unknown_value("backend", str(self.backend), BACKENDS)
        if self.freeze_base and self.weights is None:
            raise InvalidValueError(
                "--freeze-base keeps a trained base fixed, so it needs one: give --weights RUN or FILE.h5 too."
            )
        if self.teacher is None and self.recipe.needs_teacher:
            named = ((name, getattr(self.recipe, name)) for name in ("distillation", "distillation_temperature"))
            raise InvalidValueError(
                "distillation and distillation_temperature say how a teacher is followed: give --teacher too, or leave"
                " both out, of a recipe's file as well. Received: no teacher, "
                + ", ".join(f"{name} {value:g}" for name, value in named if value is not None)
            )
        if self.teacher is not None and self.head_alone:
            raise InvalidValueError(
                "With --freeze-base and no augmentation the head sees features, and a teacher has to see images: leave"
                " --teacher or --freeze-base out, or augment (--flip)."
            )
        if self.precision not in (None, *PRECISIONS):
            raise unknown_value("precision", str(self.precision), PRECISIONS)
        if self.head_alone and self.precision not in (None, "float32"):
            raise InvalidValueError(
                "With --freeze-base and no augmentation the base's features are computed once, in float32: leave"
                f" --precision out. Received: {self.precision}"
            )
        if self.on_nan not in ON_NAN:
            raise unknown_value("on_nan", self.on_nan, ON_NAN)
        if self.budget is not None:
            if not 0 < self.budget <= _LONGEST_BUDGET:
                raise InvalidValueError(
                    f"A budget must be above 0 seconds and at most {_LONGEST_BUDGET:,.0f}, a year."
                    f" Received: {self.budget}"
                )
            if not self.recipe.cycle_peak:
                raise InvalidValueError(
                    f"A budget needs a recipe whose learning rate ends at zero whenever the time is over: fast, or one"
                    f" with a cycle_peak. Received: {self.recipe.name}"
                )
        if self.seed not in SEEDS:
            raise InvalidValueError(f"The seed must be 0 to {SEEDS.high:,}. Received: {shown(self.seed)}")
        _CORES.require("cores", self.cores)

    def _check_places(self) -> None:
        """Refuse paths, and checksums, that are too long."""
        for name in (f"{place}{kind}" for place in PLACES for kind in ("", "_path", "_sha256")):
            if len(text := getattr(self, name) or "") > TEXT_LIMIT:
                raise InvalidValueError(f"{name} must have at most {TEXT_LIMIT:,} characters. Received: {len(text):,}")

    def located(self) -> Self:
        """Return this configuration with the absolute paths of its data, weights and teacher."""
        return replace(
            self,
            data_path=places.keep_or_find(self.data, self.data_path, places.of_data(self.data)),
            weights_path=self._located(self.weights, self.weights_path),
            teacher_path=self._located(self.teacher, self.teacher_path),
        )

    @staticmethod
    def _located(text: str | None, recorded: str | None) -> str | None:
        return text and places.keep_or_find(text, recorded, places.of_weights(text))

    def place(self, name: str) -> str | None:
        """Return the absolute path of the field ``name`` (``data``, ``weights`` or ``teacher``), or its value."""
        found: str | None = getattr(self, f"{name}_path") or getattr(self, name)
        return found

    @property
    def source(self) -> str:
        """The data source to read, the same from every directory."""
        return self.data_path or self.data

    @property
    def trained_on(self) -> TrainedOn:
        """The record of the training images that weight files of this run carry."""
        return TrainedOn.from_dict(vars(self))

    @property
    def head_alone(self) -> bool:
        """Whether the fixed base sees the same images in every epoch, so that its features are computed but once."""
        return self.freeze_base and not self.recipe.varies_images

    def execution(self, device: Device) -> Execution:
        """How its steps run on ``device``: as the configuration says, and where it is silent as is fastest there."""
        best = Execution.best_on(device)
        return replace(
            best,
            precision=self.precision or ("float32" if self.head_alone else best.precision),
            jit=best.jit if self.jit is None else self.jit,
        )

    def command(self, file: Path) -> list[str]:
        """The ``cifarnet train`` that makes this run, as words: every option that is not at its default.

        A recipe of the user's own stands in ``file``, the run's config.json. Paths are absolute where they are known.
        """
        recipe = self.recipe
        named = recipe.name in RECIPES
        words = ["cifarnet", "train", "--model", self.model or ModelSpec().name]
        words += ["--recipe", recipe.name if named else str(file)]
        if weights := self.place("weights"):
            words += ["--weights", weights]
        if self.freeze_base:
            words.append("--freeze-base")
        if teacher := self.place("teacher"):
            words += ["--teacher", teacher]
        words += ["--data", self.source, "--seed", str(self.seed)]
        if self.budget is not None:
            words += ["--budget", f"{self.budget:.3f}".rstrip("0").rstrip(".") + "s"]
        for option in ("test_split", "validation_split", "precision"):
            if (value := getattr(self, option)) is not None:
                words += [_option(option), str(value)]
        if self.skip_broken:
            words.append("--skip-broken")
        if self.jit is not None:
            words.append("--jit" if self.jit else "--no-jit")
        if self.on_nan != ON_NAN[0]:
            words += ["--on-nan", self.on_nan]
        base = RECIPES[recipe.name].for_model(self.model or ModelSpec().name) if named else None
        changes = recipe.differences(base) if named else {}
        if self.budget is not None:  # Which takes the place of both.
            changes = {name: value for name, value in changes.items() if name not in ("epochs", "steps")}
        # Said in any case, lest a GPU leaves the small images out (see ``Recipe.on``).
        changes |= {"resolutions": recipe.resolutions} if recipe.name == "fast" else {}
        for name, value in changes.items():
            if isinstance(value, bool):
                words.append(_option(name) if value else _option(name).replace("--", "--no-", 1))
            elif name == "resolutions":
                words += [_option(name), ",".join(f"{side}:{_plain(share)}" for side, share in value)]
            elif isinstance(value, tuple):
                words += [_option(name), ",".join(map(str, value))]
            elif value is not None:
                words += [_option(name), str(value)]
        return [*words, "--backend", self.backend] if self.backend else words

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready data."""
        return {"cifarnet": __version__, **asdict(self), "recipe": self.recipe.to_dict()}

    @classmethod
    def read(cls, directory: Path) -> "RunConfig":
        """The configuration of the run in ``directory``.

        Raises:
            RunError: when there is none, or not a valid one.
        """
        # Cifarnet 0.1 knew neither precision nor jit.
        data = {"precision": "float32", "jit": False, **runs.read_config(directory)}
        data.pop("cifarnet", None)
        # Until format 2 of the weight files, a network was the depth of a ResNet.
        depth = data.pop("depth", None)
        try:
            if not isinstance(recipe := data.get("recipe"), dict):
                raise InvalidValueError(f"recipe must be an object. Received: {recipe!r:.60}")
            if depth is not None:
                _DEPTHS.require("depth", depth)
                data["model"] = model_name(depth)
            values = typed_fields(cls, {**data, "recipe": Recipe.from_dict(recipe)}, "A run's configuration")
            for place in ("weights", "teacher"):
                # Before 0.2 runs kept only what was typed: a path, if there is one here, or else a name.
                values.setdefault(f"{place}_path", places.of_weights(values.get(place)))
            return cls(**values)
        except InvalidValueError as error:
            raise RunError(f"{directory / runs.CONFIG} is not a valid run configuration: {error}") from error


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _plain(value: float) -> str:
    """The shortest text that means ``value``."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
