"""The wire of Google's Gemini API, ``generateContent`` and ``streamGenerateContent``: requests, answers.

Pure functions: no I/O, no clock, no environment. Streams come as server-sent events, which is what is asked
for, or as one JSON array, which is what relays that drop the query send. There is no terminal marker: only a
``finishReason`` says that an answer is whole.

Names and limits are those of the API's reference, https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Finish, Request, Response, Usage
from llm_failover_nb.providers.answers import NO_JSON, Json, count, given, not_empty, with_extra, written
from llm_failover_nb.providers.event_stream import Framing, is_event_stream, server_sent
from llm_failover_nb.providers.failures import failure_flat, mended, read_failure
from llm_failover_nb.providers.listing import ModelsPage, ModelsQuery, next_mark, objects_in, usable_names
from llm_failover_nb.providers.ndjson import ArrayDecoder
from llm_failover_nb.providers.parts import Part, PartAnswer
from llm_failover_nb.providers.reader import Reader, Wire, read_whole

__all__ = ["GeminiDialect"]

_MOST_STOPS = 5  # the API refuses more
_LEAST_SEED, _MOST_SEED = -(2**31), 2**31 - 1  # and other seeds
_HOTTEST = 2.0  # "values can range over [0.0, 2.0]"
# The API answers 400, "JSON mode is not enabled for models/gemma-3-27b-it", whichever its size.
_WITHOUT_SCHEMA = re.compile(r"(?:models/)?gemma-3")

_NO_REASON = frozenset({"", "FINISH_REASON_UNSPECIFIED"})

_FILTERS = (
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT "
    "IMAGE_RECITATION".split()
)
# The reference's other reasons (OTHER, MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, …) have no common word.
_WORDS: Mapping[str, Finish] = MappingProxyType(
    {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(_FILTERS, "content_filter")}
)


@dataclass(frozen=True, slots=True)
class GeminiDialect:
    """The Gemini API as its own keys reach it, below ``…/v1beta``."""

    wire: ClassVar[str] = "gemini"

    def auth(self, key: str) -> dict[str, str]:
        """The headers that carry ``key``."""
        return {"x-goog-api-key": key}

    def encode(self, request: Request, *, stream: bool) -> tuple[str, bytes]:
        """The path below the base URL, which names the model, and the body.

        Raises:
            ProviderError: When the request holds what JSON cannot (``request_specific``).
        """
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = with_extra(_body(request), request.extra)
        return f"/{_path(request.model)}:{method}", written(body, request)

    def dropped(self, request: Request) -> tuple[str, ...]:
        """The fields of ``request`` that the API would refuse, and ``encode`` leaves out.

        A temperature not in 0 to 2, more than five stop texts, a seed that 32 bits do not hold, and a schema
        for a Gemma 3.

        >>> GeminiDialect().dropped(Request("hi", temperature=2.5, seed=2**31))
        ('temperature', 'seed')
        """
        return tuple(name for name in given(request) if _refuses(name, request))

    def response(self, body: bytes) -> Response:
        """The answer in the body of a 200; see :func:`.reader.read_whole`."""
        return read_whole(body, _WIRE)

    def reader(self) -> Reader:
        """A reader for the body of one stream."""
        return Reader(_WIRE)

    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        """The error of a response that is not a 2xx; see :func:`.failures.read_failure`."""
        return read_failure(body, status=status, headers=headers)

    def models_query(self, after: str = "") -> ModelsQuery | None:
        """What asks for a page of the list, https://ai.google.dev/api/models: 1,000 names at most."""
        return ModelsQuery("/models?pageSize=1000" + (f"&pageToken={after}" if after else ""))

    def models_page(self, body: bytes) -> ModelsPage:
        """A page of the list, with those alone that answer prompts; see :func:`.listing.objects_in`."""
        page, models = objects_in(body, "models")
        names = (model.get("name") for model in models if _generates(model))
        bare = (name.removeprefix("models/") for name in names if isinstance(name, str))
        return ModelsPage(usable_names(bare), next_mark(page.get("nextPageToken")))


# Requests


def _path(model: str) -> str:
    """The resource of a model; a tuned one is named with its own collection, ``tunedModels/NAME``."""
    collection, slash, name = model.partition("/")
    if not slash or collection not in ("models", "tunedModels"):
        collection, name = "models", model
    return f"{collection}/{quote(name, safe='', errors='replace')}"


def _generates(model: Json) -> bool:
    """Whether a model in the list is one to ask, and not one for embeddings or images."""
    methods = model.get("supportedGenerationMethods")
    return isinstance(methods, list) and "generateContent" in methods


def _refuses(name: str, request: Request) -> bool:
    """Whether the API answers a field of ``request`` with an error."""
    temperature, seed = request.temperature, request.seed
    match name:
        case "temperature":
            return temperature is not None and (temperature < 0 or temperature > _HOTTEST)
        case "stop":
            return len(request.stop) > _MOST_STOPS
        case "seed":
            return seed is not None and not _LEAST_SEED <= seed <= _MOST_SEED
        case "schema":
            return _WITHOUT_SCHEMA.match(request.model) is not None
    return False


def _body(request: Request) -> dict[str, object]:
    turns = [turn for turn in request.messages if turn.role != "system"]
    # The API has no system turns: they belong to the instruction, wherever they stood.
    system = [] if request.system is None else [request.system]
    system += [turn.content for turn in request.messages if turn.role == "system"]
    body: dict[str, object] = {
        "contents": [
            {"role": "model" if turn.role == "assistant" else "user", "parts": [{"text": turn.content}]}
            for turn in turns
        ]
    }
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if config := _config(request, [name for name in given(request) if not _refuses(name, request)]):
        body["generationConfig"] = config
    return body


def _config(request: Request, sent: Sequence[str]) -> dict[str, object]:
    config: dict[str, object] = {}
    if "temperature" in sent:
        config["temperature"] = request.temperature
    if "max_tokens" in sent:
        config["maxOutputTokens"] = request.max_tokens
    if "stop" in sent:
        config["stopSequences"] = request.stop
    if "seed" in sent:
        config["seed"] = request.seed
    if "schema" in sent:
        config["responseMimeType"] = "application/json"
        # The other member, responseSchema, takes a subset of OpenAPI's schemas only.
        config["responseJsonSchema"] = request.schema
    return config


# Answers


def _framing(first: bytes) -> Framing | None:
    return ArrayDecoder() if first == b"[" else server_sent(first)


def _is_stream(text: str) -> bool:
    return text.startswith("[") or is_event_stream(text)


def _part(message: Json, text: str) -> Part | None:
    candidate = _first_candidate(message.get("candidates"))
    _refuse_blocked(message.get("promptFeedback"), text)
    usage = message.get("usageMetadata")
    if candidate is None and not isinstance(usage, dict):
        if failure := failure_flat(message, text):
            raise failure
        return None
    candidate = candidate or NO_JSON
    finish = candidate.get("finishReason")
    return Part(
        content=tuple(_content(candidate.get("content"))),
        finish=finish if isinstance(finish, str) and finish not in _NO_REASON else None,
        usage=_usage(usage) if isinstance(usage, dict) else None,
    )


def _first_candidate(candidates: object) -> Json | None:
    """The candidate with index 0; others are alternatives that nobody asked for."""
    if not isinstance(candidates, list):
        return None
    return next((one for one in candidates if isinstance(one, dict) and not one.get("index")), None)


def _refuse_blocked(feedback: object, text: str) -> None:
    why = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if why and isinstance(why, str):
        raise ProviderError(
            f"the provider's content filter refused the prompt ({mended(why)}); rephrase it, or ask another "
            "model",
            kind=ErrorKind.REQUEST_SPECIFIC,
            reason="content_filter",
            code=mended(why),
            body=mended(text),
        )


def _content(content: object) -> Iterator[Chunk]:
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else ():
        match part:
            case {"functionCall": dict()}:
                yield Chunk(kind="tool", tool=part)  # whole: its signature has to go back with it
            case {"text": str(text)} if text:
                yield Chunk(text, "reasoning" if part.get("thought") else "text")


def _usage(raw: object) -> Usage:
    return Usage(
        input_tokens=count(raw, "promptTokenCount"),
        output_tokens=count(raw, "candidatesTokenCount"),
        cached_tokens=count(raw, "cachedContentTokenCount"),
        reasoning_tokens=count(raw, "thoughtsTokenCount"),
    )


def _judged(response: Response) -> Response:
    said = response.text or response.tool_calls or response.reasoning
    if response.finish_reason == "MAX_TOKENS" and not said:
        raise ProviderError(
            "max_tokens was used up before the first word of the answer (MAX_TOKENS), as happens with "
            "models that think unseen; raise max_tokens",
            kind=ErrorKind.REQUEST_SPECIFIC,
            reason="bad_request",
            code=response.finish_reason,
        )
    return not_empty(response)


_WIRE = Wire(
    answer=partial(PartAnswer, _part, _WORDS, _judged),
    missing="a finish reason",
    framing=_framing,
    is_stream=_is_stream,
)
