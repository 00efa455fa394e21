"""Figures: what this machine does, each with its spread and beside the ceiling of the same run."""
