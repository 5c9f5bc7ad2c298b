"""Completion in a real shell's completer: what is offered where, in which order, and at what cost."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import Chain
from llm_failover_nb.engine.events import EventLog
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook import completion
from llm_failover_nb.notebook.arguments import KEYS
from llm_failover_nb.notebook.catalogue import Catalogue
from llm_failover_nb.notebook.commands import COMMANDS
from llm_failover_nb.providers.presets import endpoint
from llm_failover_nb.settings import SETTINGS_VARIABLE
from llm_failover_nb.testing import FakeClock, FaultServer, ScriptedProvider
from tests.notebook.kernel import Kernel

NO_BREAK = "\N{NO-BREAK SPACE}"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Listing(ScriptedProvider):
    """Knows its models at once."""

    lists_at_once = True

    def __init__(self, *names: str, missing: str | None = None) -> None:
        super().__init__("ok")
        self.names = names
        self.missing_key = missing

    def models(self) -> tuple[str, ...]:
        return self.names


@dataclass
class Tab:
    """A shell with our completion, and what its completions look up."""

    shell: InteractiveShell
    registry: SpecRegistry
    benches: BenchRegistry
    log: EventLog
    clock: FakeClock

    def offered(self, text: str) -> dict[str, str]:
        """What is offered at the last ``|`` of a cell, in its order: text and type."""
        return {match.text: match.type.replace(NO_BREAK, " ") for match in self.matches(text)}

    def matches(self, text: str) -> list[Any]:
        before, _, after = text.rpartition("|")
        with provisionalcompleter():
            return list(self.shell.Completer.completions(before + after, len(before)))

    def written(self, text: str, choice: str) -> str:
        """The cell once ``choice`` has been taken."""
        before, _, after = text.rpartition("|")
        match = next(match for match in self.matches(text) if match.text == choice)
        return before[: match.start] + match.text + (before + after)[match.end :]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file, which is not there yet."""
    file = tmp_path / "settings.toml"
    monkeypatch.setenv(SETTINGS_VARIABLE, str(file))
    monkeypatch.chdir(tmp_path)
    return file


@pytest.fixture
def tab(settings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tab]:
    """A shell of its own, with the providers that a test registers, and sim."""
    for name in {*builtin_providers} - {"sim"}:
        monkeypatch.delitem(builtin_providers, name)
    (settings.parent / "a file.txt").touch()
    clock = FakeClock(NOON)
    registry, log = SpecRegistry(), EventLog()
    benches = BenchRegistry(clock=clock, log=log)
    monkeypatch.setenv("IPYTHONDIR", str(settings.parent / "ipython"))
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    completion.install(shell, registry=registry, benches=benches, log=log, clock=clock)
    yield Tab(shell, registry, benches, log, clock)
    completion.uninstall(shell)


@pytest.fixture
def lab(tab: Tab) -> Tab:
    """With one provider more, of three models."""
    tab.registry.register("lab", Listing("large", "small", "meta/tiny"))
    return tab


# Keys


def test_every_key_is_offered_with_what_it_does(tab: Tab) -> None:
    """An empty first line shows all there is, in the order of the help."""
    assert tab.offered("%%llm |\nprompt") == {f"{key.name}=": key.help for key in KEYS}


def test_a_key_goes_on_from_its_first_letters(tab: Tab) -> None:
    """And the equals sign comes with it."""
    assert tab.written("%%llm temp|\nprompt", "temperature=") == "%%llm temperature=\nprompt"


def test_keys_that_are_given_are_not_offered_again(tab: Tab) -> None:
    """Whether they stand before the cursor or behind it."""
    offered = tab.offered("%%llm chain=a/b | out=x\nprompt")
    assert "temperature=" in offered
    assert not {"chain=", "out="} & {*offered}


def test_a_key_before_its_equals_sign_brings_no_second_one(tab: Tab) -> None:
    """The middle of a word can be completed, too."""
    assert tab.written("%%llm temp|=0.2", "temperature") == "%%llm temperature=0.2"


@pytest.mark.parametrize("text", ["%%llm\n|", "%%llm chain=a/b\nte|", "te|", "%%time\nte|"])
def test_keys_stand_on_the_first_line_only(tab: Tab, text: str) -> None:
    """The prompt is text."""
    assert "temperature=" not in tab.offered(text)


# Values


def test_a_switch_is_on_or_off(tab: Tab) -> None:
    """Nothing else."""
    assert [*tab.offered("%%llm stream=|")] == ["on", "off"]


def test_a_quoted_value_is_completed_behind_its_quote(tab: Tab) -> None:
    """The quote stays."""
    assert tab.written('%%llm stream="o|" out=x', "off") == '%%llm stream="off" out=x'


def test_the_words_of_a_key_are_those_it_takes() -> None:
    """Each that is offered can be read."""
    for key in KEYS:
        for word in completion.values_for(key.name):
            key.read(word)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("format", {"markdown", "text", "json", "code", "html"}),
        ("midstream", {"raise", "restart"}),
        ("raw", {"on", "off"}),
        ("await_cells", {"on", "off"}),
        ("temperature", set()),
    ],
)
def test_values_by_key(key: str, words: set[str]) -> None:
    """Those of keys with a fixed choice; none for the others."""
    assert {*completion.values_for(key)} == words


def test_a_value_of_any_kind_has_its_example(tab: Tab) -> None:
    """As the help shows it, quotes and all; and no files."""
    assert tab.offered("%%llm system=|") == {'"Answer in one sentence."': "example"}


def test_what_is_being_typed_is_left_alone(tab: Tab) -> None:
    """A number, a text: no files, no names of Python's."""
    assert (tab.offered("%%llm temperature=0.|"), tab.offered('%%llm system="a |')) == ({}, {})


def test_an_answer_goes_into_a_variable(tab: Tab) -> None:
    """Those that hold one first; functions and modules would be lost."""
    tab.shell.user_ns.update(old=Response("x"), text="x", os=os, run=len, _hidden=1)
    assert [*tab.offered("%%llm out=|")] == ["old", "text", "answer"]


def test_a_schema_is_a_dict_or_a_model(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the notebook's variables, those that could be one; pydantic is not imported for it."""

    class BaseModel:
        pass

    class Person(BaseModel):
        pass

    monkeypatch.setitem(completion.sys.modules, "pydantic", type("pydantic", (), {"BaseModel": BaseModel}))
    tab.shell.user_ns.update(person=Person(), Person=Person, shape={}, text="x", Other=int)
    place = completion.Place("cell", completion.Word("schema="))
    matcher = completion.Completion(
        tab.shell.user_ns,
        registry=tab.registry,
        benches=tab.benches,
        log=tab.log,
        catalogue=Catalogue(tab.registry),
        clock=tab.clock,
    )
    assert [offer.text for offer in matcher.offers(place)[1]] == ["Person", "shape"]


# Chains


def test_a_provider_is_offered_with_its_slash(lab: Tab) -> None:
    """So that its models come next."""
    assert lab.written("%%llm chain=l|", "lab/") == "%%llm chain=lab/"
    assert lab.offered("%%llm chain=l|") == {"lab/": "provider"}


def test_no_file_is_offered(lab: Tab) -> None:
    """Not even where nothing of ours fits."""
    assert {"lab/", "sim/"} == {*lab.offered("%%llm chain=|")}
    assert (lab.offered("%%llm chain=a|"), lab.offered("%%llm chain=nobody/|")) == ({}, {})


def test_the_models_of_a_provider(lab: Tab) -> None:
    """After its slash, as it lists them."""
    assert lab.offered("%%llm chain=lab/|") == dict.fromkeys(("large", "small", "meta/tiny"), "model")


def test_a_model_goes_on_from_its_first_letters(lab: Tab) -> None:
    """Also behind a slash of its own."""
    assert lab.written("%%llm chain=lab/meta/t| out=x", "meta/tiny") == "%%llm chain=lab/meta/tiny out=x"


def test_after_a_comma_the_rest_stays(lab: Tab) -> None:
    """Only the last part is completed."""
    assert lab.written("%%llm chain=sim/503,lab/s|", "small") == "%%llm chain=sim/503,lab/small"


def test_in_the_middle_of_a_chain_the_rest_stays(lab: Tab) -> None:
    """What stands behind the cursor, too."""
    assert lab.written("%%llm chain=lab/la|,sim/echo", "large") == "%%llm chain=lab/large,sim/echo"


def test_entries_of_the_chain_are_not_offered_again(lab: Tab) -> None:
    """A second one would never be asked."""
    assert {*lab.offered("%%llm chain=lab/small,lab/|,lab/large")} == {"meta/tiny"}


def test_a_quoted_chain_with_spaces(lab: Tab) -> None:
    """As a shell reads it."""
    assert lab.written('%%llm chain="sim/503, lab/s|"', "small") == '%%llm chain="sim/503, lab/small"'


def test_a_provider_without_its_key_says_which(lab: Tab) -> None:
    """It comes after those that can be asked."""
    lab.registry.register("acme", Listing("x", missing="ACME_KEY"))
    lab.clock.advance(1)
    offered = lab.offered("%%llm chain=|")
    assert [*offered] == ["lab/", "sim/", "acme/"]
    assert offered["acme/"] == "no key: set ACME_KEY"


def test_aliases_and_chains_say_what_they_stand_for(lab: Tab) -> None:
    """Beside the providers; and not one that is in the chain."""
    lab.registry.alias("fast", "lab/small")
    lab.registry.alias("prod", "lab/large,lab/small")
    assert lab.offered("%%llm chain=fa|") == {"fast": "lab/small"}
    assert [*lab.offered("%%llm chain=fast,|")] == ["prod", "lab/", "sim/"]


def test_what_an_alias_stands_for_is_cut_to_a_line(lab: Tab) -> None:
    """A settings file may come with somebody's repository; so may names that deceive."""
    lab.registry.alias("long", ",".join(["lab/small"] * 40))
    lab.registry.alias("turned\u202e", "lab/small")
    offered = lab.offered("%%llm chain=|")
    assert (len(offered["long"]), offered["long"][-1]) == (80, "…")
    assert [name for name in offered if name.startswith("turned")] == []


def test_a_benched_model_is_offered_last_and_says_until_when(lab: Tab) -> None:
    """It may still be the one that is wanted."""
    lab.benches.bench("lab/large", until=NOON + timedelta(minutes=125))
    offered = lab.offered("%%llm chain=lab/|")
    until = (NOON + timedelta(minutes=125)).astimezone()
    assert [*offered] == ["small", "meta/tiny", "large"]
    assert offered["large"] in {f"benched until {until:%H:%M}", f"benched until {until:%d %b %H:%M}"}


def test_a_bench_without_an_end_says_so(lab: Tab) -> None:
    """It is lifted by hand."""
    lab.benches.bench("lab/large")
    assert lab.offered("%%llm chain=lab/l|") == {"large": "benched until lifted"}


def test_an_alias_of_benched_models_says_so(lab: Tab) -> None:
    """When none of its models is left."""
    lab.registry.alias("fast", "lab/small")
    lab.benches.bench("lab/small")
    offered = lab.offered("%%llm chain=|")
    assert [*offered][-1] == "fast"
    assert offered["fast"] == "lab/small: benched until lifted"


def test_models_of_the_settings_and_of_earlier_cells(lab: Tab, settings: Path) -> None:
    """What has been named somewhere can be named again, listed or not."""
    settings.write_text('chain = "acme/of-the-settings"\n')
    lab.registry.register("acme", ScriptedProvider("ok"))
    lab.registry.alias("fast", "acme/of-an-alias")
    with Chain("acme/of-a-cell", registry=lab.registry, benches=lab.benches, log=lab.log) as chain:
        chain.complete("hello")
    assert {*lab.offered("%%llm chain=acme/|")} == {"of-the-settings", "of-an-alias", "of-a-cell"}


def test_settings_that_cannot_be_read_cost_their_names_alone(lab: Tab, settings: Path) -> None:
    """A file in the middle of an edit is no reason to show a traceback in every cell."""
    assert "lab/" in lab.offered("%%llm chain=|")
    settings.write_text("chain = ")
    lab.clock.advance(1)
    assert "lab/" in lab.offered("%%llm chain=|")


def test_a_broken_provider_is_offered_with_a_word(lab: Tab) -> None:
    """Its error is shown by the cell, not here."""

    class Broken(ScriptedProvider):
        @property
        def missing_key(self) -> str:
            raise RuntimeError("boom")

    lab.registry.register("bad", Broken("ok"))
    assert "cannot be used" in lab.offered("%%llm chain=bad|")["bad/"]


# %llm


def test_every_subcommand_is_offered(tab: Tab) -> None:
    """With what it does."""
    assert tab.offered("%llm |") == {command.name: command.help for command in COMMANDS if command.name}


@pytest.mark.parametrize("text", ["%llm unb|", "benches = %llm unb|", "x = 1\n  %llm unb|\ny = 2"])
def test_a_subcommand_anywhere_on_a_line(tab: Tab, text: str) -> None:
    """At its beginning, or as what is assigned."""
    assert [*tab.offered(text)] == ["unbench"]


def test_bench_takes_models_then_a_duration(lab: Tab) -> None:
    """Then nothing."""
    assert "lab/" in lab.offered("%llm bench |")
    assert "small" in lab.offered("%llm bench lab/|")
    assert [*lab.offered("%llm bench lab/small |")] == ["10m", "1h", "1d", "forever"]
    assert lab.offered("%llm bench lab/small 10m |") == {}


def test_unbench_takes_live_benches(lab: Tab) -> None:
    """Whole specs, and until when each would last."""
    lab.benches.bench("lab/small")
    lab.benches.bench("lab/large", for_=1)
    lab.clock.advance(2)
    assert lab.offered("%llm unbench |") == {"lab/small": "benched until lifted"}
    assert lab.offered("%llm unbench lab/small,|") == {}


@pytest.mark.parametrize("text", ["%llm chain |", "%llm chain prod = sim/echo,|", "%llm chain prod=|"])
def test_chain_takes_chains(lab: Tab, text: str) -> None:
    """As a new default, and after a name's equals sign."""
    assert "lab/" in lab.offered(text)


def test_models_takes_providers(lab: Tab) -> None:
    """Any other text is one to look for."""
    assert [*lab.offered("%llm models l|")] == ["lab"]


def test_explain_takes_exceptions(tab: Tab) -> None:
    """The variables that hold one."""
    tab.shell.user_ns.update(failure=ValueError("x"), text="x", kind=ValueError)
    assert tab.offered("%llm explain |") == {"failure": "ValueError"}


# Prompts


def test_a_variable_within_braces(tab: Tab) -> None:
    """Any but modules, which a template cannot see; and what a template knows besides."""
    tab.shell.user_ns.update(table=[1], text="x", os=os, _private=1)
    assert [*tab.offered("%%llm\nSum up {{ t|")] == ["table", "text"]
    assert {"In", "Out", "last_error"} < {*tab.offered("%%llm\nSum up {{ |")}
    assert "os" not in tab.offered("%%llm\n{{ |")


def test_a_variable_that_stands_for_another_is_not_asked(tab: Tab) -> None:
    """It might work at length to say what it is."""

    class Proxy:
        @property
        def __class__(self) -> type:
            raise AssertionError("asked")

    tab.shell.user_ns.update(proxy=Proxy(), failure=ValueError("x"))
    assert [*tab.offered("%llm explain |")] == ["failure"]
    assert "proxy" in tab.offered("%%llm\n{{ pro|")


# The shell's other completions


def test_others_are_not_even_asked(tab: Tab) -> None:
    """IPython's own would parse the line as Python, and take their time."""
    asked: list[str] = []

    def theirs(text: str) -> list[str]:
        asked.append(text)
        return []

    tab.shell.Completer.custom_matchers.insert(0, theirs)
    tab.offered("%%llm |")
    assert asked == []
    tab.offered("pri|")
    assert asked == ["pri"]


def test_elsewhere_the_shell_completes_as_ever(tab: Tab) -> None:
    """Files, names, other magics."""
    tab.shell.user_ns["some_table"] = 1
    assert "some_table" in tab.offered("print(some_|")
    assert "%%timeit" in tab.offered("%%tim|")


def test_installed_twice_it_completes_once(tab: Tab) -> None:
    """The latest load is the one that holds."""
    completion.install(tab.shell, registry=tab.registry, benches=tab.benches, log=tab.log, clock=tab.clock)
    assert len(tab.shell.Completer.custom_matchers) == 1


def test_uninstalled_it_is_gone(tab: Tab) -> None:
    """Also when nothing was installed; other people's matchers stay."""

    def theirs(text: str) -> list[str]:
        return []

    tab.shell.Completer.custom_matchers.insert(0, theirs)
    completion.uninstall(tab.shell)
    completion.uninstall(tab.shell)
    assert tab.shell.Completer.custom_matchers == [theirs]
    assert "temperature=" not in tab.offered("%%llm |")


def test_a_fault_shows_no_traceback(
    tab: Tab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """IPython would print it into the notebook at each Tab."""

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(completion, "place_at", fail)
    assert "temperature=" not in tab.offered("%%llm |")
    captured = capsys.readouterr()
    assert "boom" not in captured.out + captured.err


# In a kernel

SET_UP = """\
%load_ext llm_failover_nb
import llm_failover_nb as fo
from llm_failover_nb.notebook import completion
from llm_failover_nb.notebook.catalogue import Catalogue
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.testing import FaultServer
catalogue = Catalogue(process_registry)
completion.install(get_ipython(), catalogue=catalogue)
server = FaultServer().start()
fo.register_provider('srv', base_url=server.url)
fo.bench_model('srv/echo')
failure = ValueError('x')"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with a provider behind a socket, and one of its models benched."""
    file = tmp_path_factory.mktemp("home") / "settings.toml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTINGS_VARIABLE, str(file))
        with Kernel() as running:
            assert not running.run(SET_UP).error
            yield running
            running.run("server.close()")


def test_a_front_end_is_offered_keys_and_words(kernel: Kernel) -> None:
    """Through the kernel's own protocol, with what each is."""
    assert kernel.complete("%%llm temp\nprompt", 10) == {"temperature=": "sampling temperature"}
    assert kernel.complete("%%llm stream=o") == {"on": "stream", "off": "stream"}
    assert kernel.complete("%llm explain ") == {"failure": "ValueError"}


def test_a_front_end_is_offered_the_models_of_a_server(kernel: Kernel) -> None:
    """Fetched since the provider was typed; the benched one last, and marked."""
    assert kernel.complete("%%llm chain=sr") == {"srv/": "provider"}
    assert kernel.value("catalogue.wait('srv', 10)") == "True"
    offered = kernel.complete("%%llm chain=sim/503,srv/")
    assert [*offered] == ["503x2+echo", "429:5", "silent", "cut:40", "echo"]
    assert (offered["silent"], offered["echo"]) == ("model", "benched until lifted")


def test_a_running_awaited_cell_does_not_block_it(kernel: Kernel, tmp_path: Path) -> None:
    """Asked beside it, as the kernel allows, Tab is answered while the cell still waits."""
    offered: list[dict[str, str]] = []

    def ask() -> None:
        running = tmp_path / "running"
        deadline = time.monotonic() + 30
        while not running.exists() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        offered.append(kernel.complete("%llm unb", beside=True))
        (tmp_path / "answered").touch()

    asking = threading.Thread(target=ask)
    asking.start()
    cell = kernel.run(
        f"import asyncio, pathlib, time; folder = pathlib.Path({str(tmp_path)!r})\n"
        "(folder / 'running').touch(); end = time.monotonic() + 30\n"
        "while not (answered := (folder / 'answered').exists()) and time.monotonic() < end:\n"
        "    await asyncio.sleep(0.01)\n"
        "answered"
    )
    asking.join()
    assert (offered, cell.text) == ([{"unbench": "lift a bench"}], "True")


# What it costs


def test_a_server_that_says_nothing_blocks_nothing(tab: Tab) -> None:
    """The names are there at a later Tab, or never."""
    with FaultServer() as server:
        provider = endpoint("srv", base_url=server.url)
        tab.registry.register("srv", provider)
        catalogue = Catalogue(tab.registry)
        completion.install(
            tab.shell,
            registry=tab.registry,
            benches=tab.benches,
            log=tab.log,
            clock=tab.clock,
            catalogue=catalogue,
        )
        assert tab.offered("%%llm chain=sr|") == {"srv/": "provider"}
        assert catalogue.wait("srv", 10)  # asked for already, since it comes next
        assert "503x2+echo" in tab.offered("%%llm chain=srv/|")
        provider.close()


def test_settings_are_read_once_a_second(lab: Tab, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often Tab is pressed."""
    reads = []

    def load() -> Any:
        reads.append(1)
        return real()

    real = completion.load_settings
    monkeypatch.setattr(completion, "load_settings", load)
    for _ in range(5):
        lab.offered("%%llm chain=|")
    lab.clock.advance(1)
    lab.offered("%%llm chain=|")
    assert len(reads) == 2


def test_no_completion_is_lost_to_a_long_list(tab: Tab) -> None:
    """IPython shows five hundred: the benched ones are among them, last."""
    tab.registry.register("lab", Listing(*(f"m{number}" for number in range(1_000))))
    tab.benches.bench("lab/m7")
    offered = [*tab.offered("%%llm chain=lab/|")]
    assert (len(offered), offered[-1]) == (500, "m7")


def test_a_thousand_models_take_no_time(tab: Tab) -> None:
    """Five milliseconds of the kernel's at most, of which nobody notices anything."""
    tab.registry.register("lab", Listing(*(f"model-{number}" for number in range(1_000))))
    tab.offered("%%llm chain=lab/|")
    matcher: Callable[..., Any] = tab.shell.Completer.custom_matchers[0]
    context = completion_context("%%llm chain=lab/")
    took = []
    for _ in range(20):
        began = time.thread_time()
        matcher(context)
        took.append(time.thread_time() - began)
    assert statistics.median(took) < 0.005


def completion_context(text: str) -> Any:
    from IPython.core.completer import CompletionContext

    return CompletionContext(token="", full_text=text, cursor_position=len(text), cursor_line=0, limit=500)
