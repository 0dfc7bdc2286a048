"use strict";
// The console of one gate. It asks the admin address every two seconds, and holds nothing beyond this page.

const EVERY = 2000; // ms
const KEPT = 150; // samples: five minutes
const READ = 6000; // ms: how long what came of an act stands
const samples = [];
let readUntil = 0;
let locked = false;

const find = (id) => document.getElementById(id);

// Every text goes in as text: a driver chooses its name, and Snowflake its words.
function node(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function say(text, bad = false) {
  const state = find("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = bad ? "bad" : "";
  readUntil = performance.now() + READ;
}

// What the gate is doing, unless somebody is still reading what came of an act.
function idle(text, bad = false) {
  if (performance.now() < readUntil) return;
  say(text, bad);
  readUntil = 0;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (answer.status === 403) {
    lock(true);
    throw new Error("locked");
  }
  return answer;
}

async function json(path) {
  const answer = await ask(path);
  return answer.ok ? answer.json() : {};
}

function lock(now) {
  locked = now;
  find("locked").hidden = !now;
  for (const part of document.querySelectorAll(".data")) part.hidden = now;
  for (const button of document.querySelectorAll("nav button")) button.disabled = now;
  if (now) say("The data of this gate is for its operator.");
}

function confirmed(text) {
  const dialog = find("ask");
  find("ask-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

// Why a PAT could not be read, where that is the answer.
function unread(body) {
  const failed = (body.pats || []).find((pat) => pat.failure);
  return failed && `${failed.credential}: ${failed.failure.cause}`;
}

async function act(path, question, done) {
  if (question && !(await confirmed(question))) return;
  try {
    const answer = await ask(path, { method: "POST" });
    const body = await answer.json();
    say(answer.ok ? done(body) : `The gate refuses: ${body.error || unread(body) || answer.status}`, !answer.ok);
  } catch (error) {
    if (!locked) say(`The gate does not answer: ${error.message}`, true);
  }
  await show();
}

// A table; on a narrow page each row is a card, for which a cell needs its name.
function table(id, names, rows, none) {
  const place = find(id);
  const focused = document.activeElement?.dataset?.key;
  if (!rows.length) {
    place.replaceChildren(node("p", none, { class: "quiet" }));
    return;
  }
  const made = node("table");
  const head = made.appendChild(node("thead")).appendChild(node("tr"));
  for (const name of names) head.append(node("th", name, { scope: "col" }));
  const body = made.appendChild(node("tbody"));
  for (const row of rows) {
    const line = body.appendChild(node("tr"));
    row.forEach((cell, at) => {
      const made = node("td", undefined, { "data-name": names[at] });
      const inner = made.appendChild(node("span"));
      inner.append(cell instanceof Node ? cell : document.createTextNode(cell ?? ""));
      line.append(made);
    });
  }
  const scroll = node("div", undefined, { class: "scroll" });
  scroll.append(made);
  place.replaceChildren(scroll);
  if (focused) place.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function button(text, key, label, what) {
  const made = node("button", text, { type: "button", "data-key": key, "aria-label": label });
  made.addEventListener("click", what);
  return made;
}

const up = (yes) =>
  yes === null ? node("span", "not known", {}) : node("span", yes ? "up" : "down", { class: yes ? "good" : "bad" });
const id = (text) => node("span", text, { class: "id" });
const when = (text) => (text ? new Date(text).toLocaleString() : "");

function tables(status, sessions, failures) {
  find("version").textContent = status.version;
  const list = find("attention").querySelector("ul");
  list.replaceChildren(...status.attention.map((text) => node("li", text)));
  find("attention").hidden = !status.attention.length;
  table(
    "failures",
    ["When", "Code", "Whose", "What", "Next step", "Client", "Trace"],
    failures.map((one) => [
      when(one.at), `${one.code} ${one.kind}`, one.owner, one.sentence, one.next_step, one.client || one.peer, id(one.trace),
    ]),
    "None in the history.",
  );
  table(
    "credentials",
    ["Credential", "User", "PAT", "Version", "Age of the read", "Ends", ""],
    status.credentials.map((one) => [
      one.credential, `${one.user} at ${one.account}`,
      node("span", one.state, { class: one.state === "active" ? "good" : "bad" }), one.version,
      one.age_s === null ? "" : `${one.age_s} s`, when(one.expires),
      button("Retry", `retry-${one.credential}`, `Retry the PAT of ${one.credential}`, () =>
        act(
          `/pats/retry?credential=${encodeURIComponent(one.credential)}`,
          `Send the PAT of ${one.credential} again? If Snowflake still refuses it, this costs its user bad logins.`,
          () => `The bad logins of ${one.credential} are forgotten, and its PAT is read again.`,
        ),
      ),
    ]),
    "None.",
  );
  table(
    "sessions",
    ["Client", "From", "Opened", "Idle", "PAT", "Session", ""],
    sessions.map((one) => [
      one.client, one.from, when(one.opened), `${one.idle_s} s`, id(one.pat), id(one.session),
      button("End", `end-${one.session}`, `End session ${one.session}`, () =>
        act(
          `/sessions/kill?target=session:${encodeURIComponent(one.session)}`,
          `End this session of ${one.client}? Its tool has to log in again.`,
          (body) => `${body.ended} session ended.`,
        ),
      ),
    ]),
    "No session in the last hour.",
  );
  table(
    "clients",
    ["Client", "Sessions", ""],
    status.sessions.map((one) => [
      one.client, String(one.sessions),
      button("End all", `end-all-${one.client}`, `End all sessions of ${one.client}`, () =>
        act(
          `/sessions/kill?target=client:${encodeURIComponent(one.client)}`,
          `End all ${one.sessions} sessions of ${one.client}?`,
          (body) => `${body.ended} sessions ended.`,
        ),
      ),
    ]),
    `None of ${status.clients} clients.`,
  );
  const parts = [
    ...status.stores.map((one) => ["store", one]),
    ...status.accounts.map((one) => ["account", one]),
  ];
  table(
    "parts",
    ["", "Name", "What", "State", "Since", "Why"],
    parts.map(([kind, one]) => [kind, one.name, one.what, up(one.up), when(one.since), one.cause]),
    "None.",
  );
  table(
    "listeners",
    ["Listener", "Address", "Certificate", "Ends", "Days left"],
    status.listeners.map((one) => [
      one.listener, one.address, one.certificate ? one.certificate.names.join(", ") : "none: plain HTTP",
      when(one.certificate?.ends),
      one.certificate ? node("span", String(one.certificate.days_left), { class: one.certificate.valid ? "good" : "bad" }) : "",
    ]),
    "None.",
  );
}

// The sums of counters in Prometheus text.
function sums(text) {
  const sum = (name, filter = "") => {
    let all = 0;
    for (const line of text.split("\n")) {
      if (!line.startsWith(name) || (filter && !line.includes(filter))) continue;
      const found = /^[a-z_]+(?:\{[^}]*\})? ([0-9.e+-]+)/.exec(line);
      if (found) all += Number(found[1]);
    }
    return all;
  };
  return {
    at: performance.now(),
    requests: sum("patgate_requests_total"),
    failures: sum("patgate_requests_failed_total") + sum("patgate_connections_refused_total"),
    gate: [sum("patgate_request_seconds_sum", 'side="gate"'), sum("patgate_request_seconds_count", 'side="gate"')],
    upstream: [sum("patgate_request_seconds_sum", 'side="upstream"'), sum("patgate_request_seconds_count", 'side="upstream"')],
  };
}

function chart(name, lines, unit) {
  const place = find(name);
  const most = Math.max(1e-9, ...lines.flat());
  const points = (values) =>
    values.map((value, at) => `${(at / Math.max(1, KEPT - 1)) * 300},${76 - (value / most) * 64}`).join(" ");
  const drawn = lines.map((values, number) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points(values));
    if (number) line.setAttribute("class", "second");
    return line;
  });
  const now = lines.map((values) => (values.at(-1) ?? 0).toFixed(1)).join(" and ");
  const text = `now ${now}, most ${most < 1e-6 ? 0 : most.toFixed(1)} ${unit}`;
  place.setAttribute("aria-label", text);
  place.parentElement.querySelector("figcaption span").textContent = text;
  place.replaceChildren(...drawn);
}

function charts(text) {
  samples.push(sums(text));
  if (samples.length > KEPT + 1) samples.shift();
  const pairs = samples.slice(1).map((now, at) => [samples[at], now]);
  const seconds = ([before, now]) => (now.at - before.at) / 1000;
  const mean = (side) => pairs.map(([before, now]) => {
    const count = now[side][1] - before[side][1];
    return count > 0 ? ((now[side][0] - before[side][0]) / count) * 1000 : 0;
  });
  chart("chart-requests", [pairs.map((pair) => (pair[1].requests - pair[0].requests) / seconds(pair))], "a second");
  chart("chart-time", [mean("gate"), mean("upstream")], "ms");
  chart("chart-failures", [pairs.map((pair) => ((pair[1].failures - pair[0].failures) / seconds(pair)) * 60)], "a minute");
}

async function show() {
  try {
    const status = await json("/status");
    const [sessions, failures, metrics] = await Promise.all([json("/sessions"), json("/failures"), ask("/metrics")]);
    if (locked) lock(false);
    tables(status, sessions.sessions || [], failures.failures || []);
    charts(await metrics.text());
    const since = when(status.started);
    idle(status.ready ? `Serves logins, since ${since}` : "Does not serve logins: see what needs attention");
  } catch (error) {
    if (!locked) idle(`The gate does not answer: ${error.message}`, true);
  }
}

async function unlock(token) {
  const answer = await fetch("/console/login", {
    method: "POST", credentials: "same-origin", headers: { "x-patgate-token": token.trim() },
  });
  if (!answer.ok) {
    lock(true);
    say("This token is not good any more: run patgate console again.", true);
    return;
  }
  lock(false);
  readUntil = 0;
  await show();
}

find("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  unlock(find("token").value);
  find("token").value = "";
});
find("reload").addEventListener("click", () =>
  act("/reload", null, (body) => (body.changes.length ? body.changes.join("; ") : "All files were read again; no key has changed.")),
);
find("refresh").addEventListener("click", () => act("/pats/refresh", null, () => "All PATs were read again."));
find("drain").addEventListener("click", () =>
  act("/drain", "Drain and stop this gate? Running requests end; new connections are refused.", () => "The gate drains and stops."),
);

async function start() {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, "", location.pathname);
    await unlock(token);
  } else {
    await show();
  }
  setInterval(() => {
    if (!locked && !document.hidden && !find("ask").open) show();
  }, EVERY);
}

start();
