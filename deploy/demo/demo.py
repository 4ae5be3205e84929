#!/usr/bin/env python3
"""Serves the demo's models, predicts, attacks and audits them, and writes a report.

    demo.py --bin FOLDER --out FOLDER

FOLDER of --bin holds assay-server and assay. Reports and the server's log go to --out. Every command is shown before it runs,
so that it can be repeated by hand.
"""
import argparse
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

MODELS = "deploy/models"
DATA = "deploy/data/fashion-mnist"
START_SECONDS = 60
STOP_SECONDS = 60
METRICS = ("assay_build_info", "assay_models_loaded", "assay_requests_total", "assay_attack_gradients_total", "assay_audits_total")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def wait_until_ready(server: subprocess.Popen, url: str, log: pathlib.Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"error: the server stopped with code {server.returncode}:\n{log.read_text()}")
        try:
            get(url)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"error: the server was not ready within {START_SECONDS} s:\n{log.read_text()}")


def run(title: str, program: pathlib.Path, *arguments: str) -> None:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n== {title}")
    print("$", shlex.join(["assay", *arguments]), flush=True)
    code = subprocess.run([program, *arguments], check=False).returncode
    if code != 0:
        sys.exit(f"error: assay ended with code {code}")


def demo(assay: pathlib.Path, admin: str, out: pathlib.Path) -> None:
    run("The models that are served", assay, "models")
    run("Predict", assay, "predict", "fashion-robust", "--data", DATA, "--samples", "5")
    run("Attack with true gradients", assay, "attack", "fashion-dense", "--data", DATA, "--samples", "200",
        "--threat", "Linf:0.1", "--attack", "pgd:steps=40,step=0.01")
    reports = [argument for ending in ("html", "json", "md") for argument in ("--report", str(out / f"report.{ending}"))]
    run("Audit a robust model and its pruned variant on the same 1,000 images", assay, "audit", "fashion-robust",
        "fashion-layer-pruned", "--data", DATA, "--threat", "Linf:0.1", "--attack", "pgd:steps=40,step=0.1*eps",
        "--min-robust-accuracy", "0.6", "--max-drop", "0.05", *reports)

    print("\nA few lines of /metrics")
    for line in get(f"http://{admin}/metrics").splitlines():
        if line.startswith(METRICS) and not line.endswith(" 0"):
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    binaries, out = arguments.bin.resolve(), arguments.out
    os.chdir(pathlib.Path(__file__).parents[2])
    out.mkdir(parents=True, exist_ok=True)

    grpc, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    os.environ["ASSAY_SERVER"] = f"http://{grpc}"
    log = out / "server.log"
    command = [str(binaries / "assay-server"), "--models", MODELS, "--set", f"grpc.listen={grpc}", "--set", f"admin.listen={admin}"]
    print("$", shlex.join(["assay-server", *command[1:]]), "&", flush=True)
    with log.open("wb") as file:
        server = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        wait_until_ready(server, f"http://{admin}/readyz", log)
        demo(binaries / "assay", admin, out)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            code = server.wait()
    if code != 0:
        sys.exit(f"error: the server stopped with code {code}:\n{log.read_text()}")
    print(f"\nThe server stopped cleanly. Open {out / 'report.html'} in a browser; report.md and report.json are beside it.")


main()
