"""What turns contents into vectors: one file for each encoder, named here."""

BUILT_IN = {
    "sentence-transformers": "tasks.encoders.sentence_transformers:SentenceTransformersEncoder",
    "hashing": "tasks.encoders.hashing:HashingEncoder",
}
