"""The file of conversations: one JSON object a line, `{"messages": [{"from": "customer", "body": "…"}, …]}`."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from deskwire.cli.store import CannotDo
from domain.comments import check_body
from domain.errors import InvalidInput

FORM = '{"messages": [{"from": "customer", "body": "…"}, {"from": "agent", "body": "…"}]}'


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a conversation."""

    by_customer: bool
    body: str


def read(path: Path, count: int) -> list[list[Line]]:
    """The first conversations of a file that hold a message. Raises CannotDo."""
    try:
        with _opened(path) as file:
            lines = itertools.islice(enumerate(file, start=1), count)
            found = [_conversation(text, f"{path}, line {number}") for number, text in lines]
    except (OSError, EOFError, zlib.error) as error:
        raise CannotDo(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise CannotDo(f"{path} is not UTF-8.") from None
    if not any(found):
        raise CannotDo(f"{path} holds no conversations. It wants lines like {FORM}")
    return [conversation for conversation in found if conversation]


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _conversation(text: str, where: str) -> list[Line]:
    try:
        lines = [Line(each["from"] == "customer", each["body"]) for each in json.loads(text)["messages"]]
        for line in lines:
            check_body(line.body)
    except InvalidInput as refusal:
        raise CannotDo(f"{where}: {refusal}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CannotDo(f"{where} is not like {FORM}") from None
    if lines and not lines[0].by_customer:
        raise CannotDo(f"{where}: a conversation begins with its customer.")
    return lines
