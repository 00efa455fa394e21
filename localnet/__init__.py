"""Everything that is outside Holdfast, on this machine: it speaks their protocols and imports nothing of ours."""
