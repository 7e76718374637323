"""Errors that a user can correct, and the nearest spellings of an unknown name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The command's exit codes; if a signal ended it, the code is 128 plus the signal's number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOTHING_TO_COMPARE = 3


class UserError(Exception):
    """A mistake that the user can correct: shown as one line, without a traceback.

    Attributes:
        exit_code: the command's exit code.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class StoppedError(UserError):
    """A failure of a valid command, such as a full disk."""

    exit_code = ExitCode.FAILED


class NothingToCompareError(UserError):
    """The records have no cases to compare."""

    exit_code = ExitCode.NOTHING_TO_COMPARE


class SkippedError(Exception):
    """A case cannot run on this machine: shown as `skipped`, with the reason and what would help."""


class FailedAt(Exception):  # noqa: N818 - it goes with the error that it explains
    """The cause of an error within a model: the layer, and its input.

    Attributes:
        name: the layer's dotted name; empty for the model itself.
        type: its class, such as `Conv2d`.
        given: its input, such as `on input (1, 3, 224, 224)`.
    """

    def __init__(self, name: str, type: str, given: str) -> None:  # noqa: A002 - as records call it
        super().__init__(name, type, given)
        self.name, self.type, self.given = name, type, given

    def __str__(self) -> str:
        return f"{self.name} ({self.type})" if self.name else self.type


def nearest(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the names in `known` most similar to `word`, best first: at most `most`, none below `cutoff`.

    Similarity is difflib's ratio, from 0 to 1. Among equals, the name that shares more letters in any
    order wins, so that swapped letters ("vgg61") find the intended name ("vgg16") first.
    """

    def likeness(name: str) -> tuple[float, int]:
        ratio = SequenceMatcher(None, word.lower(), name.lower()).ratio()
        return ratio, (Counter(word.lower()) & Counter(name.lower())).total()

    scored = [(likeness(name), name) for name in known]
    close = [(score, name) for score, name in scored if score[0] >= cutoff]
    close.sort(key=lambda item: (-item[0][0], -item[0][1], item[1]))
    return [name for _, name in close[:most]]


VALUES = {
    "device=cuda": "gpu nvidia",
    "engine=compile": "inductor torch_compile torchinductor dynamo compiled",
    "engine=eager": "pytorch torch native",
    "engine=export": "aot aoti aotinductor torch_export",
    "engine=libtorch": "cpp c++",
    "engine=onnxruntime": "onnx ort onnx_runtime",
    "engine=openvino": "ov openvinotoolkit",
    "engine=tensorrt": "trt torch_tensorrt",
    "engine=torchscript": "jit script trace ts",
    "layout=channels_last": "nhwc channelslast channels_last_3d",
    "layout=contiguous": "nchw contiguous_format channels_first default_layout",
    "layout=mkldnn": "onednn blocked",
    "mode=infer": "inference eval evaluate forward predict",
    "mode=profile": "profiler prof",
    "mode=train": "training fit",
    "precision=amp_bf16": "amp autocast mixed mixed_precision",
    "precision=bf16": "bfloat16 bfloat",
    "precision=fp16": "float16 half f16",
    "precision=fp32": "float32 float single f32 full",
    "precision=int8": "quantized quantize qint8 quint8 uint8 i8",
    "precision=tf32": "tensorfloat32 tensorfloat_32",
}
"""For each value of an option, in lower case, its names in other tools."""

KEYS = {
    "--dry-run": "dry_run dryrun",
    "affinity": "pinning cpu_affinity",
    "allocator": "malloc",
    "batch_size": "batch bs bsz batches",
    "device": "dev",
    "engine": "backend runtime framework compiler",
    "hydra.run.dir": "output out outdir output_dir folder",
    "interop_threads": "inter_op_threads num_interop_threads inter_op_num_threads",
    "layout": "memory_format tensor_format data_format",
    "measure.max_time": "duration max_seconds",
    "measure.max_warmup": "warmup warm_up num_warmup",
    "measure.rounds": "repeats repeat repetitions iterations iters runs num_runs num_repeats",
    "model": "network net arch architecture",
    "model.input_shape": "shape input_size image_size img_size",
    "model.num_classes": "classes",
    "optimizer": "optim",
    "optimizer.lr": "lr learning_rate",
    "precision": "dtype data_type torch_dtype",
    "threads": "num_threads nthreads n_threads omp_num_threads intra_op_threads intra_op_num_threads",
}
"""For each option, its names in other tools."""

_VALUE_MEANT = {word: setting for setting, words in VALUES.items() for word in words.split()}
_KEY_MEANT = {word: key for key, words in KEYS.items() for word in words.split()}
_TAKEN_FOR = {"command", "model", *(setting.partition("=")[0] for setting in VALUES)}


def synonyms(word: str, kind: str = "", known: Iterable[str] = ()) -> list[str]:
    """Return the setting that another tool's name means, whatever option it was given to.

    Without a `kind`, that is an option, or the setting that the name would switch on.

    Args:
        word: the name.
        kind: the option that it was given to.
        known: that option's values.
    """
    plain = word.lower().removeprefix("torch.").replace("-", "_")
    if not kind:
        meant = _KEY_MEANT.get(plain) or _VALUE_MEANT.get(plain)
        return [meant] if meant else []
    setting = f"{kind}={plain}" if plain in known and plain != word.lower() else _VALUE_MEANT.get(plain)
    return [setting] if setting and (kind in _TAKEN_FOR or setting.partition("=")[0] == kind) else []


def unknown(kind: str, word: str, known: Iterable[str], see: str = "") -> UserError:
    """Return the error for an unknown name, with the nearest spellings and the allowed names.

    `see` is the command that lists all names, if there are too many for one line.
    """
    names = sorted(known)
    text = f"Unknown {kind} {word!r}."
    if close := synonyms(word, kind, names) or nearest(word, names):
        text += f" Did you mean {', '.join(close)}?"
    if len(names) <= 12:
        text += f" Allowed: {', '.join(names)}."
    elif see:
        text += f" All {len(names)}: {see}"
    return UserError(text)


PLACE = re.compile(r"Exception from \S+:\d+:$")
OF_TORCH = re.compile(r"^.{1,100}?, /\S+:\d+, (?=\")")
"""The place in its own sources that torch's dispatch puts before what is not implemented for a type."""

INTERPRETED = "The following operation failed in the TorchScript interpreter."


def first_line(text: object) -> str:
    """Return the first non-empty line of a message, for one-line reports.

    TorchScript says what failed on its last line, below the place, unless it lost that. OpenVINO begins with
    places in its own sources, and so may torch.
    """
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    first, *rest = [line for line in lines if not PLACE.match(line)] or lines or ["no message"]
    told = rest[-1] if first == INTERPRETED and rest and not rest[-1].endswith(":") else first
    return OF_TORCH.sub("", told)
