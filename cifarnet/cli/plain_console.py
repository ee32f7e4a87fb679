"""A Rich console that prints in ASCII where the stream's encoding is not a form of Unicode."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# One column for one column, so that tables keep their form. Rich draws its own boxes and bars in ASCII.
_ASCII = str.maketrans(
    {"█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": " ", "▎": " ", "▏": " ", "·": ".", "–": "-", "…": "~"}
)


class PlainConsole(Console):
    """Replaces block characters by ASCII where the encoding of the stream is not a form of Unicode."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, as ``Console.render`` does."""
        segments = super().render(renderable, options)
        if self.encoding.startswith("utf"):
            return segments
        return (Segment(text.translate(_ASCII), style, control) for text, style, control in segments)

    def on_broken_pipe(self) -> None:
        """Raise the error: Rich would end the process, although a finished training still has to write its page."""
        raise
