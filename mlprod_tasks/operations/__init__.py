"""For the operator: doctor, status, explain, and metrics for Prometheus."""
