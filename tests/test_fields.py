from dataclasses import dataclass, fields

import numpy as np
import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.fields import Range, option, options_of, received, require_valid, typed_fields
from cifarnet.recipes import Recipe
from cifarnet.runs.request import TrainRequest


@dataclass(frozen=True)
class Example:
    name: str
    steps: int | None = None
    rate: float = 0.1
    flip: bool = True
    boundaries: tuple[int, ...] = ()
    pairs: tuple[tuple[int, float], ...] = ()


def test_lists_become_tuples_and_whole_numbers_floats():
    data = {"name": "x", "steps": None, "rate": 1, "boundaries": [1, 2], "pairs": [[16, 1], [20, 0.5]]}
    values = typed_fields(Example, data, "An example")
    assert values == {"name": "x", "steps": None, "rate": 1.0, "boundaries": (1, 2), "pairs": ((16, 1.0), (20, 0.5))}
    assert type(values["rate"]) is float
    assert type(values["pairs"][0][1]) is float


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "stpes": 1}, "An example has no field stpes. Did you mean steps? Its fields are name, steps,"),
        ({"steps": 1}, "An example needs the field name. Received: steps"),
        ({}, "An example needs the field name. Received: no fields"),
        ({"name": 3}, "name must be a text. Received: 3"),
        ({"name": None}, "name must be a text. Received: null"),
        ({"name": "x", "steps": "1"}, 'steps must be a whole number or null. Received: "1"'),
        ({"name": "x", "steps": 1.0}, "steps must be a whole number or null. Received: 1.0"),
        ({"name": "x", "steps": True}, "steps must be a whole number or null. Received: true"),
        ({"name": "x", "rate": "fast"}, 'rate must be a number. Received: "fast"'),
        ({"name": "x", "rate": False}, "rate must be a number. Received: false"),
        ({"name": "x", "rate": 10**400}, "rate must be a number. Received: 1000"),
        ({"name": "x", "flip": 1}, "flip must be true or false. Received: 1"),
        ({"name": "x", "boundaries": 3}, "boundaries must be a list, each item a whole number. Received: 3"),
        (
            {"name": "x", "boundaries": [1, "2"]},
            'boundaries must be a list, each item a whole number. Received: [1, "2"]',
        ),
        (
            {"name": "x", "pairs": [[16]]},
            "pairs must be a list, each item a list of a whole number and a number. Received: [[16]]",
        ),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(data, message):
    with pytest.raises(InvalidValueError) as refused:
        typed_fields(Example, data, "An example")
    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) < 200


@dataclass(frozen=True)
class Described:
    steps: int | None = option(None, range=Range(1, 10), metavar="N", help="Steps.")
    kind: str = option("a", choices=("a", "b"), help="Kind.")
    fast: bool = option(False, help="Be fast.")
    other: int = 3


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Described(steps=11), "`steps` must be at least 1 and at most 10. Received: 11"),
        (Described(kind="c"), "`kind` must be a or b. Received: c"),
    ],
)
def test_values_are_checked_by_the_description_of_their_field(record, message):
    with pytest.raises(InvalidValueError) as refused:
        require_valid(record)
    assert str(refused.value) == message


def test_valid_and_unset_values_pass():
    require_valid(Described())
    require_valid(Described(steps=10, kind="b", other=-1))


def test_words_give_a_field_its_value():
    described = options_of(Described)
    assert list(described) == ["steps", "kind", "fast"]
    assert described["steps"].words("steps", 3) == ["--steps", "3"]
    assert described["steps"].words("steps", None) == []
    assert described["fast"].words("fast", True) == ["--fast"]
    assert described["fast"].words("fast", False) == ["--no-fast"]
    assert options_of(Recipe)["resolutions"].words("resolutions", ((16, 0.5), (20, 0.25))) == [
        "--resolutions",
        "16:0.5,20:0.25",
    ]


def test_every_number_of_a_recipe_has_a_range():
    described = options_of(Recipe)
    assert set(described) == {field.name for field in fields(Recipe)} - {"name"}
    for field in fields(Recipe):
        if field.name != "name" and not isinstance(field.default, bool | tuple):
            assert described[field.name].range, field.name


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"changes": {"speed": 1}}, "has no field"),
        (
            {"changes": {"epochs": 1, "steps": 2}},
            "`epochs` and `steps` give the length.* `epochs` 1, `steps` 2",
        ),
        (
            {"changes": {"epochs": 1}, "budget": 60.0},
            "`epochs` and `budget` give.* `epochs` 1, `budget` 60s",
        ),
        ({"budget": 0.0}, "`budget` must be above 0"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"validation_split": 1.0}, "`validation_split` must be above 0 and below 1"),
        ({"on_nan": "hope"}, "`on_nan` must be stop or restore"),
        ({"on_nan": None}, "`on_nan` must be a text. Received: None"),
        ({"jit": "no"}, "`jit` must be true or false or None. Received: 'no'"),
        ({"freeze_base": "no"}, "`freeze_base` must be true or false. Received: 'no'"),
        ({"seed": 1.5}, "`seed` must be a whole number. Received: 1.5"),
        ({"seed": True}, "`seed` must be a whole number. Received: True"),
        ({"budget": 10**400}, "`budget` must be a number or None. Received: 1000"),
        ({"budget": 10**5000}, "`budget` must be a number or None. Received: a whole number of"),
        ({"model": 20}, "`model` must be a text or None. Received: 20"),
        ({"changes": None}, "`changes` must be a mapping. Received: None"),
        ({"changes": {3: 1}}, 'no field "3"'),
        ({"changes": {"batch_sise": 1}}, "Did you mean batch_size"),
        ({"changes": {"batch_size": 8.5}}, "`batch_size` must be a whole number. Received: 8.5"),
        ({"changes": {"steps": 1.5}}, "`steps` must be a whole number or None. Received: 1.5"),
        ({"changes": {"lr_boundaries": 5}}, "`lr_boundaries` must be a list, each item a whole number. Received: 5"),
        ({"changes": {"budget": 60}}, 'no field "budget"\\. It is an option .*: give it as `budget`\\. Received: '),
        ({"changes": {"resolutions": "20:0.4"}}, "`resolutions` must be a list, each item a list of"),
    ],
)
def test_a_request_that_can_not_be_meant_is_refused(asked, message):
    with pytest.raises(InvalidValueError, match=message):
        TrainRequest(**asked)


@pytest.mark.parametrize(
    ("asked", "field", "valid"),
    [
        ({"seed": -1}, "seed", "at least 0 and at most 9,223,372,036,854,775,808"),
        ({"seed": 1.5}, "seed", "a whole number"),
        ({"on_nan": "hope"}, "on_nan", "('stop', 'restore')"),
        ({"recipe": 3}, "recipe", "a Recipe or a name"),
        ({"weights": 3}, "weights", "a run, a weight file or a name such as resnet20, as str or pathlib.Path"),
    ],
)
def test_an_error_has_its_field_and_what_is_valid(asked, field, valid):
    with pytest.raises(InvalidValueError) as refused:
        TrainRequest(**asked)
    assert (refused.value.field, refused.value.value, str(refused.value.valid)) == (field, asked[field], valid)


def test_values_are_converted_to_the_declared_types():
    request = TrainRequest(seed=np.int64(3), budget=60, changes={"lr_boundaries": [2, 3], "l2": np.float32(0.5)})
    assert (request.seed, request.budget, request.changes) == (3, 60.0, {"lr_boundaries": (2, 3), "l2": 0.5})
    assert [type(value) for value in (request.seed, request.budget, request.changes["l2"])] == [int, float, float]
    recipe = Recipe(name="x", epochs=1, lr_boundaries=[1000], resolutions=[[16, 1]])
    assert (recipe.lr_boundaries, recipe.resolutions) == ((1000,), ((16, 1.0),))
    assert hash(recipe) == hash(Recipe.from_dict(recipe.to_dict()))


def test_received_values_are_written_like_options():
    values = {"lr_boundaries": (3, 5), "resolutions": ((20, 0.9),), "flip": False, "nesterov": True, "l2": 0.5}
    shown = received(values, options_of(Recipe))
    assert shown == "`lr_boundaries` 3,5, `resolutions` 20:0.9, no `flip`, `nesterov`, `l2` 0.5"
