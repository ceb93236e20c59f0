"""Evaluate a trained model: metrics, slices, backtest, checks of the model itself, and the gates."""
