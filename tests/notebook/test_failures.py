"""What failed: of a cell, of a variable, of the notebook; one row a failure, and what cannot be explained."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from datetime import UTC, datetime

import pytest

from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import Chain
from llm_failover_nb.engine.errors import AllModelsFailed, DeadlineExceeded, FailoverError, ProviderError
from llm_failover_nb.engine.events import AttemptRecord, process_log
from llm_failover_nb.engine.explain import explain
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.failures import CellFailed, CellLog, Failures, in_variable, last_error
from llm_failover_nb.notebook.render import Row
from llm_failover_nb.testing import FakeClock

REFUSED = ProviderError("bad key", status=401, model="a/x")
BUSY = ProviderError("no capacity", status=503, model="b/y")


def of_cell(chain: str) -> tuple[Failures, BaseException | None]:
    """What a call failed at, and what it ended with."""
    log, ended = CellLog(), None
    one = Chain(
        chain,
        log=log,
        observer=log.left,
        benches=BenchRegistry(clock=FakeClock()),
        backoff=lambda attempt: 0.0,
    )
    try:
        one.complete("hi")
    except FailoverError as error:
        ended = error
    return log.failures("7", ended), ended


def refusal(path: str, namespace: dict[str, object]) -> str:
    with pytest.raises(ArgumentError) as caught:
        in_variable(path, namespace)
    return str(caught.value)


# The log of a cell


def test_what_a_cell_records_is_in_both_logs() -> None:
    """Its own and the process's."""
    log, record = CellLog(), AttemptRecord(datetime(2026, 1, 1, tzinfo=UTC), model="only/here")
    log.append(record)

    assert ([*log], record in process_log) == ([record], True)


# The failures of a cell


def test_a_cell_without_failures() -> None:
    """Nothing is kept of it."""
    assert of_cell("sim/echo")[0].errors == ()


def test_a_cell_that_was_answered_in_the_end() -> None:
    """Each model that was left, in order, and who answered; a retry is no failure of its own."""
    failures, _ = of_cell("sim/503,sim/401,sim/503+echo")

    assert failures.title == "what failed in cell 7 before sim/503+echo answered"
    assert [(spec, type(error)) for spec, error in failures.errors] == [
        ("sim/503", ProviderError),
        ("sim/401", ProviderError),
    ]


def test_a_cell_that_nobody_answered() -> None:
    """All that the error holds, those that could not be asked included, each once."""
    failures, ended = of_cell("sim/503,sim/401,sim/503")

    assert isinstance(ended, AllModelsFailed)
    assert failures.title == "what failed in cell 7"
    assert failures.errors == tuple(zip(ended.specs, ended.exceptions, strict=True))


def test_a_cell_that_a_content_filter_ended() -> None:
    """Once, although it is told both as a failure and as the end."""
    failures, ended = of_cell("sim/503,sim/filter")

    assert [spec for spec, _ in failures.errors] == ["sim/503", "sim/filter"]
    assert failures.errors[-1][1] is ended


def test_a_cell_that_ended_otherwise() -> None:
    """What was left, then the end."""
    late = DeadlineExceeded("too late")
    log = CellLog()
    Chain("sim/503,sim/echo", log=log, observer=log.left, max_retries=1, benches=BenchRegistry()).complete(
        "hi"
    )

    assert [error for _, error in log.failures("7", late).errors][1:] == [late]


# The failure in a variable


def test_a_variable() -> None:
    """The exception that it holds."""
    assert in_variable("error", {"error": BUSY}) == Failures("error: ProviderError", (("", BUSY),))


def test_a_path_of_attributes() -> None:
    """Leads to one, too."""
    error = ValueError("outer")
    error.__cause__ = BUSY

    assert in_variable("error.__cause__", {"error": error}).errors == (("", BUSY),)


def test_a_group_is_taken_apart() -> None:
    """Members of groups within it as well, each with its spec where there is one."""
    inner = AllModelsFailed("none", [REFUSED, BUSY], ["a/x", "b/y"])
    outer = ExceptionGroup("two", [inner, ValueError("odd")])

    errors = in_variable("error", {"error": outer}).errors

    assert [(spec, type(error)) for spec, error in errors] == [
        ("a/x", ProviderError),
        ("b/y", ProviderError),
        ("", ValueError),
    ]


def test_a_failed_cell_is_its_cause() -> None:
    """What stopped the notebook stands for what failed."""
    error = CellFailed(["no model answered"])
    error.__cause__ = AllModelsFailed("none", [BUSY], ["b/y"])

    assert in_variable("error", {"error": error}).errors == (("b/y", BUSY),)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("answer", "answer is no exception but a str; %llm explain alone explains what failed last"),
        (
            "error.args",
            "error.args is no exception but a tuple; %llm explain alone explains what failed last",
        ),
        ("kind", "kind is no exception but a type; %llm explain alone explains what failed last"),
        ("error.cause", "'error.cause' is not there: a ProviderError has no attribute 'cause'"),
        ("eror", "'eror' is not defined; did you mean error?"),
        ("answr", "'answr' is not defined; did you mean answer?"),
        ("errors[0]", "'errors[0]' is no variable: write its name, such as error"),
        ("error.", "'error.' is no variable: write its name, such as error"),
    ],
)
def test_what_is_no_failure(path: str, said: str) -> None:
    """The refusal names it and says what it is, or what may have been meant."""
    assert refusal(path, {"answer": "x", "error": BUSY, "kind": ValueError, "_eror": BUSY}) == said


def test_ipythons_own_names_are_not_meant() -> None:
    """It puts them into every notebook."""
    assert "did you mean" not in refusal("opan", {"open": open})


def test_a_name_that_may_be_gone() -> None:
    """Python unbinds what ``except`` binds; the refusal says so, and what to do."""
    assert refusal("failed", {}) == (
        "'failed' is not defined; what `except … as failed` binds is gone after its block: "
        "keep it, as in failure = failed"
    )


def test_an_exception_is_nearer_than_another_variable() -> None:
    """Where several names are like the one that is not defined."""
    assert "did you mean errors?" in refusal("erro", {"error": 3, "errors": BUSY})


# The last error


def test_nothing_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh interpreter has no last error."""
    monkeypatch.delattr(sys, "last_value", raising=False)

    assert last_error() is None


def test_the_last_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the notebook ended a cell with."""
    monkeypatch.setattr(sys, "last_value", BUSY, raising=False)

    assert last_error() == Failures("the last error of the notebook: ProviderError", (("", BUSY),))


# In words


def test_rows() -> None:
    """The first line is what it was, the second what to do; the name stands beside them once."""
    what, remedy = explain(BUSY).splitlines()
    (row,) = Failures("", (("", BUSY),)).rows()

    assert row == Row("b/y", what.removeprefix("b/y: "), then=remedy)
    assert not row.why.startswith("b/y")


def test_what_a_model_raised_is_its_failure() -> None:
    """Whatever its type: with a spec beside it, an exception of Python's own is no slip in the notebook."""
    rows = [Failures("", ((spec, ValueError("odd")),)).rows()[0] for spec in ("c/z", "")]

    assert [row.why.startswith("no failure of a model") for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("spec", "error", "name"),
    [
        ("c/z", ValueError("odd"), "c/z"),
        ("", ValueError("odd"), "ValueError"),
        ("", ProviderError("odd"), "ProviderError"),
        ("", KeyboardInterrupt(), "KeyboardInterrupt"),
        ("", CancelledError(), "CancelledError"),
    ],
)
def test_a_row_is_named(spec: str, error: BaseException, name: str) -> None:
    """By its model, else by its type; whatever it is, it is one row."""
    assert [row.model for row in Failures("", ((spec, error),)).rows()] == [name]
