"""A connection that loses answers, invents them, or is not there: the request is served by the real node, or not."""

from collections.abc import Callable

import httpx

Fate = Callable[[httpx.Request, Callable[[], httpx.Response]], httpx.Response]


def served(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
    """As if nobody were between."""
    return serve()


def lose(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
    """Served, and no answer comes."""
    serve()
    raise httpx.ReadTimeout("lost by the test", request=request)


def cut(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
    """Never served; nobody here can know that."""
    raise httpx.ReadError("cut by the test", request=request)


def unplugged(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
    """No connection."""
    raise httpx.ConnectError("unplugged by the test", request=request)


def say(status: int, body: object, **headers: str) -> Fate:
    """Never served, and answered so."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, serve: httpx.Response(status, json=body, headers=named, request=request)


def error(status: int, code: str, **headers: str) -> Fate:
    """Never served, and refused so."""
    return say(status, {"error": "said by the test", "code": code, "details": {}}, **headers)


class Losing(httpx.BaseTransport):
    """Fates of the requests with this method, in order; what comes after them is served."""

    def __init__(self, method: str, *fates: Fate) -> None:
        self._inner = httpx.HTTPTransport()
        self._method, self._fates = method, list(fates)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        def serve() -> httpx.Response:
            response = self._inner.handle_request(request)
            response.read()
            return response

        if request.method != self._method:
            return self._inner.handle_request(request)
        self.requests.append(request)
        return self._fates.pop(0)(request, serve) if self._fates else self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()
