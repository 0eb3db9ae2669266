"""Holds JSON bodies against an OpenAPI document, with jsonschema.

    bodies.py DOCUMENT REQUEST... < LIST

LIST is a JSON list of requests as they were sent: method, path, body; REQUEST... are all paths of the document
that have to be among them. The document's records are closed first: a member that they do not name is wrong. It
shows of itself that it can say no: each member is misspelt in turn, and each of these has to be refused.
"""
import copy
import json
import re
import sys

from jsonschema import Draft202012Validator


# Whatever is in these, it is taken.
MAPS = ("additionalData", "metadata")


def closed(schema):
    """The schema, whose records take no other members than those that they name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(one) for name, one in schema.items()}
    is_record = isinstance(made.get("properties"), dict) and "additionalProperties" not in made
    if is_record and not any(name in made for name in ("allOf", "anyOf", "oneOf")):
        made["additionalProperties"] = False
    return made


def misspelt(body, path=()):
    """The body with each member in turn under another name."""
    here = body
    for name in path:
        here = here[name]
    for name, value in here.items():
        if isinstance(value, dict) and name not in MAPS:
            yield from misspelt(body, (*path, name))
        wrong = copy.deepcopy(body)
        there = wrong
        for step in path:
            there = there[step]
        there[name + "x"] = there.pop(name)
        yield ".".join((*path, name)), wrong


def main():
    document_file, wanted = sys.argv[1], set(sys.argv[2:])
    with open(document_file, encoding="utf-8") as file:
        document = json.load(file)
    components = {"components": {"schemas": closed(document["components"]["schemas"])}}
    patterns = {path: re.sub(r"\{[^}]+\}", "[^/]+", path) for path in document["paths"]}
    seen, bodies, refused = set(), 0, 0
    for request in json.load(sys.stdin):
        path = re.sub(r"^/v71", "", request["path"])
        known = [name for name, pattern in patterns.items() if re.fullmatch(pattern, path)]
        if not known or request["method"].lower() not in document["paths"][known[0]]:
            sys.exit(f"{request['method']} {path}: the document has no such request")
        seen.add(known[0])
        operation = document["paths"][known[0]][request["method"].lower()]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        validator = Draft202012Validator({**closed(schema), **components})
        body = json.loads(request["body"])
        for error in validator.iter_errors(body):
            sys.exit(f"{known[0]}: {error.json_path}: {error.message[:300]}")
        bodies += 1
        for name, wrong in misspelt(body):
            if validator.is_valid(wrong):
                sys.exit(f"{known[0]}: {name} under another name is taken too, so nothing is shown")
            refused += 1
    if seen != wanted:
        sys.exit(f"found the requests {sorted(seen)}; expected {sorted(wanted)}")
    print(f"{bodies} bodies of {len(seen)} kinds of requests are valid; {refused} spoilt ones are refused")


main()
