from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from hydra.core.object_type import ObjectType

from microbench.cli import list as listing
from microbench.errors import StoppedError, UserError
from microbench.options import libraries
from microbench.options.compose import from_options
from microbench.options.libraries import LIBRARIES, LibrarySource

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that makes a library missing."""
    found = libraries.find_spec
    gone: set[str] = set()
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name in gone else found(name))

    def hide(name: str) -> None:
        gone.add(name)
        libraries.models.cache_clear()

    yield hide
    libraries.models.cache_clear()


@needs_timm
def test_the_names_are_those_that_timm_registers() -> None:
    import timm

    assert libraries.models("timm") == frozenset(timm.list_models())


@needs_transformers
def test_the_names_are_the_classes_of_transformers_configurations() -> None:
    from transformers import CONFIG_MAPPING

    known = libraries.models("transformers") or frozenset()
    assert {"BertConfig", "GPT2Config", "LlamaConfig", "WhisperConfig"} <= known
    assert {each.__name__ for _, each in CONFIG_MAPPING.items()} <= known


@needs_timm
def test_a_model_of_a_library_is_its_name_and_its_own_shape() -> None:
    (case,) = from_options({"model": "timm/resnet50"}, sweep=False)
    assert (case.config.model.source, case.config.model.name) == ("timm", "timm/resnet50")
    assert case.config.model.input_shape == []


@needs_timm
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "timm/resnt50",
            r"^Unknown model 'timm/resnt50'. Did you mean timm/resnet50, .* `microbench list timm`$",
        ),
        ("swin_large_patch4_window7_224", "Did you mean timm/swin_large_patch4_window7_224?"),
        ("vgg61", r"Did you mean vgg16, .* `microbench list models layers`$"),
    ],
)
def test_a_wrong_name_gets_the_nearest(given: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        from_options({"model": given}, sweep=False)


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_the_library_any_name_is_accepted(library: str, missing: Callable[[str], None]) -> None:
    missing(library)
    source = LibrarySource("catalog", f"library://{library}")
    assert source.is_config(f"model/{library}/anything")
    assert not source.is_config(f"model/{library}/")
    assert source.list(f"model/{library}", ObjectType.CONFIG) == []


def test_names_of_a_missing_library_are_not_listed(missing: Callable[[str], None]) -> None:
    missing("timm")
    with pytest.raises(StoppedError, match=r"^timm is not installed: pip install "):
        listing.names("timm")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_without_models_is_a_broken_installation(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "models", lambda library: frozenset())
    told = f"^The installation of {library} is broken, .*`pip uninstall {library}`, then `pip install "
    with pytest.raises(StoppedError, match=told):
        listing.names(library)
    with pytest.raises(StoppedError, match=told):
        from_options({"model": f"{library}/any_name"}, sweep=False)


def test_a_source_has_the_models_of_its_library_alone() -> None:
    source = LibrarySource("catalog", "library://timm")
    assert source.list("model", None) == ["timm"]
    assert source.list("", ObjectType.GROUP) == ["model"]
    assert source.list("model", ObjectType.CONFIG) == source.list("device", None) == []
    assert source.is_group("model/timm")
    assert not source.is_group("model/transformers")
    assert not source.is_config("model/resnet50")
