"""Time zones by their names."""

from __future__ import annotations

from zoneinfo import ZoneInfo, available_timezones


def zone_of(timezone: str) -> ZoneInfo:
    """The time zone of that name. Raises: ValueError."""
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(f"timezone {timezone!r} is not an IANA time zone{_zone_meant(timezone)}") from error


def _zone_meant(given: str) -> str:
    """The zone of a city, or an example."""
    city = given.strip().replace(" ", "_").lower()
    near = sorted(zone for zone in available_timezones() if zone.rpartition("/")[2].lower() == city)
    return f"; did you mean {near[0]!r}?" if near else " such as 'Europe/Zurich'"
