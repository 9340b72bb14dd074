"""One run: plan, read, score, commit, report."""
