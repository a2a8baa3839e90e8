"""`serve`: one process, or several under a supervisor, until SIGTERM."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deskwire.cli.store import loaded
from deskwire.config import Config, check_workers
from deskwire.serving.line import Line
from deskwire.serving.process import Place, log_to_stderr, serve
from deskwire.serving.workers import supervise


async def run(arguments: argparse.Namespace) -> int:
    config = _chosen(loaded(), arguments)
    check_workers(config)
    log_to_stderr(arguments.worker)
    if arguments.worker is not None:
        return await serve(config, Place(arguments.worker, Line(arguments.line)))
    return await (supervise(config) if config.workers > 1 else serve(config))


def _chosen(config: Config, arguments: argparse.Namespace) -> Config:
    """What the command line says goes before the environment."""
    given = {name: getattr(arguments, name) for name in ("host", "port", "workers")}
    return replace(config, **{name: value for name, value in given.items() if value is not None})
