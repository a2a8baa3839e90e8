"""The pass that sends what waits."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime

from domain.outbox import ClaimedMail, Waiting, claim_mail, record_failure, record_sent, waiting_mails
from models import utc_now
from partners.email.addresses import Addresses
from partners.email.outgoing import Unsendable, composed
from partners.email.transports import Away, Permanent, Temporary, Transport

log = logging.getLogger("deskwire.email")

AT_A_TIME = 4
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


async def send_due_emails(transport: Transport, addresses: Addresses, clock: Callable[[], datetime] = utc_now) -> int:
    """Send all mails that are due, of all accounts. Returns how many left. Any number of processes may do this.

    When the server is away, the rest waits for the next pass: each would only wait for the same time-out.
    """
    return await _Round(transport, addresses, clock, await waiting_mails(clock())).done()


class _Round:
    """One pass."""

    def __init__(
        self, transport: Transport, addresses: Addresses, clock: Callable[[], datetime], due: list[Waiting]
    ) -> None:
        self._transport = transport
        self._addresses = addresses
        self._clock = clock
        self._due = iter(due)
        self._away = False
        self._sent = 0

    async def done(self) -> int:
        await asyncio.gather(*(self._work() for _ in range(AT_A_TIME)))
        return self._sent

    async def _work(self) -> None:
        for waiting in self._due:  # the workers share it: each takes the next one
            if self._away:
                return
            try:
                await self._deal_with(waiting)
            except Exception:
                log.exception("mail %s could not be dealt with", waiting.mail_id)

    async def _deal_with(self, waiting: Waiting) -> None:
        mail = await claim_mail(waiting, self._clock)
        if mail is None:
            return
        try:
            await self._transport.send(composed(mail, self._addresses))
        except (Unsendable, Permanent) as error:
            await self._failed(mail, error, final=True)
        except Temporary as error:
            self._away = self._away or isinstance(error, Away)
            await self._failed(mail, error, final=False)
        else:
            await record_sent(mail, self._clock)
            self._sent += 1

    async def _failed(self, mail: ClaimedMail, error: Exception, *, final: bool) -> None:
        said = _UNFIT.sub(" ", str(error)) or type(error).__name__
        await record_failure(mail, said, final=final, clock=self._clock)
