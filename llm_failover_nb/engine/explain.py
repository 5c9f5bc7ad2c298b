"""A failure in two lines for people: what it is and who says so, then what to do. No verdict is made here.

What a failure means is ``classify``'s to say; this module only puts it into words, and any exception at all
gets some. How an answer or a table of failures looks belongs to whoever shows it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import chain, repeat
from typing import NamedTuple

from llm_failover_nb.engine.classify import Verdict, classify
from llm_failover_nb.engine.errors import (
    AllModelsFailed,
    ChainSpecError,
    DeadlineExceeded,
    ErrorKind,
    FailoverError,
    ProviderError,
    StreamInterrupted,
)
from llm_failover_nb.engine.policy import get_failover_defaults
from llm_failover_nb.engine.reading import causes, read, report_of, text_of, type_names
from llm_failover_nb.engine.secret import redact

__all__ = ["explain"]

# The provider's own words, and names, are quoted no longer than this; a provider may send pages.
_LONGEST_QUOTE = 200
_LONGEST_NAME = 100
_LONGEST_READ = 4_000

# Groups within groups are looked into so far.
_DEEPEST_GROUP = 10

# Reason -> what happened, and what to do. Filled in are the wait that the provider asks for, the setting of
# the time that passed, and the variable that holds a key.
_REASONS = {
    "rate_limit": (
        "too many requests or tokens for now",
        "{wait}, send less at once, or add a model of another provider to the chain",
    ),
    "overloaded": (
        "the provider has no capacity for it now",
        "{wait} and ask again, or add a model of another provider to the chain",
    ),
    "server_error": (
        "an error of the provider's own",
        "{wait} and ask again; if it stays, look at the provider's status page or use another model",
    ),
    "timeout": (
        "no answer came in time",
        "ask again, or for less; {limit}",
    ),
    "connection": (
        "no connection to the provider",
        "check the network, the proxy and base_url, and that the server runs; then ask again",
    ),
    "malformed": (
        "what came is no answer",
        "check that base_url is the address of the API, and that no proxy or login page answers in its place",
    ),
    "cut": (
        "the answer broke off before its end",
        "ask again; with midstream='restart' a chain does so itself",
    ),
    "empty": (
        "the model said nothing",
        "ask again, or put the prompt in other words",
    ),
    "quota": (
        "the account's quota is used up",
        "top up the account or raise the spending limit at the provider",
    ),
    "credentials": (
        "the key or the account is not accepted",
        (
            "check that the key is whole and of this provider, make a new one there if it is, and set it; "
            "then lift the bench, which stands until its time is over"
        ),
    ),
    "region": (
        "the provider does not serve the place where this runs",
        "use a provider, or a regional address of this one, that serves it",
    ),
    "permission": (
        "the key is good, but not for this",
        "give the key's project access to the model at the provider, or use another model",
    ),
    "model_gone": (
        "no such model, or nothing at this address that could answer",
        "compare the model's name with the provider's list, and check base_url",
    ),
    "no_key": (
        "no key is set",
        "set {variable} and ask again",
    ),
    "not_installed": (
        "the local model, or what runs it, is not on this machine",
        "install it as the message says, and ask again",
    ),
    "context_length": (
        "the prompt is larger than the model takes",
        "shorten the prompt or add a model with a larger window to the chain",
    ),
    "content_filter": (
        "refused by the provider's content filter",
        "put the prompt in other words; with content_filter='next' a chain asks its next model",
    ),
    "bad_request": (
        "the request is not one that the model takes",
        "change the parameter or the part of the prompt that the message names",
    ),
    "invalid_answer": (
        "the model answered, but not as it should",
        "say in the prompt what the answer must look like, or add a model that keeps to it to the chain",
    ),
    "benched": (
        "passed by, since it was benched while the call ran",
        "wait until the bench ends, or lift it with unbench_model",
    ),
    "deadline": (
        "cut by the call's own deadline",
        "give a longer deadline, or fewer attempts with max_retries",
    ),
    "unknown": (
        "nothing is known of this failure",
        "read what it says; if you know what it means, tell the chain with classify=",
    ),
}

# The same for a reason of somebody's own, by its kind.
_KINDS = {
    ErrorKind.TRANSIENT: ("a failure that may pass", "{wait} and ask again, or add a model to the chain"),
    ErrorKind.AUTH_DEAD: ("a failure that lasts until somebody acts", "do what the message asks for"),
    ErrorKind.REQUEST_SPECIFIC: ("the model does not take this request", "change the request"),
    ErrorKind.UNKNOWN: _REASONS["unknown"],
}

# The first word of a verdict's rule -> how it was decided; ``{}`` is the rest of the rule.
_RULES = {
    "status": "decided by HTTP {}",
    "given": "decided by the provider that raised it",
    "code": "decided by the code {}",
    "words": "decided by its words",
    "header": "decided by the header {}",
    "finish": "decided by the finish reason {}",
    "type": "decided by the exception's type, {}",
    "errno": "decided by the error number {}",
    "no": "decided by a body that is no answer",
    "relayed": "decided by the key at fault, which is the router's own",
    "unreadable": "it cannot be read",
    "check": "decided by the chain's own check",
    "": "decided by the chain's own classify",
}

_LIMITS = ("connect_timeout", "first_token_timeout", "idle_timeout", "attempt_timeout")

# "no key: set NAME", "the environment variable NAME is not set": as the package's own messages say it.
_VARIABLES = re.compile(r"no key: set ([\w ]{1,200})\Z|(?:environment variable|: set) (\w{1,100})")
# What follows the question mark of an address; some put their key there.
_QUERY = re.compile(r"\?\w{1,50}=[^\s'\")]+")


class _Failure(NamedTuple):
    """One failure to explain: the spec that heads it, where known, and what was special about it."""

    head: str
    error: BaseException
    note: str = ""


def explain(error: BaseException) -> str:
    """Say in two lines what a failure is, which rule decided that, and what to do.

    Args:
        error: Any exception, also of other libraries. Groups, ``AllModelsFailed`` among them, give two lines
            for each member, in order; a wrapper such as ``StreamInterrupted`` gives those of its cause.

    Raises:
        TypeError: When it is no exception. For an exception nothing is ever raised.

    >>> from llm_failover_nb.engine.errors import ProviderError
    >>> print(explain(ProviderError("Slow down.", status=429, model="lab/m", headers={"Retry-After": "90"})))
    lab/m: too many requests or tokens for now (transient, rate_limit; decided by HTTP 429): "Slow down."
    wait 1 min 30 s as the provider asks (a chain benches it meanwhile), send less at once, or add a model \
of another provider to the chain
    """
    given: object = error
    if not isinstance(given, BaseException):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(
            f"explain takes an exception, not {what}: write `except Exception as error:` and pass that error"
        )
    return "\n".join(line for failure in _failures(error) for line in _two_lines(failure))


# What there is to explain


def _failures(error: BaseException) -> Iterator[_Failure]:
    """The failures in an exception, in order: of a group its members, of a wrapper what it wraps."""
    left = [(_Failure("", error), 0)]
    while left:
        failure, depth = left.pop()
        try:
            within = list(_within(failure)) if depth < _DEEPEST_GROUP else []
        except Exception:  # noqa: BLE001  # somebody else's group may raise anything when it is read
            within = []
        if not within:
            yield failure
        left.extend((one, depth + 1) for one in reversed(within))


def _within(failure: _Failure) -> Iterator[_Failure]:
    """What stands in this failure's place; nothing when it stands for itself."""
    head, error, note = failure
    if isinstance(error, AllModelsFailed):
        specs = chain(error.specs, repeat("a model of the chain"))
        for spec, member in zip(specs, error.exceptions, strict=False):
            yield _Failure(spec, member, note)
    elif isinstance(error, BaseExceptionGroup):
        yield from (_Failure(head, member, note) for member in error.exceptions)
    elif isinstance(error, StreamInterrupted):
        if error.__cause__ is not None:
            note = f", after {len(error.text)} characters of its answer"
            yield _Failure(head or error.model, error.__cause__, note)
    elif not _is_the_callers(error) and (wrapped := _wrapped(error)) is not error:
        yield _Failure(head, wrapped, note)


def _wrapped(error: BaseException) -> BaseException:
    """The first among the error and its causes that the package raises about models; else the error."""
    told = (AllModelsFailed, ChainSpecError, DeadlineExceeded, ProviderError, StreamInterrupted)
    return next((one for one in causes(error) if isinstance(one, told)), error)


def _is_the_callers(error: BaseException) -> bool:
    """Whether this is the end that a caller made of a call: an interrupt, a cancellation, an exit."""
    return not isinstance(error, Exception) or "CancelledError" in type_names(error)


# Two lines for one


def _two_lines(failure: _Failure) -> tuple[str, str]:
    try:
        head = _one_line(failure.head or _model(failure.error), _LONGEST_NAME)
        what, then = _told(failure.error, head, failure.note)
    except Exception:  # noqa: BLE001  # the exception may be anybody's, and explaining must not add another
        return f"{_name(failure.error)} cannot be read", "look at its traceback"
    return (f"{head}: {what}" if head else what), then


def _model(error: BaseException) -> str:
    return error.model if isinstance(error, ProviderError | StreamInterrupted) else ""


def _name(error: BaseException) -> str:
    return _one_line(type(error).__name__, _LONGEST_NAME)


def _told(error: BaseException, head: str, note: str) -> tuple[str, str]:
    """What happened, and what to do."""
    name, said = _name(error), _quoted(_said(error).removeprefix(f"{head}: "))
    if isinstance(error, BaseExceptionGroup):
        return f"{name}, with groups in it too deep to look into{said}", "look at its traceback"
    if _is_the_callers(error):
        return (
            f"ended by the caller ({name}), which says nothing of any model{said}",
            "ask again when you want the answer; nothing was benched for it",
        )
    if isinstance(error, DeadlineExceeded):
        _, then = _REASONS["deadline"]
        kept = "; what had come of the answer is its text" if error.text else ""
        return f"the deadline over the whole call passed ({name}){said}", f"{then}{kept}"
    if isinstance(error, ChainSpecError):
        then = "correct the chain that the message names: provider/model, joined by commas"
        return f"no failure of a model, but of the chain as it is written ({name}){said}", then
    verdict = classify(error)
    report = report_of(error)
    if verdict.reason == "unknown" and report is None and not (head or note):
        then = "correct what the message names, or the line that raised it; no model is benched for it"
        return f"no failure of a model ({name}){said}", then
    what, then = _REASONS.get(verdict.reason) or _KINDS[verdict.kind]
    status = report.status if report is not None else None
    return f"{what}{note} ({_facts(verdict, status)}){said}", _remedy(error, verdict, status, then)


def _facts(verdict: Verdict, status: int | None) -> str:
    """Kind and reason, which rule decided, and the status."""
    names = dict.fromkeys((verdict.kind.value, _one_line(verdict.reason, _LONGEST_NAME)))
    facts = [_decided(verdict.rule)]
    if status is not None and not verdict.rule.startswith("status "):
        facts.append(f"HTTP {status}")
    return f"{', '.join(names)}; {', '.join(facts)}"


def _decided(rule: str) -> str:
    word, _, rest = _one_line(rule, _LONGEST_NAME).partition(" ")
    if word in _RULES:
        return _RULES[word].replace("{}", rest)
    return f"decided by {word} {rest}"


def _remedy(error: BaseException, verdict: Verdict, status: int | None, then: str) -> str:
    """What to do, and for how long nothing else helps, where the provider says so."""
    text = text_of(error)
    asked, lasts = verdict.retry_after, verdict.lasts
    wait = f"wait {_duration(asked)} as the provider asks{_benched(asked)}" if asked else ""
    named = _VARIABLES.search(text)
    filled = then.format_map(
        {
            "wait": wait or "wait a little",
            "limit": _limit(text, status),
            "variable": named[1] or named[2] if named else "the variable that the message names",
        }
    )
    if wait and "{wait}" not in then:
        return f"{filled}; {wait}"
    if lasts:
        return f"{filled}; by itself it ends in {_duration(lasts)}, as the provider says{_benched(lasts)}"
    return filled


def _limit(text: str, status: int | None) -> str:
    """Whose limit of time has passed."""
    if status is not None and status >= 400:
        return "the limit that passed is the provider's own"
    named = next((name for name in _LIMITS if name in text), "the timeouts of the chain")
    return f"if it needs longer, raise {named}"


def _benched(seconds: float) -> str:
    """What a chain does with such a wait."""
    policy = get_failover_defaults()
    if seconds <= policy.max_wait:
        return ""
    most = f" for {_duration(policy.max_bench)} of it" if seconds > policy.max_bench else " meanwhile"
    return f" (a chain benches it{most})"


def _duration(seconds: float) -> str:
    """Seconds as people say them, in at most two units, rounded up.

    >>> _duration(0.25), _duration(6836.8), _duration(86_400.0)
    ('0.25 s', '1 h 54 min', '1 d')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = math.ceil(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            number, rest = divmod(math.ceil(whole / part), length // part)
            return f"{number} {unit} {rest} {smaller}" if rest else f"{number} {unit}"
    return f"{whole} s"


# Its words


def _said(error: BaseException) -> str:
    """What the failure says itself, or the body that it carries where its own text only repeats that."""
    text = text_of(error)
    if text and isinstance(error, FailoverError):
        return text
    report = report_of(error)
    texts = read(report, {}).texts if report is not None and report.body else []
    return next((one for one in texts if one.strip() and not one.lstrip().startswith("<")), text)


def _quoted(text: str) -> str:
    """Somebody's words, once, in one short line; nothing when there are none."""
    line = _one_line(_QUERY.sub("?…", text), _LONGEST_QUOTE)
    return ': "{}"'.format(line.replace('"', "'")) if line else ""


def _one_line(text: str, longest: int) -> str:
    """A text of any origin in one line: masked, without what a terminal would act on, and cut."""
    printable = "".join(c if c.isprintable() else " " for c in redact(text)[:_LONGEST_READ])
    line = " ".join(printable.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
