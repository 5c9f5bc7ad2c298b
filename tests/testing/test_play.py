"""How faults are played, on the openai wire: each as the client meets it, byte by byte and moment by moment.

What the other wires write is in ``test_writers``, what callers make of it in ``test_fault_matrix``.
"""

from __future__ import annotations

import json
import tracemalloc
import zlib

import httpx
import pytest

from tests.testing.asking import (
    HALF,
    PROMPT,
    body,
    dechunked,
    events,
    finish_of,
    http_request,
    noted,
    post,
    raw_connection,
    read_all,
    read_until,
    streamed,
    text_of,
)

# Healthy answers


def test_a_completion_is_answered(server, client):
    """A healthy completion has the wire's form, with usage."""
    answer = post(client, "echo").json()
    assert (answer["object"], answer["model"], answer["choices"], answer["usage"]) == (
        "chat.completion",
        "echo",
        [{"index": 0, "message": {"role": "assistant", "content": PROMPT}, "finish_reason": "stop"}],
        {"prompt_tokens": 11, "completion_tokens": 11, "total_tokens": 22},
    )


def test_a_stream_is_answered(server, client):
    """A healthy stream has a role, words, a finish reason and the terminal marker."""
    raw, ended = streamed(client, "echo")
    first = json.loads(events(raw)[0])
    assert (first["choices"][0]["delta"], text_of(raw), finish_of(raw), events(raw)[-1], ended) == (
        {"role": "assistant", "content": ""},
        PROMPT,
        ["stop"],
        "[DONE]",
        None,
    )


def test_a_stream_has_usage_where_it_is_asked_for(server, client):
    """``include_usage`` adds an event with the usage and no choices; without it there is none."""
    with_usage, _ = streamed(client, "echo", stream_options={"include_usage": True})
    without, _ = streamed(client, "echo")
    usage = {"prompt_tokens": 11, "completion_tokens": 11, "total_tokens": 22}
    assert [json.loads(data).get("usage") for data in events(with_usage)[:-1]][-1] == usage
    assert b"usage" not in without


def test_text_of_any_script_survives(server, client):
    """The text comes back letter by letter, line separators included."""
    prompt = "Grüße\u2028 aus 東京 \x85 \n\n ok"
    assert post(client, "echo", prompt=prompt).json()["choices"][0]["message"]["content"] == prompt
    assert text_of(streamed(client, "echo", prompt=prompt)[0]) == prompt


def test_the_last_user_message_is_echoed(server, client):
    """Of several turns the last user's is the prompt; odd messages are passed over."""
    messages = [
        {"role": "user", "content": "old"},
        {"role": "user", "content": "new"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": [{"type": "text"}]},
        "odd",
    ]
    response = client.post("/chat/completions", json={"model": "echo", "messages": messages})
    assert response.json()["choices"][0]["message"]["content"] == "new"


# Failed statuses


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status", "code", "retry_after"),
    [
        ("down", 503, None, None),
        ("429:30", 429, "rate_limit_exceeded", "30"),
        ("auth", 401, "invalid_api_key", None),
        ("quota", 429, "insufficient_quota", None),
        ("gone", 404, "model_not_found", None),
        ("context", 400, "context_length_exceeded", None),
        ("filter", 400, "content_filter", None),
        ("599", 599, None, None),
    ],
)
def test_a_status_comes_with_the_body_of_the_wire(server, client, model, status, code, retry_after, stream):
    """A failed status has the error object and, where given, Retry-After; a stream fails alike."""
    response = post(client, model, stream=stream)
    assert (response.status_code, response.json()["error"]["code"], response.headers.get("retry-after")) == (
        status,
        code,
        retry_after,
    )
    assert noted(server) == [(model, model, True)]


# Broken answers


def test_an_html_page_comes_with_200(server, client):
    """A page of some proxy, in place of the answer."""
    response = post(client, "html")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!DOCTYPE html>")


def test_a_malformed_completion_is_no_json(server, client):
    """The body ends properly and cannot be decoded."""
    response = post(client, "malformed")
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        response.json()


def test_a_malformed_stream_has_an_event_that_is_no_json(server, client):
    """One event cannot be decoded; all others can, and the stream ends properly."""
    raw, ended = streamed(client, "malformed")
    role, broken, *rest = events(raw)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(broken)
    whole = "".join(f"data: {data}\n\n" for data in [role, *rest]).encode()
    assert (text_of(whole), finish_of(whole), rest[-1], ended) == (PROMPT, ["stop"], "[DONE]", None)


def test_an_empty_completion_has_no_text(server, client):
    """A whole answer that says nothing."""
    choice = post(client, "empty").json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")


def test_an_empty_stream_has_no_text(server, client):
    """A whole stream that says nothing."""
    raw, ended = streamed(client, "empty")
    assert (text_of(raw), finish_of(raw), events(raw)[-1], ended) == ("", ["stop"], "[DONE]", None)


def test_an_error_inside_a_completion(server, client):
    """The status is 200, the body an error object."""
    response = post(client, "error200")
    assert (response.status_code, response.json()["error"]["code"]) == (200, "server_error")


@pytest.mark.parametrize(("model", "text"), [("error200", ""), ("error200:7", HALF)])
def test_an_error_inside_a_stream(server, client, model, text):
    """The last event is an error object, first of all or in the middle of the text."""
    raw, ended = streamed(client, model)
    assert (text_of(raw), json.loads(events(raw)[-1])["error"]["code"], ended) == (text, "server_error", None)


def test_a_cut_stream_ends_properly_but_has_no_finish_reason(server, client):
    """Only the missing finish reason tells that something is missing."""
    raw, ended = streamed(client, "cut:7")
    assert (text_of(raw), finish_of(raw), b"[DONE]" in raw, ended) == (HALF, [], False, None)


def test_a_cut_completion_ends_before_its_length(server, client):
    """Half of the body, then the connection is closed."""
    with pytest.raises(httpx.RemoteProtocolError):
        post(client, "cut")
    assert noted(server) == [("cut", "cut:40", False)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_short_answer_breaks_its_promise(server, client, stream):
    """All of the text comes, but the Content-Length says more."""
    with raw_connection(server, "short", stream=stream) as connection:
        got, was_reset = read_all(connection)
    head, _, content = got.partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert (promised > len(content), b" so." in content, was_reset) == (True, True, False)
    with pytest.raises(httpx.RemoteProtocolError):
        post(client, "short", stream=stream)


def test_a_stream_without_its_marker(server, client):
    """The finish reason comes, the terminal marker does not."""
    raw, ended = streamed(client, "nodone")
    assert (text_of(raw), finish_of(raw), b"[DONE]" in raw, ended) == (PROMPT, ["stop"], False, None)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_in_half_a_character(server, client, stream):
    """The last byte is the first of a character of two."""
    response = post(client, "utf8", stream=stream)
    assert response.content.endswith(b"caf\xc3")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_before_any_answer(server, stream):
    """The connection is reset, not ended, without a byte."""
    with raw_connection(server, "reset", stream=stream) as connection:
        assert read_all(connection) == (b"", True)


def test_a_reset_in_the_middle_of_a_stream(server):
    """The text so far arrives, then the reset."""
    with raw_connection(server, "reset:7", stream=True) as connection:
        got, was_reset = read_all(connection)
    assert (b'" a"' in got, b'" sunny"' in got, was_reset) == (True, False, True)


def test_a_reset_in_the_middle_of_a_completion(server):
    """Half of the body arrives, then the reset."""
    with raw_connection(server, "reset:7") as connection:
        got, was_reset = read_all(connection)
    assert (got.startswith(b"HTTP/1.1 200"), b"finish_reason" in got, was_reset) == (True, False, True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_answer_breaks_its_promise_too(server, stream):
    """More comes than the Content-Length says, and the connection stays open as if nothing were wrong."""
    with raw_connection(server, "long+say:next", stream=stream) as connection:
        got = read_until(connection, b'"total_tokens": 22}}' if not stream else b"[DONE]\n\n")
        connection.sendall(http_request("long+say:next"))
        assert b"next" in read_until(connection, b"next")
    head, _, content = got.partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert promised < len(content)


def test_an_answer_without_choices(server, client):
    """The list is there, and empty; the stream says no more, and ends properly."""
    raw, ended = streamed(client, "nochoices")
    assert post(client, "nochoices").json()["choices"] == []
    assert (json.loads(events(raw)[0])["choices"], events(raw)[1:], ended) == ([], ["[DONE]"], None)


@pytest.mark.parametrize(
    ("model", "statuses"), [("flap", [503, 200, 503, 200]), ("flapx3", [503, 200, 503, 200])]
)
def test_a_flapping_model_fails_every_other_time(server, client, model, statuses):
    """Failures and answers take turns; each is noted for what it was."""
    assert [post(client, model).status_code for _ in range(4)] == statuses
    assert [asked.outcome for asked in server.requests] == ["503", "echo", "503", "echo"]


# Too much


def test_a_line_is_too_long(server, client):
    """One event of a stream is longer than 4 MiB; the stream is whole all the same."""
    raw, ended = streamed(client, "line")
    assert (len(events(raw)[1]) > 4 * 1024 * 1024, finish_of(raw), ended) == (True, ["stop"], None)


def test_a_completion_has_no_line_to_be_too_long(server, client):
    """It is answered."""
    assert post(client, "line").json()["choices"][0]["message"]["content"] == PROMPT


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_is_too_large(server, client, stream):
    """It is longer than 32 MiB, of the length that was promised, and JSON."""
    response = post(client, "big", stream=stream)
    text = response.json()["choices"][0]["message"]["content"]
    assert (len(text), set(text)) == (32 * 1024 * 1024 + 1, {"a"})


@pytest.mark.parametrize("stream", [False, True])
def test_a_bomb_unpacks_without_an_end(server, stream):
    """A thousand bytes of text for each that is sent."""
    with raw_connection(server, "bomb", stream=stream) as connection:
        got = read_until(connection, b"\r\n\r\n")
        while len(got) < 64_000:
            got += connection.recv(65_536)
    head, _, content = got.partition(b"\r\n\r\n")
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(dechunked(content))
    assert b"content-encoding: gzip" in head
    assert len(unpacked) > 500 * len(content)
    assert (unpacked.startswith((b'{"id"', b'data: {"id"')), unpacked[-1000:]) == (True, b"a" * 1000)


@pytest.mark.parametrize(
    ("model", "stream", "piece"),
    [
        ("endless", True, b'" word"'),
        ("endless", False, b"aaaa"),
        ("header", False, b"x-endless: aaaa"),
        ("headers", True, b"x-endless: aaaa"),
    ],
)
def test_what_has_no_end_goes_on_until_the_client_leaves(server, model, stream, piece):
    """A megabyte is read without an end in sight; then the client closes, which is noted."""
    with raw_connection(server, model, stream=stream) as connection:
        got = read_until(connection, piece)
        while len(got) < 1_000_000:
            got += connection.recv(65_536)
    assert server.wait_closed(10)
    assert (server.requests[0].answered, b"[DONE]" in got) == (False, False)


@pytest.mark.parametrize("model", ["endless", "big", "header", "headers"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_large_is_made_piece_by_piece(server, model, stream):
    """The server holds no more of it at a time than a socket does."""
    buffer, got = bytearray(1024 * 1024), 0
    with raw_connection(server, model, stream=stream) as connection:
        connection.recv(1)
        tracemalloc.start()
        while got < 30_000_000:
            got += connection.recv_into(buffer)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("model", ["endless", "bomb", "header", "headers"])
def test_release_ends_what_has_no_end(server, model):
    """The connection is closed by the server, in the middle of it all."""
    with raw_connection(server, model) as connection:
        assert server.wait_received()
        server.release()
        read_all(connection)
    assert (server.requests[0].closed, server.requests[0].answered) == (False, False)


# Waits


@pytest.mark.parametrize("model", ["silent", "timeout"])
@pytest.mark.parametrize("stream", [False, True])
def test_silence_never_answers(server, client, model, stream):
    """Not a byte comes; the client's own limit ends it, which the server notes."""
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=body(model, stream=stream), timeout=0.05)
    assert server.wait_closed(5)
    assert noted(server) == [(model, model, False)]


def test_a_stall_is_silent_in_the_middle_of_a_stream(server):
    """The text so far arrives, then nothing, on an open connection."""
    with raw_connection(server, "stall:7", stream=True) as connection:
        got = read_until(connection, b'" a"')
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            read_until(connection, b"sunny")
        assert (b"sunny" in got, server.requests[0].closed) == (False, False)


def test_a_stall_is_silent_in_the_middle_of_a_completion(server):
    """Half of the body arrives, then nothing."""
    with raw_connection(server, "stall") as connection:
        got = read_until(connection, b"content")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            read_until(connection, b"finish_reason")
    assert got.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("stream", [False, True])
def test_slow_answers_late_and_whole(server, client, stream):
    """The answer comes after its time."""
    response = post(client, "slow:0.03", stream=stream)
    assert (PROMPT.split()[-1] in response.text, response.elapsed.total_seconds() >= 0.03) == (True, True)


def test_a_slow_stream_has_begun(server):
    """The head and the role come at once; only the first token is late."""
    with raw_connection(server, "slow:60", stream=True) as connection:
        assert b"sunny" not in read_until(connection, b"assistant")


def test_release_lets_a_slow_answer_come_now(server):
    """A request that waits is answered at once."""
    with raw_connection(server, "slow:60") as connection:
        assert server.wait_received()
        server.release()
        assert b"sunny" in read_all(connection)[0]
    assert noted(server) == [("slow:60", "slow:60", True)]


@pytest.mark.parametrize("model", ["silent", "stall:7"])
def test_release_closes_what_would_never_answer(server, model):
    """A silent or stalled connection is ended, which is not the client's closing."""
    with raw_connection(server, model, stream=True) as connection:
        assert server.wait_received()
        server.release()
        _, was_reset = read_all(connection)
    assert (was_reset, server.requests[0].closed, server.requests[0].answered) == (False, False, False)


def test_release_holds_for_requests_so_far_only(server, client):
    """A later request waits again."""
    server.release()
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json=body("silent"), timeout=0.05)
    assert server.wait_closed()


def test_release_leaves_idle_connections_alone(server):
    """A connection on which nothing waits can be used again."""
    with raw_connection(server, "say:one") as connection:
        read_until(connection, b"one")
        with server._changed:
            assert server._changed.wait_for(lambda: server.requests[0].answered, 5)
        server.release()
        for word in (b"two", b"three"):
            connection.sendall(http_request(f"say:{word.decode()}"))
            assert b"200 OK" in read_until(connection, word)


@pytest.mark.parametrize("stream", [False, True])
def test_a_trickle_begins_at_once(server, stream):
    """The head is there, and nothing that was said; when the waits are ended, all of it comes."""
    with raw_connection(server, "trickle:60", stream=stream) as connection:
        got = read_until(connection, b"\r\n\r\n")
        assert (got.startswith(b"HTTP/1.1 200 OK"), b"sunny" in got) == (True, False)
        server.release()
        _, _, content = (got + read_all(connection)[0]).partition(b"\r\n\r\n")
    assert b"sunny" in (dechunked(content) if stream else content)
    assert noted(server) == [("trickle:60", "trickle:60", True)]


def test_a_trickle_takes_its_time(server, client):
    """Between two bytes lies the time that was asked for."""
    response = post(client, "trickle:0.002", prompt="x")
    assert response.json()["choices"][0]["message"]["content"] == "x"
    assert response.elapsed.total_seconds() >= 0.002 * len(response.content)
