"""Proxies and certificates as the environment names them, over real sockets; and what is this machine."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

import httpcore
import httpx
import pytest

from llm_failover_nb.engine.errors import ErrorKind
from llm_failover_nb.engine.secret import MASK, redact
from llm_failover_nb.engine.types import Request
from llm_failover_nb.providers.environment import is_loopback, proxy_for, ssl_context_for
from llm_failover_nb.providers.http import HTTPProvider
from tests.conftest import REQUIRE_ALL
from tests.providers.calls import KEY, Driver, error_of, provider, refused_url, request
from tests.providers.raw_server import ANSWER, Connection, RawServer, Script, answering, http, once, sending


@pytest.fixture(autouse=True)
def _environment_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies and certificates of whoever runs the tests are none of theirs."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUEST_METHOD"):
            monkeypatch.delenv(name)


# Proxies


def test_a_proxy_of_the_environment_is_used(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is honoured, and asked for the whole URL."""
    proxy = serve(answering(http(ANSWER)))
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    made = provider("http://model.test/v1", allow_http=True)
    answer = driver.complete(made, request())
    made.close()
    assert answer.text == "hello"
    assert proxy.requests[0].line == "POST http://model.test/v1/chat/completions HTTP/1.1"


def test_a_proxy_that_refuses_is_a_failed_connection(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel that is not granted is no answer of the provider's."""
    proxy = serve(once(sending(http(b"", "403 Forbidden"))))
    monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1"))
    made = provider("https://model.test/v1")
    error = error_of(lambda: driver.complete(made, request()))
    made.close()
    assert (error.reason, error.kind) == ("connection", ErrorKind.TRANSIENT)
    assert proxy.requests[0].line == "CONNECT model.test:443 HTTP/1.1"
    assert "authorization" not in proxy.requests[0].headers


def test_loopback_is_never_proxied(
    driver: Driver, ask: Callable[..., HTTPProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local server is asked directly, and its key stays on the machine."""
    monkeypatch.setenv("http_proxy", refused_url().removesuffix("/v1"))
    assert driver.complete(ask(answering(http(ANSWER))), request()).text == "hello"


ONE, TWO = "http://127.0.0.1:3128", "http://127.0.0.1:3129"

PROXIES = [
    {"HTTP_PROXY": ONE},
    {"http_proxy": ONE, "HTTP_PROXY": TWO},
    {"HTTPS_PROXY": ONE},
    {"https_proxy": "127.0.0.1:3128"},
    {"ALL_PROXY": ONE},
    {"all_proxy": ONE, "https_proxy": TWO},
    {"HTTP_PROXY": "", "ALL_PROXY": ONE},
    {"FTP_PROXY": ONE},
]

EXCEPTIONS = [
    "", " ", "*", "other.test,*", "model.test", "MODEL.test", ".model.test", "*.model.test", "*model.test",
    " a.test , model.test ", "test", ".test", "model.test.", "model.test:8080", "model.test:443",
    "http://model.test", "https://model.test", "all://model.test", "https://model.test:8080",
    "10.1.2.3", "10.1.2.3:8080", "10.0.0.0/8", "10.1.2.3/32", "2001:db8::1", "localhost", "sub.model.test",
]  # fmt: skip

ADDRESSES = [
    "http://model.test/v1", "https://model.test/v1", "http://model.test:8080/v1", "https://model.test:8080",
    "https://sub.model.test", "https://a.sub.model.test:8080", "https://amodel.test", "https://model.test.org",
    "http://10.1.2.3", "http://10.1.2.3:8080", "http://10.0.0.0", "https://[2001:db8::1]",
]  # fmt: skip


def proxy_of_httpx(url: str) -> str | None:
    """The proxy over which ``httpx.Client`` would ask ``url`` now."""
    with httpx.Client(verify=False) as client:
        pool = client._transport_for_url(httpx.URL(url))._pool  # type: ignore[attr-defined]
    if not isinstance(pool, httpcore.HTTPProxy):
        return None
    return bytes(pool._proxy_url).decode().rstrip("/")


@pytest.mark.parametrize("proxies", PROXIES, ids=", ".join)
def test_proxies_are_those_of_httpx(monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str]) -> None:
    """For every scheme, in either case."""
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    assert {url: proxy_for(httpx.URL(url)) for url in ADDRESSES} == {
        url: proxy_of_httpx(url) for url in ADDRESSES
    }


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("exceptions", EXCEPTIONS)
def test_exceptions_from_proxies_are_those_of_httpx(
    monkeypatch: pytest.MonkeyPatch, variable: str, exceptions: str
) -> None:
    """Hosts, what is below them, ports, addresses: what httpx makes of them, and not what others do."""
    monkeypatch.setenv("ALL_PROXY", ONE)
    monkeypatch.setenv(variable, exceptions)
    assert {url: proxy_for(httpx.URL(url)) for url in ADDRESSES} == {
        url: proxy_of_httpx(url) for url in ADDRESSES
    }


@pytest.mark.parametrize("exceptions", ["[::1]", "fe80::/10", "model.test:port"])
def test_what_httpx_cannot_read_excepts_nobody(monkeypatch: pytest.MonkeyPatch, exceptions: str) -> None:
    """Where httpx would make no client at all, the rest of the list still holds."""
    monkeypatch.setenv("ALL_PROXY", ONE)
    monkeypatch.setenv("NO_PROXY", f"{exceptions},other.test")
    assert proxy_for(httpx.URL("https://model.test")) == ONE
    assert proxy_for(httpx.URL("https://other.test")) is None


PASSWORD = "p:ss/w rd-canary-€"
USER_INFO = "us%40er:p%3Ass%2Fw%20rd-canary-%E2%82%AC"


def test_a_proxys_password_goes_to_the_proxy(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As httpx.Client sends it, and from then on it is masked."""
    proxy = serve(answering(http(ANSWER)))
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("//", f"//{USER_INFO}@"))
    made = provider("http://model.test/v1", allow_http=True)
    driver.complete(made, request())
    made.close()
    with httpx.Client(verify=False) as client:
        client.post("http://model.test/v1/chat/completions")
    ours, theirs = (received.headers["proxy-authorization"] for received in proxy.requests)
    assert ours == theirs
    assert redact(f"refused {PASSWORD} {ours}").count(MASK) == 2


@pytest.mark.parametrize("proxy", ["socks5://user:hunter2-canary@127.0.0.1:1", "ftp://u:hunter2-canary@h"])
def test_a_proxy_that_cannot_be_used_is_named(
    call: Callable[[HTTPProvider, Request], object], monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """By its kind, without its password, and as something that somebody has to mend."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("https_proxy", proxy)
    error = error_of(lambda: call(provider("https://model.test/v1"), request()))
    assert (error.reason, error.kind) == ("connection", ErrorKind.AUTH_DEAD)
    assert f"for model.test ({proxy.partition(':')[0]}://…) cannot be used" in error.message
    assert "canary" not in error.message


# Certificates


@dataclass(frozen=True)
class Certificate:
    """A certificate that nobody knows, for 127.0.0.1 and model.test, and a server's context with it."""

    file: FilePath
    folder: FilePath
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Made anew for each run."""
    if (openssl := shutil.which("openssl")) is None:
        reason = "there is no program named openssl: apt-get install openssl"
        pytest.fail(reason) if os.environ.get(REQUIRE_ALL) == "1" else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("certificates")
    file, key = folder / "certificate.pem", folder / "key.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:model.test"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", file, "-days", "2", "-subj", "/CN=tests", "-addext", names],
        check=True, capture_output=True,
    )  # fmt: skip
    named = subprocess.run(
        [openssl, "x509", "-hash", "-noout", "-in", file], check=True, capture_output=True, text=True
    )
    (folder / f"{named.stdout.strip()}.0").write_bytes(file.read_bytes())  # as SSL_CERT_DIR wants it
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, folder, context)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_of_the_environment_are_trusted(
    call: Callable[[HTTPProvider, Request], object],
    serve: Callable[..., RawServer],
    monkeypatch: pytest.MonkeyPatch,
    certificate: Certificate,
    variable: str,
) -> None:
    """A network's own CA, from a file or a folder; the key goes over the encrypted connection."""
    server = serve(answering(http(ANSWER)), certificate.context)
    monkeypatch.setenv(variable, str(certificate.file if variable == "SSL_CERT_FILE" else certificate.folder))
    made = provider(server.url)
    assert call(made, request()) is not None
    made.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_that_is_not_trusted_is_told(
    call: Callable[[HTTPProvider, Request], object],
    serve: Callable[..., RawServer],
    monkeypatch: pytest.MonkeyPatch,
    certificate: Certificate,
    host: str,
) -> None:
    """Whether nobody knows it or it is somebody else's; with what to do, and before any key is sent."""
    if host == "localhost":  # the certificate is known, but not for this name
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    server = serve(answering(http(ANSWER)), certificate.context)
    made = provider(server.url.replace("127.0.0.1", host))
    error = error_of(lambda: call(made, request()))
    made.close()
    assert (error.reason, error.kind) == ("connection", ErrorKind.TRANSIENT)
    assert error.message.startswith(f"the certificate of {host} is not trusted: ")
    assert ("SSL_CERT_FILE" in error.message, server.requests) == (True, [])


def test_a_proxys_tunnel_is_encrypted_end_to_end(
    driver: Driver,
    serve: Callable[..., RawServer],
    monkeypatch: pytest.MonkeyPatch,
    certificate: Certificate,
) -> None:
    """HTTPS_PROXY makes a tunnel: the proxy gets its password and the name of the host, and nothing else."""
    server = serve(answering(http(ANSWER)), certificate.context)

    def tunnel(connection: Connection) -> None:
        connection.request()
        connection.tunnel(server.port)

    proxy = serve(tunnel)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/v1").replace("//", f"//{USER_INFO}@"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    made = provider("https://model.test/v1")
    answers = [driver.complete(made, request()).text for _ in range(2)]
    made.close()
    (connect, *_) = proxy.requests
    assert answers == ["hello", "hello"]
    assert connect.line == "CONNECT model.test:443 HTTP/1.1"
    assert connect.headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in connect.headers
    assert [received.headers["authorization"] for received in server.requests] == [f"Bearer {KEY}"] * 2


def test_unreadable_certificates_are_named(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong SSL_CERT_FILE is an error that names it."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error = error_of(lambda: driver.complete(provider("https://127.0.0.1:9/v1"), request()))
    assert (error.kind, "/nowhere/ca.pem" in error.message) == (ErrorKind.AUTH_DEAD, True)


def test_the_ssl_context_is_shared() -> None:
    """Certificates are loaded once for all providers."""
    first, second = (ssl_context_for(httpx.URL(f"https://{host}")) for host in "ab")
    assert first is second


# This machine

HERE = ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "localhost", "localhost.", "dev.localhost",
        "a.b.localhost."]  # fmt: skip
ELSEWHERE = [
    "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001",
    "localhost.evil.test", "127.0.0.1.evil.test", "evil-localhost", "localhost..", "",
]  # fmt: skip


@pytest.mark.parametrize(("host", "expected"), [*((h, True) for h in HERE), *((h, False) for h in ELSEWHERE)])
def test_what_is_this_machine(host: str, expected: bool) -> None:
    """By an address as it is usually written, or a name in the tree of localhost."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["dev.localhost", "localhost."])
def test_names_of_this_machine_are_asked_of_nobody(
    driver: Driver, serve: Callable[[Script], RawServer], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """What the network says of them does not matter; the server is told the name that was asked for."""
    server = serve(answering(http(ANSWER)))
    made = provider(server.url.replace("127.0.0.1", host))
    look_up = socket.getaddrinfo
    asked_for: list[object] = []

    def noted(host: object, *rest: object, **named: object) -> list[object]:
        asked_for.append(host)
        return look_up("127.0.0.1", *rest, **named)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    answer = driver.complete(made, request())
    made.close()
    assert (answer.text, set(asked_for) - {"127.0.0.1"}) == ("hello", {"localhost"})
    assert server.requests[0].headers["host"].startswith(host)
