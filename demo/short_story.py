"""The story of a use case other than that of `make demo`: its history, a model, and some ticks in a real Airflow."""

from __future__ import annotations

from demo.telling import Telling
from mlprod_tasks.platform.ledger import Decision, Measurement, Scoring


class ShortStory(Telling):
    """Ingest, train, score and monitor over the ticks that the use case names."""

    TAKES = "It takes about three minutes"

    def run(self) -> None:
        """Run all steps. What did not happen is noted, and the next step starts."""
        self.unpause()
        self.history()
        self.first_model()
        ticks = self.backfill(at_once=4)
        self._ledger(ticks)
        self.stack.start_mlflow_ui()

    def _ledger(self, ticks: int) -> None:
        """Check what the ledger holds of the ticks."""
        self.chapter("Look at what the ledger holds")
        ledger, name = self.stack.platform.ledger, self.name
        champion = self.stack.platform.registry.champion(self.stack.pipeline)
        scored = ledger.all(Scoring, pipeline=name)
        self.note(f"{ticks} ticks are scored", len(scored) == ticks)
        self.note(
            "by the champion, not by the fallback",
            champion is not None
            and all(one.model_version == champion.version and not one.fallback_rows for one in scored if one.rows),
        )
        self.note("each tick is decided once", len(ledger.all(Decision, pipeline=name)) == ticks)
        if measured := self.stack.use_case.measured:
            first = self.stack.use_case.backfilled[0]
            known = ledger.all(Measurement, pipeline=name, what="label_coverage")
            expected = {str(tick) for tick in self.stack.pipeline.schedule.range(first, measured)}
            self.note(
                f"outcomes up to {measured} are measured",
                expected == {str(one.tick) for one in known if one.value is not None},
            )
