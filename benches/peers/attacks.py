"""Attacks of assay against the same in PyTorch, by torchattacks and ART: `make bench-attacks`.

Every contender is a process of its own with two threads that runs the attack whenever it is told to, and the processes work in turn. The tables have the medians
of the turns. They are printed, and written between the marks in docs/performance.md with `--write`.

Models other than the shipped one, and CIFAR-10 images, come from the folder ASSAY_REFERENCE; what is not there is left out, and said.
"""
import argparse
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

import nets
from contest import HERE, PAGE, ROOT, Contender, gemm_rate, geometric_mean, machine, write

sys.path.append(str(ROOT / "client/tests/peers"))
from converted import converted  # noqa: E402
from demo_images import images  # noqa: E402

REFERENCE = pathlib.Path(os.environ.get("ASSAY_REFERENCE", ROOT.parent / "shared/reference"))
LAYOUTS = ["contiguous", "channels-last"]
WARM_UP = 4  # samples of a first run that does not count: sessions are opened and allocate their memory in it
COMMAND, SCALING = "make bench-attacks", "make bench-attacks, scaling"
PGD, AUTOATTACK = "PGD-40", "AutoAttack standard"


@dataclass(frozen=True)
class Net:
    name: str
    file: pathlib.Path | None  # none: exported by `nets`
    grey: bool
    eps: dict[str, str]
    samples: dict[str, int]  # of an attack: it should work for seconds, and not for minutes
    normalization: tuple[str, ...] = ()  # mean and deviation of each channel, where the file leaves them to the caller

    @property
    def missing(self) -> pathlib.Path | None:
        needed = [] if self.grey else [REFERENCE / "images/cifar10-first100.npz"]
        return next((file for file in [*needed, *filter(None, [self.file])] if not file.exists()), None)


NETS = [
    Net("fashion-robust", nets.MODELS / "fashion-robust/1/model.onnx", True, {"Linf": "0.1", "L2": "1"}, {PGD: 64, AUTOATTACK: 16}),
    Net("cifar10-robust", REFERENCE / "models/cifar10-robust.onnx", False, {"Linf": "8/255", "L2": "0.5"}, {PGD: 64, AUTOATTACK: 16}),
    Net(
        "cifar_base_kw",
        REFERENCE / "vnncomp/oval21/cifar_base_kw.onnx",
        False,
        {"Linf": "2/255", "L2": "0.25"},
        {PGD: 64, AUTOATTACK: 48},
        (".485,.456,.406", ".225,.225,.225"),
    ),
    # Random weights: such a net gives way to small changes, and eps is where about half of the samples resist.
    Net("resnet-18", None, False, {"Linf": "1/1024", "L2": "1/40"}, {PGD: 16, AUTOATTACK: 4}),
]


@dataclass(frozen=True)
class Row:
    """An attack, by assay and by others, under one threat."""

    attack: str
    norm: str
    ours: str
    theirs: tuple[str, ...]
    turns: int
    without: tuple[str, ...] = ()  # nets with which it would take too long


PGD_PEERS, AUTOATTACK_PEERS = ("torchattacks-pgd", "art-pgd"), ("torchattacks-autoattack",)
ROWS = [
    Row(PGD, "Linf", "pgd:steps=40,random_start=false", PGD_PEERS, 3),
    Row(PGD, "L2", "pgd:steps=40,random_start=false", PGD_PEERS, 3),
    Row(AUTOATTACK, "Linf", "autoattack-standard", AUTOATTACK_PEERS, 1),
    Row(AUTOATTACK, "L2", "autoattack-standard", AUTOATTACK_PEERS, 1, without=("cifar10-robust", "resnet-18")),
]


@dataclass(frozen=True)
class Result:
    """What the turn with the median time said."""

    seconds: float
    robust: int
    said: dict


class Bench:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.layouts: dict[str, list[str]] = {}  # of the nets whose faster one is known
        self.weaker: list[str] = []  # what must not be

    def ours(self, net: Net, row: Row) -> Contender:
        return Contender([self.options.attacker, *self.arguments(net, row, row.ours), *net.normalization])

    def theirs(self, net: Net, row: Row, attack: str, layout: str) -> Contender:
        command = [sys.executable, str(HERE / "torch_attack.py"), *self.arguments(net, row, attack), layout, *net.normalization]
        return Contender(command, {"OMP_NUM_THREADS": str(self.options.threads)})

    def arguments(self, net: Net, row: Row, attack: str) -> list[str]:
        folder = self.options.folder
        return [str(model(net, folder)), str(data(net, folder)), row.norm, attack, str(self.options.threads)]

    def race(self, net: Net, row: Row) -> tuple[Result, dict[str, Result]]:
        """Of assay, and of each other attack with the faster layout."""
        layouts = self.layouts.get(net.name, LAYOUTS)
        contenders = {("assay", ""): self.ours(net, row)}
        contenders |= {(attack, layout): self.theirs(net, row, attack, layout) for attack in row.theirs for layout in layouts}
        samples = min(net.samples[row.attack], self.options.samples)
        turns: dict[tuple[str, str], list[dict]] = {name: [] for name in contenders}
        try:
            for contender in contenders.values():
                contender.await_ready()
                contender.ask(f"{net.eps[row.norm]} {WARM_UP} 0")
            for _ in range(row.turns):
                for name, contender in contenders.items():
                    turns[name].append(json.loads(contender.ask(f"{net.eps[row.norm]} {samples} 0")))
        finally:
            for contender in contenders.values():
                contender.close()
        results = {name: median(said) for name, said in turns.items()}
        faster = {attack: min(layouts, key=lambda layout: results[attack, layout].seconds) for attack in row.theirs}
        # The dear attacks run with the layout that was the faster one for the cheap ones.
        self.layouts.setdefault(net.name, [faster[row.theirs[0]]])
        return results["assay", ""], {attack: results[attack, layout] for attack, layout in faster.items()}

    def lines(self, chosen: list[Net], rate: float) -> Iterator[str]:
        yield "| net | attack | samples | robust: assay | torchattacks | ART | seconds: assay | torchattacks | ART | faster of them / assay | in the model | of GEMM rate |"
        yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
        ratios: dict[str, list[float]] = {}
        for net in chosen:
            for row in (row for row in ROWS if row.attack in self.options.attacks and net.name not in row.without):
                ours, others = self.race(net, row)
                theirs = list(others.values())
                if any(ours.robust > other.robust for other in theirs):
                    self.weaker.append(f"{net.name}, {row.attack}, {row.norm}")
                ratio = min(other.seconds for other in theirs) / ours.seconds
                ratios.setdefault(row.attack, []).append(ratio)
                missing = ["–"] * (len(PGD_PEERS) - len(theirs))
                robust = " | ".join([*(str(result.robust) for result in [ours, *theirs]), *missing])
                seconds = " | ".join([*(f"{result.seconds:.3g}" for result in [ours, *theirs]), *missing])
                # A gradient with respect to the image is a forward pass and as much again.
                operations = 2 * macs(net, self.options.folder) * (ours.said["queries"] + 2 * ours.said["gradients"])
                yield (
                    f"| {net.name} | {row.attack}, {row.norm} {net.eps[row.norm]} | {ours.said['correct']} | {robust} | {seconds} | {ratio:.2f} "
                    f"| {ours.said['in_model'] / ours.said['seconds']:.0%} | {operations / ours.seconds / rate:.0%} |"
                )
        yield ""
        means = [f"{attack} {geometric_mean(of):.2f} (least {min(of):.2f})" for attack, of in ratios.items()]
        every = [ratio for of in ratios.values() for ratio in of]
        yield f"Geometric mean of the ratios: **{geometric_mean(every):.2f}**; {', '.join(means)}."


def median(turns: list[dict]) -> Result:
    said = sorted(turns, key=lambda turn: turn["seconds"])[len(turns) // 2]
    return Result(said["seconds"], said["robust"], said)


def model(net: Net, folder: pathlib.Path) -> pathlib.Path:
    return net.file or nets.onnx_file(net.name, folder)


def data(net: Net, folder: pathlib.Path) -> pathlib.Path:
    """Images with their labels; for a net that was not trained, with what it says of them."""
    file = folder / f"{net.name}.npz"
    if net.grey:
        pixels, labels = images(1000)
    else:
        arrays = np.load(REFERENCE / "images/cifar10-first100.npz")
        pixels, labels = arrays["pixels_u8"], arrays["label"]
    if net.file is None:
        with torch.no_grad():
            labels = converted(model(net, folder))(torch.tensor(pixels).float() / 255).argmax(1).numpy()
    np.savez(file, images=pixels, labels=labels.astype(np.int64))
    return file


def macs(net: Net, folder: pathlib.Path) -> int:
    """Multiplications of one sample's forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    # Outside of the counter: an untrained net is asked for the labels of its images.
    classifier, shape = converted(model(net, folder)), np.load(data(net, folder))["images"].shape[1:]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        classifier(torch.rand(1, *shape))
    return counter.get_total_flops() // 2


def scaling(bench: Bench) -> Iterator[str]:
    """An attack on more and more samples, and under larger and larger radii."""
    net = NETS[0]
    yield f"{net.name}, Linf:"
    yield ""
    yield "| attack | samples | eps | robust | seconds | milliseconds for each sample | seconds for each robust one |"
    yield "|---|---|---|---|---|---|---|"
    for row, samples, radii in [(ROWS[0], (50, 100, 200, 400, 800), ("0.02", "0.05", "0.15", "0.2", "0.25")), (ROWS[2], (8, 16, 32), ("0.02", "0.05", "0.15", "0.2"))]:
        contender = bench.ours(net, row)
        try:
            contender.await_ready()
            contender.ask(f"{net.eps[row.norm]} {WARM_UP} 0")
            runs = [(n, net.eps[row.norm]) for n in samples] + [(samples[-2], eps) for eps in radii]
            for n, eps in ((n, eps) for n, eps in runs if n <= bench.options.samples):
                said = json.loads(contender.ask(f"{eps} {n} 0"))
                each = f"{said['seconds'] / said['robust']:.3g}" if said["robust"] else "–"
                yield f"| {row.attack} | {said['correct']} of {n} | {eps} | {said['robust']} | {said['seconds']:.2f} | {said['seconds'] / said['correct'] * 1e3:.1f} | {each} |"
        finally:
            contender.close()


def show(lines: Iterator[str]) -> list[str]:
    shown = []
    for line in lines:
        print(line, flush=True)
        shown.append(line)
    return shown


def main() -> None:
    names, attacks = [net.name for net in NETS], [PGD, AUTOATTACK]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacker", required=True, help="the program `attacker`, built in release")
    parser.add_argument("--contender", required=True, help="the program `contender`, built in release")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where exported nets and images are kept")
    parser.add_argument("--nets", nargs="+", default=names, choices=names)
    parser.add_argument("--attacks", nargs="*", default=attacks, choices=attacks, help="of the table; none: only the scaling")
    parser.add_argument("--samples", type=int, default=1 << 20, help="at most, of each run")
    parser.add_argument("--no-scaling", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)

    chosen = []
    for net in (net for net in NETS if net.name in options.nets):
        if net.missing:
            print(f"notice: {net.name} is left out: there is no {net.missing}", file=sys.stderr)
        else:
            chosen.append(net)
    bench = Bench(options)
    if options.attacks and chosen:
        rate = gemm_rate(options.contender, options.folder, options.threads, 3, 400)
        lines = show(iter([f"{machine(rate, options.threads)}.", ""]))
        lines += show(bench.lines(chosen, rate))
        if options.write:
            write(COMMAND, lines)
    if not options.no_scaling:
        lines = show(scaling(bench))
        if options.write:
            write(SCALING, lines)
    if bench.weaker:
        sys.exit("\n".join(["", "error: more samples are robust under assay's attack than under another:", *bench.weaker]))


if __name__ == "__main__":
    main()
