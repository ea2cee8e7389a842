"""A criterion with memory."""

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="drift", summary="distance to the output before", target="esbench_drift:Drift")]


class Drift:
    def __init__(self, *, power: int = 2):
        self.power = power
        self.last = None

    def update(self, frame):
        last, self.last = self.last, frame.float
        return None if last is None else float((abs(self.last - last) ** self.power).mean())

    def state_dict(self):
        return {"last": self.last}

    def load_state_dict(self, state):
        self.last = state["last"]
