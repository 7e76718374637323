"""Errors that a user can mend, and the nearest right spelling for a wrong one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command ends with; one that a signal ended, with 128 and the signal's number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOTHING_TO_COMPARE = 3


class UserError(Exception):
    """A mistake its user can mend: shown as one line, without a traceback.

    Attributes:
        exit_code: what the command ends with.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class StoppedError(UserError):
    """What stops a command although it was understood, such as a disk that is full."""

    exit_code = ExitCode.FAILED


class NothingToCompareError(UserError):
    """Records in which no case can be compared with another."""

    exit_code = ExitCode.NOTHING_TO_COMPARE


class SkippedError(Exception):
    """A case cannot run on this machine: shown as `skipped`, with the reason and what would help."""


class FailedAt(Exception):  # noqa: N818 - it goes with the error that it explains
    """The cause of an error that a layer of a model raised: which, and on what.

    Attributes:
        name: the layer's dotted name; empty for the model itself.
        type: its class, such as `Conv2d`.
        given: what it was given, such as `on input (1, 3, 224, 224)`.
    """

    def __init__(self, name: str, type: str, given: str) -> None:  # noqa: A002 - as records call it
        super().__init__(name, type, given)
        self.name, self.type, self.given = name, type, given

    def __str__(self) -> str:
        return f"{self.name} ({self.type})" if self.name else self.type


def nearest(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names in `known` most like `word`, best first; at most `most`, none below `cutoff` (0 to 1).

    Likeness is difflib's ratio. Among equals, the name that shares more letters wins whatever their
    order, so that swapped letters ("vgg61") find the name that was meant ("vgg16") first.
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
"""By a setting, in small letters, what else its value is called elsewhere."""

KEYS = {
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
"""By an option, what else it is called elsewhere."""

_VALUE_MEANT = {word: setting for setting, words in VALUES.items() for word in words.split()}
_KEY_MEANT = {word: key for key, words in KEYS.items() for word in words.split()}
_TAKEN_FOR = {"command", "model", *(setting.partition("=")[0] for setting in VALUES)}


def synonyms(word: str, kind: str = "", known: Iterable[str] = ()) -> list[str]:
    """The setting that a name from elsewhere means, whatever option it was given to.

    For an option without a `kind` that is the option, or the setting that it would switch on.

    Args:
        word: the name.
        kind: what it was given to.
        known: what that can be.
    """
    plain = word.lower().removeprefix("torch.").replace("-", "_")
    if not kind:
        meant = _KEY_MEANT.get(plain) or _VALUE_MEANT.get(plain)
        return [meant] if meant else []
    setting = f"{kind}={plain}" if plain in known and plain != word.lower() else _VALUE_MEANT.get(plain)
    return [setting] if setting and (kind in _TAKEN_FOR or setting.partition("=")[0] == kind) else []


def unknown(kind: str, word: str, known: Iterable[str], see: str = "") -> UserError:
    """The error for a name nobody knows: what was wrong, the nearest right spellings, what is allowed.

    `see` names the command that lists all names, for lists too long for one line.
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
INTERPRETED = "The following operation failed in the TorchScript interpreter."


def first_line(text: object) -> str:
    """The first line of a message that has something on it, for reports of one line.

    TorchScript says on the last one what failed, below where, unless it lost that. OpenVINO begins with the
    places in its sources that an error came through.
    """
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    first, *rest = [line for line in lines if not PLACE.match(line)] or lines or ["no message"]
    return rest[-1] if first == INTERPRETED and rest and not rest[-1].endswith(":") else first
