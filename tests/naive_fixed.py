"""Twins of the integer arithmetic in Python's unbounded integers, written from the chips' equations; see naive.py."""

import math

import numpy as np

import naive

# --- operations --------------------------------------------------------------------------------------------------------


def multiply(x, d, bits, rounding):
    """x (2^bits − d) / 2^bits, rounded."""
    product, unity = x * (2**bits - d), 2**bits
    if rounding == "toward_zero":
        return product // unity if product >= 0 else -(-product // unity)
    return (2 * product + unity) // (2 * unity) if rounding == "nearest" else product // unity


def shift_down(x, dash):
    """Xylo: what is taken is x >> dash, and 1 at least."""
    return x - max(1, x >> dash) if x > 0 else x - (x >> dash)


def linear_leak(x, leak):
    """Towards zero by `leak`, ending there."""
    return max(0, x - leak) if x > 0 else min(0, x + leak)


def overflow(x, bits, kind):
    """The value a register of `bits` holds after x was written, and whether that is another one."""
    limit = 2 ** (bits - 1)
    if kind == "saturate_at_zero":
        held = max(0, min(2 * limit - 1, x))
    elif kind == "saturate":
        held = max(1 - limit, min(limit - 1, x))
    elif kind == "wrap_above":  # −limit < x ≤ limit
        held = (x + limit - 1) % (2 * limit) - limit + 1
    else:  # wrap_below: −limit ≤ x < limit
        held = (x + limit) % (2 * limit) - limit
    return held, held != x


def graded_input(observation, per_unit, limit, shift, released):
    """Bias of every neuron: Σ_k [x, −x]_k θ_k of rounded x, cut at ± limit, shifted; and how many were cut.

    `released`: booleans, shape (2 · d_in, n).
    """
    mantissas = [int(np.rint(np.float32(x) * np.float32(per_unit))) for x in observation]
    mantissas += [-m for m in mantissas]
    totals = [sum(m for m, row in zip(mantissas, released, strict=True) if row[j]) for j in range(len(released[0]))]
    return [max(-limit, min(limit, t)) << shift for t in totals], sum(abs(t) > limit for t in totals)


# --- networks ----------------------------------------------------------------------------------------------------------


class Chip:
    """The arithmetic a profile describes, with a mapped network's registers (mapping/quantise.py) written into it."""

    def __init__(self, mapped):
        self.mapped, self.neuron = mapped, mapped.profile.neuron
        self.u_lasts = self.neuron.synaptic_current
        self.shift = self.neuron.input_shift + mapped.weight_exponent
        self.threshold = mapped.threshold << self.neuron.threshold.shift
        self.readout_delay = mapped.profile.synapse.min_delay > 0

    def decay(self, x, register, offset):
        d = self.neuron.decay
        if d.form == "shift":
            return shift_down(x, register)
        if d.form == "linear":
            return linear_leak(x, register)
        return multiply(x, register + offset, d.bits, d.rounding)

    def lif_step(self, u, v, bias, count):
        """One neuron, one step: u, v, whether it spiked, whether u and v overflowed."""
        m, d = self.mapped, self.neuron.decay
        u = self.decay(u, m.u_decay.register, d.u_offset) if self.u_lasts else 0
        u, u_over = overflow(u + count * (m.weight << self.shift), self.neuron.u.bits, self.neuron.u.overflow)
        v = self.decay(v, m.v_decay.register, d.v_offset) + u + bias
        v, v_over = overflow(v, self.neuron.v.bits, self.neuron.v.overflow)
        spike = v >= self.threshold if self.neuron.threshold.compare == "ge" else v > self.threshold
        if spike:
            v = 0 if self.neuron.reset == "zero" else v - self.threshold
        return u, v, spike, u_over, v_over

    def readout_step(self, trace, count):
        trace = self.decay(trace, self.mapped.readout_decay.register, self.neuron.decay.v_offset)
        trace += count * (self.mapped.readout_weight << (self.neuron.input_shift + self.mapped.readout_exponent))
        return overflow(trace, self.neuron.v.bits, self.neuron.v.overflow)


class FixedSample:
    """One network on a chip; `naive.Sample` in integers. Keeps u, v, spikes and traces of every step it has made."""

    def __init__(self, releases, potentials, mapped, substeps=33):
        self.input, self.recurrent, self.readout = releases
        self.chip, self.substeps = Chip(mapped), substeps
        options, largest = mapped.network.options, 2 ** (mapped.profile.neuron.v.bits - 1) - 1
        n = options.n_neurons
        self.excitatory = [i < round(n * options.excitatory_ratio) for i in range(n)]
        start = [math.floor((x - options.v_reset) * mapped.potential_unit) for x in potentials]
        self.u, self.v = [0] * n, [max(-largest, min(largest, v)) for v in start]
        self.spikes = [False] * n
        self.trace = [0] * self.readout.shape[1]
        self.events = [0, 0, 0]  # overflows of u, of v and traces; inputs that were cut
        self.history = {"u": [], "v": [], "spikes": [], "trace": []}

    def environment_step(self, observation):
        """Simulation steps with a constant bias; returns the output."""
        m = self.chip.mapped
        bias, cut = graded_input(observation, m.per_unit, m.bias_limit, m.bias_exponent, self.input)
        self.events[2] += cut
        for _ in range(self.substeps):
            before, self.spikes = self.spikes, list(self.spikes)
            counts = naive.sum_rows(before, self.excitatory, self.recurrent)
            for j, count in enumerate(counts):
                stepped = self.chip.lif_step(self.u[j], self.v[j], bias[j], count)
                self.u[j], self.v[j], self.spikes[j], u_over, v_over = stepped
                self.events[0] += u_over
                self.events[1] += v_over
            heard = before if self.chip.readout_delay else self.spikes
            for o, count in enumerate(naive.sum_rows(heard, self.excitatory, self.readout)):
                self.trace[o], over = self.chip.readout_step(self.trace[o], count)
                self.events[1] += over
            for name, kept in self.history.items():
                kept.append(list(getattr(self, name)))
        scale = np.float32(m.readout_scale)
        return np.array([scale * np.float32(trace) for trace in self.trace])
