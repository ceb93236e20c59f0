"use strict";
// Airflow shows the page in a frame that may not open windows, so Airflow's document around it opens links to new windows.
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
