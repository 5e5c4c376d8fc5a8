"""Subscriptions in programs that wait: iterators over events as they are committed, and named subscriptions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import _subscribe
from ._subscribe import Delivery, FollowPlan, Mode, SubscribeFilters, SubscriptionStatus, Wishes
from .errors import Interrupted
from .models import Event

if TYPE_CHECKING:
    from typing import Unpack

    from .client import Client


def _deliveries(client: Client, plan: FollowPlan) -> Iterator[Delivery]:
    while True:
        try:
            with client.stream(client.run(plan.request())) as pieces:
                for piece in pieces:
                    yield from plan.feed(piece)
        except Interrupted:
            pass
        if not plan.goes_on():
            return
        time.sleep(_subscribe.PAUSE_S)


class Subscription:
    """Events in global order: those that are there, then those that come. A connection that breaks is made again."""

    def __init__(self, client: Client, plan: FollowPlan) -> None:
        """By `Store.subscribe`."""
        self._client, self._plan = client, plan

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of the next start."""
        return self._plan.position

    def __iter__(self) -> Iterator[Event]:
        for delivery in _deliveries(self._client, self._plan):
            self._plan.position = delivery.position
            yield delivery.event


class Consumer:
    """One of those who share a named subscription: what is not acknowledged comes again, to it or to others."""

    def __init__(self, client: Client, wishes: Wishes, idle: int | None) -> None:
        """By `NamedSubscription.consume`."""
        self._client, self._wishes = client, wishes
        self._plan = FollowPlan(wishes.state, wishes.name, None, idle, {})

    def __iter__(self) -> Iterator[Delivery]:
        yield from _deliveries(self._client, self._plan)

    def ack(self, delivery: Delivery, *, only: bool = False) -> int:
        """It is processed, and what was given before it too, unless `only`. Gives how many events are settled by it."""
        return self._client.run(self._wishes.ack(delivery.position, self._plan.consumer, only))

    def retry(self, delivery: Delivery, reason: str | None = None) -> None:
        """It could not be processed: it comes again after a pause, and is parked after the last attempt."""
        self._client.run(self._wishes.failed("retry", delivery.position, reason))

    def park(self, delivery: Delivery, reason: str | None = None) -> None:
        """It is set aside now."""
        self._client.run(self._wishes.failed("park", delivery.position, reason))


class NamedSubscription:
    """A subscription whose position the server keeps."""

    def __init__(self, client: Client, wishes: Wishes) -> None:
        """By `Store.subscription`."""
        self._client, self._wishes = client, wishes

    def create(
        self,
        *,
        mode: Mode = "async",
        after: str | None = None,
        attempts_max: int | None = None,
        ack_within: float | None = None,
        **filters: Unpack[SubscribeFilters],
    ) -> SubscriptionStatus:
        """Makes it, behind a position ("end": only what comes); the same again is as good as once."""
        return self._client.run(self._wishes.create(mode, after, attempts_max, ack_within, **filters))

    def status(self) -> SubscriptionStatus:
        """Position, lag, what is in flight and what is parked."""
        return self._client.run(self._wishes.status())

    def delete(self) -> None:
        """Ends it and its consumers, and forgets its position."""
        self._client.run(self._wishes.delete())

    def replay(self, position: str | None = None) -> int:
        """Gives parked events again, all or one; how many."""
        return self._client.run(self._wishes.replay(position))

    def consume(self, *, idle: int | None = None) -> Consumer:
        """Its events, as one of its consumers. `idle`: ends after so many seconds without one."""
        return Consumer(self._client, self._wishes, idle)
