"""Run the exported network in Lava: stock LIF and Dense processes, bit-accurate fixed point, and a host that plays the task.

    python run.py --episodes 3
    python run.py --hardware          # on Loihi 2, where Intel's lava-loihi is installed

Needs: pip install lava-nc==0.10.0 gymnasium (Python 3.10).
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
#: Environment steps between looks at the host's result.
CHUNK = 50


def synapses(weights, pre, post, exponent):
    """Stock Dense processes from `pre` to `post`, one a sign: Dense destroys weights of mixed sign in fixed point."""
    from lava.proc.dense.process import Dense
    from lava.utils.weightutils import SignMode

    for sign, mode in ((1, SignMode.EXCITATORY), (-1, SignMode.INHIBITORY)):
        of_sign = np.where(np.sign(weights) == sign, weights, 0)
        if of_sign.any():
            dense = Dense(weights=of_sign, sign_mode=mode, num_weight_bits=8, weight_exp=exponent)
            pre.s_out.connect(dense.s_in)
            dense.a_out.connect(post.a_in)


def block_diagonal(blocks):
    """Networks beside each other, without synapses between them."""
    rows, columns = sum(len(b) for b in blocks), sum(b.shape[1] for b in blocks)
    whole, row, column = np.zeros((rows, columns), np.int32), 0, 0
    for block in blocks:
        whole[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return whole


def build(arrays, episode, potentials, record):
    """The process graph of one episode; returns the host."""
    from host import Host
    from lava.proc.lif.process import LIF

    n, outputs = potentials.size, arrays["readout"].shape[2]
    neurons = LIF(
        shape=(n,),
        du=int(arrays["du"]),
        dv=int(arrays["dv"]),
        vth=int(arrays["vth"]),
        bias_mant=episode.bias().astype(np.int32),
        bias_exp=int(arrays["bias_exponent"]),
        v=potentials.astype(np.int32),
    )
    readout = LIF(shape=(outputs,), du=int(arrays["readout_du"]), dv=int(arrays["readout_dv"]), vth=2**17 - 1)
    recurrent, outgoing = block_diagonal(list(arrays["recurrent"])).T, np.concatenate(list(arrays["readout"])).T
    synapses(recurrent, neurons, neurons, int(arrays["weight_exponent"]))
    synapses(outgoing.astype(np.int32), neurons, readout, int(arrays["readout_exponent"]))
    host = Host(neurons=n, outputs=outputs, substeps=int(arrays["substeps"]), episode=episode, record=record)
    neurons.s_out.connect(host.s_in)
    host.bias.connect_var(neurons.bias_mant)
    host.potential.connect_var(readout.v)
    return host


def run_config(hardware):
    """Bit-accurate simulation, or the chip."""
    from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg
    from lava.utils import loihi

    if not hardware:
        return Loihi2SimCfg(select_tag="fixed_pt")
    if not loihi.is_installed():  # Lava would run parts of the graph on the CPU without a word
        sys.exit("error: --hardware needs Intel's lava-loihi extension; install it (INRC members), or leave out --hardware")
    return Loihi2HwCfg()


def play(arrays, seed, start, record, hardware):
    """One episode: (return, environment steps, spikes)."""
    from host import Episode
    from lava.magma.core.run_conditions import RunSteps

    episode = Episode(arrays, seed, None if start is None else start[:2])
    shape = arrays["recurrent"].shape[:2]
    uniform = np.random.default_rng(seed).random(shape) - arrays["potential_origin"]
    potentials = np.floor(uniform * arrays["potential_unit"]) if start is None else start[2]
    host = build(arrays, episode, np.clip(potentials, 1 - 2**23, 2**23 - 1).ravel(), record)
    most = episode.about["max_steps"]
    config = run_config(hardware)
    for first in range(0, most, CHUNK):
        steps = min(CHUNK, most - first) * int(arrays["substeps"])
        host.run(condition=RunSteps(num_steps=steps), run_cfg=config)
        ended, earned, steps, spikes = host.result.get()
        if ended:
            break
    host.stop()
    return earned, int(steps), int(spikes)


def read(path):
    """The arrays, unless they are not as they were written."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except Exception as error:  # a damaged archive can fail in any way
        sys.exit(f"error: {path}: is missing or damaged ({error}); export the network again")
    written, found = arrays.pop("sha256", None), hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())
    if written is not None and str(written) != found.hexdigest():
        sys.exit(f"error: {path}: is damaged (its checksum does not match); export the network again")
    return arrays


def main():
    """Play episodes and print what each earned."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--episodes", type=int, default=1, help="episodes to play (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode's start (default: 0)")
    parser.add_argument(
        "--starts", type=Path, help="npz with the starts: states, observations and potentials of every episode"
    )
    parser.add_argument("--record", type=Path, help="folder for the spikes: episode-0.npy, … (packed bits)")
    parser.add_argument("--hardware", action="store_true", help="run on Loihi 2 (needs lava-loihi)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for every episode")
    options = parser.parse_args()
    sys.path.insert(0, str(FOLDER))
    arrays = read(FOLDER / "network.npz")
    starts = None
    if options.starts:
        with np.load(options.starts, allow_pickle=False) as stored:
            starts = list(zip(stored["states"], stored["observations"], stored["potentials"], strict=True))
    for index in range(options.episodes):
        record = str(options.record / f"episode-{index}.npy") if options.record else None
        start = starts[index] if starts else None
        earned, steps, spikes = play(arrays, options.seed + index, start, record, options.hardware)
        result = {"episode": index, "return": earned, "steps": steps, "spikes": spikes}
        text = f"episode {index}: return {earned:g}, {steps} environment steps, {spikes:,} spikes"
        print(json.dumps(result) if options.json else text, flush=True)


if __name__ == "__main__":
    main()
