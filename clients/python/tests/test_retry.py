"""What is sent again, what is not, and what the program is told."""

from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest
from conftest import Through
from losing import Fate, Losing, cut, error, lose, say, unplugged

from strandline import (
    Client,
    DiskFull,
    NewEvent,
    OutcomeUnknown,
    Overloaded,
    Refused,
    Store,
    StrandlineError,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)

Post = Callable[..., tuple[Store, Losing]]
BUSY = error(429, "overloaded", retry_after="0")


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that the client makes, on a clock that only they move."""
    made: list[float] = []
    monkeypatch.setattr("strandline._steps.monotonic", lambda: sum(made))
    monkeypatch.setattr("strandline.client.time", SimpleNamespace(sleep=made.append))
    return made


@pytest.fixture
def post(through: Through) -> Post:
    """A store whose appends have these fates."""

    def make(*fates: Fate, store: str = "plain", patience: float = 600) -> tuple[Store, Losing]:
        client, transport = through("POST", *fates, patience=patience)
        return client.store(store), transport

    return make


def test_what_did_nothing_is_sent_again_also_without_a_command(post: Post) -> None:
    store, transport = post(unplugged, BUSY, BUSY)
    assert store.append("Retry", "nothing", [NewEvent("E")]).last_seq == 1
    assert len(transport.requests) == 4


@pytest.mark.parametrize("fate", [lose, cut])
def test_an_append_in_doubt_is_left_to_the_program(post: Post, fate: Fate) -> None:
    store, transport = post(fate)
    with pytest.raises(OutcomeUnknown, match="may be stored") as unknown:
        store.append("Retry", f"doubt-{fate.__name__}", [NewEvent("E")], command_id="c")
    # the store has no scope of commands: it would not know the command again
    assert len(transport.requests) == 1 and isinstance(unknown.value.__cause__, httpx.TransportError)


@pytest.mark.parametrize("fate", [lose, cut])
def test_a_command_that_the_store_knows_is_sent_again(post: Post, fate: Fate) -> None:
    store, transport = post(fate, error(503, "unavailable"), store="commands")
    done = store.append("Retry", f"known-{fate.__name__}", [NewEvent("E")], expected_seq="empty", command_id="c")
    assert (done.last_seq, done.duplicate, len(transport.requests)) == (1, fate is lose, 3)
    assert store.head("Retry", f"known-{fate.__name__}").last_seq == 1


def test_patience_ends(post: Post, waits: list[float]) -> None:
    store, transport = post(*[error(429, "overloaded")] * 1000, patience=10)
    with pytest.raises(Overloaded) as busy:
        store.append("Retry", "busy", [NewEvent("E")])
    assert busy.value.status == 429 and len(transport.requests) == len(waits) + 1
    # longer and longer, up to a limit
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2]
    # behind an attempt that is in doubt, a connection that is gone proves nothing
    store, _ = post(lose, *[unplugged] * 1000, store="commands")
    with pytest.raises(OutcomeUnknown):
        store.append("Retry", "gone", [NewEvent("E")], command_id="c")
    with Client("http://127.0.0.1:9", patience=0.2) as nobody, pytest.raises(Unreachable):
        nobody.stores()


def test_retry_after_is_waited_for(post: Post, waits: list[float]) -> None:
    store, _ = post(error(429, "overloaded", retry_after="7"))
    store.append("Retry", "later", [NewEvent("E")])
    assert waits == [7]
    store, transport = post(error(429, "overloaded", retry_after="7"), patience=5)
    with pytest.raises(Overloaded):
        store.append("Retry", "later", [NewEvent("E")])
    assert len(transport.requests) == 1


@pytest.mark.parametrize(("status", "code", "kind"), [(503, "unavailable", Unavailable), (507, "disk_full", DiskFull)])
def test_what_another_try_does_not_mend_is_told(post: Post, status: int, code: str, kind: type[Refused]) -> None:
    store, transport = post(error(status, code))
    with pytest.raises(kind):
        store.append("Retry", "told", [NewEvent("E")])
    assert len(transport.requests) == 1


def test_reads_are_asked_again(through: Through, store: Store) -> None:
    store.append("Retry", "read", [NewEvent("E")])
    client, _ = through("GET", cut, BUSY, unplugged, lose)
    assert len(list(client.store("plain").read("Retry", "read"))) == 1


def test_an_answer_that_is_none_of_a_node_is_said_so(through: Through) -> None:
    for fate in (say(200, ["not", "it"]), say(502, "bad gateway"), say(200, {"appended": "many"})):
        with pytest.raises(UnexpectedAnswer) as unexpected:
            through("GET", fate)[0].stores()
        assert "Strandline node" in unexpected.value.next
    with pytest.raises(ValueError, match="http://"):
        Client("127.0.0.1:7070")


def test_a_token_is_sent(through: Through) -> None:
    client, transport = through("GET", token="t-1")
    client.stores()
    assert transport.requests[0].headers["authorization"] == "Bearer t-1"


def test_every_error_says_what_to_do_next() -> None:
    def all_of(kind: type[StrandlineError]) -> list[type[StrandlineError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_of(child))]

    silent = [kind.__name__ for kind in all_of(StrandlineError) if not kind.advice]
    # the first is never raised itself, the other one makes its advice from the mark
    assert silent == ["StrandlineError", "IngestStopped"]
