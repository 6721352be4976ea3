"use strict";
// The browser of pairs. The page's data blocks hold gzipped JSON in base64, made by reporting/pairs_data.py: an index by
// columns, and chunks of texts and of verdicts. Texts of models are only ever set as text, never as markup.
(() => {
  const PAGE = 20;
  const byId = (id) => document.getElementById(id);
  const form = byId("browser"), list = byId("rows"), count = byId("count");
  const fields = ["query", "model", "outcome", "margin-low", "margin-high", "words-low", "words-high", "order"];
  let index, rows, found = [], first = 0, searching = 0;
  let matched = { query: "", rows: null };

  async function opened(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const recent = new Map(); // the chunks that were opened last; a large run's texts do not fit into memory together
  async function chunk(id) {
    const held = recent.get(id) ?? (await opened(id));
    recent.delete(id);
    recent.set(id, held);
    if (recent.size > 8) recent.delete(recent.keys().next().value);
    return held;
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function textBox(text, query) {
    const box = element("div", "text");
    box.dir = "auto";
    box.tabIndex = 0;
    let rest = 0;
    if (query) {
      const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
      for (const match of text.matchAll(pattern)) {
        box.append(text.slice(rest, match.index), element("mark", "", match[0]));
        rest = match.index + match[0].length;
      }
    }
    box.append(text.slice(rest));
    return box;
  }

  const number = (value, digits = 0) =>
    value === null ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

  function rowFacts(i) {
    const paired = rows.other[i] !== null;
    const lengths = paired ? `${number(rows.words[i])} against ${number(rows.other[i])} words` : `up to ${number(rows.words[i])} words`;
    return `${rows.id[i]} · ${index.outcomes[rows.outcome[i]]} · ${lengths}`;
  }

  function rowElement(i) {
    const item = element("li"), button = element("button", "row");
    button.type = "button";
    button.dataset.row = i;
    button.setAttribute("aria-expanded", "false");
    const excerpt = element("span", "excerpt", rows.prompt[i]);
    excerpt.dir = "auto";
    button.append(excerpt, element("span", "result", rows.margin[i] === null ? "" : `margin ${number(rows.margin[i], 2)}`));
    button.append(element("span", "facts", rowFacts(i)));
    item.append(button);
    return item;
  }

  function thoughtElement(thought, tokens) {
    const details = element("details", "thought");
    const words = thought.split(/\s+/).filter(Boolean).length;
    const length = `${number(words)} word${words === 1 ? "" : "s"}${tokens ? `, ${number(tokens)} tokens` : ""}`;
    details.append(element("summary", "", `Thought: ${length}`), textBox(thought));
    return details;
  }

  function replyElement([text, name, mean, role, finished, flag], [thought, tokens, verdicts], query) {
    const kind = role.startsWith("chosen") || role === "trained on" ? "chosen" : role || "unused";
    const section = element("section", `reply ${kind}`);
    const facts = [`mean ${number(mean, 2)}`, `${number(text.split(/\s+/).filter(Boolean).length)} words`, name];
    if (!finished) facts.push(thought && !text ? "its thought has no end" : "cut off by the length limit");
    if (flag) facts.push(`flagged: ${flag}`);
    const title = element("h4", "", `${role || "not used"} `);
    title.append(element("span", "", facts.join(" · ")));
    const details = element("details");
    const scores = verdicts.map(([score]) => (score === null ? "unreadable" : number(score, score % 1 ? 2 : 0)));
    details.append(element("summary", "", `${verdicts.length} verdict${verdicts.length === 1 ? "" : "s"}: ${scores.join(", ")}`));
    verdicts.forEach(([, said, reasoning], place) => {
      details.append(element("h5", "", `Verdict ${place + 1}: ${scores[place]}`), textBox(said));
      if (reasoning) details.append(thoughtElement(reasoning));
    });
    section.append(title, textBox(text, query), ...(thought ? [thoughtElement(thought, tokens)] : []), details);
    return section;
  }

  async function open(button) {
    const i = Number(button.dataset.row), item = button.parentElement;
    if (item.children.length > 1) {
      item.lastChild.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    button.setAttribute("aria-expanded", "true");
    const panel = element("div", "opened"), query = byId("query").value.trim();
    item.append(panel);
    const [texts, verdicts] = await Promise.all([chunk(`t${rows.chunk[i]}`), chunk(`v${rows.chunk[i]}`)]);
    const [prompt, ...replies] = texts[rows.place[i]], said = verdicts[rows.place[i]];
    const order = replies.map((_, place) => place).sort((a, b) => (replies[b][2] ?? -Infinity) - (replies[a][2] ?? -Infinity));
    const box = element("div", "replies");
    box.append(...order.map((place) => replyElement(replies[place], said[place], query)));
    panel.append(element("h4", "", "Prompt"), textBox(prompt, query), element("h4", "", `${replies.length} replies, the highest mean first`), box);
  }

  function show() {
    list.replaceChildren(...found.slice(first, first + PAGE).map(rowElement));
    byId("previous").disabled = first === 0;
    byId("next").disabled = first + PAGE >= found.length;
    const last = Math.min(first + PAGE, found.length);
    const range = found.length > PAGE ? `, ${number(first + 1)} to ${number(last)} shown` : "";
    count.textContent = `${number(found.length)} of ${number(rows.id.length)} prompts${range}`;
  }

  function holds(i) {
    const value = (id) => byId(id).value;
    const within = (measure, low, high) =>
      (low === "" || (measure !== null && measure >= Number(low))) && (high === "" || (measure !== null && measure <= Number(high)));
    return (
      (value("model") === "" || rows.model[i] === Number(value("model"))) &&
      (value("outcome") === "" || rows.outcome[i] === Number(value("outcome"))) &&
      within(rows.margin[i], value("margin-low"), value("margin-high")) &&
      within(rows.words[i], value("words-low"), value("words-high")) &&
      (matched.rows === null || matched.rows.has(i))
    );
  }

  const missingLast = (key, sign) => (a, b) => {
    const [left, right] = [key(a), key(b)];
    return left === null || right === null ? (left === null) - (right === null) || a - b : sign * (left - right) || a - b;
  };
  const orders = {
    id: (a, b) => a - b,
    large: missingLast((i) => rows.margin[i], -1),
    small: missingLast((i) => rows.margin[i], 1),
    longer: missingLast((i) => (rows.other[i] === null ? null : rows.words[i] - rows.other[i]), -1),
    long: missingLast((i) => rows.words[i], -1),
  };

  function apply() {
    found = [];
    for (let i = 0; i < rows.id.length; i++) if (holds(i)) found.push(i);
    found.sort(orders[byId("order").value]);
    first = 0;
    show();
  }

  // Rows whose prompt, replies or id hold the query; null if a newer search has begun.
  async function search(query, turn) {
    const wanted = query.toLowerCase(), matches = new Set(), places = new Map();
    rows.id.forEach((id, i) => {
      if (id.toLowerCase().includes(wanted)) matches.add(i);
      if (!places.has(rows.chunk[i])) places.set(rows.chunk[i], []);
      places.get(rows.chunk[i]).push(i);
    });
    let done = 0;
    for (const [name, members] of places) {
      const texts = await opened(`t${name}`);
      if (turn !== searching) return null;
      for (const i of members) {
        const [prompt, ...replies] = texts[rows.place[i]];
        if (prompt.toLowerCase().includes(wanted) || replies.some(([text]) => text.toLowerCase().includes(wanted))) matches.add(i);
      }
      done++;
      if (done % 10 === 0) count.textContent = `Searching: ${Math.round((100 * done) / places.size)} %`;
    }
    return matches;
  }

  async function update() {
    const query = byId("query").value.trim(), turn = ++searching;
    if (query !== matched.query) {
      const matches = query === "" ? null : await search(query, turn);
      if (turn !== searching) return;
      matched = { query, rows: matches };
    }
    apply();
  }

  function move(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    const button = event.target.closest(".row");
    if (!button || !(event.key in steps)) return;
    const buttons = [...list.querySelectorAll(".row")];
    buttons[buttons.indexOf(button) + steps[event.key]]?.focus();
    event.preventDefault();
  }

  function turn(by) {
    first += by * PAGE;
    show();
    list.querySelector(".row")?.focus();
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") {
      form.hidden = false;
      form.replaceChildren(element("p", "note", "The browser of pairs needs a newer web browser (DecompressionStream)."));
      return;
    }
    index = await opened("index");
    rows = index.rows;
    index.models.forEach((name, place) => byId("model").append(new Option(name, place)));
    index.outcomes.forEach((name, place) => byId("outcome").append(new Option(name, place)));
    form.addEventListener("submit", (event) => event.preventDefault());
    let waiting;
    for (const id of fields) {
      byId(id).addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(update, 200);
      });
    }
    list.addEventListener("click", (event) => {
      const button = event.target.closest(".row");
      if (button) open(button);
    });
    list.addEventListener("keydown", move);
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    form.hidden = false;
    apply();
  }

  start();
})();
