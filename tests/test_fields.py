from dataclasses import dataclass

import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.fields import typed_fields


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
