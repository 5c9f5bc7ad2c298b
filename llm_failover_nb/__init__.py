"""Notebook cells that go on when a language model does not.

>>> import llm_failover_nb as fo
>>> chain = fo.parse_chain("sim/down, sim/echo", backoff=lambda attempt: 0.0)
>>> chain.complete("hello").text
'hello'

In a notebook: ``%load_ext llm_failover_nb``, then ``%%llm chain=openai/gpt-x,local/smollm2``.

This module holds the public names, each imported when it is first used, and wires in the providers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from llm_failover_nb.engine import alias_sources, builtin_providers, provider_sources, withheld_sources

__version__ = "0.1.0"

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from llm_failover_nb.engine.bench import BenchedModel, BenchRegistry
    from llm_failover_nb.engine.chain import (
        Chain,
        Registry,
        bench_model,
        cancel_call,
        failover_model,
        is_benched,
        list_benched,
        list_running,
        parse_chain,
        unbench_model,
    )
    from llm_failover_nb.engine.classify import Verdict, classify
    from llm_failover_nb.engine.errors import (
        AllModelsFailed,
        ChainSpecError,
        DeadlineExceeded,
        ErrorKind,
        FailoverError,
        ProviderError,
        StreamInterrupted,
    )
    from llm_failover_nb.engine.events import (
        AttemptRecord,
        EventLog,
        FailoverEvent,
        get_failover_observer,
        queued,
        set_failover_observer,
    )
    from llm_failover_nb.engine.explain import explain
    from llm_failover_nb.engine.model import Model
    from llm_failover_nb.engine.policy import Policy, get_failover_defaults, set_failover_defaults
    from llm_failover_nb.engine.registry import ProviderInfo
    from llm_failover_nb.engine.roster import RunningCall
    from llm_failover_nb.engine.secret import Secret
    from llm_failover_nb.engine.types import Chunk, Message, Request, Response, Usage
    from llm_failover_nb.notebook.frames import events_frame
    from llm_failover_nb.notebook.panel import panel
    from llm_failover_nb.providers.register import register_provider
    from llm_failover_nb.stores import get_store, use_store

__all__ = [
    "AllModelsFailed",
    "AttemptRecord",
    "BenchRegistry",
    "BenchedModel",
    "Chain",
    "ChainSpecError",
    "Chunk",
    "DeadlineExceeded",
    "ErrorKind",
    "EventLog",
    "FailoverError",
    "FailoverEvent",
    "Message",
    "Model",
    "Policy",
    "ProviderError",
    "ProviderInfo",
    "Registry",
    "Request",
    "Response",
    "RunningCall",
    "Secret",
    "StreamInterrupted",
    "Usage",
    "Verdict",
    "bench_model",
    "cancel_call",
    "classify",
    "events_frame",
    "explain",
    "failover_model",
    "get_failover_defaults",
    "get_failover_observer",
    "get_store",
    "is_benched",
    "list_benched",
    "list_running",
    "panel",
    "parse_chain",
    "queued",
    "register_provider",
    "set_failover_defaults",
    "set_failover_observer",
    "unbench_model",
    "use_store",
]

_HOME = {
    name: f"{__name__}.{module}"
    for module, names in {
        "engine.bench": "BenchRegistry BenchedModel",
        "engine.chain": "Chain Registry bench_model cancel_call failover_model is_benched list_benched "
        "list_running parse_chain unbench_model",
        "engine.classify": "Verdict classify",
        "engine.errors": "AllModelsFailed ChainSpecError DeadlineExceeded ErrorKind FailoverError "
        "ProviderError StreamInterrupted",
        "engine.events": "AttemptRecord EventLog FailoverEvent get_failover_observer queued "
        "set_failover_observer",
        "engine.explain": "explain",
        "engine.model": "Model",
        "engine.policy": "Policy get_failover_defaults set_failover_defaults",
        "engine.registry": "ProviderInfo",
        "engine.roster": "RunningCall",
        "engine.secret": "Secret",
        "engine.types": "Chunk Message Request Response Usage",
        "notebook.frames": "events_frame",
        "notebook.panel": "panel",
        "providers.register": "register_provider",
        "stores": "get_store use_store",
    }.items()
    for name in names.split()
}

builtin_providers.update(
    dict.fromkeys(
        "anthropic azure cerebras deepseek fireworks gemini github groq huggingface llamacpp lmstudio "
        "local mistral nvidia ollama openai openrouter perplexity sim together vllm xai".split(),
        f"{__name__}.providers.register:make",
    )
)
provider_sources["settings"] = f"{__name__}.providers.register:from_settings"
alias_sources["settings"] = f"{__name__}.settings:named_chains"
withheld_sources["settings"] = f"{__name__}.settings:withheld"


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """``%load_ext llm_failover_nb``: adds ``%%llm`` and ``%llm``."""
    import_module(f"{__name__}.notebook.magic").load(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """``%unload_ext llm_failover_nb``: takes every hook away again."""
    import_module(f"{__name__}.notebook.magic").unload(shell)
