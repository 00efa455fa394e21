"""Who signs for a payer. Every signer satisfies `activities.settlement_parts.PayerSigner`."""
