"use strict";
// The layer over the champion: what it is now, what it gains, and tick by tick where it answered.
(() => {
  const { h } = mlprod;

  mlprod.adaptation = (one, shared) => {
    const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b", {}, value), more && h("span", { class: "sub" }, more)));
    const [now] = one.by_tick;
    const rows = one.by_tick.map((tick) => [tick.tick, `v${tick.version}`, tick.answers ? "adapted" : "its own", tick.by, mlprod.prose(tick.why)]);
    return [
      h("p", {}, h("span", { class: "chip quiet" }, now.answers ? "answers" : "does not answer"), " ", mlprod.prose(`At ${now.tick}: ${now.why}.`)),
      h("dl", { class: "facts" }, [
        fact("Chosen", now.by), one.newest && fact("Learned from", mlprod.count(one.learned, "tick"), `${mlprod.count(one.rows, "row")}, up to ${one.newest}`),
        ...one.parameters.map(([name, value]) => fact(name, mlprod.number(value, "number")))].filter(Boolean)),
      h("div", { class: "charts" }, one.charts.map((chart) => mlprod.chart(chart, shared))),
      mlprod.tableOnDemand("the layer, tick by tick", () => mlprod.table("", ["tick", "version", "scores", "by", "why"], rows)),
    ];
  };
})();
