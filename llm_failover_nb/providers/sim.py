"""The provider that fails on purpose, ``sim/SCRIPT``, and its grammar, which the fault server shares. No I/O.

A script is outcomes joined by ``+``; an outcome is a word, then optionally ``:argument``, then ``xCOUNT``.
It is read anew with each call: attempt 1 takes the first outcome, attempt 2 the second, and so on.
The last outcome repeats, unless it has a count: then answers follow.

    sim/echo                   answers with the prompt
    sim/down                   503, always
    sim/503x2                  503, 503, then an answer
    sim/429:30                 429 with Retry-After: 30, always
    sim/503x2+429:1+echo       503, 503, 429, then answers
    sim/slow:5                 answers after 5 s
    sim/say:It_is_Paris.       always says "It is Paris."

=================  ====================================================================================
word               what happens
=================  ====================================================================================
``400`` … ``599``  that HTTP status; the argument is its Retry-After in seconds (``429:30``)
``down``           503, overloaded; argument as above
``auth``           401, the key is not valid
``quota``          429 ``insufficient_quota``, the account is spent
``gone``           404 ``model_not_found``
``context``        400 ``context_length_exceeded``
``filter``         400 ``content_filter``
``bad``            400, a parameter is not valid
``timeout``        nothing comes in time; at once in process, as ``silent`` over a socket
``silent``         nothing ever comes: it ends with the request's own limits
``reset``          the connection is reset, after as many characters as the argument says (0)
``slow:5``         the answer, 5 s late (the first token, for a stream)
``stall:40``       silence after 40 characters (40)
``cut:40``         the answer ends after 40 characters (40), without a finish reason
``short``          the answer ends sooner than its Content-Length says (a stream before its finish reason)
``utf8``           the answer ends in the middle of a character
``malformed``      the answer is no JSON
``html``           the answer is an HTML page with status 200
``empty``          the answer has no text
``error200``       an error inside a 200, after as many characters as the argument says (0)
``nodone``         the answer, complete, but without the terminal marker of its stream
``echo``           the answer: the prompt itself
``say:some_words`` the answer: these words, ``_`` for a space
=================  ====================================================================================

Characters count in streams. A completion has all of its text or none, so there only the failure is left.
A failed status carries the JSON body of the openai wire, so that it is classified as a real one is.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from dataclasses import dataclass, field
from difflib import get_close_matches
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from llm_failover_nb.engine.errors import ChainSpecError, ErrorKind, ProviderError
from llm_failover_nb.engine.types import Chunk, Request, Response, Usage
from llm_failover_nb.providers.base import BaseProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

__all__ = ["Failure", "Outcome", "Script", "SimProvider", "error_body", "parse_script", "phrase", "words"]

_EXAMPLE = "sim/503x2+429:30+echo"
_OUTCOME = re.compile(r"(?P<word>[^:]+?)(?::(?P<argument>.+?))?(?:x(?P<count>[0-9]{1,9}))?")
_WORD = re.compile(r"\s*\S+|\s+$")
_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")

# A week: longer than any wait in use, short enough for every platform's sleep.
_FOREVER = 604_800.0


@dataclass(frozen=True, slots=True)
class _Argument:
    """What may follow a word's colon; ``default`` stands for one left out, ``None`` is: give one."""

    takes: Literal["nothing", "seconds", "characters", "text"] = "nothing"
    default: str | None = ""


_STATUS_ARGUMENT = _Argument("seconds")
_ARGUMENTS: Mapping[str, _Argument] = MappingProxyType(
    {
        "auth": _Argument(),
        "bad": _Argument(),
        "context": _Argument(),
        "cut": _Argument("characters", "40"),
        "down": _STATUS_ARGUMENT,
        "echo": _Argument(),
        "empty": _Argument(),
        "error200": _Argument("characters", "0"),
        "filter": _Argument(),
        "gone": _Argument(),
        "html": _Argument(),
        "malformed": _Argument(),
        "nodone": _Argument(),
        "quota": _Argument(),
        "reset": _Argument("characters", "0"),
        "say": _Argument("text", None),
        "short": _Argument(),
        "silent": _Argument(),
        "slow": _Argument("seconds", None),
        "stall": _Argument("characters", "40"),
        "timeout": _Argument(),
        "utf8": _Argument(),
    }
)

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
        "quota": (429, "insufficient_quota", "insufficient_quota", "the account has no credit left"),
    }
)

# word -> reason and message of what is no HTTP status.
_BREAKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "cut": ("cut", "the answer ended without a finish reason"),
        "empty": ("empty", "the answer has no text"),
        "html": ("malformed", "the answer is an HTML page"),
        "malformed": ("malformed", "the answer is no JSON"),
        "reset": ("connection", "the connection was reset"),
        "short": ("cut", "the answer ended sooner than its Content-Length says"),
        "timeout": ("timeout", "no answer in time"),
        "utf8": ("cut", "the answer ended in the middle of a character"),
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed HTTP answer of the openai wire, to be raised in process or sent over a socket."""

    status: int
    message: str
    code: str | None
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt meets.

    Args:
        word: The word, as in the table of this module.
        argument: What followed its colon, or the word's default.
        count: How many attempts meet it; ``None`` for one, or for all that follow where it is the last.
    """

    word: str
    argument: str = ""
    count: int | None = None

    def __str__(self) -> str:
        return f"{self.word}:{self.argument}" if self.argument else self.word

    @property
    def seconds(self) -> float:
        """The argument as a time; 0 where there is none."""
        return float(self.argument or 0)

    @property
    def characters(self) -> int:
        """The argument as a length of text; 0 where there is none."""
        return int(self.argument or 0)

    @property
    def failure(self) -> Failure | None:
        """The failed status it stands for, if it stands for one."""
        if self.word in _FAILURES:
            status, type_, code, message = _FAILURES[self.word]
        elif self.word.isdigit():
            status, code, message = int(self.word), None, phrase(int(self.word))
            type_ = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        else:
            return None
        headers = {"content-type": "application/json"}
        if self.argument:
            headers["retry-after"] = self.argument
        return Failure(status, f"{message} (simulated)", code, error_body(message, type_, code), headers)

    def answer(self, prompt: str) -> str:
        """The text of its answer, whole."""
        return self.argument.replace("_", " ") if self.word == "say" else prompt


_ECHO = Outcome("echo")


@dataclass(frozen=True, slots=True)
class Script:
    """A script as read by :func:`parse_script`."""

    outcomes: tuple[Outcome, ...]

    def outcome(self, attempt: int) -> Outcome:
        """What the ``attempt``-th attempt meets, from 1."""
        for outcome in self.outcomes:
            attempt -= outcome.count or 1
            if attempt <= 0:
                return outcome
        last = self.outcomes[-1]
        return last if last.count is None else _ECHO


def parse_script(text: str) -> Script:
    """Read a script, such as ``503x2+echo``: the part of a spec after ``sim/``.

    Raises:
        ChainSpecError: When a part cannot be read; it names the part and the nearest known word.

    >>> script = parse_script("503x2+429:30")
    >>> [str(script.outcome(attempt)) for attempt in (1, 2, 3, 4)]
    ['503', '503', '429:30', '429:30']
    """
    return Script(tuple([_outcome(part, text) for part in text.split("+")]))


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


def words(text: str) -> list[str]:
    """``text`` cut before each space, as models stream it; joined, it is ``text`` again."""
    return _WORD.findall(text)


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
    match outcome.word:
        case "echo" | "say" | "nodone":
            return _Plan(text)
        case "slow":
            return _late(request, outcome.seconds, text, streaming=streaming)
        case "silent":
            return _late(request, math.inf, "", streaming=streaming)
        case "stall":
            return _stalled(request, text[: outcome.characters], streaming=streaming)
    if outcome.word in {"cut", "reset", "error200"}:
        text = text[: outcome.characters]
    elif outcome.word not in {"short", "utf8"}:
        text = ""
    return _Plan(text, _error(outcome, request.model))


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


def _error(outcome: Outcome, model: str) -> ProviderError:
    if (failed := outcome.failure) is not None:
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
    return ProviderError(f"{message} (simulated)", model=model, kind=ErrorKind.TRANSIENT, reason=reason)


def phrase(status: int) -> str:
    """The words that stand beside an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"


def _outcome(part: str, script: str) -> Outcome:
    found = _OUTCOME.fullmatch(part)
    if found is None:
        raise _unreadable(part, script, "an outcome is a word, then :argument and xCOUNT where wanted")
    word, argument, count = found["word"], found["argument"] or "", found["count"]
    expected = _STATUS_ARGUMENT if _is_status(word) else _ARGUMENTS.get(word)
    if expected is None:
        raise _unreadable(part, script, _unknown(word))
    if (wrong := _wrong_argument(word, argument, expected)) is not None:
        raise _unreadable(part, script, wrong)
    if count is not None and int(count) == 0:
        raise _unreadable(part, script, "a count is 1 or more")
    return Outcome(word, argument or expected.default or "", None if count is None else int(count))


def _is_status(word: str) -> bool:
    return len(word) == 3 and word.isascii() and word.isdigit() and word[0] in "45"


def _wrong_argument(word: str, argument: str, expected: _Argument) -> str | None:
    if not argument:
        return f"{word} needs {expected.takes} after a colon" if expected.default is None else None
    match expected.takes:
        case "nothing":
            return f"{word} takes no argument"
        case "seconds" if _NUMBER.fullmatch(argument) is None:
            return f"{argument!r} is no number of seconds up to 999999, such as 30 or 0.5"
        case "characters" if _NUMBER.fullmatch(argument) is None or "." in argument:
            return f"{argument!r} is no number of characters up to 999999, such as 40"
    return None


def _unknown(word: str) -> str:
    if word.isdigit():
        return "an HTTP failure is 400 to 599; did you mean '503'?"
    known = f"the words are {', '.join(_ARGUMENTS)} and 400 to 599"
    nearest = get_close_matches(word, _ARGUMENTS, n=1, cutoff=0.4)
    return (
        f"no such outcome; did you mean {nearest[0]!r}? {known}" if nearest else f"no such outcome; {known}"
    )


def _unreadable(part: str, script: str, why: str) -> ChainSpecError:
    return ChainSpecError(f"sim/{script}: cannot read {part!r}: {why}; an example: {_EXAMPLE}")
