"""What a user writes and what reaches disk: frozen pydantic models.

Each format on disk has its number.
"""
