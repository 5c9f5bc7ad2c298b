"""Keys: where they come from, where they go, and that nothing that comes back shows one."""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import json
import logging
import pickle
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest

from llm_failover_nb import (
    AllModelsFailed,
    BenchRegistry,
    EventLog,
    FailoverError,
    FailoverEvent,
    Registry,
    StreamInterrupted,
    parse_chain,
)
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import MASK, Secret
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers import bodies
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.dialect import Dialect
from llm_failover_nb.providers.exchange import Exchange
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect
from tests.providers.calls import (
    CALLS,
    KEY,
    Driver,
    Path,
    Sync,
    asked_of,
    betrays,
    error_of,
    leaks,
    provider,
    request,
    silent,
    text_of,
)
from tests.providers.raw_server import (
    ANSWER,
    Connection,
    RawServer,
    Script,
    answering,
    chunked,
    event,
    http,
    once,
    sending,
    streamed,
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


def test_half_a_key_is_not_kept_either(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """The error keeps the first MiB of a body, and what it is cut through may be a key."""
    page = f"{'x' * (1024 * 1024 - 10)}{KEY}{'y' * 100_000}"
    error = error_of(lambda: driver.complete(ask(answering(http(page.encode()))), request()))
    assert (KEY[:6] in error.body, 1024 * 1024 - 100 < len(error.body) < 1024 * 1024 + 100) == (False, True)


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


# A provider that sends the key back: wherever it stands, however it is written, over every wire

ECHOED = "sk-canary/0123+456=789"


@dataclass(frozen=True)
class Wire:
    """How one wire writes the beginning of an answer, and an error after it."""

    dialect: Dialect
    begin: bytes
    error: str


WIRES = {
    "openai": Wire(OpenAIDialect(), event("a"), 'data: {"error": {"message": "no <key>!"}}\n\n'),
    "anthropic": Wire(
        AnthropicDialect(),
        b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}\n\n',
        'event: error\ndata: {"type": "error", "error": {"type": "api_error", "message": "no <key>!"}}\n\n',
    ),
    "gemini": Wire(
        GeminiDialect(),
        b'data: {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}\n\n',
        'data: {"error": {"code": 500, "message": "no <key>!"}}\n\n',
    ),
    "ollama": Wire(OllamaDialect(), b'{"message": {"content": "a"}}\n', '{"error": "no <key>!"}\n'),
}


def _escaped(key: str) -> str:
    return json.dumps(key)[1:-1]


def _base64(key: str, before: str) -> str:
    return base64.b64encode(f"{before}{key}!".encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "escaped slashes": lambda key: key.replace("/", "\\/"),
    "\\u00xx": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "\\u00XX": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "some \\u00XX": lambda key: key.replace("+", "\\u002B").replace("=", "\\u003d"),
    "JSON in JSON": lambda key: _escaped(_escaped(json.dumps({"k": key.replace("/", "\\/")}))),
    "%XX": lambda key: quote(key, safe=""),
    "%xx": lambda key: re.sub("%..", lambda match: match[0].lower(), quote(key, safe="")),
    "all %xx": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "%25XX": lambda key: quote(quote(key, safe="")),
    "&#x;": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
    "hexadecimal": lambda key: key.encode().hex(),
    "base64 0": lambda key: _base64(key, ""),
    "base64 1": lambda key: _base64(key, "u"),
    "base64 2": lambda key: _base64(key, "u:").rstrip("="),
    "base64 for URLs": lambda key: _base64(key, "u").replace("+", "-").replace("/", "_"),
    "base64, escaped": lambda key: quote(_base64(key, ""), safe="").replace("/", "\\/"),
}


def echoing(template: Callable[[str], bytes], form: str = "plain") -> Script:
    """Answer with what ``template`` makes of the key that came, in that form."""

    def script(connection: Connection) -> None:
        while (received := connection.request()) is not None:
            names = ("authorization", "x-api-key", "x-goog-api-key")
            key = next(received.headers[name] for name in names if name in received.headers)
            connection.send(template(FORMS[form](key.removeprefix("Bearer "))))
            if not template(ECHOED).startswith(b"HTTP/1.1 4"):
                return

    return script


def refusal(key: str, **headers: str) -> bytes:
    return http(f'{{"error": {{"message": "the key {key} is wrong"}}}}'.encode(), "401 No", **headers)


PLACES: dict[str, Callable[[Wire, str], bytes]] = {
    "a header": lambda wire, key: refusal("", www_authenticate=f"Bearer {key}", x_key=key),
    "the code": lambda wire, key: http(
        f'{{"error": {{"message": "no", "code": "{key}"}}}}'.encode(), "401 No"
    ),
    "a page": lambda wire, key: http(f"<html><title>no {key}</title>{key}".encode(), "403 No"),
    "a redirect": lambda wire, key: http(b"", "307 Go", location=f"https://{key}.test/?key={key}"),
    "a 200": lambda wire, key: http(f'{{"error": {{"message": "no {key}", "x": "{key}"}}}}'.encode()),
    "garbage": lambda wire, key: http(f"no {key}".encode()),
    "half of garbage": lambda wire, key: http(f"{'x' * 190} {key}".encode()),
    "amid a stream": lambda wire, key: chunked(wire.begin, wire.error.replace("<key>", key).encode()),
    "a broken event": lambda wire, key: chunked(wire.begin, f"data: {{{key}\n\n{{{key}\n".encode()),
    "a status line": lambda wire, key: f"HTTP/1.1 {key}\r\n\r\n".encode(),
    "a bad header": lambda wire, key: f"HTTP/1.1 401 No\r\nx {key}\r\n\r\n".encode(),
    "a long header": lambda wire, key: f"HTTP/1.1 401 No\r\nx-a: {'a' * 84}{key}{'a' * 200_000}".encode(),
    "a chunk's size": lambda wire, key: CHUNKS + f"{key}\r\n".encode(),
    "a long extension": lambda wire, key: CHUNKS + f"5;{'a' * 88}{key}{'a' * 200_000}".encode(),
    "a packing": lambda wire, key: http(b"x", content_encoding=f"gzip, {key}"),
}
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Witness:
    """Sees all that is told of one call through a chain."""

    def __init__(self, made: HTTPProvider) -> None:
        registry = Registry()
        registry.register("lab", made)
        self.events: list[FailoverEvent] = []
        self.log = EventLog()
        self.chain = parse_chain(
            "lab/m", registry=registry, benches=BenchRegistry(), log=self.log, observer=self.events.append,
            max_retries=1, attempt_timeout=5, first_token_timeout=5,
        )  # fmt: skip

    def error_of(self, name: str) -> FailoverError:
        with pytest.raises(FailoverError) as caught:
            asked_of(self.chain, name)
        return caught.value

    def told(self, error: FailoverError, records: list[logging.LogRecord]) -> dict[str, str]:
        """All of it as text, by where it stands."""
        return {
            "events": "".join(f"{each!r} {each.error} {vars(each.error)}" for each in self.events),
            "rows": repr(list(self.log)),
            "logs": "".join(f"{record.getMessage()} {vars(record)}" for record in records),
            **{
                f"{where} of {type(each).__name__}": text
                for each in group(error)
                for where, text in views(each)
            },
        }


def group(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that it holds."""
    yield error
    if error.__cause__ is not None:
        yield from group(error.__cause__)
    for each in getattr(error, "exceptions", ()):
        yield from group(each)


def views(error: BaseException) -> Iterator[tuple[str, str]]:
    """How one error can be looked at."""
    copied = copy.deepcopy(error)
    yield "str", str(error)
    yield "repr", repr(error)
    yield "attributes", f"{vars(error)} {dict(getattr(error, 'headers', {}))}"
    yield "notes", repr(getattr(error, "__notes__", None))
    yield "traceback", "".join(traceback.format_exception(error))
    yield "locals", "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    yield "pickle", pickle.dumps(error).decode("latin-1")
    yield "copy", f"{copied!r} {vars(copied)}"


@pytest.fixture
def ask_wire(serve: Callable[[Script], RawServer]) -> Iterator[Callable[..., Witness]]:
    """A witness of calls to a server that runs a script, over a wire."""
    made: list[HTTPProvider] = []

    def ask(script: Script, wire: str) -> Witness:
        made.append(provider(serve(script).url, dialect=WIRES[wire].dialect, api_key=Secret(ECHOED)))
        return Witness(made[-1])

    yield ask
    for each in made:
        each.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", CALLS)
def test_no_form_of_the_key_comes_back(
    ask_wire: Callable[..., Witness], caplog: pytest.LogCaptureFixture, name: str, wire: str, form: str
) -> None:
    """Neither in an error nor in anything that is told of it, the libraries' own logs included."""
    caplog.set_level(logging.DEBUG)
    witness = ask_wire(echoing(refusal, form), wire)
    told = witness.told(witness.error_of(name), caplog.records)
    assert [where for where, text in told.items() if betrays(text)] == []
    assert "401" in told["rows"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", CALLS)
def test_the_key_comes_back_from_nowhere(
    ask_wire: Callable[..., Witness], caplog: pytest.LogCaptureFixture, name: str, wire: str, place: str
) -> None:
    """Wherever in a response it stands, and also where a library has cut it in half."""
    caplog.set_level(logging.DEBUG)
    witness = ask_wire(echoing(lambda key: PLACES[place](WIRES[wire], key)), wire)
    told = witness.told(witness.error_of(name), caplog.records)
    assert [where for where, text in told.items() if betrays(text)] == []


def test_the_eyes_of_these_tests_see() -> None:
    """What they look for they would find, in each of its forms."""
    assert [form for form, write in FORMS.items() if not betrays(f"x {write(ECHOED)} y")] == []
    assert not betrays(f"x {MASK} sk-…789 y")


def test_an_answer_is_left_as_it_is(driver: Driver, ask: Callable[..., HTTPProvider]) -> None:
    """Its words are the model's, whatever they are."""
    body = json.dumps({"choices": [{"message": {"content": KEY}, "finish_reason": "stop"}]}).encode()
    made = ask(answering(http(body)))
    assert (driver.complete(made, request()).text, text_of(driver.stream(made, request()))) == (KEY, KEY)


def test_a_key_that_was_changed_is_masked_in_both_its_values(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may still know the last one."""
    seen: list[str] = []

    def both(connection: Connection) -> None:
        while (received := connection.request()) is not None:
            seen.append(received.headers["authorization"])
            connection.send(refusal(" and ".join(seen)))

    made = provider(serve(both).url, api_key=None, key_env="LAB_KEY")
    errors = []
    for key in ("sk-canary-the-first", "sk-canary-the-second"):
        monkeypatch.setenv("LAB_KEY", key)
        errors.append(error_of(lambda: driver.complete(made, request())))
    made.close()
    assert [error.message for error in errors] == [
        f"the key Bearer {MASK} is wrong",
        f"the key Bearer {MASK} and Bearer {MASK} is wrong",
    ]


def test_a_key_in_a_query_is_a_key(
    path: Path, serve: Callable[[Script], RawServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Some gateways want it there; no error, log or repr shows it."""
    caplog.set_level(logging.DEBUG)
    server = serve(once(sending(http(ANSWER)[:-5])))
    url = f"{server.url}?key={quote(ECHOED, safe='')}"
    error = error_of(lambda: path(url, request(), api_key=None))
    logs = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    told = (str(error), repr(vars(error)), repr(provider(url)), logs)
    assert [text for text in told if betrays(text)] == []
    assert "canary" in server.requests[0].line


BROKEN: dict[str, Script] = {
    "reset": once(Connection.reset),
    "silent": once(silent),
    "refused": echoing(refusal),
    "a bad chunk": once(sending(CHUNKS + b"zz")),
    "no HTTP": once(sending(b"SSH-2.0-OpenSSH\r\n\r\n")),
    "cut": once(sending(http(ANSWER)[:-5])),
}


@pytest.mark.parametrize("what", BROKEN)
def test_no_traceback_shows_the_key_over_any_connection(
    path: Path, serve: Callable[[Script], RawServer], what: str
) -> None:
    """Over a client of the user's own neither, and whatever the libraries keep in their errors."""
    server = serve(BROKEN[what])
    error = error_of(lambda: path(server.url, request(first_token=0.3, attempt=0.3)))
    assert not leaks(error)


@pytest.mark.parametrize("own_client", [False, True])
def test_a_long_body_is_kept_in_part(serve: Callable[[Script], RawServer], own_client: bool) -> None:
    """A megabyte says enough, and does not end amid a key."""
    body = "x" * ((1 << 20) - 100) + KEY * 2000
    server = serve(answering(http(body.encode())))
    error = error_of(lambda: Path("complete", own_client)(server.url, request()))
    assert (len(error.body) <= 1 << 20, betrays(error.body[-100:])) == (True, False)


# Errors on their way to another process


@pytest.mark.parametrize("name", CALLS)
def test_errors_travel(ask_wire: Callable[..., Witness], name: str) -> None:
    """Dask and multiprocessing pickle them: all that they say arrives, the headers whatever their case."""
    refused = http(b'{"error":{"message":"why","code":"c"}}', "429 Slow", Retry_After="7")
    error = ask_wire(answering(refused), "openai").error_of(name)
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (AllModelsFailed, str(error), vars(error))
    ((cause,), (known,)) = back.exceptions, error.exceptions
    assert (type(cause), vars(cause)) == (ProviderError, vars(known))
    assert (cause.headers["RETRY-AFTER"], cause.status, cause.kind) == ("7", 429, ErrorKind.TRANSIENT)


@pytest.mark.parametrize("name", ["stream", "astream"])
def test_an_interrupted_stream_travels(ask_wire: Callable[..., Witness], name: str) -> None:
    """With the text that there was."""
    error = ask_wire(once(sending(streamed(event("a")))), "openai").error_of(name)
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (StreamInterrupted, str(error), vars(error))
    assert back.text == "a"
