"""What a failure says of itself: the report in an exception, and what the report's body tells.

Only reading, leniently and within bounds, since both are somebody else's: nothing here decides what a failure
means (``classify``), how long it asks to wait (``waits``), or which members and codes there are (``rules``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from llm_failover_nb.engine.codes import folded
from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.rules import BROKEN_RESPONSES, ROLES
from llm_failover_nb.engine.waits import seconds_of

__all__ = ["NOTHING", "Found", "Report", "causes", "read", "report_of", "text_of", "type_names"]

# How far anything is looked at: a body may be anybody's, and as large as they like.
_DEEPEST_CAUSE = 10
_DEEPEST_JSON = 3
_MOST_NODES = 200
_MOST_ITEMS = 20
_MOST_TEXTS = 8
_LONGEST_BODY = 4 << 20
_LONGEST_READ = 1 << 16
_LONGEST_WORDS = 1 << 13
_LONGEST_CODE = 100
_LONGEST_NAME = 60

_decode = json.JSONDecoder(strict=False).raw_decode
_JSON_STARTS = frozenset('{["')
_QUOTES = frozenset("\"'`\u201c\u2018\u300c\u300e")
_QUOTED = re.compile(
    r"""
      " [^"]*+ (?: " | \Z )
    | ` [^`]*+ (?: ` | \Z )
    | \u201c [^\u201d]*+ (?: \u201d | \Z )
    | \u300c [^\u300d]*+ (?: \u300d | \Z )
    | \u300e [^\u300f]*+ (?: \u300f | \Z )
    | (?<!\w) ['\u2018] (?: [^'] | (?<=\w)'(?=\w) )*+ (?: ' | \Z )   # an apostrophe is no quote
    """,
    re.VERBOSE,
)
# What follows these in a line is what the caller sent.
_ECHOED = re.compile(
    r"\b(?:got|received|but was|value was|(?:your|the|user|last) (?:prompt|input|message|content|text)"
    r"(?: was| is)?|(?:^|(?<=[.;,(] ))(?:prompt|input))\s?[:=]\s(?!['\"`])[^\n]*",
    re.MULTILINE,
)
# A code made of a few others, such as Throttling.RateQuota.
_NAMESPACED = re.compile(r"[a-z][\w-]*(?:[.:][a-z][\w-]*){1,2}", re.IGNORECASE)


# The exception


class Report(NamedTuple):
    """The parts of an exception that tell of a response."""

    status: int | None
    headers: object = None
    body: object = None
    code: object = None
    retry_after: object = None
    text: str = ""
    kind: ErrorKind | None = None
    reason: str = ""
    rule: str = ""


def report_of(error: BaseException) -> Report | None:
    """The outermost report among the error and its causes; ``None`` when there was no response."""
    if not isinstance(error, Exception):
        return None
    for one in causes(error):
        report = _own(one) if isinstance(one, ProviderError) else _foreign(one)
        if report is not None:
            return report
    return None


def _own(error: ProviderError) -> Report | None:
    claimed: object = error.status  # a claim of somebody else's code, as is all that it carries
    status = claimed if isinstance(claimed, int) else None
    told = error.kind or error.reason or error.body or error.code or error.headers
    if status is None and error.retry_after is None and not told:
        return None
    return Report(
        status,
        error.headers,
        error.body,
        error.code,
        error.retry_after,
        str(error.message),
        error.kind,
        error.reason,
        error.rule,
    )


def _foreign(error: BaseException) -> Report | None:
    if any(name in BROKEN_RESPONSES for one in (error, error.__cause__) for name in type_names(one)):
        return None  # aiohttp gives a response that cannot be read a made-up status
    response = _get(error, "response")
    body = _get(error, "body")
    status = next(
        (code for value in _statuses(error, response) if (code := _status(value)) is not None), None
    )
    if status is None and not isinstance(body, dict):
        return None
    if body is None:
        details = _get(error, "details")
        body = details if isinstance(details, dict) else _get(response, "text")
    headers = _get(error, "headers") or _get(response, "headers")
    if isinstance(response, dict):  # botocore's, which is body and metadata in one
        body, headers = response, _get(response.get("ResponseMetadata"), "HTTPHeaders")
    return Report(status, headers, body, _get(error, "code"), _get(error, "retry_after"), text_of(error))


def _statuses(error: BaseException, response: object) -> Iterator[object]:
    for name in ("status_code", "status", "code"):
        yield _get(error, name)
    yield _get(response, "status_code")
    yield _get(_get(response, "ResponseMetadata"), "HTTPStatusCode")


def _status(value: object) -> int | None:
    """A number that is an HTTP status, also where it comes as a text."""
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 100 <= value < 600 else None


def _get(thing: object, name: str) -> object:
    """An attribute or item of somebody else's object; some raise more than AttributeError when asked."""
    try:
        return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # a property may raise anything, and then it says nothing
        return None


def text_of(error: BaseException) -> str:
    """What an exception says of itself; somebody else's may raise when it is asked."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # the same for __str__
        return ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, outermost first; bounded, since causes may form a ring."""
    for _ in range(_DEEPEST_CAUSE):
        if error is None:
            return
        yield error
        error = error.__cause__


def type_names(error: BaseException | None) -> Iterator[str]:
    """The names of an exception's type and of its bases, the most derived first."""
    return (cls.__name__ for cls in type(error).__mro__)


# Its body


class Found:
    """What reading a body has found so far, in the order of the body.

    ``codes`` are folded as in ``rules.CODES``, and ``spelled`` says how each came; ``numbers`` are those that
    may be a status; ``delays`` are what members say that name a wait or its end; ``buckets`` are headers
    that the body quotes; ``param`` is the part of the request that is at fault; ``relayed`` tells
    that the key at fault is a router's own, ``page`` that it is a page of HTML; ``broken`` is the reason if
    none of this means anything.
    """

    __slots__ = (
        "_words", "broken", "buckets", "codes", "delays", "numbers", "page", "param", "relayed", "spelled",
        "texts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.spelled: dict[str, str] = {}
        self.numbers: list[int] = []
        self.texts: list[str] = []
        self.delays: list[object] = []
        self.buckets: object = None
        self.param = ""
        self.relayed = False
        self.page = False
        self.broken = "malformed"
        self._words: str | None = None

    def words(self) -> str:
        """The texts in lower case, without what they quote, as far as they are looked at."""
        if self._words is None:
            whole = "\n".join(self.texts[:_MOST_TEXTS])[:_LONGEST_READ].replace("\u2019", "'")
            told = _QUOTED.sub(_unless_prose, whole)[:_LONGEST_WORDS].lower()
            self._words = _ECHOED.sub("", told)
        return self._words


NOTHING = Found()
"""A body that was not read. Shared, so nothing may be added to it."""


def read(report: Report, headers: Mapping[str, str]) -> Found:
    """Everything in a report that says what it means, leniently: see the corpus of real bodies."""
    found = Found()
    _see_code(found, report.code)
    _see_code(found, headers.get("x-amzn-errortype", "").split(":")[0])
    body = report.body
    if isinstance(body, bytes | bytearray):
        body = bytes(body[:_LONGEST_BODY]).decode("utf-8", "replace")
    if isinstance(body, str):
        body = body[:_LONGEST_BODY].lstrip("\ufeff \t\r\n")
    if body or report.text:
        _walk(found, body or report.text.lstrip())
    if not body and report.status is None:
        found.broken = "unknown"  # nothing came that could be malformed
    return found


def _walk(found: Found, body: object) -> None:
    """Visit the body's members that errors are made of, breadth first, so that the outer ones come first."""
    nodes: list[tuple[object, int]] = [(body, 0 if isinstance(body, str) else 1)]
    for node, nested in nodes:  # grows while it is walked
        if isinstance(node, dict):
            for key, value in node.items():
                name = key.lower().replace("_", "").replace("-", "") if isinstance(key, str) else ""
                if (role := ROLES.get(name)) is not None and value is not None:
                    _see(found, role, name, value, nodes, nested)
        elif isinstance(node, list | tuple):
            nodes.extend((item, nested) for item in node[:_MOST_ITEMS])
        elif isinstance(node, str):
            inside = list(_inside(found, node, nested))
            nodes.extend((item, nested + 1) for item in inside)
            if not inside:
                found.texts.append(node[:_LONGEST_READ])
                found.page = found.page or node.lstrip()[:1] == "<"
                found.broken = "server_error" if nested else found.broken
        if len(nodes) > _MOST_NODES:
            del nodes[_MOST_NODES:]


def _see(
    found: Found, role: str, name: str, value: object, nodes: list[tuple[object, int]], nested: int
) -> None:
    if role in ("code", "status") and not isinstance(value, dict | list):
        _see_code(found, value, only_status=role == "status")
    elif role in ("open", "code", "status") or (role == "group" and isinstance(value, dict | list)):
        nodes.append((value, nested))
    elif role == "delay":
        seconds = seconds_of(value) if name.endswith("ms") else None
        found.delays.append(value if seconds is None else seconds / 1000)
    elif role == "headers":
        found.buckets = found.buckets or value
    elif role == "param":
        found.param = found.param or str(value)[:_LONGEST_CODE]
    elif role == "is_byok":
        found.relayed = found.relayed or value is False
    elif role == "refusal":
        found.codes.append("refusal")


def _see_code(found: Found, value: object, *, only_status: bool = False) -> None:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_CODE:
        spelled = value.strip().rpartition("#")[2]
        if len(spelled) == 3 and spelled.isdecimal():
            found.numbers.append(int(spelled))
        parts = re.split("[.:]", spelled) if _NAMESPACED.fullmatch(spelled) else []
        for part in () if only_status else (spelled, *parts):
            found.codes.append(folded(part))
            found.spelled.setdefault(folded(part), spelled)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1_000_000:
        found.numbers.append(int(value))
        if not only_status:
            found.codes.append(str(value))


def _inside(found: Found, text: str, nested: int) -> Iterator[object]:
    """The JSON that a text is, or the lines or the tail of it are; nothing when it is just text."""
    if nested > _DEEPEST_JSON:
        return
    text = text.strip()
    value, rest = _json(text) if text[:1] in _JSON_STARTS else (None, text)
    if value is not None:
        yield value
    elif rest[:1] in _JSON_STARTS and nested == 0 and rest[0] != '"':
        found.broken = "cut"
    if nested == 0:
        lines = [line.strip().removeprefix("data:").strip() for line in _first_lines(rest)]
        told = [inner for line in lines if line[:1] == "{" and (inner := _json(line)[0]) is not None]
        yield from told
        value = value or told
    if not value and not found.param and (value := _relayed_json(text)) is not None:
        yield value


def _first_lines(text: str) -> list[str]:
    return text[:_LONGEST_READ].splitlines()[:_MOST_ITEMS]


def _relayed_json(text: str) -> object:
    """The JSON in ``SomeError: {…}`` or ``429 {…}``; after a quote or ``got:`` it is the prompt's."""
    before, brace, _ = text.partition("{")
    end = before.rstrip()[-3:]
    if not brace or not (end[-1:] in (":", "-") or end.isdecimal()) or not _QUOTES.isdisjoint(before):
        return None
    if _ECHOED.search(f"{before[-_LONGEST_NAME:].lower()} {{") is not None:
        return None
    return _json(text[len(before) :])[0]


def _json(text: str) -> tuple[object, str]:
    """The value that a text begins with, and what follows it; ``None`` and the text when it is not JSON."""
    try:
        value, end = _decode(text)
    except (ValueError, RecursionError):
        return None, text
    return value, text[end:]


def _unless_prose(quoted: re.Match[str]) -> str:
    """A quoted name stays, since sentences are built around it; what has words in it is somebody's text."""
    text = quoted.group()
    # Chinese and Japanese write words without blanks between them.
    words = any(c.isspace() or c >= "\u3000" for c in text[: _LONGEST_NAME + 1])
    return "'x'" if words or len(text) > _LONGEST_NAME else text
