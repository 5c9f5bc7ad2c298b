"""The fault server itself: who is asked for what, what is noted of it, how it begins and ends."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from llm_failover_nb.providers.presets import WIRES
from llm_failover_nb.testing import FaultServer
from tests.testing.asking import ask, body, http_request, post, raw_connection, read_all, read_until

# Scripts


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


def test_positions_are_counted_across_threads(server, client):
    """Of a hundred simultaneous requests exactly as many fail as the script says."""
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: post(client, "503x40+echo").status_code, range(100)))
    assert (statuses.count(503), statuses.count(200)) == (40, 60)


def test_each_wire_has_its_own_position(server):
    """The same script on two wires is two scripts."""
    asked = [ask(server, wire, "503+echo").status_code for wire in ("openai", "gemini", "openai", "gemini")]
    assert asked == [503, 503, 200, 200]


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


@pytest.mark.parametrize("wire", WIRES)
def test_a_request_is_recorded_with_its_wire(server, wire):
    """Wire, model and kind of answer are kept, wherever the request has them."""
    ask(server, wire, "cut:7", stream=True)
    (asked,) = server.requests
    assert (asked.wire, asked.model, asked.stream, asked.outcome) == (wire, "cut:7", True, "cut:7")


def test_connections_are_numbered(server, client):
    """Requests over one connection can be told from those over another."""
    post(client, "echo")
    post(client, "echo")
    ask(server, "openai", "echo")
    assert [asked.connection for asked in server.requests] == [1, 1, 2]


def test_the_latest_requests_are_kept():
    """A server that runs for long can be told to forget."""
    with FaultServer(keep=2) as server:
        for model in ("say:one", "say:two", "say:three"):
            ask(server, "openai", model)
        assert [asked.model for asked in server.requests] == ["say:two", "say:three"]


def test_an_observer_is_told_of_each_request_once():
    """When it is over, with what became of it: answered, broken off, or left by its client."""
    told = queue.Queue()
    with FaultServer(observer=told.put) as server:
        ask(server, "openai", "echo")
        with raw_connection(server, "cut") as connection:
            read_all(connection)
        with raw_connection(server, "silent"):
            assert server.wait_received(3)
        seen = [told.get(timeout=10) for _ in range(3)]
    assert told.empty()
    assert [(asked.model, asked.answered, asked.closed) for asked in seen] == [
        ("echo", True, False),
        ("cut", False, False),
        ("silent", False, True),
    ]


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


@pytest.mark.parametrize(("method", "path"), [("GET", "/files"), ("POST", "/completions")])
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


# Life


@pytest.mark.parametrize(
    ("wire", "path"), [("openai", "/v1"), ("anthropic", ""), ("gemini", "/v1beta"), ("ollama", "")]
)
def test_each_wire_has_a_base_url(server, wire, path):
    """What ``register_provider`` needs; ``url`` is that of the openai wire."""
    port = urlsplit(server.url).port
    assert (server.base_url(wire), server.url) == (
        f"http://127.0.0.1:{port}{path}",
        f"http://127.0.0.1:{port}/v1",
    )


def test_an_unknown_wire_has_none(server):
    """The error names those that there are."""
    with pytest.raises(
        ValueError, match="'cohere' is not known; choose one of: anthropic, gemini, ollama, openai"
    ):
        server.base_url("cohere")


def test_a_port_can_be_chosen(server):
    """The one that is asked for, if nobody has it."""
    port = urlsplit(server.url).port
    with pytest.raises(OSError, match="in use"):
        FaultServer(port=port).start()
    server.close()
    with FaultServer(port=port) as again:
        assert urlsplit(again.url).port == port


def test_waiting_until_nobody_is_connected(server):
    """A server can be asked whether all of its clients have left."""
    with raw_connection(server, "silent"):
        assert server.wait_received()
        assert server.wait_unconnected(0.01) is False
    assert server.wait_unconnected() is True


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
