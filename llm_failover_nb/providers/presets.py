"""The providers known by name: where they listen, which variable holds their key.

Data, two makers, and Azure, which has an address for each of its customers. How a wire is written and read is
its dialect's to say, and nothing here does I/O.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.endpoint import sealed_headers, sealed_key
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect

if TYPE_CHECKING:
    from llm_failover_nb.engine.secret import Secret
    from llm_failover_nb.engine.types import Chunk, Request, Response
    from llm_failover_nb.providers.http import Dialect

__all__ = ["AZURE_ENDPOINT", "PRESETS", "WIRES", "Preset", "endpoint", "make"]

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
"""The variable with the address of one's own Azure resource, such as ``https://NAME.openai.azure.com``."""

_ANTHROPIC = AnthropicDialect()
_GEMINI = GeminiDialect()
_OLLAMA = OllamaDialect()
_OPENAI = OpenAIDialect()
# OpenAI's reasoning models refuse the older name of the limit.
_OPENAI_ITSELF = OpenAIDialect(max_tokens_member="max_completion_tokens")
_AZURE = OpenAIDialect(key_header="api-key", key_prefix="", max_tokens_member="max_completion_tokens")
# Mistral refuses members that it does not know, and reports the usage of streams unasked.
_MISTRAL = OpenAIDialect(seed_member="random_seed", stream_usage=False)

# llama.cpp's server hangs up on connections that it promised to keep: 31 to 44 of 100 next calls over one
# failed. It is on this machine, where a new one costs next to nothing.
_ONE_CALL_A_CONNECTION: Mapping[str, str] = MappingProxyType({"connection": "close"})


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider: its base URL (none where it is the user's own), its key's variable, its dialect, and
    headers that it needs besides.
    """

    base_url: str | None
    key_env: str | None
    dialect: Dialect = _OPENAI
    headers: Mapping[str, str] = field(default_factory=dict)


# Base URLs and variables as each provider's own documentation gives them.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "anthropic": Preset("https://api.anthropic.com", "ANTHROPIC_API_KEY", _ANTHROPIC),
        "azure": Preset(None, "AZURE_OPENAI_API_KEY", _AZURE),
        "cerebras": Preset("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "deepseek": Preset("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "fireworks": Preset("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "gemini": Preset("https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY", _GEMINI),
        "github": Preset("https://models.github.ai/inference", "GITHUB_TOKEN"),
        "groq": Preset("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "huggingface": Preset("https://router.huggingface.co/v1", "HF_TOKEN"),
        "llamacpp": Preset("http://127.0.0.1:8080/v1", None, headers=_ONE_CALL_A_CONNECTION),
        "lmstudio": Preset("http://127.0.0.1:1234/v1", None),
        "mistral": Preset("https://api.mistral.ai/v1", "MISTRAL_API_KEY", _MISTRAL),
        "nvidia": Preset("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        "ollama": Preset("http://127.0.0.1:11434", None, _OLLAMA),
        "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY", _OPENAI_ITSELF),
        "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "perplexity": Preset("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        "together": Preset("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        "vllm": Preset("http://127.0.0.1:8000/v1", None),
        "xai": Preset("https://api.x.ai/v1", "XAI_API_KEY"),
    }
)

WIRES: Mapping[str, Dialect] = MappingProxyType(
    {"anthropic": _ANTHROPIC, "gemini": _GEMINI, "ollama": _OLLAMA, "openai": _OPENAI}
)
"""The dialects that an endpoint of one's own may speak."""


def make(name: str) -> HTTPProvider | AzureProvider:
    """The provider of a preset, new.

    Raises:
        KeyError: When there is no such preset.
    """
    preset = PRESETS[name]
    if preset.base_url is None:
        return AzureProvider(name, preset)
    return at(preset.base_url, name, preset)


def at(base_url: str, name: str, preset: Preset) -> HTTPProvider:
    return HTTPProvider(
        name, dialect=preset.dialect, base_url=base_url, key_env=preset.key_env, headers=preset.headers
    )


class AzureProvider(BaseProvider):
    """The models of one's own Azure resource; its address is read at each call, as its key is.

    So a chain with ``azure/…`` can be built anywhere, and the entry is left out where either is missing.

    Args:
        name: The provider's name, for messages.
        preset: Its key's variable and its dialect.

    Raises:
        ProviderError: From its calls, when the address is missing (``no_key``) or no URL (``bad_request``).
    """

    keeps_time = True

    def __init__(self, name: str, preset: Preset) -> None:
        self.name = name
        self._preset = preset
        self._lock = threading.Lock()
        self._made: tuple[str, HTTPProvider] | None = None

    @property
    def base_url(self) -> str:
        """Where its paths begin at this moment; empty when that is not known."""
        # The v1 API needs no api-version; an address that names it already is taken as it is.
        address = os.environ.get(AZURE_ENDPOINT, "").strip().rstrip("/").removesuffix("/openai/v1")
        return address and f"{address}/openai/v1"

    @property
    def missing_key(self) -> str | None:
        """The variables to set before anything can be sent; ``None`` when nothing is missing."""
        needed = (AZURE_ENDPOINT, self._preset.key_env)
        missing = [name for name in needed if name and not os.environ.get(name, "").strip()]
        return " and ".join(missing) or None

    def complete(self, request: Request, /) -> Response:
        return self._provider().complete(request)

    async def acomplete(self, request: Request, /) -> Response:
        return await self._provider().acomplete(request)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        return self._provider().stream(request)

    def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        return self._provider().astream(request)

    def close(self) -> None:
        if self._made is not None:
            self._made[1].close()

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made[1].aclose()

    def _provider(self) -> HTTPProvider:
        """The provider at the address of this moment."""
        base_url = self.base_url
        with self._lock:
            if self._made is None or self._made[0] != base_url:
                self._made = (base_url, self._new(base_url))
            return self._made[1]

    def _new(self, base_url: str) -> HTTPProvider:
        if not base_url:
            raise ProviderError(
                f"{self.name} has no address of its own: set {AZURE_ENDPOINT} to that of your resource, "
                "such as https://NAME.openai.azure.com",
                kind=ErrorKind.AUTH_DEAD,
                reason="no_key",
            )
        try:
            return at(base_url, self.name, self._preset)
        except ValueError as error:
            raise ProviderError(
                f"{error}; correct {AZURE_ENDPOINT}", kind=ErrorKind.AUTH_DEAD, reason="bad_request"
            ) from None


def endpoint(
    name: str,
    *,
    wire: str = "openai",
    base_url: str,
    key_env: str | None = None,
    api_key: str | Secret | None = None,
    allow_http: bool = False,
    headers: Mapping[str, str | Secret] | None = None,
) -> HTTPProvider:
    """A provider at an address of one's own; the arguments are those of :class:`HTTPProvider`.

    Raises:
        ValueError: For an unknown wire, and as :class:`HTTPProvider` does.

    >>> endpoint("lab", base_url="https://llm.example.org/v1", key_env="LAB_KEY")
    HTTPProvider('lab', base_url='https://llm.example.org/v1')
    """
    # First of all, for tracebacks show arguments.
    api_key, headers = sealed_key(api_key), sealed_headers(headers)
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
