"""The learning-rate schedule of a recipe, one formula for the optimizer and for whoever shows it."""

from typing import Any

import numpy as np

from cifarnet.recipes import Recipe


def learning_rate(recipe: Recipe, steps_per_epoch: int, step: Any, xp: Any = np) -> Any:
    """The learning rate of ``step`` (0 for the first); ``xp`` is ``numpy``, or ``keras.ops`` for a tensor ``step``."""
    rate = recipe.learning_rate / (1.0 + recipe.lr_decay * step)
    if recipe.lr_drop:
        rate = rate * 0.5 ** xp.floor(step / (recipe.lr_drop * steps_per_epoch))
    for boundary in recipe.lr_boundaries:
        rate = rate * xp.where(step >= boundary, 0.1, 1.0)
    if recipe.warmup_steps:
        rate = xp.where(step < recipe.warmup_steps, recipe.warmup_learning_rate, rate)
    return rate


def keras_schedule(recipe: Recipe, steps_per_epoch: int) -> Any:
    """The schedule as Keras's optimizers take it."""
    import keras
    from keras import ops

    class RecipeSchedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return learning_rate(recipe, steps_per_epoch, ops.cast(step, "float32"), ops)

        def get_config(self) -> dict[str, Any]:
            return {"recipe": recipe.to_dict(), "steps_per_epoch": steps_per_epoch}

    return RecipeSchedule()
