"""``llamacpp/…``: the real llama.cpp server over the openai wire, its answers and its own errors.

One server serves the module, the very program that serves ``local/smollm2``. The tests that kill a server,
that catch one before it is ready, or that fill its window, start their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from itertools import pairwise
from typing import Any

import pytest

from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import Chain, Registry
from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import AllModelsFailed, ErrorKind, ProviderError, StreamInterrupted
from llm_failover_nb.engine.events import AttemptRecord, EventLog, FailoverEvent
from llm_failover_nb.engine.model import Model
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk
from llm_failover_nb.providers.presets import PRESETS
from llm_failover_nb.providers.register import register_provider
from tests.engine.conftest import PATHS, chunks_of, drive
from tests.providers.local_model import LlamaServer, listening_address, llama_server, starting

pytestmark = pytest.mark.local_model

SMOLLM2 = "llamacpp/smollm2"
FRUITS = "Name three fruits."

# What the server has kept of earlier prompts changes the last digits of what it computes; nothing else does.
REPEATABLE: dict[str, Any] = {"system": "Answer.", "max_tokens": 8, "extra": {"cache_prompt": False}}
GREEDY: dict[str, Any] = REPEATABLE | {"temperature": 0.0}

# An answer that goes on until somebody stops it, or for half a minute.
ENDLESS: dict[str, Any] = {"max_tokens": 4000, "extra": {"ignore_eos": True}}

BASKET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "fruit": {"enum": ["apple", "banana", "cherry"]},
        "pieces": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["fruit", "pieces"],
    "additionalProperties": False,
}

# Members that the server refuses, by what its error names.
REFUSED: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": "hot"},
    "max_tokens": {"max_tokens": -5},
    "'n'": {"n": 2},
    "'messages' to be an array": {"messages": "hi"},
    "'content'": {"messages": [{"role": "user"}]},
    "frob": {"response_format": {"type": "frob"}},
}


class Lab:
    """Chains over a llama.cpp server registered as ``llamacpp``, with benches and events of their own."""

    def __init__(self, base_url: str, key: str) -> None:
        self.registry = Registry()
        self.benches = BenchRegistry()
        self.events: list[FailoverEvent] = []
        self.add("llamacpp", base_url, key)

    def add(self, name: str, base_url: str, key: str) -> None:
        """Register a server as the preset is, but at its own address and with its own key."""
        headers = PRESETS["llamacpp"].headers
        register_provider(
            name, base_url=base_url, api_key=Secret(key), headers=headers, registry=self.registry
        )

    @property
    def model(self) -> Model:
        """The model by itself: its failures are raised as the provider made them."""
        return self.registry.model(SMOLLM2)

    def chain(self, specs: str = SMOLLM2, **options: Any) -> Chain:
        """A chain that does not wait between attempts, and a minute at most for one."""
        own: dict[str, Any] = {"registry": self.registry, "benches": self.benches, "log": EventLog()}
        limits: dict[str, Any] = {"backoff": lambda _: 0.0, "attempt_timeout": 60, "first_token_timeout": 60}
        return Chain(specs, observer=self.events.append, **own, **(limits | options))

    def benched(self) -> list[str]:
        """The specs that are benched now."""
        return [bench.model for bench in self.benches.list()]


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    """The module's one server."""
    with llama_server() as running:
        yield running


@pytest.fixture(scope="module")
def whole(server: LlamaServer) -> str:
    """What the model says when nothing ends it early, and it takes the likeliest words."""
    return Lab(server.base_url, server.key).model.complete(FRUITS, **GREEDY).text


@pytest.fixture
def lab(server: LlamaServer) -> Lab:
    """Chains over the module's server."""
    return Lab(server.base_url, server.key)


@pytest.fixture
def locked_out(server: LlamaServer) -> Lab:
    """Chains with a key that the server does not know."""
    return Lab(server.base_url, f"wrong-{server.key}")


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """The name of each of the four calls in turn."""
    return str(request.param)


@pytest.fixture(params=["stream", "astream"])
def streaming(request: pytest.FixtureRequest) -> str:
    """The name of each of the two streaming calls in turn."""
    return str(request.param)


# Two of the four, where each costs the server a second.
WHOLE_AND_STREAMED = pytest.mark.parametrize("path", ["complete", "astream"])


def failure(path: str, model: Model, prompt: str = FRUITS, **fields: Any) -> ProviderError:
    """What a call raises, as the provider made it."""
    with pytest.raises(ProviderError) as caught:
        drive(path, model, prompt, **fields)
    return caught.value


def taken_for(error: ProviderError) -> tuple[str, str]:
    """Kind and reason that a failure is given."""
    judged = classify(error)
    return str(judged.kind), judged.reason


def told(error: ProviderError) -> dict[str, Any]:
    """The error object in the body of a failure."""
    inner: dict[str, Any] = json.loads(error.body)["error"]
    return inner


def outcomes(attempts: tuple[AttemptRecord, ...]) -> list[tuple[str, str, str]]:
    """Model, outcome and reason of each attempt of a call."""
    return [(row.model, row.outcome, row.reason) for row in attempts]


class TestAnswers:
    def test_each_call_says_the_same(self, lab: Lab, path: str, whole: str) -> None:
        """Streamed or whole, awaited or not, the answer is one."""
        answer = drive(path, lab.chain(), FRUITS, **GREEDY)
        assert (answer.text, answer.model) == (whole, SMOLLM2)

    def test_a_stream_comes_in_pieces(self, lab: Lab, streaming: str, whole: str) -> None:
        """The text is handed on as it is made."""
        *pieces, _ = chunks_of(streaming, lab.chain(), FRUITS, **GREEDY)
        assert len(pieces) > 3
        assert "".join(piece.text for piece in pieces) == whole

    def test_max_tokens_cuts_the_answer_and_says_so(self, lab: Lab, path: str) -> None:
        """An answer that the limit cut short is no whole one."""
        answer = drive(path, lab.chain(), FRUITS, max_tokens=3)
        assert (answer.finish_reason, answer.finish, answer.usage.output_tokens) == ("length", "length", 3)

    def test_an_answer_that_ends_by_itself_says_so(self, lab: Lab, path: str) -> None:
        """The grammar allows one word, and then nothing but the end."""
        answer = drive(path, lab.chain(), "Yes or no?", schema={"const": "yes"})
        assert (answer.text, answer.finish_reason, answer.finish) == ('"yes"', "stop", "stop")

    def test_a_full_window_cuts_the_answer_and_says_so(self) -> None:
        """Where prompt and answer together fill the context, that is a length, too."""
        with llama_server(context=256) as small:
            chain = Lab(small.base_url, small.key).chain()
            answer = chain.complete("word " * 205, extra={"ignore_eos": True})
        used = (answer.usage.input_tokens or 0) + (answer.usage.output_tokens or 0)
        assert (answer.finish_reason, used) == ("length", 256)

    def test_a_stop_text_ends_the_answer_before_it(self, lab: Lab, path: str, whole: str) -> None:
        """The answer is what it would have been, up to the stop text."""
        stop = whole[len(whole) // 2 :][:3]
        answer = drive(path, lab.chain(), FRUITS, stop=stop, **GREEDY)
        assert (answer.text, answer.finish_reason) == (whole.partition(stop)[0], "stop")

    def test_a_seed_makes_it_repeatable(self, lab: Lab) -> None:
        """At a high temperature the same seed gives the same answer, and another seed another one."""
        fields = REPEATABLE | {"temperature": 1.5}
        answers = [lab.chain().complete(FRUITS, seed=seed, **fields).text for seed in (1, 1, 2)]
        assert [first == second for first, second in pairwise(answers)] == [True, False]

    @WHOLE_AND_STREAMED
    def test_a_schema_is_followed(self, lab: Lab, path: str) -> None:
        """The answer parses, and has each member in its type and range; streamed too."""
        basket = json.loads(
            drive(path, lab.chain(), FRUITS, schema=BASKET, **(GREEDY | {"max_tokens": 60})).text
        )
        assert set(basket) == {"fruit", "pieces"}
        assert basket["fruit"] in {"apple", "banana", "cherry"}
        assert basket["pieces"] in range(1, 10)

    def test_a_system_prompt_is_read(self, lab: Lab) -> None:
        """It is part of what the model reads."""
        plain = lab.chain().complete(FRUITS, max_tokens=1)
        instructed = lab.chain().complete(
            FRUITS, max_tokens=1, system="You speak of nothing but winter. " * 9
        )
        assert (instructed.usage.input_tokens or 0) > (plain.usage.input_tokens or 0)

    def test_tokens_are_counted(self, lab: Lab, path: str) -> None:
        """A prompt that was asked before is read from the cache, all but its last token."""
        lab.chain().complete(FRUITS, max_tokens=1)
        usage = drive(path, lab.chain(), FRUITS, max_tokens=3).usage
        assert usage.input_tokens is not None
        assert (usage.cached_tokens, usage.output_tokens) == (usage.input_tokens - 1, 3)

    def test_a_parameter_that_it_does_not_know_is_ignored(self, lab: Lab) -> None:
        """What is meant for another server in the chain does no harm here."""
        answer = lab.chain().complete(FRUITS, max_tokens=2, extra={"frobnicate": 3})
        assert answer.usage.output_tokens == 2

    def test_a_call_after_a_stream_does_not_meet_a_closing_connection(self, lab: Lab) -> None:
        """The server hangs up on connections that it promised to keep; the preset keeps none."""
        chain = lab.chain(max_retries=1)
        for _ in range(10):
            drive("stream", chain, FRUITS, max_tokens=1)
            chain.complete(FRUITS, max_tokens=1)


class TestRefusals:
    """A prompt, or a parameter, that the server refuses: the request's own fault, and no bench."""

    def test_a_prompt_larger_than_the_window(self, lab: Lab, path: str) -> None:
        """The server counts the tokens and names both numbers; before a stream's first byte too."""
        error = failure(path, lab.model, "word " * 5000)
        inner = told(error)
        assert (error.status, error.code, inner["code"]) == (400, "exceed_context_size_error", 400)
        assert inner["n_prompt_tokens"] > inner["n_ctx"] == 4096
        assert "exceeds the available context size (4096 tokens)" in str(error)
        assert taken_for(error) == ("request_specific", "context_length")

    def test_a_chain_goes_on_from_a_full_window_without_a_bench(self, lab: Lab, path: str) -> None:
        """The model is healthy: it is asked once, and the next one answers."""
        prompt = "word " * 5000
        answer = drive(path, lab.chain(f"{SMOLLM2},sim/echo"), prompt)
        assert outcomes(answer.attempts) == [(SMOLLM2, "failover", "context_length"), ("sim/echo", "ok", "")]
        assert (lab.benched(), [event.kind for event in lab.events]) == ([], [ErrorKind.REQUEST_SPECIFIC])

    def test_a_schema_that_is_none(self, lab: Lab, path: str) -> None:
        """What no grammar can be made of is refused with the place where it fails."""
        error = failure(path, lab.model, schema={"type": "object", "properties": {"a": {"type": "frob"}}})
        assert (error.status, "frob" in str(error)) == (400, True)
        assert taken_for(error) == ("request_specific", "bad_request")

    @pytest.mark.parametrize("named", REFUSED)
    def test_a_parameter_that_it_does_not_take(self, lab: Lab, named: str) -> None:
        """A value of the wrong type or range is refused by name."""
        error = failure("complete", lab.model, extra=REFUSED[named])
        assert (error.status, error.code, named in str(error)) == (400, "invalid_request_error", True)
        assert taken_for(error) == ("request_specific", "bad_request")


class TestKeys:
    def test_a_wrong_key(self, locked_out: Lab, path: str) -> None:
        """The server says no more than that."""
        error = failure(path, locked_out.model)
        assert (error.status, error.code) == (401, "authentication_error")
        assert told(error)["message"] == "Invalid API Key"
        assert taken_for(error) == ("auth_dead", "credentials")

    def test_a_wrong_key_benches_every_entry_that_uses_it(self, locked_out: Lab, path: str) -> None:
        """One refusal, one event: the other entry with the key is not asked, and the next one answers."""
        chain = locked_out.chain("llamacpp/one,llamacpp/two,sim/echo")
        answer = drive(path, chain, "hello")
        asked = [attempt.model for attempt in answer.attempts if attempt.attempt]
        (event,) = locked_out.events
        assert (asked, event.benched_too) == (["llamacpp/one", "sim/echo"], ("llamacpp/two",))
        assert locked_out.benched() == ["llamacpp/one", "llamacpp/two"]

    def test_a_wrong_key_leaves_another_key_alone(self, locked_out: Lab, server: LlamaServer) -> None:
        """The same server under another name, with the right key, goes on serving."""
        locked_out.add("mine", server.base_url, server.key)
        answer = locked_out.chain(f"{SMOLLM2},mine/smollm2").complete(FRUITS, max_tokens=2)
        assert (answer.model, locked_out.benched()) == ("mine/smollm2", [SMOLLM2])

    def test_no_key(self, server: LlamaServer) -> None:
        """A server that wants a key says the same to one who brings none."""
        registry = Registry()
        register_provider("llamacpp", base_url=server.base_url, registry=registry)
        assert taken_for(failure("complete", registry.model(SMOLLM2))) == ("auth_dead", "credentials")


class TestServer:
    """What the server's own state does to a call: a wrong address, a slot in use, a start, an end."""

    def test_an_address_without_its_version(self, server: LlamaServer) -> None:
        """A path that it does not serve is no model, until somebody corrects the address."""
        lab = Lab(f"{server.base_url}/v2", server.key)
        error = failure("complete", lab.model)
        assert (error.status, error.code, told(error)["message"]) == (
            404,
            "not_found_error",
            "File Not Found",
        )
        assert taken_for(error) == ("auth_dead", "model_gone")

    @WHOLE_AND_STREAMED
    def test_a_busy_slot_is_silence_and_is_asked_once(self, lab: Lab, path: str) -> None:
        """The server queues what it has no slot for, without a word; the chain goes on to the next model."""
        hurried = lab.chain(f"{SMOLLM2},sim/echo", attempt_timeout=0.2)
        with closing(lab.chain().stream("Tell a story.", **ENDLESS)) as chunks:
            next(chunks)
            answer = drive(path, hurried, "hello")
            still_answering = next(chunks).text
        assert outcomes(answer.attempts) == [(SMOLLM2, "failover", "timeout"), ("sim/echo", "ok", "")]
        assert still_answering

    @pytest.mark.skipif(sys.platform != "linux", reason="asks Linux where the server listens")
    def test_a_model_that_still_loads_is_waited_for(self) -> None:
        """While it loads the server answers 503, "Loading model"; retries in place end in an answer."""
        tries = (attempts_from_the_start() for _ in range(5))
        *while_loading, last = next(attempts for attempts in tries if len(attempts) > 1)
        (refused,) = {(row.status, row.kind, row.reason, row.error) for row in while_loading}
        assert refused == (503, "transient", "overloaded", "Loading model")
        assert last.outcome == "ok"

    def test_closing_a_stream_stops_the_answer(self, lab: Lab) -> None:
        """The server sees it: its only slot is free for a short call."""
        with closing(lab.chain().stream("Tell a story.", **ENDLESS)) as chunks:
            next(chunks)
        assert_free(lab)

    def test_cancelling_an_async_stream_stops_the_answer(self, lab: Lab) -> None:
        """A cancelled task takes its request with it, and says nothing about the model."""

        async def cancelled_in_the_middle() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with aclosing(lab.chain().astream("Tell a story.", **ENDLESS)) as chunks:
                async for _ in chunks:
                    task.cancel()

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancelled_in_the_middle())
        assert_free(lab)
        assert (lab.benched(), lab.events) == ([], [])

    @WHOLE_AND_STREAMED
    def test_a_timeout_stops_the_answer(self, lab: Lab, path: str) -> None:
        """A server that was given up does not go on for nobody, streamed or not."""
        with contextlib.suppress(AllModelsFailed, StreamInterrupted):
            drive(path, lab.chain(attempt_timeout=0.2), "Tell a story.", **ENDLESS)
        assert_free(lab)

    def test_killed_in_the_middle_of_a_stream_the_chain_starts_anew(self, streaming: str) -> None:
        """What came is discarded, the dead server is benched, and the next model gives the whole answer."""
        with llama_server() as doomed:
            lab = Lab(doomed.base_url, doomed.key)
            chain = lab.chain(f"{SMOLLM2},sim/echo", midstream="restart", max_retries=1)
            chunks = with_act_at_first_chunk(streaming, chain, doomed.process.kill)
        kinds = [chunk.kind for chunk in chunks]
        after = chunks[kinds.index("restart") + 1 : -1]
        answer = chunks[-1].response
        assert answer is not None
        assert "".join(chunk.text for chunk in after) == answer.text == "Tell a story."
        assert answer.attempts[0].reason in {"cut", "connection"}
        assert (kinds[0], kinds.count("restart"), lab.benched()) == ("text", 1, [SMOLLM2])

    def test_killed_in_the_middle_of_a_stream_is_never_a_success(self) -> None:
        """Where half an answer was shown and nothing may replace it, the call fails and says what came."""
        with llama_server() as doomed:
            chain = Lab(doomed.base_url, doomed.key).chain()
            with pytest.raises(StreamInterrupted) as caught:
                with_act_at_first_chunk("stream", chain, doomed.process.kill)
        cause = caught.value.__cause__
        assert isinstance(cause, ProviderError)
        assert (cause.kind, cause.reason in {"cut", "connection"}) == (ErrorKind.TRANSIENT, True)
        assert caught.value.text


def with_act_at_first_chunk(path: str, chain: Chain, act: Callable[[], object]) -> list[Chunk]:
    """All chunks of an endless stream, during which something happens."""
    chunks: list[Chunk] = []

    def take(chunk: Chunk) -> None:
        if not chunks:
            act()
        chunks.append(chunk)

    async def take_all() -> None:
        async for chunk in chain.astream("Tell a story.", **ENDLESS):
            take(chunk)

    if path == "astream":
        asyncio.run(take_all())
    else:
        for chunk in chain.stream("Tell a story.", **ENDLESS):
            take(chunk)
    return chunks


def attempts_from_the_start() -> tuple[AttemptRecord, ...]:
    """Ask a server from the moment at which it listens until it answers."""
    with starting() as (process, key):
        lab = Lab(listening_address(process), key)
        chain = lab.chain(max_retries=100_000, backoff=lambda _: 0.005)
        return chain.complete(FRUITS, max_tokens=1).attempts


def assert_free(lab: Lab) -> None:
    """A short call is answered long before an endless answer would have made room for it."""
    answer = lab.chain(attempt_timeout=10, max_retries=1).complete("Hi", max_tokens=1)
    assert answer.finish_reason == "length"
