import json
from dataclasses import replace

import pytest

from cifarnet.errors import InvalidValueError, RunError
from cifarnet.recipes import RECIPES
from cifarnet.runs import files
from cifarnet.runs.compare import compare
from cifarnet.runs.recipe_files import find_recipe
from cifarnet.runs.request import TrainRequest, request_of
from cifarnet.runs.sweep import SWEEP, Sweep, SweepPlan, read_plan
from tests.support.runs import CONFIG, save_run

REQUEST = request_of(
    {
        "data": "synthetic:64",
        "depth": 8,
        "recipe": "fast",
        "budget": "90s",
        "seed": 3,
        "flip": False,
        "resolutions": "16:0.5,24:0.25",
        "backend": "tensorflow",
    }
)


def make(folder, request=REQUEST, seeds=2):
    with Sweep.create(folder, SweepPlan.of(request, seeds, 2, 1)) as sweep:
        return sweep


def rewrite(folder, **changes):
    """Change the sweep.json in ``folder`` with a valid checksum, as a stranger could."""
    record = {**json.loads((folder / SWEEP).read_text()), **changes}
    del record[files.CHECKSUM]
    (folder / SWEEP).write_text(json.dumps({**record, files.CHECKSUM: files.checksum(record)}))


def test_a_sweep_is_read_as_it_was_made(tmp_path):
    sweep = make(tmp_path / "s")
    plan = read_plan(tmp_path / "s")
    assert plan.request(4) == replace(REQUEST, seed=4)
    assert (list(plan.all_seeds), plan.jobs, plan.cores) == ([3, 4], 2, 1)
    assert [sweep.directory(seed).name for seed in plan.all_seeds] == ["seed-3", "seed-4"]


def test_the_words_of_a_seed_make_its_request(tmp_path):
    sweep = make(tmp_path / "s")
    words = sweep.words(4)
    assert words[:5] == ["train", "--output", str(tmp_path / "s" / "seed-4"), "--seed", "4"]
    options = " ".join(words[5:])
    for expected in ("--data synthetic:64", "--budget 90s", "--no-flip", "--resolutions 16:0.5,24:0.25"):
        assert expected in options


def test_paths_and_recipes_stay_valid_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = RECIPES["fast"].with_changes(l2=0.5).to_dict()
    (tmp_path / "own.json").write_text(json.dumps({**recipe, "name": "own"}))
    (tmp_path / "pictures").mkdir()
    sweep = make(tmp_path / "s", TrainRequest("own.json", data="pictures", weights="resnet20"))
    (tmp_path / "own.json").unlink()
    words = sweep.words(0)
    assert words[words.index("--data") + 1] == str(tmp_path / "pictures")
    assert words[words.index("--weights") + 1] == "resnet20"
    kept = find_recipe(words[words.index("--recipe") + 1])
    assert (kept.name, kept.l2) == ("own", 0.5)


def test_a_started_run_is_resumed_and_a_finished_one_kept(tmp_path):
    sweep = make(tmp_path / "s", seeds=3)
    save_run(sweep.directory(3), None, replace(CONFIG, seed=3))
    save_run(sweep.directory(4), 0.5, replace(CONFIG, seed=4))
    (sweep.directory(4) / files.WEIGHTS).write_bytes(b"")
    assert [sweep.is_started(seed) for seed in (3, 4, 5)] == [True, True, False]
    assert [sweep.is_finished(seed) for seed in (3, 4, 5)] == [False, True, False]
    assert not sweep.is_complete(4), "its page is missing"
    assert sweep.words(3) == ["train", "--resume", str(sweep.directory(3))]


@pytest.mark.parametrize(
    ("request_", "weights", "model"),
    [
        ({}, None, "airbench94"),
        ({"model": "resnet8"}, None, "resnet8"),
        # Few images start from default weights, which a network of one's own would prevent.
        ({}, "resnet20", None),
    ],
)
def test_a_budget_chooses_one_network_for_all_seeds(tmp_path, request_, weights, model):
    sweep = make(tmp_path / "s", TrainRequest(data="synthetic:64", budget=600.0, seed=3, **request_))
    assert ("--model" in sweep.words(3)) == ("model" in request_)
    save_run(sweep.directory(3), 0.5, replace(CONFIG, seed=3, model="airbench94", weights=weights))
    words = sweep.words(4)
    assert (words[words.index("--model") + 1] if "--model" in words else None) == model


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        ({}, "--resolutions 24:0.6,28:0.2"),
        ({"budget": None}, None),
        ({"changes": {"resolutions": ()}}, "--resolutions "),
    ],
)
def test_all_seeds_of_a_budget_have_the_image_sizes_of_the_first(tmp_path, request_, options):
    sweep = make(
        tmp_path / "s", TrainRequest("fast", **{"data": "synthetic:64", "budget": 600.0, "seed": 3, **request_})
    )
    recipe = RECIPES["fast"].with_changes(resolutions=((24, 0.6), (28, 0.2)))
    save_run(sweep.directory(3), 0.5, replace(CONFIG, seed=3, model="airbench94", recipe=recipe))
    words = sweep.words(4)
    assert words.count("--resolutions") == (options is not None)
    assert (" ".join(words).find(options or "--resolutions") >= 0) == (options is not None)


def test_a_run_with_another_seed_is_refused(tmp_path):
    sweep = make(tmp_path / "s")
    save_run(sweep.directory(3), None, replace(CONFIG, seed=7))
    with pytest.raises(RunError, match=r"seed-3 has a run with the seed 7\. Move it"):
        sweep.words(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format must be 1"),
        ({"format": None}, "format must be 1"),
        ({"seeds": 0}, "seeds must be at least 1 and at most 1,000"),
        ({"seeds": 10**6}, "seeds must be at least 1"),
        ({"seeds": "3"}, "seeds must be a whole number"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**63}, "seed must be at most"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"cores": -1}, "cores must be at least 1"),
        ({"options": {"output": "/etc"}}, "train has no option output"),
        ({"options": {"epochs": "many"}}, "epochs must be a whole number"),
        ({"options": []}, "options must be an object"),
        ({"recipe": {"name": "x", "surprise": 1}}, "no field surprise"),
        ({"more": 1}, "no field more"),
    ],
)
def test_a_crafted_plan_is_refused(tmp_path, changes, message):
    make(tmp_path / "s")
    rewrite(tmp_path / "s", **changes)
    with pytest.raises(RunError, match=message):
        read_plan(tmp_path / "s")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"seeds": 2', '"seeds": 3'),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "\udcff" + text,
    ],
)
def test_a_damaged_plan_is_refused_and_the_runs_are_kept(tmp_path, damage):
    sweep = make(tmp_path / "s")
    run = save_run(sweep.directory(3), 0.5, replace(CONFIG, seed=3))
    file = tmp_path / "s" / SWEEP
    file.write_bytes(damage(file.read_text()).encode("utf-8", "surrogateescape"))
    before = file.read_bytes()
    with pytest.raises(RunError, match=r"sweep\.json can't be used: .* are unchanged; each can be continued"):
        read_plan(tmp_path / "s")
    assert file.read_bytes() == before
    assert (run / files.METRICS).is_file()


def test_one_process_at_a_time_uses_a_sweep(tmp_path):
    make(tmp_path / "s")
    with (
        Sweep.open(tmp_path / "s"),
        pytest.raises(RunError, match="is in use by a training: process"),
        Sweep.open(tmp_path / "s"),
    ):
        pass


def test_a_used_folder_is_refused(tmp_path):
    make(tmp_path / "s")
    with pytest.raises(RunError, match=r"several seeds already\. .* continue with: cifarnet train --resume"):
        make(tmp_path / "s")
    with pytest.raises(RunError, match="is not an empty folder"):
        make(save_run(tmp_path / "run"))


@pytest.mark.parametrize(("seed", "seeds"), [(2**63, 2), (0, 0), (0, 1001)])
def test_impossible_seeds_are_refused(seed, seeds):
    with pytest.raises(InvalidValueError, match=r"`seeds?` must be at"):
        SweepPlan.of(TrainRequest(seed=seed), seeds, 1, 1)


def test_a_sweep_is_compared_as_its_runs(tmp_path):
    sweep = make(tmp_path / "s", seeds=3)
    runs = [save_run(sweep.directory(seed), seed / 10, replace(CONFIG, seed=seed)) for seed in (3, 4)]
    expected = compare(runs).to_dict()
    assert expected["groups"][0]["finished_seeds"] == 2
    assert compare([tmp_path / "s"]).to_dict() == expected
    assert compare(sorted((tmp_path / "s").glob("[!.]*"))).to_dict() == expected
