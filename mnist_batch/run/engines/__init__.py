"""Engines: who calls `score_shard`."""
