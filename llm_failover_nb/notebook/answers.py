"""What ``schema=`` and ``format=`` ask of an answer: that it is valid, that it is JSON. Nothing is shown.

No schema is ever fetched. The libraries that check one are imported when a cell has one: jsonschema for
dicts, pydantic for dataclasses and typed dicts alone, since a model of its own brings it along.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from llm_failover_nb.engine.types import Response
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.code_blocks import code_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["AnswerSchema", "answer_schema", "code_of", "json_check"]

# How much a message shows of a value, and of what a library says.
_LONGEST_VALUE = 60
_LONGEST_SENTENCE = 200

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

_KNOWN = "a dict that is a JSON Schema, a model of pydantic 2, a dataclass or a TypedDict"


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """What an answer must be.

    Args:
        json_schema: What the provider is told, as plain JSON.
        parse: From the JSON value of an answer to what the notebook gets; its ValueError says what is wrong.
    """

    json_schema: Mapping[str, object]
    parse: Callable[[object], object]

    def check(self, response: Response) -> object:
        """The answer's value, which is valid: plain JSON for a dict, else an instance of the class.

        Raises:
            ValueError: When the answer is no JSON, or not valid: where, what is wrong, what was there.
        """
        return self.parse(response.json())


def json_check(response: Response) -> object:
    """The answer's JSON value, whatever it is: the check of ``format=json`` without a schema.

    Raises:
        ValueError: When the answer is no JSON.
    """
    return response.json()


def answer_schema(value: object, *, name: str) -> AnswerSchema:
    """Read what a notebook gives as ``schema=``.

    Args:
        value: A dict that is a JSON Schema (of the draft that its ``$schema`` names, else of 2020-12; a
            ``$ref`` out of it is not followed, ``format`` is not checked), a model class of pydantic 2, or
            a dataclass or TypedDict, for which pydantic 2 must be installed.
        name: What the notebook calls it, for messages.

    Raises:
        ArgumentError: When it is none of these, or not valid: says in which place.

    >>> schema = answer_schema({"properties": {"age": {"type": "integer"}}}, name="Person")
    >>> schema.check(Response('{"age": 7}'))
    {'age': 7}
    >>> schema.check(Response('{"age": "seven"}'))
    Traceback (most recent call last):
    ValueError: at $.age: "seven" is not of type 'integer'
    """
    if isinstance(value, Mapping):
        return _of_dict(value, name)
    if isinstance(value, type) and callable(getattr(value, "model_json_schema", None)):
        model = cast("_Model", value)
        return _of_pydantic(model.model_json_schema, model.model_validate_json, name)
    # Every TypedDict has these, also those of typing_extensions.
    if isinstance(value, type) and (dataclasses.is_dataclass(value) or hasattr(value, "__required_keys__")):
        adapter = _adapter(value, name)
        return _of_pydantic(adapter.json_schema, adapter.validate_json, name)
    what = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    raise ArgumentError(f"schema={name} is {what}; give {_KNOWN}")


# JSON Schema


def _of_dict(given: Mapping[object, object], name: str) -> AnswerSchema:
    schema = _as_json(given, name)
    validator = _validator(schema, name)

    def parse(value: object) -> object:
        _validate(validator, value)
        return value

    return AnswerSchema(schema, parse)


def _as_json(given: Mapping[object, object], name: str) -> dict[str, object]:
    """A copy of its own, as it is sent: what the notebook changes later changes no call."""
    try:
        return cast("dict[str, object]", json.loads(json.dumps(dict(given), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"schema={name} cannot be sent, since it is no JSON: {error}") from None


def _validator(schema: dict[str, object], name: str) -> Validator:
    from jsonschema.exceptions import SchemaError
    from jsonschema_specifications import REGISTRY

    draft = _draft(schema, name)
    try:
        draft.check_schema(schema)
        _check_references(schema, str(draft.META_SCHEMA["$schema"]), name)
    except SchemaError as error:
        place, said = _place(error.path), _short(error.message)
        raise ArgumentError(f"schema={name} is no valid JSON Schema: at {place}: {said}") from None
    except RecursionError:
        raise ArgumentError(f"schema={name} is nested too deeply to be checked") from None
    # A registry that holds the drafts alone: the library's own default would fetch what it does not know.
    return draft(schema, registry=REGISTRY)


def _draft(schema: Mapping[str, object], name: str) -> type[Validator]:
    from jsonschema.validators import Draft202012Validator, validator_for

    dialect = schema.get("$schema")
    if dialect is None:
        return cast("type[Validator]", Draft202012Validator)
    try:
        known = validator_for({"$schema": dialect}, default=None)
    except (TypeError, ValueError, AttributeError):  # no text, or no address
        known = None
    if known is None:
        raise ArgumentError(
            f"schema={name} is of no known draft: its $schema is {_shown(dialect)}; leave it out for "
            "2020-12, or name one, such as http://json-schema.org/draft-07/schema"
        )
    return cast("type[Validator]", known)


def _check_references(schema: dict[str, object], dialect: str, name: str) -> None:
    """Refuse a reference out of the schema now, rather than after a model was asked and paid."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    whole = specification_with(dialect).create_resource(schema)
    left = [(whole, REGISTRY.resolver_with_root(whole))]
    while left:
        part, resolver = left.pop()
        for reference in _references(part.contents):
            try:
                resolver.lookup(reference)
            except (Unresolvable, ValueError):  # the latter of what is no address
                raise ArgumentError(
                    f"schema={name} refers to {_shown(reference)}, which is not in it, and nothing is "
                    "fetched: put that schema under $defs, and refer to it there"
                ) from None
        left.extend((each, resolver.in_subresource(each)) for each in part.subresources())


def _references(schema: object) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    return [value for key in _REFERENCES if isinstance(value := schema.get(key), str)]


def _validate(validator: Validator, value: object) -> None:
    from jsonschema.exceptions import best_match

    try:
        error = best_match(validator.iter_errors(value))
    except RecursionError:
        raise ValueError("it is nested too deeply, or the schema refers to itself without end") from None
    if error is not None:
        raise ValueError(_sentence(_place(error.absolute_path), error.message, error.instance))


# pydantic


class _Model(Protocol):
    """What is used of a model class."""

    def model_json_schema(self) -> dict[object, object]: ...
    def model_validate_json(self, text: str, /) -> object: ...


class _Adapter(Protocol):
    """What is used of an adapter for another class."""

    def json_schema(self) -> dict[object, object]: ...
    def validate_json(self, text: str, /) -> object: ...


def _adapter(value: type, name: str) -> _Adapter:
    needs = f"schema={name} is the class {value.__name__}, for which pydantic 2 is needed"
    try:
        adapter = getattr(importlib.import_module("pydantic"), "TypeAdapter", None)
    except ImportError:
        adapter = None
    if adapter is None:
        raise ArgumentError(f"{needs}: install it with pip install pydantic, or give a dict")
    try:
        return cast("_Adapter", adapter(value))
    except Exception as error:  # noqa: BLE001  # pydantic's, or of a class of the notebook's own
        raise ArgumentError(f"schema={name} cannot be read by pydantic: {_first_line(error)}") from None


def _of_pydantic(
    schema: Callable[[], dict[object, object]], validate: Callable[[str], object], name: str
) -> AnswerSchema:
    try:
        json_schema = schema()
    except Exception as error:  # noqa: BLE001  # pydantic's, or of a class of the notebook's own
        raise ArgumentError(f"schema={name} has no JSON Schema: {_first_line(error)}") from None

    def parse(value: object) -> object:
        try:
            # As JSON again: in it a list may be a tuple, and a text a date.
            return validate(json.dumps(value))
        except ValueError as error:
            raise ValueError(_first_error(error)) from None

    return AnswerSchema(_as_json(json_schema, name), parse)


def _first_error(error: ValueError) -> str:
    """What pydantic says of the first place that is wrong."""
    errors = getattr(error, "errors", None)
    if not callable(errors) or not (all_of_them := errors(include_url=False)):
        return _first_line(error)
    first = all_of_them[0]
    more = len(all_of_them) - 1
    said = _sentence(_place(first["loc"]), first["msg"], first["input"])
    return f"{said}; and {more} more" if more else said


# Words


def _sentence(place: str, said: str, value: object) -> str:
    """Where, what is wrong, what was there; once, where a library says that itself."""
    shown, spelled = _shown(value), repr(value)
    if said.startswith(spelled):
        return f"at {place}: {shown}{_short(said[len(spelled) :])}"
    return f"at {place}: {_short(said)}; there was {shown}"


def _place(path: Sequence[str | int]) -> str:
    """A place in a JSON value, as JSONPath has it."""
    return "$" + "".join(_step(step) for step in path)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() else f"[{_shown(step)}]"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _short(said: str) -> str:
    return said if len(said) <= _LONGEST_SENTENCE else f"{said[: _LONGEST_SENTENCE - 1]}…"


def _first_line(error: Exception) -> str:
    return _short(next(iter(str(error).splitlines()), type(error).__name__))
