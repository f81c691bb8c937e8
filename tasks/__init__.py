"""What vectorline does.

Verbs are Prefect tasks, one file each; nouns are plain Python, one folder each.
"""
