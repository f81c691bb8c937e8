"""Graphs, the walks on them, and the vectors that are fitted to the walks."""
