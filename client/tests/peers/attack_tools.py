#!/usr/bin/env python3
"""Runs the attacks of ART and Foolbox, unchanged, against a model that assay serves, beside assay's own.

    attack_tools.py --bin FOLDER

Each adversarial sample is classified again by Predict. A tool's PGD must come to about the robust accuracy of assay's own.
"""
import argparse
import pathlib
import time

import numpy as np

from demo_images import images
from serving import serving

import art_classifier  # client/examples, which `serving` puts on the path
import foolbox
import foolbox_model
import torch
from art.attacks.evasion import DeepFool, ProjectedGradientDescent
from served import Served, messages

MODEL = "fashion-robust"
SAMPLES = 100
EPS = 0.1
STEPS = 40
# Random starts differ, and a few samples are on the edge.
TOLERANCE = 3


def assays_own(served, x, y) -> int:
    """Samples that withstand assay's PGD."""
    request = messages.AttackRequest(
        model=served.model,
        input=served.pixels(x),
        labels=y.tolist(),
        threat=messages.Threat(norm="NORM_LINF", eps=str(EPS)),
        attack=messages.AttackSpec(name="pgd", parameters={"steps": str(STEPS), "step": "0.1*eps"}),
    )
    outcomes = list(served.stub.Attack(request))[-1].result.outcomes
    return sum(outcome.outcome == messages.OUTCOME_ROBUST for outcome in outcomes)


def art_pgd(served, x, y):
    classifier = art_classifier.ServedClassifier(served)
    attack = ProjectedGradientDescent(
        classifier, norm=np.inf, eps=EPS, eps_step=EPS / 10, max_iter=STEPS, num_random_init=1, batch_size=100, verbose=False
    )
    return attack.generate(x, y)


def art_deepfool(served, x, y):
    classifier = art_classifier.ServedClassifier(served)
    return DeepFool(classifier, max_iter=30, nb_grads=10, batch_size=100, verbose=False).generate(x)


def foolbox_attack(attack, epsilons):
    def run(served, x, y):
        model = foolbox_model.foolbox_model(served)
        _, clipped, _ = attack(model, torch.tensor(x), torch.tensor(y, dtype=torch.long), epsilons=epsilons)
        return clipped.numpy()

    return run


# Name, norm, samples, attack.
ATTACKS = [
    ("ART PGD", "Linf", SAMPLES, art_pgd),
    ("Foolbox PGD", "Linf", SAMPLES, foolbox_attack(foolbox.attacks.LinfPGD(abs_stepsize=EPS / 10, steps=STEPS), EPS)),
    ("ART DeepFool", "L2", 20, art_deepfool),
    ("Foolbox FMN", "L2", 20, foolbox_attack(foolbox.attacks.L2FMNAttack(steps=100), None)),
]


def check(address: str) -> None:
    pixels, y = images(SAMPLES)
    x = (pixels / np.float32(255)).astype("f4")
    served = Served(address, MODEL)
    correct = served.logits(x).argmax(1) == y
    ours = assays_own(served, x, y)
    print(f"{MODEL}, {SAMPLES} images: {correct.sum()} correct; assay's own PGD (Linf {EPS}, {STEPS} steps) leaves {ours}")
    print(f"{'attack':14} {'threat':9} {'robust':>9} {'median distance':>15} {'queries':>8} {'gradients':>9} {'seconds':>7}")
    for name, norm, n, attack in ATTACKS:
        served.queries = served.gradients = 0
        start = time.monotonic()
        found = np.clip(attack(served, x[:n], y[:n]), 0, 1).astype("f4")
        seconds, queries, gradients = time.monotonic() - start, served.queries, served.gradients
        robust = correct[:n] & (served.logits(found).argmax(1) == y[:n])
        offset = np.abs(found.astype("f8") - x[:n]).reshape(n, -1)
        distance = offset.max(1) if norm == "Linf" else np.linalg.norm(offset, axis=1)
        median = np.median(distance[correct[:n] & ~robust])
        threat = f"Linf {EPS}" if norm == "Linf" else "L2, least"
        left = f"{robust.sum()} of {n}"
        print(f"{name:14} {threat:9} {left:>9} {median:15.4f} {queries:8} {gradients:9} {seconds:7.1f}")
        if norm == "Linf":
            assert distance.max() <= EPS + 1e-6, f"{name} left the ball: {distance.max()}"
            assert abs(int(robust.sum()) - ours) <= TOLERANCE, f"{name}: {robust.sum()} robust, assay's own {ours}"
        else:
            # Without a bound on the distance, a gradient leads across the boundary from nearly everywhere.
            assert robust.sum() <= TOLERANCE, f"{name} failed on {robust.sum()} samples"
            assert 0.1 < median < 5, f"{name}: median distance {median}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    np.random.seed(0)
    torch.manual_seed(0)
    with serving(parser.parse_args().bin) as address:
        check(address)


main()
