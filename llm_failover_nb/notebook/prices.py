"""What an answer has cost: what the provider says, else what the public price list of `genai-prices` does.

Computed when a footer or a frame is made, never on the call path: the list takes a tenth of a second to
import. It is the one that came with the package; nothing is fetched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from llm_failover_nb.engine.types import Usage

if TYPE_CHECKING:
    from llm_failover_nb.engine.types import Response

__all__ = ["cost_of", "cost_of_tokens", "is_free"]

_FREE = ("local/", "sim/")

# Our providers' names -> the list's. Other names say nothing of who answers, and so of no price.
_LISTED = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "xai": "x-ai",
}


def is_free(spec: str) -> bool:
    """Whether a model costs nothing, so that no price could apply."""
    return spec.startswith(_FREE)


def cost_of(response: Response) -> float | None:
    """USD that an answer has cost; ``None`` where nobody can say.

    The provider's own figure, where it gives one; else by the list, which knows neither discounts nor
    contracts, from the tokens that the provider counted. Attempts that failed before it are not in it.

    Args:
        response: The answer, its ``model`` the whole spec.

    >>> from llm_failover_nb.engine.types import Response
    >>> cost_of(Response("hi", "sim/echo")), cost_of(Response("hi", "lab/unheard-of"))
    (0.0, None)
    """
    if response.cost is not None:
        return response.cost
    if response.usage.cost is not None:
        return response.usage.cost
    return 0.0 if is_free(response.model) else _by_the_list(response.model, response.usage)


class _Rates(NamedTuple):
    """USD a token; None where the list knows no price, ``uneven`` where it changes between two sizes."""

    input: float | None
    output: float
    uneven: bool


def cost_of_tokens(spec: str, input_tokens: int | None, output_tokens: int | None) -> float | None:
    """USD that so many tokens of a model cost by the list; ``None`` where nobody can say.

    For figures over thousands of answers: one price by the list takes some 60 microseconds, so the prices
    of a token are kept, once for each model and order of magnitude of a prompt, since long prompts may cost
    more a token. A price that changes during the day is the one of when it was looked up.

    Args:
        spec: The model, ``provider/model``.
        input_tokens: Of the prompt, as the provider counted them.
        output_tokens: Of the answer.

    >>> cost_of_tokens("sim/echo", 10, 10), cost_of_tokens("lab/unheard-of", 10, 10)
    (0.0, None)
    """
    if is_free(spec):
        return 0.0
    if input_tokens is None or output_tokens is None or min(input_tokens, output_tokens) < 0:
        return None
    rates = _rates(spec, input_tokens.bit_length())
    if rates.uneven:
        return _by_the_list(spec, Usage(input_tokens, output_tokens))
    return None if rates.input is None else rates.input * input_tokens + rates.output * output_tokens


@lru_cache(maxsize=4096)
def _rates(spec: str, bits: int) -> _Rates:
    """The prices of a token for prompts of that many bits, that is from ``2 ** (bits - 1)`` tokens on."""
    (least, out), (most, out_of_most) = (_a_token(spec, size) for size in (2**bits >> 1 or 1, 2**bits))
    uneven = least is not None and (least, out) != (most, out_of_most)
    return _Rates(least, out, uneven)


def _a_token(spec: str, size: int) -> tuple[float | None, float]:
    """What a token costs, of a prompt of that size and of its answer."""
    price = _by_the_list(spec, Usage(size, 0))
    if price is None:
        return None, 0.0
    more = _by_the_list(spec, Usage(size, 1_000_000)) or price
    # Rounded, so that sizes compare: the least price on the list is far above it.
    return round(price / size, 15), round((more - price) / 1_000_000, 15)


def _by_the_list(spec: str, usage: Usage) -> float | None:
    provider, _, model = spec.partition("/")
    if provider not in _LISTED or usage.input_tokens is None or usage.output_tokens is None:
        return None
    try:
        import genai_prices  # an extra, and slow to import: by the first footer that needs it
    except ImportError:
        return None
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
    )
    try:
        price = genai_prices.calc_price(tokens, model, provider_id=_LISTED[provider])
    except (LookupError, ValueError):  # a model that is not on the list, tokens that do not add up
        return None
    return float(price.total_price)
