"""A type-checked tour of the public API: mypy reads it, nobody runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import llm_failover_nb as fo


class Own:
    """A provider of somebody's own needs no base class."""

    def complete(self, request: fo.Request, /) -> fo.Response:
        return fo.Response(request.prompt)

    def stream(self, request: fo.Request, /) -> Iterator[fo.Chunk]:
        yield fo.Chunk(request.prompt)


class OwnAsync:
    """Nor does an asynchronous one."""

    async def acomplete(self, request: fo.Request, /) -> fo.Response:
        return fo.Response(request.prompt)

    async def astream(self, request: fo.Request, /) -> AsyncIterator[fo.Chunk]:
        yield fo.Chunk(request.prompt)


def observe(event: fo.FailoverEvent) -> None:
    seconds: float = event.benched_for
    following: str = event.next_model
    print(event.model, event.kind is fo.ErrorKind.TRANSIENT, seconds, following)


def judge(error: BaseException) -> fo.ErrorKind | fo.Verdict:
    return fo.classify(error) if isinstance(error, fo.ProviderError) else fo.ErrorKind.UNKNOWN


def build() -> fo.Chain:
    registry = fo.Registry()
    registry.register("own", Own())
    registry.register("twin", OwnAsync())
    parsed: fo.Model | fo.Chain = registry.parse("own/a, twin/b")
    providers: tuple[fo.ProviderInfo, ...] = registry.providers()
    texts: list[str] = [one.name + one.wire + one.base_url + one.missing + one.source for one in providers]
    variable: str | None = providers[0].key_env
    benches = fo.BenchRegistry()
    benches.bench("own/a", for_=timedelta(minutes=5))
    benches.bench("twin/b", until=datetime(2030, 1, 1, tzinfo=UTC))
    listed: list[fo.BenchedModel] = benches.list()
    print(parsed, listed, texts, variable)
    return fo.failover_model(
        [fo.Model("own/a", Own()), None, "own/b", fo.parse_chain(["own/c"], registry=registry)],
        registry=registry,
        benches=benches,
        log=fo.EventLog(max_rows=1_000),
        observer=[observe, fo.queued(observe)],
        classify=judge,
        check=lambda response: response.json(),
        policy=fo.Policy(deadline=60),
        max_retries=2,
        midstream="restart",
    )


def ask(chain: fo.Chain) -> str:
    response: fo.Response = chain.complete(
        "hi", system="be brief", temperature=0.2, stop=["END"], max_tokens=9
    )
    records: tuple[fo.AttemptRecord, ...] = response.attempts
    tokens: int | None = response.usage.output_tokens
    for chunk in chain.stream([fo.Message("user", "hi")]):
        text: str = chunk.text
        print(text, records, tokens)
    return response.text


async def aask(chain: fo.Chain) -> str:
    async with chain:
        async for chunk in chain.astream(fo.Request((fo.Message("user", "hi"),))):
            if chunk.response is not None:
                return chunk.response.text
    return (await chain.acomplete("hi", seed=1)).text


def operate(chain: fo.Chain) -> None:
    first: int | None = chain.first_asked()
    calls: list[fo.RunningCall] = fo.list_running()
    ended: list[bool] = [fo.cancel_call(call.id) for call in calls if call.reachable]
    print(first, ended, fo.panel())


def fail(chain: fo.Chain) -> None:
    try:
        chain.complete("hi")
    except fo.AllModelsFailed as group:
        causes: tuple[Exception | ExceptionGroup[Exception], ...] = group.exceptions
        said: str = fo.explain(group)
        print(causes, group.specs, said)
    except fo.StreamInterrupted as cut:
        print(cut.text)
    except fo.DeadlineExceeded as late:
        print(late.text)
