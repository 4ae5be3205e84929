"""What the tables of results share: models made by recipes, audits beside the net that they were made from, rows of a table.

What the folder of results holds already is not made again, so that a run that was cut off goes on.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class Threat:
    """One column of a table."""

    threat: str
    attacks: list[str]  # more than one: the column shows the mean of the accuracies, each attack alone
    share: int = 1  # one of so many samples is attacked: of costly attacks


def arguments(description: str, samples: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", required=True, help="the program")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="CIFAR-10: its folder of binary batches or Parquet files")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where models and reports are kept")
    parser.add_argument("--samples", type=int, default=samples, help=f"test images of an audit (default {samples})")
    return parser.parse_args()


class Bench:
    def __init__(self, options: argparse.Namespace, threats: dict[str, Threat]):
        self.assay, self.data, self.folder, self.samples, self.threats = options.assay, options.data.resolve(), options.folder.resolve(), options.samples, threats
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str | pathlib.Path) -> dict:
        command = [self.assay, "--output", "json", *map(str, arguments)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"error: {' '.join(command)} ended with code {done.returncode}")
        return json.loads(done.stdout)

    def harden(self, recipe: str, name: str, more: str = "", **values: str | int) -> pathlib.Path:
        """The model that the recipe makes with these values, and `more` at its end."""
        model = self.folder / f"{name}.onnx"
        if not model.exists():
            text = (HERE / recipe).read_text() + more
            for key, value in {**values, "name": name, "path": str(self.data)}.items():
                new = value if isinstance(value, int) else f'"{value}"'
                text, found = re.subn(rf'(?m)^{key} = (".*"|\d+)$', f"{key} = {new}", text)
                assert found == 1, f"{recipe} has {found} times {key}"
            file = self.folder / f"{name}.toml"
            file.write_text(text)
            print(f"== {name}", file=sys.stderr, flush=True)
            self.run("harden", file, "--out", model)
        return model

    def audit(self, variant: pathlib.Path, parent: pathlib.Path) -> dict[str, list[dict]]:
        """Reports of the variant beside the parent, attack by attack of each column, and what it costs (`macs`)."""
        kept = variant.with_suffix(".json")
        found = json.loads(kept.read_text()) if kept.exists() else {}
        with tempfile.TemporaryDirectory() as repository:
            for file in {parent, variant}:
                place = pathlib.Path(repository) / file.stem / "1"
                place.mkdir(parents=True)
                os.symlink(file, place / "model.onnx")
            embedded = ["--embed", repository]
            names = [parent.stem] if variant == parent else [parent.stem, variant.stem]
            for title, column in self.threats.items():
                for attack in column.attacks[len(found.setdefault(title, [])) :]:
                    print(f"== {variant.stem}: {title} {attack}", file=sys.stderr, flush=True)
                    samples = ["--data", self.data, "--samples", str(self.samples // column.share)]
                    report = self.run(*embedded, "audit", *names, *samples, "--threat", column.threat, "--attack", attack)
                    report["examples"] = []  # pictures
                    found[title].append(report)
                    kept.write_text(json.dumps(found))
            if "macs" not in found:
                found["macs"] = self.run(*embedded, "models", "inspect", variant.stem)["structure"]["macs"]
                kept.write_text(json.dumps(found))
        return found

    def row(self, title: str, found: dict, parent: dict) -> str:
        first, of_parent = (reports[next(iter(self.threats))][0] for reports in (found, parent))
        parameters = [report["setup"]["models"][-1]["parameters"] for report in (first, of_parent)]
        clean = cell([first["models"][-1]["clean"]], first["comparison"] and first["comparison"]["clean"])
        costs = [f"{found['macs'] / parent['macs']:.2f}", f"{parameters[0] / parameters[1]:.2f}"]
        return line([title, *costs, clean, *(of_column(found[title]) for title in self.threats)])

    def head(self, title: str) -> list[str]:
        return [line([title, "MACs", "parameters", "clean", *self.threats]), "|---" + "|---:" * (3 + len(self.threats)) + "|"]


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def of_column(reports: list[dict]) -> str:
    rates = [report["models"][-1]["threats"][0]["robust"] for report in reports]
    comparison = reports[0]["comparison"]
    return cell(rates, comparison["threats"][0] if comparison and len(reports) == 1 else None)


def cell(rates: list[dict], comparison: dict | None) -> str:
    """An accuracy in percent, or the mean of several; how it differs from the parent's on the same samples, if a difference is shown (p < 0.05)."""
    text = f"{100 * statistics.mean(rate['rate'] for rate in rates):.1f}"
    if comparison and comparison["p_value"] < 0.05:
        text += f" ({100 * comparison['difference']['value']:+.1f})"
    return text
