"""Advice for long runs: a guess of the run's time, and options that take less time."""

from dataclasses import replace

from cifarnet.backend.gpus import gpu_packages
from cifarnet.durations import DURATION
from cifarnet.events import Advice, Planned
from cifarnet.fields import options_of
from cifarnet.models.layers import total_macs
from cifarnet.models.spec import ModelSpec, describe
from cifarnet.recipes import Recipe
from cifarnet.runs.request import LENGTHS, TrainRequest
from cifarnet.training.network_choice import best_network, unfit_changes
from cifarnet.training.setup import named_recipe_of

BUDGETS = (("2m", "75.9 %"), ("10m", "85.3 %"))
"""Time budgets and the accuracy on CIFAR-10 within them, on two AVX2 cores (the table in README.md).

It is that of the networks that a budget chooses.
"""

# Training a ResNet-20 on images of full size, by one core of a CPU: 400 images/s on two AVX2 cores, 223 on two Zen 1
# cores, 750 on one with AMX (benchmarks/README.md).
_CPU_IMAGES_PER_SECOND = 200.0


def with_advice(plan: Planned) -> Planned:
    """Return ``plan`` with a guess of the run's time, and advice on options that take less time."""
    return replace(plan, guessed_seconds=guessed_seconds(plan), advice=_advice(plan))


def guessed_seconds(plan: Planned) -> float | None:
    """Return a guess of the seconds that a run takes on a CPU, within a factor of about three; None if unknown.

    It is shown before a step has been timed, because the first steps of a large network take minutes.
    """
    head_alone = plan.frozen_base and not plan.recipe.varies_images
    if plan.device.kind != "cpu" or plan.budget or head_alone:
        return None
    image_size = plan.spec.image_size
    shrunk = sum(share * (1 - (side / image_size) ** 2) for side, share in plan.recipe.resolutions if side < image_size)
    epochs_left = plan.epochs - plan.start_epoch
    images = min(plan.steps * plan.recipe.batch_size, epochs_left * plan.train_images) * (1 - shrunk)
    size = _macs(plan.spec) / _macs(ModelSpec())
    return images * size / (_CPU_IMAGES_PER_SECOND * plan.device.cores)


def _advice(plan: Planned) -> Advice:
    # A network can grow from smaller weights, but it can't shrink.
    model = plan.spec.name if plan.weights and not plan.grown_from else (plan.grown_from or ModelSpec()).name
    share = _macs(replace(plan.spec, name=model)) / _macs(plan.spec)
    trainable = ModelSpec(model).family.takes_muon or not plan.recipe.muon
    is_new = not (plan.start_epoch or plan.start_batch)
    request = _with_budget(plan)
    chooses = plan.device.kind == "cpu" and request.leaves_network_open
    return Advice(
        budget=BUDGETS[0][0],
        reached=BUDGETS if chooses else (),
        replaced=_replaced_by_budget(plan, request, chooses),
        smaller_model=model if share < 1 and is_new and trainable else None,
        smaller_share=share,
        gpu_packages=gpu_packages(plan.device.backend) if plan.device.kind == "cpu" else None,
    )


def _with_budget(plan: Planned) -> TrainRequest:
    """Return the request for a budget with the weights, the teachers and the changes of the recipe of ``plan``."""
    return TrainRequest(
        recipe="fast" if plan.recipe.name == "fast" else None,
        budget=DURATION.parse(BUDGETS[0][0]),
        weights=plan.weights,
        teacher=plan.teachers,
        changes={name: value for name, value in plan.recipe.changed_options().items() if name not in LENGTHS},
    )


def _replaced_by_budget(plan: Planned, request: TrainRequest, chooses: bool) -> tuple[str, ...]:
    """Return the options that a run like ``plan`` must not have to be trained with the budget of ``request``.

    Options that may have been given with the value of the default are among them. ``chooses`` is whether the budget
    chooses the network.
    """
    spec, options = plan.spec, []
    if chooses:
        assert request.budget is not None
        model = best_network(plan.device, plan.precision, spec.image_size, request.budget, plan.train_images)
        spec = replace(spec, name=model)
        options += ["--depth", "--model"]
    if plan.recipe.name != named_recipe_of(replace(request, changes={})).name:
        options.append("--recipe")
    described, changed = options_of(Recipe), plan.recipe.changed_options()
    names = [*(name for name in LENGTHS if name in changed), *unfit_changes(request, spec)]
    return (*options, *(described[name].words(name, changed[name])[0] for name in names))


def _macs(spec: ModelSpec) -> int:
    return total_macs(describe(spec))
