"""The exception tree: who is caught by what, and that no detail is lost on the way to another process."""

from __future__ import annotations

import copy
import pickle

import pytest

from llm_failover_nb.engine import errors
from llm_failover_nb.engine.errors import (
    AllModelsFailed,
    ChainSpecError,
    DeadlineExceeded,
    ErrorKind,
    FailoverError,
    ProviderError,
    StreamInterrupted,
)

COPIES = pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "deepcopy", "pickle"],
)


def all_failed():
    return AllModelsFailed(
        "failover: all 3 models in chain failed",
        [ProviderError("busy", status=503), ValueError("odd"), ProviderError("no key", status=401)],
        ["lab/a", "lab/b", "lab/c"],
    )


@pytest.mark.parametrize(
    "name",
    ["AllModelsFailed", "ChainSpecError", "DeadlineExceeded", "ProviderError", "StreamInterrupted"],
)
def test_every_error_is_a_failover_error(name):
    """One except clause catches all that the package raises on purpose."""
    assert getattr(errors, name).__bases__[0] is FailoverError


@pytest.mark.parametrize(
    ("error", "foreign"),
    [(ChainSpecError, ValueError), (DeadlineExceeded, TimeoutError), (AllModelsFailed, ExceptionGroup)],
)
def test_some_are_also_what_python_calls_them(error, foreign):
    """Code that knows nothing of the package catches them, too."""
    assert issubclass(error, foreign)


def test_the_docstring_draws_the_whole_tree():
    """Each exported error is in the drawing."""
    drawn = [name for name in errors.__all__ if name in errors.__doc__]
    assert drawn == [name for name in errors.__all__ if name != "ErrorKind"]


def test_kinds_are_their_words():
    """A kind is a str, in logs and comparisons alike."""
    assert [str(kind) for kind in ErrorKind] == ["transient", "auth_dead", "request_specific", "unknown"]
    assert ErrorKind("transient") == "transient"


def test_a_provider_error_needs_a_message_alone():
    """Everything else is optional."""
    assert vars(ProviderError("busy")) == {
        "message": "busy", "status": None, "code": None, "retry_after": None, "model": "",
        "kind": None, "reason": "", "headers": {}, "body": "", "rule": "",
    }  # fmt: skip


def test_a_provider_error_reads_as_its_message():
    """In a traceback stands what happened."""
    assert str(ProviderError("busy", status=503, body="{}")) == "busy"


@COPIES
def test_a_provider_error_keeps_its_details(again):
    """Another process learns what this one did."""
    error = ProviderError(
        "busy", status=503, code="overloaded", retry_after=2.5, model="lab/a", kind=ErrorKind.TRANSIENT,
        reason="overloaded", headers={"retry-after": "2.5"}, body="{}",
    )  # fmt: skip
    back = again(error)
    assert (type(back), str(back), vars(back)) == (ProviderError, "busy", vars(error))


@COPIES
@pytest.mark.parametrize(
    "error",
    [StreamInterrupted("cut", text="Once", model="lab/a"), DeadlineExceeded("late", text="Once")],
    ids=["interrupted", "deadline"],
)
def test_the_text_so_far_is_kept(error, again):
    """What a stream delivered is not lost with the process."""
    back = again(error)
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@COPIES
def test_all_models_failed_keeps_specs_and_causes(again):
    """The group arrives whole."""
    error = all_failed()
    back = again(error)
    assert (type(back), str(back), back.specs) == (AllModelsFailed, str(error), error.specs)
    assert [(type(e), str(e), vars(e)) for e in back.exceptions] == [
        (type(e), str(e), vars(e)) for e in error.exceptions
    ]


def test_all_models_failed_reads_as_its_message():
    """Without the count of sub-exceptions that Python adds."""
    assert str(all_failed()) == "failover: all 3 models in chain failed"


def test_specs_are_optional():
    """A group is a group without them."""
    assert AllModelsFailed("none", [ValueError()]).specs == ()


def test_except_star_takes_its_part():
    """The part taken and the part left keep the class."""
    taken = None
    with pytest.raises(AllModelsFailed) as left:  # noqa: PT012  # except* and what is left are the point
        try:
            raise all_failed()
        except* ValueError as part:
            taken = part
    assert (type(taken), taken.specs) == (AllModelsFailed, ("lab/b",))
    assert left.value.specs == ("lab/a", "lab/c")


def test_split_keeps_specs_on_both_sides():
    """Each side knows whose failures it holds."""
    match, rest = all_failed().split(ProviderError)
    assert (type(match), match.specs, type(rest), rest.specs) == (
        AllModelsFailed, ("lab/a", "lab/c"), AllModelsFailed, ("lab/b",),
    )  # fmt: skip


def test_subgroup_by_a_condition_keeps_specs():
    """Also where a function chooses."""
    chosen = all_failed().subgroup(lambda e: getattr(e, "status", None) == 401)
    assert (type(chosen), chosen.specs, chosen.message) == (
        AllModelsFailed, ("lab/c",), "failover: all 3 models in chain failed",
    )  # fmt: skip


def test_derive_keeps_class_and_message():
    """An exception that was not there has no spec."""
    error, new = all_failed(), KeyError("new")
    derived = error.derive([error.exceptions[1], new])
    assert (type(derived), derived.message, derived.specs) == (AllModelsFailed, error.message, ("lab/b", ""))


def test_one_instance_of_two_entries_keeps_both_specs():
    """A provider may raise the same object again."""
    same = ProviderError("down")
    error = AllModelsFailed("all", [same, ValueError(), same], ["lab/a", "lab/b", "lab/c"])
    assert error.subgroup(ProviderError).specs == ("lab/a", "lab/c")


def test_split_by_the_package_error_takes_the_whole_group():
    """The group is a FailoverError itself."""
    error = all_failed()
    assert error.split(FailoverError) == (error, None)


def test_a_provider_error_can_be_a_cause_of_the_stream_error():
    """The failure itself is the cause."""
    cause = ProviderError("reset")
    with pytest.raises(StreamInterrupted) as caught:
        raise StreamInterrupted("cut", text="Once", model="lab/a") from cause
    assert (caught.value.__cause__, caught.value.text, caught.value.model) == (cause, "Once", "lab/a")
