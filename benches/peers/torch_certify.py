"""auto_LiRPA as a contender of the comparison of certificates: `torch_certify.py MODEL BOXES THREADS`.

The protocol is that of the `certifier` program; the model is a copy made from the ONNX file's weights. All instances of a line are bounded together, which is how
auto_LiRPA is fastest. `crown` takes the bounds of the layers by CROWN, `alpha-crown` searches the slopes of all layers for 20 steps.
"""
import json
import pathlib
import resource
import sys
import time

import numpy as np
import onnx
import torch
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

# The release of auto_LiRPA on PyPI is of a time when attributes of a traced node were read like this, and members were not asked for with more words.
torch._C.Node.__getitem__ = lambda node, name: getattr(node, node.kindOf(name))(name)
members = BoundedModule._named_members
BoundedModule._named_members = lambda self, get, prefix="", recurse=True, **_: members(self, get, prefix, recurse)

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "client/tests/peers"))
from converted import exact  # noqa: E402

METHODS = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN", "alpha-crown": "CROWN-Optimized"}
STEPS = 20


def differences(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """`[n, classes - 1, classes]`: the label's logit less that of each other class, in increasing order."""
    identity = torch.eye(classes)
    rows = []
    for label in labels:
        rows.append((identity[label] - identity)[torch.arange(classes) != label])
    return torch.stack(rows)


def main(model: str, boxes: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    net = exact(pathlib.Path(model))
    initializers = {tensor.name for tensor in onnx.load(model).graph.initializer}
    (given,) = [value for value in onnx.load(model).graph.input if value.name not in initializers]
    shape = [dimension.dim_value for dimension in given.type.tensor_type.shape.dim][1:]
    ends = torch.from_numpy(np.fromfile(boxes, np.float32)).reshape(-1, 2, *shape)
    options = {"optimize_bound_args": {"iteration": STEPS, "ob_iteration": STEPS, "ob_verbose": 0, "ob_early_stop": False}}
    bounded = BoundedModule(net, ends[:1, 0], bound_opts=options, verbose=False)

    def run(method: str, labels: torch.Tensor) -> dict:
        lower, upper = ends[: len(labels), 0], ends[: len(labels), 1]
        centre = (lower + upper) / 2
        if method == "forward":
            began = time.perf_counter()
            with torch.no_grad():
                net(centre)
            return {"seconds": time.perf_counter() - began, "margins": []}
        around = BoundedTensor(centre, PerturbationLpNorm(norm=np.inf, x_L=lower, x_U=upper))
        with torch.no_grad():
            logits = net(centre)
        specification = differences(labels, logits.shape[1])
        began = time.perf_counter()
        found = bounded.compute_bounds(x=(around,), C=specification, method=METHODS[method], bound_upper=False)[0]
        return {"seconds": time.perf_counter() - began, "margins": found.detach().tolist()}

    print("ready", flush=True)
    for line in sys.stdin:
        method, labels = line.split()
        found = run(method, torch.tensor([int(label) for label in labels.split(",")]))
        print(json.dumps(found | {"peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
