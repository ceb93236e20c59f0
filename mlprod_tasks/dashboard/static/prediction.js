"use strict";
// One prediction, by its key: its features, their effects and their sources.
(() => {
  const { h, s } = mlprod;
  const MOST = 12;

  function effect(part, most) {
    const value = part.log_odds ?? part.probability ?? 0;
    const width = 50 * Math.min(1, Math.abs(value) / (most || 1));
    return s("svg", { class: "effect", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("line", { x1: 50, x2: 50, y1: 0, y2: 10 }), s("rect", { class: value < 0 ? "down" : "up", x: value < 0 ? 50 - width : 50, y: 1, width, height: 8 }));
  }

  function facts(result) {
    const threshold = result.threshold === null ? "" : ` (threshold ${mlprod.number(result.threshold)})`;
    const number = result.decision === null; // a predicted number, on which nothing is decided
    const came = typeof result.outcome === "number" ? mlprod.number(result.outcome) : result.outcome ? "positive" : "negative";
    const outcome = result.outcome === null ? "not known yet" : `${came}, known ${result.outcome_known_at}`;
    const { origin } = result;
    const again = result.recomputed === null ? `not recomputed: ${result.not_recomputed}` : result.recomputed === result.score ? `the model gives exactly the same ${number ? "number" : "score"} again` : `the model now gives ${result.recomputed}, not ${result.score}`;
    const rows = [
      number ? ["Predicted", mlprod.number(result.score) + (result.interval ? `, between ${result.interval.map(mlprod.number).join(" and ")}` : "")] : ["Score", `${result.score.toFixed(4)}, decision: ${result.decision ? "act" : "wait"}${threshold}`],
      ["Outcome", outcome],
      ["Tick", `${result.tick}; features as known at ${result.predict_at}`],
      ["Scored by", `${result.fallback ? "the fallback of " : ""}version ${result.model_version} (${result.learner}${number ? "" : `, calibration ${result.calibration}`})${result.scored_at ? `, ${result.scored_at}` : ""}`],
      result.fallback_reason && ["Because", result.fallback_reason],
      origin.training_id && ["Training", `${origin.training_id}, ${origin.gates_passed} of ${mlprod.count(origin.gates, "gate")} passed: ${origin.reason || "unknown"}`],
      origin.run_url && ["Run", mlprod.link(origin.run_id || "run", origin.run_url)],
      origin.code && ["Code", `${origin.code.slice(0, 12)}${origin.git_commit ? `, commit ${origin.git_commit}` : ""}`],
      ["Check", again],
      ...result.sources.map((source) => ["Read from", `${source.table}, version ${source.then ?? "unknown"} at scoring, ${source.now} now`]),
      ["Declared", `${result.declaration.slice(0, 12)}, ${result.declaration_is_todays ? "today's" : "changed since"}`],
    ].filter(Boolean);
    return h("dl", { class: "facts wide" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  function parts(result) {
    const weight = (part) => Math.abs(part.log_odds ?? part.probability ?? 0);
    const sorted = [...result.parts].sort((a, b) => weight(b) - weight(a));
    const exact = result.base_log_odds !== null;
    const signed = (v) => (v === null ? "–" : `${v > 0 ? "+" : ""}${v.toFixed(3)}`);
    const most = weight(sorted[0] || { probability: 0 });
    const rows = (some) => some.map((part) => [part.feature, part.value, ...(exact ? [signed(part.log_odds)] : []), signed(part.probability), effect(part, most), part.meaning.replaceAll("`", "")]);
    const number = result.decision === null;
    const heads = ["feature", "value", ...(exact ? [number ? "added" : "log-odds"] : []), number ? "number" : "score", "effect", "meaning"];
    const place = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Effect of each feature" });
    const show = (some) => place.replaceChildren(mlprod.table(result.way, heads, rows(some), exact ? [1, 2, 3] : [1, 2]));
    show(sorted.slice(0, MOST));
    const more = sorted.length > MOST && h("button", { type: "button", class: "quiet", onclick: (event) => (show(sorted), event.target.remove()) }, `Show all ${sorted.length} features`);
    return [place, more];
  }

  mlprod.prediction = (detail, ask) => {
    const answer = h("div", { class: "answer", "aria-live": "polite" });
    // One field for each column, because a value may contain any character, even commas.
    const keys = detail.key.map((column, i) => {
      const input = h("input", { id: `prediction-key-${i}`, name: "key", required: true, autocomplete: "off", spellcheck: "false", placeholder: column });
      return { input, label: h("label", { for: input.id }, `Key, ${column}`) };
    });
    const tick = h("input", { id: "prediction-tick", name: "tick", type: mlprod.isWithinDay(detail.last || "") ? "text" : "date", min: detail.first, max: detail.last });
    const form = h("form", {
      class: "inline", onsubmit: async (event) => {
        event.preventDefault();
        answer.replaceChildren(h("p", { class: "empty" }, "Explaining…"));
        try {
          const result = await ask(keys.map(({ input }) => input.value), tick.value);
          answer.replaceChildren(...[h("h3", {}, Object.entries(result.key).map(([name, value]) => `${name} ${value}`).join(", ")), facts(result), ...parts(result)].filter(Boolean));
        } catch (error) {
          answer.replaceChildren(h("p", { class: "bad" }, error.message));
        }
      },
    }, keys.map(({ label, input }) => [label, input]), h("label", { for: "prediction-tick" }, "Tick, if several ticks scored this key"), tick, h("button", { type: "submit" }, "Explain"));
    return [form, answer];
  };
})();
