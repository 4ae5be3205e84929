"""Attacks of torchattacks, Foolbox and ART, each as a function from model, images, labels and eps to adversarial images.

With an eps that is infinite an attack looks for the nearest adversarial image.
"""
import math
from collections.abc import Callable

import art.attacks.evasion as art_attacks
import foolbox
import numpy as np
import torch
import torchattacks
from art.estimators.classification import PyTorchClassifier
from torch import nn

Peer = Callable[[nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]
ALL = 1 << 20  # samples in a batch
ORDERS = {"Linf": np.inf, "L2": 2, "L1": 1}


def torch_attack(make: Callable[[nn.Module, float], Callable]) -> Peer:
    """An attack of torchattacks."""
    return lambda model, x, y, eps: make(model, eps)(x, y)


def foolbox_attack(attack) -> Peer:
    def run(model, x, y, eps):
        _, clipped, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None if math.isinf(eps) else eps)
        return clipped

    return run


def foolbox_decision(attack) -> Peer:
    """One that asks for the predicted class only. It begins at the first image of another class: Foolbox gives up where noise does not mislead the model."""

    def run(model, x, y, eps):
        begin = torch.stack([x[y != label][0] for label in y])
        _, clipped, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None, starting_points=begin)
        return clipped

    return run


def art_attack(make: Callable, probabilities: bool = False) -> Peer:
    """`make` gets ART's classifier and eps."""

    def run(model, x, y, eps):
        model = nn.Sequential(model, nn.Softmax(1)) if probabilities else model
        with torch.no_grad():
            classes = model(x[:1]).shape[1]
        classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), x.shape[1:], classes, clip_values=(0.0, 1.0), device_type="cpu")
        return torch.tensor(make(classifier, eps).generate(x.numpy(), np.eye(classes)[y.numpy()]))

    return run


def art_fgsm(norm: str) -> Peer:
    return art_attack(lambda model, eps: art_attacks.FastGradientMethod(model, ORDERS[norm], eps, eps, batch_size=ALL))


def art_pgd(norm: str, steps: int, step: float, starts: int) -> Peer:
    return art_attack(lambda model, eps: art_attacks.ProjectedGradientDescent(model, ORDERS[norm], eps, step * eps, max_iter=steps, num_random_init=starts, batch_size=ALL, verbose=False))


def art_apgd(norm: str, loss: str) -> Peer:
    # The original begins with steps of two eps.
    return art_attack(lambda model, eps: art_attacks.AutoProjectedGradientDescent(model, ORDERS[norm], eps, 2 * eps, max_iter=100, nb_random_init=1, batch_size=ALL, loss_type=loss, verbose=False))


def art_square(norm: str, queries: int) -> Peer:
    return art_attack(lambda model, eps: art_attacks.SquareAttack(model, ORDERS[norm], max_iter=queries, eps=eps, batch_size=ALL, verbose=False))
