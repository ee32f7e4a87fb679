"""``cifarnet`` and ``python -m cifarnet``."""

from cifarnet.cli import process


def main() -> None:
    """Run the command line; a signal ends it quietly from the first module on that it imports."""
    process.open_missing_streams()
    process.end_at_once_by_signals()
    from cifarnet.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
