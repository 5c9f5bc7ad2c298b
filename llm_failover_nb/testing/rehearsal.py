"""What ``llm-failover-nb rehearse`` shows: how to reach the fault server, and a line for each request.

Wording only; the server is ``fault_server``'s, the command is ``cli``'s.
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from llm_failover_nb.testing.fault_server import FaultServer, Received

__all__ = ["line", "welcome"]

_WIDEST = 40  # characters of a model's name that a line shows

_SCRIPTS = (
    ("echo", "answers with the prompt"),
    ("503x2+echo", "fails twice with 503, then answers"),
    ("429:30", "429, and asks to wait for 30 s"),
    ("cut:40", "ends after 40 characters, as if it were done"),
    ("silent", "never says a word"),
)


def welcome(server: FaultServer, key: str | None = None) -> str:
    """How to reach ``server``, how its models are named, and requests to copy.

    Args:
        server: One that runs.
        key: The key that it demands.
    """
    wires = [(wire, server.base_url(wire)) for wire in ("openai", "anthropic", "gemini", "ollama")]
    parts = [
        f"rehearsing failures at {wires[-1][1]}; Ctrl-C ends it",
        "Base URLs, by wire:",
        _table(wires),
        "The model's name says what happens:",
        _table(_SCRIPTS),
        "All words:  python -m pydoc llm_failover_nb.providers.sim",
        "Try it:",
        _curl(f"{server.base_url('openai')}/chat/completions", _chat("503x2+echo"), _bearer(key)),
        _curl(f"{server.base_url('anthropic')}/v1/messages", _chat("cut:40", stream=True), _header(key)),
        _curl(
            f"{server.base_url('gemini')}/models/{quote('429:30', safe='')}:generateContent",
            {"contents": [{"parts": [{"text": "Hello"}]}]},
            _header(key, "x-goog-api-key"),
        ),
        "And then, a line for each request:",
    ]
    return "\n\n".join(parts)


def line(asked: Received, at: datetime) -> str:
    """One request that is over: when, on which wire, for which model, what it met and how it ended.

    Args:
        asked: The request.
        at: The time to show.
    """
    model = _printable(asked.model or asked.path)
    columns = (f"{asked.wire or '-':9}", f"{model:24}", f"{_printable(asked.outcome):12}", _end(asked))
    return "  ".join((f"{at:%H:%M:%S}", *columns))


def _end(asked: Received) -> str:
    if asked.closed_at is not None and not asked.answered:
        return f"the client closed after {asked.closed_at - asked.at:.1f} s"
    return "answered" if asked.answered else "broken off"


def _printable(text: str) -> str:
    """Somebody else's text, fit for a terminal."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _table(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f"  {name:12}{text}" for name, text in rows)


def _curl(url: str, body: dict[str, object], header: str) -> str:
    options = "".join(
        f" -H {shlex.quote(text)}" for text in ("content-type: application/json", header) if text
    )
    return f"  curl {url}{options} \\\n    -d {shlex.quote(json.dumps(body))}"


def _chat(model: str, **members: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **members}


def _bearer(key: str | None) -> str:
    return _header(key and f"Bearer {key}", "authorization")


def _header(key: str | None, name: str = "x-api-key") -> str:
    return f"{name}: {key}" if key else ""
