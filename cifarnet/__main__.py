"""``cifarnet`` and ``python -m cifarnet``."""

from cifarnet.cli import process


def main() -> None:
    """Run the command line. A signal ends it without a traceback, even during its imports."""
    process.open_missing_streams()
    process.end_at_once_by_signals()
    from cifarnet.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
