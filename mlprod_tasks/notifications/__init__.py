"""Tell people: mails about decisions, failures, rollouts, and the weekly digest."""
