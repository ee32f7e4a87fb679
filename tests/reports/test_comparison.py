import copy

import pytest
from rich.console import Console

from cifarnet.reports.comparison_rows import group_names, results_in_minutes, settings_rows
from cifarnet.reports.terminal.comparison_tables import render_comparison
from tests.support.reports import COMPARISON, group, run


def shown(comparison: dict, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render_comparison(comparison, console.width))
    return capture.get()


def test_group_shown_with_deviation_and_unfinished_run_as_such():
    _, rows = results_in_minutes(COMPARISON)
    assert rows == [
        ["1", "fast (2 runs, 2 seeds)", "90.00 ± 1.23 %", "0.2500", "", "", "7.2"],
        ["", "fast-0, seed 0", "90.00 %", "0.2500", "7/9", "6", "7.2"],
        ["", "fast-1, seed 1", "90.00 %", "0.2500", "7/9", "6", "7.2"],
        ["2", r"a\x1b[31m", "unfinished", "–", "7/?", "6", "–"],
    ]


def test_settings_are_shown_as_the_options_take_them():
    assert settings_rows(COMPARISON) == (
        ["Setting", "#1", "#2"],
        [
            ["recipe", "fast", "[red]mine"],
            ["resolutions", "16:0.5,20:0.25", "–"],
            ["nesterov", "yes", "no"],
            ["l2", "0.00025", "0"],
            ["budget", "–", "60"],
        ],
    )


def test_the_tables_are_text_without_markup_or_control_codes():
    output = shown(COMPARISON, 80)
    assert "[red]mine" in output
    assert "\x1b" not in output


@pytest.mark.parametrize("width", [60, 80, 120])
def test_many_runs_with_long_names_fit_terminal_and_lose_nothing(width):
    many = copy.deepcopy(COMPARISON)
    wide = "resnet110-documented-20261124-2015"
    many["groups"] = [
        group([run(f"runs/{wide}{k}")], **{**COMPARISON["groups"][0]["settings"], "recipe": f"recipe-{k}"})
        for k in range(12)
    ]
    lines = shown(many, width).splitlines()
    assert max(map(len, lines)) <= width
    output = "\n".join(lines)
    assert all(f"recipe-{k}" in output for k in range(12))
    assert output.count("…") == 0
    assert "90.00 %" in output


def test_runs_of_the_same_name_are_distinguished_by_path():
    same = {**COMPARISON, "groups": [group([run("a/x")]), group([run("b/x")])]}
    assert group_names(same) == ["a/x", "b/x"]


def test_a_run_is_called_by_its_folder_also_from_inside(tmp_path, monkeypatch):
    (tmp_path / "fast").mkdir()
    monkeypatch.chdir(tmp_path / "fast")
    assert group_names({**COMPARISON, "groups": [group([run(".")]), group([run("../slow")])]}) == ["fast", "slow"]


def test_other_images_are_pointed_out():
    assert "different images" in shown({**COMPARISON, "same_images": False}, 200)
    assert "different images" not in shown(COMPARISON, 200)
