"""Find recipes by their names, or read them from JSON files such as the config.json of a run."""

import os
from pathlib import Path

from cifarnet.errors import InvalidValueError, did_you_mean, invalid, without_marks
from cifarnet.json_files import read_object
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs.files import CONFIG, verified_config
from cifarnet.runs.request import option_hint


def named_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        InvalidValueError: for an unknown name.
    """
    if name in RECIPES:
        return RECIPES[name]
    # A name that looks like that of a file was probably meant as a file.
    known = [] if Path(name).suffix == ".json" or len(Path(name).parts) > 1 else RECIPES
    raise InvalidValueError(
        f"There is no recipe or file {name}.{did_you_mean(name, known)} Recipes are {', '.join(RECIPES)}. Give one"
        f" of them, or a JSON file with a recipe, such as a run's config.json. Received: {name}"
    )


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one in the file ``name``.

    Raises:
        InvalidValueError: when there is neither, or the file has no valid recipe.
        RunError: when the file is a damaged config.json of a run.
    """
    if not name:
        raise invalid("recipe", f"must not be empty: give {', '.join(RECIPES)} or a JSON file", name, received="''")
    # Unlike pathlib's methods, this does not raise an error for a name that is too long.
    if name in RECIPES or not os.path.exists(name):
        return named_recipe(name)
    if Path(name).is_dir():
        config = Path(name) / CONFIG
        advice = f"For the recipe of that run, give {config}." if config.exists() else "Give a JSON file with a recipe."
        raise InvalidValueError(f"{name} is a folder, not a recipe. {advice} Received: {name}")
    return read_recipe(Path(name))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a JSON file, which may be the config.json of a run.

    Raises:
        InvalidValueError: when the file can't be read or has no valid recipe.
        RunError: when the file is a damaged config.json of a run.
    """
    try:
        data = read_object(path)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"The recipe can't be read as JSON: {error}. Give a JSON file with a recipe, such as a run's config.json."
            f" Received: {path}"
        ) from error
    if isinstance(data.get("recipe"), dict):
        data = verified_config(data, path)["recipe"]
    if option := next(filter(option_hint, data), None):
        raise InvalidValueError(f"{path}: A recipe has no field {option}.{option_hint(option)} Received: {option}")
    try:
        return Recipe.from_dict(data)
    except InvalidValueError as error:
        raise InvalidValueError(f"{path}: {without_marks(str(error))}") from error
