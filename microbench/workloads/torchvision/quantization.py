"""Classifiers of images in int8 by torch's own kernels: inference only."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.ao.quantization import convert, get_default_qconfig, prepare
from torchvision import models

from microbench.config import ModelConfig
from microbench.errors import SkippedError
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.workload import Workload

BACKENDS = ("x86", "onednn", "fbgemm", "qnnpack")
"""Libraries with kernels for int8, the most preferred first."""


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a quantized classifier with standard normal images of (batch, *input_shape).

    Raises:
        SkippedError: for training, or if this torch has no kernels for int8 here.
    """
    if training:
        raise SkippedError(
            f"{config.name} is quantized, so it only infers: use mode=infer, or "
            f"model={config.name.removeprefix('quantized_')} to train"
        )
    if device.type != "cpu":
        raise SkippedError(f"{config.name} runs on the CPU only: use device=cpu")
    arguments = {"weights": None, "quantize": False, **config.kwargs}
    if config.name.endswith(("googlenet", "inception_v3")):
        # Torchvision warns if it is not set; auxiliary classifiers only train.
        arguments = {"init_weights": True, "aux_logits": False, **arguments}
    module = models.get_model(config.name, num_classes=config.num_classes, **arguments).eval()
    images = torch.randn(batch_size, *config.input_shape)
    targets = torch.randint(config.num_classes, (batch_size,))
    examples = torch.randn(EXAMPLES, *config.input_shape)
    calibrate(module, [examples])
    quantize(module, examples)
    return Workload(config.name, module, (images,), CrossEntropy(targets, config.aux_weight), "images")


def quantize(module: nn.Module, images: Tensor) -> None:
    """Quantize a model in place to int8, with the ranges that its activations have on these images.

    Raises:
        SkippedError: this torch has no kernels for int8 here.
    """
    found = (each for each in BACKENDS if each in torch.backends.quantized.supported_engines)
    backend = next(found, None)
    if backend is None:
        raise SkippedError("this torch has no kernels for quantized models here")
    torch.backends.quantized.engine = backend
    module.fuse_model(is_qat=False)  # type: ignore[operator]
    module.qconfig = get_default_qconfig(backend)  # type: ignore[no-untyped-call]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that this module of torch will move
        prepare(module, inplace=True)  # type: ignore[no-untyped-call]
        module(images)
        convert(module, inplace=True)  # type: ignore[no-untyped-call]
