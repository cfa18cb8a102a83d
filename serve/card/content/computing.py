"""What training took: core-hours, and an estimate of energy at most, by assumptions that stand beside it."""

from collections.abc import Iterator, Sequence

from serve.card.chain import Evidence, Run
from serve.card.document import Line, Paragraph, line
from serve.card.graph import Node, Source

# Lannelongue, Grealey & Inouye 2021 (10.1002/advs.202100707): watts of a core and of a GPU of unknown kind, and of
# memory; and the makers' limits of common GPUs, the higher one where a kind has two.
_CORE_WATTS, _GPU_WATTS, _GIB_WATTS = 12.0, 200.0, 0.4
_GPUS = {"H200": 700.0, "H100": 700.0, "A100": 400.0, "V100": 300.0, "L40": 300.0, "A10": 150.0, "L4": 72.0, "T4": 70.0}
_RULE = (
    f"hours with every core busy at {_CORE_WATTS:g} W, memory at {_GIB_WATTS:g} W a GiB, each GPU at its limit "
    f"({_GPU_WATTS:g} W if unknown), without cooling (Lannelongue et al. 2021); estimated, not measured"
)


def computing(evidence: Evidence, run: Run) -> Iterator[tuple[Line, Line]]:
    """Rows of a run: core-hours and energy at most; none where its record does not tell."""
    hours, energy = core_hours(evidence, run), kilowatt_hours(evidence, run)
    if hours is not None:
        yield line("computing at most"), line(hours, " core-hours")
    if energy is not None:
        yield line("energy at most, estimated"), line(energy, " kWh")


def core_hours(evidence: Evidence, run: Run) -> Node | None:
    """Hours times cores."""
    seconds, cores = _seconds(run), run.file.at("hardware", "cores")
    if seconds is None or cores is None:
        return None
    value = round(seconds * cores / 3600, 3)
    return evidence.graph.derived(
        f"{run.id}/core_hours", value, "seconds times cores", _sources(run)[:2], unit="core-hours"
    )


def kilowatt_hours(evidence: Evidence, run: Run) -> Node | None:
    """Of the machine that wrote the record."""
    seconds, hardware = _seconds(run), run.file.at("hardware", default={})
    if seconds is None or hardware.get("cores") is None:
        return None
    watts = hardware["cores"] * _CORE_WATTS + float(hardware.get("memory_gib") or 0) * _GIB_WATTS
    watts += sum(_gpu_watts(str(name)) for name in hardware.get("gpus") or [])
    value = round(seconds / 3600 * watts / 1000, 6)
    return evidence.graph.derived(f"{run.id}/energy", value, _RULE, _sources(run), unit="kWh")


def _seconds(run: Run) -> float | None:
    """Of the whole run; None of one that was gone on with, whose record holds those since then alone."""
    seconds: float | None = None if run.file.at("config", "resume") else run.file.at("seconds")
    return seconds


def _gpu_watts(name: str) -> float:
    return next((watts for kind, watts in _GPUS.items() if kind in name), _GPU_WATTS)


def _sources(run: Run) -> list[Source]:
    return [run.file.source("seconds"), run.file.source("hardware", "cores"), run.file.source("hardware")]


def total(evidence: Evidence, runs: Sequence[Run]) -> Paragraph | None:
    """All training together, as a sentence; None where a record does not tell: of the rest it would be no bound."""
    parts: list[str | Node] = []
    for name, rows, unit in (
        ("core_hours", [core_hours(evidence, run) for run in runs], "core-hours"),
        ("energy", [kilowatt_hours(evidence, run) for run in runs], "kWh"),
    ):
        nodes = [node for node in rows if node is not None]
        if not nodes or len(nodes) < len(rows):
            return None
        places = [place for node in nodes for place in node.sources]
        value = round(sum(float(node.value or 0) for node in nodes), 6)
        summed = evidence.graph.derived(f"training/{name}", value, "sum over the runs below", places, unit=unit)
        parts += [", and by estimate no more energy than " if parts else "Together, training took at most "]
        parts += [summed, f" {unit}"]
    words = (
        ". These are of the machines that wrote the records: what hospitals computed on their own machines, in a "
        "federation that was deployed, is not in it."
    )
    return Paragraph(line(*parts, words))
