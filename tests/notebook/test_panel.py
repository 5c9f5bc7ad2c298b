"""The panel in a real kernel: what it shows, what its messages change, and that everybody sees the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llm_failover_nb.notebook.board import PROTOCOL
from llm_failover_nb.testing import FaultServer
from tests.notebook.kernel import Cell, Kernel

# Chains of the tests before may wait to be collected; models that only they name would go at any moment.
ANEW = """\
import gc, json
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.notebook.magic import state_of
held = None
state = state_of(get_ipython())
if state.panel is not None:
    state.panel.close()
for name in list(state.session.values):
    if name.startswith('chains.'):
        process_registry.unalias(name.partition('.')[2])
    state.session.unset(name)
gc.collect()
fo.set_failover_defaults(fo.Policy(backoff=lambda attempt: 0.0))
p = fo.panel()
desk = p._desk
"""


class Panel:
    """The panel of a kernel, as a browser speaks to it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @property
    def board(self) -> dict[str, Any]:
        """How everything stands now."""
        return json.loads(self.kernel.run("import json; print(json.dumps(desk.board()))").text)

    def model(self, spec: str) -> dict[str, Any]:
        """One model's row."""
        return next(row for row in self.board["models"] if row["spec"] == spec)

    def chain(self, name: str) -> dict[str, Any]:
        """One chain's row."""
        return next(row for row in self.board["chains"] if row["name"] == name)

    def send(self, **fields: Any) -> tuple[str, str]:
        """Send a message as the widget manager hands it on; the outcome, and what is said of it."""
        message = {"protocol": PROTOCOL, "id": "t-1"} | fields
        source = f"""
import json
replies = []
p.send, send = replies.append, p.send
try:
    p._handle_custom_msg(json.loads({json.dumps(message)!r}), [])
finally:
    p.send = send
print(json.dumps(replies))"""
        cell = self.kernel.run(source)
        assert cell.error == ""
        (reply,) = json.loads(cell.text)
        assert reply["id"] == message["id"]
        return reply["outcome"], reply.get("text", "")

    def bench(self, spec: str, **fields: Any) -> tuple[str, str]:
        """Bench a model as it is seen now."""
        return self.send(command="bench", spec=spec, edited=self.model(spec)["edited"], **fields)

    def undo(self) -> tuple[str, str]:
        """Take back what the panel offers to take back."""
        return self.send(command="undo", edit=self.board["undo"]["id"])

    def said(self, source: str) -> str:
        """What a cell says."""
        cell: Cell = self.kernel.run(source)
        return cell.said


@pytest.fixture
def panel(kernel: Kernel) -> Iterator[Panel]:
    """The panel of a notebook that has set nothing and named one chain."""
    assert kernel.run(ANEW).error == ""
    kernel.run("%llm chain prod = sim/503, sim/echo")
    yield Panel(kernel)
    kernel.run("p.close()")


# What it shows


def test_every_model_of_a_chain_is_shown(panel: Panel) -> None:
    """Of named chains, the default one, and those that Python holds."""
    panel.kernel.run("held = fo.parse_chain('sim/429, openai/gpt-x')")
    specs = {row["spec"] for row in panel.board["models"]}
    panel.kernel.run("del held")
    assert {"sim/503", "sim/echo", "sim/429", "openai/gpt-x"} <= specs


def test_states_are_those_of_the_engine(panel: Panel) -> None:
    """Benched by a failure, by hand, without a key, ready."""
    panel.kernel.run("%%llm chain=prod\nhi")
    panel.kernel.run("fo.bench_model('sim/429'); held = fo.parse_chain('openai/gpt-x')")
    states = {row["spec"]: row["state"] for row in panel.board["models"]}
    panel.kernel.run("del held")
    wanted = {"sim/503": "benched", "sim/429": "manual", "openai/gpt-x": "no_key", "sim/echo": "ready"}
    assert states.items() >= wanted.items()


def test_bench_says_why_and_until_when(panel: Panel) -> None:
    """In words, and in parts."""
    panel.kernel.run("%%llm chain=prod\nhi")
    row = panel.model("sim/503")
    assert (row["why"]["text"], row["why"]["status"], row["fails"]) == ("overloaded, HTTP 503", 503, 1)
    assert row["until"] - panel.board["now"] == pytest.approx(300_000, abs=30_000)


def test_model_that_is_well_again_says_nothing_of_why(panel: Panel) -> None:
    """Lifted, or answered since."""
    panel.kernel.run("%%llm chain=prod\nhi")
    panel.kernel.run("fo.unbench_model('sim/503')")
    assert panel.model("sim/503")["why"] is None


def test_figures_are_those_of_the_last_minutes(panel: Panel) -> None:
    """Calls, those answered, how long they took, what they cost."""
    panel.kernel.run("%%llm chain=prod\nhi")
    down, echo = panel.model("sim/503"), panel.model("sim/echo")
    assert (down["calls"], down["answered"], down["latency"]) == (1, 0, None)
    assert (echo["calls"], echo["answered"], echo["cost"]) == (1, 1, 0.0)
    assert echo["latency"] > 0


def test_chain_says_who_is_asked_first(panel: Panel) -> None:
    """The first that is not benched."""
    before = panel.chain("prod")["next"]
    panel.kernel.run("fo.bench_model('sim/503')")
    assert (before, panel.chain("prod")["next"]) == (0, 1)


def test_chain_of_a_cell_is_shown_and_cannot_be_edited(panel: Panel) -> None:
    """It is written in the cell."""
    panel.kernel.run("%%llm chain=sim/429,sim/echo\nhi")
    row = panel.chain("sim/429,sim/echo")
    assert row["specs"] == ["sim/429", "sim/echo"]
    outcome, text = panel.send(command="chain", name=row["name"], specs=["sim/echo"], edited=row["edited"])
    assert (outcome, "%llm chain NAME = SPECS" in text) == ("refused", True)


def test_named_chain_leaves_no_old_order_behind(panel: Panel) -> None:
    """Though calls have asked it in that order."""
    panel.board  # noqa: B018  # the panel has seen the name
    panel.kernel.run("%%llm chain=prod\nhi")
    panel.board  # noqa: B018
    panel.kernel.run("%llm chain prod = sim/echo, sim/503")
    assert "sim/503,sim/echo" not in {row["name"] for row in panel.board["chains"]}


def test_feed_tells_of_a_call_in_a_sentence(panel: Panel) -> None:
    """Who failed how, what followed, who answered."""
    panel.kernel.run("%%llm chain=prod\nhi")
    assert panel.board["feed"][0]["text"] == (
        "sim/503 answered HTTP 503 three times and is benched for 5 min; sim/echo answered"
    )


def test_running_call_is_shown_and_then_gone(panel: Panel, server: FaultServer) -> None:
    """With the model that is asked and the cell that asks."""
    source = """\
import asyncio
chain = fo.parse_chain('lab/silent, sim/echo')
task = asyncio.create_task(chain.acomplete('hi'))
while not server_asked():
    await asyncio.sleep(0.01)
print(json.dumps(desk.board()['running']))
fo.bench_model('lab/silent')
print((await task).model)
print(json.dumps(desk.board()['running']))"""
    panel.kernel.run("def server_asked(): return any(c.attempt for c in process_benches.roster.calls())")
    running, model, after = panel.said(source).splitlines()
    (row,) = json.loads(running)
    assert (row["model"], row["attempt"], row["fixed"], model, after) == (
        "lab/silent", 1, "", "sim/echo", "[]",
    )  # fmt: skip


def test_board_holds_no_prompt_answer_error_text_or_key(panel: Panel, server: FaultServer) -> None:
    """It is saved with the notebook."""
    panel.kernel.run("import os; os.environ['CANARY_KEY'] = 'sk-canary-key-4711'")
    panel.kernel.run(f"fo.register_provider('echoing', base_url={server.url!r}, key_env='CANARY_KEY')")
    panel.kernel.run("%%llm chain=echoing/401,echoing/503,echoing/ok\ncanary-prompt")
    panel.kernel.run(
        "from llm_failover_nb.testing import ScriptedProvider\n"
        "process_registry.register('canned', ScriptedProvider('canary-answer'))"
    )
    assert "canary-answer" in panel.said("%%llm chain=canned/x\ncanary-prompt")
    panel.kernel.run("p.board = dict(desk.board())")
    state = panel.said("print(json.dumps(p.get_state(), default=str))")
    shown = panel.kernel.run("%llm panel").html
    assert [text for text in ("canary-prompt", "canary-answer", "canary-key") if text in state + shown] == []
    assert "echoing/401" in state


# A model whose name holds a key, in a chain that has a name and one that a cell has named.
KEYED = """\
from llm_failover_nb.engine.secret import Secret
masked = Secret('sk-in-a-name-0123456789')
fo.register_provider('odd', base_url='http://127.0.0.1:9')
spec = 'odd/sk-in-a-name-0123456789'
get_ipython().run_line_magic('llm', f'chain keyed = {spec}, sim/echo')
held = fo.parse_chain(['sim/429', spec])
"""


def test_key_in_the_name_of_a_model_is_masked(panel: Panel) -> None:
    """Wherever the name is."""
    panel.kernel.run(KEYED)
    text = json.dumps(panel.board)
    assert ("0123456789" in text, "odd/********" in text) == (False, True)


def test_edits_of_a_masked_name_are_those_of_its_model(panel: Panel) -> None:
    """Its bench, and the order of its chain."""
    panel.kernel.run(KEYED)
    assert panel.bench("odd/********", **{"for": 60})[0] == "done"
    row = panel.chain("keyed")
    panel.send(command="chain", name="keyed", specs=row["specs"][::-1], edited=row["edited"])
    said = panel.said("fo.is_benched(spec), process_registry.expand('keyed') == ['sim/echo', spec]")
    assert said == "(True, True)"


def test_masked_name_that_several_models_share_is_no_name(panel: Panel) -> None:
    """Nobody can say which is meant."""
    panel.kernel.run(KEYED)
    panel.kernel.run("fo.bench_model('odd/********', for_=60)")
    outcome, text = panel.bench("odd/********", **{"for": 60})
    assert (outcome, "stands for 2 models" in text) == ("refused", True)


def test_unchanged_board_is_not_published_again(panel: Panel) -> None:
    """The time alone is no news."""
    assert panel.said("a = desk.board(); a is desk.board()") == "True"


def test_settings_that_cannot_be_read_are_said(panel: Panel, settings: Any) -> None:
    """The panel goes on with what it knows."""
    settings.write_text("[policy]\ncooldown = 'long'\n")
    panel.kernel.run("fo.bench_model('sim/429')")
    board = panel.board
    assert "cooldown" in board["trouble"]
    assert "sim/429" in {row["spec"] for row in board["models"]}


def test_provider_that_is_registered_anew_is_seen(panel: Panel, server: FaultServer) -> None:
    """With its key, or without one."""
    register = f"fo.register_provider('late', base_url={server.url!r}, key_env=%r)"
    panel.kernel.run(register % "NO_SUCH_KEY")
    panel.kernel.run("%llm chain late = late/x, sim/echo")
    before = panel.model("late/x")["state"]
    panel.kernel.run(f"import os; os.environ['LATE_KEY'] = 'secret-late-key'; {register % 'LATE_KEY'}")
    after = panel.model("late/x")["state"]
    panel.kernel.run("del os.environ['LATE_KEY']")
    assert (before, after) == ("no_key", "ready")


def test_chains_without_a_name_are_the_last_dozen(panel: Panel) -> None:
    """Notebooks may use thousands; what the panel read for one that is gone does not keep it."""
    ask = "for n in range({}, {}): _ = fo.parse_chain(f'sim/say:{{n}}').complete('x')"
    panel.kernel.run(ask.format(0, 2))
    assert {"sim/say:0", "sim/say:1"} <= {row["name"] for row in panel.board["chains"]}
    panel.kernel.run(ask.format(2, 14))
    unnamed = [row["name"] for row in panel.board["chains"] if row["fixed"]]
    assert unnamed == [f"sim/say:{n}" for n in reversed(range(2, 14))]


def test_models_of_all_chains_that_are_held_are_shown(panel: Panel) -> None:
    """Also where the chains are too many to be shown."""
    panel.kernel.run("held = [fo.parse_chain(f'sim/say:held-{n}') for n in range(20)]")
    specs = {row["spec"] for row in panel.board["models"]}
    panel.kernel.run("del held")
    assert {f"sim/say:held-{n}" for n in range(20)} <= specs


def test_call_that_was_cancelled_in_its_backoff_is_told_of_as_ended(panel: Panel) -> None:
    """No row of the log says so."""
    panel.kernel.run(
        "import asyncio\nslow = fo.parse_chain('sim/503x9, sim/echo', backoff=lambda n: 60.0)\n"
        "task = asyncio.create_task(slow.acomplete('hi'))\n"
        "while not any(c.waits_until for c in process_benches.roster.calls()): await asyncio.sleep(0.01)"
    )
    (going_on,) = [one for one in panel.board["feed"] if one["open"]]
    (call,) = panel.board["running"]
    assert call["waiting"] - panel.board["now"] == pytest.approx(60_000, abs=30_000)
    assert panel.send(command="cancel", call=call["id"])[0] == "done"
    panel.kernel.run("await asyncio.wait({task})")
    after = next(one for one in panel.board["feed"] if one["id"] == going_on["id"])
    assert (after["open"], "the call was cancelled" in after["text"]) == (False, True)


# What it changes


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"for": 300}, "benched by hand until"), ({"for": None}, "benched by hand until lifted")],
    ids=["five minutes", "until lifted"],
)
def test_bench_is_everybodys(panel: Panel, fields: dict[str, Any], said: str) -> None:
    """The list of benches, %llm, and the panel show the same at once."""
    outcome, text = panel.bench("sim/echo", **fields)
    assert (outcome, said in text) == ("done", True)
    assert "sim/echo" in panel.said("[bench.model for bench in fo.list_benched()]")
    assert said in panel.said("%llm")
    assert panel.model("sim/echo")["state"] == "manual"


def test_bench_until_a_moment(panel: Panel) -> None:
    """In milliseconds on the kernel's clock."""
    until = panel.board["now"] + 3_600_000
    assert panel.bench("sim/echo", until=until)[0] == "done"
    assert panel.model("sim/echo")["until"] == until


def test_bench_until_a_moment_that_is_over_is_refused(panel: Panel) -> None:
    """It would bench nobody."""
    outcome, text = panel.bench("sim/echo", until=panel.board["now"] - 1_000)
    assert (outcome, "is over: give a later time" in text) == ("refused", True)


def test_extend_moves_the_end(panel: Panel) -> None:
    """By as much as was asked for."""
    panel.bench("sim/echo", **{"for": 300})
    row = panel.model("sim/echo")
    panel.send(command="extend", spec="sim/echo", edited=row["edited"], **{"for": 60})
    assert panel.model("sim/echo")["until"] - row["until"] == 60_000


@pytest.mark.parametrize(
    ("setup", "why"),
    [("", "is not benched any more"), ("fo.bench_model('sim/echo')", "benched until lifted")],
    ids=["ready", "for ever"],
)
def test_extend_of_what_has_no_end_is_refused(panel: Panel, setup: str, why: str) -> None:
    """With the reason."""
    panel.kernel.run(setup)
    edited = panel.model("sim/echo")["edited"]
    outcome, text = panel.send(command="extend", spec="sim/echo", edited=edited, **{"for": 60})
    assert (outcome, why in text) == ("refused", True)


def test_bench_is_extended_no_further_than_dates_go(panel: Panel) -> None:
    """It stays as it was."""
    panel.kernel.run("from datetime import UTC, datetime\nlast = datetime(9999, 12, 30, tzinfo=UTC)")
    panel.kernel.run("fo.bench_model('sim/echo', until=last)")
    edited = panel.model("sim/echo")["edited"]
    outcome, text = panel.send(command="extend", spec="sim/echo", edited=edited, **{"for": 86_400 * 9})
    assert (outcome, "until lifted" in text) == ("refused", True)


def test_lift_and_lift_all(panel: Panel) -> None:
    """One, then all that are left."""
    panel.kernel.run("for spec in ('sim/echo', 'sim/503', 'sim/429'): fo.bench_model(spec)")
    edited = panel.model("sim/echo")["edited"]
    assert panel.send(command="lift", spec="sim/echo", edited=edited) == (
        "done", "sim/echo is no longer benched",
    )  # fmt: skip
    assert panel.send(command="lift_all")[0] == "done"
    assert panel.said("fo.list_benched()") == "[]"
    assert panel.send(command="lift_all") == ("done", "no model is benched")


def test_chain_is_reordered_for_cells_and_python(panel: Panel) -> None:
    """The name stands for the new order everywhere."""
    row = panel.chain("prod")
    outcome, _ = panel.send(
        command="chain", name="prod", specs=["sim/echo", "sim/503", "sim/429"], edited=row["edited"]
    )
    assert outcome == "done"
    assert panel.said("fo.parse_chain('prod').specs") == "('sim/echo', 'sim/503', 'sim/429')"
    assert "answered by sim/echo" in panel.said("%%llm chain=prod\nhi")


@pytest.mark.parametrize(
    ("specs", "why"),
    [
        ([], "one model at least"),
        (["  "], "one model at least"),
        (["nonsense"], "nonsense"),
        (["zzz/x"], "zzz"),
    ],
    ids=["none", "blank", "no spec", "unknown provider"],
)
def test_chain_that_cannot_be_is_refused(panel: Panel, specs: list[str], why: str) -> None:
    """And the old one stays."""
    edited = panel.chain("prod")["edited"]
    outcome, text = panel.send(command="chain", name="prod", specs=specs, edited=edited)
    assert (outcome, why in text) == ("refused", True)
    assert panel.chain("prod")["specs"] == ["sim/503", "sim/echo"]


@pytest.mark.parametrize("line", ["%llm chain prod = prod, sim/429", "%llm chain inner = prod, sim/429"])
def test_chain_within_itself_is_refused(panel: Panel, line: str) -> None:
    """Directly, or through another: no cell could ask it any more."""
    panel.kernel.run(line)
    entry = "inner" if "inner" in line else "prod"
    outcome, text = panel.send(
        command="chain", name="prod", specs=[entry, "sim/echo"], edited=panel.chain("prod")["edited"]
    )
    assert (outcome, "stands for itself" in text) == ("refused", True)
    assert panel.chain("prod")["specs"] == ["sim/503", "sim/echo"]
    panel.kernel.run("process_registry.unalias('inner')")


def test_chain_becomes_the_default(panel: Panel) -> None:
    """Cells that name none ask it."""
    panel.send(command="default", name="prod", edited=panel.chain("prod")["edited"])
    assert panel.chain("prod")["default"]
    assert "default chain: prod" in panel.said("%llm")


def test_default_chain_without_a_name_is_edited(panel: Panel) -> None:
    """As %llm chain SPECS does."""
    panel.kernel.run("%llm chain sim/503,sim/echo")
    panel.send(command="chain", name="", specs=["sim/echo"], edited=panel.chain("")["edited"])
    assert panel.chain("")["specs"] == ["sim/echo"]


def test_defaults_are_those_of_cells_and_of_python(panel: Panel) -> None:
    """Chains built from now on have them."""
    edited = panel.board["defaults"]["edited"]
    outcome, text = panel.send(command="defaults", cooldown=60, max_retries=1, edited=edited)
    assert (outcome, "benched for 60 s after 1 attempt" in text) == ("done", True)
    policy = "(chain.policy.cooldown, chain.policy.max_retries)"
    assert panel.said(f"chain = fo.parse_chain('sim/echo'); {policy}") == "(60.0, 1)"
    assert "HTTP 503; benched for 60 s" in panel.said("%%llm chain=prod\nhi").replace(
        ", until", "; until"
    ) or (panel.model("sim/503")["until"] - panel.board["now"] < 61_000)


def test_defaults_come_before_those_of_the_settings_file(panel: Panel, settings: Any) -> None:
    """Also where they are set to what they are without one."""
    settings.write_text("[policy]\ncooldown = 60\n")
    assert panel.board["defaults"]["cooldown"] == 60
    panel.send(command="defaults", cooldown=300, edited=panel.board["defaults"]["edited"])
    assert panel.board["defaults"]["cooldown"] == 300
    panel.undo()
    assert panel.board["defaults"]["cooldown"] == 60


def test_defaults_that_python_sets_later_are_seen(panel: Panel) -> None:
    """An edit of the panel hides nothing."""
    panel.send(command="defaults", cooldown=60, edited=panel.board["defaults"]["edited"])
    panel.kernel.run("fo.set_failover_defaults(cooldown=77)")
    assert panel.board["defaults"]["cooldown"] == 77


def test_defaults_out_of_range_are_refused(panel: Panel) -> None:
    """And nothing is changed."""
    before = panel.board["defaults"]
    outcome, text = panel.send(command="defaults", max_retries=0, edited=before["edited"])
    assert (outcome, "max_retries=0" in text) == ("refused", True)
    assert panel.board["defaults"] == before


def test_cancel_of_a_call_that_has_ended_is_refused(panel: Panel) -> None:
    """There is nothing to cancel."""
    assert panel.send(command="cancel", call=1) == ("refused", "that call has ended already")


# Taking back


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p.bench("sim/echo", **{"for": 300}),
        lambda p: p.bench("sim/429", **{"for": None}),
        lambda p: p.send(command="lift", spec="sim/429", edited=p.model("sim/429")["edited"]),
        lambda p: p.send(command="lift", spec="sim/503", edited=p.model("sim/503")["edited"]),
        lambda p: p.send(command="lift_all"),
        lambda p: p.send(
            command="extend", spec="sim/503", edited=p.model("sim/503")["edited"], **{"for": 60}
        ),
        lambda p: p.send(command="chain", name="prod", specs=["sim/echo"], edited=p.chain("prod")["edited"]),
        lambda p: p.send(command="default", name="prod", edited=p.chain("prod")["edited"]),
        lambda p: p.send(command="defaults", cooldown=5, max_retries=2, edited=p.board["defaults"]["edited"]),
    ],
    ids=[
        "bench",
        "bench again",
        "lift manual",
        "lift automatic",
        "lift all",
        "extend",
        "chain",
        "default",
        "defaults",
    ],
)
def test_each_edit_can_be_taken_back(panel: Panel, edit: Any) -> None:
    """Everything stands as it stood before."""
    panel.kernel.run("%%llm chain=prod\nhi")
    panel.kernel.run("fo.bench_model('sim/429', for_=3600)")

    def standing() -> Any:
        board = panel.board
        models = [{**row, "edited": "", "why": None} for row in board["models"]]
        return models, board["chains"], board["defaults"], panel.said("fo.get_failover_defaults()")

    before = standing()
    assert edit(panel)[0] == "done"
    assert standing() != before
    assert panel.undo()[0] == "done"
    assert standing() == before
    assert panel.board["undo"] is None


def test_chain_of_the_settings_file_is_the_files_again(panel: Panel, settings: Any) -> None:
    """Taken back, it follows the file as it did before."""
    settings.write_text("[chains]\nnight = 'sim/503, sim/echo'\n")
    edited = panel.chain("night")["edited"]
    panel.send(command="chain", name="night", specs=["sim/echo"], edited=edited)
    assert panel.chain("night")["specs"] == ["sim/echo"]
    panel.undo()
    assert panel.chain("night")["specs"] == ["sim/503", "sim/echo"]
    settings.write_text("[chains]\nnight = 'sim/429, sim/echo'\n")
    assert panel.chain("night")["specs"] == ["sim/429", "sim/echo"]


def test_edits_are_taken_back_one_after_another(panel: Panel) -> None:
    """The last first."""
    panel.bench("sim/echo", **{"for": 300})
    panel.bench("sim/503", **{"for": 300})
    names = [panel.board["undo"]["text"]]
    panel.undo()
    names.append(panel.board["undo"]["text"])
    panel.undo()
    assert (names, panel.said("fo.list_benched()")) == (["bench sim/503", "bench sim/echo"], "[]")


def test_edit_that_is_not_the_last_is_not_taken_back(panel: Panel) -> None:
    """Somebody has made another one since the user looked."""
    panel.bench("sim/echo", **{"for": 300})
    first = panel.board["undo"]["id"]
    panel.bench("sim/503", **{"for": 300})
    outcome, text = panel.send(command="undo", edit=first)
    assert (outcome, "another edit was made since" in text) == ("refused", True)


def test_bench_that_was_edited_elsewhere_is_not_taken_back(panel: Panel) -> None:
    """What a cell did since holds."""
    panel.bench("sim/echo", **{"for": 300})
    panel.kernel.run("fo.bench_model('sim/echo')")
    outcome, text = panel.undo()
    assert (outcome, "benched or lifted again since" in text) == ("refused", True)
    assert panel.model("sim/echo")["until"] is None


def _reorder(panel: Panel) -> tuple[str, str]:
    return panel.send(command="chain", name="prod", specs=["sim/echo"], edited=panel.chain("prod")["edited"])


@pytest.mark.parametrize(
    ("edit", "since", "kept"),
    [
        (_reorder, "%llm chain prod = sim/429", "state.session.values['chains.prod']"),
        (
            lambda p: p.send(command="default", name="prod", edited=p.chain("prod")["edited"]),
            "%llm chain sim/429",
            "state.session.values['chain']",
        ),
        (
            lambda p: p.send(command="defaults", cooldown=5, edited=p.board["defaults"]["edited"]),
            "fo.set_failover_defaults(cooldown=77)",
            "fo.get_failover_defaults().cooldown",
        ),
    ],
    ids=["chain", "default", "defaults"],
)
def test_what_a_cell_has_changed_since_is_not_taken_back(
    panel: Panel, edit: Any, since: str, kept: str
) -> None:
    """An undo takes back the panel's own edit, and nobody else's."""
    assert edit(panel)[0] == "done"
    panel.kernel.run(since)
    before = panel.said(kept)
    outcome, text = panel.undo()
    assert (outcome, "changed again since" in text) == ("refused", True)
    assert panel.said(kept) == before


def test_lift_of_all_is_taken_back_where_nobody_has_edited_since(panel: Panel) -> None:
    """It says which were left as they are."""
    panel.kernel.run("fo.bench_model('sim/echo'); fo.bench_model('sim/503')")
    panel.send(command="lift_all")
    panel.kernel.run("fo.bench_model('sim/echo', for_=60); fo.unbench_model('sim/echo')")
    outcome, text = panel.undo()
    assert (outcome, "sim/echo: benched or lifted again since" in text) == ("done", True)
    assert panel.said("[bench.model for bench in fo.list_benched()]") == "['sim/503']"


def test_undo_of_a_chain_leaves_its_name_to_the_file(panel: Panel, settings: Any) -> None:
    """Also to what the file has said since."""
    settings.write_text('[chains]\nfiled = "sim/echo"\n')
    edited = panel.chain("filed")["edited"]
    panel.send(command="chain", name="filed", specs=["sim/503"], edited=edited)
    settings.write_text('[chains]\nfiled = "sim/429"\n')
    assert panel.undo()[0] == "done"
    assert panel.chain("filed")["specs"] == ["sim/429"]


# What it refuses


@pytest.mark.parametrize("command", ["bench", "extend", "lift"])
def test_edit_of_a_bench_that_was_edited_since_is_refused(panel: Panel, command: str) -> None:
    """The user has not seen what stands."""
    edited = panel.model("sim/echo")["edited"]
    panel.kernel.run("fo.bench_model('sim/echo', for_=60)")
    fields = {} if command == "lift" else {"for": 300}
    outcome, text = panel.send(command=command, spec="sim/echo", edited=edited, **fields)
    assert (outcome, "look at it again" in text) == ("refused", True)
    assert panel.model("sim/echo")["until"] - panel.board["now"] <= 60_000


def test_failure_since_the_user_looked_refuses_nothing(panel: Panel) -> None:
    """Only an operator's edit makes what was seen stale; in an outage, failures come all the time."""
    edited = panel.model("sim/503")["edited"]
    panel.kernel.run("%%llm chain=prod\nhi")
    assert panel.send(command="bench", spec="sim/503", edited=edited, **{"for": 3600})[0] == "done"


def test_chain_that_was_edited_since_is_refused(panel: Panel) -> None:
    """So that no reordering is lost."""
    edited = panel.chain("prod")["edited"]
    panel.kernel.run("%llm chain prod = sim/echo, sim/503")
    for command, fields in (("chain", {"specs": ["sim/503"]}), ("default", {})):
        outcome, text = panel.send(command=command, name="prod", edited=edited, **fields)
        assert (outcome, "look at it again" in text) == ("refused", True)
    assert panel.chain("prod")["specs"] == ["sim/echo", "sim/503"]


def test_defaults_that_were_edited_since_are_refused(panel: Panel) -> None:
    """Likewise."""
    edited = panel.board["defaults"]["edited"]
    panel.kernel.run("fo.set_failover_defaults(cooldown=77)")
    outcome, text = panel.send(command="defaults", cooldown=60, edited=edited)
    assert (outcome, "look at them again" in text) == ("refused", True)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"command": "bench", "spec": "no/such", "for": 60, "edited": "0"}, "is no model of this panel"),
        ({"command": "chain", "name": "nope", "specs": ["a/b"], "edited": "0"}, "is no chain any more"),
        ({"command": "undo", "edit": 1}, "nothing to take back"),
        ({"command": "explode"}, "is no command of a panel"),
        ({"command": "hello", "protocol": 2}, "reload the page"),
        ({"command": "bench", "spec": "sim/echo" * 1_000, "for": 60, "edited": "0"}, "more than 1,000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_message_that_means_nothing_here_is_refused(panel: Panel, fields: dict[str, Any], why: str) -> None:
    """Without effect."""
    before = panel.board
    outcome, text = panel.send(**fields)
    assert (outcome, why in text) == ("refused", True)
    assert panel.board == before


def test_state_that_a_browser_sends_is_not_taken(panel: Panel) -> None:
    """What it wants it says in messages, which are checked."""
    panel.kernel.run("p.set_state({'board': {'models': []}, '_esm': 'alert(1)'})")
    assert panel.said("len(p.board['models']) > 0, 'alert(1)' in p._esm") == "(True, False)"


def test_hello_is_answered_with_the_kernels_time(panel: Panel) -> None:
    """And with what tells this kernel from the one before."""
    reply = panel.said("p._answer({'protocol': 1, 'id': 'x', 'command': 'hello'})")
    assert "'outcome': 'here'" in reply
    assert repr(panel.board["kernel"]) in reply


def test_exception_in_the_panel_is_shown_and_logged(panel: Panel) -> None:
    """A front end would drop it."""
    panel.kernel.run(
        "import io, logging\nsaid = io.StringIO()\nlogger = logging.getLogger('llm_failover_nb')\n"
        "logger.addHandler(logging.StreamHandler(said))\ndesk.carry_out = lambda edit: 1 / 0"
    )
    outcome, text = panel.send(command="lift_all")
    assert (outcome, "ZeroDivisionError" in text) == ("refused", True)
    assert "ZeroDivisionError" in panel.board["trouble"]
    assert "an edit of the panel failed" in panel.said("said.getvalue()")
    panel.kernel.run("logger.handlers.clear(); del desk.carry_out")
    panel.send(command="lift_all")
    assert panel.board["trouble"] == ""


def test_exception_while_the_board_is_filled_is_shown(panel: Panel) -> None:
    """What is there stays, and says that it is old; the next change brings it up to date."""
    said = panel.said(
        "models, desk._models = desk._models, lambda *_: 1 / 0\np._publish()\nbroken = p.board\n"
        "del desk._models\np._publish()\n"
        "(broken['trouble'], broken['models'] == p.board['models'], p.board['trouble'])"
    )
    assert (
        said.splitlines()[-1] == "('this is not up to date: ZeroDivisionError: division by zero', True, '')"
    )


def test_exception_while_the_board_is_filled_is_none_of_a_cells(panel: Panel) -> None:
    """The panel says so; a cell that ends meanwhile says what it has to say."""
    panel.kernel.run("p._publisher.close(); desk.board = lambda: 1 / 0")
    said = panel.said("1 + 1")
    panel.kernel.run("del desk.board")
    assert said == "2"


# The widget


def test_panel_is_one_for_the_notebook(panel: Panel) -> None:
    """Shown twice, it is the same; after it was closed, another."""
    assert panel.said("fo.panel() is p") == "True"
    panel.kernel.run("p.close()")
    assert panel.said("fo.panel() is p") == "False"


def test_panel_is_shown_with_a_snapshot_beside_it(panel: Panel) -> None:
    """For those who read the saved notebook."""
    widget, snapshot = panel.kernel.run("%llm panel").outputs
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    assert "sim/503" in snapshot["data"]["text/html"]
    assert "sim/503" in snapshot["data"]["text/plain"]


def test_snapshot_is_kept_current(panel: Panel) -> None:
    """By an update of the same output."""
    shown = panel.kernel.run("%llm panel").messages
    ids = [
        m["content"].get("transient", {}).get("display_id") for m in shown if m["msg_type"] == "display_data"
    ]
    cell = panel.kernel.run(
        "fo.bench_model('sim/echo')\n"
        "p._snapshot._at = float('-inf')\n"
        "while p._snapshot.update(desk.board()) is not None: pass"
    )
    updates = [m["content"] for m in cell.messages if m["msg_type"] == "update_display_data"]
    assert {update["transient"]["display_id"] for update in updates} == {ids[-1]}
    assert "benched by hand until lifted" in updates[-1]["data"]["text/html"]


def test_snapshot_holds_what_the_last_cell_did(panel: Panel) -> None:
    """A program that runs a notebook ends the kernel at once after it."""
    panel.kernel.run("%llm panel")
    cell = panel.kernel.run(
        "fo.bench_model('sim/echo')\nfo.unbench_model('sim/echo')\nfo.bench_model('sim/429')"
    )
    updates = [m["content"] for m in cell.messages if m["msg_type"] == "update_display_data"]
    assert "sim/429" in updates[-1]["data"]["text/html"]


def test_closed_panel_says_so(panel: Panel) -> None:
    """Shown again, it is no error."""
    assert panel.said("p.close()\np") == ("this panel is closed: llm_failover_nb.panel() gives another\n")


def test_panel_loads_the_magics(panel: Panel) -> None:
    """It edits what they go by: two of them would not agree."""
    panel.kernel.run("%unload_ext llm_failover_nb")
    said = panel.said("a = fo.panel()\nget_ipython().run_line_magic('llm', 'bench sim/429')\na is fo.panel()")
    assert said.endswith("True")


def test_panel_stands_in_a_layout(panel: Panel) -> None:
    """As any widget does."""
    cell = panel.kernel.run("import ipywidgets; ipywidgets.VBox([p, ipywidgets.Label('below')])")
    assert cell.error == ""
    assert "application/vnd.jupyter.widget-view+json" in cell.outputs[0]["data"]


def test_change_in_a_cell_reaches_the_widget(panel: Panel) -> None:
    """A bench is told by the log, a new chain by the end of the cell."""
    panel.kernel.run("%llm chain night = sim/echo, sim/429")
    waited = panel.said(
        "import time\nend = time.monotonic() + 10\n"
        "while 'night' not in [row['name'] for row in p.board['chains']] and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n'night' in [row['name'] for row in p.board['chains']]"
    )
    assert waited == "True"


def test_unloading_closes_the_panel(panel: Panel) -> None:
    """Its thread ends, too."""
    said = panel.said(
        "%unload_ext llm_failover_nb\nimport threading\n"
        "(p.comm is None, [t.name for t in threading.enumerate() if 'panel' in t.name])"
    )
    panel.kernel.run("%load_ext llm_failover_nb")
    assert said == "(True, [])"
