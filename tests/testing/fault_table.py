"""What each fault leads to: the one table that the fault matrix holds every wire and every call to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import llm_failover_nb as fo
from llm_failover_nb.providers.presets import WIRES

PROMPT = "It is a sunny day in Paris, and it stays so."
PREFILLED = [fo.Message("user", PROMPT), fo.Message("assistant", "It is")]
HEALTHY, RECOVERED = "I am the healthy one.", "I am well again."
HEALTHY_SCRIPT, RECOVERED_SCRIPT = "say:I_am_the_healthy_one.", "say:I_am_well_again."

PATHS = ("complete", "acomplete", "stream", "astream")

ATTEMPTS = 2  # on one model
BACKOFF = 0.005  # seconds
RETRY_AFTER = 0.03  # seconds, of the fault that asks for a wait

# The limit of time that ends a silence.
ATTEMPT, FIRST_TOKEN, IDLE = "attempt", "first_token", "idle"

KINDS = {
    **dict.fromkeys(
        "rate_limit overloaded server_error timeout connection malformed cut empty".split(), "transient"
    ),
    **dict.fromkeys("quota credentials permission model_gone".split(), "auth_dead"),
    **dict.fromkeys("context_length content_filter bad_request".split(), "request_specific"),
}


@dataclass(frozen=True, eq=False)
class Fault:
    """What a fault leads to.

    Args:
        script: The faulty model's name, or the fault it begins with.
        completion: What a completion comes to: ``answer`` where the model itself answers, behind the reasons
            for which it did not at first; else the reason for which it is left to the healthy one. With ``!``
            the call ends there, unless the policy is lenient: an answer had begun, or a content filter spoke.
        stream: The same for a stream.
        tries: How often the model is asked before it is left.
        but: Where it is different: by wire, by path, by ``completion`` or ``stream``, or by several of them;
            ``http`` is every wire, and not ``sim``, which is as ``openai``.
        limits: Which limit of time ends its silence: that of a completion, that of a stream.
        prompt: What is asked.
    """

    script: str
    completion: str
    stream: str
    tries: int = 1
    but: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, str] | None = None
    prompt: object = PROMPT


FAULTS = [
    # the model's name          a completion        a stream
    Fault("echo",               "answer",           "answer"),
    Fault("nodone",             "answer",           "answer"),
    Fault("slow:0.02",          "answer",           "answer"),
    Fault("noprefill",          "answer",           "answer"),
    Fault("500+echo",           "server_error, answer", "server_error, answer"),
    Fault("flap",               "overloaded, answer",   "overloaded, answer"),
    #                                                                   tries
    # Refusals. A wait that is longer than the policy's max_wait is not waited for.
    Fault("429",                "rate_limit",       "rate_limit",       2),
    Fault(f"429:{RETRY_AFTER}", "rate_limit",       "rate_limit",       2),
    Fault("429:60",             "rate_limit",       "rate_limit",       1),
    Fault("500",                "server_error",     "server_error",     2),
    Fault("503x5",              "overloaded",       "overloaded",       2),
    Fault("503:60",             "overloaded",       "overloaded",       1),
    Fault("down",               "overloaded",       "overloaded",       2),
    Fault("auth",               "credentials",      "credentials",      1),
    Fault("403",                "permission",       "permission",       1),
    Fault("quota",              "quota",            "quota",            1),
    Fault("gone",               "model_gone",       "model_gone",       1),
    Fault("context",            "context_length",   "context_length",   1),
    Fault("bad",                "bad_request",      "bad_request",      1),
    Fault("noprefill",          "bad_request",      "bad_request",      1, prompt=PREFILLED),
    Fault("filter",             "content_filter!",  "content_filter!",  1),
    # Broken answers. One that breaks before its first character is as good as none.
    Fault("reset",              "connection",       "connection",       2),
    Fault("reset:7",            "cut",              "cut!",             2),
    Fault("cut:0",              "cut",              "cut",              2),
    Fault("cut:7",              "cut",              "cut!",             2),
    Fault("short",              "cut",              "cut!",             2),
    Fault("long",               "malformed",        "cut!",             2, {"http astream": "malformed"}),
    Fault("utf8",               "malformed",        "cut!",             2),
    Fault("malformed",          "malformed",        "malformed",        2),
    Fault("malformed:7",        "malformed",        "malformed!",       2),
    Fault("html",               "malformed",        "malformed",        2),
    Fault("empty",              "empty",            "empty",            2),
    Fault("nochoices",          "empty",            "empty",            2,
          {"openai completion": "malformed", "gemini stream": "cut"}),
    Fault("error200",           "server_error",     "server_error",     2,
          {"anthropic": "overloaded", "gemini": "overloaded"}),
    Fault("error200:7",         "server_error",     "server_error!",    2,
          {"anthropic completion": "overloaded", "anthropic stream": "overloaded!",
           "gemini completion": "overloaded", "gemini stream": "overloaded!"}),
    # Silence. Who was silent once is not asked again.
    Fault("timeout",            "timeout",          "timeout",          1, limits=(ATTEMPT, FIRST_TOKEN)),
    Fault("silent",             "timeout",          "timeout",          1, limits=(ATTEMPT, FIRST_TOKEN)),
    Fault("slow:60",            "timeout",          "timeout",          1, limits=(ATTEMPT, FIRST_TOKEN)),
    Fault("stall:0",            "timeout",          "timeout",          1, limits=(ATTEMPT, FIRST_TOKEN)),
    Fault("stall:7",            "timeout",          "timeout!",         1, limits=(ATTEMPT, IDLE)),
    Fault("trickle:0.02",       "timeout",          "timeout",          1, limits=(ATTEMPT, ATTEMPT)),
    # Too much.
    Fault("endless",            "malformed",        "malformed!",       2),
    Fault("line",               "answer",           "malformed",        2),
    Fault("big",                "malformed",        "malformed",        2),
    Fault("bomb",               "malformed",        "malformed",        2),
    Fault("header",             "malformed",        "malformed",        2),
    Fault("headers",            "malformed",        "malformed",        2),
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """A fault on a wire by one of the four calls, and what it comes to there."""

    fault: Fault
    wire: str
    path: str
    lenient: bool = False
    """Whether the policy goes on where the default one ends the call."""

    def __str__(self) -> str:
        prefilled = "prefilled-" if self.fault.prompt is PREFILLED else ""
        return f"{prefilled}{self.fault.script}-{self.wire}-{self.path}{'-lenient' if self.lenient else ''}"

    @property
    def streams(self) -> bool:
        return self.path in {"stream", "astream"}

    @property
    def limit(self) -> str | None:
        """The limit of time that ends the faulty model's silence, where it is silent."""
        return self.fault.limits[self.streams] if self.fault.limits is not None else None

    @property
    def _told(self) -> str:
        kind = "stream" if self.streams else "completion"
        wires = {"sim", "openai"} if self.wire == "sim" else {"http", self.wire}
        here = {*wires, self.path, kind}
        exceptions = [told for where, told in self.fault.but.items() if set(where.split()) <= here]
        return exceptions[0] if exceptions else getattr(self.fault, kind)

    @property
    def answers(self) -> bool:
        """Whether the faulty model itself answers in the end."""
        return self._told.endswith("answer")

    @property
    def reasons(self) -> list[str]:
        """Why its attempts failed."""
        if self.answers:
            return self._told.split(", ")[:-1]
        return [self._told.removesuffix("!")] * (1 if self.ends_the_call else self.fault.tries)

    @property
    def ends_the_call(self) -> bool:
        return self.may_end_the_call and not self.lenient

    @property
    def may_end_the_call(self) -> bool:
        return self._told.endswith("!")

    @property
    def tries(self) -> int:
        """How often the faulty model is asked in the first call."""
        return len(self.reasons) + self.answers

    @property
    def recovers(self) -> bool:
        """Whether the faulty model is well again after the first call."""
        return "+" not in self.fault.script and self.fault.script not in {"503x5", "flap"}

    @property
    def model(self) -> str:
        """The faulty model's name."""
        script = self.fault.script
        return f"{script}x{self.tries}+{RECOVERED_SCRIPT}" if self.recovers else script

    @property
    def waits(self) -> list[float]:
        """The seconds between the attempts."""
        wait = RETRY_AFTER if self.fault.script == f"429:{RETRY_AFTER}" else BACKOFF
        return [wait] * (self.tries - 1)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """What is recorded of the first call: which model, the outcome, kind and reason."""
        failed = [("faulty", "retry", KINDS[reason], reason) for reason in self.reasons]
        if self.answers:
            return [*failed, ("faulty", "ok", "", "")]
        *retries, (_, _, kind, reason) = failed
        if self.ends_the_call:
            ended = "exhausted" if reason == "content_filter" else "interrupted"
            return [*retries, ("faulty", ended, kind, reason)]
        return [*retries, ("faulty", "failover", kind, reason), ("healthy", "ok", "", "")]


CASES = [Case(fault, wire, path) for fault in FAULTS for wire in WIRES for path in PATHS]
LENIENT = [replace(case, lenient=True) for case in CASES if case.may_end_the_call]

EVERYTHING = [*CASES, *LENIENT]

IN_PROCESS = [Case(fault, "sim", path) for fault in FAULTS for path in PATHS]
