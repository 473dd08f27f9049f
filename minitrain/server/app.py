"""The application: which address answers what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import MinitrainError
from .answers import FAILED, ApiError, EventStream, answer, refusal, unless_gone
from .catalogue import Catalogue, Served
from .chat import ChatCompletion
from .completions import Completion, Form
from .explore import Exploration, attention, describe, status
from .guard import Guard
from .requests import read_body
from .worker import Generation

PAGE = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "attention.js": "text/javascript; charset=utf-8",
    "column.js": "text/javascript; charset=utf-8",
    "requests.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files of the page, and what they are; nothing else is served."""

FORESEEN: tuple[Any, ...] = (ApiError, MinitrainError, TimeoutError, MemoryError)
"""Errors that `refusal` has words for."""
Report = Callable[[BaseException], object]


def build_app(
    catalogue: Catalogue, *, names: Collection[str] = (), key: str | None = None, report: Report = lambda error: None
) -> Guard:
    """The application for a server of ASGI.

    Args:
        catalogue: the models.
        names: names of the machine that clients may use, besides its addresses.
        key: the key that clients must send; ``None`` for no key.
        report: told of errors that nobody foresaw.
    """
    return Guard(_Endpoints(catalogue, report).app(), names=names, key=key, report=report)


class _Endpoints:
    def __init__(self, catalogue: Catalogue, report: Report) -> None:
        self.catalogue, self.limits, self.report = catalogue, catalogue.limits, report

    def app(self) -> Starlette:
        files = {
            name: (resources.files(__package__).joinpath("page", name).read_bytes(), kind)
            for name, kind in PAGE.items()
        }
        page = [Route(f"/{name}", partial(_file, *content)) for name, content in files.items()]
        return Starlette(
            routes=[
                Route("/", partial(_file, *files["index.html"])),
                Route("/favicon.ico", partial(_file, *files["icon.svg"])),
                *page,
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.model),
                Route("/v1/completions", partial(self.complete, form=Completion), methods=["POST"]),
                Route("/v1/chat/completions", partial(self.complete, form=ChatCompletion), methods=["POST"]),
                Route("/api/models", self.describe),
                Route("/api/status", self.status),
                Route("/api/generate", self.explore, methods=["POST"]),
                Route("/api/attention", self.attention, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _no_such_address, **dict.fromkeys((*FORESEEN, Exception), _refuse)},
        )

    async def models(self, request: Request) -> Response:
        """OpenAI's list of models."""
        return answer({"object": "list", "data": [self._model(name) for name in self.catalogue.names]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        if name not in self.catalogue.names:
            raise ApiError(404, f"there is no model {name[:100]!r}", code="model_not_found")
        return answer(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.catalogue.created, "owned_by": "minitrain"}

    async def complete(self, request: Request, *, form: type[Form]) -> Response:
        """OpenAI's completions."""
        fields = await read_body(request, self.limits)
        name = fields.text("model") or self.catalogue.default
        async with _held(self.catalogue, name) as held:
            asked = await form.read(fields, name, held.served, self.limits)
            generation = Generation(held.served.worker, asked.prompts, asked.params, asked.grammar)
            held.close_too(generation)
            answering = form(asked, held.served)
            if asked.stream:
                return self._stream(answering.stream(generation), held)
            async with asyncio.timeout(self.limits.request_seconds):
                return answer(await unless_gone(request.receive, answering.whole(generation)))

    async def describe(self, request: Request) -> Response:
        """The values that the page's controls offer."""
        return answer(describe(self.catalogue))

    async def status(self, request: Request) -> Response:
        """The present state of the server."""
        return answer(status(self.catalogue))

    async def explore(self, request: Request) -> Response:
        """A text with its probabilities, in pieces."""
        fields = await read_body(request, self.limits)
        async with _held(self.catalogue, fields.text("model")) as held:
            asked = await Exploration.read(fields, held.served, self.limits)
            generation = held.close_too(Generation(held.served.worker, [asked.tokens], asked.params))
            return self._stream(asked.pieces(generation), held)

    async def attention(self, request: Request) -> Response:
        """The attention weights of a head."""
        fields = await read_body(request, self.limits)
        async with self.catalogue.use(fields.text("model")) as served, asyncio.timeout(self.limits.request_seconds):
            return answer(await unless_gone(request.receive, attention(fields, served, self.limits)))

    def _stream(self, pieces: AsyncIterator[Any], held: _Held) -> EventStream:
        return EventStream(pieces, self.limits, held.keep(), self.report)


class _Held:
    """A model, and a generation of it, for the time of a request, or of the stream that answers it."""

    def __init__(self, catalogue: Catalogue, served: Served) -> None:
        self.catalogue, self.served, self.kept = catalogue, served, False
        self._generation: Generation | None = None

    def close_too(self, generation: Generation) -> Generation:
        self._generation = generation
        return generation

    def keep(self) -> Callable[[], None]:
        """Leave it to the caller to close."""
        self.kept = True
        return self.close

    def close(self) -> None:
        if self._generation is not None:
            self._generation.close()
        self.catalogue.release(self.served)


@contextlib.asynccontextmanager
async def _held(catalogue: Catalogue, name: str | None) -> AsyncIterator[_Held]:
    held = _Held(catalogue, await catalogue.acquire(name))
    try:
        yield held
    except BaseException:
        held.kept = False
        raise
    finally:
        if not held.kept:
            held.close()


async def _file(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=kind)


def _refuse(request: Request, error: Exception) -> Response:
    return (refusal(error) or FAILED).response()


def _no_such_address(request: Request, error: Exception) -> Awaitable[Response] | Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing at this address", 405: "this address does not take this method"}
    return ApiError(error.status_code, words.get(error.status_code, error.detail)).response()
