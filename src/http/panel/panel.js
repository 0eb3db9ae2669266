// The agent panel. State comes whole from the API and in steps from its event stream; the page is
// drawn from it in place, so that focus stays where it is.

import {
  BRANDS, FIELDS, ORDER, STATES,
  clock, couldBeCard, exponent, groups, lasting, money, outcomeOf, parseAmount,
} from "/format.js";
import { operationLine, orders, possible, question, standing } from "/charges.js";

const $ = (id) => document.getElementById(id);
const ENDED = new Set(["approved", "unknown", "cancelled"]);

/** What the address names; nothing where somebody cut it in the middle of a character. */
function fromHash() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
}

const state = {
  session: null,
  calls: [],
  payments: new Map(),
  chosen: fromHash(),
  /** Our link: which call is ours, as far as that is sure. */
  claim: null,
  /** The call that the link was begun for by hand. */
  claimed: null,
  /** Payments whose outcome the agent has put away. */
  done: new Set(),
  /** When the caller last did something in a payment's open field. */
  touched: new Map(),
  /** What the gateway's clock is ahead of ours, in milliseconds. */
  skew: 0,
  busy: false,
  /** Ids of the payments that were looked for; nothing where nothing was. */
  found: null,
  /** Whether what is shown may be old. */
  lost: true,
};

const now = () => Date.now() + state.skew;
// An unknown result is an end for the agent even while the line is still protected: charging again
// or "cancelling" it would promise what nobody knows.
const active = (p) => !ENDED.has(p.state) && (p.armed || p.state !== "failed");

// ---- The API

class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

async function api(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        "X-Tonewall": "panel",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused({
      title: "The gateway cannot be reached.",
      detail: "The call goes on. Check your network; this page reconnects by itself.",
      lost: true,
    });
  }
  const date = Date.parse(response.headers.get("date"));
  if (Math.abs(date - Date.now()) > 2000) state.skew = date - Date.now();
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({
    title: `The gateway answered ${response.status}.`,
    detail: "Try again; tell your operator if it lasts.",
  }));
  if (response.status === 401) signedOut();
  throw new Refused(problem);
}

/** Runs what a button asks for: once at a time, and a refusal is shown. */
async function act(work) {
  if (state.busy) return;
  state.busy = true;
  draw();
  try {
    await work();
    hideAlert();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    showAlert(error.problem.title, error.problem.detail);
  } finally {
    state.busy = false;
    draw();
  }
}

// ---- The event stream

let source = null;
let loading = false;
let loadAgain = false;
let patience = 1000;

function connect() {
  source?.close();
  source = new EventSource("/v1/events");
  source.onopen = () => { patience = 1000; load(); };
  source.addEventListener("reset", load);
  for (const name of ["payment.created", "payment.capture", "payment.updated", "payment.ended"]) {
    source.addEventListener(name, (event) => took(JSON.parse(event.data).payment));
  }
  for (const name of ["call.started", "call.updated", "call.ended"]) {
    source.addEventListener(name, () => { loadCalls(); lookAgain(); });
  }
  source.onerror = async () => {
    link("lost", "Connection lost. Reconnecting…");
    if (source.readyState !== EventSource.CLOSED) return;
    // The browser gave up, which it does when it is refused: find out why.
    try { await api("GET", "/v1/session"); } catch (error) {
      if (!error.problem?.lost) showAlert(error.problem.title, error.problem.detail);
    }
    if (state.session) setTimeout(connect, patience);
    patience = Math.min(patience * 2, 15000);
  };
}

/** Reads everything anew; what arrives meanwhile is told apart by its time. */
async function load() {
  loadAgain = loading;
  if (loading) return;
  loading = true;
  try {
    const [{ calls }, { payments }] = await Promise.all([api("GET", "/v1/calls"), api("GET", "/v1/payments")]);
    state.calls = calls;
    for (const payment of payments) took(payment, true);
    await lookAgain();
    link("live", "Live");
  } catch (error) {
    if (!error.problem?.lost) showAlert(error.problem.title, error.problem.detail);
  } finally {
    loading = false;
    draw();
    if (loadAgain) load();
  }
}

async function loadCalls() {
  try { state.calls = (await api("GET", "/v1/calls")).calls; } catch { return; }
  draw();
}

// ---- Which call is ours

const isOurs = (call) => state.claim?.state === "confirmed" && state.claim.call === call.id;

/** Begins a link, in place of the last: to one call, or to whichever is at our own address. */
async function claim(call) {
  state.claim = await api("POST", "/v1/links", call ? { call: call.id } : {});
  state.claimed = call?.id ?? null;
}

/** Where our link stands now; one that is over makes way for the next call at our own address. */
async function lookAgain() {
  const before = state.claim?.call;
  try {
    if (state.claim) state.claim = await api("GET", `/v1/links/${state.claim.id}`);
  } catch (error) {
    if (error.problem?.lost) return;
    state.claim = null;
  }
  if (state.claim?.state === "ended") state.claim = null;
  if (!state.claim && state.session?.agent) await claim(null).catch(() => {});
  const ours = state.claim?.state === "confirmed" ? state.claim.call : null;
  if (ours && ours !== before && !(shownPayment() && active(shownPayment()))) choose(ours);
  draw();
}

async function readOut() {
  const call = shownCall();
  if (!state.claim || state.claimed !== call.id) await claim(call);
  if (state.claim.state !== "confirmed") {
    state.claim = await api("POST", `/v1/links/${state.claim.id}/read-out`);
  }
  $("code").value = "";
  queueMicrotask(() => $("code").focus());
}

async function confirmCode() {
  const code = $("code").value.trim();
  $("code").value = "";
  try {
    state.claim = await api("POST", `/v1/links/${state.claim.id}/confirm`, { code });
  } catch (error) {
    await lookAgain();
    throw error;
  }
  announce("Confirmed. You can take a payment on this call.");
  queueMicrotask(() => $("amount").focus());
}

/** Takes a payment over, unless a later one of it is known. */
function took(payment, quiet) {
  if (!payment) return;
  const before = state.payments.get(payment.id);
  if (before && Date.parse(before.updated) > Date.parse(payment.updated)) return;
  state.payments.set(payment.id, payment);
  const open = payment.capturing;
  if (open && (before?.capturing !== open || before.fields[open]?.count !== payment.fields[open]?.count)) {
    state.touched.set(payment.id, Math.min(Date.parse(payment.updated), now()));
  }
  const call = state.calls.find((c) => c.id === payment.call);
  if (call) call.armed = payment.armed;
  if (!quiet && before) tell(before, payment);
  draw();
}

/** Says aloud what changed, for those who do not see it: all at once, for only the last is read. */
function tell(before, payment) {
  const words = [];
  for (const [name, field] of Object.entries(payment.fields)) {
    if (field.status === before.fields[name]?.status) continue;
    if (field.status === "complete") {
      words.push(`${FIELDS[name].label} complete${field.last4 ? `, ends in ${field.last4}` : ""}.`);
    }
    if (field.status === "problem") words.push(`${FIELDS[name].label}: ${field.problem}`);
  }
  if (payment.state !== before.state) {
    const outcome = outcomeOf(payment);
    if (outcome) words.push(payment.advice || `${outcome.title}. ${outcome.text}`);
  }
  if (payment.caller_muted && !before.caller_muted) words.push($("muted").textContent);
  if (payment.armed !== before.armed) words.push(payment.armed ? "The line is protected." : "The line is open.");
  if (words.length) announce(words.join(" "));
}

// ---- What is shown

const shownPayment = () => {
  if (state.payments.has(state.chosen)) return state.payments.get(state.chosen);
  const mine = [...state.payments.values()]
    .filter((p) => p.call === state.chosen && !state.done.has(p.id))
    .sort((a, b) => b.created.localeCompare(a.created));
  return mine.find(active) ?? mine[0] ?? null;
};

const shownCall = () => {
  const id = state.payments.get(state.chosen)?.call ?? state.chosen;
  return state.calls.find((c) => c.id === id) ?? null;
};

function choose(id) {
  state.chosen = id;
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  hideAlert();
  draw();
}

let scheduled = false;
function draw() {
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(() => {
    scheduled = false;
    if (!state.session) return;
    if (!shownCall() && !shownPayment() && state.calls.length) choose(state.calls[0].id);
    drawSide();
    drawStage();
  });
}

/** Keeps a list's items by key, so that the focused one stays. */
function keep(list, items, key, make, update) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  items.forEach((item, at) => {
    const node = old.get(key(item)) ?? make(item);
    node.dataset.key = key(item);
    old.delete(key(item));
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
    update(node, item);
  });
  for (const node of old.values()) node.remove();
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Writes only what changed: a screen reader reads what is written. */
function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function entry() {
  const item = element("li");
  const button = element("button", "entry");
  button.type = "button";
  button.append(element("span", "entry-main"), element("span", "entry-side"), element("span", "entry-sub"));
  button.onclick = () => choose(item.dataset.key);
  item.append(button);
  return item;
}

function fillEntry(item, main, side, sub, current, tone) {
  const button = item.firstChild;
  text(button.children[0], main);
  button.title = main;
  text(button.children[1], side);
  text(button.children[2], sub);
  button.children[1].className = `entry-side ${tone}`;
  button.setAttribute("aria-current", String(current));
}

function drawSide() {
  const shown = shownPayment();
  keep($("calls"), state.calls, (c) => c.id, entry, (item, call) => {
    const paying = [...state.payments.values()].find((p) => p.call === call.id && active(p));
    const side = call.armed ? "Protected" : call.refusal ? "No payments" : call.answered ? "" : "Ringing";
    const sub = `${lasting(call.started, now())}${paying ? ` · ${STATES[paying.state]} · ${money(paying.amount_minor, paying.currency)}` : ""}`;
    fillEntry(item, call.signalling_id, side, sub, shownCall()?.id === call.id, call.armed ? "good" : "calm");
  });
  $("no-calls").hidden = state.calls.length > 0;
  // What is unresolved stays on top until it is resolved.
  const recent = state.found
    ? state.found.map((id) => state.payments.get(id)).filter(Boolean)
    : [...state.payments.values()]
      .filter((p) => !active(p) || !state.calls.some((c) => c.id === p.call))
      .sort((a, b) => (b.state === "unknown") - (a.state === "unknown") || b.updated.localeCompare(a.updated))
      .slice(0, 12);
  $("recent-title").hidden = !state.found && recent.length === 0;
  text($("recent-title"), state.found ? "Found" : "Recent payments");
  keep($("recent"), recent, (p) => p.id, entry, (item, p) => {
    const tone = { approved: "good", unknown: "warn", declined: "bad", failed: "bad" }[p.state] ?? "calm";
    fillEntry(item, money(p.amount_minor, p.currency), standing(p).split(" · ")[0] || STATES[p.state], `${p.reference} · ${clock(p.updated)}`, shown?.id === p.id, tone);
  });
}

function drawStage() {
  const payment = shownPayment();
  const call = shownCall();
  $("empty").hidden = Boolean(payment || call);
  $("take").hidden = Boolean(payment) || !call;
  $("payment").hidden = !payment;
  const sandbox = payment ? payment.sandbox : state.session.sandbox;
  $("sandbox").hidden = !sandbox;
  document.title = payment
    ? `${money(payment.amount_minor, payment.currency)} · ${STATES[payment.state]} · tonewall`
    : "tonewall";
  if (payment) drawPayment(payment, call);
  else if (call) drawTake(call);
}

function drawTake(call) {
  text($("take-call"), `On call ${call.signalling_id}`);
  const refusal = call.refusal ?? (call.answered ? "" : "The call has not been answered yet.");
  $("take-refusal").hidden = !refusal;
  text($("take-refusal"), refusal ? `No payment can be taken on this call: ${refusal}` : "");
  // Whoever charges the wrong caller charges a card that somebody keyed for something else.
  const ours = isOurs(call);
  $("confirm").hidden = ours || Boolean(refusal);
  $("take-fields").hidden = !ours && !refusal;
  const reading = state.claimed === call.id && state.claim?.state === "reading";
  text($("confirm-text"), reading
    ? "Type the four digits that you hear on your telephone. The caller does not hear them."
    : "Is this the call that you are on? A code is read out to your telephone, in place of the caller for some seconds.");
  $("confirm-typed").hidden = !reading;
  text($("read-out"), reading ? "Read it out again" : "Read the code out");
  $("read-out").classList.toggle("primary", !reading);
  $("read-out").disabled = $("confirm-button").disabled = state.busy;
  $("take-fields").disabled = Boolean(refusal) || state.busy || !ours;
  text($("take-button"), state.busy ? "Protecting the line…" : "Take payment");
}

function drawPayment(p, call) {
  const outcome = outcomeOf(p);
  const over = !active(p);
  text($("sum-amount"), money(p.amount_minor, p.currency));
  text($("sum-reference"), [p.reference, p.description].filter(Boolean).join(" · "));
  const seen = { true: "Line protected", false: "Line open" }[p.armed];
  text($("armed"), p.state === "arming" ? "Protecting…" : state.lost ? `Last seen: ${seen.toLowerCase()}` : seen);
  $("armed").classList.toggle("on", p.armed && !state.lost);
  $("muted").hidden = !p.caller_muted;

  $("outcome").hidden = !outcome;
  if (outcome) {
    $("outcome").className = `outcome ${outcome.tone}`;
    text($("outcome-title"), outcome.title);
    text($("outcome-text"), p.advice || outcome.text);
    const receipt = p.outcome?.processor_reference;
    $("receipt").hidden = !receipt;
    text($("receipt-reference"), receipt ?? "");
    text($("receipt-date"), new Date(p.created).toLocaleString());
  }

  const names = ORDER.filter((name) => p.fields[name]);
  const missing = names.find((name) => p.fields[name].required && p.fields[name].status !== "complete");
  $("next").hidden = Boolean(outcome);
  text($("advice"), p.advice);
  $("next").classList.toggle("busy", p.state === "submitting" || p.state === "arming");
  const asking = p.capturing && FIELDS[p.capturing];
  const field = p.capturing && p.fields[p.capturing];
  const phrase = asking ? (field.attempts_left !== null && field.rejection ? asking.again : asking.say) : "";
  $("say").hidden = !phrase;
  text($("say"), phrase && `“${phrase}”`);

  const canAsk = p.armed && ["open", "capturing", "declined", "failed"].includes(p.state);
  keep($("fields"), names, (name) => `${p.id} ${name}`, fieldRow, (row, name) => {
    drawField(row, p, name, canAsk, name === missing);
  });

  $("charge").hidden = over;
  text($("charge"), p.state === "submitting" ? "Charging…" : `Charge ${money(p.amount_minor, p.currency)}`);
  $("charge").disabled = state.busy || !canAsk || Boolean(missing) || p.state === "capturing";
  $("cancel").hidden = over;
  $("cancel").disabled = state.busy || p.state === "submitting";
  $("again").hidden = !over || !call || p.state === "unknown";
  drawMoney(p, over);
  lead(p, missing);
}

/** Where the money of an approved charge is, and what may be done with it. */
function drawMoney(p, over) {
  $("money").hidden = !over || !p.balance;
  $("print").hidden = !over || p.state !== "approved";
  if (!p.balance) return;
  text($("standing"), standing(p));
  keep($("operations"), p.operations, (o) => o.id, operationRow, (row, operation) => {
    const line = operationLine(operation);
    text(row.children[0], line.main);
    text(row.children[1], line.side);
    row.children[1].className = `entry-side ${line.tone}`;
    text(row.children[2], line.sub);
  });
  keep($("choices"), possible(p, state.session), (c) => `${p.id} ${c.kind}`, choiceButton, (button, choice) => {
    text(button, choice.button);
    button.disabled = state.busy || state.lost;
    button.onclick = () => order.open(p, choice);
  });
}

function operationRow() {
  const row = element("li", "operation");
  row.append(element("span", "entry-main"), element("span", "entry-side"), element("span", "entry-sub"));
  return row;
}

function choiceButton() {
  const button = element("button", "");
  button.type = "button";
  return button;
}

const order = orders($, (path, body, key, forget) => act(async () => {
  try {
    took(await api("POST", path, body, { "Idempotency-Key": key }));
    forget();
  } catch (error) {
    if (!error.problem?.lost) forget();
    throw error;
  }
}));

/** Looks for what was typed; nothing typed leads back to the recent payments. */
async function find() {
  const typed = $("find-what").value.trim();
  state.found = null;
  $("found-none").hidden = true;
  if (!typed) return;
  // What is looked for stands in an address, which proxies and browsers keep.
  if (couldBeCard(typed)) {
    $("find-what").value = "";
    $("found-none").hidden = false;
    text($("found-none"), "That could be a card number, so it was taken out. The last four digits are enough.");
    return;
  }
  const payments = typed.startsWith("pay_")
    ? [await api("GET", `/v1/payments/${encodeURIComponent(typed)}`)]
    : (await api("GET", `/v1/payments?${question(typed)}&limit=50`)).payments;
  for (const payment of payments) took(payment, true);
  state.found = payments.map((p) => p.id);
  $("found-none").hidden = payments.length > 0;
  text($("found-none"), payments.length ? "" : "No payment has this reference or ends so.");
}

// ---- Fields

function fieldRow(key) {
  const row = element("li", "field");
  const head = element("div", "field-head");
  head.append(element("span", "field-label"), element("span", "badge"));
  const status = element("span", "field-status");
  const left = element("div", "left");
  left.setAttribute("aria-hidden", "true");
  const ask = element("button", "ask");
  ask.type = "button";
  row.append(head, element("div", "slots"), status, ask, left);
  return row;
}

function drawField(row, p, name, canAsk, isNext) {
  const field = p.fields[name];
  const [head, slots, status, ask] = row.children;
  const { label } = FIELDS[name];
  const open = p.capturing === name;
  row.className = `field ${field.status}${open ? " open" : ""}`;
  text(head.children[0], label);
  const brand = field.brand ?? "";
  head.children[1].hidden = !brand;
  head.children[1].className = `badge ${brand}`;
  text(head.children[1], BRANDS[brand] ?? "");
  const cardBrand = p.fields["payment-card-number"]?.brand;
  drawSlots(slots, field, groups(name, name === "security-code" ? cardBrand : brand), label);

  let words = "";
  if (open) words = field.count ? `${field.count} ${field.count === 1 ? "key" : "keys"} so far` : "Listening…";
  else if (field.status === "complete") words = "Complete";
  else if (field.status === "problem") words = field.problem ?? "That did not work. Ask again.";
  else words = field.required ? "Not asked yet" : "Optional";
  text(status, words);
  status.dataset.words = words;
  row.dataset.field = name;

  const again = open || field.status !== "missing";
  text(ask, again ? "Ask again" : "Ask");
  ask.setAttribute("aria-label", `${again ? "Ask again for the" : "Ask for the"} ${label.toLowerCase()}`);
  ask.classList.toggle("primary", isNext && !open && canAsk);
  ask.hidden = !canAsk;
  ask.disabled = state.busy;
  ask.onclick = () => act(async () => took(await api("POST", `/v1/payments/${p.id}/capture`, { field: name })));
}

/** A dot for each key; the last four stand where they belong. */
function drawSlots(slots, field, shape, label) {
  const sum = shape.reduce((a, b) => a + b, 0);
  const length = field.status === "complete" && field.count ? field.count : Math.max(sum, field.count);
  const drawn = `${shape} ${length} ${field.count} ${field.last4 ?? ""} ${field.status}`;
  if (slots.dataset.drawn === drawn) return;
  slots.dataset.drawn = drawn;
  slots.setAttribute("role", "img");
  slots.setAttribute("aria-label", field.last4 ? `${label} ends in ${field.last4}` : `${field.count} keys`);
  const nodes = [];
  let group = 0;
  let end = shape[0];
  for (let at = 0; at < length; at += 1) {
    if (at === end && at < length) {
      nodes.push(element("span", "gap"));
      group += 1;
      end += shape[group] ?? 4;
    }
    const tail = field.last4 && at >= length - 4;
    const filled = at < field.count || field.status === "complete";
    nodes.push(tail
      ? element("span", "digit", field.last4[at - (length - 4)])
      : element("span", filled ? "dot on" : "dot"));
  }
  slots.replaceChildren(...nodes);
}

/** Moves the focus on when a step is done, but never out of where the agent is at work. */
let led = "";
function lead(p, missing) {
  const step = `${p.id} ${p.state} ${p.capturing ?? ""} ${missing ?? ""}`;
  if (step === led || state.busy) return;
  led = step;
  const at = document.activeElement;
  const free = !at || at === document.body || at.disabled || at.closest("#payment") || at.closest("[hidden]");
  if (!free || p.capturing || $("sure").open || $("order").open) return;
  if (!active(p)) ($("again").hidden ? $("sum-amount") : $("again")).focus();
  else if (missing) [...$("fields").children].find((row) => row.dataset.field === missing)?.querySelector(".ask").focus();
  else $("charge").focus();
}

/** Once a second, and only what time changes: how long calls last, and a time-out coming. */
function tick() {
  if (!state.session) return;
  drawSide();
  const p = shownPayment();
  for (const row of $("fields").children) {
    const left = row.querySelector(".left");
    const open = p?.capturing === row.dataset.field;
    left.hidden = !open;
    if (!open) continue;
    const limits = state.session.timeouts;
    const limit = p.fields[p.capturing].count ? limits.inter_digit_seconds : limits.first_digit_seconds;
    const rest = Math.max(0, limit - (now() - (state.touched.get(p.id) ?? now())) / 1000);
    left.style.setProperty("--rest", String(limit ? rest / limit : 0));
    const soon = rest <= Math.min(10, limit * 0.6);
    left.classList.toggle("soon", soon);
    const status = row.querySelector(".field-status");
    const seconds = Math.ceil(rest);
    text(status, soon ? `${status.dataset.words} · ${seconds ? `times out in ${seconds} s` : "timing out"}` : status.dataset.words);
  }
}

// ---- Around it

function link(tone, words) {
  $("link").className = `link ${tone}`;
  text($("link-text"), words);
  state.lost = tone !== "live";
  draw();
}

/** Written even where the same stands there already: it is said once more. */
function announce(words) {
  $("announce").textContent = words;
}

function showAlert(title, detail) {
  text($("alert-title"), title.endsWith(".") ? title : `${title}.`);
  text($("alert-text"), detail.charAt(0).toUpperCase() + detail.slice(1) + (/[.!?]$/.test(detail) ? "" : "."));
  $("alert").hidden = false;
}

function hideAlert() {
  $("alert").hidden = true;
}

function signedOut() {
  state.session = null;
  source?.close();
  $("sure").close();
  $("order").close();
  for (const id of ["desk", "leave", "alert", "sandbox"]) $(id).hidden = true;
  $("signed-out").hidden = false;
  $("signed-out-title").focus();
  link("lost", "Signed out");
  text($("who"), "");
}

let attempt = null;
$("read-out").onclick = () => act(readOut);
$("take").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("confirm").hidden) {
    if (/^[0-9]{4}$/.test($("code").value.trim())) act(confirmCode);
    return;
  }
  const currency = $("currency").value;
  const reference = $("reference").value.trim();
  const amount = parseAmount($("amount").value, currency);
  text($("amount-hint"), amount.error ?? "");
  $("amount").setAttribute("aria-invalid", String(Boolean(amount.error)));
  const bad = !reference || couldBeCard(reference);
  $("reference").setAttribute("aria-invalid", String(bad));
  text($("reference-hint"), couldBeCard(reference)
    ? "That could be a card number, so it was taken out. Use fewer than 12 digits in a row."
    : reference ? "Never type a card number here." : "Write your invoice or order number.");
  if (couldBeCard(reference)) $("reference").value = "";
  if (amount.error) return $("amount").focus();
  if (bad) return $("reference").focus();
  const call = shownCall();
  const purpose = $("aside-only").checked ? { purpose: "authorise" } : {};
  const body = { call: call.id, amount: amount.minor, currency, reference, ...purpose };
  // Sending the same again, after a broken connection, must not make a second payment.
  const same = JSON.stringify(body);
  if (attempt?.same !== same) attempt = { same, key: crypto.randomUUID() };
  return act(async () => {
    try {
      const payment = await api("POST", "/v1/payments", body, { "Idempotency-Key": attempt.key });
      localStorage.setItem("currency", currency);
      attempt = null;
      $("take").reset();
      $("currency").value = currency;
      hint();
      took(payment);
      choose(payment.call);
    } catch (error) {
      if (!error.problem?.lost) attempt = null;
      throw error;
    }
  });
});

function hint() {
  const typed = $("amount").value;
  const amount = typed && parseAmount(typed, $("currency").value);
  text($("amount-hint"), amount?.minor ? `Charges ${money(amount.minor, $("currency").value)}` : "");
  $("amount").placeholder = (0).toFixed(exponent($("currency").value));
  $("amount").removeAttribute("aria-invalid");
}

$("find").addEventListener("submit", (event) => { event.preventDefault(); act(find); });
$("find-what").addEventListener("input", () => { if (!$("find-what").value) act(find); });
$("print").onclick = () => window.print();
$("amount").addEventListener("input", hint);
$("currency").addEventListener("change", hint);
$("reference").addEventListener("input", () => $("reference").removeAttribute("aria-invalid"));
$("charge").onclick = () => act(async () => took(await api("POST", `/v1/payments/${shownPayment().id}/complete`)));
let cancelling = null;
function askSure() {
  cancelling = shownPayment().id;
  $("sure").showModal();
}
$("cancel").onclick = askSure;
$("sure-no").onclick = () => $("sure").close();
$("sure-yes").onclick = () => {
  $("sure").close();
  act(async () => took(await api("POST", `/v1/payments/${cancelling}/cancel`)));
};
$("again").onclick = () => {
  const p = shownPayment();
  state.done.add(p.id);
  choose(p.call);
  queueMicrotask(() => $("amount").focus());
};
$("alert-close").onclick = hideAlert;
$("leave").onclick = () => act(async () => {
  await api("POST", "/panel/leave");
  signedOut();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || $("sure").open || $("order").open) return;
  if (!$("alert").hidden) return hideAlert();
  if (!$("payment").hidden && !$("cancel").hidden && !$("cancel").disabled) {
    event.preventDefault();
    askSure();
  }
});
window.addEventListener("hashchange", () => choose(fromHash()));

async function start() {
  const usual = ["EUR", "GBP", "USD", "CHF"];
  const rest = Intl.supportedValuesOf("currency").filter((code) => !usual.includes(code));
  $("currency").append(...[...usual, ...rest].map((code) => new Option(code)));
  $("currency").value = localStorage.getItem("currency") ?? "EUR";
  hint();
  try {
    state.session = await api("GET", "/v1/session");
  } catch (error) {
    if (!error.problem?.lost) return;
    link("lost", "The gateway cannot be reached. Trying again…");
    setTimeout(start, 3000);
    return;
  }
  text($("who"), state.session.label);
  $("leave").hidden = false;
  if (!["agent", "supervisor", "integration"].includes(state.session.role)) {
    showAlert("This panel takes payments.", "Your role may not see captures. Enter by an agent’s link.");
    link("lost", "No access");
    return;
  }
  $("sandbox").hidden = !state.session.sandbox;
  $("aside").hidden = !state.session.abilities.authorise;
  $("desk").hidden = false;
  connect();
  setInterval(tick, 500);
}

start();
