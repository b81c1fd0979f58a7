"""Which prefixes of an app lie in which bucket: what the command line looks after."""

from __future__ import annotations

from dataclasses import dataclass

from .config import HandoffConfig, Place
from .errors import ConfigError

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One bucket, and what an app keeps there."""

    name: str
    region: str | None = None
    owner: str | None = None
    staging: str | None = None
    places: tuple[Place, ...] = ()

    @property
    def prefixes(self) -> list[str]:
        """Every prefix of ours in this bucket, staging first."""
        return [*([self.staging] if self.staging else []), *self.place_prefixes]

    @property
    def place_prefixes(self) -> list[str]:
        """The permanent ones."""
        return [place.prefix for place in self.places]

    @property
    def is_access_point(self) -> bool:
        """Tell whether this is an access point, behind which lies a bucket of another name."""
        return self.name.startswith("arn:")

    def arn(self, key: str = "") -> str:
        """Return the ARN of the bucket, or of keys in it.

        >>> Holding(name="acme", region="cn-north-1").arn("users/*")
        'arn:aws-cn:s3:::acme/users/*'
        """
        if self.is_access_point:
            return f"{self.name}/object/{key}" if key else self.name
        bucket = f"arn:{partition(self.region)}:s3:::{self.name}"
        return f"{bucket}/{key}" if key else bucket


def partition(region: str | None) -> str:
    """Return the part of AWS that a region belongs to: ``aws``, ``aws-cn``, …"""
    found = [name for start, name in _PARTITIONS.items() if (region or "").startswith(start)]
    return found[0] if found else "aws"


def holdings(config: HandoffConfig) -> list[Holding]:
    """Return the buckets of an app, staging's first; what a place leaves out is as for staging."""
    if config.store != "s3" or not config.bucket:
        raise ConfigError("The store of this app is not S3, so there is no bucket to look after.")
    names = dict.fromkeys([config.bucket, *(p.bucket for p in config.places if p.bucket)])
    return [_holding(config, name) for name in names]


def _holding(config: HandoffConfig, name: str) -> Holding:
    here = tuple(place for place in config.places if (place.bucket or config.bucket) == name)
    staging = config.prefix if name == config.bucket else None
    regions = [place.region for place in here if place.region and not staging]
    owners = [place.owner for place in here if place.owner and not staging]
    return Holding(
        name=name,
        region=next(iter(regions), config.region),
        owner=next(iter(owners), config.bucket_owner),
        staging=staging,
        places=here,
    )
