"""How a name becomes a provider: built-in ones, one's own objects and endpoints, and what is refused."""

from __future__ import annotations

import socket
import sys
import traceback
import types
import warnings
from contextlib import suppress

import pytest

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine import secret as secret_module
from llm_failover_nb.engine.bench import BenchRegistry
from llm_failover_nb.engine.chain import Registry, parse_chain, process_registry
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.events import EventLog
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.providers import presets
from llm_failover_nb.providers.http import HTTPProvider
from llm_failover_nb.providers.register import from_settings, make, register_provider
from llm_failover_nb.settings import SETTINGS_VARIABLE, SettingsError
from llm_failover_nb.testing import FaultServer, ScriptedProvider

URL = "https://llm.example.org/v1"
KEY = "sk-canary-of-register"


@pytest.fixture(autouse=True)
def _leaves_no_state(monkeypatch):
    """Providers of the process and masked words stay as they were."""
    monkeypatch.setattr(process_registry, "_known", dict(process_registry._known))
    monkeypatch.setattr(secret_module, "_forms", ())


@pytest.fixture
def registry():
    one = SpecRegistry()
    yield one
    for known in one._known.values():
        getattr(known.provider, "close", lambda: None)()


@pytest.fixture
def in_a_kernel(monkeypatch):
    """Looks as it does in a notebook whose running cell is the last of the list."""
    cells = ["", f"register_provider('lab', base_url=URL, api_key={KEY!r})"]
    shell = types.SimpleNamespace(user_ns={"_ih": cells})
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    return cells


@pytest.fixture
def outside_a_kernel(monkeypatch):
    """Looks as it does in a script."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


@pytest.mark.parametrize("name", sorted(builtin_providers))
def test_every_builtin_name_makes_a_provider(name, registry, monkeypatch):
    """With the four calls."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://lab.openai.azure.com")
    registry.register(name, make(name))
    spec = f"{name}/{'smollm2' if name == 'local' else 'echo'}"
    assert registry.model(spec).spec == spec


@pytest.mark.parametrize(("name", "kind"), [("sim", "SimProvider"), ("local", "LocalProvider")])
def test_providers_without_a_wire_are_their_own(name, kind):
    """They are no presets."""
    assert type(make(name)).__name__ == kind


def test_an_object_is_registered(registry):
    """Any object with a pair of calls."""
    provider = ScriptedProvider("ok")
    register_provider("mine", provider, registry=registry)
    assert registry.provider("mine") is provider


def test_without_a_registry_it_is_the_processs():
    """So that every chain knows the name."""
    provider = ScriptedProvider("ok")
    register_provider("mine-of-the-process", provider)
    assert process_registry.provider("mine-of-the-process") is provider


def test_an_empty_registry_is_not_the_processs(registry):
    """Only None stands for the process's own."""
    register_provider("mine-elsewhere", ScriptedProvider("ok"), registry=registry)
    assert "mine-elsewhere" not in process_registry.names()


def test_an_endpoint_is_registered(registry):
    """By its base URL."""
    register_provider("lab", base_url=URL, key_env="LAB_KEY_OF_NOBODY", registry=registry)
    provider = registry.provider("lab")
    assert (type(provider), provider.missing_key) == (HTTPProvider, "LAB_KEY_OF_NOBODY")


@pytest.mark.parametrize(
    "given",
    [{}, {"provider": ScriptedProvider("ok"), "base_url": URL}, {"key_env": "LAB_KEY"}],
    ids=["neither", "both", "a key alone"],
)
def test_a_provider_or_an_address_is_needed(given, registry):
    """One of the two."""
    with pytest.raises(TypeError, match=r"register_provider\('lab'\) needs either a provider object or"):
        register_provider("lab", registry=registry, **given)


def test_what_is_no_provider_is_refused(registry):
    """By its type."""
    with pytest.raises(TypeError, match="object is no provider"):
        register_provider("lab", object(), registry=registry)


@pytest.mark.parametrize("given", [{"provider": ScriptedProvider("ok")}, {"base_url": URL}])
def test_a_bad_name_is_refused(given, registry):
    """Whatever it is to stand for."""
    with pytest.raises(ValueError, match=r"'a/b' is no name for a provider"):
        register_provider("a/b", registry=registry, **given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"base_url": "no url"}, "no url"),
        ({"base_url": "ftp://llm.example.org"}, "ftp"),
        ({"base_url": URL, "wire": "opnai"}, "opnai"),
    ],
)
def test_a_bad_address_or_wire_is_refused(given, named, registry):
    """The error names it; the name stays free."""
    with pytest.raises(ValueError, match=named):
        register_provider("lab", registry=registry, **given)
    assert "lab" not in registry.names()


@pytest.mark.usefixtures("in_a_kernel")
def test_a_literal_key_warns_in_a_notebook(registry):
    """It will be saved; the warning says what to do and does not show it."""
    with pytest.warns(
        UserWarning, match="the key of 'lab' is written in this cell and will.*key_env="
    ) as caught:
        register_provider("lab", base_url=URL, api_key=KEY, registry=registry)
    assert [KEY in str(each.message) for each in caught] == [False]


@pytest.mark.usefixtures("in_a_kernel")
def test_the_warning_points_at_the_cell(registry):
    """At the line with the key."""
    with pytest.warns(UserWarning, match="saved with the notebook") as caught:
        register_provider("lab", base_url=URL, api_key=KEY, registry=registry)
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.usefixtures("outside_a_kernel")
def test_a_literal_key_does_not_warn_in_a_script(registry):
    """Nothing is saved there."""
    with warnings.catch_warnings(record=True) as caught:
        register_provider("lab", base_url=URL, api_key=KEY, registry=registry)
    assert caught == []


@pytest.mark.usefixtures("in_a_kernel")
@pytest.mark.parametrize("given", [{"key_env": "LAB_KEY"}, {"api_key": Secret("sk-canary-secret")}, {}])
def test_only_a_literal_warns(given, registry):
    """A variable's name may be saved, and so may a call that makes a Secret."""
    with warnings.catch_warnings(record=True) as caught:
        register_provider("lab", base_url=URL, registry=registry, **given)
    assert caught == []


@pytest.mark.parametrize("cells", [["", "register_provider('lab', api_key=getpass())"], [KEY, ""], []])
def test_a_key_that_is_not_in_the_cell_does_not_warn(cells, in_a_kernel, registry):
    """One that was typed into a prompt is not saved."""
    in_a_kernel[:] = cells
    with warnings.catch_warnings(record=True) as caught:
        register_provider("lab", base_url=URL, api_key=KEY, registry=registry)
    assert caught == []


@pytest.mark.usefixtures("in_a_kernel")
@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(user_ns={}), types.SimpleNamespace()])
def test_a_kernel_without_cells_does_not_warn(shell, registry, monkeypatch):
    """As in a module that only imports ipykernel."""
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    with warnings.catch_warnings(record=True) as caught:
        register_provider("lab", base_url=URL, api_key=KEY, registry=registry)
    assert caught == []


def reprs(values):
    """As far as they have one: a provider whose making failed may have none."""
    for value in values:
        with suppress(AttributeError):
            yield repr(value)


@pytest.mark.parametrize(
    "given",
    [
        {"base_url": "htp://x/v1", "api_key": KEY},
        {"base_url": "http://llm.example.org/v1", "api_key": KEY},
        {"base_url": URL, "api_key": KEY, "wire": "nope"},
        {"base_url": URL, "api_key": KEY, "key_env": "LAB_KEY"},
        {"base_url": URL, "api_key": f"{KEY}\n", "provider": ScriptedProvider("ok")},
        {"api_key": KEY},
        {"base_url": URL, "headers": {"Authorization": f"Bearer {KEY}", "x": "\u00e9"}},
        {"base_url": "http://llm.example.org/v1", "headers": {"x-gateway-key": KEY}},
        {"base_url": URL, "headers": {"api-key": f"{KEY}\n"}},
    ],
)
def test_what_is_refused_does_not_show_its_key(given, registry):
    """Not even in a traceback with all local variables, as %xmode Verbose prints it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        register_provider("lab", registry=registry, **given)
    ours = caught.value.__traceback__.tb_next  # the frame of the test itself holds the key
    shown = [text for frame, _ in traceback.walk_tb(ours) for text in reprs(frame.f_locals.values())]
    assert [text for text in [*shown, str(caught.value)] if KEY in text] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"api_key": 5}, "api_key is a str or a Secret, not int"),
        ({"headers": {"x-team": 5}}, "the header 'x-team' is a str or a Secret, not int"),
    ],
)
def test_what_is_no_text_is_refused_at_once(given, said, registry):
    """Not in the first call, and not in words that speak of something else."""
    with pytest.raises(TypeError, match=said):
        register_provider("lab", base_url=URL, registry=registry, **given)


@pytest.mark.parametrize("pasted", ["sk-canary-1234", "AIzaCanaryCanaryCanaryCanaryCanary1", ""])
def test_a_key_pasted_for_its_variables_name_is_not_repeated(pasted):
    """Neither in the error nor, later, in every cell that misses the key."""
    with pytest.raises(ValueError, match="key_env is the name of an environment variable") as caught:
        register_provider("lab", base_url="https://lab.test/v1", key_env=pasted, registry=Registry())
    assert not pasted or pasted not in str(caught.value)


def test_a_short_lower_case_variable_is_one():
    """Some are."""
    register_provider("lab", base_url="https://lab.test/v1", key_env="lab_key", registry=Registry())


@pytest.mark.parametrize("given", [{}, {"wire": "anthropic"}])
def test_a_wire_that_is_not_given_is_left_to_the_name(given, registry, monkeypatch):
    """A built-in name has its own."""
    asked = []

    def endpoint(name, **options):
        asked.append((name, options["wire"]))
        return ScriptedProvider("ok")

    monkeypatch.setattr(presets, "endpoint", endpoint)
    register_provider("ollama", base_url=URL, registry=registry, **given)
    assert asked == [("ollama", given.get("wire"))]


# The settings file


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the user's settings."""
    file = tmp_path / "settings.toml"
    monkeypatch.setenv(SETTINGS_VARIABLE, str(file))

    def write(text):
        file.write_text(text, encoding="utf-8")
        return file

    return write


def lab(text, name="lab"):
    return f"[providers.{name}]\nbase_url = '{URL}'\n{text}"


def settings_error(read, *given):
    with pytest.raises(SettingsError) as caught:
        read(*given)
    return str(caught.value)


def test_the_settings_are_read_and_nothing_is_made(write):
    """What makes each provider waits for its name to be asked for."""
    write(lab("key_env = 'LAB_KEY_OF_NOBODY'"))
    makers = from_settings()
    provider = makers["lab"]()
    assert (list(makers), type(provider), provider.base_url) == (["lab"], HTTPProvider, URL)
    assert provider.missing_key == "LAB_KEY_OF_NOBODY"


def test_without_a_file_there_is_nothing(write):
    """And no error."""
    assert from_settings() == {}


def test_all_that_the_settings_say_is_handed_on(write, monkeypatch):
    """As it would be in code."""
    asked = []
    monkeypatch.setattr(presets, "endpoint", lambda name, **options: asked.append((name, options)))
    write(lab("wire = 'gemini'\nkey_env = 'LAB_KEY'\nallow_http = true\nheaders = { x-team = 'nlp' }"))
    from_settings()["lab"]()
    options = {
        "wire": "gemini", "base_url": URL, "key_env": "LAB_KEY", "allow_http": True,
        "headers": {"x-team": "nlp"},
    }  # fmt: skip
    assert asked == [("lab", options)]


def test_what_the_settings_leave_open_is_left_to_the_name(write, monkeypatch):
    """So that a built-in provider elsewhere speaks its own wire."""
    asked = []
    monkeypatch.setattr(presets, "endpoint", lambda name, **options: asked.append(options))
    write(lab("", "ollama"))
    from_settings()["ollama"]()
    assert (asked[0]["wire"], asked[0]["key_env"]) == (None, None)


def test_a_provider_of_the_settings_answers(write, registry, monkeypatch):
    """Over a real socket, with its key and its headers; its models are specs like any other."""
    monkeypatch.setenv("LAB_KEY", KEY)
    with FaultServer(key=KEY) as server:
        write(
            f"[providers.lab]\nbase_url = '{server.url}'\nkey_env = 'LAB_KEY'\nheaders = {{ x-team = 'nlp' }}"
        )
        chain = parse_chain(
            "lab/503,lab/echo", registry=registry, benches=BenchRegistry(), log=EventLog(), max_retries=1
        )
        with chain:
            assert (chain.complete("hi").model, server.requests[-1].headers["x-team"]) == ("lab/echo", "nlp")


def test_a_provider_of_the_settings_is_a_spec_of_every_registry(write):
    """The process's own and a new one."""
    write(lab("", "lab-of-the-file"))
    assert [one.parse("lab-of-the-file/x").spec for one in (Registry(), process_registry)] == [
        "lab-of-the-file/x"
    ] * 2


def test_the_settings_put_a_built_in_provider_elsewhere(write, registry):
    """Its name is theirs first."""
    write(lab("", "ollama"))
    assert registry.provider("ollama").base_url == URL


def test_a_built_in_provider_elsewhere_speaks_its_own_wire(write, registry):
    """Unless the file gives another; a plain name's is openai."""
    write(lab("", "ollama") + lab("wire = 'openai'", "gemini") + "\n" + lab("", "desk"))
    told = {info.name: info.wire for info in registry.providers()}
    assert [told[name] for name in ("ollama", "gemini", "desk")] == ["ollama", "openai", "openai"]


def test_a_built_in_providers_key_goes_to_no_other_host(write, registry, monkeypatch):
    """Only a variable that the file names is read for it."""
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    write(lab("", "groq"))
    assert registry.provider("groq").key is None


def test_code_wins_over_the_settings(write, registry):
    """Whatever the file says."""
    write(lab(""))
    provider = ScriptedProvider("ok")
    register_provider("lab", provider, registry=registry)
    assert registry.provider("lab") is provider


def test_what_only_the_provider_can_refuse_names_file_and_line(write, registry):
    """In the file's own spelling."""
    file = write("\n[providers.lab]\nbase_url = 'http://llm.example.org/v1'\nkey_env = 'LAB_KEY'")
    said = settings_error(registry.model, "lab/x")
    assert said.startswith(f"{file}, line 2: lab: the key would be sent unencrypted to llm.example.org")
    assert ("allow_http = true" in said, "allow_http=True" in said) == (True, False)


def test_a_file_that_cannot_be_used_is_told(write, registry):
    """For every name that is not registered: the file could stand before a built-in one."""
    file = write("zzz = 1")
    register_provider("mine", ScriptedProvider("ok"), registry=registry)
    said = [settings_error(registry.provider, name) for name in ("sim", "nobody")]
    known = "aliases, cell, chain, chains, local, policy, providers"
    assert said == [f"{file}, line 1: the key zzz is not known; known here: {known}"] * 2
    assert type(registry.provider("mine")) is ScriptedProvider


def test_a_misspelt_provider_of_the_settings_is_named(write, registry):
    """The nearest name."""
    write(lab("", "workbench"))
    with pytest.raises(ChainSpecError, match="did you mean 'workbench'"):
        registry.model("workbnech/x")


def test_all_providers_are_listed_without_a_connection(write, registry, monkeypatch):
    """Nothing is looked up or connected to, and what is needed is told."""

    def refuse(*_, **__):
        raise AssertionError("the list needs no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("httpx.HTTPTransport.__init__", refuse)
    for variable in ("GROQ_API_KEY", "AZURE_OPENAI_ENDPOINT", "LAB_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    key = "key_env = 'LAB_KEY'\n"
    write(f"{lab(key)}[providers.bad]\nbase_url = 'http://192.0.2.7'\n{key}")
    told = {info.name: info for info in registry.providers()}
    assert sorted({"lab", "bad", *builtin_providers}) == list(told)
    assert (told["groq"].base_url, told["groq"].key_env, told["groq"].missing) == (
        "https://api.groq.com/openai/v1", "GROQ_API_KEY", "GROQ_API_KEY",
    )  # fmt: skip
    assert (told["lab"].source, told["lab"].base_url, told["lab"].missing) == ("settings", URL, "LAB_KEY")
    assert (told["azure"].missing, told["azure"].key_env) == ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
    assert (told["sim"].missing, told["sim"].key_env) == ("", None)
    assert "would be sent unencrypted" in told["bad"].missing
