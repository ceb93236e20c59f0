"""What scores a row: learners, calibration, segments, the fallback, and the value of a decision."""
