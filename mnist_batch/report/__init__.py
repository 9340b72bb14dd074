"""The report: counts, metrics, drift and gates."""
