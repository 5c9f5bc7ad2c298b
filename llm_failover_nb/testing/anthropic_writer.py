"""The anthropic wire, written: Messages at ``/v1/messages``, as the fault server answers them. No I/O.

Members, event names, error types and their texts are those of the Messages API, version 2023-06-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from llm_failover_nb.providers.sim import PREFILL_REFUSED, phrase
from llm_failover_nb.testing.writer import JSON, Asked, Refusal, Wire, event, lists_nothing, packed, turns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = ["ANTHROPIC", "AnthropicWriter"]

_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_REQUEST_ID = "req_simulated"
_OVERLOADED = (529, "overloaded_error", "Overloaded")
_BAD = (400, "invalid_request_error", "temperature: Input should be less than or equal to 1")

# word -> status, type and text. A spent account and a filtered answer are 400s here, known by their texts.
_FAILURES: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "400": _BAD,
        "429": (429, "rate_limit_error", "This request would exceed your account's rate limit."),
        "500": (500, "api_error", "Internal server error"),
        "529": _OVERLOADED,
        "auth": (401, "authentication_error", "invalid x-api-key"),
        "bad": _BAD,
        "context": (400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
        "down": _OVERLOADED,
        "filter": (400, "invalid_request_error", "Output blocked by content filtering policy"),
        "noprefill": (400, "invalid_request_error", PREFILL_REFUSED),
        "quota": (
            400,
            "invalid_request_error",
            (
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
                "upgrade or purchase credits."
            ),
        ),
    }
)
_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        413: "request_too_large",
        503: "overloaded_error",
        504: "timeout_error",
    }
)


def _asked(request: HTTPRequest) -> Asked | None:
    if (request.method, request.path) != ("POST", "/v1/messages"):
        return None
    body = request.json()
    return Asked(
        model=str(body.get("model", "")),
        stream=body.get("stream") is True,
        turns=turns_of(body.get("messages")),
        body=body,
    )


def _key(request: HTTPRequest) -> str:
    return request.headers.get("x-api-key", "")


@dataclass(frozen=True, slots=True)
class AnthropicWriter:
    """Writes what answers one request; see :class:`.writer.Writer`."""

    asked: Asked

    def refusal(self, outcome: Outcome, message: str = "") -> Refusal | None:
        if (failure := self._failure(outcome)) is None:
            return None
        status, type_, usual = failure
        waits = {"retry-after": outcome.argument} if outcome.argument else {}
        headers = {**JSON, "request-id": _REQUEST_ID, **waits}
        return Refusal(status, _error(type_, message or usual), headers)

    def whole(self, text: str) -> bytes:
        return packed(_message(self.asked, [{"type": "text", "text": text}], text))

    def hollow(self) -> bytes:
        return packed(_message(self.asked, [], ""))

    def error(self) -> bytes:
        return _error("overloaded_error", "Overloaded")

    def stream_headers(self) -> Mapping[str, str]:
        return _EVENTS

    def begin(self) -> bytes:
        return (
            _start(self.asked)
            + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            + _event("ping")
        )

    def content(self, text: str) -> bytes:
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def end(self, text: str) -> bytes:
        return _event("content_block_stop", index=0) + _stop(text)

    def marker(self) -> bytes:
        return _event("message_stop")

    def hollow_stream(self) -> bytes:
        return _start(self.asked) + _stop("")

    def error_event(self) -> bytes:
        return event(self.error(), "error")

    def broken_event(self) -> bytes:
        return event(b'{"type": "content_block_delta", "index": 0, "delta": {"ty', "content_block_delta")

    def _failure(self, outcome: Outcome) -> tuple[int, str, str] | None:
        if outcome.word == "gone":
            return 404, "not_found_error", f"model: {self.asked.model}"
        if outcome.word in _FAILURES or (status := outcome.status) is None:
            return _FAILURES.get(outcome.word)
        return (
            status,
            _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error"),
            phrase(status),
        )


def _error(type_: str, message: str) -> bytes:
    error = {"type": type_, "message": f"{message} (simulated)"}
    return packed({"type": "error", "error": error, "request_id": _REQUEST_ID})


def _message(asked: Asked, blocks: list[dict[str, str]], text: str) -> dict[str, object]:
    usage = {"input_tokens": asked.tokens, "output_tokens": len(text.split())}
    return {**_head(asked, blocks), "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def _head(asked: Asked, blocks: list[dict[str, str]]) -> dict[str, object]:
    return {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": blocks,
    }


def _start(asked: Asked) -> bytes:
    usage = {"input_tokens": asked.tokens, "output_tokens": 1}
    message = {**_head(asked, []), "stop_reason": None, "stop_sequence": None, "usage": usage}
    return _event("message_start", message=message)


def _stop(text: str) -> bytes:
    return _event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": len(text.split())},
    )


def _event(name: str, **members: object) -> bytes:
    return event(packed({"type": name, **members}), name)


# Its list is at the path of the openai wire's, and that one serves both.
ANTHROPIC = Wire(
    name="anthropic", root="", asked=_asked, listed=lists_nothing, key=_key, writer=AnthropicWriter
)
