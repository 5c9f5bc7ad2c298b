"""``%llm trust``: show what a project's file wants, ask, and keep the answer. Nothing is trusted unasked.

Functions of the settings and of somebody who answers; they return what to print. The list of trusted files is
`settings/trust.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from IPython.core.error import StdinNotImplementedError

from llm_failover_nb.engine import builtin_providers
from llm_failover_nb.providers import presets
from llm_failover_nb.settings import ProviderSettings, Settings, Untrusted, trust

__all__ = ["trust_project", "wanted", "withdraw_trust"]

_YES = ("y", "yes")


def trust_project(settings: Settings, ask: Callable[[str], str]) -> str:
    """Let the user allow what the project's file wants.

    Args:
        settings: As they were loaded; what is shown of them is what can be allowed, and nothing newer.
        ask: Shows a text and returns the answer, as ``input`` does. Where nobody can answer it raises
            ``EOFError`` or IPython's ``StdinNotImplementedError``, which count as a no.

    Returns:
        What to print.

    Raises:
        SettingsError: When the answer cannot be kept.
    """
    untrusted = settings.untrusted
    if untrusted is None:
        return _nothing_to_ask(settings)
    wants = wanted(untrusted)
    path = _printable(str(untrusted.path))
    try:
        answer = ask(f"{wants}\nAllow this, as long as the file stays as it is? [y/N] ")
    except (EOFError, StdinNotImplementedError):
        return f"{wants}\n{path} is not trusted, for nobody can be asked here; run %llm trust in a notebook"
    if answer.strip().lower() not in _YES:
        return f"{path} is not trusted; its chains, aliases and numbers count, and nothing else in it"
    trust.accept(untrusted.path, untrusted.content)
    return f"{path} is trusted as long as it stays as it is; the next cell uses all of it"


def withdraw_trust(settings: Settings) -> str:
    """Trust the project's file no longer.

    Returns:
        What to print.

    Raises:
        SettingsError: When that cannot be kept.
    """
    if settings.project is None:
        return _nothing_to_ask(settings)
    path = _printable(str(settings.project))
    if trust.withdraw(settings.project):
        return f"{path} is no longer trusted; its chains, aliases and numbers count, and nothing else in it"
    return f"{path} was not trusted"


def wanted(untrusted: Untrusted) -> str:
    """What the file asks for, a line each: hosts with the variables of their keys, and files to load."""
    lines = [f"{_printable(str(untrusted.path))} wants this, which is left out until you trust it:"]
    return "\n".join([*lines, *(f"  {line}" for line in _wishes(untrusted))])


def _wishes(untrusted: Untrusted) -> Iterator[str]:
    for name, entry in sorted(untrusted.providers.items()):
        yield _printable(f"{_line(untrusted, f'providers.{name}')}{_provider(name, entry)}")
    for name, file in sorted(untrusted.models.items()):
        yield _printable(f"{_line(untrusted, f'local.models.{name}')}local/{name}: loads {file}")
    for name, chain in sorted(untrusted.chains.items()):
        yield _printable(f"{_line(untrusted, name)}{name}: names a file to load, {chain}")


def _line(untrusted: Untrusted, name: str) -> str:
    line = untrusted.origins[name].line
    return f"line {line}, " if line else ""


def _provider(name: str, entry: ProviderSettings) -> str:
    url = entry.base_url if entry.base_url.isascii() else ascii(entry.base_url)  # letters that look alike
    said = f"{name}/…: sends prompts to {url}, {_key(name, entry)}"
    if name in builtin_providers:
        said += f", in place of the built-in {name}"
    if entry.headers:
        said += (
            f", with the headers {', '.join(f'{header}: {text}' for header, text in entry.headers.items())}"
        )
    return said


def _key(name: str, entry: ProviderSettings) -> str:
    """The variable whose value would be sent, also where the entry leaves that to a built-in name."""
    try:
        provider = presets.configured(name, entry)
    except ValueError:
        variable = entry.key_env  # it cannot be used as it stands, which is told where it is asked for
    else:
        variable = provider.key_env
    if variable is None:
        return "without a key"
    return f"with the key in {variable}{', unencrypted' if entry.allow_http else ''}"


def _nothing_to_ask(settings: Settings) -> str:
    if settings.project is None:
        return (
            "there is no project file here: neither llm_failover.toml nor [tool.llm_failover] in "
            "pyproject.toml, in this folder or above it"
        )
    return f"{_printable(str(settings.project))}: nothing in it is left out"


def _printable(text: str) -> str:
    """One line without characters that act on a terminal, or turn around what stands beside them."""
    return text if text.isprintable() else ascii(text)
