"""Format the pages of ``--help``, with options in panels and examples at the end."""

import os
from dataclasses import fields
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cifarnet.errors import InvalidValueError, did_you_mean
from cifarnet.recipes import Recipe

WIDTH = 100
"""The maximum width of a page in columns. Pages are narrower on narrower terminals."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}

_NAME_WIDTH = 28
"""The maximum width of the column of names. Texts of longer names start on a new line."""

# The options that an empty text turns off.
_LISTS = {field.name for field in fields(Recipe) if field.default == ()}


def examples(*commands: tuple[str, str]) -> str:
    """Return the examples of a help page, in Markdown, from pairs of a command and its purpose."""
    lines = [line for command, purpose in commands for line in (f"    # {purpose}", f"    cifarnet {command}")]
    return "\n".join(["Examples:", "", *lines])


class _Panels:
    """The methods that the help pages of commands and of groups of commands share."""

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        """Write the subcommands, if any, and a section for each panel of options."""
        panels: dict[str, list[tuple[str, str]]] = {"Commands": [], "Arguments": [], "Options": []}
        if isinstance(self, TyperGroup):
            for name, command in self.commands.items():
                panels["Commands"].append((name, command.get_short_help_str(WIDTH)))
        for parameter in self.get_params(ctx):
            panel = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if record := parameter.get_help_record(ctx):
                # Typer's types and ranges are omitted, because metavars and texts contain them.
                name = parameter.metavar if panel == "Arguments" else record[0]
                panels.setdefault(parameter.rich_help_panel or panel, []).append((name, parameter.help))
        for title, rows in panels.items():
            if rows:
                with formatter.section(_styled(title, bold=True)):
                    formatter.write_dl([(_styled(name, fg="cyan"), text) for name, text in rows], col_max=_NAME_WIDTH)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, with arguments as ``NAME`` and optional ones as ``[NAME]``."""
        return [piece.translate({ord("{"): None, ord("}"): None}) for piece in super().collect_usage_pieces(ctx)]  # type: ignore[misc]

    def format_epilog(self: Any, ctx: Any, formatter: Any) -> None:
        """Write the examples without breaking their lines."""
        if self.epilog:
            title, _, *lines = self.epilog.splitlines()
            with formatter.section(_styled(title.rstrip(":"), bold=True)):
                for line in lines:
                    formatter.write(f"  {line.strip()}\n")


class PanelCommand(_Panels, TyperCommand):
    """A command whose help page shows its options by panel."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse ``args``, and refuse empty ones, as a variable that is not set gives them.

        An empty path would be the current folder.

        Raises:
            InvalidValueError: for an empty argument or value, unless it stands for an empty list.
        """
        words = list(args)
        rest = super().parse_args(ctx, args)
        if "" in words or any(word.endswith("=") for word in words):
            self._require_values(ctx, words)
        return rest

    def _require_values(self, ctx: Any, words: list[str]) -> None:
        given, _, _ = self.make_parser(ctx).parse_args(words)
        for parameter in self.get_params(ctx):
            value = given.get(parameter.name)
            values = value if isinstance(value, list | tuple) else (value,)
            if "" in values and parameter.name not in _LISTS and not ctx.resilient_parsing:
                is_option = parameter.param_type_name == "option"
                name = parameter.opts[-1] if is_option else parameter.metavar or parameter.name
                raise InvalidValueError(f"{name} must not be empty. See {ctx.command_path} --help. Received: ''")


class PanelGroup(_Panels, TyperGroup):
    """A command with subcommands whose help page shows its options by panel."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the subcommand that is named by the first of ``args``.

        Raises:
            InvalidValueError: when there is no subcommand of that name.
        """
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            raise InvalidValueError(
                f"{ctx.command_path} has no command {name}.{did_you_mean(name, known)} Commands are {', '.join(known)}."
                f" See {ctx.command_path} --help. Received: {name}"
            )
        return super().resolve_command(ctx, args)


def _styled(text: str, **style: Any) -> str:
    """Return ``text`` in a style. Typer removes the style when the page is not printed on a terminal."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, **style)
