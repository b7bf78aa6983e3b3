"""Slow, obvious twins of the kernels, written from the equations (Wang et al. 2023, class `ConnSNN`; Sun et al. 2025).

Nothing is imported from the library: constants, key streams and the order of the random words are stated again. Loops
everywhere; the only liberty is `real`, the type every operation is rounded to: np.float32 as the kernels, or np.float64.
"""

import math
import struct

import numpy as np

MASK = 2**64 - 1
#: Fourth word of the key of a random draw; projection k (input, recurrent, readout) draws from RELEASE + k.
RELEASE, MEMBRANE, TASK, RESERVOIR = 0, 1000, 1001, 1002
EVALUATION = 1000


# --- random bits -------------------------------------------------------------------------------------------------------


def threefry4x64(key, counter, rounds=13):
    """Threefry (Salmon et al. 2011) in Python integers: four 64-bit words."""
    rotations = [(14, 16), (52, 57), (23, 40), (5, 37), (25, 33), (46, 12), (58, 22), (32, 32)]
    keys = [*key, 0x1BD11BDAA9FC1A22 ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [(c + k) & MASK for c, k in zip(counter, key, strict=True)]
    for r in range(rounds):
        pairs = [(0, 1), (2, 3)] if r % 2 == 0 else [(0, 3), (2, 1)]
        for (a, b), rotation in zip(pairs, rotations[r % 8], strict=True):
            x[a] = (x[a] + x[b]) & MASK
            x[b] = ((x[b] << rotation | x[b] >> (64 - rotation)) & MASK) ^ x[a]
        if r % 4 == 3:
            s = (r + 1) // 4
            x = [(x[i] + keys[(s + i) % 5] + (s if i == 3 else 0)) & MASK for i in range(4)]
    return x


def uniforms(seed, generation, sample, stream, n):
    """n numbers in [0, 1): the top 53 bits of the words of counters 0, 1, 2, …"""
    words = [w for c in range(-(-n // 4)) for w in threefry4x64((seed, generation, sample, stream), (c, 0, 0, 0))]
    return np.array([(word >> 11) / 2**53 for word in words[:n]])


# --- release -----------------------------------------------------------------------------------------------------------


def threshold(p, p_bits):
    """P = round(2^B p), within 1 … 2^B − 1."""
    return min(max(round(2**p_bits * float(p)), 1), 2**p_bits - 1)


def draw_release(probability, p_bits, seed, generation, sample, stream):
    """θ = [P + X ≥ 2^B], synapse by synapse; rows are padded to words of 64 synapses.

    Bit b of the X of synapse s of word w is bit s of a random word: word b mod 4 of Threefry's counter (w, b − b mod 4).
    For a B that is no multiple of 4 the bits are counted from the top; those left over at the bottom are not used.
    """
    rows, columns = probability.shape
    released = np.zeros((rows, columns), bool)
    words_a_row = -(-columns // 64)
    for i in range(rows):
        for j in range(0, columns, 64):
            counter = i * words_a_row + j // 64
            random = []
            for first_bit in range(0, p_bits, 4):
                random += threefry4x64((seed, generation, sample, stream), (counter, first_bit, 0, 0))
            random = random[len(random) - p_bits :]
            for s in range(min(64, columns - j)):
                x = sum((word >> s & 1) << b for b, word in enumerate(random))
                released[i, j + s] = threshold(probability[i, j + s], p_bits) + x >= 2**p_bits
    return released


def draw_registers(probability, p_bits, taps, stride, inclusive, seed, generation, sample, stream):
    """One register a row: a list of bits, lowest first; every step the parity of the taps comes in at the bottom."""
    rows, columns = probability.shape
    released = np.zeros((rows, columns), bool)
    width = taps[0]
    for i in range(rows):
        start = 1 + threefry4x64((seed, generation, sample, stream), (i, 0, 0, 0))[0] % (2**width - 1)
        register = [start >> b & 1 for b in range(width)]
        for j in range(columns):
            drawn = sum(bit << b for b, bit in enumerate(register[:p_bits]))
            p = float(probability[i, j])
            code = {0.0: 0, 1.0: 2**p_bits}.get(p, threshold(p, p_bits))
            released[i, j] = drawn < code or (inclusive and drawn == code and code > 0)
            for _ in range(stride):
                register = [sum(register[t - 1] for t in taps) % 2, *register[:-1]]
    return released


def sum_credit(units, releases):
    """credit[k] = Σ_i units[i] · θ_ik in Python integers; `releases`: one array of booleans a sample."""
    credit = [0] * releases[0].size
    for unit, released in zip(units, releases, strict=True):
        for k, theta in enumerate(released.ravel()):
            credit[k] += int(unit) * int(theta)
    return np.array(credit).reshape(releases[0].shape)


def selected_sums(released, x, unreleased=0):
    """Σ_i w_ji x_ib in Python integers: w = 1 where θ_ji is released, `unreleased` (0 or −1) elsewhere."""
    total = [[0] * len(x[0]) for _ in released]
    for j, row in enumerate(released):
        for i, theta in enumerate(row):
            for b, value in enumerate(x[i]):
                total[j][b] += (1 if theta else unreleased) * int(value)
    return np.array(total).reshape(len(released), len(x[0]))


# --- neurons -----------------------------------------------------------------------------------------------------------


def sum_rows(spikes, excitatory, released):
    """out[j] = Σ_i s_i θ_ij spike_i, s_i = ±1."""
    out = [0] * released.shape[1]
    for i in range(released.shape[0]):
        if spikes[i]:
            for j in range(released.shape[1]):
                if released[i, j]:
                    out[j] += 1 if excitatory[i] else -1
    return out


def lif_step(u, v, drive, count, c, real=np.float32):
    """One neuron, one step, every operation rounded to `real`: the new u, the new v, and whether it spiked."""
    u = real(real(c.alpha_syn * u) + real(c.weight * real(count)))
    inflow = real(real(c.v_reset + u) + drive)
    v = real(real(c.alpha_mem * v) + real(c.gain * inflow))
    if v > c.v_threshold:
        return u, c.v_reset, True
    return u, v, False


class Constants:
    """Constants of the network, computed in float64, rounded once."""

    def __init__(self, n_inputs, n_neurons, real):
        dt, tau_syn, tau_mem, tau_out, sparsity = 0.5, 5.0, 10.0, 10.0, 0.5
        self.v_reset, self.v_threshold = real(0), real(1)
        self.alpha_syn, self.alpha_mem = real(math.exp(-dt / tau_syn)), real(math.exp(-dt / tau_mem))
        self.gain = real(1 - math.exp(-dt / tau_mem))
        self.alpha_out = real(math.exp(-dt / tau_out))
        self.trace_gain = real((1 - math.exp(-dt / tau_out)) / dt)
        self.input_weight = real(0.1 * 1.0 * tau_mem * math.sqrt(2 / (sparsity * n_inputs)))
        self.weight = real(1.0 * 1.0 * tau_mem / tau_syn * math.sqrt(2 / (sparsity * n_neurons)))
        self.output_weight = real(5.0 * math.sqrt(1 / (sparsity * n_neurons)))


class Sample:
    """One network with its synapses: arrays of booleans, shape (n_pre, n_post). Keeps every spike it has seen."""

    SUBSTEPS = 33

    def __init__(self, releases, potentials, excitatory_ratio=0.5, real=np.float32):
        self.input, self.recurrent, self.readout = releases
        n = len(self.recurrent)
        self.real = real
        self.constants = Constants(len(self.input) // 2, n, real)
        self.excitatory = [i < round(n * excitatory_ratio) for i in range(n)]
        self.u = [real(0)] * n
        self.v = [real(np.float32(v)) for v in potentials]
        self.spikes = [False] * n
        self.trace = [real(0)] * self.readout.shape[1]
        self.spike_history = []

    def environment_step(self, observation):
        """One environment step: 33 simulation steps with a constant drive; returns the output."""
        real, c = self.real, self.constants
        n = len(self.u)
        both_signs = [real(x) for x in observation] + [real(-x) for x in observation]
        drive = []
        for j in range(n):
            total = real(0)
            for k, x in enumerate(both_signs):
                if self.input[k, j]:
                    total = real(total + x)
            drive.append(real(c.input_weight * total))
        for _ in range(self.SUBSTEPS):
            counts = sum_rows(self.spikes, self.excitatory, self.recurrent)
            for j in range(n):
                self.u[j], self.v[j], self.spikes[j] = lif_step(self.u[j], self.v[j], drive[j], counts[j], c, real)
            self.spike_history.append(list(self.spikes))
            arrived = sum_rows(self.spikes, self.excitatory, self.readout)
            for o in range(len(self.trace)):
                self.trace[o] = real(real(c.alpha_out * self.trace[o]) + real(c.trace_gain * real(arrived[o])))
        return np.array([real(c.output_weight * trace) for trace in self.trace])


def released_code_outputs(spike_history, excitatory, readout, substeps=33):
    """Outputs as the released code computes them (float64): a rate trace a neuron, summed over the readout's synapses.

    rate_i ← α rate_i + (1 − α)/dt · s_i spike_i;   output_o = R_out Σ_i rate_i θ_io, read every `substeps` steps
    """
    c = Constants(1, len(excitatory), np.float64)
    rate = [0.0] * len(excitatory)
    outputs = []
    for step, spikes in enumerate(spike_history, start=1):
        for i, spike in enumerate(spikes):
            rate[i] = c.alpha_out * rate[i] + c.trace_gain * (1 if excitatory[i] else -1) * bool(spike)
        if step % substeps == 0:
            outputs.append(
                [
                    c.output_weight * sum(rate[i] * bool(readout[i, o]) for i in range(len(rate)))
                    for o in range(readout.shape[1])
                ]
            )
    return np.array(outputs)


# --- episodes ----------------------------------------------------------------------------------------------------------


def draw_network(probabilities, p_bits, seed, generation, sample):
    """Releases of the three projections (each n_pre × n_post); the readout's rows of bits are its outputs."""
    w_in, w_rec, w_out = probabilities
    key = (seed, generation, sample)
    return (
        draw_release(w_in, p_bits, *key, RELEASE),
        draw_release(w_rec, p_bits, *key, RELEASE + 1),
        draw_release(w_out.T, p_bits, *key, RELEASE + 2).T,
    )


def play_cartpole(network, environment, start, mean, inverse_std, max_steps=500):
    """One episode of Gymnasium's CartPole: the return and the observations, before they were standardised (float32)."""
    environment.reset()
    environment.state = start
    observation, total, seen = start.astype(np.float32), 0.0, []
    for _ in range(max_steps):
        seen.append(observation)
        parts = zip(observation.tolist(), mean, inverse_std, strict=True)
        z = [np.float32(min(max((x - m) * s, -10), 10)) for x, m, s in parts]
        output = network.environment_step(z)
        observation, reward, terminated, _, _ = environment.step(1 if output[0] > 0 else 0)
        total += reward
        if terminated:
            break
    return total, np.array(seen)


# --- learning ----------------------------------------------------------------------------------------------------------


def centered_rank(rewards):
    """rank_i = #{R_j < R_i} + ½ #{j ≠ i: R_j = R_i};  u_i = rank_i/(N − 1) − ½. A NaN is worse than anything."""
    values = [-math.inf if math.isnan(r) else r for r in rewards]
    n = len(values)
    ranks = []
    for i in range(n):
        below = sum(values[j] < values[i] for j in range(n))
        equal = sum(values[j] == values[i] for j in range(n) if j != i)
        ranks.append(below + equal / 2)
    return np.array([rank / (n - 1) - 0.5 for rank in ranks])


def axon_bits(synapses, synapse_bits, block_synapses, header_bits, align_bits):
    """Memory of an axon: fill blocks one synapse at a time, close each with its header, grow it to the alignment."""
    blocks = []
    for synapse in range(synapses):
        if synapse % block_synapses == 0:
            blocks.append(header_bits)
        blocks[-1] += synapse_bits
    total = 0
    for bits in blocks:
        while bits % align_bits:
            bits += 1
        total += bits
    return total


# --- labelled data -----------------------------------------------------------------------------------------------------


def read_idx(content):
    """(dimensions, values as one flat list) of an IDX file of unsigned bytes, field by field."""
    zero, kind, n_dimensions = struct.unpack_from(">HBB", content, 0)
    assert (zero, kind) == (0, 8)
    shape = [struct.unpack_from(">I", content, 4 + 4 * k)[0] for k in range(n_dimensions)]
    n = math.prod(shape)
    return shape, list(struct.unpack_from(f"{n}B", content, 4 + 4 * n_dimensions))


def convolution(x, theta, channels):
    """Sums of a 3 × 3 convolution of ±1: x, integers, shape (h, w, channels); theta, bool, shape (9 · channels, filters)."""
    h, w, _ = x.shape
    kernel = 2 * theta.reshape(3, 3, channels, -1).astype(int) - 1
    out = np.zeros((h - 2, w - 2, kernel.shape[3]), int)
    for y in range(h - 2):
        for column in range(w - 2):
            for f in range(kernel.shape[3]):
                out[y, column, f] = (x[y : y + 3, column : column + 3] * kernel[..., f]).sum()
    return out


def pool(x):
    """Largest of 2 × 2; an odd last row or column is left out."""
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return np.array([[x[2 * y : 2 * y + 2, 2 * k : 2 * k + 2].max(axis=(0, 1)) for k in range(w)] for y in range(h)])


def convolution_features(network, released, image, mean):
    """Features of one picture in whole pixel units, and how many of them a unit of a feature stands for."""
    conv, channels = network.options.conv, network.shape[2]
    x = image.reshape(network.shape).astype(int)
    theta = released["conv1"]
    cut = np.rint(255 * mean * (2 * theta.astype(int) - 1).sum(axis=0)).astype(int)
    a = np.maximum(pool(convolution(x, theta, channels)) - cut, 0)
    if len(conv) == 1:
        return a.ravel(), 1
    limit, shift = 65535 // (9 * conv[0]), 0
    while 0.75 * 9 * channels * 255 > limit * 2**shift:
        shift += 1
    a = np.minimum((a + 2**shift // 2) // 2**shift, limit)
    return np.maximum(pool(convolution(a, released["conv2"], conv[0])), 0).ravel(), 2**shift


def layered_scores(network, released, images, mean, std):
    """Scores of a layered network, float64, shape (classes, batch); images: uint8, shape (batch, pixels)."""
    if network.options.conv:
        pairs = [convolution_features(network, released, image, mean) for image in images]
        x = np.array([features * unit / (255 * std) / 2 for features, unit in pairs]).T  # below, activations are doubled
    else:
        x = ((images / 255 - mean) / std).T
    if network.options.mirror_input:
        x = np.concatenate([x, -x])
    dense = [p for p in network.projections if not p.name.startswith("conv")]
    for layer, projection in enumerate(dense):
        if layer > 0 or network.options.conv:
            x = 2 * np.maximum(x, 0)
            n, ratio = len(x), None if network.options.ei == "none" else int(network.options.ei[0])
            for j in range(n):
                if ratio is not None and j >= round(n * ratio / (ratio + 1)):
                    x[j] *= -ratio
        theta = released[projection.name].T.astype(float)
        weights = 2 * theta - 1 if network.options.ei == "none" else theta
        x = weights @ x / np.sqrt(projection.n_pre)
    return x


def classification_reward(kind, scores, labels):
    """Sun et al. 2025 §2.5, one image at a time."""
    gains = {}
    for image, label in enumerate(labels):
        column = scores[:, image].astype(float)
        rank = sum(score >= column[label] for score in column)
        if kind == "cross_entropy":
            gain = column[label] - column.max() - np.log(np.exp(column - column.max()).sum())
        else:
            gain = 5 / (5 + rank) if kind == "soft_recall" else float(column.argmax() == label)
        gains.setdefault(label, []).append(gain)
    if kind in ("accuracy", "cross_entropy"):
        return float(np.mean([gain for of_class in gains.values() for gain in of_class]))
    return float(np.mean([np.mean(of_class) for of_class in gains.values()]))
