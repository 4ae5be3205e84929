// The table of samples: filters, sorting, and rows made as they are asked for, from the report in the page.
"use strict";
(() => {
  const PAGE = 200;
  const ALL_AT_ONCE = 5000;
  const report = JSON.parse(document.getElementById("report").textContent);
  const table = document.querySelector("table.samples");
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const more = document.getElementById("more");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];

  const names = report.setup.data.class_names;
  const className = (c) => (c === null || c === undefined ? "none" : names[c] ?? `class ${c}`);
  const short = (x) => {
    if (x === 0) return "0";
    if (x < 1e-3) return x.toExponential(1);
    return String(x < 10 ? Math.round(x * 1e4) / 1e4 : Math.round(x * 10) / 10);
  };

  const outcomeOf = (fate, correct) => {
    if (fate === "held") return correct ? "robust" : "wrong, held";
    if (fate === "changed") return correct ? "broken" : "wrong, changed";
    return fate;
  };

  const rows = [];
  for (const model of report.models) {
    model.threats.forEach((threat, t) => {
      const norm = report.setup.threats[t].norm.toLowerCase();
      const outcomes = new Map(threat.outcomes.map((o) => [o.sample, o]));
      report.samples.positions.forEach((position, i) => {
        const prediction = model.predictions[i];
        const outcome = outcomes.get(position);
        const fate = outcome ? outcome.fate : prediction === null ? "error" : "held";
        const found = outcome && outcome.found;
        const distance = found ? found[norm] : NaN;
        rows.push({
          order: rows.length,
          position: position,
          model: model.title,
          threat: threat.title,
          label: className(report.samples.labels[i]),
          prediction: className(prediction),
          outcome: outcomeOf(fate, prediction === report.samples.labels[i]),
          by: found ? found.by : "",
          after: found ? className(found.prediction) : "",
          distance: distance,
        });
      });
    });
  }
  const keys = ["position", "model", "threat", "label", "prediction", "outcome", "by", "after", "distance"];

  for (const select of form.querySelectorAll("select")) {
    const values = [...new Set(rows.map((row) => row[select.name]))].filter((value) => value !== "");
    for (const value of select.name === "model" || select.name === "threat" ? values : values.sort()) {
      select.add(new Option(value, value));
    }
  }

  // "17", "100-200", or several of them with commas; nothing: all.
  const positions = (text) => {
    const parts = text.split(",").map((part) => part.trim().match(/^(\d+)(?:\s*[-–]\s*(\d+))?$/)).filter(Boolean);
    if (parts.length === 0) return text.trim() === "" ? () => true : () => false;
    return (p) => parts.some(([, from, to]) => p >= Number(from) && p <= Number(to ?? from));
  };

  let sorted = { key: "order", down: false };
  let found = rows;
  let made = 0;

  const compare = (a, b) => {
    const [x, y] = [a[sorted.key], b[sorted.key]];
    // What has no distance comes last, whichever way.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.order - b.order;
    const order = typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0;
    return (sorted.down ? -order : order) || a.order - b.order;
  };

  const make = (count) => {
    const part = document.createDocumentFragment();
    for (const row of found.slice(made, made + count)) {
      const line = document.createElement("tr");
      keys.forEach((key, i) => {
        const cell = document.createElement(i === 0 ? "th" : "td");
        if (i === 0) cell.scope = "row";
        const value = row[key];
        cell.textContent = key === "distance" ? (Number.isNaN(value) ? "" : short(value)) : value;
        line.append(cell);
      });
      part.append(line);
    }
    made = Math.min(found.length, made + count);
    body.append(part);
    more.hidden = made === found.length;
    const count_of = (n) => n.toLocaleString("en");
    const rest = made < found.length ? `, the first ${count_of(made)} shown` : "";
    shown.textContent = `${count_of(found.length)} of ${count_of(rows.length)} rows${rest}`;
  };

  const update = () => {
    const wanted = new FormData(form);
    const at = positions(wanted.get("position"));
    const chosen = ["model", "threat", "label", "prediction", "outcome", "by"]
      .map((name) => [name, wanted.get(name)])
      .filter(([, value]) => value !== "");
    found = rows.filter((row) => at(row.position) && chosen.every(([name, value]) => row[name] === value));
    found.sort(compare);
    body.replaceChildren();
    made = 0;
    make(rows.length > ALL_AT_ONCE ? PAGE : ALL_AT_ONCE);
  };

  headings.forEach((heading, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => {
      sorted = { key: keys[i], down: sorted.key === keys[i] && !sorted.down };
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      update();
    });
    heading.replaceChildren(button);
  });
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = made;
    make(PAGE);
    // So that the keyboard goes on where the new rows begin.
    body.rows[first].tabIndex = -1;
    body.rows[first].focus();
  });
  for (const plain of document.querySelectorAll(".plain")) plain.remove();
  form.hidden = false;
  update();
})();
