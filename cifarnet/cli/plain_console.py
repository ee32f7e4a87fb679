"""A Rich console that escapes control characters, and replaces block characters where the stream is not Unicode."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cifarnet.reports.text import printable_lines

# Each replacement is one column wide, which keeps tables aligned. Rich draws its own boxes and bars in ASCII.
_ASCII = str.maketrans(
    {"█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": " ", "▎": " ", "▏": " ", "·": ".", "–": "-", "…": "~"}
)


class PlainConsole(Console):
    """Escapes characters that are not printable, and prints ASCII for block characters if the stream is not Unicode."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, as ``Console.render`` does."""
        plain = not self.encoding.startswith("utf")
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                # Reports escape their texts before layout. This is for paths and names in other messages.
                text = printable_lines(segment.text)
                yield Segment(text.translate(_ASCII) if plain else text, segment.style)

    def on_broken_pipe(self) -> None:
        """Raise the error. Rich would end the process before a finished training writes its report."""
        raise
