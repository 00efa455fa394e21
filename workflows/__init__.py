"""The stories: deterministic Temporal workflows, one file each."""
