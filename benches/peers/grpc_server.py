"""The server that one writes in Python in an afternoon: the Open Inference Protocol on grpc.aio, and ONNX Runtime on a pool of threads.

    grpc_server.py STUBS ADDRESS MODEL FILE
"""
import asyncio
import concurrent.futures
import sys

import grpc
import numpy
import onnxruntime

sys.path.insert(0, sys.argv[1])
from inference import open_inference_pb2 as messages  # noqa: E402
from inference import service_pb2_grpc as stubs  # noqa: E402

_, _, ADDRESS, MODEL, FILE = sys.argv
THREADS = 2


class Server(stubs.GRPCInferenceServiceServicer):
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # A session may be run from several threads at once.
        self.session = onnxruntime.InferenceSession(FILE, options, providers=["CPUExecutionProvider"])
        self.pool = concurrent.futures.ThreadPoolExecutor(THREADS)
        self.input, self.output = self.session.get_inputs()[0], self.session.get_outputs()[0]

    async def ServerReady(self, request, context):
        return messages.ServerReadyResponse(ready=True)

    async def ModelReady(self, request, context):
        return messages.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request, context):
        tensor = messages.ModelMetadataResponse.TensorMetadata
        sizes = lambda value: [size if isinstance(size, int) else -1 for size in value.shape]
        return messages.ModelMetadataResponse(
            name=MODEL,
            versions=["1"],
            platform="onnxruntime_onnx",
            inputs=[tensor(name=self.input.name, datatype="FP32", shape=sizes(self.input))],
            outputs=[tensor(name=self.output.name, datatype="FP32", shape=sizes(self.output))],
        )

    async def ModelInfer(self, request, context):
        tensor = request.inputs[0]
        batch = numpy.frombuffer(request.raw_input_contents[0], dtype="<f4").reshape(tensor.shape)
        loop = asyncio.get_running_loop()
        logits = await loop.run_in_executor(self.pool, lambda: self.session.run(None, {self.input.name: batch})[0])
        output = messages.ModelInferResponse.InferOutputTensor(name=self.output.name, datatype="FP32", shape=logits.shape)
        return messages.ModelInferResponse(model_name=MODEL, model_version="1", outputs=[output], raw_output_contents=[logits.tobytes()])


async def main() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    stubs.add_GRPCInferenceServiceServicer_to_server(Server(), server)
    server.add_insecure_port(ADDRESS)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
