"""PyTorch copies of ONNX classifiers, made from the weights in the file.

A copy is the Python program that the graph's nodes spell out, so that nothing is interpreted while it runs. It is compared with
ONNX Runtime before anyone gets it.
"""
import operator
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import fx, nn
from torch.nn import functional

TOLERANCE = 1e-4  # of the largest logit


class Normalized(nn.Module):
    """A net behind a normalization by one mean and one deviation for each channel, each a text such as `.5,.4,.3`."""

    def __init__(self, net: nn.Module, mean: str, std: str):
        super().__init__()
        self.net = net
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor([float(value) for value in values.split(",")])[:, None, None])

    def forward(self, x):
        return self.net((x - self.mean) / self.std)


def converted(file: pathlib.Path, normalization: Sequence[str] = ()) -> nn.Module:
    """The copy of the classifier in `file`, behind a normalization by mean and deviation if they are given; its weights take no gradient."""
    copy = exact(file)
    return Normalized(copy, *normalization).eval() if normalization else copy


def exact(file: pathlib.Path) -> nn.Module:
    model = onnx.load(file)
    weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    root, graph = nn.Module(), fx.Graph()
    inputs = [value for value in model.graph.input if value.name not in weights]
    values = {inputs[0].name: graph.placeholder("x")}
    for index, node in enumerate(model.graph.node):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        constants = [weights.get(name) for name in node.input]
        made = MAKERS[node.op_type](attributes, *constants)
        if isinstance(made, nn.Module):
            root.add_module(f"layer{index}", made)
            value = graph.call_module(f"layer{index}", (values[node.input[0]],))
        else:
            value = graph.call_function(made, tuple(values[name] for name in node.input if name in values))
        values[node.output[0]] = value
    graph.output(values[model.graph.output[0].name])
    copy = fx.GraphModule(root, graph).eval().requires_grad_(False)
    check(copy, file, [d.dim_value for d in inputs[0].type.tensor_type.shape.dim][1:])
    return copy


def check(copy: nn.Module, file: pathlib.Path, shape: list[int]) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((1, *shape), np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        difference = np.abs(copy(torch.tensor(x)).numpy() - expected).max() / np.abs(expected).max()
    assert difference <= TOLERANCE, f"{file}: the copy's logits differ by {difference:.1e} of the largest"


def conv(attributes: dict, _, weight, bias=None) -> nn.Module:
    pads = attributes.get("pads", [0, 0, 0, 0])
    assert pads[:2] == pads[2:] and "auto_pad" not in attributes, f"padding {attributes}"
    groups, strides = attributes.get("group", 1), attributes.get("strides", [1, 1])
    layer = nn.Conv2d(weight.shape[1] * groups, len(weight), weight.shape[2:], strides, pads[:2], attributes.get("dilations", [1, 1]), groups, bias is not None)
    return loaded(layer, weight, bias)


def gemm(attributes: dict, _, weight, bias) -> nn.Module:
    assert attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA"), f"product {attributes}"
    weight = weight if attributes.get("transB") else weight.T.contiguous()
    return loaded(nn.Linear(weight.shape[1], len(weight)), weight, bias)


def batch_norm(attributes: dict, _, scale, bias, mean, variance) -> nn.Module:
    assert not attributes.get("training_mode"), f"statistics of the batch {attributes}"
    layer = loaded(nn.BatchNorm2d(len(scale), attributes.get("epsilon", 1e-5)), scale, bias)
    layer.running_mean, layer.running_var = mean, variance
    return layer.eval()


def loaded(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = bias
    return layer


def reduce_mean(attributes: dict, _, axes=None) -> Callable:
    axes = tuple(attributes["axes"] if axes is None else axes.tolist())
    keep = bool(attributes.get("keepdims", 1))
    return lambda x: x.mean(axes, keep)


MAKERS = {
    "Add": lambda attributes, *_: operator.add,
    "BatchNormalization": batch_norm,
    "Conv": conv,
    "Flatten": lambda attributes, *_: nn.Flatten(attributes.get("axis", 1)),
    "Gemm": gemm,
    "GlobalAveragePool": lambda attributes, *_: nn.AdaptiveAvgPool2d(1),
    "ReduceMean": reduce_mean,
    "Relu": lambda attributes, *_: functional.relu,
}
