"""The application: routes, the life of a process, and what every operation is given."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from broadcaster import Broadcast
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from deskwire.attachments.doors import AttachmentDoors
from deskwire.attachments.links import Links
from deskwire.config import BadConfiguration, Config
from deskwire.figures import metrics_of
from deskwire.health import DatabaseProbe, Lag
from deskwire.http import METHODS, graphql_endpoint
from deskwire.jobs import Job, Jobs
from deskwire.presence import LivePresence
from deskwire.schema import build_schema
from deskwire.slots import Slots
from deskwire.storage import storage_at
from deskwire.traffic import Counted, Traffic
from domain.actors import Actor
from domain.assignment import route_waiting_tickets
from domain.attachments import Sweep, purge_attachments
from domain.errors import Unauthenticated
from domain.failpoints import pass_through
from domain.offers import expire_offers
from domain.people import authenticate_all
from domain.presence import sweep_presence
from domain.responders import answer_messages, hand_off_silent_bots
from domain.settings import set_ending_sessions_since
from domain.timers import close_solved_tickets, expire_sessions, purge_expired
from domain.transactions import announce_to
from domain.trigger_runs import retry_triggers, run_triggers
from execution.engine import Engine, Operation
from models import utc_now
from models.database import is_passing, opened, pending_migrations
from partners.email.addresses import Addresses
from partners.email.files import Files
from partners.email.inbound import inbound_endpoint
from partners.email.sending import send_due_emails
from partners.email.transports import open_transport
from partners.webhooks import send_due_calls, webhook_client
from resolvers.loaders import loaders_for, of_account, of_actor
from schema.context import Context, Loaders
from subscriptions.batches import Batches
from subscriptions.bell import Bell, BellState
from subscriptions.bus import BadBroadcastUrl, broadcast_at
from subscriptions.bus.faulty import BadFaults
from subscriptions.connections import Caps, Connections
from subscriptions.feeds import LiveFeeds
from subscriptions.hub import Hub
from subscriptions.live import Live
from subscriptions.questions import Questions
from subscriptions.resume import Cursors
from subscriptions.scenes import Means
from subscriptions.streaming import Format, StreamedResponse
from subscriptions.transport import Sockets

log = logging.getLogger("deskwire")


DRAIN_SECONDS = 8.0
"""Over which clients are asked to connect elsewhere."""


class Unavailable(Exception):
    """The database does not answer now."""

    code = "SERVICE_UNAVAILABLE"
    status = 503


class NotSignedIn(Unauthenticated):
    """Over HTTP."""

    status = 401


def outage(error: BaseException) -> Unavailable | None:
    """What a client is told of in the place of this error, if the database is away: that is no defect of ours.

    A change may have been committed, and only its answer not have been read.
    """
    if not is_passing(error):
        return None
    log.warning("the database does not answer: %s", error)
    return Unavailable(
        "The database does not answer. Try again in a moment. A change may have been made: use the same idempotencyKey."
    )


def report(error: BaseException, shown: GraphQLError) -> str:
    """Log an internal error once; what the client gets is this id."""
    identifier = uuid4().hex
    log.error("internal error %s at %s", identifier, shown.path, exc_info=error)
    return identifier


class Deskwire:
    """One process: the hub, the engine, and the doors to them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        cursors = Cursors(config.secret_key.encode(), retention=timedelta(days=config.cursor_days))
        self.feeds = LiveFeeds()
        self.presence = LivePresence()
        self.engine = Engine(
            build_schema(),
            report=report,
            instead=outage,
            introspection=not config.is_production,
            suggestions=not config.is_production,
        )
        self.bell = Bell(_broadcast(config))
        self._tokens: Batches[str, Actor | None] = Batches(_known)
        means = Means(self.engine, of_account, of_actor, self._context)
        self.hub = Hub(self.bell, cursors, means, self._tokens.ask, poll_seconds=config.poll_seconds)
        self.feeds.hub = self.hub
        self.connections = Connections(Caps(config.most_sockets, config.account_sockets, config.person_sockets))
        self.live = Live(
            self.engine, self.hub, Questions(self.engine), self.connections, self.context_for, self.presence
        )
        self.sockets = Sockets(self.live)
        self.storage = storage_at(config.attachments_url)
        self.links = Links(config.secret_key.encode())
        self.http = webhook_client()
        self.mail = open_transport(config.email_url)
        self.addresses = Addresses(config.email_domain, config.secret_key)
        self.jobs = Jobs(self._jobs())
        self.stopping = asyncio.Event()
        self.broken = False
        self.lag = Lag()
        self.database = DatabaseProbe()
        self.traffic = Traffic()
        self.changes = Slots(config.changes_at_once)
        self.metrics = metrics_of(self)

    def _jobs(self) -> list[Job]:
        """What happens in the background. The order is that of a conversation's life."""
        return [
            Job("bots", answer_messages, every=1.0, on_commit=True),
            Job("triggers", run_triggers, every=1.0, on_commit=True),
            Job("triggers again", retry_triggers, every=5.0),
            Job("calls", self._send_calls, every=1.0, on_commit=True),
            Job("mails", self._send_mails, every=2.0, on_commit=True),
            Job("silent bots", hand_off_silent_bots, every=5.0),
            Job("route", route_waiting_tickets, every=2.0, on_commit=True),
            Job("expire offers", expire_offers, every=1.0),
            Job("inactivity", expire_sessions, every=1.0),
            Job("presence", sweep_presence, every=5.0),
            Job("close", close_solved_tickets, every=60.0),
            Job("purge", purge_expired, every=600.0),
            Job("purge attachments", partial(purge_attachments, self.storage), every=30.0),
            Job("sweep the storage", Sweep(self.storage), every=600.0),
        ]

    async def _send_mails(self) -> int:
        return await send_due_emails(self.mail, self.addresses)

    async def _send_calls(self) -> int:
        return await send_due_calls(self.http, allow_private_urls=not self.config.is_production)

    def _announce(self, account_id: UUID, position: int) -> None:
        self.hub.announce(account_id, position)
        self.jobs.announce(account_id, position)

    def context_for(self, actor: Actor) -> Context:
        return self._context(actor, loaders_for(actor))

    def _context(self, actor: Actor, loaders: Loaders) -> Context:
        return Context(actor=actor, loaders=loaders, feeds=self.feeds, links=self.links)

    async def signed_in(self, request: Request) -> Actor:
        """The actor of an HTTP request. Raises NotSignedIn; Unavailable, because here an outage shows first."""
        try:
            actor = await self._tokens.ask(_bearer(request))
        except Exception as error:
            away = outage(error)
            if away is None:
                raise
            raise away from error
        if actor is None:
            raise NotSignedIn
        return actor

    @property
    def attachments(self) -> AttachmentDoors:
        most_bytes = self.config.attachment_megabytes * 1024 * 1024
        return AttachmentDoors(self.storage, self.links, most_bytes, self.signed_in, self.engine.masked)

    def stream(self, request: Request, format: Format, operation: Operation, variables: dict[str, Any]) -> Response:
        """The response to a subscription over HTTP. Raises Unavailable while no more connections are taken."""
        if not self.connections.is_open:
            raise Unavailable("This process takes no more connections. Try again in a moment.")
        streamed = StreamedResponse(self.live, format, _bearer(request), operation, variables)
        return cast(Response, streamed)  # Starlette asks of a response only that it is an ASGI application

    async def livez(self, request: Request) -> Response:
        """503 when the event loop hung lately."""
        return JSONResponse({"status": "late"}, 503) if self.lag.is_grave else JSONResponse({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """503 while stopping or without a database. Without the broadcaster, or with a job that fails, degraded."""
        if self.stopping.is_set() or not await self.database.answers():
            return JSONResponse({"status": "not ready"}, 503)
        failing = self.jobs.failing
        bell = self.bell.state
        status = "ready" if bell.hears and not failing else "degraded"
        return JSONResponse({"status": status, "bell": _shown(bell), "failing": failing})

    async def served_metrics(self, request: Request) -> Response:
        """In Prometheus' text format."""
        await self.database.answers()
        return Response(self.metrics.text(), media_type=self.metrics.MEDIA_TYPE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The hub and the jobs, on an opened database. If one dies, so does the process: its silence would be worse."""
        announce_to(self._announce)
        tasks = [
            asyncio.create_task(self.hub.run(), name="hub"),
            asyncio.create_task(self.presence.keep_renewing(), name="presence"),
            asyncio.create_task(self.connections.run(), name="pings"),
            asyncio.create_task(self.lag.run(), name="lag probe"),
        ]
        if self.config.jobs:
            tasks.append(asyncio.create_task(self.jobs.run(), name="jobs"))
        for task in tasks:
            task.add_done_callback(self._stop_with)
        try:
            yield
        finally:
            self.stopping.set()
            announce_to(None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.http.aclose()
            await self.storage.close()

    async def drain(self) -> None:
        """See live connections off; new ones are refused."""
        self.stopping.set()
        await pass_through("during_drain")
        await self.connections.drain(DRAIN_SECONDS)

    def _stop_with(self, task: asyncio.Task[None]) -> None:
        if not self.stopping.is_set() and not task.cancelled():
            log.critical("the %s died; this process stops", task.get_name(), exc_info=task.exception())
            self.broken = True
            os.kill(os.getpid(), signal.SIGTERM)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Everything that serving needs, from the database on. Raises BadConfiguration."""
        async with served_alone(self.config), opened(self.config.database_url, pool_size=self.config.pool_size):
            missing = await pending_migrations()
            if missing:
                raise BadConfiguration(f"The database lacks {len(missing)} migrations. Run: python -m deskwire migrate")
            if self.config.ending_sessions_since is not None:
                await set_ending_sessions_since(self.config.ending_sessions_since)
            async with self.running():
                yield


def _bearer(request: Request) -> str:
    """The bearer token of a request; what is none, nobody has."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def _known(tokens: list[str]) -> list[Actor | None]:
    return await authenticate_all(tokens, utc_now())


def _broadcast(config: Config) -> Broadcast:
    """Raises BadConfiguration."""
    try:
        return broadcast_at(config.broadcast_url, config.database_url, config.bus_faults)
    except BadBroadcastUrl as error:
        raise BadConfiguration(f"DESKWIRE_BROADCAST_URL: {error}") from None
    except BadFaults as error:
        raise BadConfiguration(f"DESKWIRE_BUS_FAULTS: {error}") from None


def _shown(bell: BellState) -> dict[str, object]:
    return asdict(bell) | {"heard_at": bell.heard_at and bell.heard_at.isoformat()}


@asynccontextmanager
async def served_alone(config: Config) -> AsyncIterator[None]:
    """A SQLite file is served by one process. A second one is told so at once."""
    path = config.lock_file
    if path is None:
        yield
        return
    with _locked(path):
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadConfiguration(
                f"Another process serves {path.name.removesuffix('.serving')} already. "
                "One process serves a SQLite file: stop the other one, or use PostgreSQL (DESKWIRE_DATABASE_URL=postgres://…)."
            ) from None
        yield


Pages = Callable[[Deskwire], Sequence[BaseRoute]]


def no_pages(deskwire: Deskwire) -> Sequence[BaseRoute]:
    """Production serves the API and nothing else."""
    return ()


def create_app(config: Config, pages: Pages = no_pages) -> Starlette:
    """The ASGI application."""
    deskwire = Deskwire(config)
    endpoint: Callable[[Request], Awaitable[Response]] = graphql_endpoint(
        deskwire.engine,
        deskwire.signed_in,
        deskwire.context_for,
        allow_get=config.allow_get,
        changes=deskwire.changes,
        stream=deskwire.stream,
    )
    files = Files(deskwire.storage, config.attachment_megabytes * 1024 * 1024)
    mails = inbound_endpoint(config.email_inbound_key, deskwire.addresses, files)
    app = Starlette(
        routes=[
            Route("/graphql", endpoint, methods=list(METHODS)),
            WebSocketRoute("/graphql", deskwire.sockets),
            Route("/livez", deskwire.livez),
            Route("/readyz", deskwire.readyz),
            *deskwire.attachments.routes(),
            Route("/email/inbound/{slug}", mails, methods=["POST"]),
            # In production only where operators look: DESKWIRE_OPERATIONS_PORT.
            *([] if config.is_production else [Route("/metrics", deskwire.served_metrics)]),
            *pages(deskwire),
        ],
        middleware=[Middleware(Counted, traffic=deskwire.traffic)],
    )
    app.state.deskwire = deskwire
    return app
