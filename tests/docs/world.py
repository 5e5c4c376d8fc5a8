"""The place where a page is tried: a folder and ports of its own, the program under test first in the path.

Invariant: what a page started has ended when its world is closed, and a node that was not killed has ended with 0.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# a busy machine is no finding
LIMIT_S = 120
# moto's S3 server, which ends when its stdin does
S3 = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""
# the bucket that pages name
BUCKET = "bucket"
# three ports a node: of the one that most pages start, and of the clusters of docs/cluster.md and of the topologies
PORTS = [first + n for first in (7070, 7170, 7270, 7370, 7470, 7570) for n in range(3)]
# where a service keeps what it has; a page says it, a test has no right to it
SYSTEM_FOLDER = "/var/lib/strandline"


class Failed(Exception):
    """A page that does not do what it says."""


def free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ports(count: int) -> list[int]:
    """Neighbouring ports below those that the system gives away by itself."""
    while True:
        first = random.randrange(15_000, 31_000)
        if all(free(first + n) for n in range(count)):
            return [first + n for n in range(count)]


class World:
    """One page's folder, ports and processes."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.home = folder / "page"
        self.home.mkdir()
        given = ports(len(PORTS))
        self.replaced = {str(written): str(port) for written, port in zip(PORTS, given, strict=True)}
        programs = folder / "bin"
        programs.mkdir()
        (programs / "strandline").symlink_to(program)
        # `python3` is the one that has the package's needs; many systems have no `python`, so a page that names it fails
        absent = "echo 'python: not found; there is python3' >&2; exit 127"
        ours = f'exec "{sys.executable}"'
        for name, script in (("python3", f'{ours} "$@"'), ("duckdb", f'{ours} "{HERE / "duckdb_cli.py"}" "$@"'), ("python", absent)):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        self.strict = folder / "strict"
        self.strict.mkdir()
        (self.strict / ".curlrc").write_text("fail-with-body\n")
        for name in ("samples", "stores", "clients", "cluster"):
            (self.home / name).symlink_to(ROOT / name)
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("STRANDLINE_", "AWS_")) and not n.lower().endswith("_proxy")}
        own = {"HOME": str(self.home), "PATH": f"{programs}:{kept.get('PATH', '')}", "PYTHONPATH": str(ROOT / "clients/python/src")}
        own |= {"STRANDLINE_HTTP": f"127.0.0.1:{given[0]}", "STRANDLINE_NATIVE": f"127.0.0.1:{given[1]}"}
        own |= {"STRANDLINE_URL": f"http://127.0.0.1:{given[0]}", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "160"}
        self.environment = kept | own
        self.nodes: list[tuple[subprocess.Popen[bytes], Path]] = []
        self.worker: subprocess.Popen[str] | None = None
        self.s3: subprocess.Popen[bytes] | None = None

    def here(self, text: str) -> str:
        """A page's text as it holds in this world."""
        for written, port in self.replaced.items():
            text = re.sub(rf"\b{written}\b", port, text)
        return text.replace(SYSTEM_FOLDER, str(self.folder / "system"))

    def shell(self, script: str, limit_s: float = LIMIT_S, strict: bool = False) -> tuple[int, str]:
        """Runs a script to its end; its code and what it printed, stdout and stderr as they came. `strict`: an HTTP error is one of curl."""
        command = ["bash", "-euo", "pipefail", "-c", self.here(script)]
        environment = self.environment | ({"CURL_HOME": str(self.strict)} if strict else {})
        # a file, not a pipe: what a script leaves running must not hold it open
        printed = self.folder / "printed"
        with printed.open("wb") as out:
            process = subprocess.Popen(command, cwd=self.home, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired as late:
                process.kill()
                process.wait()
                raise Failed(f"it has not ended after {limit_s} s; so far:\n{printed.read_text()}") from late
        return code, printed.read_text()

    def start(self, script: str) -> str:
        """Starts a node that goes on; what it printed until it was ready."""
        printed = self.folder / f"node-{len(self.nodes)}"
        with printed.open("wb") as out:
            # the node itself is the process that is told to stop
            *before, last = self.here(script).strip().split("\n")
            command = ["bash", "-euo", "pipefail", "-c", "\n".join([*before, "exec " + last])]
            process = subprocess.Popen(command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.nodes.append((process, printed))
        end = time.monotonic() + LIMIT_S
        while not re.search(r"^ready .*\n", printed.read_text(), re.MULTILINE):
            if process.poll() is not None or time.monotonic() > end:
                raise Failed(f"no line `ready`; it said:\n{printed.read_text()}")
            time.sleep(0.02)
        return printed.read_text()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends the nodes; those that are asked to must end well."""
        while self.nodes:
            process, printed = self.nodes.pop()
            process.send_signal(how)
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Failed(f"the node does not stop:\n{printed.read_text()}") from None
            if how == signal.SIGTERM and code != 0:
                raise Failed(f"the node ended with {code}:\n{printed.read_text()}")

    def serve_s3(self) -> None:
        """Starts an object store with one bucket, which the environment of all that follows names."""
        (port,) = ports(1)
        command = [sys.executable, "-c", S3, str(port)]
        self.s3 = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        self.environment |= {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "NO_PROXY": "127.0.0.1"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                opener.open(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).close()
                return
            except OSError as error:
                if time.monotonic() > end or self.s3.poll() is not None:
                    raise Failed(f"moto's S3 server does not start: {error}") from None
                time.sleep(0.05)

    def evaluate(self, kind: str, code: str, where: str) -> tuple[str, str | None]:
        """Runs a block of Python or SQL; what it printed, and its error."""
        if self.worker is None:
            command = [sys.executable, str(HERE / "worker.py")]
            self.worker = subprocess.Popen(
                command, cwd=self.home, env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self.worker.stdin is not None and self.worker.stdout is not None
        self.worker.stdin.write(json.dumps({"kind": kind, "code": self.here(code), "where": where}) + "\n")
        self.worker.stdin.flush()
        answer = self.worker.stdout.readline()
        if not answer:
            raise Failed("the process that runs Python has ended")
        told = json.loads(answer)
        return told["output"], told["error"]

    def close(self) -> None:
        """Ends everything, whatever happened."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.communicate()
        if self.s3 is not None:
            self.s3.kill()
            self.s3.communicate()
        for process, _ in self.nodes:
            process.kill()
            process.wait()
