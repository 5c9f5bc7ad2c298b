"""The panel as it stood at a moment, for where no panel runs: a saved notebook, nbviewer, nbconvert, VS Code.

No script and nothing that ticks: times of day instead of seconds left. All of it comes from a ``Board``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from llm_failover_nb.notebook.board import Board, ChainRow, ModelRow, State, moment_of
from llm_failover_nb.notebook.render.grid import Cell, grid, name_cell, text_cell
from llm_failover_nb.notebook.render.page import (
    escaped,
    failed_note,
    foldable,
    joined,
    one_line,
    small,
    whole_page,
)
from llm_failover_nb.notebook.render.words import counted, duration, money_words, time_of_day

__all__ = ["board_html", "board_text"]

# What is shown of each; the rest is counted.
_MODELS = 30
_CHAINS = 10
_SPECS = 12
_DECISIONS = 5

_SIGNS: dict[State, str] = {
    "ready": "●",
    "benched": "■",
    "manual": "■",
    "due": "◇",
    "probing": "◇",
    "no_key": "○",
}


@dataclass(frozen=True, slots=True)
class _Moment:
    """When the board was filled, and whose time of day is shown."""

    now: datetime
    zone: tzinfo | None

    @classmethod
    def of(cls, board: Board, zone: tzinfo | None) -> _Moment:
        return cls(_moment(board["now"]), zone)

    def time(self, milliseconds: int) -> str:
        return time_of_day(_moment(milliseconds), self.now, self.zone)

    def __str__(self) -> str:
        here = self.now.astimezone(self.zone)
        return f"{here:%Y-%m-%d %H:%M:%S} {_offset(here.utcoffset())}"


def board_html(board: Board, zone: tzinfo | None = None) -> str:
    """A board as it stands, as HTML that needs nobody to keep it up to date.

    Its outermost element has the attribute ``data-llm-failover-snapshot``, by which a live panel beside it
    can hide it.

    Args:
        board: What to show.
        zone: For times of day; the machine's own unless given.
    """
    moment = _Moment.of(board, zone)
    parts = [
        f"<p><b>Models</b> as of {escaped(str(moment))}</p>",
        _models_html(board, moment),
        _chains_html(board),
        _decisions_html(board, moment),
        *(f"<p>{escaped(line)}</p>" for line in _notes(board)),
    ]
    trouble = failed_note(board["trouble"]) if board["trouble"] else ""
    return f"<div data-llm-failover-snapshot>{whole_page(trouble, small(*parts))}</div>"


def board_text(board: Board, zone: tzinfo | None = None) -> str:
    """:func:`board_html` for a terminal."""
    moment = _Moment.of(board, zone)
    shown, rest = _shown_models(board["models"])
    lines = [f"Models as of {moment}"]
    if board["trouble"]:
        lines.insert(0, one_line(board["trouble"]))
    lines += [_model_text(model, board["window"], moment) for model in shown] or [f"    {_NO_MODEL}"]
    lines += [f"    {rest}"] if rest else []
    lines += ["Chains", *_chains_text(board)] if board["chains"] else []
    if board["feed"]:
        lines += ["Last decisions", *(f"    {time}  {text}" for time, text in _decisions(board, moment))]
    return joined([*lines, *_notes(board)])


# Models

_NO_MODEL = "none yet: the models of a chain are here once it is built"


def _shown_models(models: Sequence[ModelRow]) -> tuple[Sequence[ModelRow], str]:
    """The models to show, and what is to say of the others; of many, those that are not ready come first."""
    if len(models) <= _MODELS:
        return models, ""
    ordered = sorted(models, key=lambda model: model["state"] == "ready")
    rest = ordered[_MODELS:]
    unready = sum(model["state"] != "ready" for model in rest)
    return ordered[:_MODELS], f"and {len(rest)} more, {f'{unready} of them not' if unready else 'all'} ready"


def _models_html(board: Board, moment: _Moment) -> str:
    shown, rest = _shown_models(board["models"])
    if not shown:
        return f"<p>{escaped(_NO_MODEL)}</p>"
    columns = ("model", "state", "why", f"last {duration(board['window'])}", "median time", "cost so far")
    rows = (
        (
            name_cell(model["spec"]),
            Cell(f"<span>{_SIGNS[model['state']]}</span> {escaped(_state(model, moment))}", "lf-mark"),
            text_cell(_why(model, moment)),
            text_cell(_calls(model)),
            text_cell(_latency(model)),
            text_cell(_cost(model)),
        )
        for model in shown
    )
    return grid(columns, rows) + (f"<p>{rest}</p>" if rest else "")


def _model_text(model: ModelRow, window: int, moment: _Moment) -> str:
    latency = _latency(model)
    parts = [
        _state(model, moment),
        _why(model, moment),
        f"{_calls(model)} in the last {duration(window)}" if model["calls"] else "",
        latency and f"median {latency}",
        _cost(model),
    ]
    return f"  {_SIGNS[model['state']]} {one_line(model['spec'])}: {'; '.join(filter(None, parts))}"


def _state(model: ModelRow, moment: _Moment) -> str:
    match model["state"]:
        case "ready":
            return "ready"
        case "no_key":
            missing = one_line(model["missing"])
            return f"no key: set {missing}" if missing else "no key"
        case "due":
            return "its bench has run out; the next call tries it"
        case "probing":
            return "its bench has run out; a call is trying it"
        case "benched" | "manual" as state:
            by = " by hand" if state == "manual" else ""
            until = model["until"]
            return f"benched{by} until {'lifted' if until is None else moment.time(until)}"


def _why(model: ModelRow, moment: _Moment) -> str:
    why, fails = model["why"], model["fails"]
    # That a bench is one by hand is the state already.
    told = why is not None and why["reason"] != "operator"
    parts = [f"{one_line(why['text'])}, at {moment.time(why['at'])}"] if why is not None and told else []
    if fails > 1:
        parts.append(f"{fails} failures in a row")
    return "; ".join(parts)


def _calls(model: ModelRow) -> str:
    return f"{model['answered']} of {counted(model['calls'], 'call')} answered" if model["calls"] else ""


def _latency(model: ModelRow) -> str:
    return "" if model["latency"] is None else duration(model["latency"])


def _cost(model: ModelRow) -> str:
    return "" if model["cost"] is None else money_words(model["cost"])


# Chains


def _chains_html(board: Board) -> str:
    if not board["chains"]:
        return ""
    rows = (
        (Cell(escaped(_title(chain))), Cell(_specs_html(chain), "lf-model"), _first_cell(chain))
        for chain in board["chains"][:_CHAINS]
    )
    more = "".join(f"<p>{line}</p>" for line in _more_chains(board))
    return grid(("chain", "models in order", "asked first"), rows) + more


def _chains_text(board: Board) -> Iterable[str]:
    for chain in board["chains"][:_CHAINS]:
        first = _first(chain)
        asked = f"{one_line(first)} is asked first" if first else _NO_KEY
        yield f"    {_title(chain)}: {_specs_text(chain)}; {asked}"
    yield from (f"    {line}" for line in _more_chains(board))


_NO_KEY = "no model has a key"


def _title(chain: ChainRow) -> str:
    title = one_line(chain["title"])
    return f"{title} (default)" if chain["default"] and "default" not in title else title


def _specs_html(chain: ChainRow) -> str:
    return ", ".join(
        [*(f"<samp>{foldable(spec)}</samp>" for spec in chain["specs"][:_SPECS]), *_more_specs(chain)]
    )


def _specs_text(chain: ChainRow) -> str:
    return ", ".join([*map(one_line, chain["specs"][:_SPECS]), *_more_specs(chain)])


def _more_specs(chain: ChainRow) -> list[str]:
    more = len(chain["specs"]) - _SPECS
    return [f"{more} more"] if more > 0 else []


def _first(chain: ChainRow) -> str:
    place = chain["next"]
    return chain["specs"][place] if place is not None and 0 <= place < len(chain["specs"]) else ""


def _first_cell(chain: ChainRow) -> Cell:
    first = _first(chain)
    return name_cell(first) if first else text_cell(_NO_KEY)


def _more_chains(board: Board) -> list[str]:
    more = len(board["chains"]) - _CHAINS
    return [f"and {counted(more, 'more chain')}"] if more > 0 else []


# Decisions, and what stands below


def _decisions(board: Board, moment: _Moment) -> list[tuple[str, str]]:
    """When, and what; the newest first."""
    return [(moment.time(each["at"]), one_line(each["text"], 1_000)) for each in board["feed"][:_DECISIONS]]


def _decisions_html(board: Board, moment: _Moment) -> str:
    if not board["feed"]:
        return ""
    rows = ((Cell(escaped(time), "lf-name"), Cell(escaped(text))) for time, text in _decisions(board, moment))
    return "<p><b>Last decisions</b></p>" + grid((), rows)


def _notes(board: Board) -> list[str]:
    return [f"Benches are shared through {one_line(board['store'])}."] if board["store"] else []


# Times


# Every zone has this moment, as it does not those of the last hours that there are.
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def _moment(milliseconds: int) -> datetime:
    try:
        return min(moment_of(milliseconds), _LATEST)
    except OverflowError:
        return _LATEST


def _offset(offset: timedelta | None) -> str:
    """A zone by its distance, which says the same everywhere: ``UTC+0``, ``UTC-3:30``."""
    minutes = round((offset or timedelta()).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}"
