"""Asks every route of a running node what its own OpenAPI document says, and much that it does not say (schemathesis).

A 5xx (but 501), and a status, content type, header or field that the document does not name, are findings.

    openapi_fuzz.py URL [DOCUMENT]       the node holds a store `test`; DOCUMENT in the place of the served one
    openapi_fuzz.py URL --only PATH...   the operations of these paths; the node is taken as it is
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

# of each operation, beside the cases that the schemas themselves make
EXAMPLES = 30
LIMIT_S = 900
HERE = pathlib.Path(__file__).parent / "openapi"


def post(url: str, body: object) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    # no proxy comes between us and this machine
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        answer.read()


def fill(url: str) -> None:
    """Events in files (one of them so old that retention takes it), in the log and in memory."""
    store = f"{url}/v1/stores/test"
    for stream in ("1001", "1002"):
        events = [
            {"event_type": "Placed", "event_id": f"0190a6e4-7c1a-7000-8000-00000000{stream}", "data": {"total": 12.5}},
            {"event_type": "Paid", "tenant_id": "acme", "metadata": {"trace": 1}, "event_version": 2},
        ]
        post(f"{store}/streams/Order/{stream}", {"events": events, "command_id": f"place-{stream}"})
    post(f"{store}/streams/Order/999", {"events": [{"event_type": "Placed", "occurred_at": "2001-02-03T04:05:06Z"}]})
    post(f"{url}/admin/v1/stores/test/compaction/run?wait=true", {})
    post(f"{url}/admin/v1/stores/test/retention/run", {})
    post(f"{store}/streams/Order/1001", {"events": [{"event_type": "Shipped"}], "command_id": "ship"})
    post(f"{store}/stream-types", {"name": "Invoice"})


def main() -> int:
    url, *rest = sys.argv[1:]
    only = rest[1:] if rest[:1] == ["--only"] else []
    document = str(pathlib.Path(rest[0]).resolve()) if rest and not only else f"{url}/openapi.json"
    if not only:
        fill(url)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run", document]
    command += ["--url", url, "--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-examples", str(EXAMPLES)]
    # a schema cannot say all that a request must keep (from_seq <= to_seq, a statement that parses), nor what is taken all the same:
    # an empty `limit` is one that is not given, and on_error=skip lists refused lines in a 201
    command += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
    command += [word for path in only for word in ("--include-path", path)]
    # a busy machine is no finding
    command += ["--continue-on-failure", "--no-color", "--request-timeout", "60"]
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = {**kept, "PYTHONPATH": str(HERE), "NO_PROXY": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, cwd=folder, env=environment, timeout=LIMIT_S).returncode


if __name__ == "__main__":
    sys.exit(main())
