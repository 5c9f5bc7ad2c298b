"""The wire of Ollama's own API, ``/api/chat``: requests to bytes, lines of JSON to answers.

Pure functions: no I/O, no clock, no environment. Answers of ``/api/generate`` are read too, for relays that
answer with them. Ollama's other API, below ``/v1``, speaks the openai wire.

Names are those of the API's reference, https://docs.ollama.com/api/chat. ``OLLAMA_HOST`` is not read: the
server binds to what it says, which is often no address to call. A server elsewhere is
``register_provider(name, wire="ollama", base_url=…)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from llm_failover_nb.engine.types import Chunk, Finish, Request, Response, Usage
from llm_failover_nb.providers.answers import Json, count, not_empty, with_extra, written
from llm_failover_nb.providers.failures import failure_flat, read_failure
from llm_failover_nb.providers.listing import ModelsPage, ModelsQuery, objects_in, usable_names
from llm_failover_nb.providers.ndjson import LineDecoder
from llm_failover_nb.providers.parts import Part, PartAnswer
from llm_failover_nb.providers.reader import Reader, Wire, read_whole

if TYPE_CHECKING:
    from llm_failover_nb.engine.errors import ProviderError
    from llm_failover_nb.providers.event_stream import Framing

__all__ = ["OllamaDialect"]

# Reasons to be done that explain why nothing was said: a limit, and a request without messages, which only
# loads the model or lets it go.
_MAY_BE_EMPTY = frozenset({"length", "load", "unload"})

_WORDS: Mapping[str, Finish] = MappingProxyType({"stop": "stop", "length": "length"})


@dataclass(frozen=True, slots=True)
class OllamaDialect:
    """Ollama's API, as it listens below its root. A key is wanted by its cloud alone."""

    wire: ClassVar[str] = "ollama"

    def auth(self, key: str) -> dict[str, str]:
        """The headers that carry ``key``."""
        return {"authorization": f"Bearer {key}"}

    def encode(self, request: Request, *, stream: bool) -> tuple[str, bytes]:
        """The path below the base URL, and the body.

        Raises:
            ProviderError: When the request holds what JSON cannot (``request_specific``).
        """
        body = with_extra(_body(request), request.extra)
        # After extra, which may change what is asked for but not how the answer is read.
        body["stream"] = stream
        return "/api/chat", written(body, request)

    def dropped(self, request: Request) -> tuple[str, ...]:  # noqa: ARG002  # the wire takes them all
        """The fields of ``request`` that the wire cannot take, and ``encode`` leaves out: none.

        What a model has no use for, the server passes over.
        """
        return ()

    def response(self, body: bytes) -> Response:
        """The answer in the body of a 200; see :func:`.reader.read_whole`."""
        return read_whole(body, _WIRE)

    def reader(self) -> Reader:
        """A reader for the body of one stream."""
        return Reader(_WIRE)

    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        """The error of a response that is not a 2xx; see :func:`.failures.read_failure`."""
        return read_failure(body, status=status, headers=headers)

    def models_query(self, after: str = "") -> ModelsQuery | None:  # noqa: ARG002  # it has one page
        """What asks for the models that are on the server, https://docs.ollama.com/api/tags."""
        return ModelsQuery("/api/tags")

    def models_page(self, body: bytes) -> ModelsPage:
        """All of the list; see :func:`.listing.objects_in`."""
        _, models = objects_in(body, "models")
        return ModelsPage(usable_names(model.get("model") or model.get("name") for model in models))


# Requests


def _body(request: Request) -> dict[str, object]:
    messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, object] = {"model": request.model, "messages": messages}
    if options := _options(request):
        body["options"] = options
    if request.schema is not None:
        body["format"] = request.schema
    return body


def _options(request: Request) -> dict[str, object]:
    options: dict[str, object] = {}
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop:
        options["stop"] = request.stop
    if request.seed is not None:
        options["seed"] = request.seed
    return options


# Answers


def _framing(first: bytes) -> Framing | None:
    return LineDecoder() if first == b"{" else None


def _is_stream(text: str) -> bool:
    return text.startswith("{") and "\n" in text


def _is_part(message: Json) -> bool:
    return message.get("done") is False


def _part(message: Json, text: str) -> Part | None:
    done = message.get("done") is True
    said = message.get("message")
    if not (isinstance(said, dict) or isinstance(message.get("response"), str) or done):
        if failure := failure_flat(message, text):
            raise failure
        return None
    finish = message.get("done_reason")
    return Part(
        content=tuple(_content(said if isinstance(said, dict) else message)),
        finish=finish if done and isinstance(finish, str) and finish else None,
        usage=_usage(message) if done else None,
        last=done,
    )


def _content(said: Json) -> Iterator[Chunk]:
    """What a message or an answer of ``/api/generate`` says, in the order in which it is meant to be read."""
    match said:
        case {"thinking": str(thought)} if thought:
            yield Chunk(thought, "reasoning")
    match said:
        case {"content": str(text)} | {"response": str(text)} if text:
            yield Chunk(text)
    match said:
        case {"tool_calls": list(calls)}:
            yield from (Chunk(kind="tool", tool=call) for call in calls if isinstance(call, dict))


def _usage(message: Json) -> Usage:
    # A prompt that was cached is not counted by older servers: unknown, not 0.
    return Usage(input_tokens=count(message, "prompt_eval_count"), output_tokens=count(message, "eval_count"))


def _judged(response: Response) -> Response:
    return not_empty(response, explains=_MAY_BE_EMPTY)


_WIRE = Wire(
    answer=partial(PartAnswer, _part, _WORDS, _judged),
    missing='its last line, "done": true',
    framing=_framing,
    is_stream=_is_stream,
    is_part=_is_part,
)
