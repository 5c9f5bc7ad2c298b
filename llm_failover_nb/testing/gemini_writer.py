"""The gemini wire, written: generateContent and its stream, as the fault server answers them. No I/O.

The stream comes as server-sent events where ``alt=sse`` asks for them, else as one JSON array. Names, states
and texts of errors are those of the Gemini API, v1beta.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from llm_failover_nb.providers.sim import PREFILL_REFUSED, phrase
from llm_failover_nb.testing.writer import EXAMPLES, JSON, Asked, Refusal, Wire, event, packed, turns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = ["GEMINI", "GeminiWriter"]

_PATH = re.compile(r"/v1beta/(?:models|tunedModels)/(.+):(generateContent|streamGenerateContent)")
_EVENTS = {"content-type": "text/event-stream"}
_BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
_BAD = (400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
_OVERLOADED = (503, "UNAVAILABLE", "The model is overloaded. Please try again later.")

# word -> status, its name and text. A spent account and too many requests differ in the text alone.
_FAILURES: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "400": _BAD,
        "429": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        "500": (500, "INTERNAL", "An internal error has occurred. Please retry or report it."),
        "503": _OVERLOADED,
        "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        "bad": _BAD,
        "context": (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "down": _OVERLOADED,
        "noprefill": (400, "INVALID_ARGUMENT", PREFILL_REFUSED),
        "quota": (
            429,
            "RESOURCE_EXHAUSTED",
            (
                "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects "
                "to manage your project and billing."
            ),
        ),
    }
)
_NAMES: Mapping[int, str] = MappingProxyType(
    {
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ABORTED",
        499: "CANCELLED",
        501: "UNIMPLEMENTED",
        504: "DEADLINE_EXCEEDED",
    }
)


def _asked(request: HTTPRequest) -> Asked | None:
    found = _PATH.fullmatch(request.path)
    if request.method != "POST" or found is None:
        return None
    body = request.json()
    return Asked(
        model=unquote(found[1]),
        stream=found[2] == "streamGenerateContent",
        turns=tuple(
            ("assistant" if role == "model" else role, text)
            for role, text in turns_of(body.get("contents"), content="parts")
        ),
        body=body,
        array=request.query.get("alt") != "sse",
    )


def _listed(request: HTTPRequest) -> bytes | None:
    if (request.method, request.path) != ("GET", "/v1beta/models"):
        return None
    methods = ["generateContent", "streamGenerateContent"]
    return packed(
        {
            "models": [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
                for name in EXAMPLES
            ]
        }
    )


def _key(request: HTTPRequest) -> str:
    return request.headers.get("x-goog-api-key") or request.query.get("key", "")


@dataclass(frozen=True, slots=True)
class GeminiWriter:
    """Writes what answers one request; see :class:`.writer.Writer`."""

    asked: Asked

    def refusal(self, outcome: Outcome, message: str = "") -> Refusal | None:
        if outcome.word == "filter":
            # A prompt that is refused is no error here, but an answer without candidates.
            if self.asked.stream:
                return Refusal(200, self._part(_BLOCKED, first=True) + self.marker(), _EVENTS)
            return Refusal(200, packed(_BLOCKED), JSON)
        if (failure := self._failure(outcome)) is None:
            return None
        status, name, usual = failure
        return Refusal(status, packed(_error(status, name, message or usual, _details(outcome))), JSON)

    def whole(self, text: str) -> bytes:
        return packed(_candidate(self.asked, text, finish="STOP", said=text))

    def hollow(self) -> bytes:
        return packed(_answer(self.asked, [], ""))

    def error(self) -> bytes:
        return packed(_error(*_OVERLOADED))

    def stream_headers(self) -> Mapping[str, str]:
        return JSON if self.asked.array else _EVENTS

    def begin(self) -> bytes:
        """Nothing; but an array begins, with a part that says nothing, so that the others look alike."""
        return self._part(_candidate(self.asked, ""), first=True) if self.asked.array else b""

    def content(self, text: str) -> bytes:
        return self._part(_candidate(self.asked, text))

    def end(self, text: str) -> bytes:
        return self._part(_candidate(self.asked, "", finish="STOP", said=text))

    def marker(self) -> bytes:
        return b"]" if self.asked.array else b""

    def hollow_stream(self) -> bytes:
        return self._part(_answer(self.asked, [], ""), first=True)

    def error_event(self) -> bytes:
        return self._part(_error(*_OVERLOADED))

    def broken_event(self) -> bytes:
        return self._framed(b'{"candidates": [{"content": {"pa')

    def _failure(self, outcome: Outcome) -> tuple[int, str, str] | None:
        if outcome.word == "gone":
            return 404, "NOT_FOUND", f"models/{self.asked.model} is not found for API version v1beta"
        if outcome.word in _FAILURES or (status := outcome.status) is None:
            return _FAILURES.get(outcome.word)
        name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        return status, name, phrase(status)

    def _part(self, part: Mapping[str, object], *, first: bool = False) -> bytes:
        return self._framed(packed(part), first=first)

    def _framed(self, data: bytes, *, first: bool = False) -> bytes:
        if not self.asked.array:
            return event(data)
        return (b"[" if first else b",\r\n") + data + b"\n"


def _details(outcome: Outcome) -> list[dict[str, object]]:
    """What the API says of an error besides its text: which key, and how long to wait."""
    if outcome.word == "auth":
        return [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        ]
    if outcome.argument:
        delay = f"{outcome.argument}s"
        return [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return []


def _error(
    status: int, name: str, message: str, details: list[dict[str, object]] | None = None
) -> dict[str, object]:
    error = {"code": status, "message": f"{message} (simulated)", "status": name}
    return {"error": {**error, "details": details} if details else error}


def _candidate(asked: Asked, text: str, *, finish: str = "", said: str = "") -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return _answer(asked, [candidate], said)


def _answer(asked: Asked, candidates: list[dict[str, object]], said: str) -> dict[str, object]:
    told = len(said.split())
    usage = {"promptTokenCount": asked.tokens, "candidatesTokenCount": told}
    return {
        "candidates": candidates,
        "usageMetadata": {**usage, "totalTokenCount": asked.tokens + told},
        "modelVersion": asked.model,
        "responseId": "simulated",
    }


GEMINI = Wire(name="gemini", root="/v1beta", asked=_asked, listed=_listed, key=_key, writer=GeminiWriter)
