"""``{{ expression }}`` in a prompt: what is read, what is left to the letter, and what each error says."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from jinja2 import TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from traitlets.config import Config

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.secret import MASK, Secret
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.failures import CellFailed
from llm_failover_nb.notebook.templates import LAST_ERROR_BUDGET, TemplateError, fill, notebook_names

FRAME = pd.DataFrame({"price": [1.5, 2.0], "planet": ["Mars", "Venus"]})


def refusal(text: str, **names: object) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        fill(text, names)
    return caught.value


class Counting(Mapping[str, object]):
    """Names that count how often each is asked for."""

    def __init__(self, **names: object) -> None:
        self.names = names
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> object:
        self.asked.append(name)
        return self.names[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


# To the letter


@settings(deadline=None)  # a busy machine is no failure
@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_double_braces(text: str) -> None:
    """It comes back as it is."""
    assert text == fill(text, {})


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.text(),
    st.text(st.characters(exclude_characters="{}")),
    st.text(st.characters(exclude_characters="{}")),
)
def test_what_is_inserted(value: str, before: str, after: str) -> None:
    """It comes back to the letter, and so does what stands around it."""
    assert before + value + after == fill(before + "{{ x }}" + after, {"x": value})


@pytest.mark.parametrize(
    "text",
    [
        "{% if x %} {# note #} {%- raw -%}",
        '{"a": {"b": {}}, "c": [{}]}',
        r"\frac{a}{b} $x_{1}$ {}",
        "f'{x!r:>{width}}' }} }}}",
        "# line statement\n## comment\n\n\n",
    ],
)
def test_other_braces_beside_an_expression(text: str) -> None:
    """Nothing but double braces is special, also where there are some; the newlines at the end stay."""
    assert text + "7" + text == fill(text + "{{ 3 + 4 }}" + text, {})


def test_text_without_double_braces_loads_no_jinja() -> None:
    """A cell without an expression does not pay for one."""
    code = (
        "import sys; from llm_failover_nb.notebook.templates import fill; fill('{a}', {}); "
        "assert 'jinja2' not in sys.modules; fill('{{ 1 }}', {}); assert 'jinja2' in sys.modules; "
        "assert not {'pandas', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_inserted_is_not_read_again() -> None:
    """Braces in data are data."""
    assert fill("{{ x }} {{ y }}", {"x": "{{ secret }}", "y": "x", "secret": "no"}) == "{{ secret }} x"


def test_braces_in_strings_and_dicts_of_an_expression() -> None:
    """They do not end it; this is also how to write double braces."""
    assert fill("""{{ '}}' ~ "{{" }} {{ {'a': {'b': 1}}['a']['b'] }}""", {}) == "}}{{ 1"


# Expressions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("planet", "Mars"),
        ("planet|upper", "MARS"),
        ("len(moons)", "2"),
        ("moons[0] ~ '!'", "Phobos!"),
        ("moons | join(' and ')", "Phobos and Deimos"),
        ("data.radius + data['radius']", "6780"),
        ("'far' if data.radius > 1 else 'near'", "far"),
        ("sorted(set(moons))[:1] | json", '["Deimos"]'),
        ("range(3) | sum", "3"),
        ("list(zip(moons, range(2))) | length", "2"),
        ("frame.price.mean()", "1.75"),
        ("frame[frame.price > 1.7].planet.iloc[0]", "Venus"),
        ("nothing", "None"),
        ("nothing is none", "True"),
        ("absent | default('nobody')", "nobody"),
        ("absent is defined", "False"),
        ("-data.radius", "-3390"),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    """Names, attributes, items, calls, filters, tests and conditions, as Jinja has them."""
    names = {
        "planet": "Mars",
        "moons": ["Phobos", "Deimos"],
        "data": {"radius": 3390},
        "frame": FRAME,
        "nothing": None,
    }

    assert expected == fill("{{ " + expression + " }}", names)


@pytest.mark.parametrize(
    "name", ["result", "self", "loop", "super", "caller", "context", "missing", "_", "größe"]
)
def test_any_name_may_be_the_users(name: str) -> None:
    """Jinja's own words for itself are variables like others."""
    assert fill("{{ " + name + " }}", {name: 7}) == "7"


def test_a_variable_goes_before_a_builtin() -> None:
    """A user's `max` is the user's."""
    assert fill("{{ max }} {{ min(3, 4) }}", {"max": "mine"}) == "mine 3"


def test_a_module_does_not_hide_a_builtin() -> None:
    """Modules are not seen at all."""
    assert fill("{{ abs(-1) }}", {"abs": math}) == "1"


def test_only_the_names_in_use_are_looked_up() -> None:
    """Each once, however often the text has it."""
    names = Counting(x="a", y="b", z="c")

    assert (fill("{{ x }}{{ x }} {{ x ~ y }}", names), names.asked) == ("aa ab", ["x", "y"])


def test_a_table_stands_on_its_own_lines() -> None:
    """Markdown takes a table only after a gap; the rest of the line comes after another."""
    table = "| price | planet |\n| --- | --- |\n| 1.5 | Mars |\n| 2.0 | Venus |"

    assert f"Look: \n\n{table}\n\n, well" == fill("Look: {{ df }}, well", {"df": FRAME})
    assert f"Look:\n{table}\nwell" == fill("Look:\n{{ df }}\nwell", {"df": FRAME})
    assert f"Look: \n\n{table}" == fill("Look: {{ df | full }}", {"df": FRAME})


def test_what_is_left_out_is_named_by_its_expression() -> None:
    """The line below a cut table says what to write for all of it."""
    frame = pd.DataFrame({"n": range(1_000)})

    assert "60 of 1,000 rows; {{ df[df.n > -1] | full }} inserts all" in fill(
        "{{ df[df.n > -1] }}", {"df": frame}
    )
    assert "{{ (a or b) | full }}" in fill("{{ a or b }}", {"a": [], "b": ["x"] * 10_000})


# What is not there


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("planett", "'planett' is not defined in this notebook; did you mean planet?"),
        ("Planet", "'Planet' is not defined in this notebook; did you mean planet?"),
        ("sortd(moons)", "'sortd' is not defined in this notebook; did you mean sorted?"),
        ("zzz", "'zzz' is not defined in this notebook; run the cell that makes it"),
        ("lipsum()", "'lipsum' is not defined in this notebook"),
        ("lambda", "'lambda' is a word of Python that means nothing in here; work it out in a cell above"),
        ("frame.prize", "a DataFrame has no column or attribute 'prize'; did you mean price?"),
        ("frame['prize']", "a DataFrame has no column or attribute 'prize'; did you mean price?"),
        ("frame.haed()", "a DataFrame has no column or attribute 'haed'; did you mean head"),
        ("frame['qqqqq']", "has no column or attribute 'qqqqq'; there are 'price', 'planet'"),
        ("frame.loc[9]", "a DataFrame has no row 9"),
        ("data.radios", "a dict has no key 'radios'; did you mean radius?"),
        ("data['q']", "a dict has no key 'q'; there are 'radius', 'mass'"),
        ("frame[1]", "a DataFrame has no column or attribute 1; there are 'price', 'planet'"),
        ("number[0]", "an int has no item 0"),
        ("number.zzzzzzz", "an int has no attribute 'zzzzzzz'; raw=on"),
        ("many['q']", "a dict has no key 'q'; there are 0, 1, 2, 3, 4 and 5 more"),
        ("moons[2]", "a list of 2 has no item 2"),
        ("planet.uper()", "a str has no attribute 'uper'; did you mean upper"),
        ("data.radios.real + 1", "a dict has no key 'radios'"),
    ],
)
def test_what_is_not_there(expression: str, message: str) -> None:
    """The error names it, what is near, and what the object has."""
    names = {
        "planet": "Mars",
        "moons": ["Phobos", "Deimos"],
        "data": {"radius": 3390, "mass": 6.4e23},
        "number": 7,
        "many": dict.fromkeys(range(10)),
        "frame": FRAME,
    }
    error = refusal("{{ " + expression + " }}", **names)

    assert message in str(error)
    assert f"{{{{ {expression} }}}}" in str(error)
    assert isinstance(error.__cause__, UndefinedError)


@pytest.mark.parametrize(
    "expression",
    ["math", "math.pi", "holder.math", "holder.math.pi", "holder['math'].pi", "give()", "[math]"],
)
def test_modules_are_not_seen(expression: str) -> None:
    """Neither by their names nor inside something."""
    names = {"math": math, "holder": SimpleNamespace(math=math), "give": lambda: math}

    assert "'math' is a module, and modules are not seen" in str(refusal("{{ " + expression + " }}", **names))


@pytest.mark.parametrize(
    "expression", ["x.__class__", "x._private", "'{0.__class__}'.format(x)", "f.__globals__"]
)
def test_what_the_sandbox_closes(expression: str) -> None:
    """The names that begin with an underscore lead out of the data."""
    error = refusal("{{ " + expression + " }}", x=SimpleNamespace(_private=1), f=refusal)

    assert "is closed to a prompt" in str(error)
    assert isinstance(error.__cause__, SecurityError)


@pytest.mark.parametrize("expression", ["key.reveal()", "key._value", "key.is_a_key"])
def test_a_key_is_not_read(expression: str) -> None:
    """Not by the name that would give it either."""
    error = refusal("{{ " + expression + " }}", key=Secret("sk-canary-templates-1"))

    assert "a key is not put into a prompt" in str(error)


@pytest.mark.parametrize(
    "expression", ["key", "key | string", "key ~ ''", "[key]", "key | full", "key | json", "repr(key)"]
)
def test_a_key_is_masked(expression: str) -> None:
    """Whatever the filter."""
    filled = fill("{{ " + expression + " }}", {"key": Secret("sk-canary-templates-2")})

    assert (MASK in filled, "canary" in filled) == (True, False)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("frame.head", "a function that is not called; write {{ frame.head() }}"),
        ("len", "a function that is not called; write {{ len() }}"),
        ("str", "the class str itself"),
        (
            "moons | map('upper')",
            "a generator hands out its items only once; write {{ moons | map('upper') | list }}",
        ),
    ],
)
def test_what_is_no_value(expression: str, message: str) -> None:
    """A function, a class or an iterator was hardly meant; the error says what was."""
    assert message in str(refusal("{{ " + expression + " }}", frame=FRAME, moons=["Phobos"]))


def test_what_is_not_awaited() -> None:
    """A coroutine is no text, and leaves no warning behind."""

    async def fetched() -> str:
        return "Phobos"

    assert "await it in a cell above" in str(refusal("{{ fetched() }}", fetched=fetched))


# What cannot be read, and what fails


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "there is no expression between the braces"),
        ("x |", "unexpected end of the expression"),
        ("x y", "'y' is not expected"),
        ("foo(", "unexpected end of the expression"),
        ("it's", "unexpected char"),
        ("a & b", "unexpected char '&'"),
        ("[y for y in x]", "there is no `for` in here"),
        ("x | fulll", "there is no filter 'fulll'; did you mean full?"),
        ("x | qqqq", "there is no filter 'qqqq'; full and json are there"),
        ("x | safe", "there is no filter 'safe' in here: the prompt is plain text"),
    ],
)
def test_what_cannot_be_read(expression: str, message: str) -> None:
    """The error shows it, says why, and how to send braces as they are."""
    error = refusal("{{ " + expression + " }}", x=1)

    assert message in str(error)
    assert str(error).endswith("; raw=on sends braces as they are")
    assert isinstance(error.__cause__, TemplateSyntaxError)


@pytest.mark.parametrize("text", ["{{-x}}", "{{ x -}}", "{{- x -}}"])
def test_braces_that_eat_blanks(text: str) -> None:
    """Jinja's are not there; taken for a minus they would change a number unseen."""
    assert "put a space between the braces and the minus" in str(refusal(text, x=1))


def test_braces_that_are_not_closed() -> None:
    """Where they open is what is shown, not the rest of the prompt."""
    message = "line 3, {{ x: the braces are opened and never closed; raw=on sends braces as they are"

    assert message == str(refusal("one\ntwo {{ x\nthree", x=1))


@pytest.mark.parametrize(
    ("text", "first_line", "line"),
    [("{{ no }}", 2, 2), ("a\nb\n{{ no }}", 2, 4), ("{{ no }}", 1, 1), ("a\n{{ x +\n\n1 y }}", 2, 5)],
)
def test_the_line_of_an_error(text: str, first_line: int, line: int) -> None:
    """As the cell counts it: the magic's own line is the first."""
    with pytest.raises(TemplateError, match=f"^line {line}, "):
        fill(text, {"x": 1}, first_line=first_line)


def test_a_long_expression_is_shown_short() -> None:
    """On one line."""
    error = refusal("{{ absent +\n" + "1 + " * 100 + "1 }}")

    assert "line 2, {{ absent + 1 + 1" in str(error)
    assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("expression", "cause"),
    [
        ("1 / 0", ZeroDivisionError),
        ("fail()", KeyError),
        ("not frame", ValueError),
        ("frame.iloc['a':]", TypeError),
        ("'x' * 10**10", OverflowError),
        ("10**10 * 'x'", OverflowError),
        ("[0] * 10**10", OverflowError),
        ("10 ** (10 ** 10)", OverflowError),
        ("range(10**9)", OverflowError),
        ("list(endless)", OverflowError),
        ("endless | list", OverflowError),
        ("' '.join(endless)", OverflowError),
        ("'x'.ljust(10**10)", OverflowError),
        ("'x' | center(10**10)", OverflowError),
        ("'x' | indent(width=10**10)", OverflowError),
        ("'%10000000000d' % 1", OverflowError),
        ("'%*d' % (10**10, 1)", OverflowError),
        ("'%10000000000d' | format(1)", OverflowError),
        ("[1] | batch(10**10, 0) | list", OverflowError),
    ],
)
def test_what_fails(expression: str, cause: type[Exception]) -> None:
    """The error has the original as its cause, and nothing fills the memory first."""

    def fail() -> None:
        raise KeyError("inner")

    error = refusal("{{ " + expression + " }}", fail=fail, frame=FRAME, endless=itertools.count())

    assert isinstance(error.__cause__, cause)
    assert "it failed with" in str(error)


@pytest.mark.parametrize(
    "expression", ["'x' * 3", "2 ** 10", "2 ** -1", "2.0 ** 3", "'%d%%' % 7", "'ab'.ljust(4)", "7 % 4"]
)
def test_what_is_bounded_still_works(expression: str) -> None:
    """The bounds are for what no prompt can hold."""
    assert str(eval(expression)) == fill("{{ " + expression + " }}", {})


def test_an_interrupt_passes() -> None:
    """It is the user's, not the expression's."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill("{{ interrupt() }}", {"interrupt": interrupt})


def test_an_error_shows_no_key() -> None:
    """What an exception says of one is masked."""
    key = Secret("sk-canary-templates-3")

    def fail() -> None:
        raise ValueError(f"refused {key.reveal()}")

    assert f"ValueError: refused {MASK};" in str(refusal("{{ fail() }}", fail=fail))


def test_the_error_is_an_argument_error() -> None:
    """The magic shows it as it shows what is wrong with the line."""
    assert isinstance(refusal("{{ x }}"), ArgumentError | FailoverError)


# The notebook's names


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell that has run nothing, in a process where nothing has failed."""
    for name in ("last_type", "last_value", "last_traceback"):
        monkeypatch.delattr(sys, name, raising=False)
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False  # the database only; the lists of this session are kept
    config.InteractiveShell.colors = "linux"
    shell = InteractiveShell.instance(config=config)
    yield shell
    shell.reset()
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def ran(shell: InteractiveShell, *cells: str) -> None:
    for cell in cells:
        shell.run_cell(cell, store_history=True)


def filled(shell: InteractiveShell, text: str) -> str:
    return fill(text, notebook_names(shell))


def refused(shell: InteractiveShell, text: str) -> str:
    with pytest.raises(TemplateError) as caught:
        filled(shell, text)
    return str(caught.value)


def test_variables_of_the_notebook(shell: InteractiveShell) -> None:
    """As they are when the cell runs; what the last cell gave is there too."""
    ran(shell, "planet = 'Mars'", "planet.upper()")

    assert filled(shell, "{{ planet }} {{ _ }} {{ Out[2] }}") == "Mars MARS MARS"


def test_in_is_what_was_typed(shell: InteractiveShell) -> None:
    """Not the Python that IPython makes of it."""
    ran(shell, "!true", "%who")

    assert filled(shell, "{{ In[1] }} {{ In[2] }}") == "!true %who"
    assert filled(shell, "{{ In[1:2] }}") == '["!true"]'


def test_in_of_no_cell(shell: InteractiveShell) -> None:
    """The error says which there are."""
    ran(shell, "1", "2")

    assert "there is no cell 99; In has cells 1 to 2" in refused(shell, "{{ In[99] }}")


def test_out_of_no_output(shell: InteractiveShell) -> None:
    """The error says which there are."""
    assert "cell 1 has no output, and no other has one yet" in refused(shell, "{{ Out[1] }}")
    ran(shell, "7", "x = 1")
    assert "cell 2 has no output; there is Out[1]" in refused(shell, "{{ Out[2] }}")
    ran(shell, *["7"] * 6)
    assert "there are Out[4], Out[5], Out[6], Out[7], Out[8] and 2 before" in refused(shell, "{{ Out[2] }}")


def test_names_that_were_bound_anew(shell: InteractiveShell) -> None:
    """They are the user's."""
    ran(shell, "In, Out, last_error = ['a'], {1: 'b'}, 'c'")

    assert filled(shell, "{{ In[0] }} {{ Out[1] }} {{ last_error }}") == "a b c"


def test_what_ipython_puts_into_every_notebook(shell: InteractiveShell) -> None:
    """It is no variable of the user's, unless the user makes it one."""
    assert "'get_ipython' is not defined" in refused(shell, "{{ get_ipython() }}")
    assert "'open' is not defined" in refused(shell, "{{ open('x') }}")
    assert notebook_names(shell).get("quit") is None
    ran(shell, "open = 'mine'")
    assert filled(shell, "{{ open }}") == "mine"


def test_near_names_of_a_notebook(shell: InteractiveShell) -> None:
    """Variables and what is made for them; no modules, and nothing is looked up for it."""
    ran(shell, "import math as planeta", "planets = 1")

    assert "did you mean planets?" in refused(shell, "{{ planet }}")
    assert "did you mean last_error?" in refused(shell, "{{ lasterror }}")
    assert {"planets", "In", "Out", "last_error"} == {*notebook_names(shell)}
    assert len(notebook_names(shell)) == 4


# The last error

FAILING = """\
def outer(number):
    return inner(number)
def inner(number):
    return 1 / number
outer(0)"""


def test_the_last_error(shell: InteractiveShell) -> None:
    """The traceback as plain text, cells by their numbers, without the frames of IPython."""
    ran(shell, FAILING, "x = 1")

    assert filled(shell, "{{ last_error }}").startswith(
        'Traceback (most recent call last):\n  File "Cell In[1]", line 5, in <module>\n    outer(0)\n'
    )
    assert filled(shell, "{{ last_error }}").endswith("ZeroDivisionError: division by zero")
    assert "IPython" not in filled(shell, "{{ last_error }}")


def test_the_causes_of_the_last_error(shell: InteractiveShell) -> None:
    """They are part of a traceback, with their cells."""
    ran(shell, "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('no') from error")
    text = filled(shell, "{{ last_error }}")

    assert "The above exception was the direct cause" in text
    assert text.count('File "Cell In[1]"') == 2


def test_a_syntax_error(shell: InteractiveShell) -> None:
    """It has no frames, but a line and a place."""
    ran(shell, "1 +")

    assert filled(shell, "{{ last_error }}").startswith('  File "Cell In[1]", line 1\n    1 +\n')
    assert filled(shell, "{{ last_error }}").endswith("^\nSyntaxError: invalid syntax")


def test_a_usage_error(shell: InteractiveShell) -> None:
    """What a magic refuses is one line, as IPython shows it."""
    ran(shell, "%no_such_magic")

    assert filled(shell, "{{ last_error }}") == "UsageError: Line magic function `%no_such_magic` not found."


def test_a_failed_cell(shell: InteractiveShell) -> None:
    """Its lines, without the codes of colours."""
    shell.push({"failed": CellFailed(["no model answered", "\x1b[31ma/x\x1b[0m: busy"])})
    ran(shell, "raise failed")

    assert filled(shell, "{{ last_error }}") == "no model answered\na/x: busy"


def test_a_group_of_exceptions(shell: InteractiveShell) -> None:
    """IPython shows it past the cell's output; here it is the last error like any other."""
    ran(shell, "1 / 0", "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])")

    assert "ValueError: a" in filled(shell, "{{ last_error }}")


def test_an_error_that_the_caller_knows(shell: InteractiveShell) -> None:
    """It goes before what IPython has kept."""
    ran(shell, "1 / 0")

    assert fill("{{ last_error }}", notebook_names(shell, error=ValueError("later"))) == "ValueError: later"


def test_nothing_has_failed(shell: InteractiveShell) -> None:
    """The error says so."""
    ran(shell, "1")

    assert "nothing has failed in this notebook yet" in refused(shell, "{{ last_error }}")


def test_keys_in_the_last_error(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked: those in use, those in the environment, and what variables named like keys hold."""
    monkeypatch.setenv("TEMPLATES_API_KEY", "canary-environment")
    Secret("canary-in-use")
    ran(
        shell,
        "my_token, key, place = 'canary-variable-1', 'quarterly', 'Pasadena'",
        "raise ValueError('canary-environment canary-in-use ' + my_token + ' quarterly Pasadena')",
    )
    text = filled(shell, "{{ last_error }}")

    assert "canary-environment" not in text.splitlines()[-1]
    assert f"ValueError: {MASK} {MASK} {MASK} quarterly Pasadena" == text.splitlines()[-1]
    assert "canary" not in text


def test_a_long_last_error(shell: InteractiveShell) -> None:
    """The middle is left out; the head and the last frames stay, in whole lines."""
    calls = "".join(f"def f{n}():\n    f{n + 1}()  # {'x' * 60}\n" for n in range(100))
    ran(shell, f"{calls}def f100():\n    raise ValueError('deep')\nf0()")
    text = filled(shell, "{{ last_error }}")

    assert LAST_ERROR_BUDGET - 400 < len(text) <= LAST_ERROR_BUDGET
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: deep")
    assert text.count("characters left out …\n") == 1
    assert all(line.startswith(("  ", "Traceback", "…", "ValueError")) for line in text.splitlines())


def test_a_long_message_of_the_last_error(shell: InteractiveShell) -> None:
    """One line is cut, too."""
    ran(shell, "raise ValueError('x' * 100_000 + 'end')")
    text = filled(shell, "{{ last_error }}")

    assert len(text) <= LAST_ERROR_BUDGET
    assert text.endswith("xend")


def test_an_error_whose_own_lines_fail(shell: InteractiveShell) -> None:
    """Its traceback is what remains."""
    ran(
        shell,
        "class Odd(Exception):\n    def _render_traceback_(self):\n        raise RuntimeError('no')",
    )
    error = eval("Odd('x')", shell.user_ns)

    assert "Odd: x" in fill("{{ last_error }}", notebook_names(shell, error=error))
