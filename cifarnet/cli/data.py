"""``cifarnet data``: describe a data source, show the cache, or download ahead of time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import OUTPUT, Json, Mirror, SkipBroken, TestSplit
from cifarnet.errors import InvalidValueError
from cifarnet.fields import Panel

if TYPE_CHECKING:
    from cifarnet.data.dataset import Dataset
    from cifarnet.data.progress import Progress
    from cifarnet.recipes import Recipe


EXAMPLES = examples(
    ("data", "What the cache holds"),
    ("data my-images", "The classes and numbers of images of a folder"),
    ("data my-images --grid grid.png --recipe fast", "Some images before and after augmentation"),
)


def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Images to describe: cifar10, cifar100, cifar100-coarse (each also with :PATH, the path of its files),"
            " synthetic, synthetic:N (N training images, 50 to 100,000), or the path of a folder, an archive or an .npz"
            " file.",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download CIFAR-10 into the cache, or CIFAR-100 if it is SOURCE.")
    ] = False,
    clear_cache: Annotated[
        bool,
        typer.Option(
            "--clear-cache",
            help="Delete the decoded images, near-duplicates, ONNX graphs, and what JAX compiled for a GPU, from the"
            " cache.",
        ),
    ] = False,
    test_split: TestSplit = None,
    skip_broken: SkipBroken = False,
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Side of the images: 32, 48, 64, 96, 128, ... Default: 32.",
            rich_help_panel=Panel.DATA,
        ),
    ] = None,
    mirror: Mirror = None,
    grid: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Draw training images of every class before and after augmentation.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Recipe whose augmentation the --grid shows. Default: documented.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Describe images, or show the cache.

    Without SOURCE, shows the cached files and whether they are intact.
    """
    if source is None:
        _require_source(test_split, skip_broken, image_size)
        if mirror and not download:
            raise InvalidValueError(
                f"--mirror is an address to download from: give --download too. Received: {mirror[0]}"
            )
    augmenting = _augmenting(grid, source, recipe)
    from cifarnet.data import cache, inventory
    from cifarnet.data.sources import load_data
    from cifarnet.reports.terminal.data_tables import render_inventory, render_source

    mirrors = mirror or ()
    with console.progress_reporter() as report:
        if clear_cache:
            cache.clear()
        if download:
            _download(source, mirrors, report)
        facts: dict[str, Any]
        if source is None:
            facts = inventory.take_inventory().to_dict()
        else:
            splits = load_data(
                source,
                test_split=test_split,
                mirrors=() if download else mirrors,  # It is on this machine now.
                image_size=32 if image_size is None else image_size,
                skip_broken=skip_broken,
                report=report,
            )
            facts = inventory.summarize(source, splits).to_dict()
    if as_json:
        console.print_json(facts)
    else:
        console.stdout().print(render_inventory(facts) if source is None else render_source(facts))
    if grid and augmenting:
        _draw_grid(grid, splits.train, augmenting)


def _require_source(test_split: float | None, skip_broken: bool, image_size: int | None) -> None:
    """Check that no option was given that is for a SOURCE.

    Raises:
        InvalidValueError: when one was.
    """
    if test_split is not None:
        raise InvalidValueError(f"--test-split needs a SOURCE to split. Received: {test_split} and no source")
    if skip_broken:
        raise InvalidValueError("--skip-broken needs a SOURCE to read. Received: no source")
    if image_size is not None:
        raise InvalidValueError(f"--image-size needs a SOURCE to read. Received: {image_size} and no source")


def _download(source: str | None, mirrors: Sequence[str], report: "Progress") -> None:
    """Download the official data set that ``source`` names, or CIFAR-10."""
    from cifarnet.data import copies
    from cifarnet.data.named import find_named
    from cifarnet.data.official_names import CIFAR10

    named = find_named(source) if source is not None else None
    wanted = named[0].wanted if named else None
    copies.download(wanted.dataset if wanted else CIFAR10, mirrors, report)


def _augmenting(grid: Path | None, source: str | None, recipe: str | None) -> "Recipe | None":
    """Return the recipe that augments the images of ``grid``; None without a grid.

    Raises:
        InvalidValueError: when the options contradict each other, or ``grid`` is no name of a PNG file.
        StorageError: when nothing can be written to its folder.
    """
    if grid is None:
        if recipe is not None:
            raise InvalidValueError(
                f"--recipe is for the images of --grid: give both. Received: {recipe} and no --grid"
            )
        return None
    if source is None:
        raise InvalidValueError(f"--grid needs a SOURCE to draw. Received: {grid} and no source")
    if grid.suffix.lower() != ".png":
        raise InvalidValueError(f"--grid draws a PNG file, whose name ends in .png. Received: {grid}")
    if grid.is_dir():
        raise InvalidValueError(f"--grid takes the name of a file. Received: {grid}, which is a folder")
    from cifarnet.files import require_writable
    from cifarnet.runs.recipe_files import find_recipe

    require_writable(grid.parent)
    return find_recipe(recipe or "documented")


def _draw_grid(path: Path, images: "Dataset", recipe: "Recipe") -> None:
    from cifarnet.files import write_bytes
    from cifarnet.reports.figures.grid import grid_png
    from cifarnet.training.samples import training_samples

    with console.progress_reporter() as report:
        console.start_backend(progress=report)
    samples = training_samples(images, recipe)
    write_bytes(path, grid_png(images.class_names, samples.raw, samples.augmented, recipe.name))
    console.stderr().print(f"The grid is in {path}", markup=False, soft_wrap=True)
