"""The stage, set for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from tests.conftest import SignIn
from tests.delivery.ears import Ears, ears_of
from tests.delivery.stage import Stage
from tests.factories import World


@pytest.fixture
def stage(app: Starlette, world: World, sign_in: SignIn) -> Stage:
    return Stage(app, world, sign_in)


@pytest.fixture
async def ears(stage: Stage) -> AsyncIterator[Ears]:
    async with ears_of(stage) as ears:
        yield ears
