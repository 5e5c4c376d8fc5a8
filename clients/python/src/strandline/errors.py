"""What can go wrong, one class each; every message ends with what to do next.

`Refused` and its classes are the node's own answers, by their code. The others are what a client finds out by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .models import BulkResult, Verdict


class StrandlineError(Exception):
    """Anything that this package raises of itself."""

    advice: ClassVar[str] = ""

    def __init__(self, sentence: str, *, advice: str | None = None) -> None:
        """The sentence says what happened, the advice what to do."""
        self.sentence = sentence
        self.next = self.advice if advice is None else advice
        super().__init__(f"{sentence}\nNext: {self.next}" if self.next else sentence)


class StrandlineWarning(UserWarning):
    """An answer holds, and the node says something besides that who reads it should know."""


class Refused(StrandlineError):
    """The node said no: `code`, `status` and the facts in `details`."""

    CODE: ClassVar[str] = ""
    advice = "look at `details`; this version of the package does not know the code"

    def __init__(self, sentence: str, code: str, status: int, details: Mapping[str, Any]) -> None:
        """As answered."""
        self.code, self.status, self.details = code, status, dict(details)
        super().__init__(f"{sentence} ({code}, HTTP {status})")


class BadRequest(Refused):
    """The request cannot be understood."""

    CODE = "bad_request"
    advice = "mend the arguments of the call as the sentence says; sent again it fails again"


class Unauthenticated(Refused):
    """No token, or a wrong one."""

    CODE = "unauthenticated"
    advice = "give the client a valid token: Client(url, token=...)"


class Forbidden(Refused):
    """The token, or the store's statement, does not allow it."""

    CODE = "forbidden"
    advice = (
        "the sentence says what forbids it: a role or a tenant, then use another token; a key of the store's "
        "statement, then no token helps, and who runs the store decides about it"
    )


class NotFound(Refused):
    """Unknown store, stream, event or route."""

    CODE = "not_found"
    advice = "check the names (client.stores() lists the stores); a stream is there from its first event on"


class WrongExpectedSeq(Refused):
    """The stream is not where the append expects it."""

    CODE = "wrong_expected_seq"
    advice = "read the stream from there, decide again, and append with expected_seq = last_seq of this error"

    @property
    def last_seq(self) -> int:
        """Where the stream is; 0: it has no event."""
        return int(self.details.get("last_seq", 0))


class SeqGap(Refused):
    """A given seq is not the next one."""

    CODE = "seq_gap"
    advice = "send next_seq of this error first, or leave `seq` out and the store gives it"

    @property
    def next_seq(self) -> int:
        """The seq that the stream takes next."""
        return int(self.details.get("next_seq", 0))


class SeqConflict(Refused):
    """A given seq is there already, with other content."""

    CODE = "seq_conflict"
    advice = "read what is stored under that seq; send new events from the next one on, or leave `seq` out"


class CommandConflict(Refused):
    """The command id was used for other events."""

    CODE = "command_conflict"
    advice = "a new command needs a new command_id; only the very same events are sent again with the old one"


class EventIdConflict(Refused):
    """The event id is taken."""

    CODE = "event_id_conflict"
    advice = "after an unknown outcome store.event(event_id) says whether it was this one; else leave event_id out"


class NotificationsDisabled(Refused):
    """The store sends no notifications."""

    CODE = "notifications_disabled"
    advice = "follow the store with store.follow(), or set projection.notify_on_commit in its statement"


class SubscriptionConflict(Refused):
    """A subscription of this name was made otherwise."""

    CODE = "subscription_conflict"
    advice = "delete it first, which forgets its position, or take another name"


class TooLarge(Refused):
    """Over a limit, which `details` names."""

    CODE = "too_large"
    advice = "send less at once (store.ingest() cuts by itself); one event holds at most 1 MiB"


class UnsupportedMediaType(Refused):
    """A content type that is not served."""

    CODE = "unsupported_media_type"
    advice = "use a package and a node of versions that fit together"


class StrictViolation(Refused):
    """A rule of the store is violated."""

    CODE = "strict_violation"
    advice = "give the event the field that the store's statement asks for, or register its stream type"


class InvalidEvent(Refused):
    """A field of an event is not valid."""

    CODE = "invalid_event"
    advice = "mend the event as the sentence says; sent again it fails again"


class Overloaded(Refused):
    """Too much in flight for longer than the client is patient; nothing was done."""

    CODE = "overloaded"
    advice = "send it again later, or from fewer clients at once; Client(url, patience=...) waits longer"


class Unavailable(Refused):
    """Not now: the node starts, drains, or a log takes no appends."""

    CODE = "unavailable"
    advice = (
        "wait until GET /ready answers 200; an append without a command id may be stored: look before it is sent again"
    )


class NotLeader(Refused):
    """Another node leads."""

    CODE = "not_leader"
    advice = (
        "nothing was done: send it again in a moment (a new leader is there within seconds), or ask the node that "
        "`details` names; Client(url, others=[...]) knows the other nodes of a cluster"
    )


class DiskFull(Refused):
    """No room on the node's disk; reads go on."""

    CODE = "disk_full"
    advice = "make room on the node's disk, then send it again"


class MissingSeq(Refused):
    """A stream has a hole, and the store's policy is to fail."""

    CODE = "missing_seq"
    advice = "tell who runs the store; `strandline verify` names what is damaged"


class Damaged(Refused):
    """Stored bytes are damaged, or two rows of one key differ."""

    CODE = "integrity_error"
    advice = "tell who runs the store; `strandline verify` names what is damaged"


class StorageFailed(Refused):
    """The node's disk or its object store failed."""

    CODE = "io_error"
    advice = "look at the node's log and at GET /ready; try again when the storage answers"


class NotSupported(Refused):
    """A later version of the node may serve it."""

    CODE = "not_supported"
    advice = "do what the sentence says instead, or use a later version of the node"


class Unreachable(StrandlineError):
    """No answer came for as long as the client is patient."""

    advice = (
        "check the address (https:// where the node has a certificate) and that the node runs (`strandline serve`); "
        "what only reads can be asked again"
    )


class NotTrusted(Unreachable):
    """TLS is not agreed with what answers there; nothing was sent, and no second try mends it."""

    advice = (
        "name the authority that signed the node's certificate, Client(url, ca='ca.pem'), and the node by a name that "
        "stands in its certificate; a node without a certificate is asked at http://"
    )


class OutcomeUnknown(StrandlineError):
    """An append was sent and no answer came: it may be stored, or not."""

    advice = (
        "look whether it is there before it is sent again; an append may go with an expected_seq, or with a "
        "command_id, with which the client sends it again by itself in a store with id.command_id.unique_scope"
    )


class Interrupted(StrandlineError):
    """An answer broke off: what came is a part."""

    advice = "begin again; a reading in pages goes on from its `position`, or from the last seq"


class UnexpectedAnswer(StrandlineError):
    """An answer is not what the contract says."""

    advice = "check that the address is a Strandline node's HTTP address, of a version that fits this package"


class HolesFound(StrandlineError):
    """A stream has holes: `verdict` lists them. Who reads on is told again as long as they are there."""

    advice = "tell who runs the store; allow_holes=True reads what is there"

    def __init__(self, sentence: str, verdict: Verdict) -> None:
        """With the verdict of what was read and of the page that has them."""
        self.verdict = verdict
        super().__init__(sentence)


class IntegrityError(StrandlineError):
    """Rows and verdict of an answer contradict each other, or pages do not fit together."""

    advice = "do not use what was read, and report this sentence: the node is wrong, or something between it and here"


class PartlyStored(StrandlineError):
    """Some streams of a bulk body are stored, others are not: `result.streams` says which."""

    advice = "send the streams again that are not stored; store.ingest() sends such a chunk again by itself"

    def __init__(self, sentence: str, result: BulkResult) -> None:
        """With the answer."""
        self.result = result
        super().__init__(sentence)


class IngestStopped(StrandlineError):
    """A load ended before its end: the first `lines` events are done, the cause is `__cause__`."""

    def __init__(self, sentence: str, *, mark: str, lines: int, chunk: int) -> None:
        """Where it stopped."""
        self.mark, self.lines, self.chunk = mark, lines, chunk
        again = (
            f"mend the cause, then give the same events to store.ingest(events, mark={mark!r}): what is stored is known"
        )
        super().__init__(sentence, advice=again)


def _codes(base: type[Refused]) -> dict[str, type[Refused]]:
    return {kind.CODE: kind for kind in base.__subclasses__()}


_BY_CODE = _codes(Refused)


def refused(status: int, body: Mapping[str, Any]) -> Refused:
    """The error of an answer."""
    code, details = str(body.get("code", "")), body.get("details")
    kind = _BY_CODE.get(code, Refused)
    return kind(str(body.get("error", "")), code, status, details if isinstance(details, dict) else {})
