"""What a client is told when something did not work, and what it never is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

from graphql import GraphQLError
from strawberry.exceptions import StrawberryInputCoercionError

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
UNRESOLVED = "OPERATION_RESOLUTION_FAILURE"
BAD_USER_INPUT = "BAD_USER_INPUT"
INTERNAL = "INTERNAL_SERVER_ERROR"
APOLOGY = "Something went wrong on our side. Quote this id to us."

REQUEST_CODES = frozenset({PARSE_FAILED, VALIDATION_FAILED, UNRESOLVED, BAD_USER_INPUT})
CODE = re.compile(r"[A-Z][A-Z0-9_]*")
ENCOUNTERED = re.compile(r", but encountered error '.*'; found: ", re.DOTALL)

Report = Callable[[BaseException, GraphQLError], str]
"""Logs an internal exception and returns the id under which it can be found."""

Instead = Callable[[BaseException], Exception | None]
"""The exception that a client is told of in the place of this one: what went wrong is no defect. None where it is."""


def nothing_instead(error: BaseException) -> None:
    """Every exception that is not meant for clients is a defect."""


class RequestError(Exception):
    """Nothing was executed: the request was malformed, invalid or refused. `errors` says why."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = list(errors)


def coded(errors: Iterable[GraphQLError], code: str) -> list[GraphQLError]:
    """Return the errors of a request with their code; what a scalar's parser said in an exception is taken out."""
    return [_coded(error, code) for error in errors]


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    extensions = {**(error.extensions or {}), "code": code}
    return GraphQLError(
        _without_parser(error.message), error.nodes, error.source, error.positions, extensions=extensions
    )


def _without_parser(message: str) -> str:
    return ENCOUNTERED.sub(", found: ", message)


class Masks:
    """Formats errors. What is not meant for clients is reported, and replaced by an apology and an id."""

    def __init__(self, report: Report, instead: Instead = nothing_instead) -> None:
        self._report = report
        self._instead = instead

    def formatted(self, errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
        """Return the errors as the client may see them. One exception in many places is reported once."""
        told: dict[int, tuple[str, dict[str, Any]]] = {}
        return [self._formatted(error, told) for error in errors]

    def _formatted(self, error: GraphQLError, told: dict[int, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        if extensions := _public(error):
            return _entry(error, error.message, extensions)
        cause = _cause(error)
        if _is_coercion(cause):
            return _entry(error, _without_parser(error.message), {"code": BAD_USER_INPUT})
        if id(cause) not in told:
            told[id(cause)] = self._told(cause, error)
        return _entry(error, *told[id(cause)])

    def _told(self, cause: BaseException, error: GraphQLError) -> tuple[str, dict[str, Any]]:
        instead = self._instead(cause)
        if instead is not None:
            return str(instead), {**extensions_of(instead), "code": code_of(instead)}
        return APOLOGY, {"code": INTERNAL, "id": self._report(cause, error)}


def code_of(error: BaseException) -> str | None:
    """Return the stable code of an exception that is meant for clients, None for any other.

    Codes are SCREAMING_SNAKE. Libraries have attributes of that name too (SQLAlchemy's are like "e3q8").
    """
    code = getattr(error, "code", None)
    code = code.value if isinstance(code, Enum) else code
    return code if isinstance(code, str) and CODE.fullmatch(code) else None


def extensions_of(error: BaseException) -> dict[str, Any]:
    """Return what an exception that is meant for clients adds to its code."""
    extensions = getattr(error, "extensions", None)
    return dict(extensions) if isinstance(extensions, dict) else {}


def _public(error: GraphQLError) -> dict[str, Any] | None:
    """Return the extensions of an error that is meant for clients, None for any other."""
    if error.path is None and (error.extensions or {}).get("code") in REQUEST_CODES:
        return dict(error.extensions or {})
    cause = _cause(error)
    code = code_of(cause)
    return {**extensions_of(cause), "code": code} if code else None


def _cause(error: GraphQLError) -> BaseException:
    """Return the exception behind an error; the error itself where graphql-core raised it."""
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _is_coercion(error: BaseException) -> bool:
    """Tell whether the value of an argument did not fit, which shows only when its field is executed.

    graphql-core raises a plain GraphQLError for that, as it does for wrong values of ours (whose text must not be
    shown), so the module that raised it decides. A null for an argument with a default is the usual case.
    """
    if isinstance(error, StrawberryInputCoercionError):
        return True
    traceback = error.__traceback__ if isinstance(error, GraphQLError) else None
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") == "graphql.execution.values"


def _entry(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"message": message}
    if error.locations:
        entry["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path is not None:
        entry["path"] = error.path
    return {**entry, "extensions": extensions}
