"use strict";
// Draws the charts, shows a list when its cell is clicked, and a long name when it is pointed at.
(() => {
  const make = (tag, text) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const json = (box) => JSON.parse(box.querySelector("script").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faint = (tint, percent) => tint + Math.round(2.55 * percent).toString(16).padStart(2, "0");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // --- charts

  const figure = (value) => {
    if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  };
  const moment = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
  const DASHES = [[], [6, 4], [2, 3]];

  const marks = {
    id: "marks",
    afterDatasetsDraw(chart, _, spec) {
      const {ctx, chartArea: area, scales} = chart, free = [];
      ctx.save();
      ctx.font = "11px system-ui, sans-serif";
      ctx.lineWidth = 1;
      for (const [at, word, across] of spec.marks || []) {
        const place = (across ? scales.y : scales.x).getPixelForValue(at);
        if (across ? place < area.top || place > area.bottom : place < area.left - 1 || place > area.right + 1) continue;
        ctx.strokeStyle = colour("--soft");
        ctx.setLineDash([3, 3]);
        ctx.beginPath();
        if (across) { ctx.moveTo(area.left, place); ctx.lineTo(area.right, place); }
        else { ctx.moveTo(place, area.top); ctx.lineTo(place, area.bottom); }
        ctx.stroke();
        const wide = ctx.measureText(word).width;
        const left = across ? area.right - wide - 4 : Math.min(Math.max(place + 4, area.left), area.right - wide);
        let level = 0;
        if (!across) {
          while (level < 4 && free[level] > left) level += 1;
          if (level === 4) continue;
          free[level] = left + wide + 6;
        }
        written(ctx, word, left, across ? place + 13 : area.top + 11 + 13 * level);
      }
      ctx.restore();
    },
  };
  const written = (ctx, word, x, y) => {
    ctx.setLineDash([]);
    ctx.lineJoin = "round";
    ctx.strokeStyle = colour("--paper");
    ctx.lineWidth = 3;
    ctx.strokeText(word, x, y);
    ctx.fillStyle = colour("--ink");
    ctx.fillText(word, x, y);
    ctx.lineWidth = 1;
  };
  // Names of points where there is room: more of them the further one zooms in.
  const labels = {
    id: "labels",
    afterDatasetsDraw(chart, _, spec) {
      if (!spec.labels) return;
      const {ctx, chartArea: area} = chart, taken = [];
      ctx.save();
      ctx.font = "11px system-ui, sans-serif";
      chart.data.datasets.forEach((set, at) => {
        if (!set.names || !chart.isDatasetVisible(at)) return;
        chart.getDatasetMeta(at).data.forEach((point, row) => {
          if (taken.length >= spec.labels || !point || point.skip) return;
          const {x, y} = point, word = set.names[row];
          if (x < area.left || x > area.right || y < area.top || y > area.bottom) return;
          const wide = ctx.measureText(word).width;
          const left = Math.min(Math.max(x - wide / 2, area.left), area.right - wide);
          const top = y - 8 < area.top + 10 ? y + 16 : y - 8;
          if (wide > area.width / 2) return;
          if (taken.some((box) => left < box[1] + 8 && left + wide > box[0] - 8 && Math.abs(top - box[2]) < 15)) return;
          taken.push([left, left + wide, top]);
          written(ctx, word, left, top);
        });
      });
      ctx.restore();
    },
  };

  const dataset = (line, index, spec) => {
    const tint = colour("--c" + (line.colour % 10));
    const points = line.x.map((x, row) => ({x, y: line.y[row]}));
    const shared = {label: line.name, data: points, names: line.names, notes: line.notes};
    if (line.kind === "bars") {
      return {...shared, type: "bar", backgroundColor: faint(tint, 55), grouped: false, barPercentage: 1,
        categoryPercentage: .92, order: 1};
    }
    const radius = line.sizes || (line.dots ? (line.kind === "points" ? 3.5 : 3) : 0);
    return {
      ...shared, type: line.kind === "points" ? "scatter" : "line", showLine: line.kind !== "points",
      borderColor: tint, borderWidth: 2, borderDash: DASHES[line.dash || 0], pointRadius: radius,
      pointHoverRadius: line.kind === "points" ? radius : 5, pointHitRadius: 6, spanGaps: false,
      pointBackgroundColor: line.kind === "points" ? faint(tint, 55) : tint, pointBorderWidth: line.kind === "points" ? 0 : 1,
      backgroundColor: line.fill ? faint(tint, 60) : tint, fill: line.fill ? (index ? "-1" : "origin") : false,
      stack: line.fill ? "filled" : "line" + index, stepped: line.step ? "after" : false,
    };
  };
  const axis = (own, stacked) => ({
    type: own.log ? "logarithmic" : "linear", min: own.ends && own.ends[0], max: own.ends && own.ends[1], stacked,
    grace: own.pad && !own.ends ? "6%" : 0, beginAtZero: Boolean(own.zero),
    offset: false, title: {display: Boolean(own.name), text: own.name, color: colour("--soft")},
    grid: {color: faint(colour("--line"), 70)}, border: {color: colour("--line")},
    ticks: {
      includeBounds: Boolean(own.log), color: colour("--soft"), maxRotation: 0, autoSkipPadding: 12, maxTicksLimit: own.log ? 9 : 7, precision: own.whole ? 0 : undefined,
      callback: own.ticks ? (value) => (own.ticks.find((tick) => tick[0] === value) || [])[1]
        : own.time ? function (value) { return this.max - this.min > 4e5 ? moment(value).slice(0, 10) : moment(value).slice(5); }
          : own.log ? (value) => (Math.log10(value) % 1 ? "" : value < .01 ? value.toExponential(0) : figure(value)) : figure,
    },
    afterBuildTicks: own.ticks ? (scale) => { scale.ticks = own.ticks.map((tick) => ({value: tick[0]})); } : undefined,
  });
  const draw = (box) => {
    const spec = json(box), button = box.querySelector("button");
    const points = spec.series.every((line) => line.kind === "points" || line.plain);
    const chart = new Chart(box.querySelector("canvas"), {
      data: {datasets: spec.series.map((line, index) => dataset(line, index, spec))},
      options: {
        responsive: true, maintainAspectRatio: false, animation: false, normalized: false,
        interaction: {mode: points ? "nearest" : "x", axis: points ? "xy" : "x", intersect: points},
        scales: {x: axis(spec.x), y: axis(spec.y, spec.series.some((line) => line.fill))},
        plugins: {
          legend: {
            display: spec.series.filter((line) => !line.plain).length > 1, align: "start",
            labels: {color: colour("--ink"), boxWidth: 14, boxHeight: 2, font: {size: 11},
              filter: (item) => !spec.series[item.datasetIndex].plain},
          },
          tooltip: {
            filter: (item, row, items) => items.findIndex((other) => other.datasetIndex === item.datasetIndex) === row,
            callbacks: {
              title: (items) => {
                const first = items[0];
                if (!first || first.dataset.names) return first ? first.dataset.names[first.dataIndex] : "";
                const x = first.parsed.x, tick = spec.x.ticks && spec.x.ticks.find((one) => one[0] === x);
                return `${spec.x.name}: ${tick ? tick[1] : spec.x.time ? moment(x) : figure(x)}`;
              },
              label: (item) => {
                const note = item.dataset.notes && item.dataset.notes[item.dataIndex];
                if (note || item.dataset.names) return note || "";
                return `${item.dataset.label}: ${figure(item.parsed.y)}`;
              },
            },
          },
          zoom: {
            zoom: {drag: {enabled: true, backgroundColor: faint(colour("--c0"), 20)}, mode: "xy",
              onZoomComplete: ({chart: own}) => { button.hidden = !own.isZoomedOrPanned(); }},
          },
          marks: {marks: spec.marks},
          labels: {labels: spec.labels},
        },
      },
      plugins: [marks, labels],
    });
    button.onclick = () => { chart.resetZoom(); button.hidden = true; };
    return chart;
  };
  if (window.Chart) {
    let drawn = [];
    const all = () => {
      drawn.forEach((chart) => chart.destroy());
      Chart.defaults.font.family = "system-ui, sans-serif";
      drawn = Array.from(document.querySelectorAll("figure.chart"), draw);
    };
    all();
    dark.addEventListener("change", all);
    window.addEventListener("beforeprint", () => drawn.forEach((chart) => chart.resize()));
  }

  // --- lists

  const named = (text, most) => {
    const letters = Array.from(text);
    if (!most || letters.length <= most) return text;
    const end = Math.floor((most - 1) * .4), made = make("span");
    made.textContent = letters.slice(0, most - 1 - end).join("") + "\u2026" + letters.slice(-end).join("");
    made.dataset.name = text;
    made.className = "cut";
    return made;
  };
  const photos = new Map();
  for (const image of document.querySelectorAll("img[data-row]")) photos.set(image.dataset.row, image.src);
  const kept = document.getElementById("pictures");
  for (const [row, source] of Object.entries(kept ? JSON.parse(kept.textContent) : {})) photos.set(row, source);
  for (const box of document.querySelectorAll("[data-lists]")) {
    const data = json(box);
    const out = box.querySelector(".listed");
    box.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-key]");
      if (!button) return;
      for (const other of box.querySelectorAll("button[data-key]")) {
        other.setAttribute("aria-pressed", other === button);
      }
      const rows = data.lists[button.dataset.key] || [];
      const table = make("table"), head = make("tr"), body = make("tbody");
      table.append(make("caption", data.titles[button.dataset.key] || ""), make("thead"), body);
      table.tHead.append(head);
      const number = /^(-?[0-9.]+%?|nan%?)$/, numeric = new Set();
      data.headings.forEach((text, index) => {
        if (index && rows.every((row) => number.test(row[index]))) numeric.add(index);
        head.append(make("th", text));
        if (numeric.has(index)) head.lastChild.className = "number";
      });
      for (const row of rows) {
        const line = make("tr");
        row.forEach((text, index) => {
          const cell = make("td");
          cell.append(named(text, index ? data.cut : 0));
          if (numeric.has(index)) cell.className = "number";
          if (!index && photos.has(text)) {
            const picture = make("img");
            picture.src = photos.get(text);
            picture.alt = "";
            cell.prepend(picture);
          }
          line.append(cell);
        });
        body.append(line);
      }
      out.replaceChildren(table);
    });
  }

  // --- names, and where the reader is

  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const point = (event) => {
    const at = event.target.closest ? event.target.closest("[data-name]") : null;
    tip.hidden = !at;
    if (!at) return;
    tip.textContent = at.dataset.name;
    const left = Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, event.clientY - 34) + "px";
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("click", point);
  const links = new Map(Array.from(document.querySelectorAll("nav a"), (link) => [link.getAttribute("href").slice(1), link]));
  if (links.size) {
    const seen = new Set();
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
      const first = Array.from(links.keys()).find((id) => seen.has(id));
      for (const [id, link] of links) link.classList.toggle("here", id === first);
    }, {rootMargin: "-60px 0px -50% 0px"});
    for (const id of links.keys()) watch.observe(document.getElementById(id));
  }
})();
