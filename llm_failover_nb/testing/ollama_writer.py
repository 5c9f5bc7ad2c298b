"""The ollama wire, written: ``/api/chat``, an object or a line of JSON at a time. No I/O.

A stream is what Ollama gives unless ``"stream": false`` is asked for. Errors are a text alone, so that what
they mean is in their words, which are Ollama's own where it has such an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from llm_failover_nb.providers.sim import PREFILL_REFUSED, phrase
from llm_failover_nb.testing.writer import EXAMPLES, JSON, Asked, Refusal, Wire, bearer, packed, turns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = ["OLLAMA", "OllamaWriter"]

_LINES = {"content-type": "application/x-ndjson"}
_WHEN = "2026-01-01T00:00:00Z"
_BAD = (400, "invalid options: temperature")
_BUSY = (503, "server busy, please try again.  maximum pending requests exceeded")

_FAILURES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "400": _BAD,
        "401": (401, "unauthorized"),
        "429": (429, "you have reached your session usage limit, upgrade for higher limits"),
        "500": (500, "model runner has unexpectedly stopped"),
        "503": _BUSY,
        "auth": (401, "unauthorized"),
        "bad": _BAD,
        "context": (400, "the input length exceeds the context length"),
        "down": _BUSY,
        "filter": (400, "the prompt was blocked by the content filter"),
        "noprefill": (400, PREFILL_REFUSED),
        "quota": (402, "payment required"),
    }
)

_SHOWN: Mapping[str, object] = MappingProxyType(
    {
        "/api/tags": {
            "models": [
                {"name": name, "model": name, "modified_at": _WHEN, "size": 0, "digest": "", "details": {}}
                for name in EXAMPLES
            ]
        },
        "/api/version": {"version": "0.0.0"},
    }
)


def _asked(request: HTTPRequest) -> Asked | None:
    if (request.method, request.path) != ("POST", "/api/chat"):
        return None
    body = request.json()
    return Asked(
        model=str(body.get("model", "")),
        stream=body.get("stream") is not False,
        turns=turns_of(body.get("messages")),
        body=body,
    )


def _listed(request: HTTPRequest) -> bytes | None:
    if request.method != "GET" or request.path not in _SHOWN:
        return None
    return packed(_SHOWN[request.path])


@dataclass(frozen=True, slots=True)
class OllamaWriter:
    """Writes what answers one request; see :class:`.writer.Writer`."""

    asked: Asked

    def refusal(self, outcome: Outcome, message: str = "") -> Refusal | None:
        if (failure := self._failure(outcome)) is None:
            return None
        status, usual = failure
        waits = {"retry-after": outcome.argument} if outcome.argument else {}
        return Refusal(status, _error(message or usual), {**JSON, **waits})

    def whole(self, text: str) -> bytes:
        return packed(_last(self.asked, _said(text), text))

    def hollow(self) -> bytes:
        """There is no list of choices here, and so the message is empty."""
        return packed(_last(self.asked, {}, ""))

    def error(self) -> bytes:
        return _error("an error was encountered while running the model")

    def stream_headers(self) -> Mapping[str, str]:
        return _LINES

    def begin(self) -> bytes:
        return b""

    def content(self, text: str) -> bytes:
        return packed({**_head(self.asked), "message": _said(text), "done": False}) + b"\n"

    def end(self, text: str) -> bytes:
        return packed(_last(self.asked, _said(""), text)) + b"\n"

    def marker(self) -> bytes:
        return b""  # "done" is a member of the last line

    def hollow_stream(self) -> bytes:
        return self.hollow() + b"\n"

    def error_event(self) -> bytes:
        return self.error() + b"\n"

    def broken_event(self) -> bytes:
        return packed(_head(self.asked))[:-1] + b', "message": {"ro\n'

    def _failure(self, outcome: Outcome) -> tuple[int, str] | None:
        if outcome.word in {"gone", "404"}:
            return 404, f'model "{self.asked.model}" not found, try pulling it first'
        if outcome.word in _FAILURES or (status := outcome.status) is None:
            return _FAILURES.get(outcome.word)
        return status, phrase(status)


def _error(message: str) -> bytes:
    return packed({"error": f"{message} (simulated)"})


def _head(asked: Asked) -> dict[str, object]:
    return {"model": asked.model, "created_at": _WHEN}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _last(asked: Asked, message: Mapping[str, str], text: str) -> dict[str, object]:
    counts = {"prompt_eval_count": asked.tokens, "eval_count": len(text.split())}
    durations = dict.fromkeys(("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"), 1)
    return {**_head(asked), "message": message, "done": True, "done_reason": "stop", **counts, **durations}


OLLAMA = Wire(name="ollama", root="", asked=_asked, listed=_listed, key=bearer, writer=OllamaWriter)
