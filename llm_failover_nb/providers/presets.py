"""The providers known by name: where they listen, which variable holds their key. Data, and two makers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.openai import OpenAIDialect

if TYPE_CHECKING:
    from llm_failover_nb.engine.secret import Secret
    from llm_failover_nb.providers.http import Dialect

__all__ = ["AZURE_ENDPOINT", "PRESETS", "WIRES", "Preset", "endpoint", "make"]

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
"""The variable with the address of one's own Azure resource, such as ``https://NAME.openai.azure.com``."""

_OPENAI = OpenAIDialect()
# OpenAI's reasoning models refuse the older name of the limit.
_OPENAI_ITSELF = OpenAIDialect(max_tokens_member="max_completion_tokens")
_AZURE = OpenAIDialect(key_header="api-key", key_prefix="", max_tokens_member="max_completion_tokens")
# Mistral refuses members that it does not know, and reports the usage of streams unasked.
_MISTRAL = OpenAIDialect(seed_member="random_seed", stream_usage=False)


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider: its base URL (none where it is the user's own), its key's variable, its dialect."""

    base_url: str | None
    key_env: str | None
    dialect: Dialect = _OPENAI


# Base URLs and variables as each provider's own documentation gives them.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "azure": Preset(None, "AZURE_OPENAI_API_KEY", _AZURE),
        "cerebras": Preset("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "deepseek": Preset("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "fireworks": Preset("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "github": Preset("https://models.github.ai/inference", "GITHUB_TOKEN"),
        "groq": Preset("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "huggingface": Preset("https://router.huggingface.co/v1", "HF_TOKEN"),
        "llamacpp": Preset("http://127.0.0.1:8080/v1", None),
        "lmstudio": Preset("http://127.0.0.1:1234/v1", None),
        "mistral": Preset("https://api.mistral.ai/v1", "MISTRAL_API_KEY", _MISTRAL),
        "nvidia": Preset("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY", _OPENAI_ITSELF),
        "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "perplexity": Preset("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        "together": Preset("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        "vllm": Preset("http://127.0.0.1:8000/v1", None),
        "xai": Preset("https://api.x.ai/v1", "XAI_API_KEY"),
    }
)

WIRES: Mapping[str, Dialect] = MappingProxyType({"openai": _OPENAI})
"""The dialects that an endpoint of one's own may speak."""


def make(name: str) -> HTTPProvider:
    """The provider of a preset, new.

    Raises:
        KeyError: When there is no such preset.
        ValueError: For ``azure``, when the variable with its endpoint is not set or holds no URL.
    """
    preset = PRESETS[name]
    return HTTPProvider(
        name,
        dialect=preset.dialect,
        base_url=preset.base_url if preset.base_url is not None else _azure_url(),
        key_env=preset.key_env,
    )


def endpoint(
    name: str,
    *,
    wire: str = "openai",
    base_url: str,
    key_env: str | None = None,
    api_key: str | Secret | None = None,
    allow_http: bool = False,
    headers: Mapping[str, str] | None = None,
) -> HTTPProvider:
    """A provider at an address of one's own; the arguments are those of :class:`HTTPProvider`.

    Raises:
        ValueError: For an unknown wire, and as :class:`HTTPProvider` does.

    >>> endpoint("lab", base_url="https://llm.example.org/v1", key_env="LAB_KEY")
    HTTPProvider('lab', base_url='https://llm.example.org/v1')
    """
    dialect = WIRES.get(wire)
    if dialect is None:
        raise ValueError(f"{name}: the wire {wire!r} is not known; choose one of: {', '.join(sorted(WIRES))}")
    return HTTPProvider(
        name,
        dialect=dialect,
        base_url=base_url,
        key_env=key_env,
        api_key=api_key,
        allow_http=allow_http,
        headers=headers,
    )


def _azure_url() -> str:
    address = os.environ.get(AZURE_ENDPOINT, "").strip().rstrip("/")
    if not address:
        raise ValueError(
            f"azure has no address of its own: set {AZURE_ENDPOINT} to that of your resource, "
            "such as https://NAME.openai.azure.com"
        )
    # The v1 API needs no api-version; an address that names it already is taken as it is.
    return address if address.endswith("/openai/v1") else f"{address}/openai/v1"
