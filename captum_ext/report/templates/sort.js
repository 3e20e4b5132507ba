"use strict";

// What is undefined has no value and comes last, whichever way the rest goes.
function compare(one, other, sign) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return sign * (Number(one) - Number(other));
}

function sortTable(button) {
  const head = button.closest("th");
  const body = head.closest("table").tBodies[0];
  const better = Number(button.dataset.better);
  const now = { ascending: 1, descending: -1 }[head.getAttribute("aria-sort")];
  const sign = now ? -now : -better; // the best first, then the other way round
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const value = (row) => row.cells[head.cellIndex].dataset.value;
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), sign)));
}

function sortGallery(button) {
  const metric = document.getElementById("by-metric").selectedOptions[0];
  const method = document.getElementById("by-method").selectedOptions[0];
  const order = Number(button.dataset.order);
  const list = document.querySelector(".gallery ol");
  const score = (item) => item.querySelector("tbody").rows[metric.value].cells[Number(method.value) + 1].dataset.value;
  const value = order === 0 ? (item) => item.dataset.number : score;
  const sign = order === 0 ? 1 : -order * Number(metric.dataset.better);
  list.append(...[...list.children].sort((a, b) => compare(value(a), value(b), sign)));
  for (const other of button.parentElement.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
  const by = order === 0 ? "" : ` by ${metric.text} of ${method.text}`;
  document.getElementById("sorted").textContent = `Sorted${by}: ${button.textContent.toLowerCase()}.`;
}

for (const button of document.querySelectorAll(".sortable button")) {
  button.addEventListener("click", () => sortTable(button));
}
for (const button of document.querySelectorAll(".controls button")) {
  button.addEventListener("click", () => sortGallery(button));
}
for (const select of document.querySelectorAll(".controls select")) {
  select.addEventListener("change", () => {
    const pressed = document.querySelector('.controls [aria-pressed="true"]');
    if (pressed.dataset.order !== "0") sortGallery(pressed);
  });
}

// A table that is wider than its example has the names of the methods in its cells, which wrap.
function wrapTables() {
  for (const region of document.querySelectorAll(".gallery .scroll")) {
    const table = region.querySelector("table");
    table.classList.remove("wraps");
    table.classList.toggle("wraps", region.scrollWidth > region.clientWidth);
  }
}
wrapTables();
window.addEventListener("resize", wrapTables);
