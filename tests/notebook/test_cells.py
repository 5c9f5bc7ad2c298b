"""What a ``%%llm`` cell takes and gives, in a real kernel: text in, answers out, chains and settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_failover_nb.testing import FaultServer
from tests.notebook.kernel import Cell, Kernel

SCRIPTED = """\
from llm_failover_nb.testing import ScriptedProvider
def answers(name, *texts):
    fo.register_provider(name, ScriptedProvider(*texts))
"""


@pytest.fixture
def scripted(kernel: Kernel) -> Kernel:
    """The kernel, with a way to make providers that answer what they are told to."""
    kernel.run(SCRIPTED)
    return kernel


@pytest.fixture
def project(kernel: Kernel, tmp_path: Path) -> Any:
    """The kernel in a project's folder."""
    kernel.run(f"import os; home = os.getcwd(); os.chdir({str(tmp_path)!r})")
    yield tmp_path
    kernel.run("os.chdir(home)")
    kernel.run("%llm")


def asked(kernel: Kernel, prompt: str, options: str = "") -> str:
    """What the model of a cell is sent for a prompt, or what is said of it."""
    cell = kernel.run(f"%%llm chain=sim/echo {options}\n{prompt}")
    return cell.said.partition("\n\n--")[0] if not cell.said.startswith("UsageError") else cell.said


# Text in


def test_expression(kernel: Kernel) -> None:
    """An expression in double braces is the notebook's value."""
    kernel.run("price = 3")

    assert asked(kernel, "It costs {{ price * 2 }} EUR.") == "It costs 6 EUR."


def test_frame(kernel: Kernel) -> None:
    """A DataFrame is a Markdown table, cut to a budget."""
    kernel.run("import pandas as pd")
    kernel.run("df = pd.DataFrame({'city': ['Paris', 'Rome'] * 5000, 'n': range(10000)})")
    text = asked(kernel, "{{ df }}", "format=text")

    assert "| city" in text
    assert "Paris" in text
    assert "of 10,000 rows" in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    "prompt",
    ['{"a": {"b": 1}}', "f'{x}' and {y}", "{% for x in y %} {# no comment #}", "\\frac{1}{2}"],
)
def test_single_braces(kernel: Kernel, prompt: str) -> None:
    """JSON, f-strings and whatever else has braces is plain text."""
    cell = kernel.run(f"%%llm chain=sim/echo out=answer\n{prompt}")

    assert cell.error == ""
    assert kernel.value("answer.text") == repr(prompt)


def test_raw(kernel: Kernel) -> None:
    """With raw=on nothing is filled in."""
    kernel.run("%%llm chain=sim/echo raw=on out=answer\n{{ nothing }}")

    assert kernel.value("answer.text") == "'{{ nothing }}'"


def test_undefined_name(kernel: Kernel) -> None:
    """A name that is not defined is answered with the near one, and nothing is asked."""
    kernel.run("tariffs = 3")
    said = asked(kernel, "{{ tarifs }}")

    assert "UsageError: " in said
    assert "'tarifs' is not defined" in said
    assert "did you mean tariffs?" in said
    assert kernel.value("list(process_log)") == "[]"


def test_earlier_cells(kernel: Kernel) -> None:
    """What was typed in a cell, and what it gave, can be asked about."""
    cell = kernel.run("6 * 7")
    number = next(m["content"]["execution_count"] for m in cell.messages if m["msg_type"] == "execute_input")

    assert asked(kernel, f"{{{{ In[{number}] }}}} is {{{{ Out[{number}] }}}}") == "6 * 7 is 42"


def test_earlier_cell_of_ours(kernel: Kernel) -> None:
    """A ``%%llm`` cell is there as it was typed, and its answer as text."""
    cell = kernel.run("%%llm chain=sim/say:yes\nIs it?")
    number = next(m["content"]["execution_count"] for m in cell.messages if m["msg_type"] == "execute_input")
    kernel.run(f"%%llm chain=sim/echo out=answer\n{{{{ In[{number}] }}}} {{{{ Out[{number}] }}}}")

    assert kernel.value("answer.text") == repr("%%llm chain=sim/say:yes\nIs it? yes")


def test_last_error(kernel: Kernel) -> None:
    """The last traceback can be asked about, without keys and colours."""
    kernel.run("MY_TOKEN = 'sk-0123456789abcdefghijklmnop'\nraise ValueError('no ' + MY_TOKEN)")
    kernel.run("1")
    text = asked(kernel, "Explain:\n{{ last_error }}", "format=text")

    assert "ValueError: no " in text
    assert "0123456789abcdef" not in text
    assert "\x1b" not in text


def test_last_error_of_a_group(kernel: Kernel) -> None:
    """So can that of a call in Python, which is a group of exceptions."""
    kernel.run("raise ValueError('earlier')")
    kernel.run("fo.parse_chain('sim/503,sim/auth').complete('hi')")
    kernel.run("1")
    text = asked(kernel, "{{ last_error }}", "format=text")

    assert "all 2 models in chain failed" in text
    assert "earlier" not in text


# The request


def test_every_field_reaches_the_model(kernel: Kernel, server: FaultServer) -> None:
    """Temperature, limits, stops, seed and schema are in the request."""
    kernel.run("schema = {'type': 'object'}")
    kernel.run(
        "%%llm chain=lab/echo system='Be brief.' temperature=0.5 max_tokens=7 stop=END stop='# ' seed=3 "
        "format=text schema=schema\n{}"
    )
    body = server.requests[-1].body

    assert (body["temperature"], body["stop"], body["seed"]) == (0.5, ["END", "# "], 3)
    assert 7 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "schema" in json.dumps(body["response_format"])


def test_timeout_moves_on(kernel: Kernel) -> None:
    """An attempt that takes longer is cut, and the next model answers."""
    cell = kernel.run("%%llm chain=lab/silent,sim/say:yes timeout=0.2\nhi")

    assert "answered by sim/say:yes after lab/silent failed (no answer came in time)" in cell.text


def test_deadline_ends_the_cell(kernel: Kernel) -> None:
    """The whole cell is held to it."""
    cell = kernel.run("%%llm chain=lab/silent,lab/silent deadline=0.2\nhi")

    assert cell.error.startswith("DeadlineExceeded: ")


def test_retries(kernel: Kernel) -> None:
    """One attempt is one attempt."""
    kernel.run("%%llm chain=sim/503x2,sim/echo retries=1\nhi")

    assert kernel.value("[(r.model, r.outcome) for r in process_log if r.attempt]") == (
        "[('sim/503x2', 'failover'), ('sim/echo', 'ok')]"
    )


def test_retries_win_over_those_of_streams(kernel: Kernel, settings: Path) -> None:
    """A line is nearer than the settings, whatever kind of call they speak of."""
    settings.write_text("[policy]\nstream_max_retries = 3\n", encoding="utf-8")
    kernel.run("%%llm chain=sim/503,sim/echo retries=1\nhi")

    assert kernel.value("[r.model for r in process_log if r.attempt]") == "['sim/503', 'sim/echo']"


@pytest.mark.parametrize(("options", "fails"), [("", False), ("midstream=raise", True)])
def test_midstream(kernel: Kernel, options: str, fails: bool) -> None:
    """A model that fails amid its answer is replaced, unless that is not wanted."""
    cell = kernel.run(f"%%llm chain=lab/cut:3,sim/say:whole {options} retries=1\none two three four five six")

    assert (cell.error != "") == fails
    assert ("whole" in cell.text) != fails


# Answers out


def test_json_is_checked(scripted: Kernel) -> None:
    """An answer that is no JSON leaves its model, without a bench; the next one answers."""
    scripted.run("answers('bad', 'Here you are.'); answers('good', '```json\\n{\"a\": 1}\\n```')")
    cell = scripted.run("%%llm chain=bad/x,good/x format=json out=answer\nGive me JSON.")

    assert "answered by good/x after bad/x failed" in cell.text
    assert scripted.value("answer.json(), fo.list_benched()") == "({'a': 1}, [])"


@pytest.mark.parametrize(
    "schema",
    [
        "Person = {'type': 'object', 'required': ['age'], 'properties': {'age': {'type': 'integer'}}}",
        "import pydantic\nclass Person(pydantic.BaseModel):\n    age: int",
    ],
    ids=["dict", "pydantic"],
)
def test_schema_is_checked(scripted: Kernel, schema: str) -> None:
    """An answer that does not fit is that model's failure of this request, with what did not fit."""
    scripted.run(schema)
    scripted.run("answers('bad', '{\"age\": \"old\"}'); answers('good', '{\"age\": 41}')")
    cell = scripted.run("%%llm chain=bad/x,good/x schema=Person out=answer\nHow old?")

    assert "answered by good/x after bad/x failed" in cell.text
    assert "age" in scripted.run("%llm explain").text
    assert scripted.value("answer.json()") == "{'age': 41}"
    assert '{\n  "age": 41\n}' in cell.text
    assert scripted.value("[r.reason for r in process_log if r.model == 'bad/x']") == "['invalid_answer']"


def test_schema_that_nobody_fits(scripted: Kernel) -> None:
    """The cell fails with a line a model."""
    scripted.run("answers('bad', 'no', 'no', 'no'); Person = {'type': 'object'}")
    cell = scripted.run("%%llm chain=bad/x,bad/y schema=Person\nHow old?")

    assert cell.error_name == "CellFailed"
    assert [line.split(":")[0].strip() for line in cell.error.splitlines()[1:]] == ["bad/x", "bad/y"]


def test_schema_that_is_none(kernel: Kernel) -> None:
    """A name that is not there, or holds something else, is refused before anybody is asked."""
    kernel.run("Persona = {'type': 'object'}; number = 3; vars().pop('Person', None)")

    assert "did you mean Persona?" in kernel.run("%%llm chain=sim/echo schema=Person\nhi").said
    assert "number" in kernel.run("%%llm chain=sim/echo schema=number\nhi").said
    assert kernel.value("list(process_log)") == "[]"


def payloads(cell: Cell) -> list[str]:
    """The texts of the cells that a front end is told to make."""
    replies = [m for m in cell.messages if m["msg_type"] == "execute_reply"]
    return [part["text"] for m in replies for part in m["content"]["payload"]]


@pytest.mark.parametrize("how", ["", "await_cells=off"])
def test_code_goes_into_a_new_cell(scripted: Kernel, how: str) -> None:
    """The code stands in the next cell, and was not run."""
    scripted.run("ran = []; answers('coder', 'Do this:\\n```python\\nran.append(1)\\n```\\nDone.')")
    (cell,) = scripted.run_all(f"%%llm chain=coder/x format=code {how}\nWrite code.")

    assert payloads(cell) == ["ran.append(1)"]
    assert scripted.value("ran") == "[]"


def test_code_is_said_not_to_be_run(scripted: Kernel) -> None:
    """The cell shows the code, and that it was not run; the words around it are kept."""
    scripted.run("answers('coder', 'Do this:\\n```python\\nran.append(1)\\n```\\nDone.')")
    cell = scripted.run("%%llm chain=coder/x format=code\nWrite code.")

    assert "not run" in cell.text
    assert "Do this:" in cell.text + cell.html


def test_html_is_in_a_sandbox(scripted: Kernel) -> None:
    """A page of HTML is in a frame that may do nothing; the text is its source."""
    scripted.run("answers('web', '<h1>Hi</h1><script>alert(1)</script>')")
    cell = scripted.run("%%llm chain=web/x format=html\nA page.")

    assert '<iframe sandbox=""' in cell.html.replace("'", '"')
    assert "<script" not in cell.html
    assert "default-src" in cell.html
    assert cell.text.startswith("<h1>Hi</h1>")


def test_repr_is_as_safe_as_the_output(scripted: Kernel) -> None:
    """A Response shows itself as its cell did."""
    scripted.run("answers('hostile', '**hi** <img src=x onerror=alert(1)>')")
    scripted.run("%%llm chain=hostile/x out=answer\nhi")
    cell = scripted.run("answer")

    assert "<strong>hi</strong>" in cell.html
    assert "<img" not in cell.html
    assert "hostile/x" in cell.html
    assert cell.kinds == ["execute_result"]


def test_answer_is_underscore(kernel: Kernel) -> None:
    """The last answer is ``_``, as any cell's value."""
    kernel.run("%%llm chain=sim/say:yes\nhi")

    assert kernel.value("_.text") == "'yes'"


# Failing well


def test_all_benched(kernel: Kernel) -> None:
    """The message says until when, and who was asked anyway."""
    kernel.run("%llm bench sim/503 1h")
    kernel.run("%llm bench sim/auth 2h")
    cell = kernel.run("%%llm chain=sim/503,sim/auth\nhi")

    assert "benched" in cell.error.splitlines()[0]
    assert "asked" in cell.error.splitlines()[0]
    assert "until" in cell.error


def test_no_key_in_a_verbose_traceback(kernel: Kernel, server: FaultServer) -> None:
    """``%xmode Verbose`` shows variables, and no key among them."""
    kernel.run("import os; os.environ['VERBOSE_KEY'] = 'canary-0123456789abcdef'")
    kernel.run(f"fo.register_provider('keyed', base_url={server.url!r}, key_env='VERBOSE_KEY')")
    kernel.run("%xmode Verbose")
    cells = [
        kernel.run("%%llm chain=keyed/503,keyed/auth retries=1\nhi"),
        kernel.run("fo.parse_chain('keyed/503,keyed/auth', max_retries=1).complete('hi')"),
        kernel.run("fo.parse_chain('keyed/503', max_retries=1).models[0].complete('hi')"),
    ]
    kernel.run("%xmode Context")
    said = [cell.error + cell.text + cell.html for cell in cells]

    assert [text for text in said if not text or "canary" in text] == []


# Chains and settings


def test_chain_of_the_notebook(kernel: Kernel) -> None:
    """``%llm chain`` sets the chain of cells that name none."""
    said = kernel.run("%llm chain sim/503, sim/say:mine").text
    cell = kernel.run("%%llm\nhi")
    kernel.run("%llm config chain=")

    assert said == "cells that name no chain ask sim/503, sim/say:mine\n"
    assert "answered by sim/say:mine after sim/503 failed" in cell.text
    assert "no chain is set" in kernel.run("%%llm\nhi").text


def test_named_chain(kernel: Kernel) -> None:
    """A named chain works in cells and in Python, is listed, and can be forgotten."""
    kernel.run("%llm chain prod = sim/503,sim/say:named")
    cell = kernel.run("%%llm chain=prod\nhi")
    specs = kernel.value("fo.Chain('prod').specs")
    listed = kernel.run("%llm chain").said
    kernel.run("%llm chain prod =")

    assert "answered by sim/say:named" in cell.said
    assert specs == "('sim/503', 'sim/say:named')"
    assert "prod" in listed
    assert "notebook" in listed
    assert "UsageError" in kernel.run("%%llm chain=prod\nhi").said


def test_named_chain_that_cannot_be(kernel: Kernel) -> None:
    """A chain with a provider that nobody knows is refused, and what stood before stays."""
    kernel.run("%llm chain prod = sim/echo")
    said = kernel.run("%llm chain prod = opnai/x").said
    specs = kernel.value("fo.Chain('prod').specs")
    kernel.run("%llm chain prod =")

    assert "did you mean 'openai'?" in said
    assert specs == "('sim/echo',)"


def test_near_name_of_a_chain(kernel: Kernel) -> None:
    """A name that is mistyped is answered with the near one."""
    kernel.run("%llm chain prod = sim/echo")
    said = kernel.run("%%llm chain=prdo\nhi").said
    kernel.run("%llm chain prod =")

    assert "did you mean 'prod'?" in said


def values(kernel: Kernel) -> dict[str, str]:
    """What ``%llm config`` says of each setting."""
    lines = [line.split() for line in kernel.run("%llm config").text.splitlines()]
    return {name: " ".join(said) for name, *said in filter(None, lines)}


def test_layers(kernel: Kernel, settings: Path, project: Path) -> None:
    """Project over user, notebook over both, the line over all; each value says where it is from."""
    mine = "chain = 'sim/say:user'\n[cell]\ntemperature = 0.1\nmax_tokens = 5\n"
    settings.write_text(mine, encoding="utf-8")
    (project / "llm_failover.toml").write_text("[cell]\nmax_tokens = 6\n", encoding="utf-8")
    user = kernel.run("%%llm\nhi").text
    kernel.run("%llm config max_tokens=7")
    listed = values(kernel)
    kernel.run("%llm config max_tokens=")

    assert user.startswith("user\n")
    assert listed["cell.temperature"] == f"0.1 user: {settings}, line 3"
    assert listed["cell.max_tokens"] == "7 notebook"
    assert values(kernel)["cell.max_tokens"] == f"6 project: {project / 'llm_failover.toml'}, line 2"


def test_config_wins_over_python(kernel: Kernel) -> None:
    """What it sets is nearer than ``set_failover_defaults``, which is the notebook's, too."""
    kernel.run("fo.set_failover_defaults(cooldown=60, backoff=lambda attempt: 0.0)")
    of_python = values(kernel)["policy.cooldown"]
    said = kernel.run("%llm config retries=2").text
    retries = values(kernel)["policy.max_retries"]
    kernel.run("fo.set_failover_defaults(max_retries=5, backoff=lambda attempt: 0.0)")
    still = values(kernel)["policy.max_retries"]
    kernel.run("%llm config retries=")
    kernel.run("fo.set_failover_defaults(backoff=lambda attempt: 0.0)")

    assert of_python == "60 notebook"
    assert "policy.max_retries is 2 (notebook)" in said
    assert (retries, still) == ("2 notebook", "2 notebook")


def test_pyproject(kernel: Kernel, project: Path) -> None:
    """A table of pyproject.toml counts as the project's file."""
    (project / "pyproject.toml").write_text("[tool.llm_failover]\nchain = 'sim/say:py'\n", encoding="utf-8")

    assert kernel.run("%%llm\nhi").text.startswith("py\n")


def test_typo_in_a_project(kernel: Kernel, project: Path) -> None:
    """It is an error with the file and the line, and the nearest name."""
    file = project / "llm_failover.toml"
    file.write_text("[cell]\ntemprature = 1\n", encoding="utf-8")
    said = kernel.run("%%llm chain=sim/echo\nhi").said

    assert said.startswith(f"UsageError: {file}, line 2: ")
    assert "did you mean temperature?" in said


def test_config_refuses(kernel: Kernel) -> None:
    """A setting that is not known is answered with the near one, and nothing is set."""
    said = kernel.run("%llm config temperature=0.5 temprature=1").said

    assert "did you mean temperature?" in said
    assert "0.5" not in kernel.run("%llm config").said


def test_untrusted_project(kernel: Kernel, project: Path, server: FaultServer) -> None:
    """A repository's host gets nothing unless its file is trusted, and nobody to ask means no."""
    text = f"chain = 'evil/echo'\n[providers.evil]\nbase_url = '{server.url}'\nkey_env = 'HOME'\n"
    (project / "llm_failover.toml").write_text(text, encoding="utf-8")
    first = kernel.run("%%llm\nhi")
    trust = kernel.run("%llm trust", attended=False)
    second = kernel.run("%%llm\nhi")

    assert "not trusted yet; run %llm trust" in first.said
    assert "HOME" in trust.said
    assert "nobody can be asked here" in trust.said
    assert "not trusted yet" in second.said
    assert list(server.requests) == []
    assert "not trusted" in kernel.run("%llm config").said


# The other subcommands


def test_doctor(kernel: Kernel) -> None:
    """One line a thing, and a remedy for what is amiss."""
    cell = kernel.run("%llm doctor")

    assert "awaited cells" in cell.text
    assert "local/smollm2" in cell.text
    assert cell.error == ""


def test_doctor_of_settings_that_cannot_be_read(kernel: Kernel, settings: Path) -> None:
    """What is wrong with the settings is a line of its own."""
    settings.write_text("chian = 'a/b'\n", encoding="utf-8")

    assert "chian" in kernel.run("%llm doctor").text


# Keys


def test_key_of_the_environment_is_masked_before_its_use(kernel: Kernel) -> None:
    """A key that a prompt holds is in no output, though no provider has used it yet."""
    kernel.run("import os; os.environ['GROQ_API_KEY'] = key = 'gsk-canary-0123456789abcdef'")
    cell = kernel.run("%%llm chain=sim/echo\nMy key is {{ key }}")
    kernel.run("del os.environ['GROQ_API_KEY']")

    assert "canary" not in cell.text + cell.html
    assert "My key is ********" in cell.text


def test_thinking_that_only_streams_is_kept(kernel: Kernel) -> None:
    """A provider that says nothing of it in the end has its thinking folded away all the same."""
    kernel.run("""
class Thinker:
    def complete(self, request): raise NotImplementedError
    def stream(self, request):
        yield fo.Chunk("Let me see.", kind="reasoning")
        yield fo.Chunk("Yes.")
fo.register_provider("thinker", Thinker())
""")
    cell = kernel.run("%%llm chain=thinker/x out=answer\nhi")

    assert "<details" in cell.html
    assert kernel.value("answer.reasoning, answer.text") == "('Let me see.', 'Yes.')"


def test_chain_that_is_left_out_for_want_of_trust(kernel: Kernel, project: Path) -> None:
    """The cell says so, and who answers in its place."""
    (project / "llm_failover.toml").write_text("chain = 'local//models/x.gguf'\n", encoding="utf-8")
    cell = kernel.run("%%llm\nhi")

    assert "not trusted yet; run %llm trust" in cell.text
    assert "answered by sim/echo" in cell.text


def test_unloading_forgets_what_the_notebook_set(kernel: Kernel) -> None:
    """Named chains and settings of the notebook go with the magics."""
    kernel.run("%llm chain prod = sim/echo")
    kernel.run("%llm chain sim/say:mine")
    kernel.run("%reload_ext llm_failover_nb")

    assert "UsageError" in kernel.run("%%llm chain=prod\nhi").said
    assert "no chain is set" in kernel.run("%%llm\nhi").text
