#!/usr/bin/env python3
"""Calls a real server from Python, with a client generated from our contract by grpcio's own tools.

    grpc_client.py --bin FOLDER

Starts FOLDER/assay-server on a free port with the demo's models, calls Predict and Attack, and checks what comes back.
"""
import argparse
import gzip
import importlib
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT / "deploy/data/fashion-mnist"
SAMPLES = 100
EPS = 0.1


def generate(folder: str):
    """The client modules, made from proto/assay/v1/assay.proto."""
    proto = ROOT / "proto"
    arguments = ["protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", "assay/v1/assay.proto"]
    if protoc.main(arguments) != 0:
        sys.exit("error: protoc refused the contract")
    sys.path.insert(0, folder)
    return importlib.import_module("assay.v1.assay_pb2"), importlib.import_module("assay.v1.assay_pb2_grpc")


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


def idx(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((DATA / name).read_bytes())[header:], np.uint8)


def check(messages, stub) -> None:
    pixels = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:SAMPLES]
    labels = idx("t10k-labels-idx1-ubyte.gz", 8)[:SAMPLES]
    as_bytes = messages.Tensor(shape=pixels.shape, datatype=messages.DATA_TYPE_UINT8, data=pixels.tobytes())
    clean = (pixels / np.float32(255)).astype("<f4")
    as_floats = messages.Tensor(shape=clean.shape, datatype=messages.DATA_TYPE_FP32, data=clean.tobytes())

    answers = [stub.Predict(messages.PredictRequest(model="fashion-robust", input=t)) for t in (as_bytes, as_floats)]
    assert answers[0].logits == answers[1].logits, "bytes and floats of the same pixels give different logits"
    logits = np.frombuffer(answers[0].logits.data, "<f4").reshape(SAMPLES, 10)
    predicted = np.array([p.classes[0].__getattribute__("class") for p in answers[0].predictions])
    assert (predicted == logits.argmax(1)).all(), "the predictions are not the largest logits"
    correct = int((predicted == labels).sum())
    assert correct > 75, f"only {correct} of {SAMPLES} correct"

    request = messages.AttackRequest(
        model="fashion-dense",
        input=as_bytes,
        labels=labels.tolist(),
        threat=messages.Threat(norm=messages.NORM_LINF, eps=str(EPS)),
        attack=messages.AttackSpec(name="pgd", parameters={"steps": "20"}),
        return_adversarial=True,
    )
    events = list(stub.Attack(request))
    result = events[-1].result
    assert all(event.HasField("progress") for event in events[:-1]), "a result before the end of the stream"
    assert len(result.outcomes) == SAMPLES, f"{len(result.outcomes)} outcomes for {SAMPLES} samples"
    adversarial = np.frombuffer(result.adversarial.data, "<f4").reshape(clean.shape)
    assert np.abs(adversarial.astype("f8") - clean).max() <= EPS, "outside the ball"
    assert adversarial.min() >= 0 and adversarial.max() <= 1, "outside the box"
    broken = [i for i, o in enumerate(result.outcomes) if o.outcome == messages.OUTCOME_BROKEN]
    tensor = messages.Tensor(shape=clean.shape, datatype=messages.DATA_TYPE_FP32, data=adversarial.tobytes())
    again = stub.Predict(messages.PredictRequest(model="fashion-dense", input=tensor)).predictions
    fooled = [i for i in broken if again[i].classes[0].__getattribute__("class") != labels[i]]
    assert len(fooled) == len(broken) > 50, f"{len(fooled)} of {len(broken)} broken samples fool the model"

    try:
        stub.Predict(messages.PredictRequest(model="no-such-model", input=as_bytes))
        sys.exit("error: an unknown model was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error.code()
    print(f"Predict: {correct}/{SAMPLES} correct; Attack: {len(broken)} broken, each verified, {len(events) - 1} progress messages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    binaries = parser.parse_args().bin
    with tempfile.TemporaryDirectory() as folder:
        messages, services = generate(folder)
        address, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        command = [binaries / "assay-server", "--models", ROOT / "deploy/models"]
        server = subprocess.Popen([*command, "--set", f"grpc.listen={address}", "--set", f"admin.listen={admin}"])
        try:
            wait_until_ready(server, admin)
            with grpc.insecure_channel(address) as channel:
                check(messages, services.AssayStub(channel))
        finally:
            server.terminate()
            code = server.wait(60)
    assert code == 0, f"the server stopped with code {code}"


main()
