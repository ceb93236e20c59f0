"""The story's chapters about answers on request: live flights, a challenger as a canary, the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import groupby

from demo.airflow_api import FINISHED, poll
from demo.business_database import flights_between
from demo.house import House
from demo.scoring_service import Answer, Row
from mlprod_tasks.declaration import Tick
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Mail, Rollout, RolloutCheck
from mlprod_tasks.promotion import history
from mlprod_tasks.rollout import routing

Note = Callable[[str, bool], None]
# A step of the ramp holds for as long as every flight is asked about a few times, and not for an hour.
RAMP = {"by": "demo", "reason": "is the first model as good?", "hold_minutes": 0.2, "rows": 50}
RAMP_SECONDS = 180
ENOUGH = 0.25  # at this share somebody has seen enough
SEEN_SECONDS = 6  # in which every flight is asked about at that share
JUDGED = {"errors", "latency", "scores", "quality"}


class LiveFlights:
    """The flights of the last two ticks, asked about one after the other as programs do. note: writes down what happened."""

    def __init__(self, house: House, last: date, note: Note) -> None:
        self.house, self.note = house, note
        self.name, self.api, self.platform = house.pipeline.name, house.airflow.api, house.platform
        schedule = house.pipeline.schedule
        self.last = schedule.tick(last)
        before = schedule.range(last).shifted(-1)
        self.flights: Mapping[Tick, Sequence[Row]] = {
            tick: flights_between(house.business, tick.start, tick.end) for tick in (schedule.tick(before.first), self.last)
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
        """Start the service, and ask it about the flights that the batch has scored."""
        service, flights = self.house.start_service(), self.flights[self.last]
        answers = service.score({self.last: flights})
        told = {one["key"]["flight_id"]: (one["score"], one["decision"], one["version"]) for one in answers}
        batch = self._batch(self.last)
        same = bool(batch) and told == batch
        self.note(f"{len(told):,} live flights are scored as in the batch, to the last bit", same)
        refused = service.ask([flights[0] | {"distance": "far"}], self.last)
        named = [one["field"] for one in refused.json().get("problems", ())]
        self.note("a wrong field is refused by its name", refused.status_code == 422 and named == ["distance"])
        self.house.example = service.curl(flights[0], self.last)
        self.note("without its key nobody is answered", service.ask(flights[:1], self.last, key="another").status_code == 401)

    @contextmanager
    def rolling_out(self) -> Iterator[None]:
        """Roll an earlier version out beside the champion while flights are asked about; take it back at a quarter of them.

        What is done inside the block is done meanwhile.
        """
        promoted = [one.model_version for one in history.promotions(self.house.pipeline, self.platform)]
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

        person = threading.Thread(target=self._change_of_mind, args=(over,), daemon=True)
        with self.house.service.asked_all_the_time(self.flights, until=over) as answers:
            person.start()
            yield
            self.api.wait_for_run(dag, run, seconds=RAMP_SECONDS)
        person.join(RAMP_SECONDS)
        self._canary(answers, challenger)
        self._taken_back(promoted[-1])

    def collect(self) -> None:
        """Bring the log into the lake, through Airflow."""
        self.house.service.wait_for_log()
        dag = f"{self.name}.requests"
        self.api.wait_for_dags([dag])
        self.api.unpause(dag)
        run = self.api.trigger(dag)
        self.note("the log is collected", self.api.wait_for_run(dag, run)["state"] == "success")
        rows, asked = self.rows(), self.house.service.answered
        self.note(f"each of the {asked:,} answered rows is in the lake, once", rows == asked > 0)

    def rows(self) -> int:
        """Answered rows that the lake has."""
        name, lake = names.requests(self.house.pipeline), self.platform.lake
        if not lake.exists(name):
            return 0
        found = lake.rows(name, columns=["request_id", "row"])
        assert len(set(zip(*found.to_pydict().values(), strict=True))) == found.num_rows, "a row came twice"
        return int(found.num_rows)

    def _canary(self, answers: Sequence[Answer], challenger: int) -> None:
        """Who was answered by the challenger stayed with it while its share grew, and it answered as in its own batch."""
        routes: dict[str, list[str]] = {}
        for one in answers:
            if not one.get("fallback"):
                routes.setdefault(one["key"]["flight_id"], []).append(one["route"])
        taken = {key for key, told in routes.items() if "challenger" in told}
        share = max((one.share for one in self.platform.ledger.all(Rollout, pipeline=self.name)), default=0.0)
        turns = [[route for route, _ in groupby(told)] for told in routes.values()]
        sticky = all({*turn} <= {"champion", "challenger"} and turn.count("challenger") <= 1 for turn in turns)
        self.note(
            f"of {len(routes):,} flights, {len(taken):,} are a canary's of {share:.0%}, always the same ones",
            sticky and bool(taken) and abs(len(taken) / len(routes) - share) < 0.05,
        )
        (before, _) = self.flights
        batch = {key: value for key, value in self._batch(before).items() if value[2] == challenger and key in taken}
        told = {
            one["key"]["flight_id"]: (one["score"], one["decision"], one["version"])
            for one in answers
            if one["route"] == "challenger" and one["key"]["flight_id"] in batch
        }
        self.note(f"version {challenger} answers as in its batch of {before}, to the last bit", bool(batch) and told == batch)

    def _change_of_mind(self, over: Callable[[], bool]) -> None:
        """Take the challenger back by hand once it has passed its first share, unless its checks have done so before."""
        while not over():
            found = routing.current(self.house.pipeline, self.platform)
            if found is not None and found.share >= ENOUGH:
                time.sleep(SEEN_SECONDS)
                self.house.mlprod("take-back", self.name, "--by", "demo", "--reason", "seen enough of it")
                return
            time.sleep(0.5)

    def _taken_back(self, holds: int) -> None:
        """Its rows were judged beside the champion's, somebody was told that it is back, and the champion answers again."""
        ledger = self.platform.ledger
        rollouts = sorted(ledger.all(Rollout, pipeline=self.name), key=lambda one: one.at)
        found = ledger.all(RolloutCheck, pipeline=self.name)
        first = [one for one in found if one.share == min(each.share for each in found)]
        self.note("its rows are judged beside the champion's", {one.what for one in first} >= JUDGED)
        for one in first:
            print(f"  {one.sentence}", flush=True)
        back = bool(rollouts) and rollouts[-1].mode == "champion"
        kept = history.promotions(self.house.pipeline, self.platform)[-1].model_version == holds
        self.note("it is taken back, and the champion stays", back and kept)
        sent = ledger.all(Mail, pipeline=self.name, kind="ramp")
        received = [str(mail["Subject"]) for mail in self.house.catcher.outbox.mails()]
        self.note("one mail tells why", len(sent) == 1 and received.count(sent[0].subject) == 1)
        poll(lambda: self._all_by(holds) or None, seconds=20, waiting_for=lambda: "the service to follow the ledger")
        self.note("the champion answers everything again", True)

    def _all_by(self, version: int) -> bool:
        return {one["version"] for one in self.house.service.score({self.last: self.flights[self.last]})} == {version}

    def _batch(self, tick: Tick) -> dict[str, tuple[float, bool, int]]:
        wanted = ["flight_id", "score", "decision", "model_version"]
        rows = self.platform.lake.rows(names.predictions(self.house.pipeline), [tick.date], wanted).to_pylist()
        return {row["flight_id"]: (row["score"], row["decision"], row["model_version"]) for row in rows}
