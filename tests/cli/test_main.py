import html
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import cifarnet
from cifarnet import __version__
from cifarnet.cli.main import app, main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands
SUBCOMMANDS = {f"weights {name}": command for name, command in COMMANDS["weights"].commands.items()}
HEAVY = ("tensorflow", "keras", "jax", "matplotlib", "h5py", "PIL", "numpy", "requests")


def readme_commands() -> list[list[str]]:
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    lines += re.findall(r"^\|.*\| `(cifarnet .*)` \|$", README, re.MULTILINE)
    parts = [part for line in lines for part in line.split("#")[0].split("&&")]
    words = [shlex.split(part) for part in parts]
    return [line[1:] for line in words if line and line[0].split("/")[-1] == "cifarnet"]


def docs_commands() -> list[list[str]]:
    """Those in the indented blocks of the documents, without the reference, which has its own test."""
    documents = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "commands.md"]
    texts = [path.read_text(encoding="utf-8").replace("\\\n", " ") for path in documents]
    lines = [line for text in texts for line in re.findall(r"^ {4}cifarnet (.*)$", text, re.MULTILINE)]
    return [shlex.split(line, comments=True) for line in lines]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "cifarnet", *arguments], capture_output=True, text=True, check=False)


def test_the_readme_shows_every_command():
    assert {line[0] for line in readme_commands()} == set(COMMANDS)


def test_all_commands_but_train_print_numbers_for_programs():
    assert "`train` has no `--json`: it writes its numbers to `metrics.json`." in README
    assert [name for name, command in COMMANDS.items() if all("--json" not in p.opts for p in command.params)] == [
        "train"
    ]


def test_the_readme_shows_what_its_first_command_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["predict", "docs/images/cat.jpg"])
    assert f"```\n{result.stderr}{result.stdout}```\n" in README


def test_the_documents_show_commands():
    assert ["weights", "convert", "old.h5", "new.weights.h5"] in docs_commands()
    assert ["data", "my-images"] in docs_commands()
    assert max(map(len, docs_commands())) > 20  # The cards', which go over many lines.


@pytest.mark.parametrize("line", [*readme_commands(), *docs_commands()], ids=" ".join)
def test_the_documents_commands_are_understood(line):
    words = 2 if line[0] == "weights" and len(line) > 1 else 1
    name, command = " ".join(line[:words]), {**COMMANDS, **SUBCOMMANDS}[" ".join(line[:words])]
    context = command.make_context(name, line[words:])
    assert context.command is command


@pytest.mark.parametrize("name", [*COMMANDS, *SUBCOMMANDS])
def test_every_option_is_documented(name):
    """To mend it: typer cifarnet.cli.main utils docs --name cifarnet --title Commands --output docs/commands.md."""
    reference = html.unescape((ROOT / "docs/commands.md").read_text(encoding="utf-8"))
    section = re.split(rf"\n###? `cifarnet {name}`\n", reference)[1].split("\n## ")[0].split("\n### ")[0]
    for parameter in {**COMMANDS, **SUBCOMMANDS}[name].params:
        assert parameter.help in section, parameter.name
        if parameter.param_type_name == "option":
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"`[^`]*{re.escape(option)}\b", section), option


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["summary", "--depth", "20", "--plain"]])
def test_nothing_heavy_is_imported_to_help_or_summarize(arguments):
    code = (
        "import sys\nfrom cifarnet.cli.main import main\n"
        f"sys.argv = ['cifarnet', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('imported', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    stderr = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    allowed = ["numpy"] if arguments[0] == "summary" else []
    assert stderr.splitlines()[-1] == f"imported {allowed}"


def documented_api() -> list[str]:
    rows = re.findall(r"^\| `cifarnet.*$", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(re.findall(r"`cifarnet\.(\w+)`", "\n".join(rows)))


def test_the_whole_api_is_documented():
    assert documented_api() == sorted(cifarnet._API)


@pytest.mark.slow
def test_importing_package_imports_no_backend_and_api_is_there():
    code = (
        f"import sys, cifarnet\nprint([name for name in {HEAVY!r} if name in sys.modules])\n"
        f"found = {{name: getattr(cifarnet, name) for name in {documented_api()!r}}}\n"
        "print(sorted(name for name in found if name in dir(cifarnet)))\n"
        "print([name for name, value in found.items() if not callable(value)], cifarnet.ModelSpec('resnet20').title)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == ["[]", str(documented_api()), "['RECIPES'] ResNet-20"]


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]*)(?:#[\w-]+)?\)", text):
            if not target.startswith("http") and target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_version_names_the_backends():
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith(f"cifarnet {__version__} (Python 3.")
    assert "keras 3." in result.stdout
    assert "tensorflow 2." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["summary", "--depth", "21"], 2, "nearest: 20 and 26"),
        (["train", "--depth", "21"], 2, "nearest: 20 and 26"),
        (["train", "--recipe", "nonsense"], 2, "Recipes are documented, revised, paper"),
        (["train", "--epochs", "3", "--steps", "5"], 2, "give one of them"),
        (["train", "--freeze-base"], 2, "--weights"),
        (["train", "--lr-boundaries", "soon"], 2, "--lr-boundaries takes steps"),
        (["train", "--backend", "abacus", "--data", "synthetic:20"], 2, "tensorflow or jax"),
        (["train", "--resume", "nowhere"], 1, "not a run directory"),
        (["train", "--resume", "nowhere", "--seed", "3"], 2, "can't be combined with --seed"),
        (["train", "--data", "nowhere"], 1, "no file or folder"),
        (["train", "--data", ""], 2, "--data must not be empty. See cifarnet train --help. Received: ''"),
        (["train", "--output="], 2, "--output must not be empty"),
        (["train", "--teacher", "resnet20", "--teacher", ""], 2, "--teacher must not be empty"),
        (["predict", "a.png", ""], 2, "IMAGE must not be empty"),
        (["export", "resnet20", "--output", ""], 2, "--output must not be empty"),
        (["weights", "remove", ""], 2, "NAME must not be empty"),
        (["train", "--resolutions", "", "--data", "nowhere"], 1, "no file or folder"),
        (["data", "synthetic:1000000000000"], 2, "has 50 to 100,000 training images. Received: 1000000000000"),
        (["summary", "--weights", "nowhere"], 1, "no run or weight file"),
        (["summary", "--plain"], 2, "its --model, --depth or --weights"),
        (["evaluate", "nowhere"], 1, "no run or weight file"),
        (["data", "nowhere"], 1, "no file or folder"),
    ],
)
def test_error_is_message_and_an_exit_status_without_traceback(arguments, status, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cifarnet", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    assert stopped.value.code == status
    assert message in " ".join(captured.err.split())
    assert captured.out == ""


def test_ctrl_c_ends_any_command_with_130_and_without_traceback():
    code = (
        "import os, signal\nfrom cifarnet.cli import main as command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job's is ignored
        "@command.app.command('wait')\ndef wait(): os.kill(os.getpid(), signal.SIGINT)\n"
        "command.sys.argv = ['cifarnet', 'wait']\ncommand.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 130
    assert result.stderr.strip() == "Stopped."
