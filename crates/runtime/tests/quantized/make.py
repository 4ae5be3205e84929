"""Makes the quantized models and the reference of tests/quantized.rs.

    pip install numpy onnx onnxruntime==1.31.1 torch
    python crates/runtime/tests/quantized/make.py

The models are `models/fashion-pruned.onnx` of the folder ASSAY_REFERENCE, quantized by ONNX Runtime's own quantizer in the three forms that it writes. The
reference is the gradient of the cross-entropy of the first, by PyTorch: its nodes one by one, with PyTorch's `fake_quantize`
in place of each pair of QuantizeLinear and DequantizeLinear.
"""

import gzip
import os
import pathlib

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
SOURCE = pathlib.Path(os.environ["ASSAY_REFERENCE"]) / "models/fashion-pruned.onnx"
DATA = ROOT / "deploy/data/fashion-mnist"


def pixels(name, header):
    return np.frombuffer(gzip.open(DATA / name).read()[header:], np.uint8)


IMAGES = (pixels("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28) / 255).astype(np.float32)
LABELS = pixels("t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)


class Calibration(CalibrationDataReader):
    """The last 256 images; tests attack the first."""

    def __init__(self):
        self.batches = iter(np.split(IMAGES[-256:], 8))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


def static(file, form, activations, per_channel):
    quantize_static(
        SOURCE,
        HERE / file,
        Calibration(),
        quant_format=form,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )


def gradient(file, images, labels):
    """Logits and the gradient of the sum of the cross-entropies, by PyTorch."""
    graph = onnx.load(HERE / file).graph
    constants = {t.name: torch.tensor(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    x = torch.tensor(images, requires_grad=True)
    values = dict(constants, **{graph.input[0].name: x})
    quantized = {}  # what QuantizeLinear makes: the number that is quantized, scale, zero point
    for node in graph.node:
        get = [values.get(name) for name in node.input]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "QuantizeLinear":
            quantized[node.output[0]] = get
            continue
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            number, scale, zero = quantized[node.input[0]]
            low, high = (0, 255) if zero.dtype == torch.uint8 else (-128, 127)
            y = torch.fake_quantize_per_tensor_affine(number, float(scale), int(zero), low, high)
        elif node.op_type == "DequantizeLinear":
            shape = [-1 if i == attributes.get("axis", 1) % get[0].ndim else 1 for i in range(get[0].ndim)]
            scale, zero = (v.reshape(shape) if v.numel() > 1 else v for v in get[1:])
            y = (get[0].to(torch.int32) - zero.to(torch.int32)).to(torch.float32) * scale
        elif node.op_type == "Conv":
            pads = attributes["pads"]
            assert pads[:2] == pads[2:]
            y = torch.nn.functional.conv2d(*get, stride=attributes["strides"], padding=pads[:2], groups=attributes["group"])
        elif node.op_type == "Add":
            y = get[0] + get[1]
        elif node.op_type == "Relu":
            y = torch.relu(get[0])
        elif node.op_type == "ReduceMean":
            axes = attributes.get("axes") or get[1].tolist()
            y = get[0].mean(dim=list(axes), keepdim=bool(attributes.get("keepdims", 1)))
        elif node.op_type == "Gemm":
            assert attributes.get("transB") == 1
            y = get[0] @ get[1].T + get[2]
        else:
            raise NotImplementedError(node.op_type)
        values[node.output[0]] = y
    logits = values[graph.output[0].name]
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum").backward()
    return logits.detach().numpy(), x.grad.numpy()


static("qdq.onnx", QuantFormat.QDQ, QuantType.QUInt8, per_channel=True)
static("qoperator.onnx", QuantFormat.QOperator, QuantType.QUInt8, per_channel=True)
static("signed.onnx", QuantFormat.QOperator, QuantType.QInt8, per_channel=False)
quantize_dynamic(SOURCE, HERE / "dynamic.onnx", weight_type=QuantType.QUInt8)
logits, derivative = gradient("qdq.onnx", IMAGES[:8], LABELS[:8])
np.savez(HERE / "pytorch.npz", logits=logits.astype(np.float64), gradient=derivative.astype(np.float64))
