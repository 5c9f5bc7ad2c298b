"""The panel's front end against a fake kernel, on a clock that the tests move: shows, sends, survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import Page, expect

from llm_failover_nb.notebook.board import Board
from tests.browser.axe import AXE, need_axe
from tests.browser.lab import browser_page
from tests.browser.panel_page import (
    KERNEL,
    NOW,
    PanelPage,
    board,
    call,
    chain,
    decision,
    model,
    outage,
    quiet,
    size,
    thousand,
    why,
)

pytestmark = pytest.mark.browser

SONNET = "anthropic/claude-sonnet-5"
GPT = "openai/gpt-5.2"

COUNT_INTERVALS = """() => {
    const start = setInterval;
    window.counted = 0;
    window.setInterval = (...given) => { window.counted++; return start(...given); };
}"""
TRACK_INTERVALS = """() => {
    const [start, stop] = [setInterval, clearInterval];
    window.running = new Set();
    window.setInterval = (...given) => { const id = start(...given); window.running.add(id); return id; };
    window.clearInterval = (id) => { stop(id); window.running.delete(id); };
    window.leave();
    window.make(window.model.board, {});
}"""
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
TIME_OF_DAY = """minutes => {
    const date = new Date(Date.now() + minutes * 60000);
    return [date.getHours(), date.getMinutes()].map((part) => String(part).padStart(2, "0")).join(":");
}"""
WATCH = """() => {
    window.touched = [];
    const watch = new MutationObserver((records) => window.touched.push(...records));
    const everything = { subtree: true, childList: true, characterData: true, attributes: true };
    watch.observe(document.querySelector("table"), everything);
}"""
PUBLISH_ALL = """([boards, times]) => {
    for (let time = 0; time < times; time++) window.model.publish(structuredClone(boards[time % 2]));
}"""
TOO_SMALL = """nodes => nodes
    .filter((node) => node.checkVisibility())
    .map((node) => [node.textContent, node.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24)
    .map(([text]) => text)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browser_page(width=900, height=900) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A page whose clock stands still, and in which nothing may go wrong unseen."""
    context = browser.context.browser.new_context(viewport={"width": 900, "height": 900})  # type: ignore[union-attr]
    page = context.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.clock.install(time=NOW / 1000 - 10)
    page.clock.pause_at(NOW / 1000)
    yield page
    context.close()
    assert wrong == []


def specs(page: Page) -> list[str]:
    return page.locator("tbody .lf-spec").all_text_contents()


class TestModels:
    """The table."""

    def test_the_summary_counts_in_words(self, page: Page) -> None:
        """The header says what there is without a look at the rows."""
        panel = PanelPage.open(page, outage())

        expect(page.locator(".lf-summary")).to_have_text(
            "2 ready · 2 benched · 1 due for a probe · 1 probing · 1 no key"
        )
        expect(panel.status).to_have_text("81 of 96 calls answered in the last 5 min · $2.39 so far")

    def test_a_row_tells_all(self, page: Page) -> None:
        """State, countdown, reason, failures, calls, latency and cost of a benched model stand in its row."""
        panel = PanelPage.open(page, board([model(GPT, "benched", latency=1.24, cost=1.8321)]))

        row = panel.row(GPT)
        expect(row.locator(".lf-state")).to_contain_text("Benched 5:00")
        expect(row.locator(".lf-state")).to_contain_text("an error of the provider's own, HTTP 503")
        assert row.locator(".lf-figure").all_text_contents() == ["3", "97 % of 42", "1.2 s", "$1.83"]

    def test_what_nobody_knows_is_a_dash(self, page: Page) -> None:
        """A model that was never asked has no latency and no cost, rather than zero."""
        panel = PanelPage.open(page, board([model(GPT, calls=0, answered=0, latency=None, cost=None)]))

        assert panel.row(GPT).locator(".lf-figure").all_text_contents() == ["\N{EN DASH}"] * 4

    def test_what_needs_attention_stands_first(self, page: Page) -> None:
        """Benched models come before ready ones, names in their order."""
        PanelPage.open(
            page, board([model("b/10"), model("b/9"), model("z/x", "benched"), model("a/x", "no_key")])
        )

        assert specs(page) == ["z/x", "a/x", "b/9", "b/10"]

    def test_a_missing_key_is_named(self, page: Page) -> None:
        """What to set stands beside the state."""
        panel = PanelPage.open(page, board([model(GPT, "no_key")]))

        expect(panel.row(GPT).locator(".lf-why")).to_contain_text("ACME_API_KEY is not set")

    def test_no_model_says_what_to_do(self, page: Page) -> None:
        """An empty panel explains how it is filled."""
        PanelPage.open(page, board([]))

        expect(page.locator("section[aria-label=Models]")).to_contain_text("No model yet. Run a %%llm cell")
        expect(page.locator("table")).to_be_hidden()

    def test_few_models_need_no_filter(self, page: Page) -> None:
        """Twelve rows are seen at a glance."""
        PanelPage.open(page, thousand(12))

        expect(page.locator(".lf-toolbar")).to_be_hidden()
        expect(page.locator(".lf-sort").first).to_be_hidden()

    def test_many_models_are_filtered(self, page: Page) -> None:
        """A text and a state find rows, and both survive an update."""
        panel = PanelPage.open(page, thousand(200))
        page.get_by_label("Filter models").fill("provider-7/")
        page.locator(".lf-chips button").nth(1).click()
        panel.publish(thousand(200))

        assert specs(page) == ["provider-7/model-7"]
        expect(page.get_by_label("Filter models")).to_have_value("provider-7/")
        expect(page.locator(".lf-found")).to_have_text("1 of 200")

    def test_nothing_found_says_so(self, page: Page) -> None:
        """An empty result is not an empty panel."""
        PanelPage.open(page, thousand(20))
        page.get_by_label("Filter models").fill("nonesuch")

        expect(page.locator("section[aria-label=Models] .lf-empty")).to_have_text(
            "No model matches. Clear the filter to see all."
        )

    def test_many_models_are_sorted(self, page: Page) -> None:
        """A column's button sorts up, down, and back to the order of attention."""
        PanelPage.open(page, thousand(20))
        sort = page.locator("th.lf-spec .lf-sort")
        heading = page.locator("th.lf-spec")
        sort.click()
        first = specs(page)[0]
        expect(heading).to_have_attribute("aria-sort", "ascending")
        sort.click()
        expect(heading).to_have_attribute("aria-sort", "descending")
        assert (first, "provider-19/model-19") == ("provider-0/model-0", specs(page)[0])
        sort.click()
        expect(heading).not_to_have_attribute("aria-sort", "ascending")
        assert specs(page)[0] == "provider-7/model-7"

    def test_a_thousand_models_are_drawn_fifty_at_a_time(self, page: Page) -> None:
        """More are drawn when asked for."""
        PanelPage.open(page, thousand())
        assert page.locator("tbody").count() == 50
        page.get_by_role("button", name="Show 50 more").click()
        assert page.locator("tbody").count() == 100
        page.get_by_role("button", name="Show all 1,000").click()
        assert page.locator("tbody").count() == 1000

    def test_rows_keep_their_place_under_the_pointer(self, page: Page) -> None:
        """A bench elsewhere does not move the button that is about to be pressed; then the order is right."""
        panel = PanelPage.open(page, board([model("a/x"), model("b/x")]))
        panel.button("Bench a/x").hover()
        panel.publish(board([model("a/x"), model("b/x", "benched")]))
        assert specs(page) == ["a/x", "b/x"]

        page.clock.run_for(6000)

        assert specs(page) == ["b/x", "a/x"]


class TestClock:
    """Countdowns go on without the kernel."""

    def test_a_countdown_ticks(self, page: Page) -> None:
        """Each second counts, from one message."""
        panel = PanelPage.open(page, board([model(GPT, "benched", until=NOW + 272_000)]))
        page.clock.run_for(2000)

        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("4:30")

    def test_a_bench_that_ends_says_so(self, page: Page) -> None:
        """Without a message from the kernel the row knows that the next call is the probe."""
        panel = PanelPage.open(page, board([model(GPT, "benched", until=NOW + 2000)]))
        page.clock.run_for(2000)

        expect(panel.row(GPT).locator(".lf-state")).to_contain_text("Probe due the next call probes it")

    def test_a_bench_by_hand_that_ends_is_over(self, page: Page) -> None:
        """An operator's bench is not probed, it is over."""
        panel = PanelPage.open(page, board([model(GPT, "manual", until=NOW + 2000)]))
        page.clock.run_for(2000)

        expect(panel.row(GPT).locator(".lf-state")).to_contain_text("Ready the bench is over")

    def test_the_kernels_clock_counts(self, page: Page) -> None:
        """A kernel an hour behind has its benches counted down rightly all the same."""
        shown = board([model(GPT, "benched", until=NOW - 3_600_000 + 90_000)], now=NOW - 3_600_000)
        panel = PanelPage.open(page, shown, lag=3_600_000)

        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("1:30")

    def test_moments_are_told_by_the_readers_clock(self, page: Page) -> None:
        """What a kernel an hour behind dates is dated as the reader's own clock showed it."""
        behind = why()
        behind["at"] -= 3_600_000
        shown = board([model(GPT, "benched", why=behind)], now=NOW - 3_600_000)
        panel = PanelPage.open(page, shown, lag=3_600_000)

        clock = page.evaluate("ms => new Date(ms).toTimeString().slice(0, 8)", why()["at"])
        expect(panel.row(GPT).locator(".lf-when")).to_have_text(clock)

    def test_updates_tell_the_clock_where_hello_is_not_answered(self, page: Page) -> None:
        """The least delay seen in updates stands for the skew while the kernel is too busy for a hello."""
        late = board([model(GPT, "benched", until=NOW - 60_000 + 90_000)], now=NOW - 60_000)
        panel = PanelPage.open(page, late, kernel="")
        panel.publish(late)

        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("1:30")

    def test_a_late_answer_does_not_spoil_the_clock(self, page: Page) -> None:
        """A hello that waited for a busy kernel says when it was answered, not how far the clocks differ."""
        panel = PanelPage.open(page, board([model(GPT, "benched", until=NOW + 90_000)]), kernel="")
        page.clock.run_for(4000)
        page.evaluate(
            """([now, kernel]) => {
                window.model.emit("msg:custom", {id: window.model.sent[0].id, outcome: "here", now, kernel});
            }""",
            [NOW + 4000, KERNEL],
        )

        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("1:26")

    def test_nothing_ticks_when_nothing_counts(self, page: Page) -> None:
        """A quiet board costs no timer."""
        panel = PanelPage.open(page, quiet())
        page.evaluate(COUNT_INTERVALS)
        panel.publish(quiet())
        assert page.evaluate("() => window.counted") == 0
        panel.publish(outage())
        panel.publish(outage())
        assert page.evaluate("() => window.counted") == 1

    def test_a_hidden_page_does_nothing(self, page: Page) -> None:
        """Updates for a page that nobody sees are drawn when it is seen again."""
        panel = PanelPage.open(page, board([model(GPT)]))
        page.evaluate(HIDE, True)
        panel.publish(board([model(GPT, "benched")]))
        assert panel.row(GPT).get_attribute("data-state") == "ready"
        page.evaluate(HIDE, False)
        assert panel.row(GPT).get_attribute("data-state") == "benched"

    def test_a_running_call_ticks_and_names_who_is_asked(self, page: Page) -> None:
        """Cell, chain, attempt, backoff and seconds of each call."""
        PanelPage.open(page, board(running=[call(waiting=NOW + 4000)]))
        page.clock.run_for(1000)

        item = page.locator(".lf-running > li")
        expect(item.locator(".lf-pace")).to_have_text("attempt 2, next in 3 s · 13 s")
        expect(item.locator("[aria-current]")).to_have_text(f"{SONNET} is asked now")


class TestEdits:
    """What is sent, and what is said about it."""

    @pytest.mark.parametrize(
        ("label", "seconds"),
        [("1 min", 60), ("5 min", 300), ("30 min", 1800), ("1 hour", 3600), ("Until lifted", None)],
    )
    def test_bench(self, page: Page, label: str, seconds: int | None) -> None:
        """A ready model is benched for a time, with the version that was seen."""
        panel = PanelPage.open(page, board([model(GPT)]))
        panel.button(f"Bench {GPT}").click()
        panel.button(f"{label}: bench {GPT}").click()

        assert {"command": "bench", "spec": GPT, "for": seconds, "edited": f"{GPT} as seen"} == panel.edit()

    @pytest.mark.parametrize("minutes", [30, -30])
    def test_bench_until_a_time(self, page: Page, minutes: int) -> None:
        """A time of day is meant as the next one, and sent as a moment."""
        panel = PanelPage.open(page, board([model(GPT)]))
        time = page.evaluate(
            TIME_OF_DAY,
            minutes,
        )
        panel.button(f"Bench {GPT}").click()
        page.get_by_label(f"Bench {GPT} until").fill(time)
        page.get_by_label(f"Bench {GPT} until").press("Enter")

        until = panel.edit()["until"]
        assert (NOW + minutes * 60_000) // 60_000 * 60_000 + (86_400_000 if minutes < 0 else 0) == until

    def test_no_time_is_refused_here(self, page: Page) -> None:
        """Nothing is sent for a field that is empty; the field says what is wanted."""
        panel = PanelPage.open(page, board([model(GPT)]))
        panel.button(f"Bench {GPT}").click()
        panel.button(f"Bench until this time: {GPT}").click()

        expect(page.locator(".lf-menu .lf-error")).to_have_text("Enter a time such as 14:30.")
        assert panel.sent() == []

    def test_lift_and_extend(self, page: Page) -> None:
        """A benched model is lifted, or benched for longer."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Extend the bench of {GPT}").click()
        panel.button(f"30 min: extend {GPT}").click()
        assert {"command": "extend", "spec": GPT, "for": 1800, "edited": f"{GPT} as seen"} == panel.edit()
        panel.answer("done", "longer")
        panel.button(f"Lift {GPT}").click()
        assert {"command": "lift", "spec": GPT, "edited": f"{GPT} as seen"} == panel.edit()

    def test_lift_all_and_undo(self, page: Page) -> None:
        """Both stand in the header while there is something for them to do."""
        panel = PanelPage.open(page, outage())
        panel.button("Lift all").click()
        expect(panel.button("Lift all")).to_have_attribute("aria-busy", "true")
        assert panel.edit() == {"command": "lift_all"}
        panel.answer("done", "All benches are lifted.")
        panel.button("Undo openai/gpt-5.2-mini benched by hand until lifted").click()
        assert panel.edit() == {"command": "undo", "edit": 9}
        panel.publish(quiet())
        expect(panel.button("Lift all")).to_be_hidden()

    def test_cancel(self, page: Page) -> None:
        """A running call is cancelled by its number; one that cannot be says why."""
        panel = PanelPage.open(
            page, board(running=[call(41), call(42, cell="In [9]", fixed="It answers already.")])
        )
        panel.button("Cancel the call of In [12]").click()

        assert panel.edit() == {"command": "cancel", "call": 41}
        expect(panel.button("Cancel the call of In [9]")).to_be_hidden()
        expect(page.locator(".lf-running > li").nth(1)).to_contain_text("It answers already.")

    def test_an_edit_is_pending_at_once_then_done(self, page: Page) -> None:
        """The row says pending and cannot be pressed twice; the answer stands in the status line."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Lift {GPT}").click()
        panel.button(f"Lift {GPT}").click(force=True)

        assert len(panel.sent()) == 1
        expect(panel.row(GPT).locator(".lf-state")).to_have_attribute("aria-busy", "true")
        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("pending")
        expect(panel.status).to_have_text(f"Lift {GPT}: pending.")
        panel.answer("done", f"{GPT} is lifted")
        expect(panel.status).to_have_text(f"{GPT} is lifted")
        expect(panel.row(GPT).locator(".lf-detail")).to_have_text("5:00")

    def test_a_busy_kernel_is_named(self, page: Page) -> None:
        """After a second without an answer the edit waits for the running cell."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Lift {GPT}").click()
        page.clock.run_for(1000)

        expect(panel.status).to_have_text(
            f"Lift {GPT}: the kernel is busy, the edit waits for the running cell."
        )

    def test_a_refusal_says_why(self, page: Page) -> None:
        """The kernel's words stand there, and the row can be edited again."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Lift {GPT}").click()
        panel.answer("refused", "It has changed meanwhile. Look again.")

        expect(panel.status).to_have_text("It has changed meanwhile. Look again.")
        expect(panel.status).to_have_attribute("data-tone", "refused")
        expect(panel.button(f"Lift {GPT}")).to_be_enabled()

    def test_another_views_answer_is_not_taken(self, page: Page) -> None:
        """Each view takes the answers to its own messages."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Lift {GPT}").click()
        page.evaluate(
            "() => window.model.emit('msg:custom', {id: 'other-1', outcome: 'done', text: 'not yours'})"
        )

        expect(panel.status).to_have_text(f"Lift {GPT}: pending.")

    def test_defaults(self, page: Page) -> None:
        """What was changed is sent, with the version that was there when typing began."""
        panel = PanelPage.open(page, board())
        page.get_by_label("Cooldown").fill("90.5")
        panel.publish(board(defaults={"cooldown": 30, "max_retries": 2, "edited": "d2"}))
        page.get_by_label("Cooldown").press("Enter")

        assert panel.edit() == {"command": "defaults", "cooldown": 90.5, "edited": "d1"}

    @pytest.mark.parametrize(
        ("label", "value", "wrong"),
        [
            ("Cooldown", "-1", "Cooldown: a number of seconds, 0 or more."),
            ("Cooldown", "", "Cooldown: a number of seconds, 0 or more."),
            ("Attempts per model", "0", "Attempts: a whole number, 1 or more."),
            ("Attempts per model", "1.5", "Attempts: a whole number, 1 or more."),
        ],
    )
    def test_defaults_that_are_none(self, page: Page, label: str, value: str, wrong: str) -> None:
        """What is wrong is said before anything is sent."""
        panel = PanelPage.open(page, board())
        page.get_by_label(label).fill(value)
        panel.button("Apply the defaults").click()

        expect(page.locator("section[aria-label=Defaults] .lf-error")).to_have_text(wrong)
        assert panel.sent() == []

    def test_an_own_failure_is_shown(self, page: Page) -> None:
        """A fault of the panel's own stands in its status line instead of vanishing."""
        panel = PanelPage.open(page, board())
        page.evaluate("() => { console.error = () => {}; window.model.publish({protocol: 1, now: 1}) }")

        expect(panel.status).to_contain_text("The panel itself failed: ")

    def test_trouble_is_shown(self, page: Page) -> None:
        """What went wrong in the kernel's part stands under the status."""
        PanelPage.open(page, board(trouble="The log cannot be read: it is gone. Run %llm doctor."))

        expect(page.locator(".lf-trouble")).to_have_text(
            "The log cannot be read: it is gone. Run %llm doctor."
        )


class TestChains:
    """Order, entries, the default."""

    CHAIN = ("a/x", "b/x", "c/x")

    def open(self, page: Page, **changes: object) -> PanelPage:
        return PanelPage.open(page, board(chains=[chain("prod", [*self.CHAIN], default=True, **changes)]))

    def test_the_next_and_the_benched_are_marked_in_words(self, page: Page) -> None:
        """Who is asked first, and who is passed over, reads without colours."""
        PanelPage.open(page, outage())

        marks = page.locator("details[open] .lf-marks").all_inner_texts()
        assert [text.strip() for text in marks] == ["benched", "asked first", ""]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("Move b/x up in prod", ["b/x", "a/x", "c/x"]),
            ("Move b/x down in prod", ["a/x", "c/x", "b/x"]),
            ("Remove b/x from prod", ["a/x", "c/x"]),
        ],
    )
    def test_buttons(self, page: Page, name: str, expected: list[str]) -> None:
        """Each entry moves and goes by a button that says so."""
        panel = self.open(page)
        panel.button(name).click()

        assert {"command": "chain", "name": "prod", "specs": expected, "edited": "prod-1"} == panel.edit()

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("Alt+ArrowUp", ["b/x", "a/x", "c/x"]),
            ("Alt+ArrowDown", ["a/x", "c/x", "b/x"]),
            ("Delete", ["a/x", "c/x"]),
        ],
    )
    def test_keys(self, page: Page, key: str, expected: list[str]) -> None:
        """The same by keys on a focused entry."""
        panel = self.open(page)
        page.locator(".lf-entries li").nth(1).press(key)

        assert expected == panel.edit()["specs"]

    def test_the_first_moves_no_higher(self, page: Page) -> None:
        """An impossible move sends nothing."""
        panel = self.open(page)
        expect(panel.button("Move a/x up in prod")).to_have_attribute("aria-disabled", "true")
        page.locator(".lf-entries li").first.press("Alt+ArrowUp")

        assert panel.sent() == []

    def test_focus_goes_along_with_a_moved_entry(self, page: Page) -> None:
        """After a move, the next press moves the same entry on."""
        panel = self.open(page)
        panel.button("Move c/x up in prod").click()
        panel.answer("done", "moved")
        panel.publish(board(chains=[chain("prod", ["a/x", "c/x", "b/x"], default=True, edited="prod-2")]))

        assert panel.focus() == "Move c/x up in prod"

    def test_focus_stays_in_a_chain_that_loses_an_entry(self, page: Page) -> None:
        """After a removal, the focus is at the entry that took the place."""
        panel = self.open(page)
        panel.button("Remove b/x from prod").press("Enter")
        panel.answer("done", "removed")
        panel.publish(board(chains=[chain("prod", ["a/x", "c/x"], default=True)]))

        assert panel.focus() == "Move c/x up in prod"

    def test_a_model_is_added(self, page: Page) -> None:
        """A name is typed, or chosen from the known ones; it stays in the field until it is in the chain."""
        panel = self.open(page)
        field = page.get_by_label("Model to add to prod")
        field.fill(" d/x ")
        field.press("Enter")
        assert [*self.CHAIN, "d/x"] == panel.edit()["specs"]
        assert page.eval_on_selector_all("datalist option", "options => options.map(o => o.value)") == [
            GPT,
            SONNET,
        ]
        expect(field).to_have_value(" d/x ")
        panel.answer("done", "added")
        expect(field).to_have_value("")

    @pytest.mark.parametrize(
        ("typed", "wrong"), [("", "Name a model, such as openai/gpt-5."), ("a/x", "a/x is in prod already.")]
    )
    def test_what_cannot_be_added(self, page: Page, typed: str, wrong: str) -> None:
        """The reason stands at the field, and nothing is sent."""
        panel = self.open(page)
        page.get_by_label("Model to add to prod").fill(typed)
        panel.button("Add model to prod").click()

        expect(page.locator(".lf-add .lf-error")).to_have_text(wrong)
        assert panel.sent() == []

    def test_make_default(self, page: Page) -> None:
        """Another chain becomes the default."""
        panel = PanelPage.open(page, quiet())
        panel.chain("cheap").locator("summary").click()
        panel.button("Make default: cheap").click()

        assert panel.edit() == {"command": "default", "name": "cheap", "edited": "cheap-1"}

    def test_a_fixed_chain_says_why(self, page: Page) -> None:
        """What cannot be edited here offers nothing to press, and says where it can be."""
        panel = self.open(page, fixed="It stands in pyproject.toml: change it there.")

        expect(panel.chain("prod")).to_contain_text("It stands in pyproject.toml: change it there.")
        expect(panel.button("Move b/x up in prod")).to_be_hidden()
        page.locator(".lf-entries li").nth(1).press("Delete")
        assert panel.sent() == []

    def test_the_default_is_open_and_the_rest_stay_as_they_were_left(self, page: Page) -> None:
        """Collapsed chains stay collapsed through an update."""
        panel = PanelPage.open(page, quiet())
        panel.chain("prod").locator("summary").click()
        panel.publish(outage())

        expect(page.locator("details[open]")).to_have_count(0)


class TestFeed:
    """The last decisions."""

    def test_eight_then_the_rest(self, page: Page) -> None:
        """The newest eight are shown, the rest on demand."""
        PanelPage.open(
            page, board(feed=[decision(number, f"decision {number}") for number in range(20, 0, -1)])
        )
        assert page.locator(".lf-feed li").count() == 8
        page.get_by_role("button", name="Show 12 more").click()

        assert page.locator(".lf-feed li").count() == 20

    def test_an_open_one_goes_on_and_changes_its_words(self, page: Page) -> None:
        """A sentence about a call that runs is marked, and rewritten in its place."""
        panel = PanelPage.open(page, board(feed=[decision(1, "asks a", open=True)]))
        item = page.locator(".lf-feed li")
        expect(item).to_contain_text("asks a going on")
        page.evaluate("() => { window.item = document.querySelector('.lf-feed li') }")
        panel.publish(board(feed=[decision(1, "a answered")]))

        expect(item.locator(".lf-badge")).to_be_hidden()
        expect(item).to_contain_text("a answered")
        assert page.evaluate("() => window.item.isConnected")


class TestKernel:
    """Whether anybody is home."""

    GONE = "The kernel has been restarted (or there is none): this is how things stood at "

    def assert_stale(self, panel: PanelPage, text: str) -> None:
        expect(panel.banner).to_contain_text(text)
        for name in (f"Lift {GPT}", "Lift all", "Apply the defaults", "Add model to prod"):
            expect(panel.button(name)).to_be_disabled()
        before = panel.row(GPT).inner_text()
        panel.page.clock.run_for(3000)
        assert before == panel.row(GPT).inner_text()

    @pytest.mark.parametrize("event", ["comm_live_update", "comm:close"])
    def test_a_restart_is_told(self, page: Page, event: str) -> None:
        """What is shown is said to be old, and nothing can be edited or counts down."""
        panel = PanelPage.open(page, outage())
        page.evaluate("() => { window.model.context = {model: {comm_live: false}} }")
        panel.emit(event)

        self.assert_stale(panel, self.GONE)

    def test_another_kernel_is_not_this_boards(self, page: Page) -> None:
        """A panel of a kernel before says so."""
        self.assert_stale(PanelPage.open(page, outage(), kernel="another"), self.GONE)

    def test_silence_is_told(self, page: Page) -> None:
        """Without an answer for five seconds, nobody is home."""
        panel = PanelPage.open(page, outage(), kernel="")
        page.clock.run_for(4900)
        expect(panel.banner).to_be_hidden()
        page.clock.run_for(200)

        self.assert_stale(panel, "No kernel answers")

    def test_a_kernel_that_answered_may_be_busy(self, page: Page) -> None:
        """Only the first greeting decides whether anybody is home; the others measure the clock."""
        once = (
            "() => { const { send } = model; model.send = (m) => { send.call(model, m); model.kernel = '' } }"
        )
        panel = PanelPage.open(page, outage(), kernel="")
        page.evaluate(f"() => {{ const {{ model }} = window; model.kernel = '{KERNEL}'; ({once})() }}")
        panel.emit("comm_live_update")
        page.clock.run_for(6000)

        expect(panel.banner).to_be_hidden()

    def test_whoever_comes_back_to_the_page_is_told_anew(self, page: Page) -> None:
        """A page that is seen again asks again."""
        panel = PanelPage.open(page, outage(), kernel="")
        page.clock.run_for(6000)
        page.evaluate("kernel => { window.model.kernel = kernel }", KERNEL)
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)

        expect(panel.banner).to_be_hidden()

    def test_an_update_ends_the_silence(self, page: Page) -> None:
        """A kernel that was only busy is home again with its first update."""
        panel = PanelPage.open(page, outage(), kernel="")
        page.clock.run_for(6000)
        panel.publish(outage())

        expect(panel.banner).to_be_hidden()
        expect(panel.button(f"Lift {GPT}")).to_be_enabled()

    def test_a_comm_that_lives_is_asked(self, page: Page) -> None:
        """An event that does not say what happened is followed by a hello, which finds out."""
        panel = PanelPage.open(page, outage())
        page.evaluate("() => { window.model.kernel = 'another' }")
        panel.emit("comm_live_update")

        self.assert_stale(panel, self.GONE)

    def test_the_snapshot_makes_way(self, page: Page) -> None:
        """What stands in for the panel is hidden while a board is drawn, and only then."""
        panel = PanelPage.open(page, outage())
        snapshot = page.locator("[data-llm-failover-snapshot]")
        expect(snapshot).to_be_hidden()
        panel.publish(board(protocol=2))
        expect(snapshot).to_be_visible()
        page.evaluate("() => window.leave()")
        expect(snapshot).to_be_visible()

    def test_a_pending_edit_ends_with_the_kernel(self, page: Page) -> None:
        """Nothing waits for an answer that cannot come."""
        panel = PanelPage.open(page, outage())
        panel.button(f"Lift {GPT}").click()
        panel.emit("comm:close")

        expect(panel.row(GPT).locator(".lf-state")).not_to_have_attribute("aria-busy", "true")

    def test_another_protocol_asks_for_a_reload(self, page: Page) -> None:
        """A page older than the package draws nothing that it might misread."""
        panel = PanelPage.open(page, cast("Board", {"protocol": 2}))
        panel.publish(cast("Board", {"protocol": 2, "whatever": []}))

        expect(page.locator(".lf-frame")).to_have_text(
            "This page does not speak the kernel's language: the package has been updated. "
            "Reload the page, then run the cell again.",
            use_inner_text=True,
        )


class TestHands:
    """Keys, focus and what is heard."""

    def test_everything_by_keys(self, page: Page) -> None:
        """A model is benched without a pointer."""
        panel = PanelPage.open(page, board([model(GPT)]))
        page.locator("#before").focus()
        page.keyboard.press("Tab")
        assert f"Bench {GPT}" == panel.focus()
        page.keyboard.press("Enter")
        assert f"1 min: bench {GPT}" == panel.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")

        assert panel.edit()["for"] == 300
        assert f"Bench {GPT}" == panel.focus()

    def test_escape_closes_and_gives_the_focus_back(self, page: Page) -> None:
        """A disclosure ends where it began."""
        panel = PanelPage.open(page, board([model(GPT)]))
        opener = panel.button(f"Bench {GPT}")
        opener.press("Enter")
        expect(opener).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Escape")

        expect(opener).to_have_attribute("aria-expanded", "false")
        assert f"Bench {GPT}" == panel.focus()

    def test_focus_stays_in_the_row_whose_buttons_change(self, page: Page) -> None:
        """Bench becomes Lift under the same hands."""
        panel = PanelPage.open(page, board([model("a/x"), model(GPT)]))
        panel.button(f"Bench {GPT}").press("Enter")
        page.keyboard.press("Enter")
        panel.answer("done", "benched")
        panel.publish(board([model("a/x"), model(GPT, "manual")]))

        assert f"Lift {GPT}" == panel.focus()

    def test_an_update_disturbs_nobody(self, page: Page) -> None:
        """Focus, typed text, its selection and open disclosures survive."""
        panel = PanelPage.open(page, outage())
        panel.button(f"Bench {SONNET}").click()
        field = page.get_by_label("Model to add to prod")
        field.fill("half a na")
        page.evaluate("() => document.activeElement.setSelectionRange(2, 4)")
        changed = outage()
        changed["models"][0]["fails"] = 9
        changed["models"].append(model("new/one", "benched"))
        panel.publish(changed)

        expect(field).to_be_focused()
        expect(field).to_have_value("half a na")
        assert page.evaluate(
            "() => [document.activeElement.selectionStart, document.activeElement.selectionEnd]"
        ) == [2, 4]
        expect(panel.button(f"5 min: bench {SONNET}")).to_be_visible()

    def test_a_row_in_use_is_not_lost(self, page: Page) -> None:
        """Fifty others that need attention do not take an open disclosure away."""
        panel = PanelPage.open(page, thousand(60))
        panel.button("Bench provider-0/model-0").click()
        page.clock.run_for(6000)
        panel.publish(board([model("provider-0/model-0"), *(model(f"z/{n}", "benched") for n in range(70))]))

        expect(panel.button("1 min: bench provider-0/model-0")).to_be_focused()

    def test_an_update_touches_only_what_changed(self, page: Page) -> None:
        """One figure more is one text more, not a table anew."""
        panel = PanelPage.open(page, quiet())
        page.evaluate(WATCH)
        changed = quiet()
        changed["models"][0]["latency"] = 3.0
        panel.publish(changed)

        assert page.evaluate("() => window.touched.length") == 1

    @pytest.mark.parametrize("key", ["d", "ArrowDown", "Enter", "Delete", "Shift+Enter"])
    def test_keys_stay_in_the_panel(self, page: Page, key: str) -> None:
        """The notebook's command mode does not hear them."""
        panel = PanelPage.open(page, board([model(GPT)]))
        page.evaluate(
            "() => { window.keys = []; document.addEventListener('keydown', (e) => window.keys.push(e.key)) }"
        )
        panel.button(f"Bench {GPT}").press(key)

        assert [key for key in page.evaluate("() => window.keys") if key != "Shift"] == []

    def test_the_notebooks_own_shortcuts_pass(self, page: Page) -> None:
        """Ctrl+S saves the notebook from here, too."""
        panel = PanelPage.open(page, board([model(GPT)]))
        page.evaluate(
            "() => { window.keys = []; document.addEventListener('keydown', (e) => window.keys.push(e.key)) }"
        )
        panel.button(f"Bench {GPT}").press("Control+s")

        assert "s" in page.evaluate("() => window.keys")


class TestHeard:
    """The live region."""

    def hear(self, panel: PanelPage) -> str:
        panel.page.clock.run_for(400)
        return str(panel.live.inner_text())

    def test_the_first_paint_is_silent(self, page: Page) -> None:
        """Nobody wants the whole board read out."""
        assert self.hear(PanelPage.open(page, outage())) == ""

    def test_a_bench_is_announced_once(self, page: Page) -> None:
        """The change is said, and its countdown is not."""
        panel = PanelPage.open(page, board([model(GPT)]))
        panel.publish(board([model(GPT, "benched")]))
        assert self.hear(panel) == f"{GPT} benched for 5 minutes: an error of the provider's own, HTTP 503"
        page.evaluate("() => { document.querySelector('[aria-live]').textContent = '' }")
        panel.publish(board([model(GPT, "benched")]))
        page.clock.run_for(5000)

        assert self.hear(panel) == ""

    def test_an_edit_is_announced_once(self, page: Page) -> None:
        """The kernel's answer says it; the change of the row is the same news."""
        panel = PanelPage.open(page, board([model(GPT)]))
        panel.button(f"Bench {GPT}").click()
        panel.button(f"5 min: bench {GPT}").click()
        panel.publish(board([model(GPT, "manual")]))
        panel.answer("done", f"{GPT} is benched by hand")

        assert f"{GPT} is benched by hand" == self.hear(panel)

    def test_a_refusal_is_heard_as_one(self, page: Page) -> None:
        """The word that stands before a refusal is said, too."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        _refused(panel)

        assert self.hear(panel) == "Refused: It has changed meanwhile."

    def test_many_changes_are_told_as_one(self, page: Page) -> None:
        """An outage of a provider is a sentence, not a hundred."""
        panel = PanelPage.open(page, board([model(f"a/{number}") for number in range(30)]))
        panel.publish(board([model(f"a/{number}", "benched") for number in range(30)]))

        assert self.hear(panel) == "30 models benched"


class TestData:
    """Names and reasons are data."""

    HOSTILE = "<img src=x onerror=alert(1)>\"'&lt;\u202ecba/" + "long" * 60

    def test_hostile_texts_are_texts(self, page: Page) -> None:
        """Whatever stands in a board is shown as it is written, and makes no element."""
        text = self.HOSTILE
        shown = board(
            [model(text, "benched", why=why(text)), model(f"{text}2", "no_key", missing=text)],
            chains=[chain(text, [text, text], default=True, fixed=text), chain(f"{text}3", [text])],
            running=[call(cell=text, specs=[text], model=text, fixed=text)],
            feed=[decision(1, text)],
            undo={"id": 1, "text": text},
            store=text,
            trouble=text,
        )
        panel = PanelPage.open(page, shown)

        assert page.locator("#out img").count() == 0
        assert text == page.locator("tbody .lf-spec").first.text_content()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        expect(panel.frame).to_contain_text("<img src=x onerror=alert(1)>")

    def test_no_way_from_text_to_html(self) -> None:
        """The file holds none of the doors through which text becomes elements."""
        source = (Path(__file__).parents[2] / "llm_failover_nb/notebook/panel.js").read_text(encoding="utf-8")

        doors = (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
            "import(",
        )
        assert [door for door in doors if door in source] == []

    def test_a_direction_stays_in_its_name(self, page: Page) -> None:
        """Each name is isolated from its neighbours."""
        PanelPage.open(page, board([model("a/\u202eevil")]))

        expect(page.locator("tbody bdi.lf-spec")).to_have_css("unicode-bidi", "isolate")


def _menu(panel: PanelPage) -> None:
    panel.button(f"Bench {SONNET}").click()


def _bad_time(panel: PanelPage) -> None:
    _menu(panel)
    panel.button(f"Bench until this time: {SONNET}").click()


def _refused(panel: PanelPage) -> None:
    panel.button(f"Lift {GPT}").click()
    panel.answer("refused", "It has changed meanwhile.")


class TestEveryone:
    """Whatever the theme, the width or the state, no rule of accessibility is broken."""

    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    @pytest.mark.parametrize(
        ("shown", "width", "options", "act"),
        [
            pytest.param(quiet, 900, {}, None, id="quiet"),
            pytest.param(outage, 900, {}, _menu, id="outage"),
            pytest.param(outage, 320, {}, _bad_time, id="narrow"),
            pytest.param(outage, 520, {}, _refused, id="refused"),
            pytest.param(lambda: thousand(60), 900, {}, None, id="many"),
            pytest.param(lambda: thousand(60), 320, {}, None, id="many-narrow"),
            pytest.param(lambda: board([]), 900, {}, None, id="empty"),
            pytest.param(outage, 900, {"kernel": "another"}, None, id="stale"),
            pytest.param(lambda: board(protocol=2), 900, {}, None, id="foreign"),
        ],
    )
    def test_axe(
        self,
        page: Page,
        shown: Callable[[], Any],
        width: int,
        options: dict[str, Any],
        act: Callable[[PanelPage], None] | None,
        dark: bool,
    ) -> None:
        """axe-core finds nothing, the contrast AA included."""
        need_axe()
        page.set_viewport_size({"width": width, "height": 900})
        panel = PanelPage.open(page, shown(), dark=dark, **options)
        if act:
            act(panel)
        page.add_script_tag(path=AXE)
        page.clock.resume()
        found = page.evaluate(
            "() => axe.run('#out', {rules: {'target-size': {enabled: true}}})"
            ".then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html + n.failureSummary)]))"
        )

        assert found == []

    @pytest.mark.parametrize("width", [320, 520, 760, 1000])
    def test_nothing_sticks_out(self, page: Page, width: int) -> None:
        """No width makes the page scroll sideways."""
        page.set_viewport_size({"width": width, "height": 900})
        _menu(PanelPage.open(page, outage()))

        assert page.evaluate("() => document.documentElement.scrollWidth") <= width

    def test_controls_are_large_enough(self, page: Page) -> None:
        """Every control is at least 24 pixels high and wide."""
        page.set_viewport_size({"width": 320, "height": 900})
        _menu(PanelPage.open(page, outage()))
        small = page.eval_on_selector_all(
            "#out :is(button, input, summary)",
            TOO_SMALL,
        )

        assert small == []

    def test_without_a_notebook_the_systems_colours_hold(self, page: Page) -> None:
        """Where no theme says otherwise, a dark system is shown a dark panel."""
        page.emulate_media(color_scheme="dark")
        panel = PanelPage.open(page, quiet())
        page.evaluate("() => { delete document.body.dataset.jpThemeLight }")

        expect(panel.frame).to_have_css("background-color", "rgb(21, 24, 28)")

    def test_a_light_notebook_in_a_dark_system_is_light(self, page: Page) -> None:
        """The notebook's theme wins over the system's."""
        page.emulate_media(color_scheme="dark")
        panel = PanelPage.open(page, quiet())

        expect(panel.frame).to_have_css("color-scheme", "light")

    def test_forced_colours_keep_the_shapes(self, page: Page) -> None:
        """High contrast mode shows states by shape and word."""
        page.emulate_media(forced_colors="active")
        PanelPage.open(page, outage())

        expect(page.locator("tbody .lf-mark").first).to_be_visible()


class TestCost:
    """Quick, and flat."""

    def test_a_thousand_models_are_quick(self, page: Page) -> None:
        """First paint under a second, an update under a tenth of one on whatever machine this is."""
        page.clock.resume()
        panel = PanelPage.open(page, thousand())
        times = page.evaluate(
            """board => {
                window.leave();
                const started = performance.now();
                window.make(board, {});
                document.querySelector("#out").getBoundingClientRect();
                const painted = performance.now();
                const next = structuredClone(board);
                for (const row of next.models) row.calls += 1;
                const before = performance.now();
                window.model.publish(next);
                document.querySelector("#out").getBoundingClientRect();
                return [painted - started, performance.now() - before];
            }""",
            thousand(),
        )
        assert panel.frame.is_visible()

        assert times[0] < 1000
        assert times[1] < 100

    def test_an_edit_is_small(self, page: Page) -> None:
        """One edit and its answer cost a few hundred bytes."""
        panel = PanelPage.open(page, board([model(GPT, "benched")]))
        panel.button(f"Lift {GPT}").click()

        assert size(panel.sent()[-1]) < 200

    def test_many_updates_leave_the_page_flat(self, page: Page) -> None:
        """Ten minutes of updates, five a second, add no element, listener or timer."""
        first, second = outage(), quiet()
        PanelPage.open(page, first)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def counted() -> dict[str, float]:
            session.send("HeapProfiler.collectGarbage")
            metrics = session.send("Performance.getMetrics")["metrics"]
            return {
                each["name"]: each["value"]
                for each in metrics
                if each["name"] in {"Nodes", "JSEventListeners"}
            }

        page.evaluate(PUBLISH_ALL, [[first, second], 20])
        before = counted()
        page.evaluate(PUBLISH_ALL, [[first, second], 3000])
        after = counted()

        assert all(after[name] <= before[name] * 1.05 + 20 for name in before), (before, after)

    def test_leaving_leaves_nothing(self, page: Page) -> None:
        """A view that is gone hears nothing, ticks nothing and has nothing in the page."""
        PanelPage.open(page, outage())
        page.evaluate(TRACK_INTERVALS)
        assert page.evaluate("() => window.running.size") == 1
        page.evaluate("() => window.leave()")

        assert page.evaluate("() => window.running.size") == 0
        assert page.evaluate("() => Object.values(window.model.heard).flat().length") == 0
        assert page.locator("#out").inner_html() == ""
