"""Schemas as a notebook gives them: what is sent, what is checked, and what is said."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pydantic
import pytest
import typing_extensions

import llm_failover_nb as fo
from llm_failover_nb.notebook.answers import answer_schema, json_check
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.testing import ScriptedProvider

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


class Person(pydantic.BaseModel):
    """A model as a notebook has it."""

    name: str
    age: int = 0
    tags: list[str] = []


class Old:
    """A class that is no schema."""


@dataclasses.dataclass
class Point:
    """A dataclass as a notebook has it."""

    x: int
    y: int = 0


class Size(typing_extensions.TypedDict):
    """A typed dict as a notebook has it."""

    width: int


def checked(schema: object, value: object) -> object:
    """What the check gives for an answer that is this value."""
    return answer_schema(schema, name="Person").check(fo.Response(json.dumps(value)))


def refused(schema: object, value: object) -> str:
    """What the check says of it."""
    with pytest.raises(ValueError) as caught:
        checked(schema, value)
    return str(caught.value)


def misread(schema: object) -> str:
    """Why this is no schema."""
    with pytest.raises(ArgumentError) as caught:
        answer_schema(schema, name="Person")
    return str(caught.value)


# JSON alone


def test_any_json_passes_the_check_of_json() -> None:
    """Fenced or not."""
    assert json_check(fo.Response("```json\n[1]\n```")) == [1]


def test_what_is_no_json_does_not_pass() -> None:
    """With what the response says of it."""
    with pytest.raises(ValueError, match="the answer is no JSON: expecting value, on line 1"):
        json_check(fo.Response("Sure!"))


# Dicts


@pytest.mark.parametrize("schema", [PERSON, MappingProxyType(PERSON), {}])
def test_valid_answer_is_its_value(schema: Mapping[str, object]) -> None:
    """As JSON has it."""
    value = {"name": "Ada", "age": 36}
    assert checked(schema, value) == value


def test_schema_is_sent_as_it_is() -> None:
    """What the notebook changes in it afterwards changes nothing."""
    given = {"properties": {"a": {"type": "integer"}}}
    schema = answer_schema(given, name="Person")
    given["properties"]["a"]["type"] = "string"
    assert schema.json_schema == {"properties": {"a": {"type": "integer"}}}
    assert schema.check(fo.Response('{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "Ada", "age": "36"}, "at $.age: \"36\" is not of type 'integer'"),
        ({"name": "Ada", "age": -1}, "at $.age: -1 is less than the minimum of 0"),
        ({"age": 36}, "at $: 'name' is a required property; there was {\"age\": 36}"),
        ([1, "é", None], "at $: [1, \"é\", null] is not of type 'object'"),
        (["x" * 500], f"at $: [\"{'x' * 57}… is not of type 'object'"),
    ],
)
def test_invalid_answer_says_where_and_what(value: object, said: str) -> None:
    """And what was there, cut where it is long."""
    assert refused(PERSON, value) == said


@pytest.mark.parametrize(
    ("schema", "value", "place"),
    [
        ({"items": {"items": {"type": "null"}}}, [[], [None, 1]], "$[1][1]"),
        ({"properties": {"two words": {"type": "null"}}}, {"two words": 1}, '$["two words"]'),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "null"}}}]}, {"a": 1}, "$.a"),
    ],
)
def test_places_in_an_answer(schema: object, value: object, place: str) -> None:
    """As JSONPath has them; of alternatives the one that fits best."""
    assert refused(schema, value).startswith(f"at {place}: 1 is not of type 'null'")


def test_long_sentences_are_cut() -> None:
    """A list of a thousand allowed values is not repeated."""
    said = refused({"enum": list(range(1_000))}, 5_000)
    assert (len(said) < 300, said[:25], said[-1]) == (True, "at $: 5000 is not one of ", "…")


def test_format_is_not_checked() -> None:
    """It is a remark, as the standard has it by default."""
    assert checked({"format": "date-time"}, "tomorrow") == "tomorrow"


def test_deeply_nested_answers_do_not_pass() -> None:
    """Whether or not the schema goes as deep; nothing but a ValueError comes of it."""
    schema = answer_schema({"items": {"$ref": "#"}}, name="Person")
    with pytest.raises(ValueError, match="nested too deeply"):
        schema.check(fo.Response("[" * 400 + "]" * 400))


def test_schema_without_an_end_does_not_pass() -> None:
    """It holds for nothing, and says so."""
    assert "refers to itself without end" in refused({"$ref": "#"}, 1)


@pytest.mark.parametrize(
    ("dialect", "valid"),
    [
        ("http://json-schema.org/draft-07/schema#", True),
        ("http://json-schema.org/draft-04/schema", True),
        ("https://json-schema.org/draft/2020-12/schema", False),
        (None, False),
    ],
)
def test_schema_says_its_draft(dialect: str | None, valid: bool) -> None:
    """Else it is 2020-12: prefixItems is of that draft alone."""
    schema = {"prefixItems": [{"type": "null"}]} | ({} if dialect is None else {"$schema": dialect})
    if valid:
        assert checked(schema, [1]) == [1]
    else:
        assert refused(schema, [1]) == "at $[0]: 1 is not of type 'null'"


@pytest.mark.parametrize("dialect", ["https://example.com/mine", "draft7", 7, [], "http://["])
def test_unknown_draft_is_refused(dialect: object) -> None:
    """Rather than read as another."""
    said = misread({"$schema": dialect})
    assert said.startswith(f"schema=Person is of no known draft: its $schema is {json.dumps(dialect)}; leave")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "text"}, "at $.type: "),
        ({"properties": {"a": {"minimum": "0"}}}, "at $.properties.a.minimum: '0' is not of type 'number'"),
        ({"properties": []}, "at $.properties: [] is not of type 'object'"),
        ({"pattern": "("}, "at $.pattern: '(' is not a 'regex'"),
        ({"patternProperties": {"(": {}}}, "at $.patternProperties: '(' is not a 'regex'"),
    ],
)
def test_invalid_schema_says_where(schema: object, said: str) -> None:
    """Before anybody is asked."""
    assert misread(schema).startswith(f"schema=Person is no valid JSON Schema: {said}")


def test_deeply_nested_schema_is_refused() -> None:
    """Nothing but an ArgumentError comes of it."""
    deep: dict[str, object] = {}
    for _ in range(400):
        deep = {"items": deep}
    assert misread(deep) == "schema=Person is nested too deeply to be checked"


@pytest.mark.parametrize(
    "part", [{1, 2}, float("nan"), object(), Person], ids=lambda part: type(part).__name__
)
def test_schema_that_is_no_json_is_refused(part: object) -> None:
    """It could not be sent."""
    assert misread({"const": part}).startswith("schema=Person cannot be sent, since it is no JSON: ")


def test_schema_that_holds_itself_is_refused() -> None:
    """As Python's own dicts may."""
    schema: dict[str, object] = {}
    schema["items"] = schema
    assert "no JSON" in misread(schema)


# References


@pytest.fixture
def schema_server() -> Iterator[tuple[str, list[str]]]:
    """A server that gives a schema to whoever asks, and who has."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            pass

    asked: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/schema.json", asked
        server.shutdown()
        thread.join()


def test_references_within_a_schema_are_followed() -> None:
    """To definitions, anchors, names of its own, and the drafts themselves."""
    schema = {
        "$id": "https://example.com/person",
        "properties": {
            "a": {"$ref": "#/$defs/number"},
            "b": {"$ref": "#named"},
            "c": {"$ref": "https://example.com/person#/$defs/number"},
            "d": {"$ref": "https://json-schema.org/draft/2020-12/schema"},
            "e": {"$ref": "inner"},
            "$ref": {"type": "string"},
        },
        "$defs": {
            "number": {"type": "number"},
            "other": {"$anchor": "named", "type": "null"},
            "inner": {"$id": "inner", "$ref": "#/$defs/own", "$defs": {"own": {"type": "null"}}},
        },
    }
    assert checked(schema, {"a": 1, "b": None, "c": 2, "d": {"type": "null"}, "e": None, "$ref": "x"})
    assert refused(schema, {"b": 1}) == "at $.b: 1 is not of type 'null'"


def test_references_in_data_are_none() -> None:
    """A constant may look like anything."""
    data = {"$ref": "https://example.com/only-data"}
    assert checked({"const": data}, data) == data


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_reference_to_a_server_is_not_followed(schema_server: tuple[str, list[str]], keyword: str) -> None:
    """Nobody is asked for a schema, neither now nor when an answer is checked."""
    url, asked = schema_server
    assert misread({"properties": {"a": {keyword: url}}}) == (
        f'schema=Person refers to "{url}", which is not in it, and nothing is fetched: put that schema under '
        "$defs, and refer to it there"
    )
    assert asked == []


def test_reference_that_only_the_check_meets_is_not_followed(schema_server: tuple[str, list[str]]) -> None:
    """In a place where no schema should be: the answer is refused, and nobody asked."""
    url, asked = schema_server
    schema = answer_schema(
        {"$ref": "#/hidden", "hidden": {"properties": {"a": {"$ref": url}}}}, name="Person"
    )
    with pytest.raises(Exception, match="Unresolvable"):
        schema.check(fo.Response('{"a": 1}'))
    assert asked == []


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_reference_to_a_file_is_not_followed(tmp_path: object, keyword: str) -> None:
    """A schema does not read the disk."""
    file = tmp_path / "schema.json"
    file.write_text("{}")
    assert "which is not in it, and nothing is fetched" in misread({keyword: file.as_uri()})


@pytest.mark.parametrize("reference", ["#/$defs/none", "#nowhere", "other.json"])
def test_reference_to_nothing_is_refused(reference: str) -> None:
    """Before anybody is asked."""
    assert f'refers to "{reference}", which is not in it' in misread({"items": {"$ref": reference}})


def test_reference_that_is_no_address_is_refused() -> None:
    """By whoever looks first."""
    assert "http://[" in misread({"items": {"$ref": "http://["}})


# pydantic


def test_valid_answer_is_an_instance_of_the_model() -> None:
    """With its defaults."""
    assert checked(Person, {"name": "Ada"}) == Person(name="Ada", age=0)


def test_model_is_sent_as_its_schema() -> None:
    """The one that pydantic makes."""
    assert answer_schema(Person, name="Person").json_schema == Person.model_json_schema()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"age": 36}, 'at $.name: Field required; there was {"age": 36}'),
        ({"name": "Ada", "tags": ["a", 1]}, "at $.tags[1]: Input should be a valid string; there was 1"),
        ({"name": 1, "tags": 2}, "at $.name: Input should be a valid string; there was 1; and 1 more"),
        (5, "there was 5"),
    ],
)
def test_answer_that_the_model_refuses(value: object, said: str) -> None:
    """Where, what, and what was there; no address of a manual."""
    assert refused(Person, value).endswith(said)


def test_numbers_that_json_does_not_have_are_no_answer_for_a_model() -> None:
    """pydantic would take them."""

    class Weight(pydantic.BaseModel):
        kg: float

    with pytest.raises(ValueError, match="holds NaN"):
        answer_schema(Weight, name="Weight").check(fo.Response('{"kg": NaN}'))


def test_models_own_validator_is_heard() -> None:
    """What it raises is what is said."""

    class Even(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def even(cls, n: int) -> int:
            if n % 2:
                raise ValueError("must be even")
            return n

    assert refused(Even, {"n": 3}) == "at $.n: Value error, must be even; there was 3"


def test_what_a_model_makes_of_an_answer_is_shown_where_it_is_no_json() -> None:
    """As Python shows it."""

    class Odd(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n", mode="before")
        @classmethod
        def as_set(cls, n: int) -> set[int]:
            return {n}

    assert refused(Odd, {"n": 3}) == "at $.n: Input should be a valid integer; there was {3}"


def test_whatever_has_the_two_methods_is_a_model() -> None:
    """pydantic is known by them, not by its name; what an error says is taken as it is."""

    class Duck:
        @staticmethod
        def model_json_schema() -> dict[str, object]:
            return {"type": "string"}

        @staticmethod
        def model_validate_json(text: str) -> str:
            if text != '"quack"':
                raise ValueError(f"{text} is no sound\nof mine")
            return text

    assert (checked(Duck, "quack"), refused(Duck, "moo")) == ('"quack"', '"moo" is no sound')


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [(Point, {"x": 1}, Point(1)), (Size, {"width": 3}, {"width": 3})],
    ids=["dataclass", "TypedDict"],
)
def test_classes_that_pydantic_adapts(schema: object, value: object, expected: object) -> None:
    """A dataclass becomes an instance, a TypedDict stays a dict."""
    assert checked(schema, value) == expected
    assert answer_schema(schema, name="Point").json_schema["type"] == "object"


def test_answer_that_a_dataclass_refuses() -> None:
    """As for a model."""
    assert refused(Point, {"x": []}) == "at $.x: Input should be a valid integer; there was []"


def test_class_that_pydantic_cannot_read() -> None:
    """Its own words say why."""

    @dataclasses.dataclass
    class Odd:
        lock: threading.Event

    assert misread(Odd).startswith("schema=Person cannot be read by pydantic: Unable to generate")


def test_model_without_a_schema() -> None:
    """Its own words say why."""

    class Odd(pydantic.BaseModel):
        call: typing.Callable[[], None]

    assert misread(Odd).startswith("schema=Person has no JSON Schema: Cannot generate")


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ("{'pydantic': None}", "for which pydantic 2 is needed: install it with pip install pydantic"),
        ("{'pydantic': types.ModuleType('pydantic')}", "for which pydantic 2 is needed"),
    ],
    ids=["none", "version 1"],
)
def test_dataclass_without_pydantic(modules: str, said: str) -> None:
    """It says what to install; asked in a process that has none."""
    program = (
        "import dataclasses, sys, types\n"
        f"sys.modules.update({modules})\n"
        "from llm_failover_nb.notebook.answers import answer_schema\n"
        "Point = dataclasses.make_dataclass('Point', ['x'])\n"
        "try: answer_schema(Point, name='P')\n"
        "except ValueError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "schema=P is the class Point" in run.stdout
    assert said in run.stdout


def test_nothing_heavy_is_imported_before_a_schema_is_used() -> None:
    """Neither library costs anything to who has no schema; a dict's needs no pydantic."""
    program = (
        "import sys\n"
        "from llm_failover_nb.notebook.answers import answer_schema\n"
        "print('jsonschema' in sys.modules, 'pydantic' in sys.modules)\n"
        "answer_schema({}, name='x')\n"
        "print('jsonschema' in sys.modules, 'pydantic' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "True", "False"]


# What is no schema


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Person(name="Ada"), "of type Person"),
        (Old, "the class Old"),
        ("Person", "of type str"),
        (None, "of type NoneType"),
        (True, "of type bool"),
        (dict, "the class dict"),
        (functools.partial(Person), "of type partial"),
    ],
    ids=lambda value: str(value)[:10],
)
def test_what_is_no_schema_is_refused(value: object, what: str) -> None:
    """The message says what it is, and what a schema may be."""
    assert misread(value) == (
        f"schema=Person is {what}; give a dict that is a JSON Schema, a model of pydantic 2, a dataclass or "
        "a TypedDict"
    )


# In a chain


def test_check_of_a_schema_is_a_chains_check() -> None:
    """An answer that is not valid is that model's failure, and the next one is asked."""
    registry = fo.Registry()
    for name, text in (("a", '{"age": 1}'), ("b", '```json\n{"name": "Ada"}\n```')):
        registry.register(name, ScriptedProvider(text))
    schema = answer_schema(Person, name="Person")
    chain = fo.parse_chain("a/m,b/m", registry=registry, benches=fo.BenchRegistry(), check=schema.check)
    response = chain.complete("hi", schema=schema.json_schema)
    assert (response.model, schema.check(response)) == ("b/m", Person(name="Ada"))
    assert response.attempts[0].error == (
        'the answer did not pass the check: at $.name: Field required; there was {"age": 1}'
    )
