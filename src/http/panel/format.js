// Words and numbers of the panel: nothing here touches the page.

export const FIELDS = {
  "payment-card-number": {
    label: "Card number",
    say: "Please key your card number on your phone now. I can’t hear it.",
    again: "Sorry, let’s try your card number once more. Please key it again.",
    groups: [4, 4, 4, 4],
  },
  "expiration-date": {
    label: "Expiry date",
    say: "Now the expiry date, please: two digits for the month, two for the year.",
    again: "Let’s try the expiry date once more: month and year, four digits.",
    groups: [2, 2],
  },
  "security-code": {
    label: "Security code",
    say: "And the security code, please: the three digits on the back, or four on the front of an American Express.",
    again: "Let’s try the security code once more, please.",
    groups: [3],
  },
  "postal-code": {
    label: "Postal code",
    say: "Please key the digits of your postal code.",
    again: "Let’s try the postal code once more, please.",
    groups: [5],
  },
  "bank-routing-number": {
    label: "Routing number",
    say: "Please key your bank’s nine-digit routing number.",
    again: "Let’s try the routing number once more, please.",
    groups: [3, 3, 3],
  },
  "bank-account-number": {
    label: "Account number",
    say: "Please key your account number.",
    again: "Let’s try the account number once more, please.",
    groups: [4, 4, 2],
  },
};

export const ORDER = Object.keys(FIELDS);

export const BRANDS = {
  visa: "Visa",
  mastercard: "Mastercard",
  amex: "American Express",
  discover: "Discover",
  jcb: "JCB",
  diners: "Diners Club",
  unionpay: "UnionPay",
  maestro: "Maestro",
};

/** How the digits of a field are set apart, as its brand prints them. */
export function groups(field, brand) {
  if (field === "payment-card-number") {
    if (brand === "amex") return [4, 6, 5];
    if (brand === "diners") return [4, 6, 4];
  }
  if (field === "security-code" && brand === "amex") return [4];
  return FIELDS[field].groups;
}

/** Digits of the minor unit (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD. */
export function exponent(currency) {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions()
    .maximumFractionDigits;
}

export function money(minor, currency) {
  const digits = exponent(currency);
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(
    minor / 10 ** digits,
  );
}

/** Minor units of what was typed, or a sentence that says what is wrong. */
export function parseAmount(text, currency) {
  const digits = exponent(currency);
  const match = /^(\d{1,8})(?:[.,](\d*))?$/.exec(text.trim());
  const example = digits === 0 ? "1250" : `12.${"50000".slice(0, digits)}`;
  if (!match) return { error: `Write the amount in ${currency} with digits only, such as ${example}.` };
  const [, whole, fraction = ""] = match;
  if (fraction.length > digits) {
    return {
      error: digits === 0
        ? `${currency} has no smaller unit: write whole numbers, such as ${example}.`
        : `${currency} has ${digits} decimals: write it like ${example}.`,
    };
  }
  const minor = Number(whole + fraction.padEnd(digits, "0"));
  return minor > 0 ? { minor } : { error: "The amount has to be more than zero." };
}

/** Twelve digits in a row could be a card number: such a text must not be sent. */
export const couldBeCard = (text) => /(?:\d[ .\-_/]?){12}/.test(text);

export function clock(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** How long something has been going on: 0:42, 12:05, 1:02:11. */
export function lasting(iso, now) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(iso)) / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const STATES = {
  arming: "Protecting the line",
  open: "In progress",
  capturing: "Keying",
  submitting: "Charging",
  approved: "Paid",
  declined: "Declined",
  failed: "Not charged",
  unknown: "Unresolved",
  cancelled: "Cancelled",
};

const ADVICE = {
  "try-again": "No charge was made. The same card may work if you try again.",
  "other-card": "No charge was made. Ask for another card.",
  "call-issuer": "No charge was made. The customer has to call the card’s bank.",
  "do-not-retry": "No charge was made. Do not try this card again.",
};

/** The outcome in a title and a sentence; nothing while there is none. */
export function outcomeOf(payment) {
  const { state, outcome } = payment;
  if (state === "approved") {
    const where = payment.balance?.standing;
    if (where === "authorised") return { tone: "good", title: "Set aside", text: "" };
    if (where === "voided" || where === "refunded") {
      return { tone: "calm", title: where === "voided" ? "Undone" : "Given back", text: "" };
    }
    return { tone: "good", title: "Paid", text: "" };
  }
  if (state === "cancelled") {
    return { tone: "calm", title: "Cancelled", text: "Nothing was charged, and what was keyed is wiped." };
  }
  if (state === "unknown") {
    return {
      tone: "warn",
      title: "The result is not known yet",
      text: "The charge may stand. Do not charge again. It stays under “Recent payments” until it is resolved.",
    };
  }
  if (state === "failed") {
    const retry = outcome?.retryable ? " You can try again." : "";
    return { tone: "bad", title: "Not charged", text: `Nothing was charged: ${outcome?.reason ?? "the attempt failed"}.${retry}` };
  }
  if (state === "declined") {
    const { advice, field } = outcome?.advice ?? {};
    const text = advice === "re-enter"
      ? `No charge was made. Ask for the ${FIELDS[field].label.toLowerCase()} again.`
      : ADVICE[advice] ?? "No charge was made.";
    return { tone: "bad", title: "Declined", text };
  }
  return null;
}
