"""What fits an encoder's weights to a corpus: one file for each trainer, named here.

Encoders that are fitted to words are trainers, too.
"""

BUILT_IN = {
    "contrastive": "tasks.trainers.contrastive:ContrastiveTrainer",
    "word2vec": "tasks.encoders.word2vec:Word2VecEncoder",
    "glove": "tasks.encoders.glove:GloveEncoder",
    "word-vectors": "tasks.trainers.word_vectors:WordVectors",
}
