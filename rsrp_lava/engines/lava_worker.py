"""The process that hosts Lava: `python -m rsrp_lava.engines.lava_worker LINK REPORT LIFELINE TOKEN` (file descriptors).

Lava forks, adds handlers to the root logger, swallows exceptions, and hangs or leaks when something goes wrong. Here it
does so in a session of its own, which the engine can end as a whole; shared memory carries the session's token in its
name, so that what is left can be found and removed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from multiprocessing import connection, shared_memory
from typing import Any


def shared_memory_prefix(token: str) -> str:
    """Start of the names of all shared memory of a session."""
    return f"r{token}_"


def main() -> None:
    """Receive the start, compile, build the graph, run it until the broadcaster asks to pause."""
    link_fd, report_fd, lifeline_fd = (int(text) for text in sys.argv[1:4])
    token = sys.argv[4]
    shared_memory._SHM_NAME_PREFIX = "/" + shared_memory_prefix(token)  # type: ignore[attr-defined]
    link, report = connection.Connection(link_fd), socket.socket(fileno=report_fd)
    threading.Thread(target=_end_with_the_engine, args=(lifeline_fd, token), daemon=True).start()
    try:
        from rsrp_lava.engines import lava_graph

        start = link.recv()
        lava_graph.compile_kernels(start)
        link.send("compiled")
        graph = lava_graph.build_graph(start, link, report)["environment"]
        threading.Thread(target=_watch_children, args=(graph, report), daemon=True).start()
        graph.run(condition=_endless(), run_cfg=_run_config(start.experiment))
    except BaseException:
        report.send(json.dumps({"process": "Lava runtime", "traceback": traceback.format_exc()[-32_000:]}).encode())
        time.sleep(10)  # the engine reads the report and ends this session
    os._exit(0)


def _endless() -> Any:
    from lava.magma.core.run_conditions import RunSteps

    return RunSteps(num_steps=2**30)


def _run_config(experiment: Any) -> Any:
    from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg

    if experiment.lava_target == "loihi2":
        return Loihi2HwCfg()
    return Loihi2SimCfg(select_tag="fixed_pt" if experiment.hardware.arithmetic == "integer" else "floating_pt")


def _end_with_the_engine(lifeline: int, token: str) -> None:
    """When the engine's process is gone, its end of the lifeline closes: end the session and its shared memory."""
    os.read(lifeline, 1)
    remove_shared_memory(token)
    os.killpg(0, signal.SIGKILL)


def remove_shared_memory(token: str) -> None:
    """Unlink every segment of a session."""
    folder = "/dev/shm"
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        if name.startswith(shared_memory_prefix(token)):
            os.unlink(os.path.join(folder, name))


def _watch_children(graph: Any, report: socket.socket) -> None:
    """Report a child of Lava's that ended by itself: Lava would wait for it for ever."""
    while getattr(graph, "_runtime", None) is None or not graph._runtime._is_running:
        time.sleep(0.05)
    runtime = graph._runtime
    processes = list(runtime._executable.proc_builders)
    actors = runtime._messaging_infrastructure.actors
    names = [process.proc_params["label"] for process in processes] + ["runtime service"] * len(actors)
    sentinels = {actor.sentinel: (name, actor) for name, actor in zip(names, actors, strict=False)}
    (ended, *_) = connection.wait(list(sentinels))
    name, actor = sentinels[ended]
    time.sleep(0.2)  # an exception reports itself first
    report.send(json.dumps({"process": name, "pid": actor.pid, "exit": actor.exitcode}).encode())


if __name__ == "__main__":
    main()
