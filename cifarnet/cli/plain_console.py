"""A Rich console that prints nothing that a terminal would obey, and ASCII alone where the stream is not Unicode."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cifarnet.reports.text import printable_lines

# One column for one column, so that tables keep their form. Rich draws its own boxes and bars in ASCII.
_ASCII = str.maketrans(
    {"█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": " ", "▎": " ", "▏": " ", "·": ".", "–": "-", "…": "~"}
)


class PlainConsole(Console):
    """Escapes what is not printable, and replaces block characters by ASCII where the stream is not Unicode."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, as ``Console.render`` does."""
        plain = not self.encoding.startswith("utf")
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                # Reports escape what they lay out; this is for the paths and names of all other messages.
                text = printable_lines(segment.text)
                yield Segment(text.translate(_ASCII) if plain else text, segment.style)

    def on_broken_pipe(self) -> None:
        """Raise the error: Rich would end the process, although a finished training still has to write its page."""
        raise
