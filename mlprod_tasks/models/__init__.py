"""Models that score rows: learners, calibration, segments, the fallback, and the value of decisions."""
