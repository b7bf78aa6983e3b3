"""The host of an exported network: a Lava process on the CPU that plays the task.

Every environment step it reads the readout's potential, acts, and writes the new input current (bias) of every neuron.
"""

import json

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Episode:
    """One episode of the task, as the network sees it."""

    def __init__(self, arrays, seed, start=None):
        self.arrays = arrays
        self.about = json.loads(str(arrays["about"]))
        self.environment = Picture(arrays["states"], seed) if self.about["pictures"] else self.make_environment()
        observation, _ = self.environment.reset(seed=seed)
        if start is not None:
            self.environment.unwrapped.state, observation = start
        self.observation = observation
        self.earned, self.steps, self.ended = 0.0, 0, False

    def make_environment(self):
        """The task in Gymnasium."""
        import gymnasium

        return gymnasium.make(self.about["gymnasium_id"], max_episode_steps=self.about["max_steps"])

    def bias(self):
        """Input current of every neuron: bias mantissas, int, shape (networks · neurons,)."""
        a = self.arrays
        z = (self.observation.astype(np.float64) - a["mean"]) * a["inverse_std"]
        unknown = (a["mean"] == 0) & (a["inverse_std"] == 1) & (abs(z) > a["largest_z"])  # before anything was learned
        z = np.where(unknown, 0, np.clip(z, -a["largest_z"], a["largest_z"])).astype(np.float32)
        x = np.rint(np.clip(z * a["per_unit"], -a["largest_input"], a["largest_input"])).astype(np.int64)
        total = np.concatenate([x, -x]) @ a["input"].astype(np.int64) >> int(a["fraction_bits"])
        return np.clip(total, -int(a["bias_limit"]), int(a["bias_limit"])).ravel()

    def act(self, trace):
        """One environment step from the readout's potential."""
        output = self.arrays["readout_scale"] * np.asarray(trace, np.float32)
        self.observation, reward, ended, cut, _ = self.environment.step(self.action(output))
        self.earned += float(reward)
        self.steps += 1
        self.ended = bool(ended or cut)

    def action(self, output):
        """What the network's output means to the environment."""
        if self.about["action"] == "range":  # an output from -1 to 1
            low, high = np.array(self.about["action_range"], np.float32)
            one = np.float32(1)
            return low + (np.clip(output, -one, one) + one) / np.float32(2) * (high - low)
        return int(output[0] > 0) if self.about["action"] == "sign" else int(np.argmax(output))


class Picture:
    """A test image as an environment of one step: 1 for its class. A state is the label, then the pixels."""

    def __init__(self, states, index):
        self.state = states[index % len(states)]
        self.unwrapped = self

    @property
    def observation(self):
        """The pixels."""
        return np.asarray(self.state[1:], np.float32)

    def reset(self, seed):
        """The picture is chosen already."""
        return self.observation, {}

    def step(self, action):
        """Classify."""
        return self.observation, float(action == int(self.state[0])), True, False, {}


class Host(AbstractProcess):
    """s_in: spikes of all neurons; bias: writes their `bias_mant`; potential: reads the readout's `v`."""

    def __init__(self, *, neurons, outputs, substeps, episode, record):
        super().__init__(substeps=substeps, episode=episode, record=record)
        self.s_in = InPort(shape=(neurons,))
        self.bias = RefPort(shape=(neurons,))
        self.potential = RefPort(shape=(outputs,))
        self.result = Var(shape=(4,), init=0)


@implements(proc=Host, protocol=LoihiProtocol)
@requires(CPU)
class HostModel(PyLoihiProcessModel):
    """Acts in the management phase after the last simulation step of every environment step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, bool)
    bias: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    potential: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    result: np.ndarray = LavaPyType(np.ndarray, np.float64)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.substeps, self.episode = proc_params["substeps"], proc_params["episode"]
        self.record, self.trains, self.spikes = proc_params["record"], [], 0

    def run_spk(self):
        """Count and keep the spikes."""
        spikes = self.s_in.recv()
        if not self.episode.ended:
            self.spikes += int(np.count_nonzero(spikes))
            self.trains.append(np.packbits(np.asarray(spikes, bool)))

    def post_guard(self):
        """Is this the last simulation step of an environment step?"""
        return self.time_step % self.substeps == 0 and not self.episode.ended

    def run_post_mgmt(self):
        """Act, and show the new observation."""
        self.episode.act(self.potential.read())
        if self.episode.ended:
            if self.record:
                np.save(self.record, np.array(self.trains))
        else:
            self.bias.write(self.episode.bias())
            self.bias.wait()  # or the neurons may take their next step with the old bias
        self.result[:] = self.episode.ended, self.episode.earned, self.episode.steps, self.spikes
