"""What an answer has cost: what the provider says, else what the public price list of `genai-prices` does.

Computed when a footer or a frame is made, never on the call path: the list takes a tenth of a second to
import. It is the one that came with the package; nothing is fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_failover_nb.engine.types import Response, Usage

__all__ = ["cost_of", "is_free"]

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
