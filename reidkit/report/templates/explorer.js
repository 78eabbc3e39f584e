// The ablation explorer: two runs side by side, drawn from the JSON that stands before this script.
//
// What is chosen is `state`; whatever changes it calls `show`, which draws all that depends on it. A is what is compared
// with, B what is looked at; a "side" is a row (the mean of its seeds) or one seed of it.
(() => {
  "use strict";
  const root = document.currentScript.closest(".rx-explorer");
  const content = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const METRICS = content.metrics;
  const MAP = METRICS.indexOf("mAP");
  const COVERS = ["", "one seed, widened by the spread between the seeds of other rows", "people alone"];
  const ORDERS = {
    gained: "gained most from A to B", lost: "lost most from A to B", easy: "best under A", hard: "worst under A",
    name: "file name",
  };
  const STRIP = 60; // queries that are offered as pictures
  const serial = document.querySelectorAll(".rx-explorer").length; // tells apart the groups of several explorers

  // ------------------------------------------------------------------------------------------------ small tools

  function element(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function drawing(tag, attributes = {}, ...children) {
    return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  }

  function filled(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.flat().filter(child => child !== null && child !== undefined));
    return node;
  }

  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const shorts = text => new Int16Array(bytes(text).buffer);
  const sum = values => values.reduce((total, value) => total + value, 0);
  const range = count => [...Array(count).keys()];
  const number = (value, digits = 2) =>
    value === null || Number.isNaN(value) ? "–" : value.toFixed(digits).replace("-", "−");
  const isZero = (value, digits) => Number(value.toFixed(digits)) === 0;
  const signed = (value, digits = 2) =>
    isZero(value, digits) ? (0).toFixed(digits) : (value > 0 ? "+" : "") + number(value, digits);
  // A bound that decides, by lying beside zero, does not look like zero.
  const bound = value => signed(value, value !== 0 && isZero(value, 1) ? 2 : 1);
  const interval = (low, high) => `${number(low, 1)} to ${number(high, 1)}`;
  const signedInterval = (low, high) => `${bound(low)} to ${bound(high)}`;

  function memo(make) {
    const made = new Map();
    return key => made.has(key) ? made.get(key) : made.set(key, make(key)).get(key);
  }

  // ---------------------------------------------------------------------------------------------- what was run

  for (const data of content.data) {
    data.sides.forEach((side, place) => Object.assign(side, { place, data }));
    for (const run of data.runs) {
      run.precision = shorts(run.precision); // hundredths of a per cent by query, -1 without a match
      run.first = new Uint16Array(bytes(run.first).buffer);
      run.results = run.results && shorts(run.results);
    }
    if (data.gains) for (const name of ["mean", "low", "high"]) data.gains[name] = shorts(data.gains[name]);
    const pictures = data.pictures;
    if (pictures) {
      pictures.tileOfQuery = new Map(pictures.shown.map((query, tile) => [query, tile]));
      pictures.placeOfImage = new Map(pictures.images.map((image, place) => [image, place]));
    }
  }

  const sheet = memo(data =>
    `url("${URL.createObjectURL(new Blob([bytes(data.pictures.sheet)], { type: "image/webp" }))}")`);

  // A key may leave out the profile, as an address that was written by hand does.
  function find(key) {
    const all = content.data.flatMap(data => data.sides);
    return all.find(side => side.key === key) || all.find(side => side.key.endsWith(`:${key}`)) || null;
  }

  // What B has over A, by metric, in points: each side a mean over its seeds.
  function gainOf(a, b) {
    const { gains, sides } = a.data;
    const [i, j] = [a.place, b.place].sort((one, two) => one - two);
    const pair = i * sides.length - (i * (i + 1)) / 2 + (j - i - 1);
    return METRICS.map((_, metric) => {
      const at = pair * METRICS.length + metric;
      const [mean, low, high] = ["mean", "low", "high"].map(name => gains[name][at] / 100);
      const covers = COVERS[gains.covers[pair]];
      return a.place < b.place ? { mean, low, high, covers } : { mean: -mean, low: -high, high: -low, covers };
    });
  }

  function commonRuns(a, b) {
    const runs = [a, b].map(side => side.runs.map(run => side.data.runs[run]));
    const seeds = runs[0].map(run => run.seed).filter(seed => runs[1].some(run => run.seed === seed));
    return seeds.length ? runs.map(of => seeds.map(seed => of.find(run => run.seed === seed))) : runs;
  }

  // By query that has a match: its average precision under A and under B and what it gained, in per cent and points.
  function queriesOf(a, b) {
    const [before, after] = commonRuns(a, b);
    const mean = (runs, query) => sum(runs.map(run => run.precision[query])) / runs.length / 100;
    return range(a.data.queries.length)
      .filter(query => before[0].precision[query] >= 0)
      .map(query => ({ query, before: mean(before, query), after: mean(after, query) }))
      .map(line => ({ ...line, gain: line.after - line.before }));
  }

  const sorted = {
    gained: lines => lines.sort((one, two) => two.gain - one.gain),
    lost: lines => lines.sort((one, two) => one.gain - two.gain),
    easy: lines => lines.sort((one, two) => two.before - one.before),
    hard: lines => lines.sort((one, two) => one.before - two.before),
    name: lines => lines,
  };

  // ----------------------------------------------------------------------------------------------- what is chosen

  const state = { setting: content.settings[0], a: null, b: null, slot: "b", order: "gained", query: null, stage: "", curve: "total" };

  // The sides that the tables of a setting offer.
  const offeredBy = setting => setting.tables
    .flatMap(table => table.lines.flatMap(line => line.cells)).map(cell => cell.side && find(cell.side)).filter(Boolean);

  // The baseline and the best beside it, of its own system if there are others.
  function begin(setting) {
    const own = offeredBy(setting);
    const a = own.find(side => side.baseline) || own[0] || content.data[setting.data].sides[0] || null;
    const others = own.filter(side => side !== a);
    const alike = others.filter(side => side.system === a.system);
    const b = (alike.length ? alike : others).sort((one, two) => two.scores[MAP] - one.scores[MAP])[0] || a;
    Object.assign(state, { setting, a, b, query: null });
  }

  const WORDS = ["order", "curve", "stage"];

  function address() {
    const told = { a: state.a?.key, b: state.b?.key, order: state.order, curve: state.curve, stage: state.stage };
    if (state.query !== null) told.query = state.a.data.queries[state.query];
    const write = text => encodeURIComponent(text).replace(/%2F|%3A|%2B|%40/g, decodeURIComponent);
    return `#${Object.entries(told).filter(([, value]) => value).map(([name, value]) => `${name}=${write(value)}`).join("&")}`;
  }

  // Whether it named anything that is known here.
  function readAddress(text) {
    const told = Object.fromEntries(text.replace(/^#/, "").split("&").filter(part => part.includes("="))
      .map(part => [part.slice(0, part.indexOf("=")), decodeURIComponent(part.slice(part.indexOf("=") + 1))]));
    return choose(told);
  }

  function choose(told) {
    const [a, b] = [told.a, told.b].map(key => key && find(key));
    const known = a || b;
    if (known && known.data !== (state.a && state.a.data)) {
      begin(content.settings.find(setting => setting.name === known.setting));
    }
    if (a) state.a = a;
    if (b && b.data === state.a.data) state.b = b;
    if (known) state.setting = content.settings.find(setting => setting.name === (b || a).setting);
    for (const word of WORDS) if (told[word]) state[word] = told[word];
    if (!(state.order in sorted)) state.order = "gained";
    const query = state.a && told.query ? state.a.data.queries.indexOf(told.query) : -1;
    if (query >= 0) state.query = query;
    return Boolean(known);
  }

  function changed(change) {
    Object.assign(state, change);
    show();
    if (content.addressed) {
      try {
        history.replaceState(null, "", address());
      } catch {
        location.replace(address()); // some browsers allow no other for a page opened from disk
      }
    }
  }

  // -------------------------------------------------------------------------------------------------- the controls

  const select = (label, onchange) => {
    const id = `rx-${serial}-${label.toLowerCase().replaceAll(" ", "-")}`;
    const control = element("select", { id, onchange });
    return [element("span", {}, element("label", { for: id }, label), control), control];
  };
  const option = (value, text, chosen) => element("option", { value, selected: chosen ? "" : null }, text);

  const [settingLabel, settingSelect] = select("Data", () => {
    const setting = content.settings[settingSelect.value];
    const own = offeredBy(setting);
    if (![state.a, state.b].every(side => own.includes(side))) begin(setting);
    changed({ setting });
  });
  settingSelect.append(...content.settings.map((setting, place) =>
    option(place, `${content.data[setting.data].name}: ${setting.name}, ${setting.note}`)));

  const [aLabel, aSelect] = select("A", () => changed({ a: find(aSelect.value) }));
  const [bLabel, bSelect] = select("B", () => changed({ b: find(bSelect.value) }));
  const swap = element("button", { type: "button", onclick: () => changed({ a: state.b, b: state.a }) }, "Swap A and B");

  const slots = element("fieldset", { class: "rx-slots" }, element("legend", {}, "A cell of the tables is chosen"),
    ["a", "b"].map(slot => element("label", {},
      element("input", { type: "radio", name: `rx-slot-${serial}`, value: slot, checked: slot === "b" ? "" : null,
        onchange: () => { state.slot = slot; } }), ` for ${slot.toUpperCase()}`)));
  const tables = element("div", { class: "rx-tables" });
  const missing = element("p", { class: "rx-note" });
  const now = element("p", { class: "rx-now", "aria-live": "polite" });
  const scores = element("div");
  const [curveLabel, curveSelect] = select("Training", () => changed({ curve: curveSelect.value }));
  const charts = element("div", { class: "rx-charts" });
  const gainChart = element("div");
  const [orderLabel, orderSelect] = select("Queries in the order", () => changed({ order: orderSelect.value, query: null }));
  orderSelect.append(...Object.entries(ORDERS).map(([value, text]) => option(value, text)));
  const strip = element("div", { class: "rx-strip", role: "radiogroup", "aria-label": "Query" });
  const stripNote = element("p", { class: "rx-note" });
  const lists = element("div");
  const [stageLabel, stageSelect] = select("Stage", () => changed({ stage: stageSelect.value }));
  const heat = element("section", {}, element("h3", {}, "Heat maps"), element("div", { class: "rx-controls" }, stageLabel));
  const heatMaps = element("div");
  heat.append(heatMaps);

  const link = element("a", {}, "Link to what is shown");
  const copied = element("span", { "aria-live": "polite" });
  const copy = element("button", { type: "button", onclick: () => {
    const done = () => { copied.textContent = "Copied."; };
    const failed = () => { copied.textContent = link.href; };
    if (navigator.clipboard) navigator.clipboard.writeText(link.href).then(done, failed);
    else failed();
  } }, "Copy the link");
  const links = element("p", { class: "rx-links" });
  if (content.addressed) links.append(link, copy, copied);

  // The fold of where numbers come from stays as it was when what is chosen changes.
  const origin = element("details", {}, element("summary", {}, "Where the numbers come from, and how the settings differ"));
  const originText = element("div");
  origin.append(originText);

  root.append(
    element("div", { class: "rx-controls" }, settingLabel),
    element("div", { class: "rx-controls" }, aLabel, bLabel, swap),
    slots, tables, missing,
    element("h3", {}, "Scores"), now, scores, origin,
    element("h3", {}, "Curves"), element("div", { class: "rx-controls" }, curveLabel), charts,
    element("h3", {}, "Queries"), gainChart, element("div", { class: "rx-controls" }, orderLabel), strip, stripNote, lists,
    heat, links,
  );

  // ---------------------------------------------------------------------------------------------------- the drawing

  function show() {
    const { a, b } = state;
    settingSelect.value = content.settings.indexOf(state.setting);
    showTables();
    const there = Boolean(a && b);
    for (const part of root.querySelectorAll("h3, .rx-strip, .rx-controls, details")) part.hidden = !there && !part.contains(settingSelect);
    if (!there) {
      for (const part of [scores, charts, gainChart, strip, stripNote, lists, heatMaps]) part.replaceChildren();
      now.textContent = `Nothing was run yet of ${content.data[state.setting.data].name}.`;
      return;
    }
    for (const [control, chosen] of [[aSelect, a], [bSelect, b]]) showSides(control, chosen);
    const lines = queriesOf(a, b);
    sorted[state.order](lines);
    if (!lines.some(line => line.query === state.query)) state.query = offered(a.data, lines)[0].query;
    showScores();
    showOrigin();
    showCharts(lines);
    showStrip(lines);
    showLists();
    showHeat();
    links.replaceChildren(...(content.addressed ? [link, copy, copied] : []), ...downloads(lines));
    link.href = address();
    copied.textContent = "";
  }

  function showSides(control, chosen) {
    const groups = new Map();
    for (const side of chosen.data.sides) {
      const group = `${side.system}, ${side.setting}`;
      groups.set(group, [...(groups.get(group) || []), side]);
    }
    control.replaceChildren(...[...groups].map(([label, sides]) => element("optgroup", { label },
      sides.map(side => option(side.key, `${side.label} — mAP ${number(side.scores[MAP], 1)}`, side === chosen)))));
  }

  function showTables() {
    const focused = tables.contains(document.activeElement) ? document.activeElement.dataset.row : null;
    tables.replaceChildren(...state.setting.tables.map(table => {
      const grid = table.across.length > 1; // elsewhere a line that was not run would only take room
      const lines = table.lines.filter(line => grid || line.cells[0].side);
      const others = table.lines.filter(line => !lines.includes(line)).map(line => line.title);
      return element("div", {},
        !lines.length ? null : element("div", { class: "rx-scroll" }, element("table", { class: "rx-chooser" },
          element("caption", {}, `${table.title}, mAP`),
          grid ? element("thead", {}, element("tr", {}, element("td"), table.across.map(title => element("th", { scope: "col" }, title)))) : null,
          element("tbody", {}, lines.map(line => element("tr", {},
            element("th", { scope: "row" }, line.title), line.cells.map(cell => element("td", {}, chooser(cell)))))))),
        others.length ? element("p", { class: "rx-note" }, `${lines.length ? "Not run" : `${table.title}, not run`}: ${others.join("; ")}.`) : null);
    }));
    if (focused) tables.querySelector(`[data-row="${CSS.escape(focused)}"]`)?.focus();
    const { command, missing: count } = state.setting;
    missing.replaceChildren(...(command
      ? [`${count} were not run; `, element("code", {}, command), " runs one."] : []));
  }

  // A cell of a table: what was run can be chosen, the rest says that it was not.
  function chooser(cell) {
    const side = cell.side && find(cell.side);
    if (!side) return element("span", { class: "rx-missing", title: `${cell.label}: not run` }, "–", element("span", { class: "rx-hidden" }, "not run"));
    const marks = ["a", "b"].filter(slot => state[slot] && (state[slot] === side || state[slot].key.startsWith(`${side.key}@`)));
    return element("button", {
      type: "button", "data-row": cell.row, title: side.label, class: marks.map(mark => `rx-is-${mark}`).join(" "),
      "aria-pressed": marks.length > 0,
      onclick: () => changed({ [state.slot]: side, ...(state.a.data === side.data ? {} : { a: side, b: side }) }),
    }, element("span", { class: "rx-hidden" }, `${side.label}, mAP `), number(side.scores[MAP], 1), marks.length ? element("sup", {}, marks.join(" ").toUpperCase()) : null);
  }

  function showScores() {
    const { a, b } = state;
    const gain = a === b ? null : gainOf(a, b);
    const two = (text, below, title) => element("td", { title: title || null }, text, below ? element("small", {}, below) : null);
    const own = (side, name) => element("tr", {}, element("th", { scope: "row" }, element("b", { class: `rx-name-${name.toLowerCase()}` }, name), ` ${side.label}`),
      METRICS.map((_, m) => two(number(side.scores[m]), interval(side.low[m], side.high[m]), COVERS[side.covers])));
    const lines = a === b ? [own(b, "B")] : [own(a, "A"), own(b, "B"),
      element("tr", { class: "rx-difference" }, element("th", { scope: "row" }, "B − A"),
        gain.map(g => two(signed(g.mean), signedInterval(g.low, g.high), g.covers)))];
    const paper = a.data.paper ? `the paper, on ${a.data.paper}` : "the paper";
    const printed = (name, values, write = number) => lines.push(element("tr", { class: "rx-paper-line" },
      element("th", { scope: "row" }, name), values.map(value => two(value === null ? "–" : write(value)))));
    for (const [name, side] of a === b ? [["B", b]] : [["A", a], ["B", b]]) {
      if (!side.paper) continue;
      printed(`${name}, ${paper}`, side.paper);
      if (!a.data.toy) { // toy scores are not of the paper's data: nothing is subtracted there
        printed(`${name} − the paper (${side.verdict})`, METRICS.map((_, m) => side.paper[m] === null ? null : side.scores[m] - side.paper[m]), signed);
      }
    }
    if (a !== b && a.paper && b.paper && a.system === b.system) {
      printed(`B − A, ${paper}`, METRICS.map((_, m) => a.paper[m] === null || b.paper[m] === null ? null : b.paper[m] - a.paper[m]), signed);
    }
    scores.replaceChildren(element("div", { class: "rx-scroll", role: "region", tabindex: 0, "aria-label": "Scores of A and B" },
      element("table", { class: "rx-scores" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "per cent, with 95 % intervals"), METRICS.map(metric => element("th", { scope: "col" }, metric)))),
        element("tbody", {}, lines))));
    const told = side => `${side.label}, mAP ${number(side.scores[MAP], 1)}`;
    const apart = gain && (gain[MAP].low > 0 || gain[MAP].high < 0 ? "the interval leaves out zero" : "the interval holds zero");
    now.textContent = a === b ? `A and B are the same: ${told(b)}.`
      : `A is ${told(a)}. B is ${told(b)}. B − A: ${signed(gain[MAP].mean, 1)} points of mAP, 95 % interval ${signedInterval(gain[MAP].low, gain[MAP].high)}; ${apart}.${budgets(a, b)}`;
  }

  const settingsOf = side => side.data.runs[side.runs[0]].settings;

  // What else than the method may be behind a difference: how long, and on what pictures, each was trained.
  function budgets(a, b) {
    const [one, two] = [a, b].map(settingsOf);
    const apart = ["epochs", "image_height", "image_width", "batch_size", "width_multiplier"].filter(key => one[key] !== two[key]);
    return apart.length ? ` They were not trained alike: ${apart.map(key => `${key.replace("_", " ")} ${one[key] ?? "–"} and ${two[key] ?? "–"}`).join(", ")}.` : "";
  }

  function showOrigin() {
    const { a, b } = state;
    const said = [];
    for (const [name, side] of a === b ? [["B", b]] : [["A", a], ["B", b]]) {
      const runs = side.runs.map(run => side.data.runs[run]);
      said.push(element("p", {}, element("b", {}, name), ": from ",
        runs.flatMap((run, i) => [i ? ", " : "", run.link ? element("a", { href: `runs/${run.name}.html` }, run.name) : element("code", {}, run.name)]),
        `, profile ${side.setting}. `,
        side.departures.length ? `Another setting than the paper’s: ${side.departures.join("; ")}. ` : "The paper’s setting, as read here. ",
        `Its intervals are by bootstrap over the people sought${side.covers === 2 ? " alone" : side.covers === 1 ? " and, from the spread between the seeds of other rows, over seeds" : " and the seeds"}.`));
    }
    if (a !== b) {
      const covers = gainOf(a, b)[0].covers;
      said.push(element("p", {}, `The interval of the difference is paired, person by person${covers ? ` (${covers})` : ""}.`));
      const [one, two] = [a, b].map(settingsOf);
      const apart = [...new Set([...Object.keys(one), ...Object.keys(two)])].filter(key => one[key] !== two[key]);
      said.push(apart.length
        ? element("div", { class: "rx-scroll", role: "region", tabindex: 0, "aria-label": "Settings in which A and B differ" },
          element("table", {}, element("thead", {}, element("tr", {}, ["setting", "A", "B"].map(text => element("th", { scope: "col" }, text)))),
            element("tbody", {}, apart.map(key => element("tr", {}, element("th", { scope: "row" }, key),
              [one, two].map(settings => element("td", {}, settings[key] ?? "–")))))))
        : element("p", {}, "Their settings are the same but for the system or the seed."));
    }
    originText.replaceChildren(...said);
  }

  // ------------------------------------------------------------------------------------------------------- charts

  const MARGIN = { left: 46, right: 12, top: 8, bottom: 40 };

  function roundTicks(low, high) {
    const rough = (high - low || 1) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find(times => times * power >= rough * 0.999) * power;
    const first = Math.floor(low / step + 1e-9);
    return range(Math.ceil(high / step - 1e-9) - first + 1).map(i => (first + i) * step);
  }

  function logTicks(low, high) {
    const times = high < 30 * low ? [1, 2, 5] : [1];
    const all = range(12).flatMap(i => times.map(t => t * 10 ** (i - 6)));
    const first = all.filter(tick => tick <= low * 1.0001).length - 1;
    return all.slice(Math.max(first, 0), all.findIndex(tick => tick >= high * 0.9999) + 1);
  }

  const short = value => String(Number(value.toPrecision(3))).replace("-", "−");

  // The frame of a chart: axes, ticks, and a cursor that the pointer and the arrow keys move over `xs`.
  function frame({ width, height, ticks, log, xs, xTicks, xLabel, yLabel, alt, read, onchoose }) {
    const scale = log ? Math.log10 : value => value;
    const [low, high] = [scale(ticks[0]), scale(ticks[ticks.length - 1])];
    const [begin, end] = [xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)];
    const x = value => MARGIN.left + ((value - begin) / (end - begin)) * (width - MARGIN.left - MARGIN.right);
    const y = value => height - MARGIN.bottom - ((scale(value) - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    const text = (at, words, anchor) => drawing("text", { x: at[0], y: at[1], "text-anchor": anchor }, words);
    const svg = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": alt },
      ticks.map(tick => [
        drawing("path", { class: tick === 0 && ticks[0] < 0 ? "rx-zero" : "rx-grid", d: `M${MARGIN.left} ${y(tick)}H${width - MARGIN.right}` }),
        text([MARGIN.left - 5, y(tick) + 4], short(tick), "end")]).flat(),
      xTicks.map(tick => text([x(tick), height - MARGIN.bottom + 16], short(tick), "middle")),
      text([(width + MARGIN.left) / 2, height - 6], xLabel, "middle"),
      drawing("text", { transform: `translate(11 ${(height - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
    const cursor = drawing("path", { class: "rx-cursor" });
    const reading = element("output", { class: "rx-reading", "aria-live": "polite" }, "Values: point at the chart, or focus it and use ←\u00a0→.");
    let at = null;
    function move(place) {
      at = Math.min(Math.max(place, 0), xs.length - 1);
      cursor.setAttribute("d", `M${x(xs[at])} ${MARGIN.top}V${height - MARGIN.bottom}`);
      reading.textContent = read(xs[at]);
    }
    svg.addEventListener("pointermove", event => {
      const value = begin + ((event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * (end - begin);
      move(xs.reduce((best, candidate, place) => Math.abs(candidate - value) < Math.abs(xs[best] - value) ? place : best, 0));
    });
    svg.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (step !== undefined) move(at === null ? (step > 0 && step < 11 ? 0 : step < 0 ? 0 : xs.length - 1) : at + step);
      else if ((event.key === "Enter" || event.key === " ") && onchoose && at !== null) onchoose(xs[at]);
      else return;
      event.preventDefault();
    });
    if (onchoose) svg.addEventListener("click", () => { if (at !== null) onchoose(xs[at]); });
    return { svg, x, y, reading, finish: () => svg.append(cursor) };
  }

  function lineChart({ lines, log, ...options }) {
    const kept = lines.map(line => {
      const points = line.x.map((x, i) => [x, line.y[i]]).filter(([, y]) => y !== null && (y > 0 || !log));
      return { ...line, points, values: new Map(points) };
    }).filter(line => line.points.length);
    const ys = kept.flatMap(line => line.points.map(([, y]) => y));
    const xs = [...new Set(kept.flatMap(line => line.points.map(([x]) => x)))].sort((one, two) => one - two);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const ticks = log ? logTicks(low, high) : roundTicks(Math.min(low, options.from ?? 0), Math.max(high, 1e-3));
    const across = roundTicks(xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)).filter(tick => tick >= xs[0] && tick <= xs[xs.length - 1] && Number.isInteger(tick));
    const read = x => `${options.xName ?? options.xLabel} ${x}: ${kept.filter(line => line.values.has(x)).map(line => `${line.name} ${short(line.values.get(x))}`).join(", ")}`;
    const drawn = frame({ ...options, ticks, log, xs, xTicks: across, read });
    for (const line of kept) {
      const points = line.points.map(([x, y]) => [drawn.x(x), drawn.y(y)].map(value => value.toFixed(1)).join(" "));
      const diamonds = line.kind.startsWith("paper") || points.length === 1;
      drawn.svg.append(drawing("path", { class: `rx-${line.kind}`, d: diamonds
        ? points.map(point => `M${point}m0 -5l5 5-5 5-5-5z`).join("") : `M${points.join("L")}` }));
    }
    drawn.finish();
    return [drawn.svg, drawn.reading];
  }

  const key = (a, b) => a === b ? "B" : "dashed grey: A, blue: B";
  const figure = (title, [svg, reading]) => element("figure", { style: `width:${svg.getAttribute("width")}px` }, element("figcaption", {}, title), svg, reading);
  let drawnWidth = 0;

  function showCharts(lines) {
    const { a, b } = state;
    drawnWidth = root.clientWidth || 700;
    const width = drawnWidth < 600 ? drawnWidth : Math.floor((drawnWidth - 24) / 2);
    const size = { width, height: 230 };
    const sidesShown = a === b ? [["b", b]] : [["a", a], ["b", b]];
    const runsOf = side => side.runs.map(run => side.data.runs[run]);

    const ranks = range(a.data.runs[0].cmc.length).map(i => i + 1);
    const curve = side => ranks.map((_, i) => sum(runsOf(side).map(run => run.cmc[i])) / side.runs.length);
    const cmcLines = sidesShown.map(([kind, side]) => ({ kind, name: kind.toUpperCase(), x: ranks, y: curve(side) }));
    if (!a.data.toy) {
      for (const [kind, side] of sidesShown) {
        const at = METRICS.map((metric, m) => [Number(metric.replace("Rank-", "")), side.paper?.[m] ?? null]).filter(([k, value]) => k && value !== null);
        if (at.length) cmcLines.push({ kind: `paper-${kind}`, name: `the paper’s ${kind.toUpperCase()}`, x: at.map(p => p[0]), y: at.map(p => p[1]) });
      }
    }
    const told = cmcLines.map(line => `${line.name} ${[1, 5, 10, 20].filter(k => line.x.includes(k)).map(k => `${number(line.y[line.x.indexOf(k)], 1)} at ${k}`).join(", ")}`);
    const lowest = Math.min(...cmcLines.flatMap(line => line.y));
    const cmc = lineChart({ ...size, lines: cmcLines, xLabel: "first k results", xName: "k =", yLabel: "right match (%)", from: Math.floor(lowest / 20) * 20,
      alt: `CMC curve: the share of queries in per cent with a right match among the first k results. ${told.join("; ")}.` });

    const known = content.curves.filter(({ key: name }) => sidesShown.some(([, side]) => runsOf(side).some(run => run.history[name])));
    if (!known.some(({ key: name }) => name === state.curve)) state.curve = known[0]?.key || "total";
    curveSelect.replaceChildren(...known.map(({ key: name, label }) => option(name, label, name === state.curve)));
    const label = known.find(({ key: name }) => name === state.curve)?.label;
    const trainingLines = sidesShown.flatMap(([kind, side]) => runsOf(side).filter(run => run.history[state.curve]).map(run => ({
      kind, name: side.runs.length > 1 ? `${kind.toUpperCase()} seed ${run.seed}` : kind.toUpperCase(), x: run.epochs, y: run.history[state.curve] })));
    const ends = trainingLines.map(line => `${line.name} ${short(line.y.findLast(y => y !== null))} after epoch ${line.x[line.y.findLastIndex(y => y !== null)]}`);
    const training = trainingLines.length ? lineChart({ ...size, lines: trainingLines, log: state.curve === "total", xLabel: "epoch", yLabel: label,
      alt: `The ${label} over the epochs. ${ends.join("; ")}.` }) : null;

    charts.replaceChildren(figure(`CMC curve (${key(a, b)}${a.data.toy ? "" : "; diamonds: the paper"})`, cmc),
      ...(training ? [figure(`${label[0].toUpperCase()}${label.slice(1)} (${key(a, b)}${trainingLines.length > sidesShown.length ? ", a line per seed" : ""})`, training)] : []));
    showGains(lines);
  }

  function showGains(unsorted) {
    const { a, b } = state;
    if (a === b) {
      gainChart.replaceChildren(element("p", {}, "Choose two different runs to see which queries gain."));
      return;
    }
    const lines = [...unsorted].sort((one, two) => two.gain - one.gain);
    const values = lines.map(line => line.gain);
    const gained = values.filter(value => value > 0).length, lost = values.filter(value => value < 0).length;
    const mean = sum(values) / values.length;
    const xs = range(lines.length).map(i => i + 1);
    const drawn = frame({
      width: drawnWidth, height: 210, xs, ticks: roundTicks(Math.min(0, values[values.length - 1]), Math.max(0, values[0])),
      xTicks: roundTicks(1, lines.length).filter(tick => tick >= 1 && tick <= lines.length),
      xLabel: `${lines.length.toLocaleString("en")} queries, sorted`, yLabel: "AP gained (points)",
      alt: `What the average precision of each query gained from A to B, sorted: from ${signed(values[0], 1)} to ${signed(values[values.length - 1], 1)} points, ${signed(mean)} on average.`,
      read: place => {
        const line = lines[place - 1];
        return `${place} of ${lines.length}: ${a.data.queries[line.query]}, ${signed(line.gain, 1)} (A ${number(line.before, 1)}, B ${number(line.after, 1)}). Click or Enter: show it.`;
      },
      onchoose: place => changed({ query: lines[place - 1].query }),
    });
    const step = (drawnWidth - MARGIN.left - MARGIN.right) / Math.max(lines.length - 1, 1);
    for (const [name, wanted] of [["gained", value => value > 0], ["lost", value => value < 0]]) {
      const bars = values.map((value, i) => [value, drawn.x(i + 1)]).filter(([value]) => wanted(value))
        .map(([value, x]) => `M${(x - step / 2).toFixed(1)} ${drawn.y(0).toFixed(1)}V${drawn.y(value).toFixed(1)}h${step.toFixed(2)}V${drawn.y(0).toFixed(1)}z`);
      drawn.svg.append(drawing("path", { class: `rx-${name}`, d: bars.join("") }));
    }
    const chosen = lines.findIndex(line => line.query === state.query);
    if (chosen >= 0) drawn.svg.append(drawing("path", { class: "rx-chosen", d: `M${drawn.x(chosen + 1)} ${MARGIN.top + 6}l-5-6h10z` }));
    drawn.finish();
    gainChart.replaceChildren(element("p", {}, `${gained.toLocaleString("en")} of ${lines.length.toLocaleString("en")} queries gain from A to B, ${lost.toLocaleString("en")} lose.`),
      figure("Average precision gained from A to B, query by query", [drawn.svg, drawn.reading]));
  }

  // -------------------------------------------------------------------------------------------- queries and pictures

  // Of queries in an order, those that can be shown.
  function offered(data, lines) {
    const { pictures } = data;
    const shown = pictures ? lines.filter(line => pictures.tileOfQuery.has(line.query)) : lines;
    return shown.length ? shown : lines;
  }

  function thumb(data, tile, label, mark = "") {
    const { columns, rows } = data.pictures;
    return element("span", { class: `rx-thumb ${mark}`, role: "img", "aria-label": label, title: label,
      style: `background-image:${sheet(data)};--columns:${columns};--rows:${rows};--x:${tile % columns};--y:${Math.floor(tile / columns)}` });
  }

  function showStrip(lines) {
    const { data } = state.a;
    orderSelect.value = state.order;
    const candidates = offered(data, lines);
    const shown = candidates.slice(0, STRIP);
    const kept = shown.some(line => line.query === state.query) ? null : lines.find(line => line.query === state.query);
    if (kept) shown.unshift(kept);
    const focused = strip.contains(document.activeElement);
    const scrolled = strip.scrollLeft;
    strip.replaceChildren(...shown.map(line => {
      const name = data.queries[line.query];
      const said = state.a === state.b ? `AP ${number(line.after, 1)}` : signed(line.gain, 1);
      const tile = data.pictures?.tileOfQuery.get(line.query);
      return element("label", { title: name, class: line === kept ? "rx-kept" : null },
        element("input", { type: "radio", name: `rx-query-${serial}`, value: line.query, checked: line.query === state.query ? "" : null,
          "aria-label": `${name}, ${said}`, onchange: () => changed({ query: line.query }) }),
        element("span", { class: "rx-item" }, tile === undefined ? element("code", {}, name) : thumb(data, tile, `query ${name}`), element("span", {}, said)));
    }));
    const item = strip.querySelector("input:checked").parentElement;
    const seen = item.offsetLeft >= scrolled && item.offsetLeft + item.offsetWidth <= scrolled + strip.clientWidth;
    strip.scrollLeft = seen ? scrolled : item.offsetLeft - strip.clientWidth / 2;
    if (focused) item.firstChild.focus({ preventScroll: true });
    const all = data.queries.length, pictured = data.pictures?.shown.length ?? 0;
    stripNote.textContent = [
      kept ? "The chosen query stands apart." : "",
      shown.length < candidates.length ? `The first ${Math.min(STRIP, candidates.length)} of ${candidates.length.toLocaleString("en")} queries in this order; the chart above reaches every one.` : "",
      data.pictures && pictured < all ? `Pictures of ${pictured} of ${all} queries: more would make the page too large.` : "",
      data.pictures ? "" : data.toy ? "The pictures were not at hand where this page was made." : "Pictures of real people are not shown.",
    ].join(" ").trim();
  }

  function showLists() {
    const { a, b, query } = state;
    const { data } = a;
    const name = data.queries[query], tile = data.pictures?.tileOfQuery.get(query);
    const parts = [];
    const common = commonRuns(a, b);
    for (const [slot, side, runs] of a === b ? [["B", b, common[1]]] : [["A", a, common[0]], ["B", b, common[1]]]) {
      const [run] = runs;
      const ap = value => `average precision ${number(value / 100, 1)} %`;
      const several = runs.length > 1
        ? `${ap(sum(runs.map(one => one.precision[query])) / runs.length)} over the seeds ${runs.map(one => one.seed).join(", ")}; seed ${run.seed}, shown here: ` : "";
      const found = run.precision[query] < 0 ? "it has no match in the gallery"
        : `${several}${ap(run.precision[query])}, first right picture at rank ${run.first[query]}`;
      parts.push(element("p", {}, element("b", { class: `rx-name-${slot.toLowerCase()}` }, slot), ` ${side.label}: ${found}.`));
      if (tile === undefined || !run.results) continue;
      const person = new Set(data.pictures.person[tile]);
      const ranked = range(run.across).map(rank => run.results[query * run.across + rank]).filter(image => image >= 0).map((image, i) => {
        const place = data.pictures.placeOfImage.get(image), right = person.has(place);
        return element("span", {}, thumb(data, data.pictures.shown.length + place, `rank ${i + 1}, ${right ? "right" : "wrong"}: ${data.pictures.names[place]}`, right ? "rx-right" : "rx-wrong"),
          `${i + 1} ${right ? "✓" : "✗"}`);
      });
      parts.push(element("div", { class: "rx-row" }, element("span", {}, thumb(data, tile, `query ${name}`), "query"), ranked));
    }
    const truth = tile === undefined ? [] : data.pictures.right[tile];
    if (truth.length) {
      parts.push(element("p", {}, `What should come first (${truth.length} right pictures by other cameras):`),
        element("div", { class: "rx-row" }, truth.slice(0, 9).map(place => element("span", {}, thumb(data, data.pictures.shown.length + place, data.pictures.names[place])))));
    }
    lists.replaceChildren(element("p", {}, "Query ", element("code", {}, name), state.a === state.b ? "" : ", ranked by A and by B:"), ...parts);
  }

  // --------------------------------------------------------------------------------------------------------- heat maps

  const decodedHeat = memo(stored => ({
    answers: new Int8Array(bytes(stored.answers).buffer), truths: new Int8Array(bytes(stored.truths).buffer),
    stages: stored.stages.map(stage => ({ ...stage, maps: bytes(stage.maps), peaks: new Float32Array(bytes(stage.peaks).buffer) })),
  }));

  // Red, green, blue and opacity of a byte: what is cold lets the picture through.
  const heatColour = memo(value => [...bytes(content.colours).subarray(3 * value, 3 * value + 3), 0.2 + (0.6 * value) / 255]);

  function showHeat() {
    const { a, b, query } = state;
    const { data } = a, stored = data.heat;
    const reads = [a, b].some(side => side.runs.some(run => data.runs[run].heat));
    heat.hidden = !(stored && reads);
    if (heat.hidden) return;
    const { answers, truths, stages } = decodedHeat(stored);
    if (!stages.some(stage => stage.name === state.stage)) state.stage = stages[stages.length - 1].name;
    stageSelect.replaceChildren(...stages.map(stage => option(stage.name, stage.name, stage.name === state.stage)));
    const stage = stages.find(one => one.name === state.stage);
    const place = stored.queries.indexOf(query), tile = data.pictures?.tileOfQuery.get(query);
    if (place < 0 || tile === undefined) {
      const other = stored.queries.find(one => data.pictures?.tileOfQuery.has(one));
      heatMaps.replaceChildren(element("p", {}, `Heat maps of ${stored.queries.length} of ${data.queries.length} queries are in the page, and this is none of them. `,
        other === undefined ? null : element("button", { type: "button", onclick: () => changed({ query: other }) }, "Show one of them")));
      return;
    }
    const count = stored.fields.length, cells = stage.height * stage.width;
    const items = stored.fields.map((field, k) => {
      const at = place * count + k;
      const [answer, truth] = [answers[at], truths[at]].map(value => value < 0 ? "unknown" : stored.classes[k][value]);
      const wrong = answer !== truth && truth !== "unknown", map = stage.maps.subarray(at * cells, (at + 1) * cells);
      const highest = map.indexOf(255);
      const where = highest < 0 ? "zero everywhere"
        : `peak ${stage.peaks[at].toPrecision(2)} in row ${Math.floor(highest / stage.width) + 1} of ${stage.height}, column ${(highest % stage.width) + 1} of ${stage.width}`;
      const canvas = element("canvas", { width: stage.width, height: stage.height });
      const image = canvas.getContext("2d").createImageData(stage.width, stage.height);
      map.forEach((value, i) => image.data.set([...heatColour(value).slice(0, 3), 255 * heatColour(value)[3]], 4 * i));
      canvas.getContext("2d").putImageData(image, 0, 0);
      const label = `${field}: ${where}; the network says ${answer}, true is ${truth}`;
      const base = thumb(data, tile, "");
      for (const name of ["role", "aria-label", "title"]) base.removeAttribute(name);
      return element("span", { title: label }, element("span", { class: "rx-heat", role: "img", "aria-label": label }, base, canvas),
        element("b", {}, field), element("span", { class: wrong ? "rx-wrong-word" : "" }, `${answer} ${truth === "unknown" ? "" : wrong ? "✗" : "✓"}`),
        wrong ? element("span", {}, `true: ${truth}`) : null);
    });
    const gradient = range(9).map(i => `rgba(${heatColour(Math.min(255, i * 32))})`).join(",");
    heatMaps.replaceChildren(
      element("p", {}, `Where the attribute network looks in `, element("code", {}, data.queries[query]), ` at ${stage.name} (${stage.height} × ${stage.width} cells). Beneath each map: the attribute, and what the network says of it.`),
      element("p", { class: "rx-scale" }, "0", element("span", { style: `background-image:linear-gradient(90deg,${gradient})` }), "the peak of each map"),
      element("div", { class: "rx-row rx-maps" }, items));
  }

  // ---------------------------------------------------------------------------------------------------- the downloads

  function downloads(lines) {
    const { a, b } = state;
    const cell = value => /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const save = (title, name, table) => element("button", { type: "button", onclick: () => {
      const text = table().map(line => line.map(cell).join(",")).join("\n");
      const href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
      element("a", { href, download: `${name}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    } }, title);
    const gain = a === b ? METRICS.map(() => ({ mean: 0, low: 0, high: 0 })) : gainOf(a, b);
    return [
      save("Scores (CSV)", "scores", () => [
        ["metric", "A", "A low", "A high", "B", "B low", "B high", "B - A", "B - A low", "B - A high", "A in the paper", "B in the paper"],
        ["", a.key, "", "", b.key],
        ...METRICS.map((metric, m) => [metric, a.scores[m], a.low[m], a.high[m], b.scores[m], b.low[m], b.high[m], gain[m].mean, gain[m].low, gain[m].high, a.paper?.[m], b.paper?.[m]]),
      ]),
      save("Curves (CSV)", "curves", () => [["side", "seed", "curve", "x", "y"],
        ...[["A", a], ["B", b]].flatMap(([slot, side]) => side.runs.map(run => side.data.runs[run]).flatMap(run => [
          ...run.cmc.map((y, i) => [slot, run.seed, "CMC", i + 1, y]),
          ...Object.entries(run.history).flatMap(([name, ys]) => ys.map((y, i) => [slot, run.seed, name, run.epochs[i], y]))]))]),
      save("Queries (CSV)", "queries", () => [["query", "A", "B", "gained"],
        ...lines.map(line => [a.data.queries[line.query], line.before.toFixed(2), line.after.toFixed(2), line.gain.toFixed(2)])]),
    ];
  }

  // -------------------------------------------------------------------------------------------------------- the start

  begin(state.setting);
  choose(content.start);
  const unknown = element("p", { class: "rx-note", role: "status" });
  root.prepend(unknown);

  // Whether the address chose something; that it names what is not here, is said.
  function visit() {
    const known = readAddress(location.hash);
    unknown.textContent = !known && /[#&][ab]=/.test(location.hash) ? `The address names no run that is here: ${decodeURIComponent(location.hash)}.` : "";
    return known;
  }

  const asked = content.addressed && visit();
  show();
  new ResizeObserver(() => { if (state.a && root.clientWidth && root.clientWidth !== drawnWidth) show(); }).observe(root);
  if (content.addressed) {
    window.addEventListener("hashchange", () => { if (visit()) { show(); root.scrollIntoView(); } });
    if (asked) window.addEventListener("load", () => root.scrollIntoView());
  }
})();
