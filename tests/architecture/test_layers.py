"""Who may import whom: the contracts of import-linter in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.source import CHECKOUT, PACKAGES

LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_the_layers_are_kept() -> None:
    done = lint(CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert f"{len(settings['contracts'])} kept, 0 broken" in done.stdout
    assert sorted(settings["root_packages"]) == sorted(PACKAGES)


def test_a_broken_layer_is_found(tmp_path: Path) -> None:
    """The same contracts, on packages of which the lowest imports the highest."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "models" / "__init__.py").write_text("import deskwire\n")
    (tmp_path / "pyproject.toml").write_text((CHECKOUT / "pyproject.toml").read_text())
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "models is not allowed to import deskwire" in done.stdout
