"""What both clients share of HTTP: the address, the settings, and what httpx's errors mean."""

import platform
import ssl
from dataclasses import dataclass, field

import httpx

from ._steps import Answer, NoAnswer, Request
from ._version import __version__

TIMEOUT_S = 30.0
PATIENCE_S = 30.0
CONNECT_S = 5.0
# a node closes a connection that is idle for 5 s; one that it closes while a request is on its way leaves that in doubt
KEEP_ALIVE_S = 3.0
# the request has not left
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# a mistake of the program, which no second try mends
MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a client."""

    url: str
    admin_url: str
    token: str | None = field(repr=False)
    ca: str | None
    timeout_s: float
    patience_s: float

    @classmethod
    def of(
        cls, url: str, admin_url: str | None, token: str | None, ca: str | None, timeout: float, patience: float
    ) -> "Settings":
        """Checked."""
        for given in (url, admin_url):
            if given is not None and not given.startswith(("http://", "https://")):
                raise ValueError(f"the address {given!r} begins with no http://: write it like http://127.0.0.1:7070")
        return cls(url.rstrip("/"), (admin_url or url).rstrip("/"), token, ca, timeout, patience)

    def of_own(self) -> dict[str, object]:
        """Arguments of a httpx client that is made here. No proxy comes between us and a node on this machine."""
        own: dict[str, object] = {"trust_env": False, "limits": httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)}
        if self.ca is not None:
            own["verify"] = ssl.create_default_context(cafile=self.ca)
        return own

    def request(self, request: Request) -> dict[str, object]:
        """Arguments of httpx's build_request."""
        agent = f"strandline-python/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"
        headers = {"user-agent": agent, "accept": "application/json", **request.headers}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return {
            "method": request.method,
            "url": (self.admin_url if request.admin else self.url) + request.path,
            "params": dict(request.query) or None,
            "headers": headers,
            "content": request.body,
            "timeout": httpx.Timeout(None if request.patient else self.timeout_s, connect=CONNECT_S),
        }


def answer(response: httpx.Response) -> Answer:
    """An answer whose body is read."""
    return Answer(response.status_code, dict(response.headers), response.content)


def no_answer(error: httpx.TransportError) -> NoAnswer:
    """What the error says of the request."""
    if isinstance(error, MISTAKES):
        raise error
    return NoAnswer(sent=not isinstance(error, NOT_SENT), error=error)
