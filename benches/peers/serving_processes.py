"""Servers of one model as processes: each is a context that gives its gRPC address."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command: list, port: int, env: dict | None = None):
    """A process that is stopped at the end; begins when somebody listens on `port`, and a moment later."""
    process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(f"error: {command[0]} stopped with code {process.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        else:
            sys.exit(f"error: {command[0]} did not listen on port {port} within a minute")
        time.sleep(3)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def assay(binaries: pathlib.Path, models: pathlib.Path, admin: int):
    port = free_port()
    settings = [f"grpc.listen=127.0.0.1:{port}", f"admin.listen=127.0.0.1:{admin}", "log.level=warn"]
    command = [binaries / "assay-server", "--models", models]
    return running(command + [part for setting in settings for part in ("--set", setting)], port)


def python(scratch: pathlib.Path, net: str, file: pathlib.Path):
    protocol, port = ROOT / "proto", free_port()
    # They name each other from the folder above.
    protos = sorted(str(path.relative_to(protocol)) for path in protocol.glob("inference/*.proto"))
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protocol}", f"--python_out={scratch}", f"--grpc_python_out={scratch}"]
    subprocess.run(compiler + protos, check=True)
    return running([sys.executable, HERE / "grpc_server.py", scratch, f"127.0.0.1:{port}", net, file], port)


def mlserver(scratch: pathlib.Path, net: str, file: pathlib.Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    tensor = lambda value: {"name": value.name, "datatype": "FP32", "shape": [size if isinstance(size, int) else -1 for size in value.shape]}
    folder, port = scratch / f"mlserver-{net}", free_port()
    folder.mkdir()
    model = {
        "name": net,
        "implementation": "mlserver_model.OnnxModel",
        "parameters": {"uri": str(file)},
        "inputs": [tensor(value) for value in session.get_inputs()],
        "outputs": [tensor(value) for value in session.get_outputs()],
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    # Its own workers would each have a session; one process is its fastest for a model that is smaller than a call.
    settings = {"http_port": free_port(), "grpc_port": port, "metrics_port": free_port(), "parallel_workers": 0, "grpc_max_message_length": 64 << 20}
    (folder / "settings.json").write_text(json.dumps(settings))
    program = pathlib.Path(sys.executable).with_name("mlserver")
    return running([program, "start", folder], port, {"PYTHONPATH": str(HERE)})
