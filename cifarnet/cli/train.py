"""``cifarnet train``: train a network, or go on with a run that was stopped."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarnet.cli import console
from cifarnet.cli.options import Backend, Mirror, OptionalWeights, Report, TestSplit, seconds
from cifarnet.errors import InvalidValueError

_RECIPE = "Recipe (default: the recipe's)"


def _recipe_option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_RECIPE, show_default=False)


def train(
    context: typer.Context,
    depth: Annotated[
        int | None,
        typer.Option(
            help="Layers, 6n+2; more than --weights has grow from it. (default: that of --weights, or 20)",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="cifar10, synthetic, synthetic:N or a path. (default: cifar10)"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="documented, revised, paper, fast, fine-tune, or a JSON file."
            " (default: documented, with --budget fast, with --weights fine-tune)",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Make the best of this much time: 20m, 1h30m, 90s. In place of --epochs and --steps."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory. (default: runs/<network>-<recipe>-<time>)")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the run in this directory.", show_default=False)
    ] = None,
    weights: OptionalWeights = None,
    freeze_base: Annotated[
        bool, typer.Option("--freeze-base", help="Train the head alone, on top of the base of --weights.")
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE|NAME",
            help="Learn from the answers of these weights, besides the labels: knowledge distillation. With --resume,"
            " where they are now.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(help="Insist on this many classes; the data decide otherwise.", min=2, show_default=False),
    ] = None,
    test_split: TestSplit = None,
    validation_split: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Hold this fraction of the training images out and keep the epoch that is best on them, of those that"
            " end with classifying them (--checks).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Fixes everything that is random. (default: 0)")] = None,
    epochs: Annotated[int | None, _recipe_option(help="Passes over the training images.")] = None,
    steps: Annotated[int | None, _recipe_option(help="Batches in all, instead of epochs.")] = None,
    batch_size: Annotated[int | None, _recipe_option(help="Images per step.")] = None,
    learning_rate: Annotated[
        float | None, _recipe_option(help="Learning rate: the initial one, or with --cycle-peak the highest.")
    ] = None,
    momentum: Annotated[float | None, _recipe_option(help="Momentum of SGD.")] = None,
    nesterov: Annotated[bool | None, _recipe_option("--nesterov/--no-nesterov", help="Nesterov's momentum.")] = None,
    l2: Annotated[float | None, _recipe_option(help="L2 penalty on convolution kernels.")] = None,
    lr_decay: Annotated[float | None, _recipe_option(help="Divide the learning rate by 1 + this * step.")] = None,
    lr_drop: Annotated[int | None, _recipe_option(help="Halve the learning rate every so many epochs.")] = None,
    lr_boundaries: Annotated[
        str | None,
        _recipe_option(metavar="STEP,...", help="Divide the learning rate by ten at these steps: 32000,48000."),
    ] = None,
    cycle_peak: Annotated[
        float | None, _recipe_option(help="Learning rate up until this fraction of the run, then down to zero.")
    ] = None,
    warmup_steps: Annotated[int | None, _recipe_option(help="Steps at the warm-up learning rate.")] = None,
    warmup_learning_rate: Annotated[float | None, _recipe_option(help="Learning rate of the warm-up.")] = None,
    rotation: Annotated[float | None, _recipe_option(help="Random rotation, degrees either way.")] = None,
    shift: Annotated[float | None, _recipe_option(help="Random shift, fraction of the image.")] = None,
    crop_padding: Annotated[int | None, _recipe_option(help="Random crop after padding by these pixels.")] = None,
    flip: Annotated[bool | None, _recipe_option("--flip/--no-flip", help="Random horizontal flips.")] = None,
    alternate_flips: Annotated[
        bool | None, _recipe_option("--alternate-flips/--no-alternate-flips", help="Flip in every other epoch instead.")
    ] = None,
    cutout: Annotated[int | None, _recipe_option(help="Hide a square of this many pixels.")] = None,
    label_smoothing: Annotated[float | None, _recipe_option(help="Spread this much of each label.")] = None,
    distillation: Annotated[
        float | None,
        _recipe_option(help="Share of the loss that asks for the --teacher's answers, not the labels: 0.9."),
    ] = None,
    distillation_temperature: Annotated[
        float | None, _recipe_option(help="Divides the --teacher's logits, and one's own, before they are compared: 4.")
    ] = None,
    batchnorm_momentum: Annotated[
        float | None, _recipe_option(help="What each step leaves of batch normalization's moving moments.")
    ] = None,
    resolutions: Annotated[
        str | None,
        _recipe_option(
            metavar="SIDE:SHARE,...",
            help="Train these shares of the run on images shrunk to SIDE pixels: 20:0.4,24:0.3. The rest at full size.",
        ),
    ] = None,
    checks: Annotated[
        int | None,
        _recipe_option(
            help="Classify the held-out images so many times in the run, evenly spread; 0: after every epoch."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="float32, bfloat16 or float16, of the feature maps. (default: the fastest here)",
            show_default=False,
        ),
    ] = None,
    jit: Annotated[
        bool | None,
        typer.Option("--jit/--no-jit", help="Compile steps with XLA. (default: if faster here)", show_default=False),
    ] = None,
    on_nan: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="When the loss becomes NaN or infinite: stop, or restore the last checkpoint and halve the learning"
            " rate. (default: stop)",
            show_default=False,
        ),
    ] = None,
    mirror: Mirror = None,
    save_interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Longest time between two checkpoints.")
    ] = 180.0,
    report_file: Report = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write the run's tensorboard/, for TensorBoard to show.")
    ] = False,
    backend: Backend = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; only the result, warnings and errors.")
    ] = False,
) -> None:
    """Train a network: end to end, or with --freeze-base the head alone; Ctrl-C saves, --resume goes on."""
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
        config = RunConfig(
            recipe=_recipe(recipe, depth, weights, given),
            data="cifar10" if data is None else data,
            depth=depth,
            seed=seed or 0,
            test_split=test_split,
            validation_split=validation_split,
            weights=_text(weights),
            freeze_base=freeze_base,
            budget=seconds(budget, "--budget") if budget is not None else None,
            backend=backend,
            precision=precision,
            jit=jit,
            on_nan=on_nan or "stop",
            teacher=_text(teacher),
        )
    with console.progress_reporter(quiet) as data_report, training_screen(quiet) as report:
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
            result = resume_run(resume, data=data, teacher=_text(teacher), on_nan=on_nan, backend=backend, **common)
        else:
            suit_device = recipe in (None, "fast") and "resolutions" not in given
            result = train_run(config, output, classes=classes, suit_device=suit_device, **common)
        if log:
            log.finish(result.scored)
    html = _write_pictures(result)
    from cifarnet.reports.training import result_report

    console.stdout().print(result_report(result.to_dict(), str(result.directory)))
    if report_file:
        from cifarnet.cli.reporting import write_page
        from cifarnet.errors import StorageError

        if html is None:
            raise typer.Exit(StorageError.exit_code)
        write_page(report_file, html)


def _write_pictures(result: Any) -> str | None:
    """Write the finished run's plots and page, which is returned; None when that failed.

    The result is whole without them, so their failure is not the run's.
    """
    from cifarnet.cli.reporting import finish_run

    try:
        return finish_run(result)
    except Exception as error:  # Hours of training end with what they reached, not with a traceback.
        advice = (
            f"Plots or report could not be made: {error} The result is whole. When that is mended: cifarnet evaluate"
            f" {result.directory} --report FILE.html"
        )
        console.stderr().print(advice, style="yellow", markup=False, soft_wrap=True)
        return None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _recipe(name: str | None, depth: int | None, weights: Path | None, given: dict[str, Any]) -> Any:
    from dataclasses import fields

    from cifarnet.models.spec import ModelSpec
    from cifarnet.recipes import Recipe, find_recipe

    name = name or ("fine-tune" if weights else "fast" if "budget" in given else "documented")
    if depth is None and weights is not None:
        from cifarnet.models.weights import load_header
        from cifarnet.weights import catalog

        depth = load_header(catalog.find(weights)).spec.depth
    recipe = find_recipe(name, depth or ModelSpec().depth)
    changes = {field.name: given[field.name] for field in fields(Recipe) if field.name in given}
    lengths = [f"--{name}" for name in ("epochs", "steps", "budget") if name in given]
    if len(lengths) > 1:
        raise InvalidValueError(f"{' and '.join(lengths)} all give the length of the run: give one of them.")
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
    refused = sorted(given.keys() - places - {"on_nan", "save_interval", "tensorboard", "backend", "quiet"})
    if refused:
        options = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise InvalidValueError(
            f"A resumed run keeps what its config.json says, so --resume can't be combined with {options}."
            " Start a new run to change that (--recipe RUN/config.json takes the recipe over)."
        )
