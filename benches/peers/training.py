#!/usr/bin/env python3
"""Compares steps of training with PyTorch's, in processes that work in turn.

    training.py --learner FILE --contender FILE --folder FOLDER [--only TEXT] [--turns N] [--write]

Each row is a net, a batch and an objective. PyTorch computes in both of its layouts, and the faster one counts.
"""
import argparse
import json
import pathlib
import statistics
import sys

import numpy as np

import contest
import nets

COMMAND = "make bench-training"
THREADS = 2
ROWS = [
    # net, batch, objective, steps of a turn
    ("fashion-16-32-64", 128, "standard", 8),
    ("fashion-16-32-64", 128, "pgd:0.1:7", 1),
    ("resnet-20", 128, "standard", 4),
    ("resnet-20", 128, "pgd:8/255:7", 1),
    ("resnet-18", 64, "standard", 1),
    ("resnet-18", 64, "pgd:8/255:7", 1),
]
LAYOUTS = ["contiguous", "channels-last"]


def data(shape: tuple[int, ...], samples: int, folder: pathlib.Path) -> pathlib.Path:
    """Random images: speed does not depend on them."""
    file = folder / f"training-{'x'.join(map(str, shape))}-{samples}.npz"
    random = np.random.default_rng(0)
    np.savez(file, images=random.integers(0, 256, (samples, *shape), np.uint8), labels=random.integers(0, 10, samples))
    return file


def measure(learner: str, folder: pathlib.Path, name: str, batch: int, objective: str, steps: int, turns: int) -> dict[str, float]:
    """Median seconds of a step, by contender."""
    _, shape = nets.learner(name)
    file, images = nets.training_file(name, folder), data(shape, 4 * batch, folder)
    common = [str(images), str(batch), objective, str(THREADS)]
    contenders = {"assay": contest.Contender([learner, str(file), *common])}
    for layout in LAYOUTS:
        contenders[layout] = contest.Contender([sys.executable, str(contest.HERE / "torch_learner.py"), name, *common, layout])
    times = {contender: [] for contender in contenders}
    try:
        for contender in contenders.values():
            contender.await_ready()
        for turn in range(turns + 1):
            for key, contender in contenders.items():
                seconds = json.loads(contender.ask(f"step {steps}"))["seconds"] / steps
                if turn:  # the first allocates
                    times[key].append(seconds)
    finally:
        for contender in contenders.values():
            contender.close()
    return {key: statistics.median(taken) for key, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learner", required=True)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rate = contest.gemm_rate(arguments.contender, arguments.folder, THREADS, 5, 500)
    lines = [contest.machine(rate, THREADS) + ".", ""]
    lines += ["| net | batch | objective | assay, ms | PyTorch, ms | its layout | PyTorch / assay |", "|---" * 7 + "|"]
    print("\n".join(lines), flush=True)
    ratios = {"standard": [], "pgd": []}
    for name, batch, objective, steps in ROWS:
        if arguments.only not in f"{name} {objective}":
            continue
        times = measure(arguments.learner, arguments.folder, name, batch, objective, steps, arguments.turns)
        layout = min(LAYOUTS, key=times.get)
        ratio = times[layout] / times["assay"]
        ratios[objective.split(":")[0]].append(ratio)
        cells = [name, batch, objective, f"{times['assay'] * 1e3:.1f}", f"{times[layout] * 1e3:.1f}", layout, f"{ratio:.2f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        print(lines[-1], flush=True)
    means = [f"{kind} {contest.geometric_mean(values):.2f}, least {min(values):.2f}" for kind, values in ratios.items() if values]
    lines += ["", f"PyTorch's time divided by assay's, geometric mean: {'; '.join(means)}."]
    print("\n".join(lines[-2:]))
    if arguments.write:
        contest.write(COMMAND, lines)


if __name__ == "__main__":
    main()
