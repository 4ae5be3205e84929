"""Compares single-image predictions through assay with the same session in a process, and with servers in Python.

    serving.py --assay FOLDER [--nets NAME,...] [--concurrency N,...] [--seconds S] [--turns N] [--peers oip,python,mlserver] [--write]

FOLDER holds assay and assay-server. All servers hold the same file; one load generator, `assay bench`, asks them in turn, over this machine's own network and
beside them on its processors. Of the turns the medians count. Nets are folders of --models. --write puts the table into docs/performance.md.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime

import serving_processes as processes
from contest import ROOT, write

BATCHES = [1, 2, 4, 8, 16, 32, 64]


def processor() -> str:
    return next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())


def in_process(file: pathlib.Path, seconds: float) -> tuple[float, float]:
    """Microseconds of one image, and images a second at the best size of a batch, of one session with a thread for each processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    shape = [size for size in feed.shape[1:]]
    best, alone = 0.0, 0.0
    for batch in BATCHES:
        data = {feed.name: numpy.random.default_rng(0).random([batch, *shape], dtype=numpy.float32)}
        session.run(None, data)
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < seconds / len(BATCHES):
            begin = time.perf_counter()
            session.run(None, data)
            times.append(time.perf_counter() - begin)
        if batch == 1:
            alone = statistics.median(times) * 1e6
        best = max(best, batch / statistics.median(times))
    return alone, best


def bench(assay: pathlib.Path, model: str, server: str | None, options: argparse.Namespace) -> dict:
    """What `assay bench` measures, by the number of callers."""
    command = [assay / "assay", "--output", "json", *(["--server", f"http://{server}"] if server else []), "bench", model]
    command += ["--concurrency", options.concurrency, "--duration", str(options.seconds), "--warm-up", "1"]
    runs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)["runs"]
    return {run["concurrency"]: run for run in runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=pathlib.Path, required=True)
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "deploy/models")
    parser.add_argument("--nets", default="fashion-robust,resnet-18,mobilenet-v3-small-224")
    parser.add_argument("--concurrency", default="1,8,64")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peers", default="oip,python,mlserver")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for net in options.nets.split(","):
            lines += measured(net, options, pathlib.Path(scratch))
    callers = [int(number) for number in options.concurrency.split(",")]
    heads = [f"{name}, {number}" for number in callers for name in ("images/s", "p50 ms", "p99 ms")]
    table = [
        f"{processor()}, {os.cpu_count()} cores, ONNX Runtime {onnxruntime.__version__}; {options.turns} turns of {options.seconds:g} s; numbers of callers behind the commas.",
        "",
        "| net | who answers | " + " | ".join(heads) + " |",
        "|---" * (2 + len(heads)) + "|",
        *lines,
    ]
    print("\n".join(table))
    if options.write:
        write("make bench-serving", table)


def measured(net: str, options: argparse.Namespace, scratch: pathlib.Path) -> list[str]:
    file = sorted((options.models / net).glob("*/model.onnx"))[-1]
    peers = [peer for peer in options.peers.split(",") if peer]
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(processes.assay(options.assay, options.models))
        servers = {"assay": (net, ours)}
        if "oip" in peers:
            servers["assay, Open Inference Protocol"] = (f"oip://{ours}/{net}", None)
        if "python" in peers:
            address = stack.enter_context(processes.python(scratch, net, file))
            servers["grpc.aio, ONNX Runtime"] = (f"oip://{address}/{net}", None)
        if "mlserver" in peers:
            address = stack.enter_context(processes.mlserver(scratch, net, file))
            servers["MLServer"] = (f"oip://{address}/{net}", None)
        inside, turns = [], {name: [] for name in servers}
        for _ in range(options.turns):
            inside.append(in_process(file, options.seconds))
            for name, (model, server) in servers.items():
                turns[name].append(bench(options.assay, model, server, options))
    alone, best = (statistics.median(values) for values in zip(*inside))
    callers = [int(number) for number in options.concurrency.split(",")]
    empty = " | – | – | –" * (len(callers) - 1)
    lines = [f"| {net} | the session in a process: one image; best batch | {best:,.0f} | {alone / 1e3:.3f} | –{empty} |"]
    for name, runs in turns.items():
        cells = []
        for number in callers:
            median = lambda pick: statistics.median(pick(run[number]) for run in runs)
            cells.append(f"{median(lambda run: run['samples_per_second']):,.0f}")
            cells += [f"{median(lambda run: run['latency_seconds'][which]) * 1e3:.3f}" for which in ("p50", "p99")]
        lines.append(f"| {net} | {name} | " + " | ".join(cells) + " |")
    return lines


main()
