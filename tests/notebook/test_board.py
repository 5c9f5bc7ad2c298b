"""The snapshot of a panel: what it says, and that nothing written by others acts in a front end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.notebook.board import Board, ChainRow, Decision, Defaults, ModelRow, State, Why
from llm_failover_nb.notebook.render import board_html, board_text
from llm_failover_nb.notebook.render.words import time_of_day
from tests.notebook.test_render import ATTRIBUTES, HOSTILE, OURS, Tags

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
MINUTE = 60_000


def model(spec: str = "a/x", state: State = "ready", **fields: Any) -> ModelRow:
    row = ModelRow(
        spec=spec, state=state, until=None, fails=0, why=None, missing="", calls=0, answered=0,
        latency=None, cost=None, edited="",
    )  # fmt: skip
    return row | fields  # type: ignore[return-value]  # the same keys


def why(text: str = "overloaded, HTTP 503", **fields: Any) -> Why:
    told = Why(text=text, kind="transient", reason="overloaded", status=503, at=NOW - MINUTE)
    return told | fields  # type: ignore[return-value]  # the same keys


def chain(*specs: str, **fields: Any) -> ChainRow:
    row = ChainRow(
        name="c",
        title="mine",
        specs=list(specs),
        default=False,
        next=0 if specs else None,
        fixed="",
        edited="",
    )
    return row | fields  # type: ignore[return-value]  # the same keys


def decision(text: str, at: int = NOW) -> Decision:
    return Decision(id=1, at=at, text=text, tone="failed", open=False)


def board(*models: ModelRow, **fields: Any) -> Board:
    defaults = Defaults(cooldown=300.0, max_retries=3, edited="")
    filled = Board(
        protocol=1, kernel="k", revision=1, now=NOW, window=900, models=list(models), chains=[],
        defaults=defaults, running=[], feed=[], undo=None, store="", trouble="",
    )  # fmt: skip
    return filled | fields  # type: ignore[return-value]  # the same keys


def words(shown: Board) -> str:
    """What a reader sees of the HTML."""
    text = re.sub(r"<style>.*?</style>|<wbr>", "", board_html(shown, UTC), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def line(*models: ModelRow, **fields: Any) -> str:
    """What the text says of the first model."""
    return board_text(board(*models, **fields), UTC).splitlines()[1].strip()


# Time


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (0, "2026-01-01 12:00:00 UTC+0"),
        (2, "2026-01-01 14:00:00 UTC+2"),
        (5.5, "2026-01-01 17:30:00 UTC+5:30"),
        (-3.5, "2026-01-01 08:30:00 UTC-3:30"),
    ],
)
def test_the_time_of_the_snapshot(hours: float, shown: str) -> None:
    """In the reader's zone, by its distance, which says the same everywhere."""
    zone = timezone(timedelta(hours=hours))

    assert f"Models as of {shown}" == board_text(board(), zone).splitlines()[0]
    assert f"as of {shown}<" in board_html(board(), zone)


def test_the_zone_is_the_machine_s() -> None:
    """Unless another is given."""
    here = NOON.astimezone()

    assert board_text(board()).startswith(f"Models as of {here:%Y-%m-%d %H:%M:%S} UTC")


# Models


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (model(), "● a/x: ready"),
        (model(state="benched", until=NOW + 5 * MINUTE), "■ a/x: benched until 12:05:00"),
        (model(state="benched", until=NOW + 24 * 60 * MINUTE), "■ a/x: benched until 2026-01-02 12:00"),
        (model(state="benched"), "■ a/x: benched until lifted"),
        (model(state="manual", until=NOW + 5 * MINUTE), "■ a/x: benched by hand until 12:05:00"),
        (model(state="manual"), "■ a/x: benched by hand until lifted"),
        (model(state="due"), "◇ a/x: its bench has run out; the next call tries it"),
        (model(state="probing"), "◇ a/x: its bench has run out; a call is trying it"),
        (model(state="no_key", missing="A_KEY"), "○ a/x: no key: set A_KEY"),
        (model(state="no_key"), "○ a/x: no key"),
    ],
)
def test_how_a_model_stands(row: ModelRow, said: str) -> None:
    """A sign, and words that say the same; ends of benches are times of day."""
    assert said == line(row)
    assert said.replace(" a/x:", "")[:12] in words(board(row))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"why": why()}, "; overloaded, HTTP 503, at 11:59:00"),
        ({"why": why(), "fails": 1}, "; overloaded, HTTP 503, at 11:59:00"),
        ({"why": why(), "fails": 3}, "; overloaded, HTTP 503, at 11:59:00; 3 failures in a row"),
        ({"fails": 2}, "; 2 failures in a row"),
        ({"why": why("benched by hand", reason="operator")}, ""),
        ({"calls": 15, "answered": 12}, "; 12 of 15 calls answered in the last 15 min"),
        ({"calls": 1, "answered": 0}, "; 0 of 1 call answered in the last 15 min"),
        ({"latency": 1.234}, "; median 1.2 s"),
        ({"cost": 0.0123}, "; 0.012 USD"),
        ({"cost": 0.0}, "; 0 USD"),
    ],
)
def test_what_is_known_of_a_model(fields: dict[str, Any], said: str) -> None:
    """Why it is benched, and its figures, as far as there are any."""
    assert f"■ a/x: benched until lifted{said}" == line(model(state="benched", **fields))


def test_the_html_says_what_the_text_says() -> None:
    """In columns, with heads."""
    row = model(state="benched", why=why(), fails=2, calls=4, answered=3, latency=0.5, cost=0.5)

    assert words(board(row)).endswith(
        "model state why last 15 min median time cost so far a/x ■ benched until lifted "
        "overloaded, HTTP 503, at 11:59:00; 2 failures in a row 3 of 4 calls answered 0.5 s 0.50 USD"
    )


def test_no_models_yet() -> None:
    """There is something to read all the same."""
    assert "none yet: the models of a chain are here once it is built" in board_text(board())
    assert "none yet" in words(board())


def test_up_to_thirty_models_stand_in_their_order() -> None:
    """All of them."""
    rows = [model(f"lab/m{n}", "ready" if n % 2 else "benched") for n in range(30)]
    shown = re.findall(r"lab/m(\d+)", board_text(board(*rows)))

    assert [str(n) for n in range(30)] == shown


def test_of_many_models_those_that_are_not_ready_come_first() -> None:
    """The rest is counted."""
    rows = [
        *(model(f"lab/m{n}") for n in range(998)),
        model("lab/down", "benched"),
        model("lab/new", "no_key"),
    ]
    text = board_text(board(*rows))

    assert re.findall(r"lab/(\w+)", text)[:4] == ["down", "new", "m0", "m1"]
    assert len(re.findall(r"lab/", text)) == 30
    assert "and 970 more, all ready" in text
    assert "and 970 more, all ready" in words(board(*rows))


def test_of_many_models_that_are_not_ready_some_are_counted() -> None:
    """They are not called ready."""
    rows = [model(f"lab/m{n}", "benched") for n in range(40)]

    assert "and 10 more, 10 of them not ready" in board_text(board(*rows))


def test_a_thousand_models_are_a_short_output() -> None:
    """It is saved with the notebook each time."""
    assert len(board_html(board(*(model(f"lab/m{n}", why=why()) for n in range(1_000))))) < 25_000


# Chains, decisions and the rest


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (chain("a/x", "b/y", next=1), "mine: a/x, b/y; b/y is asked first"),
        (chain("a/x", default=True), "mine (default): a/x; a/x is asked first"),
        (chain("a/x", default=True, title="default chain"), "default chain: a/x; a/x is asked first"),
        (chain("a/x", next=None), "mine: a/x; no model has a key"),
        (chain("a/x", next=7), "mine: a/x; no model has a key"),
        (
            chain(*(f"lab/{n}" for n in range(20)), next=19),
            f"mine: {', '.join(f'lab/{n}' for n in range(12))}, 8 more; lab/19 is asked first",
        ),
    ],
)
def test_a_chain(row: ChainRow, said: str) -> None:
    """Its models in order, and who is asked first."""
    assert said == board_text(board(chains=[row])).splitlines()[-1].strip()


def test_chains_in_columns() -> None:
    """The HTML says the same, with heads."""
    rows = [chain("a/x", "b/y", next=1), chain("a/x", next=None, default=True)]

    assert words(board(chains=rows)).endswith(
        "chain models in order asked first mine a/x , b/y b/y mine (default) a/x no model has a key"
    )


def test_many_chains_are_counted() -> None:
    """Ten are shown."""
    rows = [chain("a/x", title=f"chain {n}") for n in range(12)]

    assert "and 2 more chains" in board_text(board(chains=rows))
    assert "and 2 more chains" in words(board(chains=rows))
    assert "chain 10" not in words(board(chains=rows))


def test_the_last_decisions() -> None:
    """Five of them, the newest first, each with its time of day."""
    feed = [decision(f"decision {n}", NOW - n * MINUTE) for n in range(9)]
    said = [f"{time} decision {n}" for n, time in enumerate(("12:00:00", "11:59:00", "11:58:00", "11:57:00"))]

    assert words(board(feed=feed)).endswith(" ".join(["Last decisions", *said, "11:56:00 decision 4"]))
    assert board_text(board(feed=feed), UTC).endswith("11:56:00  decision 4")


def test_a_shared_store() -> None:
    """With whom the benches are shared."""
    assert "Benches are shared through redis://host." in words(board(store="redis://host"))
    assert "Benches are shared through redis://host." in board_text(board(store="redis://host"))


def test_trouble_stands_first() -> None:
    """Something has gone wrong in the panel itself."""
    assert words(board(trouble="the store is away")).startswith("the store is away Models")
    assert board_text(board(trouble="the store is away")).startswith("the store is away\n")


# Where it stands


def test_a_panel_can_find_and_hide_it() -> None:
    """By an attribute of the outermost element, which holds all of it."""
    html = board_html(board(model()))

    assert html.startswith("<div data-llm-failover-snapshot><div class='llm-failover'>")
    assert html.count("<div") == html.count("</div>")


def test_nothing_in_it_ticks_or_runs() -> None:
    """It is right for as long as it is looked at, with its time."""
    html = board_html(board(model(state="benched", until=NOW + MINUTE), chains=[chain("a/x")]))

    assert "<script" not in html
    assert "left" not in words(board(model(state="benched", until=NOW + MINUTE)))


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_are_texts(text: str) -> None:
    """Wherever they stand."""
    rows = [model(text, state, missing=text, why=why(text)) for state in get_args(State)]
    chains = [chain(text, text, title=text, name=text), chain(title=text)]
    shown = board(*rows, chains=chains, feed=[decision(text)], store=text, trouble=text)
    html, found = board_html(shown), Tags(board_html(shown))

    html.encode()
    board_text(shown).encode()
    assert set() == found.tags - OURS
    assert set() == found.attributes - ATTRIBUTES - {"data-llm-failover-snapshot"}
    assert found.styles == 1


def test_a_key_is_masked() -> None:
    """Should one be in a name."""
    key = Secret("sk-board-0123456789abcdef")
    shown = board(model(f"lab/{key.reveal()}"), store=f"redis://:{key.reveal()}@host")

    assert key.reveal() not in board_html(shown) + board_text(shown)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_any_moment(until: int, at: int) -> None:
    """A bench may end when no calendar goes on."""
    shown = board(model(state="benched", until=until, why=why(at=at)), feed=[decision("x", at)])

    assert board_html(shown)
    assert board_text(shown)


def test_last_hours_of_the_calendar_have_a_time_of_day() -> None:
    """Also where it would be the year 10,000."""
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert time_of_day(last, datetime(2026, 1, 1, tzinfo=UTC), timezone(timedelta(hours=14))) == (
        "9999-12-31 23:00"
    )
