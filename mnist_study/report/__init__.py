"""The university report, run again: its experiments, claims, causes and the page."""
