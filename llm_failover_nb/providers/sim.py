"""The provider that fails on purpose, ``sim/SCRIPT``, in process. No I/O.

A script is outcomes joined by ``+``; an outcome is a word, then optionally ``:argument``, then ``xCOUNT``.
It is read anew with each call: attempt 1 takes the first outcome, attempt 2 the second, and so on.
The last outcome repeats, unless it has a count: then answers follow.

    sim/echo                   answers with the prompt
    sim/down                   503, always
    sim/503x2                  503, 503, then an answer
    sim/500+echo               500 once, then answers
    sim/429:30                 429 with Retry-After: 30, always
    sim/503x2+429:1+echo       503, 503, 429, then answers
    sim/slow:5                 answers after 5 s
    sim/say:It_is_Paris.       always says "It is Paris."

The same words are played over sockets, on four wires, by :class:`llm_failover_nb.testing.FaultServer` and
the command ``llm-failover-nb rehearse``. The number behind a word is its argument where that is left out;
``slow`` and ``say`` need theirs. Characters count in streams: a completion has all of its text or none, so
there only the failure is left.

An answer, in the end or in turn:

=================  ====================================================================================
``echo``           the prompt itself
``say:some_words`` these words, ``_`` for a space
``slow:5``         the prompt, 5 s late (the first token, for a stream)
``nodone``         the prompt, complete, but without the terminal marker of its stream
``noprefill``      the prompt; but 400 where the last turn of the request is the assistant's
``flap``           503 and the prompt in turn, for ever
=================  ====================================================================================

A refusal, with the JSON body of the openai wire, so that it is classified as a real one is:

=================  ====================================================================================
``400`` … ``599``  that HTTP status; the argument is its Retry-After in seconds (``429:30``)
``down``           503, overloaded; argument as above
``auth``           401, the key is not valid
``quota``          429 ``insufficient_quota``, the account is spent
``gone``           404 ``model_not_found``
``context``        400 ``context_length_exceeded``
``filter``         400 ``content_filter``
``bad``            400, a parameter is not valid
=================  ====================================================================================

A broken answer:

=================  ====================================================================================
``error200:0``     an error inside a 200, after so many characters
``html``           an HTML page with status 200
``empty``          an answer without text
``nochoices``      an answer whose list of choices is empty
``malformed:0``    a part that is no JSON, after so many characters; the rest of the text follows it
``cut:40``         it ends after so many characters, without a finish reason
``short``          it ends sooner than its Content-Length says (a stream before its finish reason)
``long``           it is longer than its Content-Length says, which cuts it
``utf8``           it ends in the middle of a character
``reset:0``        the connection is reset after so many characters; at 0 before any header
=================  ====================================================================================

Silence:

=================  ====================================================================================
``silent``         nothing ever comes: it ends with the request's own limits
``timeout``        nothing comes in time; at once in process, as ``silent`` over a socket
``stall:40``       silence after so many characters
``trickle:1``      one byte of the answer every so many seconds
=================  ====================================================================================

Too much; in process it is the ``malformed`` failure that it ends in:

=================  ====================================================================================
``endless``        an answer without an end
``line``           one line of over 4 MiB in its stream (a completion has no lines, and is answered)
``big``            a body of over 32 MiB
``bomb``           a small packed body that unpacks without an end
``header``         a response header without an end
``headers``        headers without an end
=================  ====================================================================================
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Request, Response, Usage
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.script import Outcome, parse_script, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

__all__ = ["PREFILL_REFUSED", "Failure", "SimProvider", "error_body", "failure_of", "phrase"]

PREFILL_REFUSED = (
    "This model does not support assistant message prefill. The conversation must end with a user message."
)
"""What a model says that wants the last word to be the user's, as Anthropic's newer models do."""

# A week: longer than any wait in use, short enough for every platform's sleep.
_FOREVER = 604_800.0

# Status, type, code and message, as the openai wire has them.
_INVALID_KEY = (401, "invalid_request_error", "invalid_api_key", "the API key is not valid")
_INVALID_VALUE = (400, "invalid_request_error", "invalid_value", "a parameter is not valid")
_NO_MODEL = (404, "invalid_request_error", "model_not_found", "the model does not exist")
_OVERLOADED = (503, "server_error", None, "the model is overloaded")
_FAILURES: Mapping[str, tuple[int, str, str | None, str]] = MappingProxyType(
    {
        "400": _INVALID_VALUE,
        "401": _INVALID_KEY,
        "404": _NO_MODEL,
        "429": (429, "requests", "rate_limit_exceeded", "too many requests"),
        "503": _OVERLOADED,
        "auth": _INVALID_KEY,
        "bad": _INVALID_VALUE,
        "context": (400, "invalid_request_error", "context_length_exceeded", "the prompt is too long"),
        "down": _OVERLOADED,
        "filter": (400, "invalid_request_error", "content_filter", "the prompt was rejected"),
        "gone": _NO_MODEL,
        "noprefill": (400, "invalid_request_error", None, PREFILL_REFUSED),
        "quota": (429, "insufficient_quota", "insufficient_quota", "the account has no credit left"),
    }
)

# word -> reason and message of what is no HTTP status.
_BREAKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "big": ("malformed", "the answer is over 32 MiB"),
        "bomb": ("malformed", "the answer unpacks without an end"),
        "cut": ("cut", "the answer ended without a finish reason"),
        "empty": ("empty", "the answer has no text"),
        "endless": ("malformed", "the answer has no end"),
        "header": ("malformed", "a header of the answer has no end"),
        "headers": ("malformed", "the headers of the answer have no end"),
        "html": ("malformed", "the answer is an HTML page"),
        "line": ("malformed", "a line of the answer is over 4 MiB"),
        "long": ("cut", "the answer is longer than its Content-Length says"),
        "malformed": ("malformed", "a part of the answer is no JSON"),
        "nochoices": ("empty", "the answer has no choices"),
        "reset": ("connection", "the connection was reset"),
        "short": ("cut", "the answer ended sooner than its Content-Length says"),
        "timeout": ("timeout", "no answer in time"),
        "utf8": ("cut", "the answer ended in the middle of a character"),
    }
)

# One of each sort that a notebook tries, the plainest first.
_SCRIPTS = (
    "echo down 503 503x2+echo 429:30 500+echo slow:5 auth quota gone context filter timeout silent cut:40 "
    "stall:40 reset empty html say:It_is_Paris."
).split()

_ANSWERS = frozenset({"echo", "nodone", "noprefill", "say"})

# What comes of the text in a stream before it breaks.
_BREAK_AFTER_SOME = frozenset({"cut", "error200", "malformed", "reset"})
_CUTS_WITHIN_JSON = frozenset({"long", "nochoices", "utf8"})
_BREAK_AFTER_ALL = frozenset({"endless", "long", "short", "utf8"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed HTTP answer of the openai wire, to be raised in process or sent over a socket."""

    status: int
    message: str
    code: str | None
    body: str
    headers: Mapping[str, str]


def failure_of(outcome: Outcome, message: str = "") -> Failure | None:
    """The failed status that an outcome stands for, if it stands for one.

    Args:
        outcome: The outcome; ``noprefill`` stands for its refusal, which not every request meets.
        message: What the failure says, where it is not what it usually says.
    """
    if outcome.word in _FAILURES:
        status, type_, code, usual = _FAILURES[outcome.word]
    elif outcome.status is not None:
        status, code, usual = outcome.status, None, phrase(outcome.status)
        type_ = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    else:
        return None
    headers = {"content-type": "application/json"}
    if outcome.argument:
        headers["retry-after"] = outcome.argument
    message = message or usual
    return Failure(status, f"{message} (simulated)", code, error_body(message, type_, code), headers)


class SimProvider(BaseProvider):
    """Answers and fails as the model's name says; the grammar is in this module's docstring.

    It keeps nothing between calls. It waits in real time, keeps to ``request.timeouts`` itself, and its
    waits end at once on an interrupt or a cancellation.

    >>> SimProvider().complete(Request("Hello", model="503x2+echo", attempt=3)).text
    'Hello'
    """

    keeps_time = True
    """Limits of time are kept here; nobody needs to wrap the calls."""

    def check(self, model: str) -> None:
        """Refuse a model name that is no script.

        Raises:
            ChainSpecError: When a part of it cannot be read.
        """
        parse_script(model)

    lists_at_once = True
    """The scripts are its own."""

    def models(self) -> tuple[str, ...]:
        """Some scripts, as examples: any other that can be read is a model, too."""
        return tuple(_SCRIPTS)

    def complete(self, request: Request, /) -> Response:
        plan = _plan(request, streaming=False)
        if plan.wait:
            time.sleep(plan.wait)
        return plan.end(request)

    async def acomplete(self, request: Request, /) -> Response:
        plan = _plan(request, streaming=False)
        if plan.wait:
            await asyncio.sleep(plan.wait)
        return plan.end(request)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        plan = _plan(request, streaming=True)
        for chunk in plan.chunks(request):
            if chunk is None:
                time.sleep(plan.wait)
            else:
                yield chunk

    async def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        plan = _plan(request, streaming=True)
        for chunk in plan.chunks(request):
            if chunk is None:
                await asyncio.sleep(plan.wait)
            else:
                yield chunk


def error_body(message: str, type_: str, code: str | None) -> str:
    """An error of the openai wire, as JSON."""
    error = {"message": f"{message} (simulated)", "type": type_, "param": None, "code": code}
    return json.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class _Plan:
    """One attempt, decided: some text, a wait before or after it, then the end: done, or an error."""

    text: str = ""
    error: ProviderError | None = None
    wait: float = 0.0
    wait_first: bool = field(default=True, kw_only=True)

    def chunks(self, request: Request) -> Iterator[Chunk | None]:
        """The chunks of its stream; ``None`` where the driver shall wait."""
        if self.wait and self.wait_first:
            yield None
        yield from map(Chunk, words(self.text))
        if self.wait and not self.wait_first:
            yield None
        yield Chunk(kind="done", response=self.end(request))

    def end(self, request: Request) -> Response:
        if self.error is not None:
            raise self.error
        asked = len((request.system or "").split()) + sum(len(m.content.split()) for m in request.messages)
        usage = Usage(input_tokens=asked, output_tokens=len(self.text.split()))
        return Response(text=self.text, finish_reason="stop", usage=usage, finish="stop")


def _plan(request: Request, *, streaming: bool) -> _Plan:
    outcome = parse_script(request.model).outcome(request.attempt)
    text = outcome.answer(request.prompt)
    if outcome.word == "noprefill" and request.messages[-1:] and request.messages[-1].role == "assistant":
        return _Plan("", _error(outcome, request.model, streaming=streaming))
    if outcome.word in _ANSWERS or (outcome.word == "line" and not streaming):
        return _Plan(text)
    match outcome.word:
        case "slow":
            return _late(request, outcome.seconds, text, streaming=streaming)
        case "trickle":
            return _late(request, outcome.seconds * len(text.encode()), text, streaming=streaming)
        case "silent":
            return _late(request, math.inf, "", streaming=streaming)
        case "stall":
            return _stalled(request, text[: outcome.characters], streaming=streaming)
    if outcome.word in _BREAK_AFTER_SOME:
        text = text[: outcome.characters]
    elif outcome.word not in _BREAK_AFTER_ALL:
        text = ""
    return _Plan(text, _error(outcome, request.model, streaming=streaming))


def _late(request: Request, seconds: float, text: str, *, streaming: bool) -> _Plan:
    limits = [(request.timeouts.attempt, "no answer within {:g} s (attempt_timeout)")]
    if streaming:
        limits.append((request.timeouts.first_token, "no first token within {:g} s (first_token_timeout)"))
    limit, message = _shortest(limits)
    if seconds <= limit and seconds < math.inf:
        return _Plan(text, wait=seconds)
    return _Plan("", _timeout(message, limit, request.model), min(limit, _FOREVER))


def _stalled(request: Request, text: str, *, streaming: bool) -> _Plan:
    if not (streaming and text):
        return _late(request, math.inf, "", streaming=streaming)
    limit, message = _shortest(
        [
            (request.timeouts.attempt, "no end within {:g} s (attempt_timeout)"),
            (request.timeouts.idle, "silent for {:g} s (idle_timeout)"),
        ]
    )
    return _Plan(text, _timeout(message, limit, request.model), min(limit, _FOREVER), wait_first=False)


def _shortest(limits: list[tuple[float | None, str]]) -> tuple[float, str]:
    return min((max(limit, 0.0) if limit is not None else math.inf, message) for limit, message in limits)


def _timeout(message: str, limit: float, model: str) -> ProviderError:
    return ProviderError(message.format(limit), model=model, kind=ErrorKind.TRANSIENT, reason="timeout")


def _error(outcome: Outcome, model: str, *, streaming: bool) -> ProviderError:
    if (failed := failure_of(outcome)) is not None:
        return ProviderError(
            failed.message,
            status=failed.status,
            code=failed.code,
            model=model,
            headers=failed.headers,
            body=failed.body,
        )
    if outcome.word == "error200":
        body = error_body("the server failed", "server_error", "server_error")
        return ProviderError("the server failed (simulated)", code="server_error", model=model, body=body)
    reason, message = _BREAKS[outcome.word]
    if outcome.word == "reset" and outcome.characters:
        reason = "cut"  # once the answer has begun, a reset is one more way of cutting it
    elif outcome.word in _CUTS_WITHIN_JSON and not streaming:
        reason = "malformed"  # what is left of the one object that a completion is
    return ProviderError(f"{message} (simulated)", model=model, kind=ErrorKind.TRANSIENT, reason=reason)


def phrase(status: int) -> str:
    """The words that stand beside an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
