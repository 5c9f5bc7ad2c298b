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

import httpx

from llm_failover_nb.engine.errors import ErrorKind, ProviderError
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.providers import speakers
from llm_failover_nb.providers.anthropic import AnthropicDialect
from llm_failover_nb.providers.base import BaseProvider
from llm_failover_nb.providers.endpoint import sealed_headers, sealed_key, secret_in
from llm_failover_nb.providers.environment import is_loopback
from llm_failover_nb.providers.gemini import GeminiDialect
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.ollama import OllamaDialect
from llm_failover_nb.providers.openai import OpenAIDialect

if TYPE_CHECKING:
    from llm_failover_nb.engine.types import Chunk, Request, Response
    from llm_failover_nb.providers.http import Dialect
    from llm_failover_nb.settings import ProviderSettings

__all__ = ["AZURE_ENDPOINT", "PRESETS", "WIRES", "Preset", "configured", "endpoint", "make"]

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
"""The variable with the address of one's own Azure resource, such as ``https://NAME.openai.azure.com``."""

_ANTHROPIC = AnthropicDialect()
_GEMINI = GeminiDialect()
_OLLAMA = OllamaDialect()
_OPENAI = OpenAIDialect()

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
        "azure": Preset(None, "AZURE_OPENAI_API_KEY", speakers.AZURE),
        "cerebras": Preset("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", speakers.CEREBRAS),
        "deepseek": Preset("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", speakers.DEEPSEEK),
        "fireworks": Preset("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "gemini": Preset("https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY", _GEMINI),
        "github": Preset("https://models.github.ai/inference", "GITHUB_TOKEN", speakers.GITHUB),
        "groq": Preset("https://api.groq.com/openai/v1", "GROQ_API_KEY", speakers.GROQ),
        "huggingface": Preset("https://router.huggingface.co/v1", "HF_TOKEN"),
        "llamacpp": Preset("http://127.0.0.1:8080/v1", None, headers=_ONE_CALL_A_CONNECTION),
        "lmstudio": Preset("http://127.0.0.1:1234/v1", None),
        "mistral": Preset("https://api.mistral.ai/v1", "MISTRAL_API_KEY", speakers.MISTRAL),
        "nvidia": Preset("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        "ollama": Preset("http://127.0.0.1:11434", None, _OLLAMA),
        "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY", speakers.OPENAI),
        "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "perplexity": Preset("https://api.perplexity.ai", "PERPLEXITY_API_KEY", speakers.PERPLEXITY),
        "together": Preset("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        "vllm": Preset("http://127.0.0.1:8000/v1", None),
        "xai": Preset("https://api.x.ai/v1", "XAI_API_KEY", speakers.XAI),
    }
)

_NO_PRESET = Preset(None, None)

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
        self.wire = preset.dialect.wire
        self._preset = preset
        self._lock = threading.Lock()
        self._made: tuple[str, HTTPProvider] | None = None
        self._secret: Secret | None = None  # as last seen

    @property
    def base_url(self) -> str:
        """Where its paths begin at this moment; empty when that is not known."""
        # The v1 API needs no api-version; an address that names it already is taken as it is.
        address = os.environ.get(AZURE_ENDPOINT, "").strip().rstrip("/").removesuffix("/openai/v1")
        return address and f"{address}/openai/v1"

    @property
    def key(self) -> Secret | None:
        """The key that would be sent now."""
        self._secret = secret_in(self._preset.key_env or "", known=self._secret)
        return self._secret if self._secret is not None and self._secret.is_a_key else None

    def dropped(self, request: Request, /) -> tuple[str, ...]:
        """The fields of ``request`` that are left out, see the dialect."""
        return self._preset.dialect.dropped(request)

    @property
    def missing_key(self) -> str | None:
        """The variables to set before anything can be sent; ``None`` when nothing is missing."""
        needed = (AZURE_ENDPOINT, self._preset.key_env)
        missing = [name for name in needed if name and not os.environ.get(name, "").strip()]
        return " and ".join(missing) or None

    @property
    def key_env(self) -> str | None:
        """The environment variable that holds its key."""
        return self._preset.key_env

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


def configured(name: str, entry: ProviderSettings) -> HTTPProvider:
    """The provider of a ``[providers.NAME]`` of the settings.

    Raises:
        ValueError: As :func:`endpoint` does.
    """
    return endpoint(
        name,
        wire=entry.wire,
        base_url=entry.base_url,
        key_env=entry.key_env,
        headers=entry.headers,
        allow_http=entry.allow_http,
    )


def endpoint(
    name: str,
    *,
    wire: str | None = None,
    base_url: str,
    key_env: str | None = None,
    api_key: str | Secret | None = None,
    allow_http: bool = False,
    headers: Mapping[str, str | Secret] | None = None,
) -> HTTPProvider:
    """A provider at an address of one's own.

    Under a preset's name, what is not given is the preset's: its dialect and headers, and its key's variable
    if the address is the preset's own host or this machine. No other host is sent a preset's key unasked.

    Args:
        name: The provider's name.
        wire: The dialect that it speaks, a name in :data:`WIRES`; ``openai`` unless ``name`` is a preset's.
        base_url: Where its paths begin.
        key_env: The environment variable that holds its key.
        api_key: The key itself.
        allow_http: Send the key over plain http to a host that is not loopback.
        headers: Sent with each request.

    Raises:
        ValueError: For an unknown wire, and as :class:`HTTPProvider` does.

    >>> endpoint("lab", base_url="https://llm.example.org/v1", key_env="LAB_KEY")
    HTTPProvider('lab', base_url='https://llm.example.org/v1')
    """
    # First of all, for tracebacks show arguments.
    api_key, headers = sealed_key(api_key), sealed_headers(headers)
    preset = PRESETS.get(name, _NO_PRESET)
    dialect = preset.dialect if wire is None else WIRES.get(wire)
    if dialect is None:
        raise ValueError(f"{name}: the wire {wire!r} is not known; choose one of: {', '.join(sorted(WIRES))}")
    has_key = key_env is not None or api_key is not None or _holds_a_key(headers)
    return HTTPProvider(
        name,
        dialect=dialect,
        base_url=base_url,
        key_env=key_env if has_key or not _is_at_home(preset, base_url) else preset.key_env,
        api_key=api_key,
        allow_http=allow_http,
        headers=_over(preset.headers, headers),
    )


def _is_at_home(preset: Preset, base_url: str) -> bool:
    """Whether an address is on the preset's own host, or on this machine."""
    host = _host_of(base_url)
    return is_loopback(host) or host == _host_of(preset.base_url or "")


def _host_of(base_url: str) -> str:
    try:
        return httpx.URL(base_url).host
    except (httpx.InvalidURL, TypeError):
        return ""  # HTTPProvider says what is wrong with it


def _over(known: Mapping[str, str], given: Mapping[str, str | Secret]) -> dict[str, str | Secret]:
    """``known`` headers with those ``given`` over them; their names know no case."""
    names = {name.lower() for name in given}
    return {name: value for name, value in known.items() if name.lower() not in names} | dict(given)


def _holds_a_key(headers: Mapping[str, str | Secret]) -> bool:
    return any(isinstance(value, Secret) for value in headers.values())
