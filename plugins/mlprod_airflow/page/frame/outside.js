"use strict";
// Airflow shows the page in a frame that may open no windows. Links that want one are opened by Airflow's own document around it.
addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[target=_blank]");
  if (!link || parent === window || event.defaultPrevented) return;
  const around = parent.document;
  const same = around.createElement("a");
  same.href = link.href;
  same.target = "_blank";
  same.rel = "noopener noreferrer";
  event.preventDefault();
  around.body.append(same);
  same.click();
  same.remove();
});
