// Charges that stand: where the money is, what may be done with it, and how a payment is found.

import { clock, couldBeCard, exponent, money, parseAmount } from "/format.js";

const STANDINGS = {
  authorised: "Set aside, not taken",
  settled: "Taken",
  "part-refunded": "Part of it given back",
  refunded: "Given back",
  voided: "Undone",
};

/** Every kind of operation: its button, and what is asked before it is done. */
const KINDS = {
  settle: {
    button: "Take the money",
    title: "Take the money?",
    text: "It is taken from what was set aside. What you leave is given free.",
    noun: "Taking",
  },
  void: {
    button: "Undo the charge",
    title: "Undo the charge?",
    text: "All of it, before the money has moved. It cannot be taken afterwards.",
    noun: "Undoing",
  },
  refund: {
    button: "Give money back",
    title: "Give money back?",
    text: "It goes back to the card, within some days.",
    noun: "Giving back",
  },
};

const PROGRESS = {
  sending: { words: "on its way", tone: "calm" },
  done: { words: "done", tone: "good" },
  refused: { words: "refused", tone: "bad" },
  failed: { words: "not done", tone: "bad" },
  pending: { words: "taken, not decided yet", tone: "warn" },
  unknown: { words: "may have been done", tone: "warn" },
};

/** What may be done with a charge now, and the most of it in minor units. The gateway judges again. */
export function possible(payment, session) {
  const { balance, purpose } = payment;
  if (!balance || balance.open) return [];
  const { abilities } = session;
  const rest = balance.settled_minor - balance.refunded_minor - balance.refunding_minor;
  const aside = balance.standing === "authorised";
  const can = {
    settle: aside && { most: balance.authorised_minor, part: abilities.settle_part },
    void: (aside || (purpose === "charge" && balance.standing === "settled" && rest === balance.settled_minor
      && abilities.void_charge)) && { most: balance.authorised_minor, part: false },
    refund: !aside && abilities.refund && rest > 0 && { most: rest, part: abilities.refund_part },
  };
  return session.operations.filter((kind) => can[kind]).map((kind) => ({ kind, button: KINDS[kind].button, ...can[kind] }));
}

/** Where the money is, in words; nothing where none was taken. */
export function standing(payment) {
  const { balance, currency } = payment;
  if (!balance) return "";
  const words = [STANDINGS[balance.standing]];
  const amount = (minor) => money(minor, currency);
  if (balance.settled_minor && balance.settled_minor !== balance.authorised_minor) words.push(`${amount(balance.settled_minor)} taken`);
  if (balance.refunded_minor && balance.standing !== "refunded") words.push(`${amount(balance.refunded_minor)} given back`);
  if (balance.refunding_minor) words.push(`${amount(balance.refunding_minor)} perhaps on its way back`);
  if (balance.open) words.push(`${KINDS[balance.open].noun} is not decided yet`);
  return words.join(" · ");
}

/** A line for an operation: what, how it went, when. */
export function operationLine(operation) {
  const { words, tone } = PROGRESS[operation.state];
  return {
    main: `${KINDS[operation.kind].noun} ${money(operation.amount_minor, operation.currency)}`,
    side: words,
    sub: [clock(operation.created), operation.reason].filter(Boolean).join(" · "),
    tone,
  };
}

/**
 * The dialog in which an operation is ordered. `carryOut(path, body, key)` sends it; the same order sent again
 * after a broken connection has the same key, and is done once.
 */
export function orders($, carryOut) {
  let order = null;
  let sent = null;

  function open(payment, choice) {
    const { title, text, button } = KINDS[choice.kind];
    order = { payment, ...choice };
    $("order-title").textContent = title;
    $("order-text").textContent = text;
    $("order-yes").textContent = button;
    $("order-yes").classList.toggle("danger", choice.kind !== "settle");
    $("order-part").hidden = !choice.part;
    $("order-amount").value = (choice.most / 10 ** exponent(payment.currency)).toFixed(exponent(payment.currency));
    $("order-reason").value = "";
    hint();
    $("order").showModal();
  }

  function amount() {
    if (!order.part) return { minor: order.most };
    const typed = parseAmount($("order-amount").value, order.payment.currency);
    if (typed.minor > order.most) return { error: `At most ${money(order.most, order.payment.currency)} is left.` };
    return typed;
  }

  function hint() {
    const { minor, error } = amount();
    $("order-hint").textContent = error ?? `${money(minor, order.payment.currency)} of ${order.payment.reference}`;
    $("order-amount").setAttribute("aria-invalid", String(Boolean(error)));
  }

  $("order-amount").addEventListener("input", hint);
  $("order-no").onclick = () => $("order").close();
  $("order-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const { minor, error } = amount();
    if (error) return $("order-amount").focus();
    const reason = $("order-reason").value.trim();
    if (couldBeCard(reason)) {
      $("order-reason").value = "";
      $("order-hint").textContent = "The reason could be a card number, so it was taken out.";
      return $("order-reason").focus();
    }
    const path = `/v1/payments/${order.payment.id}/${order.kind}`;
    const body = { ...(order.part ? { amount: minor } : {}), ...(reason ? { reason } : {}) };
    const same = path + JSON.stringify(body);
    if (sent?.same !== same) sent = { same, key: crypto.randomUUID() };
    $("order").close();
    return carryOut(path, body, sent.key, () => { sent = null; });
  });

  return { open };
}

/** The question that finds what was typed: the last four of a card, a payment's id, or a reference. */
export function question(typed) {
  if (/^\d{4}$/.test(typed)) return `last4=${typed}`;
  return `reference=${encodeURIComponent(typed)}`;
}
