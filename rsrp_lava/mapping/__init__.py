"""From a network and a hardware profile to integers: quantise → check → run. Every step returns a new object."""

from __future__ import annotations

from rsrp_lava.hardware_profiles import Profile
from rsrp_lava.kernels.arithmetic import NetworkConstants
from rsrp_lava.mapping.check import MappedNetwork, check
from rsrp_lava.mapping.floating import floating_constants
from rsrp_lava.mapping.quantise import QuantisedNetwork, quantise
from rsrp_lava.network import Network


def kernel_constants(network: Network, profile: Profile) -> NetworkConstants:
    """What the engines compute with under a profile."""
    if profile.arithmetic == "float32":
        return floating_constants(network)
    return quantise(network, profile).constants()


__all__ = ["MappedNetwork", "QuantisedNetwork", "check", "floating_constants", "kernel_constants", "quantise"]
