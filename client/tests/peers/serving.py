"""A server with the demo's models for one test."""
import contextlib
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "client/examples"))


@contextlib.contextmanager
def serving(binaries: pathlib.Path, models: pathlib.Path = ROOT / "deploy/models"):
    """The gRPC address of BINARIES/assay-server, which hosts a folder of models and is stopped in order at the end."""
    address, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [binaries / "assay-server", "--models", models, "--set", "log.level=warn"]
    server = subprocess.Popen([*command, "--set", f"grpc.listen={address}", "--set", f"admin.listen={admin}"])
    try:
        wait_until_ready(server, admin)
        yield address
    finally:
        server.terminate()
        code = server.wait(60)
    assert code == 0, f"the server stopped with code {code}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(server: subprocess.Popen, admin: str) -> None:
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"error: the server stopped with code {server.returncode}")
        try:
            urllib.request.urlopen(f"http://{admin}/readyz", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit("error: the server was not ready within a minute")
