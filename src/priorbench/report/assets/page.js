"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data-plots").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set(); // strategies that are switched off, in all plots
  const drawings = [];

  // Tables: a head sorts, again the other way; what has no value goes last.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("number");
      const key = (row) => row.cells[column].dataset.key;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
        return down ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    }));
  }

  // The leaderboard's filter.
  const rows = [...byId("leaderboard").tBodies[0].rows];
  const choices = { dataset: byId("filter-dataset"), backbone: byId("filter-backbone") };
  for (const [name, select] of Object.entries(choices)) {
    fill(select, ["all", ...new Set(rows.map((row) => row.dataset[name]))]);
  }
  function filter() {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word))
        && Object.entries(choices).every(([name, s]) => s.selectedIndex === 0 || s.value === row.dataset[name]);
      row.hidden = !fits;
      shown += fits;
    }
    byId("filter-count").textContent = `${shown} of ${rows.length} rows`;
  }
  byId("filter").addEventListener("input", filter);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  filter();

  function fill(select, names) {
    select.replaceChildren(...names.map((name, i) => new Option(name, String(i))));
    for (const option of select.options) option.value = option.text;
  }

  // Plots: what they look like follows the page.
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const tint = (colour) => (colour.toLowerCase() === "#000000" ? css("--ink") : colour);
  const clear = (colour, alpha) => {
    const hex = tint(colour).replace("#", "");
    const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
    return `rgba(${[0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16)).join(",")},${alpha})`;
  };
  const axis = (title, more = {}) => ({
    title: { text: title, standoff: 8 }, gridcolor: css("--grid"), linecolor: css("--muted"), zeroline: false, ticks: "outside",
    tickcolor: css("--muted"), automargin: true, ...more,
  });
  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
    margin: { l: 60, r: 20, t: 14, b: 48 },
    hoverlabel: { bgcolor: css("--soft"), bordercolor: css("--line"), font: { color: css("--ink") } },
    ...more,
  });
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const plot = (id, traces, more) => Plotly.react(id, traces, layout(more), config);
  const draw = () => drawings.forEach((drawing) => drawing());
  const decades = (values) => {
    const good = values.filter((v) => v > 0);
    return Math.max(...good) / Math.min(...good);
  };
  // A log axis where values spread; ticks at every decade, or at 1, 2, 5 of a few.
  const logAxis = (title, values) => {
    const spread = decades(values);
    return axis(title, spread > 2 ? { type: "log", dtick: spread > 30 ? 1 : spread > 5 ? "D2" : "D1", tickformat: "~g" } : {});
  };

  function register(names, ...controls) {
    const drawing = names;
    drawings.push(drawing);
    for (const control of controls) control.addEventListener("change", drawing);
  }

  function strategies(fieldset, series, drawing) {
    const labels = series.map((s) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !hidden.has(s.name) });
      box.dataset.strategy = s.name;
      const swatch = Object.assign(document.createElement("span"), { className: s.dash ? `line ${s.dash}` : "swatch" });
      swatch.style.setProperty("--tint", tint(s.tint));
      label.append(box, swatch, s.note ? `${s.name} (${s.note})` : s.name);
      box.addEventListener("change", () => {
        hidden[box.checked ? "delete" : "add"](s.name);
        draw();
      });
      return label;
    });
    const focused = document.activeElement?.dataset?.strategy;
    const inside = fieldset.contains(document.activeElement);
    fieldset.replaceChildren(fieldset.querySelector("legend"), ...labels);
    if (inside && focused) [...fieldset.querySelectorAll("input")].find((b) => b.dataset.strategy === focused)?.focus();
    return drawing;
  }

  // Convergence.
  const place = byId("convergence-place");
  fill(place, data.convergence.map((c) => c.label));
  const abscissa = byId("abscissa");
  Object.entries(data.abscissae).forEach(([name, title], i) => {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "abscissa", value: name, checked: !i });
    label.append(radio, title.split(" / ")[0]);
    abscissa.append(label);
  });
  register(() => {
    const panel = data.convergence[place.selectedIndex];
    if (!panel) return;
    const x = abscissa.querySelector("input:checked").value;
    strategies(byId("convergence-strategies"), panel.series);
    const traces = [];
    const values = [];
    for (const s of panel.series) {
      if (hidden.has(s.name)) continue;
      const colour = tint(s.tint);
      const hover = `${escaped(s.name)}<br>%{x:.4~g} ${data.abscissae[x]}<br>%{y:.4~g} meV/Å<extra></extra>`;
      values.push(...s.mean);
      if (!s.thin && s.low.some((v) => v !== null)) {
        traces.push({
          x: [...s.x[x], ...[...s.x[x]].reverse()], y: [...s.high, ...[...s.low].reverse()], fill: "toself", mode: "lines",
          line: { width: 0 }, fillcolor: clear(s.tint, 0.15), hoverinfo: "skip",
        });
      }
      traces.push({
        x: s.x[x], y: s.mean, mode: "lines", name: s.name, hovertemplate: hover,
        line: { color: colour, dash: s.dash, width: s.thin ? 1.2 : 2.2 },
      });
      for (const lost of s.lost) {
        traces.push({
          x: lost.x[x], y: lost.y, mode: "lines+markers", line: { color: colour, width: 1, dash: "dot" },
          marker: { symbol: "x", size: lost.y.map((_, i) => (i === lost.y.length - 1 ? 9 : 0)), color: colour },
          hovertemplate: `${escaped(s.name)}, seed ${lost.seed}: diverged<extra></extra>`,
        });
      }
    }
    const shapes = [];
    if (panel.trivial) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: panel.trivial, y1: panel.trivial, line: { color: css("--muted"), dash: "dot", width: 1 } });
    }
    const y = values.filter((v) => v !== null);
    const yaxis = logAxis("validation force RMSE / (meV/Å)", [...y, panel.trivial ?? y[0]]);
    const log = yaxis.type === "log";
    const notes = panel.trivial ? [{
      xref: "paper", x: 1, y: log ? Math.log10(panel.trivial) : panel.trivial, text: "zero force", showarrow: false, xanchor: "right", yanchor: "bottom",
      font: { size: 11, color: css("--muted") },
    }] : [];
    plot("convergence-plot", traces, {
      xaxis: axis(data.abscissae[x], { rangemode: "tozero" }), yaxis, shapes, annotations: notes,
    });
  }, place, abscissa);

  // Change against scratch and longer training.
  const of = byId("gain-of");
  const groups = Object.entries(data.forest.groups).filter(([, found]) => found.length);
  fill(of, groups.map(([name]) => `${name.replace(" ", ", against ")}`));
  register(() => {
    const found = groups[of.selectedIndex]?.[1] ?? [];
    const names = [];
    const traces = [];
    let line = 0;
    for (const group of found) {
      if (found.length > 1 || group.label) names.push([line++, `<b>${escaped(group.label)}</b>`]);
      for (const row of group.rows) {
        const known = row.delta !== null;
        const [low, high] = [row.low ?? row.delta, row.high ?? row.delta];
        names.push([line, escaped(row.name)]);
        traces.push({
          x: [known ? 100 * row.delta : null], y: [line], mode: "markers",
          marker: { color: tint(row.tint), size: row.thin ? 7 : 10, line: { color: css("--page"), width: 1 } },
          error_x: { type: "data", symmetric: false, array: [100 * (high - row.delta)], arrayminus: [100 * (row.delta - low)], color: tint(row.tint), thickness: 2, width: 0 },
          hovertemplate: `${escaped(row.name)}<br>${escaped(row.text)} %<br>${escaped(row.verdict)}, ${row.pairs} pairs<extra></extra>`,
        });
        line++;
      }
    }
    const margin = 100 * data.forest.margin;
    const rule = (x, dash) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: x, x1: x, line: { color: css("--muted"), width: 1, dash } });
    byId("gain-plot").style.height = `${Math.max(line * 26 + 90, 180)}px`;
    plot("gain-plot", traces, {
      xaxis: axis("change of RMSE / %"), shapes: [rule(0, "solid"), rule(margin, "dot"), rule(-margin, "dot")],
      yaxis: axis("", { range: [line - 0.4, -0.6], tickvals: names.map(([y]) => y), ticktext: names.map(([, n]) => n), showgrid: false, ticks: "" }),
    });
  }, of);

  // Errors by part.
  if (data.breakdown.length) {
    const where = byId("parts-place");
    fill(where, data.breakdown.map((b) => b.label));
    register(() => {
      const panel = data.breakdown[where.selectedIndex];
      const traces = [];
      const shown = { annotations: [] };
      const count = panel.kinds.length;
      const narrow = byId("parts-plot").clientWidth < 640;
      byId("parts-plot").style.height = narrow ? `${count * 260 + 40}px` : "26rem";
      panel.kinds.forEach((kind, k) => {
        const suffix = k ? String(k + 1) : "";
        const span = [(k + 0.08) / count, (k + 0.92) / count];
        const live = kind.series.filter((s) => !hidden.has(s.name));
        live.forEach((s, i) => {
          const shift = live.length > 1 ? (i / (live.length - 1) - 0.5) * 0.6 : 0;
          traces.push({
            x: s.mean.map((_, j) => j + shift), y: s.mean, xaxis: `x${suffix}`, yaxis: `y${suffix}`, mode: "markers",
            marker: { color: tint(s.tint), size: s.thin ? 5 : 8 },
            error_y: { type: "data", symmetric: false, array: s.high.map((h, j) => (h === null ? 0 : h - s.mean[j])), arrayminus: s.low.map((l, j) => (l === null ? 0 : s.mean[j] - l)), color: tint(s.tint), thickness: 1.6, width: 0 },
            text: s.text.map((t, j) => `${escaped(s.name)}, ${escaped(kind.keys[j])}: ${escaped(t)}`), hovertemplate: "%{text} meV/Å<extra></extra>",
          });
        });
        shown[`xaxis${suffix}`] = axis(kind.kind, {
          domain: narrow ? [0.02, 0.98] : span, anchor: `y${suffix}`, tickvals: kind.keys.map((_, j) => j), ticktext: kind.keys.map(escaped),
          range: [-0.6, kind.keys.length - 0.4], showgrid: false,
        });
        const values = live.flatMap((s) => [...s.mean, ...s.low, ...s.high]);
        shown[`yaxis${suffix}`] = { ...logAxis(k && !narrow ? "" : "force RMSE / (meV/Å)", values), anchor: `x${suffix}`,
          domain: narrow ? [1 - (k + 0.72) / count, 1 - (k + 0.02) / count] : [0, 1] };
      });
      plot("parts-plot", traces, shown);
    }, where);
    addEventListener("resize", () => drawings.forEach((d) => d()));
  }

  // Parity.
  if (data.parity.length) {
    const [where, quantity] = [byId("parity-place"), byId("parity-of")];
    fill(where, data.parity.map((p) => p.label));
    fill(quantity, ["force", "energy"]);
    register(() => {
      const panel = data.parity[where.selectedIndex];
      const name = quantity.value;
      const unit = name === "force" ? "eV/Å" : "eV/atom";
      strategies(byId("parity-strategies"), panel.series);
      const live = panel.series.filter((s) => !hidden.has(s.name) && s[name].reference.length);
      const every = live.flatMap((s) => s[name].reference);
      const ends = [Math.min(...every), Math.max(...every)];
      const traces = [{ x: ends, y: ends, mode: "lines", line: { color: css("--muted"), width: 1 }, hoverinfo: "skip" }];
      for (const s of live) {
        traces.push({
          x: s[name].reference, y: s[name].predicted, mode: "markers", marker: { color: tint(s.tint), size: 4, opacity: 0.45 },
          hovertemplate: `${escaped(s.name)}<br>reference %{x}<br>predicted %{y}<extra></extra>`,
        });
      }
      plot("parity-plot", traces, { xaxis: axis(`${name}, reference / (${unit})`), yaxis: axis(`predicted / (${unit})`) });
    }, where, quantity);
  }

  function escaped(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  // The plotting library is the larger part of the page: the tables are there before it.
  addEventListener("load", () => setTimeout(() => {
    const script = document.createElement("script");
    script.textContent = byId("plotly").textContent;
    document.head.append(script);
    draw();
    dark.addEventListener("change", draw);
    addEventListener("beforeprint", draw);
    addEventListener("afterprint", draw);
    document.documentElement.dataset.ready = "yes";
  }, 0));
})();
