"""Postgres: the record of every intent, attempt, decision and message. Rows never leave this package."""
