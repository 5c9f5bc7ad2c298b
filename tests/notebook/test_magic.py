"""``%%llm`` and ``%llm`` in a real kernel, against real sockets where time and closing matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from nbclient.exceptions import CellExecutionError

from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.engine.types import Chunk
from llm_failover_nb.notebook import magic
from llm_failover_nb.notebook.live import Live
from llm_failover_nb.notebook.state import default_choice
from llm_failover_nb.providers import local
from llm_failover_nb.settings import Settings
from llm_failover_nb.testing import FaultServer, ScriptedProvider
from tests.notebook.kernel import Cell, Kernel, client


def displays(cell: Cell) -> list[str]:
    """The kinds of the messages that displayed something, in order."""
    kinds = (message["msg_type"] for message in cell.messages)
    return [kind for kind in kinds if kind in {"display_data", "update_display_data"}]


# Answers


def test_one_final_output(kernel: Kernel) -> None:
    """A cell streams, and then has exactly one output."""
    cell = kernel.run("%%llm chain=sim/echo\nHello, **world**")

    assert cell.kinds == ["display_data"]
    assert displays(cell)[0] == "display_data"
    assert {"update_display_data"} == set(displays(cell)[1:])
    assert "<strong>world</strong>" in cell.html
    assert cell.text.startswith("Hello, **world**\n")


def test_streams_while_it_comes(kernel: Kernel) -> None:
    """Between the first word and the last form, the text that has come is shown."""
    cell = kernel.run("%%llm chain=sim/echo\n" + "many words " * 200)
    updates = [m["content"] for m in cell.messages if m["msg_type"] == "update_display_data"]
    shown = [content["data"]["text/plain"] for content in updates]

    assert any(text and "answered by" not in text for text in shown[:-1])
    assert "answered by sim/echo" in shown[-1]


def test_says_what_is_asked(kernel: Kernel) -> None:
    """Before the first word, the output says which models are asked."""
    cell = kernel.run("%%llm chain=sim/503,sim/echo\nhi")
    first = next(m["content"]["data"]["text/plain"] for m in cell.messages if m["msg_type"] == "display_data")

    assert first == "asking sim/503, then sim/echo …"


def test_footer_names_who_failed_and_why(kernel: Kernel) -> None:
    """After a fallback the footer says so, in HTML and in text."""
    cell = kernel.run("%%llm chain=lab/503,sim/echo\nhi")

    assert "answered by sim/echo after lab/503 failed (overloaded, HTTP 503)" in cell.text
    assert "lab/503 failed (overloaded, HTTP 503)" in cell.html
    assert "3 attempts" in cell.html


def test_footer_names_who_was_passed_by(kernel: Kernel) -> None:
    """Entries that were benched, or have no key, are told."""
    kernel.run("fo.bench_model('sim/503')")
    cell = kernel.run("%%llm chain=sim/503,openai/gpt-x,sim/echo\nhi")

    assert "sim/503 was passed by (benched by hand until lifted)" in cell.text
    assert "openai/gpt-x was passed by (no key: set OPENAI_API_KEY)" in cell.text


def test_restart_replaces_what_was_cut(kernel: Kernel) -> None:
    """An answer that broke off leaves nothing behind, the next model's stands whole."""
    cell = kernel.run("%%llm chain=lab/cut:5,sim/say:whole_answer\nhello, how are you?")

    assert cell.text.startswith("whole answer\n")
    assert "lab/cut:5 failed (the answer broke off)" in cell.text


def test_out_binds_the_response(kernel: Kernel) -> None:
    """``out=`` is the Response, and the cell itself has no value."""
    kernel.run("%%llm chain=sim/echo out=answer\nhi")

    assert kernel.value("isinstance(answer, fo.Response), answer.text") == "(True, 'hi')"


def test_stream_off_is_one_message(kernel: Kernel) -> None:
    """Without streaming there is one display and no update."""
    cell = kernel.run("%%llm chain=sim/echo stream=off\nhi")

    assert displays(cell) == ["display_data"]
    assert "answered by sim/echo" in cell.text


@pytest.mark.parametrize("how", ["", "await_cells=off"])
def test_one_message_where_nobody_watches(kernel: Kernel, how: str) -> None:
    """A program that runs a notebook gets the last form alone: nbval takes the first one for it."""
    cell = kernel.run(f"%%llm chain=sim/503,sim/echo {how}\nhi", attended=False)

    assert displays(cell) == ["display_data"]
    assert "answered by sim/echo" in cell.text


def test_nbval_finds_what_was_saved(tmp_path: Path) -> None:
    """A notebook is compared whole, but for times."""
    notebook = client("%load_ext llm_failover_nb", "%%llm chain=sim/503,sim/echo stream=on\nhi")
    nbformat.write(notebook.execute(), tmp_path / "saved.ipynb")
    (tmp_path / "times.cfg").write_text(
        "[seconds]\nregex: (under )?[0-9.]+ m?s\\b\nreplace: S\n[clock]\nregex: [0-9]+:[0-9:]+\nreplace: C\n"
    )
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with=times.cfg", "-p", "no:cacheprovider"]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "saved.ipynb"],
        cwd=tmp_path, env=here, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert "2 passed" in ended.stdout


def test_capture_keeps_the_last_form(kernel: Kernel) -> None:
    """What ``%%capture`` keeps is shown later, every form of it."""
    kernel.run("%%capture captured\n%%llm chain=sim/echo\nhi")

    assert kernel.value("len(captured.outputs)") == "1"


def test_no_key_in_the_new_cell(shell: InteractiveShell) -> None:
    """The code that ``format=code`` puts below is saved with the notebook, too."""
    key = Secret("sk-canary-5544332212").reveal()
    shell.run_cell(f"%%llm chain=sim/echo format=code\n```python\nkey = '{key}'\n```")

    assert shell.rl_next_input == "key = '********'"


def test_request_fields_reach_the_model(kernel: Kernel, server: FaultServer) -> None:
    """What the line says is what is sent."""
    kernel.run('%%llm chain=lab/echo system="Be brief." temperature=0.5 max_tokens=7\nhi')
    body = server.requests[-1].body

    assert (body["temperature"], body.get("max_tokens") or body.get("max_completion_tokens")) == (0.5, 7)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_braces_in_the_line_are_left_alone(kernel: Kernel, server: FaultServer) -> None:
    """IPython does not expand the magic's own line."""
    kernel.run("name = 'expanded'")
    kernel.run("%%llm chain=lab/echo system={name}\nhi")

    assert server.requests[-1].body["messages"][0] == {"role": "system", "content": "{name}"}


def test_events_name_the_cell(kernel: Kernel) -> None:
    """What a cell records carries its number."""
    cell = kernel.run("%%llm chain=sim/echo\nhi")
    (number,) = [m["content"]["execution_count"] for m in cell.messages if m["msg_type"] == "execute_input"]

    assert f"'{number}'" == kernel.value("list(process_log)[-1].cell")


def test_hostile_answer_is_harmless(kernel: Kernel) -> None:
    """Script in an answer is text, while it streams and at the end."""
    cell = kernel.run("%%llm chain=sim/echo\n<script>alert(1)</script> ![x](https://leak.example/)")
    pages = [m["content"]["data"]["text/html"] for m in cell.messages if "data" in m["content"]]

    assert [page for page in pages if "<script" in page or "<img" in page] == []


def test_observer_of_the_session_is_told(kernel: Kernel) -> None:
    """The session's own observer hears of a cell's failover as well."""
    kernel.run("told = []; fo.set_failover_observer(told.append)")
    kernel.run("%%llm chain=sim/503,sim/echo\nhi")
    told = kernel.value("[event.model for event in told]")
    kernel.run("fo.set_failover_observer(None)")

    assert told == "['sim/503']"


# Lines that are refused


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%%llm cain=sim/echo\nhi", "'cain' is no key of %%llm: did you mean chain?"),
        ("%%llm chain=smi/echo\nhi", "did you mean 'sim'?"),
        ("%%llm chain=,\nhi", "no valid specs"),
        ("%%llm chain=sim/echo\n \n", "the cell asks nothing"),
        ("%llm bnech sim/echo", "did you mean bench?"),
        ("%llm bench", "names no model"),
        ("%llm bench sim/echo soon", "'soon' is no duration"),
        ("%llm bench smi/echo", "did you mean 'sim'?"),
        ("%llm unbench smi/echo", "did you mean 'sim'?"),
    ],
)
def test_refused(kernel: Kernel, source: str, words: str) -> None:
    """A line that cannot be read is one short error, and nothing is asked or benched."""
    cell = kernel.run(source)

    assert cell.said.startswith("UsageError: ")
    assert words in cell.said
    assert kernel.value("len(process_log), fo.list_benched()") == "(0, [])"


def test_refused_stops_nbclient(kernel: Kernel) -> None:
    """Where errors are not allowed, a refused line stops the notebook."""
    with pytest.raises(CellExecutionError):
        client("%load_ext llm_failover_nb", "%%llm cain=sim/echo\nhi", "print(1)").execute()


# Failures


def test_total_failure_lists_each_model(kernel: Kernel) -> None:
    """Each model stands with its reason and what to do in a short error, and how often it was asked above."""
    cell = kernel.run("%%llm chain=lab/503,lab/auth,openai/gpt-x\nhi")

    for words in (
        "lab/503: overloaded, HTTP 503",
        "lab/auth: the key was refused, HTTP 401",
        "openai/gpt-x: passed by, no key: set OPENAI_API_KEY",
    ):
        assert words in cell.error
    assert "check the key" in cell.error
    assert cell.text.startswith(
        "no model answered: 2 failed, 1 passed by\n  lab/503: 3 attempts; benched for"
    )
    assert "lab/503" in cell.html
    assert cell.kinds == ["display_data", "error"]


def test_total_failure_has_no_long_traceback(kernel: Kernel) -> None:
    """The error is a line a model and one more."""
    cell = kernel.run("%%llm chain=sim/503,sim/auth\nhi")

    assert len(cell.error.splitlines()) == 3
    assert "File " not in cell.error


def test_real_exception_is_kept(kernel: Kernel) -> None:
    """What a debugger is given leads to the real exception."""
    kernel.run("%%llm chain=sim/503\nhi")

    assert (
        kernel.value("import sys; error = sys.last_value.__cause__; type(error).__name__, error.specs")
        == "('AllModelsFailed', ('sim/503',))"
    )


@pytest.mark.parametrize("line", ["chain=sim/503", "chain=sim/503 stream=off", "chain=sim/filter"])
def test_failure_unbinds(kernel: Kernel, line: str) -> None:
    """The answer of an earlier run is not left there to be taken for this one's."""
    kernel.run("kept = 'before'")
    kernel.run(f"%%llm {line} out=kept\nhi")

    assert kernel.run("kept").error_name == "NameError"


def test_interrupt_unbinds(kernel: Kernel, server: FaultServer) -> None:
    """So does an interrupt."""
    kernel.run("kept = 'before'")
    with kernel.interrupted_when(server.wait_received):
        kernel.run("%%llm chain=lab/silent out=kept\nhi")

    assert kernel.run("kept").error_name == "NameError"


@pytest.mark.parametrize("source", ["out=kept cain=x\nhi", "out=kept chain=smi/echo\nhi", "out=kept\n \n"])
def test_refused_line_unbinds_nothing(kernel: Kernel, source: str) -> None:
    """A cell that has asked nothing has not replaced anything either."""
    kernel.run("kept = 'before'")
    assert kernel.run(f"%%llm {source}").said.startswith("UsageError")

    assert kernel.value("kept") == "'before'"


def test_failure_without_an_earlier_value(kernel: Kernel) -> None:
    """A name that was never bound is no further error."""
    assert kernel.run("%%llm chain=sim/503 out=never_bound\nhi").error_name == "CellFailed"


@pytest.mark.parametrize("stream", ["on", "off"])
def test_half_a_character(kernel: Kernel, stream: str) -> None:
    """An answer cut within a character is shown and bound; halves in two chunks are one character."""
    kernel.run("from llm_failover_nb.testing import ScriptedProvider")
    kernel.run(r"fo.register_provider('half', ScriptedProvider(['Hi \ud83d', '\ude00! \ud83d']))")
    cell = kernel.run(f"%%llm chain=half/x out=answer stream={stream}\nhi")

    assert cell.error == ""
    assert cell.text.startswith("Hi 😀! \ufffd\n")
    assert "Hi 😀! \ufffd" in cell.html
    assert kernel.value("type(answer).__name__") == "'Response'"


def test_half_a_character_in_an_error(kernel: Kernel) -> None:
    """So is an error, and the log that holds it can be shown, and so can a bench."""
    kernel.run("from llm_failover_nb.testing import ScriptedProvider")
    kernel.run(r"bad = ScriptedProvider(fo.ProviderError('x \ud83d', status=400))")
    kernel.run("fo.register_provider('halferror', bad)")
    cell = kernel.run("%%llm chain=halferror/x\nhi")
    events = kernel.run("%llm events")
    kernel.run(r"fo.bench_model('halferror/\ud83d')")
    status, unbench = kernel.run("%llm"), kernel.run("%llm unbench halferror/y")

    assert "x \ufffd" in cell.error
    assert events.kinds == ["execute_result"]
    assert "halferror/\ufffd: benched" in status.text
    assert "did you mean halferror/\ufffd?" in unbench.text


def test_deadline_keeps_the_partial_text(kernel: Kernel) -> None:
    """What had come when the deadline passed stays above the failure."""
    kernel.run("before = fo.get_failover_defaults().deadline; fo.set_failover_defaults(deadline=0.5)")
    cell = kernel.run("%%llm chain=lab/stall:30\none two three twenty and more that never comes")
    kernel.run("fo.set_failover_defaults(deadline=before)")

    assert cell.error_name == "CellFailed"
    assert cell.error.startswith("DeadlineExceeded: ")
    assert cell.text.startswith("one two three twenty")
    assert "one two three twenty" in cell.html


def test_partial_text_survives_a_failure(kernel: Kernel) -> None:
    """What had come before the last model failed stays above the failure."""
    cell = kernel.run("%%llm chain=lab/cut:5\nhello, how are you?")

    assert cell.text.startswith("hello")
    assert "no model answered" in cell.text


def test_content_filter_is_a_short_error(kernel: Kernel) -> None:
    """A rejection stops the chain, and the error is as short."""
    cell = kernel.run("%%llm chain=sim/filter,sim/echo\nhi")

    assert cell.error.startswith("ProviderError: the prompt was rejected")
    assert "refused by its content filter, HTTP 400" in cell.error


def test_failure_stops_nbclient() -> None:
    """A notebook run without anybody watching stops at the cell, and its error names the model."""
    run = client("%load_ext llm_failover_nb", "%%llm chain=sim/auth\nhi", "print('went on')")
    with pytest.raises(CellExecutionError, match=r"sim/auth: the key was refused, HTTP 401"):
        run.execute()

    assert run.nb.cells[2].outputs == []


# Interrupts


@pytest.fixture(params=["", "await_cells=off"], ids=["awaited", "blocking"])
def how(request: pytest.FixtureRequest) -> str:
    """The two ways in which a cell can run."""
    return str(request.param)


def test_interrupt_of_a_silent_model(kernel: Kernel, server: FaultServer, how: str) -> None:
    """A cell that waits on silence has ended, and its request is closed, within half a second."""
    interrupted_at = []

    def received() -> bool:
        arrived = server.wait_received()
        interrupted_at.append(perf_counter())
        return arrived

    with kernel.interrupted_when(received):
        cell = kernel.run(f"%%llm chain=lab/silent,sim/echo {how}\nhi")
        took = perf_counter() - interrupted_at[0]

    assert cell.error == "KeyboardInterrupt: interrupted before an answer came"
    assert cell.error_name == "KeyboardInterrupt"
    assert "interrupted before an answer came" in cell.text
    assert took < 0.5
    assert server.wait_closed()
    assert (server.requests[-1].closed_at or 0) - interrupted_at[0] < 0.5


def test_interrupt_benches_nothing(kernel: Kernel, server: FaultServer, how: str) -> None:
    """An interrupted attempt is recorded as cancelled and counts as nothing."""
    with kernel.interrupted_when(server.wait_received):
        kernel.run(f"%%llm chain=lab/silent,sim/echo {how}\nhi")
    assert server.wait_closed()

    assert kernel.value("fo.list_benched(), [row.outcome for row in process_log]") == "([], ['cancelled'])"


def test_interrupt_keeps_the_partial_text(kernel: Kernel, server: FaultServer, how: str) -> None:
    """What had come is the final output, marked as partial, and the traceback is one line."""
    kernel.run("""
from llm_failover_nb.notebook.live import Live
def feed(self, chunk, feed=Live.feed):
    feed(self, chunk)
    if "twenty" in self.partial:
        __import__("threading").Thread(target=fo.parse_chain("lab/echo").complete, args=("seen",)).start()
Live.feed = feed
""")
    with kernel.interrupted_when(lambda: server.wait_received(2)):
        cell = kernel.run(f"%%llm chain=lab/stall:30 {how}\none two three twenty and more that never comes")
    kernel.run("Live.feed = feed.__defaults__[0]")

    assert cell.text.startswith("one two three twenty")
    assert "interrupted; partial answer" in cell.text
    assert cell.error == "KeyboardInterrupt: interrupted; partial answer"
    assert server.wait_closed(model="stall:30")


def test_interrupt_without_stream(kernel: Kernel, server: FaultServer, how: str) -> None:
    """The same holds where the answer is not streamed."""
    with kernel.interrupted_when(server.wait_received):
        cell = kernel.run(f"%%llm chain=lab/silent stream=off {how}\nhi")

    assert cell.error_name == "KeyboardInterrupt"
    assert server.wait_closed(timeout=0.5)


def test_kernel_goes_on_after_an_interrupt(kernel: Kernel, server: FaultServer, how: str) -> None:
    """The kernel goes on after an interrupt, with the next cell."""
    with kernel.interrupted_when(server.wait_received):
        kernel.run(f"%%llm chain=lab/silent {how}\nhi")

    assert kernel.run("%%llm chain=sim/echo\nhello").text.startswith("hello\n")


# Notes

NOTING = """
class Noting:
    def __init__(self, *failures):
        self.failures = list(failures)
    key = "one key"
    def dropped(self, request):
        return ("temperature",)
    def stream(self, request):
        if self.failures:
            raise self.failures.pop()
        yield fo.Chunk("fine")
    def complete(self, request):
        raise NotImplementedError
refused = fo.ProviderError("bad key", status=401)
"""


def test_note_of_the_answer(kernel: Kernel) -> None:
    """What the model was asked without stands in the footer."""
    kernel.run(NOTING)
    kernel.run("fo.register_provider('noting', Noting())")
    cell = kernel.run("%%llm chain=noting/x temperature=0.5\nhi")
    note = "asked without temperature, which it does not take"

    assert (cell.text.count(note), cell.html.count(note)) == (1, 1)


def test_note_of_a_failure(kernel: Kernel) -> None:
    """What a failure means for other models stands in its row, in the output and in the short error."""
    kernel.run(NOTING)
    kernel.run("fo.register_provider('noting', Noting(refused, refused))")
    cell = kernel.run("%%llm chain=noting/a,noting/b\nhi")
    note = "benched too, for the same key: noting/b"

    assert [note in shown for shown in (cell.text, cell.html, cell.error)] == [True] * 3


# The default chain


def test_default_chain_says_so(kernel: Kernel) -> None:
    """With nothing chosen and no local model, the cell says who answers and how to choose."""
    cell = kernel.run("%%llm\nhi")

    assert "answered by sim/echo" in cell.text
    assert "no chain is set and no local model is installed, so sim/echo only repeats the prompt" in cell.text
    assert "%%llm chain=provider/model" in cell.html


def test_settings_choose_the_chain(kernel: Kernel, tmp_path: Path) -> None:
    """A chain and an alias of the settings are used, and then nothing is said about the choice."""
    settings = tmp_path / "settings.toml"
    settings.write_text('chain = "quick"\n[aliases]\nquick = "sim/say:from_the_settings"\n', encoding="utf-8")
    kernel.run("import os; before = os.environ['LLM_FAILOVER_NB_SETTINGS']")
    kernel.run(f"os.environ['LLM_FAILOVER_NB_SETTINGS'] = {str(settings)!r}")
    cell = kernel.run("%%llm\nhi")
    kernel.run("os.environ['LLM_FAILOVER_NB_SETTINGS'] = before")

    assert cell.text.startswith("from the settings\n")
    assert "no chain is set" not in cell.text


def test_default_chain_is_local_where_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the local model installed it answers, and the note says what it is."""
    monkeypatch.setattr(local, "available", lambda: True)
    choice = default_choice(Settings())

    assert choice.chain == "local/smollm2"
    assert "a small model on this machine" in choice.note


def test_provider_of_the_settings(kernel: Kernel, settings: Path, server: FaultServer) -> None:
    """It is asked like any other; an edited file counts from the next cell on."""
    settings.write_text(f"[providers.desk]\nbase_url = '{server.url}'\n", encoding="utf-8")
    first = kernel.run("%%llm chain=desk/echo\nhi")
    settings.write_text("[providers.desk]\nbase_url = 'http://127.0.0.1:9/v1'\n", encoding="utf-8")
    second = kernel.run("%%llm chain=desk/echo,sim/echo\nhi")

    assert "answered by desk/echo" in first.text
    assert "answered by sim/echo after desk/echo failed (no connection)" in second.text


def test_provider_gone_from_the_settings(kernel: Kernel, settings: Path, server: FaultServer) -> None:
    """With the next cell its name is nobody's."""
    settings.write_text(f"[providers.desk]\nbase_url = '{server.url}'\n", encoding="utf-8")
    assert kernel.run("%%llm chain=desk/echo\nhi").error == ""
    settings.write_text("", encoding="utf-8")

    assert "unknown provider 'desk'" in kernel.run("%%llm chain=desk/echo\nhi").said


def test_settings_that_cannot_be_used(kernel: Kernel, settings: Path) -> None:
    """One short error, with the file and the line."""
    settings.write_text("[providers.desk]\nkey_env = 'DESK_KEY'\n", encoding="utf-8")

    assert kernel.run("%%llm chain=sim/echo\nhi").said == (
        f"UsageError: {settings}, line 1: providers.desk has no base_url; "
        'write base_url = "https://llm.example.org/v1"\n'
    )


def test_alias_gone_from_the_settings(kernel: Kernel, settings: Path) -> None:
    """An alias deleted from the file is gone with the next cell."""
    settings.write_text('[aliases]\nquick = "sim/echo"\n', encoding="utf-8")
    assert kernel.run("%%llm chain=quick\nhi").error == ""
    settings.write_text("", encoding="utf-8")

    assert "UsageError" in kernel.run("%%llm chain=quick\nhi").said


def test_reload_keeps_the_sessions_alias(kernel: Kernel, settings: Path) -> None:
    """Loading anew does not put the file's alias in the place of one that the session has set."""
    settings.write_text('[aliases]\nquick = "sim/say:file"\n', encoding="utf-8")
    kernel.run("%llm")
    kernel.run("from llm_failover_nb.engine.chain import process_registry as known")
    kernel.run("known.alias('quick', 'sim/say:session')")
    kernel.run("%reload_ext llm_failover_nb")
    cell = kernel.run("%%llm chain=quick\nhi")
    kernel.run("known.unalias('quick')")

    assert cell.text.startswith("session\n")


def test_unload_leaves_the_files_aliases(kernel: Kernel, settings: Path) -> None:
    """What the settings name is known to plain Python, with the magics and without."""
    settings.write_text('[aliases]\nquick = "sim/echo"\n', encoding="utf-8")
    kernel.run("%unload_ext llm_failover_nb")
    kernel.run("from llm_failover_nb.engine.chain import process_registry")
    unloaded = kernel.value("process_registry.aliases().get('quick')")
    kernel.run("%load_ext llm_failover_nb")

    assert (unloaded, kernel.value("process_registry.aliases().get('quick')")) == ("'sim/echo'",) * 2


# Loading


def test_reload_is_idempotent(kernel: Kernel) -> None:
    """Loaded again, it works as before, and only once."""
    kernel.run("%reload_ext llm_failover_nb")
    kernel.run("%reload_ext llm_failover_nb")
    cell = kernel.run("%%llm chain=sim/echo\nhi")

    assert cell.kinds == ["display_data"]


def test_unload_leaves_nothing(kernel: Kernel) -> None:
    """After unloading, the shell is as it was."""
    look = (
        "[sorted(get_ipython().magics_manager.magics[k]) for k in ('line', 'cell')], "
        "sorted(vars(get_ipython().magics_manager.user_magics)), "
        "sorted(get_ipython().magics_manager.registry), "
        "{k: len(v) for k, v in get_ipython().events.callbacks.items()}, "
        "len(get_ipython().input_transformers_cleanup), get_ipython().custom_exceptions, "
        "[fo.Response in f.type_printers for f in get_ipython().display_formatter.formatters.values()], "
        "len(get_ipython().Completer.custom_matchers)"
    )
    kernel.run("%unload_ext llm_failover_nb")
    unloaded = kernel.value(look)
    kernel.run("%load_ext llm_failover_nb")
    loaded = kernel.value(look)
    kernel.run("%unload_ext llm_failover_nb")
    again = kernel.value(look)
    kernel.run("%load_ext llm_failover_nb")

    assert unloaded == again
    assert unloaded != loaded
    assert "'llm'" not in unloaded
    assert "True" not in unloaded


# Without a kernel


def test_terminal_prints_once(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal the answer is printed once, with its footer, and without HTML."""
    shell.run_cell_magic("llm", "chain=sim/echo", "hello there")
    printed = capsys.readouterr().out

    assert printed.startswith("hello there\n")
    assert printed.count("hello there") == 1
    assert "answered by sim/echo" in printed
    assert "<div" not in printed


def test_terminal_failure_raises(shell: InteractiveShell) -> None:
    """A failure is raised to whoever runs the magic, with the real one as its cause."""
    with pytest.raises(magic.CellFailed) as raised:
        shell.run_cell_magic("llm", "chain=sim/auth stream=off", "hi")

    assert type(raised.value.__cause__).__name__ == "AllModelsFailed"


def test_interrupt_between_chunks_closes_the_stream(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt that strikes while a chunk is shown has closed the request before it is raised on."""
    provider = ScriptedProvider("a b c")
    process_registry.register("scripted", provider)

    def interrupt(live: Live, chunk: Chunk) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Live, "feed", interrupt)
    with pytest.raises(KeyboardInterrupt) as kept:
        shell.run_cell_magic("llm", "chain=scripted/x", "hi")

    assert kept.tb is not None
    assert provider.closed == 1


def test_unforeseen_error_settles_the_output(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that nobody foresaw passes through, and the output does not go on waiting."""

    def fail(live: Live, chunk: Chunk) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Live, "feed", fail)
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("llm", "chain=sim/echo", "hi")

    assert "the cell failed; the error is below" in capsys.readouterr().out


def test_other_peoples_magic_stays(shell: InteractiveShell) -> None:
    """A magic of the same name that is not ours is not taken away."""
    magic.unload(shell)
    shell.magics_manager.register_function(lambda line: "theirs", "line", "llm")
    magic.unload(shell)

    assert shell.run_line_magic("llm", "") == "theirs"


def test_usage_error_type(shell: InteractiveShell) -> None:
    """A line that cannot be read is IPython's own error."""
    with pytest.raises(UsageError, match="did you mean chain"):
        shell.run_cell_magic("llm", "cain=a/b", "hi")


def test_package_loads_no_notebook() -> None:
    """Importing the package loads neither IPython nor pandas."""
    code = "import sys, llm_failover_nb as fo; fo.Chain; print({'IPython', 'pandas', 'nh3'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
