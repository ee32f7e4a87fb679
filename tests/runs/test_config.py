import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cifarnet.cli import training_screen
from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError
from cifarnet.recipes import RECIPES, Recipe
from cifarnet.runs.config import RunConfig
from cifarnet.runs.recipe_files import find_recipe
from cifarnet.runs.request import TrainRequest
from cifarnet.training import start
from cifarnet.training.setup import located_inputs, prepare
from tests.support.runs import run_config

# The fields of a request that a configuration keeps as they were given.
GIVEN = ("model", "freeze_base", "budget", "backend", "precision", "jit", "on_nan")

CONFIGS = {
    "plain": run_config(RECIPES["documented"], model="resnet20", precision="float32", jit=False),
    "changed": run_config(
        RECIPES["fast"].with_changes(epochs=3, flip=False, alternate_flips=False, cutout=8, l2=1e-5, resolutions=()),
        data="some images",
        model="resnet8",
        seed=7,
        test_split=0.2,
        validation_split=0.1,
        precision="bfloat16",
        jit=True,
        on_nan="restore",
        skip_broken=True,
    ),
    "sizes": run_config(
        RECIPES["fast"].with_changes(resolutions=((16, 0.35), (28, 0.1))), model="resnet8", budget=5400.0
    ),
    "long": run_config(RECIPES["fast"], model="resnet8", budget=1_000_000.5),
    "backend": run_config(RECIPES["fast"], model="resnet8", budget=60.0, backend="tensorflow"),
    "boundaries": run_config(RECIPES["paper"].with_changes(lr_boundaries=(), steps=40), model="resnet14"),
    "shares": run_config(RECIPES["fast"].with_changes(resolutions=((16, 1 / 3), (28, 0.1))), model="resnet8"),
    "no warm-up": run_config(RECIPES["paper"].for_model("resnet110").with_changes(warmup_steps=0), model="resnet110"),
    "grown": run_config(RECIPES["fast"].with_changes(epochs=9), model="resnet44", weights="resnet32"),
    "with a teacher": run_config(
        RECIPES["fast"].with_changes(distillation=0.5, distillation_temperature=2.0),
        model="resnet20",
        teacher=("resnet32",),
        teacher_path=(None,),
        teacher_sha256=("ab",),
    ),
    "with teachers": run_config(
        RECIPES["fast"].with_teacher(),
        model="resnet20",
        teacher=("resnet32", "resnet44"),
        teacher_path=(None, None),
        teacher_sha256=("ab", "cd"),
    ),
    "resnet110": run_config(
        RECIPES["paper"].for_model("resnet110").with_changes(lr_boundaries=(5, 9)), model="resnet110"
    ),
    "tuned": run_config(RECIPES["fine-tune"], model="resnet20", weights="resnet20", freeze_base=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_of_a_run_repeats_the_run(monkeypatch, name):
    received = []

    def note(request, *arguments, **options):
        received.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "train", note)
    assert training_screen  # imported by the command
    config = CONFIGS[name]
    words = config.command(Path("run/config.json"))
    CliRunner().invoke(app, words[1:])
    (request,) = received
    given = {field: getattr(request, field) for field in GIVEN}
    recipe = prepare(request).recipe
    checksums = {"teacher_sha256": config.teacher_sha256}
    again = run_config(recipe, **vars(located_inputs(request)), **given, **checksums)
    located = replace(config, data_path=again.data_path)
    assert again == located, shlex.join(words)
    assert config.recipe.name != "fast" or not request.adapts_to_device


def test_an_own_recipe_is_taken_from_the_config_file():
    recipe = RECIPES["fast"].with_changes(name="mine", epochs=3)
    words = run_config(recipe, model="resnet20").command(Path("run/config.json"))
    assert words[words.index("--recipe") + 1] == "run/config.json"
    assert "--epochs" not in words


@pytest.mark.parametrize(
    ("cores", "devices", "expected"), [(2, 1, "cpu"), (2, 4, "cpu:4"), (None, 1, None), (None, 2, "2")]
)
def test_the_command_of_a_run_on_a_cpu_computes_on_a_cpu(cores, devices, expected):
    words = run_config(RECIPES["fast"], model="resnet20", cores=cores, devices=devices).command(Path("config.json"))
    assert (words[words.index("--devices") + 1] if "--devices" in words else None) == expected


def test_a_recipe_name_that_is_too_long_for_the_system_is_unknown():
    with pytest.raises(InvalidValueError, match="There is no recipe or file a"):
        find_recipe("a" * 300)


def test_a_budget_replaces_the_length_in_the_command():
    words = run_config(RECIPES["fast"].with_changes(epochs=30), model="resnet20", budget=60.0).command(
        Path("run/config.json")
    )
    assert "--budget" in words
    assert "--epochs" not in words


@pytest.mark.parametrize(
    ("field", "value", "valid"),
    [
        ("on_nan", None, "a text"),
        ("jit", "no", "true or false"),
        ("seed", 1.5, "a whole number"),
        ("recipe", "fast", "Recipe"),
    ],
)
def test_values_of_another_type_are_refused(field, value, valid):
    with pytest.raises(InvalidValueError, match=f"`{field}` must be {valid}. Received: {value!r}") as refused:
        replace(CONFIGS["plain"], **{field: value})
    assert (refused.value.field, refused.value.value, refused.value.valid) == (field, value, valid)


def test_a_recipe_with_a_list_is_prepared():
    recipe = Recipe(name="x", epochs=1, lr_boundaries=[1000])
    assert prepare(TrainRequest(recipe=recipe, model="resnet8")).recipe.lr_boundaries == (1000,)


TAUGHT = {"teacher": ("a",), "teacher_path": (None,), "teacher_sha256": ("ab",)}


@pytest.mark.parametrize(
    ("recorded", "wanted"),
    [
        ({"teacher": None, "teacher_path": None, "teacher_sha256": None}, ((), (), ())),
        ({"teacher": "resnet32", "teacher_path": None, "teacher_sha256": "ab"}, (("resnet32",), (None,), ("ab",))),
        ({"teacher": "t.h5", "teacher_path": "/t.h5", "teacher_sha256": "ab"}, (("t.h5",), ("/t.h5",), ("ab",))),
        ({"teacher": "gone.h5", "teacher_path": ..., "teacher_sha256": "ab"}, (("gone.h5",), (None,), ("ab",))),
        ({"teacher": ..., "teacher_path": ..., "teacher_sha256": ...}, ((), (), ())),
    ],
    ids=["none", "a name", "a path", "before paths were kept", "before teachers"],
)
def test_a_record_from_before_there_could_be_several_teachers_is_read(recorded, wanted):
    record = {**run_config(RECIPES["fast"].with_teacher(), model="resnet8", **TAUGHT).to_dict()}
    if recorded["teacher"] in (None, ...):
        record["recipe"] |= {"distillation": None, "distillation_temperature": None}
    record = {name: value for name, value in {**record, **recorded}.items() if value is not ...}
    config = RunConfig.from_dict(record)
    assert (config.teacher, config.teacher_path, config.teacher_sha256) == wanted
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"teacher_path": ["/a", "/b"]},
            r"`teacher_path` must have a value for each teacher \(1 in all\)\. Received: 2",
        ),
        ({"teacher_sha256": []}, r"`teacher_sha256` must have a value for each teacher \(1 in all\)\. Received: 0"),
        ({"teacher": ["a"] * 17, "teacher_path": ["/a"] * 17}, "`teacher` can be given 16 times at most. Received: 17"),
        ({"teacher": ["a", 3]}, "a list, each item a text"),
        ({"teacher": 3}, "a list, each item a text"),
        ({"teacher": {"a": 1}}, "a list, each item a text"),
    ],
)
def test_a_record_of_inconsistent_teachers_is_refused(change, message):
    config = run_config(RECIPES["fast"].with_teacher(), model="resnet8", **TAUGHT)
    with pytest.raises(InvalidValueError, match=message):
        RunConfig.from_dict({**config.to_dict(), **change})


@pytest.mark.parametrize(
    ("given", "wanted"), [("a", ("a",)), (Path("a"), ("a",)), (["a", Path("b")], ("a", "b")), (None, ()), ([], ())]
)
def test_teachers_may_be_one_or_several(given, wanted):
    assert TrainRequest("fast", teacher=given).teachers == wanted


@pytest.mark.parametrize("wrong", ["", [""], 3, ["a", None], b"a"])
def test_a_teacher_that_is_no_path_is_refused(wrong):
    with pytest.raises(
        InvalidValueError, match=r"`teacher` (takes|must not be empty: give) a run, a weight file or a name"
    ):
        TrainRequest("fast", teacher=wrong)


CONTRADICTIONS = [
    ("freeze_base", {"freeze_base": True}, {}),
    ("muon", {"freeze_base": True, "weights": "airbench94"}, {"muon": 0.1}),
    ("teacher", {}, {"distillation": 0.5}),
    ("teacher", {"freeze_base": True, "weights": "resnet20", **TAUGHT}, {"crop_padding": 0, "flip": False}),
    (
        "precision",
        {"freeze_base": True, "weights": "resnet20", "precision": "bfloat16"},
        {"crop_padding": 0, "flip": False},
    ),
    ("budget", {"budget": 60.0}, {"cycle_peak": 0.0}),
]


@pytest.mark.parametrize(("field", "settings", "changes"), CONTRADICTIONS)
@pytest.mark.parametrize("kind", ["request", "configuration"])
def test_contradictions_are_refused_in_requests_and_configurations(field, settings, changes, kind):
    recipe = RECIPES["fine-tune"].with_changes(**changes)
    asked = {name: value for name, value in settings.items() if name not in ("teacher_path", "teacher_sha256")}
    made = {
        "request": lambda: prepare(TrainRequest(recipe, **asked)),
        "configuration": lambda: run_config(recipe, model="airbench94", **settings),
    }
    with pytest.raises(InvalidValueError) as refused:
        made[kind]()
    assert refused.value.field == field
