"""Messages of library code name parameters, which the command line spells as options."""

import ast
import re
from pathlib import Path

import pytest
import typer

import cifarnet
from cifarnet.cli.main import app
from cifarnet.cli.spelling import with_options

PACKAGE = Path(cifarnet.__file__).parent
OPTION = re.compile(r"(?<![\w`-])--[a-z]+")
# A command that the reader can run stands after a colon or in brackets: "Resume it with: cifarnet train --resume RUN".
COMMAND = re.compile(r"cifarnet (train|evaluate|predict|weights|data|compare|summary|export|doctor)\b.*")
# The command line, what it prints, and commands that are put together word by word.
SPEAK_OPTIONS = {"cli", "reports", "installation.py", "environment.py"}


def texts(path):
    """Every text of a module that is no docstring, with X for what an f-string inserts."""
    tree = ast.parse(path.read_text())
    # Docstrings among them.
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements | inside:
            yield node.lineno, node.value


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if not SPEAK_OPTIONS & set(path.relative_to(PACKAGE).parts)],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_messages_name_parameters_not_options(path):
    found = [(line, text) for line, text in texts(path) if " " in text.strip() and OPTION.search(COMMAND.sub("", text))]
    assert not found


def test_commands_quote_the_values_in_them():
    # Values are put into commands by shell.command_line.
    found = [
        (path.name, line, text)
        for path in PACKAGE.rglob("*.py")
        for line, text in texts(path)
        for command in COMMAND.finditer(text)
        if re.search(r"\bX\b", command[0].partition(". ")[0])
    ]
    assert not found


def test_parameters_in_messages_are_options():
    commands = typer.main.get_command(app).commands
    options = {
        name
        for command in (*commands.values(), *commands["weights"].commands.values())
        for parameter in command.params
        for name in parameter.opts
    }
    named = {
        name
        for path in PACKAGE.rglob("*.py")
        for _, text in texts(path)
        for name in re.findall(r"(?<!`)`[a-z]\w*`(?!`)", text)
    }
    assert "`test_split`" in named
    # Only Python has the parameter of Classifier.predict. The command line gives files.
    assert {name for name in named if with_options(name) not in options} == {"`pictures`"}
