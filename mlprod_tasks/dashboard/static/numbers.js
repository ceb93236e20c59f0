"use strict";
// Formats numbers and days for people.
(() => {
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

  function plain(value) {
    const size = Math.abs(value);
    if (size >= 1000) return Math.round(value).toLocaleString("en-US");
    if (size === 0) return "0";
    if (size < 0.000001) return value.toExponential(1);
    // Digits after the point are counted out here, because String() writes small numbers with an exponent.
    if (size < 0.001) return value.toFixed(2 - Math.floor(Math.log10(size))).replace(/0+$/, "");
    return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
  }

  function seconds(value) {
    if (value < 60) return `${plain(value)} s`;
    if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
    return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
  }

  mlprod.number = (value, form = "number", unit = "") => {
    if (value === null || value === undefined) return "–";
    if (form === "share") return `${Number((value * 100).toFixed(Math.abs(value) < 0.1 ? 2 : 1))} %`;
    if (form === "seconds") return seconds(value);
    return unit ? `${plain(value)} ${unit}` : plain(value);
  };

  mlprod.count = (n, one, many) => `${n.toLocaleString("en-US")} ${n === 1 ? one : many || `${one}s`}`;

  // A tick is named by its date, or within a day by its start in UTC: 2013-11-03T0500Z.
  mlprod.isWithinDay = (tick) => tick.length > 10;
  const hour = (tick) => `${tick.slice(11, 13)}:${tick.slice(13, 15)}`;
  const parsed = (tick) => new Date(`${tick.slice(0, 10)}T${mlprod.isWithinDay(tick) ? hour(tick) : "00:00"}:00Z`);
  mlprod.day = (tick) => `${parsed(tick).getUTCDate()} ${MONTHS[parsed(tick).getUTCMonth()]}${mlprod.isWithinDay(tick) ? ` ${hour(tick)}` : ""}`;
  mlprod.longDay = (tick) => `${DAYS[parsed(tick).getUTCDay()]} ${mlprod.day(tick)} ${tick.slice(0, 4)}`;
  mlprod.isMonday = (tick) => parsed(tick).getUTCDay() === 1;
  mlprod.areDaily = (ticks) => ticks.length < 2 || parsed(ticks[1]) - parsed(ticks[0]) === 86400000;
  mlprod.isFirst = (tick) => tick.endsWith("-01");
  mlprod.moment = (iso) => {
    const at = new Date(iso);
    const two = (n) => String(n).padStart(2, "0");
    return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}, ${two(at.getUTCHours())}:${two(at.getUTCMinutes())} UTC`;
  };

  // Round numbers that span [low, high], about `wanted` of them.
  mlprod.niceTicks = (low, high, wanted) => {
    const rough = (high - low || Math.abs(high) || 1) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((one) => one >= rough * 0.999);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
    return ticks;
  };

  // Two bounds in words.
  mlprod.bounds = (low, high, form, unit) => {
    const format = (value) => mlprod.number(value, form, unit);
    if (low === null && high === null) return "no bound";
    if (low === null) return `at most ${format(high)}`;
    return high === null ? `at least ${format(low)}` : `${format(low)} to ${format(high)}`;
  };
})();
