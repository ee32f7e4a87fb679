import json
import re
from dataclasses import replace

from typer.testing import CliRunner

from cifarnet.cli.main import app
from cifarnet.errors import InvalidValueError, RunError
from tests.support.runs import CONFIG, save_run, save_seeds


def compare(*arguments: object):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_json_prints_what_the_table_shows(tmp_path):
    paths = [
        *save_seeds(tmp_path, {0: 0.7, 1: 0.8}),
        save_run(tmp_path / "deep", None, replace(CONFIG, model="resnet14")),
    ]
    table, printed = compare(*paths), json.loads(compare(*paths, "--json").stdout)
    assert printed["differing"] == ["model"]
    seeds, deep = printed["groups"]
    assert f"{100 * seeds['accuracy']:.2f} ± {100 * seeds['accuracy_deviation']:.2f} %" in table.stdout
    assert re.search(r"deep\s+unfinished\s+–\s+3/3\s+2\s+–", table.stdout)
    assert re.search(r"model\s+resnet8\s+resnet14", table.stdout)
    assert deep["runs"][0]["run"] == str(tmp_path / "deep")


def test_the_page_has_results_curves_and_differences(tmp_path):
    page = tmp_path / "page.html"
    paths = [
        *save_seeds(tmp_path, {0: 0.7, 1: 0.8}),
        save_run(tmp_path / "<deep>$x$", 0.9, replace(CONFIG, model="resnet14")),
    ]
    result = compare(*paths, "--report", page)
    assert result.exit_code == 0, result.output
    html = page.read_text(encoding="utf-8")
    assert "the best is &lt;deep&gt;$x$ with 90.00 %" in html
    assert '<th scope="col" class="number"><button type="button">#</button>' in html
    assert "75.00 ± 7.07 %" in html
    assert "<deep>" not in html
    drawing = html[html.index("<svg") : html.index("</svg>")]
    assert "#1 &lt;deep&gt;$x$" in drawing
    assert "#2 s (2 runs, 2 seeds)" in drawing
    assert drawing.count("#2 s") == 1
    assert not re.search(r'(src|href)="https?:', html)


def test_runs_without_epochs_make_a_page_without_curves(tmp_path):
    page = tmp_path / "page.html"
    compare(save_run(tmp_path / "a", None, history=""), "--report", page)
    html = page.read_text(encoding="utf-8")
    assert "none has finished yet" in html
    assert "<svg" not in html


def test_other_paths_and_pages_are_refused(tmp_path):
    assert isinstance(compare(tmp_path).exception, RunError)
    assert isinstance(compare(save_run(tmp_path / "a"), "--report", tmp_path / "x.png").exception, InvalidValueError)
    assert compare().exit_code == 2
