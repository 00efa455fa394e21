"""The thin front: HTTP in, a workflow started or woken, answers read from Postgres."""
