"""How the known speakers of the openai wire want it, and what they refuse.

Data alone. A field is named here where its provider's documentation says that it is answered with an error,
or where it is known to be. What a provider passes over in silence is sent. Routers (openrouter, huggingface)
leave out themselves what a model refuses; of together, fireworks, nvidia and perplexity no such refusal is
documented. A model whose name tells nothing is believed to take what is asked for.
"""

from __future__ import annotations

import re
from dataclasses import replace

from llm_failover_nb.providers.listing import ModelsQuery
from llm_failover_nb.providers.openai import OpenAIDialect, Refusal

__all__ = ["AZURE", "CEREBRAS", "DEEPSEEK", "GITHUB", "GROQ", "MISTRAL", "OPENAI", "PERPLEXITY", "XAI"]

_TEMPERATURE, _STOP, _SCHEMA = frozenset({"temperature"}), frozenset({"stop"}), frozenset({"schema"})


def _of_openais_models(prefix: str = "") -> tuple[Refusal, ...]:
    """What OpenAI's models refuse, their names behind ``prefix``.

    From the guides "Reasoning models", "Structured outputs" and "Using the latest model" (for GPT-5.4:
    temperature is "only supported with reasoning effort set to none"; for GPT-6: "when reasoning effort is
    not none, remove temperature"), and from the reference of Chat Completions (stop is "not supported with
    latest reasoning models o3 and o4-mini"; gpt-5 and what came after it answer 400 likewise).
    """

    def models(pattern: str) -> re.Pattern[str]:
        return re.compile(f"{prefix}(?:{pattern})")

    return (
        # They think whatever is asked. gpt-5-chat never does, and takes what models took before it.
        Refusal(_TEMPERATURE, models(r"o\d(?!\w)|gpt-5(?![\d.]|-chat)|gpt-5\.\d+-(?:chat|codex|pro)")),
        # These think when they are asked to, and those that came after them unless they are asked not to.
        Refusal(_TEMPERATURE, models(r"gpt-5\.[1-4](?!\d)"), effort="none"),
        Refusal(_TEMPERATURE, models(r"gpt-(?:5\.(?:[5-9]|\d\d)|[6-9]|\d\d)"), effort="medium"),
        Refusal(_STOP, models(r"o3(?!\w|-mini)|o4(?!\w)|gpt-5(?!-chat)|gpt-(?:[6-9]|\d\d)")),
        # Structured outputs came with gpt-4o-2024-08-06, gpt-4o-mini and o1.
        Refusal(_SCHEMA, models(r"(?:ft:)?gpt-(?:3|4(?![.o])|4o-2024-05-13)|o1-(?:mini|preview)")),
    )


OPENAI = OpenAIDialect(
    # The older name is deprecated, and refused by reasoning models.
    completion_tokens=re.compile(""),
    refusals=_of_openais_models(),
    temperatures=(0.0, 2.0),
    most_stops=4,
    # Its list says nothing but the names.
    no_chat=re.compile(
        r"babbage|chatgpt-image|dall-e|davinci|gpt-image|omni-moderation|sora|text-embedding|text-moderation"
        r"|tts|whisper|gpt-\w.*-(?:realtime|transcribe|tts)|gpt-realtime|gpt-audio"
    ),
)

AZURE = replace(OPENAI, key_header="api-key", key_prefix="", models_at=None)
"""Of a deployment it knows what its name tells: best, that is its model's.

Its list of models is of those that can be deployed ("all models that are accessible by the Azure OpenAI
resource"); what a request names is a deployment, and the key opens no list of these.
"""

GITHUB = OpenAIDialect(
    # It hands these requests on to OpenAI's models as they are.
    completion_tokens=re.compile(r"openai/(?:o\d(?!\w)|gpt-[5-9])"),
    refusals=_of_openais_models("openai/"),
    # "You can find supported models in the catalog/models endpoint", which is not below /inference.
    models_at=ModelsQuery("/catalog/models", from_root=True),
)

# "What sampling temperature to use, between 0 and 1.5"; "up to 4 sequences".
CEREBRAS = OpenAIDialect(temperatures=(0.0, 1.5), most_stops=4)

# "This response_format type is unavailable now": the reference has text and json_object only.
DEEPSEEK = OpenAIDialect(never=_SCHEMA, temperatures=(0.0, 2.0), most_stops=16)

GROQ = OpenAIDialect(
    refusals=(
        # "This model does not support response format `json_schema`": the page "Structured outputs" lists
        # those that do, of GPT-OSS, Llama 4, Kimi K2 and Qwen 3.8. These do not.
        Refusal(
            _SCHEMA,
            re.compile(
                r"llama-?3|gemma|mixtral|mistral|allam|deepseek-r1|qwen-|qwen/qwen3(?:-|\.[0-7])"
                r"|(?:groq/)?compound"
            ),
        ),
    ),
    # "A float32 > 0 and <= 2", and 0 is converted.
    temperatures=(0.0, 2.0),
    most_stops=4,
)

MISTRAL = OpenAIDialect(
    seed_member="random_seed",
    # It refuses members that it does not know, and reports the usage of streams unasked.
    stream_usage=False,
    # "Input should be less than or equal to 1.5".
    temperatures=(0.0, 1.5),
)

# Its list of models, at /v1/models, is that of its Agent API; Chat Completions take others.
PERPLEXITY = OpenAIDialect(models_at=None)

XAI = OpenAIDialect(
    refusals=(
        # "presencePenalty, frequencyPenalty and stop parameters are not supported by reasoning models. Adding
        # them in the request would result in an error."
        Refusal(_STOP, re.compile(r"(?!.*non-reasoning)grok-(?:3-mini|code|build|[4-9]|\d\d)")),
    ),
    temperatures=(0.0, 2.0),
    most_stops=4,
)
