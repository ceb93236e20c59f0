"""The steps of the demo with the scoring service: live flights, a challenger as a canary, the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import groupby

from demo.airflow_api import FINISHED, poll
from demo.business_database import flights_between
from demo.scoring_service import Answer, Row
from demo.stack import DemoStack
from mlprod_tasks.declaration import Tick
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Mail, Rollout, RolloutCheck
from mlprod_tasks.promotion import history
from mlprod_tasks.rollout import routing

Note = Callable[[str, bool], None]
# Each share is held until every flight was requested a few times, not for an hour.
RAMP = {"by": "demo", "reason": "is the first model as good?", "hold_minutes": 0.2, "rows": 50}
RAMP_SECONDS = 180
ENOUGH = 0.25  # the share at which the challenger is taken back by hand
SEEN_SECONDS = 6  # time to request every flight at that share
CHECKED = {"errors", "latency", "scores", "quality"}


class LiveFlights:
    """Requests for the flights of the last two ticks, as programs send them. note: notes what happened."""

    def __init__(self, stack: DemoStack, last: date, note: Note) -> None:
        self.stack, self.note = stack, note
        self.name, self.api, self.platform = stack.pipeline.name, stack.airflow.api, stack.platform
        schedule = stack.pipeline.schedule
        self.last = schedule.tick(last)
        before = schedule.range(last).shifted(-1)
        self.flights: Mapping[Tick, Sequence[Row]] = {
            tick: flights_between(stack.business, tick.start, tick.end) for tick in (schedule.tick(before.first), self.last)
        }

    def fill(self) -> None:
        """Bring the online store up to the last tick, through Airflow."""
        dag = f"{self.name}.online"
        self.api.wait_for_dags([dag])
        self.api.unpause(dag)
        run = self.api.trigger(dag, partition_key=str(self.last))
        state = self.api.wait_for_run(dag, run, seconds=240)["state"]
        self.note("the online store is filled, and its features are those of the batch", state == "success")

    def serve(self) -> None:
        """Start the service, and request scores of the flights that the batch has scored."""
        service, flights = self.stack.start_service(), self.flights[self.last]
        answers = service.score({self.last: flights})
        online = {one["key"]["flight_id"]: (one["score"], one["decision"], one["version"]) for one in answers}
        batch = self._batch(self.last)
        same = bool(batch) and online == batch
        self.note(f"{len(online):,} live flights are scored as in the batch, to the last bit", same)
        refused = service.ask([flights[0] | {"distance": "far"}], self.last)
        named = [one["field"] for one in refused.json().get("problems", ())]
        self.note("a wrong field is refused by its name", refused.status_code == 422 and named == ["distance"])
        self.stack.example = service.curl(flights[0], self.last)
        self.note(
            "without an API key requests are refused", service.ask(flights[:1], self.last, key="another").status_code == 401
        )

    @contextmanager
    def rolling_out(self) -> Iterator[None]:
        """Roll an earlier version out as a canary while flights are requested; take it back at a quarter of them.

        The block runs meanwhile.
        """
        promoted = [one.model_version for one in history.promotions(self.stack.pipeline, self.platform)]
        challenger = next((version for version in reversed(promoted) if version != promoted[-1]), None)
        self.note("there is an earlier version to roll out", challenger is not None)
        if challenger is None:
            yield
            return
        dag = f"{self.name}.rollout"
        self.api.wait_for_dags([dag])
        self.api.unpause(dag)
        run = self.api.trigger(dag, conf={"challenger": challenger, **RAMP})

        def over() -> bool:
            return self.api.run(dag, run)["state"] in FINISHED

        person = threading.Thread(target=self._take_back_by_hand, args=(over,), daemon=True)
        with self.stack.service.requested_all_the_time(self.flights, until=over) as answers:
            person.start()
            yield
            self.api.wait_for_run(dag, run, seconds=RAMP_SECONDS)
        person.join(RAMP_SECONDS)
        self._canary(answers, challenger)
        self._taken_back(promoted[-1])

    def collect(self) -> None:
        """Bring the log into the lake, through Airflow."""
        self.stack.service.wait_for_log()
        dag = f"{self.name}.requests"
        self.api.wait_for_dags([dag])
        self.api.unpause(dag)
        run = self.api.trigger(dag)
        self.note("the log is collected", self.api.wait_for_run(dag, run)["state"] == "success")
        rows, asked = self.rows(), self.stack.service.answered
        self.note(f"each of the {asked:,} answered rows is in the lake, once", rows == asked > 0)

    def rows(self) -> int:
        """How many answered rows are in the lake."""
        name, lake = names.requests(self.stack.pipeline), self.platform.lake
        if not lake.exists(name):
            return 0
        found = lake.rows(name, columns=["request_id", "row"])
        assert len(set(zip(*found.to_pydict().values(), strict=True))) == found.num_rows, "a row is there twice"
        return int(found.num_rows)

    def _canary(self, answers: Sequence[Answer], challenger: int) -> None:
        """Check that entities stay with the challenger while its share grows, and that it scores as in its own batch."""
        routes: dict[str, list[str]] = {}
        for one in answers:
            if not one.get("fallback"):
                routes.setdefault(one["key"]["flight_id"], []).append(one["route"])
        taken = {key for key, taken_routes in routes.items() if "challenger" in taken_routes}
        share = max((one.share for one in self.platform.ledger.all(Rollout, pipeline=self.name)), default=0.0)
        turns = [[route for route, _ in groupby(taken_routes)] for taken_routes in routes.values()]
        sticky = all({*turn} <= {"champion", "challenger"} and turn.count("challenger") <= 1 for turn in turns)
        self.note(
            f"of {len(routes):,} flights, {len(taken):,} go to a canary with a share of {share:.0%}, always the same ones",
            sticky and bool(taken) and abs(len(taken) / len(routes) - share) < 0.05,
        )
        (before, _) = self.flights
        batch = {key: value for key, value in self._batch(before).items() if value[2] == challenger and key in taken}
        online = {
            one["key"]["flight_id"]: (one["score"], one["decision"], one["version"])
            for one in answers
            if one["route"] == "challenger" and one["key"]["flight_id"] in batch
        }
        self.note(f"version {challenger} answers as in its batch of {before}, to the last bit", bool(batch) and online == batch)

    def _take_back_by_hand(self, over: Callable[[], bool]) -> None:
        """Take the challenger back by hand once it has passed its first share, unless its checks have done so before."""
        while not over():
            found = routing.current(self.stack.pipeline, self.platform)
            if found is not None and found.share >= ENOUGH:
                time.sleep(SEEN_SECONDS)
                self.stack.mlprod("take-back", self.name, "--by", "demo", "--reason", "seen enough of it")
                return
            time.sleep(0.5)

    def _taken_back(self, holds: int) -> None:
        """Check that it was compared with the champion, that a mail reports its end, and that the champion scores again."""
        ledger = self.platform.ledger
        rollouts = sorted(ledger.all(Rollout, pipeline=self.name), key=lambda one: one.at)
        found = ledger.all(RolloutCheck, pipeline=self.name)
        first = [one for one in found if one.share == min(each.share for each in found)]
        self.note("its rows are compared with the champion's", {one.what for one in first} >= CHECKED)
        for one in first:
            print(f"  {one.sentence}", flush=True)
        back = bool(rollouts) and rollouts[-1].mode == "champion"
        kept = history.promotions(self.stack.pipeline, self.platform)[-1].model_version == holds
        self.note("it is taken back, and the champion stays", back and kept)
        sent = ledger.all(Mail, pipeline=self.name, kind="ramp")
        received = [str(mail["Subject"]) for mail in self.stack.catcher.outbox.mails()]
        self.note("one mail says why", len(sent) == 1 and received.count(sent[0].subject) == 1)
        poll(lambda: self._all_by(holds) or None, seconds=20, waiting_for=lambda: "the service to follow the ledger")
        self.note("the champion answers all requests again", True)

    def _all_by(self, version: int) -> bool:
        return {one["version"] for one in self.stack.service.score({self.last: self.flights[self.last]})} == {version}

    def _batch(self, tick: Tick) -> dict[str, tuple[float, bool, int]]:
        wanted = ["flight_id", "score", "decision", "model_version"]
        rows = self.platform.lake.rows(names.predictions(self.stack.pipeline), [tick.name], wanted).to_pylist()
        return {row["flight_id"]: (row["score"], row["decision"], row["model_version"]) for row in rows}
