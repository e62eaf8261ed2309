"""What a run shows and keeps: image grids, a JSONL file of figures, a live display."""

from fastgan.report.grid import arrange_grid, save_grid, save_image
from fastgan.report.progress import TrainingDisplay
from fastgan.report.stats import StatsWriter, read_stats

__all__ = ["StatsWriter", "TrainingDisplay", "arrange_grid", "read_stats", "save_grid", "save_image"]
