"""Speed and memory, side by side with what users do today, in one run."""
