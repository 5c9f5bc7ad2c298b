"""The fault server: each fault as the client meets it, and as the server notes it."""

from __future__ import annotations

import json
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from llm_failover_nb.testing import FaultServer

PROMPT = "It is a sunny day in Paris, and it stays so."
HALF = PROMPT[:7]


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=10, trust_env=False) as client:
        yield client


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


def test_healthy_answers_keep_the_connection(server):
    """Answers, failed statuses and streams go over one connection, one after the other."""
    with raw_connection(server, "echo", prompt="first") as connection:
        read_until(connection, b"first")
        connection.sendall(http_request("503"))
        read_until(connection, b"overloaded")
        connection.sendall(http_request("echo", stream=True))
        last = read_until(connection, b"0\r\n\r\n")
    assert last.startswith(b"HTTP/1.1 200 OK")
    assert noted(server) == [("echo", "echo", True), ("503", "503", True), ("echo", "echo", True)]


def test_requests_may_be_sent_ahead(server):
    """Two requests in one packet are answered in order."""
    with raw_connection(server, "say:one") as connection:
        connection.sendall(http_request("say:two") + http_request("say:three"))
        got = read_until(connection, b"three")
    assert [word for word in (b"one", b"two", b"three") if word in got] == [b"one", b"two", b"three"]


def test_a_client_that_asks_for_it_is_closed(server, client):
    """``Connection: close`` ends the connection after the answer."""
    request = http_request("say:bye").replace(b"Host: here", b"Host: here\r\nConnection: close")
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as connection:
        connection.sendall(request)
        got, was_reset = read_all(connection)
    assert (b"bye" in got, was_reset) == (True, False)


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


def test_a_script_goes_on_from_request_to_request(server, client):
    """The position is the server's, for all clients, and the last outcome repeats."""
    statuses = [post(client, "503x2+429:1+echo").status_code for _ in range(5)]
    assert statuses == [503, 503, 429, 200, 200]
    assert [asked.outcome for asked in server.requests] == ["503", "503", "429:1", "echo", "echo"]


def test_each_model_name_has_its_own_position(server, client):
    """Two scripts do not disturb each other."""
    assert [post(client, m).status_code for m in ("503+echo", "500+echo", "503+echo", "500+echo")] == [
        503,
        500,
        200,
        200,
    ]


def test_reset_starts_scripts_anew(server, client):
    """After a reset the first outcome is met again and the records are gone."""
    post(client, "503x1")
    server.reset()
    assert (post(client, "503x1").status_code, len(server.requests)) == (503, 1)


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
    """The stream ends properly; one of its events cannot be decoded."""
    raw, ended = streamed(client, "malformed")
    assert ended is None
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(events(raw)[-1])


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


# Records


def test_a_request_is_recorded(server, client):
    """Model, body, headers, kind and outcome of a request are kept."""
    client.post("/chat/completions", json=body("echo", stream=True, seed=7), headers={"X-Mark": "here"})
    (asked,) = server.requests
    assert (asked.model, asked.body["seed"], asked.headers["x-mark"], asked.outcome, asked.stream) == (
        "echo",
        7,
        "here",
        "echo",
        True,
    )


def test_headers_stay_out_of_the_repr(server, client):
    """A key in a header is not shown by accident."""
    client.post("/chat/completions", json=body("echo"), headers={"Authorization": "Bearer canary"})
    assert ("canary" in repr(server.requests), server.requests[0].headers["authorization"]) == (
        False,
        "Bearer canary",
    )


@pytest.mark.parametrize("model", ["silent", "stall:7", "slow:60"])
def test_a_client_that_closes_is_noticed_at_once(server, model):
    """Closing the connection in the middle of a wait is noted with its time."""
    with raw_connection(server, model, stream=True):
        assert server.wait_received()
        assert server.requests[0].closed is False
    assert server.wait_closed(5)
    (asked,) = server.requests
    assert (asked.closed, asked.closed_at >= asked.at, asked.answered) == (True, True, False)


def test_a_client_that_resets_is_noticed(server):
    """A reset from the client is a closing too."""
    with raw_connection(server, "silent") as connection:
        assert server.wait_received()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.wait_closed(5)


def test_closing_after_the_answer_is_told_apart(server, client):
    """A connection closed when it was idle is closed, but its request was answered."""
    post(client, "echo")
    assert server.requests[0].closed is False
    client.close()
    assert server.wait_closed(5)
    assert server.requests[0].answered is True


def test_a_client_that_leaves_in_the_middle_of_a_long_stream(server):
    """Sending to a client that is gone ends the answer, unanswered."""
    with raw_connection(server, "echo", stream=True, prompt="word " * 100_000) as connection:
        read_until(connection, b"word")
    assert server.wait_closed(5)
    assert server.requests[0].answered is False


def test_waiting_for_a_close_gives_up(server, client):
    """A connection that stays open is not closed when the time is over."""
    post(client, "echo")
    assert server.wait_closed(0.01) is False


def test_waiting_for_one_model(server):
    """The latest request for a model can be told from the latest of all."""
    with raw_connection(server, "stall:1"):
        assert server.wait_received(1)
    with raw_connection(server, "silent"):
        assert server.wait_received(2)
        assert server.wait_closed(5, model="stall:1")
        assert server.wait_closed(0.01) is False


def test_records_forgotten_while_a_request_runs(server):
    """A request that was forgotten by a reset ends without a trace."""
    with raw_connection(server, "slow:60") as connection:
        assert server.wait_received()
        server.reset()
        server.release()
        assert b"sunny" in read_all(connection)[0]
    assert server.requests == ()


# Refusals


def test_a_key_is_demanded():
    """With ``key=`` a request without it, or with another, is answered by 401 and plays no script."""
    with FaultServer(key="right") as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        answers = [
            client.post("/chat/completions", json=body("503+echo"), headers=headers)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer right"})
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 503]
        assert answers[0].json()["error"]["code"] == "invalid_api_key"
        assert [asked.outcome for asked in server.requests] == ["refused", "refused", "503"]


def test_a_name_that_is_no_script_is_no_model(server, client):
    """The error says which part cannot be read."""
    response = post(client, "dwon")
    error = response.json()["error"]
    assert (response.status_code, error["code"], "'dwon'" in error["message"]) == (
        404,
        "model_not_found",
        True,
    )


@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("POST", "/completions")])
def test_another_path_is_not_there(server, client, method, path):
    """Only Chat Completions is served; what was asked for is named."""
    response = client.request(method, path, json={})
    assert (response.status_code, f"{method} /v1{path}" in response.json()["error"]["message"]) == (404, True)


def test_a_query_is_passed_over(server, client):
    """Some endpoints take a version in the query."""
    assert client.post("/chat/completions?api-version=1", json=body("echo")).status_code == 200


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
def test_a_body_that_is_no_object_is_no_script(server, client, content):
    """Without a readable body there is no model."""
    assert client.post("/chat/completions", content=content).status_code == 404


@pytest.mark.parametrize(
    "junk", [b"junk\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 70_000]
)
def test_what_is_no_request_is_hung_up_on(server, junk):
    """Bytes that are no HTTP end the connection and leave no record."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(junk)
        read_all(connection)
    assert server.requests == ()


# Life


def test_it_listens_on_loopback_only(server):
    """The address is 127.0.0.1 and nothing else."""
    assert (urlsplit(server.url).hostname, server._listener.getsockname()[0]) == ("127.0.0.1", "127.0.0.1")


def test_a_server_that_does_not_run_has_no_url():
    """The error says how to start it."""
    with pytest.raises(RuntimeError, match=r"does not run; call start\(\)"):
        _ = FaultServer().url


def test_start_and_close_are_idempotent():
    """A second start keeps the port; a second close does nothing; a third start listens again."""
    server = FaultServer().start()
    url = server.url
    assert server.start().url == url
    server.close()
    server.close()
    with server.start() as again, httpx.Client(base_url=again.url, trust_env=False) as client:
        assert post(client, "echo").status_code == 200


@pytest.mark.parametrize("model", ["silent", "slow:60", "stall:7", "echo"])
def test_close_ends_everything_at_once(model):
    """After close no thread is left, the client's connection is ended, and nobody is said to have left."""
    before = set(threading.enumerate())
    server = FaultServer().start()
    with raw_connection(server, model, stream=True) as connection:
        assert server.wait_received()
        server.close()
        read_all(connection)
    assert set(threading.enumerate()) - before == set()
    assert [asked.closed for asked in server.requests] == [False]


def test_close_ends_a_client_that_does_not_read():
    """A server that is stuck in sending is ended too."""
    before = set(threading.enumerate())
    server = FaultServer().start()
    with raw_connection(server, "echo", prompt="word " * 1_000_000):
        assert server.wait_received()
        server.close()
    assert set(threading.enumerate()) - before == set()


def test_after_close_nobody_listens():
    """The port is free again."""
    with FaultServer() as server:
        url = urlsplit(server.url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url.hostname, url.port))


def test_hundreds_of_connections(server):
    """Three hundred clients wait at the same time, and all are released."""
    count = 300
    url = urlsplit(server.url)
    clients = [socket.create_connection((url.hostname, url.port), timeout=30) for _ in range(count)]
    try:
        for connection in clients:
            connection.sendall(http_request("slow:60", prompt="done"))
        assert server.wait_received(count, 30)
        server.release()
        answered = sum(b"done" in read_all(connection)[0] for connection in clients)
    finally:
        for connection in clients:
            connection.close()
    assert answered == count


def test_positions_are_counted_across_threads(server, client):
    """Of a hundred simultaneous requests exactly as many fail as the script says."""
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: post(client, "503x40+echo").status_code, range(100)))
    assert (statuses.count(503), statuses.count(200)) == (40, 60)
