"""Judge a trained model: metrics, slices, backtest, trials of the model itself, and the gates."""
