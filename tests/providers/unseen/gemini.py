"""Gemini's streamGenerateContent, as events and as an array."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.unseen import AUTH_DEAD, REQUEST_SPECIFIC, TRANSIENT, Unseen, lines
from tests.providers.unseen.openai import DONE


def part(*parts: object, finish: str | None = None, usage: object = None, **more: object) -> dict[str, Any]:
    """A message of Gemini's; a text is a part of text."""
    content = {"parts": [{"text": one} if isinstance(one, str) else one for one in parts], "role": "model"}
    candidate: dict[str, Any] = {"content": content, "index": 0, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    message: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-x"}
    return message if usage is None else message | {"usageMetadata": usage}


def array(*messages: object, separator: str = ",\r\n", end: str = "]") -> bytes:
    """Gemini's other form: one JSON array, pretty-printed."""
    return ("[" + separator.join(json.dumps(one, indent=2) for one in messages) + end).encode()


def google(code: int, status: str, message: str, *details: object) -> dict[str, Any]:
    """An error of Google's APIs."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


HEL, LO = part("Hel"), part("lo")
COUNTS = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
UNAVAILABLE = google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")

GEMINI = [
    Unseen(
        "finish-on-every-chunk",
        "songquanpeng/one-api#1408: every chunk says STOP",
        lines(part("Hel", finish="STOP"), part("l", finish="STOP"), part("o", finish="STOP", usage=COUNTS)),
        text="Hello",
        finish="STOP",
        usage={"input_tokens": 9, "output_tokens": 2},
    ),
    Unseen(
        "finish-before-the-text",
        "Chevey339/kelivo#1003: empty chunks with STOP, then the text, then STOP",
        lines(part(finish="STOP"), part(finish="STOP"), HEL, LO, part(finish="STOP")),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "finish-without-content",
        "agentjido/req_llm#638: the last candidate has no content",
        lines(HEL, LO, {"candidates": [{"finishReason": "STOP"}], "usageMetadata": COUNTS}),
        text="Hello",
        finish="STOP",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "malformed-function-call",
        "Gemini: MALFORMED_FUNCTION_CALL with a message and no parts",
        lines(
            {
                "candidates": [
                    {
                        "content": {},
                        "finishReason": "MALFORMED_FUNCTION_CALL",
                        "finishMessage": "Malformed function call: print(default_api.f(x=",
                        "index": 0,
                    }
                ],
                "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            }
        ),
        kind=TRANSIENT,
    ),
    Unseen(
        "unexpected-tool-call",
        "Gemini: UNEXPECTED_TOOL_CALL where no tools were given",
        lines(part(finish="UNEXPECTED_TOOL_CALL")),
        kind=TRANSIENT,
    ),
    Unseen(
        "limit-spent-on-thought",
        "Gemini 2.5: MAX_TOKENS before the first word",
        lines(
            {
                "candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}],
                "usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 63, "totalTokenCount": 72},
            }
        ),
        kind=REQUEST_SPECIFIC,
        also="clean",
    ),
    Unseen(
        "limit-after-text",
        "Gemini: MAX_TOKENS cuts the answer",
        lines(HEL, part("lo", finish="MAX_TOKENS", usage=COUNTS)),
        text="Hello",
        finish="MAX_TOKENS",
    ),
    Unseen(
        "safety-mid-text",
        "Gemini: SAFETY after some text, the last chunk without content",
        lines(
            HEL,
            {"candidates": [{"finishReason": "SAFETY", "index": 0, "safetyRatings": [{"blocked": True}]}]},
        ),
        text="Hel",
        finish="SAFETY",
        also=REQUEST_SPECIFIC,
    ),
    *(
        Unseen(
            f"nothing-but-{reason.lower().replace('_', '-')}",
            f"Gemini's finish reasons: {reason} without a word",
            lines(
                {
                    "candidates": [{"finishReason": reason, "index": 0}],
                    "usageMetadata": {"promptTokenCount": 9},
                }
            ),
            kind=kind,
        )
        for reason, kind in {
            "RECITATION": REQUEST_SPECIFIC,
            "PROHIBITED_CONTENT": REQUEST_SPECIFIC,
            "SPII": REQUEST_SPECIFIC,
            "BLOCKLIST": REQUEST_SPECIFIC,
            "LANGUAGE": REQUEST_SPECIFIC,
            "OTHER": TRANSIENT,
            "TOO_MANY_TOOL_CALLS": TRANSIENT,
        }.items()
    ),
    Unseen(
        "prompt-blocked-with-ratings",
        "Gemini: promptFeedback with ratings, no candidates",
        lines(
            {
                "promptFeedback": {
                    "blockReason": "SAFETY",
                    "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH"}],
                },
                "usageMetadata": {"promptTokenCount": 9},
            }
        ),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "prompt-rated-but-not-blocked",
        "Gemini before 1.5: promptFeedback with ratings beside an answer",
        lines(
            {**HEL, "promptFeedback": {"safetyRatings": [{"probability": "NEGLIGIBLE"}]}},
            part("lo", finish="STOP"),
        ),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "unavailable-mid-text",
        "Gemini: an error event after some text",
        lines(HEL, UNAVAILABLE),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-without-framing-after-finish",
        "vercel/ai#5217: STOP after one word, then a bare JSON error that breaks the framing",
        lines(HEL, part("", finish="STOP")) + json.dumps(UNAVAILABLE, indent=2).encode() + b"\n",
        text="Hel",
        finish="STOP",
    ),
    Unseen(
        "rate-limit-with-details",
        "Gemini: RetryInfo among other details, in a stream",
        lines(
            google(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.",
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
                },
                {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "quotas"}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"},
            )
        ),
        kind=TRANSIENT,
        wait=17.0,
    ),
    Unseen(
        "model-not-found",
        "Gemini: a model that is not served by this version of the API",
        lines(google(404, "NOT_FOUND", "models/x is not found for API version v1beta")),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "array-error-first",
        "Gemini's array form: a bad key",
        array(
            google(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "array-error-second",
        "Gemini's array form: an error after some text",
        array(HEL, UNAVAILABLE),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "array-whole",
        "Gemini's array form: CRLF between the objects, brackets and quotes in the text",
        array(part('a]"}'), part("\\[{", finish="STOP", usage=COUNTS), end="\r\n]\r\n"),
        text='a]"}\\[{',
        finish="STOP",
        usage={"output_tokens": 2},
    ),
    Unseen(
        "array-cut-between",
        "Gemini's array form, cut after a whole object",
        array(HEL, LO, end=""),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "array-cut-inside",
        "Gemini's array form, cut inside an object",
        array(HEL, LO)[:-40],
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "array-not-closed",
        "Gemini's array form: the last object says STOP, the bracket is missing",
        array(HEL, part("lo", finish="STOP"), end=""),
        text="Hello",
        finish="STOP",
    ),
    Unseen("array-empty", "Gemini's array form: nothing in it", b"[\n]\n", kind=TRANSIENT),
    Unseen(
        "thoughts-and-signatures",
        "Gemini: thought parts, signatures on text, an empty last part",
        lines(
            part({"text": "Let me think", "thought": True}),
            part({"text": "Hello", "thoughtSignature": "CiQB"}),
            part(
                {"text": "", "thoughtSignature": "CiQB"},
                finish="STOP",
                usage=COUNTS | {"thoughtsTokenCount": 5},
            ),
        ),
        text="Hello",
        finish="STOP",
        reasoning="Let me think",
        usage={"output_tokens": 2, "reasoning_tokens": 5},
    ),
    Unseen(
        "function-calls",
        "Gemini: two whole calls in one message",
        lines(
            part(
                {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "CiQB"},
                {"functionCall": {"name": "g", "args": {}, "id": "call_2"}},
                finish="STOP",
            )
        ),
        finish="STOP",
        tools=(("f", {"x": 1}), ("g", {})),
    ),
    Unseen(
        "code-execution",
        "Gemini: executableCode and its result are no text",
        lines(
            part({"executableCode": {"language": "PYTHON", "code": "print(1)"}}),
            part({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}),
            part("Hello", finish="STOP"),
        ),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "grounding-after-finish",
        "Gemini: the search's metadata come after the STOP",
        lines(
            HEL,
            part("lo", finish="STOP"),
            {
                "candidates": [{"groundingMetadata": {"webSearchQueries": ["x"]}, "index": 0}],
                "usageMetadata": COUNTS,
            },
        ),
        text="Hello",
        finish="STOP",
        usage={"input_tokens": 9},
    ),
    Unseen(
        "usage-grows",
        "ankit373/hydra#858: running totals; a chunk without usage does not erase them",
        lines(
            {**HEL, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}},
            {**LO, "usageMetadata": COUNTS | {"cachedContentTokenCount": 4}},
            part(finish="STOP"),
        ),
        text="Hello",
        finish="STOP",
        usage={"input_tokens": 9, "output_tokens": 2, "cached_tokens": 4},
    ),
    Unseen(
        "second-candidate",
        "Gemini: candidateCount 2",
        lines(
            {"candidates": [{"content": {"parts": [{"text": "Bye"}]}, "index": 1, "finishReason": "STOP"}]},
            HEL,
            part("lo", finish="STOP"),
        ),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "only-the-second-candidate-ended",
        "Gemini: candidateCount 2, cut before the first has ended",
        lines(
            HEL,
            {"candidates": [{"content": {"parts": [{"text": "Bye"}]}, "index": 1, "finishReason": "STOP"}]},
        ),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "whole-answer-for-a-stream",
        "relays that do not stream: one object",
        json.dumps(part("Hello", finish="STOP", usage=COUNTS), indent=2).encode(),
        text="Hello",
        finish="STOP",
        usage={"output_tokens": 2},
    ),
    Unseen(
        "unspecified-is-no-finish",
        "Gemini: FINISH_REASON_UNSPECIFIED, then the end",
        lines(HEL, part("lo", finish="FINISH_REASON_UNSPECIFIED")),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "done-appended",
        "relays that append the other wire's marker",
        lines(HEL, part("lo", finish="STOP"), DONE),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "done-instead-of-the-finish",
        "relays that end with the other wire's marker, and give no finish",
        lines(HEL, LO, DONE),
        text="Hello",
        kind=TRANSIENT,
        also="clean",
    ),
    Unseen(
        "parts-without-text",
        "Gemini: an empty part and STOP, nothing said",
        lines(part({}), part(finish="STOP", usage=COUNTS)),
        kind=TRANSIENT,
    ),
    Unseen(
        "html",
        "a proxy's page",
        b"<html><head><title>502 Bad Gateway</title></head></html>\r\n",
        kind=TRANSIENT,
    ),
    Unseen(
        "halves-of-a-character",
        "two halves in two parts of two messages",
        lines(part("a\ud83d"), part("\ude00", finish="STOP")),
        text="a😀",
        finish="STOP",
    ),
    Unseen(
        "comments-and-carriage-returns",
        "relays: pings, CR as line end",
        lines(": ping", HEL, ": ping", part("lo", finish="STOP"), end="\r\r"),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "array-without-commas",
        "relays that join objects without commas, an error last",
        array(HEL, google(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"), separator="\n"),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "array-with-a-text",
        "an array whose element is no object",
        b'["error"]',
        kind=TRANSIENT,
    ),
    Unseen(
        "blocked-mid-stream",
        "Gemini: promptFeedback with a block reason after some text",
        lines(HEL, {"promptFeedback": {"blockReason": "OTHER"}}),
        text="Hel",
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "error-beside-a-candidate",
        "relays: candidate and error in one message",
        lines({**HEL, **UNAVAILABLE}),
        kind=TRANSIENT,
    ),
    Unseen(
        "region",
        "Gemini: not served from here",
        lines(google(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "service-disabled",
        "Google's APIs: SERVICE_DISABLED",
        array(
            google(
                403,
                "PERMISSION_DENIED",
                "Generative Language API has not been used in project 1 before or it is disabled.",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"},
            )
        ),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "named-error",
        "relays: an error event by name",
        b"event: error\r\ndata: " + json.dumps(UNAVAILABLE).encode() + b"\r\n\r\n",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-without-framing-mid-text",
        "the same without a finish: the error says more than that it was cut",
        lines(HEL)
        + json.dumps(
            google(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), indent=2
        ).encode(),
        text="Hel",
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "stop-on-every-chunk-then-error",
        "one-api: STOP in every chunk, so none of them is the end",
        lines(part("Hel", finish="STOP"), part("l", finish="STOP"), UNAVAILABLE),
        text="Hell",
        kind=TRANSIENT,
    ),
    Unseen(
        "key-past-the-framing-first",
        "a comment, then Google's error in an array, printed",
        b": ping\n\n"
        + json.dumps(
            [google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")], indent=2
        ).encode(),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "finish-of-failure",
        "relays: a finish reason in the words of another wire",
        lines(HEL, part("", finish="ERROR")),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "array-error-after-stop",
        "the array form: an error behind the STOP",
        array(HEL, part("lo", finish="STOP"), UNAVAILABLE),
        text="Hello",
        finish="STOP",
    ),
    Unseen(
        "unknown-filter",
        "a filter's reason that the reference does not have yet",
        lines(part(finish="MODEL_ARMOR_BLOCKED")),
        kind=REQUEST_SPECIFIC,
    ),
    Unseen(
        "code-and-msg",
        "relays before this wire",
        lines({"code": 429, "msg": "too many requests"}),
        kind=TRANSIENT,
    ),
]
