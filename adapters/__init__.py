"""How outsiders speak: Stellar, signers, the database, mail, webhooks, the payload codec."""
