from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from microbench import workloads
from microbench.config import ModelConfig
from microbench.distribution import CONF
from microbench.errors import SkippedError, UserError
from microbench.options.compose import from_options
from microbench.watch.tensors import tensors
from microbench.workloads import Workload, library

CPU = torch.device("cpu")
TINY = {"num_hidden_layers": 1, "vocab_size": 60}
FEW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
WHISPER = {
    "encoder_layers": 1,
    "decoder_layers": 1,
    "d_model": 16,
    "vocab_size": 60,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_source_positions": 10,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
}
MODELS: dict[str, tuple[dict[str, Any], str, str, str, int | None]] = {
    # Values that make a model tiny, the shapes of its inputs, its output, what is counted, and how many.
    "BertConfig": (TINY | FEW, "2x8", "2x8x60", "tokens", 16),
    "DistilBertConfig": (
        {"n_layers": 1, "dim": 16, "n_heads": 2, "vocab_size": 60},
        "2x8",
        "2x8x60",
        "tokens",
        16,
    ),
    "GPT2Config": (
        {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 60},
        "2x8",
        "2x8x60",
        "tokens",
        16,
    ),
    "LlamaConfig": (TINY | FEW, "2x8", "2x8x60", "tokens", 16),
    "Qwen2Config": (TINY | FEW | {"num_key_value_heads": 2}, "2x8", "2x8x60", "tokens", 16),
    "T5Config": (
        {"num_layers": 1, "d_model": 16, "num_heads": 2, "d_kv": 8, "vocab_size": 60},
        *("2x8, 2x8", "2x8x60", "tokens", 16),
    ),
    "ViTConfig": (
        {"num_hidden_layers": 1, "image_size": 32, **FEW},
        *("2x3x32x32", "2x10", "images", None),
    ),
    "WhisperConfig": (WHISPER, "2x80x20, 2x8", "2x8x60", "clips", None),
}


def built(name: str, training: bool = False, **more: Any) -> Workload:
    pytest.importorskip("transformers")
    options = {
        "config_class": name,
        "config": MODELS[name][0],
        "input_shape": [],
        "num_classes": 10,
        "seq_len": 8,
        **more,
    }
    config = ModelConfig("transformers", f"transformers/{name}", **options)
    return workloads.build(config, 2, CPU, training, seed=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_on_inputs_of_its_configuration(name: str) -> None:
    _, shapes, shape, item, items = MODELS[name]
    workload = built(name, training=True)
    assert (workload.shape(), workload.item, workload.items) == (shapes, item, items)
    output = workload.module(*workload.inputs)
    assert "x".join(map(str, output.logits.shape)) == shape
    loss = workload.objective(output)
    assert loss.isfinite()
    workload.objective.backward(loss)
    assert any(each.grad is not None for each in workload.module.parameters())


def test_a_decoder_predicts_the_following_token() -> None:
    workload = built("GPT2Config", training=True)
    (tokens,) = workload.inputs
    logits = torch.randn(2, 8, 60)
    labels = workload.objective._labels.view(2, 8)  # type: ignore[attr-defined]
    assert torch.equal(labels[:, :-1], tokens[:, 1:])
    assert workload.objective({"logits": logits}) == cross_entropy(logits.flatten(0, 1), labels.flatten())


def test_masked_language_modelling_predicts_some_tokens() -> None:
    labels = built("BertConfig", training=True, seq_len=100).objective._labels  # type: ignore[attr-defined]
    share = (labels >= 0).double().mean()
    assert 0.05 < share < 0.3
    assert labels.max() < 60


def test_a_model_without_a_head_starts_backward_from_ones() -> None:
    workload = built("BertConfig", training=True, task="features")
    assert not workload.objective.is_loss
    output = workload.module(*workload.inputs)
    assert [tuple(each.shape) for each in tensors(output)] == [(2, 8, 16), (2, 16)]


def test_text_can_be_classified() -> None:
    workload = built("BertConfig", training=True, task="classification")
    output = workload.module(*workload.inputs)
    assert output.logits.shape == (2, 10)
    assert workload.objective(output).isfinite()


def test_a_decoder_keeps_no_cache() -> None:
    workload = built("LlamaConfig")
    assert [tuple(each.shape) for each in tensors(workload.module(*workload.inputs))] == [(2, 8, 60)]


def test_arguments_reach_transformers() -> None:
    workload = built("BertConfig", kwargs={"attn_implementation": "eager"})
    assert workload.module.config._attn_implementation == "eager"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"config_class": "BertConfg"}, r"^Unknown model.config_class 'BertConfg'. Did you mean BertConfig"),
        (
            {"config": {"num_hiden_layers": 1}},
            "^Unknown key of BertConfig 'num_hiden_layers'. Did you mean num_hidden",
        ),
        ({"config": {"num_hidden_layers": "two"}}, "BertConfig does not take .*expected int, got str"),
        (
            {"config": {"num_attention_heads": 0}},
            "BertConfig does not take .*: ZeroDivisionError",
        ),
        ({"config": {"hidden_size": 15}}, r"does not take model.config=\{'hidden_size': 15\}.*multiple"),
        (
            {"seq_len": 513},
            "^model.seq_len=513: .* has positions for 512 .model.config.max_position_embeddings",
        ),
        ({"task": "seq2seq"}, "^model.task=seq2seq: .* BertConfig; give masked_lm or causal_lm or"),
    ],
)
def test_what_cannot_be_built_is_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        built("BertConfig", **options)


def test_an_input_of_unknown_size_is_asked_for() -> None:
    pytest.importorskip("transformers")
    config = ModelConfig("transformers", "resnet", input_shape=[], config_class="ResNetConfig")
    with pytest.raises(UserError) as caught:
        workloads.build(config, 2, CPU, False, seed=0)
    assert str(caught.value) == (
        "ResNetConfig does not say num_channels and image_size, the size of pixel_values: give "
        "model.input_shape."
    )
    assert workloads.build(replace(config, input_shape=[3, 32, 32]), 2, CPU, False, 0).shape() == "2x3x32x32"


def test_without_transformers_the_case_is_skipped_with_the_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    config = ModelConfig("transformers", "transformers/gpt2", input_shape=[])
    with pytest.raises(
        SkippedError, match=r"^model=transformers/gpt2 needs transformers: pip install .*\[transformers\]"
    ):
        workloads.build(config, 2, CPU, False, seed=0)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("model/transformers/*.yaml")))
def test_the_values_of_each_file_are_those_of_a_configuration(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    (case,) = from_options({"model": f"transformers/{name}"}, sweep=False)
    model = case.config.model
    assert model.name == f"transformers/{name}"
    settings = getattr(transformers, model.config_class or "")(**model.config)
    assert model.config.items() <= settings.to_dict().items()
    if len(model.input_shape) == 3 and hasattr(settings, "image_size"):
        assert model.input_shape == [settings.num_channels, settings.image_size, settings.image_size]
