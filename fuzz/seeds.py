"""Writes small files that fuzzing begins with, one folder for each target. Needs onnx, numpy, pillow and pyarrow."""

import gzip
import io
import pathlib
import struct

import numpy as np
import onnx
import pyarrow
import pyarrow.parquet
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

HERE = pathlib.Path(__file__).parent
DEPLOY = HERE.parent / "deploy"
# As `NAMES` of fuzz_targets/data.rs.
IDX, IDX_GZ, CIFAR, NPZ, NPY, PARQUET, IMAGE = range(7)


def put(target, name, content):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def model(nodes, initializers, shape=("n", 1, 4, 4), classes=3, opset=17, functions=()):
    graph = helper.make_graph(
        nodes,
        "seed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", classes))],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions)).SerializeToString()


def models():
    rng = np.random.default_rng(0)
    f = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    node = helper.make_node
    put("onnx", "linear", model([node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)], {"w": f(3, 16), "b": f(3)}))
    put("onnx", "conv", model(
        [
            node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
            node("Relu", ["n"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["y"]),
        ],
        {"w": f(3, 1, 3, 3), "s": f(3), "b": f(3), "m": f(3), "v": np.abs(f(3))},
    ))
    then = helper.make_graph([node("Relu", ["f"], ["t"])], "then", [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)])
    other = helper.make_graph([node("Neg", ["f"], ["e"])], "else", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)])
    put("onnx", "if", model(
        [node("Flatten", ["x"], ["f"]), node("If", ["yes"], ["i"], then_branch=then, else_branch=other), node("MatMul", ["i", "w"], ["y"])],
        {"yes": np.array(True), "w": f(16, 3)},
    ))
    body = helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)])
    put("onnx", "function", model(
        [node("Flatten", ["x"], ["f"]), node("Twice", ["f"], ["t"], domain="local"), node("MatMul", ["t", "w"], ["y"])],
        {"w": f(16, 3)}, functions=[body],
    ))
    put("onnx", "half", model([node("Flatten", ["x"], ["f"]), node("Cast", ["w"], ["v"], to=1), node("MatMul", ["f", "v"], ["y"])], {"w": f(16, 3).astype(np.float16)}))


def idx(array):
    kinds = {np.dtype("uint8"): 8}
    return struct.pack(">HBB", 0, kinds[array.dtype], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def data():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 6, 6), dtype=np.uint8)
    labels = np.array([0, 1, 2], dtype=np.uint8)

    def both(first, second):
        # The target gives the first three quarters to the images.
        whole = len(first) * 4 // 3 + 1
        return first + second.ljust(whole - len(first), b"\0")

    kind = lambda which, content: bytes([which]) + content
    put("data", "idx", kind(IDX, both(idx(images), idx(labels))))
    put("data", "idx-gz", kind(IDX_GZ, both(gzip.compress(idx(images)), gzip.compress(idx(labels)))))
    put("data", "cifar", kind(CIFAR, b"".join(bytes([i]) + rng.bytes(3072) for i in range(2))))
    arrays = io.BytesIO()
    np.savez_compressed(arrays, images=images[:, None].astype(np.float32) / 255, labels=labels.astype(np.int64))
    put("data", "npz", kind(NPZ, arrays.getvalue()))
    array = io.BytesIO()
    np.save(array, images)
    put("data", "npy", kind(NPY, array.getvalue()))
    picture = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(picture, "PNG")
    put("data", "png", kind(IMAGE, picture.getvalue()))
    jpeg = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(jpeg, "JPEG")
    put("data", "jpeg", kind(IMAGE, jpeg.getvalue()))
    table = pyarrow.table({"image": [{"bytes": picture.getvalue(), "path": None}] * 2, "label": [0, 1]})
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(table, parquet, compression="snappy")
    put("data", "parquet", kind(PARQUET, parquet.getvalue()))


def tensors():
    for kind in range(8):
        put("tensors", f"raw-{kind}", bytes([kind, 4, 0]) + struct.pack("<4d", 0.5, 1.0, -2.0, 3.0))


PROPERTY = """; two inputs, two outputs
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 1))(assert (>= X_0 -1))(assert (>= 2.5e-1 X_1))(assert (<= 0 X_1))
(assert (or (and (<= X_0 0) (>= Y_0 Y_1)) (and (<= Y_1 -0.5) (<= (+ Y_0 (* 2 Y_1)) (- 4 1)))))
"""


def texts():
    for recipe in DEPLOY.glob("recipes/*.toml"):
        put("recipe", recipe.stem, recipe.read_bytes())
    put("plan", "ci", (DEPLOY / "ci" / "audit.toml").read_bytes())
    put("property", "cases", PROPERTY.encode())


models()
data()
tensors()
texts()
