"""Shows what a server does under load: too much of it, an audit beside it, and hours of it while models come and go.

    load.py --bin FOLDER [--model NAME] [--seconds S] [--turns N] [--soak MINUTES] [--only overload,audit,soak] [--write]

FOLDER holds assay and assay-server; the load generator is `assay bench`, on the same processors. The two loads that are compared are measured in turn, and of the turns the
medians count. --write puts the table into docs/performance.md, with what the last runs of the parts that are left out by --only found. Exit code 1: an aim was missed.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/performance.md"
DATA = ROOT / "deploy/data/fashion-mnist"


class Server:
    """A server of a copy of the demo's models on free ports."""

    def __init__(self, binaries: pathlib.Path, scratch: pathlib.Path, settings=()):
        self.binaries, self.models = binaries, scratch / "models"
        shutil.copytree(ROOT / "deploy/models", self.models)
        file = scratch / "addresses.json"
        settings = ["grpc.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "log.level=warn", *settings]
        command = [binaries / "assay-server", "--models", self.models, "--addresses-file", file]
        self.process = subprocess.Popen(command + [part for setting in settings for part in ("--set", setting)])
        while not file.exists():
            time.sleep(0.05)
        addresses = json.loads(file.read_text())
        self.grpc, self.admin = f"http://{addresses['grpc']}", f"http://{addresses['admin']}"
        self.assay("models")
        time.sleep(2)

    def command(self, *arguments) -> list:
        return [self.binaries / "assay", "--server", self.grpc, *map(str, arguments)]

    def assay(self, *arguments) -> str:
        return subprocess.run(self.command(*arguments), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def bench(self, model: str, load: tuple, seconds: float) -> dict:
        text = self.assay("--output", "json", "bench", model, *load, "--data", DATA, "--duration", seconds, "--warm-up", 1, "--connections", 2)
        return json.loads(text)["runs"][0]

    def rss(self) -> int:
        """Bytes in memory."""
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit(f"the server ended with {self.process.returncode}")


@contextlib.contextmanager
def serving(binaries: pathlib.Path, settings=()):
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(binaries, pathlib.Path(scratch), settings)
        try:
            yield server
        finally:
            server.stop()


def overload(options) -> tuple[list[str], bool]:
    """Goodput when twice as much is asked as can be answered."""
    # As many places as fill the sessions a few times: what is beyond them is refused at once, instead of answered late.
    with serving(options.bin, ["concurrency.predictions=128"]) as server:
        peaks, goods, lates = [], [], []
        for _ in range(options.turns):
            peak = server.bench(options.model, ("--concurrency", 64), options.seconds)["requests_per_second"]
            peaks.append(peak)
            run = server.bench(options.model, ("--rate", round(2 * peak)), options.seconds)
            goods.append(run["answered"] / run["seconds"] / peak)
            lates.append(run["latency_seconds"]["p99"])
    share, late = statistics.median(goods), statistics.median(lates)
    line = f"| twice the load that it can answer ({statistics.median(peaks):,.0f}/s): answered, of that load | {share:.2f} | ≥ 0.90 |"
    return [line, f"| 99th percentile of those answered, from when they were due | {late * 1e3:.0f} ms | bounded |"], share >= 0.9


def audit(options) -> tuple[list[str], bool]:
    """The tail of predictions with an audit beside them."""
    with serving(options.bin) as server:
        rate = round(server.bench(options.model, ("--concurrency", 8), options.seconds)["requests_per_second"] / 4)
        alone, beside = [], []
        for _ in range(options.turns):
            alone.append(server.bench(options.model, ("--rate", rate), options.seconds)["latency_seconds"])
            job = subprocess.Popen(
                server.command("audit", options.model, "--data", DATA, "--threat", "Linf:0.1", "--attack", "autoattack-standard"),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            time.sleep(2)
            beside.append(server.bench(options.model, ("--rate", rate), options.seconds)["latency_seconds"])
            if job.poll() is not None:
                raise SystemExit("the audit ended before it was measured beside")
            job.send_signal(signal.SIGINT)
            job.wait()
            jobs = json.loads(server.assay("--output", "json", "audit", "--list"))
            for job in next(iter(jobs.values())):
                subprocess.run(server.command("audit", "--cancel", job["job"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
    lines, good = [], True
    for which, aim in (("p50", None), ("p99", 2.0)):
        ratio = statistics.median(b[which] / a[which] for a, b in zip(alone, beside))
        of = lambda runs: statistics.median(run[which] for run in runs) * 1e3
        lines.append(f"| {which} at {rate}/s with an audit (AutoAttack) beside, to that without: {of(beside):.2f} ms to {of(alone):.2f} ms | {ratio:.2f} | {'≤ 2' if aim else ''} |")
        good &= aim is None or ratio <= aim
    return lines, good


def soak(options) -> tuple[list[str], bool]:
    """Memory while a model is replaced over and over under load."""
    with serving(options.bin, ["reload.models=true", "reload.interval_seconds=0.5"]) as server:
        rate = round(server.bench(options.model, ("--concurrency", 8), 3)["requests_per_second"] / 4)
        load = subprocess.Popen(
            server.command("--output", "json", "bench", options.model, "--rate", rate, "--duration", options.soak * 60, "--warm-up", 1),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        begin, samples, cycles = time.time(), [], 0
        other = server.models / "fashion-dense"
        while load.poll() is None:
            # Out of the repository, and in again: it is unloaded and loaded.
            away = server.models.parent / "away"
            other.rename(away)
            time.sleep(4)
            away.rename(other)
            time.sleep(4)
            cycles += 1
            samples.append((time.time() - begin, server.rss()))
        run = json.loads(load.stdout.read())["runs"][0]
    # The first third is what it takes to grow to its size.
    settled = samples[len(samples) // 3 :]
    slope, start = statistics.linear_regression([t / 60 for t, _ in settled], [m / 2**20 for _, m in settled])
    least, most = (f(m for _, m in settled) / 2**20 for f in (min, max))
    failed = sum(run["failed"].values())
    growth = slope * (settled[-1][0] - settled[0][0]) / 60
    noise = statistics.pstdev(m / 2**20 - start - slope * t / 60 for t, m in settled)
    line = f"| {options.soak:g} minutes at {rate}/s, a model unloaded and loaded {cycles} times: growth of the memory in the last two thirds ({least:.0f} to {most:.0f} MiB), by a line through it, from which it departs by {noise:.1f} MiB (standard deviation) | {growth:+.1f} MiB | ≤ 2 deviations |"
    return [line, f"| calls of the other model that failed meanwhile, of {run['answered'] + failed:,} | {failed} | 0 |"], failed == 0 and growth <= 2 * noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--model", default="fashion-robust")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--soak", type=float, default=30, help="minutes")
    parser.add_argument("--only", default="overload,audit,soak")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts, good = {"overload": overload, "audit": audit, "soak": soak}, True
    file = options.bin.parent / "load.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for part in options.only.split(","):
        found[part], met = parts[part](options)
        good &= met
        print("\n".join(found[part]), flush=True)
        file.write_text(json.dumps(found))
    if options.write:
        table = ["| what | found | aim |", "|---|---|---|"] + [line for part in parts for line in found.get(part, [])]
        begin, end = "<!-- begin: make bench-load -->", "<!-- end: make bench-load -->"
        before, _, rest = PAGE.read_text().partition(begin)
        _, _, after = rest.partition(end)
        PAGE.write_text(before + begin + "\n" + "\n".join(table) + "\n" + end + after)
    sys.exit(0 if good else 1)


main()
