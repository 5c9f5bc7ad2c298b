"""Two lines for any failure: what it is and who says so, then what to do."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llm_failover_nb as fo
from llm_failover_nb.engine.classify import Verdict
from llm_failover_nb.engine.explain import explain
from llm_failover_nb.engine.rules import KINDS
from llm_failover_nb.engine.secret import MASK
from tests.engine.conftest import Bed, dead, down, flood


def failed(message: str = "", **told: Any) -> fo.ProviderError:
    return fo.ProviderError(message, **told)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def what(error: BaseException) -> str:
    """The first line."""
    return explain(error).split("\n")[0]


def remedy(error: BaseException) -> str:
    """The second line."""
    return explain(error).split("\n")[1]


def ended(chain: fo.Chain) -> fo.FailoverError:
    """What a call through the chain ends with."""
    with pytest.raises(fo.FailoverError) as raised:
        chain.complete("hi")
    return raised.value


# One failure


def test_first_line_says_what_and_who_decided() -> None:
    """Model, what happened, kind, reason, rule and status, then the provider's words."""
    body = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    error = failed("You exceeded your quota", status=429, body=body, model="openai/gpt-x")
    assert what(error) == (
        "openai/gpt-x: the account's quota is used up (auth_dead, quota; decided by the code "
        'insufficient_quota, HTTP 429): "You exceeded your quota"'
    )


def test_second_line_says_what_to_do() -> None:
    """Concretely, and for this reason."""
    assert remedy(failed(status=402)) == "top up the account or raise the spending limit at the provider"


@pytest.mark.parametrize("reason", KINDS)
def test_every_reason_is_worded(reason: str) -> None:
    """Each reason has words of its own for what it is, and names itself beside its kind."""
    line = what(failed(kind=KINDS[reason], reason=reason))
    assert f"({', '.join(dict.fromkeys((KINDS[reason].value, reason)))}; " in line


def test_every_reason_has_a_remedy_of_its_own() -> None:
    """No two reasons advise the same, so none is forgotten."""
    errors = [failed(kind=kind, reason=reason) for reason, kind in KINDS.items()]
    assert len({remedy(error) for error in errors}) == len(KINDS)
    assert len({what(error).partition(" (")[0] for error in errors}) == len(KINDS)


@pytest.mark.parametrize("kind", fo.ErrorKind)
def test_reason_of_somebody_elses(kind: fo.ErrorKind) -> None:
    """A reason outside the list is explained by its kind."""
    lines = explain(failed("odd", kind=kind, reason="mine")).split("\n")
    assert f"({kind}, mine; decided by the provider that raised it)" in lines[0]
    assert lines[1]


@pytest.mark.parametrize(
    ("error", "decided"),
    [
        (failed(status=503), "(transient, overloaded; decided by HTTP 503)"),
        (failed("Insufficient balance", status=403), "decided by its words, HTTP 403"),
        (failed(status=403, headers={"cf-mitigated": "challenge"}), "decided by the header cf-mitigated"),
        (failed(body='{"choices":[{"finish_reason":"content_filter"}]}'), "the code content_filter)"),
        (failed(body='{"candidates":[{"finishReason":"SAFETY"}]}'), "decided by the finish reason SAFETY)"),
        (failed(status=200, body="<html>"), "decided by a body that is no answer, HTTP 200)"),
        (failed(kind=fo.ErrorKind.TRANSIENT), "decided by the provider that raised it"),
        (httpx.ReadTimeout("slow"), "decided by the exception's type, ReadTimeout)"),
        (OSError(111, "refused"), "decided by the exception's type, ConnectionError)"),
        (OSError(101, "no route"), "decided by the error number ENETUNREACH)"),
    ],
)
def test_rule_in_words(error: Exception, decided: str) -> None:
    """Whatever decided is named."""
    assert decided in what(error)


def test_rule_of_the_chains_own_classifier(bed: Bed) -> None:
    """A classifier's verdict without a rule is called its own; its rule, if it names one, is repeated."""
    verdicts = iter(
        [Verdict(fo.ErrorKind.AUTH_DEAD, "mine"), Verdict(fo.ErrorKind.AUTH_DEAD, "x", rule="{oh}")]
    )
    chain = bed.chain({"a": down(), "b": down()}, classify=lambda error: next(verdicts))
    told = explain(ended(chain)).split("\n")
    assert "decided by the provider that raised it" in told[0]
    assert "decided by {oh}" in told[2]


# How long


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.25, "wait 0.25 s as the provider asks and"),
        (7, "wait 7 s as the provider asks and"),
        (36.2, "wait 37 s as the provider asks (a chain benches it meanwhile) and"),
        (90, "wait 1 min 30 s as"),
        (6836.8, "wait 1 h 54 min as"),
        (86400, "wait 1 d as the provider asks (a chain benches it meanwhile)"),
        (86399, "wait 24 h as"),
        (200_000, "wait 2 d 8 h as the provider asks (a chain benches it for 1 d of it)"),
        (0, "wait a little and"),
    ],
)
def test_wait_that_the_provider_asks_for(seconds: float, said: str) -> None:
    """A wait is said as people say it, with what a chain makes of it."""
    assert remedy(failed(status=503, retry_after=seconds)).startswith(said)


def test_wait_beside_a_remedy_without_one() -> None:
    """A failure that is not about waiting names the wait that it asks for, too."""
    assert remedy(failed(status=504, retry_after=3)).endswith("; wait 3 s as the provider asks")


def test_end_that_the_provider_names() -> None:
    """A quota that ends by itself says when, and for how long of that a chain benches."""
    error = failed("It resets in 3 days", status=429, code="insufficient_quota")
    assert remedy(error).endswith(
        "; by itself it ends in 3 d, as the provider says (a chain benches it for 1 d of it)"
    )


@pytest.mark.parametrize(
    "name", ["connect_timeout", "first_token_timeout", "idle_timeout", "attempt_timeout"]
)
def test_timeout_names_its_setting(name: str) -> None:
    """A limit of the chain's is the one to raise."""
    error = failed(f"no answer within 5 s ({name})", kind=fo.ErrorKind.TRANSIENT, reason="timeout")
    assert remedy(error).endswith(f"if it needs longer, raise {name}")


def test_timeout_of_the_provider_is_its_own() -> None:
    """No setting of ours would help against a 504."""
    assert remedy(failed(status=504)).endswith("the limit that passed is the provider's own")


# Keys


def test_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of the very provider is the one to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert remedy(ended(fo.parse_chain("openai/gpt-x"))) == "set OPENAI_API_KEY and ask again"


@pytest.mark.parametrize(
    ("message", "then"),
    [
        ("no key: set A_URL and A_KEY", "set A_URL and A_KEY and ask again"),
        ("lab has no key: the environment variable LAB_KEY is not set; set it", "set LAB_KEY and ask again"),
        ("nothing to sign with", "set the variable that the message names and ask again"),
    ],
)
def test_variables_as_messages_name_them(message: str, then: str) -> None:
    """Several variables are named together; a message that names none is pointed to."""
    assert remedy(failed(message, kind=fo.ErrorKind.AUTH_DEAD, reason="no_key")) == then


# Its words


def test_words_are_one_short_line() -> None:
    """Pages are cut, and no line of theirs begins a third one."""
    first, second = explain(failed("a\n\u2028b\x1b[31m " + "x" * 5000, status=500)).split("\n")
    assert first.endswith('x…"')
    assert ': "a b [31m xxx' in first
    assert len(first) < 400
    assert len([first, second]) == len(explain(failed("a\u2029b\x85c\rd")).splitlines())


def test_quotes_within_a_quote() -> None:
    """Double quotes in the provider's words do not end the quote."""
    assert what(failed('model "x" not found', status=404)).endswith(""": "model 'x' not found\"""")


def test_secrets_are_masked() -> None:
    """A key that a provider echoes is not handed on, not even its first half."""
    fo.Secret("sk-canary-explained")
    text = explain(failed("x" * 190 + " sk-canary-explained", status=401, model="lab/sk-canary-explained"))
    assert "canary" not in text
    assert f"lab/{MASK}: " in text


def test_key_in_an_address_is_left_out() -> None:
    """Some send the key in the address, and some exceptions print that."""
    error = ConnectionError("failed with url: /v1beta/models?key=AIza-unknown-to-us (refused)")
    assert what(error).endswith('with url: /v1beta/models?… (refused)"')


def test_model_is_named_once() -> None:
    """A message that begins with the model does not repeat it."""
    assert what(failed("lab/a: down", status=503, model="lab/a")).count("lab/a") == 1


def test_words_of_a_body() -> None:
    """Without a message of its own, the error quotes the body; a page is nothing to quote."""
    assert what(failed(status=500, body='{"detail": "engine died"}')).endswith(': "engine died"')
    assert what(failed(status=502, body="<html>\n<title>Bad gateway</title>")).endswith("HTTP 502)")


# Groups and wrappers


def test_all_failed_gives_two_lines_a_model(bed: Bed) -> None:
    """Each entry is explained in its turn, headed by its spec."""
    chain = bed.chain({"a": dead(), "b": flood(7200), "c": KeyError("odd")}, max_retries=1)
    lines = explain(ended(chain)).split("\n")
    assert [line.partition(" (")[0] for line in lines[::2]] == [
        "a/m: the key or the account is not accepted",
        "b/m: too many requests or tokens for now",
        "c/m: nothing is known of this failure",
    ]
    assert lines[3].startswith("wait 2 h as the provider asks (a chain benches it meanwhile)")
    assert len(lines) == 6


def test_group_without_specs() -> None:
    """What stands in a chain's group is a model's failure though nobody says whose."""
    assert what(fo.AllModelsFailed("x", [KeyError("odd")])).startswith(
        "a model of the chain: nothing is known"
    )


def test_any_group_is_looked_into() -> None:
    """Groups within groups give their members in order, those that are no model's failure among them."""
    group = BaseExceptionGroup(
        "all", [down(model="a/b"), ExceptionGroup("more", [KeyError("k"), down(500)]), KeyboardInterrupt()]
    )
    begins = [
        "a/b: the provider has no",
        "no failure of a model (KeyError)",
        "an error of the",
        "ended by the",
    ]
    lines = explain(group).split("\n")[::2]
    assert [line.startswith(begin) for line, begin in zip(lines, begins, strict=True)] == [True] * 4


def test_groups_without_end() -> None:
    """Groups are looked into only so far."""
    error: Exception = ValueError("at the bottom")
    for _ in range(5000):
        error = ExceptionGroup("deeper", [error])
    assert explain(error).split("\n") == [
        'ExceptionGroup, with groups in it too deep to look into: "deeper (1 sub-exception)"',
        "look at its traceback",
    ]


def test_interrupted_stream_explains_its_cause() -> None:
    """What broke the stream is explained, and how much had come."""
    error = caused(fo.StreamInterrupted("it failed", text="Once", model="lab/a"), down())
    assert what(error) == (
        "lab/a: the provider has no capacity for it now, after 4 characters of its answer "
        '(transient, overloaded; decided by HTTP 503): "status 503"'
    )


def test_interrupted_stream_without_a_cause() -> None:
    """Then it was cut."""
    error = fo.StreamInterrupted("it failed", text="Once", model="lab/a")
    assert what(error).startswith("lab/a: the answer broke off before its end (transient, cut; ")


def test_interrupted_stream_with_an_odd_cause() -> None:
    """Whatever came in the middle of an answer is that model's failure."""
    assert "no failure" not in what(caused(fo.StreamInterrupted("it failed", text="Once"), KeyError("k")))


@pytest.mark.parametrize("wrapper", [fo.FailoverError("the cell failed"), RuntimeError("my pipeline")])
def test_wrapper_explains_its_cause(wrapper: Exception) -> None:
    """An error raised from one of the package's stands for that."""
    group = fo.AllModelsFailed("all", [down(), down(401)], ["a/m", "b/m"])
    assert explain(caused(wrapper, group)) == explain(group)


# What is no model's failure


def test_deadline_names_its_setting() -> None:
    """The deadline is the knob, and the text so far is not lost."""
    error = caused(fo.DeadlineExceeded("failover: the deadline of 2 s passed", text="Once"), down())
    assert explain(error).split("\n") == [
        'the deadline over the whole call passed (DeadlineExceeded): "failover: the deadline of 2 s passed"',
        "give a longer deadline, or fewer attempts with max_retries; what had come of the answer is its text",
    ]
    assert remedy(fo.DeadlineExceeded("late")) == "give a longer deadline, or fewer attempts with max_retries"


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        SystemExit(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__module__ + type(error).__name__,
)
def test_cancellation_is_the_callers(error: BaseException) -> None:
    """An interrupt says nothing of a model, whatever had failed before."""
    assert what(caused(error, down(401))) == (
        f"ended by the caller ({type(error).__name__}), which says nothing of any model"
    )
    assert "benched" in remedy(error)


def test_chain_that_cannot_be_read() -> None:
    """The chain's own message is kept, and the form to write is said."""
    with pytest.raises(fo.ChainSpecError) as raised:
        fo.parse_chain("opnai/gpt-x")
    assert explain(raised.value).split("\n") == [
        f'no failure of a model, but of the chain as it is written (ChainSpecError): "{raised.value}"',
        "correct the chain that the message names: provider/model, joined by commas",
    ]


@pytest.mark.parametrize("error", [TypeError("a prompt is a str"), KeyError("x"), ValueError()])
def test_bug_is_no_models_failure(error: Exception) -> None:
    """An error of the program says so, with its own message."""
    lines = explain(error).split("\n")
    quote = f': "{error}"' if str(error) else ""
    assert lines[0] == f"no failure of a model ({type(error).__name__}){quote}"
    assert lines[1].startswith("correct what the message names")


@pytest.mark.parametrize(
    ("given", "named"), [("boom", "not str"), (None, "not NoneType"), (KeyError, "class KeyError")]
)
def test_what_is_no_exception(given: Any, named: str) -> None:
    """Anything else is a mistake of the caller, who is told what to pass."""
    with pytest.raises(TypeError, match=rf"{named}.*pass that error"):
        explain(given)


# Other people's exceptions


class RateLimitError(Exception):
    """As the openai client raises it."""

    status_code = 429
    body: ClassVar = {"message": "You exceeded your quota", "code": "insufficient_quota"}


class HTTPError(OSError):
    """As requests raises it."""

    class response:  # noqa: N801  # an attribute of theirs
        status_code = 404
        text = '{"error": {"message": "no such model", "code": "model_not_found"}}'


@pytest.mark.parametrize(
    ("error", "decided", "said"),
    [
        (
            RateLimitError("Error code: 429"),
            "the code insufficient_quota, HTTP 429",
            "You exceeded your quota",
        ),
        (HTTPError("404 Client Error"), "the code model_not_found, HTTP 404", "no such model"),
    ],
    ids=["openai", "requests"],
)
def test_exceptions_of_other_clients(error: Exception, decided: str, said: str) -> None:
    """Status and body are found where other clients keep them, and the body's words are quoted."""
    assert what(error).endswith(f'; decided by {decided}): "{said}"')


# Anything at all


class Hostile(Exception):
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    @property
    def response(self) -> object:
        raise RuntimeError("closed")


class HostileGroup(ExceptionGroup[Exception]):
    """A group that cannot be looked into."""

    @property
    def exceptions(self) -> Any:  # type: ignore[override]  # on purpose
        raise RuntimeError("gone")


def test_exception_that_cannot_be_read() -> None:
    """What breaks while it is read is named at least."""
    error = failed("odd", status=500)
    error.model = 7  # type: ignore[assignment]  # on purpose
    assert explain(error).split("\n") == ["ProviderError cannot be read", "look at its traceback"]
    assert what(Hostile()) == "no failure of a model (Hostile)"
    assert what(HostileGroup("x", [KeyError()])).startswith("HostileGroup")


texts = st.text(max_size=30) | st.sampled_from(
    ["{wait}", "{}", "%s", '"', "\u2028", "\x1b[0m", "\ud83d", "x" * 999]
)
provider_errors = st.builds(
    failed,
    texts,
    status=st.none() | st.integers(100, 600),
    code=st.none() | texts,
    retry_after=st.none() | st.floats(),
    model=texts,
    kind=st.none() | st.sampled_from(fo.ErrorKind),
    reason=texts | st.sampled_from(sorted(KINDS)),
    body=texts,
)
plain = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from(
        [ValueError, TimeoutError, ConnectionError, fo.ChainSpecError, fo.DeadlineExceeded, OSError]
    ),
    texts,
)
wrapped = st.recursive(
    provider_errors | plain | st.just(Hostile()),
    lambda inner: (
        st.builds(lambda members: ExceptionGroup("group", members), st.lists(inner, min_size=1, max_size=3))
        | st.builds(
            lambda members, specs: fo.AllModelsFailed("all", members, specs),
            st.lists(inner, min_size=1, max_size=3),
            st.lists(texts, max_size=3),
        )
        | st.builds(lambda cause: caused(fo.StreamInterrupted("cut"), cause), inner)
    ),
    max_leaves=6,
)


def members(error: BaseException) -> int:
    """How many failures an exception holds."""
    if isinstance(error, BaseExceptionGroup):
        return sum(members(one) for one in error.exceptions)
    return members(error.__cause__) if isinstance(error, fo.StreamInterrupted) and error.__cause__ else 1


@given(error=wrapped)
@settings(max_examples=120, deadline=None)
def test_anything_has_two_lines(error: Exception) -> None:
    """Whatever comes, there are two lines for each failure in it, and nothing that moves a cursor."""
    lines = explain(error).splitlines()
    assert len(lines) == 2 * members(error)
    assert all(line.strip() and line.isprintable() for line in lines)
