"""Reports: pages made from the files of run directories, never from a model."""

from dots.report.comparison import write_comparison
from dots.report.notebook import Report
from dots.report.page import write_report

__all__ = ["Report", "write_comparison", "write_report"]
