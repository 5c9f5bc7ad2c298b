"""Anthropic's Messages, and those who speak it after them."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.unseen import AUTH_DEAD, REQUEST_SPECIFIC, TRANSIENT, Unseen, lines
from tests.providers.unseen.openai import DONE, HELLO, STOP, failed


def begun(**usage: object) -> dict[str, Any]:
    """Anthropic's first event."""
    counts = {"input_tokens": 17, "output_tokens": 1, **usage}
    return {
        "type": "message_start",
        "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": counts},
    }


def block(index: int, kind: str, /, **said: object) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **said}}


def delta(index: int, kind: str, /, **said: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **said}}


def ended(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def stopped(reason: str | None, **usage: object) -> dict[str, Any]:
    counts = {"output_tokens": 2, **usage}
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": counts}


def named(*messages: dict[str, Any], end: str = "\n\n") -> bytes:
    """Anthropic's events, each named as its type."""
    return lines(*(f"event: {one['type']}\ndata: {json.dumps(one)}" for one in messages), end=end)


def fault(kind: str, message: str, **more: object) -> dict[str, Any]:
    """Anthropic's error event."""
    return {"type": "error", "error": {"details": None, "type": kind, "message": message}, **more}


GREETING = (
    block(0, "text", text=""),
    delta(0, "text_delta", text="Hel"),
    delta(0, "text_delta", text="lo"),
    ended(),
)
LAST: dict[str, Any] = {"type": "message_stop"}
PING: dict[str, Any] = {"type": "ping"}

ANTHROPIC = [
    Unseen(
        "thought-text-and-tool",
        "Anthropic's streaming guide: thinking, signature, text and a tool in one message",
        named(
            begun(cache_creation_input_tokens=3, cache_read_input_tokens=20),
            PING,
            block(0, "thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="Let me think"),
            delta(0, "signature_delta", signature="EqQB"),
            ended(0),
            block(1, "text", text=""),
            delta(1, "text_delta", text="Hello"),
            ended(1),
            block(2, "tool_use", id="toolu_1", name="f", input={}),
            delta(2, "input_json_delta", partial_json=""),
            delta(2, "input_json_delta", partial_json='{"x"'),
            delta(2, "input_json_delta", partial_json=": 1}"),
            ended(2),
            stopped("tool_use", input_tokens=17, cache_creation_input_tokens=3, cache_read_input_tokens=20),
            LAST,
        ),
        text="Hello",
        finish="tool_use",
        usage={"input_tokens": 40, "cached_tokens": 20, "output_tokens": 2},
        reasoning="Let me think",
        tools=(("f", {"x": 1}),),
    ),
    Unseen(
        "internal-error-mid-text",
        "BerriAI/litellm#4562: blanks behind the JSON, as Anthropic pads it",
        named(begun(), *GREETING[:3])
        + b'event: error\ndata: {"type":"error","error":{"details":null,"type":"api_error",'
        + b'"message":"Internal server error"}      }\n\n',
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "overloaded-with-a-request-id",
        "karthink/gptel#1512: details null, request_id beside the error",
        named(begun(), PING, fault("overloaded_error", "Overloaded", request_id="req_011")),
        kind=TRANSIENT,
    ),
    Unseen(
        "prompt-too-long-in-the-stream",
        "Anthropic's message for a prompt beyond the window",
        named(fault("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "credit-balance-in-the-stream",
        "Anthropic's message for an account without credit",
        named(
            fault(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
                "upgrade or purchase credits.",
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "billing-error",
        "Anthropic's error types: billing_error",
        named(begun(), fault("billing_error", "Your account has a billing problem")),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "permission-error",
        "Anthropic's error types: permission_error",
        named(
            fault("permission_error", "Your API key does not have permission to use the specified resource")
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "model-not-found",
        "Anthropic's error types: not_found_error",
        named(fault("not_found_error", "model: claude-nope")),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "request-too-large",
        "Anthropic's error types: request_too_large",
        named(fault("request_too_large", "Request exceeds the maximum allowed number of bytes")),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "timeout-error-mid-text",
        "Anthropic's error types: timeout_error",
        named(begun(), *GREETING[:2], fault("timeout_error", "The request timed out")),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "litellm-rate-limit-as-anthropic",
        "BerriAI/litellm#38610: the proxy's error event after a message_start",
        named(
            begun(), fault("rate_limit_error", "litellm.RateLimitError: BedrockException - Too many tokens")
        ),
        kind=TRANSIENT,
    ),
    Unseen(
        "throttling-as-anthropic",
        "gateways to Bedrock: its exception as the type",
        named(fault("throttling_error", "Too many requests, please wait before trying again.")),
        kind=TRANSIENT,
    ),
    Unseen(
        "plain-text-error",
        "Envoy before Anthropic: a named error that is no JSON",
        named(begun(), *GREETING[:2]) + b"event: error\ndata: upstream connect error or disconnect/reset\n\n",
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "refusal-after-text",
        "Anthropic's refusals guide: the classifier steps in mid-stream",
        named(begun(), *GREETING, stopped("refusal"), LAST),
        text="Hello",
        finish="refusal",
        also=REQUEST_SPECIFIC,
    ),
    Unseen(
        "server-tool-pauses",
        "Anthropic's web search: server tools, results, citations, and a paused turn",
        named(
            begun(),
            block(0, "server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            delta(0, "input_json_delta", partial_json='{"query":"x"}'),
            ended(0),
            block(
                1, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"type": "web_search_result"}]
            ),
            ended(1),
            block(2, "text", text="", citations=[]),
            delta(2, "citations_delta", citation={"type": "web_search_result_location", "cited_text": "x"}),
            delta(2, "text_delta", text="Hello"),
            ended(2),
            stopped("pause_turn", server_tool_use={"web_search_requests": 1}),
            LAST,
        ),
        text="Hello",
        finish="pause_turn",
        usage={"input_tokens": 17, "output_tokens": 2},
    ),
    Unseen(
        "window-full",
        "Anthropic: model_context_window_exceeded",
        named(begun(), *GREETING, stopped("model_context_window_exceeded"), LAST),
        text="Hello",
        finish="model_context_window_exceeded",
    ),
    Unseen(
        "redacted-thought",
        "Anthropic: a redacted_thinking block has only data",
        named(
            begun(), block(0, "redacted_thinking", data="Emw"), ended(0), *GREETING, stopped("end_turn"), LAST
        ),
        text="Hello",
        finish="end_turn",
        reasoning="",
    ),
    Unseen(
        "cut-after-the-stop-reason",
        "the connection ends before message_stop, but the stop reason came",
        named(begun(), *GREETING, stopped("end_turn")),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "cut-after-the-block",
        "use-agent-os/agent-os#2118: the block has ended, the message has not",
        named(begun(), *GREETING),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "two-message-deltas",
        "PostHog/posthog-python 7.75.4: server tools bring several, each cumulative",
        named(
            begun(), stopped(None, output_tokens=10), *GREETING, stopped("end_turn", output_tokens=25), LAST
        ),
        text="Hello",
        finish="end_turn",
        usage={"input_tokens": 17, "output_tokens": 25},
    ),
    Unseen(
        "usage-only-at-the-end",
        "relays that do not know the input at first: zeros, then the true count",
        named(begun(input_tokens=0, output_tokens=0), *GREETING, stopped("end_turn", input_tokens=17), LAST),
        text="Hello",
        finish="end_turn",
        usage={"input_tokens": 17, "output_tokens": 2},
    ),
    Unseen(
        "usage-with-nulls",
        "compatible servers: null counts do not hide known ones",
        named(begun(), *GREETING, stopped("end_turn", input_tokens=None, cache_read_input_tokens=None), LAST),
        text="Hello",
        finish="end_turn",
        usage={"input_tokens": 17, "output_tokens": 2},
    ),
    Unseen(
        "without-names-in-carriage-returns",
        "relays that name no events, and end lines in CRLF",
        lines(begun(), *GREETING, stopped("stop_sequence"), LAST, end="\r\n\r\n"),
        text="Hello",
        finish="stop_sequence",
    ),
    Unseen(
        "done-appended",
        "relays that append the other wire's marker",
        named(begun(), *GREETING, stopped("end_turn"), LAST) + b"data: [DONE]\n\n",
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "done-instead-of-the-stop",
        "relays that end with the other wire's marker, and give no stop reason",
        named(begun(), *GREETING) + b"data: [DONE]\n\n",
        text="Hello",
        kind=TRANSIENT,
        also="clean",
    ),
    Unseen(
        "text-in-the-block-start",
        "compatible servers: the block begins with its first text",
        named(
            begun(),
            block(0, "text", text="Hel"),
            delta(0, "text_delta", text="lo"),
            ended(),
            stopped("end_turn"),
            LAST,
        ),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "unknown-delta-and-block",
        "Anthropic's versioning: new kinds of blocks and deltas are passed over",
        named(
            begun(),
            block(0, "container_upload", file_id="file_1"),
            delta(0, "compaction_delta", content="x"),
            ended(0),
            *GREETING,
            stopped("end_turn"),
            LAST,
        ),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "error-after-the-end",
        "what comes after message_stop is not read",
        named(begun(), *GREETING, stopped("end_turn"), LAST, fault("api_error", "late")),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "error-after-the-stop-reason",
        "an error between stop reason and message_stop: the answer was whole",
        named(begun(), *GREETING, stopped("end_turn"), fault("api_error", "late")),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "message-for-a-stream",
        "compatible servers that do not stream",
        json.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": ""},
                    {"type": "text", "text": "Hello"},
                ],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 17, "output_tokens": 2},
            }
        ).encode(),
        text="Hello",
        finish="end_turn",
        usage={"input_tokens": 17},
        reasoning="Hm",
    ),
    Unseen(
        "error-for-a-stream",
        "a 200 whose JSON is Anthropic's error",
        json.dumps(fault("authentication_error", "invalid x-api-key")).encode(),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "the-other-wire",
        "a base URL of the openai wire: nothing in it is an answer of this one",
        lines(*HELLO, STOP, DONE),
        kind=TRANSIENT,
    ),
    Unseen(
        "openai-error-on-this-wire",
        "relays to OpenAI: its error in Anthropic's stream",
        named(begun())
        + lines(
            failed("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "tool-cut-by-the-limit",
        "max_tokens inside a tool's input: half a JSON text",
        named(
            begun(),
            block(0, "tool_use", id="toolu_1", name="f", input={}),
            delta(0, "input_json_delta", partial_json='{"x": "ab'),
            ended(0),
            stopped("max_tokens"),
            LAST,
        ),
        finish="max_tokens",
        tools=(("f", '{"x": "ab'),),
    ),
    Unseen(
        "halves-of-a-character",
        "two halves in two deltas, text and thought",
        named(
            begun(),
            block(0, "thinking", thinking=""),
            delta(0, "thinking_delta", thinking="\ud83e"),
            delta(0, "thinking_delta", thinking="\udd14"),
            ended(0),
            block(1, "text", text=""),
            delta(1, "text_delta", text="a\ud83d"),
            PING,
            delta(1, "text_delta", text="\ude00"),
            ended(1),
            stopped("end_turn"),
            LAST,
        ),
        text="a😀",
        finish="end_turn",
        reasoning="🤔",
    ),
    Unseen(
        "bedrock-metrics",
        "Bedrock: invocation metrics on message_stop",
        named(
            begun(),
            *GREETING,
            stopped("end_turn"),
            {**LAST, "amazon-bedrock-invocationMetrics": {"inputTokenCount": 17}},
        ),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "bedrock-message-only",
        "Bedrock behind a gateway: a 200 whose JSON is only a message",
        b'{"message":"Too many tokens, please wait before trying again."}',
        kind=TRANSIENT,
    ),
    Unseen(
        "tool-input-at-once",
        "compatible servers: the whole input stands in the block's start",
        named(
            begun(),
            block(0, "tool_use", id="t", name="f", input={"x": 1}),
            ended(),
            stopped("tool_use"),
            LAST,
        ),
        finish="tool_use",
        tools=(("f", {"x": 1}),),
    ),
    Unseen(
        "two-tools-interleaved",
        "fine-grained tool streaming: two blocks by turns",
        named(
            begun(),
            block(0, "tool_use", id="t", name="f", input={}),
            block(1, "tool_use", id="u", name="g", input={}),
            delta(1, "input_json_delta", partial_json='{"y":'),
            delta(0, "input_json_delta", partial_json='{"x":1}'),
            delta(1, "input_json_delta", partial_json="2}"),
            stopped("tool_use"),
            LAST,
        ),
        finish="tool_use",
        tools=(("f", {"x": 1}), ("g", {"y": 2})),
    ),
    Unseen(
        "spoilt-event",
        "an event of the wire that is no JSON is a loss, not a pause",
        named(begun(), *GREETING[:2])
        + b'event: content_block_delta\ndata: {"type":"content_bl\n\n'
        + named(stopped("end_turn"), LAST),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "spoilt-ping",
        "a ping that is no JSON says nothing",
        named(begun()) + b"event: ping\ndata: ping\n\n" + named(*GREETING, stopped("end_turn"), LAST),
        text="Hello",
        finish="end_turn",
    ),
    Unseen(
        "only-pings",
        "pings, then the end",
        named(PING, PING),
        kind=TRANSIENT,
    ),
    Unseen(
        "error-as-text",
        "relays: the error is a text",
        named(begun()) + b'event: error\ndata: {"type":"error","error":"upstream timeout"}\n\n',
        kind=TRANSIENT,
    ),
    Unseen(
        "html",
        "a login page",
        b"<!doctype html><title>Sign in</title>",
        kind=TRANSIENT,
    ),
    Unseen(
        "stop-reason-error",
        "compatible servers: a stop reason of failure, then message_stop",
        named(begun(), *GREETING, stopped("error"), LAST),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "stop-reason-content-filter",
        "gateways that map the other wire's word, nothing said",
        named(begun(), stopped("content_filter"), LAST),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "error-past-the-framing",
        "proxies: bare JSON after some text",
        named(begun(), *GREETING)
        + b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-field",
        "an error field on this wire",
        named(begun()) + b'error: {"type":"authentication_error","message":"invalid x-api-key"}\n\n',
        kind=AUTH_DEAD,
    ),
    Unseen(
        "flat-code-and-msg",
        "one-api before this wire",
        lines({"code": 401, "msg": "token invalid"}),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "guardrail-intervened",
        "Bedrock's stop reason as it is, nothing said",
        named(begun(), stopped("guardrail_intervened"), LAST),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "malformed-after-the-stop-reason",
        "an event that is no JSON behind the stop reason",
        named(begun(), *GREETING, stopped("end_turn")) + b"event: message_stop\ndata: {oops\n\n",
        text="Hello",
        finish="end_turn",
        also=TRANSIENT,
    ),
]
