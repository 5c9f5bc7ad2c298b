"""What the fault server's tests share: requests, by a client and by a plain socket, and what comes back.

The helpers without a wire's name speak the openai wire.
"""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import httpx

PROMPT = "It is a sunny day in Paris, and it stays so."
HALF = PROMPT[:7]


def body(model, *, prompt=PROMPT, **members):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **members}


def post(client, model, **members):
    return client.post("/chat/completions", json=body(model, **members))


def streamed(client, model, **members):
    """The raw bytes of a stream as far as they came, and what ended them (``None`` for a proper end)."""
    got, ended = b"", None
    with client.stream("POST", "/chat/completions", json=body(model, stream=True, **members)) as response:
        try:
            for data in response.iter_raw():
                got += data
        except httpx.HTTPError as error:
            ended = type(error)
    return got, ended


def events(raw):
    """The data of each whole event."""
    return [event.removeprefix("data: ") for event in raw.decode(errors="replace").split("\n\n") if event]


def text_of(raw):
    """The text of all events that are chunks of an answer."""
    parts = [json.loads(data) for data in events(raw) if data.endswith("}")]
    return "".join(c["delta"].get("content", "") for part in parts for c in part.get("choices", ()))


def finish_of(raw):
    """The finish reasons of all events that have one."""
    parts = [json.loads(data) for data in events(raw) if data.endswith("}")]
    return [c["finish_reason"] for part in parts for c in part.get("choices", ()) if c["finish_reason"]]


@contextmanager
def raw_connection(server, model, **members):
    """A plain socket on which a request was sent."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(http_request(model, **members))
        yield connection


def http_request(model, **members):
    content = json.dumps(body(model, **members)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def read_all(connection):
    """Everything until the server ends, and whether it ended by a reset."""
    got = b""
    try:
        while data := connection.recv(65_536):
            got += data
    except ConnectionResetError:
        return got, True
    return got, False


def dechunked(content):
    """The body in its chunks, as far as they are whole."""
    body = b""
    while True:
        size, _, content = content.partition(b"\r\n")
        if not size or len(content) < int(size, 16) + 2:
            return body
        body, content = body + content[: int(size, 16)], content[int(size, 16) + 2 :]


def read_until(connection, marker):
    got = b""
    while marker not in got:
        data = connection.recv(65_536)
        if not data:
            raise EOFError(f"the server ended before {marker!r}, after {got!r}")
        got += data
    return got


def noted(server):
    """What the server knows when all is over: it marks an answer only after the client may have it."""
    server.close()
    return [(asked.model, asked.outcome, asked.answered) for asked in server.requests]


def ask(server, wire, model, *, stream=False, prompt=PROMPT, turns=None, query="", **options):
    """Ask by any wire, as its clients do; ``turns`` are role and text of each, in the words of openai's wire.

    ``query`` is added to the path; ``options`` are httpx's.
    """
    path, content = wire_request(wire, model, stream, turns or [("user", prompt)])
    return httpx.post(
        f"{server.base_url(wire)}{path}{query}", json=content, timeout=10, trust_env=False, **options
    )


def wire_request(wire, model, stream, turns):
    """The path below the base URL, and the body."""
    messages = [{"role": role, "content": text} for role, text in turns]
    match wire:
        case "openai":
            return "/chat/completions", {"model": model, "messages": messages, "stream": stream}
        case "anthropic":
            return "/v1/messages", {"model": model, "max_tokens": 9, "messages": messages, "stream": stream}
        case "gemini":
            method = "streamGenerateContent" if stream else "generateContent"
            names = {"user": "user", "assistant": "model"}
            contents = [{"role": names[role], "parts": [{"text": text}]} for role, text in turns]
            return f"/models/{quote(model, safe='')}:{method}", {"contents": contents}
    return "/api/chat", {"model": model, "messages": messages, "stream": stream}
