"""Set up a run: resolve a request to a recipe, a network, images and a configuration."""

import hashlib
import json
import time
from dataclasses import dataclass, fields, replace

from cifarnet import places
from cifarnet.backend.devices import Device, Execution, gpu_names, usable_cores
from cifarnet.data.dataset import Splits
from cifarnet.data.sources import load_data, source_name
from cifarnet.errors import InvalidValueError
from cifarnet.events import Warned
from cifarnet.models.spec import MODELS, ModelSpec
from cifarnet.plurals import counted, verb
from cifarnet.preprocessing import Normalization
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs.config import RunConfig, RunInputs, require_consistent, trains_head_alone
from cifarnet.runs.recipe_files import find_recipe
from cifarnet.runs.request import TrainRequest
from cifarnet.training.budget import too_little_time
from cifarnet.training.distribute import Strategy, require_divisible
from cifarnet.training.origins import (
    Origins,
    common_test_split,
    refuse_equal_teachers,
    refuse_other_network,
    refuse_other_task,
    warn_of_learned_images,
)
from cifarnet.training.run_data import RunData
from cifarnet.training.schedule import ENOUGH_FULL_SIZE_STEPS, full_size_steps, require_sizes, scaled
from cifarnet.training.session import Session
from cifarnet.weights.record import Weights, require_storable


@dataclass(frozen=True)
class Setup:
    """A run that is ready to be trained.

    Attributes:
        config: its configuration.
        data: its images.
        origins: its initial weights and its teachers.
        spec: its network.
        normalization: of the input of the network.
        data_seconds: the seconds that reading the images took.
        notes: how the recipe was adapted to the run, as text for the user.
        keeps_sizes: whether the user gave the image sizes of the recipe, so that a short budget keeps them.
    """

    config: RunConfig
    data: RunData
    origins: Origins
    spec: ModelSpec
    normalization: Normalization
    data_seconds: float
    notes: tuple[str, ...] = ()
    keeps_sizes: bool = False

    @property
    def keeps_head(self) -> bool:
        """Whether the head starts from the head of the initial weights, which have the same classes."""
        base = self.origins.base
        return base is not None and base.class_names == self.data.train.class_names

    @property
    def grown_from(self) -> ModelSpec | None:
        """The network of the initial weights, if the trained network has more units; None otherwise."""
        base = self.origins.base
        return base.spec if base and base.spec.name != self.spec.name else None


@dataclass(frozen=True)
class Prepared:
    """A request with its recipe, network and weights. What depends on the images and the device is not resolved."""

    request: TrainRequest
    recipe: Recipe
    model: str
    inputs: RunInputs
    origins: Origins


def prepare(request: TrainRequest) -> Prepared:
    """Find the recipe, the weights and the network of ``request``.

    Raises:
        InvalidValueError: when they don't fit each other.
        WeightsError: when weights are missing or can't be read.
    """
    inputs = located_inputs(request)
    recipe = named_recipe_of(request, request.model)
    # Checked before weights are read, which may take time.
    require_consistent(request, recipe)
    if request.image_size is not None:
        require_storable(ModelSpec(request.model or ModelSpec().name, image_size=request.image_size))
    origins = Origins.load(inputs)
    refuse_equal_teachers(inputs, origins)
    known = origins.base.spec if origins.base else ModelSpec()
    model = known.name if request.model is None else request.model
    spec = ModelSpec(model, image_size=known.image_size if request.image_size is None else request.image_size)
    require_storable(spec)
    if origins.base:
        refuse_other_network(inputs, known, spec, request.freeze_base)
    recipe = recipe_for(request, spec)
    if not request.leaves_network_open:
        require_muon(recipe, spec)
    return Prepared(request, recipe, model, replace(inputs, image_size=spec.image_size), origins)


def recipe_for(request: TrainRequest, spec: ModelSpec) -> Recipe:
    """Return the recipe of ``request`` for the network ``spec``."""
    recipe = named_recipe_of(request, spec.name)
    if request.adapts_to_device:
        recipe = scaled(recipe, spec)
    require_sizes(recipe, spec)
    return recipe


def require_muon(recipe: Recipe, spec: ModelSpec) -> None:
    """Check that Muon can train the network of ``spec`` if ``recipe`` asks for it.

    Raises:
        InvalidValueError: when it can't.
    """
    if recipe.muon and not spec.family.takes_muon:
        names = [name for family in MODELS.values() if family.takes_muon for name in family.names]
        raise InvalidValueError(
            "`muon` needs a network with batch normalization after every convolution:"
            f" {' or '.join(names)}. Give one of these as `model`, or leave out `muon`."
            f" Received: `muon` {recipe.muon:g}, {spec.title}",
            field="muon",
            value=recipe.muon,
        )


def request_sha256(prepared: Prepared) -> str:
    """Return the SHA-256 of a request, its recipe and the absolute paths of its inputs, in hexadecimal digits.

    It is that of the same command in the same folder.
    """
    request = prepared.request
    # These are in the recipe and the inputs, and the backend is that of an interrupted run.
    resolved = {"recipe", "changes", "model", "backend", *(field.name for field in fields(RunInputs))}
    settings = {
        "recipe": prepared.recipe.to_dict(),
        "model": prepared.model,
        **vars(prepared.inputs),
        **{field.name: getattr(request, field.name) for field in fields(request) if field.name not in resolved},
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def located_inputs(request: TrainRequest) -> RunInputs:
    """Return the inputs of ``request``, with the absolute paths of its data, weights and teachers.

    The image size may be that of the weights, which are not read here.
    """
    data, weights = source_name(request.data), None if request.weights is None else str(request.weights)
    return RunInputs(
        data=data,
        data_path=places.of_data(data),
        weights=weights,
        weights_path=places.of_weights(weights),
        teacher=request.teachers,
        teacher_path=tuple(map(places.of_weights, request.teachers)),
        test_split=request.test_split,
        validation_split=request.validation_split,
        seed=request.seed,
        skip_broken=request.skip_broken,
    )


def named_recipe_of(request: TrainRequest, model: str | None = None) -> Recipe:
    """Return the recipe of ``request`` or the default one, with the requested changes.

    A named recipe is adapted to the network ``model`` before the changes.

    Raises:
        InvalidValueError: when there is no such recipe, or a change is invalid.
        RunError: when the recipe is in a damaged config.json.
    """
    name = request.recipe
    if name is None:
        name = "fine-tune" if request.weights else "fast" if request.budget is not None else "documented"
    recipe = name if isinstance(name, Recipe) else find_recipe(name)
    if model is not None and isinstance(name, str) and name in RECIPES:
        recipe = recipe.for_model(model)
    return recipe.with_changes(**request.changes)


def read_images(prepared: Prepared, session: Session) -> tuple[RunInputs, RunData, float]:
    """Read the images of a new run, and check that they fit the initial weights and the teachers.

    Returns:
        The inputs with the resolved ``test_split``, the images, and the seconds that reading took.

    Raises:
        DataError: when they can't be read.
        InvalidValueError: when they don't fit the request, a teacher or the initial weights.
        BudgetError: when reading took longer than the budget.
    """
    request, inputs, origins = prepared.request, prepared.inputs, prepared.origins
    began = time.monotonic()

    def load(source: str, split: float | None, image_size: int) -> Splits:
        return load_data(
            source,
            test_split=split,
            mirrors=session.mirrors,
            image_size=image_size,
            skip_broken=inputs.skip_broken,
            report=session.data_report,
        )

    inputs = replace(inputs, test_split=common_test_split(inputs, origins, load))
    data = RunData.load(inputs, session.mirrors, session.data_report)
    seconds, used = time.monotonic() - began, time.monotonic() - session.started
    if request.budget and used > request.budget:
        raise too_little_time(request.budget, used, seconds)
    warn_of_left_out(data, session)
    warn_of_enlarged(data, session)
    for name, teacher in zip(inputs.teacher, origins.teachers, strict=True):
        refuse_other_task(name, teacher, data)
    warn_of_learned_images(inputs, origins, data, load, session.report)
    names = data.train.class_names
    if request.classes not in (None, len(names)):
        raise InvalidValueError(
            f"{inputs.data} has {counted(len(names), 'class')} ({', '.join(names)}). Received: `classes`"
            f" {request.classes}"
        )
    return inputs, data, seconds


def warn_of_left_out(data: RunData, session: Session) -> None:
    """Warn of the files that are not read."""
    for files in data.left_out:
        session.report(Warned(files.line))


def warn_of_enlarged(data: RunData, session: Session) -> None:
    """Warn of images that are enlarged to more than the usual size. That costs time and adds no detail."""
    size = data.train.images.shape[1]
    if size <= ModelSpec().image_size or not data.enlarged:
        return
    total = sum(map(len, {id(part): part for part in (data.train, data.held_out, data.test)}.values()))
    each = "All images are"
    if data.enlarged < total:
        each = f"{data.enlarged:,} of {counted(total, 'image')} {verb(data.enlarged, 'is', 'are')}"
    session.report(
        Warned(f"{each} smaller than {size}x{size} pixels. They are enlarged, which takes time and adds no detail.")
    )


def network_for(model: str, recipe: Recipe, known: Weights | None, data: RunData) -> tuple[ModelSpec, Normalization]:
    """Return the network for ``data``, and the normalization of its input: that of ``known`` weights if there are any.

    Raises:
        InvalidValueError: when the network is too large to be stored, or does not take the image sizes of ``recipe``.
    """
    spec = ModelSpec(model, len(data.train.class_names), data.train.images.shape[1])
    require_storable(spec)
    require_sizes(recipe, spec)
    return spec, known.normalization if known else Normalization.of(data.train.images)


def resolve(
    prepared: Prepared, inputs: RunInputs, data: RunData, backend: str, device: Device, strategy: Strategy
) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the complete configuration of a new run on ``device``, and notes on how its recipe was adapted.

    Raises:
        InvalidValueError: for fields that contradict each other.
    """
    request, base, teachers = prepared.request, prepared.origins.base, prepared.origins.teachers
    recipe = prepared.recipe.on(device.kind) if request.adapts_to_device else prepared.recipe
    recipe, notes = _adapted_recipe(recipe, prepared, data)
    require_divisible(recipe.batch_size, strategy.devices)
    best = Execution.best_on(device)
    precision = "float32" if trains_head_alone(request, recipe) else best.precision
    config = RunConfig(
        **vars(inputs),
        recipe=recipe,
        model=prepared.model,
        backend=backend,
        precision=request.precision or precision,
        jit=strategy.compiles and best.jit if request.jit is None else request.jit,
        data_sha256=data.sha256,
        weights_sha256=base.sha256() if base else None,
        teacher_sha256=tuple(teacher.sha256() for teacher in teachers),
        cores=usable_cores() if device.kind == "cpu" else None,
        devices=strategy.devices,
        sync_batchnorm=request.sync_batchnorm,
        freeze_base=request.freeze_base,
        budget=request.budget,
        on_nan=request.on_nan,
    )
    strategy.require_trainable(config, ModelSpec(prepared.model))
    if device.kind == "gpu" and strategy.devices == 1 and (idle := len(gpu_names(backend)) - 1) > 0:
        others = "another GPU is" if idle == 1 else f"{idle} other GPUs are"
        notes += (f"{others} idle: use them for more seeds (`seeds`), or split the batches (`devices` gpu)",)
    return config, notes


def _adapted_recipe(recipe: Recipe, prepared: Prepared, data: RunData) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe adapted to the data and the length of the run, and notes on the changes.

    With a teacher, unset fields of distillation are filled in. With a budget, timed steps decide later whether the run
    uses small images.
    """
    notes, request = [], prepared.request
    if prepared.origins.teachers:
        recipe = recipe.with_teacher()
    images, size = len(data.train), data.train.images.shape[1]
    fitting = recipe.for_images(images, prepared.model)
    if fitting != recipe:
        make = verb(images, "makes", "make")
        notes.append(f"batches of {fitting.batch_size}: {counted(images, 'training image')} {make} few larger batches")
    recipe = fitting
    if "resolutions" in request.changes or not recipe.has_fast_sizes:
        return recipe, tuple(notes)
    steps = full_size_steps(recipe, size, recipe.total_steps(images))
    if not request.budget and steps < ENOUGH_FULL_SIZE_STEPS:
        notes.append("images at full size throughout: the run is too short to begin with small ones")
        recipe = recipe.with_changes(resolutions=())
    elif size > ModelSpec().image_size:
        sides = [side for side, _ in recipe.resolutions]
        notes.append(f"begins with images of {sides[0]} to {sides[-1]} pixels: those of the recipe in proportion")
    return recipe, tuple(notes)
