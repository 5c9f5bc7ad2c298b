"""Lists of models: known at once or later, asked for once, and never a reason to wait or to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.types import Request, Response
from llm_failover_nb.notebook.catalogue import KEPT, RETRIED_AFTER, Catalogue
from llm_failover_nb.providers.presets import endpoint
from llm_failover_nb.testing import FakeClock, FaultServer, ScriptedProvider


class Listing(ScriptedProvider):
    """Lists what it is told, when it may, and counts how often it was asked."""

    def __init__(self, *names: object, missing: str | None = None) -> None:
        super().__init__("ok")
        self.names: object = names
        self.missing_key = missing
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def models(self) -> object:
        self.asked += 1
        self.may_answer.wait(10)
        if isinstance(self.names, Exception):
            raise self.names
        return self.names


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry() -> SpecRegistry:
    return SpecRegistry()


@pytest.fixture
def catalogue(registry: SpecRegistry, clock: FakeClock) -> Catalogue:
    return Catalogue(registry, clock=clock)


@pytest.fixture
def lab(registry: SpecRegistry) -> Iterator[Callable[..., Listing]]:
    """Registers providers of the name ``lab``, and ends what they are asked."""
    made: list[Listing] = []

    def register(*names: object, missing: str | None = None) -> Listing:
        made.append(Listing(*names, missing=missing))
        registry.register("lab", made[-1])
        return made[-1]

    yield register
    for each in made:
        each.may_answer.set()


def known(catalogue: Catalogue) -> tuple[str, ...]:
    """What is known once the fetch that this begins, if any, is over."""
    catalogue.models("lab")
    assert catalogue.wait("lab", 10)
    return catalogue.models("lab")


def test_a_list_is_there_after_its_fetch(catalogue: Catalogue, lab: Callable[..., Listing]) -> None:
    """The first question is answered at once, with nothing."""
    provider = lab("a", "b/c")
    provider.may_answer.clear()
    assert catalogue.models("lab") == ()
    provider.may_answer.set()
    assert known(catalogue) == ("a", "b/c")


def test_one_fetch_at_a_time(catalogue: Catalogue, lab: Callable[..., Listing]) -> None:
    """However often Tab is pressed while it lasts."""
    provider = lab("a")
    provider.may_answer.clear()
    for _ in range(5):
        catalogue.models("lab")
    provider.may_answer.set()
    assert (known(catalogue), provider.asked) == (("a",), 1)


def test_a_list_is_kept_for_an_hour(
    catalogue: Catalogue, lab: Callable[..., Listing], clock: FakeClock
) -> None:
    """Then it is asked for anew, and the old one is given meanwhile."""
    provider = lab("a")
    assert known(catalogue) == ("a",)
    provider.names = ("b",)
    clock.advance(KEPT - 1)
    assert (known(catalogue), provider.asked) == (("a",), 1)
    clock.advance(1)
    provider.may_answer.clear()
    assert catalogue.models("lab") == ("a",)
    provider.may_answer.set()
    assert known(catalogue) == ("b",)


def test_a_failure_is_remembered_for_a_minute(
    catalogue: Catalogue, lab: Callable[..., Listing], clock: FakeClock
) -> None:
    """A server that is down is not asked at each Tab."""
    provider = lab()
    provider.names = OSError("down")
    assert (known(catalogue), provider.asked) == ((), 1)
    provider.names = ("a",)
    clock.advance(RETRIED_AFTER - 1)
    assert (known(catalogue), provider.asked) == ((), 1)
    clock.advance(1)
    assert known(catalogue) == ("a",)


def test_a_failure_keeps_the_names_known_before(
    catalogue: Catalogue, lab: Callable[..., Listing], clock: FakeClock
) -> None:
    """They are older, not wrong."""
    provider = lab("a")
    assert known(catalogue) == ("a",)
    provider.names = OSError("down")
    clock.advance(KEPT)
    assert (known(catalogue), provider.asked) == (("a",), 2)


def test_without_its_key_nobody_is_asked(catalogue: Catalogue, lab: Callable[..., Listing]) -> None:
    """And as soon as the key is there, the provider is."""
    provider = lab("a", missing="LAB_KEY")
    assert (known(catalogue), provider.asked) == ((), 0)
    provider.missing_key = None
    assert known(catalogue) == ("a",)


def test_a_provider_registered_anew_has_its_own_list(
    catalogue: Catalogue, lab: Callable[..., Listing]
) -> None:
    """The names of the one before are not its own."""
    lab("a")
    assert known(catalogue) == ("a",)
    lab("b").may_answer.clear()
    assert catalogue.models("lab") == ()


@pytest.mark.parametrize("listed", [None, 7, object(), {"a b": 1}, [None, 7, "a b", "a,b"]])
def test_a_hostile_list_gives_nothing(
    catalogue: Catalogue, lab: Callable[..., Listing], listed: object
) -> None:
    """Whatever somebody's provider says its models are."""
    lab().names = listed
    assert known(catalogue) == ()


def test_a_name_that_nobody_has_has_no_models(catalogue: Catalogue) -> None:
    """It is no error."""
    assert catalogue.models("nobody") == ()


def test_a_provider_without_a_list_has_no_models(catalogue: Catalogue, registry: SpecRegistry) -> None:
    """Two methods are enough to be one."""

    class Plain:
        def complete(self, request: Request, /) -> Response:
            return Response("ok")

        def stream(self, request: Request, /) -> Iterator[object]:
            yield from ()

    registry.register("lab", Plain())
    assert known(catalogue) == ()


def test_what_this_process_knows_is_there_at_once(catalogue: Catalogue) -> None:
    """No thread, no second Tab."""
    assert "echo" in catalogue.models("sim")


def test_a_server_is_asked_over_its_socket(catalogue: Catalogue, registry: SpecRegistry) -> None:
    """The names are those of its list."""
    with FaultServer() as server:
        provider = endpoint("lab", base_url=server.url)
        registry.register("lab", provider)
        assert known(catalogue) == ("echo", "503x2+echo", "429:5", "silent", "cut:40")
        provider.close()
