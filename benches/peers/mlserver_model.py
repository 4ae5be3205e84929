"""A model for MLServer, whose own runtimes have none for ONNX."""
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        self.name_in, self.name_out = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        return True

    async def predict(self, payload):
        batch = NumpyCodec.decode_input(payload.inputs[0])
        logits = self.session.run(None, {self.name_in: batch})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(self.name_out, logits)])
