"""How both clients ask: operations are generators of steps, without I/O, and a client only takes the steps.

```text
 operation  --yields-->  Request, Wait        client: sends, or sleeps
            <--gets----  Answer, NoAnswer     (nothing after a Wait)
            --returns->  what was asked for
```

What may be sent twice is decided in `ask`, and nowhere else.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote

from . import _given
from . import _json as j
from .errors import NotLeader, OutcomeUnknown, StrandlineError, UnexpectedAnswer, Unreachable, refused

T = TypeVar("T")
JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
# of a wait that no Retry-After names
FIRST_PAUSE_S, PAUSE_MAX_S = 0.05, 2.0
RETRY_AFTER_MAX_S = 30.0


class Repeat(Enum):
    """Whether a request may arrive twice."""

    SAFE = "twice is as good as once"
    KNOWN = "the store knows it again"
    NEVER = "it would be done twice"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `path` is percent-encoded."""

    method: str
    path: str
    repeat: Repeat
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    # a wait for the end of jobs has no time-out
    patient: bool = False

    @property
    def admin(self) -> bool:
        """Whether the admin address serves it."""
        return self.path.startswith("/admin/")


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of any status; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """None came. `sent`: the request may have arrived."""

    sent: bool
    error: Exception


Step = Request | Wait
Came = Answer | NoAnswer | None
Operation = Generator[Step, Came, T]


def path(*segments: str) -> str:
    """A path of percent-encoded segments."""
    return "".join(f"/{quote(_given.name(segment), safe='')}" for segment in segments)


def query(**given: Any) -> dict[str, str]:
    """Parameters that are given; moments and truth as the routes write them."""
    texts = {name: value for name, value in given.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in texts.items()}


def ask(request: Request, patience: float) -> Operation[Answer]:
    """Sends a request until it is answered for good, at most `patience` seconds."""
    began, pause, in_doubt = monotonic(), FIRST_PAUSE_S, False
    while True:
        came = yield request
        if isinstance(came, NoAnswer):
            in_doubt |= came.sent and request.repeat is not Repeat.SAFE
            error = _unanswered(request, came, in_doubt)
            again, wait = not came.sent or request.repeat is not Repeat.NEVER, pause
        elif came is None:
            raise AssertionError("a client answers every request")
        elif came.status < 400:
            return came
        else:
            error = _refused(came)
            # these say that nothing was done
            nothing = came.status == 429 or isinstance(error, NotLeader)
            again = nothing or (came.status == 503 and request.repeat is not Repeat.NEVER)
            wait = _retry_after(came) or pause
        if not again or monotonic() - began + wait > patience:
            raise error
        yield Wait(wait)
        pause = min(pause * 2, PAUSE_MAX_S)


def _unanswered(request: Request, came: NoAnswer, in_doubt: bool) -> StrandlineError:
    said = f"{came.error} ({type(came.error).__name__})" if str(came.error) else type(came.error).__name__
    if in_doubt:
        done = "done" if "/subscriptions/" in request.path else "stored"
        sentence = f"no answer to {request.method} {request.path} came: {said}; it may be {done}, or not"
        error: StrandlineError = OutcomeUnknown(sentence)
    else:
        error = Unreachable(f"the node does not answer: {said}")
    error.__cause__ = came.error
    return error


def _refused(came: Answer) -> StrandlineError:
    try:
        return refused(came.status, j.parse(came.body))
    except UnexpectedAnswer:
        return UnexpectedAnswer(f"HTTP {came.status} without an error that can be read: {came.body[:200]!r}")


def _retry_after(came: Answer) -> float | None:
    try:
        return min(max(float(came.headers.get("retry-after", "")), FIRST_PAUSE_S), RETRY_AFTER_MAX_S)
    except ValueError:
        return None


def get(*segments: str, patience: float, **given: Any) -> Operation[j.Object]:
    """The JSON of a GET."""
    answer = yield from ask(Request("GET", path(*segments), Repeat.SAFE, query(**given)), patience)
    return j.parse(answer.body)
