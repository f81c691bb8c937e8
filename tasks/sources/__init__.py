"""Where records come from: one file for each source, named here."""

BUILT_IN = {
    "parquet": "tasks.sources.parquet:ParquetSource",
    "csv": "tasks.sources.csv:CsvSource",
    "jsonl": "tasks.sources.jsonl:JsonlSource",
    "text": "tasks.sources.text:TextSource",
    "images": "tasks.sources.folders:ImageSource",
    "audio": "tasks.sources.folders:AudioSource",
    "webdataset": "tasks.sources.webdataset:WebdatasetSource",
    "urls": "tasks.sources.urls:UrlSource",
    "edges": "tasks.sources.edges:EdgeSource",
    "lance": "tasks.sources.lance:LanceSource",
}
