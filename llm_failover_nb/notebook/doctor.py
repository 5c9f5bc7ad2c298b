"""``%llm doctor``: what this Python, this kernel and these settings have and lack, as data.

Each question is a small function, and one that fails says so in a line of its own: a doctor who faints helps
nobody. Nothing is shown or changed here, nothing is sent, and no key's value is in what is returned.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.secret import redact
from llm_failover_nb.notebook import nest, packages
from llm_failover_nb.notebook.key_values import trouble_with
from llm_failover_nb.notebook.state import default_choice
from llm_failover_nb.providers import local, weights
from llm_failover_nb.providers.endpoint import secret_in
from llm_failover_nb.settings import EMBEDDED_MODEL, Settings, SettingsError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from llm_failover_nb.engine.registry import ProviderInfo, SpecRegistry

__all__ = ["Check", "State", "checks"]

State = Literal["ok", "attention", "missing"]
"""``missing``: a cell cannot do what is set without it. ``attention``: it goes on, not as it might."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        what: Its name.
        found: How it stands, in a line.
        state: How good that is.
        remedy: What to do, in a line; empty where nothing is amiss.
    """

    what: str
    found: str
    state: State = "ok"
    remedy: str = ""


def checks(
    shell: InteractiveShell | None,
    *,
    registry: SpecRegistry,
    settings: Settings | SettingsError,
    awaited: bool | str,
) -> tuple[Check, ...]:
    """Look at everything, in a fixed order: quick, and never an exception.

    Args:
        shell: The shell that asks; ``None`` outside of one, where kernel and loop are not looked at.
        registry: The providers and aliases, brought to the settings.
        settings: What is set, or why it cannot be read.
        awaited: Whether the cells of the shell are awaited; where they are not, why, in a few words, or
            ``False`` where that is what the user has set.
    """
    patient = _Patient(shell, registry, settings, awaited)
    return tuple(check for what, look in _QUESTIONS for check in _seen(what, look, patient))


@dataclass(frozen=True, slots=True)
class _Patient:
    """All that is looked at."""

    shell: InteractiveShell | None
    registry: SpecRegistry
    read: Settings | SettingsError
    awaited: bool | str

    @property
    def settings(self) -> Settings:
        if isinstance(self.read, SettingsError):
            raise self.read.with_traceback(None)
        return self.read

    @property
    def kernel(self) -> object | None:
        return getattr(self.shell, "kernel", None)

    @property
    def chain(self) -> str:
        """What a cell asks that names no chain."""
        return default_choice(self.settings).chain

    @property
    def specs(self) -> list[str]:
        """The models of that; none where it cannot be read, which its own line tells."""
        try:
            return self.registry.expand(self.chain)
        except SettingsError:
            raise
        except FailoverError:
            return []

    def install(self, requirement: str) -> str:
        """How to install it where this Python will find it."""
        if self.shell is None:
            return f"run  pip install '{requirement}'"
        return f"run  %pip install '{requirement}'  and restart the kernel"


_EMBEDDED = f"local/{EMBEDDED_MODEL}"


def _seen(what: str, look: _Question, patient: _Patient) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(look(patient))
    except SettingsError:
        # What is wrong with them has a line of its own.
        found.append(Check(what, "not known while the settings cannot be read", "attention", "correct them"))
    except Exception as error:  # noqa: BLE001  # other people's objects; the other answers are still good
        said = redact(" ".join(str(error).split()))
        remedy = "go on without this line; if it comes again, please report it"
        found.append(Check(what, f"cannot be told: {type(error).__name__}: {said}", "attention", remedy))
    return found


# Python and the notebook


def _python(_: _Patient) -> Iterator[Check]:
    # The folder, too: many a package is not found because it was installed into another Python.
    yield Check("Python", f"{platform.python_version()} on {platform.system()}, in {sys.prefix}")


def _ipython(_: _Patient) -> Iterator[Check]:
    if (version := packages.installed("ipython")) is not None:  # else it is among the packages
        yield Check("IPython", version)


def _kernel(patient: _Patient) -> Iterator[Check]:
    version = packages.installed("ipykernel")
    if patient.kernel is not None:
        yield Check("kernel", _with_version(type(patient.kernel).__module__.partition(".")[0]))
    elif patient.shell is not None:
        yield Check("kernel", "none: this is IPython in a terminal, where outputs are plain text")
    elif version is not None:
        yield Check("kernel", f"ipykernel {version} is installed; %llm doctor in a notebook looks inside")
    else:
        remedy = f"{patient.install('llm-failover-nb[lab]')}; IPython in a terminal needs neither"
        yield Check("kernel", "ipykernel is missing, so no notebook can use this Python", "attention", remedy)


# What each puts into the environment of its kernels, the most telling first.
_FRONT_ENDS = (
    ("COLAB_RELEASE_TAG", "Google Colab"),
    ("KAGGLE_KERNEL_RUN_TYPE", "Kaggle"),
    ("DATABRICKS_RUNTIME_VERSION", "Databricks"),
    ("BINDER_LAUNCH_HOST", "Binder"),
    ("JUPYTERHUB_SERVICE_PREFIX", "JupyterHub"),
    ("JPY_SESSION_NAME", "a Jupyter server: JupyterLab, Notebook or another page of it"),
    ("JPY_PARENT_PID", "a Jupyter client, such as nbclient, papermill or an editor"),
)


def _front_end(patient: _Patient) -> Iterator[Check]:
    if patient.shell is None or patient.kernel is None:
        return
    if "__vsc_ipynb_file__" in patient.shell.user_ns:
        yield Check("front end", "VS Code")
        return
    names = (name for variable, name in _FRONT_ENDS if os.environ.get(variable))
    yield Check("front end", next(names, "not known"))


# Measured from 6.29.5 to 7.4.0: the first ipykernel that serves a widget's messages to a cell that waits, and
# the first whose queued cells never run after nest_asyncio.
_SERVES_WAITING_CELLS = "7.4"
_STOPPED_BY_NEST_ASYNCIO = "7.1"


def _awaited(patient: _Patient) -> Iterator[Check]:
    if patient.shell is None:
        return
    if patient.awaited is True:
        yield Check("awaited cells", "yes: buttons and panels act while a %%llm cell waits")
    elif not patient.awaited:
        yield Check("awaited cells", "off, as it is set: a %%llm cell keeps the kernel to itself")
    elif patient.kernel is None:
        yield Check("awaited cells", f"no: {patient.awaited}")
    else:
        yield Check("awaited cells", f"no: {patient.awaited}", "attention", _how_to_await(patient))


def _how_to_await(patient: _Patient) -> str:
    version = _ipykernel(patient)
    if version is not None and not packages.is_from(version, _SERVES_WAITING_CELLS):
        return (
            f"{patient.install(f'ipykernel>={_SERVES_WAITING_CELLS}')}; until then interrupt to stop a cell"
        )
    if not getattr(patient.shell, "autoawait", True):
        return "run  %autoawait on"
    return "nothing is lost but buttons: interrupt the kernel to stop a cell"


def _ipykernel(patient: _Patient) -> str | None:
    """The version of the ipykernel that runs, if one does, or what is made from it."""
    classes = {cls.__module__.partition(".")[0] for cls in type(patient.kernel).__mro__}
    return packages.installed("ipykernel") if "ipykernel" in classes else None


def _loop(patient: _Patient) -> Iterator[Check]:
    if patient.shell is None:
        return
    loop = nest.running_loop()
    if loop is None:
        yield Check("event loop", "none runs while a cell does, so asyncio.run works as it is")
        return
    kind, by = _with_version(nest.kind_of(loop)), nest.patched_by(loop)
    if by is None:
        yield Check("event loop", f"{kind}, not patched")
    elif by == "nest_asyncio" and packages.is_from(_ipykernel(patient) or "", _STOPPED_BY_NEST_ASYNCIO):
        yield Check(
            "event loop",
            f"{kind}, patched by {_with_version(by)}, after which queued cells (Run All) never run",
            "attention",
            "restart the kernel, leave nest_asyncio.apply() out and run  %llm nest  in its place",
        )
    else:
        yield Check("event loop", f"{kind}, patched by {_with_version(by)}")


# Settings and chain


def _settings(patient: _Patient) -> Iterator[Check]:
    if isinstance(patient.read, SettingsError):
        remedy = "correct it as it says: until then no cell runs"
        yield Check("settings", str(patient.read), "missing", remedy)
    elif (path := patient.settings.path) is not None:
        yield Check("settings", str(path) if path.is_file() else f"none; they would be in {path}")
    if isinstance(patient.read, SettingsError):
        return
    for note in patient.settings.notes:
        yield Check("settings", note, "attention", "see to that file, if it is meant to count")
    if (untrusted := patient.settings.untrusted) is not None:
        remedy = "run  %llm trust  to see what it wants and allow it"
        yield Check("project", f"a part of {untrusted.path} is not trusted yet", "attention", remedy)
    elif patient.settings.project is not None:
        yield Check("project", str(patient.settings.project))


def _chain(patient: _Patient) -> Iterator[Check]:
    settings, chain = patient.settings, patient.chain
    try:
        models = [patient.registry.model(spec) for spec in patient.registry.expand(chain)]
    except SettingsError:
        raise
    except FailoverError as error:
        yield Check("default chain", f"{chain}: {error}", "missing", "correct the chain, or set another")
        return
    if settings.chain is None:
        what = "a small model on this machine, often wrong" if chain == _EMBEDDED else "it repeats the prompt"
        where = settings.path or "the settings"
        remedy = f"run  %llm chain provider/model  in a notebook, or set chain in {where}"
        yield Check("default chain", f"none is set, so {chain} answers: {what}", "attention", remedy)
        return
    origin = settings.origins.get("chain")
    found = f"{chain}, from {origin.words}" if origin is not None else chain
    lacking = [model.spec for model in models if getattr(model.provider, "missing_key", None)]
    if len(lacking) < len(models):
        yield Check("default chain", found)
    elif models:
        remedy = "set a key, see below, or add a model that needs none"
        yield Check("default chain", f"{found}; no model of it has its key", "missing", remedy)
    else:
        yield Check("default chain", f"{found}, names no model", "missing", "name one, as provider/model")


# Keys: names of variables, and what makes a value no key


_VARIABLES = re.compile(r"[A-Za-z_]\w*(?: and [A-Za-z_]\w*)*")


def _keys(patient: _Patient) -> Iterator[Check]:
    """What the default chain needs first, in its order; of the others what is set."""
    order = list(dict.fromkeys(spec.partition("/")[0] for spec in patient.specs))
    users: dict[str, list[str]] = {}
    for info in sorted(patient.registry.providers(), key=lambda info: _place(info.name, order)):
        for variable in _variables_of(info):
            users.setdefault(variable, []).append(info.name)
    needed = {variable for variable, names in users.items() if not set(order).isdisjoint(names)}
    told = [variable for variable in users if variable in needed or os.environ.get(variable, "").strip()]
    for variable in told:
        names = [name for name in users[variable] if name in order or variable not in needed]
        use = "the default chain needs it for" if variable in needed else "for"
        yield _key(variable, f"{use} {', '.join(names)}", patient)
    if not told:
        yield Check("keys", "none is set, and the default chain needs none")


def _place(name: str, order: list[str]) -> int:
    return order.index(name) if name in order else len(order)


def _variables_of(info: ProviderInfo) -> list[str]:
    """The variables that a provider reads; what it lacks may be told in other words."""
    lacking = info.missing.split(" and ") if _VARIABLES.fullmatch(info.missing) else ()
    return list(dict.fromkeys(filter(None, (info.key_env, *lacking))))


def _key(variable: str, use: str, patient: _Patient) -> Check:
    secret = secret_in(variable)  # from now on masked in whatever is said
    if secret is None:
        return Check(variable, f"not set; {use}", "missing", _how_to_set(variable, patient))
    trouble = trouble_with(secret.reveal(), variable)
    if trouble is None:
        return Check(variable, f"set; {use}")
    return Check(variable, f"set, but it {trouble.what}; {use}", "attention", trouble.remedy)


def _how_to_set(variable: str, patient: _Patient) -> str:
    if patient.shell is None:
        return "set it in the environment that Jupyter is started in"
    # Not %env, which leaves the key in the notebook.
    return f'run  import os, getpass; os.environ["{variable}"] = getpass.getpass()'


# This machine


def _local_models(patient: _Patient) -> Iterator[Check]:
    specs, file = patient.specs, weights.find()
    files = {_EMBEDDED: file} | {f"local/{name}": path for name, path in patient.settings.local.items()}
    for spec, path in files.items():
        if (lacking := _lacking(spec, path, patient)) is None:
            yield Check(spec, f"ready: {path}")
        else:
            found, remedy = lacking
            yield Check(spec, found, "missing" if spec in specs else "attention", remedy)


def _lacking(spec: str, path: Path | None, patient: _Patient) -> tuple[str, str] | None:
    """What a local model lacks, and the remedy; ``None`` when it is ready."""
    if not local.extra_installed():
        remedy = patient.install("llm-failover-nb[local]")
        return "not installed: xllamacpp, which runs it, is missing", remedy
    if spec == _EMBEDDED and path is None:
        if os.environ.get(weights.WEIGHTS_VARIABLE):
            return "not installed", weights.why_missing()
        sign = "" if patient.shell is None else "!"
        return "not installed: its weights (98 MB) are missing", f"run  {sign}{weights.INSTALL_COMMAND}"
    if path is None or not path.is_file():
        return f"{path} is no file", "correct its path in the settings"
    return None


_PROXY_KINDS = ("http", "https", "socks5", "socks5h")


def _proxies(patient: _Patient) -> Iterator[Check]:
    proxies = urllib.request.getproxies()
    named = {kind: proxies[kind] for kind in ("all", "http", "https") if proxies.get(kind)}
    for use, address in named.items():
        yield _proxy(use, address if "://" in address else f"http://{address}", patient)
    if not named:
        yield Check("proxy", "none is set")


def _proxy(use: str, address: str, patient: _Patient) -> Check:
    what, variable = f"proxy for {use}", f"{use.upper()}_PROXY"
    try:
        url = urlsplit(address)
        # Host and port alone: what stands before them may be a password.
        found = f"{url.hostname or 'no host'}{f':{url.port}' if url.port else ''}"
    except ValueError:
        return Check(what, "is no address", "attention", f"correct {variable}, or unset it")
    if url.hostname is None or url.scheme not in _PROXY_KINDS:
        remedy = f"name an http or https proxy in {variable}, or unset it"
        return Check(what, f"{found}, of a kind that cannot be used", "attention", remedy)
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        remedy = patient.install("httpx[socks]")
        return Check(what, f"{found}, over {url.scheme}, which takes one more package", "attention", remedy)
    return Check(what, found)


def _certificates(_: _Patient) -> Iterator[Check]:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if named := os.environ.get(variable):
            if Path(named).exists():
                yield Check(variable, named)
            else:
                found = f"{named} is not there, so no https address can be reached"
                yield Check(variable, found, "missing", f"correct {variable}, or unset it")


def _packages(patient: _Patient) -> Iterator[Check]:
    known = (*packages.REQUIRED, *packages.OPTIONAL)
    versions = {package: packages.installed(package.name) for package in known}
    for what, these in (("packages", packages.REQUIRED), ("extras", packages.OPTIONAL)):
        told = [f"{one.name} {version}" for one in these if (version := versions[one])]
        yield Check(what, ", ".join(told) or "none")
    for package, version in versions.items():
        if version is not None:
            yield from _amiss(package, version, patient)
        elif package in packages.REQUIRED:
            remedy = patient.install(_requirement(package))
            yield Check(package.name, "not installed, and no cell runs without it", "missing", remedy)
    absent = [package for package, version in versions.items() if version is None and package.extra]
    if absent:
        uses = (f"{one.name} ({one.use}; llm-failover-nb[{one.extra}])" for one in absent)
        yield Check("not installed", ", ".join(uses))


def _amiss(package: packages.Package, version: str, patient: _Patient) -> Iterator[Check]:
    if not packages.is_from(version, package.least):
        found = f"{version} is older than {package.least}, the oldest that is known to do"
        yield Check(package.name, found, "attention", patient.install(_requirement(package)))
    if (loaded := packages.loaded(package.name)) is not None and loaded != version:
        found = f"{version} is installed, but this process has loaded {loaded} and keeps it"
        yield Check(package.name, found, "attention", "restart the kernel")


def _requirement(package: packages.Package) -> str:
    return f"{package.name}>={package.least}"


def _with_version(module: str) -> str:
    version = packages.installed(module)
    return f"{module} {version}" if version else module


_Question = Callable[[_Patient], Iterable[Check]]

_QUESTIONS: tuple[tuple[str, _Question], ...] = (
    ("Python", _python),
    ("IPython", _ipython),
    ("kernel", _kernel),
    ("front end", _front_end),
    ("awaited cells", _awaited),
    ("event loop", _loop),
    ("settings", _settings),
    ("default chain", _chain),
    ("keys", _keys),
    ("local models", _local_models),
    ("proxy", _proxies),
    ("certificates", _certificates),
    ("packages", _packages),
)
