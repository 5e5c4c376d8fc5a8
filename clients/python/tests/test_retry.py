"""What is sent again, what is not, and what the program is told."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest
from conftest import Node, Through
from losing import Fate, Losing, cut, error, lose, say, unplugged

from strandline import (
    Client,
    Delivery,
    DiskFull,
    Event,
    NewEvent,
    NotTrusted,
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


def event_at(position: str) -> Event:
    """One that a subscription gave."""
    now, none = datetime.now(UTC), (None,) * 6
    return Event(UUID(int=0), "T", "s", 1, "E", None, now, now, *none, position)


def test_what_did_nothing_is_sent_again_also_without_a_command(post: Post) -> None:
    store, transport = post(unplugged, BUSY, BUSY, error(503, "not_leader"))
    assert store.append("Retry", "nothing", [NewEvent("E")]).last_seq == 1
    assert len(transport.requests) == 5


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


def test_another_node_is_asked_where_one_does_not_answer(node: Node, waits: list[float]) -> None:
    with Client("http://127.0.0.1:9", others=[node.url]) as two:
        assert two.store("plain").append("Retry", "other", [NewEvent("E")]).last_seq == 1
        assert (two.store("plain").head("Retry", "other").last_seq, waits) == (1, [0.05])
    asked: list[str] = []

    def drains(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        drained = {"error": "the node is shutting down", "code": "unavailable", "details": {}}
        return (
            httpx.Response(503, json=drained) if request.url.host == "a" else httpx.Response(200, json={"stores": []})
        )

    with httpx.Client(transport=httpx.MockTransport(drains)) as http:
        two = Client("http://a", others=["http://b"], http=http)
        assert (two.stores(), two.stores(), asked) == ([], [], ["a", "b", "b"])
        with pytest.raises(TypeError, match="list of addresses"):
            Client("http://a", others="http://b")


def test_what_asks_of_a_subscription_in_doubt_is_no_append(post: Post) -> None:
    store, _ = post(lose)
    with pytest.raises(OutcomeUnknown, match=r"POST /v1/stores/plain/subscriptions/none/retry .* may be done"):
        store.subscription("none").consume().retry(Delivery(event_at("1"), 1))


def test_a_node_that_is_not_trusted_is_told_at_once(secured: Node, waits: list[float], tmp_path: Path) -> None:
    for made in (Client(secured.url), Client(secured.url.replace("https", "http"))):
        with made as stranger, pytest.raises(Unreachable) as refused:
            stranger.stores()
        assert "https://" in str(refused.value) or isinstance(refused.value, NotTrusted)
    with Client(secured.url) as stranger, pytest.raises(NotTrusted, match="ca="):
        stranger.store("local_dev").append("Retry", "tls", [NewEvent("E")])
    assert waits == []
    with Client(secured.url, ca=str(secured.folder / "certs/ca.pem")) as known:
        assert [store.name for store in known.stores()] == ["local_dev"]
    no_authority = tmp_path / "empty.pem"
    no_authority.write_text("")
    for wrong in (no_authority, tmp_path / "nowhere.pem"):
        with pytest.raises(ValueError, match="PEM file"):
            Client(secured.url, ca=str(wrong))


def test_a_token_is_sent(through: Through) -> None:
    client, transport = through("GET", token="t-1")
    client.stores()
    assert transport.requests[0].headers["authorization"] == "Bearer t-1"


def test_what_is_no_token_is_refused_without_its_text() -> None:
    for wrong in ("", "slt_hidden\n", "slt_hidden x", "slt_hidden\u00e9"):
        with pytest.raises(ValueError, match="is no token") as refused:
            Client("http://127.0.0.1:1", token=wrong)
        assert "hidden" not in str(refused.value)


def test_every_error_says_what_to_do_next() -> None:
    def all_of(kind: type[StrandlineError]) -> list[type[StrandlineError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in all_of(child))]

    silent = [kind.__name__ for kind in all_of(StrandlineError) if not kind.advice]
    # the first is never raised itself, the other one makes its advice from the mark
    assert silent == ["StrandlineError", "IngestStopped"]
