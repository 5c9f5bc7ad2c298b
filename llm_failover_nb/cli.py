"""The command ``llm-failover-nb``: arguments, wording, exit codes. What a command does is elsewhere.

Exit codes: 0 it worked, 1 it did not (one line on standard error says why), 2 wrong usage, 130 interrupted;
``rehearse``, which has no other end, is interrupted with 0.
Everything heavy is imported by the command that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import llm_failover_nb
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.notebook.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_failover_nb.notebook.doctor import Check
    from llm_failover_nb.testing.fault_server import FaultServer

__all__ = ["CommandError", "main"]

PROGRAM = "llm-failover-nb"

_OK, _FAILED, _INTERRUPTED = 0, 1, 130

_REHEARSAL_PORT = 8010
_REHEARSAL_KEEPS = 100  # requests that a server, which may run for days, remembers

_EXAMPLES = """\
examples:
  llm-failover-nb quickstart              run the first notebook and open it in JupyterLab
  llm-failover-nb quickstart --headless   run it and print what its cells print
  llm-failover-nb local install           fetch the small model that needs no key and no network
  llm-failover-nb local path              say where its weights are
  llm-failover-nb doctor                  say what is missing here, and what to do about it
  llm-failover-nb rehearse                serve models that fail on purpose, to any client
"""

_DOCTOR = """\
Look at Python, its packages, the settings, keys (the names of their variables alone) and the local model, and
say what to do about what is amiss. Nothing is sent. The exit code is 0 when nothing is missing that cells
need. In a notebook, %llm doctor looks at the kernel too.
"""

_QUICKSTART = """\
examples:
  llm-failover-nb quickstart
  llm-failover-nb quickstart --headless
  llm-failover-nb quickstart -- --no-browser --port=8890
"""

_REHEARSE = """\
examples:
  llm-failover-nb rehearse
  llm-failover-nb rehearse --port 0 --key secret

Point a client at one of the base URLs that it prints, and name the failure as the model:
503x2+echo fails twice and then answers, 429:30 asks to wait, cut:40 breaks off, silent stays silent.

  curl http://127.0.0.1:8010/v1/chat/completions \\
    -d '{"model": "503x2+echo", "messages": [{"role": "user", "content": "Hello"}]}'
"""

_LAB_HINT = f"; options for JupyterLab go after --, as in  {PROGRAM} quickstart -- --no-browser"


class CommandError(FailoverError):
    """A command cannot do what it was asked; the message says what to do."""


class _Command(Protocol):
    def __call__(self, arguments: argparse.Namespace, /) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments, without the program's name; those of the process unless given.

    Returns:
        The exit code.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after ``--help`` and ``--version``.
    """
    arguments = _parsed(argv)
    command: _Command = arguments.command
    try:
        return command(arguments)
    except (FailoverError, OSError) as error:
        _say(str(error))
        return _FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; those that nobody knows are an error with a hint, which argparse's own has not."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.usage_error(f"unrecognized arguments: {' '.join(unknown)}{arguments.hint}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Notebook cells that go on when a language model does not.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {llm_failover_nb.__version__}")
    parser.set_defaults(usage_error=parser.error, hint="")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("doctor", help="what is missing here", description=_DOCTOR).set_defaults(
        command=_doctor
    )
    _add_local(commands.add_parser("local", help="the small model that runs on this machine"))
    _add_quickstart(
        commands.add_parser(
            "quickstart",
            help="run the first notebook and open it",
            description="Run the first notebook, write it with its outputs and open it in JupyterLab.",
            epilog=_QUICKSTART,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_rehearse(
        commands.add_parser(
            "rehearse",
            help="serve models that fail on purpose",
            description="Serve models that fail as their names say, to any client on this machine, until "
            "Ctrl-C: on the wires of OpenAI, Anthropic, Gemini and Ollama.",
            epilog=_REHEARSE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_local(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, command, text in (
        ("install", _local_install, "fetch its weights (98 MB), check them and keep them"),
        ("path", _local_path, "print where its weights are"),
        ("remove", _local_remove, "delete the weights that install fetched"),
    ):
        verbs.add_parser(verb, help=text, description=text).set_defaults(command=command)


def _add_quickstart(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless",
        action="store_true",
        help="print what each cell prints; write nothing, open nothing; fails when a cell does",
    )
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="options for JupyterLab")
    parser.set_defaults(command=_quickstart, usage_error=parser.error, hint=_LAB_HINT)


def _add_rehearse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=_port, default=_REHEARSAL_PORT, help="where to listen (%(default)s); 0 is any free one"
    )
    parser.add_argument("--key", help="demand this key, as each wire carries it")
    parser.set_defaults(command=_rehearse)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _say(line: str) -> None:
    print(f"{PROGRAM}: {line}", file=sys.stderr, flush=True)


# doctor


def _doctor(_: argparse.Namespace) -> int:
    from llm_failover_nb.engine.chain import process_registry
    from llm_failover_nb.notebook import doctor
    from llm_failover_nb.notebook.settings_file import SettingsFile
    from llm_failover_nb.settings import Settings, SettingsError, load_settings

    settings: Settings | SettingsError
    try:
        settings = load_settings()
        SettingsFile(process_registry).follow(settings)
    except SettingsError as error:
        settings = error
    found = doctor.checks(None, registry=process_registry, settings=settings, awaited=False)
    _print(_table(found))
    return _FAILED if any(check.state == "missing" for check in found) else _OK


def _table(found: Sequence[Check]) -> str:
    """A line for each check, and one below it for its remedy."""
    states, names = max(len(one.state) for one in found), max(len(one.what) for one in found)
    lines: list[str] = []
    for check in found:
        lines.append(f"{check.state:{states}}  {check.what:{names}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':{states}}  {'':{names}}  -> {check.remedy}")
    return plain("\n".join(lines))


# local


def _local_install(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    print(weights.install(_say))
    return _OK


def _local_path(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    found = weights.find()
    if found is None:
        raise CommandError(weights.why_missing())
    print(found)
    return _OK


def _local_remove(_: argparse.Namespace) -> int:
    from llm_failover_nb.providers import weights

    _say("the weights are removed" if weights.remove() else "there is nothing to remove")
    if (left := weights.find()) is not None:
        _say(f"{left} stays: it was not installed by this command")
    return _OK


# quickstart


def _quickstart(arguments: argparse.Namespace) -> int:
    if arguments.headless and arguments.options:
        arguments.usage_error("options after -- are for JupyterLab, which --headless does not start")
    _require("nbclient", "ipykernel", *(() if arguments.headless else ("jupyterlab",)))
    _ensure_model()
    return _headless() if arguments.headless else _interactive(arguments.options)


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"quickstart needs {', '.join(missing)}, not installed here: run  pip install '{PROGRAM}[lab]'"
        )


def _ensure_model() -> None:
    """The local model, where it can be had; without it the notebook runs too, and people are told."""
    from llm_failover_nb.providers import local, weights

    try:
        if not local.extra_installed():
            raise CommandError(f"local models need the extra: run  pip install '{PROGRAM}[local]'")
        weights.install(_say)
    except (FailoverError, OSError) as error:
        _say(f"no local model: {error}")
        _say("going on without it: sim/echo, which only repeats the prompt, will answer instead")


def _headless() -> int:
    from llm_failover_nb import quickstart

    source = quickstart.find()
    folder = source.file.parent if source.is_checkout else Path.cwd()
    quickstart.run(quickstart.read(source.file), folder=folder, echo=True)
    return _OK


def _interactive(options: Sequence[str]) -> int:
    from llm_failover_nb import quickstart

    file = quickstart.own_copy(quickstart.find(), Path.cwd())
    notebook = quickstart.read(file)
    _say(f"running {file}")
    try:
        quickstart.run(notebook, folder=file.parent)
    except quickstart.QuickstartError as error:
        # The person sees it where it happened, with the rest of the notebook around it.
        _say(str(error))
    quickstart.write(file, notebook)
    try:
        quickstart.sign(file)
    except quickstart.QuickstartError as error:
        _say(str(error))
    return quickstart.open_in_lab(file, options)


# rehearse


def _rehearse(arguments: argparse.Namespace) -> int:
    from llm_failover_nb.engine.clock import SystemClock
    from llm_failover_nb.testing import rehearsal
    from llm_failover_nb.testing.fault_server import FaultServer, Received

    def show(asked: Received) -> None:
        _print(rehearsal.line(asked, datetime.now().astimezone()))

    server = FaultServer(port=arguments.port, key=arguments.key, keep=_REHEARSAL_KEEPS, observer=show)
    try:
        with _started(server, arguments.port):
            _print(rehearsal.welcome(server, arguments.key))
            while True:
                # Not for ever at once: a signal that comes just before such a wait is slept through.
                SystemClock.sleep(0.5)
    except KeyboardInterrupt:  # the way to end it
        pass
    return _OK


def _started(server: FaultServer, port: int) -> FaultServer:
    try:
        return server.start()
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error})"
        raise CommandError(
            f"port {port} of 127.0.0.1 {why}: give another with --port, or --port 0 for any that is free"
        ) from None


def _print(text: str) -> None:
    """Print in one piece, from any thread; a reader who has left is not missed."""
    with suppress(OSError):
        print(f"{text}\n", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
