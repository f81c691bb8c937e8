"""Stores downstream as their own users see them: readers that share no code with the sinks."""
