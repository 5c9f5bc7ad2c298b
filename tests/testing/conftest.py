"""A fault server, and a client of its openai wire."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from llm_failover_nb.testing import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def client(server: FaultServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10, trust_env=False) as client:
        yield client
