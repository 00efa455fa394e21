"""Every setting with its check and default; imported by the composition roots only."""
