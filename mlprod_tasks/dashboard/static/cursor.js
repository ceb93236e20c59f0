"use strict";
// One cursor for all charts of a page: pointer and arrow keys move it, dragging or Shift with arrow keys selects a range of ticks.
(() => {
  mlprod.shared = (detail, zoom) => {
    const marks = detail.versions
      .map((one) => ({ index: detail.ticks.indexOf(one.tick), text: `v${one.version}${one.rolled_back_from === null ? "" : " (back)"}` }))
      .filter((mark) => mark.index > 0);
    return { ticks: detail.ticks, scored_by: detail.scored_by, marks, zoom, listeners: [], index: null };
  };

  function move(shared, index, source) {
    shared.index = index;
    for (const listener of shared.listeners) listener(index, source);
  }

  mlprod.cursor = (plot, view) => {
    const { shared } = view;
    let scale = null, at = view.start, from = null, dragged = false;

    function redraw() {
      if (!plot.isConnected || !plot.clientWidth) return;
      scale = view.draw();
      place(shared.index);
    }

    function place(index) {
      if (!scale) return;
      scale.cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
      if (index !== null) for (const end of ["x1", "x2"]) scale.cursor.setAttribute(end, scale.x(index));
    }

    function select(a, b) {
      if (!scale) return;
      scale.brush.setAttribute("visibility", a === null ? "hidden" : "visible");
      if (a === null) return;
      const [first, last] = [Math.min(a, b), Math.max(a, b)];
      scale.brush.setAttribute("x", scale.x(first) - scale.slot / 2);
      scale.brush.setAttribute("width", (last - first + 1) * scale.slot);
    }

    function release() {
      from = null;
      select(null);
    }

    function choose(a, b) {
      release();
      if (Math.abs(a - b) >= 2) shared.zoom(shared.ticks[Math.min(a, b)], shared.ticks[Math.max(a, b)]);
    }

    function tell(index, x) {
      at = index;
      const parts = view.tell(index);
      const box = plot.getBoundingClientRect();
      const value = view.y(index);
      const y = box.top + (value === null ? 40 : scale.y(value));
      mlprod.tip.show(view.nodes(parts), x ?? box.left + scale.x(index), y, x === undefined ? plot : null);
      plot.setAttribute("aria-valuenow", index + 1);
      plot.setAttribute("aria-valuetext", view.text(parts));
      move(shared, index, plot);
    }

    function leave() {
      if (from !== null && dragged) return;
      mlprod.tip.hide();
      release();
      move(shared, null, plot);
    }

    shared.listeners.push((index) => place(index));
    plot.addEventListener("pointermove", (event) => {
      if (!scale) return;
      const index = scale.at(event.clientX);
      if (from !== null && event.pointerType === "mouse" && index !== from) dragged = true;
      if (dragged) select(from, index);
      tell(index, event.clientX);
    });
    plot.addEventListener("pointerdown", (event) => {
      if (!scale) return;
      if (event.pointerType === "mouse" && event.button === 0) {
        [from, dragged] = [scale.at(event.clientX), false];
        plot.setPointerCapture(event.pointerId);
      }
      tell(scale.at(event.clientX), event.clientX);
    });
    plot.addEventListener("pointerup", (event) => {
      if (dragged && from !== null) choose(from, scale.at(event.clientX));
      [from, dragged] = [null, false];
    });
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("focus", () => scale && plot.matches(":focus-visible") && tell(at));
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -7, PageDown: 7, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Enter" && from !== null) choose(from, at);
      if (event.key === "Escape") release();
      if (by === undefined || !scale) return;
      event.preventDefault();
      if (event.shiftKey && from === null) from = at;
      if (!event.shiftKey) release();
      tell(Math.max(0, Math.min(shared.ticks.length - 1, at + by)));
      if (from !== null) select(from, at);
    });
    new ResizeObserver(redraw).observe(plot);
  };
})();
