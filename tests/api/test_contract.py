"""The operations of the contract validate against the committed SDL."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import build_schema as parse_schema
from graphql import parse, validate

from tests.client import OPERATIONS

SDL = Path(__file__).parents[2] / "schema" / "schema.graphql"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_the_contract_validates(name: str) -> None:
    assert validate(parse_schema(SDL.read_text()), parse(OPERATIONS[name])) == []
