"""Certificates of assay against the same by auto_LiRPA, on instances of the verification competitions: `make bench-certify`.

Each contender is a process of its own with two threads that certifies the same instances whenever it is told to, and the two work in turn. The table has the medians of
the turns. Networks, instances and labels come from the folder ASSAY_REFERENCE; without it there is nothing to measure, which is said. auto_LiRPA runs in an environment of
its own, with versions of the time of its release on PyPI (certify-requirements.txt).
"""
import argparse
import json
import os
import pathlib
import statistics
import sys

import numpy as np

from contest import HERE, PAGE, ROOT, Contender, geometric_mean, machine, write

REFERENCE = pathlib.Path(os.environ.get("ASSAY_REFERENCE", ROOT.parent / "shared/reference"))
COMMAND = "make bench-certify"
# Runs of the reference, with how many of their instances are certified together.
RUNS = {
    "mnist-net_256x2": ("mnistfc_2022seed|mnist-net_256x2|spec", 8),
    "cifar_base_kw": ("oval21|cifar_base_kw|spec", 4),
    "cifar10_small": ("marabou-cifar10|small|spec(untargeted)", 4),
    "resnet_2b": ("cifar10_resnet|resnet_2b|spec", 2),
}
METHODS = ["ibp", "crown-ibp", "crown", "alpha-crown"]
TIGHT = 1e-3  # by how much a mean margin may be below the other's, relative to its size, at least 1
AIM, FORWARDS = 1.5, 2.5


def instances(run: dict, most: int, folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path, list[int]]:
    """The model, a file of boxes, and the labels."""
    model = REFERENCE / "vnncomp" / run["model"]
    rows, labels = run["instance_idx"][:most], run["labels"][:most]
    archive = np.load(REFERENCE / "vnncomp" / run["model"].split("/")[0] / "instances.npz")
    ends = [archive[end][rows].reshape(len(rows), -1).astype(np.float32) for end in ("lower", "upper")]
    file = folder / f"{name}.boxes"
    np.concatenate(ends, axis=1).tofile(file)
    return model, file, labels


def median(turns: list[dict]) -> dict:
    return {"seconds": statistics.median(turn["seconds"] for turn in turns), "margins": turns[-1]["margins"], "peak": turns[-1]["peak"]}


def raced(options, model: pathlib.Path, boxes: pathlib.Path, labels: list[int]) -> dict[tuple[str, str], dict]:
    arguments = [str(model), str(boxes), str(options.threads)]
    contenders = {
        "assay": Contender([options.certifier, *arguments]),
        "auto_LiRPA": Contender([options.python, str(HERE / "torch_certify.py"), *arguments], {"OMP_NUM_THREADS": str(options.threads)}),
    }
    said = {}
    try:
        for contender in contenders.values():
            contender.await_ready()
        for method in ["forward", *options.methods]:
            turns = {name: [] for name in contenders}
            # The first turn does not count: graphs are derived and sessions opened in it.
            for turn in range(options.turns + 1):
                for name, contender in contenders.items():
                    answer = json.loads(contender.ask(f"{method} {','.join(map(str, labels))}"))
                    if turn:
                        turns[name].append(answer)
            said |= {(name, method): median(answers) for name, answers in turns.items()}
    finally:
        for contender in contenders.values():
            contender.close()
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certifier", required=True, help="the program of that name")
    parser.add_argument("--python", required=True, help="the interpreter that has auto_LiRPA")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where files are put")
    parser.add_argument("--nets", nargs="*", default=list(RUNS))
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    if not REFERENCE.exists():
        raise SystemExit(f"{REFERENCE} is missing: set ASSAY_REFERENCE to a folder with networks and instances")
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = json.loads((REFERENCE / "bounds.json").read_text())["runs"]
    lines = [
        f"{machine(None, options.threads)}",
        "",
        "| network | instances | method | assay, s | auto_LiRPA, s | auto_LiRPA / assay | mean margin: assay | auto_LiRPA | in forward passes | peak, MiB: assay | auto_LiRPA |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    ratios, missed = [], []
    for name in options.nets:
        run, most = RUNS[name]
        model, boxes, labels = instances(runs[run], most, options.folder, name)
        said = raced(options, model, boxes, labels)
        forward = said["assay", "forward"]["seconds"]
        for method in options.methods:
            ours, theirs = said["assay", method], said["auto_LiRPA", method]
            mean = lambda found: statistics.mean(margin for margins in found["margins"] for margin in margins)
            ratio, passes = theirs["seconds"] / ours["seconds"], ours["seconds"] / forward
            if method in ("crown", "alpha-crown"):
                ratios.append(ratio)
                if ratio < AIM:
                    missed.append(f"{name}, {method}: {ratio:.2f}")
            if mean(ours) < mean(theirs) - TIGHT * max(1, abs(mean(theirs))):
                missed.append(f"{name}, {method}: the mean margin is {mean(ours):.4f}, theirs {mean(theirs):.4f}")
            if method == "ibp" and passes > 2 * FORWARDS:
                missed.append(f"{name}: intervals take {passes:.1f} forward passes")
            peaks = " | ".join(f"{found['peak'] / 2**20:.0f}" for found in (ours, theirs))
            line = (
                f"| {name} | {len(labels)} | {method} | {ours['seconds']:.4f} | {theirs['seconds']:.4f} | {ratio:.2f} | "
                f"{mean(ours):.4f} | {mean(theirs):.4f} | {passes:.1f} | {peaks} |"
            )
            print(line, flush=True)
            lines.append(line)
    if ratios:
        lines += ["", f"Geometric mean of the ratios of CROWN and α-CROWN: {geometric_mean(ratios):.2f}."]
        print(lines[-1])
    if options.write:
        write(COMMAND, lines)
    for what in missed:
        print(f"missed: {what}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
