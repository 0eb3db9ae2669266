"""Holds form fields against the names and values that Stripe's own Python library has for the API's version.

    forms.py VERSION REQUEST... < LIST

LIST is a JSON list of requests as they were sent: method, path with its query, body. REQUEST... are all kinds
that have to be among them, such as `POST /v1/refunds`. It shows of itself that it can say no: each field is
spoilt in turn, and each of these has to be refused.
"""
import json
import re
import sys
import typing
from urllib.parse import parse_qsl, urlsplit

import stripe
import typing_extensions
from stripe._request_options import RequestOptions

KINDS = [
    ("POST /v1/payment_methods", r"POST /v1/payment_methods", stripe.PaymentMethod.CreateParams),
    ("POST /v1/payment_intents", r"POST /v1/payment_intents", stripe.PaymentIntent.CreateParams),
    ("GET /v1/payment_intents/search", r"GET /v1/payment_intents/search", stripe.PaymentIntent.SearchParams),
    ("GET /v1/payment_intents/ID", r"GET /v1/payment_intents/[^/]+", stripe.PaymentIntent.RetrieveParams),
    ("POST /v1/payment_intents/ID/capture", r"POST /v1/payment_intents/[^/]+/capture", stripe.PaymentIntent.CaptureParams),
    ("POST /v1/payment_intents/ID/cancel", r"POST /v1/payment_intents/[^/]+/cancel", stripe.PaymentIntent.CancelParams),
    ("POST /v1/refunds", r"POST /v1/refunds", stripe.Refund.CreateParams),
    ("GET /v1/refunds", r"GET /v1/refunds", stripe.Refund.ListParams),
]
# What goes into headers and no form.
OPTIONS = set(RequestOptions.__annotations__)


def resolved(annotation, owner):
    """A type; the library's own are written as text, for it never needs them at run time."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    names = {**vars(typing), **vars(sys.modules[owner.__module__]), **vars(stripe)}
    names.update(Literal=typing_extensions.Literal, NotRequired=typing_extensions.NotRequired)
    # Of a package that the caller has installed for this.
    return eval(annotation, names)


def members(record):
    return {name: of for name, of in record.__annotations__.items() if name not in OPTIONS}


def fits(kind, owner, path, value):
    """What is wrong with a value at a path of names within a type, if anything is."""
    kind = resolved(kind, owner)
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if str(origin).endswith("NotRequired") or str(origin).endswith("Required"):
        return fits(options[0], owner, path, value)
    if origin is typing.Union:
        wrong = [fits(option, owner, path, value) for option in options]
        return None if None in wrong else wrong[0]
    if origin in (typing.Literal, typing.get_origin(typing.Literal["x"])):
        return None if not path and value in options else f"{value!r} is none of {options}"
    if origin is list:
        return fits(options[0], owner, path[1:], value) if path[:1] == [""] else "is a list"
    if origin is dict:
        return None if len(path) == 1 else "is a dictionary of texts"
    if typing_extensions.is_typeddict(kind):
        if not path:
            return "is a record"
        if path[0] not in members(kind):
            return f"there is no {path[0]!r} in {kind.__qualname__}"
        return fits(members(kind)[path[0]], kind, path[1:], value)
    if path:
        return f"has no {path[0]!r}"
    if kind is int:
        return None if re.fullmatch(r"-?\d+", value) else f"{value!r} is no number"
    if kind is bool:
        return None if value in ("true", "false") else f"{value!r} is no truth value"
    return None if kind is str else f"{kind} is not expected here"


def fault(record, name, value):
    head, rest = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name).groups()
    path = [head, *re.findall(r"\[([^\[\]]*)\]", rest)]
    return fits(record, record, path, value)


def main():
    version, wanted = sys.argv[1], set(sys.argv[2:])
    if stripe.api_version != version:
        sys.exit(f"the library is of version {stripe.api_version}; expected {version}")
    seen, fields, refused = set(), 0, 0
    for request in json.load(sys.stdin):
        target = urlsplit(request["path"])
        line = f"{request['method']} {target.path}"
        known = [(name, record) for name, pattern, record in KINDS if re.fullmatch(pattern, line)]
        if not known:
            sys.exit(f"{line}: the library has no such request")
        name, record = known[0]
        seen.add(name)
        text = request["body"] if request["method"] == "POST" else target.query
        for field, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
            wrong = fault(record, field, value)
            if wrong:
                sys.exit(f"{name}: {field}: {wrong}")
            fields += 1
            if not field.startswith("metadata["):
                if not fault(record, re.sub(r"([a-z_]+)(\]?(\[\])?)$", r"\1x\2", field), value):
                    sys.exit(f"{name}: {field} with a letter more is taken too, so nothing is shown")
                refused += 1
    if seen != wanted:
        sys.exit(f"found the requests {sorted(seen)}; expected {sorted(wanted)}")
    print(f"{fields} fields of {len(seen)} kinds of requests are known by name and value; {refused} spoilt ones are not")


main()
