"""Second step of mapping: place the network on cores and check every design rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from rsrp_lava.errors import MappingError
from rsrp_lava.mapping.placement import Core, place, stored_bits
from rsrp_lava.mapping.quantise import QuantisedNetwork, neuron_of, quantise
from rsrp_lava.mapping.rules import RULES, Finding, Plan, Rule, synapses
from rsrp_lava.network import ReleaseProbabilities


@dataclass(frozen=True)
class Usage:
    """How much of a resource is used."""

    resource: str
    used: int
    limit: int | None  #: None: no limit, or none known

    @property
    def fraction(self) -> float | None:
        """used / limit."""
        return None if self.limit is None else self.used / self.limit


@dataclass(frozen=True)
class MappedNetwork:
    """A network in a chip's integers, on the chip's cores, with what every design rule says of it."""

    quantised: QuantisedNetwork
    cores: tuple[Core, ...]
    findings: tuple[Finding, ...]

    @property
    def violations(self) -> tuple[Finding, ...]:
        """Findings that a chip would refuse."""
        return tuple(finding for finding in self.findings if finding.status == "violated")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that lose something."""
        return tuple(finding for finding in self.findings if finding.status == "warning")

    @property
    def utilisation(self) -> tuple[Usage, ...]:
        """Cores and synapses of the chip, and neurons, axons and memory of the core that uses most of each."""
        limits = self.quantised.profile.limits
        return (
            Usage("cores", len(self.cores), limits.cores),
            Usage("neurons of the fullest core", max(core.size for core in self.cores), limits.neurons_per_core),
            Usage("axons into the fullest core", max(core.inputs for core in self.cores), limits.inputs_per_core),
            Usage("axons out of the fullest core", max(core.outputs for core in self.cores), limits.outputs_per_core),
            Usage("synapse bits of the fullest core", max(c.synapse_bits for c in self.cores), limits.synapse_bits_per_core),
            Usage("synapses of the chip", synapses(self.quantised), limits.synapses_per_chip),
        )

    def require(self, listed: bool = True) -> MappedNetwork:
        """Itself; raises `MappingError` with every violated rule (not `listed`: its name), and the size that would fit."""
        if self.violations:
            names = ", ".join(dict.fromkeys(finding.rule for finding in self.violations))
            said = "".join(f"\n  {finding}" for finding in self.violations) if listed else f" {names}"
            raise MappingError(
                f"profile {self.quantised.profile.name} cannot hold this network:{said}{self._way_out(listed)}"
            )
        return self

    def _way_out(self, listed: bool) -> str:
        size, now = size_that_fits(self), self.quantised.network.options.n_neurons
        said = f"no other number of neurons would mend that (it has {now})"
        if size is not None:
            said = f"with at most {size} neurons it would fit (network.n_neurons, now {now})"
        return f"\n  {said}" if listed else f"; {said}"

    def record(self) -> dict[str, Any]:
        """Everything as JSON values."""
        q, neuron = self.quantised, neuron_of(self.quantised.profile)
        decays = {"tau_syn": q.u_decay, "tau_mem": q.v_decay, "tau_out": q.readout_decay}
        return {
            "profile": q.profile.name,
            "profile_sha256": q.profile.digest,
            "validated_on_silicon": q.profile.provenance.validated_on_silicon,
            "utilisation": {
                usage.resource: {"used": usage.used, "limit": usage.limit, "fraction": usage.fraction}
                for usage in self.utilisation
            },
            "cores": [
                {
                    "neurons": {name: [part.start, part.stop] for name, part in core.neurons.items()},
                    "axons": core.axons,
                    "inputs": core.inputs,
                    "outputs": core.outputs,
                    "synapse_bits": core.synapse_bits,
                }
                for core in self.cores
            ],
            "time_constants": {
                name: {
                    "asked_ms": decay.tau_ms,
                    "effective_ms": decay.effective_tau_ms if math.isfinite(decay.effective_tau_ms) else None,
                    "relative_error": decay.error if math.isfinite(decay.error) else None,
                    "register": decay.register,
                }
                for name, decay in decays.items()
            },
            "threshold": {"mantissa": q.threshold, "shift": neuron.threshold.shift, "relative_error": q.threshold_error},
            "weight": {
                "recurrent": {"mantissa": q.weight, "exponent": q.weight_exponent, "bits": stored_bits(q, q.weight)},
                "readout": {
                    "mantissa": q.readout_weight,
                    "exponent": q.readout_exponent,
                    "bits": stored_bits(q, q.readout_weight) if neuron.readable else None,
                },
            },
            "bias": {
                "largest_mantissa": q.bias_limit,
                "exponent": q.bias_exponent,
                "mantissa_per_unit": q.per_unit / 2**q.input_fraction,
                "step_of_threshold": bias_step(q),
            },
            "rules": [
                {
                    "rule": finding.rule,
                    "object": finding.object,
                    "used": finding.used if finding.used not in (math.inf,) else None,
                    "limit": finding.limit,
                    "severity": finding.severity,
                    "status": finding.status,
                    "way_out": finding.way_out,
                }
                for finding in self.findings
            ],
            "violated": len(self.violations),
            "warnings": len(self.warnings),
        }


def size_that_fits(mapped: MappedNetwork) -> int | None:
    """The most neurons (`network.n_neurons`) with which the chip would take a network like this one; None: no number.

    Found by mapping networks of other sizes, with the same constants, whose probabilities are not known.
    """
    network, profile = mapped.quantised.network, mapped.quantised.profile

    def fits(n_neurons: int) -> bool:
        options = network.options.model_copy(update={"n_neurons": n_neurons})
        try:
            return not check(quantise(replace(network, options=options), profile), strict=False).violations
        except MappingError:
            return False

    fewest, most = 2, network.options.n_neurons
    tried = [size for size in (2**k for k in range(1, most.bit_length())) if size < most and fits(size)]
    if not tried:
        return None
    fewest = tried[-1]
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (middle, most) if fits(middle) else (fewest, middle)
    return fewest


def bias_step(quantised: QuantisedNetwork) -> float:
    """One step of the bias in units of the threshold's distance from reset."""
    options = quantised.network.options
    return 2**quantised.bias_exponent / quantised.current_unit / (options.v_threshold - options.v_reset)


def check(
    quantised: QuantisedNetwork,
    probabilities: ReleaseProbabilities | None = None,
    *,
    strict: bool = True,
    rules: tuple[Rule, ...] = RULES,
) -> MappedNetwork:
    """Place a quantised network on cores and apply every design rule; nothing is changed.

    Parameters
    ----------
    quantised : from `quantise`
    probabilities : trained release probabilities, for rules that look at them; otherwise the worst case is assumed
    strict : raise `MappingError`, naming every violated rule, where a chip would refuse the network; warnings do not raise

    Returns
    -------
    quantised network, cores, and a finding for every rule and object
    """
    plan = Plan(quantised, place(quantised), probabilities)
    findings = tuple(replace(finding, rule=rule.__name__) for rule in rules for finding in rule(plan))
    mapped = MappedNetwork(quantised, plan.cores, findings)
    return mapped.require() if strict else mapped


__all__ = ["MappedNetwork", "Usage", "bias_step", "check", "size_that_fits"]
