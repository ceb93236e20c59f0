"""Gradual rollout of a challenger, share by share; a failed check takes it back."""
