#!/usr/bin/env python3
"""Prunes one net by each criterion and structure, and measures what that did to accuracy, robustness and cost.

    pruning.py --assay PROGRAM --data CIFAR10 --folder FOLDER [--only TEXT] [--samples N]

The dense net is trained as dense.toml says; each combination goes through ITERATIONS of pruned.toml, and is measured after those in SHOWN, on the first N
test images beside the dense net. What FOLDER holds already is not made again. The table goes to standard output.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CRITERIA = ["l1", "expected-abs", "hrank", "kl", "vip", "cka", "random"]
STRUCTURES = ["filters", "layers", "both"]
ITERATIONS = 4
SHOWN = [2, 4]
# Title: threat, attack.
THREATS = {
    "FGSM 8/255": ("Linf:8/255", "fgsm"),
    "negative": ("Linf:inf", "negative"),
    "occlusion": ("Linf:inf", "occlusion:side=0.25"),
    "PGD-40 8/255": ("Linf:8/255", "pgd:steps=40"),
    "AutoAttack 8/255": ("Linf:8/255", "autoattack-standard"),
    "AutoAttack 0.5/255": ("Linf:0.5/255", "autoattack-standard"),
}
# Of severity 3; the mean of the accuracies is shown.
CORRUPTIONS = (
    "gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog brightness contrast elastic_transform"
    " pixelate jpeg_compression"
).split()


class Bench:
    def __init__(self, assay: str, data: pathlib.Path, folder: pathlib.Path, samples: int):
        self.assay, self.data, self.folder, self.samples = assay, data.resolve(), folder.resolve(), samples
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str | pathlib.Path) -> dict:
        command = [self.assay, "--output", "json", *map(str, arguments)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"error: {' '.join(command)} ended with code {done.returncode}")
        return json.loads(done.stdout)

    def harden(self, recipe: str, name: str, **values: str) -> pathlib.Path:
        """The model that the recipe makes with these values."""
        model = self.folder / f"{name}.onnx"
        if not model.exists():
            text = (HERE / recipe).read_text()
            for key, value in {**values, "name": name, "path": str(self.data)}.items():
                text, found = re.subn(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)
                assert found == 1, f"{recipe} has {found} times {key}"
            file = self.folder / f"{name}.toml"
            file.write_text(text)
            print(f"== {name}", file=sys.stderr, flush=True)
            self.run("harden", file, "--out", model)
        return model

    def audit(self, variant: pathlib.Path, dense: pathlib.Path) -> dict:
        """Reports of the variant beside the dense net, title by title."""
        kept = variant.with_suffix(".json")
        found = json.loads(kept.read_text()) if kept.exists() else {}
        with tempfile.TemporaryDirectory() as repository:
            for file in (dense, variant):
                place = pathlib.Path(repository) / file.stem / "1"
                place.mkdir(parents=True, exist_ok=True)
                if not (place / "model.onnx").exists():
                    os.symlink(file, place / "model.onnx")
            corrupted = {kind: ("Linf:inf", f"corruption:kind={kind},severity=3") for kind in CORRUPTIONS}
            for title, (threat, attack) in {**THREATS, **corrupted}.items():
                if title in found:
                    continue
                print(f"== {variant.stem}: {title}", file=sys.stderr, flush=True)
                names = [dense.stem] if variant == dense else [dense.stem, variant.stem]
                options = ["--data", self.data, "--samples", str(self.samples), "--threat", threat, "--attack", attack]
                found[title] = self.run("--embed", repository, "audit", *names, *options)
                found[title]["examples"] = []
                kept.write_text(json.dumps(found))
            if "macs" not in found:
                found["macs"] = self.run("--embed", repository, "models", "inspect", variant.stem)["structure"]["macs"]
                kept.write_text(json.dumps(found))
        return found


def cell(report: dict) -> str:
    """Robust accuracy of the variant; how it differs from that of the dense net, if a difference is shown."""
    rate = report["models"][-1]["threats"][0]["robust"]["rate"]
    text = f"{100 * rate:.1f}"
    if (comparison := report["comparison"]) and (threat := comparison["threats"][0])["p_value"] < 0.05:
        text += f" **{100 * threat['difference']['value']:+.1f}**"
    return text


def row(title: str, found: dict, dense: dict) -> str:
    first = found[next(iter(THREATS))]
    clean = f"{100 * first['models'][-1]['clean']['rate']:.1f}"
    if first["comparison"] and first["comparison"]["clean"]["p_value"] < 0.05:
        clean += f" **{100 * first['comparison']['clean']['difference']['value']:+.1f}**"
    parameters = [r["setup"]["models"][-1]["parameters"] for r in (first, dense[next(iter(THREATS))])]
    accuracies = [found[kind]["models"][-1]["threats"][0]["robust"]["rate"] for kind in CORRUPTIONS]
    corrupted = 100 * sum(accuracies) / len(accuracies)
    shares = [f"{100 * found['macs'] / dense['macs']:.0f} %", f"{100 * parameters[0] / parameters[1]:.0f} %"]
    return "| " + " | ".join([title, *shares, clean, *(cell(found[title]) for title in THREATS), f"{corrupted:.1f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="CIFAR-10: its folder of binary batches or Parquet files")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="combinations whose name contains this")
    parser.add_argument("--samples", type=int, default=500)
    arguments = parser.parse_args()
    bench = Bench(arguments.assay, arguments.data, arguments.folder, arguments.samples)
    dense = bench.harden("dense.toml", "dense")
    parent = bench.audit(dense, dense)
    lines = ["| structure, criterion, iterations | MACs | parameters | clean | " + " | ".join(THREATS) + " | corruptions |", "|---|" + "---|" * (4 + len(THREATS))]
    lines.append(row("dense", parent, parent))
    for structure in STRUCTURES:
        for criterion in CRITERIA:
            if f"{structure}-{criterion}".find(arguments.only) < 0 or (criterion == "l1" and structure != "filters"):
                continue
            net = dense
            for iteration in range(1, ITERATIONS + 1):
                net = bench.harden(
                    "pruned.toml", f"{structure}-{criterion}-{iteration}", model=str(net), structure=structure, importance=criterion
                )
                if iteration in SHOWN:
                    lines.append(row(f"{structure}, {criterion}, {iteration}", bench.audit(net, dense), parent))
    print("\n".join(lines))


main()
