"""The rules, pure: money, SLA, states, verdicts and errors. No clock, no input or output."""
