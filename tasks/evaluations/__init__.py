"""What can be measured of a version: one file for each evaluation, named here."""

BUILT_IN = {
    "retrieval": "tasks.evaluations.retrieval:Retrieval",
    "similarity": "tasks.evaluations.similarity:Similarity",
    "pair-classification": "tasks.evaluations.similarity:PairClassification",
    "analogies": "tasks.evaluations.analogies:Analogies",
    "labels": "tasks.evaluations.labels:Labels",
    "numbers": "tasks.evaluations.numbers:Numbers",
    "clusters": "tasks.evaluations.clusters:Clusters",
    "zero-shot": "tasks.evaluations.modalities:ZeroShot",
    "cross-modal": "tasks.evaluations.modalities:CrossModal",
    "links": "tasks.evaluations.links:Links",
    "association": "tasks.evaluations.bias:Association",
    "skew": "tasks.evaluations.bias:Skew",
    "geometry": "tasks.evaluations.geometry:Geometry",
    "mteb": "tasks.evaluations.mteb:Mteb",
}
