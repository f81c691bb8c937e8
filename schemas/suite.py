"""The suite that a user writes as YAML: what is measured of a version."""

from enum import StrEnum

from pydantic import Field

from schemas.config import Part, PluginPart


class SuiteTask(PluginPart):
    """One thing to measure, which gives one metric or more."""

    use: str = Field(description="A built-in evaluation, or package.module:Attribute.")
    name: str | None = Field(
        None, min_length=1, description="Stands before the names of its metrics: NAME.METRIC."
    )


class MapMethod(StrEnum):
    """How vectors become positions in the plane."""

    PCA = "pca"
    TSNE = "tsne"
    UMAP = "umap"


class MapConfig(Part):
    """A picture of some records, those near each other whose vectors are."""

    method: MapMethod = Field(MapMethod.PCA, description="How vectors become positions.")
    sample: int = Field(2000, ge=3, le=2000, description="So many records, at most.")
    colour: str | None = Field(
        None, description="A metadata column, whose ten commonest values have a colour each."
    )


class Suite(Part):
    """All that is measured; each metric has one name in it."""

    tasks: tuple[SuiteTask, ...] = Field(min_length=1, description="What is measured, in order.")
    map: MapConfig | None = Field(None, description="The map that goes with it, if any.")
