#!/usr/bin/env python3
"""Compares assay's gradients with PyTorch's autograd, over the families of torchvision's and timm's classifiers.

    compare.py --bin FOLDER [--all] [--only PATTERN] [--results FILE] [--doc FILE]
    compare.py --results FILE --doc FILE

Each model has seeded random weights and a small input, is exported by both of PyTorch's exporters, and is differentiated by FOLDER/step. The
gradient of the cross-entropy with respect to a sample must be autograd's, up to a relative error (Euclidean) of 1e-4. Samples are drawn until there
are enough on which autograd agrees with itself that well (`autograd.truth`); where there is none, assay must be as near as autograd is to itself.
Without --all only the smallest member of each family is compared. What is expected to fail is listed in exceptions.toml. Without --bin nothing is
compared: the table is made of the results that there are.
"""
import argparse
import gc
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

import autograd
import table
import zoo
from export import EXPORTERS, ExportFailed, export

SAMPLES = 4
BATCHES = 6  # of samples, at most, to choose from
LEEWAY = 3  # where autograd is not sure an error may be this many times its own: a gradient has many kinks around it
EXCEPTIONS = pathlib.Path(__file__).with_name("exceptions.toml")


@dataclass(frozen=True)
class Result:
    """One model written by one exporter. Errors are relative, the largest over the samples."""

    model: str
    library: str
    exporter: str
    size: int
    opset: int = 0  # of the file
    logits: float = float("nan")
    gradient: float = float("nan")
    rounding: float = float("nan")  # of autograd's gradient in fp32 against fp64
    settled: int = 0  # samples on which autograd agrees with itself; 0: there was none, and others were compared
    problem: str = ""  # why there are no numbers, or why they are not good enough

    @property
    def key(self) -> str:
        return f"{self.model}/{self.exporter}"


@dataclass(frozen=True)
class Case:
    """A model, and what PyTorch says of it."""

    family: zoo.Family
    name: str
    model: torch.nn.Module
    truth: autograd.Truth

    @classmethod
    def of(cls, family: zoo.Family, name: str, model: torch.nn.Module) -> "Case":
        return cls(family, name, model, autograd.chosen(model, (zoo.samples(family, SAMPLES, batch) for batch in range(BATCHES)), SAMPLES))


def compared(case: Case, exporter: str, binary: pathlib.Path, opset: int | None = None) -> Result:
    """One exported model. Its files are gone afterwards."""
    result = Result(case.name, case.family.library, exporter, case.family.size, opset or 0)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="assay-zoo-"))
    try:
        written = export(case.model, zoo.samples(case.family, 2)[0], exporter, folder / "model.onnx", opset)
        return judged(replace(result, opset=written), ours(binary, folder, case.truth.x, case.truth.labels), case.truth)
    except ExportFailed as failure:
        return replace(result, problem=f"not exported: {failure}")
    except Refused as failure:
        return replace(result, problem=str(failure))
    finally:
        shutil.rmtree(folder)


def judged(result: Result, found: autograd.Step, truth: autograd.Truth) -> Result:
    """Against the nearer of fp32 and fp64, so that PyTorch's own rounding does not count."""
    errors, settled = autograd.errors, truth.settled()
    logits = np.minimum(errors(found.logits, truth.logits), errors(found.logits, truth.logits64))
    gradient = np.minimum(errors(found.gradient, truth.gradient), errors(found.gradient, truth.gradient64))
    result = replace(
        result,
        logits=float(logits.max()),
        gradient=float(gradient.max()),
        rounding=float(errors(truth.gradient, truth.gradient64).max()),
        settled=int(settled.sum()),
    )
    good = (logits <= autograd.TOLERANCE).all() and (gradient <= np.where(settled, autograd.TOLERANCE, LEEWAY * truth.spread)).all()
    return result if good else replace(result, problem=f"errors of {' '.join(f'{e:.0e}' for e in gradient)}")


class Refused(Exception):
    """Assay did not evaluate the model. The text is its message."""


def ours(binary: pathlib.Path, folder: pathlib.Path, x: np.ndarray, labels: np.ndarray) -> autograd.Step:
    """What assay says of FOLDER/model.onnx."""
    evaluate([binary], folder, x, labels)
    read = lambda name, *shape: np.fromfile(folder / name, "<f4").reshape(shape)
    return autograd.Step(read("logits", len(x), -1), read("gradient", *x.shape))


def evaluate(program: list, folder: pathlib.Path, x: np.ndarray, labels: np.ndarray) -> None:
    """Runs `step`, which leaves its results in the folder."""
    x.astype("<f4").tofile(folder / "samples")
    labels.astype("<u4").tofile(folder / "labels")
    command = [*program, folder / "model.onnx", folder / "samples", folder / "labels", folder]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise Refused(run.stderr.strip().replace(f"{folder}/", "") or f"stopped with code {run.returncode}")


def judge(results: list[Result], exceptions: dict[str, str]) -> list[str]:
    """What is not as expected."""
    wrong = []
    for result in results:
        if result.problem and result.key not in exceptions:
            wrong.append(f"{result.key}: {result.problem}")
        if not result.problem and result.key in exceptions:
            wrong.append(f"{result.key} passes now: take it out of {EXCEPTIONS.name}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, help="folder of the program `step`")
    parser.add_argument("--all", action="store_true", help="every member of every family, not only the smallest")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only models whose name matches this regular expression")
    parser.add_argument("--exporter", choices=EXPORTERS, help="only this one")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE", help="keep results here; what is in it is not compared again")
    parser.add_argument("--doc", type=pathlib.Path, help="write the table into this Markdown file")
    parser.add_argument("--command", default="compare.py", help="what the Markdown file says it was made by")
    options = parser.parse_args()
    exceptions = tomllib.loads(EXCEPTIONS.read_text())
    exporters = [options.exporter] if options.exporter else EXPORTERS

    results = kept(options.results)
    print(table.HEADER, flush=True)
    for family, name in chosen(options.all, options.only) if options.bin else []:
        missing = [exporter for exporter in exporters if f"{name}/{exporter}" not in results]
        case = Case.of(family, name, zoo.build(family, name)) if missing else None
        for exporter in exporters:
            if exporter in missing:
                result = compared(case, exporter, options.bin / "step")
                results[result.key] = result
                keep(result, options.results)
            print(table.line(results[f"{name}/{exporter}"]), flush=True)
        del case
        gc.collect()
    every = [Result(name, family.library, exporter, family.size) for family, name in chosen(True, "") for exporter in EXPORTERS]
    ordered = [results[result.key] for result in every if result.key in results]
    if options.doc:
        missing = [result for result in every if result.key not in results]
        options.doc.write_text(table.document(ordered, missing, exceptions, options.command, SAMPLES))
    wrong = judge(ordered, exceptions)
    if wrong:
        sys.exit("\n".join(["", "error: not as expected:", *wrong]))
    print(f"ok: {len(ordered)} exported models, {sum(bool(r.problem) for r in ordered)} of them expected exceptions")


def chosen(every: bool, pattern: str) -> list[tuple[zoo.Family, str]]:
    pairs = [(family, name) for family in zoo.FAMILIES for name in (zoo.members(family) if every else [family.smallest])]
    return [(family, name) for family, name in pairs if re.search(pattern, name)]


def kept(file: pathlib.Path | None) -> dict[str, Result]:
    """The results of an earlier run, by key."""
    lines = file.read_text().splitlines() if file and file.exists() else []
    return {result.key: result for result in (Result(**json.loads(line)) for line in lines)}


def keep(result: Result, file: pathlib.Path | None) -> None:
    if file:
        with file.open("a") as out:
            out.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
