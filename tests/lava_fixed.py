"""Our integer kernels beside stock Lava's fixed_pt models, on random data; prints what differs as JSON (Lava forks).

`python lava_fixed.py lif`: the arithmetic of stock LIF, called directly; `network`: a recurrent graph of stock LIF and
Dense, one Dense a sign; `dense`: stock Dense by itself.
"""

import dataclasses
import json
import math
import os
import sys

import numpy as np

from drivers import add_rows, step_fixed_lif
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.kernels.release import pack_bits, unpack_bits
from rsrp_lava.mapping import quantise
from rsrp_lava.network import Network, NetworkOptions

LIMIT = 2**23


def registers(du, dv, vth, **changed):
    """loihi2 with these registers, and nothing known about the largest u."""
    mapped = quantise(Network(NetworkOptions(), 4, 1), load_profile("loihi2"))
    u_decay, v_decay = (dataclasses.replace(d, register=r) for d, r in ((mapped.u_decay, du), (mapped.v_decay, dv)))
    changed = {"u_decay": u_decay, "v_decay": v_decay, "threshold": vth, "largest_u": math.inf, **changed}
    return dataclasses.replace(mapped, **changed).constants().lif


def stock_lif(n, du, dv, vth, bias_mant, bias_exp):
    """Stock LIF without its runtime: an object with the attributes its arithmetic uses."""
    from lava.proc.lif.models import PyLifModelBitAcc

    model = PyLifModelBitAcc.__new__(PyLifModelBitAcc)
    model.ds_offset, model.dm_offset, model.uv_bitwidth, model.max_uv_val = 1, 0, 24, LIMIT
    model.decay_shift, model.decay_unity, model.vth_shift, model.act_shift = 12, 2**12, 6, 6
    model.du, model.dv, model.vth, model.bias_mant, model.bias_exp = du, dv, vth, bias_mant, bias_exp
    model.u, model.v = np.zeros((2, n), np.int32)
    model.scale_bias()
    model.scale_threshold()
    return model


def aimed(stock, a_in, u_target, v_target):
    """Inputs that bring u (of every other neuron), or v, to its target; as random as before where no input does."""

    def decayed(x, d):
        return np.sign(x) * (np.abs(x.astype(np.int64)) * (4096 - d) >> 12)

    u, v = decayed(stock.u, stock.du + stock.ds_offset), decayed(stock.v, stock.dv) + stock.effective_bias
    left = np.where(np.arange(len(u)) % 2, u_target - u, v_target - v - u)
    a_in = np.where(left % 64 == 0, left >> 6, a_in).astype(np.int32)
    return a_in, u + (a_in << 6)


def compare_lif():
    """Random registers, states and inputs; some states and some sums at ±limit, ±limit ± 1, and at the threshold."""
    random = np.random.default_rng(1)
    edges = [side * LIMIT + step for side in (-1, 1) for step in (-1, 0, 1)]
    n, report = 80 * 64, dict.fromkeys(("steps", "mismatches", "spikes", "u_overflow", "v_overflow", "at_threshold"), 0)
    landed = dict.fromkeys(edges, 0)
    some = [(0, 0, 0), (0, 0, 131071), (4095, 4095, 100), (4095, 0, 1), (0, 4095, 131071), (389, 200, 9000)]
    for du, dv, vth in some + [tuple(random.integers(0, (4096, 4096, 131072)).tolist()) for _ in range(50)]:
        bias_mant = random.choice([-4096, -1, 0, 1, 4095, *random.integers(-4096, 4096, 20)], n).astype(np.int16)
        bias_exp = random.integers(0, 8, n).astype(np.int16)
        stock = stock_lif(n, du, dv, vth, bias_mant, bias_exp)
        for x in (stock.u, stock.v):
            x[:] = random.integers(-LIMIT + 1, LIMIT, n)
            x[: n // 5] = random.choice(edges, n // 5)
            random.shuffle(x)
        ours_u, ours_v = stock.u.copy(), stock.v.copy()
        constants, bias = registers(du, dv, vth, weight=1, weight_exponent=0), stock.effective_bias.astype(np.int32)
        words, events = np.zeros(n // 64, np.uint64), np.zeros(3, np.int64)
        threshold = vth << 6
        for scale in (32767, 32767, 2000, 100):
            a_in = random.integers(-scale, scale + 1, n).astype(np.int32)
            v_target = random.choice([*edges, threshold - 1, threshold, threshold + 1], n)
            a_in, u_sum = aimed(stock, a_in, random.choice(edges, n), v_target)
            for edge in edges:
                landed[edge] += int((u_sum == edge).sum())
            stock.subthr_dynamics(a_in)
            report["at_threshold"] += int((stock.v == threshold).sum())
            spikes = stock.spiking_activation()
            stock.reset_voltage(spikes)
            step_fixed_lif(ours_u, ours_v, bias, a_in, constants, words, events)
            differs = (ours_u != stock.u) | (ours_v != stock.v) | (unpack_bits(words, (1, n))[0] != spikes)
            report["mismatches"] += int(differs.sum())
            report["spikes"] += int(spikes.sum())
            report["steps"] += n
        report["u_overflow"] += int(events[0])
        report["v_overflow"] += int(events[1])
    return report | {"u_landed": list(landed.values())}


def run_graph(ends, probes, steps):
    """Run the graph that `ends` belongs to; what the monitors of `probes` saw, each (steps, n)."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.monitor.process import Monitor

    monitors = [Monitor() for _ in probes]
    for monitor, probe in zip(monitors, probes, strict=True):
        monitor.probe(probe, steps)
    ends.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    seen = [next(iter(next(iter(monitor.get_data().values())).values())) for monitor in monitors]
    return [np.array(data).astype(np.int64) for data in seen]


def source_of(spikes):
    from lava.proc.io.source import RingBuffer

    return RingBuffer(data=spikes.T.astype(np.int32))


def compare_network():
    """1,024 recurrent neurons with registers and weights as mapped, fed by random spikes and constant biases."""
    from lava.proc.dense.process import Dense
    from lava.proc.lif.process import LIF
    from lava.utils.weightutils import SignMode

    random, steps, n = np.random.default_rng(2), 1000, 1024
    mapped = quantise(Network(NetworkOptions(n_neurons=n), 4, 1), load_profile("loihi2"))
    excitatory = np.arange(n) < n // 2
    inside, outside = random.random((2, n, n)) < 0.5
    period = random.random((400, n)) < 0.02
    bias_mant, bias_exp = random.integers(-600, 600, n), mapped.bias_exponent
    registers = {"du": mapped.u_decay.register, "dv": mapped.v_decay.register, "vth": mapped.threshold}
    lif = LIF(shape=(n,), bias_mant=bias_mant, bias_exp=bias_exp, **registers)
    source = source_of(period)
    for process, released in ((source, outside), (lif, inside)):
        for sign, sources, mode in ((1, excitatory, SignMode.EXCITATORY), (-1, ~excitatory, SignMode.INHIBITORY)):
            weights = sign * mapped.weight * (released & sources[:, None]).T.astype(int)
            dense = Dense(weights=weights, weight_exp=mapped.weight_exponent, num_weight_bits=8, sign_mode=mode)
            process.s_out.connect(dense.s_in)
            dense.a_out.connect(lif.a_in)
    stock_spikes, stock_v = run_graph(lif, (lif.s_out, lif.v), steps)

    constants = mapped.constants()
    u, v = np.zeros((2, n), np.int32)
    bias = (bias_mant << bias_exp).astype(np.int32)
    rows = [pack_bits(released) for released in (inside, outside)]
    words, events = np.zeros(n // 64, np.uint64), np.zeros(3, np.int64)
    before = np.zeros(n // 64, np.uint64)
    counts, more = np.zeros((2, n), np.int16)
    report = {"steps": steps * n, "spikes": 0, "mismatches": 0, "potential": 0}
    for t in range(steps):
        add_rows(words, constants.excitatory, rows[0], counts)
        add_rows(before, constants.excitatory, rows[1], more)
        step_fixed_lif(u, v, bias, counts + more, constants.lif, words, events)
        spikes = unpack_bits(words, (1, n))[0]
        before = pack_bits(period[t % len(period)][None, :])
        report["spikes"] += int(spikes.sum())
        report["mismatches"] += int((spikes != stock_spikes[t]).sum())
        report["potential"] += int((v != stock_v[t]).sum())
    return report | {"events": events.tolist(), "stop": lif}


def compare_dense():
    """Sums of one Dense a sign, for several weights and exponents; then ±1 in one Dense of mixed sign."""
    from lava.proc.dense.process import Dense
    from lava.utils.weightutils import SignMode

    random, steps, n = np.random.default_rng(3), 60, 64
    spikes, released = random.random((steps, n)) < 0.3, random.random((n, n)) < 0.5
    source, denses, expected = source_of(spikes), [], []
    delayed = np.zeros((steps, n), np.int64)
    words, out = np.zeros(1, np.uint64), np.zeros(n, np.int16)
    for t in range(1, steps):
        words[:] = pack_bits(spikes[t - 1][None, :])
        add_rows(words, pack_bits(np.ones((1, n), bool)), pack_bits(released), out)
        delayed[t] = out
    for weight, exponent in ((1, 0), (1, 3), (2, 7), (100, 0), (255, 2)):
        for sign, mode in ((1, SignMode.EXCITATORY), (-1, SignMode.INHIBITORY)):
            weights = sign * weight * released.T.astype(int)
            denses.append(Dense(weights=weights, weight_exp=exponent, num_weight_bits=8, sign_mode=mode))
            expected.append(sign * (weight << exponent) * delayed)
    signs = np.where(np.arange(n) < n // 2, 1, -1)
    weights = (released * signs[:, None]).T
    denses.append(Dense(weights=weights, num_weight_bits=8, sign_mode=SignMode.MIXED))
    for dense in denses:
        source.s_out.connect(dense.s_in)
    *sums, mixed = run_graph(source, [dense.a_out for dense in denses], steps)
    one_dense = np.zeros((2, steps, n), np.int64)
    for t in range(1, steps):
        one_dense[:, t] = weights @ spikes[t - 1], np.where(weights < 0, -2, 0) @ spikes[t - 1]
    return {
        "mismatches": [int((ours != stock).sum()) for ours, stock in zip(expected, sums, strict=True)],
        "active": [int((stock != 0).sum()) for stock in sums],
        "mixed_equals_signed_sum": int((mixed == one_dense[0]).all()),
        "mixed_equals_0_and_minus_2": int((mixed == one_dense[1]).all()),
        "stop": source,
    }


if __name__ == "__main__":
    report = {"lif": compare_lif, "network": compare_network, "dense": compare_dense}[sys.argv[1]]()
    process = report.pop("stop", None)
    print(json.dumps(report), flush=True)
    if process is not None:
        process.stop()
    os._exit(0)
