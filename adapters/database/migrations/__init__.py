"""The schema's history: one revision a room, applied in line."""
