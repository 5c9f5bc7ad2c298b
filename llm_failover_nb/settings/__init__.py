"""What the user has set, in TOML files that are read on demand and checked whole. Nothing is kept here.

A project has its own in ``llm_failover.toml``, or under ``[tool.llm_failover]`` in ``pyproject.toml``
(`project.py` says where they are looked for), and wins value by value. What could send a key or a prompt
elsewhere, or load a file, counts in it only once the user trusts it (`trust.py`).

The user's own file is ``settings.toml`` in the user's configuration folder, or the one that
``LLM_FAILOVER_NB_SETTINGS`` names::

    chain = "openai/gpt-x,local/smollm2"   # for cells that name none

    [aliases]                              # other names for models
    fast = "groq/llama-small"

    [chains]                               # and for chains of them; a name stands in one of the two tables
    prod = "openai/gpt-x,anthropic/claude-y,fast"

    [cell]                                 # what %%llm takes where its first line does not say
    system = "Answer in one sentence."
    temperature = 0.2
    max_tokens = 400
    stop = ["END"]                         # or one text
    seed = 7
    format = "markdown"                    # or text, json, code, html
    stream = true
    raw = false
    await_cells = true

    [policy]                               # fields of Policy; times are seconds, or texts such as "2m"
    max_retries = 3
    cooldown = "5m"
    deadline = "none"                      # no limit
    midstream = "restart"                  # or raise

    [local.models]                         # local/qwen; relative to this file
    qwen = "~/models/qwen.gguf"

    [providers.lab]                        # lab/MODEL; wins over a built-in name
    base_url = "https://llm.example.org/v1"
    wire = "openai"                        # or anthropic, gemini, ollama; a built-in name has its own
    key_env = "LAB_KEY"                    # the variable with the key; the key itself is refused here
    allow_http = false                     # true lets the key travel over plain http to another machine
    headers = { "x-team" = "nlp" }
"""

from llm_failover_nb.settings.layers import CELL_POLICY, config_values, merged
from llm_failover_nb.settings.load import (
    load_settings,
    named_chains,
    settings_path,
    untrusted_words,
    withheld,
)
from llm_failover_nb.settings.session import Session
from llm_failover_nb.settings.types import (
    CELL_DEFAULTS,
    EMBEDDED_MODEL,
    SETTINGS_VARIABLE,
    Origin,
    ProviderSettings,
    Settings,
    SettingsError,
    Untrusted,
)

__all__ = [
    "CELL_DEFAULTS",
    "CELL_POLICY",
    "EMBEDDED_MODEL",
    "Origin",
    "ProviderSettings",
    "SETTINGS_VARIABLE",
    "Session",
    "Settings",
    "SettingsError",
    "Untrusted",
    "config_values",
    "load_settings",
    "merged",
    "named_chains",
    "settings_path",
    "untrusted_words",
    "withheld",
]
