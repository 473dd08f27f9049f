"""The server's answers: JSON, errors in the form of OpenAI's API, and streams of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import MinitrainError, NonFiniteError, printable
from ..formats import one_line
from .limits import Limits
from .worker import BusyError, ClosedError

T = TypeVar("T")


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: the fault, and the change that would help.
        param: the field of the request that was wrong.
        code: a word for programs.
        retry: seconds after which the request may work; ``None`` if it will not.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry = status, message, param, code, retry

    def as_json(self) -> dict[str, Any]:
        """As OpenAI's API says it."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = one_line(printable(self.message))
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The answer. The client of OpenAI repeats a request by itself only where that may help."""
        headers = {"x-should-retry": "false" if self.retry is None else "true"}
        if self.retry is not None:
            headers["retry-after"] = str(self.retry)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in (408, 413):  # the rest of its body is not read
            headers["connection"] = "close"
        return answer(self.as_json(), self.status, headers)


FAILED = ApiError(500, "the server failed at this request; its terminal says why", code="failed")


def refusal(error: BaseException) -> ApiError | None:
    """The message to a client about an error; ``None`` for one that nobody foresaw."""
    match error:
        case ApiError():
            return error
        case BusyError():
            return ApiError(429, str(error), code="queue_full", retry=1)
        case ClosedError():
            return ApiError(503, str(error), code="stopping")
        case TimeoutError():
            return ApiError(503, "the request took longer than this server allows", code="time_limit")
        case MemoryError():
            return ApiError(503, "the server is out of memory: ask for less", code="out_of_memory")
        case NonFiniteError():
            return ApiError(500, str(error), code="not_finite")
        case MinitrainError():
            return ApiError(400, str(error))
    return None


def dumps(content: Any) -> str:
    """JSON in ASCII: text may hold halves of surrogate pairs, which UTF-8 cannot express."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with JSON."""
    return Response(dumps(content), status, headers, "application/json")


class ClientGone(Exception):
    """The client has closed the connection, or does not read."""


class EventStream(Response):
    """Sends pieces of JSON as server-sent events, as they come.

    It ends when the client goes, also while nothing is sent; when the client does not read for too long; and after
    the time of a request.

    Args:
        pieces: what to send. An error of theirs is the last thing that is sent.
        limits: the times.
        close: called at the end, whatever the reason.
        report: told of errors that nobody foresaw.
    """

    def __init__(
        self,
        pieces: AsyncIterator[Any],
        limits: Limits,
        close: Callable[[], object],
        report: Callable[[BaseException], object],
    ) -> None:
        super().__init__(media_type="text/event-stream; charset=utf-8")
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # proxies pass it on at once
        self.pieces, self.limits, self.close, self.report = pieces, limits, close, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        with contextlib.suppress(ClientGone):
            try:
                await unless_gone(receive, self._send_all(send))
            finally:
                self.close()

    async def _send_all(self, send: Send) -> None:
        async def push(message: dict[str, Any]) -> None:
            try:
                async with asyncio.timeout(self.limits.write_seconds):
                    await send(message)
            except OSError as error:  # TimeoutError is one
                raise ClientGone from error

        await push({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                async for piece in self.pieces:
                    await push(_event(dumps(piece)))
            await push(_event("[DONE]"))
        except ClientGone:
            raise
        except Exception as error:
            told = refusal(error)
            if told is None:
                self.report(error)
            await push(_event(dumps((told or FAILED).as_json())))
        await push({"type": "http.response.body", "body": b"", "more_body": False})


def _event(data: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": f"data: {data}\n\n".encode("ascii"), "more_body": True}


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled if the client goes before it is done.

    Raises:
        ClientGone: then.
    """
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGone
        return doing.result()
    finally:
        doing.cancel()
        watching.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
