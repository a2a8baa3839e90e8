"""The packages are the checkout's own, and the tree in docs/architecture.md is the tree that there is."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from tests.architecture.source import CHECKOUT, PACKAGES, tracked

ARCHITECTURE = CHECKOUT / "docs" / "architecture.md"
# A path at the start of a line of a fenced block: `schema/`, `deskwire/app.py`, also behind the lines of a drawn tree.
LINE = re.compile(r"^(?P<indent>[│├└─|` \t]*)(?P<path>[\w.-][\w./-]*)(?=\s|$)")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_loaded_from_the_checkout(name: str) -> None:
    """Installed into site-packages, `schema` would overwrite, and be overwritten by, another project's."""
    file = importlib.import_module(name).__file__
    assert file == str(CHECKOUT / name / "__init__.py")


def test_the_packages_are_those_that_a_start_of_the_server_loads() -> None:
    """Seen from the command, which is started in the checkout without any path set."""
    modules = ", ".join(PACKAGES)
    script = f"import {modules}; print(*[each.__file__ for each in ({modules})], sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(CHECKOUT / name / "__init__.py") for name in PACKAGES]


def paths_of(text: str) -> list[str]:
    """The paths at line starts of the fenced blocks that name a folder, below the folder that they are indented in."""
    found: list[str] = []
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = [match for match in map(LINE.match, block.splitlines()) if match]
        if any(line["path"].endswith("/") for line in lines):
            found += _joined([(len(line["indent"]), line["path"]) for line in lines])
    return found


def _joined(lines: list[tuple[int, str]]) -> list[str]:
    above: list[tuple[int, str]] = []
    found = []
    for indent, path in lines:
        while above and above[-1][0] >= indent:
            above.pop()
        whole = (above[-1][1] if above else "") + path
        if path not in (".", "./"):
            found.append(whole)
            if path.endswith("/"):
                above.append((indent, whole))
    return found


def test_a_tree_is_read_as_it_is_drawn() -> None:
    drawn = """Text `not/this`.

```
.
├── schema/          the contract
│   ├── context.py   what a resolver is given
│   └── deep/er/
│       └── leaf.py
└── Makefile
deskwire/cli/  commands
  serve.py
```

```python
import this
```
"""
    tree = ["schema/", "schema/context.py", "schema/deep/er/", "schema/deep/er/leaf.py", "Makefile"]
    assert paths_of(drawn) == [*tree, "deskwire/cli/", "deskwire/cli/serve.py"]


def test_the_described_tree_exists() -> None:
    described = paths_of(ARCHITECTURE.read_text())
    assert described, "docs/architecture.md draws no tree"
    files = set(tracked())
    folders = {f"{parent}/" for path in files for parent in _parents(path)}
    assert [path for path in described if path not in files and path not in folders] == []


def test_every_package_is_described() -> None:
    described = {path.split("/")[0] for path in paths_of(ARCHITECTURE.read_text())}
    packages = {path.split("/")[0] for path in tracked() if path.count("/") and path.endswith("/__init__.py")}
    assert sorted(packages - described) == []


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
