"""The report: counts, figures, drift and gates."""
