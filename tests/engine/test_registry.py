"""Names to providers and specs to models: what is read, what is refused, who may add to it."""

from __future__ import annotations

import dataclasses
import functools
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from llm_failover_nb.engine import (
    alias_sources,
    builtin_providers,
    provider_sources,
    withheld_sources,
)
from llm_failover_nb.engine import secret as secret_module
from llm_failover_nb.engine.errors import ChainSpecError, FailoverError
from llm_failover_nb.engine.registry import ENTRY_POINTS, ProviderInfo, SpecRegistry, _loaded
from llm_failover_nb.engine.secret import MASK, Secret
from llm_failover_nb.engine.types import Chunk, Response


class Echo:
    """Answers with the model's name."""

    def complete(self, request):
        return Response(request.model)

    def stream(self, request):
        yield Chunk(request.model)


@pytest.fixture
def registry():
    one = SpecRegistry()
    one.register("lab", Echo())
    return one


def refusal(read, *given):
    with pytest.raises(ChainSpecError) as caught:
        read(*given)
    return str(caught.value)


# Specs


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("lab/a", ["lab/a"]),
        ("lab/a,lab/b", ["lab/a", "lab/b"]),
        (" lab/a , ,lab/b,, ", ["lab/a", "lab/b"]),
        ("lab/a\n,\tlab/b", ["lab/a", "lab/b"]),
        ("lab/a,lab/a", ["lab/a", "lab/a"]),
        ("openrouter/meta/llama", ["openrouter/meta/llama"]),
        ("", []),
        (" , ,", []),
    ],
)
def test_a_chains_text_is_its_specs(registry, text, specs):
    """Blanks are skipped, spaces trimmed, duplicates kept."""
    assert registry.expand(text) == specs


@pytest.mark.parametrize("part", ["gpt", "lab/", "/gpt", "/"])
def test_a_part_that_is_no_spec_is_refused(registry, part):
    """The error names it and shows a spec."""
    assert refusal(registry.expand, f"lab/a,{part}").startswith(f"{part!r} is no spec: write provider/model")


def test_a_model_is_read_whole(registry):
    """The provider ends at the first slash; the spec is kept as the key."""
    model = registry.model(" lab/meta/llama ")
    assert (model.spec, model.name, model.complete("hi").text) == ("lab/meta/llama",) + ("meta/llama",) * 2


@pytest.mark.parametrize("spec", ["lab", "lab/", "/a", "", " "])
def test_a_spec_without_a_model_is_refused(registry, spec):
    """The error names what was given."""
    assert refusal(registry.model, spec).startswith(f"{spec.strip()!r} is no spec: write provider/model")


# Providers


def test_a_registered_provider_is_used(registry):
    """The very object."""
    provider = Echo()
    registry.register("mine", provider)
    assert (registry.provider("mine"), registry.model("mine/a").provider) == (provider, provider)


def test_a_replaced_provider_counts_from_now_on(registry):
    """Models that exist keep theirs."""
    before, new = registry.model("lab/a"), Echo()
    registry.register("lab", new)
    assert (registry.model("lab/a").provider is new, before.provider is new) == (True, False)


def test_a_builtin_provider_can_be_replaced(registry, monkeypatch):
    """One's own name wins."""
    monkeypatch.setitem(builtin_providers, "lab-builtin", "nowhere:make")
    provider = Echo()
    registry.register("lab-builtin", provider)
    assert registry.provider("lab-builtin") is provider


def test_a_builtin_provider_is_made_once_when_first_named(registry, monkeypatch):
    """Its factory is called with the name."""
    module = type(sys)("lab_builtin_module")
    made = []
    module.make = lambda name: made.append(name) or Echo()
    monkeypatch.setitem(sys.modules, "lab_builtin_module", module)
    monkeypatch.setitem(builtin_providers, "lab-builtin", "lab_builtin_module:make")
    listed = "lab-builtin" in registry.names()
    first = registry.provider("lab-builtin")
    assert (registry.provider("lab-builtin") is first, made, listed) == (True, ["lab-builtin"], True)


def test_names_are_sorted_and_hold_ones_own(registry):
    """Built-in ones and registered ones."""
    registry.register("aaa", Echo())
    assert registry.names() == sorted({"aaa", "lab", *builtin_providers})


def test_registries_are_apart(registry):
    """What one knows, another does not."""
    registry.register("only-here", Echo())
    assert "only-here" not in SpecRegistry().names()


def test_an_unknown_provider_names_the_nearest(registry):
    """With the spec in which it stands."""
    assert refusal(registry.model, "lap/a") == (
        "'lap/a': unknown provider 'lap'; did you mean 'lab'? register_provider and the settings add others"
    )


def test_an_unknown_provider_like_none_lists_the_known(registry, monkeypatch):
    """Where nothing is near."""
    for name in list(builtin_providers):
        monkeypatch.delitem(builtin_providers, name)
    assert refusal(registry.provider, "qqqqqq") == (
        "unknown provider 'qqqqqq'; known are lab; register_provider and the settings add others"
    )


@pytest.mark.parametrize("name", ["", "a/b", "a,b", "a b", "a\tb", "a\nb", " "])
def test_a_name_that_could_not_stand_in_a_spec_is_refused(registry, name):
    """For providers and aliases alike."""
    with pytest.raises(ValueError, match="is no name for a provider: give it one without slash, comma or"):
        registry.register(name, Echo())
    with pytest.raises(ValueError, match="is no name for an alias: give it one without slash, comma or"):
        registry.alias(name, "lab/a")


def test_what_is_no_provider_is_refused(registry):
    """At once, not at the first call; the name stays free."""
    with pytest.raises(TypeError, match="object is no provider"):
        registry.register("mine", object())
    assert "mine" not in registry.names()


# Sources, such as the user's settings


class Source:
    """Offers providers by name, and counts how often it is looked at."""

    def __init__(self):
        self.makers = {}
        self.looks = 0

    def look(self):
        self.looks += 1
        return dict(self.makers)


@pytest.fixture
def source(monkeypatch):
    """The only source there is."""
    module = type(sys)("lab_source_module")
    one = Source()
    module.look = one.look
    monkeypatch.setitem(sys.modules, "lab_source_module", module)
    monkeypatch.setitem(provider_sources, "settings", "lab_source_module:look")
    return one


def test_a_source_is_looked_at_when_a_name_is_first_asked_for(registry, source):
    """Once for each name, and never for one that was registered."""
    source.makers = {"here": Echo, "there": Echo}
    before = source.looks
    first = registry.provider("here")
    assert (registry.provider("here") is first, before, source.looks) == (True, 0, 1)
    registry.provider("there")
    registry.provider("lab")
    assert source.looks == 2


def test_making_the_registry_looks_nowhere(source):
    """Nor does registering."""
    SpecRegistry().register("mine", Echo())
    assert source.looks == 0


def test_a_source_wins_over_a_builtin_name(registry, source):
    """Where it is not registered."""
    source.makers = {"openai": Echo}
    assert type(registry.provider("openai")) is Echo


def test_what_is_registered_wins_over_a_source(registry, source):
    """Before the name was asked for and after."""
    source.makers = {"lab": object, "here": Echo}
    given, late = registry.provider("lab"), Echo()
    registry.provider("here")
    registry.register("here", late)
    assert (type(given), registry.provider("here")) == (Echo, late)


@pytest.mark.usefixtures("installed")
def test_a_source_wins_over_an_installed_provider(registry, source):
    """As every other place does."""
    source.makers = {"plug-ready": Echo}
    assert type(registry.provider("plug-ready")) is Echo


def test_names_hold_those_of_a_source(registry, source):
    """Sorted in among the others."""
    source.makers = {"aaa": Echo}
    assert registry.names() == sorted({"aaa", "lab", *builtin_providers})


def test_a_misspelt_name_may_be_near_to_one_of_a_source(registry, source):
    """In a spec, and where the model was left out."""
    source.makers = {"workbench": Echo}
    assert "did you mean 'workbench'?" in refusal(registry.model, "workbnech/a")
    assert "such as workbench/model-name" in refusal(registry.expand, "workbnech")


def test_the_error_of_a_source_passes(registry, source):
    """What is wrong with the settings is told, not taken for an unknown name."""

    class SettingsWrong(FailoverError):
        pass

    def refuse():
        raise SettingsWrong("line 3")

    source.makers = {"here": refuse}
    with pytest.raises(SettingsWrong, match="line 3"):
        registry.model("here/a")
    sys.modules["lab_source_module"].look = refuse
    with pytest.raises(SettingsWrong, match="line 3"):
        registry.names()


def test_a_forgotten_provider_is_made_anew(registry, source):
    """From what the source says then; models that exist keep theirs."""
    source.makers = {"here": Echo}
    before = registry.model("here/a")
    registry.forget("here")
    after = registry.model("here/a")
    assert (before.provider is after.provider, registry.provider("here")) == (False, after.provider)


def test_a_forgotten_provider_is_not_closed(registry, source):
    """Chains that exist have it still."""

    class Closing(Echo):
        closed = False

        def close(self):
            self.closed = True

    source.makers = {"here": Closing}
    provider = registry.provider("here")
    registry.forget("here")
    assert not provider.closed


def test_a_forgotten_provider_may_be_gone(registry, source):
    """Then the name is what it was before: here a built-in one's, there nobody's."""
    source.makers = {"openai": Echo, "here": Echo}
    registry.provider("openai")
    registry.provider("here")
    source.makers = {}
    registry.forget("openai")
    registry.forget("here")
    assert (type(registry.provider("openai")) is Echo, "here" in registry.names()) == (False, False)


def test_what_was_registered_is_not_forgotten(registry):
    """Nor is a name that nobody knows an error."""
    provider = registry.provider("lab")
    registry.forget("lab")
    registry.forget("nobody")
    assert registry.provider("lab") is provider


# All providers


class Hosted(Echo):
    """Says all there is to say."""

    wire = "ollama"
    base_url = "https://llm.example.org/v1"
    key_env = "LAB_KEY"
    missing_key = "LAB_KEY"


def infos(registry):
    return {info.name: info for info in registry.providers()}


def test_providers_are_told_by_name(registry, source):
    """Each with where it comes from."""
    source.makers = {"here": Hosted}
    told = infos(registry)
    assert list(told) == sorted({"lab", "here", *builtin_providers})
    assert [told[name].source for name in ("lab", "here", "openai")] == ["registered", "settings", "built in"]


@pytest.mark.usefixtures("installed")
def test_installed_providers_are_told_too(registry):
    """With the name of their entry point."""
    assert infos(registry)["plug-ready"] == ProviderInfo("plug-ready", "", "", None, "", "installed")


@pytest.mark.usefixtures("installed")
def test_an_installed_provider_that_is_not_used_is_not_told(registry, source):
    """Its name is another's."""
    source.makers = {"plug-ready": Echo}
    told = infos(registry)
    assert [told[name].source for name in ("plug-ready", "lab")] == ["settings", "registered"]


def test_a_provider_is_told_as_it_stands(registry):
    """Wire, address, the variable of its key, and what is missing."""
    registry.register("mine", Hosted())
    expected = ProviderInfo(
        "mine", "ollama", "https://llm.example.org/v1", "LAB_KEY", "LAB_KEY", "registered"
    )
    assert infos(registry)["mine"] == expected


def test_a_provider_that_says_nothing_is_told_too(registry):
    """It needs nothing."""
    assert infos(registry)["lab"] == ProviderInfo("lab", "", "", None, "", "registered")


def test_what_is_told_of_a_provider_is_frozen(registry):
    """It is a moment's picture."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        infos(registry)["lab"].missing = "nothing"


def test_one_look_tells_all(registry, source):
    """However many there are; and what it made is what is used."""
    source.makers = {"here": Echo, "there": Echo}
    registry.providers()
    looks = source.looks
    registry.provider("here")
    assert (looks, source.looks) == (1, 1)


def test_a_provider_keeps_its_source(registry, source):
    """One that was made before the source knew the name is what is used, and is told as such."""
    registry.provider("openai")
    source.makers = {"openai": Echo}
    assert infos(registry)["openai"].source == "built in"


def test_a_provider_that_cannot_be_made_is_told_with_its_error(registry, source, monkeypatch):
    """In one line, keys masked; the others are told as ever."""
    monkeypatch.setattr(secret_module, "_forms", ())
    key = Secret("sk-canary-of-the-registry")

    def refuse():
        raise ValueError(f"no such\nhost: {key.reveal()}")

    source.makers = {"here": refuse}
    told = infos(registry)
    said = ProviderInfo("here", "", "", None, f"no such host: {MASK}", "settings")
    assert (told["here"], told["lab"].missing) == (said, "")


def test_a_provider_that_cannot_tell_is_told_with_its_error(registry):
    """An error without words is told by its type."""

    class Silent(Echo):
        @property
        def missing_key(self):
            raise KeyError

    registry.register("silent", Silent())
    assert infos(registry)["silent"] == ProviderInfo("silent", "", "", None, "KeyError", "registered")


# The provider's own check of a name


def test_a_provider_is_asked_whether_it_knows_the_name(registry):
    """With the bare name, when the model is made."""
    asked = []

    class Checks(Echo):
        def check(self, name):
            asked.append(name)

    registry.register("mine", Checks())
    registry.model("mine/meta/llama")
    assert asked == ["meta/llama"]


def test_a_provider_may_refuse_a_name(registry):
    """Its own error passes."""

    class Refuses(Echo):
        def check(self, name):
            raise ChainSpecError(f"no model {name!r}")

    registry.register("mine", Refuses())
    assert refusal(registry.model, "mine/a") == "no model 'a'"


# Aliases


def test_an_alias_stands_for_a_spec(registry):
    """It resolves before anything is keyed by it."""
    registry.alias("fast", "lab/small")
    assert registry.expand("fast") == ["lab/small"]


def test_an_alias_stands_for_a_chain(registry):
    """Spliced in flat, other aliases within it, too."""
    registry.alias("fast", "lab/small, lab/tiny")
    registry.alias("all", "lab/big, fast,")
    assert registry.expand("all,lab/z, fast") == [
        "lab/big", "lab/small", "lab/tiny", "lab/z", "lab/small", "lab/tiny",
    ]  # fmt: skip


def test_an_alias_may_come_twice(registry):
    """Twice is no circle."""
    registry.alias("fast", "lab/small")
    registry.alias("all", "fast,fast")
    assert registry.expand("all") == ["lab/small", "lab/small"]


def test_an_alias_can_be_set_anew(registry):
    """The last one counts."""
    registry.alias("fast", "lab/small")
    registry.alias("fast", "lab/tiny")
    assert (registry.expand("fast"), registry.aliases()) == (["lab/tiny"], {"fast": "lab/tiny"})


def test_the_aliases_are_a_copy(registry):
    """Changing it changes nothing."""
    registry.aliases()["fast"] = "lab/small"
    assert registry.aliases() == {}


@pytest.mark.parametrize(
    ("aliases", "way"),
    [
        ({"a": "a"}, "'a' stands for itself: a -> a"),
        ({"a": "b", "b": "lab/x,a"}, "'a' stands for itself: a -> b -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "'b' stands for itself: a -> b -> c -> b"),
    ],
)
def test_aliases_in_a_circle_are_refused(registry, aliases, way):
    """The error shows the way round."""
    for name, target in aliases.items():
        registry.alias(name, target)
    assert refusal(registry.expand, "a") == f"alias {way}"


@pytest.mark.parametrize("text", ["lab/x, all", "lab/x, part"])
def test_a_chain_that_is_to_have_a_name_may_not_hold_it(registry, text):
    """Neither itself nor within another alias; what it stands for now makes no difference."""
    registry.alias("all", "lab/small")
    registry.alias("part", "all, lab/tiny")
    assert "alias 'all' stands for itself" in refusal(functools.partial(registry.expand, within="all"), text)


def test_a_misspelt_alias_names_the_nearest(registry):
    """It has no slash, so it was meant as one."""
    registry.alias("fast", "lab/small")
    assert refusal(registry.expand, "fats") == "'fats' is neither a spec nor an alias: did you mean 'fast'?"


def test_a_bad_part_within_an_alias_is_refused(registry):
    """When it is used."""
    registry.alias("fast", "lab")
    assert refusal(registry.expand, "fast").startswith("'lab' is no spec")


# Aliases of sources, and what sources withhold


@pytest.fixture
def named(monkeypatch):
    """The only source of aliases there is."""
    return _only_source(monkeypatch, alias_sources, "names_source_module")


@pytest.fixture
def withheld(monkeypatch):
    """The only source of what does not count there is."""
    return _only_source(monkeypatch, withheld_sources, "withheld_source_module")


def _only_source(monkeypatch, sources, name):
    module = type(sys)(name)
    one = Source()
    module.look = one.look
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sources, "settings", f"{name}:look")
    return one


def test_a_source_says_what_a_name_stands_for(registry, named):
    """Names of sources and of the registry within each other, too."""
    named.makers = {"fast": "lab/small, lab/tiny", "all": "mine, lab/z"}
    registry.alias("mine", "fast, lab/big")
    assert registry.expand("all") == ["lab/small", "lab/tiny", "lab/big", "lab/z"]


def test_the_registrys_own_alias_wins_over_a_source(registry, named):
    """And gives way to it again when it is forgotten."""
    named.makers = {"fast": "lab/small"}
    registry.alias("fast", "lab/tiny")
    before = registry.expand("fast"), registry.own_alias("fast")
    registry.unalias("fast")
    assert before == (["lab/tiny"], "lab/tiny")
    assert (registry.expand("fast"), registry.own_alias("fast")) == (["lab/small"], None)


def test_a_source_of_aliases_is_looked_at_for_its_names_alone(registry, named):
    """Never for a spec or an alias of the registry's, and once however many names there are."""
    registry.alias("own", "lab/small")
    registry.expand("lab/big, own")
    before = named.looks
    named.makers = {"fast": "lab/small", "good": "fast"}
    registry.expand("fast, good, fast")
    assert (before, named.looks) == (0, 1)


def test_the_aliases_of_a_source_are_listed(registry, named):
    """Beside the registry's own, which win."""
    named.makers = {"fast": "lab/small", "good": "lab/big"}
    registry.alias("fast", "lab/tiny")
    assert registry.aliases() == {"fast": "lab/tiny", "good": "lab/big"}


def test_aliases_of_a_source_in_a_circle_are_refused(registry, named):
    """As the registry's own are."""
    named.makers = {"a": "b"}
    registry.alias("b", "a")
    assert refusal(registry.expand, "a") == "alias 'a' stands for itself: a -> b -> a"


def test_a_misspelt_alias_of_a_source_names_the_nearest(registry, named):
    """As with the registry's own."""
    named.makers = {"fast": "lab/small"}
    assert refusal(registry.expand, "fats").endswith("did you mean 'fast'?")


def test_a_provider_that_does_not_count_says_why(registry, withheld):
    """Instead of being unknown."""
    withheld.makers = {"there": "defined in a file, which is not trusted"}
    said = "'there/a': the provider 'there' is defined in a file, which is not trusted"
    assert refusal(registry.model, "there/a") == said


def test_a_name_that_does_not_count_says_why(registry, withheld):
    """Where one without a slash is asked for."""
    withheld.makers = {"fast": "defined in a file, which is not trusted"}
    assert refusal(registry.expand, "fast") == "'fast' is defined in a file, which is not trusted"


def test_what_does_not_count_hides_nothing_that_does(registry, withheld):
    """A provider or an alias that is known is used, and nobody asks what else has its name."""
    withheld.makers = {"lab": "not trusted", "openai": "not trusted", "fast": "not trusted"}
    registry.alias("fast", "lab/a")
    assert (registry.model(registry.expand("fast")[0]).spec, withheld.looks) == ("lab/a", 0)


@pytest.mark.usefixtures("installed")
def test_what_does_not_count_hides_no_installed_provider(registry, withheld):
    """Nor one that another package brings."""
    withheld.makers = {"plug-ready": "not trusted"}
    assert registry.model("plug-ready/a").spec == "plug-ready/a"


# Providers that install themselves


MODULE = """
    class Provider:
        made = 0

        def __init__(self):
            type(self).made += 1

        def complete(self, request):
            return "answer"

        def stream(self, request):
            return iter(())

    class AsyncProvider:
        async def acomplete(self, request):
            return "answer"

        async def astream(self, request):
            yield "answer"

    ready = Provider()
    ready_async = AsyncProvider()

    def make():
        return Provider()

    def fails():
        return 1 / 0

    def number():
        return 3
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder as an installer leaves it: a module and its entry points."""
    (tmp_path / "lab_plugin_module.py").write_text(textwrap.dedent(MODULE))
    info = tmp_path / "lab_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-plugin\nVersion: 1.0\n")
    points = ["Provider", "ready", "ready_async", "make", "missing", "fails", "number"]
    lines = [f"plug-{name} = lab_plugin_module:{name}" for name in points]
    lines.append("lab = lab_plugin_module:missing")
    (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("lab_plugin_module", None)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plug-Provider", "Provider"),
        ("plug-ready", "Provider"),
        ("plug-ready_async", "AsyncProvider"),
        ("plug-make", "Provider"),
    ],
    ids=["class", "object", "asynchronous object", "function"],
)
def test_an_installed_provider_is_found(registry, name, kind):
    """A provider, or what makes one."""
    provider = registry.provider(name)
    assert (type(provider).__name__, registry.model(f"{name}/a").provider) == (kind, provider)


@pytest.mark.usefixtures("installed")
def test_an_installed_provider_is_made_once(registry):
    """Like a built-in one."""
    assert registry.provider("plug-make") is registry.provider("plug-make")


@pytest.mark.usefixtures("installed")
def test_an_installed_provider_does_not_replace_a_known_one(registry):
    """Entry points are looked at for other names alone."""
    assert type(registry.provider("lab")) is Echo


@pytest.mark.usefixtures("installed")
def test_an_installed_provider_does_not_replace_a_builtin_one(registry, monkeypatch):
    """Nor is one that nobody has named yet looked for among the entry points."""
    module = type(sys)("lab_builtin_module")
    module.make = lambda name: Echo()
    monkeypatch.setitem(sys.modules, "lab_builtin_module", module)
    monkeypatch.setitem(builtin_providers, "plug-ready", "lab_builtin_module:make")
    assert type(registry.provider("plug-ready")) is Echo


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("plug-missing", "AttributeError: module 'lab_plugin_module' has no attribute 'missing'"),
        ("plug-fails", "ZeroDivisionError: division by zero"),
        ("plug-number", "TypeError: int is no provider: it needs complete(request) and stream(request), or"),
    ],
)
def test_an_installed_provider_that_cannot_be_used_says_so(registry, name, cause):
    """The error names the package and the cause, and what to do; the cause itself is kept."""
    said = refusal(registry.model, f"{name}/a")
    assert said.startswith(
        f"'{name}/a': the provider '{name}' of the package lab-plugin cannot be used: {cause}"
    )
    assert said.endswith("; update that package, or uninstall it")
    with pytest.raises(ChainSpecError) as caught:
        registry.model(f"{name}/a")
    assert type(caught.value.__cause__).__name__ == cause.partition(":")[0]


@pytest.mark.usefixtures("installed")
def test_an_installed_provider_that_cannot_be_used_is_listed(registry):
    """With that error."""
    told = infos(registry)["plug-fails"]
    said = "the provider 'plug-fails' of the package lab-plugin cannot be used: ZeroDivisionError"
    assert (told.source, told.missing.startswith(said)) == ("installed", True)


def test_an_installed_provider_of_no_package_is_named_by_its_module():
    """Such as one of a folder on the path without metadata of its own."""
    with pytest.raises(ChainSpecError, match="of the package lab_nowhere_module cannot be used"):
        _loaded(EntryPoint("x", "lab_nowhere_module:provider", ENTRY_POINTS))


def test_of_two_installed_providers_the_first_is_used(registry, tmp_path, monkeypatch):
    """In the order of the path."""
    for place in ("second", "first"):
        info = tmp_path / place / f"{place}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {place}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\ntwice = lab_{place}_of_two:x\n")
        monkeypatch.syspath_prepend(tmp_path / place)
    assert "of the package first cannot be used" in refusal(registry.provider, "twice")


def test_an_alias_can_be_forgotten():
    """One that is none is nothing to forget."""
    registry = SpecRegistry()
    registry.alias("fast", "sim/echo")
    registry.unalias("fast")
    registry.unalias("fast")
    assert registry.aliases() == {}


def test_a_bare_provider_is_shown_with_a_model():
    """The example is the provider that was meant."""
    for text in ("sim", "simm"):
        with pytest.raises(ChainSpecError, match="such as sim/model-name"):
            SpecRegistry().expand(text)
