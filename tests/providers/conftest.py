"""Servers and providers that end with their test, and the four calls to make."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import pytest

from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.http import HTTPProvider
from tests.providers.calls import PATHS, Async, Driver, Path, Sync, provider
from tests.providers.raw_server import RawServer, Script


@pytest.fixture(params=[Sync(), Async()], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param


@pytest.fixture(params=["complete", "stream"])
def call(request: pytest.FixtureRequest, driver: Driver) -> Callable[[HTTPProvider, Request], object]:
    """One of the four calls."""
    return getattr(driver, request.param)


@pytest.fixture(params=PATHS, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    """One of the four calls, over one of both kinds of connection."""
    return request.param


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """Start servers that end with the test."""
    servers: list[RawServer] = []

    def start(script: Script, tls: ssl.SSLContext | None = None) -> RawServer:
        servers.append(RawServer(script, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def ask(serve: Callable[[Script], RawServer]) -> Iterator[Callable[..., HTTPProvider]]:
    """A provider of a server that runs a script; closed with the test."""
    made: list[HTTPProvider] = []

    def make(script: Script, **options: object) -> HTTPProvider:
        made.append(provider(serve(script).url, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
