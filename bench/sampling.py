"""`python -m bench.sampling FILE serve …`: Deskwire's command, with its Python stacks sampled by the CPU that it uses.

SIGUSR2 forgets what was sampled so far, SIGUSR1 writes the file and ends the process. Each line of the file is a stack,
outermost first, and how often it was met. The kernel's clock says how often it is looked: some hundred times a second.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from deskwire.cli import main

EVERY_SECONDS = 0.001

Stack = tuple[CodeType, ...]


def _stack(frame: FrameType | None) -> Stack:
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return tuple(reversed(codes))


def _named(code: CodeType) -> str:
    return f"{Path(code.co_filename).stem}.{code.co_qualname}".replace(" ", "_")


def sample(file: Path) -> None:
    """Begin."""
    met: Counter[Stack] = Counter()

    def look(number: int, frame: FrameType | None) -> None:
        met[_stack(frame)] += 1

    def forget(number: int, frame: FrameType | None) -> None:
        met.clear()

    def end(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = [f"{';'.join(map(_named, stack))} {count}" for stack, count in met.most_common()]
        file.write_text("\n".join(lines) + "\n")
        os._exit(0)

    signal.signal(signal.SIGPROF, look)
    signal.signal(signal.SIGUSR2, forget)
    signal.signal(signal.SIGUSR1, end)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)


if __name__ == "__main__":
    sample(Path(sys.argv.pop(1)))
    raise SystemExit(main())
