"""What fits an encoder's weights to a corpus: one file for each trainer, named here."""

BUILT_IN = {"contrastive": "tasks.trainers.contrastive:ContrastiveTrainer"}
