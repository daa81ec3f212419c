"use strict";
(() => {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const tint = (colour) => css(`--tint-${colour.slice(1)}`) || colour;
  // plotly.js reads a few tags in its texts; a name is never one of them.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
  const index = (id) => Number($(id).value);

  /* Tables */

  function sortTable(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const up = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = "numeric" in heads[column].dataset;
    const words = new Intl.Collator("en", { numeric: true });
    const order = (a, b) => (numeric ? Number(a) - Number(b) : words.compare(a, b)) * (up ? 1 : -1);
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.key, row]);
    rows.sort(([a], [b]) => (a === "" || b === "" ? (a === "") - (b === "") : order(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => sortTable(table, column)));
  }

  function filterRows() {
    const words = $("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const dataset = $("filter-dataset").value, backbone = $("filter-backbone").value;
    const rows = [...$("leaderboard").tBodies[0].rows];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!dataset || row.dataset.dataset === dataset)
        && (!backbone || row.dataset.backbone === backbone));
    }
    $("filter-count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  }
  $("filters").addEventListener("input", filterRows);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  filterRows();

  /* Figures */

  const config = { displaylogo: false, responsive: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  let printing = false;

  const width = (id) => (printing ? 680 : Math.max(280, $(id).clientWidth));
  const narrow = (id) => width(id) < 560;

  function axis(title, more) {
    return { title: { text: title, standoff: 8 }, gridcolor: css("--rule"), zerolinecolor: css("--rule"), linecolor: css("--quiet"),
      tickcolor: css("--rule"), ticks: "outside", ticklen: 4, automargin: true, ...more };
  }

  function layout(id, height, more) {
    return { width: width(id), height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: css("--ink") },
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--rule"), font: { color: css("--ink") }, align: "left" },
      margin: { l: 58, r: 16, t: 12, b: 48 }, dragmode: narrow(id) ? false : "zoom", ...more };
  }

  // A line's own pattern before its name, so that a label needs no colour to be told apart.
  const SAMPLE = { solid: "━━", dash: "╸╺╸", dashdot: "━ ·", dot: "···" };

  function faint(colour, alpha) {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  }

  // Round places of a log axis: decades where there are many, else 1, 2 and 5 of each.
  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      const steps = high / low > 100 ? [1] : high / low > 4 ? [1, 2, 5] : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 8];
      steps.forEach((step) => ticks.push(Number((step * 10 ** power).toPrecision(3))));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  }

  // Move sorted heights apart until neighbours are a gap away from each other.
  function spread(labels, gap, low, high) {
    labels.sort((a, b) => a.y - b.y);
    for (let pass = 0; pass < 80; pass += 1) {
      for (let i = 1; i < labels.length; i += 1) {
        const lack = gap - (labels[i].y - labels[i - 1].y);
        if (lack > 0) { labels[i].y += lack / 2; labels[i - 1].y -= lack / 2; }
      }
      if (labels.length) {
        labels[0].y = Math.max(labels[0].y, low);
        labels.at(-1).y = Math.min(labels.at(-1).y, high);
      }
    }
    return labels;
  }

  const hidden = new Set();

  function legend() {
    const place = data.curves[index("curves-place")];
    $("curves-legend").replaceChildren(...place.series.map((line) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden.has(line.name)));
      const dash = { solid: "", dash: "6 3", dashdot: "6 3 1.5 3", dot: "1.5 3" }[line.dash];
      button.innerHTML = `<svg width="24" height="8" aria-hidden="true"><line x1="0" x2="24" y1="4" y2="4" `
        + `stroke-width="${line.thin ? 1.5 : 2.5}" stroke-dasharray="${dash}"/></svg>`;
      button.querySelector("line").style.stroke = `var(--tint-${line.tint.slice(1)})`;
      button.append(line.name);
      if (line.note) button.append(Object.assign(document.createElement("small"), { textContent: line.note }));
      button.addEventListener("click", () => {
        hidden.has(line.name) ? hidden.delete(line.name) : hidden.add(line.name);
        button.setAttribute("aria-pressed", String(!hidden.has(line.name)));
        draw("curves");
      });
      return button;
    }));
  }

  function drawCurves() {
    const place = data.curves[index("curves-place")], abscissa = chosen("abscissa"), id = "plot-curves";
    const shown = place.series.filter((line) => !hidden.has(line.name));
    const traces = [], ends = [];
    let low = Infinity, high = 0, last = 0;
    for (const line of shown) {
      const colour = tint(line.tint), x = line.x[abscissa];
      if (x.length && !line.thin) {
        traces.push({ x: [...x, ...[...x].reverse()], y: [...line.high, ...[...line.low].reverse()], fill: "toself",
          fillcolor: faint(colour, 0.16), line: { width: 0 }, mode: "lines", hoverinfo: "skip", name: `${line.name} band` });
      }
      traces.push({ x, y: line.mean, mode: "lines", name: line.name, customdata: line.low.map((value, i) => [value, line.high[i]]),
        line: { color: colour, width: line.thin ? 1.2 : 2.2, dash: line.dash },
        hovertemplate: `<b>${plain(line.name)}</b><br>%{y:.4~g} meV/Å [%{customdata[0]:.4~g}, %{customdata[1]:.4~g}]<br>`
          + `%{x:.4~s} ${abscissa === "flops" ? "FLOPs" : abscissa === "seconds" ? "s" : `${abscissa}s`}<extra></extra>` });
      for (const run of line.lost) {
        const text = `<b>${plain(line.name)}</b><br>seed ${run.seed} diverged<extra></extra>`;
        traces.push({ x: run.x[abscissa], y: run.y, mode: "lines", line: { color: colour, width: 0.8, dash: line.dash }, hovertemplate: text });
        traces.push({ x: run.x[abscissa].slice(-1), y: run.y.slice(-1), mode: "markers", hovertemplate: text,
          marker: { color: colour, symbol: "x-thin-open", size: 9, line: { width: 1.6 } } });
      }
      if (!line.mean.length) continue;
      low = Math.min(low, ...line.low);
      last = Math.max(last, x.at(-1));
      high = Math.max(high, ...line.mean.slice(Math.ceil(line.mean.length / 4)), place.trivial ? 0 : line.mean[0]);
      ends.push({ name: line.name, colour, dash: line.dash, y: Math.log10(line.mean.at(-1)) });
    }
    if (!Number.isFinite(low)) { low = (place.trivial || 100) / 10; high = place.trivial || 100; }
    const top = Math.log10(Math.max(1.15 * high, place.trivial ? 1.25 * place.trivial : 0)), bottom = Math.log10(0.9 * low);
    const height = narrow(id) ? 380 : 480, longest = Math.max(8, ...ends.map((end) => end.name.length)),
      room = narrow(id) ? 16 : Math.min(260, 50 + 7 * longest);
    const annotations = narrow(id) ? [] : spread(ends, (top - bottom) * 17 / (height - 70), bottom, top).map((end) => ({
      x: 1, xref: "paper", xanchor: "left", y: end.y, yref: "y", showarrow: false, xshift: 6, font: { size: 12 },
      text: `<span style="color:${end.colour}">${SAMPLE[end.dash]}</span> ${plain(end.name)}` }));
    const shapes = [];
    if (place.shade[abscissa] > 0) {
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0: 0, x1: place.shade[abscissa], y0: 0, y1: 1, layer: "below",
        line: { width: 0 }, fillcolor: css("--band") });
    }
    if (place.trivial) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: place.trivial, y1: place.trivial,
        line: { color: tint("#767676"), width: 1.2, dash: "4px,3px" } });
      annotations.push({ x: 1, xref: "paper", xanchor: "right", y: Math.log10(place.trivial), yanchor: "bottom", showarrow: false,
        text: "trivial predictor", font: { size: 11, color: css("--quiet") } });
    }
    const ticks = logTicks(10 ** bottom, 10 ** top);
    const axes = {
      xaxis: axis(data.abscissae[abscissa], { range: [0, 1.01 * last || 1], zeroline: false, showgrid: false,
        exponentformat: "SI", nticks: narrow(id) ? 5 : 10 }),
      yaxis: axis("validation force RMSE / (meV/Å)", { type: "log", range: [bottom, top], tickmode: "array", tickvals: ticks,
        ticktext: ticks.map(String) }),
    };
    return [traces, layout(id, height, { ...axes, shapes, annotations, hovermode: "closest", hoverdistance: 30,
      margin: { l: 62, r: room, t: 12, b: 50 } })];
  }

  const percent = (ratio) => {
    const value = 100 * (ratio - 1);
    return value === 0 ? "0" : `${value < 0 ? "−" : "+"}${Number(Math.abs(value).toPrecision(3))} %`;
  };

  function drawForest() {
    const groups = data.forest.groups[`${chosen("forest-quantity")} ${chosen("forest-reference")}`], id = "plot-forest";
    const rows = groups.flatMap((group) => [{ title: group.label }, ...group.rows]);
    const traces = [], ends = [1 - data.forest.margin, 1 + data.forest.margin];
    rows.forEach((row, i) => {
      if (row.title || row.delta === null) return;
      const colour = tint(row.tint), mean = 1 + row.delta, known = row.low !== null;
      const low = known ? 1 + row.low : mean, high = known ? 1 + row.high : mean;
      ends.push(low, high);
      const text = `<b>${plain(row.name)}</b><br>${row.text} %<br>${row.verdict}, ${row.pairs} pairs<extra></extra>`;
      traces.push({ x: [low, high], y: [i, i], mode: "lines", line: { color: colour, width: row.thin ? 1.6 : 2.4 }, hovertemplate: text });
      traces.push({ x: [mean], y: [i], mode: "markers", hovertemplate: text, marker: { color: row.thin ? css("--ground") : colour,
        size: 9, line: { color: colour, width: 1.8 } } });
    });
    const low = Math.max(Math.min(...ends) / 1.06, 0.02), high = Math.min(Math.max(...ends) * 1.06, 50);
    const places = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 10, 20, 50];
    const apart = Math.log(high / low) / (narrow(id) ? 4 : 9), ticks = [1];
    const near = (tick) => ticks.some((other) => Math.abs(Math.log(tick / other)) < apart);
    places.filter((tick) => tick > low && tick < high).forEach((tick) => near(tick) || ticks.push(tick));
    const line = (at, dash, colour) => ({ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: colour, width: 1.2, dash } });
    const labels = rows.map((row) => (row.title ? `<b>${plain(row.title)}</b>` : plain(row.name)));
    const lost = rows.flatMap((row, i) => (!row.title && row.delta === null ? [{ x: 0, y: i, xshift: 6, xanchor: "left",
      showarrow: false, text: "diverged, no pair left", font: { size: 11, color: css("--bad") } }] : []));
    return [traces, layout(id, 80 + 24 * Math.max(rows.length, 3), {
      xaxis: axis("change of test RMSE", { type: "log", range: [Math.log10(low), Math.log10(high)], tickmode: "array", tickvals: ticks,
        ticktext: ticks.map(percent), tickangle: 0, zeroline: false }),
      yaxis: axis("", { range: [rows.length - 0.4, -0.6], tickmode: "array", tickvals: rows.map((_, i) => i), ticktext: labels,
        ticks: "", showgrid: false, zeroline: false }),
      shapes: [line(1, "solid", css("--quiet")), line(1 - data.forest.margin, "dot", css("--quiet"))],
      annotations: rows.length ? lost : [{ text: "no such comparison in this experiment", showarrow: false, x: 0.5, xref: "paper", y: 0.5, yref: "paper" }],
      hovermode: "closest", margin: { l: narrow(id) ? 90 : 130, r: 20, t: 6, b: 50 } })];
  }

  function parityStrategies() {
    const { series } = data.parity[index("parity-place")], before = $("parity-strategy").value;
    $("parity-strategy").replaceChildren(...series.map((line, i) => new Option(line.name, String(i))));
    const wanted = series.findIndex((line) => line.name === "mask");
    $("parity-strategy").value = before && series[before] ? before : String(wanted < 0 ? series.length - 1 : wanted);
  }

  function drawParity() {
    const { series } = data.parity[index("parity-place")], quantity = chosen("parity-quantity"), id = "plot-parity";
    const lines = [...new Set([0, index("parity-strategy")])].map((i) => series[i]);
    const unit = quantity === "force" ? "eV/Å" : "eV/atom";
    let low = Infinity, high = -Infinity;
    lines.forEach(({ [quantity]: points }) => [...points.reference, ...points.predicted].forEach((value) => {
      low = Math.min(low, value); high = Math.max(high, value);
    }));
    if (!(high > low)) { low = -1; high = 1; }
    const pad = 0.04 * (high - low), range = [low - pad, high + pad], beside = !narrow(id) && lines.length > 1;
    const side = beside ? Math.min(430, (width(id) - 90) / 2) : Math.min(460, width(id) - 80);
    const more = { shapes: [], annotations: [] }, traces = [];
    lines.forEach((line, i) => {
      const n = i ? String(i + 1) : "", ax = { range, zeroline: false };
      const [x, y] = beside ? [[i * 0.53, i * 0.53 + 0.47], [0, 1]] : [[0, 1], lines.length > 1 ? [i ? 0 : 0.56, i ? 0.44 : 1] : [0, 1]];
      traces.push({ x: line[quantity].reference, y: line[quantity].predicted, mode: "markers", xaxis: `x${n}`, yaxis: `y${n}`,
        marker: { color: tint(line.tint), size: 4, opacity: 0.45 }, hovertemplate: `reference %{x:.4~g} ${unit}<br>predicted %{y:.4~g} ${unit}<extra>${plain(line.name)}</extra>` });
      more[`xaxis${n}`] = axis(`reference / (${unit})`, { ...ax, domain: x, anchor: `y${n}`, nticks: 6 });
      more[`yaxis${n}`] = axis(i && beside ? "" : `predicted / (${unit})`, { ...ax, domain: y, anchor: `x${n}`, nticks: 6 });
      more.shapes.push({ type: "line", xref: `x${n}`, yref: `y${n}`, x0: range[0], y0: range[0], x1: range[1], y1: range[1],
        line: { color: css("--quiet"), width: 1 } });
      more.annotations.push({ xref: "paper", yref: "paper", x: x[0], y: y[1], xanchor: "left", yanchor: "bottom", showarrow: false,
        text: `<b>${plain(line.name)}</b>` });
    });
    const missing = lines.filter((line) => line.missing.length).map((line) => `${line.name}: no prediction of seeds ${line.missing.join(", ")}.`);
    $("parity-missing").textContent = missing.join(" ");
    return [traces, layout(id, (beside || lines.length < 2 ? side : 2 * side) + 70, { ...more, hovermode: "closest", margin: { l: 62, r: 16, t: 26, b: 50 } })];
  }

  function drawBreakdown() {
    const { kinds } = data.breakdown[index("breakdown-place")], id = "plot-breakdown";
    const stacked = width(id) < 760, traces = [], more = { annotations: [] }, total = kinds.reduce((sum, kind) => sum + kind.keys.length + 1, 0);
    let from = 0;
    kinds.forEach((kind, k) => {
      const n = k ? String(k + 1) : "", share = (kind.keys.length + 1) / total * (1 - 0.06 * (kinds.length - 1));
      const slot = 1 / kinds.length, domain = stacked ? [0, 1] : [from, from + share];
      const tall = stacked ? [1 - (k + 0.78) * slot, 1 - k * slot] : [0, 1];
      from += share + 0.06;
      kind.series.forEach((line, s) => {
        const shift = 0.72 * ((s + 0.5) / kind.series.length - 0.5), known = line.mean.map((value) => value !== null);
        const pick = (values) => values.filter((_, i) => known[i]);
        const mean = pick(line.mean);
        traces.push({ x: pick(kind.keys.map((_, i) => i + shift)), y: mean, mode: "markers", xaxis: `x${n}`, yaxis: `y${n}`, text: pick(line.text),
          marker: { color: line.thin ? css("--ground") : tint(line.tint), size: 7, line: { color: tint(line.tint), width: 1.6 } },
          error_y: { type: "data", symmetric: false, width: 0, thickness: 1.6, color: tint(line.tint),
            array: pick(line.high).map((value, i) => (value === null ? 0 : value - mean[i])),
            arrayminus: pick(line.low).map((value, i) => (value === null ? 0 : mean[i] - value)) },
          hovertemplate: `<b>${plain(line.name)}</b><br>%{text} meV/Å<extra></extra>` });
      });
      more[`xaxis${n}`] = axis(kind.kind, { domain, anchor: `y${n}`, tickmode: "array", tickvals: kind.keys.map((_, i) => i),
        ticktext: kind.keys.map(plain), range: [-0.6, kind.keys.length - 0.4], showgrid: false, zeroline: false });
      more[`yaxis${n}`] = axis(k && !stacked ? "" : "force RMSE / (meV/Å)", { domain: tall, anchor: `x${n}`, rangemode: "tozero", nticks: 7 });
    });
    return [traces, layout(id, stacked ? 300 * kinds.length : 380, { ...more, hovermode: "closest", margin: { l: 62, r: 12, t: 12, b: 54 } })];
  }

  const figures = { curves: drawCurves, forest: drawForest, parity: drawParity, breakdown: drawBreakdown };
  for (const name of Object.keys(figures)) if (!$(`plot-${name}`)) delete figures[name];
  const drawn = new Set();

  function library() {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = $("plotly").textContent;
    document.head.append(script);
  }

  function draw(name) {
    library();
    const [traces, arrangement] = figures[name]();
    const target = $(`plot-${name}`);
    drawn.add(name);
    Plotly.react(target, traces, arrangement, config);
    target.dataset.drawn = "yes";
  }

  const again = () => drawn.forEach(draw);
  const on = (id, event, react) => $(id) && $(id).addEventListener(event, react);
  legend();
  if (figures.parity) parityStrategies();
  on("curves-place", "change", () => { legend(); draw("curves"); });
  on("parity-place", "change", () => { parityStrategies(); draw("parity"); });
  on("parity-strategy", "change", () => draw("parity"));
  on("breakdown-place", "change", () => draw("breakdown"));
  for (const [name, figure] of [["abscissa", "curves"], ["forest-quantity", "forest"], ["forest-reference", "forest"], ["parity-quantity", "parity"]]) {
    document.querySelectorAll(`input[name="${name}"]`).forEach((input) => input.addEventListener("change", () => draw(figure)));
  }

  // Figures are drawn as they come near the screen, so that the page opens at once.
  const watch = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    watch.unobserve(entry.target);
    draw(entry.target.id.replace("plot-", ""));
  }), { rootMargin: "600px" });
  window.addEventListener("load", () => setTimeout(() => Object.keys(figures).forEach((name) => watch.observe($(`plot-${name}`))), 0));

  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => printing || again(), 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  function print(begins) { printing = begins; (begins ? Object.keys(figures) : [...drawn]).forEach(draw); }
  matchMedia("print").addEventListener("change", (event) => print(event.matches));
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();
