"""Models: learners, calibration, segments, fallback, and the value of decisions."""
