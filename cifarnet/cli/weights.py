"""``cifarnet weights``: trained weights by name, and conversion of the original project's files."""

from pathlib import Path
from typing import Annotated

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Json
from cifarnet.errors import InvalidValueError

app = typer.Typer(name="weights")

Replace = Annotated[bool, typer.Option("--replace", help="Overwrite what is there.")]


@app.callback(invoke_without_command=True)
def weights(context: typer.Context, as_json: Json = False) -> None:
    """List trained weights by name: those that come with cifarnet, and your own."""
    if context.invoked_subcommand:
        return
    from cifarnet.evaluation.metrics import wilson_interval
    from cifarnet.weights import catalog

    facts = []
    for entry in catalog.entries().values():
        described = entry.to_dict()
        accuracy, images = described["accuracy"], described["test_images"]
        interval = wilson_interval(accuracy, images) if accuracy is not None and images else None
        facts.append({**described, "accuracy_interval": interval})
    if as_json:
        console.print_json(facts)
        return
    from cifarnet.reports.weights import weights_report

    console.stdout().print(weights_report(facts))
    for fact in facts:
        if fact["problem"]:
            told = f"{fact['name']}: {fact['problem']}"
            console.stderr().print(told, style="yellow", markup=False, soft_wrap=True)


@app.command()
def add(
    run: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run directory or a weight file.")],
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dots, dashes and underscores.")],
    replace: Replace = False,
) -> None:
    """Keep the weights of a run under a name, which --weights, evaluate and predict then take."""
    from cifarnet.weights import catalog

    entry = catalog.add(run, name, replace=replace)
    console.stderr().print(f"Kept as {entry.name}: {entry.path}", markup=False, soft_wrap=True)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="One of your own.")]) -> None:
    """Delete weights of your own; the run that they came from stays."""
    from cifarnet.weights import catalog

    catalog.remove(name)
    console.stderr().print(f"Removed {name}.", markup=False)


@app.command()
def convert(
    old: Annotated[Path, typer.Argument(help="A weight file of the original project (Keras 2.2.4-tf HDF5).")],
    new: Annotated[Path, typer.Argument(help="The file to write.")],
    replace: Replace = False,
) -> None:
    """Write any weight file that cifarnet reads in cifarnet's own format, with the same logits."""
    from cifarnet.models.weights import load_weights, save_weights

    if new.exists() and not replace:
        raise InvalidValueError(f"{new} exists. Choose another file, or give --replace.")
    loaded = load_weights(old)
    save_weights(new, loaded)
    console.stderr().print(f"{loaded.spec.title} of {old} written to {new}.", markup=False, soft_wrap=True)
