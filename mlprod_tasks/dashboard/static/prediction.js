"use strict";
// One prediction, found by its key: its features, their effects and their sources.
(() => {
  const { h, s } = mlprod;
  const MOST = 12;

  function effect(part, most) {
    const value = part.log_odds ?? part.probability ?? 0;
    const width = 50 * Math.min(1, Math.abs(value) / (most || 1));
    return s("svg", { class: "effect", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("line", { x1: 50, x2: 50, y1: 0, y2: 10 }), s("rect", { class: value < 0 ? "down" : "up", x: value < 0 ? 50 - width : 50, y: 1, width, height: 8 }));
  }

  function facts(told) {
    const threshold = told.threshold === null ? "" : ` (acts at ${mlprod.number(told.threshold)})`;
    const outcome = told.outcome === null ? "not known yet" : `${told.outcome ? "positive" : "negative"}, known ${told.outcome_known_at}`;
    const { origin } = told;
    const again = told.recomputed === null ? `not recomputed: ${told.not_recomputed}` : told.recomputed === told.score ? "the model gives exactly this score again" : `the model now gives ${told.recomputed}, not ${told.score}`;
    const rows = [
      ["Score", `${told.score.toFixed(4)}, decision: ${told.decision ? "act" : "wait"}${threshold}`],
      ["Outcome", outcome],
      ["Tick", `${told.tick}; features as known at ${told.predict_at}`],
      ["Scored by", `${told.fallback ? "the fallback of " : ""}version ${told.model_version} (${told.learner}, calibration ${told.calibration})${told.scored_at ? `, ${told.scored_at}` : ""}`],
      told.fallback_reason && ["Because", told.fallback_reason],
      origin.training_id && ["Training", `${origin.training_id}, ${origin.gates_passed} of ${mlprod.count(origin.gates, "gate")} passed: ${origin.reason || "unknown"}`],
      origin.run_url && ["Run", mlprod.link(origin.run_id || "run", origin.run_url)],
      origin.code && ["Code", `${origin.code.slice(0, 12)}${origin.git_commit ? `, commit ${origin.git_commit}` : ""}`],
      ["Check", again],
      ...told.sources.map((source) => ["Read from", `${source.table}, version ${source.then ?? "unknown"} at scoring, ${source.now} now`]),
      ["Declared", `${told.declaration.slice(0, 12)}, ${told.declaration_is_todays ? "today's" : "changed since"}`],
    ].filter(Boolean);
    return h("dl", { class: "facts wide" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  function parts(told) {
    const weight = (part) => Math.abs(part.log_odds ?? part.probability ?? 0);
    const sorted = [...told.parts].sort((a, b) => weight(b) - weight(a));
    const exact = told.base_log_odds !== null;
    const signed = (v) => (v === null ? "–" : `${v > 0 ? "+" : ""}${v.toFixed(3)}`);
    const most = weight(sorted[0] || { probability: 0 });
    const rows = (some) => some.map((part) => [part.feature, part.value, ...(exact ? [signed(part.log_odds)] : []), signed(part.probability), effect(part, most), part.meaning.replaceAll("`", "")]);
    const heads = ["feature", "value", ...(exact ? ["log-odds"] : []), "score", "effect", "meaning"];
    const place = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Effect of each feature" });
    const show = (some) => place.replaceChildren(mlprod.table(told.way, heads, rows(some), exact ? [1, 2, 3] : [1, 2]));
    show(sorted.slice(0, MOST));
    const more = sorted.length > MOST && h("button", { type: "button", class: "quiet", onclick: (event) => (show(sorted), event.target.remove()) }, `Show all ${sorted.length} features`);
    return [place, more];
  }

  mlprod.prediction = (detail, ask) => {
    const answer = h("div", { class: "answer", "aria-live": "polite" });
    // A field for each column: a value may hold any character, commas too.
    const keys = detail.key.map((column, i) => {
      const input = h("input", { id: `prediction-key-${i}`, name: "key", required: true, autocomplete: "off", spellcheck: "false", placeholder: column });
      return { input, label: h("label", { for: input.id }, `Key, ${column}`) };
    });
    const tick = h("input", { id: "prediction-tick", name: "tick", type: "date", min: detail.first, max: detail.last });
    const form = h("form", {
      class: "inline", onsubmit: async (event) => {
        event.preventDefault();
        answer.replaceChildren(h("p", { class: "empty" }, "Explaining…"));
        try {
          const told = await ask(keys.map(({ input }) => input.value), tick.value);
          answer.replaceChildren(...[h("h3", {}, Object.entries(told.key).map(([name, value]) => `${name} ${value}`).join(", ")), facts(told), ...parts(told)].filter(Boolean));
        } catch (error) {
          answer.replaceChildren(h("p", { class: "bad" }, error.message));
        }
      },
    }, keys.map(({ label, input }) => [label, input]), h("label", { for: "prediction-tick" }, "Tick, if several ticks scored this key"), tick, h("button", { type: "submit" }, "Explain"));
    return [form, answer];
  };
})();
