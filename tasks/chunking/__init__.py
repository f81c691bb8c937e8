"""Long text to chunks: one file for each chunker, named here."""

BUILT_IN = {
    "text": "tasks.chunking.text:TextChunker",
    "markdown": "tasks.chunking.text:MarkdownChunker",
}
