"""A provider's own list of its models: how it is asked for, what of it can be used, what it may cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk, Request, Response
from llm_failover_nb.providers import local, weights
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import Dialect, HTTPProvider
from llm_failover_nb.providers.listing import LIST_LIMIT, MOST_NAMES, MOST_PAGES, usable_names
from llm_failover_nb.providers.local import LocalProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect
from llm_failover_nb.providers.presets import PRESETS, WIRES, endpoint, make
from llm_failover_nb.providers.script import parse_script
from llm_failover_nb.providers.sim import SimProvider
from llm_failover_nb.settings import SETTINGS_VARIABLE
from llm_failover_nb.testing import FaultServer
from tests.providers.raw_server import Connection, RawServer, Script, answering, chunked, http

KEY = "sk-canary-of-the-model-lists"


@pytest.fixture
def served(serve: Callable[[Script], RawServer]) -> Iterator[Callable[..., tuple[HTTPProvider, RawServer]]]:
    """A provider with a key, and the server that answers it with these responses."""
    made: list[HTTPProvider] = []

    def start(
        *responses: bytes, dialect: Dialect | None = None, script: Script | None = None
    ) -> tuple[HTTPProvider, RawServer]:
        server = serve(answering(*responses) if script is None else script)
        provider = HTTPProvider(
            "lab", dialect=OpenAIDialect() if dialect is None else dialect, base_url=server.url, api_key=KEY
        )
        made.append(provider)
        return provider, server

    yield start
    for provider in made:
        provider.close()


def page(**members: object) -> bytes:
    return http(json.dumps(members).encode())


# What is asked


@pytest.mark.parametrize(
    ("dialect", "first", "second"),
    [
        (OpenAIDialect(), "/models", "/models"),
        (AnthropicDialect(), "/v1/models?limit=1000", "/v1/models?limit=1000&after_id=a%2Fb"),
        (GeminiDialect(), "/models?pageSize=1000", "/models?pageSize=1000&pageToken=a%2Fb"),
        (OllamaDialect(), "/api/tags", "/api/tags"),
    ],
)
def test_each_wire_has_a_path_and_perhaps_pages(dialect: Dialect, first: str, second: str) -> None:
    """The query of the next page carries what the page before has given."""
    queries = [dialect.models_query(), dialect.models_query("a%2Fb")]
    assert [query.path for query in queries if query is not None] == [first, second]


@pytest.mark.parametrize(
    ("dialect", "body", "names", "after"),
    [
        (OpenAIDialect(), {"data": [{"id": "a"}, {"id": "b/c"}]}, ("a", "b/c"), ""),
        (OpenAIDialect(), [{"id": "a", "type": "chat"}, {"id": "b", "type": "rerank"}], ("a",), ""),
        (OpenAIDialect(), {"data": [{"id": "a", "supports_chat": False}]}, (), ""),
        (OpenAIDialect(), {"data": [{"id": "a", "capabilities": {"completion_chat": False}}]}, (), ""),
        (AnthropicDialect(), {"data": [{"id": "a"}], "has_more": True, "last_id": "a/b"}, ("a",), "a%2Fb"),
        (AnthropicDialect(), {"data": [{"id": "a"}], "has_more": False, "last_id": "a"}, ("a",), ""),
        (
            GeminiDialect(),
            {
                "models": [
                    {"name": "models/a", "supportedGenerationMethods": ["generateContent"]},
                    {"name": "models/b", "supportedGenerationMethods": ["embedContent"]},
                    {"name": "models/c"},
                ],
                "nextPageToken": "t",
            },
            ("a",),
            "t",
        ),
        (OllamaDialect(), {"models": [{"name": "n", "model": "m:1b"}, {"name": "n"}]}, ("m:1b", "n"), ""),
    ],
)
def test_a_page_gives_the_names_of_models_to_ask(
    dialect: Dialect, body: object, names: tuple[str, ...], after: str
) -> None:
    """Names as a request gives them; what is said to be for other uses is left out."""
    read = dialect.models_page(json.dumps(body).encode())
    assert (read.names, read.after) == (names, after)


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"data"',
        b'{"data": {}, "models": {}}',
        b'{"data": [[], 7, null, {"id": {}}], "models": [[], {"name": 7, "model": {}}]}',
        b'{"data": [{}], "has_more": true, "last_id": 7, "models": [], "nextPageToken": []}',
        b'{"models": [{"name": {}, "supportedGenerationMethods": ["generateContent"]}]}',
        b'{"data": [], "has_more": true, "last_id": "' + b"x" * 5_000 + b'"}',
    ],
)
def test_a_page_of_another_shape_gives_nothing(wire: str, body: bytes) -> None:
    """Whatever JSON a server sends, it is no error."""
    read = WIRES[wire].models_page(body)
    assert (read.names, read.after) == ((), "")


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xfe", b"[" * 200_000, b'{"data": ', b"9" * 10_000], ids=range(6)
)
def test_what_is_no_json_is_a_provider_error(wire: str, body: bytes) -> None:
    """And nothing else, however deep or long it is."""
    with pytest.raises(ProviderError) as caught:
        WIRES[wire].models_page(body)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a\tb",
        "a,b",
        "a'b",
        'a"b',
        "a`b",
        "a\\b",
        "a\x00",
        "a\u202eb",
        "a\u200bb",
        "x" * 201,
        7,
        None,
    ],
)
def test_a_name_that_could_not_stand_in_a_chain_is_left_out(name: object) -> None:
    """Blanks, commas and quotes would end it; what cannot be seen would deceive."""
    assert usable_names([name, "good"]) == ("good",)


def test_a_key_that_comes_back_as_a_name_is_left_out() -> None:
    """A list of completions shows no key."""
    secret = Secret("sk-canary-that-came-back")
    assert usable_names([secret.reveal(), "x-" + secret.reveal(), "good"]) == ("good",)


def test_names_are_bounded_in_number() -> None:
    """A list without an end has one."""

    def endless() -> Iterator[object]:
        number = 0
        while True:
            yield f"m{number}"
            number += 1

    assert len(usable_names(endless())) == MOST_NAMES


# Who is asked


@pytest.mark.parametrize("wire", ["anthropic", "gemini", "ollama", "openai"])
def test_a_server_of_each_wire_is_asked_over_a_socket(wire: str) -> None:
    """The names come as they can be asked."""
    with FaultServer(key=KEY) as server:
        provider = endpoint("lab", wire=wire, base_url=server.base_url(wire), api_key=KEY)
        assert provider.models() == ("echo", "503x2+echo", "429:5", "silent", "cut:40")
        provider.close()
        carried = server.requests[0].headers
    assert KEY in str([carried.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")])


def test_all_pages_are_asked_for(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """Each with what the one before gave."""
    provider, server = served(
        page(data=[{"id": "a"}], has_more=True, last_id="a"),
        page(data=[{"id": "b"}], has_more=False),
        dialect=AnthropicDialect(),
    )
    assert provider.models() == ("a", "b")
    assert [asked.line for asked in server.requests] == [
        "GET /v1/v1/models?limit=1000 HTTP/1.1",
        "GET /v1/v1/models?limit=1000&after_id=a HTTP/1.1",
    ]


def test_pages_without_an_end_have_one(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """A server that always knows one more is left."""
    provider, server = served(
        page(data=[{"id": "a"}], has_more=True, last_id="a"), dialect=AnthropicDialect()
    )
    assert provider.models() == ("a",)
    assert len(server.requests) == MOST_PAGES


def test_a_list_at_the_root_of_the_host_is_asked_there(
    served: Callable[..., tuple[HTTPProvider, RawServer]],
) -> None:
    """GitHub's is not below its base URL."""
    provider, server = served(http(b'[{"id": "openai/gpt-x"}]'), dialect=PRESETS["github"].dialect)
    assert provider.models() == ("openai/gpt-x",)
    assert server.requests[0].line == "GET /catalog/models HTTP/1.1"


@pytest.mark.parametrize("name", ["azure", "perplexity"])
def test_a_preset_whose_list_is_of_other_things_is_not_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, so nothing fails."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
    assert make(name).models() == ()


def test_openais_models_for_other_uses_are_left_out() -> None:
    """Its list tells of none what it is for."""
    others = ["text-embedding-3-small", "whisper-1", "tts-1", "dall-e-3", "gpt-4o-mini-tts", "gpt-realtime"]
    body = json.dumps({"data": [{"id": name} for name in [*others, "gpt-5", "gpt-4o-mini", "o3"]]}).encode()
    assert PRESETS["openai"].dialect.models_page(body).names == ("gpt-5", "gpt-4o-mini", "o3")


# What it may cost


def test_without_a_key_nothing_is_sent(
    serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which variable to set."""
    monkeypatch.delenv("LAB_KEY", raising=False)
    server = serve(answering(page(data=[])))
    provider = endpoint("lab", base_url=server.url, key_env="LAB_KEY")
    with pytest.raises(ProviderError, match="LAB_KEY") as caught:
        provider.models()
    assert (caught.value.reason, server.connections) == ("no_key", 0)


def test_a_redirect_is_not_followed(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """The key would go with it."""
    other, elsewhere = served(page(data=[]))
    provider, _ = served(http(b"", "302 Found", location=f"{elsewhere.url}/models"))
    with pytest.raises(ProviderError, match="redirects are not followed"):
        provider.models()
    assert elsewhere.connections == 0
    assert other.models() == ()


def test_a_refusal_is_a_provider_error_without_the_key(
    served: Callable[..., tuple[HTTPProvider, RawServer]],
) -> None:
    """With the status; a key that was sent back is masked."""
    provider, _ = served(http(f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode(), "401 Unauthorized"))
    with pytest.raises(ProviderError) as caught:
        provider.models()
    assert caught.value.status == 401
    assert KEY not in f"{caught.value} {caught.value.body}"


def test_silence_ends_with_the_time_limit(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """And the connection with it."""

    def silent(connection: Connection) -> None:
        connection.request()
        connection.hold()

    provider, server = served(script=silent)
    with pytest.raises(ProviderError) as caught:
        provider.models(timeout=0.1)
    assert caught.value.reason == "timeout"
    assert server.hung_up.wait(5)


def test_pages_share_the_time_limit(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """A server that is always nearly too late does not get the limit anew for each page."""

    def slow(connection: Connection) -> None:
        while connection.request() is not None:
            connection.trickle(page(data=[], has_more=True, last_id="a"), pause=0.001)

    provider, server = served(script=slow, dialect=AnthropicDialect())
    with pytest.raises(ProviderError, match="within") as caught:
        provider.models(timeout=0.15)
    assert caught.value.reason == "timeout"
    assert len(server.requests) < MOST_PAGES


def test_a_list_that_is_too_long_is_not_kept(served: Callable[..., tuple[HTTPProvider, RawServer]]) -> None:
    """What is over the limit is no list of models."""
    provider, _ = served(chunked(*[b" " * 1024 * 1024] * (LIST_LIMIT // 1024 // 1024 + 1)))
    with pytest.raises(ProviderError, match=f"over {LIST_LIMIT} bytes"):
        provider.models()


# In process


def test_sim_lists_scripts_that_can_be_read() -> None:
    """Each is a model that can be asked."""
    names = SimProvider().models()
    assert usable_names(names) == names
    assert [str(parse_script(name)) for name in names]


def test_local_lists_what_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded model first, then those of the settings whose files are here."""
    for name in ("weights.gguf", "here.gguf"):
        (tmp_path / name).touch()
    settings = tmp_path / "settings.toml"
    settings.write_text('[local.models]\nhere = "here.gguf"\ngone = "gone.gguf"\n')
    monkeypatch.setenv(SETTINGS_VARIABLE, str(settings))
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(tmp_path / "weights.gguf"))
    monkeypatch.setattr(local, "extra_installed", lambda: True)
    assert LocalProvider().models() == ("smollm2", "here")


def test_local_lists_nothing_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be asked is not offered."""
    monkeypatch.setattr(local, "extra_installed", lambda: False)
    assert LocalProvider().models() == ()


def test_a_provider_that_says_nothing_lists_nothing() -> None:
    """As most people's own do."""

    class Plain(BaseProvider):
        def complete(self, request: Request, /) -> Response:
            return Response("ok")

        def stream(self, request: Request, /) -> Iterator[Chunk]:
            yield Chunk("ok")

    assert Plain().models() == ()
