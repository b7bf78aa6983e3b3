"""Numba kernels: random bits, release sampling, neurons, credit sums, whole-episode rollouts. Nothing of ours is above them.

Every kernel is serial and releases the GIL; `rsrp_lava.threads` runs them side by side. There is no `prange`, so
no threading layer of Numba's is ever started and the kernels are safe in forked children.
"""
