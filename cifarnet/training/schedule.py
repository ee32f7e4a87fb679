"""The position in a run, and the learning rate and image size at a position: plain functions of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet.errors import InvalidValueError
from cifarnet.models.spec import ModelSpec
from cifarnet.recipes import Recipe

FULL_SIZE_STEPS = 20
"""The least steps at full size after small images. Fewer were not measured.

At the same cost, the accuracy on CIFAR-10 (JPEG-75) was 63 % after 210 steps, the last 21 at full size, and 52 % after
100 steps, all at full size; 73 % after 420 steps, and 63 % after 200."""

ENOUGH_FULL_SIZE_STEPS = 100
"""The least steps at full size after small images in a run of fixed length, where small images only save time.

On the synthetic set, the accuracy after 240 steps was 98.7 and 99.0 % with the last 24 at full size, and 99.3 % with
all at full size."""


@dataclass(frozen=True)
class Plan:
    """The position of each step in a run, from 0 at its beginning to 1 at its end.

    A run of fixed length has one plan. A run with a time budget gets a new plan after each measurement of its speed.

    Attributes:
        steps: number of steps of the whole run.
        step: the step from which the plan holds.
        position: the position after ``step`` steps. From there it increases linearly to 1 after ``steps`` steps.
    """

    steps: int
    step: int = 0
    position: float = 0.0

    @property
    def slope(self) -> float:
        """The increase of the position per step."""
        return (1 - self.position) / max(1, self.steps - self.step)

    def at(self, step: float) -> float:
        """Return the position after ``step`` steps."""
        return self.position + (step - self.step) * self.slope


def learning_rate(recipe: Recipe, steps_per_epoch: int, step: Any, position: Any, xp: Any = np) -> Any:
    """Return the learning rate of a step.

    Args:
        recipe: the recipe.
        steps_per_epoch: number of steps in an epoch.
        step: the step, 0 for the first.
        position: the position of the step in the run, from 0 to 1.
        xp: ``numpy`` for numbers, or ``keras.ops`` for tensors.
    """
    if recipe.cycle_peak:
        rising, falling = position / recipe.cycle_peak, (1 - position) / (1 - recipe.cycle_peak)
        return recipe.learning_rate * xp.maximum(xp.minimum(rising, falling), 0.0)
    rate = recipe.learning_rate / (1.0 + recipe.lr_decay * step)
    if recipe.lr_drop:
        rate = rate * 0.5 ** xp.floor(step / (recipe.lr_drop * steps_per_epoch))
    for boundary in recipe.lr_boundaries:
        rate = rate * xp.where(step >= boundary, 0.1, 1.0)
    if recipe.warmup_steps:
        rate = xp.where(step < recipe.warmup_steps, recipe.warmup_learning_rate, rate)
    return rate


def spans(recipe: Recipe, full_size: int) -> list[tuple[float, float, int]]:
    """Return the parts of a run as (begin, end, image size in pixels). Begin and end are positions from 0 to 1."""
    found, begin = [], 0.0
    for size, share in recipe.resolutions:
        end = min(1.0, begin + share)
        found.append((begin, end, min(size, full_size)))
        begin = end
    if begin < 1 - 1e-9:
        found.append((begin, 1.0, full_size))
    return found


def ahead(spans: Sequence[tuple[float, float, int]], position: float) -> list[tuple[int, float]]:
    """Return the rest of ``spans`` from ``position`` on as (image size in pixels, share of the whole run)."""
    return [(size, end - max(begin, position)) for begin, end, size in spans if end > position]


def checks_due(checks: int, position: float) -> int:
    """Return how many of ``checks`` checks, spread evenly over the run, are due at ``position``."""
    # Rounding can make the position at the end of a fifth of a run slightly less than 0.2.
    return int(position * checks + 1e-9)


def ends_with_check(checks: int, done: int, plan: Plan, step: int) -> bool:
    """Return whether the held-out images are classified at the end of an epoch.

    The number of checks done decides, because a new plan changes which positions earlier steps seem to have had.

    Args:
        checks: number of checks, spread evenly over the run; 0: one after every epoch.
        done: how many of them were done before.
        plan: the plan at the end of the epoch.
        step: the number of steps done then.
    """
    return not checks or step >= plan.steps or checks_due(checks, plan.at(step)) > done


def full_size_steps(recipe: Recipe, full_size: int, steps: int) -> int:
    """Return how many of the ``steps`` of a run are trained on images of full size."""
    shares = (end - begin for begin, end, size in spans(recipe, full_size) if size == full_size)
    return round(steps * sum(shares))


def require_sizes(recipe: Recipe, spec: ModelSpec) -> None:
    """Check that the network of ``spec`` takes the image sizes of ``recipe``.

    Sizes above ``spec.image_size`` count as full size, so that recipes for 32 pixels can be used with smaller images.

    Raises:
        InvalidValueError: naming the first invalid size and the nearest valid one.
    """
    largest = max(spec.image_size, ModelSpec().image_size)
    for size, _ in recipe.resolutions:
        if size > largest or not _takes_in_training(spec, size):
            valid = [each for each in range(1, largest + 1) if _takes_in_training(spec, each)]
            nearest = min(valid, key=lambda each: abs(each - size))
            trained = "" if spec.image_size == ModelSpec().image_size else f" in a training at {spec.image_size} pixels"
            raise InvalidValueError(
                f"`resolutions` has an image size that {spec.title} does not take{trained}. It takes multiples of"
                f" {spec.family.image_multiple} pixels from {valid[0]} to {largest}; the nearest is {nearest}."
                f" Received: {size}",
                field="resolutions",
                value=size,
                valid=tuple(valid),
            )


def _takes_in_training(spec: ModelSpec, size: int) -> bool:
    """Return whether a run that ends at full size can have images of ``size`` pixels before."""
    return spec.family.takes(size) and (size >= spec.image_size or spec.at_size(size) is not None)


def scaled(recipe: Recipe, spec: ModelSpec) -> Recipe:
    """Return the recipe with the small images of ``fast``, which are for 32 pixels, in proportion to the image size.

    A network whose weights do not fit the small images is trained at full size throughout.
    """
    if not recipe.has_fast_sizes or spec.image_size <= ModelSpec().image_size:
        return recipe
    recipe = recipe.for_image_size(spec.image_size)
    fits = all(_takes_in_training(spec, size) for size, _ in recipe.resolutions)
    return recipe if fits else recipe.with_changes(resolutions=())


def size_at(recipe: Recipe, full_size: int, position: float) -> int:
    """Return the image size in pixels at ``position``; after the end, the last one."""
    path = spans(recipe, full_size)
    return next((size for size, _ in ahead(path, position)), path[-1][2])
