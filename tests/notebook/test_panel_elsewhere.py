"""The panel where there is no notebook, or no widget: a terminal, plain Python, a missing package."""

from __future__ import annotations

import subprocess
import sys


def said(*arguments: str) -> str:
    """What a Python of its own says, errors included."""
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + done.stderr


def test_without_anywidget_it_says_what_to_install() -> None:
    """The rest of the package needs none."""
    source = (
        "import sys; sys.modules['anywidget'] = None; import llm_failover_nb as fo\n"
        "try: fo.panel()\nexcept ImportError as error: print(error)"
    )
    assert "pip install 'llm-failover-nb[panel]'" in said("-c", source)


def test_magic_without_anywidget_is_one_line() -> None:
    """And no traceback."""
    source = "import sys; sys.modules['anywidget'] = None\n%load_ext llm_failover_nb\n%llm panel"
    text = said("-m", "IPython", "--quick", "--colors=nocolor", "-c", source)
    assert "UsageError: the panel needs anywidget" in text
    assert "Traceback" not in text


def test_terminal_gets_the_snapshot_as_text() -> None:
    """It has no widgets."""
    source = "%load_ext llm_failover_nb\n%llm chain prod = sim/503, sim/echo\n%llm bench sim/503\n%llm panel"
    text = said("-m", "IPython", "--quick", "--colors=nocolor", "-c", source)
    assert "Models as of" in text
    assert "sim/503: benched by hand until lifted" in text


def test_plain_python_has_a_panel_that_ends_with_it() -> None:
    """No thread keeps the process, and nothing complains at its end."""
    source = (
        "import llm_failover_nb as fo; panel = fo.panel(); fo.bench_model('sim/echo')\n"
        "print([row['spec'] for row in panel.board['models']])"
    )
    assert said("-W", "error", "-c", source).splitlines()[-1].startswith("[")
