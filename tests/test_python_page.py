"""The code of docs/python.md runs as it is shown."""

import re
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_the_code_blocks_of_the_page_run(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    shutil.copy(DOCS / "images/cat.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    # In one namespace, as in a notebook. Fewer images, so that the training takes seconds.
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace('"synthetic"', '"synthetic:100"'), names)
    assert len(blocks) == 5
    output = capsys.readouterr().out
    for line in ("cat 0.99", "cat.jpg cat None", "missing.jpg None missing.jpg is not a file", "(4, 10)", "'epoch': 3"):
        assert line in output
