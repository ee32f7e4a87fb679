"""Choose the network or the initial weights of a run, if the request leaves them open."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cifarnet.backend.devices import Device, Execution, cpu_multiplies_bfloat16, cpu_quota, relative_speed
from cifarnet.choices import DEFAULT_WEIGHTS, FEW_IMAGES
from cifarnet.data.named import find_named
from cifarnet.errors import InvalidValueError
from cifarnet.models.spec import ModelSpec
from cifarnet.plurals import verb
from cifarnet.runs.config import require_consistent
from cifarnet.runs.request import TrainRequest
from cifarnet.training.origins import Origins, familiar_classes
from cifarnet.training.run_data import RunData
from cifarnet.training.setup import Prepared, recipe_for, require_muon
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights

_SLIM, _WIDE = "airbench94-slim", "airbench94"
MEASURED_IMAGES = 50_000
BEST: Mapping[str, Sequence[tuple[float, str]]] = {
    "bfloat16": ((0, _SLIM), (5, _WIDE)),
    "float32": ((0, _SLIM), (25, _WIDE)),
    "jax": ((0, _SLIM),),
}
"""The networks with the highest accuracy within a budget.

The rows are for a CPU that multiplies bfloat16, for other CPUs or another precision, and for JAX. Each network has the
minutes on two cores from which on it is the best, for ``MEASURED_IMAGES`` training images of 32x32 pixels
(benchmarks/README.md, section Networks within a budget)."""


def with_default_weights(prepared: Prepared, data: RunData) -> tuple[Prepared, tuple[str, ...]]:
    """Return ``prepared`` with the default weights to start from if ``data`` are few images of the user, and a note.

    A request with a network, weights, a teacher or a recipe keeps its own start. So do data sets with a name, and many
    images. Others start from random weights only with a note that gives the reason: changes that do not fit the recipe
    ``fine-tune``, or images that may be those that the weights were trained on, since they only have classes of the
    weights, or numbers for classes.
    """
    request, inputs = prepared.request, replace(prepared.inputs, weights=DEFAULT_WEIGHTS, weights_path=None)
    if request.decides_network or request.recipe or find_named(prepared.inputs.data) or len(data.train) > FEW_IMAGES:
        return prepared, ()
    # Not by ``catalog.find``, which would take a file or a folder of this name.
    base = load_weights(catalog.shipped()[DEFAULT_WEIGHTS].verify())
    if classes := familiar_classes(data.train.class_names, base.class_names, "CIFAR-10"):
        return prepared, (
            f"random weights: the classes are {classes}, so the images may be those that {DEFAULT_WEIGHTS} was trained"
            f" on; `weights` {DEFAULT_WEIGHTS} if they are your own",
        )
    request, spec = replace(request, weights=DEFAULT_WEIGHTS), replace(base.spec, image_size=inputs.image_size)
    if unfit := unfit_changes(request, spec):
        names, does = " and ".join(f"`{name}`" for name in unfit), verb(len(unfit), "does", "do")
        return prepared, (f"random weights: {names} {does} not go with the recipe fine-tune for {base.spec.title}",)
    note = (
        f"starts from the weights {DEFAULT_WEIGHTS}, because the images are few; `model` {base.spec.name} `recipe` fast"
        " starts from random weights"
    )
    return Prepared(request, recipe_for(request, spec), base.spec.name, inputs, Origins(base)), (note,)


def unfit_changes(request: TrainRequest, spec: ModelSpec) -> list[str]:
    """Return the names of the changes that the recipe of ``request`` for the network ``spec`` does not take."""
    if _takes(request, spec):
        return []
    alone = [
        name for name, value in request.changes.items() if not _takes(replace(request, changes={name: value}), spec)
    ]
    return alone or list(request.changes)


def _takes(request: TrainRequest, spec: ModelSpec) -> bool:
    """Return whether the recipe of ``request`` for the network ``spec`` takes its changes."""
    try:
        recipe = recipe_for(request, spec)
        require_muon(recipe, spec)
        require_consistent(request, recipe)
    except InvalidValueError:
        return False
    return True


def with_best_network(prepared: Prepared, device: Device, images: int) -> tuple[Prepared, tuple[str, ...]]:
    """Return ``prepared`` with the best network within its budget on ``device``, and a note on it.

    A request that does not leave the network open keeps it.

    Args:
        prepared: the request with its recipe.
        device: trains the network.
        images: number of training images.

    Raises:
        InvalidValueError: when the recipe has settings that the network does not take.
    """
    request = prepared.request
    if not request.leaves_network_open:
        return prepared, ()
    assert request.budget is not None
    size = prepared.inputs.image_size
    precision = request.precision or Execution.best_on(device).precision
    model = best_network(device, precision, size, request.budget, images)
    spec = ModelSpec(model, image_size=size)
    choice = f"{spec.title} is the best network within this budget on a CPU in {precision}; `model` chooses another"
    try:
        require_muon(prepared.recipe, spec)
        recipe = recipe_for(request, spec)
    except InvalidValueError as error:
        reason = "is the network of this budget; `model` chooses another"
        text = f"{spec.title} {reason}. {error}"
        raise InvalidValueError(text, field=error.field, value=error.value, valid=error.valid) from error
    return (prepared, ()) if model == prepared.model else (replace(prepared, model=model, recipe=recipe), (choice,))


def best_network(device: Device, precision: str, image_size: int, budget: float, images: int) -> str:
    """Return the network to train within a budget on ``device``.

    It is the default network on a GPU, where networks were not compared, and for images that the best one does not
    take. Larger images, and more images, take longer, so that the limits of ``BEST`` grow with them. They do not shrink
    with fewer images, for which ``airbench94`` was not measured.

    Args:
        device: trains the network.
        precision: number type of the feature maps.
        image_size: side of the images, in pixels.
        budget: seconds.
        images: number of training images.
    """
    if device.kind != "cpu":
        return ModelSpec().name
    fast = precision == "bfloat16" and cpu_multiplies_bfloat16()
    measured = BEST["jax" if device.backend == "jax" else "bfloat16" if fast else "float32"]
    pixels = max(images, MEASURED_IMAGES) * max(image_size, 32) ** 2
    speed = relative_speed(min(device.cores, cpu_quota())) / relative_speed(2)
    minutes = budget / 60 * speed * MEASURED_IMAGES * 32**2 / pixels
    fitting = [name for least, name in measured if minutes >= least and ModelSpec(name).family.takes(image_size)]
    return fitting[-1] if fitting else ModelSpec().name
