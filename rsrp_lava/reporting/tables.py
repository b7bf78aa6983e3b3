"""Tables for the terminal: what a mapping found, what a profile says."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table

from rsrp_lava.hardware_profiles import Profile, profile_values
from rsrp_lava.mapping import MappedNetwork
from rsrp_lava.mapping.check import bias_step
from rsrp_lava.mapping.placement import stored_bits
from rsrp_lava.mapping.quantise import neuron_of

#: Width of a table that does not go to a terminal.
_PLAIN_WIDTH = 125


def render(*parts: RenderableType) -> str:
    """Tables and lines as text, as wide as the terminal; without colours where there is none."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def mapping_tables(mapped: MappedNetwork) -> str:
    """Utilisation, cores, effective constants and every design rule of a mapped network, as text; of those that do not hold
    the way out."""
    q = mapped.quantised
    ok = len(mapped.findings) - len(mapped.warnings) - len(mapped.violations)
    return render(
        f"profile {q.profile.name}: {q.profile.summary}",
        f"{q.profile.provenance.summary}",
        _utilisation(mapped),
        _cores(mapped),
        _constants(mapped),
        _rules(mapped),
        *dict.fromkeys(f"{one.status}: {one.rule}: {one.way_out}" for one in (*mapped.warnings, *mapped.violations)),
        f"{len(mapped.violations)} violated, {len(mapped.warnings)} warnings, {ok} ok",
    )


def profile_line(profile: Profile) -> str:
    """One line about a profile: what it is, and how many of its numbers have which status."""
    counts = Counter(fact.status for fact in profile.facts.values())
    known = ", ".join(f"{counts[status]} {status}" for status in ("documented", "emulator-consistent", "inferred"))
    return f"{profile.summary} ({known})"


def profile_table(profile: Profile) -> str:
    """Every number of a profile with its unit, status and source, as text."""
    table = _table("number", "value", "unit", "status", "source")
    for path, value in profile_values(profile).items():
        fact = profile.facts[path]
        table.add_row(path, _shown(value), fact.unit or "", fact.status, fact.source)
    missing = ", ".join(profile.provenance.not_modeled) or "nothing"
    return render(f"{profile.name}: {profile.summary}", profile.provenance.summary, f"not modelled: {missing}", table)


def _utilisation(mapped: MappedNetwork) -> Table:
    table = _table("resource", ">used", ">limit", ">%")
    for usage in mapped.utilisation:
        part = "" if usage.fraction is None else f"{100 * usage.fraction:.1f}"
        table.add_row(usage.resource, _shown(usage.used), _shown(usage.limit), part)
    return table


def _cores(mapped: MappedNetwork) -> Table:
    table = _table(">core", "neurons", ">axons in", ">axons out", ">synapse bits")
    for number, core in enumerate(mapped.cores):
        held = ", ".join(f"{name} {part.start}–{part.stop - 1}" for name, part in core.neurons.items())
        table.add_row(str(number), held, f"{core.inputs:,}", f"{core.outputs:,}", f"{core.synapse_bits:,}")
    return table


def _constants(mapped: MappedNetwork) -> Table:
    q = mapped.quantised
    table = _table("constant", ">asked for", ">on the chip", ">error", "in the chip's integers")
    for name, decay in {"tau_syn": q.u_decay, "tau_mem": q.v_decay, "tau_out": q.readout_decay}.items():
        effective = f"{decay.effective_tau_ms:.3f} ms"
        table.add_row(name, f"{decay.tau_ms:g} ms", effective, f"{100 * decay.error:+.2f} %", f"register {decay.register}")
    threshold = f"{100 * q.threshold_error:+.4f} %"
    table.add_row("threshold", f"{q.threshold_exact:.2f}", str(q.threshold), threshold, "mantissa")
    for name, weight, exponent in (
        ("recurrent weight", q.weight, q.weight_exponent),
        ("readout weight", q.readout_weight, q.readout_exponent),
    ):
        bits = stored_bits(q, weight)
        on_host = name == "readout weight" and not neuron_of(q.profile).readable
        where = "on the host" if on_host else f"{bits} bit{'s' * (bits != 1)} a synapse"
        table.add_row(name, "", f"{weight} · 2^{exponent}", "", where)
    step, unit = f"{100 * bias_step(q):.3f} % of threshold", "pixel's unit" if q.network.pictures else "deviation"
    per_unit = f"{q.per_unit / 2**q.input_fraction:.3g} · 2^{q.bias_exponent} a {unit}, up to {q.bias_limit}"
    table.add_row("bias step", "", step, "", per_unit)
    return table


def _rules(mapped: MappedNetwork) -> Table:
    table = _table("rule", "object", ">used", ">limit", "")
    for finding in mapped.findings:
        table.add_row(finding.rule, finding.object, _shown(finding.used), _shown(finding.limit), finding.status)
    return table


def _table(*headings: str) -> Table:
    """A plain table; a heading that starts with > is aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        justify: JustifyMethod = "right" if heading.startswith(">") else "left"
        table.add_column(heading.lstrip(">"), justify=justify, no_wrap=number == 0)
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


__all__ = ["mapping_tables", "profile_line", "profile_table", "render"]
