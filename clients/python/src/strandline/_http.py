"""What both clients share of HTTP: the address, the settings, and what httpx's errors mean."""

import platform
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from ._steps import Answer, NoAnswer, Request
from ._version import __version__
from .errors import NotTrusted, Unreachable

TIMEOUT_S = 30.0
PATIENCE_S = 30.0
CONNECT_S = 5.0
# a node closes a connection that is idle for 5 s; one that it closes while a request is on its way leaves that in doubt
KEEP_ALIVE_S = 3.0
# the request has not left
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# a mistake of the program, which no second try mends
MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
# how h11 calls a first line that is none of HTTP, as an alert of TLS is
NO_HTTP = ("illegal request line", "illegal status line")


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a client."""

    # nodes of one cluster: one is asked, and another one where that one does not answer
    urls: tuple[str, ...]
    admin_url: str | None
    token: str | None = field(repr=False)
    ca: str | None
    timeout_s: float
    patience_s: float

    @classmethod
    def of(
        cls,
        url: str,
        others: Sequence[str],
        admin_url: str | None,
        token: str | None,
        ca: str | None,
        timeout: float,
        patience: float,
    ) -> "Settings":
        """Checked."""
        if isinstance(others, str):
            raise TypeError(f"others={others!r} is one address: give a list of addresses")
        for given in (url, *others, admin_url):
            if given is not None and not given.startswith(("http://", "https://")):
                raise ValueError(f"the address {given!r} begins with no http://: write it like http://127.0.0.1:7070")
        # a header would be refused with its text: a token that was read from a file has its line break yet
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise ValueError("token= is no token: it is empty, or holds a blank, a line break or a foreign letter")
        urls = tuple(one.rstrip("/") for one in (url, *others))
        return cls(urls, None if admin_url is None else admin_url.rstrip("/"), token, ca, timeout, patience)

    def of_own(self) -> dict[str, object]:
        """Arguments of a httpx client that is made here. No proxy comes between us and a node on this machine."""
        own: dict[str, object] = {"trust_env": False, "limits": httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)}
        if self.ca is not None:
            try:
                own["verify"] = ssl.create_default_context(cafile=self.ca)
            except OSError as error:
                raise ValueError(
                    f"ca={self.ca!r}: {error}: name a PEM file with certificates of authorities"
                ) from error
        return own

    def request(self, request: Request, at: int) -> dict[str, object]:
        """Arguments of httpx's build_request; `at`: which node is asked, counted without an end."""
        agent = f"strandline-python/{__version__} httpx/{httpx.__version__} python/{platform.python_version()}"
        headers = {"user-agent": agent, "accept": "application/json", **request.headers}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return {
            "method": request.method,
            "url": self._base(request, at) + request.path,
            "params": dict(request.query) or None,
            "headers": headers,
            "content": request.body,
            "timeout": httpx.Timeout(None if request.patient else self.timeout_s, connect=CONNECT_S),
        }

    def _base(self, request: Request, at: int) -> str:
        if request.admin and self.admin_url is not None:
            return self.admin_url
        return self.urls[at % len(self.urls)]


def elsewhere(came: Answer | NoAnswer) -> bool:
    """Whether another node of the cluster may do what this one does not do now."""
    return isinstance(came, NoAnswer) or came.status == 503


def answer(response: httpx.Response) -> Answer:
    """An answer whose body is read."""
    return Answer(response.status_code, dict(response.headers), response.content)


def no_answer(error: httpx.TransportError) -> NoAnswer:
    """What the error says of the request."""
    if isinstance(error, MISTAKES):
        raise error
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and isinstance(error, NOT_SENT):
        raise NotTrusted(f"no TLS with the node: {error}") from error
    if isinstance(error, httpx.RemoteProtocolError) and str(error).startswith(NO_HTTP):
        raise Unreachable(
            f"what answers there speaks no plain HTTP: {error}",
            advice="a node with a certificate is asked at https://, with Client(url, ca='ca.pem'), "
            "and the port of the native protocol is no address of a client",
        ) from error
    return NoAnswer(sent=not isinstance(error, NOT_SENT), error=error)
