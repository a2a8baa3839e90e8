"""Names and sizes: what a reader may rely on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.source import PACKAGES, parsed, python_files, text_files

MEANINGLESS = re.compile(r"(^|_)(utils?|helpers?|managers?|services?|misc|common)(_|$)")
LONGEST = 400
# A file of tests is read in pieces, one test at a time.
LONGEST_TESTS = 700
# With spaces for dots, so that this file names none of them.
REGISTRIES = ("pypi org", "pypi python org", "files pythonhosted org", "registry npmjs org", "registry yarnpkg com")
HOSTS = re.compile("|".join(re.escape(host).replace(r"\ ", r"\.") for host in REGISTRIES))


def names_of(path: str) -> list[str]:
    """The parts of a path that name modules and packages."""
    return path.removesuffix(".py").split("/")


@pytest.mark.parametrize(
    ("name", "bad"),
    [("utils", True), ("string_utils", True), ("helpers", True), ("service", True), ("customers", False)],
)
def test_the_lint_knows_meaningless_names(name: str, bad: bool) -> None:
    assert bool(MEANINGLESS.search(name)) is bad


def test_every_module_is_named_after_what_it_holds() -> None:
    assert [path for path in python_files() if any(map(MEANINGLESS.search, names_of(path)))] == []


def test_no_file_is_too_long() -> None:
    """Split it at some 300 lines into a package of the same name."""
    lengths = {path: len(text.splitlines()) for path, text in text_files() if path in set(python_files())}
    too_long = {
        path: lines
        for path, lines in lengths.items()
        if lines > (LONGEST_TESTS if path.startswith("tests/") else LONGEST)
    }
    assert too_long == {}


def undocumented(tree: ast.Module) -> Iterator[str]:
    """The public functions and classes of a module that do not say what they are."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_") and ast.get_docstring(node) is None:
            yield node.name


def test_the_lint_sees_what_is_undocumented() -> None:
    source = 'def told():\n    """It is."""\nasync def untold(): ...\nclass Untold: ...\ndef _private(): ...'
    assert list(undocumented(ast.parse(source))) == ["untold", "Untold"]


def test_the_domain_says_what_it_does() -> None:
    found = [f"{path}: {name}" for path in python_files("domain") for name in undocumented(parsed(path))]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    files = [path for path in python_files(*PACKAGES, "bench") if parsed(path).body]
    assert [path for path in files if ast.get_docstring(parsed(path)) is None] == []


def test_the_lint_sees_registries() -> None:
    assert all(HOSTS.search(f"https://{host.replace(' ', '.')}/simple") for host in REGISTRIES)


def test_nothing_names_a_registry() -> None:
    """Where packages come from is the business of who installs them."""
    found = [f"{path}: {match[0]}" for path, text in text_files() for match in HOSTS.finditer(text)]
    assert found == []
