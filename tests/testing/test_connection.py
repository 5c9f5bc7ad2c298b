"""The fault server's connections: requests as clients send them, and clients that do not listen."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from llm_failover_nb.testing import FaultServer
from tests.testing.asking import body, http_request, noted, raw_connection, read_all, read_until


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


def chunked_request(*chunks, end=b"0\r\n\r\n"):
    """A request whose body comes in chunks."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def test_a_body_in_chunks_is_read(server):
    """Some clients do not know the length of what they send."""
    content = json.dumps(body("say:one")).encode()
    with raw_connection(server, "say:zero") as connection:
        read_until(connection, b"zero")
        connection.sendall(chunked_request(content[:9], content[9:]))
        read_until(connection, b"one")
        connection.sendall(http_request("say:two"))
        assert read_until(connection, b"two").startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_waits_to_be_asked_is_asked(server):
    """Some send a large body only when they are told to go on."""
    head, _, content = http_request("say:one").partition(b"\r\n\r\n")
    with raw_connection(server, "say:zero") as connection:
        read_until(connection, b"zero")
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(content)
        assert read_until(connection, b"one").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "junk",
    [
        chunked_request(b"{}", end=b"x\r\n\r\n"),
        chunked_request(end=b"-1\r\n\r\n"),
        chunked_request(end=b"fffffff\r\n\r\n"),
        chunked_request(end=b"1" * 70_000),
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    ],
    ids=["no number", "negative", "too large", "endless", "too long"],
)
def test_a_body_without_a_sensible_length_is_hung_up_on(server, junk):
    """What would have to be kept for ever is not read."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(junk)
        read_all(connection)
    assert server.requests == ()


@pytest.mark.parametrize("model", ["endless", "big", "bomb", "header", "echo"])
def test_a_client_that_does_not_read_is_reset(model):
    """Nobody holds a thread of the server's for ever: what stays unread for too long is given up."""
    prompt = "word " * 2_000_000 if model == "echo" else "word"
    with FaultServer(patience=0.05) as server, raw_connection(server, model, prompt=prompt):
        assert server.wait_received()
        assert server.wait_unconnected(10)
        assert (server.requests[0].answered, server.requests[0].closed) == (False, False)
