"""Choose the network or the initial weights of a run, if the request leaves them open."""

from collections.abc import Sequence
from dataclasses import replace

from cifarnet.backend.devices import Device
from cifarnet.choices import DEFAULT_WEIGHTS, FEW_IMAGES
from cifarnet.data.named import find_named
from cifarnet.errors import InvalidValueError
from cifarnet.models.spec import ModelSpec
from cifarnet.plurals import verb
from cifarnet.runs.request import TrainRequest
from cifarnet.training.origins import Origins
from cifarnet.training.run_data import RunData
from cifarnet.training.setup import Prepared, recipe_for, require_muon
from cifarnet.weights import catalog
from cifarnet.weights.formats import load_weights

BEST = {"cpu": "airbench94-slim"}
"""By kind of device, the network with the highest accuracy in every budget that was measured: 1 to 20 minutes of one
AVX2 core for 50,000 images, and 3 minutes for 2,000 (benchmarks/README.md, section Networks within a budget)."""


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
    if classes := _familiar_classes(data.train.class_names, base.class_names):
        return prepared, (
            f"random weights: the classes are {classes}, so the images may be those that {DEFAULT_WEIGHTS} was trained"
            f" on; `weights` {DEFAULT_WEIGHTS} if they are your own",
        )
    request, spec = replace(request, weights=DEFAULT_WEIGHTS), replace(base.spec, image_size=inputs.image_size)
    if unfit := _unfit_changes(request, spec):
        names, does = " and ".join(f"`{name}`" for name in unfit), verb(len(unfit), "does", "do")
        return prepared, (f"random weights: {names} {does} not go with the recipe fine-tune for {base.spec.title}",)
    note = (
        f"starts from the weights {DEFAULT_WEIGHTS}, because the images are few; `model` {base.spec.name} `recipe` fast"
        " starts from random weights"
    )
    return Prepared(request, recipe_for(request, spec), base.spec.name, inputs, Origins(base)), (note,)


def _familiar_classes(names: Sequence[str], known: Sequence[str]) -> str:
    """Return what the class ``names`` have in common with the ``known`` ones, in words; an empty text for nothing."""
    folded = {name.casefold() for name in names}
    if all(name.isdecimal() for name in folded):
        return "numbers"
    return "those of CIFAR-10" if folded <= {name.casefold() for name in known} else ""


def _unfit_changes(request: TrainRequest, spec: ModelSpec) -> list[str]:
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
        require_muon(recipe_for(request, spec), spec)
    except InvalidValueError:
        return False
    return True


def with_best_network(prepared: Prepared, device: Device) -> tuple[Prepared, tuple[str, ...]]:
    """Return ``prepared`` with the best network within a budget on ``device``, and a note on it.

    A request that does not leave the network open keeps it.

    Raises:
        InvalidValueError: when the recipe has settings that the network does not take.
    """
    request = prepared.request
    if not request.leaves_network_open:
        return prepared, ()
    size = prepared.inputs.image_size
    model = best_network(device, size)
    spec = ModelSpec(model, image_size=size)
    require_muon(prepared.recipe, spec)
    if model == prepared.model:
        return prepared, ()
    note = f"{spec.title} is the best network within a budget on a CPU; `model` chooses another"
    return replace(prepared, model=model, recipe=recipe_for(request, spec)), (note,)


def best_network(device: Device, image_size: int) -> str:
    """Return the network to train within a budget on ``device``, on images of ``image_size`` pixels.

    It is the default network on devices that were not measured, and for images that the best one does not take.
    """
    name = BEST.get(device.kind)
    return name if name and ModelSpec(name).family.takes(image_size) else ModelSpec().name
