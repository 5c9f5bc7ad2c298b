"""One model, asked directly, and how a call's prompt and fields become a request."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing

import numpy
import pytest

from llm_failover_nb.engine.errors import ChainSpecError, ProviderError
from llm_failover_nb.engine.model import Model, build_request, split_spec
from llm_failover_nb.engine.policy import get_failover_defaults, set_failover_defaults
from llm_failover_nb.engine.types import Chunk, Message, Request, Response, Timeouts, Usage
from llm_failover_nb.testing import ScriptedProvider


def complete(model, prompt="hi", **given):
    return model.complete(prompt, **given)


def acomplete(model, prompt="hi", **given):
    return asyncio.run(model.acomplete(prompt, **given))


def stream(model, prompt="hi", **given):
    return list(model.stream(prompt, **given))[-1].response


def astream(model, prompt="hi", **given):
    async def read():
        return [chunk async for chunk in model.astream(prompt, **given)]

    return asyncio.run(read())[-1].response


ALL = pytest.mark.parametrize("call", [complete, acomplete, stream, astream])
STREAMS = pytest.mark.parametrize("method", ["stream", "astream"])


def chunks_of(model, method, prompt="hi"):
    async def read():
        return [chunk async for chunk in model.astream(prompt)]

    return list(model.stream(prompt)) if method == "stream" else asyncio.run(read())


@pytest.fixture
def defaults():
    """Puts the package's defaults back."""
    before = get_failover_defaults()
    yield
    set_failover_defaults(before)


# The four calls


@ALL
def test_the_answer_names_the_model(call):
    """With the whole spec, and how long it took."""
    answer = call(Model("lab/meta/llama", ScriptedProvider("forty two")))
    assert (answer.text, answer.model, answer.latency >= 0) == ("forty two", "lab/meta/llama", True)


@ALL
def test_the_provider_is_handed_the_bare_name(call):
    """And the fields of the call."""
    provider = ScriptedProvider("ok")
    call(Model("lab/meta/llama", provider), temperature=0.5, stop="END")
    assert provider.requests == [Request("hi", "meta/llama", temperature=0.5, stop=("END",))]


@ALL
def test_the_providers_error_passes(call):
    """No retry, no failover."""
    provider = ScriptedProvider(ProviderError("busy", status=503), "ok")
    with pytest.raises(ProviderError, match="busy"):
        call(Model("lab/a", provider))
    assert len(provider.requests) == 1


@ALL
def test_an_unknown_field_names_the_nearest(call):
    """Before anything is sent."""
    provider = ScriptedProvider("ok")
    with pytest.raises(TypeError, match=r"'temprature' is no field of .*; did you mean temperature\?"):
        call(Model("lab/a", provider), temprature=1)
    assert provider.requests == []


@ALL
@pytest.mark.usefixtures("defaults")
def test_the_packages_timeouts_are_read_when_the_model_is_made(call):
    """Later changes leave it alone."""
    set_failover_defaults(attempt_timeout=7)
    provider = ScriptedProvider("ok")
    model = Model("lab/a", provider)
    set_failover_defaults(attempt_timeout=9)
    call(model)
    assert provider.requests[0].timeouts.attempt == 7


@STREAMS
def test_a_stream_ends_with_the_whole_answer(method):
    """The provider's chunks as they come, then done."""
    model = Model("lab/a", ScriptedProvider([Chunk("", "tool"), Chunk("hm", "reasoning"), "for", "ty"]))
    *parts, last = chunks_of(model, method)
    assert parts == [Chunk("", "tool"), Chunk("hm", "reasoning"), Chunk("for"), Chunk("ty")]
    assert (last.kind, last.response.text, last.response.model) == ("done", "forty", "lab/a")


@STREAMS
def test_what_the_provider_says_of_the_whole_is_kept(method):
    """Usage and finish reason; there is one done chunk."""
    whole = Response("other words", finish_reason="stop", usage=Usage(1, 2))
    model = Model("lab/a", ScriptedProvider(["for", Chunk(kind="done", response=whole)]))
    *parts, last = chunks_of(model, method)
    answer = last.response
    assert [chunk.kind for chunk in parts] == ["text"]
    assert (answer.text, answer.finish_reason, answer.usage) == ("for", "stop", Usage(1, 2))


@STREAMS
@pytest.mark.parametrize("response", [None, Response("all of it")], ids=["without", "with"])
def test_a_stream_of_nothing_but_done_is_an_answer(method, response):
    """Its text is the response's, where there is one."""
    model = Model("lab/a", ScriptedProvider([Chunk(kind="done", response=response)]))
    (last,) = chunks_of(model, method)
    assert last.response.text == (response.text if response else "")


@STREAMS
@pytest.mark.parametrize(
    ("script", "timed"),
    [
        ([" ", "a"], True),
        ([" ", "\n"], False),
        ([Chunk(kind="tool", tool={"index": 0})], True),
        ([""], False),
    ],
    ids=["text", "blanks", "tool", "empty"],
)
def test_the_first_token_is_the_first_content(method, script, timed):
    """Blanks are none."""
    *_, last = chunks_of(Model("lab/a", ScriptedProvider(script)), method)
    assert (last.response.first_token is not None) is timed


@STREAMS
def test_nothing_is_sent_before_the_first_chunk_is_asked_for(method):
    """A stream is lazy."""
    provider = ScriptedProvider("ok")
    getattr(Model("lab/a", provider), method)("hi")
    assert provider.requests == []


def test_closing_a_stream_closes_the_providers():
    """Before its end; it is kept here, so that being collected does not close it."""
    held = []

    class Holds(ScriptedProvider):
        def stream(self, request):
            held.append(super().stream(request))
            return held[-1]

    provider = Holds(["a", "b"])
    with closing(Model("lab/a", provider).stream("hi")) as chunks:
        next(chunks)
    assert provider.closed == 1


def test_closing_an_asynchronous_stream_closes_the_providers():
    """On the same loop."""
    provider = ScriptedProvider(["a", "b"])

    async def leave():
        async with aclosing(Model("lab/a", provider).astream("hi")) as chunks:
            await anext(chunks)
        return provider.closed

    assert asyncio.run(leave()) == 1


class Plain:
    """Streams by iterators that cannot be closed."""

    keeps_time = True

    def complete(self, request):
        """Not asked here."""

    def stream(self, request):
        return iter([Chunk("a")])

    async def acomplete(self, request):
        """Not asked here."""

    def astream(self, request):
        return _Once()


class _Once:
    def __init__(self):
        self.left = [Chunk("a")]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


@STREAMS
def test_an_iterator_without_close_is_no_matter(method):
    """A provider may write its own."""
    assert [chunk.kind for chunk in chunks_of(Model("lab/a", Plain()), method)] == ["text", "done"]


def test_a_model_shows_its_spec():
    """And nothing of the provider."""
    assert repr(Model("lab/a", ScriptedProvider("ok"))) == "Model('lab/a')"


def test_a_model_needs_a_provider():
    """An object with one of the pairs of calls."""
    with pytest.raises(TypeError, match="NoneType is no provider"):
        Model("lab/a", None)


@pytest.mark.parametrize("spec", ["lab", "lab/", "/a", ""])
def test_a_spec_names_provider_and_model(spec):
    """The error shows the spec, and the form it should have."""
    with pytest.raises(ChainSpecError) as caught:
        Model(spec, ScriptedProvider("ok"))
    assert str(caught.value) == f"{spec!r} is no spec: write provider/model, such as openai/gpt-x"


def test_the_provider_ends_at_the_first_slash():
    """The rest is the model's name, slashes and all."""
    assert split_spec("openrouter/meta/llama:free") == ("openrouter", "meta/llama:free")


# Requests


@pytest.mark.parametrize(
    "prompt",
    [
        "hi",
        [Message("user", "hi")],
        (Message("user", "hi"),),
        [{"role": "user", "content": "hi"}],
        ({"role": "user", "content": "hi"},),
        Request("hi", "another"),
    ],
    ids=["text", "messages", "tuple", "dicts", "tuple of dicts", "request"],
)
def test_every_form_of_prompt_is_the_same_request(prompt):
    """The model is the call's."""
    assert build_request(prompt, "m", {}) == Request("hi", "m")


@pytest.mark.parametrize("prompt", [None, 5, {"role": "user", "content": "hi"}, ("hi",)])
def test_a_prompt_of_no_known_form_is_refused(prompt):
    """A tuple is looked into like a list."""
    with pytest.raises(TypeError, match=r"a prompt is a str, a list of Message|a message is Message"):
        build_request(prompt, "m", {})


def test_fields_of_the_call_win_over_the_requests():
    """The others stay."""
    prompt = Request("hi", "x", system="be brief", temperature=0.1, stop=("a",))
    assert build_request(prompt, "m", {"temperature": 0.9, "stop": ["b", "c"]}) == Request(
        "hi", "m", system="be brief", temperature=0.9, stop=("b", "c")
    )


def test_the_callers_request_is_left_alone():
    """It may be asked again."""
    prompt = Request("hi", "x")
    build_request(prompt, "m", {"temperature": 0.9})
    assert prompt == Request("hi", "x")


@pytest.mark.parametrize("prompt", ["hi", Request("hi", timeouts=Timeouts(attempt=99))])
def test_the_timeouts_are_the_calls(prompt):
    """Not those of a request that is asked again."""
    assert build_request(prompt, "m", {}, Timeouts(attempt=1)).timeouts == Timeouts(attempt=1)


@pytest.mark.parametrize(
    ("stop", "stops"), [("END", ("END",)), (["a", "b"], ("a", "b")), (("a",), ("a",)), (None, ())]
)
@pytest.mark.parametrize("prompt", ["hi", Request("hi", stop=("x",))], ids=["text", "request"])
def test_stop_is_one_text_or_several(prompt, stop, stops):
    """None takes them away."""
    assert build_request(prompt, "m", {"stop": stop}).stop == stops


@pytest.mark.parametrize("prompt", ["hi", Request("hi")], ids=["text", "request"])
def test_a_stop_of_no_known_form_is_refused(prompt):
    """The error names the value."""
    with pytest.raises(TypeError, match=r"stop is a str or a list of str, not 5"):
        build_request(prompt, "m", {"stop": 5})


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("max_token", "did you mean max_tokens?"),
        ("sytem", "did you mean system?"),
        ("frequency_penalty", "use extra={...} for what the wire takes besides"),
        ("timeouts", "use extra={...} for what the wire takes besides"),
    ],
)
def test_an_unknown_field_is_refused_with_a_hint(field, hint):
    """The nearest name, or where other things go."""
    with pytest.raises(TypeError) as caught:
        build_request("hi", "m", {field: 1})
    assert str(caught.value) == (
        f"{field!r} is no field of a request "
        f"(system, temperature, max_tokens, stop, seed, schema, extra); {hint}"
    )


@pytest.mark.parametrize(
    ("field", "error", "message"),
    [
        ({"temperature": "hot"}, TypeError, "temperature='hot' is not a number"),
        ({"temperature": -4}, ValueError, "temperature=-4 is out of range: give a number, at least 0"),
        ({"temperature": float("nan")}, ValueError, "temperature=nan is out of range"),
        ({"max_tokens": "many"}, TypeError, "max_tokens='many' is not a whole number"),
        ({"max_tokens": 2.5}, TypeError, "max_tokens=2.5 is not a whole number"),
        ({"max_tokens": 0}, ValueError, "max_tokens=0 is out of range: give a whole number, at least 1"),
        ({"seed": True}, TypeError, "seed=True is not a whole number"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_sent(field, error, message):
    """With the value, and what it should be."""
    provider = ScriptedProvider("ok")
    with pytest.raises(error, match=message):
        Model("lab/a", provider).complete("hi", **field)
    assert provider.requests == []


def test_good_numbers_pass():
    """None is as good as nothing; a seed may be negative; numpy's numbers are numbers."""
    provider = ScriptedProvider("ok")
    fields = {"temperature": numpy.float32(0.5), "max_tokens": None, "seed": -1}
    Model("lab/a", provider).complete("hi", **fields)
    (request,) = provider.requests
    assert (request.temperature, request.max_tokens, request.seed) == (0.5, None, -1)


def test_semicolons_join_nothing():
    """A chain joined the wrong way must not become one strange model."""
    with pytest.raises(ChainSpecError, match="joins its specs by commas"):
        Model("lab/a; lab/b", ScriptedProvider("ok"))
