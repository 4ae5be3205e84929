"""A model that assay serves, as functions of NumPy arrays: logits, gradients of losses, vector-Jacobian products."""
import importlib
import os
import pathlib
import sys
import tempfile

import grpc
import numpy as np
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def generate():
    """The messages and services of proto/assay/v1/assay.proto, made by grpcio's own tools."""
    folder = tempfile.mkdtemp(prefix="assay-")
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", "assay/v1/assay.proto"]
    if protoc.main(arguments) != 0:
        sys.exit("error: protoc refused the contract")
    sys.path.insert(0, folder)
    return importlib.import_module("assay.v1.assay_pb2"), importlib.import_module("assay.v1.assay_pb2_grpc")


messages, services = generate()


class Served:
    """The newest version of `model` at `address`, by TLS where ASSAY_CA names a file; counts the samples that it asked for, and sends ASSAY_API_KEY."""

    def __init__(self, address: str, model: str):
        size = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.stub = services.AssayStub(_channel(address, size))
        self.model = model
        key = os.environ.get("ASSAY_API_KEY")
        self.metadata = [("authorization", f"Bearer {key}")] if key else []
        self.info = self.stub.GetModel(messages.GetModelRequest(model=model), metadata=self.metadata)
        self.queries = self.gradients = 0

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[n, classes] of a batch [n, ...]."""
        self.queries += len(x)
        most = self.info.input.max_batch
        request = lambda part: messages.PredictRequest(model=self.model, input=self.pixels(x[part]))
        answers = [self.stub.Predict(request(part), metadata=self.metadata) for part in _parts(len(x), most)]
        return np.concatenate([_array(answer.logits) for answer in answers])

    def gradient(self, x: np.ndarray, labels, loss: str = "CROSS_ENTROPY") -> np.ndarray:
        """Derivative of each sample's loss with respect to that sample, of the shape of x."""
        labels = np.asarray(labels)
        at = lambda part: {"loss": messages.LossAt(loss=f"LOSS_{loss}", labels=labels[part].tolist())}
        return self._differentiate(x, at)

    def pull_back(self, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """Product of each sample's row of the cotangent, [n, classes], with the Jacobian of its logits."""
        return self._differentiate(x, lambda part: {"cotangent": _tensor(cotangent[part])})

    def _differentiate(self, x, objective):
        self.gradients += len(x)
        most = self.info.input.max_gradient_batch
        request = lambda part: messages.GradientRequest(model=self.model, input=self.pixels(x[part]), **objective(part))
        answers = [self.stub.Gradient(request(part), metadata=self.metadata) for part in _parts(len(x), most)]
        return np.concatenate([_array(answer.gradient) for answer in answers])

    def pixels(self, x):
        # Tools leave the box by a rounding error now and then, and the server is strict.
        return _tensor(np.clip(x, self.info.input.low, self.info.input.high))


def _channel(address, options):
    ca = os.environ.get("ASSAY_CA")
    if not ca:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes()), options=options)


def _parts(n, most):
    return [slice(start, start + most) for start in range(0, n, most)]


def _tensor(array):
    array = np.ascontiguousarray(array, "<f4")
    return messages.Tensor(shape=array.shape, datatype="DATA_TYPE_FP32", data=array.tobytes())


def _array(tensor):
    return np.frombuffer(tensor.data, "<f4").reshape(tuple(tensor.shape))
