"""The rule by which weights are shipped as float16."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model_card(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import model_card

    return model_card


@pytest.mark.parametrize(
    ("right", "half", "text"),
    [
        (8999, True, "float16; the likeliest class of 5 of 10,000 test images changed, float32 scored 89.97%"),
        (8995, True, "float16; "),
        (8994, False, "float32; float16 would score 89.94%, and change the likeliest class of 5 of 10,000 test images"),
        (9000, False, "float32; "),
    ],
)
def test_float16_is_used_up_to_two_hundredths_of_a_point(model_card, right, half, text):
    rounding = model_card.Rounding(10_000, 8997, right, 5)
    assert rounding.half == half
    assert str(rounding).startswith(text)
