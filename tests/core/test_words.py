"""Numbers, durations and times as people read them."""

from __future__ import annotations

import time

import pytest

from xnatctl.model.words import human_duration, human_time, shown_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.53, "0.5 s"),
        (1.0, "1 s"),
        (90, "90 s"),
        (119.9, "119.9 s"),
        (120, "2 min"),
        (125.4, "2 min 5 s"),
        (360, "6 min"),
        (3599.9, "60 min"),
        (3600, "1 h"),
        (5400.2, "1 h 30 min"),
        (21600, "6 h"),
        (26 * 3600, "26 h"),
        (2 * 86400, "2 days"),
        (2.5 * 86400, "2 days 12 h"),
    ],
)
def test_a_duration_has_its_unit(seconds, text):
    assert human_duration(seconds) == text


@pytest.fixture
def berlin(monkeypatch):
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of a process cannot be set here")
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2024-01-15T10:20:30Z", "2024-01-15 11:20:30"),
        ("2024-07-15T10:20:30.123+00:00", "2024-07-15 12:20:30"),
        ("2024-07-15T10:20:30+0200", "2024-07-15 10:20:30"),
        ("2026-12-01 03:02:06.505", "2026-12-01 03:02:06"),
        ("20240115", "2024-01-15"),
        ("2024-01-15", "2024-01-15"),
        ("20261201_030206505", "20261201_030206505"),
        ("2024-99-99T00:00:00Z", "2024-99-99T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01 01:00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("", ""),
        ("soon", "soon"),
    ],
)
def test_times_and_dates_have_one_form(text, shown):
    assert human_time(text) == shown


def test_a_count_says_what_is_not_shown():
    assert [shown_of(6, 6, "session"), shown_of(0, 6, "session"), shown_of(0, 0, "row")] == [
        "6 sessions",
        "0 of 6 sessions",
        "0 rows",
    ]
