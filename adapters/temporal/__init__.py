"""How Holdfast speaks to Temporal: client, payload codec, failures, stories."""
