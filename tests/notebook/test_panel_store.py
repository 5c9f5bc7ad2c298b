"""Two notebooks on one store: what an operator does in one panel, the other notebook has."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.notebook.conftest import SETUP
from tests.notebook.kernel import Kernel

SHARE = """\
from llm_failover_nb.notebook.magic import state_of
import asyncio, json
p = fo.panel()
fo.use_store('sqlite:///{path}')

async def until(shown):
    \"\"\"Wait for the panel to show something, as it is published.\"\"\"
    for _ in range(1000):
        rows = {{row['spec']: row for row in p.board['models']}}
        if shown(rows):
            return rows
        await asyncio.sleep(0.01)
    raise TimeoutError(rows)
"""


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Kernel]]:
    """Two kernels that share their benches."""
    path = (tmp_path_factory.mktemp("store") / "benches.db").as_posix()
    with Kernel() as first, Kernel() as second:
        for kernel in (first, second):
            kernel.run(SETUP)
            assert kernel.run(SHARE.format(path=path)).error == ""
        yield first, second


def test_panel_says_with_whom_benches_are_shared(notebooks: tuple[Kernel, Kernel]) -> None:
    """By the store's address."""
    assert "benches.db" in notebooks[0].run("p._desk.board()['store']").text


def test_edit_in_one_panel_is_in_the_others_panel(notebooks: tuple[Kernel, Kernel]) -> None:
    """A bench, then the lift, each without a cell that asks for it."""
    first, second = notebooks
    first.run("%llm chain prod = sim/503, sim/echo")
    message = {"protocol": 1, "id": "a", "spec": "sim/echo", "edited": "0"}
    bench = json.dumps(message | {"command": "bench", "for": 300})
    assert "'outcome': 'done'" in first.run(f"p._answer(json.loads({bench!r}))").text
    seen = second.run("(await until(lambda rows: 'sim/echo' in rows))['sim/echo']['state']")
    assert seen.text == "'manual'"
    lifted = second.run("fo.unbench_model('sim/echo')")
    back = first.run(
        "rows = await until(lambda rows: rows.get('sim/echo', {}).get('state') == 'ready')\n"
        "rows['sim/echo']['state']"
    )
    assert (lifted.text, back.text) == ("True", "'ready'")


def test_waiting_call_moves_on_when_another_notebook_benches_its_model(
    notebooks: tuple[Kernel, Kernel],
) -> None:
    """The operator may sit at another notebook."""
    first, second = notebooks
    first.run(
        "from llm_failover_nb.testing import FaultServer\nserver = FaultServer().start()\n"
        "fo.register_provider('srv', base_url=server.url)\n"
        "task = asyncio.create_task(fo.parse_chain('srv/silent, sim/echo').acomplete('hi'))\n"
        "while not any(call.attempt for call in fo.list_running()): await asyncio.sleep(0.01)"
    )
    second.run("process_benches.bench('srv/silent')")
    assert first.run("(await asyncio.wait_for(task, 20)).model").text == "'sim/echo'"
    second.run("process_benches.unbench('srv/silent')")
    first.run("server.close()")


def test_edit_that_another_notebook_made_since_makes_what_was_seen_stale(
    notebooks: tuple[Kernel, Kernel],
) -> None:
    """As an edit of the same notebook does."""
    first, second = notebooks
    edited = first.run(
        "print(next(r for r in p._desk.board()['models'] if r['spec'] == 'sim/echo')['edited'])"
    )
    second.run("process_benches.bench('sim/echo', for_=60)")
    first.run("_ = await until(lambda rows: rows['sim/echo']['state'] == 'manual')")
    message = {"protocol": 1, "id": "a", "command": "lift", "spec": "sim/echo", "edited": edited.text.strip()}
    reply = first.run(f"p._answer(json.loads({json.dumps(message)!r}))").text
    assert "look at it again" in reply
