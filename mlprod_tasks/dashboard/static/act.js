"use strict";
// Buttons for actions: each opens a dialog that explains the action, asks for a reason, and shows the result.
(() => {
  const { h } = mlprod;
  const DIALOGS = {
    retrain: ["Retrain", "A training starts now. The new model becomes champion only if it passes its gates."],
    rollback: ["Roll back", "An earlier version becomes champion from the next tick on, with the fallback that belongs to it."],
    fallback: ["Switch to the fallback", "The fallback model scores until a new champion is promoted or someone switches back."],
    champion: ["Let the champion answer again", "The champion scores again from the next scoring on."],
    acknowledge: ["Acknowledge", "The alarm stays open and is marked as acknowledged by you."],
    mute: ["Mute", "No mails about this rule are sent until then."],
    unmute: ["Unmute", "Mails about this rule are sent again."],
    bound: ["Set bounds", "From the newest tick on, these bounds replace the declared and learned ones."],
    experiment: ["Start an experiment", "Rows of the next ticks are split between the champion and the variants, by the plan that follows from the history. The plan cannot be changed, only ended."],
    end_experiment: ["End the experiment", "The champion answers all rows from the next tick on. What it showed so far stays, without a verdict."],
    bandit: ["Start a bandit", "Rows of the next ticks, and requests, are given arms by chance: more and more the one that earns most. The arms cannot be changed, only ended."],
    freeze_bandit: ["Freeze the bandit", "Its shares stay as they are, for requests within seconds, and it learns nothing until it is thawed. Rows are still given arms."],
    thaw_bandit: ["Thaw the bandit", "It learns again, also from the rewards that came meanwhile. Its shares change from the next tick on."],
    end_bandit: ["End the bandit", "The champion answers all rows from the next tick on, and requests within seconds. What the arms earned stays."],
    rollout: ["Roll out", "All replicas of the service follow within seconds. A running ramp ends."],
  };
  const REASONED = ["retrain", "rollback", "fallback", "champion", "bound", "rollout", "ramp", "experiment", "end_experiment", "bandit", "freeze_bandit", "thaw_bandit", "end_bandit"];
  const MODES = [["champion", "champion: it answers every request"], ["canary", "canary: the challenger answers a share of the entities"], ["shadow", "shadow: the challenger scores, the champion answers"], ["blue-green", "blue-green: the challenger answers every request"]];
  const AUTOMATION = [["full", "full: the service decides"], ["band", "band: uncertain scores go to people"], ["assist", "assist: every decision goes to people"], ["shadow", "shadow: no decision is given"]];

  function boundFields({ slices, column }) {
    const newest = column.values.findLastIndex((v) => v !== null);
    const now = (values) => (newest < 0 || values[newest] === null ? "" : values[newest]);
    const names = [...new Set(slices)].filter(Boolean);
    return [
      names.length > 0 && h("label", {}, "For ", h("select", { name: "slice" }, h("option", { value: "" }, "all"), names.map((name) => h("option", { value: name }, name)))),
      h("div", { class: "pair" }, [["low", now(column.low)], ["high", now(column.high)]].map(([name, value]) => h("label", {}, `${name === "low" ? "Lowest" : "Highest"} allowed `, h("input", { name, type: "number", step: "any", value })))),
    ].filter(Boolean);
  }

  const choice = (name, label, options, chosen, onchange) =>
    h("label", {}, `${label} `, h("select", { name, onchange }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
  const challenger = (versions, chosen) => choice("challenger", "Challenger", versions.map((n) => [n, `version ${n}`]), chosen);

  function rolloutFields({ now, versions, ramp, automations: usual, classes }) {
    const before = now || { mode: "champion", automation: "full", challenger: null, share: 0, band: null };
    const [low, high] = before.band || ["", ""];
    const percent = (name, label, value) => h("label", {}, `${label} `, h("input", { name, type: "number", min: 0, max: 100, step: "any", value }));
    const bound = (name, label, value) => h("label", {}, `${label} `, h("input", { name, type: "number", min: 0, max: 1, step: "any", value, required: true }));
    const inputs = {
      challenger: challenger(versions, before.challenger),
      share: percent("share", "Share of entities that it answers, in %", Number((100 * (before.share || ramp[0] || 0.05)).toFixed(4))),
      band: h("div", { class: "pair" }, bound("low", classes ? "People decide margins from" : "People decide scores from", low), bound("high", "to below", high)),
    };
    // Fields that the mode does not use are neither shown nor sent.
    const show = () => {
      const [mode, automation] = [modes, automations].map((label) => label.querySelector("select").value);
      const taken = { challenger: mode !== "champion", share: mode === "canary", band: automation === "band" };
      for (const [name, element] of Object.entries(inputs)) {
        element.hidden = !taken[name];
        for (const one of element.querySelectorAll("input, select")) one.disabled = !taken[name];
      }
    };
    const modes = choice("mode", "Mode", versions.length ? MODES : MODES.slice(0, 1), before.mode, show);
    const automations = choice("automation", "Automation", AUTOMATION.filter(([name]) => name === "full" || usual.includes(name)), before.automation, show);
    automations.hidden = !usual.length;
    show();
    return [modes, inputs.challenger, inputs.share, automations, inputs.band];
  }

  function fields(action, detail, given) {
    const out = action === "bound" ? boundFields(given) : action === "rollout" && !given.back ? rolloutFields(given) : action === "ramp" ? [challenger(given.versions, null)] : action === "experiment" ? mlprod.experimentFields(given) : action === "bandit" ? mlprod.banditFields(given) : [];
    if (action === "rollback") {
      const earlier = [...new Set(detail.versions.map((one) => one.version))].filter((v) => v !== (detail.champion && detail.champion.version)).sort((a, b) => b - a);
      out.push(h("label", {}, "To version ", h("select", { name: "version" }, h("option", { value: "" }, "the previous champion"), earlier.map((v) => h("option", { value: v }, `version ${v}`)))));
    }
    if (action === "review" && given.classes) {
      out.push(h("label", {}, "Class ", h("input", { name: "class", list: "classes", value: given.prediction, required: true, maxlength: 200 }), h("datalist", { id: "classes" }, given.classes.map((value) => h("option", { value })))));
    }
    if (action === "mute") {
      out.push(h("label", {}, "For ", h("select", { name: "days" }, [1, 3, 7, 14, 30].map((n) => h("option", { value: n, selected: n === 7 }, mlprod.count(n, "day"))))));
    }
    out.push(h("label", {}, REASONED.includes(action) ? "Reason" : "Reason (optional)", h("textarea", { name: "reason", rows: 3, maxlength: 500, required: REASONED.includes(action) })));
    return out;
  }

  // Only the version that answers changes; the automation stays as it is.
  const switchedBack = ({ automation, band }) => ({ mode: "champion", automation, low: band && band[0], high: band && band[1] });

  // `post(action, body)` returns a sentence with the result; `after` draws the page again.
  mlprod.asker = (detail, post, after) => (action, label, given) => {
    if (!detail.may.includes(action)) return null;
    return h("button", { type: "button", class: REASONED.includes(action) && action !== "bound" ? null : "quiet", "data-action": action, onclick: () => open(action, given) }, label);

    function open(action, given) {
      const [title, what] = given.dialog || DIALOGS[action];
      const failed = h("p", { class: "bad", role: "alert" });
      const plan = h("p", { class: "plan", role: "status" });
      const submit = h("button", { type: "submit", class: "act" }, title);
      const form = h("form", { method: "dialog" }, h("h2", { id: "ask-title" }, `${title}: ${given.rule || given.title || detail.name}`), h("p", {}, what), given.words && h("p", { class: "sub" }, `What is measured: ${given.words}.`), fields(action, detail, given), plan, failed,
        h("div", { class: "buttons" }, submit, action === "bound" && h("button", { type: "submit", value: "unbound" }, "Back to declared and learned bounds"), action === "experiment" && h("button", { type: "submit", value: "plan_experiment", formnovalidate: true }, "Only plan"), h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
      const dialog = h("dialog", { "aria-labelledby": "ask-title", onclose: () => dialog.remove() }, form);
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const entered = new FormData(form);
        const number = (name) => (entered.get(name) ? Number(entered.get(name)) : null);
        const instead = event.submitter && event.submitter.value;
        const share = entered.get("share") ? { share: number("share") / 100 } : {};
        const more = {
          bound: { what: given.what, slice: String(entered.get("slice") || ""), low: number("low"), high: number("high") },
          rollout: given.back ? switchedBack(given.now) : { mode: entered.get("mode"), challenger: number("challenger"), automation: entered.get("automation"), low: number("low"), high: number("high"), instead_of: given.now ? given.now.at : "", ...share },
          ramp: { challenger: number("challenger") },
          experiment: { experiment: String(entered.get("experiment") || ""), variants: entered.get("variants"), metric: entered.get("metric"), difference: number("difference"), alpha: (number("alpha") ?? 5) / 100, power: (number("power") ?? 80) / 100, design: entered.get("design"), rows: entered.get("rows"), then: entered.get("then"), fresh: entered.get("fresh") !== null, traffic: (number("traffic") ?? 100) / 100, periods: number("periods") },
          end_experiment: { experiment: given.experiment },
          bandit: { experiment: String(entered.get("experiment") || ""), variants: String(entered.get("variants") || ""), rows: entered.get("rows") },
          end_bandit: { experiment: given.experiment },
          freeze_bandit: { experiment: given.experiment },
          thaw_bandit: { experiment: given.experiment },
          review: { request_id: given.request_id, row: given.row, decision: given.classes ? String(entered.get("class")) : given.decision },
        }[action];
        submit.disabled = true;
        try {
          const done = await post(instead || action, { reason: String(entered.get("reason") || "").trim(), rule: given.rule || "", days: number("days"), version: number("version"), ...more });
          // A plan changes nothing: it is read, and may be changed, before it is started.
          if (instead === "plan_experiment") {
            plan.textContent = done;
            failed.textContent = "";
            submit.disabled = false;
            return;
          }
          dialog.close();
          mlprod.announce(done);
          await after();
        } catch (error) {
          failed.textContent = error.message;
          submit.disabled = false;
        }
      });
      document.body.append(dialog);
      dialog.showModal();
    }
  };
})();
