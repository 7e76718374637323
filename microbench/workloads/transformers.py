"""Models of transformers, from a class of configurations, with random weights: nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from microbench.config import TOKENS, ModelConfig
from microbench.errors import UserError, first_line, unknown
from microbench.workloads.arranged import arranged
from microbench.workloads.library import imported, preload
from microbench.workloads.objectives import Loss, Objective, OnesGradient, main_output
from microbench.workloads.unused import refuse_those_of_layers
from microbench.workloads.workload import Workload, switch_on

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
preload("transformers.modeling_utils", "transformers.models.auto.modeling_auto")

CLASSES: Mapping[str, Sequence[str]] = {
    "seq2seq": ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq"),
    "masked_lm": ("AutoModelForMaskedLM",),
    "causal_lm": ("AutoModelForCausalLM",),
    "classification": (
        "AutoModelForImageClassification",
        "AutoModelForSequenceClassification",
        "AutoModelForAudioClassification",
    ),
    "features": ("AutoModel",),
}
"""The classes of transformers that make a model for a task; of several tasks, the first is the default."""

IGNORED = -100
"""The label of a token that has no loss; the default of `cross_entropy`."""

MASKED = 0.15
"""The share of tokens that masked language modelling predicts (Devlin et al. 2018, section 3.1)."""

ITEMS = {"input_ids": "tokens", "pixel_values": "images"}
"""What the throughput counts, by the name of the main input; clips of audio for others."""

UNBUILDABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What models raise on values of a configuration that they do not take."""

SECOND = 16_000
"""Samples of a second of audio."""


class LogitsLoss(Loss):
    """Cross entropy of logits of shape (…, classes), computed in at least fp32, as transformers does.

    Args:
        labels: class indices of shape (…); those that are `IGNORED` have no loss.
    """

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels.flatten()

    def __call__(self, output: Any) -> Tensor:
        """Return the loss, a scalar."""
        return cross_entropy(main_output(output).flatten(0, -2).float(), self._labels)


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a model with random tokens of (batch, seq_len), or with standard normal images or audio.

    Sequences are full, so that there is no attention mask; a decoder keeps no cache.

    Raises:
        SkippedError: transformers is not installed.
        UserError: it has no such configuration, no model of it for the task, or an option has no effect.
    """
    refuse_those_of_layers(config)
    transformers = imported("transformers", config.name)
    settings = _settings(transformers, config)
    task, maker = _maker(transformers, settings, config)
    with device:
        try:
            module = maker.from_config(settings, **config.kwargs).train(training)
        except UNBUILDABLE as error:
            raise UserError(
                f"{config.name} does not take model.config={config.config} model.kwargs={config.kwargs}: "
                f"{_told(error)}"
            ) from error
        switch_on(module)
        decodes = settings.is_encoder_decoder and task in ("seq2seq", "features")
        inputs = _inputs(module.main_input_name, settings, config, batch_size, decodes)
        objective = _objective(task, inputs, settings, batch_size)
    main, *others = inputs
    called, tensors = arranged(module, [inputs[main]], {name: inputs[name] for name in others})
    items = inputs[main].numel() if main == "input_ids" else None
    return Workload(config.name, called, tuple(tensors), objective, ITEMS.get(main, "clips"), items)


def _settings(transformers: Any, config: ModelConfig) -> Any:
    """Return the configuration of the model, with the given values in place of its class's defaults.

    Raises:
        UserError: there is no such class, or it has no such value; the message gives the nearest names.
    """
    name = config.config_class or ""
    made: Any = getattr(transformers, name, None)
    if not name.endswith("Config") or not hasattr(made, "attribute_map"):
        known = [each for each in dir(transformers) if each.endswith("Config")]
        raise unknown("model.config_class", name, known, see="`microbench list transformers`")
    try:
        defaults = made()
    except Exception as error:  # of many types
        raise UserError(f"{config.name}: a {name} has no defaults: {_reason(error)}") from error
    keys = {each for each in vars(defaults) if not each.startswith("_")}
    keys |= {*made.attribute_map, "num_labels"}
    for key in config.config:
        if key not in keys:
            raise unknown(f"key of {name}", key, keys)
    try:
        settings = made(**{"num_labels": config.num_classes, **config.config})
    except Exception as error:  # of many types
        raise UserError(f"{name} does not take model.config={config.config}: {_reason(error)}") from error
    if hasattr(settings, "use_cache"):
        settings.use_cache = False
    return settings


def _reason(error: Exception) -> str:
    """Return the last line of a validation error, whose first one names the field alone."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__


def _told(error: Exception) -> str:
    """Return the first line of an error, with its type if that alone says what is wrong."""
    kind = "" if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: "
    return kind + first_line(error)


def _maker(transformers: Any, settings: Any, config: ModelConfig) -> tuple[str, Any]:
    """Return the task, and the class of transformers that makes a model for it.

    Raises:
        UserError: it makes none of such a configuration.
    """
    kind = type(settings)
    able = {
        task: maker
        for task, names in CLASSES.items()
        for maker in (getattr(transformers, name) for name in reversed(names))
        if kind in maker._model_mapping
    }
    if not able:
        raise UserError(f"{config.name}: transformers makes no model of {kind.__name__}.")
    task = config.task or next(iter(able))
    if task not in able:
        raise UserError(
            f"model.task={task}: transformers has no such model of {kind.__name__}; give {' or '.join(able)}."
        )
    return task, able[task]


def _inputs(
    main: str, settings: Any, config: ModelConfig, batch_size: int, decodes: bool
) -> dict[str, Tensor]:
    """Return random inputs by name, the main one first.

    Raises:
        UserError: the model has no positions for so many tokens, or its configuration says neither how many
            words it has nor how large its input is.
    """
    length = config.seq_len or TOKENS
    shape = tuple(config.input_shape or _shape(main, settings, length))
    is_text, words = main == "input_ids", getattr(settings.get_text_config(), "vocab_size", 0)
    if (is_text or decodes) and not words:
        raise UserError(f"{config.name} has no words: {type(settings).__name__} has no vocab_size.")
    size = (batch_size, *shape)
    inputs = {main: torch.randint(words, size) if is_text else torch.randn(size)}
    if decodes:
        inputs["decoder_input_ids"] = torch.randint(words, (batch_size, length))
    tokens = max((each.shape[1] for name, each in inputs.items() if name.endswith("input_ids")), default=0)
    for name in ("max_position_embeddings", "max_target_positions"):
        most = getattr(settings, name, None)
        if isinstance(most, int) and tokens > most:
            raise UserError(
                f"model.seq_len={tokens}: {config.name} has positions for {most} (model.config.{name})."
            )
    return inputs


def _shape(main: str, settings: Any, tokens: int) -> Sequence[int]:
    """Return the shape of a model's main input: that of its configuration, or one second of audio.

    Raises:
        UserError: the configuration does not say it.
    """
    if main == "input_ids":
        return [tokens]
    names = {
        "pixel_values": ("num_channels", "image_size"),
        "input_features": ("num_mel_bins", "max_source_positions"),
    }
    if main not in names:
        return [SECOND]
    channels, size = (getattr(settings, name, None) for name in names[main])
    if main == "input_features" and isinstance(channels, int) and isinstance(size, int):
        return [channels, 2 * size]
    sizes = [size, size] if isinstance(size, int) else size
    if main == "pixel_values" and isinstance(channels, int) and isinstance(sizes, (list, tuple)):
        return [channels, *sizes]
    kind = type(settings).__name__
    raise UserError(
        f"{kind} does not say {' and '.join(names[main])}, the size of {main}: give model.input_shape."
    )


def _objective(task: str, inputs: Mapping[str, Tensor], settings: Any, batch_size: int) -> Objective:
    """Return the loss of a task, with random labels; of features, ones."""
    if task == "features":
        return OnesGradient()
    if task == "classification":
        return LogitsLoss(torch.randint(settings.num_labels, (batch_size,)))
    tokens = list(inputs.values())[-1]
    words = settings.get_text_config().vocab_size
    if task == "masked_lm":
        is_masked = torch.rand(tokens.shape) < MASKED
        is_masked[:, 0] = True  # at least one
        return LogitsLoss(torch.randint_like(tokens, words).masked_fill(~is_masked, IGNORED))
    following = torch.randint(words, (batch_size, 1))
    return LogitsLoss(torch.cat([tokens[:, 1:], following], 1))
