from pathlib import Path

import pytest

from cifarnet.choices import BACKENDS, ON_NAN, PRECISIONS
from cifarnet.cli.spelling import with_options
from cifarnet.errors import (
    did_you_mean,
    did_you_mean_path,
    invalid,
    listed,
    nearest,
    unknown_value,
    without_marks,
)

RECIPES = ("documented", "revised", "paper", "fast", "fine-tune")
SHIPPED = ("resnet20", "resnet32", "resnet44")
OPTIONS = ("--data", "--depth", "--epochs", "--resume", "--batch-size", "--learning-rate", "--label-smoothing", "--l2")


@pytest.mark.parametrize(
    ("received", "known", "meant"),
    [
        ("fsat", RECIPES, "fast"),
        ("FAST", RECIPES, "fast"),
        ("finetune", RECIPES, "fine-tune"),
        ("fine_tune", RECIPES, "fine-tune"),
        ("resnet02", SHIPPED, "resnet20"),
        ("resnet2", SHIPPED, "resnet20"),
        ("ResNet-44", SHIPPED, "resnet44"),
        ("cifar-10", ("cifar10", "synthetic"), "cifar10"),
        ("CIFAR10", ("cifar10", "synthetic"), "cifar10"),
        ("synthtic", ("cifar10", "synthetic"), "synthetic"),
        ("bf16", PRECISIONS, "bfloat16"),
        ("tf", BACKENDS, "tensorflow"),
        ("restart", ON_NAN, "restore"),
        ("--epoch", OPTIONS, "--epochs"),
        ("--learningrate", OPTIONS, "--learning-rate"),
        ("--lr", OPTIONS, "--learning-rate"),
        ("--bs", OPTIONS, "--batch-size"),
        ("abacus", BACKENDS, None),
        ("", RECIPES, None),
        ("--", OPTIONS, None),
        ("anything", (), None),
    ],
)
def test_the_nearest_of_known_names_is_found(received, known, meant):
    assert nearest(received, known) == meant
    assert did_you_mean(received, known) == (f" Did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (("a1", "b1"), "`x` must be a1 or b1. Did you mean a1? Received: A1"),
        (("a1", "b1", "c1"), "`x` must be a1, b1 or c1. Did you mean a1? Received: A1"),
        (("a1",), "`x` must be a1. Did you mean a1? Received: A1"),
    ],
)
def test_an_unknown_value_is_refused_with_the_known_ones(known, message):
    assert str(unknown_value("x", "A1", known)) == message


def test_long_lists_of_names_are_cut_with_their_number():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(range(1, 1001), 2) == "1, 2, ... (1,000 in all)"


def test_a_missing_path_suggests_one_that_lies_beside_it(tmp_path):
    (tmp_path / "my-images").mkdir()
    (tmp_path / ".my-imgaes").mkdir()
    assert did_you_mean_path(tmp_path / "my-imgaes") == f" Did you mean {tmp_path / 'my-images'}?"
    assert did_you_mean_path(tmp_path / "resnet02", SHIPPED) == " Did you mean resnet20?"
    assert did_you_mean_path(tmp_path / "nothing") == ""
    assert did_you_mean_path(Path("/nowhere/at/all")) == ""


def test_an_error_carries_field_value_valid_values_and_remedy():
    error = unknown_value("precision", "bf16", PRECISIONS)
    assert (error.field, error.value, error.valid) == ("precision", "bf16", tuple(PRECISIONS))
    assert error.remedy == "Did you mean bfloat16?"
    assert str(error) == ("`precision` must be float32, bfloat16 or float16. Did you mean bfloat16? Received: bf16")


def test_the_command_line_spells_parameters_as_options():
    message = str(invalid("test_split", "must be below 1", 1.5, remedy="Leave `skip_broken` out."))
    assert with_options(message) == "--test-split must be below 1. Leave --skip-broken out. Received: 1.5"
    assert without_marks(message) == "test_split must be below 1. Leave skip_broken out. Received: 1.5"
    assert with_options("`cifarnet weights` lists them") == "`cifarnet weights` lists them"
    assert with_options("choose another `directory`") == "choose another --output"
    assert with_options("There is no folder `photos`") == "There is no folder `photos`"
