"""HTTP for any dialect: one provider that asks over HTTP, in a synchronous and an asynchronous form.

The two differ by ``await`` alone. Nothing here knows a wire: paths, bodies and answers are the dialect's
(``dialect``). Each other concern has its module: address and key (``endpoint``), connections
(``connections``), time limits (``exchange``), failures of the network (``transport_errors``), and the
reading of bodies (``bodies``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from llm_failover_nb.engine.clock import SystemClock
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.secret import MaskingFilter, Secret, redact
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers.async_connections import AsyncConnections
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.bodies import Body, Incoming, aread, areading, read, reading
from llm_failover_nb.providers.connections import Connections
from llm_failover_nb.providers.dialect import Dialect, StreamReader
from llm_failover_nb.providers.endpoint import Endpoint, sealed_headers, sealed_key
from llm_failover_nb.providers.exchange import Exchange
from llm_failover_nb.providers.listing import LIST_LIMIT, MOST_PAGES, ModelsPage, ModelsQuery, usable_names
from llm_failover_nb.providers.network import Limit, limit_of

if TYPE_CHECKING:
    from llm_failover_nb.engine.types import Chunk, Response

__all__ = ["Dialect", "HTTPProvider", "StreamReader"]

_BODY_KEPT = 1024 * 1024  # characters of a body that an error keeps
_LONGEST_KEY = 16 * 1024  # characters that a key may take in it, however it is written
_DRAIN = 0.05  # seconds granted to the end of a stream's body, so that the connection can be kept

# What logs addresses and, at DEBUG, the headers of responses: a key in a query, or one that was sent back.
_LOGGERS = ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy")
_MASKING = MaskingFilter()


class HTTPProvider(BaseProvider):
    """A model provider behind HTTP.

    Args:
        name: The provider's name, for messages.
        dialect: The wire it speaks.
        base_url: Where its paths begin; user-info in it is dropped, a query is kept.
        api_key: The key itself.
        key_env: The environment variable that holds the key, read at each call. One of the two, or
            neither for servers that want no key.
        headers: Sent with each request, over the package's own.
        allow_http: Send the key over plain http to a host that is not loopback.
        client: Used for synchronous calls in place of the package's own connections, and not closed. Give
            it before its first use: time limits over all of a call hold on connections that it opens from
            then on. On others, and over a transport that is not httpx's, they hold for each read.
        async_client: The same for asynchronous calls; all limits hold.

    Raises:
        ValueError: For a bad base URL or header, two sources for one key, and, at construction already,
            for a key that would cross a network unencrypted: that is a mistake in the settings, which no
            other model and no later attempt makes good.
    """

    keeps_time = True
    """It holds to ``request.timeouts`` itself, asynchronously too."""

    def __init__(
        self,
        name: str,
        *,
        dialect: Dialect,
        base_url: str,
        api_key: str | Secret | None = None,
        key_env: str | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        allow_http: bool = False,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        # First of all, for tracebacks show arguments.
        api_key, headers = sealed_key(api_key), sealed_headers(headers)
        for logger in _LOGGERS:
            logging.getLogger(logger).addFilter(_MASKING)  # once: it is the same each time
        self.name = name
        self.key_env = key_env
        self.wire = dialect.wire
        self._dialect = dialect
        self._endpoint = Endpoint(
            name,
            dialect=dialect,
            base_url=base_url,
            api_key=api_key,
            key_env=key_env,
            headers=headers,
            allow_http=allow_http,
        )
        self._limit = Limit() if client is None else limit_of(client)
        self._connections = Connections(self._endpoint.url, self._limit)
        self._async_connections = AsyncConnections(self._endpoint.url)
        self._client = client
        self._async_client = async_client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """Where the provider's paths begin, without user-info, query and trailing slash."""
        return self._endpoint.base_url

    @property
    def missing_key(self) -> str | None:
        return self._endpoint.missing_key

    @property
    def key(self) -> Secret | None:
        return self._endpoint.key

    def dropped(self, request: Request, /) -> tuple[str, ...]:
        return self._dialect.dropped(request)

    # The four calls

    def complete(self, request: Request, /) -> Response:
        exchange = Exchange(self._endpoint.url.host, request)
        outgoing = self._outgoing(request, exchange, over_client=self._client is not None)
        with (
            exchange,
            reading(self._send(outgoing, exchange)) as (response, pieces),
            self._limit.until(exchange.until()),
        ):
            body = read(response, pieces, exchange)
        return self._answer(response, body, request)

    async def acomplete(self, request: Request, /) -> Response:
        exchange = Exchange(self._endpoint.url.host, request)
        outgoing = self._outgoing(request, exchange, over_client=self._async_client is not None)
        with exchange:
            async with areading(await self._asend(outgoing, exchange)) as (response, pieces):
                body = await aread(response, pieces, exchange)
        return self._answer(response, body, request)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        exchange = Exchange(self._endpoint.url.host, request, stream=True)
        outgoing = self._outgoing(request, exchange, over_client=self._client is not None, stream=True)
        with reading(self._send(outgoing, exchange)) as (response, pieces):
            incoming = Incoming(self._dialect.reader(), exchange, response)
            while incoming.wanted:
                with incoming, self._limit.until(exchange.until()):
                    incoming.data = next(pieces, None)
                yield from incoming.take()
            if incoming.worth_draining and self._client is None:
                with suppress(Exception), exchange, self._limit.until(SystemClock.monotonic() + _DRAIN):
                    next(pieces, None)
        yield from self._last_chunks(incoming, request)

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        exchange = Exchange(self._endpoint.url.host, request, stream=True)
        outgoing = self._outgoing(request, exchange, over_client=self._async_client is not None, stream=True)
        with exchange:
            answered = await self._asend(outgoing, exchange)
        async with areading(answered) as (response, pieces):
            incoming = Incoming(self._dialect.reader(), exchange, response)
            while incoming.wanted:
                with incoming:
                    # One timer a network read; and no yield inside, which would put the caller under it.
                    async with asyncio.timeout(exchange.left()):
                        incoming.data = await anext(pieces, None)
                for chunk in incoming.take():
                    yield chunk
            if incoming.worth_draining:
                with suppress(Exception), exchange:
                    async with asyncio.timeout(_DRAIN):
                        await anext(pieces, None)
        for chunk in self._last_chunks(incoming, request):
            yield chunk

    # The list of models

    def models(self, *, timeout: float = 5.0) -> tuple[str, ...]:
        """The bare names of the models that the provider lists, in its order; ``()`` where it has no list.

        It is asked as the models are: with the key, at the provider's own host, without following redirects.
        Names that could not stand in a chain are left out.

        Args:
            timeout: Seconds that all of it may take, however many pages it has.

        Raises:
            ProviderError: When the key is missing, nobody answers in time, or the answer is no list.
        """
        end = SystemClock.monotonic() + timeout
        names: list[str] = []
        after = ""
        for _ in range(MOST_PAGES):
            query = self._dialect.models_query(after)
            if query is None:
                break
            page = self._models_page(query, end - SystemClock.monotonic())
            names += page.names
            after = page.after
            if not after:
                break
        return usable_names(names)

    def _models_page(self, query: ModelsQuery, seconds: float) -> ModelsPage:
        left = max(seconds, 0.001)
        exchange = Exchange(
            self._endpoint.url.host, Request((), timeouts=Timeouts(connect=left, attempt=left))
        )
        outgoing = httpx.Request(
            "GET",
            self._endpoint.url_from_root(query.path)
            if query.from_root
            else self._endpoint.url_of(query.path),
            headers=self._endpoint.headers(),
            extensions={"timeout": _limits(exchange, over_client=self._client is not None)},
        )
        with (
            exchange,
            reading(self._send(outgoing, exchange)) as (response, pieces),
            self._limit.until(exchange.until()),
        ):
            body = read(response, pieces, exchange, limit=LIST_LIMIT)
        try:
            if response.status_code >= 300:
                raise self._failure(response, body.whole())
            return self._dialect.models_page(body.whole())
        except ProviderError as error:
            failure = _cleaned(error, response.headers, "")
        raise failure

    def close(self) -> None:
        """Close the connections of synchronous calls, those in use after the last of them.

        A later call opens new ones.
        """
        self._connections.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of synchronous calls, likewise."""
        await self._async_connections.aclose()
        self.close()

    # A request goes out

    def _outgoing(
        self, request: Request, exchange: Exchange, *, over_client: bool, stream: bool = False
    ) -> httpx.Request:
        path, body = self._dialect.encode(request, stream=stream)
        limits = _limits(exchange, over_client=over_client)
        return httpx.Request(
            "POST",
            self._endpoint.url_of(path),
            headers=self._endpoint.headers(),
            content=body,
            extensions={"timeout": limits},
        )

    def _send(self, outgoing: httpx.Request, exchange: Exchange) -> httpx.Response:
        with exchange, self._limit.until(exchange.until()):
            if self._client is not None:
                response = self._client.send(outgoing, stream=True, follow_redirects=False)
            else:
                response = self._connections.send(outgoing)
        exchange.begun(response.status_code)
        return response

    async def _asend(self, outgoing: httpx.Request, exchange: Exchange) -> httpx.Response:
        async with asyncio.timeout(exchange.left()):
            if self._async_client is not None:
                response = await self._async_client.send(outgoing, stream=True, follow_redirects=False)
            else:
                response = await self._async_connections.send(outgoing)
        exchange.begun(response.status_code)
        return response

    # An answer comes in

    def _answer(self, response: httpx.Response, body: Body, request: Request) -> Response:
        try:
            if response.status_code >= 300:
                raise self._failure(response, body.whole())
            return self._dialect.response(body.whole())
        except ProviderError as error:
            failure = _cleaned(error, response.headers, request.model)
        raise failure

    def _last_chunks(self, incoming: Incoming, request: Request) -> list[Chunk]:
        response = incoming.response
        try:
            if response.status_code >= 300:
                raise self._failure(response, incoming.body.whole())
            return incoming.reader.end()
        except ProviderError as error:
            failure = _cleaned(error, response.headers, request.model)
        raise failure

    def _failure(self, response: httpx.Response, body: bytes) -> ProviderError:
        text = body.decode("utf-8", "replace")
        failure = self._dialect.failure(response.status_code, response.headers, text)
        if response.status_code < 400:
            target = _host_of(redact(response.headers.get("location", "")))
            failure.message = (
                f"{self._endpoint.url.host} redirects (HTTP {response.status_code}) to {target}; "
                "redirects are not followed, since the key would go with them: set base_url to the new "
                "address if you trust it"
            )
        return failure


def _limits(exchange: Exchange, *, over_client: bool) -> dict[str, float | None]:
    return exchange.limits_of_a_client() if over_client else exchange.limits_of_a_transport()


def _cleaned(error: ProviderError, headers: httpx.Headers, model: str) -> ProviderError:
    """``error`` with the response's headers, and without any key that the provider sent back."""
    return ProviderError(
        redact(error.message),
        status=error.status,
        code=error.code and redact(error.code),
        retry_after=error.retry_after,
        model=error.model or model,
        kind=error.kind,
        reason=error.reason,
        headers=_redacted(headers),
        body=_excerpt(error.body),
    )


def _excerpt(body: str) -> str:
    """``body`` as an error keeps it: without keys, and without most of the 32 MiB that it may have."""
    if len(body) <= _BODY_KEPT:
        return redact(body)
    # The last of it may be half a key, which would not be known.
    return redact(body[: _BODY_KEPT + _LONGEST_KEY])[:-_LONGEST_KEY]


def _redacted(headers: httpx.Headers) -> httpx.Headers:
    items = headers.multi_items()
    text = "\n".join(value for _, value in items)
    if redact(text) == text:
        return headers
    return httpx.Headers([(name, redact(value)) for name, value in items])


def _host_of(location: str) -> str:
    try:
        return httpx.URL(location).host or "another address"
    except httpx.InvalidURL:
        return "another address"
