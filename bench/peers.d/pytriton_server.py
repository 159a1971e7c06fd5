"""PyTriton: Triton's core with models in Python."""
import os

from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from session import BATCH, GRPC_PORT, HTTP_PORT, MODELS, functions


def served(name, run):
    @batch
    def infer(**inputs):
        return {MODELS[name].output: run(inputs[MODELS[name].input])}
    return infer


if __name__ == "__main__":
    config = TritonConfig(http_address="127.0.0.1", http_port=HTTP_PORT, grpc_address="127.0.0.1", grpc_port=GRPC_PORT,
                          metrics_address="127.0.0.1", metrics_port=int(os.environ["BENCH_METRICS_PORT"]),
                          log_verbose=0)
    with Triton(config=config) as triton:
        for name, run in functions().items():
            model = MODELS[name]
            out = model.shape[1:] if name == "echo" else (10,)
            triton.bind(
                model_name=name, infer_func=served(name, run),
                inputs=[Tensor(name=model.input, dtype=model.dtype, shape=model.shape[1:])],
                outputs=[Tensor(name=model.output, dtype=model.dtype, shape=out)],
                config=ModelConfig(max_batch_size=BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)))
        triton.serve()
