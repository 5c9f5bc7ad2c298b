/**
 * The panel in the browser: draws the board that the kernel publishes (board.py) and sends what an operator
 * changes (edits.py checks it). Nothing here decides about a model, and no text of a board becomes HTML: texts
 * are set as text, elements are made one by one. An ES module for anywidget, used as it stands.
 *
 * @typedef {{node: Element, draw: (item: any) => void, tick?: () => boolean}} Part  one thing on the page; `tick`
 *   says whether it counts on
 */

const PROTOCOL = 1;
const PAGE = 50; // rows drawn at a time
const MANY = 12; // models from which a filter and sorting are worth their place
const FEW = 8; // chains and decisions before "Show more"
const WAITS = 1000; // ms without an answer after which the kernel is called busy
const SILENT = 5000; // ms without an answer to hello after which nobody is home
const SETTLED = 5000; // ms that rows keep their places under a resting pointer
const MINUTES = [[60, "1 min"], [300, "5 min"], [1800, "30 min"], [3600, "1 hour"]];

// Paths in a square of 12: a state reads by its shape as well as by its word and colour.
const RING = "M6 1a5 5 0 1 0 0 10a5 5 0 0 0 0-10z";
const SHAPES = {
  triangle: "M6 1l5.5 10h-11z",
  bars: "M2 1.5h3v9h-3zM7 1.5h3v9h-3z",
  target: `${RING}m0 1.5a3.5 3.5 0 1 1 0 7a3.5 3.5 0 0 1 0-7zm0 1.8a1.7 1.7 0 1 0 0 3.4a1.7 1.7 0 0 0 0-3.4z`,
  half: `${RING}m0 1.5v7a3.5 3.5 0 0 1 0-7z`,
  cross: "M2.4 1L6 4.6 9.6 1 11 2.4 7.4 6 11 9.6 9.6 11 6 7.4 2.4 11 1 9.6 4.6 6 1 2.4z",
  disc: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9z",
  dot: "M6 3.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 0 0 0-5z",
  check: "M1 6.4L2.5 4.9 5 7.4 9.6 2.2 11.1 3.6 5.1 10.4z",
  diamond: "M6 1l5 5l-5 5l-5-5z",
};
const TONES = { failed: "triangle", recovered: "check", edit: "diamond", note: "dot" };
// By how urgently each wants to be seen: its word, its shape, and what it means for the next call.
const STATES = {
  benched: { word: "Benched", shape: "triangle", means: "" },
  manual: { word: "Benched", shape: "bars", means: "" },
  probing: { word: "Probing", shape: "target", means: "a call is trying it" },
  due: { word: "Probe due", shape: "half", means: "the next call probes it" },
  no_key: { word: "No key", shape: "cross", means: "" },
  ready: { word: "Ready", shape: "disc", means: "" },
};
const RANKS = Object.keys(STATES);
const ACTIONS = {
  ready: ["bench"], no_key: ["bench"], due: ["bench", "lift"], probing: ["bench", "lift"],
  benched: ["lift", "extend"], manual: ["lift", "extend"],
};
const COLUMNS = [
  ["spec", "Model", () => 0],
  ["state", "State", (row) => RANKS.indexOf(row.state)],
  ["fails", "Fails", (row) => -row.fails],
  ["calls", "Answered", (row) => (row.calls ? row.answered / row.calls : 2)],
  ["latency", "Latency", (row) => (row.latency === null ? Infinity : -row.latency)],
  ["cost", "Cost", (row) => (row.cost === null ? Infinity : -row.cost)],
];
const FILTERS = [
  ["all", "All", () => true],
  ["benched", "Benched", (row) => isBenched(row)],
  ["ready", "Ready", (row) => row.state === "ready"],
  ["no_key", "No key", (row) => row.state === "no_key"],
];

const VERBATIM = { autocomplete: "off", spellcheck: "false" };

// Elements: made once, touched only where something changed.

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) attr(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function attr(node, name, value) {
  if (value === null || value === undefined || value === false) return node.removeAttribute(name);
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A picture without a name of its own, since a word always stands beside it. */
function mark() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [["viewBox", "0 0 12 12"], ["class", "lf-mark"], ["aria-hidden", "true"]]) attr(svg, name, value);
  attr(path, "fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

const draws = (svg, shape) => attr(svg.firstChild, "d", SHAPES[shape]);

/** A model's name, its provider quieter; isolated, so that no direction of its letters reaches its neighbours. */
function named(spec) {
  const slash = spec.indexOf("/") + 1;
  const provider = slash ? h("span", { class: "lf-quiet" }, spec.slice(0, slash)) : null;
  return h("bdi", { class: "lf-spec", title: spec }, provider, spec.slice(slash));
}

const focused = (node) => node.getRootNode().activeElement ?? null;
const holdsFocus = (node) => node.contains(focused(node));

/** Show or hide; a focus that would vanish goes to `instead`. */
function show(node, visible, instead = null) {
  const lost = !visible && !node.hidden && holdsFocus(node);
  if (node.hidden === visible) node.hidden = !visible;
  if (lost && instead) instead.focus();
}

/** The children of `parent`, kept by key; whichever holds the focus is never moved, the others move around it. */
function list(parent, key, make, stamp = () => "") {
  const parts = new Map();
  const remove = (gone, heir) => {
    const lost = holdsFocus(gone);
    gone.remove();
    if (lost) (heir?.querySelector("button:not([hidden])") ?? parent.closest("[tabindex]"))?.focus();
  };
  return {
    parts,
    draw(items) {
      const seen = new Set();
      const wanted = items.map((item) => {
        const name = key(item);
        seen.add(name);
        if (!parts.has(name)) parts.set(name, { ...make(item), print: null });
        const part = parts.get(name);
        const print = JSON.stringify(item) + stamp(item);
        if (part.print !== print) part.draw(item);
        part.print = print;
        return part.node;
      });
      for (const [name, part] of parts) {
        if (seen.has(name)) continue;
        parts.delete(name);
        remove(part.node, part.node.nextElementSibling ?? part.node.previousElementSibling);
      }
      arrange(parent, wanted);
    },
  };
}

function arrange(parent, wanted) {
  const pin = holdsFocus(parent) ? Math.max(0, wanted.findIndex(holdsFocus)) : 0;
  if (wanted[pin] && wanted[pin].parentNode !== parent) parent.append(wanted[pin]);
  for (let place = pin - 1; place >= 0; place--) {
    if (wanted[place].nextSibling !== wanted[place + 1]) parent.insertBefore(wanted[place], wanted[place + 1]);
  }
  for (let place = pin + 1; place < wanted.length; place++) {
    if (wanted[place].previousSibling !== wanted[place - 1]) wanted[place - 1].after(wanted[place]);
  }
}

// Words: numbers and moments as a person reads them.

const two = (number) => String(number).padStart(2, "0");
const counted = (number) => number.toLocaleString("en");
const plural = (number, word) => `${counted(number)} ${word}${number === 1 ? "" : "s"}`;
const isBenched = (row) => row.state === "benched" || row.state === "manual";

function countdown(seconds) {
  if (seconds >= 86400) return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
  const minutes = Math.floor((seconds % 3600) / 60);
  const head = seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${two(minutes)}` : String(minutes);
  return `${head}:${two(seconds % 60)}`;
}

function spoken(seconds) {
  if (seconds < 90) return plural(Math.round(seconds), "second");
  return seconds < 5400 ? plural(Math.round(seconds / 60), "minute") : plural(Math.round(seconds / 3600), "hour");
}

function lasted(seconds) {
  return seconds < 60 ? `${Math.max(0, Math.floor(seconds))} s` : countdown(Math.floor(seconds));
}

function latency(seconds) {
  if (seconds === null) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

function cost(usd) {
  if (usd === null) return "–";
  if (usd > 0 && usd < 0.0001) return "<$0.0001";
  return usd > 0 && usd < 0.01 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`;
}

function missing(row) {
  return /\s/.test(row.missing) || !row.missing ? row.missing : `${row.missing} is not set`;
}

/** The bounds of (browser's clock - kernel's clock), narrowed by every message that crosses. */
function kernelClock() {
  let low = -Infinity;
  let high = Infinity;
  return {
    heard(kernel, received, sent = -Infinity) {
      if (!Number.isFinite(kernel)) return;
      const contradicts = received - kernel < low || sent - kernel > high; // one of the clocks was set
      low = Math.max(contradicts ? -Infinity : low, sent - kernel);
      high = Math.min(contradicts ? Infinity : high, received - kernel);
    },
    /** Where the bounds are wide, a hello had to wait for a busy kernel; answers do not wait. */
    get skew() {
      if (high === Infinity) return 0;
      return high - low > WAITS ? high : (low + high) / 2;
    },
  };
}

// One view: the board as drawn, the edits under way, the clock.

class Panel {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.id = Math.random().toString(36).slice(2, 10);
    this.count = 0;
    this.pending = new Map(); // id -> {target, words, settle, timer}
    this.mine = new Set(); // specs whose next change is told by the edit's own answer
    this.clock = kernelClock();
    this.stale = "";
    this.interval = 0;
    this.hello = { id: "", sent: 0, timer: 0, left: 3 };
    this.board = model.get("board") ?? {};
    this.build();
    this.listen();
    this.guard(() => this.draw())();
    this.guard(() => this.sayHello())();
  }

  build() {
    this.status = h("p", { class: "lf-status" });
    this.trouble = h("p", { class: "lf-trouble", hidden: true });
    this.banner = h("p", { class: "lf-banner", hidden: true });
    this.live = h("div", { class: "lf-unseen", "aria-live": "polite" });
    this.announcer = announcer(this.live, (spec) => this.mine.has(spec) || this.mine.has("*"));
    this.datalist = h("datalist", { id: `${this.id}-specs` });
    const top = header(this);
    const lower = [chains(this), defaults(this), feed(this)];
    this.parts = [top, running(this), models(this), ...lower];
    const main = this.parts.slice(1, 3).map((part) => part.node);
    const aside = h("div", { class: "lf-lower" }, h("div", {}, lower[0].node, lower[1].node), lower[2].node);
    this.body = h("div", { class: "lf-body" }, this.status, this.trouble, ...main, aside);
    this.frame = h("div", { class: "lf-frame", role: "region", "aria-label": "Models of this notebook", tabindex: -1 },
      top.node, this.banner, this.body, this.live, this.datalist);
    this.el.classList.add("lf-panel");
    this.el.append(this.frame);
  }

  listen() {
    const panel = this;
    this.events = {
      "change:board": this.guard(() => this.receive(this.model.get("board"))),
      "msg:custom": this.guard((content) => this.answer(content)),
      "comm:close": this.guard(() => this.lose("restarted")),
      // anywidget calls back with the view, whose model knows; elsewhere a hello finds out.
      comm_live_update: function () {
        panel.guard(() => (this?.model?.comm_live === false ? panel.lose("restarted") : panel.sayHello()))();
      },
    };
    for (const [name, callback] of Object.entries(this.events)) this.model.on(name, callback);
    this.seen = this.guard(() => {
      if (document.hidden) return this.schedule(false);
      if (this.stale) this.sayHello(); // a kernel that was busy may be home again
      return this.draw();
    });
    document.addEventListener("visibilitychange", this.seen);
    // The notebook's own keys (dd deletes a cell) stay out of the panel; its Ctrl keys go on working.
    this.frame.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && event.key !== "Escape") event.stopPropagation();
    });
  }

  dispose() {
    for (const [name, callback] of Object.entries(this.events)) this.model.off(name, callback);
    document.removeEventListener("visibilitychange", this.seen);
    for (const edit of this.pending.values()) clearTimeout(edit.timer);
    clearTimeout(this.hello.timer);
    clearInterval(this.interval);
    this.announcer.dispose();
    for (const part of this.parts) part.dispose?.();
    this.frame.remove();
    this.el.classList.remove("lf-panel");
  }

  /** The function, whose failure is shown instead of thrown. */
  guard(act) {
    return (...given) => {
      try {
        return act(...given);
      } catch (error) {
        console.error(error);
        this.say("failed", `The panel itself failed: ${error.message}. Reload the page to draw it anew.`);
        return undefined;
      }
    };
  }

  /** A button that does nothing while what it edits is pending. */
  button(label, act, props = {}) {
    const node = h("button", { type: "button", ...props }, label);
    node.addEventListener("click", this.guard((event) => {
      event.preventDefault();
      if (node.getAttribute("aria-disabled") !== "true") act(event);
    }));
    return node;
  }

  now() {
    return Date.now() - this.clock.skew;
  }

  /** How far this computer's clock is ahead of the kernel's, in ms, as coarse as a person reads it. */
  get ahead() {
    return Math.round(this.clock.skew / 1000) * 1000;
  }

  /** A moment of the kernel's as this computer's clock shows it, with the day where it is another one. */
  time(moment) {
    const date = new Date(moment + this.ahead);
    const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
    if (Math.abs(moment - this.now()) < 43200000 || date.toDateString() === new Date().toDateString()) return clock;
    return `${date.toLocaleDateString("en", { month: "short", day: "numeric" })}, ${clock}`;
  }

  say(tone, text) {
    attr(this.status, "data-tone", tone);
    put(this.status, text);
  }

  /** While no edit has anything to say, its line tells what the models did. */
  drawFacts(board) {
    if (!this.status.dataset.tone) put(this.status, factsOf(board));
  }

  // What comes from the kernel.

  receive(board) {
    this.clock.heard(board.now, Date.now());
    const before = this.board;
    this.board = board;
    this.alive();
    this.draw();
    if (board.protocol === PROTOCOL && before.kernel === board.kernel) this.announceChanges(before, board);
  }

  announceChanges(before, board) {
    const old = new Map(before.models.map((row) => [row.spec, row]));
    for (const row of board.models) {
      const text = change(old.get(row.spec), row, board.now);
      if (text) this.announcer.tell(row, text);
    }
  }

  answer(content) {
    if (content?.id === this.hello.id) return this.greeted(content);
    const edit = this.pending.get(content?.id);
    if (!edit) return;
    clearTimeout(edit.timer);
    this.pending.delete(content.id);
    this.say(content.outcome, content.text);
    this.announcer.say(content.outcome === "refused" ? `Refused: ${content.text}` : content.text);
    this.announcer.afterwards(() => this.mine.delete(edit.spec));
    edit.settle?.(content.outcome === "done");
    this.draw();
  }

  /** Ask whether the kernel is home; `doubt` is whether silence would mean that it is not. */
  sayHello(doubt = true) {
    clearTimeout(this.hello.timer);
    this.hello.id = `${this.id}-${++this.count}`;
    this.hello.sent = Date.now();
    if (doubt) this.hello.timer = setTimeout(this.guard(() => this.lose("silent")), SILENT);
    this.model.send({ protocol: PROTOCOL, id: this.hello.id, command: "hello" });
  }

  greeted(content) {
    if (content.outcome !== "here") return this.say("refused", content.text);
    this.clock.heard(content.now, Date.now(), this.hello.sent);
    if (content.kernel !== this.board.kernel) return this.lose("restarted");
    this.alive();
    this.draw();
    if (--this.hello.left > 0) this.sayHello(false); // the quickest of several says most about the clock
    return undefined;
  }

  alive() {
    clearTimeout(this.hello.timer);
    this.stale = "";
  }

  lose(why) {
    clearTimeout(this.hello.timer);
    if (this.stale === why) return;
    this.stale = why;
    for (const edit of this.pending.values()) clearTimeout(edit.timer);
    this.pending.clear();
    this.mine.clear();
    this.say("", "");
    this.draw();
    this.announcer.say(this.banner.textContent);
  }

  // What goes to the kernel.

  busy(target) {
    return [...this.pending.values()].some((edit) => edit.target === target);
  }

  /** Send an edit. `target` is what waits for it, `words` what it is called meanwhile, `spec` the model it is of. */
  send(message, { target, words, spec = null, settle = null }) {
    if (this.stale || this.busy(target)) return;
    const id = `${this.id}-${++this.count}`;
    const waits = () => this.say("waiting", `${words}: the kernel is busy, the edit waits for the running cell.`);
    const edit = { target, words, spec, settle, timer: setTimeout(this.guard(waits), WAITS) };
    this.pending.set(id, edit);
    if (spec) this.mine.add(spec);
    this.say("pending", `${words}: pending.`);
    this.draw();
    this.model.send({ protocol: PROTOCOL, id, ...message });
  }

  // Drawing and ticking.

  draw() {
    if (document.hidden) return;
    this.drawBanner();
    if (this.board.protocol === PROTOCOL) {
      for (const part of this.parts) part.draw(this.board);
      this.drawFacts(this.board);
      put(this.trouble, this.board.trouble);
      show(this.trouble, this.board.trouble !== "");
    }
    this.freeze();
    this.tick();
  }

  drawBanner() {
    const foreign = this.board.protocol !== PROTOCOL;
    const stood = foreign || `this is how things stood at ${this.time(this.board.now)}. Run the cell again`;
    const texts = {
      "": "",
      restarted: `The kernel has been restarted (or there is none): ${stood}.`,
      silent: `No kernel answers (it was restarted, is gone, or runs another cell): ${stood}, or wait for the running cell.`,
    };
    const other = "This page does not speak the kernel's language: the package has been updated. ";
    put(this.banner, foreign ? `${other}Reload the page, then run the cell again.` : texts[this.stale]);
    show(this.banner, foreign || this.stale !== "");
    show(this.body, !foreign, this.frame);
    show(this.parts[0].node, !foreign, this.frame);
    attr(this.frame, "data-stale", this.stale !== "");
  }

  /** With nobody to carry an edit out, no control for one can be used. */
  freeze() {
    if (!this.stale && !this.frozen) return;
    this.frozen = this.stale !== "";
    for (const node of this.frame.querySelectorAll("[data-edit]")) node.disabled = this.frozen;
  }

  tick() {
    if (this.board.protocol !== PROTOCOL) return this.schedule(false);
    return this.schedule(this.parts.filter((part) => part.tick?.()).length > 0 && !this.stale && !document.hidden);
  }

  schedule(wanted) {
    if (wanted && !this.interval) this.interval = setInterval(this.guard(() => this.tick()), 1000);
    if (!wanted) this.interval = void clearInterval(this.interval) ?? 0;
  }
}

// What a screen reader hears: changes, once, a handful at a time.

function change(before, row, now) {
  if (!before || (before.state === row.state && before.until === row.until)) return "";
  if (isBenched(row)) {
    const why = row.state === "benched" && row.why ? `: ${row.why.text}` : "";
    const hand = row.state === "manual" ? " by hand" : "";
    const length = row.until === null ? " until lifted" : ` for ${spoken((row.until - now) / 1000)}`;
    return `${row.spec} benched${hand}${length}${why}`;
  }
  if (row.state === before.state) return "";
  if (row.state === "ready") return `${row.spec} ready`;
  return row.state === "no_key" ? `${row.spec} has no key` : "";
}

function announcer(region, isMine) {
  let said = [];
  let changes = new Map();
  let after = [];
  let timer = 0;
  const flush = () => {
    timer = 0;
    const told = [...changes.values()].filter(({ row }) => !isMine(row.spec));
    const benched = told.filter(({ row }) => isBenched(row)).length;
    const many = [[benched, "benched"], [told.length - benched, "ready or without a key"]].filter(([number]) => number)
      .map(([number, word]) => `${plural(number, "model")} ${word}`).join(", ");
    const lines = [...said, ...(told.length > 5 ? [many] : told.map(({ text }) => text))];
    if (lines.length) region.replaceChildren(...lines.map((line) => h("p", {}, line)));
    for (const act of after) act();
    said = [];
    after = [];
    changes = new Map();
  };
  const soon = () => { timer ||= setTimeout(flush, 300); };
  return {
    say: (text) => { said.push(text); soon(); },
    tell: (row, text) => { changes.set(row.spec, { row, text }); soon(); },
    afterwards: (act) => { after.push(act); soon(); },
    dispose: () => clearTimeout(timer),
  };
}

// The header: what there is, in words; what can be taken back.

function header(panel) {
  const summary = h("p", { class: "lf-summary" });
  const what = h("bdi", { class: "lf-what" });
  const undo = panel.button("Undo", () => {
    const { id, text } = panel.board.undo;
    panel.send({ command: "undo", edit: id }, { target: "undo", words: `Undo: ${text}`, spec: "*" });
  }, { "data-edit": true });
  undo.append(what);
  const lift = panel.button("Lift all", () => {
    panel.send({ command: "lift_all" }, { target: "lift_all", words: "Lift all", spec: "*" });
  }, { "data-edit": true });
  const node = h("header", { role: "none" }, h("h2", {}, "Models"), summary, h("div", { class: "lf-actions" }, lift, undo));
  return {
    node,
    draw(board) {
      put(summary, summaryOf(board.models));
      put(what, board.undo ? ` ${board.undo.text}` : "");
      attr(undo, "title", board.undo && `Undo ${board.undo.text}`);
      pend(undo, panel.busy("undo"));
      pend(lift, panel.busy("lift_all"));
      show(undo, board.undo !== null, panel.frame);
      show(lift, board.models.some(isBenched), undo.hidden ? panel.frame : undo);
    },
  };
}

const SUMMARY = { ready: "ready", benched: "benched", due: "due for a probe", probing: "probing", no_key: "no key" };

function summaryOf(rows) {
  const counts = {};
  for (const row of rows) {
    const state = isBenched(row) ? "benched" : row.state;
    counts[state] = (counts[state] ?? 0) + 1;
  }
  const told = Object.entries(SUMMARY).filter(([state]) => counts[state]);
  return told.map(([state, word]) => `${counted(counts[state])} ${word}`).join(" · ") || "none yet";
}

function factsOf({ models: rows, window: seconds }) {
  const sum = (name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
  const asked = sum("calls");
  if (!rows.length) return "";
  const calls = asked ? `${counted(sum("answered"))} of ${plural(asked, "call")} answered` : "No call";
  return `${calls} in the last ${Math.round(seconds / 60)} min · ${cost(sum("cost"))} so far`;
}

/** A control that cannot be pressed now, and keeps the focus. */
function rest(control, off) {
  attr(control, "aria-disabled", off ? "true" : null);
}

/** A control whose edit is on its way says so, and keeps the focus. */
function pend(control, busy) {
  attr(control, "aria-busy", busy ? "true" : null);
  rest(control, busy);
}

// The calls that run now.

function running(panel) {
  const items = h("ol", { class: "lf-running" });
  const calls = list(items, (call) => call.id, () => runningCall(panel), (call) => panel.busy(`call ${call.id}`));
  const node = h("section", { hidden: true, "aria-label": "Running calls" }, h("h3", {}, "Running"), items);
  return {
    node,
    draw(board) {
      calls.draw(board.running);
      show(node, board.running.length > 0, panel.frame);
    },
    tick: () => [...calls.parts.values()].map((part) => part.tick()).length > 0,
  };
}

function runningCall(panel) {
  let call;
  const cell = h("bdi", { class: "lf-cell" });
  const asked = h("ol", { class: "lf-asked" });
  const chain = list(asked, ([place]) => place, ([, spec]) => {
    const now = h("span", { class: "lf-unseen" }, " is asked now");
    const item = h("li", {}, named(spec), now);
    return { node: item, draw: ([, , isAsked]) => { attr(item, "aria-current", isAsked ? "step" : null); show(now, isAsked); } };
  });
  const attempt = h("span");
  const seconds = h("span", { class: "lf-number" });
  const fixed = h("span", { class: "lf-quiet" });
  const cancel = panel.button("Cancel", () => {
    panel.send({ command: "cancel", call: call.id }, { target: `call ${call.id}`, words: `Cancel the call of ${call.cell}` });
  }, { "data-edit": true });
  const node = h("li", {}, cell, asked, h("span", { class: "lf-pace" }, attempt, " · ", seconds), fixed, cancel);
  const tick = () => {
    const waits = call.waiting === null ? 0 : Math.ceil((call.waiting - panel.now()) / 1000);
    put(attempt, `attempt ${call.attempt}${waits > 0 && !panel.stale ? `, next in ${waits} s` : ""}`);
    put(seconds, lasted(((panel.stale ? panel.board.now : panel.now()) - call.since) / 1000));
    return true;
  };
  return {
    node,
    tick,
    draw(item) {
      call = item;
      put(cell, call.cell);
      chain.draw(call.specs.map((spec, place) => [`${place} ${spec}`, spec, spec === call.model]));
      put(fixed, call.fixed);
      attr(cancel, "aria-label", `Cancel the call of ${call.cell}`);
      pend(cancel, panel.busy(`call ${call.id}`));
      show(cancel, call.fixed === "", panel.frame);
    },
  };
}

// The models: a table of rows kept by name, filtered and sorted by this view alone.

function models(panel) {
  const look = { text: "", state: "all", column: "", up: true, limit: PAGE };
  let order = []; // what is drawn, as it is arranged
  let touched = -Infinity;
  let release = 0;
  const bar = toolbar(panel, look, () => redraw(true));
  const head = columns(panel, look, () => redraw(true));
  const caption = h("caption", { class: "lf-unseen" }, "Models, their benches and their calls");
  const table = h("table", { role: "table", class: "lf-models" }, caption, head.node);
  const rows = list(table, (row) => row.spec, (row) => modelRow(panel, row), (row) => `${panel.busy(row.spec)} ${panel.stale} ${panel.ahead}`);
  const empty = h("p", { class: "lf-empty" });
  const more = moreButtons(panel, (limit) => { look.limit = limit; redraw(true); });
  const store = h("p", { class: "lf-quiet lf-store" });
  const node = h("section", { "aria-label": "Models" }, bar.node, table, empty, more.node, store);
  for (const event of ["pointermove", "keydown", "click", "focusin"]) {
    table.addEventListener(event, () => { touched = performance.now(); });
  }
  table.addEventListener("pointerleave", panel.guard(() => redraw(false)));

  /** Rows stay where they are while somebody is about to press one of their buttons. */
  function isHeld() {
    return performance.now() - touched < SETTLED && table.querySelector("tbody:hover, tbody:focus-within") !== null;
  }

  /** The rows to draw: in their order, or, while they are held, in the one that they have. One in use is not lost. */
  function arranged(all, wanted, force) {
    const shown = wanted.slice(0, look.limit);
    clearTimeout(release);
    if (force) return shown;
    const held = isHeld();
    const near = holdsFocus(table);
    if (held) release = setTimeout(panel.guard(() => redraw(false)), SETTLED);
    const known = new Map(all.map((row) => [row.spec, row]));
    const kept = order.filter((spec) => known.has(spec) && (held || rows.parts.get(spec).isInUse(near))).map((spec) => known.get(spec));
    const [first, then] = held ? [kept, shown] : [shown, kept];
    const there = new Set(first);
    return [...first, ...then.filter((row) => !there.has(row))];
  }

  function draw(force) {
    const { models: all } = panel.board;
    const wanted = chosen(all, look);
    const shown = arranged(all, wanted, force);
    const found = wanted.length;
    order = shown.map((row) => row.spec);
    rows.draw(shown);
    bar.draw(all, found);
    head.draw(all.length > MANY, panel.board.window);
    more.draw(shown.length, Math.max(found, shown.length));
    show(table, all.length > 0, panel.frame);
    put(empty, all.length ? "No model matches. Clear the filter to see all." : NO_MODEL);
    show(empty, shown.length === 0);
    put(store, panel.board.store && `Benches are shared through ${panel.board.store}.`);
  }

  /** Drawn because this view was asked to, not because the board changed. */
  function redraw(force) {
    draw(force);
    panel.freeze();
    panel.tick();
  }

  return {
    node,
    draw: () => draw(false),
    tick: () => [...rows.parts.values()].filter((part) => part.tick()).length > 0,
    dispose: () => clearTimeout(release),
  };
}

const NO_MODEL = "No model yet. Run a %%llm cell, or add a chain: %llm chain prod = a,b";
const byName = new Intl.Collator("en", { numeric: true }).compare;

function chosen(all, look) {
  const text = look.text.toLowerCase();
  const [, , matches] = FILTERS.find(([name]) => name === look.state);
  const [, , value] = COLUMNS.find(([name]) => name === (look.column || "state"));
  const way = look.up ? 1 : -1;
  const wayOfNames = look.column === "spec" ? way : 1;
  const says = (row) => `${row.spec} ${row.why?.text ?? ""}`.toLowerCase().includes(text);
  const found = all.filter((row) => matches(row) && (!text || says(row))).map((row) => [value(row), row]);
  found.sort(([a, x], [b, y]) => (a === b ? wayOfNames * byName(x.spec, y.spec) : a < b ? -way : way));
  return found.map(([, row]) => row);
}

function toolbar(panel, look, changed) {
  const search = h("input", { type: "search", placeholder: "Filter by name or reason", "aria-label": "Filter models", ...VERBATIM });
  search.addEventListener("input", panel.guard(() => { look.text = search.value.trim(); look.limit = PAGE; changed(); }));
  const counts = FILTERS.map(() => h("span", { class: "lf-number lf-quiet" }));
  const chips = FILTERS.map(([name, label], place) => {
    const chip = panel.button(label, () => { look.state = name; look.limit = PAGE; changed(); });
    chip.append(" ", counts[place]);
    return chip;
  });
  const found = h("p", { class: "lf-quiet lf-found" });
  const group = h("div", { class: "lf-chips", role: "group", "aria-label": "Models by state" }, ...chips);
  const node = h("div", { class: "lf-toolbar", hidden: true }, search, group, found);
  return {
    node,
    draw(all, number) {
      FILTERS.forEach(([name, , matches], place) => {
        put(counts[place], counted(all.filter(matches).length));
        attr(chips[place], "aria-pressed", String(look.state === name));
      });
      put(found, look.text || look.state !== "all" ? `${counted(number)} of ${counted(all.length)}` : "");
      show(node, all.length > MANY || look.text !== "" || look.state !== "all", panel.frame);
    },
  };
}

function columns(panel, look, changed) {
  const minutes = h("span", { class: "lf-quiet" });
  const heads = COLUMNS.map(([name, label]) => {
    const words = h("span", {}, label);
    const sort = panel.button(label, () => {
      if (look.column !== name) Object.assign(look, { column: name, up: true });
      else if (look.up) look.up = false;
      else Object.assign(look, { column: "", up: true });
      changed();
    }, { class: "lf-sort" });
    const cell = h("th", { scope: "col", role: "columnheader", class: `lf-${name}` }, words, sort, name === "calls" ? minutes : null);
    return { name, words, sort, cell };
  });
  const actions = h("th", { scope: "col", role: "columnheader", class: "lf-do" }, h("span", { class: "lf-unseen" }, "Actions"));
  const node = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads.map((head) => head.cell), actions));
  return {
    node,
    draw(sortable, seconds) {
      put(minutes, ` ${Math.round(seconds / 60)} min`);
      node.classList.toggle("lf-sortable", sortable);
      for (const { name, words, sort, cell } of heads) {
        show(words, !sortable);
        show(sort, sortable, panel.frame);
        attr(cell, "aria-sort", sortable && look.column === name ? (look.up ? "ascending" : "descending") : null);
      }
    },
  };
}

function moreButtons(panel, reveal) {
  let shown = 0;
  let total = 0;
  const some = panel.button(`Show ${PAGE} more`, () => reveal(shown + PAGE));
  const all = panel.button("", () => reveal(Infinity));
  const words = h("span", { class: "lf-quiet" });
  const node = h("div", { class: "lf-more", hidden: true }, words, some, all);
  return {
    node,
    draw(now, found) {
      shown = now;
      total = found;
      put(words, `${counted(shown)} of ${counted(total)} shown`);
      put(all, `Show all ${counted(total)}`);
      show(node, shown < total, panel.frame);
    },
  };
}

// One model: its row, and the choice of a time that its buttons disclose.

/** What a row says now, and whether it counts: a bench that has run out is over before the kernel says so. */
function standing(panel, row) {
  if (!isBenched(row)) return [row.state, STATES[row.state].means, false];
  const hand = row.state === "manual" ? "by hand, " : "";
  if (row.until === null) return [row.state, `${hand}until lifted`, false];
  if (panel.stale) return [row.state, `${hand}until ${panel.time(row.until)}`, false];
  const left = Math.ceil((row.until - panel.now()) / 1000);
  if (left > 0) return [row.state, `${hand}${countdown(left)}`, true];
  return row.state === "manual" ? ["ready", "the bench is over", false] : ["due", STATES.due.means, false];
}

function modelRow(panel, { spec }) {
  let row;
  let menu = null;
  const shape = mark();
  const word = h("span", { class: "lf-word" });
  const detail = h("span", { class: "lf-detail lf-number" });
  const why = h("bdi", {});
  const when = h("span", { class: "lf-number lf-when" });
  const reason = h("div", { class: "lf-why" }, when, why);
  const state = h("td", { role: "cell", class: "lf-state" }, shape, word, " ", detail, reason);
  const cells = Object.fromEntries(["fails", "calls", "latency", "cost"].map((name) => [name, h("span")]));
  const figure = ([name, label]) => h("td", { role: "cell", class: `lf-figure lf-${name}`, "data-label": label }, cells[name]);
  const numbers = COLUMNS.slice(2).map(figure);
  const opener = (label, name, kind) => panel.button(label, () => toggle(kind), { "aria-label": name, "aria-expanded": "false", "data-edit": true });
  const buttons = {
    bench: opener("Bench", `Bench ${spec}`, "bench"),
    lift: panel.button("Lift", () => edit({ command: "lift" }, `Lift ${spec}`), { "aria-label": `Lift ${spec}`, "data-edit": true }),
    extend: opener("Extend", `Extend the bench of ${spec}`, "extend"),
  };
  const actions = h("td", { role: "cell", class: "lf-do" }, h("div", { class: "lf-actions" }, ...Object.values(buttons)));
  const name = h("th", { scope: "row", role: "rowheader", class: "lf-spec-cell" }, named(spec));
  const line = h("tr", { role: "row" }, name, state, ...numbers, actions);
  const node = h("tbody", { role: "rowgroup" }, line);
  node.addEventListener("keydown", panel.guard((event) => {
    if (event.key !== "Escape" || !menu) return;
    event.stopPropagation();
    close(true);
  }));

  function edit(message, words) {
    panel.send({ ...message, spec, edited: row.edited }, { target: spec, words, spec });
  }

  function toggle(kind) {
    const again = menu?.kind === kind;
    close(again);
    if (again) return;
    menu = { kind, node: timeMenu(panel, spec, kind, (message, words) => { close(true); edit(message, words); }) };
    node.append(menu.node);
    attr(buttons[kind], "aria-expanded", "true");
    menu.node.querySelector("button").focus();
  }

  function close(focus) {
    if (!menu) return;
    const opener = buttons[menu.kind];
    menu.node.remove();
    menu = null;
    attr(opener, "aria-expanded", "false");
    if (focus) opener.focus();
  }

  function drawActions() {
    const offered = ACTIONS[row.state].filter((kind) => kind !== "extend" || row.until !== null);
    const first = buttons[offered[0]];
    if (menu && !offered.includes(menu.kind)) close(holdsFocus(menu.node));
    for (const kind of offered) show(buttons[kind], true);
    for (const [kind, button] of Object.entries(buttons)) {
      rest(button, panel.busy(spec));
      if (!offered.includes(kind)) show(button, false, first);
    }
  }

  function drawState() {
    const [now, means, counts] = standing(panel, row);
    const busy = panel.busy(spec);
    attr(node, "data-state", now);
    attr(state, "aria-busy", busy ? "true" : null);
    draws(shape, STATES[now].shape);
    put(word, STATES[now].word);
    put(detail, busy ? "pending" : means);
    return counts;
  }

  return {
    node,
    tick: () => isBenched(row) && drawState(),
    isInUse: (near) => menu !== null || (near && holdsFocus(node)),
    draw(item) {
      row = item;
      put(why, row.why?.text ?? (row.state === "no_key" ? missing(row) : ""));
      put(when, row.why ? panel.time(row.why.at) : "");
      show(reason, why.textContent !== "");
      attr(state, "title", row.until === null || !isBenched(row) ? null : `until ${panel.time(row.until)}`);
      put(cells.fails, row.fails ? String(row.fails) : "–");
      put(cells.calls, !row.calls ? "–" : `${Math.floor((100 * row.answered) / row.calls)} % of ${counted(row.calls)}`);
      attr(cells.calls, "title", `${row.answered} of ${plural(row.calls, "call")} answered`);
      put(cells.latency, latency(row.latency));
      put(cells.cost, cost(row.cost));
      for (const cell of Object.values(cells)) cell.parentNode.classList.toggle("lf-none", cell.textContent === "–");
      drawActions();
      drawState();
    },
  };
}

function timeMenu(panel, spec, kind, choose) {
  const verb = kind === "bench" ? "Bench" : "Extend";
  const option = (label, seconds) => {
    const words = label.toLowerCase();
    const go = () => choose({ command: kind, for: seconds }, `${verb} ${spec}, ${words}`);
    return panel.button(label, go, { "data-edit": true, "aria-label": `${label}: ${verb.toLowerCase()} ${spec}` });
  };
  const times = MINUTES.map(([seconds, label]) => option(label, seconds));
  const rest = kind === "bench" ? [option("Until lifted", null), ...untilTime(panel, spec, choose)] : [];
  const group = h("div", { class: "lf-menu", role: "group", "aria-label": `${verb} ${spec}` },
    h("span", { class: "lf-quiet" }, kind === "bench" ? "Bench for" : "Extend by"), ...times, ...rest);
  return h("tr", { role: "row", class: "lf-menurow" }, h("td", { role: "cell", colspan: COLUMNS.length + 1 }, group));
}

function untilTime(panel, spec, choose) {
  const error = h("span", { class: "lf-error", id: `${panel.id}-u${++panel.count}` });
  const input = h("input", { type: "time", "data-edit": true, "aria-label": `Bench ${spec} until`, "aria-describedby": error.id });
  const go = () => {
    const moment = momentOf(input.value);
    attr(input, "aria-invalid", moment === null ? "true" : null);
    put(error, moment === null ? "Enter a time such as 14:30." : "");
    if (moment === null) return void panel.announcer.say(error.textContent);
    choose({ command: "bench", until: moment - panel.ahead }, `Bench ${spec} until ${input.value}`);
  };
  const button = panel.button("Bench until", go, { "data-edit": true, "aria-label": `Bench until this time: ${spec}` });
  onEnter(panel, input, go);
  input.addEventListener("input", () => {
    const moment = momentOf(input.value);
    put(error, moment !== null && new Date(moment).getDate() !== new Date().getDate() ? "tomorrow" : "");
  });
  return [h("span", { class: "lf-until" }, h("span", { class: "lf-quiet", "aria-hidden": "true" }, "until"), input, button, error)];
}

/** The next moment at which the clock shows this time, in ms; null where it is none. */
function momentOf(value) {
  const [hours, minutes] = value.split(":").map(Number);
  if (!value || !Number.isInteger(hours) || !Number.isInteger(minutes)) return null;
  const date = new Date();
  date.setHours(hours, minutes, 0, 0);
  if (date.getTime() <= Date.now()) date.setDate(date.getDate() + 1);
  return date.getTime();
}

/** Enter acts; no form, which an output without permission for forms could not send. */
function onEnter(panel, input, act) {
  input.addEventListener("keydown", panel.guard((event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    act();
  }));
}

// The chains: what is asked after what.

function chains(panel) {
  const items = h("div", {});
  let known = new Map();
  const stamp = (chain) => panel.busy(`chain ${chain.name}`) + panel.stale + chain.specs.map((spec) => known.get(spec)).join();
  const all = list(items, (chain) => chain.name, (chain) => chainPart(panel, chain, (spec) => known.get(spec)), stamp);
  const empty = h("p", { class: "lf-empty" }, "No chain yet. Add one: %llm chain prod = a,b");
  const more = fold(panel, () => draw(panel.board));
  const node = h("section", { "aria-label": "Chains" }, h("h3", {}, "Chains"), items, empty, more.node);
  function draw(board) {
    known = new Map(board.models.map((row) => [row.spec, row.state]));
    all.draw(more.draw([...board.chains].sort((a, b) => b.default - a.default)));
    show(empty, board.chains.length === 0);
  }
  return { node, draw };
}

/** The first few of a list, and a button for the rest. */
function fold(panel, redraw) {
  let all = false;
  const node = panel.button("", () => { all = !all; redraw(); panel.freeze(); }, { class: "lf-plain" });
  return {
    node,
    draw(items) {
      put(node, all ? "Show fewer" : `Show ${counted(items.length - FEW)} more`);
      show(node, items.length > FEW, panel.frame);
      return all ? items : items.slice(0, FEW);
    },
  };
}

function chainPart(panel, first, stateOf) {
  let chain = first;
  const target = `chain ${first.name}`;
  const title = h("bdi", { class: "lf-title" });
  const badge = h("span", { class: "lf-badge" }, "default");
  const about = h("span", { class: "lf-quiet" });
  const fixed = h("p", { class: "lf-quiet" });
  const entries = h("ol", { class: "lf-entries" });
  const change = (specs, words, settle = null) => {
    panel.send({ command: "chain", name: chain.name, specs, edited: chain.edited }, { target, words, settle });
  };
  const places = list(entries, (entry) => entry.key, (entry) => chainEntry(panel, entry, () => chain, change));
  const makeDefault = panel.button("Make default", () => {
    const words = `Make ${chain.title} the default`;
    panel.send({ command: "default", name: chain.name, edited: chain.edited }, { target, words });
  }, { "data-edit": true, "aria-label": `Make default: ${first.title}` });
  const adder = addModel(panel, () => chain, change);
  const pending = h("span", { class: "lf-pending" }, "pending");
  const foot = h("div", { class: "lf-foot" }, adder, makeDefault, pending);
  const node = h("details", { open: first.default }, h("summary", {}, title, badge, about), fixed, entries, foot);
  return {
    node,
    draw(item) {
      chain = item;
      const busy = panel.busy(target);
      const next = chain.next === null ? null : chain.specs[chain.next];
      put(title, chain.title);
      put(about, `${plural(chain.specs.length, "model")}${next === null || next === undefined ? ", none can be asked now" : ""}`);
      show(badge, chain.default);
      put(fixed, chain.fixed);
      show(fixed, chain.fixed !== "");
      attr(node, "aria-busy", busy ? "true" : null);
      const times = new Map();
      places.draw(chain.specs.map((spec, place) => {
        times.set(spec, (times.get(spec) ?? 0) + 1);
        return { key: `${spec} ${times.get(spec)}`, spec, place, last: place === chain.specs.length - 1, next: place === chain.next,
          state: stateOf(spec) ?? "ready", title: chain.title, fixed: chain.fixed !== "", busy };
      }));
      show(makeDefault, !chain.default, node.querySelector("summary"));
      rest(makeDefault, busy);
      show(adder, chain.fixed === "", node.querySelector("summary"));
      show(pending, busy);
    },
  };
}

function chainEntry(panel, first, chainOf, change) {
  let entry = first;
  const { spec } = first;
  const shape = mark();
  const words = h("span", { class: "lf-word" });
  const control = (sign, title, key, act) => panel.button(sign, act, { "data-edit": true, title: `${title} (${key})`, "aria-keyshortcuts": key });
  const up = control("↑", "Move up", "Alt+ArrowUp", () => move(-1));
  const down = control("↓", "Move down", "Alt+ArrowDown", () => move(1));
  const away = control("×", "Remove", "Delete", () => remove());
  const buttons = h("span", { class: "lf-actions lf-icons" }, up, down, away);
  const node = h("li", { tabindex: -1 }, h("span", { class: "lf-who" }, named(spec), h("span", { class: "lf-marks" }, shape, words)), buttons);

  function move(by) {
    const specs = [...chainOf().specs];
    if (specs[entry.place + by] === undefined) return;
    [specs[entry.place], specs[entry.place + by]] = [specs[entry.place + by], specs[entry.place]];
    change(specs, `Move ${spec} ${by < 0 ? "up" : "down"} in ${entry.title}`);
  }

  function remove() {
    change(chainOf().specs.filter((_, place) => place !== entry.place), `Remove ${spec} from ${entry.title}`);
  }

  node.addEventListener("keydown", panel.guard((event) => {
    const act = { "true ArrowUp": () => move(-1), "true ArrowDown": () => move(1), "false Delete": remove }[`${event.altKey} ${event.key}`];
    if (!act || entry.fixed || panel.busy(`chain ${chainOf().name}`)) return;
    event.preventDefault();
    act();
  }));
  return {
    node,
    draw(item) {
      entry = item;
      const isOut = entry.state !== "ready" && entry.state !== "due";
      attr(node, "data-state", entry.state);
      attr(node, "aria-current", entry.next ? "true" : null);
      attr(shape, "hidden", isOut ? null : true);
      draws(shape, STATES[entry.state].shape);
      put(words, [entry.next ? "asked first" : "", isOut ? STATES[entry.state].word.toLowerCase() : ""].filter(Boolean).join(", "));
      attr(up, "aria-label", `Move ${spec} up in ${entry.title}`);
      attr(down, "aria-label", `Move ${spec} down in ${entry.title}`);
      attr(away, "aria-label", `Remove ${spec} from ${entry.title}`);
      const off = [[up, entry.place === 0], [down, entry.last], [away, false]];
      for (const [button, atEnd] of off) rest(button, entry.busy || atEnd);
      show(buttons, !entry.fixed);
    },
  };
}

function addModel(panel, chainOf, change) {
  const error = h("span", { class: "lf-error", id: `${panel.id}-a${++panel.count}` });
  const input = h("input", { type: "text", list: panel.datalist.id, placeholder: "provider/model", "data-edit": true, ...VERBATIM,
    "aria-label": `Model to add to ${chainOf().title}`, "aria-describedby": error.id });
  input.addEventListener("focus", panel.guard(() => {
    panel.datalist.replaceChildren(...panel.board.models.map((row) => h("option", { value: row.spec })));
  }));
  const go = () => {
    const spec = input.value.trim();
    const twice = chainOf().specs.includes(spec) ? `${spec} is in ${chainOf().title} already.` : "";
    const wrong = spec ? twice : "Name a model, such as openai/gpt-5.";
    attr(input, "aria-invalid", wrong ? "true" : null);
    put(error, wrong);
    if (wrong) return void panel.announcer.say(wrong);
    change([...chainOf().specs, spec], `Add ${spec} to ${chainOf().title}`, (done) => { if (done) input.value = ""; });
  };
  onEnter(panel, input, go);
  const button = panel.button("Add model", go, { "data-edit": true, "aria-label": `Add model to ${chainOf().title}` });
  return h("span", { class: "lf-add" }, input, button, error);
}

// The defaults: how long a bench lasts, how often a model is asked.

const FIELDS = [
  {
    name: "cooldown", label: "Cooldown", unit: "seconds", props: { min: 0, step: "any", inputmode: "decimal" },
    isRight: (value) => Number.isFinite(value) && value >= 0, wrong: "Cooldown: a number of seconds, 0 or more.",
  },
  {
    name: "max_retries", label: "Attempts per model", unit: "", props: { min: 1, step: 1, inputmode: "numeric" },
    isRight: (value) => Number.isInteger(value) && value >= 1, wrong: "Attempts: a whole number, 1 or more.",
  },
];

function defaults(panel) {
  let edited = null; // the version that was there when typing began
  const fields = FIELDS.map(({ name, label, unit, props, isRight, wrong }) => {
    const id = `${panel.id}-${name}`;
    const input = h("input", { type: "number", id, "data-edit": true, ...props });
    input.addEventListener("input", () => { edited ??= panel.board.defaults.edited; });
    onEnter(panel, input, () => apply());
    const node = h("span", { class: "lf-field" }, h("label", { for: id }, label), input, unit ? h("span", { class: "lf-quiet" }, unit) : null);
    return { name, input, node, isRight, wrong };
  });
  const error = h("p", { class: "lf-error" });
  const button = panel.button("Apply", () => apply(), { "data-edit": true, "aria-label": "Apply the defaults" });
  const form = h("div", { class: "lf-fields" }, ...fields.map((field) => field.node), button);
  const node = h("section", { "aria-label": "Defaults" }, h("h3", {}, "Defaults"), form, error);

  function check() {
    const wrong = fields.map(({ input, isRight, wrong: words }) => {
      const bad = input.value.trim() === "" || !isRight(Number(input.value));
      attr(input, "aria-invalid", bad ? "true" : null);
      return bad ? words : "";
    }).filter(Boolean).join(" ");
    put(error, wrong);
    if (wrong) panel.announcer.say(wrong);
    return !wrong;
  }

  function apply() {
    if (!check()) return;
    const now = panel.board.defaults;
    const changed = fields.map(({ name, input }) => [name, Number(input.value)]).filter(([name, value]) => value !== now[name]);
    if (!changed.length) return void panel.say("done", "The defaults are these already.");
    const message = { command: "defaults", ...Object.fromEntries(changed), edited: edited ?? now.edited };
    const settle = (done) => { edited = done ? null : panel.board.defaults.edited; };
    panel.send(message, { target: "defaults", words: "Change the defaults", settle });
  }

  return {
    node,
    draw(board) {
      for (const { name, input } of fields) {
        if (edited === null && input.value !== String(board.defaults[name])) input.value = String(board.defaults[name]);
      }
      pend(button, panel.busy("defaults"));
    },
  };
}

// The feed: what was decided, newest first.

function feed(panel) {
  const items = h("ol", { class: "lf-feed" });
  const rows = list(items, (item) => item.id, () => decision(panel), (item) => panel.time(item.at));
  const more = fold(panel, () => draw(panel.board));
  const empty = h("p", { class: "lf-empty" }, "Nothing was decided yet. Failures, benches and edits will stand here.");
  const node = h("section", { "aria-label": "Decisions" }, h("h3", {}, "Decisions"), items, empty, more.node);
  function draw(board) {
    rows.draw(more.draw(board.feed));
    show(empty, board.feed.length === 0);
  }
  return { node, draw };
}

function decision(panel) {
  const time = h("time", { class: "lf-quiet lf-number" });
  const shape = mark();
  const text = h("bdi", {});
  const open = h("span", { class: "lf-badge" }, "going on");
  const node = h("li", {}, time, shape, h("span", {}, text, " ", open));
  return {
    node,
    draw(item) {
      put(time, panel.time(item.at));
      put(text, item.text);
      attr(node, "data-tone", item.tone);
      draws(shape, TONES[item.tone]);
      show(open, item.open);
    },
  };
}

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    return () => panel.dispose();
  },
};
