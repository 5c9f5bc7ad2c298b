"""What a call costs beside the bare client: ``python -m tests.benchmarks.run [--quick]``.

Both sides talk to the same static upstream on loopback, encode and decode the same JSON, and take turns in
one process: single runs scatter, their ratio hardly does. A ratio below 1 is faster than the bare client.
Not a test: nothing here fails because a machine is slow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

import llm_failover_nb as fo
from llm_failover_nb.engine.events import AttemptRecord
from llm_failover_nb.engine.types import Chunk

BODY = {"model": "m", "messages": [{"role": "user", "content": "What is two and two?"}]}
PROMPT = "What is two and two?"


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of each side, and what the ratio should not pass."""

    name: str
    ours: float
    raw: float
    target: str
    unit: str = "µs"

    def show(self) -> str:
        scale = {"µs": 1e6, "ms": 1e3, "calls/s": 1.0}[self.unit]
        return (
            f"| {self.name} | **{self.ours / self.raw:.2f}** | {self.target} "
            f"| {self.ours * scale:,.0f} {self.unit} | {self.raw * scale:,.0f} {self.unit} |"
        )


@contextmanager
def upstream() -> Iterator[str]:
    """The static server, in a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.upstream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    try:
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
    finally:
        child.stdin.close()
        child.wait(5)


def median_of_turns(ours: Callable[[], object], raw: Callable[[], object], turns: int) -> tuple[float, float]:
    """Median seconds of each, taking turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 20):
        for side, work in enumerate((ours, raw)):
            start = time.perf_counter()
            work()
            if turn >= 20:
                times[side].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


async def amedian_of_turns(
    ours: Callable[[], Awaitable[object]], raw: Callable[[], Awaitable[object]], turns: int, warm: int = 20
) -> tuple[float, float]:
    """Median seconds of each, taking turns, awaited."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + warm):
        for side, work in enumerate((ours, raw)):
            start = time.perf_counter()
            await work()
            if turn >= warm:
                times[side].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def chain_of(base: str, *paths: str) -> fo.Chain:
    """A chain over the upstream's paths, in a world of its own; failures do not bench."""
    registry = fo.Registry()
    for path in paths:
        fo.register_provider(path, base_url=f"{base}/{path}/v1", registry=registry)
    return fo.parse_chain(
        [f"{path}/m" for path in paths],
        registry=registry,
        benches=fo.BenchRegistry(),
        log=fo.EventLog(),
        max_retries=1,
        bench_threshold=10**9,
    )


def raw_answer(response: httpx.Response) -> str:
    return str(json.loads(response.content)["choices"][0]["message"]["content"])


def raw_text(lines: Iterator[str]) -> str:
    messages = (json.loads(line[6:]) for line in lines if line.startswith("data: {"))
    return "".join([message["choices"][0]["delta"].get("content") or "" for message in messages])


def sync_rows(base: str, turns: int) -> list[Row]:
    """One call, one hop, one stream, synchronously."""
    chain, hop, stream = chain_of(base, "ok"), chain_of(base, "down", "ok"), chain_of(base, "sse")
    with httpx.Client(timeout=60) as client:
        headers = {"Content-Type": "application/json"}

        def post(path: str) -> httpx.Response:
            url = f"{base}/{path}/v1/chat/completions"
            return client.post(url, content=json.dumps(BODY), headers=headers)

        def raw_hop() -> str:
            json.loads(post("down").content)
            return raw_answer(post("ok"))

        def raw_stream() -> str:
            url = f"{base}/sse/v1/chat/completions"
            body = json.dumps(BODY | {"stream": True})
            with client.stream("POST", url, content=body, headers=headers) as response:
                return raw_text(response.iter_lines())

        def our_stream() -> str:
            return "".join([chunk.text for chunk in stream.stream(PROMPT)])

        assert our_stream() == raw_stream()
        call = median_of_turns(lambda: chain.complete(PROMPT).text, lambda: raw_answer(post("ok")), turns)
        over = median_of_turns(lambda: hop.complete(PROMPT).text, raw_hop, turns)
        text = median_of_turns(our_stream, raw_stream, max(turns // 10, 20))
    for each in (chain, hop, stream):
        each.close()
    return [
        Row("one sync call / httpx.Client", *call, "≤ 1.0"),
        Row("503, then the next model, sync / two raw calls", *over, "≤ 1.0"),
        Row("stream of 500 chunks, sync / httpx.Client", *text, "≤ 1.5"),
    ]


async def async_rows(base: str, turns: int) -> list[Row]:
    """One call, one hop, one stream, many in flight, asynchronously, beside httpx over aiohttp."""
    chain, hop, stream = chain_of(base, "ok"), chain_of(base, "down", "ok"), chain_of(base, "sse")
    headers = {"Content-Type": "application/json"}
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )
    async with httpx.AsyncClient(transport=AiohttpTransport(client=session), timeout=60) as client:

        async def post(path: str) -> httpx.Response:
            url = f"{base}/{path}/v1/chat/completions"
            return await client.post(url, content=json.dumps(BODY), headers=headers)

        async def raw_call() -> str:
            return raw_answer(await post("ok"))

        async def our_call() -> str:
            return (await chain.acomplete(PROMPT)).text

        async def raw_hop() -> str:
            json.loads((await post("down")).content)
            return await raw_call()

        async def our_hop() -> str:
            return (await hop.acomplete(PROMPT)).text

        async def raw_stream() -> str:
            url = f"{base}/sse/v1/chat/completions"
            body = json.dumps(BODY | {"stream": True})
            async with client.stream("POST", url, content=body, headers=headers) as response:
                return raw_text(iter([line async for line in response.aiter_lines()]))

        async def our_stream() -> str:
            return "".join([chunk.text async for chunk in stream.astream(PROMPT)])

        assert await our_stream() == await raw_stream()
        rows = [
            Row(
                "one async call / httpx over aiohttp",
                *await amedian_of_turns(our_call, raw_call, turns),
                "≤ 1.0",
            ),
            Row(
                "503, then the next model, async / two raw calls",
                *await amedian_of_turns(our_hop, raw_hop, turns),
                "≤ 1.0",
            ),
            Row(
                "stream of 500 chunks, async / httpx over aiohttp",
                *await amedian_of_turns(our_stream, raw_stream, max(turns // 10, 20)),
                "≤ 1.5",
            ),
        ]
        for flight, target in ((64, "≥ 1.1"), (1000, "≥ 1.0")):
            rounds = max(turns // flight, 15)

            def gathered(
                call: Callable[[], Awaitable[str]], flight: int = flight
            ) -> Callable[[], Awaitable[object]]:
                return lambda: asyncio.gather(*(call() for _ in range(flight)))

            ours, raw = await amedian_of_turns(gathered(our_call), gathered(raw_call), rounds, warm=2)
            rows.append(
                Row(f"{flight:,} in flight, calls a second", flight / ours, flight / raw, target, "calls/s")
            )
    for each in (chain, hop, stream):
        await each.aclose()
    return rows


class InProcess:
    """A provider that costs nothing, so that what is left is the engine."""

    keeps_time = True
    answer = fo.Response("four")

    def complete(self, request: fo.Request) -> fo.Response:
        if request.model == "down":
            raise fo.ProviderError("overloaded", status=503)
        return self.answer

    def stream(self, request: fo.Request) -> Iterator[Chunk]:
        yield Chunk("four")

    async def acomplete(self, request: fo.Request) -> fo.Response:
        return self.complete(request)

    async def astream(self, request: fo.Request) -> object:
        yield Chunk("four")


def best(work: Callable[[], object], times: int) -> float:
    """Seconds a call, the best of five runs."""
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            work()
        runs.append((time.perf_counter() - start) / times)
    return min(runs)


def engine_lines(times: int) -> list[str]:
    """The engine alone: a call, a hop, an event, a frame."""
    registry = fo.Registry()
    registry.register("in", InProcess())
    world = {"registry": registry, "benches": fo.BenchRegistry(), "log": fo.EventLog()}
    chain = fo.parse_chain("in/up,in/up2", **world)
    hop = fo.parse_chain("in/down,in/up", max_retries=1, bench_threshold=10**9, **world)

    async def acall() -> float:
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(times):
                await chain.acomplete(PROMPT)
            runs.append((time.perf_counter() - start) / times)
        return min(runs)

    call, over = best(lambda: chain.complete(PROMPT), times), best(lambda: hop.complete(PROMPT), times // 4)
    record: AttemptRecord = chain.complete(PROMPT).attempts[0]
    log = fo.EventLog(max_rows=1_000_000)
    event = best(lambda: log.append(record), 200_000)
    fo.events_frame(fo.EventLog())  # pandas is imported with the first
    gc.collect()
    start = time.perf_counter()
    frame = fo.events_frame(log)
    seconds = time.perf_counter() - start
    return [
        f"| the engine alone, a call (target ≤ 15 µs) | {call * 1e6:.1f} µs |",
        f"| the engine alone, a call awaited (target ≤ 15 µs) | {asyncio.run(acall()) * 1e6:.1f} µs |",
        f"| the engine alone, a hop (target ≤ 30 µs) | {over * 1e6:.1f} µs |",
        f"| one event recorded (target ≤ 3 µs) | {event * 1e6:.2f} µs |",
        f"| {len(frame):,} events to a frame (target ≤ 0.3 s) | {seconds:.2f} s |",
    ]


def import_lines(times: int) -> list[str]:
    """Importing the package, and touching Chain, beside importing httpx: each in processes of its own."""

    def seconds(statement: str) -> float:
        program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(
            subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        )

    statements = ("import llm_failover_nb", "import llm_failover_nb; llm_failover_nb.Chain", "import httpx")
    runs = [[seconds(statement) for statement in statements] for _ in range(times)]
    package, chain, httpx_alone = (statistics.median(run[n] for run in runs) for n in range(3))
    first = f"{package / httpx_alone:.2f} ({package * 1e3:.1f} of {httpx_alone * 1e3:.0f} ms)"
    return [
        f"| import the package / import httpx (target ≤ 0.2) | {first} |",
        f"| touch Chain / import httpx (target ≤ 1.5) | {chain / httpx_alone:.2f} ({chain * 1e3:.0f} ms) |",
    ]


def memory_line(base: str) -> str:
    """Resident memory of a process that has made one synchronous call."""
    program = (
        "import llm_failover_nb as fo\n"
        f"fo.register_provider('ok', base_url='{base}/ok/v1')\n"
        "fo.parse_chain('ok/m').complete('hi')\n"
        "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    )
    kib = int(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )
    return f"| resident memory after a call (target ≤ 50 MB) | {kib / 1024:.0f} MB |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the turns")
    turns = 200 if parser.parse_args().quick else 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    with upstream() as base:
        rows = sync_rows(base, turns) + asyncio.run(async_rows(base, turns))
        lines = [*engine_lines(turns * 10), *import_lines(max(turns // 200, 3)), memory_line(base)]
    print(f"Python {platform.python_version()}, httpx {httpx.__version__}, aiohttp {aiohttp.__version__}\n")
    print("| | ratio | target | this project | raw |\n| --- | --- | --- | --- | --- |")
    print("\n".join(row.show() for row in rows))
    print("\n| | |\n| --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
