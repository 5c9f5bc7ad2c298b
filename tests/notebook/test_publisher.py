"""One publisher: how often it publishes, and that it ends."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from llm_failover_nb.notebook.publisher import Publisher

SOON = 10.0


class Published:
    """Counts publications, and can hold one up."""

    def __init__(self, *again: float | None) -> None:
        self.count = 0
        self.again = list(again)
        self.entered = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

    def __call__(self) -> float | None:
        self.count += 1
        self.entered.release()
        assert self.may_go_on.acquire(timeout=SOON)
        return self.again.pop(0) if self.again else None

    def next(self) -> None:
        """Wait for a publication to begin, and let it end."""
        assert self.entered.acquire(timeout=SOON)
        self.may_go_on.release()


@pytest.fixture
def publishers() -> Iterator[Callable[..., Publisher]]:
    """Makes publishers, and closes them."""
    made: list[Publisher] = []

    def make(publish: Callable[[], float | None], interval: float = 0.0) -> Publisher:
        made.append(Publisher(publish, interval=interval))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()


def test_many_changes_during_one_publication_are_the_next_one(publishers: Callable[..., Publisher]) -> None:
    """Nothing is published twice for nothing, and no change is left out."""
    published = Published()
    publisher = publishers(published)
    publisher.wake()
    assert published.entered.acquire(timeout=SOON)
    for _ in range(1_000):
        publisher.wake()
    published.may_go_on.release()
    published.next()
    assert (published.count, published.entered.acquire(blocking=False)) == (2, False)


def test_publications_keep_their_distance(publishers: Callable[..., Publisher]) -> None:
    """The next one waits, and closing does not wait for it."""
    published = Published()
    publisher = publishers(published, interval=3_600.0)
    publisher.wake()
    published.next()
    publisher.wake()
    publisher.close()
    assert published.count == 1


def test_publication_may_ask_to_be_called_again(publishers: Callable[..., Publisher]) -> None:
    """Without anybody who wakes it."""
    published = Published(0.0)
    publishers(published).wake()
    published.next()
    published.next()
    assert published.count == 2


def test_error_is_logged_and_the_next_change_is_published(
    publishers: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    """One bad moment does not end a panel."""
    published = Published()
    broken = [True]

    def publish() -> float | None:
        if broken:
            broken.clear()
            published.entered.release()
            raise RuntimeError("cannot be shown")
        return published()

    publisher = publishers(publish)
    publisher.wake()
    assert published.entered.acquire(timeout=SOON)
    publisher.wake()
    published.next()
    assert "cannot be shown" in caplog.text


def test_closed_publisher_has_no_thread(publishers: Callable[..., Publisher]) -> None:
    """Nor does one begin again."""
    published = Published()
    publisher = publishers(published)
    publisher.wake()
    published.next()
    publisher.close()
    publisher.wake()
    names = [thread.name for thread in threading.enumerate()]
    assert "llm-failover-panel" not in names


def test_publisher_can_be_closed_from_within(publishers: Callable[..., Publisher]) -> None:
    """It does not wait for itself."""
    ended = threading.Event()

    def publish() -> None:
        publisher.close()
        ended.set()

    publisher = publishers(publish)
    publisher.wake()
    assert ended.wait(SOON)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_forked_process_can_wake_it(publishers: Callable[..., Publisher]) -> None:
    """Whatever the thread held when the process was forked."""
    publisher = publishers(lambda: None)
    with publisher._changed:
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(SOON, exit=True)
            publisher.wake()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
