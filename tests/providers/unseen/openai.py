"""Chat Completions, as many vendors speak it."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.unseen import AUTH_DEAD, REQUEST_SPECIFIC, TRANSIENT, Unseen, lines, ndjson


def chunk(text: str | None = None, finish: object = None, /, **said: object) -> dict[str, Any]:
    """A chunk of Chat Completions; ``said`` are further members of its delta."""
    delta = said if text is None else {"content": text, **said}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def tool(
    arguments: str, *, name: str | None = None, call: str | None = None, **more: object
) -> dict[str, Any]:
    """A delta of a tool call."""
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def counted(prompt: int, completion: int, **more: object) -> dict[str, Any]:
    """A usage of Chat Completions."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def failed(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


DONE = "data: [DONE]"
HELLO = (chunk("Hel", role="assistant"), chunk("lo"))
STOP = chunk(None, "stop")

OPENAI = [
    Unseen(
        "azure-asynchronous-filter",
        "openai/openai-python#1677: chunks of the filter have no delta, before and after the answer",
        lines(
            {
                "id": "",
                "object": "",
                "model": "",
                "choices": [],
                "prompt_filter_results": [{"prompt_index": 0}],
            },
            *HELLO,
            STOP,
            {
                "id": "",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
                        "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
                    }
                ],
                "usage": None,
            },
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "azure-filter-failed-itself",
        "Azure's content filtering page: the filter's own error is no error of the answer",
        lines(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": "Hello"},
                        "finish_reason": None,
                        "content_filter_result": {
                            "error": {
                                "code": "content_filter_error",
                                "message": "The contents are not filtered",
                            }
                        },
                    }
                ]
            },
            STOP,
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "azure-prompt-filtered-in-the-stream",
        "Azure's error of a filtered prompt, as gateways stream it",
        lines(
            failed(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy.",
                type=None,
                param="prompt",
                code="content_filter",
                status=400,
                innererror={"code": "ResponsibleAIPolicyViolation"},
            )
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "azure-filtered-after-a-comment-only",
        "Azure: role, then the filter's finish, with results beside it",
        lines(
            ": keep",
            chunk("", role="assistant"),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "content_filter",
                        "content_filter_results": {"violence": {"filtered": True, "severity": "high"}},
                    }
                ]
            },
            DONE,
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "openai-server-error-then-done",
        "sashabaranov/go-openai#396: the marker follows the error",
        lines(
            *HELLO,
            failed(
                "The server had an error processing your request. Sorry about that!",
                type="server_error",
                code=None,
            ),
            DONE,
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "openai-rate-limit-first",
        "OpenAI's rate limit, as an event of a stream",
        lines(
            failed(
                "Rate limit reached for m in organization org-1 on tokens per min (TPM): Limit 30000, Used "
                "29000, Requested 2000. Please try again in 2s.",
                type="tokens",
                code="rate_limit_exceeded",
            )
        ),
        kind=TRANSIENT,
        wait=2.0,
    ),
    Unseen(
        "openai-named-error-flat",
        "OpenAI's streaming reference: the error event is flat",
        lines('event: error\ndata: {"type":"error","code":"server_error","message":"Failed","param":null}'),
        kind=TRANSIENT,
    ),
    Unseen(
        "openai-refusal",
        "OpenAI's structured outputs guide: refusal deltas beside null content",
        lines(
            chunk(None, role="assistant", content=None, refusal=""),
            chunk(None, refusal="I'm sorry"),
            chunk(None, refusal=", I can't."),
            STOP,
            DONE,
        ),
        text="I'm sorry, I can't.",
        finish="stop",
        also=REQUEST_SPECIFIC,
    ),
    Unseen(
        "openai-usage-null-until-the-end",
        "OpenAI's include_usage: null on all chunks but the last, which has no choices",
        lines(
            *({**one, "usage": None} for one in (*HELLO, STOP)),
            {"choices": [], "usage": counted(9, 2, prompt_tokens_details={"cached_tokens": 4})},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9, "output_tokens": 2, "cached_tokens": 4},
    ),
    Unseen(
        "usage-before-and-after",
        "gateways that count the prompt first",
        lines(
            {"choices": [], "usage": counted(9, 0)},
            *HELLO,
            STOP,
            {"choices": [], "usage": counted(9, 2)},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9, "output_tokens": 2},
    ),
    Unseen(
        "usage-with-nulls",
        "maximhq/bifrost#5425: a failed upstream's usage has null counts",
        lines(*HELLO, STOP, {"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": 2}}, DONE),
        text="Hello",
        finish="stop",
        usage={"output_tokens": 2},
    ),
    Unseen(
        "usage-after-done-is-not-read",
        "a gateway that appends its own accounting",
        lines(*HELLO, STOP, DONE, {"choices": [], "usage": counted(9, 2)}),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "xai-usage-in-every-chunk",
        "xAI's streaming example: cumulative usage, no finish_reason before the last",
        lines(
            {
                "choices": [{"index": 0, "delta": {"content": "Hel", "role": "assistant"}}],
                "usage": counted(38, 1),
            },
            {"choices": [{"index": 0, "delta": {"content": "lo"}}], "usage": counted(38, 2)},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": counted(38, 2)},
            {"choices": [], "usage": counted(38, 2), "citations": ["https://example.org"]},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 38, "output_tokens": 2},
    ),
    Unseen(
        "xai-reasoning-then-text",
        "omnigent-ai/omnigent#1687: reasoning_content beside null content",
        lines(
            chunk(None, content=None, reasoning_content="Let me"),
            chunk(None, content=None, reasoning_content=" think"),
            *HELLO,
            chunk(None, "end_turn"),
            DONE,
        ),
        text="Hello",
        finish="end_turn",
        reasoning="Let me think",
    ),
    Unseen(
        "perplexity-delta-beside-message",
        "langchain-ai/langchain#39924: cumulative message and usage in each chunk, no marker",
        lines(
            *(
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"role": "assistant", "content": piece},
                            "message": {"role": "assistant", "content": whole},
                            "finish_reason": finish,
                        }
                    ],
                    "usage": counted(9, count),
                    "citations": [],
                }
                for piece, whole, finish, count in (
                    ("Hel", "Hel", None, 1),
                    ("lo", "Hello", None, 2),
                    ("", "Hello", "stop", 2),
                )
            )
        ),
        text="Hello",
        finish="stop",
        usage={"output_tokens": 2},
    ),
    Unseen(
        "groq-usage-twice",
        "Groq: x_groq in the first and last chunk, usage beside it when asked for",
        lines(
            {**chunk("", role="assistant"), "x_groq": {"id": "req_01"}},
            *HELLO,
            {**STOP, "x_groq": {"id": "req_01", "usage": counted(20, 5, queue_time=0.01)}},
            {"choices": [], "usage": counted(20, 5), "x_groq": {"id": "req_01"}},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 20, "output_tokens": 5},
    ),
    Unseen(
        "groq-reasoning",
        "Groq's reasoning guide: the field is called reasoning",
        lines(chunk(None, reasoning="Let me think", role="assistant"), *HELLO, STOP, DONE),
        text="Hello",
        finish="stop",
        reasoning="Let me think",
    ),
    Unseen(
        "openrouter-reasoning-once",
        "OpenRouter: reasoning and reasoning_details say the same",
        lines(
            ": OPENROUTER PROCESSING",
            chunk(
                "",
                role="assistant",
                reasoning="Let me think",
                reasoning_details=[{"type": "reasoning.text", "text": "Let me think", "index": 0}],
            ),
            *HELLO,
            STOP,
            {
                "choices": [
                    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
                ],
                "usage": counted(9, 7, cost=0.25, completion_tokens_details={"reasoning_tokens": 5}),
            },
            DONE,
        ),
        text="Hello",
        finish="stop",
        reasoning="Let me think",
        usage={"output_tokens": 7, "reasoning_tokens": 5},
    ),
    Unseen(
        "openrouter-error-in-the-choice",
        "OpenRouter: the upstream's error inside the choice, its status 502",
        lines(
            *HELLO,
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": "error",
                        "native_finish_reason": None,
                        "error": {
                            "code": 502,
                            "message": "Provider returned error",
                            "metadata": {"raw": "upstream"},
                        },
                    }
                ]
            },
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "openrouter-moderation-in-the-choice",
        "OpenRouter's moderation error, with what was flagged",
        lines(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "error",
                        "error": {
                            "code": 403,
                            "message": "Your input was flagged",
                            "metadata": {
                                "reasons": ["violence"],
                                "flagged_input": "how to",
                                "provider_name": "X",
                            },
                        },
                    }
                ]
            },
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "openrouter-credits-first",
        "OpenRouter: 402 as the first event, after its keep-alive comments",
        lines(
            ": OPENROUTER PROCESSING",
            ": OPENROUTER PROCESSING",
            failed("This request requires more credits, or fewer max_tokens.", code=402),
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "openrouter-upstream-rate-limit",
        "open-webui/computer#293: the reason stands in metadata.raw",
        lines(
            failed(
                "Provider returned error",
                code=429,
                metadata={
                    "raw": "m is temporarily rate-limited upstream. Please retry shortly",
                    "provider_name": "X",
                },
            )
        ),
        kind=TRANSIENT,
    ),
    Unseen(
        "finish-error-without-an-error",
        "gethouston/houston#1211: finish_reason error alone, then the marker",
        lines(*HELLO, chunk(None, "error"), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "deepseek-keep-alive-and-cache",
        "DeepSeek's rate limit page: comments while it queues; cached tokens under their own names",
        lines(
            ": keep-alive",
            *HELLO,
            {**STOP, "usage": counted(9, 2, prompt_cache_hit_tokens=6, prompt_cache_miss_tokens=3)},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9, "cached_tokens": 6},
    ),
    Unseen(
        "zai-window-full",
        "Z.AI's reference: model_context_window_exceeded cuts as length does",
        lines(*HELLO, chunk(None, "model_context_window_exceeded"), DONE),
        text="Hello",
        finish="model_context_window_exceeded",
    ),
    Unseen(
        "zhipu-busy",
        "Zhipu's error codes: 1305, too many use the model",
        lines(failed("该模型当前访问量过大", code="1305")),
        kind=TRANSIENT,
    ),
    Unseen(
        "zhipu-arrears",
        "Zhipu's error codes: 1113, the account owes",
        lines(failed("您的账户已欠费", code="1113")),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "zhipu-unsafe-mid-text",
        "Zhipu's error codes: 1301, unsafe content",
        lines(*HELLO, failed("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
        text="Hello",
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "dashscope-inspection-mid-text",
        "DashScope: data_inspection_failed after some output",
        lines(
            *HELLO,
            {
                "error": {
                    "message": "Output data may contain inappropriate content.",
                    "type": "data_inspection_failed",
                    "code": "data_inspection_failed",
                },
                "id": "chatcmpl-1",
            },
        ),
        text="Hello",
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "vllm-error-flat",
        "vLLM before 0.10: a flat error object, then the marker",
        lines(
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. You requested 5000 tokens.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
            DONE,
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "vllm-engine-dead",
        "vLLM: EngineCore encountered an issue, mid-stream",
        lines(
            *HELLO,
            failed(
                "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                type="InternalServerError",
                param=None,
                code=500,
            ),
            DONE,
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "vllm-abort",
        "vLLM's FinishReason.ABORT: the engine gave the request up",
        lines(*HELLO, chunk("", "abort"), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "vllm-finish-on-the-last-content",
        "vllm-project/vllm#36944: the last token and the finish share a chunk; stop_reason is a token",
        lines(
            chunk("Hel", role="assistant"),
            {
                "choices": [
                    {"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop", "stop_reason": 128009}
                ]
            },
            {"choices": [], "usage": counted(9, 2)},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "sglang-empty-finish-reasons",
        "sgl-project/sglang#3912: an empty finish_reason is none, so the stream was cut",
        lines(*({**one, "choices": [{**one["choices"][0], "finish_reason": ""}]} for one in HELLO)),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "koboldcpp-null-in-words",
        "PowerShell/AIShell#350: the finish_reason is the text null",
        lines(chunk("Hel", "null"), chunk("lo", "null"), chunk("", "stop"), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "koboldcpp-cut",
        "the same, cut: the text null is no finish",
        lines(chunk("Hel", "null"), chunk("lo", "null")),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "tgi-no-blank-after-the-colon",
        "TGI writes data: without a blank, and no marker",
        lines(*(f"data:{json.dumps(one)}" for one in (*HELLO, chunk(None, "eos_token")))),
        text="Hello",
        finish="eos_token",
    ),
    Unseen(
        "tgi-validation",
        "TGI's validation error inside the stream, by error_type",
        lines(
            'data:{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. '
            'Given: 5000 `inputs` tokens and 100 `max_new_tokens`","error_type":"validation"}'
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "tgi-overloaded",
        "TGI: Model is overloaded",
        lines('data:{"error":"Model is overloaded","error_type":"overloaded"}'),
        kind=TRANSIENT,
    ),
    Unseen(
        "tgi-generation-failed",
        "TGI: a shard failed mid-stream",
        lines(
            *HELLO,
            'data:{"error":"Request failed during generation: Server error: CUDA out of memory",'
            '"error_type":"generation"}',
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "llamacpp-ping-role-timings",
        "llama.cpp: colon-only pings, a role with null content, timings beside usage",
        lines(
            ":",
            chunk(None, role="assistant", content=None),
            ":",
            *HELLO,
            STOP,
            {"choices": [], "usage": counted(34, 2), "timings": {"prompt_n": 34, "predicted_n": 2}},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 34},
    ),
    Unseen(
        "lmstudio-crashed",
        "LM Studio: a named error event, its message twice",
        lines(
            *HELLO,
            "event: error\n"
            'data: {"error":{"message":"The model has crashed. (Exit code: null)"},'
            '"message":"The model has crashed. (Exit code: null)"}',
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "lmstudio-compute-error",
        "zendev-sh/goai#110: error and message beside each other, no type, no code",
        lines({"error": {"message": "Compute error."}, "message": "Compute error."}),
        kind=TRANSIENT,
    ),
    Unseen(
        "litellm-rate-limit",
        "LiteLLM's proxy: the status is a text, the message names classes",
        lines(
            *HELLO,
            failed(
                "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached",
                type="throttling_error",
                param=None,
                code="429",
            ),
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "litellm-context-window",
        "LiteLLM's proxy: ContextWindowExceededError with code 400",
        lines(
            failed(
                "litellm.ContextWindowExceededError: litellm.BadRequestError: This model's maximum context "
                "length is 8192",
                type=None,
                param=None,
                code="400",
            )
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "litellm-budget",
        "LiteLLM's proxy: the key's budget is spent",
        lines(
            failed(
                "Budget has been exceeded! Current cost: 10.2, Max budget: 10.0",
                type="budget_exceeded",
                param=None,
                code="400",
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "litellm-authentication",
        "LiteLLM's proxy: a virtual key that it does not know",
        lines(
            failed(
                "Authentication Error, Invalid proxy server token passed",
                type="token_not_found_in_db",
                param="key",
                code="401",
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "anthropic-error-on-this-wire",
        "relays that hand Anthropic's error on",
        lines(*HELLO, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "gemini-error-in-an-array",
        "Gemini's OpenAI endpoint wraps errors in an array",
        lines(
            [
                {
                    "error": {
                        "code": 429,
                        "message": "You exceeded your current quota",
                        "status": "RESOURCE_EXHAUSTED",
                        "details": [
                            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
                        ],
                    }
                }
            ]
        ),
        kind=TRANSIENT,
        wait=34.07,
    ),
    Unseen(
        "gemini-finish-on-every-chunk",
        "songquanpeng/one-api#1477: every chunk says stop",
        lines(chunk("Hel", "stop"), chunk("l", "stop"), chunk("o", "stop"), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "tools-without-index",
        "relays that drop the index: whole calls with ids",
        lines(
            chunk(None, tool_calls=[tool('{"x":1}', name="f", call="a"), tool("{}", name="g", call="b")]),
            chunk(None, "tool_calls"),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'), ("g", "{}")),
    ),
    Unseen(
        "tool-arguments-as-an-object",
        "servers that forget to write the arguments as text",
        lines(
            chunk(
                None, tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]
            ),
            chunk(None, "tool_calls"),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'),),
    ),
    Unseen(
        "tool-after-text-with-stop",
        "Ollama and llama.cpp builds that end a tool call with stop",
        lines(*HELLO, chunk(None, tool_calls=[tool("{}", name="f", call="a", index=0)]), STOP, DONE),
        text="Hello",
        finish="stop",
        tools=(("f", "{}"),),
    ),
    Unseen(
        "mistral-thinking-parts",
        "Mistral's reasoning guide: content as a list of thinking and text, then plain text",
        lines(
            chunk(
                None,
                role="assistant",
                content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Let me"}]}],
            ),
            chunk(
                None,
                content=[
                    {"type": "thinking", "thinking": [{"type": "text", "text": " think"}], "closed": True}
                ],
            ),
            chunk(None, content=[{"type": "text", "text": "Hel"}]),
            chunk("lo", "stop"),
            DONE,
        ),
        text="Hello",
        finish="stop",
        reasoning="Let me think",
    ),
    Unseen(
        "mistral-references",
        "Mistral's citations: reference parts among the text",
        lines(
            chunk(
                None, content=[{"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1]}]
            ),
            chunk(None, content=[{"type": "text", "text": "lo"}]),
            STOP,
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "cloudflare-no-index-no-finish",
        "vercel/ai#4031: choices without index and finish_reason, then the marker",
        lines(
            {"choices": [{"delta": {"content": "Hel"}}]}, {"choices": [{"delta": {"content": "lo"}}]}, DONE
        ),
        text="Hello",
    ),
    Unseen(
        "bedrock-missing-finish-members",
        "danny-avila/LibreChat#5563: finish_reason only on the last chunk",
        lines(
            {"choices": [{"index": 0, "delta": {"content": "Hello"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "bedrock-gateway-message",
        "Portkey-AI/gateway#1142: a 200 whose JSON is only a message",
        b'{"message":"The model returned the following errors: messages.1.content.0: Expected `thinking`"}',
        kind=TRANSIENT,
        also=REQUEST_SPECIFIC,
    ),
    Unseen(
        "cloudflare-gateway-errors",
        "Cloudflare's envelope in a 200",
        b'{"success":false,"errors":[{"code":2008,"message":"Invalid provider"}],"result":null}',
        kind=TRANSIENT,
        also=REQUEST_SPECIFIC,
    ),
    Unseen(
        "json-error-for-a-stream",
        "proxies that turn a 401 into a 200",
        b'{"error":{"message":"Incorrect API key provided","type":"invalid_request_error",'
        b'"code":"invalid_api_key"}}',
        kind=AUTH_DEAD,
    ),
    Unseen(
        "json-completion-after-blank-lines",
        "DeepSeek's rate limit page: empty lines while a whole answer is queued",
        b"\n\n\n\n"
        + json.dumps(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hello"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": counted(9, 2),
            },
            indent=2,
        ).encode(),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "html-after-a-mark",
        "a login page with a byte-order mark and blanks before it",
        b"\xef\xbb\xbf\r\n  <!DOCTYPE html>\r\n<html><head><title>Sign in</title></head></html>",
        kind=TRANSIENT,
    ),
    Unseen(
        "html-after-a-comment",
        "a proxy that gives up after it has sent a keep-alive",
        b": keep-alive\n\n<html><body>504 Gateway Time-out</body></html>",
        kind=TRANSIENT,
    ),
    Unseen(
        "ndjson-on-this-wire",
        "relays that forget the framing: an object a line",
        ndjson(*HELLO, STOP),
        kind=TRANSIENT,
        also="clean",
    ),
    Unseen(
        "done-without-a-blank",
        "the marker without a blank",
        lines(*HELLO, STOP, "data:[DONE]"),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "done-with-blanks",
        "data: [DONE] with a blank behind it, and no finish",
        lines(*HELLO, "data:  [DONE] "),
        text="Hello",
    ),
    Unseen(
        "done-at-the-very-end",
        "darshi1337/apogee#139: the marker without a line end, and no finish",
        lines(*HELLO) + b"data: [DONE]",
        text="Hello",
    ),
    Unseen(
        "done-in-a-named-event",
        "event: done",
        lines(*HELLO, "event: done\ndata: [DONE]"),
        text="Hello",
    ),
    Unseen(
        "done-cut-after-a-finish",
        "the connection breaks inside the marker",
        lines(*HELLO, STOP) + b"data: [DO",
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "done-cut-without-a-finish",
        "the same where nothing else says that the answer is whole",
        lines(*HELLO) + b"data: [DO",
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "usage-cut-after-a-finish",
        "the connection breaks inside the usage chunk",
        lines(*HELLO, STOP) + b'data: {"choices":[],"usage":{"prompt_to',
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "error-without-a-line-end",
        "a server that dies as it reports: the last line is whole, but has no end",
        lines(*HELLO) + b'data: {"error":{"message":"key revoked","code":"invalid_api_key"}}',
        text="Hello",
        kind=AUTH_DEAD,
    ),
    Unseen(
        "named-error-without-a-line-end",
        "the same in a named event",
        b'event: error\r\ndata: {"error":{"message":"bad","type":"invalid_request_error","code":400}}',
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "error-over-several-data-lines",
        "pretty-printed JSON, a data field a line",
        b'data: {\ndata:   "error": {\ndata:     "message": "no such model",\n'
        b'data:     "code": "model_not_found"\ndata:   }\ndata: }\n\n',
        kind=AUTH_DEAD,
    ),
    Unseen(
        "error-null-in-every-chunk",
        "gateways whose chunks always have the member",
        lines(*({**one, "error": None} for one in (*HELLO, STOP)), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "error-empty-in-every-chunk",
        "the same with an empty text, and with an empty object",
        lines({**HELLO[0], "error": ""}, {**HELLO[1], "error": {}}, STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "error-after-finish",
        "an error between the finish and the marker: the answer was whole",
        lines(*HELLO, STOP, failed("The usage could not be counted", type="server_error"), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "error-after-keep-alives",
        "named pings, comments, empty data, then the error",
        lines("event: ping\ndata: keep-alive", ": wait", "data:", failed("Overloaded", code=529)),
        kind=TRANSIENT,
    ),
    Unseen(
        "content-after-finish",
        "ids, retries and a finish in the middle",
        lines("retry: 3000", "id: 1\n" + f"data: {json.dumps(chunk('Hel', 'stop'))}", chunk("lo"), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "other-choice-ends-first",
        "n=2: the second alternative ends by length before the first has ended",
        lines(
            {
                "choices": [
                    {"index": 0, "delta": {"content": "Hel"}},
                    {"index": 1, "delta": {"content": "Bye"}},
                ]
            },
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
            chunk("lo"),
            STOP,
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "only-the-other-choice-ended",
        "n=2: cut after the second alternative has ended, and the first has not",
        lines(
            {
                "choices": [
                    {"index": 0, "delta": {"content": "Hel"}},
                    {"index": 1, "delta": {"content": "Bye"}},
                ]
            },
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-in-the-other-choice",
        "n=2: the second alternative fails, the first goes on",
        lines(
            {
                "choices": [
                    {
                        "index": 1,
                        "delta": {},
                        "finish_reason": "error",
                        "error": {"code": 502, "message": "x"},
                    }
                ]
            },
            *HELLO,
            STOP,
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "null-index",
        "servers that write the index as null",
        lines({"choices": [{"index": None, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "length-without-a-word",
        "reasoning models that spend all of max_tokens on hidden thought",
        lines(
            chunk("", role="assistant"),
            chunk(None, "length"),
            {"choices": [], "usage": counted(9, 64, completion_tokens_details={"reasoning_tokens": 64})},
            DONE,
        ),
        finish="length",
        usage={"reasoning_tokens": 64},
        also=REQUEST_SPECIFIC,
    ),
    Unseen(
        "blanks-only",
        "an answer of nothing but line feeds",
        lines(chunk("\n\n"), STOP, DONE),
        text="\n\n",
        finish="stop",
        also=TRANSIENT,
    ),
    Unseen(
        "null-content-only",
        "content null to the end",
        lines(chunk(None, role="assistant", content=None), chunk(None, "stop", content=None), DONE),
        kind=TRANSIENT,
    ),
    Unseen(
        "mixed-line-ends",
        "a proxy that joins servers: CRLF, CR and LF in one stream",
        f"data: {json.dumps(HELLO[0])}\r\n\r\n: c\rdata: {json.dumps(HELLO[1])}\r\r"
        f"data: {json.dumps(STOP)}\n\r\ndata: [DONE]\r\n\n".encode(),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "byte-order-mark-and-separators",
        "a mark before the first line; U+2028 and U+0085 inside the text",
        b"\xef\xbb\xbf"
        + 'data: {"choices":[{"delta":{"content":"a\u2028b\u2029c\x85d"}}]}\n\n'.encode()
        + b"data: [DONE]\n\n",
        text="a\u2028b\u2029c\x85d",
    ),
    Unseen(
        "raw-characters-of-many-bytes",
        "text that is not escaped, cut anywhere",
        lines(
            'data: {"choices":[{"delta":{"content":"東京 "}}]}',
            'data: {"choices":[{"delta":{"content":"😀é"}}]}',
            DONE,
        ),
        text="東京 😀é",
    ),
    Unseen(
        "halves-of-a-character",
        "elie222/rakazo#416: the two escapes of one character in two events, a comment and a usage between",
        lines(
            'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}',
            ": ping",
            '{"x":1}',
            'data: {"choices":[],"usage":{"prompt_tokens":9}}',
            'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}',
            DONE,
        ),
        text="a😀b",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "half-a-character-alone",
        "the other half never comes, and a thought has halves of its own",
        lines(
            'data: {"choices":[{"delta":{"reasoning_content":"\\ud83d"}}]}',
            'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}',
            'data: {"choices":[{"delta":{"reasoning_content":"\\ude00"}}]}',
            'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}',
            DONE,
        ),
        text="a\ufffd",
        finish="stop",
        reasoning="😀",
    ),
    Unseen(
        "minimax-rate-limit-in-the-stream",
        "MiniMax: base_resp 1002, too many requests, as an event",
        lines({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
        kind=TRANSIENT,
    ),
    Unseen(
        "minimax-clean",
        "MiniMax: base_resp 0 on the last chunk",
        lines(*HELLO, {**STOP, "base_resp": {"status_code": 0, "status_msg": ""}}),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "ark-account-overdue",
        "Volcengine Ark: AccountOverdueError as the code",
        lines(
            failed(
                "The request failed because your account has an overdue balance.",
                code="AccountOverdueError",
                type="Forbidden",
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "siliconflow-flat",
        "SiliconFlow: a flat code and message",
        lines(
            *HELLO,
            {"code": 50505, "message": "Model service overloaded. Please try again later.", "data": None},
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "together-text-beside-delta",
        "Together: the legacy text beside the delta, finish eos",
        lines(
            {
                "choices": [
                    {
                        "index": 0,
                        "text": "Hel",
                        "delta": {"token_id": 1, "role": "assistant", "content": "Hel", "tool_calls": None},
                    }
                ]
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "text": "lo",
                        "finish_reason": "eos",
                        "delta": {"token_id": 2, "content": "lo"},
                    }
                ],
                "usage": counted(9, 2),
            },
            DONE,
        ),
        text="Hello",
        finish="eos",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "github-body-too-large",
        "GitHub Models: tokens_limit_reached",
        lines(
            failed(
                "Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"
            )
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "nvidia-problem-details",
        "NVIDIA NIM: problem details with status and detail",
        lines({"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "Authorization failed"}),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "nvidia-problem-details-500",
        "NVIDIA NIM: the same for a failed inference",
        lines(
            *HELLO,
            {
                "type": "about:blank",
                "title": "Internal Server Error",
                "status": 500,
                "detail": "Inference error",
            },
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "cerebras-status-beside-error",
        "Cerebras: status_code beside the error, which has empty codes",
        lines(
            *HELLO,
            {
                **failed(
                    "Encountered a server error, please try again.", type="server_error", param="", code=""
                ),
                "status_code": 500,
            },
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "databricks-request-limit",
        "Databricks: error_code and message",
        lines({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded workspace rate limit"}),
        kind=TRANSIENT,
    ),
    Unseen(
        "databricks-permission",
        "Databricks: PERMISSION_DENIED",
        lines({"error_code": "PERMISSION_DENIED", "message": "User does not have permission"}),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "ollama-on-this-wire",
        "Ollama's OpenAI endpoint: api_error mid-stream",
        lines(
            *HELLO,
            failed(
                "llama runner process has terminated: exit status 2", type="api_error", param=None, code=None
            ),
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "named-message-events",
        "FastAPI servers: every event is named message, ids count up",
        lines(*(f"id: {n}\nevent: message\ndata: {json.dumps(one)}" for n, one in enumerate((*HELLO, STOP)))),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "field-without-a-colon",
        "WHATWG: a line that is only data is an empty data field",
        lines("data", *HELLO, "event", "data", STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "error-beside-text",
        "gateways that put the error beside the last text",
        lines(HELLO[0], {**HELLO[1], "error": {"message": "upstream reset", "code": 502}}),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "finish-twice",
        "servers that say tool_calls, then stop",
        lines(
            chunk(None, tool_calls=[tool("{}", name="f", call="a", index=0)]),
            chunk(None, "tool_calls"),
            chunk("", "stop"),
            DONE,
        ),
        finish="stop",
        tools=(("f", "{}"),),
    ),
    Unseen(
        "tool-id-in-every-delta",
        "servers that repeat id and name with each piece of the arguments",
        lines(
            *(chunk(None, tool_calls=[tool(one, name="f", call="a", index=0)]) for one in ('{"x"', ":1}")),
            chunk(None, "tool_calls"),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'),),
    ),
    Unseen(
        "tool-name-in-pieces",
        "servers that send the name in a delta of its own, empty id later",
        lines(
            chunk(None, tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}]),
            chunk(
                None, tool_calls=[{"index": 0, "id": "", "function": {"name": "", "arguments": '{"x":1}'}}]
            ),
            chunk(None, "tool_calls"),
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'),),
    ),
    Unseen(
        "cut-inside-a-tool",
        "the connection breaks inside the arguments",
        lines(chunk(None, tool_calls=[tool('{"x"', name="f", call="a", index=0)])),
        kind=TRANSIENT,
    ),
    Unseen(
        "obfuscation-and-tier",
        "OpenAI since 2025: obfuscation and service_tier beside the choices",
        lines(*({**one, "service_tier": "default", "obfuscation": "xK3"} for one in (*HELLO, STOP)), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "thought-in-an-object",
        "servers whose reasoning is an object, not a text: nothing is lost but the thought",
        lines(chunk(None, reasoning={"text": "Hm"}), *HELLO, STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "numbers-that-are-none",
        "vLLM with logprobs: -Infinity is no JSON, and is sent all the same",
        lines(
            'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop",'
            '"logprobs":{"content":[{"logprob":-Infinity}]}}]}',
            DONE,
        ),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "wait-in-the-words-of-an-error",
        "Groq's limit of tokens a day, as an event after some text",
        lines(
            *HELLO,
            failed(
                "Rate limit reached for model m on tokens per day (TPD): Limit 100000, Used 99000, Requested "
                "2000. Please try again in 14m24s.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
        ),
        text="Hello",
        kind=TRANSIENT,
        wait=864.0,
    ),
    Unseen(
        "prompt-echoed-in-an-error",
        "an echoed prompt with hostile words is no diagnosis",
        lines(
            failed(
                'Invalid value: "429 quota exceeded invalid_api_key"',
                type="invalid_request_error",
                param="messages",
            )
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "groq-stopped-early",
        "groq-python's XGroq.error: why a stream was stopped early",
        lines(*HELLO, {"choices": [], "x_groq": {"id": "req_01", "error": "over capacity"}}, DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "zai-network-error",
        "Z.AI's reference: network_error is an abnormal end of the inference",
        lines(*HELLO, chunk(None, "network_error"), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "zai-sensitive-first",
        "anomalyco/opencode#44092: sensitive is a content filter",
        lines(chunk("", "sensitive", role="assistant"), DONE),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "llamacpp-error-field",
        "ggml-org/llama.cpp#16109: until late 2025 errors came in an SSE field of their own",
        lines(
            'error: {"code":400,"message":"the request exceeds the available context size. try increasing '
            'the context size or enable context shift","type":"invalid_request_error"}',
            DONE,
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "llamacpp-error-field-mid-text",
        "the same after some text: half an answer with the marker behind it",
        lines(
            *HELLO, 'error: {"code":500,"message":"context shift is disabled","type":"server_error"}', DONE
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "llamacpp-error-field-without-done",
        "the same from builds that end there",
        lines('error: {"code":401,"message":"Invalid API Key","type":"authentication_error"}'),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "lemonade-error-without-framing",
        "lemonade-sdk/lemonade#2826: the backend's JSON error inside text/event-stream, after a ping",
        b": ping\n\n"
        b'{"error":{"code":400,"message":"request (19185 tokens) exceeds the available context size (16384 '
        b'tokens), try increasing it","type":"exceed_context_size_error"}}',
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "one-api-code-and-msg",
        "one-api and its forks: a flat code and msg",
        lines({"code": 401, "msg": "token invalid", "data": None}),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "done-in-quotes",
        "frameworks that write each event as JSON, the marker too",
        lines(*HELLO, STOP, 'data: "[DONE]"'),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "minimax-balance",
        "MiniMax: a 200 with null choices; base_resp has the code, 1008 is an empty account",
        json.dumps(
            {
                "id": "1",
                "choices": None,
                "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
            }
        ).encode(),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "deepseek-interrupted",
        "DeepSeek's reference: insufficient_system_resource is an interrupted request",
        lines(": keep-alive", ": keep-alive", *HELLO, chunk(None, "insufficient_system_resource"), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "moonshot-usage-in-the-choice",
        "Moonshot's reference: the usage stands in the last choice",
        lines(
            *HELLO,
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": counted(9, 2)}]},
            DONE,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 9, "output_tokens": 2},
    ),
    Unseen(
        "gemini-parallel-calls-all-index-0",
        "Gemini's OpenAI endpoint: whole calls, each with index 0 and an id of its own",
        lines(
            chunk(None, tool_calls=[tool('{"x":1}', name="f", call="a", index=0)]),
            chunk(None, "tool_calls", tool_calls=[tool('{"y":2}', name="g", call="b", index=0)]),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'), ("g", '{"y":2}')),
    ),
    Unseen(
        "legacy-function-call",
        "OpenAI before tools: function_call deltas",
        lines(
            chunk(None, function_call={"name": "f", "arguments": ""}),
            chunk(None, function_call={"arguments": '{"x":1}'}),
            chunk(None, "function_call"),
            DONE,
        ),
        finish="function_call",
        tools=(("f", '{"x":1}'),),
    ),
    Unseen(
        "cohere-user-cancel",
        "Cohere's finish reasons, handed on by gateways in capitals",
        lines(*HELLO, chunk(None, "USER_CANCEL"), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "cohere-error-toxic-first",
        "Cohere's finish reason ERROR_TOXIC before a word was said",
        lines(chunk("", "ERROR_TOXIC"), DONE),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "cohere-complete",
        "Cohere's COMPLETE is a good end",
        lines(*HELLO, chunk(None, "COMPLETE"), DONE),
        text="Hello",
        finish="COMPLETE",
    ),
    Unseen(
        "sglang-finish-object",
        "SGLang's own meta_info: the finish reason is an object",
        lines(*HELLO, chunk(None, {"type": "stop", "matched": 128009}), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "server-error-in-capitals-and-empty",
        "relays: failed before the first word",
        lines(chunk("", role="assistant"), chunk(None, "failed"), DONE),
        kind=TRANSIENT,
    ),
    Unseen(
        "out-of-money-within-the-answer",
        "relays that bill by the token",
        lines(*HELLO, chunk(None, "insufficient_quota"), DONE),
        text="Hello",
        kind=AUTH_DEAD,
    ),
    Unseen(
        "minimax-rate-limit-event",
        "MiniMax: base_resp 1002 in an event of the stream, choices null",
        lines({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
        kind=TRANSIENT,
    ),
    Unseen(
        "minimax-success-in-every-chunk",
        "MiniMax: base_resp 0 in every chunk",
        lines(*({**one, "base_resp": {"status_code": 0, "status_msg": ""}} for one in (*HELLO, STOP)), DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "minimax-output-unsafe",
        "MiniMax: 1027 after some text",
        lines(
            *HELLO,
            {"choices": [], "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}},
        ),
        text="Hello",
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "code-zero-heartbeats",
        "relays: code 0 and a msg between the chunks",
        lines({"code": 0, "msg": "queueing"}, *HELLO, {"code": 0, "msg": "ok"}, STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "msg-mid-text",
        "relays: the upstream's failure as code and msg after some text, then the marker",
        lines(*HELLO, {"code": 503, "msg": "upstream unavailable", "success": False}, DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "stray-json-object",
        "debug output of a proxy between the events",
        lines(HELLO[0], '{"x":1}', HELLO[1], STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "stray-json-without-blank-lines",
        "the same, not set off by blank lines",
        lines(*HELLO, STOP).replace(b"\n\n", b'\n{"level":"info","message":"tick"}\n\n')
        + b"data: [DONE]\n\n",
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "stray-error-printed-mid-text-crlf",
        "proxies: pretty-printed, CRLF, then the marker",
        lines(*HELLO, end="\r\n\r\n")
        + json.dumps(failed("rate limited", code=429), indent=4).replace("\n", "\r\n").encode()
        + b"\r\n\r\ndata: [DONE]\r\n\r\n",
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-field-plain-text",
        "llama.cpp's old error field with a text alone, then the marker",
        lines(*HELLO, "error: slot unavailable", DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-field-without-blank-lines",
        "the field and the marker without a blank line between",
        lines(*HELLO) + b'error: {"code":401,"message":"Invalid API Key"}\ndata: [DONE]\n\n',
        text="Hello",
        kind=AUTH_DEAD,
    ),
    Unseen(
        "stray-statuscode",
        "API gateways: statusCode and message past the framing",
        lines(": ping") + b'{"statusCode":401,"message":"Unauthorized"}\n',
        kind=AUTH_DEAD,
    ),
    Unseen(
        "stray-text",
        "proxies: a text past the framing, then the end",
        lines(*HELLO) + b"upstream connect error or disconnect/reset before headers",
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "ids-made-up-anew",
        "vLLM's tool parsers: each delta has another id",
        lines(
            chunk(None, tool_calls=[tool("", name="f", call="call-1", index=0)]),
            chunk(None, tool_calls=[tool('{"x":', call="call-2", index=0)]),
            chunk(None, "tool_calls", tool_calls=[tool("1}", call="call-3", index=0)]),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'),),
    ),
    Unseen(
        "two-calls-one-delta-one-index",
        "Gemini's OpenAI endpoint: both calls in one chunk",
        lines(
            chunk(
                None,
                "tool_calls",
                tool_calls=[tool("{}", name="f", call="a", index=0), tool("{}", name="f", call="b", index=0)],
            ),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", "{}"), ("f", "{}")),
    ),
    Unseen(
        "calls-without-ids-at-one-index",
        "relays that drop ids and count no index: whole calls of two functions",
        lines(
            chunk(None, tool_calls=[tool('{"x":1}', name="f", index=0)]),
            chunk(None, "tool_calls", tool_calls=[tool('{"y":2}', name="g", index=0)]),
            DONE,
        ),
        finish="tool_calls",
        tools=(("f", '{"x":1}'), ("g", '{"y":2}')),
    ),
    Unseen(
        "function-call-null",
        "chunks that always have function_call, null",
        lines(*(chunk(None, content=text, function_call=None) for text in ("Hel", "lo")), STOP, DONE),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "done-in-quotes-without-a-finish",
        "the marker in quotes, and no finish",
        lines(*HELLO, 'data: "[DONE]"'),
        text="Hello",
    ),
    Unseen(
        "error-after-finish-past-the-framing",
        "the proxy's time runs out behind a whole answer",
        lines(*HELLO, STOP) + b'{"error":{"code":504,"message":"timeout"}}\n',
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "garbage-after-finish",
        "an event that is no JSON behind the finish",
        lines(*HELLO, STOP, "data: <html>"),
        text="Hello",
        finish="stop",
        also=TRANSIENT,
    ),
    Unseen(
        "error-object-in-the-delta",
        "gateways that put the error into the delta",
        lines(*HELLO, chunk(None, error={"code": 500, "message": "boom"}), DONE),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "status-failed-event",
        "relays in the manner of the Responses API: response.failed",
        lines(
            *HELLO,
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}},
            DONE,
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
]
