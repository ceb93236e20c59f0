"use strict";
// Alarms, decisions, trainings with their gates, and actions, row by row.
(() => {
  const { h } = mlprod;
  const chip = (text, kind) => h("span", { class: `chip ${kind || ""}` }, text);
  const ACTIONS = { nothing: "quiet", note: "quiet", alert: "bad", retrain: "bad", fallback: "bad", rollback: "bad" };

  function alarmRow(alarm, ask) {
    const status = !alarm.open ? chip("over", "quiet") : alarm.muted_until ? chip("muted", "warn") : alarm.acknowledged_by ? chip("acknowledged", "warn") : chip("open", "bad");
    const notes = [
      alarm.held,
      alarm.acknowledged_by && `acknowledged by ${alarm.acknowledged_by}${alarm.acknowledged_at ? `, ${mlprod.moment(alarm.acknowledged_at)}` : ""}${alarm.note ? `: ${alarm.note}` : ""}`,
      alarm.muted_until && `muted until ${mlprod.moment(alarm.muted_until)}`,
    ].filter(Boolean);
    const buttons = [
      alarm.open && !alarm.acknowledged_by && ask("acknowledge", `Acknowledge`, { rule: alarm.rule }),
      alarm.muted_until ? ask("unmute", "Unmute", { rule: alarm.rule }) : alarm.open && ask("mute", "Mute…", { rule: alarm.rule }),
    ].filter(Boolean);
    const when = alarm.since === alarm.last ? alarm.since : `${alarm.since} to ${alarm.last}`;
    return h("li", { class: alarm.open ? "alarm open" : "alarm", "data-rule": alarm.rule },
      h("div", { class: "what" }, status, h("b", {}, alarm.rule), alarm.cause && chip(alarm.cause), h("span", { class: "sub" }, `${alarm.action}; ${when}, ${mlprod.count(alarm.ticks, "tick")}`)),
      h("p", {}, mlprod.prose(alarm.sentence)), notes.length > 0 && h("p", { class: "sub" }, notes.join("; ")),
      buttons.length > 0 && h("div", { class: "buttons" }, buttons));
  }

  mlprod.alarms = (detail, ask) => {
    const open = detail.alarms.filter((one) => one.open), over = detail.alarms.filter((one) => !one.open);
    const name = (of) => (of === detail.name ? "this use case" : of);
    const incident = (one) => h("p", { class: "incident" }, h("b", {}, "One incident: "), `${one.cause}. Alarms of `,
      [...new Set(one.alarms.map(([of]) => of))].map((of, i) => `${i ? "; " : ""}${name(of)} (${one.alarms.filter(([by]) => by === of).map(([, rule]) => rule).join(", ")})`), ".");
    return [
      ...detail.incidents.map(incident),
      open.length ? h("ul", { class: "alarmlist" }, open.map((one) => alarmRow(one, ask))) : h("p", { class: "empty" }, "No alarm is open."),
      over.length > 0 && h("details", {}, h("summary", {}, mlprod.count(over.length, "alarm that is over", "alarms that are over")), h("ul", { class: "alarmlist" }, over.map((one) => alarmRow(one, ask)))),
    ];
  };

  function decided(row) {
    const short = (sentence) => (sentence.startsWith(`${row.tick}: `) ? sentence.slice(row.tick.length + 2) : mlprod.prose(sentence));
    const why = row.rules.length
      ? row.rules.map((rule) => h("div", { class: "rule" }, h("b", {}, rule.rule), " ", rule.cause && chip(rule.cause),
          h("p", {}, short(rule.sentences[0] || "")), rule.held && h("p", { class: "sub" }, rule.held),
          rule.sentences.length > 1 && h("details", {}, h("summary", {}, mlprod.count(rule.sentences.length - 1, "more measurement")), h("ul", {}, rule.sentences.slice(1).map((one) => h("li", {}, short(one)))))))
      : h("p", {}, row.reason);
    const troubles = [row.refused.length > 0 && `refused: ${row.refused.join(", ")}`, row.fallback_rows > 0 && `${row.fallback_rows.toLocaleString("en-US")} rows scored by the fallback`].filter(Boolean);
    return {
      attributes: { "data-tick": row.tick },
      cells: [
        row.tick,
        row.action ? chip(row.action, ACTIONS[row.action]) : chip("not decided", "quiet"),
        h("div", { class: "why" }, row.action ? why : null, troubles.length > 0 && h("p", { class: "bad" }, troubles.join("; ")),
          row.repeated > 0 && h("p", { class: "sub" }, `${mlprod.count(row.repeated, "row that was read equals", "rows that were read equal")} another one of this tick`)),
        row.version === null ? "–" : `v${row.version}`,
        row.scored === null ? "–" : row.scored.toLocaleString("en-US"),
        row.published.toLocaleString("en-US"),
      ],
    };
  }

  mlprod.decisions = (detail) => {
    const quiet = (row) => ["nothing", null].includes(row.action) && !row.refused.length && !row.fallback_rows;
    const loud = detail.by_tick.filter((row) => !quiet(row));
    const heads = ["tick", "decision", "why", "version", "scored", "published"];
    const body = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Decisions, tick by tick" });
    const show = (rows) => body.replaceChildren(rows.length ? mlprod.table("", heads, rows.map(decided), [4, 5]) : h("p", { class: "empty" }, "Nothing had to be done at these ticks."));
    show(loud);
    const rest = detail.by_tick.length - loud.length;
    const toggle = rest > 0 && h("label", { class: "switch" }, h("input", { type: "checkbox", onchange: (event) => show(event.target.checked ? detail.by_tick : loud) }),
      ` also show the ${mlprod.count(rest, "tick")} when nothing had to be done`);
    return [toggle, body];
  };

  function training(one, detail) {
    const passed = one.gates.filter((gate) => gate.passed).length;
    const metrics = one.metrics.map(([name, value, low, high]) => `${name} ${mlprod.number(value)}${low === null ? "" : ` [${mlprod.number(low)}, ${mlprod.number(high)}]`}`);
    const state = one.champion ? chip("champion", "good") : chip(one.state, one.state === "promoted" ? "quiet" : ["refused", "failed", "rejected", "taken back"].includes(one.state) ? "bad" : "warn");
    const gates = one.gates.map((gate) => ({ attributes: { class: gate.passed ? null : "failed" }, cells: [gate.gate, chip(gate.passed ? "passed" : "failed", gate.passed ? "good" : "bad"), mlprod.number(gate.value), mlprod.number(gate.bound), gate.sentence] }));
    return h("details", { class: "training", "data-training": one.id },
      h("summary", {}, h("b", {}, one.version === null ? "no version" : `v${one.version}`), state,
        h("span", {}, `as of ${one.as_of}`), h("span", { class: passed < one.gates.length ? "bad" : "sub" }, `${passed} of ${mlprod.count(one.gates.length, "gate")} passed`), h("span", { class: "sub reason" }, one.reason)),
      h("p", { class: "sub" }, metrics.join("; ")),
      detail.run_link && one.run_id && h("p", {}, mlprod.link("MLflow run, with its report", detail.run_link.replace("{run_id}", one.run_id))),
      gates.length > 0 && h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Gates of ${one.id}` }, mlprod.table("", ["gate", "verdict", "value", "bound", "in words"], gates, [2, 3])));
  }

  mlprod.trainings = (detail) => (detail.trainings.length ? detail.trainings.map((one) => training(one, detail)) : h("p", { class: "empty" }, "No model has been trained yet."));

  mlprod.doings = (detail) =>
    detail.doings.length
      ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What people and rules did" }, mlprod.table("", ["when", "who", "action", "subject", "reason", "until"], detail.doings.map((one) => [mlprod.moment(one.at), one.by, one.kind, one.subject || "–", one.reason || "–", one.until ? mlprod.moment(one.until) : "–"])))
      : h("p", { class: "empty" }, "No person or rule has taken an action yet.");
})();
