"""The config that a user writes as YAML: one file for one space.

Values of the wrong type are refused, never converted. `tasks/config.py` reads it: there a single
source becomes a list, and what a plugin takes beyond the keys named here is checked against its
constructor.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)
from pydantic.config import JsonDict

MEBIBYTE = 1024 * 1024


class Mode(StrEnum):
    """What absence from a source means."""

    SNAPSHOT = "snapshot"
    APPEND = "append"


class OnUnreadable(StrEnum):
    """What happens when a file cannot be read at all."""

    FAIL = "fail"
    QUARANTINE = "quarantine"


class Device(StrEnum):
    """Where the encoder runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class PrecisionChoice(StrEnum):
    """How the encoder computes."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def _check_space(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ValueError("1 to 64 letters, digits, - or _")
    return name


def _check_sink(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise ValueError("1 to 32 lower-case letters, digits, - or _")
    return name


def _check_cron(cron: str) -> str:
    words = "a time as cron writes it, such as '0 3 * * *' for three each night"
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"{words}: minute hour day month weekday")
    if "L" in fields[4].upper() or "W" in fields[2].upper():
        raise ValueError(f"{words}: Prefect knows no L among weekdays, and no W")
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"{words}: {str(error).lower()}") from error
    return cron


def _check_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("a time zone such as 'Europe/Berlin' or 'UTC'")
    return name


def _allow_one(schema: JsonDict) -> None:
    several: JsonDict = {
        key: schema.pop(key) for key in ("type", "items", "minItems") if key in schema
    }
    schema["anyOf"] = [several["items"], several]


class Part(BaseModel):
    """Keys that are all known, values that are never converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PluginPart(BaseModel):
    """A plugin by name, with its arguments beside the keys that are ours."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue]

    use: str = Field(description="A built-in plugin, or package.module:Attribute.")

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """The plugin's own arguments as they were written, secrets as references."""
        return dict(self.__pydantic_extra__)


class SourceConfig(PluginPart):
    """Where records come from."""

    use: str = Field(description="A built-in source, or package.module:Attribute.")
    mode: Mode = Field(
        Mode.SNAPSHOT, description="snapshot removes records that are gone; append keeps them."
    )
    on_unreadable: OnUnreadable = Field(
        OnUnreadable.FAIL,
        description="A file that cannot be read: fail before any work, or put it into quarantine.",
    )


class ChunkConfig(Part):
    """How long text is cut into chunks."""

    use: str = Field("text", description="A built-in chunker, or package.module:Attribute.")
    tokens: int = Field(ge=1, description="Most tokens of a chunk, counted by the encoder.")
    overlap: int = Field(0, ge=0, description="Most tokens that neighbouring chunks share.")

    @field_validator("overlap")
    @classmethod
    def _check_overlap(cls, overlap: int, others: ValidationInfo) -> int:
        tokens = others.data.get("tokens")
        if tokens is not None and overlap >= tokens:
            raise ValueError(f"less than tokens ({tokens})")
        return overlap


class EncoderConfig(PluginPart):
    """What turns contents into vectors."""

    use: str = Field(
        "sentence-transformers", description="A built-in encoder, or package.module:Attribute."
    )


class ComputeConfig(Part):
    """Which workers encode."""

    use: str = Field("ray", description="ray, serial, or package.module:Attribute.")
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="Number of workers; auto counts GPUs, else cores."
    )
    device: Device = Field(Device.AUTO, description="Where the encoder runs; auto takes the best.")
    stall_s: float = Field(
        300.0, gt=0, description="A worker without progress for so many seconds is ended."
    )
    address: str | None = Field(
        None, description="A Ray cluster to use; else RAY_ADDRESS, else this machine."
    )


class Limits(Part):
    """What stops a run before its commit, and what is too large to be encoded."""

    max_removed: float = Field(
        0.2, ge=0, le=1, description="Largest share of a source's records that may vanish."
    )
    max_quarantined: float = Field(
        0.2, ge=0, le=1, description="Largest share of records that may be in quarantine."
    )
    max_content_bytes: int = Field(
        64 * MEBIBYTE, ge=1, description="Longer contents go to quarantine."
    )


class Retention(Part):
    """Which versions stay readable: those that either of the first two keys keeps.

    Besides, the last three that served, and all that someone tagged.
    """

    versions: int = Field(10, ge=1, description="The newest versions stay, so many of them.")
    days: int = Field(30, ge=0, description="Versions stay for so many days.")
    tables: int = Field(
        30, ge=0, description="Tables of other encoders stay for so many days without a version."
    )


class IndexConfig(Part):
    """Which indexes `vectorline maintain` makes and keeps up to date."""

    columns: tuple[str, ...] = Field(
        (), description="Metadata columns whose filters are to be quick."
    )
    recall: float = Field(
        0.95, gt=0, le=1, description="Share of the ten nearest rows that a search must find."
    )
    rows: int = Field(
        50_000, ge=1, description="A table of fewer rows has no vector index: it needs none."
    )


class TrainConfig(PluginPart):
    """What `vectorline train` fits, and under which name it is kept in the store."""

    use: str = Field("contrastive", description="A built-in trainer, or package.module:Attribute.")
    name: Annotated[str, AfterValidator(_check_space)] = Field(
        description="Encoders of this store find it as trained:NAME."
    )


class Allowed(Part):
    """How much worse than the baseline a metric may be."""

    max_drop: float = Field(
        ge=0, description="Largest drop of the metric that still counts as no loss."
    )


class EvaluateConfig(Part):
    """How versions are judged, and what keeps one from serving."""

    suite: str = Field(description="A YAML file with what is measured.")
    gate: dict[str, Allowed] = Field(
        {}, description="By metric: a version that drops more than that does not serve."
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="The chance of letting a version pass whose drop is the margin.",
    )
    seed: int = Field(0, ge=0, description="Of samples, resamples and folds.")


Cron = Annotated[str, AfterValidator(_check_cron)]


class Schedule(Part):
    """When the flows of a space begin by themselves: `vectorline deploy` tells Prefect."""

    run: Cron | None = Field(None, description="When `vectorline run` begins, as cron writes it.")
    evaluate: Cron | None = Field(None, description="When `vectorline evaluate` begins.")
    drift: Cron | None = Field(None, description="When `vectorline drift` begins.")
    publish: Cron | None = Field(None, description="When `vectorline publish` begins.")
    maintain: Cron | None = Field(None, description="When `vectorline maintain` begins.")
    timezone: Annotated[str, AfterValidator(_check_timezone)] = Field(
        "UTC", description="The time zone of these times, such as Europe/Berlin."
    )


class EffectLimits(Part):
    """From which size on a difference matters; one of them that is reached is enough."""

    auc: float = Field(
        0.6, ge=0.5, le=1, description="AUC of a classifier that tells both sides apart; .5: none."
    )
    share: float = Field(
        0.05, ge=0, le=1, description="Share of rows without which the rest would be alike."
    )
    shift_sd: float = Field(
        0.5, ge=0, description="Standard deviations by which the mean has moved in a direction."
    )


class WindowConfig(Part):
    """Rows of one version by their time, instead of those that came since another version."""

    column: str = Field(description="A metadata column with times: dates, or ISO 8601.")
    days: float = Field(gt=0, description="The candidate is the last so many days before its end.")


class DriftConfig(Part):
    """How what came in is compared with what was there, and when that is an alarm."""

    baseline: str | int = Field(
        "reference", description="`reference`, or a version's number, tag, `serving` or a time."
    )
    alpha: float = Field(
        0.05,
        ge=0.005,
        lt=0.5,
        description="The chance of any false alarm, in a year of looks where they are watched.",
    )
    effect: EffectLimits = Field(
        EffectLimits(), description="How large a difference must be to be an alarm."
    )
    block: bool = Field(False, description="Whether drift keeps a version from serving.")
    group: str | None = Field(
        None,
        description="A metadata column: rows of one value (a user, a site) change sides together.",
    )
    columns: tuple[str, ...] = Field(
        (), description="Metadata columns whose values are segments, beside clusters."
    )
    window: WindowConfig | None = Field(
        None, description="Compares the last days with those before, within one version."
    )
    seed: int = Field(0, ge=0, description="Of samples, permutations and clusters.")


class CompressConfig(Part):
    """How vectors are made shorter for a sink."""

    to: Literal["float32", "float16", "int8", "binary"] = Field(
        "float32", description="What components become."
    )
    dim: int | None = Field(None, ge=1, description="Components that are left; by default all.")
    cut: Literal["first", "pca"] = Field(
        "first", description="Which: the first (of a Matryoshka model), or principal components."
    )
    original: bool | None = Field(
        None, description="Whether the float32 original goes along; by default where it is binary."
    )
    max_recall_loss: float = Field(
        0.05, ge=0, le=1, description="Share of the ten nearest rows that may be lost."
    )


class SinkConfig(PluginPart):
    """A vector store downstream that holds what serves."""

    use: str = Field(description="A built-in sink, or package.module:Attribute.")
    name: Annotated[str, AfterValidator(_check_sink)] | None = Field(
        None, description="What the sink is called; by default what `use` says."
    )
    mode: Literal["atomic", "switch", "rowwise"] | None = Field(
        None, description="What readers may see meanwhile; by default the best that it can do."
    )
    columns: tuple[str, ...] | None = Field(
        None, description="Metadata columns that go with the vectors; by default all."
    )
    text: bool = Field(True, description="Whether the text goes, too, where the store keeps it.")
    compress: CompressConfig | None = Field(
        None, description="How vectors are made shorter; by default they are not."
    )
    max_removed: float = Field(
        0.2, ge=0, le=1, description="Largest share of its rows that may vanish at once."
    )
    max_refused: float = Field(
        0.0, ge=0, le=1, description="Largest share of rows that the store may refuse."
    )
    recall: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Share of the ten nearest rows that `verify` expects to find.",
    )
    keep: int = Field(
        1, ge=0, description="Earlier collections that stay, so that a rollback is quick."
    )
    sample: int = Field(
        200, ge=0, description="Rows that are read back and compared after each publication."
    )

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.use.rpartition(":")[2].lower()


class Config(Part):
    """All that decides what a space holds and how it is made."""

    space: Annotated[str, AfterValidator(_check_space)] = Field(
        description="Name of the space: 1 to 64 letters, digits, - or _."
    )
    source: tuple[SourceConfig, ...] = Field(
        min_length=1,
        description="Where records come from: one source, or a list.",
        json_schema_extra=_allow_one,
    )
    chunk: ChunkConfig | None = Field(
        None, description="How long text is cut; without it a record is one row."
    )
    encoder: EncoderConfig = Field(EncoderConfig(), description="What turns contents into vectors.")
    train: TrainConfig | None = Field(None, description="What `vectorline train` fits.")
    compute: ComputeConfig = Field(ComputeConfig(), description="Which workers encode.")
    limits: Limits = Field(Limits(), description="What stops a run before its commit.")
    evaluate: EvaluateConfig | None = Field(
        None, description="How versions are judged before they serve."
    )
    drift: DriftConfig | None = Field(
        None, description="How what came in is compared with what was there."
    )
    publish: tuple[SinkConfig, ...] = Field(
        (),
        description="Vector stores downstream that hold what serves: one, or a list.",
        json_schema_extra=_allow_one,
    )
    retention: Retention = Field(
        Retention(), description="Which versions `vectorline maintain` keeps."
    )
    index: IndexConfig = Field(
        IndexConfig(), description="Which indexes `vectorline maintain` makes."
    )
    schedule: Cron | Schedule | None = Field(
        None, description="When it is refreshed, or a mapping: when each flow begins."
    )
    store_content: bool = Field(True, description="Whether rows keep the text of their record.")
    precision: PrecisionChoice = Field(
        PrecisionChoice.AUTO, description="How the encoder computes; auto takes what is fast here."
    )

    @field_validator("publish")
    @classmethod
    def _check_publish(cls, sinks: tuple[SinkConfig, ...]) -> tuple[SinkConfig, ...]:
        labels = [one.label for one in sinks]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"sinks of different names, and {', '.join(twice)} stands twice")
        return sinks
