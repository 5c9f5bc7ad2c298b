"""What the engine's tests share: a test bed with its own clock, benches and log, and the four call paths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.events import FailoverEvent
from llm_failover_nb.testing import FakeClock, ScriptedProvider

Ask = Callable[..., fo.Response]
PATHS = ("complete", "acomplete", "stream", "astream")


def drive(path: str, chain: fo.Chain | fo.Model, prompt: object = "hi", **fields: object) -> fo.Response:
    """Ask by one of the four paths and give the whole response."""
    if path == "complete":
        return chain.complete(prompt, **fields)
    if path == "acomplete":
        return asyncio.run(chain.acomplete(prompt, **fields))
    return chunks_of(path, chain, prompt, **fields)[-1].response


def chunks_of(
    path: str, chain: fo.Chain | fo.Model, prompt: object = "hi", **fields: object
) -> list[fo.Chunk]:
    """All chunks of a stream, by one of its two paths."""
    if path == "stream":
        return list(chain.stream(prompt, **fields))

    async def collect() -> list[fo.Chunk]:
        async with aclosing(chain.astream(prompt, **fields)) as chunks:
            return [chunk async for chunk in chunks]

    return asyncio.run(collect())


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """The name of each of the four calls in turn."""
    return request.param


@pytest.fixture(params=["stream", "astream"])
def streaming(request: pytest.FixtureRequest) -> str:
    """The name of each of the two streaming calls in turn."""
    return request.param


@pytest.fixture
def ask(path: str) -> Ask:
    """Asks a chain by each of the four paths in turn."""
    return lambda chain, prompt="hi", **fields: drive(path, chain, prompt, **fields)


class Bed:
    """A world of its own: clock, benches, log, registry, and every event that is told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.benches = fo.BenchRegistry(clock=self.clock)
        self.log = fo.EventLog()
        self.registry = fo.Registry()
        self.events: list[FailoverEvent] = []
        self.providers: dict[str, ScriptedProvider] = {}

    def chain(self, scripts: dict[str, object], **options: object) -> fo.Chain:
        """A chain of ``name/m`` over scripted providers, waiting n seconds after attempt n."""
        for name, script in scripts.items():
            items = script if isinstance(script, tuple) else (script,)
            self.add(name, ScriptedProvider(*items, name=name))
        options = {"backoff": float, "observer": self.events.append} | options
        return fo.parse_chain([f"{name}/m" for name in scripts], **self.world, **options)

    def add(self, name: str, provider: object) -> None:
        """Register a provider."""
        self.providers[name] = provider
        self.registry.register(name, provider)

    @property
    def world(self) -> dict[str, object]:
        """The options that put a chain into this world."""
        return {"registry": self.registry, "benches": self.benches, "log": self.log}

    def asked(self, name: str) -> int:
        """How many requests a provider has had."""
        return len(self.providers[name].requests)

    def benched(self) -> dict[str, float | None]:
        """The live benches: how many seconds each has left; None until lifted."""
        return {
            b.model: None if b.until is None else (b.until - self.clock.now()).total_seconds()
            for b in self.benches.list()
        }

    def half_open(self, spec: str) -> None:
        """Let a model's bench by a failure have run out, so that the next call is its probe."""
        self.benches.failed(spec, -9, self.benches.admit(spec, -9, lapse=60), threshold=1, for_=60)
        self.clock.advance(61)

    def outcomes(self) -> list[tuple[str, str]]:
        """Model and outcome of every row of the log."""
        return [(row.model, row.outcome) for row in self.log]


@pytest.fixture
def bed() -> Bed:
    """A world of its own."""
    return Bed()


@pytest.fixture
def package_state() -> Iterator[None]:
    """Puts the package's defaults, observer and benches back."""
    policy, observer = fo.get_failover_defaults(), fo.get_failover_observer()
    yield
    fo.set_failover_defaults(policy)
    fo.set_failover_observer(observer)
    for bench in fo.list_benched():
        fo.unbench_model(bench.model)


def down(status: int = 503, **fields: object) -> fo.ProviderError:
    """A failure as a provider's server gives it."""
    return fo.ProviderError(f"status {status}", status=status, **fields)


def flood(seconds: float, **fields: object) -> fo.ProviderError:
    """A rate limit that asks to wait."""
    return down(429, headers={"Retry-After": str(seconds)}, **fields)


def silence() -> fo.ProviderError:
    """A provider that did not answer in time."""
    return fo.ProviderError("silent", kind=fo.ErrorKind.TRANSIENT, reason="timeout")


def refused() -> fo.ProviderError:
    """A request that this model cannot take."""
    return down(400, body='{"error": {"message": "no", "code": "context_length_exceeded"}}')


def filtered() -> fo.ProviderError:
    """A moderation decision."""
    return down(400, body='{"error": {"message": "no", "code": "content_filter"}}')


def dead() -> fo.ProviderError:
    """A key that is not accepted."""
    return down(401, body='{"error": {"message": "bad key", "code": "invalid_api_key"}}')
