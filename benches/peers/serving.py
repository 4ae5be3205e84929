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
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

import numpy
import onnxruntime

import serving_processes as processes
from contest import ROOT, write

BATCHES = [1, 2, 4, 8, 16, 32, 64]
PHASES = ["decode", "queue", "compute", "encode"]


def processor() -> str:
    return next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())


def in_process(file: pathlib.Path, seconds: float, threads: int, batches: list[int]) -> tuple[float, float]:
    """Microseconds of one image, and images a second at the best size of a batch, of one session of so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    shape = [size for size in feed.shape[1:]]
    best, alone = 0.0, 0.0
    for batch in batches:
        data = {feed.name: numpy.random.default_rng(0).random([batch, *shape], dtype=numpy.float32)}
        session.run(None, data)
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < seconds / len(batches):
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


def phases(assay: pathlib.Path, net: str, server: str, admin: int, options: argparse.Namespace) -> str:
    """Where the time of a request goes that one caller waits for."""

    def totals() -> dict[str, tuple[float, float]]:
        text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics").read().decode()
        found = {}
        for phase in PHASES:
            values = [re.search(rf'^assay_{phase}_duration_seconds_{which}{{model="{net}"}} (\S+)$', text, re.M) for which in ("sum", "count")]
            found[phase] = tuple(float(value[1]) for value in values)
        return found

    before = totals()
    run = bench(assay, net, server, argparse.Namespace(**(vars(options) | {"concurrency": "1"})))[1]
    after = totals()
    means = {phase: (after[phase][0] - before[phase][0]) / (after[phase][1] - before[phase][1]) * 1e6 for phase in PHASES}
    whole = run["latency_seconds"]["mean"] * 1e6
    parts = ", ".join(f"{phase} {mean:.0f}" for phase, mean in means.items())
    return f"{net}, one caller, microseconds of a request on average: {whole:.0f}, of these {parts}; the rest, {whole - sum(means.values()):.0f}, is HTTP/2, the loopback network, the load generator and threads that wake each other."


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
    lines, notes = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for net in options.nets.split(","):
            rows, note = measured(net, options, pathlib.Path(scratch))
            lines += rows
            notes += ["", note]
    callers = [int(number) for number in options.concurrency.split(",")]
    heads = [f"{name}, {number}" for number in callers for name in ("images/s", "p50 ms", "p99 ms")]
    table = [
        f"{processor()}, {os.cpu_count()} cores, ONNX Runtime {onnxruntime.__version__}; {options.turns} turns of {options.seconds:g} s; numbers of callers behind the commas.",
        "",
        "| net | who answers | " + " | ".join(heads) + " |",
        "|---" * (2 + len(heads)) + "|",
        *lines,
        *notes,
    ]
    print("\n".join(table))
    if options.write:
        write("make bench-serving", table)


def measured(net: str, options: argparse.Namespace, scratch: pathlib.Path) -> tuple[list[str], str]:
    file = sorted((options.models / net).glob("*/model.onnx"))[-1]
    peers = [peer for peer in options.peers.split(",") if peer]
    with contextlib.ExitStack() as stack:
        admin = processes.free_port()
        ours = stack.enter_context(processes.assay(options.assay, options.models, admin))
        servers = {"assay": (net, ours)}
        if "oip" in peers:
            servers["assay, Open Inference Protocol"] = (f"oip://{ours}/{net}", None)
        if "python" in peers:
            address = stack.enter_context(processes.python(scratch, net, file))
            servers["grpc.aio, ONNX Runtime"] = (f"oip://{address}/{net}", None)
        if "mlserver" in peers:
            address = stack.enter_context(processes.mlserver(scratch, net, file))
            servers["MLServer"] = (f"oip://{address}/{net}", None)
        inside, single, turns = [], [], {name: [] for name in servers}
        for _ in range(options.turns):
            inside.append(in_process(file, options.seconds, os.cpu_count(), BATCHES))
            single.append(in_process(file, options.seconds / len(BATCHES), 1, [1])[0])
            for name, (model, server) in servers.items():
                turns[name].append(bench(options.assay, model, server, options))
        note = phases(options.assay, net, ours, admin, options)
    alone, best = (statistics.median(values) for values in zip(*inside))
    callers = [int(number) for number in options.concurrency.split(",")]
    empty = " | – | – | –" * (len(callers) - 1)
    lines = [
        f"| {net} | the session in a process: one image; best batch | {best:,.0f} | {alone / 1e3:.3f} | –{empty} |",
        f"| {net} | the same with one thread, as the server has it: one image | – | {statistics.median(single) / 1e3:.3f} | –{empty} |",
    ]
    for name, runs in turns.items():
        cells = []
        for number in callers:
            median = lambda pick: statistics.median(pick(run[number]) for run in runs)
            cells.append(f"{median(lambda run: run['samples_per_second']):,.0f}")
            cells += [f"{median(lambda run: run['latency_seconds'][which]) * 1e3:.3f}" for which in ("p50", "p99")]
        lines.append(f"| {net} | {name} | " + " | ".join(cells) + " |")
    return lines, note


main()
