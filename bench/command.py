"""What all measurements have in common as commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from bench.events import Wrong
from bench.load import Lost


def _ended(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def done(measure: Callable[[], None]) -> int:
    """Measure, print each line when it is known, and leave nothing running, also when terminated.

    Returns the exit status: 1 where something else was delivered than should have been.
    """
    signal.signal(signal.SIGTERM, _ended)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # not replaced by anything here
    try:
        measure()
    except (Wrong, Lost) as error:
        print(f"WRONG: {error}", file=sys.stderr)
        return 1
    return 0
