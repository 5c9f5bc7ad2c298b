"""Ollama's chat, an object a line."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.unseen import AUTH_DEAD, TRANSIENT, Unseen, lines, ndjson
from tests.providers.unseen.openai import DONE, HELLO, STOP


def said(text: str = "", /, done: bool = False, **more: object) -> dict[str, Any]:
    """A line of Ollama's chat; what is not of the message goes beside it."""
    message = {"role": "assistant", "content": text}
    beside = {name: more.pop(name) for name in tuple(more) if name.endswith(("reason", "count", "duration"))}
    return {
        "model": "m",
        "created_at": "2026-01-15T12:00:00Z",
        "message": message | more,
        "done": done,
        **beside,
    }


FINAL = said(done=True, done_reason="stop", prompt_eval_count=26, eval_count=3, total_duration=5)

OLLAMA = [
    Unseen(
        "thought-text-and-tools",
        "Ollama's reference: thinking, content and tool calls in turn",
        ndjson(
            said(thinking="Let me"),
            said(thinking=" think"),
            said("Hello"),
            said(tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}, "index": 0}}]),
            FINAL,
        ),
        text="Hello",
        finish="stop",
        usage={"input_tokens": 26, "output_tokens": 3},
        reasoning="Let me think",
        tools=(("f", {"x": 1}),),
    ),
    Unseen(
        "runner-died",
        "ollama/ollama#8258: unexpected EOF after some text",
        ndjson(said("Hello"), {"error": "an error was encountered while running the model: unexpected EOF"}),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "cloud-cut",
        "ollama/ollama-js#285: the cloud's connection broke",
        ndjson(
            said("Hello"),
            {"error": 'Post "https://ollama.com:443/v1/chat/completions?ts=1775218167": unexpected EOF'},
        ),
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "runner-killed",
        "Ollama: llama runner process has terminated",
        ndjson({"error": "llama runner process has terminated: signal: killed"}),
        kind=TRANSIENT,
    ),
    Unseen(
        "error-object",
        "relays that write an object where Ollama writes a text",
        ndjson(said("Hel"), {"error": {"message": "key revoked", "code": "invalid_api_key"}}),
        text="Hel",
        kind=AUTH_DEAD,
    ),
    Unseen(
        "length-without-a-word",
        "Ollama: num_predict spent on thought",
        ndjson(said(thinking="Let me"), said(done=True, done_reason="length", eval_count=2)),
        finish="length",
        reasoning="Let me",
    ),
    Unseen(
        "no-reason",
        "Ollama before 0.3: done without done_reason",
        ndjson(said("Hello"), said(done=True, eval_count=3)),
        text="Hello",
        usage={"output_tokens": 3},
    ),
    Unseen(
        "unloaded",
        "Ollama: keep_alive 0 and no messages",
        ndjson(said(done=True, done_reason="unload")),
        finish="unload",
        also=TRANSIENT,
    ),
    Unseen(
        "nothing-said",
        "Ollama: an empty answer",
        ndjson(said(), FINAL),
        kind=TRANSIENT,
    ),
    Unseen(
        "blank-lines-between",
        "proxies that keep the connection with blank lines, CRLF",
        ndjson(said("Hel"), "", "   ", said("lo"), "", FINAL, end="\r\n"),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "blank-lines-first",
        "the same before the first object, with a mark",
        b"\xef\xbb\xbf\n\n" + ndjson(said("Hello"), FINAL),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "cut-inside-a-line",
        "the connection breaks inside a line",
        ndjson(said("Hel"), said("lo"))[:-20],
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "cut-inside-the-last-line",
        "the connection breaks inside the line that says done",
        ndjson(said("Hello"), FINAL)[:-30],
        text="Hello",
        kind=TRANSIENT,
    ),
    Unseen(
        "after-done",
        "what comes after done is not read",
        ndjson(said("Hello"), FINAL, {"error": "late"}),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "generate-shape",
        "Ollama's /api/generate, with thinking and a context",
        ndjson(
            {"model": "m", "response": "", "thinking": "Let me", "done": False},
            {"model": "m", "response": "Hello", "done": False},
            {
                "model": "m",
                "response": "",
                "done": True,
                "done_reason": "stop",
                "context": [1, 2],
                "eval_count": 3,
            },
        ),
        text="Hello",
        finish="stop",
        reasoning="Let me",
        usage={"output_tokens": 3},
    ),
    Unseen(
        "one-line",
        "a server that does not stream",
        ndjson(said("Hello", done=True, done_reason="stop"), end=""),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "framed-as-events",
        "relays that frame it as server-sent events",
        lines(said("Hello"), FINAL),
        kind=TRANSIENT,
        also="clean",
    ),
    Unseen(
        "remote-members",
        "Ollama's cloud models: remote_model and remote_host beside the rest",
        ndjson({**said("Hello"), "remote_model": "m", "remote_host": "https://ollama.com:443"}, FINAL),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "html",
        "a proxy's page",
        b"<html>\r\n<head><title>404 Not Found</title></head>\r\n</html>",
        kind=TRANSIENT,
    ),
    Unseen(
        "separators-in-the-text",
        "U+2028 and U+0085 as they are, inside a line",
        json.dumps(said("a\u2028b\x85c"), ensure_ascii=False).encode() + b"\n" + ndjson(FINAL),
        text="a\u2028b\x85c",
        finish="stop",
    ),
    Unseen(
        "halves-of-a-character",
        "two halves in two lines, a tool call between",
        ndjson(
            said("a\ud83d"),
            said(tool_calls=[{"function": {"name": "f", "arguments": {}}}]),
            said("\ude00"),
            FINAL,
        ),
        text="a😀",
        finish="stop",
        tools=(("f", {}),),
    ),
    Unseen(
        "tool-without-text",
        "Ollama: a tool call on the line that says done",
        ndjson(
            said(done=True, done_reason="stop", tool_calls=[{"function": {"name": "f", "arguments": {}}}])
        ),
        finish="stop",
        tools=(("f", {}),),
    ),
    Unseen(
        "spoilt-line",
        "a line that is no JSON is a loss",
        ndjson(said("Hel"), '{"message":', FINAL),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "error-beside-a-message",
        "relays: message and error on one line",
        ndjson({**said("Hel"), "error": "upstream reset"}),
        kind=TRANSIENT,
    ),
    Unseen(
        "the-other-wire",
        "a base URL of the openai wire",
        lines(*HELLO, STOP, DONE),
        kind=TRANSIENT,
    ),
    Unseen(
        "empty",
        "nothing at all",
        b"",
        kind=TRANSIENT,
    ),
    Unseen(
        "blank-lines-only",
        "blank lines, then the end",
        b"\n\n\n",
        kind=TRANSIENT,
    ),
    Unseen(
        "detail",
        "a FastAPI proxy before Ollama",
        ndjson({"detail": "Not authenticated"}),
        kind=TRANSIENT,
        also=AUTH_DEAD,
    ),
    Unseen(
        "error-over-several-lines",
        "a proxy's pretty-printed JSON",
        b'{\n  "error": {\n    "message": "Unauthorized",\n    "code": 401\n  }\n}\n',
        kind=AUTH_DEAD,
    ),
    Unseen(
        "error-printed-mid-text",
        "a proxy's printed error after some text",
        ndjson(said("Hel")) + json.dumps({"error": {"message": "x", "code": 401}}, indent=2).encode(),
        text="Hel",
        kind=AUTH_DEAD,
    ),
    Unseen(
        "every-message-printed",
        "a relay that prints each object over several lines",
        b"".join(json.dumps(one, indent=2).encode() + b"\n" for one in (said("Hel"), said("lo"), FINAL)),
        text="Hello",
        finish="stop",
    ),
    Unseen(
        "done-by-failure",
        "done, with a reason of failure",
        ndjson(said("Hel"), said(done=True, done_reason="error")),
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "code-and-msg",
        "relays before Ollama",
        ndjson({"code": 401, "msg": "token invalid"}),
        kind=AUTH_DEAD,
    ),
    Unseen(
        "printed-error-cut",
        "a printed error, cut",
        ndjson(said("Hel")) + b'{\n  "error": {\n    "mess',
        text="Hel",
        kind=TRANSIENT,
    ),
    Unseen(
        "done-cancelled",
        "relays: a request that was given up",
        ndjson(said("Hel"), said(done=True, done_reason="cancelled")),
        text="Hel",
        kind=TRANSIENT,
    ),
]
