"""Vector stores downstream: one file for each, named here."""

BUILT_IN = {
    "parquet": "tasks.sinks.parquet:ParquetSink",
    "numpy": "tasks.sinks.numpy:NumpySink",
    "lancedb": "tasks.sinks.lancedb:LancedbSink",
    "faiss": "tasks.sinks.faiss:FaissSink",
    "usearch": "tasks.sinks.usearch:UsearchSink",
    "scann": "tasks.sinks.scann:ScannSink",
    "pgvector": "tasks.sinks.pgvector:PgvectorSink",
    "qdrant": "tasks.sinks.qdrant:QdrantSink",
    "chroma": "tasks.sinks.chroma:ChromaSink",
    "milvus": "tasks.sinks.milvus:MilvusSink",
    "sqlite-vec": "tasks.sinks.sqlite_vec:SqliteVecSink",
    "duckdb": "tasks.sinks.duckdb:DuckdbSink",
    "elasticsearch": "tasks.sinks.elasticsearch:ElasticsearchSink",
    "pinecone": "tasks.sinks.pinecone:PineconeSink",
    "weaviate": "tasks.sinks.weaviate:WeaviateSink",
}
