"""The picture beside the table of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.goals import Found

LIMIT = "by hand"


def draw(ours: Mapping[str, Any], peers: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write an SVG: records a second of everybody, and what a record costs as things grow."""
    # The same picture for the same numbers.
    mpl.rcParams["svg.hashsalt"] = "sockstream"
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes: Any = figure.subplots(2, 2, width_ratios=[3, 2])
    _rates(axes[0][0], "sqlite", ours.get("drain", {}), peers)
    _rates(axes[1][0], "postgresql", ours.get("drain", {}), peers)
    levels = ours.get("levels", {})
    _levels(axes[0][1], "records", levels.get("records", {}))
    _levels(axes[1][1], "models", levels.get("models", {}))
    figure.savefig(path, metadata={"Date": None})


def _rates(axes: Axes, central: str, drain: Mapping[str, Any], peers: Sequence[Any]) -> None:
    ends = {"sqlite": ("-sqlite",), "postgresql": ("-pg",)}[central]
    rates = {f"sockstream, {pair}": v["rate"] for pair, v in drain.items() if pair.endswith(ends)}
    found = Found({}, peers)
    for name in {each["peer"] for each in peers}:
        if (rate := found.rate(name, central)) is not None:
            rates[name] = rate
    names = sorted(rates, key=lambda name: rates[name])
    colors = ["C0" if "sockstream" in n else "0.55" if n.startswith(LIMIT) else "C1" for n in names]
    bars = axes.barh(names, [rates[name] for name in names], color=colors)
    axes.bar_label(bars, [f"{rates[name]:,.0f}" for name in names], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(left=100)
    axes.margins(x=0.15)
    axes.set_title(f"records a second into {central} (logarithmic)")


def _levels(axes: Axes, kind: str, levels: Mapping[str, Mapping[str, Any]]) -> None:
    for pair, costs in levels.items():
        sizes = [int(size) for size in costs]
        axes.plot(sizes, [each["clock"] for each in costs.values()], marker="o", label=pair)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel({"records": "records of the backlog", "models": "models"}[kind])
    axes.set_ylabel("µs a record")
    if levels:
        axes.legend()
