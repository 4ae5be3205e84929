#!/usr/bin/env python3
"""Compares the gradients of int8 models with PyTorch's autograd through a clipped straight-through estimator.

    quantized.py --bin FOLDER [--only PATTERN]

ONNX Runtime's quantizer writes each model in both of its forms: between QuantizeLinear and DequantizeLinear, and with operators on integers. PyTorch
interprets the same file (`Quantized`). Assay must find the gradient, up to a relative error (Euclidean) of 1e-4, and say where it is an estimate.

Scales are powers of two. Sums of products are then exact in fp32, so that nobody rounds a number that lies between two steps to the other one.
"""
import argparse
import contextlib
import logging
import os
import pathlib
import re
import sys
import tempfile
from unittest import mock

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization import onnx_quantizer, qdq_quantizer, quant_utils
from torch.nn import functional as F

import autograd
import compare
import zoo
from export import export, silence

# How many samples must have the gradient. Divisions, softmax and norms are not exact, and a number that is rounded the other way is no wrong rule,
# which would be wrong for every sample.
MODELS = {"resnet18": 8, "mobilenet_v2": 8, "mobilenet_v3_small": 4, "deit_tiny_patch16_224": 4}
SAMPLES = 8
FORMS = [quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator]
CALIBRATION = 16  # images


class Rounded(torch.autograd.Function):
    """The nearest representable number. Its derivative is said to be 1 where there is one within half a step, and 0 where numbers saturate."""

    @staticmethod
    def forward(context, x, scale, zero, least, most):
        steps = torch.round(x / scale) + zero
        context.save_for_backward((steps >= least) & (steps <= most))
        return (steps.clamp(least, most) - zero) * scale

    @staticmethod
    def backward(context, cotangent):
        return cotangent * context.saved_tensors[0], None, None, None, None


def rounded(x, scale, zero):
    ends = torch.iinfo(zero.dtype)
    return Rounded.apply(x, scale, zero.to(x.dtype), ends.min, ends.max)


def real(x, scale, zero=None, axis=0):
    """What stored integers stand for. A computed number is kept as what it stands for already."""
    if x.is_floating_point():
        return x
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)] if scale.numel() > 1 else []
    zero = torch.zeros(()) if zero is None else zero
    return (x.to(scale.dtype) - zero.to(scale.dtype).reshape(shape)) * scale.reshape(shape)


def conv(x, w, b=None, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, **_):
    return F.conv2d(F.pad(x, (pads[1], pads[3], pads[0], pads[2])), w, b, strides, 0, dilations, group)


def gemm(a, b, c=None, *, transB=0, **_):
    return F.linear(a, b if transB else b.T, c)


def slices(x, starts, ends, axes=None):
    axes = torch.arange(len(starts)) if axes is None else axes
    for start, end, axis in zip(*(v.tolist() for v in (starts, ends, axes))):
        x = x[(slice(None),) * axis + (slice(start, end),)]
    return x


def squeeze(x, axes):
    return x.squeeze(tuple(axes.tolist()))


def unsqueeze(x, axes):
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def gather(x, indices, *, axis=0):
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def q_linear_conv(x, xs, xz, w, ws, wz, ys, yz, b=None, **attributes):
    return rounded(conv(real(x, xs, xz), real(w, ws, wz), None if b is None else b * xs * ws, **attributes), ys, yz)


def q_gemm(a, as_, az, b, bs, bz, c, ys=None, yz=None, *, transB=0, **_):
    y = gemm(real(a, as_, az), real(b, bs, bz, axis=0 if transB else 1), c * as_ * bs, transB=transB)
    return y if ys is None else rounded(y, ys, yz)


def q_concat(ys, yz, *parts, axis):
    return rounded(torch.cat([real(*parts[i : i + 3]) for i in range(0, len(parts), 3)], axis), ys, yz)


TYPES = {onnx.TensorProto.INT64: torch.int64, onnx.TensorProto.BOOL: torch.bool}
OPERATORS = {
    "QuantizeLinear": rounded,
    "DequantizeLinear": lambda x, s, z=None, *, axis=1: real(x, s, z, axis),
    "QLinearConv": q_linear_conv,
    "QLinearMatMul": lambda a, as_, az, b, bs, bz, ys, yz: rounded(real(a, as_, az) @ real(b, bs, bz, axis=-1), ys, yz),
    "QGemm": q_gemm,
    "QLinearAdd": lambda a, as_, az, b, bs, bz, ys, yz: rounded(real(a, as_, az) + real(b, bs, bz), ys, yz),
    "QLinearMul": lambda a, as_, az, b, bs, bz, ys, yz: rounded(real(a, as_, az) * real(b, bs, bz), ys, yz),
    "QLinearGlobalAveragePool": lambda x, xs, xz, ys, yz, **_: rounded(real(x, xs, xz).mean((2, 3), keepdim=True), ys, yz),
    "QLinearSoftmax": lambda x, xs, xz, ys, yz, *, axis=-1, **_: rounded(real(x, xs, xz).softmax(axis), ys, yz),
    "QLinearConcat": q_concat,
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": torch.matmul,
    "Add": torch.add,
    "Mul": torch.mul,
    "Div": lambda a, b: a / b if a.is_floating_point() else a // b,
    "Sqrt": torch.sqrt,
    "Erf": torch.erf,
    "HardSwish": F.hardswish,
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "Softmax": lambda x, *, axis=-1: x.softmax(axis),
    "LayerNormalization": lambda x, w, b, *, epsilon=1e-5, **_: F.layer_norm(x, w.shape, w, b, epsilon),
    "MaxPool": lambda x, *, kernel_shape, strides, pads, **_: F.max_pool2d(x, kernel_shape, strides, pads[:2]),
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda x, *, axis=1: x.flatten(axis),
    "Reshape": lambda x, shape, **_: x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())]),
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Split": lambda x, sizes, *, axis=0: x.split(sizes.tolist(), axis),
    "Slice": slices,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Gather": gather,
    "Constant": lambda *, value: value,
    "Shape": lambda x: torch.tensor(x.shape),
    "ConstantOfShape": lambda shape, *, value: value.expand(shape.tolist()),
    "Equal": torch.eq,
    "Where": torch.where,
    "Expand": lambda x, shape: x * torch.ones(shape.tolist(), dtype=x.dtype),
    "Cast": lambda x, *, to: x.to(TYPES.get(to, torch.get_default_dtype())),
}


class Quantized(torch.nn.Module):
    """The model in a file. Quantized numbers are kept as the real numbers that they stand for, and rounded to them."""

    def __init__(self, file: pathlib.Path) -> None:
        super().__init__()
        graph = onnx.load(file).graph
        self.nodes = [(node.op_type, node.input, node.output, attributes(node)) for node in graph.node]
        self.output = graph.output[0].name
        self.stored = {constant.name: tensor(constant) for constant in graph.initializer}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        as_x = lambda value: value.to(x.dtype) if value.is_floating_point() else value
        values = {name: as_x(value) for name, value in self.stored.items()} | {"": None, "input": x}
        for operator, inputs, outputs, attributes in self.nodes:
            found = OPERATORS[operator](*(values[name] for name in inputs), **attributes)
            values.update(zip(outputs, map(as_x, found if isinstance(found, tuple) else (found,))))
        return values[self.output]


def attributes(node: onnx.NodeProto) -> dict:
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: tensor(value) if isinstance(value, onnx.TensorProto) else value for name, value in found.items()}


def tensor(value: onnx.TensorProto) -> torch.Tensor:
    return torch.from_numpy(numpy_helper.to_array(value).copy())


class Images(quantization.CalibrationDataReader):
    def __init__(self, images: torch.Tensor) -> None:
        self.batches = iter(images.split(4))

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch.numpy()}


def quantize(family: zoo.Family, name: str, file: pathlib.Path, form: quantization.QuantFormat) -> None:
    images = zoo.images(CALIBRATION, family.size, torch.Generator().manual_seed(3))
    plain = file.with_stem("float")
    export(zoo.build(family, name), images[:2], "torchscript", plain)
    types = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    logging.disable(logging.WARNING)
    with powers_of_two(), silence():
        quantization.quantize_static(plain, file, Images(images), form, per_channel=True, **types)


@contextlib.contextmanager
def powers_of_two():
    """The quantizer has no option for it, but one function that all its scales come from."""
    exact = quant_utils.compute_scale_zp

    def nearest(*arguments):
        zero, scale = exact(*arguments)
        return [zero, np.array(2.0 ** np.round(np.log2(scale)), dtype=scale.dtype)]

    with contextlib.ExitStack() as patches:
        for module in (quant_utils, onnx_quantizer, qdq_quantizer):
            patches.enter_context(mock.patch.object(module, "compute_scale_zp", nearest))
        yield


def compared(name: str, form: quantization.QuantFormat, binary: pathlib.Path) -> str | None:
    """Prints a line. The result is what is wrong."""
    family = next(family for family in zoo.FAMILIES if family.smallest == name)
    x, labels = zoo.samples(family, SAMPLES)
    with tempfile.TemporaryDirectory(prefix="assay-quantized-") as folder:
        folder = pathlib.Path(folder)
        quantize(family, name, folder / "model.onnx", form)
        expected = autograd.step(Quantized(folder / "model.onnx"), x.double(), labels)
        try:
            found = compare.ours(binary, folder, x.numpy(), labels.numpy())
        except compare.Refused as failure:
            return f"{name}/{form}: {failure}"
        estimated = (folder / "estimated").read_text().splitlines()
    errors = autograd.errors(found.gradient, expected.gradient)
    good = int((errors <= autograd.TOLERANCE).sum())
    print(f"{name:32} {str(form):10} {np.sort(errors)[MODELS[name] - 1]:8.1e} {good:>4} of {SAMPLES} {len(estimated):>9}", flush=True)
    if not estimated:
        return f"{name}/{form}: the gradient is not said to be an estimate"
    if good < MODELS[name]:
        return f"{name}/{form}: errors of {' '.join(f'{error:.0e}' for error in errors)}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the program `step`")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only models whose name matches this regular expression")
    options = parser.parse_args()
    print(f"{'model':32} {'form':10} gradient   right estimates")
    names = [name for name in MODELS if re.search(options.only, name)]
    wrong = [failure for name in names for form in FORMS if (failure := compared(name, form, options.bin / "step"))]
    if wrong:
        sys.exit("\n".join(["", "error: not as expected:", *wrong]))


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
