#!/usr/bin/env python3
"""Compares the gradients of one net, written in every operator set from 7 to 23, with PyTorch's autograd.

    opsets.py --bin FOLDER

The net is made of what operator sets changed: clips, pads, reductions, splits, slices, squeezes, softmaxes, resizes, dropouts, norms.
"""
import argparse
import os
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

import compare
import zoo

# PyTorch's exporters and the operator sets that each can write.
WRITTEN = [("torchscript", opset) for opset in range(7, 21)] + [("dynamo", opset) for opset in range(18, 24)]
MODERN = 10  # before, the exporter cannot write GELU, nor a resize for any batch size
SIZE = 16


class Net(nn.Module):
    def __init__(self, modern: bool) -> None:
        super().__init__()
        self.modern = modern
        self.stem = nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2, ceil_mode=True))
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.query = nn.Linear(8, 24)
        self.after = nn.LayerNorm(8)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(24, zoo.CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.norm(self.mix(x)).clamp(min=-1.5)
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        if self.modern:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = x[:, :, 1:-1, 1:]
        x = F.pad(x, (0, 1), value=0.25)
        x = x.flatten(2).transpose(1, 2)
        query, key, value = self.query(x).split(8, dim=2)
        x = x + torch.softmax(query @ key.transpose(1, 2) / 8**0.5, dim=-1) @ value
        x = self.after(F.gelu(x) if self.modern else F.silu(x))
        first, rest = x.split([1, 63 if self.modern else 11], dim=1)
        features = [first.squeeze(1), rest.mean(1), rest.unsqueeze(1).amax(2).squeeze(1)]
        return self.head(F.leaky_relu(torch.cat(features, 1).log_softmax(1), 0.1))


def case(modern: bool) -> compare.Case:
    torch.manual_seed(0)
    model, generator = Net(modern), torch.Generator().manual_seed(1)
    with torch.no_grad():
        zoo.wake(model, generator)
        zoo.calibrate(model, SIZE, generator)
    return compare.Case.of(zoo.Family("this file", "net", "", SIZE), "net", model.eval())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the program `step`")
    options = parser.parse_args()
    cases = {modern: case(modern) for modern in (False, True)}
    failed = False
    for exporter, opset in WRITTEN:
        result = compare.compared(cases[opset >= MODERN], exporter, options.bin / "step", opset)
        print(compare.table.line(result), flush=True)
        failed |= bool(result.problem) or result.opset != opset
    if failed:
        sys.exit("error: not every operator set has the same gradient")


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
