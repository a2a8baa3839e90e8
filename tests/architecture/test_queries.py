"""Models are queried where rules and permissions live. Elsewhere a query is a rule that nobody finds again.

An escape has a name: it is a line of ALLOWED, with its reason.
"""

from __future__ import annotations

import ast

import pytest

import models
from tests.architecture.source import PACKAGES, parsed, python_files

ALLOWED = (
    "domain/",  # the rules
    "models/",  # what is stored
    "resolvers/loaders.py",  # batches what one operation needs, by the domain's visibility
    "subscriptions/hub.py",  # where logs stand
    "subscriptions/tail.py",  # the same
    "subscriptions/changes.py",  # whose access changed
    "subscriptions/backlog.py",  # reads the event log
    "subscriptions/scenes.py",  # where a log stands, and the ticket of an event
    "subscriptions/resume.py",  # finds the place of a cursor in the event log
    "deskwire/cli/",  # tools for who owns the database
    "deskwire/demo/seeding.py",  # makes the demonstration account
    "deskwire/development.py",  # finds the demonstration account
)
VERBS = frozenset(
    {
        *("all", "annotate", "exclude", "exists", "filter", "first", "get", "get_or_none", "in_bulk", "last", "raw"),
        *("bulk_create", "bulk_update", "create", "get_or_create", "select_for_update", "update_or_create"),
        "fetch_for_list",
    }
)
PREPARED = frozenset({"Prepared", "rows_anywhere_by", "rows_by"})
MODELS = frozenset(name for name in models.__all__ if hasattr(getattr(models, name), "_meta"))


def queries(tree: ast.Module) -> list[tuple[int, str]]:
    """Calls of `Model.verb(…)`, by whatever name the model was imported, and of `models.prepared`; with their lines."""
    names = _names(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PREPARED:
            found.append((node.lineno, node.func.id))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in VERBS:
            model = _model(node.func.value, names)
            if model is not None:
                found.append((node.lineno, f"{model}.{node.func.attr}"))
    return sorted(found)


def _names(tree: ast.Module) -> dict[str, str]:
    """What the models are called here; a module of models is its own name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "models":
            names |= {each.asname or each.name: each.name for each in node.names if each.name in MODELS}
    return names


def _model(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and node.attr in MODELS:
        root = ast.unparse(node.value).split(".")[0]
        return node.attr if root == "models" else None
    return None


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from models import Ticket\nTicket.filter(id=1)", [(2, "Ticket.filter")]),
        ("from models import Ticket as Row\nasync def f():\n    await Row.get(id=1)", [(3, "Ticket.get")]),
        ("from models.tickets import Ticket\nTicket.all().order_by('id')", [(2, "Ticket.all")]),
        ("import models\nmodels.Ticket.create()", [(2, "Ticket.create")]),
        ("import models.tickets\nmodels.tickets.Ticket.exists(id=1)", [(2, "Ticket.exists")]),
        ("def f():\n    from models import Event\n    return Event.get_or_none(id=1)", [(3, "Event.get_or_none")]),
        ("from models.prepared import rows_by\nrows_by(Ticket, account, [])", [(2, "rows_by")]),
        ("from models.prepared import Prepared\nPrepared(Ticket, [], build)", [(2, "Prepared")]),
        ("from schema.tickets import Ticket\nTicket.filter(1)", []),
        ("from models import Ticket\nTicket.of(1)", []),
        ("from models import Ticket\nvisible_tickets(actor).filter(id=1)\nticket: Ticket", []),
        ("from models import TicketStatus\nTicketStatus.get(1)\n{}.get(1)", []),
    ],
)
def test_the_lint_sees_queries(source: str, found: list[tuple[int, str]]) -> None:
    assert queries(ast.parse(source)) == found


def test_models_are_queried_where_it_is_allowed() -> None:
    found = [
        f"{path}:{line} {query}"
        for path in python_files(*PACKAGES)
        if not path.startswith(ALLOWED)
        for line, query in queries(parsed(path))
    ]
    assert found == []


def test_every_escape_is_used() -> None:
    used = {allowed for path in python_files(*PACKAGES) for allowed in ALLOWED if path.startswith(allowed)}
    assert used == set(ALLOWED)
