"""``%llm nest`` in real kernels, one for each test that patches: a patch is for good."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llm_failover_nb.notebook.nest import NestError, kind_of, nest, patched_by
from llm_failover_nb.testing import FaultServer
from tests.notebook.kernel import Kernel, client

SETUP = """\
%load_ext llm_failover_nb
import asyncio
import llm_failover_nb as fo
from llm_failover_nb.notebook.nest import nest
"""
NEST = "print(nest(get_ipython()))"
RUN = "asyncio.run(asyncio.sleep(0, 'ran'))"

IN_A_KERNEL = cast("InteractiveShell", SimpleNamespace(kernel=object()))


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel() as running:
        assert running.run(SETUP).error == ""
        yield running


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def nested_in(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> str:
    """What ``nest`` says inside such a loop."""

    async def ask() -> str:
        return nest(IN_A_KERNEL)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(ask())


def patched_loop(by: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """A loop with the marks that the two packages leave."""

    def run_until_complete(self: asyncio.SelectorEventLoop, future: object) -> object:
        return asyncio.SelectorEventLoop.run_until_complete(self, future)  # type: ignore[arg-type]  # as given

    run_until_complete.__module__ = by
    marks = {"_nest_patched": True, "run_until_complete": run_until_complete}
    return type("Patched", (asyncio.SelectorEventLoop,), marks)


class ForeignLoop(asyncio.AbstractEventLoop):
    """Of a package that is not asyncio, as uvloop's is: a loop of C that is asyncio's in name alone."""

    __module__ = "uvloop.loop"


# In a kernel


def test_asyncio_run_works_after_it(kernel: Kernel) -> None:
    """A cell may run a coroutine, which it could not before."""
    before = kernel.run("call = asyncio.sleep(0)\ntry:\n    asyncio.run(call)\nfinally:\n    call.close()")
    said = kernel.run(NEST).text

    assert before.error_name == "RuntimeError"
    assert said.startswith("nest_asyncio2 has patched the loop, until the kernel restarts")
    assert kernel.value(RUN) == "'ran'"


def test_a_second_call_has_nothing_to_do(kernel: Kernel) -> None:
    """It says that all is done, and all goes on."""
    kernel.run(NEST)

    assert kernel.run(NEST).text.startswith("done already: nest_asyncio2 has patched the loop")
    assert kernel.value(RUN) == "'ran'"


def test_queued_cells_run_in_their_order() -> None:
    """Run All goes on past cells that nest, await and ask a model."""
    cells = [
        f"{SETUP}order = []",
        NEST,
        "order.append(asyncio.run(asyncio.sleep(0.01, 'nested')))",
        "%%llm chain=sim/echo out=answer\nhello",
        "order.append(answer.text)",
        "order.append(await asyncio.sleep(0.01, 'awaited'))",
        "order.append(asyncio.run(asyncio.sleep(0, 'nested again')))",
    ]
    notebook = client()
    with notebook.setup_kernel():
        # All are sent before the first is answered, as Run All does.
        sent = [notebook.kc.execute(source, user_expressions={"order": "order"}) for source in cells]
        replies = [notebook.wait_for_reply(message)["content"] for message in sent]

    order = "['nested', 'hello', 'awaited', 'nested again']"
    assert [reply["status"] for reply in replies] == ["ok"] * len(cells)
    assert replies[-1]["user_expressions"]["order"]["data"]["text/plain"] == order


def test_interrupt_of_a_model_that_is_asked(kernel: Kernel, server: FaultServer) -> None:
    """A cell that waits on silence still ends, and its request is closed."""
    kernel.run(f"fo.register_provider('lab', base_url={server.url!r})")
    kernel.run(NEST)
    with kernel.interrupted_when(server.wait_received):
        cell = kernel.run("%%llm chain=lab/silent,sim/echo\nhi")

    assert cell.error_name == "KeyboardInterrupt"
    assert server.wait_closed()
    assert kernel.value("1 + 1") == "2"


def test_interrupt_of_asyncio_run(kernel: Kernel) -> None:
    """What waits nested ends too, and the kernel goes on."""
    kernel.run(NEST)
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)
        # The nested loop begins with what the kernel has left to do, in which an interrupt may be lost. It
        # ticks, for one that comes just before a loop waits is slept through, nested or not.
        kernel.run(f"""
import socket
async def wait():
    for _ in range(10):
        await asyncio.sleep(0.02)
    socket.create_connection({door.getsockname()!r}).close()
    while True:
        await asyncio.sleep(0.05)
""")

        def waits() -> bool:
            door.accept()[0].close()
            return True

        with kernel.interrupted_when(waits):
            cell = kernel.run("asyncio.run(wait())")

    assert cell.error_name == "KeyboardInterrupt"
    assert kernel.value(RUN) == "'ran'"


def test_synchronous_calls_on_asynchronous_providers_go_on(kernel: Kernel) -> None:
    """The package's own loop starts after the patch as it does before."""
    kernel.run(NEST)
    kernel.run("""
class Late:
    async def acomplete(self, request):
        await asyncio.sleep(0)
        return fo.Response(text="late")
    async def astream(self, request):
        yield fo.Chunk(text="late")
fo.register_provider("late", Late())
""")

    assert kernel.run("%%llm chain=late/x\nhi").text.startswith("late")
    assert kernel.value("fo.parse_chain('late/x').complete('hi').text") == "'late'"


# Where it is refused


def test_archived_nest_asyncio_is_refused() -> None:
    """A loop that the archived package has patched is left alone, with the way out."""
    with pytest.raises(NestError) as refused:
        nested_in(patched_loop("nest_asyncio"))

    assert "nest_asyncio has patched the loop already" in str(refused.value)
    assert "restart the kernel, leave nest_asyncio.apply() out and run  %llm nest" in str(refused.value)


def test_a_patch_of_somebody_else_is_refused() -> None:
    """So is one of a package that nobody has heard of."""
    with pytest.raises(NestError, match="renested has patched the loop already, and a second patch"):
        nested_in(patched_loop("renested"))


def test_a_patch_of_its_own_kind_is_enough() -> None:
    """What nest_asyncio2 has patched, for whomever, is not patched again."""
    assert nested_in(patched_loop("nest_asyncio2")).startswith("done already")


def test_asyncio_patched_by_the_archived_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of asyncio that it has replaced are enough for a refusal, whatever the loop."""
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    run = lambda main: None  # noqa: E731  # stands for the package's
    run.__module__ = "nest_asyncio"
    monkeypatch.setattr(asyncio, "run", run)

    with pytest.raises(NestError, match="nest_asyncio has patched"):
        nested_in(asyncio.SelectorEventLoop)


def test_asyncio_patched_by_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """After nest_asyncio2 another loop is still to be patched."""
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    run = lambda main: None  # noqa: E731  # likewise
    run.__module__ = "nest_asyncio2"
    monkeypatch.setattr(asyncio, "run", run)
    with asyncio.Runner() as runner:
        assert patched_by(runner.get_loop()) is None


def test_uvloop_is_refused() -> None:
    """A loop that is not Python cannot be patched, and the message names it."""
    loop = ForeignLoop()
    asyncio._set_running_loop(loop)
    try:
        with pytest.raises(NestError, match="this kernel is uvloop's, which cannot be patched: await the"):
            nest(IN_A_KERNEL)
    finally:
        asyncio._set_running_loop(None)

    assert kind_of(loop) == "uvloop"


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra it says what to install."""
    monkeypatch.setitem(sys.modules, "nest_asyncio2", None)

    with pytest.raises(NestError, match=r"run  %pip install 'llm-failover-nb\[nest\]'"):
        nested_in(asyncio.SelectorEventLoop)


def test_terminal_needs_none() -> None:
    """In a terminal no loop runs, so there is nothing to patch, and asyncio.run works."""
    source = f"import asyncio\nfrom llm_failover_nb.notebook.nest import nest\n{NEST}\nprint({RUN})"
    command = [sys.executable, "-m", "IPython", "--quick", "--no-banner", "--colors=NoColor", "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.splitlines() == [
        "nothing to do: in a terminal no event loop runs while a cell does, so asyncio.run works as it is",
        "ran",
    ]


def test_the_subcommand() -> None:
    """It lets ``asyncio.run`` work in a cell, and ``%%llm`` cells go on; a second time it says so."""
    with Kernel() as kernel:
        kernel.run("%load_ext llm_failover_nb\nimport asyncio\nasync def three(): return 3")
        before = kernel.run("asyncio.run(three())").error_name
        said = kernel.run("%llm nest").text
        after = kernel.value("asyncio.run(three())")
        cell = kernel.run("%%llm chain=sim/503,sim/say:yes retries=1\nhi")
        again = kernel.run("%llm nest").text

    assert (before, after) == ("RuntimeError", "3")
    assert "asyncio.run works in a cell now" in said
    assert "answered by sim/say:yes after sim/503 failed" in cell.text
    assert again != said
