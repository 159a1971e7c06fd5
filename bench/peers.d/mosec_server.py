"""Mosec: a Rust front, one Python worker a route."""
import numpy as np
from mosec import Runtime, Server, Worker

from session import BATCH, MODELS, echo, onnx


class Json(Worker):
    model = "echo"

    def __init__(self):
        super().__init__()
        self.run = echo if self.model == "echo" else onnx(self.model)

    def deserialize(self, data):
        return np.asarray(super().deserialize(data)["input"], MODELS[self.model].dtype)

    def forward(self, data):
        if isinstance(data, list):  # batched by Mosec
            return list(self.run(np.concatenate(data))[:, None])
        return self.run(data)

    def serialize(self, data):
        return super().serialize({"output": data.tolist()})


class Raw(Json):
    def deserialize(self, data):
        return np.frombuffer(data, MODELS[self.model].dtype).reshape(MODELS[self.model].shape)

    def serialize(self, data):
        return data.tobytes()


def routes():
    """{route: worker, with how many requests at once}.  Workers are found by name in a new process."""
    found = {}
    for base in (Json, Raw):
        for model in MODELS:
            name = f"{base.__name__}{model.capitalize()}"
            kind = globals()[name] = type(name, (base,), {"model": model, "__module__": __name__})
            found[f"/{base.__name__.lower()}/{model}"] = Runtime(kind, num=1)
            if model == "digits":
                found[f"/{base.__name__.lower()}/{model}-batched"] = Runtime(
                    kind, num=1, max_batch_size=BATCH, max_wait_time=1)
    return found


ROUTES = routes()

if __name__ == "__main__":
    server = Server()
    server.register_runtime({route: [runtime] for route, runtime in ROUTES.items()})
    server.run()
