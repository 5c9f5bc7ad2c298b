"""What the doctor finds, in a real kernel and in places that lack something; no key is ever in it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from IPython.core.interactiveshell import InteractiveShell

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.registry import ProviderInfo, SpecRegistry
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.notebook import doctor, packages
from llm_failover_nb.notebook.doctor import Check, checks
from llm_failover_nb.providers import local, presets, weights
from llm_failover_nb.settings import Origin, Settings, SettingsError
from llm_failover_nb.testing import ScriptedProvider
from tests.notebook.kernel import Kernel

CANARY = "sk-canary-of-the-doctor"
FILE = Path("/home/ann/settings.toml")

PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
KEYS = tuple(filter(None, (preset.key_env for preset in presets.PRESETS.values())))


class Keyed(ScriptedProvider):
    """A provider whose key is in a variable."""

    def __init__(self, *variables: str) -> None:
        super().__init__("ok")
        self.key_env = variables[0]
        self._variables = variables

    @property
    def missing_key(self) -> str | None:
        return " and ".join(name for name in self._variables if not os.environ.get(name)) or None


class FaultyRegistry(SpecRegistry):
    """One in which somebody's provider fails in a way that nobody foresaw, with a key in its words."""

    def providers(self) -> tuple[ProviderInfo, ...]:
        raise ZeroDivisionError(f"divided\nby {CANARY}")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no proxy, no certificates of one's own."""
    for name in (*KEYS, *PROXIES, *map(str.lower, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The model of this machine is installed."""
    file = tmp_path / "weights.gguf"
    file.touch()
    monkeypatch.setattr(local, "extra_installed", lambda: True)
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(file))
    return file


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SpecRegistry:
    """One that knows what a test registers, and sim and local."""
    for name in {*builtin_providers} - {"sim", "local"}:
        monkeypatch.delitem(builtin_providers, name)
    return SpecRegistry()


def looked_at(
    registry: SpecRegistry,
    chain: str | None = "sim/echo",
    *,
    shell: object = None,
    settings: Settings | SettingsError | None = None,
    awaited: bool | str = False,
) -> list[Check]:
    origins = {"chain": Origin("user", FILE, 1)} if chain is not None else {}
    read = settings or Settings(chain=chain, path=FILE, origins=origins)
    return list(checks(cast("InteractiveShell", shell), registry=registry, settings=read, awaited=awaited))


def one(found: list[Check], what: str) -> Check:
    """The only check of that name."""
    (check,) = [check for check in found if check.what == what]
    return check


def in_a_kernel(**attributes: Any) -> SimpleNamespace:
    """A shell that has a kernel, as far as the doctor looks."""
    return SimpleNamespace(**{"kernel": object(), "user_ns": {}, **attributes})


# All of it


def test_all_is_well(registry: SpecRegistry) -> None:
    """Where nothing is amiss there is no remedy, and the order is fixed."""
    found = looked_at(registry)

    assert {(check.state, check.remedy) for check in found} == {("ok", "")}
    assert [check.what for check in found if check.what != "not installed"] == [
        *("Python", "IPython", "kernel", "settings", "default chain", "keys", "local/smollm2", "proxy"),
        "packages",
        "extras",
    ]


def test_in_a_kernel_of_its_own() -> None:
    """A real kernel is told by its version, with its front end and its loop."""
    with Kernel() as kernel:
        kernel.run("""
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.notebook.doctor import checks
from llm_failover_nb.settings import load_settings
found = checks(get_ipython(), registry=process_registry, settings=load_settings(), awaited=True)
""")
        wanted = "['kernel', 'event loop', 'awaited cells']"
        said = kernel.value(f"[(check.found, check.state) for check in found if check.what in {wanted}]")
        front_end = kernel.value("[check.found for check in found if check.what == 'front end']")

    assert eval(said) == [
        (f"ipykernel {metadata.version('ipykernel')}", "ok"),
        ("yes: buttons and panels act while a %%llm cell waits", "ok"),
        ("asyncio, not patched", "ok"),
    ]
    assert "a Jupyter client" in front_end or "a Jupyter server" in front_end


def test_in_a_terminal() -> None:
    """IPython in a terminal has neither kernel nor loop, and nothing is wrong with that."""
    source = """
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.notebook.doctor import checks
from llm_failover_nb.settings import load_settings
found = checks(get_ipython(), registry=process_registry, settings=load_settings(), awaited="no kernel")
for check in found[2:5]: print(check.what, check.found, check.state, sep=" | ")
"""
    command = [sys.executable, "-m", "IPython", "--quick", "--no-banner", "--colors=NoColor", "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.splitlines() == [
        "kernel | none: this is IPython in a terminal, where outputs are plain text | ok",
        "awaited cells | no: no kernel | ok",
        "event loop | none runs while a cell does, so asyncio.run works as it is | ok",
    ]


def test_nothing_is_sent(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a socket is opened."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)

    assert {check.state for check in looked_at(registry)} == {"ok"}


def test_nothing_heavy_is_imported() -> None:
    """Versions are read, not asked of the packages."""
    source = """
import sys
from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.notebook.doctor import checks
from llm_failover_nb.settings import load_settings
checks(None, registry=process_registry, settings=load_settings(), awaited=False)
heavy = "IPython aiohttp anywidget ipykernel ipywidgets jupyterlab nest_asyncio2 pandas xllamacpp"
print([name for name in heavy.split() if name in sys.modules])
"""
    command = [sys.executable, "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == "[]\n"


def test_it_is_quick() -> None:
    """With every provider that is built in it takes less time than one notices."""

    def seconds() -> float:
        began = perf_counter()
        looked_at(process_registry)
        return perf_counter() - began

    assert min(seconds() for _ in range(3)) < 0.3


def test_a_question_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its own line alone, and no key is in it."""
    Secret(CANARY)
    found = looked_at(FaultyRegistry())

    assert one(found, "keys") == Check(
        "keys",
        "cannot be told: ZeroDivisionError: divided by ********",
        "attention",
        "go on without this line; if it comes again, please report it",
    )
    assert one(found, "packages").state == "ok"


def test_settings_that_cannot_be_read(registry: SpecRegistry) -> None:
    """They are told once; what hangs on them is not known, the rest is."""
    error = SettingsError("this is no TOML: correct it", path=FILE, line=3)
    found = looked_at(registry, settings=error)

    assert one(found, "settings").found == "/home/ann/settings.toml, line 3: this is no TOML: correct it"
    assert one(found, "settings").state == "missing"
    assert {check.what for check in found if "not known while the settings" in check.found} == {
        *("default chain", "keys", "local models")
    }
    assert one(found, "packages").state == "ok"


# The notebook


def test_no_kernel_in_this_python(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a shell it is worth a remedy."""
    installed = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: None if name == "ipykernel" else installed(name))
    check = one(looked_at(registry), "kernel")

    assert check.state == "attention"
    assert check.remedy.startswith("run  pip install 'llm-failover-nb[lab]'")


@pytest.mark.parametrize(
    ("variables", "user_ns", "expected"),
    [
        ({}, {}, "not known"),
        ({"JPY_PARENT_PID": "1"}, {}, "a Jupyter client, such as nbclient, papermill or an editor"),
        ({"JPY_PARENT_PID": "1"}, {"__vsc_ipynb_file__": "/x.ipynb"}, "VS Code"),
        (
            {"JPY_PARENT_PID": "1", "JPY_SESSION_NAME": "x.ipynb"},
            {},
            "a Jupyter server: JupyterLab, Notebook or another page of it",
        ),
        ({"JPY_SESSION_NAME": "x.ipynb", "JUPYTERHUB_SERVICE_PREFIX": "/u/"}, {}, "JupyterHub"),
        ({"JPY_PARENT_PID": "1", "COLAB_RELEASE_TAG": "x"}, {}, "Google Colab"),
    ],
)
def test_front_end(
    registry: SpecRegistry,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    user_ns: dict[str, str],
    expected: str,
) -> None:
    """It is told by what it leaves in the kernel's environment, as far as it leaves something."""
    for name, _ in doctor._FRONT_ENDS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert one(looked_at(registry, shell=in_a_kernel(user_ns=user_ns)), "front end").found == expected


class KernelOfAKind:
    """A kernel made from ipykernel's."""

    __module__ = "ipykernel.ipkernel"


@pytest.mark.parametrize(
    ("shell", "awaited", "version", "found", "state", "remedy"),
    [
        (in_a_kernel(), True, "7.4.0", "yes: buttons and panels act", "ok", ""),
        (in_a_kernel(), False, "7.4.0", "off, as it is set", "ok", ""),
        (SimpleNamespace(), "a terminal", "7.4.0", "no: a terminal", "ok", ""),
        (
            in_a_kernel(kernel=KernelOfAKind()),
            "it is old",
            "7.3.0",
            "no: it is old",
            "attention",
            "run  %pip install 'ipykernel>=7.4'  and restart the kernel; until then interrupt",
        ),
        (
            in_a_kernel(kernel=KernelOfAKind(), autoawait=False),
            "autoawait is off",
            "7.4.0",
            "no: autoawait is off",
            "attention",
            "run  %autoawait on",
        ),
        (in_a_kernel(), "not ours", "7.3.0", "no: not ours", "attention", "nothing is lost but buttons"),
    ],
)
def test_awaited_cells(
    registry: SpecRegistry,
    monkeypatch: pytest.MonkeyPatch,
    shell: object,
    awaited: bool | str,
    version: str,
    found: str,
    state: str,
    remedy: str,
) -> None:
    """Where cells are not awaited it says why, and what would change it."""
    monkeypatch.setattr(packages, "installed", lambda _: version)
    check = one(looked_at(registry, shell=shell, awaited=awaited), "awaited cells")

    assert check.found.startswith(found)
    assert check.state == state
    assert check.remedy.startswith(remedy)
    assert bool(check.remedy) is bool(remedy)


class Patched(asyncio.SelectorEventLoop):
    """A loop with the mark of the archived package."""

    _nest_patched = True

    def run_until_complete(self, future: Any) -> Any:
        return super().run_until_complete(future)

    run_until_complete.__module__ = "nest_asyncio"


@pytest.mark.parametrize(
    ("version", "found", "state"),
    [
        ("7.0.1", "patched by nest_asyncio 7.0.1", "ok"),
        ("7.1.0", "patched by nest_asyncio 7.1.0, after which queued cells (Run All) never run", "attention"),
        ("7.4.0", "patched by nest_asyncio 7.4.0, after which queued cells (Run All) never run", "attention"),
    ],
)
def test_a_patched_loop(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, version: str, found: str, state: str
) -> None:
    """What the archived package does to an ipykernel is told where it does it."""
    monkeypatch.setattr(packages, "installed", lambda _: version)
    shell = in_a_kernel(kernel=KernelOfAKind())

    async def look() -> list[Check]:
        return looked_at(registry, shell=shell)

    with asyncio.Runner(loop_factory=Patched) as runner:
        check = one(runner.run(look()), "event loop")

    assert check.found.endswith(found)
    assert check.state == state
    assert ("%llm nest" in check.remedy) is (state == "attention")


# Settings and chain


def test_the_settings_file(registry: SpecRegistry, tmp_path: Path) -> None:
    """It is named, whether it is there or not."""
    file = tmp_path / "settings.toml"
    settings = Settings(chain="sim/echo", path=file)

    assert one(looked_at(registry, settings=settings), "settings").found == f"none; they would be in {file}"
    file.touch()
    assert one(looked_at(registry, settings=settings), "settings").found == str(file)


@pytest.mark.parametrize(
    ("chain", "found", "state"),
    [
        ("sim/echo", "sim/echo, from user: /home/ann/settings.toml, line 1", "ok"),
        ("lab/a,sim/echo", "lab/a,sim/echo, from user: /home/ann/settings.toml, line 1", "ok"),
        ("lab/a", "lab/a, from user: /home/ann/settings.toml, line 1; no model of it has its key", "missing"),
        (",", ",, from user: /home/ann/settings.toml, line 1, names no model", "missing"),
        ("smi/echo", "smi/echo: 'smi/echo': unknown provider 'smi'; did you mean 'sim'?", "missing"),
    ],
)
def test_the_default_chain(registry: SpecRegistry, chain: str, found: str, state: str) -> None:
    """Whether a cell can ask it, and where it was set."""
    registry.register("lab", Keyed("LAB_KEY"))
    check = one(looked_at(registry, chain), "default chain")

    assert check.found.startswith(found)
    assert check.state == state
    assert bool(check.remedy) is (state != "ok")


@pytest.mark.parametrize("is_installed", [True, False])
def test_no_chain_is_set(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, is_installed: bool) -> None:
    """What answers then is told, and where to set one."""
    monkeypatch.setattr(local, "available", lambda: is_installed)
    check = one(looked_at(registry, None), "default chain")

    assert check.found.startswith(
        f"none is set, so {'local/smollm2' if is_installed else 'sim/echo'} answers"
    )
    assert (check.state, check.remedy) == (
        "attention",
        "run  %llm chain provider/model  in a notebook, or set chain in /home/ann/settings.toml",
    )


# Keys


def test_keys_of_the_chain_come_first(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the chain's order; then what else is set; what nobody needs and has not is left out."""
    for name in "abcd":
        registry.register(name, Keyed(f"{name.upper()}_KEY"))
    monkeypatch.setenv("A_KEY", CANARY)
    monkeypatch.setenv("C_KEY", CANARY)
    found = looked_at(registry, "d/x,c/x,sim/echo")

    assert [(check.what, check.found, check.state) for check in found if check.what.endswith("_KEY")] == [
        ("D_KEY", "not set; the default chain needs it for d", "missing"),
        ("C_KEY", "set; the default chain needs it for c", "ok"),
        ("A_KEY", "set; for a", "ok"),
    ]
    assert CANARY not in str(found)


def test_how_to_set_a_key(registry: SpecRegistry) -> None:
    """In a notebook by a prompt, which leaves nothing in it; outside in the environment."""
    registry.register("lab", Keyed("LAB_KEY"))
    inside = one(looked_at(registry, "lab/a", shell=in_a_kernel()), "LAB_KEY")
    outside = one(looked_at(registry, "lab/a"), "LAB_KEY")

    assert inside.remedy == 'run  import os, getpass; os.environ["LAB_KEY"] = getpass.getpass()'
    assert outside.remedy == "set it in the environment that Jupyter is started in"


def test_a_provider_with_two_variables(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its line."""
    registry.register("lab", Keyed("LAB_KEY", "LAB_ADDRESS"))
    found = looked_at(registry, "lab/a")

    assert [check.what for check in found if check.what.startswith("LAB_")] == ["LAB_KEY", "LAB_ADDRESS"]


def test_two_providers_with_one_variable(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names both."""
    registry.register("lab", Keyed("LAB_KEY"))
    registry.register("other", Keyed("LAB_KEY"))
    monkeypatch.setenv("LAB_KEY", CANARY)

    assert one(looked_at(registry), "LAB_KEY").found == "set; for lab, other"


@pytest.mark.parametrize(
    ("value", "found", "remedy"),
    [
        (f"'{CANARY}'", "set, but it stands in quotes", "set it without the quotes"),
        (f"{CANARY} x", "set, but it holds a blank", "copy the key anew"),
        (f"{CANARY}é", "set, but it holds a character that no header can carry", "copy the key anew"),
    ],
)
def test_a_value_that_is_no_key(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, value: str, found: str, remedy: str
) -> None:
    """It is told without being shown."""
    registry.register("lab", Keyed("LAB_KEY"))
    monkeypatch.setenv("LAB_KEY", value)
    all_found = looked_at(registry, "lab/a,sim/echo")
    check = one(all_found, "LAB_KEY")

    assert check.found.startswith(found)
    assert (check.state, check.remedy) == ("attention", remedy)
    assert CANARY not in str(all_found)


def test_blanks_around_a_key_are_no_trouble(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never sent; a variable with nothing else is not set."""
    registry.register("lab", Keyed("LAB_KEY"))
    monkeypatch.setenv("LAB_KEY", f" {CANARY}\n")
    assert one(looked_at(registry, "lab/a"), "LAB_KEY").state == "ok"

    monkeypatch.setenv("LAB_KEY", " \n")
    assert one(looked_at(registry, "lab/a"), "LAB_KEY").state == "missing"


# This machine


def test_the_embedded_model(registry: SpecRegistry, embedded: Path) -> None:
    """Its file is named where it is ready."""
    assert one(looked_at(registry), "local/smollm2").found == f"ready: {embedded}"


@pytest.mark.parametrize(("chain", "state"), [("sim/echo", "attention"), ("local/smollm2", "missing")])
def test_weights_are_missing(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, chain: str, state: str
) -> None:
    """How bad that is, the chain decides; the command is one for the place."""
    monkeypatch.delenv(weights.WEIGHTS_VARIABLE)
    monkeypatch.setattr(weights, "find", lambda: None)
    check = one(looked_at(registry, chain), "local/smollm2")

    assert (check.found, check.state) == ("not installed: its weights (98 MB) are missing", state)
    assert check.remedy == "run  llm-failover-nb local install"
    inside = one(looked_at(registry, chain, shell=in_a_kernel()), "local/smollm2")
    assert inside.remedy == "run  !llm-failover-nb local install"


def test_the_extra_is_missing(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what runs them, no local model is ready."""
    monkeypatch.setattr(local, "extra_installed", lambda: False)
    check = one(looked_at(registry), "local/smollm2")

    assert check.found == "not installed: xllamacpp, which runs it, is missing"
    assert check.remedy == "run  pip install 'llm-failover-nb[local]'"


def test_weights_that_are_named_and_not_there(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that names them is told."""
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, "/nowhere/at-all.gguf")
    assert weights.WEIGHTS_VARIABLE in one(looked_at(registry), "local/smollm2").remedy


def test_models_of_the_users_own(registry: SpecRegistry, tmp_path: Path) -> None:
    """One whose file is gone is told."""
    there, gone = tmp_path / "there.gguf", tmp_path / "gone.gguf"
    there.touch()
    settings = Settings(chain="sim/echo", local={"a": there, "b": gone})
    found = looked_at(registry, settings=settings)

    assert one(found, "local/a") == Check("local/a", f"ready: {there}")
    assert one(found, "local/b").found == f"{gone} is no file"
    assert one(found, "local/b").remedy == "correct its path in the settings"


@pytest.mark.parametrize(
    ("address", "found", "state"),
    [
        (f"http://ann:{CANARY}@proxy.test:3128", "proxy.test:3128", "ok"),
        ("proxy.test:3128", "proxy.test:3128", "ok"),
        ("https://proxy.test", "proxy.test", "ok"),
        (f"http://ann:{CANARY}@proxy.test:port", "is no address", "attention"),
        ("socks4://proxy.test:1", "proxy.test:1, of a kind that cannot be used", "attention"),
        (f"socks9://{CANARY}@", "no host, of a kind that cannot be used", "attention"),
    ],
)
def test_a_proxy(
    registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, address: str, found: str, state: str
) -> None:
    """Its host is shown, and nothing else of it."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    all_found = looked_at(registry)
    check = one(all_found, "proxy for https")

    assert (check.found, check.state) == (found, state)
    assert bool(check.remedy) is (state != "ok")
    assert CANARY not in str(all_found)


def test_a_socks_proxy(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a package more."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test:1080")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert one(looked_at(registry), "proxy for all").remedy == "run  pip install 'httpx[socks]'"

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert one(looked_at(registry), "proxy for all").found == "proxy.test:1080"


def test_certificates(registry: SpecRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that are named must be there."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    found = looked_at(registry)

    assert one(found, "SSL_CERT_DIR") == Check("SSL_CERT_DIR", str(tmp_path))
    assert one(found, "SSL_CERT_FILE").state == "missing"
    assert one(found, "SSL_CERT_FILE").remedy == "correct SSL_CERT_FILE, or unset it"


# Packages


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What to pretend of packages, by name."""
    pretended: dict[str, str | None] = {}
    installed = packages.installed
    monkeypatch.setattr(
        packages, "installed", lambda name: pretended[name] if name in pretended else installed(name)
    )
    return pretended


def test_packages_and_their_versions(registry: SpecRegistry) -> None:
    """Those that matter are named with the version that is installed."""
    assert f"httpx {metadata.version('httpx')}" in one(looked_at(registry), "packages").found.split(", ")


def test_a_needed_package_is_missing(registry: SpecRegistry, versions: dict[str, str | None]) -> None:
    """It has a line of its own."""
    versions["nh3"] = None

    assert one(looked_at(registry), "nh3") == Check(
        "nh3", "not installed, and no cell runs without it", "missing", "run  pip install 'nh3>=0.2.18'"
    )


def test_a_package_is_too_old(
    registry: SpecRegistry, versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So has one that is older than what is known to do."""
    versions["aiohttp"] = "3.11.9"
    monkeypatch.setattr(packages, "loaded", lambda _: None)  # whatever ran before
    check = one(looked_at(registry, shell=in_a_kernel()), "aiohttp")

    assert check.found == "3.11.9 is older than 3.12, the oldest that is known to do"
    assert check.remedy == "run  %pip install 'aiohttp>=3.12'  and restart the kernel"


def test_a_package_was_replaced_under_the_kernel(
    registry: SpecRegistry, versions: dict[str, str | None]
) -> None:
    """What was loaded before an update stays until a restart."""
    loaded, versions["httpx"] = packages.loaded("httpx"), "99.1"
    check = one(looked_at(registry), "httpx")

    assert check.found == f"99.1 is installed, but this process has loaded {loaded} and keeps it"
    assert check.remedy == "restart the kernel"


def test_extras_that_are_not_installed(registry: SpecRegistry, versions: dict[str, str | None]) -> None:
    """They are named with what they bring; nothing is amiss."""
    versions["pandas"] = None
    check = one(looked_at(registry), "not installed")

    assert "pandas (%llm events as a DataFrame; llm-failover-nb[frames])" in check.found
    assert check.state == "ok"


def test_an_alias_in_a_circle(registry: SpecRegistry) -> None:
    """A chain that cannot be read is one line, and the keys are told all the same."""
    registry.alias("round", "round")
    with pytest.raises(ChainSpecError):
        registry.expand("round")
    found = looked_at(registry, "round")

    assert "stands for itself" in one(found, "default chain").found
    assert one(found, "keys").state == "ok"
