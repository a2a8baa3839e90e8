"""The stage, set for each test."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from tests.conftest import SignIn
from tests.delivery.stage import Stage
from tests.factories import World


@pytest.fixture
def stage(app: Starlette, world: World, sign_in: SignIn) -> Stage:
    return Stage(app, world, sign_in)
