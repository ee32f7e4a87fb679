import json
import os
import random

import pytest

from cifarnet.errors import CifarnetError, RunError, WeightsError
from cifarnet.runs import files
from cifarnet.runs.compare import compare
from cifarnet.runs.recipe_files import read_recipe
from cifarnet.weights.index import INDEX, read_index
from tests.support.faults.texts import KINDS, VALUES, fuzz, mutants

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("name", KINDS)
def test_every_mutant_is_read_or_refused(name, tmp_path, scaled, tried):
    count = scaled(120)
    counts, slowest, crashes = fuzz(name, tmp_path, count, seed=1)
    assert crashes == []
    assert counts.total() == count
    assert counts["refused"] > count / 6
    assert counts["read"] > count / 24
    result = f"{counts['read']:,} read, {counts['refused']:,} refused; the slowest {slowest:.1f} s"
    tried(f"a mutated {name}", count, result)


def test_mutants_differ_and_use_every_value(tmp_path):
    content = KINDS["recipe"].make(tmp_path).read_bytes()
    made = [content for content, _ in zip(mutants(content, True, random.Random(0)), range(3000), strict=False)]
    assert len(set(made)) > 1500
    assert all(any(value.encode() in each for each in made) for value in VALUES)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(name, make, tmp_path):
    path = KINDS[name].make(tmp_path)
    path.unlink()
    make(path)
    with pytest.raises(CifarnetError, match=r"it is a folder|it is not a regular file|is a folder"):
        KINDS[name].read(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", "1" + "0" * 400, r"epochs must be -2\*\*63 to 2\*\*63"),
        ("epochs", "500001", "epochs must be at least 1 and at most 500,000. Received: 500001"),
        ("batch_size", "-1", "batch_size must be at least 1 and at most 1,000,000. Received: -1"),
        ("batch_size", "1000000000", "batch_size must be at least 1 and at most 1,000,000"),
        ("learning_rate", "1e308", r"learning_rate must be above 0 and at most 3\.4e\+38"),
        ("learning_rate", "NaN", "learning_rate must be a finite number"),
        ("l2", "1e39", "l2 must be at least 0 and at most"),
        ("crop_padding", "1000000000", "crop_padding must be at least 0 and at most 1,024"),
        ("cutout", "1025", "cutout must be at least 0 and at most 1,024"),
        ("checks", "1000000", "checks must be at least 0 and at most 500,000"),
        ("precise_batchnorm", "10000000000", "precise_batchnorm must be at least 0 and at most 1,000,000,000"),
        ("name", '"../../x"', "name must be text of 1 to 64 printable characters without slashes"),
        ("name", r'"\u001b[2J"', "name must be text of 1 to 64 printable characters"),
        ("resolutions", f"[{', '.join(['[16, 0.001]'] * 101)}]", "resolutions must be at most 100 pairs"),
    ],
)
def test_a_recipe_out_of_range_is_refused(field, value, message, tmp_path):
    path = tmp_path / "r.json"
    length = "" if field == "epochs" else '"epochs": 1, '
    name = "" if field == "name" else '"name": "mine", '
    path.write_text(f'{{{name}{length}"{field}": {value}}}')
    with pytest.raises(CifarnetError, match=message):
        read_recipe(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,4,0.1,2,0.5,2,0.5\n1,8,0.1,2,0.5,2,0.5\n", "line 3: epoch must be a whole number above 1"),
        ("1,4,0.1,2,0.5,2,0.5\n2,4,0.1,2,0.5,2,0.5\n", "line 3: step must be a whole number above 4"),
        ("1.5,4,0.1,2,0.5,2,0.5\n", "line 2: epoch must be a whole number"),
        ("1,4,0.1,2,1.5,2,0.5\n", "line 2: accuracy must be at least 0 and at most 1"),
        ("1,4,0.1,2,0.5,2,-0.5\n", "line 2: test_accuracy must be at least 0"),
        ("1,4,-0.1,2,0.5,2,0.5\n", "line 2: learning_rate must be at least 0"),
        ("1,4,0.1,1e308,0.5,2,0.5\n", "line 2: loss must be at least"),
        ("1,4,0.1,2,0.5\n", "line 2: it must have 7 fields. Received: 5"),
        ("1,4,0.1,2,0.5,2,0.5,9\n", "line 2: it must have 7 fields. Received: 8"),
        (f"1,4,0.1,2,0.5,2,{'9' * 20_000}\n", "a line has more than 10,000 characters"),
    ],
)
def test_a_senseless_row_is_refused_by_its_line(rows, message, tmp_path):
    (tmp_path / files.HISTORY).write_text(f"epoch,step,learning_rate,loss,accuracy,test_loss,test_accuracy\n{rows}")
    with pytest.raises(RunError, match=message):
        files.read_history(tmp_path)


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("MINE", "{}", "A name is up to 64 lower-case letters"),
        ("mine", '"weights.h5"', "mine: The entry must be an object"),
        ("mine", '{"file": "index.json"}', "mine: The entry needs the field sha256"),
        ("mine", '{"file": "index.json", "sha256": "%s"}', "file must be the name of an .h5 file"),
        ("mine", '{"file": "../mine.h5", "sha256": "%s"}', "file must be the name of an .h5 file"),
        ("mine", '{"file": 3, "sha256": "%s"}', "file must be a text. Received: 3"),
        ("mine", '{"file": "mine.h5", "sha256": "abc"}', "sha256 must be 64 hexadecimal digits"),
        ("mine", '{"file": "mine.h5", "sha256": "%s", "test_images": -5}', "test_images must be at least 1"),
        ("mine", '{"file": "mine.h5", "sha256": "%s", "test_images": 5}', "must both be known, or both be null"),
    ],
)
def test_an_index_with_a_wrong_field_is_refused_by_it(name, entry, message, tmp_path):
    entry = entry.replace("%s", "ab" * 32)
    if entry.startswith("{") and "sha256" in entry:
        entry = entry[:-1] + "".join(f', "{f}": null' for f in ("test_set", "test_images") if f not in entry) + "}"
    (tmp_path / INDEX).write_text(f'{{"{name}": {entry}}}')
    with pytest.raises(WeightsError, match=message):
        read_index(tmp_path, shipped=False)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depth", 6 * 10**9 + 2, "depth must be at least 0 and at most 1,202. Received: 6000000002"),
        ("seed", 2**70, r"seed must be -2\*\*63 to 2\*\*63"),
        ("seed", -1, "seed must be at least 0 and at most 9,223,372,036,854,775,808. Received: -1"),
        ("budget", 1e308, "budget must be above 0 and at most 31,622,400"),
        ("budget", float("nan"), "budget must be a finite number"),
        ("cores", -5, "cores must be at least 1"),
        ("backend", "tensorflo", r"backend must be tensorflow or jax\. Did you mean tensorflow\?"),
        ("data", {"path": "images"}, "data must be a text"),
        ("data_path", "x" * 5000, "data_path must have at most 4,096 characters. Received: 5,000"),
        ("test_split", 2, "test_split must be above 0 and below 1"),
        ("recipe", "fast", "recipe must be an object"),
        ("cifarnet", ["0.1"], "cifarnet must be a text"),
    ],
)
def test_a_configuration_out_of_range_is_refused(field, value, message, tmp_path):
    run = KINDS["config.json"].make(tmp_path).parent
    config = {**json.loads((run / files.CONFIG).read_text()), field: value}
    del config["sha256"]
    (run / files.CONFIG).write_text(json.dumps(config))
    with pytest.raises(RunError, match=message):
        compare([run])
