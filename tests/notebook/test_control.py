"""The subcommands of ``%llm`` in a real kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llm_failover_nb.notebook import magic
from llm_failover_nb.notebook.arguments import KEYS
from llm_failover_nb.notebook.commands import COMMANDS
from llm_failover_nb.testing import FaultServer
from tests.notebook.kernel import Cell, Kernel

# %llm


def test_bench_for_a_while(kernel: Kernel) -> None:
    """A bench says until when it holds."""
    cell = kernel.run("%llm bench sim/echo 10m")

    assert cell.text.startswith("sim/echo: benched by hand until ")
    assert ", 10 min left" in cell.text
    assert kernel.value("[(b.model, b.manual) for b in fo.list_benched()]") == "[('sim/echo', True)]"


def test_bench_for_no_time_worth_telling(kernel: Kernel) -> None:
    """A bench may be over before it can be told of."""
    assert kernel.run("%llm bench sim/echo 0.0000001").text == "sim/echo: benched, and the time is over\n"


@pytest.mark.parametrize("words", ["", "forever"])
def test_bench_until_lifted(kernel: Kernel, words: str) -> None:
    """Without a duration, and with forever, it holds until lifted."""
    cell = kernel.run(f"%llm bench sim/echo {words}")

    assert cell.text == "sim/echo: benched by hand until lifted\n"


def test_unbench(kernel: Kernel) -> None:
    """Lifting a bench says so."""
    kernel.run("%llm bench sim/echo")

    assert kernel.run("%llm unbench sim/echo").text == "sim/echo: no longer benched\n"
    assert kernel.value("fo.list_benched()") == "[]"


def test_unbench_of_no_bench(kernel: Kernel) -> None:
    """Where there is none, the nearest one is named, and the notebook goes on."""
    kernel.run("%llm bench sim/echo")
    cell = kernel.run("%llm unbench sim/ecko")

    assert cell.text == "sim/ecko: was not benched; did you mean sim/echo?\n"


def test_bench_of_an_alias(kernel: Kernel) -> None:
    """An alias stands for the models that it names."""
    kernel.run("from llm_failover_nb.engine.chain import process_registry")
    kernel.run("process_registry.alias('pair', 'sim/503,sim/echo')")
    kernel.run("%llm bench pair 1h")

    assert kernel.value("[b.model for b in fo.list_benched()]") == "['sim/503', 'sim/echo']"


def test_status(kernel: Kernel) -> None:
    """The status lists the default chain, and benches outside of it."""
    kernel.run("%llm bench sim/503 10m")
    cell = kernel.run("%llm")

    assert cell.kinds == ["display_data"]
    assert "sim/echo: ready" in cell.text
    assert "sim/503: benched by hand until " in cell.text
    assert "not in this chain" in cell.html


def test_events_are_a_frame(kernel: Kernel) -> None:
    """The events are the cell's value, a DataFrame."""
    kernel.run("%%llm chain=sim/503,sim/echo\nhi")
    cell = kernel.run("%llm events")

    assert cell.kinds == ["execute_result"]
    assert kernel.value("type(_).__name__, _.outcome.iloc[-1]") == "('DataFrame', 'ok')"


def test_help(kernel: Kernel) -> None:
    """The help names each key and each subcommand."""
    text = kernel.run("%llm help").text
    words = [f"{key.name}=" for key in KEYS] + [f"%llm {command.name}".strip() for command in COMMANDS]

    assert [word for word in words if word not in text] == []


# %llm models


def test_models(kernel: Kernel, settings: Path) -> None:
    """Providers, aliases, local models and the default chain, with what is missing and without asking."""
    settings.write_text(
        "chain = 'quick'\n[aliases]\nquick = 'sim/echo'\n[local.models]\nqwen = 'q.gguf'\n"
        "[providers.desk]\nbase_url = 'https://llm.example.org/v1'\nkey_env = 'DESK_KEY_OF_NOBODY'\n",
        encoding="utf-8",
    )
    cell = kernel.run("%llm models")
    lines = [line.split() for line in cell.text.splitlines()]

    assert cell.kinds == ["display_data"]
    for line in (
        "○ openai/MODEL api.openai.com set OPENAI_API_KEY",
        "○ desk/MODEL llm.example.org (settings) set DESK_KEY_OF_NOBODY",
        "● quick sim/echo ready",
        "● sim/echo ready",
    ):
        assert line.split() in lines
    assert "local/qwen" in cell.html
    assert kernel.value("len(process_log)") == "0"


def test_models_that_match(kernel: Kernel) -> None:
    """A text shows what holds it alone."""
    cell = kernel.run("%llm models OPENAI")
    named = [line.split()[1] for line in cell.text.splitlines() if line.startswith("  ")]

    assert {"azure/MODEL", "openai/MODEL"} == set(named)


@pytest.mark.parametrize(
    ("text", "hint"), [("opnai", "did you mean openai?"), ("zzzzz", "%llm models alone lists everything")]
)
def test_models_of_which_none_matches(kernel: Kernel, text: str, hint: str) -> None:
    """The nearest names are told, and the notebook goes on."""
    cell = kernel.run(f"%llm models {text}")

    assert (cell.text, cell.error) == (f"nothing matches {text!r}; {hint}\n", "")


# %llm explain


@pytest.fixture
def unfailed(kernel: Kernel) -> Kernel:
    """The kernel, in which nothing has failed as far as the magics know."""
    kernel.run("%reload_ext llm_failover_nb")
    kernel.run("import sys; vars(sys).pop('last_value', None)")
    return kernel


def explained(cell: Cell) -> list[str]:
    """The models that an explanation names, in order."""
    return [line.partition(": ")[0] for line in cell.text.splitlines()[1::2]]


def test_explain_where_nothing_has_failed(unfailed: Kernel) -> None:
    """It says so."""
    assert unfailed.run("%llm explain").text == "nothing has failed yet\n"


def test_explain_a_failed_cell(unfailed: Kernel) -> None:
    """Two lines a model, in the chain's order, those that could not be asked included."""
    number = unfailed.run("%%llm chain=lab/503,openai/gpt-x,lab/auth\nhi").messages
    cell = unfailed.run("%llm explain")

    assert explained(cell) == ["lab/503", "openai/gpt-x", "lab/auth"]
    assert len(cell.text.splitlines()) == 7
    assert cell.text.startswith(f"what failed in cell {executed(number)}\n")
    assert "set OPENAI_API_KEY" in cell.html


def executed(messages: list[dict[str, Any]]) -> int:
    """The number of the cell."""
    (number,) = [m["content"]["execution_count"] for m in messages if m["msg_type"] == "execute_input"]
    return int(number)


def test_explain_a_cell_that_was_answered(unfailed: Kernel) -> None:
    """The models that were left, and who answered; later cells without a failure change nothing."""
    unfailed.run("%%llm chain=lab/503,lab/auth,sim/echo\nhi")
    unfailed.run("%%llm chain=sim/echo\nhi")
    cell = unfailed.run("%llm explain")

    assert explained(cell) == ["lab/503", "lab/auth"]
    assert "before sim/echo answered" in cell.text


def test_explain_an_interrupted_cell(unfailed: Kernel, server: FaultServer) -> None:
    """What had failed until then."""
    with unfailed.interrupted_when(lambda: server.wait_received(2)):
        unfailed.run("%%llm chain=lab/auth,lab/silent\nhi")

    assert explained(unfailed.run("%llm explain")) == ["lab/auth"]


def test_explain_the_last_error(unfailed: Kernel) -> None:
    """Where no model has failed, the error that the notebook stopped at."""
    unfailed.run("int('x')")
    cell = unfailed.run("%llm explain")

    assert cell.text.startswith("the last error of the notebook: ValueError\n")


def test_explain_a_call_in_python(unfailed: Kernel) -> None:
    """What a cell of plain Python ended with is the last failure, also after a %%llm cell that failed."""
    unfailed.run("%%llm chain=sim/503\nhi")
    unfailed.run("fo.parse_chain('sim/401,sim/quota').complete('hi')")
    unfailed.run("int('x')")
    cell = unfailed.run("%llm explain")

    assert cell.text.startswith("what ended the last call in Python: AllModelsFailed\n")
    assert explained(cell) == ["sim/401", "sim/quota"]


def test_unloading_looks_at_no_further_cell(shell: InteractiveShell) -> None:
    """The hook is taken away with the magics, and loading again leaves one."""
    before = len(shell.events.callbacks["post_run_cell"])
    magic.load(shell)
    assert len(shell.events.callbacks["post_run_cell"]) == before
    magic.unload(shell)
    assert len(shell.events.callbacks["post_run_cell"]) == before - 1


def test_explain_a_variable(unfailed: Kernel) -> None:
    """The exception that it holds, whatever has failed since."""
    unfailed.run("try: fo.parse_chain('sim/401').complete('hi')\nexcept fo.FailoverError as e: kept = e")
    unfailed.run("%%llm chain=sim/503\nhi")

    assert explained(unfailed.run("%llm explain kept")) == ["sim/401"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("answer.attempts", "UsageError: answer.attempts is no exception but a tuple"),
        ("answr", "UsageError: 'answr' is not defined; did you mean answer?"),
        ("answer now", "UsageError: 'now' is one word too many: write %llm explain [NAME]"),
    ],
)
def test_explain_what_is_no_failure(kernel: Kernel, line: str, words: str) -> None:
    """One short error."""
    kernel.run("answer = fo.Response()")

    assert kernel.run(f"%llm explain {line}").said.startswith(words)
