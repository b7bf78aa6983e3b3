"""The environment as a Lava process."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort

from rsrp_lava.processes.population import PopulationProcess, played_size

#: How an episode is.
PLAYING, OUT_OF_TIME, ENDED = range(3)


class Environment(PopulationProcess):
    """Episodes of a task, one a sample. Leads the phase line.

        at the first substep of an environment step:
            state, reward, ended = step(state, a_in)        for samples that play; returns and steps are summed
            s_out = observation of state
            g_out = alive                                   a sample whose episode ended is no longer alive
        in the learning phase: t_out = (returns, steps, how, answers); the broadcast starts the next episodes

    With `every_step`, g_out is 0 after every environment step, and the return is the reward of that step: the learning phase
    comes after every step, and unless the episode is over it goes on.

    Ports (S samples in all)
    ------------------------
    a_in : float32, (S, n_outputs)      output of the network, from the last substep
    s_out : float64, (S, n_inputs)      observations
    g_out : uint8, (S,)                 alive
    t_out : float64, (S, 3 + answers)   returns, environment steps, how an episode is (PLAYING, OUT_OF_TIME or ENDED), and
                                        what the network answered (kernels/rollout.count_output)
    r_in : float64                      broadcast (processes/population.py)

    State: the task's own, float64, (S, state_size); returns, float64, and steps, int64, of this episode;
    alive and ended, uint8.

    Parameters: `task` (its three compiled functions, sizes and limit), `key` (seed, generation), `playing` (whether training
    samples play in the first generation), `every_step`.
    """

    def __init__(
        self,
        *,
        samples: int,
        evaluation: int,
        n_inputs: int,
        n_outputs: int,
        every_step: bool = False,
        **parameters: Any,
    ) -> None:
        sizes = {"samples": samples, "evaluation": evaluation, "n_inputs": n_inputs, "n_outputs": n_outputs}
        super().__init__(**sizes, every_step=every_step, **parameters)
        total = samples + evaluation
        self.a_in = InPort(shape=(total, n_outputs))
        self.s_out = OutPort(shape=(total, n_inputs))
        self.g_out = OutPort(shape=(total,))
        self.t_out = OutPort(shape=(total, played_size(n_outputs)))
