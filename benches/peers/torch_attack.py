"""PyTorch as a contender of the attack benchmark: `torch_attack.py MODEL DATA NORM ATTACK THREADS contiguous|channels-last [MEAN STD]`.

The protocol is that of the `attacker` program; the model is a copy made from the ONNX file's weights. `ATTACK` is `torchattacks-pgd`, `torchattacks-autoattack`
or `art-pgd`, with the parameters of assay's own. Samples that the model misclassifies are left out, because assay does not attack
them.
"""
import json
import pathlib
import sys
import time
from fractions import Fraction

import numpy as np
import torch
from torch import nn

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "client/tests/peers"))
from converted import converted  # noqa: E402

ALL = 1 << 20  # samples in a batch
PGD_STEPS = 40
AUTOATTACK_STEPS, SQUARE_QUERIES = 100, 5000


class Contiguous(torch.autograd.Function):
    """What it is given; the gradient is laid out as the attacks expect it, whatever the net's layout."""

    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return gradient.contiguous()


class ChannelsLast(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.net(Contiguous.apply(x))


def torchattacks_pgd(model, norm: str, eps: float, shape, classes: int, seed: int):
    import torchattacks

    step = 2.5 * eps / PGD_STEPS
    if norm == "Linf":
        return torchattacks.PGD(model, eps=eps, alpha=step, steps=PGD_STEPS, random_start=False)
    return torchattacks.PGDL2(model, eps=eps, alpha=step, steps=PGD_STEPS, random_start=False)


def torchattacks_autoattack(model, norm: str, eps: float, shape, classes: int, seed: int):
    """The four attacks of AutoAttack's version `standard` with the original's parameters, which torchattacks' own `AutoAttack` does not have."""
    from torchattacks import APGD, APGDT, FAB, MultiAttack, Square

    common = {"norm": norm, "eps": eps, "seed": seed}
    return MultiAttack(
        [
            APGD(model, steps=AUTOATTACK_STEPS, loss="ce", n_restarts=1, **common),
            APGDT(model, steps=AUTOATTACK_STEPS, n_classes=classes, n_restarts=1, **common),
            FAB(model, steps=AUTOATTACK_STEPS, n_classes=classes, n_restarts=1, multi_targeted=True, **common),
            Square(model, n_queries=SQUARE_QUERIES, n_restarts=1, resc_schedule=False, **common),
        ]
    )


def art_pgd(model, norm: str, eps: float, shape, classes: int, seed: int):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu")
    attack = ProjectedGradientDescent(
        classifier, norm=np.inf if norm == "Linf" else 2, eps=eps, eps_step=2.5 * eps / PGD_STEPS, max_iter=PGD_STEPS, num_random_init=0, batch_size=ALL, verbose=False
    )
    return lambda x, y: torch.tensor(attack.generate(x.numpy(), y.numpy()))


ATTACKS = {"torchattacks-pgd": torchattacks_pgd, "torchattacks-autoattack": torchattacks_autoattack, "art-pgd": art_pgd}


def main(model: str, data: str, norm: str, attack: str, threads: str, layout: str, *normalization: str) -> None:
    torch.set_num_threads(int(threads))
    net = converted(pathlib.Path(model), normalization)
    if layout == "channels-last":
        net = ChannelsLast(net).eval()
    arrays = np.load(data)
    x = torch.tensor(arrays["images"]).float() / 255
    labels = torch.tensor(arrays["labels"]).long()
    with torch.no_grad():
        logits = net(x)
    correct = logits.argmax(1) == labels

    def run(eps: float, samples: int, seed: int) -> dict:
        torch.manual_seed(seed)
        np.random.seed(seed)
        attacked = correct[:samples].nonzero().flatten()
        images, y = x[attacked], labels[attacked]
        began = time.perf_counter()
        found = ATTACKS[attack](net, norm, eps, x.shape[1:], logits.shape[1], seed)(images, y)
        with torch.no_grad():
            robust = net(found).argmax(1) == y
        return {"seconds": time.perf_counter() - began, "correct": len(attacked), "robust": int(robust.sum())}

    print("ready", flush=True)
    for line in sys.stdin:
        eps, samples, seed = line.split()
        print(json.dumps(run(float(Fraction(eps)), int(samples), int(seed))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
