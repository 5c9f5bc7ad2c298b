"""What an answer has cost."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from llm_failover_nb.engine.types import Response, Usage
from llm_failover_nb.notebook import prices
from llm_failover_nb.notebook.prices import cost_of, cost_of_tokens

TOKENS = Usage(1000, 200)


@pytest.mark.parametrize(
    ("response", "cost"),
    [
        (Response("", "openai/gpt-4o-mini", usage=TOKENS, cost=0.5), 0.5),
        (Response("", "openai/gpt-4o-mini", usage=Usage(1000, 200, cost=0.25)), 0.25),
        (Response("", "sim/echo", usage=TOKENS), 0.0),
        (Response("", "local/smollm2"), 0.0),
        (Response("", "openai/no-such-model", usage=TOKENS), None),
        (Response("", "lab/gpt-4o-mini", usage=TOKENS), None),
        (Response("", "my-openai/gpt-4o-mini", usage=TOKENS), None),
        (Response("", "openai/gpt-4o-mini", usage=Usage(1000, None)), None),
        (Response("", "openai/gpt-4o-mini", usage=Usage(None, 200)), None),
        (Response("", "openai/gpt-4o-mini", usage=Usage(10, 200, cached_tokens=20)), None),
        (Response(), None),
    ],
)
def test_cost(response: Response, cost: float | None) -> None:
    """The provider's word, nothing where nothing is paid, and no guess where nobody can know."""
    assert cost == cost_of(response)


@pytest.mark.parametrize(
    "spec", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash", "xai/grok-4"]
)
def test_cost_by_the_list(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known models have a price, and nothing is asked over the network for it."""

    def refused(*_: object) -> None:
        raise AssertionError("a price was looked for over the network")

    monkeypatch.setattr(socket.socket, "connect", refused)

    assert 0 < (cost_of(Response("", spec, usage=TOKENS)) or 0) < 0.1


def test_cached_tokens_cost_less() -> None:
    """They are counted among the input."""
    whole = cost_of(Response("", "openai/gpt-4o-mini", usage=Usage(1000, 200)))
    cached = cost_of(Response("", "openai/gpt-4o-mini", usage=Usage(1000, 200, cached_tokens=900)))

    assert whole is not None
    assert cached is not None
    assert cached < whole


def test_without_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra may not be installed."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    assert cost_of(Response("", "openai/gpt-4o-mini", usage=TOKENS)) is None


def test_the_list_is_imported_by_the_first_footer_that_needs_it() -> None:
    """Not with the package, and not for what is free."""
    code = (
        "import sys; from llm_failover_nb.notebook import render\n"
        "from llm_failover_nb.engine.types import *\n"
        "render.answer_html(Response('hi', 'sim/echo', usage=Usage(1, 1)))\n"
        "print('genai_prices' in sys.modules)\n"
        "render.answer_html(Response('hi', 'openai/gpt-4o-mini', usage=Usage(1, 1)))\n"
        "print('genai_prices' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    "spec",
    [
        *("openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"),
        *("openai/no-such-model", "lab/gpt-4o-mini", "sim/echo"),
    ],
)
@pytest.mark.parametrize("tokens", [0, 1, 1000, 128_000, 128_001, 200_000, 200_001, 262_144, 10**7])
def test_the_cost_of_tokens_is_that_of_the_list(spec: str, tokens: int) -> None:
    """Also where long prompts cost more a token, at the very limit."""
    whole = cost_of(Response("", spec, usage=Usage(tokens, 200)))

    assert cost_of_tokens(spec, tokens, 200) == (None if whole is None else pytest.approx(whole))


@pytest.mark.parametrize(("tokens_in", "out"), [(None, 200), (1000, None), (-1, 200), (1000, -1)])
def test_tokens_that_nobody_has_counted_have_no_price(tokens_in: int | None, out: int | None) -> None:
    """Nor have those that are no count."""
    assert cost_of_tokens("openai/gpt-4o-mini", tokens_in, out) is None


def test_a_price_is_looked_up_once_for_many_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the list is slow; the prices of a token are kept for prompts of about one length."""
    looked: list[Usage] = []
    by_the_list = prices._by_the_list

    def counted(spec: str, usage: Usage) -> float | None:
        looked.append(usage)
        return by_the_list(spec, usage)

    monkeypatch.setattr(prices, "_by_the_list", counted)
    prices._rates.cache_clear()
    for tokens in range(600, 1000):
        cost_of_tokens("openai/gpt-4o-mini", tokens, tokens)

    assert len(looked) == 4
