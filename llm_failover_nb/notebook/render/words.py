"""Reasons, benches, times and numbers, as a person says them. Words alone: no markup, no layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from llm_failover_nb.engine.bench import BenchedModel
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.events import AttemptRecord

__all__ = [
    "REASONS",
    "UNKNOWN_REASON",
    "bench_after",
    "bench_words",
    "counted",
    "duration",
    "is_not_installed",
    "length_words",
    "money_words",
    "one_and_another",
    "reason_words",
    "time_of_day",
    "words_or_characters",
]

# reason -> what happened, and what a person can do. `%llm explain` says the same at more length.
REASONS = {
    "rate_limit": ("too many requests or tokens for now", "wait a little, or add a model to the chain"),
    "overloaded": ("overloaded", "try again in a few minutes, or add a model to the chain"),
    "server_error": (
        "an error of the provider's own",
        "try again in a few minutes, or add a model to the chain",
    ),
    "timeout": ("no answer came in time", "try again, or ask for less; is the server still starting?"),
    "connection": ("no connection", "check the network, base_url, and that the server runs"),
    "malformed": ("what came is no answer", "try again; does this address speak the wire it should?"),
    "cut": ("the answer broke off", "try again, or add a model to the chain"),
    "empty": ("the model said nothing", "ask again, or put the prompt in other words"),
    "quota": ("the account's quota is used up", "add credit or raise the limit at the provider"),
    "credentials": (
        "the key was refused",
        "check the key, set it anew, and lift the bench: %llm unbench MODEL",
    ),
    "region": ("not served from here", "use a model that is served where you are"),
    "permission": (
        "the key is good, but not for this",
        "ask for access at the provider, or use another model",
    ),
    "model_gone": ("no such model", "check the model's name, and base_url where the provider is your own"),
    "not_installed": ("not installed", "install it, and run the cell again"),
    "no_key": ("no key", "set its variable, and run the cell again"),
    "context_length": (
        "the prompt is larger than the model takes",
        "shorten it, or add a model with more context",
    ),
    "content_filter": ("refused by its content filter", "reword the prompt, or ask another model on purpose"),
    "bad_request": ("the request was refused", "change the parameter or the prompt that it names"),
    "invalid_answer": (
        "the answer did not pass the check",
        "say in the prompt what the answer must look like, or add a model that keeps to it",
    ),
    "benched": ("benched", "%llm unbench lifts it"),
    "deadline": ("cut by the deadline", "give a longer deadline"),
}

UNKNOWN_REASON = ("failed", "read what it says, or add a model to the chain")


def reason_words(reason: str, status: int | None) -> str:
    words, _ = REASONS.get(reason, UNKNOWN_REASON)
    return f"{words}, HTTP {status}" if status is not None else words


def is_not_installed(error: Exception) -> bool:
    return isinstance(error, ProviderError) and error.reason == "not_installed"


def bench_words(bench: BenchedModel, now: datetime, zone: tzinfo | None = None) -> str:
    """A bench in words, such as ``benched until 14:05:10, 4 min left``."""
    by = " by hand" if bench.manual else ""
    if bench.until is None:
        return f"benched{by} until lifted"
    left = (bench.until - now).total_seconds()
    return f"benched{by} until {time_of_day(bench.until, now, zone)}, {duration(left)} left"


def bench_after(record: AttemptRecord, zone: tzinfo | None) -> str:
    if not record.benched:
        return "not benched"
    if math.isinf(record.benched_for):
        return "benched until lifted"
    until = record.time + timedelta(seconds=record.benched_for)
    return f"benched for {duration(record.benched_for)}, until {time_of_day(until, record.time, zone)}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def length_words(text: str) -> str:
    """How long a text is, such as ``240 words``; in characters where it is not written in words."""
    words = len(text.split())
    return words_or_characters(words, len(text))


def words_or_characters(words: int, characters: int) -> str:
    """The same of counts that are already there."""
    if words and characters > 15 * words:  # Chinese, Japanese and Thai set no spaces
        return f"{characters:,} characters"
    return f"{words:,} word{'' if words == 1 else 's'}"


def money_words(dollars: float) -> str:
    """A price in USD, to two digits that say something.

    >>> money_words(0.0000123), money_words(0.5), money_words(12.345), money_words(0.0)
    ('0.000012 USD', '0.50 USD', '12.35 USD', '0 USD')
    """
    if dollars <= 0:
        return "0 USD"
    places = 2 if dollars >= 0.1 else min(12, 1 - math.floor(math.log10(dollars)))
    return f"{dollars:,.{places}f} USD"


def one_and_another(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "under 0.01 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5_970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def time_of_day(moment: datetime, now: datetime, zone: tzinfo | None) -> str:
    """A time of day, with its date where it is not soon.

    Args:
        moment: Which, aware.
        now: What it is near to or far from, aware.
        zone: Whose time of day; the machine's own unless given.
    """
    soon = abs(moment - now) < timedelta(hours=18)
    try:
        here = moment.astimezone(zone)
    except OverflowError:  # at an end of the calendar
        here = moment
    return f"{here:{'%H:%M:%S' if soon else '%Y-%m-%d %H:%M'}}"
