"use strict";
const main = document.getElementById("main"), fault = document.getElementById("fault");
const MOST = 6;  // classes that are shown at once
let asked = 0;   // the last question: answers to earlier ones are dropped

const make = (tag, words = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(words)) {
    if (name in node) node[name] = value; else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};
const copy = (id) => document.getElementById(id).content.cloneNode(true);
const figure = (value, digits = 2) => Number(value).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const percent = (share) => (share < 0.001 ? "< 0.1" : (100 * share).toFixed(1)) + " %";

async function ask(path, options) {
  let reply;
  try { reply = await fetch(path, options); } catch { throw Error("The server does not answer. Is it still running?"); }
  const told = await reply.json().catch(() => ({ detail: reply.statusText }));
  if (reply.ok) return told;
  const detail = typeof told.detail === "string" ? told.detail
    : told.detail.map((one) => `${one.loc.slice(1).join(" ")}: ${one.msg}`).join("\n");
  throw Error([detail, ...(told.problems || []), told.found && `found: ${told.found}`, told.fix].filter(Boolean).join("\n"));
}
const json = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const show = (error) => {
  fault.textContent = error ? error.message : "";
  fault.hidden = !error;
  if (error) fault.scrollIntoView({ block: "nearest" });
};

/* Ask, and draw the answer unless another question was asked since. Without an answer the area shows `blank`:
   what stood there answered another question. */
async function once(area, work, draw, ...blank) {
  const mine = ++asked;
  area.classList.add("busy");
  try {
    const answer = await work();
    if (mine === asked) { show(null); draw(answer); }
  } catch (error) {
    if (mine === asked) { area.replaceChildren(...blank); show(error); }
  } finally {
    if (mine === asked) area.classList.remove("busy");
  }
}

/* --- answers: a class with bars, or a number */

function answered(target, answer, chances) {
  const chosen = new Set(Array.isArray(answer) ? answer : [String(answer)]);
  const words = Array.isArray(answer) ? answer.join(", ") || "none" : typeof answer === "number" ? figure(answer) : String(answer ?? "no answer");
  const rows = Object.entries(chances || {}).sort((one, other) => other[1] - one[1]);
  const sure = !Array.isArray(answer) && chances && chances[answer];
  const bars = rows.map(([name, share]) => {
    const bar = make("div", { className: "bar" + (chosen.has(name) ? " chosen" : "") }, make("b", { textContent: name }),
      make("span", { textContent: percent(share ?? 0) }), make("i"));
    bar.style.setProperty("--share", share ?? 0);
    return bar;
  });
  const rest = bars.length > MOST + 1 ? make("details", {}, make("summary", { textContent: `${bars.length - MOST} more` }), ...bars.splice(MOST)) : null;
  return make("article", {}, make("h2", { textContent: target }),
    make("p", { className: "big" }, words, sure ? make("small", { textContent: ` ${percent(sure)}` }) : ""), ...bars, rest);
}

function photoRun(run) {
  const page = copy("photo-run"), drop = page.querySelector(".drop"), picture = drop.querySelector("img");
  const input = drop.querySelector("input"), answers = page.querySelector(".answers"), took = page.querySelector(".took");
  const cells = page.querySelector(".cells"), alike = page.querySelector(".alike");
  const query = `?run=${encodeURIComponent(run.name)}`;
  const pictures = run.images.length > 0;
  let photo = null;
  drop.hidden = !pictures;
  if (run.images.length > 1) return main.replaceChildren(make("div", { className: "empty", textContent: "This run reads several pictures to a row: ask POST /predict." }));
  answers.replaceChildren(make("div", { className: "empty", textContent: pictures ? "The answer appears here." : "Fill in the row: the answer appears here." }));

  for (const column of run.columns) {
    const field = column.values && column.values.length <= 40
      ? make("select", {}, ...column.values.map((value) => make("option", { value, textContent: value || "(empty)" })))
      : make("input", { type: column.kind === "number" ? "number" : "text", step: "any", autocomplete: "off" });
    if (column.typical !== undefined && column.kind === "number") field.value = column.typical;
    field.name = column.name;
    field.addEventListener("input", () => { clearTimeout(cells.later); cells.later = setTimeout(tell, 250); });
    cells.append(make("label", {}, column.name, field));
  }
  cells.addEventListener("submit", (event) => event.preventDefault());

  const row = () => Object.fromEntries([...cells.elements].map((field) =>
    [field.name, field.value === "" ? null : field.type === "number" ? Number(field.value) : field.value]));

  async function tell() {
    if (pictures && !photo) return;
    const begun = performance.now();
    took.textContent = "";
    await once(answers, () => {
      if (!pictures) return ask("predict" + query, json({ rows: [row()] }));
      const form = new FormData();
      form.append(run.images[0], photo, photo.name || "photo");
      for (const [name, value] of Object.entries(row())) form.append(name, value ?? "");
      return ask("predict" + query, { method: "POST", body: form });
    }, (told) => {
      const one = told.rows[0];
      answers.replaceChildren(...Object.entries(one.answers).map(([target, answer]) => answered(target, answer, one.probabilities[target])));
      took.textContent = [`answered in ${Math.round(performance.now() - begun)} ms`, ...told.notes].join(" · ");
    }, make("div", { className: "empty", textContent: "There is no answer." }));
    if (pictures && run.alike && !fault.textContent) likeness();
  }

  async function likeness() {
    const form = new FormData();
    form.append("file", photo, photo.name || "photo");
    const of = photo;
    try {
      const told = await ask("alike" + query + "&n=6", { method: "POST", body: form });
      if (of !== photo) return;
      alike.querySelector(".photos").replaceChildren(...told.rows.map((one) => make("figure", {},
        make("img", { src: one.picture, alt: one.row }),
        make("figcaption", {}, Object.values(one.labels).join(" · "), make("span", { textContent: `${one.row}, cosine ${figure(one.cosine)}` })))));
      alike.hidden = !told.rows.length;
    } catch { alike.hidden = true; }
  }

  function take(file) {
    if (!file) return;
    photo = file;
    alike.hidden = true;
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.alt = file.name;
    picture.hidden = false;
    picture.onerror = () => { picture.hidden = true; };  // a format that the browser does not show, or no picture
    drop.querySelector(".hint").hidden = true;
    picture.addEventListener("error", () => { drop.querySelector(".hint").hidden = false; }, { once: true });
    tell();
  }
  input.addEventListener("change", () => take(input.files[0]));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
  drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") input.click(); });
  if (pictures) document.onpaste = (event) => take([...event.clipboardData.files][0]);
  main.replaceChildren(page);
  if (!pictures) tell();
}

/* --- lists */

/* A field that searches the server as one types. find: text -> choices; pick: what happens with one. */
function search(area, find, line, pick) {
  const field = area.querySelector("input"), found = area.querySelector(".found");
  let choices = [], of = null, at = -1, last = 0, later;  // of: the text that the choices are found for
  const close = () => { found.hidden = true; at = -1; };
  const mark = () => [...found.children].forEach((child, index) => {
    child.setAttribute("aria-selected", index === at);
    if (index === at) child.scrollIntoView({ block: "nearest" });
  });
  const choose = (index) => { const one = choices[index]; close(); if (one) { field.value = ""; pick(one); } };
  const look = async () => {
    const mine = ++last, text = field.value.trim();
    let told;
    try { told = await find(text); } catch (error) { return show(error); }
    if (mine !== last || document.activeElement !== field) return;
    [choices, of] = [told, text];
    found.replaceChildren(...choices.map((one, index) => make("li", { role: "option", onpointerdown: (event) => { event.preventDefault(); choose(index); } }, ...line(one))));
    if (!choices.length) found.append(make("li", { className: "none", textContent: "nothing found" }));
    found.hidden = false;
    at = choices.length ? 0 : -1;
    mark();
  };
  field.addEventListener("input", () => { clearTimeout(later); later = setTimeout(look, 120); });
  field.addEventListener("focus", look);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter") {
      event.preventDefault();
      // Whoever types faster than the server answers means what is typed, and not what is listed yet.
      if (field.value.trim() === of && at >= 0) choose(at);
      else { clearTimeout(later); look().then(() => { if (field.value.trim() === of) choose(0); }); }
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : -1) + choices.length) % Math.max(choices.length, 1);
      mark();
    }
  });
}

function listRun(run) {
  const page = copy("list-run"), get = (name) => page.querySelector(name);
  const query = `run=${encodeURIComponent(run.name)}`, [low, high] = run.scale;
  const list = get(".list"), mine = get(".mine"), whom = get(".whom"), seen = get(".seen"), clear = get(".clear");
  const title = get(".title"), order = get(".order"), notes = get(".notes"), near = get(".near"), tip = get(".tip");
  const starred = !run.events && high - low <= 9 && high <= 10;
  const stars = (rating) => starred && Number.isInteger(rating) ? "★".repeat(rating) : figure(rating, 1);
  let user = null, rated = [], before = null;
  if (run.needs.length) return main.replaceChildren(make("div", { className: "empty", textContent: `Lists need further columns (${run.needs.join(", ")}): ask POST /predict for pairs.` }));
  get(".who").placeholder = `one of ${run.users.toLocaleString("en")} users`;
  get(".film").placeholder = `search ${run.items.toLocaleString("en")} titles`;
  get(".rate h2").textContent = run.events ? "What do you like?" : "Rate a few";
  get(".rate").hidden = !run.learns;

  async function refresh() {
    const first = rated.map(({ item, rating }) => ({ item, rating: run.events ? 1 : rating }));
    tip.textContent = rated.length ? "The model itself does not change: the list is worked out anew with each rating."
      : run.events ? "Choose some, and see the list change." : "Search for what you know, and see the list change with every rating.";
    clear.hidden = !rated.length && user === null;
    title.textContent = user === null ? (rated.length ? "For you" : "For a new user") : rated.length ? `For user ${user}, with these ${run.events ? "added" : "ratings"}` : `For user ${user}`;
    await once(list, () => rated.length ? ask(`recommend?${query}`, json({ ratings: first, user, n: 12 }))
      : ask(`recommend/${encodeURIComponent(user ?? " ")}?${query}&n=12`), draw);
  }

  function draw(told) {
    order.textContent = [told.order && `ordered by ${told.order.split(":")[0]}`, run.events ? "" : "on the right the predicted rating"].filter(Boolean).join("; ");
    const now = new Map(told.rows.map((row) => [row.item, row.rank]));
    list.replaceChildren(...told.rows.map((row) => {
      const old = before && before.get(row.item);
      const step = old ? old - row.rank : 0;
      const moved = !before ? null : !old ? make("span", { className: "moved", textContent: "new" })
        : step ? make("span", { className: "moved" + (step < 0 ? " down" : ""), textContent: (step > 0 ? "▲ " : "▼ ") + Math.abs(step) }) : null;
      const spread = row.deviation === null || row.deviation === undefined ? null : make("small", { textContent: ` ± ${figure(row.deviation, 1)}` });
      const score = run.events ? null : make("span", { className: "score", title: "predicted rating" }, figure(row.score, 1), spread);
      const why = row.reasons && row.reasons.length ? make("span", { className: "why", textContent: "because of " + row.reasons.map((one) => one.name).join(", ") }) : null;
      return make("li", {}, make("span", { className: "rank", textContent: row.rank }),
        make("span", {}, make("button", { className: "name", type: "button", title: "what is like it?", textContent: row.name, onclick: () => alike(row) }), moved),
        score || make("span"), why);
    }));
    before = now;
    const known = /^1 of 1 users unknown|^scores rank the items/;
    notes.textContent = told.notes.filter((note) => !known.test(note)).join(" · ");
  }

  async function choose(one) {
    user = one.user; before = null;
    whom.textContent = `${user}: ${one.ratings.toLocaleString("en")} ${run.events ? "items" : "ratings"}`;
    refresh();
    const told = await ask(`rated/${encodeURIComponent(user)}?${query}&n=6`).catch(() => ({ rows: [] }));
    if (user !== one.user) return;
    seen.replaceChildren(...told.rows.map((row) => make("li", {}, make("span", { textContent: row.name }),
      run.events ? "" : make("span", { className: starred ? "stars" : "soft", textContent: stars(row.rating) }))));
  }

  function drawMine() {
    mine.replaceChildren(...rated.map((one) => {
      const tools = make("span", { className: "tools" });
      if (starred) {
        const first = Math.max(1, Math.ceil(low));
        for (let value = first; value <= high; value += 1) tools.append(make("button", { type: "button", textContent: "★",
          className: value <= one.rating ? "on" : "", "aria-label": `${value} of ${high}`, onclick: () => { one.rating = value; drawMine(); refresh(); } }));
      } else if (!run.events) tools.append(make("input", { type: "number", min: low, max: high, step: "any", value: one.rating, "aria-label": "rating",
        onchange: (event) => { one.rating = Math.min(high, Math.max(low, Number(event.target.value))); event.target.value = one.rating; refresh(); } }));
      tools.append(make("button", { type: "button", className: "off", textContent: "✕", "aria-label": `remove ${one.name}`,
        onclick: () => { rated = rated.filter((other) => other !== one); drawMine(); refresh(); } }));
      return make("li", {}, make("span", { textContent: one.name }), tools);
    }));
  }

  async function alike(row) {
    try {
      const told = await ask(`similar/${encodeURIComponent(row.item)}?${query}&n=10`);
      near.querySelector("h2").textContent = `Like ${row.name}`;
      near.querySelector("ol").replaceChildren(...told.rows.map((one) => make("li", { textContent: one.name })));
      near.hidden = false;
      near.scrollIntoView({ behavior: "smooth", block: "nearest" });
    } catch (error) { show(error); }
  }

  search(get(".who").parentNode, async (text) => (await ask(`users?${query}&text=${encodeURIComponent(text)}`)).rows,
    (one) => [one.user, make("span", { textContent: `${one.ratings} ${run.events ? "items" : "ratings"}` })], choose);
  search(get(".film").parentNode, async (text) => (await ask(`items?${query}&text=${encodeURIComponent(text)}`)).rows.filter((one) => !rated.some((other) => other.item === one.item)),
    (one) => [one.name], (one) => { rated.unshift({ ...one, rating: high }); drawMine(); refresh(); });
  clear.onclick = () => { user = null; rated = []; before = null; whom.textContent = ""; seen.replaceChildren(); near.hidden = true; drawMine(); refresh(); };
  main.replaceChildren(page);
  refresh();
}

/* --- which run */

function open(run, all) {
  document.onpaste = null;
  asked += 1;
  show(null);
  document.title = `${run.name} · tenfold`;
  document.getElementById("name").textContent = run.name;
  document.getElementById("what").textContent = run.what.replace("->", "→");
  document.getElementById("runs").replaceChildren(...(all.length > 1 ? all.map((one) => make("button", { type: "button",
    textContent: one.name, "aria-pressed": one === run, onclick: () => { location.hash = encodeURIComponent(one.name); } })) : []));
  run.recommends ? listRun(run) : photoRun(run);
}

ask("runs").then((all) => {
  const choose = () => {
    const wanted = decodeURIComponent(location.hash.slice(1));
    open(all.find((run) => run.name === wanted) || all[0], all);
  };
  addEventListener("hashchange", choose);
  choose();
}).catch(show);
