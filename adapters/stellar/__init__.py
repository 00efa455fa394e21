"""Stellar: RPC, envelopes, lanes, the follower, accounts, contracts."""
