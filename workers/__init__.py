"""The only place where stories, verbs and adapters are wired: `python -m workers`."""
