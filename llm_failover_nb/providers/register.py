"""How a name becomes a provider: built-in ones by table, the user's own by the settings or in code.

Light to import: a provider's module, and with it the wires ``openai``, ``anthropic``, ``gemini`` and
``ollama``, is imported where it is first asked for. Nothing here knows a wire, or does I/O but to have the
settings read.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial

from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Provider
from llm_failover_nb.settings import Origin, ProviderSettings, SettingsError, load_settings

__all__ = ["from_settings", "make", "register_provider"]


def make(name: str) -> Provider:
    """The built-in provider of that name; each module is imported when it is first asked for."""
    if name == "sim":
        from llm_failover_nb.providers.sim import SimProvider

        return SimProvider()
    if name == "local":
        from llm_failover_nb.providers.local import LocalProvider

        return LocalProvider()
    from llm_failover_nb.providers import presets

    return presets.make(name)


def from_settings() -> Mapping[str, Callable[[], Provider]]:
    """What makes each provider of the settings, by name; the files are read now, and nothing is made.

    Raises:
        SettingsError: When a file cannot be used.
    """
    settings = load_settings()
    return {
        name: partial(_configured, name, entry, settings.origins[f"providers.{name}"])
        for name, entry in settings.providers.items()
    }


def _configured(name: str, entry: ProviderSettings, origin: Origin) -> Provider:
    from llm_failover_nb.providers import presets

    try:
        return presets.configured(name, entry)
    except ValueError as error:
        # It speaks to somebody who writes Python.
        said = str(error).replace("allow_http=True", "allow_http = true")
        raise SettingsError(said, path=origin.path, line=origin.line) from None


def register_provider(
    name: str,
    provider: Provider | None = None,
    *,
    wire: str | None = None,
    base_url: str | None = None,
    key_env: str | None = None,
    api_key: str | Secret | None = None,
    headers: Mapping[str, str | Secret] | None = None,
    allow_http: bool = False,
    registry: SpecRegistry | None = None,
) -> None:
    """Make ``name/model`` a spec of the process: an endpoint of your own, or any provider object.

    A name that is known already is replaced for chains built from now on.

    Args:
        name: What stands before the slash.
        provider: An object with ``complete`` and ``stream``, or ``acomplete`` and ``astream``.
        wire: The dialect that the endpoint speaks: ``openai``, ``anthropic``, ``gemini`` or ``ollama``. Where
            none is given, that of the built-in provider of this name, else ``openai``.
        base_url: Where it listens, with its version, such as ``https://llm.example.org/v1``; for
            ``anthropic`` and ``ollama`` without it, such as ``http://192.0.2.7:11434``: their paths bring it.
        key_env: The environment variable with its key; read at each call, never stored.
        api_key: A key as it is; prefer ``key_env``: one written in a cell is saved with the notebook, and
            warns.
        headers: Further headers to send; a value that is secret may be a ``Secret``.
        allow_http: Let the key travel over plain http to a host other than this machine.
        registry: Where to register; the process's own unless given.

    Raises:
        ValueError: When the name, the URL or the wire is unusable.
        TypeError: When neither, or both, of ``provider`` and ``base_url`` are given.

    >>> register_provider("lab", base_url="http://127.0.0.1:8000/v1", key_env="LAB_KEY")
    """
    written = False
    if api_key is not None or headers is not None:
        from llm_failover_nb.providers.endpoint import sealed_headers, sealed_key

        # First of all, for tracebacks show arguments.
        given, api_key, headers = type(api_key), sealed_key(api_key), sealed_headers(headers)
        written = issubclass(given, str) and api_key is not None and _is_in_the_cell(api_key)
    if provider is None and base_url is not None:
        from llm_failover_nb.providers import presets

        if written:
            warnings.warn(
                f"the key of {name!r} is written in this cell and will be saved with the notebook; "
                "put it into an environment variable and give its name as key_env=",
                stacklevel=2,
            )
        provider = presets.endpoint(
            name,
            wire=wire,
            base_url=base_url,
            key_env=key_env,
            api_key=api_key,
            headers=headers,
            allow_http=allow_http,
        )
    elif provider is None or base_url is not None:
        raise TypeError(f"register_provider({name!r}) needs either a provider object or base_url=")
    (process_registry if registry is None else registry).register(name, provider)


def _is_in_the_cell(key: Secret) -> bool:
    """Whether the source of the running cell of a notebook holds ``key`` as it is."""
    if "ipykernel" not in sys.modules:
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cells = getattr(shell, "user_ns", {}).get("_ih")
    return isinstance(cells, list) and key.reveal() in "".join(map(str, cells[-1:]))
