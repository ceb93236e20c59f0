"""Pictures of a model: ranking, calibration, importance and value."""
