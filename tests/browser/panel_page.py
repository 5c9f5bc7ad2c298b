"""The panel's front end in a plain page of Chromium, a fake anywidget model in the kernel's place.

What the browser is given is exactly panel.js and panel.css. The tests say which board the kernel would
publish, see what the panel would send, and move the page's clock by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from playwright.sync_api import Locator, Page, Route

from llm_failover_nb.notebook.board import (
    PROTOCOL,
    Board,
    ChainRow,
    Decision,
    ModelRow,
    Running,
    State,
    Why,
)

NOW = 1_790_000_000_000
KERNEL = "kernel-1"
_FRONT = Path(__file__).parents[2] / "llm_failover_nb" / "notebook"
_ADDRESS = "http://panel.localhost/"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Panel</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="panel.css">
<style>body{margin:12px;background:var(--page,#fff);color:var(--ink,#000)}
body[data-jp-theme-light="false"]{--page:#111;--ink:#eee;--jp-layout-color1:#111;--jp-content-font-color1:#fff;
--jp-error-color1:#e53935;--jp-warn-color1:#ffb74d;--jp-success-color1:#4caf50;--jp-info-color1:#4dd0e1;
--jp-brand-color1:#64b5f6}
body[data-jp-theme-light="true"]{--jp-layout-color1:#fff;--jp-content-font-color1:rgba(0,0,0,.87);
--jp-error-color1:#d32f2f;--jp-warn-color1:#f57c00;--jp-success-color1:#388e3c;--jp-info-color1:#0097a7;
--jp-brand-color1:#1976d2}</style></head>
<body><main><h1 hidden>Notebook</h1><button id="before">before</button>
<div class="jp-OutputArea"><div id="out"></div><p data-llm-failover-snapshot>as it stood</p></div></main>
<script type="module">
import panel from "./panel.js";
class Model {
  constructor(board) {
    Object.assign(this, { board, heard: {}, sent: [], kernel: board.kernel, lag: 0 });
  }
  get() { return this.board; }
  on(name, callback) { (this.heard[name] ??= []).push(callback); }
  off(name, callback) { this.heard[name] = (this.heard[name] ?? []).filter((known) => known !== callback); }
  emit(name, content) {
    for (const callback of [...(this.heard[name] ?? [])]) callback.call(this.context, content);
  }
  send(content) {
    this.sent.push(JSON.parse(JSON.stringify(content)));
    if (content.command !== "hello" || !this.kernel) return;
    const here = { id: content.id, outcome: "here", now: Date.now() - this.lag, kernel: this.kernel };
    queueMicrotask(() => this.emit("msg:custom", here));
  }
  publish(board) { this.board = board; this.emit("change:board"); }
}
window.make = (board, options) => {
  window.model = Object.assign(new Model(board), options);
  window.leave = panel.render({ model: window.model, el: document.querySelector("#out") });
};
window.ready = true;
</script></body></html>"""


@dataclass(frozen=True)
class PanelPage:
    """A page that shows one panel."""

    page: Page

    @classmethod
    def open(cls, page: Page, shown: Board, *, dark: bool = False, **options: object) -> PanelPage:
        """The panel as it is first drawn; ``options`` are the fake model's ``kernel`` and ``lag``."""
        files = {"": _PAGE, "panel.js": _read("panel.js"), "panel.css": _read("panel.css")}
        types = {"": "text/html", "panel.js": "text/javascript", "panel.css": "text/css"}

        def serve(route: Route) -> None:
            name = route.request.url.removeprefix(_ADDRESS)
            route.fulfill(body=files[name], content_type=types[name])

        page.unroute_all()
        page.route(f"{_ADDRESS}**", serve)
        page.goto(_ADDRESS)
        page.wait_for_function("() => window.ready")
        page.evaluate("light => { document.body.dataset.jpThemeLight = light }", "false" if dark else "true")
        page.evaluate("([board, options]) => { window.make(board, options) }", [shown, options])
        return cls(page)

    @property
    def frame(self) -> Locator:
        return self.page.locator(".lf-frame")

    @property
    def status(self) -> Locator:
        return self.page.locator(".lf-status")

    @property
    def banner(self) -> Locator:
        return self.page.locator(".lf-banner")

    @property
    def live(self) -> Locator:
        return self.page.locator("[aria-live]")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def row(self, spec: str) -> Locator:
        return self.page.locator("tbody", has=self.page.locator(f"th [title='{spec}']"))

    def chain(self, title: str) -> Locator:
        return self.page.locator("details", has=self.page.locator(".lf-title", has_text=title))

    def publish(self, shown: Board) -> None:
        self.page.evaluate("board => { window.model.publish(board) }", shown)

    def emit(self, name: str) -> None:
        self.page.evaluate("name => { window.model.emit(name) }", name)

    def sent(self) -> list[dict[str, Any]]:
        """The edits that were sent, without the greetings."""
        sent = cast("list[dict[str, Any]]", self.page.evaluate("() => window.model.sent"))
        return [message for message in sent if message["command"] != "hello"]

    def edit(self) -> dict[str, Any]:
        """The last edit, without what every message has."""
        return {name: value for name, value in self.sent()[-1].items() if name not in {"protocol", "id"}}

    def answer(self, outcome: str, text: str) -> None:
        """The kernel's answer to the last edit."""
        content = {"id": self.sent()[-1]["id"], "outcome": outcome, "text": text}
        self.page.evaluate("content => { window.model.emit('msg:custom', content) }", content)

    def focus(self) -> str:
        """What the focused element is called."""
        script = (
            "() => { const e = document.activeElement; return e.getAttribute('aria-label') ?? e.textContent }"
        )
        return str(self.page.evaluate(script))


def _read(name: str) -> str:
    return (_FRONT / name).read_text(encoding="utf-8")


def why(text: str = "an error of the provider's own, HTTP 503", *, ago: int = 64) -> Why:
    return {"text": text, "kind": "down", "reason": "server_error", "status": 503, "at": NOW - ago * 1000}


def model(spec: str, state: State = "ready", **changes: object) -> ModelRow:
    """A row; one that is benched ends in five minutes and says why, unless told otherwise."""
    row = {
        "spec": spec,
        "state": state,
        "until": NOW + 300_000 if state in {"benched", "manual"} else None,
        "fails": 3 if state == "benched" else 0,
        "why": why() if state == "benched" else None,
        "missing": "ACME_API_KEY" if state == "no_key" else "",
        "calls": 42,
        "answered": 41,
        "latency": 0.84,
        "cost": 0.0123,
        "edited": f"{spec} as seen",
    }
    return cast("ModelRow", row | changes)


def chain(name: str, specs: list[str], **changes: object) -> ChainRow:
    row = {
        "name": name,
        "title": name,
        "specs": specs,
        "default": False,
        "next": 0,
        "fixed": "",
        "edited": f"{name}-1",
    }
    return cast("ChainRow", row | changes)


def decision(number: int, text: str, **changes: object) -> Decision:
    row = {"id": number, "at": NOW - 600_000 + number * 20_000, "text": text, "tone": "note", "open": False}
    return cast("Decision", row | changes)


def call(number: int = 41, **changes: object) -> Running:
    row = {
        "id": number,
        "cell": "In [12]",
        "specs": ["openai/gpt-5.2", "anthropic/claude-sonnet-5", "ollama/qwen3:8b"],
        "model": "anthropic/claude-sonnet-5",
        "attempt": 2,
        "since": NOW - 12_000,
        "waiting": None,
        "fixed": "",
    }
    return cast("Running", row | changes)


def board(models: list[ModelRow] | None = None, **changes: object) -> Board:
    """A board of a quiet notebook."""
    shown = {
        "protocol": PROTOCOL,
        "kernel": KERNEL,
        "revision": 1,
        "now": NOW,
        "window": 300,
        "models": [model("openai/gpt-5.2"), model("anthropic/claude-sonnet-5")] if models is None else models,
        "chains": [],
        "defaults": {"cooldown": 60, "max_retries": 2, "edited": "d1"},
        "running": [],
        "feed": [],
        "undo": None,
        "store": "",
        "trouble": "",
    }
    return cast("Board", shown | changes)


def quiet() -> Board:
    """Nothing is wrong."""
    rows = [
        model("openai/gpt-5.2", calls=118, answered=118, latency=1.24, cost=1.8321),
        model("openai/gpt-5.2-mini", calls=12, answered=12, latency=0.61, cost=0.0412),
        model("anthropic/claude-sonnet-5", calls=3, answered=3, latency=1.9, cost=0.088),
        model("gemini/gemini-3-flash", calls=0, answered=0, latency=None, cost=0.0),
        model("ollama/qwen3:8b", calls=0, answered=0, latency=None, cost=None),
    ]
    chains = [
        chain("prod", ["openai/gpt-5.2", "anthropic/claude-sonnet-5", "ollama/qwen3:8b"], default=True),
        chain("cheap", ["openai/gpt-5.2-mini", "gemini/gemini-3-flash"]),
    ]
    return board(
        rows, chains=chains, feed=[decision(1, "cell 3 asked openai/gpt-5.2, which answered in 1.2 s")]
    )


def outage() -> Board:
    """A provider is down, a call runs, the operator has begun to step in."""
    rows = [
        model(
            "openai/gpt-5.2", "benched", until=NOW + 272_000, calls=42, answered=31, latency=1.24, cost=1.8321
        ),
        model("openai/gpt-5.2-mini", "manual", until=None, calls=12, answered=12, latency=0.61, cost=0.0412),
        model("anthropic/claude-sonnet-5", calls=27, answered=27, latency=1.9, cost=0.488),
        model(
            "gemini/gemini-3-flash",
            "due",
            fails=1,
            why=why("the connection broke off", ago=190),
            calls=4,
            answered=3,
        ),
        model(
            "mistral/mistral-large",
            "no_key",
            missing="MISTRAL_API_KEY",
            calls=0,
            answered=0,
            latency=None,
            cost=None,
        ),
        model(
            "groq/llama-4-70b",
            "probing",
            fails=2,
            why=why("too many requests, HTTP 429", ago=75),
            calls=9,
            answered=6,
        ),
        model("ollama/qwen3:8b", calls=2, answered=2, latency=4.2, cost=0.0),
    ]
    specs = ["openai/gpt-5.2", "anthropic/claude-sonnet-5", "ollama/qwen3:8b"]
    chains = [
        chain("prod", specs, default=True, next=1),
        chain("cheap", ["openai/gpt-5.2-mini", "gemini/gemini-3-flash", "groq/llama-4-70b"], next=1),
        chain(
            "pyproject",
            ["mistral/mistral-large"],
            next=None,
            fixed="It stands in pyproject.toml: change it there.",
        ),
    ]
    feed = [
        decision(9, "cell 12 asks anthropic/claude-sonnet-5, attempt 2", open=True),
        decision(8, "openai/gpt-5.2-mini benched by hand until lifted", tone="edit"),
        decision(
            7,
            "openai/gpt-5.2 answered 503 three times, benched 5 min, anthropic/claude-sonnet-5 answered",
            tone="failed",
        ),
        decision(6, "groq/llama-4-70b answered 429, benched 1 min, ollama/qwen3:8b answered", tone="failed"),
        decision(5, "gemini/gemini-3-flash answered its probe, its bench is over", tone="recovered"),
        decision(4, "gemini/gemini-3-flash broke off, benched 1 min", tone="failed"),
        decision(3, "chain cheap: groq/llama-4-70b added", tone="edit"),
        decision(2, "cooldown 60 s", tone="edit"),
        decision(1, "cell 3 asked openai/gpt-5.2, which answered in 1.2 s"),
    ]
    running = [
        call(),
        call(
            42,
            cell="In [13], row 17 of 400",
            model="openai/gpt-5.2",
            attempt=1,
            waiting=NOW + 4000,
            since=NOW - 71_000,
        ),
    ]
    undo = {"id": 9, "text": "openai/gpt-5.2-mini benched by hand until lifted"}
    return board(
        rows, chains=chains, feed=feed, running=running, undo=undo, store="sqlite:///~/shared/benches.db"
    )


def thousand(number: int = 1000) -> Board:
    """Many models, one in fifty benched, one in forty without a key."""
    rows = [
        model(
            f"provider-{place % 23}/model-{place}",
            "benched" if place % 50 == 7 else "no_key" if place % 40 == 3 else "ready",
            calls=place % 90,
            answered=place % 90,
        )
        for place in range(number)
    ]
    specs = [row["spec"] for row in rows[:3]]
    return board(
        rows, chains=[chain("prod", specs, default=True), *(chain(f"chain-{n}", specs) for n in range(20))]
    )


def size(message: object) -> int:
    """Bytes of a message's content as it crosses."""
    return len(json.dumps(message, separators=(",", ":")).encode())
