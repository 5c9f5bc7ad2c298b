"""Keys: where they come from, where they go, and that nothing that comes back shows one."""

from __future__ import annotations

import asyncio
import gzip
import signal
import threading
import traceback
from collections.abc import Callable

import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers import bodies
from llm_failover_nb.providers.exchange import Exchange
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect
from tests.providers.calls import (
    KEY,
    Driver,
    Sync,
    error_of,
    leaks,
    provider,
    request,
    silent,
)
from tests.providers.raw_server import (
    ANSWER,
    Connection,
    RawServer,
    Script,
    answering,
    chunked,
    http,
    once,
    sending,
)


def test_a_missing_key_names_its_variable(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its variable the provider says which one to set, and asks nobody."""
    monkeypatch.delenv("LAB_KEY", raising=False)
    made = provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY")
    error = error_of(lambda: call(made, request()))
    assert (made.missing_key, error.reason, error.kind) == ("LAB_KEY", "no_key", ErrorKind.AUTH_DEAD)
    assert "LAB_KEY is not set" in error.message


@pytest.mark.parametrize("value", ["", "  \n"])
def test_a_blank_key_is_missing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A variable without content is no key."""
    monkeypatch.setenv("LAB_KEY", value)
    assert provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY").missing_key == "LAB_KEY"


def test_nothing_is_missing_where_no_key_is_needed() -> None:
    """A literal key, and a server that wants none, lack nothing."""
    assert provider("http://127.0.0.1:9/v1").missing_key is None
    assert provider("http://127.0.0.1:9/v1", api_key=None).missing_key is None


def test_a_key_that_changes_is_used_at_once(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is read at each call, and blanks around the key are dropped."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, api_key=None, key_env="LAB_KEY")
    for key in ("first-key", " second-key\n"):
        monkeypatch.setenv("LAB_KEY", key)
        driver.complete(made, request())
    made.close()
    assert [seen.headers["authorization"] for seen in server.requests] == [
        "Bearer first-key",
        "Bearer second-key",
    ]


def test_without_a_key_no_header_is_sent(driver: Driver, serve: Callable[[Script], RawServer]) -> None:
    """A server that wants no key gets none."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, api_key=None)
    driver.complete(made, request())
    made.close()
    assert "authorization" not in server.requests[0].headers


def test_a_header_of_the_users_own_wins_over_the_key(serve: Callable[[Script], RawServer]) -> None:
    """Who sets the header himself knows why."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url, headers={"Authorization": "Custom abcdefgh"})
    made.complete(request())
    made.close()
    assert server.requests[0].headers["authorization"] == "Custom abcdefgh"


@pytest.mark.parametrize("key", ["sk-line\nbreak-123", "sk-schlüssel-123"])
def test_a_key_that_no_header_carries_is_named_not_shown(driver: Driver, key: str) -> None:
    """A key with a line break gives an error about the key, without the key."""
    made = provider("http://127.0.0.1:9/v1", api_key=Secret(key))
    error = error_of(lambda: driver.complete(made, request()))
    assert (error.reason, error.kind, key in error.message) == ("credentials", ErrorKind.AUTH_DEAD, False)


def test_no_traceback_shows_a_key_that_no_header_carries(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable key is as secret as any other."""
    monkeypatch.setenv("LAB_KEY", f"{KEY}\nrest")
    made = provider("http://127.0.0.1:9/v1", api_key=None, key_env="LAB_KEY")
    error = error_of(lambda: call(made, request()))
    assert (error.reason, leaks(error)) == ("credentials", False)


def test_a_key_that_goes_away_is_missed(
    driver: Driver, ask: Callable[..., HTTPProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was taken out of the environment is not used any more."""
    made = ask(answering(http(ANSWER)), api_key=None, key_env="LAB_KEY")
    monkeypatch.setenv("LAB_KEY", KEY)
    driver.complete(made, request())
    monkeypatch.delenv("LAB_KEY")
    assert error_of(lambda: driver.complete(made, request())).reason == "no_key"


@pytest.mark.parametrize("key", ["literal", "variable"])
@pytest.mark.parametrize(
    "script",
    [
        once(Connection.reset),
        once(silent),
        answering(http(f'{{"error":{{"message":"Incorrect API key: {KEY}"}}}}'.encode(), "401 No", echo=KEY)),
        answering(http(f'{{"error":"no {KEY}"}}'.encode())),
        answering(http(f"<html>{KEY}".encode())),
        once(sending(chunked(b"data: {\n\n"))),
    ],
    ids=["reset", "silent", "echo in 401", "echo in 200", "echo in garbage", "malformed"],
)
def test_no_traceback_shows_the_key(
    call: Callable[[HTTPProvider, Request], object],
    ask: Callable[..., HTTPProvider],
    monkeypatch: pytest.MonkeyPatch,
    script: Script,
    key: str,
) -> None:
    """Not even one with all local variables, as %xmode Verbose prints it."""
    monkeypatch.setenv("LAB_KEY", KEY)
    options = {"api_key": None, "key_env": "LAB_KEY"} if key == "variable" else {}
    error = error_of(lambda: call(ask(script, **options), request(first_token=0.1, attempt=0.1)))
    assert not leaks(error)


class AzureLike(OpenAIDialect):
    """httpx masks the header of most providers, but not every one's."""

    def auth(self, key: str) -> dict[str, str]:
        return {"api-key": key}


@pytest.mark.parametrize("name", ["acomplete", "astream"])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("own_client", [False, True])
def test_no_traceback_of_a_cancelled_call_shows_the_key(
    serve: Callable[[Script], RawServer], name: str, answered: bool, own_client: bool
) -> None:
    """A cancelled call leaves without the frames in which it waited."""
    arrived = threading.Event()
    steps = [sending(chunked(b": ping\n\n", end=False))] if answered else []
    server = serve(once(*steps, lambda _: arrived.set(), silent))

    async def cancelled() -> BaseException:
        async with httpx.AsyncClient() as client:
            made = HTTPProvider(
                "lab",
                dialect=AzureLike(),
                base_url=server.url,
                api_key=Secret(KEY),
                async_client=client if own_client else None,
            )
            chunks = made.astream(request())
            task = asyncio.ensure_future(made.acomplete(request()) if name == "acomplete" else anext(chunks))
            await asyncio.to_thread(arrived.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            return caught.value

    error = asyncio.run(cancelled())
    assert [each for each in (error, error.__cause__, error.__context__) if each and leaks(each)] == []


def test_a_cancellation_leaves_without_what_came_before_it() -> None:
    """What was being seen to when it struck may hold the key as well."""
    error = asyncio.CancelledError()
    error.__context__ = OSError(KEY)
    with pytest.raises(asyncio.CancelledError) as caught, Exchange("lab.test", request()):
        raise error
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["complete", "stream"])
@pytest.mark.parametrize("answered", [False, True])
def test_no_traceback_of_an_interrupted_call_shows_the_key(
    serve: Callable[[Script], RawServer], name: str, answered: bool
) -> None:
    """Neither does Ctrl-C show where it struck."""

    def interrupt(_: Connection) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    steps = [sending(chunked(b": ping\n\n", end=False))] if answered else []
    made = HTTPProvider(
        "lab",
        dialect=AzureLike(),
        base_url=serve(once(*steps, interrupt, silent)).url,
        api_key=Secret(KEY),
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        Sync().complete(made, request()) if name == "complete" else Sync().stream(made, request())
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert [module for module in frames if module.startswith(("httpx", "httpcore", "h11"))] == []


@pytest.mark.parametrize(
    "response",
    [
        http(f'{{"error":{{"message":"{"x" * 990} {KEY}"}}}}'.encode(), "401 No"),
        http(f"<html><title>{'x' * 190} {KEY}</title>".encode(), "502 Bad"),
        http(f"{'x' * 190} {KEY}".encode()),
    ],
    ids=["message", "title", "garbage"],
)
def test_half_a_key_is_not_shown_either(
    driver: Driver, ask: Callable[..., HTTPProvider], response: bytes
) -> None:
    """A long text is cut after the key in it was masked, not through it."""
    error = error_of(lambda: driver.complete(ask(answering(response)), request()))
    assert KEY[:6] not in error.message


@pytest.mark.parametrize("packing", ["identity", "gzip"])
def test_no_traceback_of_an_oversized_body_shows_the_key(
    call: Callable[[HTTPProvider, Request], object],
    ask: Callable[..., HTTPProvider],
    monkeypatch: pytest.MonkeyPatch,
    packing: str,
) -> None:
    """The frames in which a body was read do not leave with its error."""
    monkeypatch.setattr(bodies, "BODY_LIMIT", 100)
    monkeypatch.setattr(bodies, "STREAM_LIMIT", 100)
    body = KEY.encode() * 20
    made = ask(answering(http(gzip.compress(body) if packing == "gzip" else body, content_encoding=packing)))
    error = error_of(lambda: call(made, request()))
    assert ("over 100 bytes" in error.message, leaks(error)) == (True, False)


def test_the_repr_shows_where_not_with_what() -> None:
    """The repr has the address without user-info and key."""
    made = provider("https://user:secret@llm.test/v1/?api-key=abc")
    assert repr(made) == "HTTPProvider('lab', base_url='https://llm.test/v1')"
