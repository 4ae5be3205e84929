#!/usr/bin/env python3
"""Compares our contract of the Open Inference Protocol with that of Triton's client, and calls a real server with it.

    inference_client.py --bin FOLDER

Starts FOLDER/assay-server on a free port with the demo's models. The server's reflection gives our descriptors, so that what is compared is what is served.
"""
import argparse
import pathlib
import shutil
import tempfile

import grpc
import numpy as np
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from google.protobuf.internal.encoder import _VarintBytes as varint
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from demo_images import images
from serving import ROOT, serving

SERVICE = "inference.GRPCInferenceService"
MODEL = "fashion-robust"
# What we have and Triton's client does not, each with its reason.
OURS = {"inference.ModelMetadataResponse.properties": "a field of the Open Inference Protocol that Triton left out"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    binaries = parser.parse_args().bin
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        shutil.copytree(ROOT / "deploy/models", models)
        with serving(binaries, models) as address:
            compare(address)
            with triton.InferenceServerClient(address) as client:
                call(client, models)


# ---------------------------------------------------------------------------------------------------------------------
# Descriptors


def compare(address: str) -> None:
    ours, theirs = table(reflected(address)), table(bundled())
    extra = {name for name in ours if name not in theirs}
    assert extra == set(OURS), f"only in ours: {sorted(extra ^ set(OURS))}"
    wrong = [f"{name}: theirs {theirs[name]}, ours {ours.get(name)}" for name in theirs if theirs[name] != ours.get(name)]
    assert not wrong, "\n".join(wrong)
    print(f"descriptors: {len(theirs)} methods, fields and values are those of Triton's client; {len(OURS)} is ours alone")


def bundled() -> list:
    return [file_of(module.DESCRIPTOR) for module in (service_pb2, model_config_pb2)]


def file_of(descriptor) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


def reflected(address: str) -> list:
    """The files of the service, by server reflection: question and answer are simple enough to be written here."""
    # ServerReflectionRequest.file_containing_symbol = 4; ServerReflectionResponse.file_descriptor_response = 4, whose files are field 1.
    symbol = SERVICE.encode()
    question = varint(4 << 3 | 2) + varint(len(symbol)) + symbol
    with grpc.insecure_channel(address) as channel:
        ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        answer = next(iter(ask(iter([question]))))
    files = {}
    queue = [part for number, part in fields(answer) if number == 4]
    assert queue, "the server's reflection does not know the service"
    for number, part in fields(queue[0]):
        if number == 1:
            file = descriptor_pb2.FileDescriptorProto.FromString(part)
            files[file.name] = file
    missing = {name for file in files.values() for name in file.dependency} - set(files)
    while missing:
        name = missing.pop().encode()
        question = varint(3 << 3 | 2) + varint(len(name)) + name  # file_by_filename
        with grpc.insecure_channel(address) as channel:
            ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            answer = next(iter(ask(iter([question]))))
        for part in (part for number, part in fields(answer) if number == 4):
            for number, content in fields(part):
                if number == 1:
                    file = descriptor_pb2.FileDescriptorProto.FromString(content)
                    files[file.name] = file
                    missing |= set(file.dependency) - set(files)
    return list(files.values())


def fields(message: bytes):
    """The fields of a message that have a length, with their numbers."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 2:
            length = number()
            yield key >> 3, message[at : at + length]
            at += length
        else:
            assert key & 7 == 0, f"wire type {key & 7}"
            number()


def table(files: list) -> dict:
    """What decides the bytes on the wire, by full name: methods, fields (those of maps too) and values of enums."""
    found = {}

    def enum(scope: str, of) -> None:
        for value in of.value:
            found[f"{scope}.{of.name}.{value.name}"] = value.number

    def message(scope: str, of) -> None:
        name = f"{scope}.{of.name}"
        for field in of.field:
            oneof = of.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
            found[f"{name}.{field.name}"] = (field.number, field.type, field.label, field.type_name, oneof)
        for nested in of.nested_type:
            if not (nested.options.map_entry and nested.name == "PropertiesEntry"):
                message(name, nested)
        for nested in of.enum_type:
            enum(name, nested)

    for file in files:
        scope = file.package
        for of in file.message_type:
            message(scope, of)
        for of in file.enum_type:
            enum(scope, of)
        for service in file.service:
            for method in service.method:
                streams = (method.client_streaming, method.server_streaming)
                found[f"{scope}.{service.name}.{method.name}"] = (method.input_type, method.output_type, *streams)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Calls


def call(client: triton.InferenceServerClient, models: pathlib.Path) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    extensions = set(client.get_server_metadata().extensions)
    assert extensions == {"classification", "model_configuration", "model_repository", "statistics"}, extensions
    metadata = client.get_model_metadata(MODEL)
    config = client.get_model_config(MODEL).config
    (given,), (output,) = metadata.inputs, metadata.outputs
    assert [-1, *config.input[0].dims] == list(given.shape) and [-1, *config.output[0].dims] == list(output.shape)
    assert config.max_batch_size > 0 and config.parameters["provider"].string_value == "cpu"

    pixels, labels = images(100)
    clean = (pixels / np.float32(255)).astype(np.float32)
    logits = infer(client, given.name, output.name, clean)
    correct = int((logits.argmax(1) == labels).sum())
    assert logits.shape == (100, 10) and correct > 75, f"only {correct} of 100 correct"
    assert (infer(client, given.name, output.name, pixels) == logits).all(), "bytes and floats of the same pixels give different logits"
    half = infer(client, given.name, output.name, clean.astype(np.float16))
    rounded = infer(client, given.name, output.name, clean.astype(np.float16).astype(np.float32))
    assert (half == rounded).all(), "FP16 is not what its numbers are"
    packed = infer(client, given.name, output.name, clean, compression_algorithm="gzip")
    assert (packed == logits).all(), "compressed messages give different logits"

    wanted = [triton.InferRequestedOutput(output.name, class_count=3)]
    texts = client.infer(MODEL, [tensor(given.name, clean[:2])], outputs=wanted, request_id="r").as_numpy(output.name)
    first = texts[0, 0].decode().split(":")
    assert texts.shape == (2, 3) and (np.float32(first[0]), int(first[1])) == (logits[0].max(), logits[0].argmax()), texts

    answers = []
    client.start_stream(lambda result, error: answers.append(error or result))
    for name in (given.name, "no-such-input", given.name):
        client.async_stream_infer(MODEL, [tensor(name, clean[:2])])
    client.stop_stream()
    assert [isinstance(answer, InferenceServerException) for answer in answers] == [False, True, False], answers
    assert (answers[2].as_numpy(output.name) == infer(client, given.name, output.name, clean[:2])).all()

    statistics = client.get_inference_statistics(MODEL).model_stats[0]
    assert statistics.inference_count >= 500 and statistics.inference_stats.success.count >= 7, statistics
    assert statistics.inference_stats.queue.ns > 0 and statistics.inference_stats.compute_infer.ns > 0

    index = {entry.name: entry.state for entry in client.get_model_repository_index().models}
    assert len(index) == 6 and set(index.values()) == {"READY"}, index
    client.unload_model(MODEL)
    assert not client.is_model_ready(MODEL)
    says("StatusCode.UNAVAILABLE", lambda: infer(client, given.name, output.name, clean[:2]))
    shutil.copy(models / "fashion-dense/1/model.onnx", models / MODEL / "1/model.onnx")
    client.load_model(MODEL)
    assert client.is_model_ready(MODEL)
    assert (infer(client, given.name, output.name, clean[:2]) != logits[:2]).all(), "the old file answers"
    says("StatusCode.INVALID_ARGUMENT", lambda: client.load_model(MODEL, config="{}"))
    says("StatusCode.NOT_FOUND", lambda: client.load_model("no-such-model"))
    says("StatusCode.UNIMPLEMENTED", client.get_system_shared_memory_status)
    says("StatusCode.UNIMPLEMENTED", client.get_log_settings)
    print(f"calls: {correct}/100 correct; {len(answers)} answers of a stream; loaded and unloaded")


def tensor(name: str, values: np.ndarray) -> triton.InferInput:
    given = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values)
    return given


def infer(client: triton.InferenceServerClient, name: str, output: str, values: np.ndarray, **options) -> np.ndarray:
    return client.infer(MODEL, [tensor(name, values)], **options).as_numpy(output)


def says(code: str, refused) -> None:
    try:
        refused()
    except InferenceServerException as error:
        assert error.status() == code, error
    else:
        raise AssertionError(f"accepted; expected {code}")


main()
