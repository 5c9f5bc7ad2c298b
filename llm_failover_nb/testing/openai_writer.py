"""The openai wire, written: Chat Completions below ``/v1``, as the fault server answers them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_failover_nb.providers.sim import error_body, failure_of
from llm_failover_nb.testing.writer import EXAMPLES, Asked, Refusal, Wire, bearer, event, packed, turns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.providers.script import Outcome
    from llm_failover_nb.testing.connection import HTTPRequest

__all__ = ["OPENAI", "OpenAIWriter"]

_EVENTS = {"content-type": "text/event-stream", "cache-control": "no-cache"}

# One list for both wires that ask for it here: OpenAI's members and Anthropic's.
_MODELS = {
    "object": "list",
    "data": [
        {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "simulated",
            "type": "model",
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
        }
        for name in EXAMPLES
    ],
    "has_more": False,
    "first_id": EXAMPLES[0],
    "last_id": EXAMPLES[-1],
}


def _asked(request: HTTPRequest) -> Asked | None:
    if (request.method, request.path) != ("POST", "/v1/chat/completions"):
        return None
    body = request.json()
    return Asked(
        model=str(body.get("model", "")),
        stream=body.get("stream") is True,
        turns=turns_of(body.get("messages")),
        body=body,
    )


def _listed(request: HTTPRequest) -> bytes | None:
    return packed(_MODELS) if (request.method, request.path) == ("GET", "/v1/models") else None


@dataclass(frozen=True, slots=True)
class OpenAIWriter:
    """Writes what answers one request; see :class:`.writer.Writer`."""

    asked: Asked

    def refusal(self, outcome: Outcome, message: str = "") -> Refusal | None:
        if (failure := failure_of(outcome, message)) is None:
            return None
        return Refusal(failure.status, failure.body.encode("utf-8", "replace"), failure.headers)

    def whole(self, text: str) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return packed(_completion(self.asked, [choice], text))

    def hollow(self) -> bytes:
        return packed(_completion(self.asked, [], ""))

    def error(self) -> bytes:
        return error_body("the server failed", "server_error", "server_error").encode()

    def stream_headers(self) -> Mapping[str, str]:
        return _EVENTS

    def begin(self) -> bytes:
        return event(_delta(self.asked, {"role": "assistant", "content": ""}))

    def content(self, text: str) -> bytes:
        return event(_delta(self.asked, {"content": text}))

    def end(self, text: str) -> bytes:
        """The finish reason, and the usage in an event of its own where it was asked for."""
        end = event(_delta(self.asked, {}, "stop"))
        match self.asked.body.get("stream_options"):
            case {"include_usage": True}:
                return end + event(packed(_chunk(self.asked, [], usage=_usage(self.asked, text))))
        return end

    def marker(self) -> bytes:
        return event(b"[DONE]")

    def hollow_stream(self) -> bytes:
        return event(packed(_chunk(self.asked, [])))

    def error_event(self) -> bytes:
        return event(self.error())

    def broken_event(self) -> bytes:
        return event(_delta(self.asked, {"content": "lost"}).partition(b'"content"')[0])


def _completion(asked: Asked, choices: list[dict[str, object]], text: str) -> dict[str, object]:
    return {**_head(asked, "chat.completion"), "choices": choices, "usage": _usage(asked, text)}


def _delta(asked: Asked, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    return packed(_chunk(asked, [{"index": 0, "delta": delta, "finish_reason": finish_reason}]))


def _chunk(asked: Asked, choices: list[dict[str, object]], **members: object) -> dict[str, object]:
    return {**_head(asked, "chat.completion.chunk"), "choices": choices, **members}


def _head(asked: Asked, kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-simulated", "object": kind, "created": 0, "model": asked.model}


def _usage(asked: Asked, text: str) -> dict[str, int]:
    said = len(text.split())
    return {"prompt_tokens": asked.tokens, "completion_tokens": said, "total_tokens": asked.tokens + said}


OPENAI = Wire(name="openai", root="/v1", asked=_asked, listed=_listed, key=bearer, writer=OpenAIWriter)
