"""Advice for long runs: a guess of the run's time, and options that take less time."""

from dataclasses import replace

from cifarnet.backend.gpus import gpu_packages
from cifarnet.events import Advice, Planned
from cifarnet.models.layers import total_macs
from cifarnet.models.spec import ModelSpec, describe

BUDGETS = (("2m", "75.9 %"), ("10m", "85.3 %"))
"""Time budgets and the accuracy on CIFAR-10 within them, on two AVX2 cores (the table in README.md)."""

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
    is_new = not (plan.start_epoch or plan.start_batch)
    return Advice(
        budgets=BUDGETS,
        replaced=_replaced_by_budget(plan),
        smaller_model=model if share < 1 and is_new else None,
        smaller_share=share,
        gpu_packages=gpu_packages(plan.device.backend) if plan.device.kind == "cpu" else None,
    )


def _replaced_by_budget(plan: Planned) -> tuple[str, ...]:
    """Return the options of the run that a time budget replaces."""
    # Without its option, the budget chooses the network.
    model = () if plan.weights or plan.spec.name == ModelSpec().name else ("--model",)
    default = "fine-tune" if plan.weights else "documented"
    recipe = ("--recipe",) if plan.recipe.name not in (default, "fast") else ()
    changed = plan.recipe.differences()
    return model + recipe + tuple(f"--{name}" for name in ("epochs", "steps") if changed.get(name) is not None)


def _macs(spec: ModelSpec) -> int:
    return total_macs(describe(spec))
