"""The base of providers: a subclass writes one pair of calls and is given the other."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from llm_failover_nb.engine import portal as portal_module
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.portal import Portal
from llm_failover_nb.engine.types import Chunk, Request, Response, Timeouts
from llm_failover_nb.providers.base import BaseProvider

ASK = Request("hi", "model")


class WritesSync(BaseProvider):
    def complete(self, request, /):
        return Response(request.prompt)

    def stream(self, request, /):
        yield Chunk(request.prompt)


class WritesAsync(BaseProvider):
    async def acomplete(self, request, /):
        return Response(request.prompt)

    async def astream(self, request, /):
        yield Chunk(request.prompt)


@pytest.fixture(autouse=True)
def _own_portal(monkeypatch):
    """The synchronous pair of an asynchronous provider runs on the process's portal."""
    one = Portal()
    monkeypatch.setattr(portal_module, "portal", one)
    yield
    one.close()


def complete(provider):
    return provider.complete(ASK).text


def acomplete(provider):
    return asyncio.run(provider.acomplete(ASK)).text


def stream(provider):
    return "".join(chunk.text for chunk in provider.stream(ASK))


def astream(provider):
    async def read():
        async with aclosing(provider.astream(ASK)) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    return asyncio.run(read())


@pytest.mark.parametrize("call", [complete, acomplete, stream, astream])
@pytest.mark.parametrize("kind", [WritesSync, WritesAsync])
def test_one_pair_gives_all_four_calls(kind, call):
    """Whichever pair was written."""
    assert call(kind()) == "hi"


def test_a_pair_may_be_inherited():
    """A subclass of a provider is one."""

    class Further(WritesSync):
        pass

    assert acomplete(Further()) == "hi"


def _class(*names):
    return type("Half", (BaseProvider,), {name: lambda self, request: None for name in names})


@pytest.mark.parametrize(
    "names",
    [(), ("complete",), ("stream",), ("acomplete",), ("astream",), ("complete", "astream")],
    ids=lambda names: "+".join(names) or "nothing",
)
def test_half_a_pair_is_refused_when_the_class_is_written(names):
    """Two calls that ask each other would never end."""
    with pytest.raises(
        TypeError, match=r"^Half needs a pair of calls: complete and stream, or acomplete and"
    ):
        _class(*names)


@pytest.mark.parametrize("names", [("complete", "stream"), ("acomplete", "astream")])
def test_a_whole_pair_is_taken(names):
    """Either of them."""
    assert issubclass(_class(*names), BaseProvider)


def test_arguments_of_the_class_go_on():
    """Other bases may take some."""
    taken = []

    class Other:
        def __init_subclass__(cls, *, colour, **kwargs):
            super().__init_subclass__(**kwargs)
            taken.append(colour)

    type("Mixed", (WritesSync, Other), {}, colour="red")
    assert taken == ["red"]


def test_nothing_is_missing_by_default():
    """A provider without a key needs none."""
    assert WritesSync().missing_key is None


def test_ending_it_asynchronously_ends_it():
    """Where it has nothing on the loop, aclose is close."""
    closed = []

    class Closes(WritesSync):
        def close(self):
            closed.append(threading.current_thread() is threading.main_thread())

    asyncio.run(Closes().aclose())
    assert closed == [True]


def test_closing_what_holds_nothing_does_nothing():
    """Once or twice; it can be asked again."""
    provider = WritesSync()
    provider.close()
    provider.close()
    assert complete(provider) == "hi"


@pytest.mark.parametrize("call", [complete, stream])
def test_synchronous_pair_holds_to_the_timeouts(call, monkeypatch):
    """An asynchronous provider that keeps no time is stopped, also when it is asked synchronously."""

    class Silent(WritesAsync):
        async def acomplete(self, request, /):
            await asyncio.Event().wait()

        async def astream(self, request, /):
            await asyncio.Event().wait()
            yield Chunk()

    hasty = Request("hi", "model", timeouts=Timeouts(first_token=0.02, attempt=0.02))
    monkeypatch.setitem(globals(), "ASK", hasty)

    with pytest.raises(ProviderError) as caught:
        call(Silent())
    assert caught.value.reason == "timeout"
