"""The signals that ask the process to end, and handlers for them."""

import signal
import threading
from typing import Any

# A closed terminal sends SIGHUP, which Windows doesn't have.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def install(handler: Any) -> dict[int, Any]:
    """Install ``handler`` for the signals, and return the previous handlers by signal.

    Ignored signals stay ignored: nohup ignores SIGHUP, and a shell SIGINT for its background jobs. Outside of the main
    thread nothing is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {
        number: signal.signal(number, handler)
        for number in SIGNALS
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }


def restore(previous: dict[int, Any]) -> None:
    """Put back the handlers that ``install`` returned."""
    for number, handler in previous.items():
        signal.signal(number, handler)
