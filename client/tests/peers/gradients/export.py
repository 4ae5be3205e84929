"""PyTorch's two exporters."""
import contextlib
import os
import pathlib
import sys
import warnings

import onnx
import torch

EXPORTERS = ("torchscript", "dynamo")
OPSET = 17  # of the TorchScript exporter; the other one chooses


class ExportFailed(Exception):
    """PyTorch could not write the file. The text is the first line of its message."""


@contextlib.contextmanager
def silence():
    """Drops what is written to standard output and error, by C++ too: the exporters are talkative, and print whole graphs on a failure."""
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, file in enumerate(kept, start=1):
            os.dup2(file, number)
            os.close(file)


def export(model: torch.nn.Module, x: torch.Tensor, exporter: str, file: pathlib.Path, opset: int | None = None, train: bool = False) -> int:
    """Writes `model` to `file`, for any batch size. The result is the file's operator set.

    `train`: with every parameter as it is. Else batch norms are computed into the convolutions before them, and weights come transposed."""
    try:
        with warnings.catch_warnings(), silence():
            warnings.simplefilter("ignore")
            names = {"input_names": ["input"], "output_names": ["logits"]}
            if exporter == "torchscript":
                axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
                if train:
                    names.update(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
                torch.onnx.export(model, (x,), str(file), dynamo=False, opset_version=opset or OPSET, dynamic_axes=axes, **names)
            else:
                shapes = ({0: torch.export.Dim("batch")},)
                torch.onnx.export(model, (x,), file, dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False, optimize=not train, **names)
    except Exception as error:  # each exporter has its own, and none in common
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportFailed(f"{type(error).__name__}: {lines[0] if lines else 'no message'}") from error
    opsets = onnx.load(file, load_external_data=False).opset_import
    return next(entry.version for entry in opsets if entry.domain == "")
