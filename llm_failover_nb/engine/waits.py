"""How long a failed response asks to wait, in seconds: from headers, from values in a body, from its words.

Only reading: what a failure means is decided in ``classify``, how long is really waited in ``policy``. Every
reader gives ``None`` for what it cannot read, so that garbage falls through to the next source, and every
number it gives is finite and not negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import isfinite

from llm_failover_nb.engine.clock import SystemClock

__all__ = ["body_wait", "fold_headers", "header_wait", "longer_wait", "reset_wait", "seconds_of"]

# No wait is longer in writing; more is not looked at.
_LONGEST_TEXT = 64

# A number above these is a moment, not a duration: thirty years in seconds, three in milliseconds.
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e11

# A body outweighs a header from here on: below, they only round differently.
_MUCH_LONGER = 2.0

_TELLING = frozenset(
    {
        "cf-mitigated",
        "retry-after",
        "retry-after-ms",
        "x-amzn-errortype",
        "x-ms-retry-after-ms",
        "x-should-retry",
    }
)

_SPENT_BUCKET = re.compile(r"\br(?:emaining)?=0\s?[;,]\s?(?:t|reset)=(\d{1,15})\b")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

_UNIT = (
    r"(?:ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])"
)
_PART = rf"\d{{1,15}}(?:\.\d{{1,15}})?\s?{_UNIT}"
_DURATION = rf"{_PART}(?:(?:,|,? and)?\s?{_PART}){{0,5}}"

_NUMBER_AND_UNIT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s?(ms|milli|[smhdw])")
_WHOLE_DURATION = re.compile(_DURATION)
_NUMBER = re.compile(r"[+-]?\d{1,300}(?:\.\d{0,300})?(?:e[+-]?\d{1,3})?")

# What a sentence that asks to wait begins with, and how it may go on.
_AGAIN = re.compile(
    r"\b(?:(wait)|try(?:ing)?(?: it)? again|retry(?:ing)?|resets?|available(?: again)?|regain access|renews?"
    r"|refresh(?:es)?|restored|replenished)(?![a-z])"
)
# "try again in 1h53m56.8s", "retry after 22 seconds", "wait 47 seconds", "retry-after: 30" and
# "regain access in 3 days" ask; a bare "per 60 seconds" is the length of a window.
_FOR = r"[ :=\"]{0,4}(?:(?:for|at least|about|around|approximately|another) ){0,2}"
_LONG = rf"(?:({_DURATION})|(\d{{1,15}}(?:\.\d{{1,15}})?)(?=$|[,;)\"\n]|\.(?!\d)))"
_WAIT = re.compile(rf"(?:[ _-]?(?:in|after)\b)?{_FOR}{_LONG}")
_IN = re.compile(rf"[ _-]?(?:in|after)\b{_FOR}{_LONG}")
# "Quota will be replenished in 12:34:56"; after "at" it would be a time of day.
_IN_CLOCK = re.compile(r" in (\d{1,3}):([0-5]\d):([0-5]\d)(?![\w:])")
# "regain access on 2026-02-01 at 00:00 UTC", "resets at 2026-02-01T00:00:00+01:00", "resets at midnight UTC",
# "available again tomorrow at 09:00 UTC": only with UTC or an offset is a moment the same everywhere.
_AT = r"(?: daily| every day)?(?: (?:on|at|after|until|by)|[:=])?[:=\"' ]{0,3}"
_TIME = r"(\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)"
_ZONE = r"\s?\(?(z|utc|gmt|[+-]\d{2}:?\d{2})(?![\w+:-])(?!\s?[+-]\d)"
_AT_A_DATE = re.compile(rf"{_AT}(\d{{4}}-\d{{2}}-\d{{2}})(?:t|,? (?:at )?){_TIME}{_ZONE}")
_AT_A_TIME = re.compile(rf"{_AT}(tomorrow )?(?:at )?(?:{_TIME}|midnight){_ZONE}")


def fold_headers(headers: object) -> Mapping[str, str]:
    """The headers that tell something of a failure, by their names in lower case.

    Args:
        headers: Of any make: a mapping, or pairs; of str or bytes. What is neither counts as none.
    """
    if isinstance(headers, Mapping) or hasattr(headers, "items"):
        headers = headers.items()
    if not isinstance(headers, Iterable):
        return {}
    folded: dict[str, str] = {}
    for pair in headers:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            continue
        name = pair[0].lower() if isinstance(pair[0], str) else _text(pair[0]).lower()
        if name in _TELLING or "ratelimit" in name or "rate-limit" in name:
            folded[name] = _text(pair[1])
    return folded


def header_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """What ``retry-after-ms``, ``x-ms-retry-after-ms`` or ``retry-after`` says, in this order.

    Args:
        headers: As :func:`fold_headers` gives them.
        now: The moment from which a date counts; the clock's when not given. A past date is 0.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := _number(headers.get(name, ""))) is not None and milliseconds >= 0:
            return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = seconds_of(text)
    return seconds if seconds is not None else _until(text, now)


def body_wait(delays: Iterable[object], text: str, now: datetime | None = None) -> float | None:
    """What a body asks for: the first delay that can be read, else the longest one in its words.

    Args:
        delays: Values of members such as ``retryDelay``, ``estimated_time`` and ``resets_at``.
        text: The body's words in lower case, without what they quote.
        now: The moment from which moments count; the clock's when not given. Past ones ask for nothing.
    """
    told = [seconds for delay in delays if (seconds := _reset(delay, now)) is not None]
    if told:
        return next(filter(None, told), 0.0)  # a moment that is past says less than the others
    asked = [_asked(text, match, now) for match in _AGAIN.finditer(text)]
    return max((seconds for seconds in asked if seconds is not None), default=None)


def reset_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The longest ``…ratelimit…reset…`` of the buckets of which nothing remains.

    Buckets with something left say nothing about this failure. Values are durations (``1m2.5s``), seconds,
    epoch seconds, epoch milliseconds or RFC 3339 dates. One header for all, ``RateLimit: "day";r=0;t=30``, is
    that of the IETF's draft-ietf-httpapi-ratelimit-headers; earlier drafts wrote ``remaining=0, reset=30``.
    """
    waits = [
        wait
        for name, text in headers.items()
        if "reset" in name and _is_spent(headers, name)
        if (wait := _reset(text, now)) is not None
    ]
    waits += [float(seconds) for seconds in _SPENT_BUCKET.findall(headers.get("ratelimit", ""))]
    return max(waits, default=None)


def longer_wait(header: float | None, body: float | None) -> float | None:
    """The header's wait, unless the body's is much longer: then the header speaks of another bucket."""
    if header is None or body is None:
        return body if header is None else header
    return body if body > _MUCH_LONGER * header + 1 else header


def seconds_of(value: object) -> float | None:
    """Seconds in a number, a numeric text, a duration (``"37s"``, ``"1h2m"``) or ``{"seconds", "nanos"}``.

    ``None`` for everything else, also for what is negative, infinite or no number.
    """
    if isinstance(value, Mapping):
        whole, nanos = _number(value.get("seconds", 0)), _number(value.get("nanos", 0))
        seconds = whole + nanos / 1e9 if whole is not None and nanos is not None else None
    elif isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        text = value.strip().lower()
        seconds = _duration(text) if _WHOLE_DURATION.fullmatch(text) else _number(text)
    else:
        seconds = _number(value)
    # The sum of two finite numbers need not be one.
    return seconds if seconds is not None and seconds >= 0 and isfinite(seconds) else None


def _number(value: object) -> float | None:
    """A finite number, or ``None``."""
    if isinstance(value, str):
        text = value.strip().lower()
        if len(text) > _LONGEST_TEXT or _NUMBER.fullmatch(text) is None:
            return None
        number = float(text)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number if isfinite(number) else None


def _duration(text: str) -> float:
    """The sum of the parts of a text that is known to be a duration."""
    return sum(
        float(number) * _UNITS["ms" if unit == "milli" else unit]
        for number, unit in _NUMBER_AND_UNIT.findall(text)
    )


def _asked(text: str, begun: re.Match[str], now: datetime | None) -> float | None:
    """The wait in a sentence that has begun to ask for one."""
    there = begun.end()
    if told := (_WAIT if begun[1] else _IN).match(text, there):
        duration, bare = told.groups()
        return _duration(duration) if duration is not None else _number(bare)
    if told := _IN_CLOCK.match(text, there):
        hours, minutes, seconds = map(int, told.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    if told := _AT_A_DATE.match(text, there):
        date, time, zone = told.groups()
        return _until_date(date, time, zone, now)
    if told := _AT_A_TIME.match(text, there):
        tomorrow, time, zone = told.groups()
        return _until_time(tomorrow, time, zone, now)
    return None


def _is_spent(headers: Mapping[str, str], reset: str) -> bool:
    left = _number(headers.get(reset.removesuffix("-after").replace("reset", "remaining"), ""))
    if left is not None:
        return left <= 0
    return headers.get(reset.replace("reset", "status"), "").strip().lower() == "rejected"


def _until_date(date: str, time: str, zone: str, now: datetime | None) -> float | None:
    return _until(f"{date}T{time.zfill(5)}{_offset(zone)}", now) or None


def _until_time(tomorrow: str | None, time: str | None, zone: str, now: datetime | None) -> float | None:
    """Seconds until a time of day, which is the next one unless it is tomorrow's."""
    start = _aware(now or SystemClock.now())
    try:
        told = datetime.fromisoformat(f"{start.date()}T{(time or '0:00').zfill(5)}{_offset(zone)}")
    except ValueError:
        return None
    today = start.astimezone(told.tzinfo)
    moment = told.replace(year=today.year, month=today.month, day=today.day)
    if tomorrow or moment <= today:
        moment += timedelta(days=1)
    return (moment - today).total_seconds()


def _offset(zone: str) -> str:
    return zone if zone[0] in "+-" else "+00:00"


def _reset(value: object, now: datetime | None) -> float | None:
    """Seconds until what a member or header says: a duration, or a moment as a number or a text."""
    seconds = seconds_of(value)
    if seconds is None:
        return _until(value, now) if isinstance(value, str) else None
    if seconds >= _EPOCH_MILLISECONDS:
        return _ahead(seconds / 1000, now)
    return _ahead(seconds, now) if seconds >= _EPOCH_SECONDS else seconds


def _until(text: str, now: datetime | None) -> float | None:
    """Seconds from ``now`` to an RFC 3339 or HTTP date."""
    text = text.strip()
    if len(text) > _LONGEST_TEXT:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return _ahead(_aware(read(text)).timestamp(), now)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _ahead(moment: float, now: datetime | None) -> float:
    """Seconds from ``now`` to a moment of the epoch; 0 when it is past."""
    return max(0.0, moment - _aware(now or SystemClock.now()).timestamp())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
