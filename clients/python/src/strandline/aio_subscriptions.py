"""Subscriptions in asyncio: asynchronous iterators over events as they are committed, and named subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from . import _subscribe
from ._subscribe import Delivery, FollowPlan, Mode, SubscribeFilters, SubscriptionStatus, Wishes
from .errors import Interrupted
from .models import Event

if TYPE_CHECKING:
    from typing import Unpack

    from .aio import AsyncClient


async def _deliveries(client: AsyncClient, plan: FollowPlan) -> AsyncIterator[Delivery]:
    while True:
        try:
            async with client.stream(await client.run(plan.request())) as pieces:
                async for piece in pieces:
                    for delivery in plan.feed(piece):
                        yield delivery
        except Interrupted:
            pass
        if not plan.goes_on():
            return
        await asyncio.sleep(_subscribe.PAUSE_S)


class AsyncSubscription:
    """Events in global order: those that are there, then those that come. A connection that breaks is made again."""

    def __init__(self, client: AsyncClient, plan: FollowPlan) -> None:
        """By `AsyncStore.subscribe`."""
        self._client, self._plan = client, plan

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of the next start."""
        return self._plan.position

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for delivery in _deliveries(self._client, self._plan):
            self._plan.position = delivery.position
            yield delivery.event


class AsyncConsumer:
    """One of those who share a named subscription: what is not acknowledged comes again, to it or to others."""

    def __init__(self, client: AsyncClient, wishes: Wishes, idle: int | None) -> None:
        """By `AsyncNamedSubscription.consume`."""
        self._client, self._wishes = client, wishes
        self._plan = FollowPlan(wishes.state, wishes.name, None, idle, {})

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        async for delivery in _deliveries(self._client, self._plan):
            yield delivery

    async def ack(self, delivery: Delivery, *, only: bool = False) -> int:
        """It is processed, and what was given before it too, unless `only`. Gives how many events are settled by it."""
        return await self._client.run(self._wishes.ack(delivery.position, self._plan.consumer, only))

    async def retry(self, delivery: Delivery, reason: str | None = None) -> None:
        """It could not be processed: it comes again after a pause, and is parked after the last attempt."""
        await self._client.run(self._wishes.failed("retry", delivery.position, reason))

    async def park(self, delivery: Delivery, reason: str | None = None) -> None:
        """It is set aside now."""
        await self._client.run(self._wishes.failed("park", delivery.position, reason))


class AsyncNamedSubscription:
    """A subscription whose position the server keeps."""

    def __init__(self, client: AsyncClient, wishes: Wishes) -> None:
        """By `AsyncStore.subscription`."""
        self._client, self._wishes = client, wishes

    async def create(
        self,
        *,
        mode: Mode = "async",
        after: str | None = None,
        attempts_max: int | None = None,
        ack_within: float | None = None,
        **filters: Unpack[SubscribeFilters],
    ) -> SubscriptionStatus:
        """Makes it, behind a position ("end": only what comes); the same again is as good as once."""
        return await self._client.run(self._wishes.create(mode, after, attempts_max, ack_within, **filters))

    async def status(self) -> SubscriptionStatus:
        """Position, lag, what is in flight and what is parked."""
        return await self._client.run(self._wishes.status())

    async def delete(self) -> None:
        """Ends it and its consumers, and forgets its position."""
        await self._client.run(self._wishes.delete())

    async def replay(self, position: str | None = None) -> int:
        """Gives parked events again, all or one; how many."""
        return await self._client.run(self._wishes.replay(position))

    def consume(self, *, idle: int | None = None) -> AsyncConsumer:
        """Its events, as one of its consumers. `idle`: ends after so many seconds without one."""
        return AsyncConsumer(self._client, self._wishes, idle)
