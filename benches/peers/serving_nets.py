"""Writes the nets that `make bench-serving` serves, as a model repository, into a folder.

    serving_nets.py FOLDER

Beside a shipped net of 28 x 28 pixels: ResNet-18 for 32 x 32, and torchvision's MobileNetV3-small for 224 x 224, both with weights of a seed.
"""
import pathlib
import shutil
import sys
import warnings

import torch
import torchvision

import nets


def put(folder: pathlib.Path, name: str, file: pathlib.Path) -> None:
    place = folder / name / "1"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place / "model.onnx")


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("fashion-robust", "resnet-18"):
        put(folder, name, nets.onnx_file(name, folder))
    file = folder / "mobilenet-v3-small-224.onnx"
    if not file.exists():
        torch.manual_seed(0)
        net = torchvision.models.mobilenet_v3_small(num_classes=1000).eval()
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net, (torch.rand(2, 3, 224, 224),), file, dynamo=False, opset_version=17, dynamic_axes=axes, input_names=["input"], output_names=["logits"]
            )
    put(folder, "mobilenet-v3-small-224", file)


main()
