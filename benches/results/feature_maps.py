#!/usr/bin/env python3
"""Trains one net with feature maps of several sizes, each adversarially, and measures what the size did to accuracy and robustness.

    feature_maps.py --assay PROGRAM --data CIFAR10 --folder FOLDER [--samples N]

The nets begin with the same weights and are trained as adversarial.toml says, on the same samples in the same order, once for each of SEEDS. They are measured on the
first N test images beside the net with maps of the usual size. The table goes to standard output.
"""
from bench import Bench, Threat, arguments

SEEDS = [1]
MAPS = {"strides 122": "", "strides 112": '[restride]\nstrides = "112"\n', "upsampled by 2": "[upsample]\nfactor = 2\n"}
THREATS = {
    "FGSM 8/255": Threat("Linf", "8/255", ["fgsm"]),
    "PGD-40 8/255": Threat("Linf", "8/255", ["pgd:steps=40,step=0.1*eps"]),
    "PGD-40 16/255": Threat("Linf", "16/255", ["pgd:steps=40,step=0.1*eps"]),
    "PGD-50 L2 0.5": Threat("L2", "0.5", ["pgd:steps=50,step=0.1*eps"]),
    "AutoAttack 8/255": Threat("Linf", "8/255", ["autoattack-standard"], share=5),
}


def main() -> None:
    bench = Bench(arguments(__doc__, 500), THREATS)
    for seed in SEEDS:
        usual = None
        for maps, change in MAPS.items():
            name = f"{maps.replace(' ', '-')}-{seed}"
            net = bench.harden("adversarial.toml", name, "\n" + change, seed=seed)
            usual = usual or net
            bench.measure(f"{maps}, {seed}", net, usual)
    bench.print("maps, seed")


main()
