"""What the tables of results share: models made by recipes, audits beside the net that they were made from, rows of a table.

What the folder of results holds already is not made again, so that a run that was cut off goes on.
"""
import argparse
import csv
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
SEED = 1


@dataclass(frozen=True)
class Threat:
    """One column of a table."""

    norm: str
    eps: str
    attacks: list[str]  # as `assay audit --attack` has them; more than one: the column shows the mean of the accuracies, each attack alone
    share: int = 1  # one of so many samples is attacked: of costly attacks

    def evaluation(self, name: str) -> str:
        """The threat as a plan file has it."""
        order = "separate" if len(self.attacks) > 1 else "sequence"
        return f'[[evaluations]]\nname = "{name}"\nnorm = "{self.norm}"\neps = "{self.eps}"\norder = "{order}"\nattacks = [{", ".join(map(toml, self.attacks))}]\n'


def toml(attack: str) -> str:
    """`pgd:steps=40` as a plan file has it."""
    name, _, rest = attack.partition(":")
    parameters = ", ".join(f'{key} = "{value}"' for key, value in (pair.split("=") for pair in rest.split(",") if pair))
    return f'{{ name = "{name}", parameters = {{ {parameters} }} }}'


def arguments(description: str, samples: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", required=True, help="the program")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="CIFAR-10: its folder of binary batches or Parquet files")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where models and reports are kept")
    parser.add_argument("--samples", type=int, default=samples, help=f"test images of an audit (default {samples})")
    parser.add_argument("--latency", action="store_true", help="measure predictions too, through a server (builds a benchmark)")
    return parser.parse_args()


class Bench:
    def __init__(self, options: argparse.Namespace, threats: dict[str, Threat]):
        self.assay, self.data, self.folder, self.samples, self.threats = options.assay, options.data.resolve(), options.folder.resolve(), options.samples, threats
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[tuple[str, str, str]] = []
        self.with_latency: bool = options.latency

    def run(self, *arguments: str | pathlib.Path) -> dict:
        command = [self.assay, "--output", "json", *map(str, arguments)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"error: {' '.join(command)} ended with code {done.returncode}")
        return json.loads(done.stdout)

    def model(self, name: str) -> pathlib.Path:
        """Where a model is: as servers look for it."""
        return self.folder / "models" / name / "1" / "model.onnx"

    def harden(self, recipe: str, name: str, more: str = "", **values: str | int) -> str:
        """The name of the model that the recipe makes with these values, and `more` at its end."""
        model = self.model(name)
        if not model.exists():
            text = (HERE / recipe).read_text() + more
            for key, value in {**values, "name": name, "path": str(self.data)}.items():
                new = value if isinstance(value, int) else f'"{value}"'
                text, found = re.subn(rf'(?m)^{key} = (".*"|\d+)$', f"{key} = {new}", text)
                assert found == 1, f"{recipe} has {found} times {key}"
            file = self.folder / f"{name}.toml"
            file.write_text(text)
            model.parent.mkdir(parents=True, exist_ok=True)
            begun = time.monotonic()
            self.run("harden", file, "--out", model)
            print(f"== {name}: made in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        return name

    def measure(self, title: str, variant: str, parent: str) -> None:
        """A row of the table: the variant beside its parent."""
        self.rows.append((title, variant, parent))
        kept = self.folder / f"{variant}.json"
        if kept.exists():
            return
        begun = time.monotonic()
        # Of the models that were made, only the one that is measured is loaded.
        with tempfile.TemporaryDirectory() as repository:
            os.symlink(self.folder / "models" / variant, pathlib.Path(repository) / variant)
            found = {"macs": self.run("--embed", repository, "models", "inspect", variant)["structure"]["macs"], "threats": {}}
            # Threats on as many samples are one audit.
            for share in sorted({threat.share for threat in self.threats.values()}):
                threats = {name: threat for name, threat in self.threats.items() if threat.share == share}
                report = self.report(repository, variant, parent, threats, share)
                found.setdefault("parameters", report["setup"]["models"][-1]["parameters"])
                of_model, comparison = report["models"][-1], report["comparison"]
                found.setdefault("clean", measured(of_model["clean"], comparison and comparison["clean"]))
                for at, name in enumerate(threats):
                    of_threat = of_model["threats"][at]
                    alone = [attack["robust"]["rate"] for attack in of_threat["attacks"]]
                    if len(alone) > 1:
                        found["threats"][name] = {"rate": statistics.mean(alone)}
                    else:
                        found["threats"][name] = measured(of_threat["robust"], comparison and comparison["threats"][at])
        kept.write_text(json.dumps(found))
        print(f"== {variant}: measured in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    def latency(self) -> dict:
        """What predictions of each variant cost beside its parent's, at batch 1 and 64."""
        kept = self.folder / "latency.json"
        if not kept.exists():
            pairs = [f"{name}:{parent}" for _, name, parent in self.rows if name != parent]
            command = ["cargo", "bench", "--locked", "-p", "assay-benches", "--bench", "latency", "--", kept, self.folder / "models", *pairs]
            subprocess.run(command, check=True, cwd=HERE)
        return json.loads(kept.read_text())

    def report(self, repository: str, variant: str, parent: str, threats: dict[str, Threat], share: int) -> dict:
        data = f'[data]\npath = "{self.data}"\nsamples = {self.samples // share}\ndraw = "first"\n'
        plan, accepted = self.folder / "plan.toml", self.folder / f"{parent}.{share}.report.json"
        evaluations = "".join(threat.evaluation(name) for name, threat in threats.items())
        plan.write_text(f'schema = 1\nseed = {SEED}\nmodels = [{{ name = "{variant}" }}]\n{data}{evaluations}')
        # The parent is measured once.
        beside = ["--report", accepted] if variant == parent else ["--baseline", accepted]
        return self.run("--embed", repository, "audit", "--plan", plan, *beside)

    def print(self, of: str) -> None:
        """The table of what was measured; as numbers with their intervals in a file beside the models."""
        times = self.latency() if self.with_latency else {}
        print(line([of, "MACs", "parameters", "time", "time, 64", "clean", *self.threats]))
        print("|---" + "|---:" * (5 + len(self.threats)) + "|")
        numbers = [["model", "of", "macs", "parameters", "threat", "accuracy", "difference", "low", "high", "p"]]
        for title, name, parent in self.rows:
            found, of_parent = (json.loads((self.folder / f"{model}.json").read_text()) for model in [name, parent])
            costs = [f"{found[cost] / of_parent[cost]:.2f}" for cost in ["macs", "parameters"]]
            costs += [f"{times[name][batch]['share']:.2f}" if name in times else "" for batch in ["1", "64"]]
            columns = {"clean": found["clean"], **{threat: found["threats"][threat] for threat in self.threats}}
            print(line([title, *costs, *map(cell, columns.values())]))
            for threat, of_threat in columns.items():
                paired = [*map(of_threat["difference"].get, ["value", "low", "high"]), of_threat["p"]] if "p" in of_threat else [""] * 4
                numbers.append([name, parent, found["macs"], found["parameters"], threat, of_threat["rate"], *paired])
        with (self.folder / "numbers.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(numbers)


def measured(rate: dict, comparison: dict | None) -> dict:
    """An accuracy, and how it differs from the parent's on the same samples."""
    return {"rate": rate["rate"]} | ({"difference": comparison["difference"], "p": comparison["p_value"]} if comparison else {})


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell(found: dict) -> str:
    """An accuracy in percent; with the paired interval at 95 % of its difference from the parent's, if there is one that shows (p < 0.05)."""
    text = f"{100 * found['rate']:.1f}"
    if found.get("p", 1) < 0.05:
        text += " ({low:+.1f} to {high:+.1f})".format_map({end: 100 * found["difference"][end] for end in ["low", "high"]})
    return text
