"""What people read of an evaluation: one page, of one file."""
