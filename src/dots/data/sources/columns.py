"""Which columns of a table hold what."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dots.recipe.settings import DataSettings


@dataclass(frozen=True)
class Columns:
    """Names of columns, None where the reader finds them, and the folder of the files named."""

    label: str | None = None
    file: str | None = None
    split: str | None = None
    group: str | None = None
    images: str | None = None

    @classmethod
    def of(cls, settings: DataSettings) -> Columns:
        """Those that the settings of [data] name."""
        return cls(settings.label, settings.file, settings.split, settings.group, settings.images)

    @property
    def given(self) -> dict[str, str]:
        """What is not left to the reader, by the name of its setting."""
        return {name: value for name, value in asdict(self).items() if value is not None}
