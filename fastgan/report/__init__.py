"""What a run shows and keeps: image grids, charts, a JSONL file of figures, a live display, an HTML report, events."""

from fastgan.report.diagnosis import Finding, diagnosis
from fastgan.report.events import EventsWriter
from fastgan.report.grid import arrange_grid, save_grid, save_image
from fastgan.report.journal import Journal
from fastgan.report.page import write_report
from fastgan.report.plot import Line, Panel, save_panels
from fastgan.report.progress import TrainingDisplay
from fastgan.report.stats import StatsWriter, read_stats

__all__ = [
    "EventsWriter",
    "Finding",
    "Journal",
    "Line",
    "Panel",
    "StatsWriter",
    "TrainingDisplay",
    "arrange_grid",
    "diagnosis",
    "read_stats",
    "save_grid",
    "save_image",
    "save_panels",
    "write_report",
]
