"""What the tests of HTTP share: providers of a test server, the four calls, and eyes for a key."""

from __future__ import annotations

import asyncio
import base64
import html
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import httpx
import httpx_aiohttp  # noqa: F401  # which the first asynchronous call would else spend its time on
import pytest

from llm_failover_nb.engine.chain import Chain
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Request, Response, Timeouts
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from tests.providers.raw_server import DONE, Connection, chunked, event

KEY = "sk-canary-0123456789"
LIMITS = Timeouts(connect=5, first_token=5, idle=5, attempt=10)
STREAM = chunked(event("hel"), event("lo", "stop"), DONE)


def request(**limits: float | None) -> Request:
    """A request whose unnamed limits are long."""
    return Request("hi", model="m", timeouts=Timeouts(**limits) if limits else LIMITS)  # type: ignore[arg-type]


def provider(url: str, **options: object) -> HTTPProvider:
    given = {"dialect": OpenAIDialect(), "api_key": KEY, **options}
    return HTTPProvider("lab", base_url=url, **given)  # type: ignore[arg-type]


class Driver(Protocol):
    """The four calls, two at a time."""

    def complete(self, provider: HTTPProvider, request: Request) -> Response: ...
    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]: ...


class Sync:
    def complete(self, provider: HTTPProvider, request: Request) -> Response:
        return provider.complete(request)

    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]:
        return list(provider.stream(request))


class Async:
    def complete(self, provider: HTTPProvider, request: Request) -> Response:
        return asyncio.run(provider.acomplete(request))

    def stream(self, provider: HTTPProvider, request: Request) -> list[Chunk]:
        async def collect() -> list[Chunk]:
            return [chunk async for chunk in provider.astream(request)]

        return asyncio.run(collect())


@dataclass(frozen=True)
class Path:
    """One of the four calls, over the package's own connections or over a client of the user's."""

    name: str
    over_client: bool

    def __call__(self, url: str, request: Request, **options: object) -> object:
        """Ask a new provider at ``url``, and close all that was opened for it."""
        if self.name.startswith("a"):
            return asyncio.run(self._ask_async(url, request, options))
        with ExitStack() as opened:
            if self.over_client:
                options["client"] = opened.enter_context(httpx.Client(verify=False))
            made = provider(url, **options)
            opened.callback(made.close)
            return made.complete(request) if self.name == "complete" else list(made.stream(request))

    async def _ask_async(self, url: str, request: Request, options: dict[str, object]) -> object:
        async with AsyncExitStack() as opened:
            if self.over_client:
                options["async_client"] = await opened.enter_async_context(httpx.AsyncClient(verify=False))
            return await asked(provider(url, **options), self.name, request)

    def __str__(self) -> str:
        return f"{self.name}-{'client' if self.over_client else 'own'}"


async def asked(provider: HTTPProvider, name: str, request: Request) -> object:
    """Make one of the two asynchronous calls."""
    if name == "acomplete":
        return await provider.acomplete(request)
    return [chunk async for chunk in provider.astream(request)]


CALLS = ("complete", "acomplete", "stream", "astream")
PATHS = [Path(name, over_client) for name in CALLS for over_client in (False, True)]
STREAMS = pytest.mark.parametrize(
    "path", [path for path in PATHS if "stream" in path.name], ids=str, indirect=True
)


def asked_of(chain: Chain, name: str) -> object:
    """Make one of the four calls of a chain."""
    if name == "complete":
        return chain.complete("hi")
    if name == "stream":
        return list(chain.stream("hi"))
    return asyncio.run(_asked_of(chain, name))


async def _asked_of(chain: Chain, name: str) -> object:
    if name == "acomplete":
        return await chain.acomplete("hi")
    return [chunk async for chunk in chain.astream("hi")]


def error_of(call: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        call()
    return caught.value


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def refused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def silent(connection: Connection) -> None:
    connection.hold()


def leaks(error: BaseException) -> bool:
    """Does the most talkative traceback show the key?"""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return betrays("".join(shown.format()) + repr(error.__dict__))


def betrays(text: str) -> bool:
    """Is the key in there, as it is or in any form from which one could read it?"""
    return any("canary" in reading.lower() for reading in _readings(text))


def _readings(text: str) -> Iterator[str]:
    """A text, what it reads without its escapes, once and again, and what of that base64 stands for."""
    for _ in range(5):
        yield text
        for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", text):
            yield from (_decoded(run[start:]) for start in range(4))
        for run in re.findall(r"(?:[0-9a-fA-F]{2}){6,}", text):
            yield bytes.fromhex(run).decode("latin-1")
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        text = re.sub(r"\\(.)", r"\1", unquote(html.unescape(text)))


def _decoded(run: str) -> str:
    whole = run[: len(run) // 4 * 4].translate(str.maketrans("-_", "+/"))
    return base64.b64decode(whole).decode("latin-1")
