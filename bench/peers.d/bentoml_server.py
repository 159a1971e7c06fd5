"""BentoML: a service in Python, numbers as JSON."""
import bentoml
import numpy as np

from session import MODELS, functions


@bentoml.service(workers=1)
class Served:
    def __init__(self):
        self.run = functions()

    @bentoml.api
    async def echo(self, input: np.ndarray) -> np.ndarray:
        return self.run["echo"](input.astype(MODELS["echo"].dtype))

    @bentoml.api
    async def digits(self, input: np.ndarray) -> np.ndarray:
        return self.run["digits"](input.astype(MODELS["digits"].dtype))
