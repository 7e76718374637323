"""Models of other libraries for a coverage table: 40 of timm, of different families, and others."""

from __future__ import annotations

TIMM = {
    "beit_base_patch16_224": 32,
    "bat_resnext26ts": 256,
    "cait_xxs24_224": 32,
    "coatnet_nano_rw_224": 224,
    "convit_tiny": 224,
    "convmixer_768_32": 64,
    "convnext_tiny": 64,
    "crossvit_tiny_240": 240,
    "cspresnet50": 64,
    "darknet53": 64,
    "davit_tiny": 224,
    "deit_tiny_patch16_224": 32,
    "densenet121": 64,
    "dla34": 64,
    "dpn68": 64,
    "edgenext_xx_small": 64,
    "efficientformer_l1": 224,
    "efficientnet_b0": 64,
    "efficientvit_b0": 64,
    "fastvit_t8": 64,
    "focalnet_tiny_srf": 64,
    "ghostnet_100": 64,
    "hrnet_w18_small": 64,
    "inception_v4": 299,
    "levit_128s": 224,
    "mambaout_femto": 64,
    "maxvit_tiny_tf_224": 224,
    "mixer_s16_224": 224,
    "mobilenetv4_conv_small": 64,
    "mobilevit_xxs": 64,
    "mvitv2_tiny": 224,
    "nfnet_f0": 64,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnety_002": 64,
    "repvgg_a0": 64,
    "resnet26": 64,
    "swin_tiny_patch4_window7_224": 224,
    "vit_tiny_patch16_224": 32,
    "xcit_nano_12_p16_224": 224,
}
"""The name of each with the side of an image that is small, or the model's own."""

TEXT = {"model.seq_len": 16}
LAYERS = {**TEXT, "model.config": {"num_hidden_layers": 2}}

TRANSFORMERS = {
    "transformers/bert-base": LAYERS,
    "transformers/distilbert": LAYERS,
    "transformers/gpt2": LAYERS,
    "transformers/smollm-135m": {**TEXT, "model.config.num_hidden_layers": 2},
    "transformers/qwen2-0.5b": {**TEXT, "model.config.num_hidden_layers": 2},
    "transformers/vit-base": {"model.config": {"num_hidden_layers": 2}},
    "transformers/whisper-tiny": TEXT,
    "transformers/T5Config": {**TEXT, "model.config": {"num_layers": 2}},
}
"""The value of `model=` of each, with the options that make it small."""

YOLO = {"yolov5s": {"model.input_shape": [3, 64, 64]}}
"""The same, for ultralytics' package."""
