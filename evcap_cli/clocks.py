"""Times as people and players read them. Rounded before they are cut into hours, minutes and seconds: no 0:60."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """1:02:03, 2:03 or 0:03.4: where in a video, or how long it is."""
    tenths = f"{seconds:04.1f}"
    if float(tenths) < 60:
        return f"0:{tenths}"
    minutes, rest = divmod(max(int(seconds), 60), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def timestamp(milliseconds: int, point: str) -> str:
    """01:02:03,004 of a subtitle file, with as many hours as there are: 100:00:00,000.

    Args:
        milliseconds: from the start of the file.
        point: a comma in SRT, a full stop in WebVTT.
    """
    seconds, rest = divmod(max(milliseconds, 0), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


def elapsed(seconds: float) -> str:
    """How long something took, in words: 1 h 2 min, 2 min 3 s, 3 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def roughly(seconds: float) -> str:
    """How long something may take, as a person says it: in one unit."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(round(seconds), 1)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
