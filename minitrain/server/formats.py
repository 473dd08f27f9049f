"""``response_format``: answers that are JSON, any object or what a schema says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, DataError
from ..generation import Grammar
from .answers import ApiError, dumps
from .catalogue import Served
from .fields import Fields
from .limits import Limits

FIELD = "response_format"
DEEPEST = 64
"""Lists and objects inside each other in a schema."""


async def grammar_of(fields: Fields, served: Served, limits: Limits) -> Grammar | None:
    """The form that a request asks for; ``None`` if any text will do.

    A schema comes from others. Its size and depth are checked before anything is made of it. The library bounds the
    work of compiling it, and of each token. One schema of a model is compiled at a time.

    Raises:
        ApiError: 400 if the form is damaged, too large, not supported, or llguidance is not installed.
        TimeoutError: if others compile for too long.
    """
    value = fields.get(FIELD)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise fields.wrong(FIELD, "an object")
    asked = Fields(value)
    match asked.text("type"):
        case "text":
            schema = None
        case "json_object":
            schema = '{"type":"object"}'
        case "json_schema":
            schema = _schema_of(asked.get("json_schema"), limits)
        case _:
            raise (
                asked.wrong("type", "text, json_object or json_schema") if "type" in value else _refused("has no type")
            )
    asked.finish()
    if schema is None:
        return None
    if fields.flag("ignore_eos"):
        raise ApiError(400, f"{FIELD} and ignore_eos exclude each other: leave one out", param="ignore_eos")
    try:
        async with asyncio.timeout(limits.schema_seconds):
            return await _compiled(served, schema)
    except (ConfigError, DataError) as error:
        raise _refused(f"cannot be followed: {error}") from None


async def _compiled(served: Served, schema: str) -> Grammar:
    """Compile a schema once no other one is. A thread cannot be stopped: the next waits for it, if nobody else does."""
    await served.compiling.acquire()
    work = asyncio.ensure_future(asyncio.to_thread(_compile, served, schema))

    def ended(done: asyncio.Future[Grammar]) -> None:
        served.compiling.release()
        if not done.cancelled():
            done.exception()  # told to whoever waits; if nobody does, it is of no interest

    work.add_done_callback(ended)
    return await asyncio.shield(work)


def _compile(served: Served, schema: str) -> Grammar:
    return Grammar.json_schema(schema, served.grammar_vocabulary)


def _schema_of(value: Any, limits: Limits) -> str:
    """The schema in a form's ``json_schema``, as text."""
    if not isinstance(value, Mapping):
        raise _refused("of type json_schema must have a json_schema, an object with a name and a schema")
    inner = Fields(value)
    inner.text("name")
    inner.text("description")
    inner.flag("strict")  # it is always followed
    schema = inner.get("schema")
    inner.finish()
    if not isinstance(schema, Mapping):
        raise _refused("has a json_schema without a schema, which must be an object")
    _check_depth(schema)
    text = dumps(schema)
    if len(text) > limits.schema_characters:
        raise _refused(f"has a schema of {len(text)} characters, and this server takes {limits.schema_characters}")
    return text


def _check_depth(schema: Any) -> None:
    level = [schema]
    for _ in range(DEEPEST):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(child, Mapping | list)
        ]
        if not level:
            return
    raise _refused(f"has a schema with more than {DEEPEST} lists and objects inside each other")


def _refused(why: str) -> ApiError:
    return ApiError(400, f"{FIELD} {why}", param=FIELD)
