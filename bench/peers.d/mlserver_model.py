"""A model of MLServer: what the others serve too."""
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

from session import MODELS, echo, onnx


class Served(MLModel):
    async def load(self):
        self.run = echo if self.name == "echo" else onnx(self.name)
        return True

    async def predict(self, payload):
        result = self.run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name,
                                 outputs=[NumpyCodec.encode_output(MODELS[self.name].output, result)])
