#!/usr/bin/env python3
"""Calls a real server from Python, with a client generated from our contract by grpcio's own tools.

    grpc_client.py --bin FOLDER

Starts FOLDER/assay-server on a free port with the demo's models, calls Predict and Attack, and checks what comes back.
"""
import argparse
import pathlib
import sys

import grpc
import numpy as np

from demo_images import images
from serving import serving

from served import messages, services  # client/examples, which `serving` puts on the path

SAMPLES = 100
EPS = 0.1


def check(stub) -> None:
    pixels, labels = images(SAMPLES)
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
    with serving(parser.parse_args().bin) as address, grpc.insecure_channel(address) as channel:
        check(services.AssayStub(channel))


main()
