"""How chains are built, nested and let go."""

from __future__ import annotations

import asyncio

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.events import process_log
from llm_failover_nb.testing import FakeClock, ScriptedProvider
from tests.engine.conftest import Bed, dead, drive

# Parsing


@pytest.mark.parametrize(
    "text",
    ["a/m,b/m", " a/m , b/m ", ",a/m,,b/m,", ["a/m", "b/m"], ["a/m, b/m"], ["", "a/m", None, " ", "b/m"]],
)
def test_specs_are_trimmed_and_blanks_skipped(bed: Bed, text: object) -> None:
    """A text or a list, with blanks anywhere."""
    bed.chain({"a": "x", "b": "x"})
    assert fo.parse_chain(text, **bed.world).specs == ("a/m", "b/m")


def test_provider_ends_at_the_first_slash(bed: Bed) -> None:
    """The rest is the model's name, slashes and all."""
    bed.add("a", ScriptedProvider("ok"))
    chain = fo.parse_chain("a/meta/llama:free", **bed.world)
    chain.complete("hi")
    assert (chain.specs, bed.providers["a"].requests[0].model) == (("a/meta/llama:free",), "meta/llama:free")


@pytest.mark.parametrize("nothing", ["", " , ,", [], [None], ["", None]])
def test_nothing_left_is_an_error(nothing: object) -> None:
    """An empty chain cannot be built."""
    with pytest.raises(fo.ChainSpecError, match="no valid specs"):
        fo.parse_chain(nothing)


def test_unknown_provider_names_itself_and_the_nearest() -> None:
    """A typo is answered with the name that was meant."""
    with pytest.raises(fo.ChainSpecError, match=r"'opnai/gpt-x'.*unknown provider 'opnai'.*'openai'"):
        fo.parse_chain("sim/echo, opnai/gpt-x")


@pytest.mark.parametrize("spec", ["openai", "openai/", "/gpt"])
def test_spec_without_a_model_or_provider(spec: str) -> None:
    """The error shows the spec and the form it should have."""
    with pytest.raises(fo.ChainSpecError, match=f"{spec!r} is no spec: write provider/model"):
        fo.parse_chain(spec)


def test_chains_are_made_of_models_and_specs() -> None:
    """Anything else is refused by name."""
    with pytest.raises(TypeError, match="not 7"):
        fo.failover_model([7])


# Nesting


def test_chain_in_a_chain_is_spliced_in_flat(bed: Bed) -> None:
    """Its entries stay, duplicates too; its policy and its observer are dropped."""
    inner = bed.chain({"a": dead(), "b": dead()}, max_retries=7)
    outer = fo.failover_model([inner, None, fo.Model("c/m", ScriptedProvider("ok")), inner], **bed.world)
    assert (outer.specs, outer.policy.max_retries) == (("a/m", "b/m", "c/m", "a/m", "b/m"), 3)
    assert (outer.complete("hi").model, bed.events) == ("c/m", [])


def test_failover_model_keys_by_spec_and_sends_the_bare_name(bed: Bed) -> None:
    """The bench key is the whole spec; the provider knows its models by their own names."""
    provider = ScriptedProvider(dead(), "ok")
    chain = fo.failover_model([fo.Model("x/one", provider), fo.Model("x/two", provider)], **bed.world)
    assert (chain.complete("hi").model, list(bed.benched())) == ("x/two", ["x/one"])
    assert [r.model for r in provider.requests] == ["one", "two"]


def test_one_model_or_one_chain_is_a_chain(bed: Bed) -> None:
    """No list is needed around one."""
    model = fo.Model("x/m", ScriptedProvider("ok"))
    chain = fo.Chain(model, **bed.world)
    assert (chain.specs, fo.Chain(chain, **bed.world).specs) == (("x/m",), ("x/m",))


def test_registry_gives_a_chain_where_a_model_is_expected(bed: Bed) -> None:
    """One spec is a model, several are transparently a chain; both answer alike."""
    bed.add("a", ScriptedProvider("ok"))
    one, several = bed.registry.parse("a/m"), bed.registry.parse("a/m, a/n")
    assert (type(one), type(several), several.specs) == (fo.Model, fo.Chain, ("a/m", "a/n"))
    assert (one.complete("hi").model, several.complete("hi").model) == ("a/m", "a/m")


@pytest.mark.usefixtures("package_state")
def test_registrys_chain_has_the_packages_defaults_and_observer(bed: Bed) -> None:
    """It stands where a model is expected, so nobody could give it others."""
    seen: list[fo.FailoverEvent] = []
    fo.set_failover_defaults(max_retries=1, cooldown=0)
    fo.set_failover_observer(seen.append)
    bed.add("a", ScriptedProvider(ConnectionError()))
    with pytest.raises(fo.AllModelsFailed):
        bed.registry.parse("a/m,a/n").complete("hi")
    assert (bed.asked("a"), [e.model for e in seen]) == (2, ["a/m", "a/n"])


def test_alias_resolves_before_keying(bed: Bed) -> None:
    """Benches and answers know the spec, not the alias."""
    bed.add("a", ScriptedProvider("ok"))
    bed.registry.alias("fast", "a/m, a/n")
    chain = fo.parse_chain("fast", **bed.world)
    assert (chain.specs, chain.complete("hi").model) == (("a/m", "a/n"), "a/m")


# What is fixed when the chain is built


@pytest.mark.usefixtures("package_state")
def test_defaults_are_read_when_the_chain_is_built(bed: Bed) -> None:
    """Later changes leave a chain alone."""
    fo.set_failover_defaults(max_retries=1)
    chain = bed.chain({"a": "ok"})
    fo.set_failover_defaults(max_retries=9)
    assert chain.policy.max_retries == 1


@pytest.mark.usefixtures("package_state")
def test_later_defaults_change_no_call(bed: Bed, path: str) -> None:
    """The calls of a chain go by the defaults of its making, too."""
    fo.set_failover_defaults(max_retries=1)
    chain = bed.chain({"a": ConnectionError(), "b": "ok"})
    fo.set_failover_defaults(max_retries=9)
    drive(path, chain)
    assert bed.asked("a") == 1


def test_fields_win_over_the_policy(bed: Bed) -> None:
    """A whole policy may be given, and single fields changed in it."""
    chain = bed.chain({"a": "ok"}, policy=fo.Policy(max_retries=2, cooldown=5), max_retries=4)
    assert (chain.policy.max_retries, chain.policy.cooldown) == (4, 5)


@pytest.mark.usefixtures("package_state")
def test_default_observer_is_read_when_the_chain_is_built(bed: Bed) -> None:
    """None given explicitly switches it off."""
    seen: list[fo.FailoverEvent] = []
    fo.set_failover_observer(seen.append)
    bed.add("a", ScriptedProvider(dead()))
    observed = fo.parse_chain("a/m", **bed.world)
    silent = fo.parse_chain("a/m", observer=None, **bed.world)
    fo.set_failover_observer(None)
    for chain in (observed, silent):
        with pytest.raises(fo.AllModelsFailed):
            chain.complete("hi")
    assert len(seen) == 1


def test_backoff_none_is_the_default(bed: Bed) -> None:
    """Full jitter stays within its bounds."""
    chain = bed.chain({"a": ConnectionError()}, backoff=None, max_retries=8)
    with pytest.raises(fo.AllModelsFailed):
        chain.complete("hi")
    bounds = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert all(0 <= wait <= bound for wait, bound in zip(bed.clock.sleeps, bounds, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": 0}, "max_retries=0"),
        ({"cooldown": -1}, "cooldown=-1"),
        ({"cooldown": float("nan")}, "cooldown=nan"),
        ({"deadline": 0}, "deadline=0"),
        ({"midstream": "retry"}, "midstream='retry'"),
    ],
)
def test_bad_numbers_are_named(bed: Bed, options: dict[str, object], message: str) -> None:
    """At construction, with the value."""
    with pytest.raises(ValueError, match=message):
        bed.chain({"a": "ok"}, **options)


@pytest.mark.parametrize(
    ("option", "hint"), [("max_retry", "did you mean max_retries"), ("zzz", "known are attempt_timeout")]
)
def test_unknown_option_is_answered_with_the_nearest(bed: Bed, option: str, hint: str) -> None:
    """A setting that silently does nothing is worse than an error."""
    with pytest.raises(TypeError, match=f"{option!r} is no option of a chain; {hint}"):
        bed.chain({"a": "ok"}, **{option: 1})


def test_none_is_the_packages_own(bed: Bed) -> None:
    """None for an option is as good as leaving it out."""
    bed.chain({"a": "ok"})
    options = dict.fromkeys(["policy", "benches", "clock", "log", "classify"])
    chain = fo.parse_chain("a/m", registry=bed.registry, **options)
    assert (chain.policy, chain.complete("hi").text) == (fo.get_failover_defaults(), "ok")


def test_classifier_must_be_callable(bed: Bed) -> None:
    """Found when the chain is built, not when something fails."""
    with pytest.raises(TypeError, match="classify='transient' is not callable"):
        bed.chain({"a": "ok"}, classify="transient")


def test_own_clock(bed: Bed) -> None:
    """A chain waits and measures by the clock it is given."""
    chain = bed.chain({"a": (ConnectionError(), "ok")}, clock=bed.clock)
    chain.complete("hi")
    assert bed.clock.sleeps == [1.0]


def test_own_clock_beside_the_benches(bed: Bed, path: str) -> None:
    """Waits, deadlines and latencies are the chain's clock's, also where its benches have another."""
    clock = FakeClock()

    def slow(request: fo.Request) -> ConnectionError:
        clock.advance(2)
        return ConnectionError()

    bed.clock.advance(1000)
    response = drive(path, bed.chain({"a": (slow, "ok")}, clock=clock, deadline=5))
    timeouts = [request.timeouts.attempt for request in bed.providers["a"].requests]
    assert (clock.sleeps, bed.clock.sleeps, response.latency, timeouts) == ([1.0], [], 2.0, [5.0, 3.0])


def test_rows_go_to_the_process_log_unless_another_is_given(bed: Bed, path: str) -> None:
    """What nobody redirected is where everybody looks."""
    bed.add("a", ScriptedProvider("ok"))
    here = drive(path, fo.parse_chain("a/m", **bed.world)).attempts[0]
    there = drive(path, fo.parse_chain("a/m", registry=bed.registry, benches=bed.benches)).attempts[0]
    logged = {row.call_id for row in process_log}
    assert (here.call_id in logged, there.call_id in logged, len(bed.log)) == (False, True, 1)


def test_coroutine_observer_is_refused(bed: Bed) -> None:
    """Nobody would await it."""

    async def observer(event: fo.FailoverEvent) -> None: ...

    with pytest.raises(TypeError, match="coroutine function"):
        bed.chain({"a": "ok"}, observer=observer)


# Bad calls


def test_unknown_field_is_answered_with_the_nearest(bed: Bed, path: str) -> None:
    """Before anything is sent."""
    chain = bed.chain({"a": "ok"})
    with pytest.raises(TypeError, match="did you mean temperature"):
        drive(path, chain, "hi", temprature=1)
    assert bed.asked("a") == 0


def test_prompt_may_be_messages_or_a_request(bed: Bed, path: str) -> None:
    """A request's own fields stay unless the call gives others."""
    chain = bed.chain({"a": "ok"})
    drive(path, chain, [fo.Message("user", "one"), {"role": "assistant", "content": "two"}])
    drive(path, chain, fo.Request("three", system="s", temperature=1.0), temperature=0.0)
    first, second = bed.providers["a"].requests
    assert [m.content for m in first.messages] == ["one", "two"]
    assert (second.prompt, second.system, second.temperature) == ("three", "s", 0.0)


# Letting go


class Closable(ScriptedProvider):
    """Counts how often it is told to let go."""

    closes = acloses = 0

    def close(self) -> None:
        self.closes += 1


class AsyncClosable(Closable):
    """Lets go of a loop's connections too."""

    async def aclose(self) -> None:
        self.acloses += 1


def test_chain_lets_go_of_each_provider_once(bed: Bed) -> None:
    """As a context manager, in both forms; a provider that holds nothing is left alone."""
    plain, sync, both = ScriptedProvider("x"), Closable("x"), AsyncClosable("x")
    for name, provider in (("plain", plain), ("sync", sync), ("both", both)):
        bed.add(name, provider)
    with fo.parse_chain("plain/a,sync/a,sync/b,both/a", **bed.world) as chain:
        assert chain.complete("hi").text == "x"
    assert (sync.closes, both.closes) == (1, 1)

    async def leave() -> None:
        async with chain:
            await chain.acomplete("hi")

    asyncio.run(leave())
    assert (sync.closes, both.closes, both.acloses) == (2, 1, 1)


def test_repr_names_the_specs(bed: Bed) -> None:
    """What a notebook shows of a chain."""
    assert repr(bed.chain({"a": "x", "b": "x"})) == "Chain('a/m,b/m')"
