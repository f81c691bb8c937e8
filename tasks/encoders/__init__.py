"""What turns contents into vectors: one file for each encoder, named here."""

BUILT_IN = {
    "sentence-transformers": "tasks.encoders.sentence_transformers:SentenceTransformersEncoder",
    "hashing": "tasks.encoders.hashing:HashingEncoder",
    "open-clip": "tasks.encoders.open_clip:OpenClipEncoder",
    "timm": "tasks.encoders.timm:TimmEncoder",
    "clap": "tasks.encoders.clap:ClapEncoder",
    "node2vec": "tasks.encoders.node2vec:Node2VecEncoder",
    "deepwalk": "tasks.encoders.node2vec:DeepWalkEncoder",
    "word2vec": "tasks.encoders.word2vec:Word2VecEncoder",
    "glove": "tasks.encoders.glove:GloveEncoder",
    "static-words": "tasks.encoders.static_words:StaticWordsEncoder",
}
