"""The libraries, imported without ONNX Runtime's telemetry, which starts a thread and writes a file."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnx
    import onnxruntime
    import onnxscript  # torch's exporter imports it: here the server does so once for all workers
    from onnxruntime import quantization
except ImportError:
    onnx = onnxruntime = onnxscript = quantization = None  # type: ignore[assignment]

__all__ = ["onnx", "onnxruntime", "onnxscript", "quantization"]
