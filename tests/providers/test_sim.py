"""The provider that fails on purpose: its outcomes over all four calls, its waits."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import aclosing

import pytest

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ChainSpecError, ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Message, Request, Response, Timeouts, Usage
from llm_failover_nb.providers import sim
from llm_failover_nb.providers.script import VOCABULARY
from llm_failover_nb.providers.sim import SimProvider

PROVIDER = SimProvider()


def ask(model, *, attempt=1, prompt="It is a sunny day", within=None, **timeouts):
    """A request; ``within`` limits the attempt, ``timeouts`` are the other limits."""
    return Request(prompt, model=model, attempt=attempt, timeouts=Timeouts(attempt=within, **timeouts))


def complete(request):
    return PROVIDER.complete(request)


def acomplete(request):
    return asyncio.run(PROVIDER.acomplete(request))


def stream(request):
    return list(PROVIDER.stream(request))[-1].response


def astream(request):
    return asyncio.run(_read(request, []))[-1].response


async def _read(request, into):
    async with aclosing(PROVIDER.astream(request)) as chunks:
        async for chunk in chunks:
            into.append(chunk)
    return into


def streamed(request):
    """The text of a stream up to its failure, and the failure."""
    texts = []
    with pytest.raises(ProviderError) as caught:  # noqa: PT012  # what came before it is the point
        for chunk in PROVIDER.stream(request):
            texts.append(chunk.text)  # noqa: PERF401  # kept although the loop fails
    return "".join(texts), caught.value


ALL = pytest.mark.parametrize("call", [complete, acomplete, stream, astream])
COMPLETES = pytest.mark.parametrize("call", [complete, acomplete])
STREAMS = pytest.mark.parametrize("call", [stream, astream])


def test_check_accepts_every_word_of_the_table():
    """The table of the docstring and the grammar have the same words."""
    shown = {re.split("[`:]", line)[2] for line in sim.__doc__.splitlines() if line.startswith("``")}
    assert shown - {"400"} == set(VOCABULARY)


@ALL
def test_a_bad_script_fails_the_call(call):
    """A name that was never checked fails when it is asked."""
    with pytest.raises(ChainSpecError):
        call(ask("dwon"))


@ALL
def test_echo_answers_with_the_prompt(call):
    """The answer is whole and counts its words as tokens."""
    request = Request(
        [Message("user", "old one"), Message("assistant", "yes"), Message("user", "It  is\nso ")],
        model="echo",
        system="Be brief",
    )
    assert call(request) == Response(
        text="It  is\nso ", finish_reason="stop", finish="stop", usage=Usage(input_tokens=8, output_tokens=3)
    )


@ALL
def test_say_answers_with_its_words(call):
    """An underscore stands for a space."""
    assert call(ask("say:It_is_Paris.")).text == "It is Paris."


@ALL
def test_nodone_is_an_answer(call):
    """A missing terminal marker after a finish reason loses nothing."""
    assert call(ask("nodone", prompt="a b")).text == "a b"


@ALL
def test_a_script_is_read_anew_with_each_call(call):
    """Only the request's attempt counts; the provider remembers nothing."""
    for _ in range(2):
        with pytest.raises(ProviderError):
            call(ask("503x2", attempt=2))
        assert call(ask("503x2", attempt=3, prompt="a")).text == "a"


def test_a_stream_comes_word_by_word():
    """Words, then the whole on the done chunk."""
    assert list(PROVIDER.stream(ask("echo", prompt="a b"))) == [
        Chunk("a"),
        Chunk(" b"),
        Chunk(
            kind="done",
            response=Response(
                text="a b", finish_reason="stop", finish="stop", usage=Usage(input_tokens=2, output_tokens=2)
            ),
        ),
    ]


@ALL
@pytest.mark.parametrize(
    ("model", "status", "kind", "reason"),
    [
        ("down", 503, ErrorKind.TRANSIENT, "overloaded"),
        ("500", 500, ErrorKind.TRANSIENT, "server_error"),
        ("auth", 401, ErrorKind.AUTH_DEAD, "credentials"),
        ("401", 401, ErrorKind.AUTH_DEAD, "credentials"),
        ("quota", 429, ErrorKind.AUTH_DEAD, "quota"),
        ("402", 402, ErrorKind.AUTH_DEAD, "quota"),
        ("429", 429, ErrorKind.TRANSIENT, "rate_limit"),
        ("gone", 404, ErrorKind.AUTH_DEAD, "model_gone"),
        ("context", 400, ErrorKind.REQUEST_SPECIFIC, "context_length"),
        ("filter", 400, ErrorKind.REQUEST_SPECIFIC, "content_filter"),
        ("bad", 400, ErrorKind.REQUEST_SPECIFIC, "bad_request"),
        ("422", 422, ErrorKind.REQUEST_SPECIFIC, "bad_request"),
        ("error200", None, ErrorKind.TRANSIENT, "server_error"),
        ("timeout", None, ErrorKind.TRANSIENT, "timeout"),
        ("reset", None, ErrorKind.TRANSIENT, "connection"),
        ("reset:3", None, ErrorKind.TRANSIENT, "cut"),
        ("cut:0", None, ErrorKind.TRANSIENT, "cut"),
        ("short", None, ErrorKind.TRANSIENT, "cut"),
        ("malformed", None, ErrorKind.TRANSIENT, "malformed"),
        ("malformed:3", None, ErrorKind.TRANSIENT, "malformed"),
        ("big", None, ErrorKind.TRANSIENT, "malformed"),
        ("bomb", None, ErrorKind.TRANSIENT, "malformed"),
        ("endless", None, ErrorKind.TRANSIENT, "malformed"),
        ("header", None, ErrorKind.TRANSIENT, "malformed"),
        ("headers", None, ErrorKind.TRANSIENT, "malformed"),
        ("html", None, ErrorKind.TRANSIENT, "malformed"),
        ("empty", None, ErrorKind.TRANSIENT, "empty"),
    ],
)
def test_a_failure_is_classified_as_a_real_one(call, model, status, kind, reason):
    """The error carries what the classification needs, and nothing tells it apart from a provider's."""
    with pytest.raises(ProviderError) as caught:
        call(ask(model))
    verdict = classify(caught.value)
    assert (caught.value.status, caught.value.model, verdict.kind, verdict.reason) == (
        status,
        model,
        kind,
        reason,
    )


@pytest.mark.parametrize(
    ("model", "completion", "in_a_stream"),
    [("utf8", "malformed", "cut"), ("long", "malformed", "cut"), ("nochoices", "malformed", "empty")],
)
def test_a_completion_that_is_cut_is_no_json(model, completion, in_a_stream):
    """A stream that ends too soon is a stream; half of an object is nothing."""
    for call, reason in (
        (complete, completion),
        (acomplete, completion),
        (stream, in_a_stream),
        (astream, in_a_stream),
    ):
        with pytest.raises(ProviderError) as caught:
            call(ask(model))
        assert classify(caught.value).reason == reason


@COMPLETES
def test_a_completion_has_no_lines(call):
    """A line that is too long is a stream's affair."""
    assert call(ask("line", prompt="a")).text == "a"


@STREAMS
def test_a_line_may_be_too_long(call):
    """There it is an answer that is none."""
    with pytest.raises(ProviderError, match="over 4 MiB"):
        call(ask("line"))


@ALL
def test_a_trailing_assistant_turn_may_be_refused(call):
    """The same model answers when the last word is the user's."""
    prefilled = [Message("user", "Who?"), Message("assistant", "It is")]
    with pytest.raises(ProviderError, match="must end with a user message") as caught:
        call(Request(prefilled, model="noprefill"))
    assert (caught.value.status, classify(caught.value).reason) == (400, "bad_request")
    assert call(Request([*prefilled, Message("user", "Go on")], model="noprefill")).text == "Go on"


@ALL
def test_a_flapping_model_fails_every_other_time(call):
    """Its second attempt is answered, its third is not."""
    for attempt in (1, 3):
        with pytest.raises(ProviderError) as caught:
            call(ask("flap", attempt=attempt))
        assert caught.value.status == 503
    assert call(ask("flap", attempt=2, prompt="a")).text == "a"


@ALL
def test_a_trickle_takes_a_while_for_each_byte(call):
    """The answer comes when its last byte would have; a limit that is shorter ends it."""
    assert call(ask("trickle:0.001", prompt="ab")).text == "ab"
    with pytest.raises(ProviderError, match=r"within 0\.01 s \(attempt_timeout\)"):
        call(ask("trickle:60", within=0.01))


@pytest.mark.parametrize("word", ["endless", "long", "short", "utf8"])
def test_a_stream_breaks_after_all_of_its_text(word):
    """What was said has been streamed when it turns out not to end well."""
    assert streamed(ask(word, prompt="It is"))[0] == "It is"


def test_a_status_leaves_the_kind_to_the_classification():
    """A failed status is no verdict by itself: its kind is not set."""
    with pytest.raises(ProviderError) as caught:
        complete(ask("quota"))
    assert (caught.value.kind, caught.value.reason) == (None, "")


def test_a_failed_status_has_a_body_of_the_wire():
    """The body is the error object of the openai wire."""
    with pytest.raises(ProviderError) as caught:
        complete(ask("quota"))
    error = json.loads(caught.value.body)["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "insufficient_quota",
        "insufficient_quota",
        None,
    )


def test_an_unassigned_status_is_a_failure_too():
    """A status without a name of its own is named by its number."""
    with pytest.raises(ProviderError, match=r"HTTP 599 \(simulated\)") as caught:
        complete(ask("599"))
    assert (caught.value.status, classify(caught.value).kind) == (599, ErrorKind.TRANSIENT)


@pytest.mark.parametrize(
    ("model", "wait"), [("429:30", 30.0), ("503:0.5", 0.5), ("down:7", 7.0), ("429", None)]
)
def test_the_argument_of_a_status_is_its_retry_after(model, wait):
    """The wait is a header, as a server sends it."""
    with pytest.raises(ProviderError) as caught:
        complete(ask(model))
    header = caught.value.headers.get("retry-after")
    assert (None if header is None else float(header), classify(caught.value).retry_after) == (wait, wait)


@pytest.mark.parametrize("word", ["cut", "reset", "error200", "malformed", "stall"])
def test_a_stream_breaks_after_so_many_characters(word):
    """What precedes the break has been streamed, cut in the middle of a word if need be."""
    text, _ = streamed(ask(f"{word}:7", prompt="It is a sunny day", idle=0))
    assert text == "It is a"[:7]


@pytest.mark.parametrize("word", ["cut", "reset", "error200", "malformed", "stall"])
def test_a_break_before_the_first_character(word):
    """With 0 the stream breaks before any content."""
    assert streamed(ask(f"{word}:0", first_token=0))[0] == ""


def test_a_cut_strikes_a_short_answer_too():
    """An answer shorter than the cut is cut at its end."""
    text, error = streamed(ask("cut:40", prompt="short"))
    assert (text, error.reason) == ("short", "cut")


@ALL
def test_slow_is_late(call):
    """The answer comes after the time, whole."""
    started = time.perf_counter()
    response = call(ask("slow:0.03", prompt="a b"))
    assert (response.text, time.perf_counter() - started >= 0.03) == ("a b", True)


@ALL
@pytest.mark.parametrize("model", ["slow:60", "silent", "stall:0", "stall:7"])
def test_nothing_outlives_the_attempt(call, model):
    """The attempt's limit ends every wait, as a timeout that is not retried in place."""
    with pytest.raises(ProviderError, match=r"within 0\.01 s \(attempt_timeout\)") as caught:
        call(ask(model, within=0.01))
    verdict = classify(caught.value)
    assert (verdict.kind, verdict.reason, verdict.retry_in_place) == (ErrorKind.TRANSIENT, "timeout", False)


@STREAMS
@pytest.mark.parametrize("model", ["slow:60", "silent", "stall:0"])
def test_a_late_first_token_is_a_timeout(call, model):
    """A stream without content by its first-token limit ends, naming that limit."""
    with pytest.raises(ProviderError, match=r"no first token within 0\.01 s \(first_token_timeout\)"):
        call(ask(model, first_token=0.01, within=60))


@STREAMS
def test_a_stall_is_ended_by_the_idle_limit(call):
    """After content it is the silence between reads that counts."""
    with pytest.raises(ProviderError, match=r"silent for 0\.01 s \(idle_timeout\)"):
        call(ask("stall:7", first_token=0, idle=0.01, within=60))


@COMPLETES
def test_a_completion_has_no_first_token(call):
    """Only the attempt's limit holds for a completion."""
    assert call(ask("slow:0.01", prompt="a", first_token=0, idle=0)).text == "a"


@ALL
def test_a_limit_that_is_longer_changes_nothing(call):
    """An answer that comes in time is an answer."""
    assert call(ask("slow:0.01", prompt="a", first_token=9, idle=9, within=9)).text == "a"


@pytest.mark.parametrize("model", ["silent", "slow:60", "stall:2"])
@pytest.mark.parametrize("path", ["acomplete", "astream"])
def test_a_wait_can_be_cancelled(model, path):
    """Cancelling the task ends it at once, with what was streamed until then."""
    chunks = []

    async def main():
        request = ask(model, prompt="It is a sunny day")
        work = PROVIDER.acomplete(request) if path == "acomplete" else _read(request, chunks)
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert "".join(chunk.text for chunk in chunks) == (
        "It" if (model, path) == ("stall:2", "astream") else ""
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals another process with SIGINT")
@pytest.mark.parametrize("call", ["provider.complete(request)", "list(provider.stream(request))"])
def test_a_wait_can_be_interrupted(call):
    """Ctrl-C ends a synchronous wait at once."""
    program = f"""if True:
        from llm_failover_nb.engine.types import Request
        from llm_failover_nb.providers.sim import SimProvider
        provider, request = SimProvider(), Request("x", model="silent")
        try:
            print("asking", flush=True)
            {call}
        except KeyboardInterrupt:
            print("interrupted")
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=10)
    assert (first, rest, child.returncode) == ("asking\n", "interrupted\n", 0)


def test_a_closed_stream_ends():
    """Closing the generator in the middle leaves nothing to wait for."""
    chunks = PROVIDER.stream(ask("stall:40"))
    first = next(chunks)
    chunks.close()
    assert (first, list(chunks)) == (Chunk("It"), [])


def test_the_provider_keeps_its_limits_itself():
    """The engine need not wrap its calls, and it never lacks a key."""
    assert (PROVIDER.keeps_time, PROVIDER.missing_key) == (True, None)
