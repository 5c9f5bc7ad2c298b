"""One ``{{ expression }}`` of a prompt, worked out in Jinja's sandbox. Not where it stands, nor its text.

Loaded by the first cell that has one. The expression is the user's own code and may do what the notebook
may; the sandbox and the bounds in here are for accidents, and for what an expression finds in data.
"""

from __future__ import annotations

import difflib
import functools
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, TypeVar

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment

from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.notebook.arguments import ArgumentError
from llm_failover_nb.notebook.values import as_json, full

if TYPE_CHECKING:
    from typing import Any  # what Jinja's own signatures say

__all__ = ["LARGEST", "evaluate", "line_of", "words"]

N = TypeVar("N", bound=nodes.Expr)

LARGEST = 1_000_000
"""The most items of a range, and characters or items of a repetition: more fits the context of no model."""

# More would take a second to compare.
_MOST_COMPARED = 5_000
_MOST_LISTED = 5
# What is written in an expression is short.
_DEEPEST = 5
_LONGEST = 1_000

# Left out are those that make HTML (the prompt is plain text), and `random`, which is another each time.
_NO_FILTERS = {"e", "escape", "forceescape", "random", "safe", "urlize", "xmlattr"}
# Those whose numbers are sizes.
_SIZED = {"batch", "center", "indent", "slice"}


def evaluate(source: str, names: Mapping[str, object]) -> object:
    """The value of an expression.

    Args:
        source: The expression, without its braces.
        names: The notebook's variables; a name is looked up once for each time that it is given here.

    Raises:
        Exception: Whatever goes wrong; :func:`words` says it to a person.

    >>> evaluate("planets | first | upper", {"planets": ["mars"]})
    'MARS'
    """
    sandbox = _sandbox()
    expression = _parsed(source, sandbox)
    used = list(_all(expression, nodes.Name))
    known = {f"{name}_": _looked_up(name, names) for name in {node.name for node in used}}
    for node in used:
        # Jinja has a `self` of its own, and puts the value below into a variable.
        node.name = f"{node.name}_"
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    template = sandbox.from_string(nodes.Template(body, lineno=1))
    value: object = TemplateExpression(template, undefined_to_none=False)(known)
    # Data that an expression names holds nothing undefined; lists and dicts that it writes may.
    written = any(_all(expression, nodes.Literal))
    _refuse_missing(value, depth=_DEEPEST if written else 0)
    if isinstance(value, ModuleType):
        raise SecurityError(_of_module(value.__name__))
    return value


def _refuse_missing(value: object, *, depth: int) -> None:
    """Raise where something is not there, looking into lists and dicts so many levels deep."""
    if isinstance(value, Undefined):
        str(value)  # which raises what it has to say
    if not depth or not isinstance(value, list | tuple | dict) or len(value) > _LONGEST:
        return
    for part in value.values() if isinstance(value, dict) else value:
        _refuse_missing(part, depth=depth - 1)


def words(error: Exception) -> str:
    """What went wrong in an expression, in a few words."""
    if isinstance(error, TemplateSyntaxError):
        why = (error.message or "it is no expression").replace("'end of template'", "end of template")
        return f"it cannot be read: {why.replace('end of template', 'end of the expression').rstrip('.')}"
    if isinstance(error, ArgumentError | UndefinedError | SecurityError):
        return str(error)
    name, text = type(error).__name__, str(error)
    return f"it failed with {name}: {text}" if text else f"it failed with {name}"


def line_of(error: Exception) -> int:
    """The line of the expression at which it cannot be read, from 1."""
    return error.lineno if isinstance(error, TemplateSyntaxError) else 1


# Reading


def _parsed(source: str, sandbox: SandboxedEnvironment) -> nodes.Expr:
    if not source.strip():
        raise TemplateSyntaxError("there is no expression between the braces", 1)
    if source.startswith("-") or source.endswith("-"):
        # Jinja's blank-eating braces; read as a minus, the first of them would change the value.
        raise TemplateSyntaxError("put a space between the braces and the minus", 1)
    parser = Parser(sandbox, source, state="variable")
    try:
        expression = parser.parse_expression()
        if not parser.stream.eos:
            extra = parser.stream.current
            raise TemplateSyntaxError(f"{extra.value!r} is not expected", extra.lineno)
    except TemplateSyntaxError as error:
        if parser.stream.current.value == "for":
            why = "there is no `for` in here; make the list in a cell above and insert its name"
            raise TemplateSyntaxError(why, error.lineno) from None
        raise
    for node in _all(expression, nodes.Filter):
        if node.name not in sandbox.filters:
            raise TemplateSyntaxError(_of_filter(node.name, sandbox.filters), node.lineno)
    return expression


def _all(expression: nodes.Expr, kind: type[N]) -> Iterator[N]:
    """The parts of this kind, which the expression itself may be."""
    if isinstance(expression, kind):
        yield expression
    yield from expression.find_all(kind)


def _looked_up(name: str, names: Mapping[str, object]) -> object:
    if name in names:
        value = names[name]
        if not isinstance(value, ModuleType):
            return value
        if name not in _BUILTINS:
            return _Missing(hint=_of_module(name), name=name, exc=SecurityError)
    if name in _BUILTINS:
        return _BUILTINS[name]
    return _Missing(hint=_of_name(name, names), name=name)


# The sandbox


class _Missing(StrictUndefined):
    """What is not there: an error as soon as it is used, unless the expression asks (``default``)."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or _of_part(self._undefined_obj, self._undefined_name)


class _Sandbox(SandboxedEnvironment):
    """Jinja's sandbox, with this module's filters; modules and keys are not seen in it.

    Jinja's own globals are out of reach: every name of an expression is given its value.
    """

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=_Missing, optimized=False)
        self.filters = _filters()

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._seen(super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._seen(super().getitem(obj, argument))

    def _seen(self, value: object) -> object:
        if isinstance(value, ModuleType):
            return _Missing(hint=_of_module(value.__name__), exc=SecurityError)
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not isinstance(obj, Secret) and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        if isinstance(obj, Secret):
            hint = "a key is not put into a prompt, and nothing of it is read here"
        else:
            hint = f"{attribute!r} of {_article(obj)} is closed to a prompt; read it in a cell above"
        return _Missing(hint=hint, name=attribute, exc=SecurityError)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _refuse_enormous(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063  # Jinja's own names, which leave every keyword free
        for given in (*args, *kwargs.values()):
            _refuse_missing(given, depth=0)
        of_text = isinstance(getattr(__obj, "__self__", None), str | bytes)
        if of_text or any(__obj is known for known in _BUILTINS.values()):
            args = tuple(map(_counted, args))
        if of_text:
            _refuse_sizes(args)
        return super().call(__context, __obj, *args, **kwargs)


@functools.cache
def _sandbox() -> _Sandbox:
    """One for the process: nothing in it changes."""
    return _Sandbox()


def _filters() -> dict[str, Callable[..., Any]]:
    filters = {name: _guarded(name, own) for name, own in FILTERS.items() if name not in _NO_FILTERS}
    return {**filters, "full": full, "json": as_json, "tojson": as_json}


def _guarded(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if name in _SIZED:
            _refuse_sizes((*args, *kwargs.values()))
        if name == "format":
            _refuse_enormous("%", args[0], args[1:])
        return own(*map(_counted, args), **kwargs)

    return guarded


def _range(*args: int) -> range:
    """Python's, up to a bound."""
    made = range(*args)
    if made[LARGEST:]:
        raise OverflowError(f"{made} has more than {LARGEST:,} items, more than a prompt can hold")
    return made


_BUILTINS: Mapping[str, object] = MappingProxyType(
    {
        **{one.__name__: one for one in (len, min, max, sum, sorted, round, abs, repr, any, all)},
        **{kind.__name__: kind for kind in (str, int, float, list, dict, set, tuple, enumerate, zip)},
        "range": _range,
    }
)


# Bounds


def _counted(value: object) -> object:
    """An iterator that ends with an error instead of never; anything else as it is."""
    return _at_most(value) if isinstance(value, Iterator) else value


def _at_most(items: Iterator[object]) -> Iterator[object]:
    for number, item in enumerate(items):
        if number >= LARGEST:
            raise OverflowError(f"more than {LARGEST:,} items, more than a prompt can hold")
        yield item


def _refuse_sizes(args: Iterable[object]) -> None:
    for size in args:
        if isinstance(size, int) and size > LARGEST:
            raise OverflowError(f"{size:,} is more than a prompt can hold")


def _refuse_enormous(operator: str, left: object, right: object) -> None:
    """Raise where a repetition, a power or a width would fill the memory before anything else stops it."""
    size = 0
    if operator == "**":
        if isinstance(left, int) and isinstance(right, int) and abs(left) > 1:
            size = left.bit_length() * right
    elif operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(one, str | bytes | list | tuple) and isinstance(times, int):
                size = len(one) * times
    elif isinstance(left, str):
        _refuse_sizes(int(digits) for digits in _numbers_in(left))
        _refuse_sizes(right if isinstance(right, tuple) else ())
    if size > LARGEST:
        raise OverflowError(f"the result of {operator} is larger than a prompt can hold")


def _numbers_in(text: str) -> Iterator[str]:
    # Longer ones than this are as good as any, and int() refuses thousands of digits.
    digits = "".join(sign if sign in "0123456789" else " " for sign in text)
    return (number[:12] for number in digits.split()) if "%" in text else iter(())


# What is not there, in words


def _of_name(name: str, names: Mapping[str, object]) -> str:
    if near := _near(name, [*names, *_BUILTINS]):
        return f"{name!r} is not defined in this notebook; did you mean {near}?"
    if keyword.iskeyword(name):
        return f"{name!r} is a word of Python that means nothing in here; work it out in a cell above"
    return f"{name!r} is not defined in this notebook; run the cell that makes it"


def _of_module(name: str) -> str:
    return (
        f"{name!r} is a module, and modules are not seen in a prompt; work it out in a cell above and "
        "insert the variable"
    )


def _of_filter(name: str, filters: Iterable[str]) -> str:
    if name in _NO_FILTERS:
        return f"there is no filter {name!r} in here: the prompt is plain text"
    near = _near(name, filters)
    hint = f"did you mean {near}?" if near else "full and json are there, and most of Jinja's"
    return f"there is no filter {name!r}; {hint}"


def _of_part(owner: object, part: object) -> str:
    """Why ``owner`` has no such attribute, key or item, and what is near."""
    if type(owner).__name__ in {"_LocIndexer", "_iLocIndexer", "_AtIndexer", "_iAtIndexer"}:
        return f"{_article(getattr(owner, 'obj', owner))} has no row {part!r}"
    if isinstance(owner, Sequence) and isinstance(part, int):
        return f"{_article(owner)} of {len(owner):,} has no item {part}"
    if isinstance(owner, Mapping):
        return f"{_article(owner)} has no key {part!r}{_offer(part, owner)}"
    columns = getattr(owner, "columns", None)
    if columns is not None and hasattr(owner, "shape"):
        attributes = [] if _near(part, map(str, columns)) else dir(owner)
        return f"{_article(owner)} has no column or attribute {part!r}{_offer(part, columns, attributes)}"
    if isinstance(part, str):
        return f"{_article(owner)} has no attribute {part!r}{_offer(part, (), dir(owner))}"
    return f"{_article(owner)} has no item {part!r}"


def _offer(part: object, listed: Iterable[object], attributes: Iterable[str] = ()) -> str:
    parts = list(listed)
    public = [name for name in attributes if not name.startswith("_")]
    if near := _near(part, [str(one) for one in parts[:_MOST_COMPARED]] + public):
        return f"; did you mean {near}?"
    if not parts:
        return ""
    more = f" and {len(parts) - _MOST_LISTED:,} more" if len(parts) > _MOST_LISTED else ""
    return f"; there are {', '.join(_short(one) for one in parts[:_MOST_LISTED])}{more}"


def _short(part: object) -> str:
    text = repr(part)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _near(name: object, known: Iterable[str]) -> str:
    """The nearest of the known names, in words; empty where none is near."""
    if not isinstance(name, str):
        return ""
    names = list(dict.fromkeys(known))[:_MOST_COMPARED]
    same = [one for one in names if one.casefold() == name.casefold()]
    return " or ".join((same or difflib.get_close_matches(name, names, n=3))[:3])


def _article(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
