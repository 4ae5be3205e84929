#!/usr/bin/env python3
"""Compares the gradients that training needs, of the loss by every weight, with PyTorch's autograd.

    weights.py --bin FOLDER [--only PATTERN]

Batch norms are in training mode: they take the statistics of the batch. Each parameter of the model must be a weight of the file, as it is or
transposed, and have autograd's gradient up to a relative error (Euclidean) of 1e-4, or three times that of PyTorch's own fp32, which is larger where
a norm takes away nearly all of what a parameter does. What may be settled here is a whole batch (see `autograd.truth`).
"""
import argparse
import os
import pathlib
import re
import sys
import tempfile

import numpy as np
import torch

import autograd
import compare
import zoo
from export import EXPORTERS, ExportFailed, export

# Between them: convolutions, dense, depthwise and in groups, matrix products, layer and batch norms, attention, layer scales, embeddings.
MODELS = ["resnet18", "mobilenet_v3_small", "regnet_x_400mf", "convnext_tiny", "swin_t", "deit_tiny_patch16_224"]
SAMPLES = 8
BATCHES = 12  # to choose from
NONE = 1e-6  # a gradient this much smaller than the largest is 0 but for rounding, as that of what a norm takes away again

Weights = dict[str, np.ndarray]


def gradients(model: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Weights:
    """Of the summed cross-entropy, by parameter."""
    loss = torch.nn.functional.cross_entropy(model(x), labels, reduction="sum")
    names, parameters = zip(*model.named_parameters())
    return {name: gradient.numpy() for name, gradient in zip(names, torch.autograd.grad(loss, parameters))}


def errors(found: Weights, expected: Weights) -> Weights:
    """`|found - expected| / |expected|`, parameter by parameter."""
    norms = {name: np.linalg.norm(gradient.astype(np.float64)) for name, gradient in expected.items()}
    least = NONE * max(norms.values())
    return {name: np.linalg.norm(found[name].astype(np.float64) - expected[name]) / max(norms[name], least) for name in expected}


def in_training(model: torch.nn.Module) -> torch.nn.Module:
    """With the statistics of the batch, and without dropouts. What the batch norms keep stays."""
    for module in model.eval().modules():
        if isinstance(module, zoo.BatchNorm):
            module.train().momentum = 0.0
    return model


def settled(model: torch.nn.Module, family: zoo.Family) -> tuple[torch.Tensor, torch.Tensor, Weights, Weights] | None:
    """The first batch on which autograd agrees with itself, and the gradients in fp32 and fp64."""
    doubled = autograd.in_double(model)
    for batch in range(BATCHES):
        x, labels = zoo.samples(family, SAMPLES, batch)
        double = gradients(in_training(doubled), x.double(), labels)
        near = []
        for side in (1, -1):
            with autograd.nudged(doubled, batch, side * autograd.NEARBY):
                near.append(gradients(in_training(doubled), x.double(), labels))
        if all(max(errors(other, double).values()) <= autograd.TOLERANCE for other in near):
            return x, labels, gradients(in_training(model), x, labels), double
    return None


def ours(binary: pathlib.Path, folder: pathlib.Path, x: torch.Tensor, labels: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Contents and gradients of the file's weights."""
    compare.evaluate([binary, "--weights"], folder, x.numpy(), labels.numpy())
    contents, found = (np.fromfile(folder / name, "<f4") for name in ("weights", "gradients"))
    weights, at = [], 0
    for line in (folder / "names").read_text().splitlines():
        dims = [int(dim) for dim in line.split("\t")[1:]]
        part = slice(at, at := at + int(np.prod(dims)))
        weights.append((contents[part].reshape(dims), found[part].reshape(dims)))
    return weights


def matched(model: torch.nn.Module, weights: list[tuple[np.ndarray, np.ndarray]]) -> Weights:
    """The gradients of the file's weights by the parameters that they are: the seeded contents of no two are alike."""
    found = {}
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        for content, gradient in weights:
            if np.array_equal(content.reshape(-1), value.reshape(-1)):
                found[name] = gradient.reshape(value.shape)
            elif content.ndim == 2 and np.array_equal(content.T, value):
                found[name] = gradient.T
    return found


def compared(family: zoo.Family, name: str, exporter: str, binary: pathlib.Path) -> str | None:
    """Prints a line. The result is what is wrong."""
    model = zoo.build(family, name)
    with tempfile.TemporaryDirectory(prefix="assay-weights-") as folder:
        folder = pathlib.Path(folder)
        try:
            export(model, zoo.samples(family, 2)[0], exporter, folder / "model.onnx", train=True)
            batch = settled(model, family)
            if batch is None:
                return f"{name}/{exporter}: no batch on which autograd agrees with itself"
            x, labels, single, double = batch
            found = matched(model, ours(binary, folder, x, labels))
        except (ExportFailed, compare.Refused) as failure:
            return f"{name}/{exporter}: {failure}"
    if missing := [parameter for parameter in double if parameter not in found]:
        return f"{name}/{exporter}: no gradients by {', '.join(missing)}"
    by_fp32, by_fp64, rounding = errors(found, single), errors(found, double), errors(single, double)
    nearest = {parameter: min(by_fp32[parameter], by_fp64[parameter]) for parameter in double}
    worst = max(nearest, key=nearest.get)
    print(f"{name:32} {exporter:12} {len(nearest):>7}  {nearest[worst]:8.1e} {rounding[worst]:8.1e}  {worst}", flush=True)
    most = {parameter: max(autograd.TOLERANCE, compare.LEEWAY * error) for parameter, error in rounding.items()}
    wrong = [f"{parameter}: {error:.0e}" for parameter, error in nearest.items() if not error <= most[parameter]]
    return f"{name}/{exporter}: errors of {', '.join(wrong)}" if wrong else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the program `step`")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only models whose name matches this regular expression")
    options = parser.parse_args()
    families = {family.smallest: family for family in zoo.FAMILIES}
    print(f"{'model':32} {'exporter':12} weights  gradient rounding  worst")
    wrong = []
    for name in (name for name in MODELS if re.search(options.only, name)):
        wrong += filter(None, (compared(families[name], name, exporter, options.bin / "step") for exporter in EXPORTERS))
    if wrong:
        sys.exit("\n".join(["", "error: not as expected:", *wrong]))


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
