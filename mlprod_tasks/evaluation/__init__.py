"""Evaluate a trained model: metrics, slices, backtest, checks and gates."""
