"""Security floors: the lowest versions without a known hole. A scanner that can look nothing up finds nothing; this
table was reviewed by people, and grows when an advisory appears."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.architecture.source import CHECKOUT

FLOORS = {
    # CVE-2024-47082, -2025-22151, -2026-35523, -35526, -45739, -47706, -47707, -107728, -107727; Origin check
    "strawberry-graphql": "0.341.2",
    # CVE-2026-75507, -75508 and the four of November 2026
    "graphql-core": "3.3.2",
    # CVE-2026-48710, -48817, -48818, -54282, -54283; body limit, Host fixes
    "starlette": "1.10",
    # response splitting; close handshake
    "uvicorn": "0.54",
    "websockets": "17.4",
    # CVE-2020-11010
    "tortoise-orm": "1.1.9",
    # a cancelled command hands its answer to another request
    "redis": "7.4",
}
# broadcaster hears nothing with redis-py 8: the first subscriber of a process stays deaf.
BELOW = {"redis": "8"}

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
DECLARED = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
LOCK = (CHECKOUT / "requirements.lock").read_text()


def locked() -> dict[str, str]:
    """The pinned versions. A package with an environment marker counts like any other."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;]+)", LOCK, re.MULTILINE))


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_is_above_its_floor(name: str) -> None:
    installed = Version(version(name))
    assert installed >= Version(FLOORS[name])
    assert name not in BELOW or installed < Version(BELOW[name])


@pytest.mark.parametrize("name", FLOORS)
def test_the_floor_is_declared(name: str) -> None:
    bounds = {each.operator: each.version for each in DECLARED[name].specifier}
    assert bounds[">="] == FLOORS[name]
    assert name not in BELOW or bounds["<"] == BELOW[name]


def test_every_pin_satisfies_the_project() -> None:
    pins = locked()
    development = map(Requirement, PROJECT["optional-dependencies"]["dev"])
    for requirement in [*DECLARED.values(), *development]:
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    for name, floor in FLOORS.items():
        assert Version(pins[name]) >= Version(floor)


def test_every_pin_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)
    pinned = [entry for entry in entries if re.match(r"[a-z0-9]", entry)]
    assert len(pinned) == len(locked())
    assert [entry.split()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_address() -> None:
    for lock in (LOCK, (CHECKOUT / "requirements-runtime.lock").read_text()):
        assert re.findall(r"https?://\S*|--(?:extra-)?index-url.*|--find-links.*|\S+ @ \S+", lock) == []
