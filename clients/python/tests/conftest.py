"""A node of the real program for all tests: `STRANDLINE_TEST_PROGRAM`, which the test command sets."""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import httpx
import pytest
from losing import Fate, Losing

from strandline import Client, Store

START_S, STOP_S = 60, 60
STORES = {
    "plain": (),
    "commands": ("id.command_id.unique_scope = 'stream'",),
    "renamed": (
        "envelope.stream_id_key = 'subscriber_id'",
        "envelope.payload_key = 'record'",
        "envelope.seq_key = 'version'",
        "envelope.event_id_key = 'id'",
        "id.command_id.unique_scope = 'stream_type'",
    ),
    "skipping": ("read.require_monotonic_seq = false",),
    "mutable": ("strict.immutable_events = false",),
    "retaining": ("partition.by = ('dt')", "retention.enabled = true"),
}


@dataclass
class Node:
    """A running node."""

    url: str
    process: subprocess.Popen[str]
    folder: Path

    def stop(self) -> None:
        """Cleanly, or the test fails."""
        self.process.terminate()
        assert self.process.wait(STOP_S) == 0


def start(folder: Path, *arguments: str) -> Node:
    """A node in a folder, once it says that it is ready."""
    program = os.environ.get("STRANDLINE_TEST_PROGRAM")
    assert program, "set STRANDLINE_TEST_PROGRAM to a built `strandline`; scripts/test does"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STRANDLINE_")}
    command = [program, "serve", "--data-dir", str(folder / "node"), "--http", "127.0.0.1:0", "--native", "127.0.0.1:0"]
    errors = (folder / "stderr").open("w")
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=kept)
    errors.close()
    lines: Queue[str] = Queue()
    out = process.stdout
    assert out is not None
    threading.Thread(target=lambda: lines.put(out.readline()), daemon=True).start()
    found = re.search(r"http=(\S+)", lines.get(timeout=START_S))
    assert found, (folder / "stderr").read_text()
    address = found[1]
    scheme = "https" if "--tls-cert" in arguments else "http"
    return Node(f"{scheme}://{address}", process, folder)


def _stopped(node: Node) -> Iterator[Node]:
    try:
        yield node
        node.stop()
    finally:
        node.process.kill()
        node.process.wait()
        if node.process.stdout is not None:
            node.process.stdout.close()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node with the stores of `STORES`."""
    folder = tmp_path_factory.mktemp("node")
    statements = []
    for name, keys in STORES.items():
        at = folder / name
        places = [f"durable.path = '{at}/durable'", f"wal.path = '{at}/log'"]
        lines = ["durable.type = 'parquet'", "inmemory.enabled = true", "wal.enabled = true", *places, *keys]
        statements.append(f"CREATE EVENTSTORE {name} WITH ({', '.join(lines)});")
    config = folder / "stores.deql"
    config.write_text("\n".join(statements))
    yield from _stopped(start(folder, "--config", str(config)))


@pytest.fixture(scope="session")
def local_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node as who starts it without a statement has it."""
    yield from _stopped(start(tmp_path_factory.mktemp("local_dev")))


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a certificate of an authority of its own."""
    folder = tmp_path_factory.mktemp("secured")
    made = [os.environ["STRANDLINE_TEST_PROGRAM"], "certs", "dev", "--dir", str(folder / "certs")]
    subprocess.run(made, check=True, capture_output=True)
    certificate, key = (str(folder / f"certs/server.{kind}") for kind in ("pem", "key"))
    yield from _stopped(start(folder, "--tls-cert", certificate, "--tls-key", key))


@pytest.fixture(scope="session")
def client(node: Node) -> Iterator[Client]:
    """A client of the node."""
    with Client(node.url) as client:
        yield client


@pytest.fixture
def store(client: Client) -> Store:
    """The store that declares nothing more."""
    return client.store("plain")


Through = Callable[..., tuple[Client, Losing]]


@pytest.fixture
def through(node: Node) -> Iterator[Through]:
    """Makes clients whose requests with a method have these fates; all are closed at the end."""
    made: list[httpx.Client] = []

    def make(method: str, *fates: Fate, patience: float = 600, token: str | None = None) -> tuple[Client, Losing]:
        transport = Losing(method, *fates)
        made.append(httpx.Client(transport=transport))
        return Client(node.url, patience=patience, token=token, http=made[-1]), transport

    yield make
    for http in made:
        http.close()
