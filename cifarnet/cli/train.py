"""``cifarnet train``: train a network, or go on with a run that was stopped."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarnet.choices import ON_NAN, PRECISIONS
from cifarnet.cli import console
from cifarnet.cli.help import examples
from cifarnet.cli.options import (
    DATA,
    DEVICE,
    OUTPUT,
    WEIGHTS,
    Backend,
    Depth,
    Mirror,
    ReportFile,
    SkipBroken,
    TestSplit,
    choice,
    chosen_model,
    seconds,
)
from cifarnet.errors import InvalidValueError

# The panels of the help page.
_RECIPE, _SCHEDULE, _AUGMENTATION = "Recipe", "Learning-rate schedule", "Augmentation"
_TRANSFER, _RUN = "Transfer and distillation", "Run"

EXAMPLES = examples(
    ("train --budget 20m", "The best ResNet-20 for CIFAR-10 in 20 minutes"),
    ("train --data my-images --weights resnet20 --output runs/mine", "Your own images, from trained weights"),
    ("train --resume runs/mine", "Continue a run after Ctrl-C or a crash"),
)


def _recipe_option(*names: str, help: str, metavar: str | None = None, panel: str = _RECIPE) -> Any:
    """Return the declaration of an option that is a field of the recipe, and has its default from there."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel)


def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images: cifar10, synthetic, or the path of a folder, an archive or an .npz file. Default: cifar10.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Network: resnet20, resnet32, resnet44, resnet56, resnet110, ... Default: that of --weights, or"
            " resnet20. A deeper one than --weights grows from it.",
        ),
    ] = None,
    depth: Depth = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="documented, revised, paper, fast, fine-tune, or a JSON file. Default: documented; with --budget fast;"
            " with --weights fine-tune.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Passes over the training images. Default: as the recipe says."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Train for this much time, instead of --epochs: 20m, 1h30m, 90s."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar=WEIGHTS,
            help="Start from trained weights: a run directory, a weight file, or a name that `cifarnet weights` lists.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of the run. Default: runs/NETWORK-RECIPE-TIME."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Continue the run in this directory; with --epochs or --steps, to that length in all."
        ),
    ] = None,
    validation_split: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Hold out this fraction of the training images, and keep the weights that are best on them.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random. Default: 0.")] = None,
    test_split: TestSplit = None,
    skip_broken: SkipBroken = False,
    classes: Annotated[
        int | None,
        typer.Option(metavar="N", help="Refuse data with another number of classes.", rich_help_panel=DATA),
    ] = None,
    mirror: Mirror = None,
    steps: Annotated[int | None, _recipe_option(metavar="N", help="Batches to train on, instead of --epochs.")] = None,
    batch_size: Annotated[int | None, _recipe_option(metavar="N", help="Images per step.")] = None,
    learning_rate: Annotated[
        float | None, _recipe_option(metavar="X", help="Initial learning rate; with --cycle-peak the highest.")
    ] = None,
    momentum: Annotated[
        float | None, _recipe_option(metavar="X", help="Momentum of stochastic gradient descent (SGD).")
    ] = None,
    nesterov: Annotated[bool | None, _recipe_option("--nesterov/--no-nesterov", help="Use Nesterov momentum.")] = None,
    l2: Annotated[
        float | None,
        _recipe_option(metavar="X", help="L2 penalty on convolution kernels: half of other tools' weight decay."),
    ] = None,
    label_smoothing: Annotated[
        float | None, _recipe_option(metavar="FRACTION", help="Spread this fraction of each label over all classes.")
    ] = None,
    batchnorm_momentum: Annotated[
        float | None, _recipe_option(metavar="X", help="Momentum of batch normalization's moving mean and variance.")
    ] = None,
    precise_batchnorm: Annotated[
        int | None,
        _recipe_option(
            metavar="N",
            help="Compute batch normalization's mean and variance from N training images; 0: use moving averages.",
        ),
    ] = None,
    lr_decay: Annotated[
        float | None,
        _recipe_option(metavar="X", help="Divide the learning rate by 1 + X * step.", panel=_SCHEDULE),
    ] = None,
    lr_drop: Annotated[
        int | None,
        _recipe_option(metavar="N", help="Halve the learning rate every N epochs; 0: never.", panel=_SCHEDULE),
    ] = None,
    lr_boundaries: Annotated[
        str | None,
        _recipe_option(
            metavar="STEP,...", help="Divide the learning rate by ten at these steps: 32000,48000.", panel=_SCHEDULE
        ),
    ] = None,
    cycle_peak: Annotated[
        float | None,
        _recipe_option(
            metavar="FRACTION",
            help="Raise the learning rate during this fraction of the run, then lower it to zero.",
            panel=_SCHEDULE,
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        _recipe_option(metavar="N", help="Begin with N steps at the warm-up learning rate.", panel=_SCHEDULE),
    ] = None,
    warmup_learning_rate: Annotated[
        float | None, _recipe_option(metavar="X", help="Learning rate of the warm-up.", panel=_SCHEDULE)
    ] = None,
    rotation: Annotated[
        float | None,
        _recipe_option(
            metavar="DEGREES", help="Rotate at random by up to this angle, either way.", panel=_AUGMENTATION
        ),
    ] = None,
    shift: Annotated[
        float | None,
        _recipe_option(
            metavar="FRACTION", help="Shift at random by up to this fraction of the image.", panel=_AUGMENTATION
        ),
    ] = None,
    crop_padding: Annotated[
        int | None,
        _recipe_option(
            metavar="PIXELS", help="Pad by this many pixels, then crop at random to the old size.", panel=_AUGMENTATION
        ),
    ] = None,
    flip: Annotated[
        bool | None, _recipe_option("--flip/--no-flip", help="Mirror images at random.", panel=_AUGMENTATION)
    ] = None,
    alternate_flips: Annotated[
        bool | None,
        _recipe_option(
            "--alternate-flips/--no-alternate-flips",
            help="Mirror each image in every other epoch, instead of at random.",
            panel=_AUGMENTATION,
        ),
    ] = None,
    cutout: Annotated[
        int | None,
        _recipe_option(metavar="PIXELS", help="Hide a square of this side at a random place.", panel=_AUGMENTATION),
    ] = None,
    resolutions: Annotated[
        str | None,
        _recipe_option(
            metavar="SIDE:SHARE,...",
            help="Train these shares of the run on smaller images, and the rest on images of full size: 20:0.4,24:0.3."
            " '' turns it off.",
            panel=_AUGMENTATION,
        ),
    ] = None,
    freeze_base: Annotated[
        bool,
        typer.Option(
            "--freeze-base",
            help="Train only the last layer (the head), and keep all other weights.",
            rich_help_panel=_TRANSFER,
        ),
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar=WEIGHTS,
            help="Learn from the answers of these weights as well as from the labels. With --resume: where they are"
            " now.",
            rich_help_panel=_TRANSFER,
        ),
    ] = None,
    distillation: Annotated[
        float | None,
        _recipe_option(
            metavar="FRACTION",
            help="Fraction of the loss that compares with the --teacher. Default: 0.9.",
            panel=_TRANSFER,
        ),
    ] = None,
    distillation_temperature: Annotated[
        float | None,
        _recipe_option(
            metavar="X", help="Divide both networks' logits by X before they are compared. Default: 4.", panel=_TRANSFER
        ),
    ] = None,
    checks: Annotated[
        int | None,
        _recipe_option(
            metavar="N",
            help="Classify the held-out images N times, evenly spread over the run; 0: after every epoch.",
            panel=_RUN,
        ),
    ] = None,
    save_interval: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="Longest time between two checkpoints. Default: 180.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = 180.0,
    on_nan: Annotated[
        str | None,
        choice(
            "--on-nan",
            ON_NAN,
            "When the loss becomes NaN or infinite: stop, or restore the last checkpoint and halve the learning rate."
            " Default: stop.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    report_file: ReportFile = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write a log for TensorBoard into the run.", rich_help_panel=OUTPUT),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only the result, warnings and errors.", rich_help_panel=OUTPUT),
    ] = False,
    precision: Annotated[
        str | None,
        choice(
            "--precision",
            PRECISIONS,
            "Number type of the feature maps. Default: the fastest on this device.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    jit: Annotated[
        bool | None,
        typer.Option(
            "--jit/--no-jit",
            help="Compile the training step with XLA. Default: if that is faster on this device.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    backend: Backend = None,
) -> None:
    """Train a network.

    Ctrl-C saves the run; --resume continues it.
    """
    started = time.monotonic()
    with console.transient("Starting ...", shown=not quiet):
        from cifarnet.cli.reporting import page_path
        from cifarnet.cli.training_screen import training_screen
        from cifarnet.training.config import RunConfig
        from cifarnet.training.run import resume as resume_run
        from cifarnet.training.run import train as train_run

    given = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
    }
    if report_file:
        page_path(report_file)
    if resume:
        _refuse_with_resume(given)
        config = None
    else:
        network = chosen_model(model, depth)
        config = RunConfig(
            recipe=_recipe(recipe, network, weights, given),
            data="cifar10" if data is None else data,
            model=network,
            seed=seed or 0,
            test_split=test_split,
            validation_split=validation_split,
            skip_broken=skip_broken,
            weights=_text(weights),
            freeze_base=freeze_base,
            budget=_budget(budget),
            backend=backend,
            precision=precision,
            jit=jit,
            on_nan=on_nan or "stop",
            teacher=_text(teacher),
        )
    with training_screen(quiet) as (report, data_report):
        log = None
        if tensorboard:
            from cifarnet.training.tensorboard import TensorBoardLog

            report = log = TensorBoardLog(report)
        common: dict[str, Any] = {
            "mirrors": mirror or (),
            "save_interval": save_interval,
            "started": started,
            "report": report,
            "data_report": data_report,
            "start_backend": partial(console.start_backend, progress=None if quiet else data_report),
        }
        if config is None:
            assert resume is not None
            length: dict[str, Any] = {"epochs": epochs, "steps": steps, "budget": _budget(budget)}
            result = resume_run(
                resume,
                data=data,
                teacher=_text(teacher),
                on_nan=on_nan,
                backend=backend,
                pictures=True,
                **length,
                **common,
            )
        else:
            suit_device = recipe in (None, "fast") and "resolutions" not in given
            result = train_run(config, output, classes=classes, suit_device=suit_device, **common)
        if log:
            log.finish(result.scored)
    html = _write_pictures(result)
    from cifarnet.reports.terminal.training_lines import render_result

    console.print_result(render_result(result.to_dict(), str(result.directory)))
    if report_file:
        from cifarnet.cli.reporting import write_page
        from cifarnet.errors import StorageError

        if html is None:
            raise typer.Exit(StorageError.exit_code)
        write_page(report_file, html)


def _write_pictures(result: Any) -> str | None:
    """Write the finished run's plots and page, which is returned; None when that failed.

    The result is whole without them, so their failure is not the run's.

    Raises:
        LostRunError: when the result was deleted or moved.
    """
    from cifarnet import runs
    from cifarnet.cli.reporting import finish_run
    from cifarnet.errors import InterruptedRunError, LostRunError
    from cifarnet.training.signals import stopping_with

    advice = f"cifarnet train --resume {result.directory}"
    try:
        with stopping_with(
            f"Stopped before plots and report were written. The result is whole. Finish it with: {advice}"
        ):
            runs.require_result(result.directory)
            html = finish_run(result)
            runs.require_result(result.directory)
            return html
    except (InterruptedRunError, LostRunError):
        raise
    except Exception as error:  # Hours of training end with what they reached, not with a traceback.
        runs.require_result(result.directory)
        console.warn(f"Plots or report could not be made: {error} The result is whole. When that is mended: {advice}")
        return None


def _budget(text: str | None) -> float | None:
    return None if text is None else seconds(text, "--budget")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _recipe(name: str | None, model: str | None, weights: Path | None, given: dict[str, Any]) -> Any:
    from dataclasses import fields

    from cifarnet.models.spec import ModelSpec
    from cifarnet.recipes import Recipe, find_recipe

    name = name or ("fine-tune" if weights else "fast" if "budget" in given else "documented")
    if model is None and weights is not None:
        from cifarnet.weights import catalog
        from cifarnet.weights.formats import load_header

        model = catalog.read(weights, load_header)[1].spec.name
    recipe = find_recipe(name).for_model(model or ModelSpec().name)
    changes = {field.name: given[field.name] for field in fields(Recipe) if field.name in given}
    lengths = [f"--{name}" for name in ("epochs", "steps", "budget") if name in given]
    if len(lengths) > 1:
        raise InvalidValueError(
            f"{' and '.join(lengths)} give the length of the run: give one of them. Received: {' '.join(lengths)}"
        )
    if "lr_boundaries" in changes:
        changes["lr_boundaries"] = _steps(changes["lr_boundaries"])
    if "resolutions" in changes:
        changes["resolutions"] = _resolutions(changes["resolutions"])
    return recipe.with_changes(**changes)


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InvalidValueError(f"--lr-boundaries takes steps such as 32000,48000. Received: {text}") from None


def _resolutions(text: str) -> tuple[tuple[int, float], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        return tuple((int(side), float(share)) for side, share in pairs)
    except ValueError:
        raise InvalidValueError(
            f"--resolutions takes sides and shares such as 20:0.4,24:0.3. Received: {text}"
        ) from None


def _refuse_with_resume(given: dict[str, Any]) -> None:
    places = {"resume", "data", "teacher", "mirror", "report_file"}
    lengths = {"epochs", "steps", "budget"}
    refused = sorted(given.keys() - places - lengths - {"on_nan", "save_interval", "tensorboard", "backend", "quiet"})
    if refused:
        options = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise InvalidValueError(
            f"A resumed run keeps what its config.json says, so --resume can't be combined with {options}."
            " Start a new run to change that (--recipe RUN/config.json takes the recipe over)."
        )
