"""Words: what counts as one, the texts as their numbers, GloVe's kernels, files of vectors."""
