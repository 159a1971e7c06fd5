"""KServe's Python server, kept on loopback: of itself it listens on every address."""
import grpc.aio
import uvicorn
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype

from session import GRPC_PORT, HTTP_PORT, MODELS, functions


def keep_on_loopback():
    config_init, add_port = uvicorn.Config.__init__, grpc.aio._server.Server.add_insecure_port

    def init(self, *args, **kw):
        kw["host"] = "127.0.0.1"
        config_init(self, *args, **kw)

    def add(self, address):
        return add_port(self, "127.0.0.1:" + address.rsplit(":", 1)[1])

    uvicorn.Config.__init__ = init
    grpc.aio._server.Server.add_insecure_port = add


class Served(Model):
    def __init__(self, name, run):
        super().__init__(name)
        self.run = run
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        result = self.run(payload.inputs[0].as_numpy())
        out = InferOutput(MODELS[self.name].output, list(result.shape), from_np_dtype(result.dtype))
        binary = payload.from_grpc or bool(getattr(payload, "use_binary_outputs", False))
        out.set_data_from_numpy(result, binary_data=binary)
        return InferResponse(response_id=payload.id or "0", model_name=self.name, infer_outputs=[out])


if __name__ == "__main__":
    keep_on_loopback()
    ModelServer(http_port=HTTP_PORT, grpc_port=GRPC_PORT, workers=1, enable_docs_url=False, enable_grpc=True,
                access_log_format=None).start([Served(n, f) for n, f in functions().items()])
