from dataclasses import replace

import pytest

from cifarnet.errors import InvalidValueError, RunError
from cifarnet.recipes import RECIPES
from cifarnet.runs.compare import compare
from tests.support.runs import CONFIG, HISTORY, save_run, save_seeds


def test_seeds_make_one_group_with_mean_and_deviation(tmp_path):
    found = compare(save_seeds(tmp_path, {0: 0.7, 1: 0.8, 2: 0.9})).to_dict()
    (group,) = found["groups"]
    assert found["differing"] == []
    assert group["accuracy"] == pytest.approx(0.8)
    assert group["accuracy_deviation"] == pytest.approx(0.1)  # The population's would be 0.0816.
    assert [run["seed"] for run in group["runs"]] == [2, 1, 0]


def test_a_single_run_has_no_deviation(tmp_path):
    (group,) = compare([save_run(tmp_path / "a")]).to_dict()["groups"]
    assert (group["accuracy"], group["accuracy_deviation"]) == (0.75, None)


def test_two_runs_of_one_seed_count_as_one_seed(tmp_path):
    paths = [save_run(tmp_path / name, accuracy) for name, accuracy in (("a", 0.7), ("b", 0.7))]
    other = save_run(tmp_path / "c", 0.9, replace(CONFIG, seed=1))
    (group,) = compare([*paths, other]).to_dict()["groups"]
    assert group["accuracy"] == pytest.approx(0.8)
    assert group["seeds"] == 2


def test_the_time_for_checks_is_no_difference_within_a_budget(tmp_path):
    def config(seed, checks, budget):
        return replace(CONFIG, seed=seed, budget=budget, recipe=RECIPES["fast"].with_changes(checks=checks))

    within = [save_run(tmp_path / f"b{n}", 0.7, config(n, n + 1, 60.0)) for n in range(2)]
    assert [group["seeds"] for group in compare(within).to_dict()["groups"]] == [2]
    without = [save_run(tmp_path / f"e{n}", 0.7, config(n, n + 1, None)) for n in range(2)]
    assert compare(without).to_dict()["differing"] == ["checks"]


def test_only_differing_settings_are_listed_best_first(tmp_path):
    changed = replace(CONFIG, model="resnet14", recipe=CONFIG.recipe.with_changes(l2=5e-4))
    worse, better = save_run(tmp_path / "a", 0.6), save_run(tmp_path / "b", 0.7, changed)
    found = compare([worse, better]).to_dict()
    assert found["differing"] == ["l2", "model"]
    assert [group["settings"] for group in found["groups"]] == [
        {"l2": 5e-4, "model": "resnet14"},
        {"l2": 1e-4, "model": "resnet8"},
    ]


def test_unfinished_runs_are_last_and_not_in_the_mean(tmp_path):
    history = "".join(HISTORY.splitlines(keepends=True)[:3])
    unfinished = save_run(tmp_path / "u", None, replace(CONFIG, seed=9), history)
    (group,) = compare([unfinished, *save_seeds(tmp_path, {0: 0.7})]).to_dict()["groups"]
    last = group["runs"][-1]
    assert (last["finished"], last["epoch"], last["epochs"], last["accuracy"]) == (False, 2, 3, None)
    assert (group["accuracy"], group["seeds"], group["finished_seeds"]) == (0.7, 2, 1)


def test_a_group_without_a_finished_run_comes_last(tmp_path):
    unfinished = save_run(tmp_path / "u", None, replace(CONFIG, model="resnet14"), history="")
    found = compare([unfinished, save_run(tmp_path / "a", 0.0)]).to_dict()
    assert [group["accuracy"] for group in found["groups"]] == [0.0, None]
    assert found["groups"][1]["runs"][0]["epoch"] == 0


@pytest.mark.parametrize(
    ("changes", "history", "epochs"),
    [({"epochs": None, "steps": 95}, HISTORY, 10), ({"epochs": None, "steps": 95}, "", None), ({}, "", 3)],
)
def test_planned_epochs_of_an_unfinished_run(tmp_path, changes, history, epochs):
    recipe = replace(CONFIG.recipe, **changes)
    (group,) = compare([save_run(tmp_path / "a", None, replace(CONFIG, recipe=recipe), history)]).groups
    assert group.runs[0].epochs == epochs


def test_best_epoch_on_the_held_out_images(tmp_path):
    tested = save_run(tmp_path / "a")
    validated = save_run(tmp_path / "b", history=HISTORY.replace("test", "validation"), epoch=1)
    best = {run.directory.name: run.best_epoch for group in compare([tested, validated]).groups for run in group.runs}
    assert best == {"a": 2, "b": 1}


def test_the_same_images_at_another_place_are_no_difference(tmp_path):
    moved = replace(CONFIG, data="/elsewhere", seed=1)
    found = compare([save_run(tmp_path / "a"), save_run(tmp_path / "b", config=moved)])
    assert len(found.groups) == 1
    assert found.same_images


@pytest.mark.parametrize(("data", "differing"), [("cifar10", "data_sha256"), ("/elsewhere", "data")])
def test_other_images_are_a_difference(tmp_path, data, differing):
    other = replace(CONFIG, data=data, data_sha256="def")
    found = compare([save_run(tmp_path / "a"), save_run(tmp_path / "b", config=other)])
    assert found.differing == (differing,)
    assert not found.same_images


def origin(use, name, sha256):
    """The fields of a run that starts from the weights ``name``, or learns from them; from none if it is None."""
    if use == "weights":
        return {"weights": name, "weights_sha256": sha256}
    names, checksums = ([each] if each else [] for each in (name, sha256))
    return {"teacher": tuple(names), "teacher_path": (None,) * len(names), "teacher_sha256": tuple(checksums)}


@pytest.mark.parametrize(
    ("weights", "sha256", "differing"),
    [
        ("resnet20", "abc", ()),
        ("elsewhere.h5", "abc", ()),
        ("resnet20", "def", ("weights_sha256",)),
        ("resnet32", "def", ("weights",)),
        (None, None, ("weights",)),
    ],
)
@pytest.mark.parametrize("use", ["weights", "teacher"])
def test_origins_are_compared_by_their_content(tmp_path, use, weights, sha256, differing):
    one = replace(CONFIG, **origin(use, "resnet20", "abc"))
    other = replace(CONFIG, **origin(use, weights, sha256))
    runs = [save_run(tmp_path / "a", config=one), save_run(tmp_path / "b", config=other)]
    assert compare(runs).differing == tuple(name.replace("weights", use, 1) for name in differing)


def test_runs_from_retrained_weights_are_separate_groups(tmp_path):
    begun = {"a": ("base", "abc"), "b": ("base", "def"), "c": (None, None), "d": ("elsewhere.h5", "abc")}
    runs = [
        save_run(tmp_path / name, config=replace(CONFIG, seed=seed, weights=weights, weights_sha256=sha256))
        for seed, (name, (weights, sha256)) in enumerate(begun.items())
    ]
    found = compare(runs)
    assert found.differing == ("weights", "weights_sha256")
    assert sorted(sorted(run.directory.name for run in group.runs) for group in found.groups) == [
        ["a", "d"],
        ["b"],
        ["c"],
    ]


def test_a_run_given_twice_counts_once(tmp_path):
    run = save_run(tmp_path / "a")
    assert len(compare([run, tmp_path / "." / "a" / ".." / "a"]).groups[0].runs) == 1


def test_nothing_to_compare_is_refused():
    with pytest.raises(InvalidValueError, match=r"Give run directories"):
        compare([])


@pytest.mark.parametrize(("path", "message"), [("nowhere", "There is no run .*nowhere"), ("", "no config.json")])
def test_a_path_that_is_no_run_is_named(tmp_path, path, message):
    with pytest.raises(RunError, match=message) as refused:
        compare([tmp_path / path])
    assert str(tmp_path / path) in str(refused.value)


COLUMNS = "epoch,step,learning_rate,loss,accuracy,test_loss,test_accuracy"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", "metrics.json is damaged: Expecting"),
        ("metrics.json", "[]", "metrics.json is damaged"),
        ("metrics.json", '{"loss": 1}', "it has no accuracy"),
        (
            "metrics.json",
            '{"accuracy": 75, "loss": 1, "epoch": 1, "training_seconds": 1}',
            "accuracy must be at least 0 and at most 1",
        ),
        ("metrics.json", '{"accuracy": 0.5, "loss": NaN, "epoch": 1, "training_seconds": 1}', "loss must be a finite"),
        ("metrics.json", '{"accuracy": 0.5, "loss": 1, "epoch": Infinity, "training_seconds": 1}', "epoch must be"),
        ("history.csv", "epoch,step\n1,soon\n", "line 2: step must be a number"),
        (
            "history.csv",
            "epoch,step,loss,accuracy\n1,2,,0.5\n",
            "line 2: it has no learning_rate, loss, test_",
        ),
        ("history.csv", f"{COLUMNS}\nnan,2,0.1,1,0.5,1,0.5\n", "line 2: epoch must be at least 1"),
        ("history.csv", f"{COLUMNS}\n1,inf,0.1,1,0.5,1,0.5\n", "line 2: step must be at least 1"),
        ("config.json", "{}", "not a valid run configuration"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_with_its_damage(tmp_path, name, content, message):
    run = save_run(tmp_path / "a")
    (run / name).write_text(content)
    with pytest.raises(RunError, match=message):
        compare([run])


def test_the_order_of_teachers_is_no_difference(tmp_path):
    one = {"teacher": ("a", "b"), "teacher_path": (None, None), "teacher_sha256": ("ab", "cd")}
    other = {name: values[::-1] for name, values in one.items()}
    runs = [save_run(tmp_path / str(n), config=replace(CONFIG, **each)) for n, each in enumerate((one, other))]
    assert compare(runs).differing == ()
