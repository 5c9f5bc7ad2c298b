"""What a provider may tell the engine beside its answers: its key, its wire, what it leaves out."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import llm_failover_nb as fo
from llm_failover_nb.testing import ScriptedProvider
from tests.engine.conftest import Ask, Bed, dead, down


class Keyed(ScriptedProvider):
    """A scripted provider with a key."""

    def __init__(self, *script: object, key: object = None) -> None:
        super().__init__(*script)
        self.key = key


def chain_of(bed: Bed, providers: dict[str, object], **options: object) -> fo.Chain:
    """A chain of ``name/m`` over the given providers, in the bed's world."""
    for name, provider in providers.items():
        bed.add(name, provider)
    specs = [f"{name}/m" for name in providers]
    return fo.parse_chain(specs, **bed.world, **{"backoff": float, "observer": bed.events.append, **options})


def lab(bed: Bed, *names: str, key: object = "k", **more: object) -> fo.Chain:
    """A chain whose first entry refuses the key that the entries of ``names`` share with it."""
    shared = {name: Keyed("shared", key=key) for name in names}
    return chain_of(
        bed, {"a": Keyed(dead(), key=key), **shared, "z": Keyed("healthy", key="another"), **more}
    )


# One dead key


def test_a_dead_key_benches_all_who_use_it(bed: Bed, ask: Ask) -> None:
    """The call passes by the other entries of that key, and every later call does."""
    response = ask(lab(bed, "b", "c"))
    assert (response.model, response.text) == ("z/m", "healthy")
    assert bed.benched() == {"a/m": 300.0, "b/m": 300.0, "c/m": 300.0}
    assert [bed.asked(name) for name in "bcz"] == [0, 0, 1]


def test_a_dead_key_is_one_event(bed: Bed, ask: Ask) -> None:
    """It names the models that were benched too, and the next one that is not."""
    ask(lab(bed, "b", "c"))
    (event,) = bed.events
    assert (event.model, event.benched_too, event.next_model) == ("a/m", ("b/m", "c/m"), "z/m")


def test_a_dead_key_is_noted_in_the_record(bed: Bed, ask: Ask) -> None:
    """The row of the failure says who was benched with it."""
    (failed, *_) = ask(lab(bed, "b")).attempts
    assert (failed.model, failed.note) == ("a/m", "benched too, for the same key: b/m")


def test_a_dead_key_is_logged_once(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """The warning says the same."""
    with caplog.at_level(logging.WARNING, "llm_failover_nb"):
        lab(bed, "b").complete("hi")
    (record,) = caplog.records
    assert "a/m failed (auth_dead: bad key); benched too, for the same key: b/m; next: z/m".replace(
        "bad key", "status 401"
    ) == (record.getMessage())


def test_each_model_of_one_key_is_one_bench_row(bed: Bed, ask: Ask) -> None:
    """A model that stands twice in the chain is benched once."""
    for name, provider in {"a": Keyed(dead(), key="k"), "b": Keyed("b", key="k"), "z": Keyed("z")}.items():
        bed.add(name, provider)
    benches = fo.BenchRegistry(clock=bed.clock, log=bed.log)
    ask(fo.parse_chain("a/m, b/m, a/m, b/m, z/m", **{**bed.world, "benches": benches}))
    assert [row.model for row in bed.log if row.outcome == "bench"] == ["a/m", "b/m"]


@pytest.mark.parametrize("status", [402, 403, 404], ids=["quota", "permission", "model_gone"])
def test_only_credentials_are_the_keys_own(bed: Bed, ask: Ask, status: int) -> None:
    """Other dead ends are one model's."""
    providers = {"a": Keyed(down(status), key="k"), "b": Keyed("shared", key="k"), "z": Keyed("healthy")}
    assert ask(chain_of(bed, providers)).model == "b/m"
    assert list(bed.benched()) == ["a/m"]


def test_models_without_a_key_share_none(bed: Bed, ask: Ask) -> None:
    """What wants no key is not benched for its likes."""
    assert ask(lab(bed, "b", key=None)).model == "b/m"


def test_the_keys_own_entries_are_asked_when_nothing_else_is_live(bed: Bed, ask: Ask) -> None:
    """A bench is never a refusal: the last ones left are asked all the same."""
    chain = chain_of(bed, {"a": Keyed(dead(), key="k"), "b": Keyed("shared", key="k")})
    assert ask(chain).model == "b/m"
    assert [event.next_model for event in bed.events] == ["b/m"]


def test_a_manual_bench_stays_the_operators(bed: Bed, ask: Ask) -> None:
    """A dead key neither extends it nor is it said to."""
    chain = lab(bed, "b")
    bed.benches.bench("b/m", for_=10)
    ask(chain)
    assert [bench.manual for bench in bed.benches.list() if bench.model == "b/m"] == [True]
    assert bed.events[0].benched_too == ()


def test_a_lift_since_the_attempt_began_holds(bed: Bed, ask: Ask) -> None:
    """The operator lifted the model while the first was failing: it is not benched."""

    def lift(_: fo.Request) -> Exception:
        bed.benches.unbench("b/m")
        return dead()

    providers = {"a": Keyed(lift, key="k"), "b": Keyed("shared", key="k"), "z": Keyed("healthy")}
    assert ask(chain_of(bed, providers)).model == "b/m"


def test_no_failure_is_counted_for_what_was_not_asked(bed: Bed) -> None:
    """It is benched, but has not failed."""
    lab(bed, "b").complete("hi")
    assert {bench.model: bench.consecutive_fails for bench in bed.benches.list()} == {"a/m": 1, "b/m": 0}


def test_a_bench_beside_only_extends(bed: Bed) -> None:
    """One that lasts longer already stays as it is."""
    chain = lab(bed, "b")
    bed.benches.failed("b/m", 1, 1, threshold=1, for_=4000)
    chain.complete("hi")
    assert bed.benched()["b/m"] == 4000.0


def test_a_bench_beside_starts_an_expired_one_anew(bed: Bed) -> None:
    """The failures before it are forgotten, as for any bench."""
    chain = lab(bed, "b")
    bed.half_open("b/m")
    chain.complete("hi")
    assert [bench.consecutive_fails for bench in bed.benches.list() if bench.model == "b/m"] == [0]


def test_without_a_cooldown_nobody_is_benched(bed: Bed, ask: Ask) -> None:
    """A cooldown of 0 switches benches off, for those beside too."""
    chain = chain_of(bed, {"a": Keyed(dead(), key="k"), "b": Keyed("shared", key="k")}, cooldown=0)
    assert ask(chain).model == "b/m"
    assert bed.events[0].benched_too == ()


# A failure that ends by itself


def ending(lasts: float | None) -> fo.Verdict:
    """A quota that is used up for a time."""
    return fo.Verdict(fo.ErrorKind.AUTH_DEAD, "quota", lasts=lasts)


@pytest.mark.parametrize(
    ("lasts", "benched"),
    [(7200, 7200.0), (30, 30.0), (200_000, 86_400.0), (5, 300.0), (None, 300.0)],
    ids=["hours", "shorter than the cooldown", "at most max_bench", "too short to believe", "not said"],
)
def test_a_quota_benches_for_as_long_as_the_provider_says(
    bed: Bed, lasts: float | None, benched: float
) -> None:
    """Where it says nothing, or no more than one would wait for, it is the cooldown."""
    chain = bed.chain({"a": down(402), "b": "ok"}, classify=lambda error: ending(lasts))
    chain.complete("hi")
    assert {"a/m": benched} == bed.benched()


# The wire


def test_failures_are_read_by_their_wire(bed: Bed, ask: Ask) -> None:
    """A number that Zhipu gives to a spent account is no code of Ollama's."""
    kinds = []
    for wire in ("openai", "ollama"):
        provider = ScriptedProvider(down(429, body='{"error": {"code": "1113", "message": "余额"}}'))
        provider.wire = wire
        with pytest.raises(fo.AllModelsFailed) as caught:
            ask(chain_of(bed, {wire: provider}))
        kinds.append(caught.value.exceptions[0].kind)
    assert kinds == [fo.ErrorKind.AUTH_DEAD, fo.ErrorKind.TRANSIENT]


def test_a_failure_keeps_the_rule_that_decided(bed: Bed) -> None:
    """It can be explained afterwards."""
    with pytest.raises(fo.AllModelsFailed) as caught:
        bed.chain({"a": dead()}).complete("hi")
    assert caught.value.exceptions[0].rule == "status 401"


# What is left out


class Without(ScriptedProvider):
    """A scripted provider that cannot take some fields."""

    def __init__(self, *script: object, fields: tuple[str, ...] = ("temperature", "seed")) -> None:
        super().__init__(*script)
        self._fields = fields

    def dropped(self, request: fo.Request) -> tuple[str, ...]:
        return tuple(name for name in self._fields if getattr(request, name) is not None)


NOTE = "asked without temperature, seed, which it does not take"


def test_what_a_model_cannot_take_is_noted(bed: Bed, ask: Ask) -> None:
    """The record of the answer says what was left out."""
    (record,) = ask(chain_of(bed, {"a": Without("ok")}), temperature=0.5, seed=7).attempts
    assert record.note == NOTE


def test_what_a_failed_model_was_asked_without_is_noted(bed: Bed, ask: Ask) -> None:
    """On the hop each model has a note of its own."""
    chain = chain_of(bed, {"a": ScriptedProvider(down()), "b": Without("ok")}, max_retries=1)
    assert [record.note for record in ask(chain, temperature=0.5, seed=7).attempts] == ["", NOTE]


def test_both_notes_stand_in_one_record(bed: Bed, ask: Ask) -> None:
    """What was left out, then who was benched beside it."""
    failing = Without(dead(), fields=("seed",))
    failing.key = "k"
    chain = chain_of(bed, {"a": failing, "b": Keyed("b", key="k"), "z": ScriptedProvider("ok")})
    expected = "asked without seed, which it does not take; benched too, for the same key: b/m"
    assert expected == ask(chain, seed=7).attempts[0].note


def test_a_plain_request_is_not_looked_into(bed: Bed, ask: Ask) -> None:
    """Where nothing was given there is nothing to leave out, and nobody is asked about it."""
    provider = ScriptedProvider("ok")
    provider.dropped = lambda request: pytest.fail("asked")
    assert ask(chain_of(bed, {"a": provider})).attempts[0].note == ""


@pytest.mark.parametrize("given", [{"temperature": np.float32(0.5)}, {"seed": np.int64(7)}])
def test_numbers_of_numpys_are_given_like_others(bed: Bed, ask: Ask, given: dict[str, object]) -> None:
    """They come from a DataFrame, and do not compare as Python's do."""
    (record,) = ask(chain_of(bed, {"a": Without("ok")}), **given).attempts
    assert record.note == f"asked without {next(iter(given))}, which it does not take"


def test_stop_texts_are_given_when_there_are_some(bed: Bed, ask: Ask) -> None:
    """None of them is no text, and never None."""
    (record,) = ask(chain_of(bed, {"a": Without("ok", fields=("stop",))}), stop="END").attempts
    assert record.note == "asked without stop, which it does not take"


def test_a_provider_that_cannot_say_fails_no_call(
    bed: Bed, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises is logged."""
    provider = ScriptedProvider("ok")
    provider.dropped = lambda request: 1 / 0
    with caplog.at_level(logging.ERROR, "llm_failover_nb"):
        assert ask(chain_of(bed, {"a": provider}), seed=7).attempts[0].note == ""
    assert "a/m could not say what it leaves out" in caplog.text


def test_names_that_a_provider_uses_otherwise_mean_nothing(bed: Bed, ask: Ask) -> None:
    """Somebody else's ``wire`` and ``dropped`` may be anything."""
    provider = ScriptedProvider("ok")
    provider.wire, provider.dropped = 7, ["seed"]
    assert ask(chain_of(bed, {"a": provider}), seed=7).attempts[0].note == ""


def test_a_note_survives_the_log(bed: Bed) -> None:
    """The columns keep it."""
    chain_of(bed, {"a": Without("ok")}).complete("hi", temperature=0.5, seed=7)
    assert [row.note for row in bed.log] == [NOTE]


def test_the_common_finish_word_reaches_the_caller(bed: Bed, ask: Ask) -> None:
    """The engine hands it on beside the wire's own."""
    answer = fo.Response("ok", finish_reason="end_turn", finish="stop")
    response = ask(bed.chain({"a": answer}))
    assert (response.finish_reason, response.finish) == ("end_turn", "stop")
