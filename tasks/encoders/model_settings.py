"""What a model's JSON files say, read without torch: dimension, longest text, prompts.

The keys are those that sentence-transformers writes today and has written since 2019.
"""

from tasks.encoders.hub import Model

_TRANSFORMER_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_HIDDEN_SIZES = ("hidden_size", "d_model", "dim", "n_embd")
_OLD_POOLING_MODES = (
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
)
_SAME_DIMENSION = ("Normalize", "Dropout", "LayerNorm")
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_QUERY_PROMPTS = ("query",)
# transformers writes 1e30 where a tokenizer knows no limit.
_NO_LIMIT = 1_000_000_000


def dimension(model: Model) -> int | None:
    """Number of components of the model's vectors; None where only the loaded model knows."""
    modules = model.modules()
    if not modules:
        return _hidden_size(model, "")
    known: int | None = None
    for module in modules:
        kind, path = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind not in _SAME_DIMENSION:
            known = _module_dimension(model, kind, path)
    return known


def longest_text(model: Model) -> int | None:
    """Most tokens that the model sees of a text, special tokens included; None without a limit."""
    path = transformer_path(model)
    for name in _TRANSFORMER_SETTINGS:
        if (limit := _number(model.settings(path + name), "max_seq_length")) is not None:
            return limit
    tokenizer = _number(model.settings(path + "tokenizer_config.json"), "model_max_length")
    limits = [limit for limit in (tokenizer, positions(model)) if limit is not None]
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def positions(model: Model) -> int | None:
    """Most positions that the transformer has; None where it does not say."""
    settings = model.settings(transformer_path(model) + "config.json")
    limit = _number(settings, "max_position_embeddings")
    return limit if limit is not None and limit > 0 else None


def lowers_case(model: Model) -> bool:
    """Whether text is lower-cased before the tokenizer sees it."""
    path = transformer_path(model)
    return any(
        model.settings(path + name).get("do_lower_case") is True for name in _TRANSFORMER_SETTINGS
    )


def tokenizer_file(model: Model) -> str | None:
    """Name of the model's `tokenizer.json`; None if it has another kind of tokenizer."""
    name = transformer_path(model) + "tokenizer.json"
    return name if name in model.files else None


def document_prompt(model: Model, asked: str | None) -> str:
    """What is put before a text: `asked`, a name or literal, else what the model has for it."""
    return _prompt(model, asked, _DOCUMENT_PROMPTS)


def query_prompt(model: Model, asked: str | None) -> str:
    """What is put before a query: `asked`, a name or literal, else what the model has for it."""
    return _prompt(model, asked, _QUERY_PROMPTS)


def _prompt(model: Model, asked: str | None, usual: tuple[str, ...]) -> str:
    settings = model.settings("config_sentence_transformers.json")
    listed = settings.get("prompts")
    prompts = {k: v for k, v in listed.items() if v} if isinstance(listed, dict) else {}
    if asked is not None:
        return str(prompts.get(asked, asked))
    names = [name for name in (*usual, settings.get("default_prompt_name")) if name in prompts]
    return str(prompts[names[0]]) if names else ""


def transformer_path(model: Model) -> str:
    """Where the first module's files are: empty, or a folder's name with a slash."""
    path = next((module["path"] for module in model.modules()), "")
    return f"{path}/" if path else ""


def _module_dimension(model: Model, kind: str, path: str) -> int | None:
    folder = f"{path}/" if path else ""
    settings = model.settings(f"{folder}config.json")
    if kind == "Transformer":
        return _hidden_size(model, folder)
    if kind == "Pooling":
        width = _number(settings, "embedding_dimension", "word_embedding_dimension")
        return None if width is None else width * _pooling_modes(settings)
    if kind == "Dense":
        return _number(settings, "out_features")
    return None


def _hidden_size(model: Model, folder: str) -> int | None:
    settings = model.settings(f"{folder}config.json")
    inner = settings.get("text_config")
    found = _number(settings, *_HIDDEN_SIZES)
    return _number(inner, *_HIDDEN_SIZES) if found is None and isinstance(inner, dict) else found


def _pooling_modes(settings: dict[str, object]) -> int:
    mode = settings.get("pooling_mode")
    if mode is not None:
        return 1 if isinstance(mode, str) else len(mode) if isinstance(mode, list) else 1
    return max(1, sum(settings.get(name) is True for name in _OLD_POOLING_MODES))


def _number(settings: dict[str, object], *names: str) -> int | None:
    found = (settings.get(name) for name in names)
    return next((int(value) for value in found if isinstance(value, int | float)), None)
