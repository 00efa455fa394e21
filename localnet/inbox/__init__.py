"""The inbox: receives real SMTP and webhooks, and shows them on a page."""
