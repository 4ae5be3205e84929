#!/usr/bin/env python3
"""Prunes one net by each criterion and structure, and measures what that did to accuracy, robustness and cost.

    pruning.py --assay PROGRAM --data CIFAR10 --folder FOLDER [--samples N]

The dense net is trained as dense.toml says; each combination goes through iterations of pruned.toml, and is measured after each, on the first N
test images beside the dense net. The table goes to standard output.
"""
from bench import Bench, Threat, arguments

CRITERIA = ["l1", "expected-abs", "hrank", "kl", "vip", "cka", "random"]
# The seed of each iteration. Of both structures a coin takes one in each iteration: with these seeds blocks, then filters.
STRUCTURES = {"filters": [1, 2], "layers": [1, 2], "both": [3, 1]}
CORRUPTIONS = (
    "gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog brightness contrast elastic_transform"
    " pixelate jpeg_compression"
).split()
THREATS = {
    "FGSM 8/255": Threat("Linf", "8/255", ["fgsm"]),
    "PGD-40 8/255": Threat("Linf", "8/255", ["pgd:steps=40"]),
    "AutoAttack 8/255": Threat("Linf", "8/255", ["autoattack-standard"]),
    "PGD-40 1/255": Threat("Linf", "1/255", ["pgd:steps=40"], share=2),
    "negative": Threat("Linf", "inf", ["negative"]),
    "occlusion": Threat("Linf", "inf", ["occlusion:side=0.25"]),
    "corruptions": Threat("Linf", "inf", [f"corruption:kind={kind},severity=3" for kind in CORRUPTIONS], share=2),
}


def main() -> None:
    bench = Bench(arguments(__doc__, 400), THREATS)
    dense = bench.harden("dense.toml", "dense")
    bench.measure("dense", dense, dense)
    # What the fine-tuning does without the pruning.
    net = dense
    for iteration in (1, 2):
        net = bench.harden("tuned.toml", f"tuned-{iteration}", model=str(bench.model(net)), seed=iteration)
        bench.measure(f"none, {iteration}", net, dense)
    for structure, seeds in STRUCTURES.items():
        # Blocks have no l1.
        for criterion in CRITERIA if structure == "filters" else CRITERIA[1:]:
            net = dense
            for iteration, seed in enumerate(seeds, start=1):
                values = {"model": str(bench.model(net)), "structure": structure, "importance": criterion, "seed": seed}
                net = bench.harden("pruned.toml", f"{structure}-{criterion}-{iteration}", **values)
                bench.measure(f"{structure}, {criterion}, {iteration}", net, dense)
    bench.print("structure, criterion, iterations")


main()
